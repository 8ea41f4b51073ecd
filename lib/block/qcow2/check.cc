// SPDX-License-Identifier: Apache-2.0
// Checks and repairs a qcow2 file: counts every reference to every cluster and
// compares the sums with the refcounts, then the "copied" flags with those.
//
// Bounds. Every L2 table is walked once, with the number of L1 entries that
// refer to it as weight, and every L1 table likewise, so time and memory are
// linear in the bytes of tables that the file has, whatever refers to them how
// often. Counts live in a map of small chunks: a sparse file of exabytes costs
// what its tables touch.
//
// Repairs. Leaks: the refcount blocks are written with the sums. Counts too low:
// the same. Where a cluster in use has no refcount at all (or the refcount
// structure itself is broken) a new table and new blocks are written behind the
// end of everything, flushed, and the header is pointed at them. Flags last.
#include <algorithm>
#include <array>
#include <cstring>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "lib/base/checked.h"
#include "lib/base/endian.h"
#include "lib/base/status_macros.h"
#include "lib/block/metadata_map.h"
#include "lib/block/qcow2/layer.h"

namespace atl::block::qcow2 {
namespace {

constexpr uint64_t kOffsetMask = 0x00fffffffffffe00;
constexpr uint64_t kL1Reserved = 0x7f000000000001ff;
constexpr uint64_t kCopied = uint64_t{1} << 63;
constexpr uint64_t kCompressedFlag = uint64_t{1} << 62;

// How often each cluster is referred to.
class Counts {
 public:
  static constexpr uint64_t kChunk = 1024;
  using Chunk = std::array<uint32_t, kChunk>;

  uint32_t& At(uint64_t cluster) {
    uint64_t key = cluster / kChunk;
    if (key != last_key_) {
      std::unique_ptr<Chunk>& chunk = chunks_[key];
      if (chunk == nullptr) chunk = std::make_unique<Chunk>();
      last_ = chunk.get();
      last_key_ = key;
    }
    return (*last_)[cluster % kChunk];
  }
  const Chunk* Find(uint64_t key) const {
    auto it = chunks_.find(key);
    return it == chunks_.end() ? nullptr : it->second.get();
  }
  uint32_t Get(uint64_t cluster) const {
    const Chunk* chunk = Find(cluster / kChunk);
    return chunk == nullptr ? 0 : (*chunk)[cluster % kChunk];
  }
  void Add(uint64_t cluster, uint64_t n) {
    uint32_t& at = At(cluster);
    at = static_cast<uint32_t>(std::min<uint64_t>(UINT32_MAX, at + n));
    shared_ |= at > 1;
  }
  // Some cluster is referred to more than once.
  bool shared() const { return shared_; }
  template <typename F>
  void EachKey(F f) const {
    for (const auto& [key, chunk] : chunks_) f(key);
  }

 private:
  absl::flat_hash_map<uint64_t, std::unique_ptr<Chunk>> chunks_;
  uint64_t last_key_ = UINT64_MAX;
  Chunk* last_ = nullptr;
  bool shared_ = false;
};

class Checker {
 public:
  Checker(Storage& storage, Header header, CheckRepair repair)
      : storage_(storage),
        h_(std::move(header)),
        repair_(repair),
        cluster_size_(h_.cluster_size()),
        block_entries_(cluster_size_ * 8 >> h_.refcount_order),
        max_count_(h_.refcount_order == 6 ? UINT64_MAX
                                          : (uint64_t{1} << (1u << h_.refcount_order)) - 1) {}

  absl::StatusOr<CheckResult> Run() {
    ASSIGN_OR_RETURN(file_size_, storage_.Size());
    result_.total_clusters = DivRoundUp(h_.size, cluster_size_);
    RETURN_IF_ERROR(CountEverything());
    RETURN_IF_ERROR(LoadRefcountTable());
    CountRefcounts();
    RETURN_IF_ERROR(Compare());
    if (rebuild_ && repair_ == CheckRepair::kAll) RETURN_IF_ERROR(Rebuild());
    RETURN_IF_ERROR(CheckCopied());
    result_.image_end_offset = (highest_ + 1) * cluster_size_;
    if (repair_ != CheckRepair::kNone) RETURN_IF_ERROR(Finish());
    return std::move(result_);
  }

 private:
  struct Table {
    uint64_t weight = 0;  // L1 entries that refer to it
    bool active = false;
  };

  void Say(std::string text) {
    if (result_.messages.size() < CheckResult::kMaxMessages) {
      result_.messages.push_back(std::move(text));
    }
  }
  void Corrupt(std::string text) {
    ++result_.corruptions;
    Say(absl::StrCat("ERROR", text.starts_with("counting") ? ": " : " ", text));
  }

  // Counts the clusters of a region.
  void Use(uint64_t offset, uint64_t length, uint64_t weight) {
    if (length == 0) return;
    // The last cluster may end after the file does, no more.
    if (!RangeFits(offset, length, file_size_ + cluster_size_ - 1)) {
      Corrupt(
          absl::StrFormat("counting reference for region exceeding the end of the file by one "
                          "cluster or more: offset 0x%x size 0x%x",
                          offset, length));
      return;
    }
    const uint64_t last = (offset + length - 1) >> h_.cluster_bits;
    for (uint64_t c = offset >> h_.cluster_bits; c <= last; ++c) counts_.Add(c, weight);
  }

  // Tables that writes and repairs change, or that those trust, must not share
  // clusters: what is put right in the one would be wrong in the other.
  bool Claim(const char* what, uint64_t offset, uint64_t length) {
    absl::Status status = metadata_->Add(what, offset, length);
    if (!status.ok()) Corrupt(std::string(status.message()));
    return status.ok();
  }

  absl::Status CountEverything() {
    metadata_.emplace(h_.cluster_bits);
    Use(0, cluster_size_, 1);
    Claim("qcow2 header", 0, cluster_size_);
    RETURN_IF_ERROR(CountL1Tables());
    RETURN_IF_ERROR(CountL2Tables());
    return CountBitmaps();
  }

  absl::Status CountL1Tables() {
    // Unused space behind the entries is nobody's business.
    std::map<std::pair<uint64_t, uint32_t>, std::pair<uint64_t, bool>> l1s;
    if (h_.l1_size > 0) l1s[{h_.l1_table_offset, h_.l1_size}] = {1, true};
    absl::StatusOr<SnapshotTable> table = ReadSnapshots(storage_, h_);
    if (!table.ok()) {
      if (!absl::IsDataLoss(table.status())) return table.status();
      Corrupt(std::string(table.status().message()));
    } else {
      Use(h_.snapshots_offset, table->bytes, 1);
      Claim("snapshot table", h_.snapshots_offset, table->bytes);
      for (const Snapshot& s : table->snapshots) {
        if (s.l1_size > 0) ++l1s[{s.l1_offset, s.l1_size}].first;
      }
    }
    for (const auto& [place, use] : l1s) {
      RETURN_IF_ERROR(CountL1(place.first, place.second, use.first, use.second));
    }
    return absl::OkStatus();
  }

  absl::Status CountL1(uint64_t offset, uint32_t entries, uint64_t weight, bool active) {
    Use(offset, uint64_t{entries} * 8, weight);
    absl::StatusOr<std::vector<uint8_t>> bytes =
        ReadVector(storage_, offset, uint64_t{entries} * 8);
    if (absl::IsOutOfRange(bytes.status())) {
      Corrupt(absl::StrFormat("L1 table at 0x%x lies past the end of the file", offset));
      return absl::OkStatus();
    }
    RETURN_IF_ERROR(bytes.status());
    if (active) {
      Claim("active L1 table", offset, bytes->size());
      l1_.resize(entries);
    }
    for (uint32_t i = 0; i < entries; ++i) {
      const uint64_t entry = LoadBe<uint64_t>(bytes->data() + 8 * i);
      if (active) l1_[i] = entry;
      if (entry == 0) continue;
      if ((entry & kL1Reserved) != 0) {
        Corrupt(absl::StrFormat("found L1 entry with reserved bits set: %x", entry));
      }
      const uint64_t table = entry & kOffsetMask;
      if (table % cluster_size_ != 0) {
        Corrupt(absl::StrFormat("l2_offset=%x: Table is not cluster aligned; L1 entry corrupted",
                                table));
        continue;
      }
      if (table == 0) continue;
      Table& t = tables_[table];
      if (active && t.active) {
        Corrupt(absl::StrFormat("L2 table at 0x%x is used twice by the L1 table", table));
      }
      t.weight += weight;
      t.active |= active;
    }
    return absl::OkStatus();
  }

  // Reads the table, or says why not.
  absl::StatusOr<bool> ReadTable(uint64_t offset, std::vector<uint8_t>* bytes, bool say) {
    absl::Status status = storage_.Read(offset, *bytes);
    if (absl::IsOutOfRange(status)) {
      if (say) Corrupt(absl::StrFormat("L2 table at 0x%x lies past the end of the file", offset));
      return false;
    }
    RETURN_IF_ERROR(status);
    return true;
  }

  absl::Status CountL2Tables() {
    std::vector<uint8_t> bytes(cluster_size_);
    for (const auto& [offset, table] : tables_) {
      Use(offset, cluster_size_, table.weight);
      ASSIGN_OR_RETURN(bool have, ReadTable(offset, &bytes, true));
      if (have && table.active) Claim("active L2 table", offset, cluster_size_);
      if (have) CountL2(bytes, offset, table);
    }
    return absl::OkStatus();
  }

  void CountL2(const std::vector<uint8_t>& bytes, uint64_t offset, const Table& table) {
    const unsigned shift = 62 - (h_.cluster_bits - 8);
    uint64_t next = 0, allocated = 0, fragmented = 0;
    const uint64_t file_clusters = file_size_ >> h_.cluster_bits;
    for (size_t at = 0; at < bytes.size(); at += 8) {
      const uint64_t entry = LoadBe<uint64_t>(bytes.data() + at);
      if (entry == 0) continue;
      if ((entry & kCompressedFlag) != 0) {
        if ((entry & kCopied) != 0) {
          Corrupt(
              absl::StrFormat("coffset=0x%x: copied flag must never be set for compressed "
                              "clusters",
                              entry & ((uint64_t{1} << shift) - 1)));
        }
        const uint64_t host = entry & ((uint64_t{1} << shift) - 1);
        const uint64_t sectors = (entry & (kCompressedFlag - 1)) >> shift;
        Use(RoundDown(host, 512), (sectors + 1) * 512, table.weight);
        if (table.active) {
          ++allocated;
          ++fragmented;
          ++result_.compressed_clusters;
        }
        continue;
      }
      if ((entry & 1) != 0 && h_.version < 3) {
        Corrupt(
            absl::StrFormat("L2 entry at 0x%x: zero cluster in a version 2 image", offset + at));
      }
      const uint64_t host = entry & kOffsetMask;
      if (host == 0) continue;
      if (host % cluster_size_ != 0) {
        Corrupt(
            absl::StrFormat("offset=%x: %s cluster is not properly aligned; L2 entry "
                            "corrupted.",
                            host, (entry & 1) != 0 ? "Preallocated" : "Data"));
      }
      if (table.active) {
        ++allocated;
        if (next != 0 && host != next) ++fragmented;
        next = host + cluster_size_;
        all_copied_ &= (entry & kCopied) != 0;
      }
      if (host >> h_.cluster_bits < file_clusters && host % cluster_size_ == 0) {
        counts_.Add(host >> h_.cluster_bits, table.weight);
      } else {
        Use(host, cluster_size_, table.weight);
      }
    }
    result_.allocated_clusters += allocated;
    result_.fragmented_clusters += fragmented;
  }

  absl::Status CountBitmaps() {
    if (!h_.bitmaps.has_value() || (h_.autoclear & kBitmaps) == 0) return absl::OkStatus();
    absl::StatusOr<std::vector<Bitmap>> bitmaps = ReadBitmaps(storage_, h_);
    if (!bitmaps.ok()) {
      if (!absl::IsDataLoss(bitmaps.status())) return bitmaps.status();
      Corrupt(std::string(bitmaps.status().message()));
      return absl::OkStatus();
    }
    Use(h_.bitmaps->directory_offset, h_.bitmaps->directory_size, 1);
    Claim("bitmap directory", h_.bitmaps->directory_offset, h_.bitmaps->directory_size);
    for (const Bitmap& b : *bitmaps) {
      const uint64_t length = uint64_t{b.table_entries} * 8;
      Use(b.table_offset, length, 1);
      if (!RangeFits(b.table_offset, length, file_size_)) continue;  // said by Use(), or short
      std::vector<uint8_t> bytes(length);
      RETURN_IF_ERROR(storage_.Read(b.table_offset, bytes));
      for (size_t at = 0; at < bytes.size(); at += 8) {
        const uint64_t entry = LoadBe<uint64_t>(bytes.data() + at);
        if ((entry & kOffsetMask) != 0) Use(entry & kOffsetMask, cluster_size_, 1);
      }
    }
    return absl::OkStatus();
  }

  absl::Status LoadRefcountTable() {
    absl::StatusOr<std::vector<uint8_t>> bytes =
        ReadVector(storage_, h_.refcount_table_offset, h_.refcount_table_clusters * cluster_size_);
    if (absl::IsOutOfRange(bytes.status())) {
      Corrupt(absl::StrFormat("refcount table at 0x%x lies past the end of the file",
                              h_.refcount_table_offset));
      rebuild_ = true;
      return absl::OkStatus();
    }
    RETURN_IF_ERROR(bytes.status());
    // It can be written anew, elsewhere.
    rebuild_ |= !Claim("refcount table", h_.refcount_table_offset, bytes->size());
    refcount_table_.resize(bytes->size() / 8);
    absl::flat_hash_set<uint64_t> seen;
    for (size_t i = 0; i < refcount_table_.size(); ++i) {
      const uint64_t entry = LoadBe<uint64_t>(bytes->data() + 8 * i);
      const uint64_t offset = entry & ~uint64_t{511};
      if (offset == 0) continue;
      if (offset % cluster_size_ != 0) {
        Corrupt(absl::StrFormat(
            "refcount block %d is not cluster aligned; refcount table entry corrupted", i));
        rebuild_ = true;
      } else if (!RangeFits(offset, cluster_size_, file_size_)) {
        Corrupt(absl::StrFormat("refcount block %d is outside image", i));
        rebuild_ = true;
      } else if (counts_.Get(offset >> h_.cluster_bits) != 0 ||
                 metadata_->Find(offset, cluster_size_) != nullptr || !seen.insert(offset).second) {
        Corrupt(absl::StrFormat("refcount block %d refcount=%d", i,
                                counts_.Get(offset >> h_.cluster_bits) + 1));
        rebuild_ = true;
      } else {
        refcount_table_[i] = offset;
      }
    }
    return absl::OkStatus();
  }

  void CountRefcounts() {
    Use(h_.refcount_table_offset, h_.refcount_table_clusters * cluster_size_, 1);
    for (uint64_t offset : refcount_table_) {
      if (offset != 0) Use(offset, cluster_size_, 1);
    }
  }

  // Block numbers that have a block or a count, in order.
  std::set<uint64_t> BlockNumbers() const {
    std::set<uint64_t> numbers;
    for (size_t i = 0; i < refcount_table_.size(); ++i) {
      if (refcount_table_[i] != 0) numbers.insert(i);
    }
    counts_.EachKey([&](uint64_t key) {
      const uint64_t first = key * Counts::kChunk / block_entries_;
      const uint64_t last = (key * Counts::kChunk + Counts::kChunk - 1) / block_entries_;
      for (uint64_t i = first; i <= last; ++i) numbers.insert(i);
    });
    return numbers;
  }

  absl::Status Compare() {
    std::vector<uint8_t> block(cluster_size_);
    for (uint64_t number : BlockNumbers()) {
      const uint64_t offset = number < refcount_table_.size() ? refcount_table_[number] : 0;
      if (offset != 0) {
        RETURN_IF_ERROR(storage_.Read(offset, block));
      } else {
        std::fill(block.begin(), block.end(), uint8_t{0});
      }
      const bool changed = CompareBlock(number, &block, offset != 0);
      // Where all is written anew, this is not needed, and may be wrong.
      if (changed && !(rebuild_ && repair_ == CheckRepair::kAll)) {
        RETURN_IF_ERROR(storage_.Write(offset, block));
      }
    }
    return absl::OkStatus();
  }

  bool CompareBlock(uint64_t number, std::vector<uint8_t>* block, bool have) {
    bool changed = false;
    const uint64_t first = number * block_entries_;
    const uint64_t clusters = DivRoundUp(file_size_, cluster_size_);
    for (uint64_t base = 0; base < block_entries_;) {
      const uint64_t cluster = first + base;
      const uint64_t in_chunk = cluster % Counts::kChunk;
      const uint64_t n = std::min(block_entries_ - base, Counts::kChunk - in_chunk);
      const Counts::Chunk* chunk = counts_.Find(cluster / Counts::kChunk);
      if (chunk != nullptr && have && h_.refcount_order == 4 && cluster + n <= clusters &&
          SameCounts(block->data() + 2 * base, chunk->data() + in_chunk, n)) {
        for (uint64_t i = n; i > 0; --i) {
          if ((*chunk)[in_chunk + i - 1] == 0) continue;
          highest_ = cluster + i - 1;
          break;
        }
      } else if (chunk != nullptr || have) {
        for (uint64_t i = 0; i < n; ++i) {
          // As qemu: what lies past the end of the file has no refcount.
          if (cluster + i >= clusters) break;
          const uint64_t on_disk = GetCount(*block, h_.refcount_order, base + i);
          const uint64_t wanted = chunk == nullptr ? 0 : (*chunk)[in_chunk + i];
          if (on_disk == wanted) {
            if (wanted != 0) highest_ = cluster + i;
          } else {
            highest_ = cluster + i;
            changed |= Differs(cluster + i, on_disk, wanted, block, base + i);
          }
        }
      }
      base += n;
    }
    return changed;
  }

  // The usual width, and nothing to say: what almost all of an image is.
  static bool SameCounts(const uint8_t* on_disk, const uint32_t* wanted, uint64_t n) {
    uint32_t differ = 0;
    for (uint64_t i = 0; i < n; ++i) differ |= LoadBe<uint16_t>(on_disk + 2 * i) ^ wanted[i];
    return differ == 0;
  }

  // True where the block was put right.
  bool Differs(uint64_t cluster, uint64_t on_disk, uint64_t wanted, std::vector<uint8_t>* block,
               uint64_t index) {
    uint64_t* fixed = nullptr;
    if (on_disk == 0) {
      rebuild_ = true;
    } else if (on_disk > wanted) {
      if (repair_ != CheckRepair::kNone) fixed = &result_.leaks_fixed;
    } else if (repair_ == CheckRepair::kAll && wanted <= max_count_) {
      fixed = &result_.corruptions_fixed;
    }
    Say(absl::StrFormat("%s cluster %d refcount=%d reference=%d",
                        fixed != nullptr   ? "Repairing"
                        : on_disk < wanted ? "ERROR"
                                           : "Leaked",
                        cluster, on_disk, wanted));
    if (fixed != nullptr) {
      SetCount(*block, h_.refcount_order, index, wanted);
      ++*fixed;
      return true;
    }
    ++(on_disk < wanted ? result_.corruptions : result_.leaks);
    differs_[cluster] = on_disk;
    return false;
  }

  uint64_t CountOnDisk(uint64_t offset) const {
    auto it = differs_.find(offset >> h_.cluster_bits);
    return it != differs_.end() ? it->second : counts_.Get(offset >> h_.cluster_bits);
  }

  absl::Status CheckCopied() {
    const bool fix = repair_ == CheckRepair::kAll;
    auto wrong = [&](std::string text) {
      Say(absl::StrCat(fix ? "Repairing " : "ERROR ", text));
      ++(fix ? result_.corruptions_fixed : result_.corruptions);
    };
    for (uint64_t i = 0; i < l1_.size(); ++i) {
      const uint64_t offset = l1_[i] & kOffsetMask;
      if (offset == 0 || offset % cluster_size_ != 0) continue;
      const uint64_t count = CountOnDisk(offset);
      if ((count == 1) == ((l1_[i] & kCopied) != 0)) continue;
      wrong(absl::StrFormat("OFLAG_COPIED L2 cluster: l1_index=%d l1_entry=%x refcount=%d", i,
                            l1_[i], count));
      if (!fix) continue;
      uint8_t entry[8];
      StoreBe<uint64_t>(entry, count == 1 ? offset | kCopied : offset);
      RETURN_IF_ERROR(storage_.Write(h_.l1_table_offset + 8 * i, entry));
    }
    // Nothing is shared and all that counts is as it should be: then "copied"
    // must be set everywhere, and it is.
    if (all_copied_ && !counts_.shared() && differs_.empty() && result_.corruptions == 0) {
      return absl::OkStatus();
    }
    std::vector<uint8_t> bytes(cluster_size_);
    for (const auto& [offset, table] : tables_) {
      if (!table.active) continue;
      ASSIGN_OR_RETURN(bool have, ReadTable(offset, &bytes, false));
      if (!have) continue;
      bool changed = false;
      const Counts::Chunk* chunk = nullptr;
      uint64_t chunk_key = UINT64_MAX;
      for (size_t at = 0; at < bytes.size(); at += 8) {
        const uint64_t entry = LoadBe<uint64_t>(bytes.data() + at);
        const uint64_t host = entry & kOffsetMask;
        if ((entry & kCompressedFlag) != 0 || host == 0 || host % cluster_size_ != 0) continue;
        const uint64_t cluster = host >> h_.cluster_bits;
        if (cluster / Counts::kChunk != chunk_key) {
          chunk_key = cluster / Counts::kChunk;
          chunk = counts_.Find(chunk_key);
        }
        uint64_t count = chunk == nullptr ? 0 : (*chunk)[cluster % Counts::kChunk];
        if (!differs_.empty()) count = CountOnDisk(host);
        if ((count == 1) == ((entry & kCopied) != 0)) continue;
        wrong(absl::StrFormat("OFLAG_COPIED data cluster: l2_entry=%x refcount=%d", entry, count));
        if (!fix) continue;
        StoreBe<uint64_t>(bytes.data() + at, count == 1 ? entry | kCopied : entry & ~kCopied);
        changed = true;
      }
      if (changed) RETURN_IF_ERROR(storage_.Write(offset, bytes));
    }
    return absl::OkStatus();
  }

  absl::Status Rebuild() {
    Say("Rebuilding refcount structure");
    // Only what is not the refcount structure itself counts now.
    counts_ = Counts{};
    CheckResult kept = std::exchange(result_, {});
    tables_.clear();
    RETURN_IF_ERROR(CountEverything());
    const uint64_t still = result_.corruptions;  // what no refcount can mend
    result_ = std::move(kept);

    uint64_t end = DivRoundUp(file_size_, cluster_size_);
    std::set<uint64_t> numbers;
    counts_.EachKey([&](uint64_t key) {
      for (uint64_t i = 0; i < Counts::kChunk; ++i) {
        const uint64_t c = key * Counts::kChunk + i;
        if (counts_.Get(c) == 0) continue;
        numbers.insert(c / block_entries_);
        end = std::max(end, c + 1);
        over_ |= counts_.Get(c) > max_count_;
      }
    });
    if (over_) {
      ++result_.check_errors;
      Say(absl::StrCat("ERROR a cluster has more references than ", 1 << h_.refcount_order,
                       " bits can count"));
      return absl::OkStatus();
    }
    // The blocks and the table, behind everything else, count themselves.
    uint64_t blocks = numbers.size(), table = 1;
    for (;;) {
      std::set<uint64_t> all = numbers;
      for (uint64_t c = end; c < end + blocks + table; ++c) all.insert(c / block_entries_);
      uint64_t t = DivRoundUp((*all.rbegin() + 1) * 8, cluster_size_);
      if (all.size() <= blocks && t <= table) {
        numbers = std::move(all);
        break;
      }
      blocks = std::max<uint64_t>(blocks, all.size());
      table = std::max(table, t);
    }
    if (table * cluster_size_ > kMaxRefcountTableBytes) {
      ++result_.check_errors;
      Say("ERROR the new refcount table would be larger than 8 MiB");
      return absl::OkStatus();
    }
    for (uint64_t c = end; c < end + blocks + table; ++c) counts_.Add(c, 1);
    std::vector<uint8_t> table_bytes(table * cluster_size_), block(cluster_size_);
    uint64_t at = end;
    for (uint64_t number : numbers) {
      std::fill(block.begin(), block.end(), uint8_t{0});
      for (uint64_t i = 0; i < block_entries_; ++i) {
        const uint32_t n = counts_.Get(number * block_entries_ + i);
        if (n != 0) SetCount(block, h_.refcount_order, i, n);
      }
      RETURN_IF_ERROR(storage_.Write(at << h_.cluster_bits, block));
      StoreBe<uint64_t>(table_bytes.data() + 8 * number, at << h_.cluster_bits);
      ++at;
    }
    const uint64_t table_at = (end + blocks) << h_.cluster_bits;
    RETURN_IF_ERROR(storage_.Write(table_at, table_bytes));
    RETURN_IF_ERROR(storage_.Flush());
    uint8_t field[12];
    StoreBe<uint64_t>(field, table_at);
    StoreBe<uint32_t>(field + 8, static_cast<uint32_t>(table));
    RETURN_IF_ERROR(storage_.Write(offsetof(RawHeader, refcount_table_offset), field));
    RETURN_IF_ERROR(storage_.Flush());
    highest_ = end + blocks + table - 1;
    ASSIGN_OR_RETURN(file_size_, storage_.Size());
    result_.corruptions_fixed += result_.corruptions - std::min(result_.corruptions, still);
    result_.leaks_fixed += result_.leaks;
    result_.corruptions = still;
    result_.leaks = 0;
    differs_.clear();
    return absl::OkStatus();
  }

  absl::Status Finish() {
    RETURN_IF_ERROR(storage_.Flush());
    const bool sound = result_.corruptions == 0 && result_.check_errors == 0;
    if (h_.version < 3 || !sound || repair_ != CheckRepair::kAll) return absl::OkStatus();
    if ((h_.incompatible & (kDirty | kCorrupt)) == 0) return absl::OkStatus();
    uint8_t field[8];
    StoreBe<uint64_t>(field, h_.incompatible & ~(kDirty | kCorrupt));
    RETURN_IF_ERROR(storage_.Write(offsetof(RawHeader, incompatible_features), field));
    return storage_.Flush();
  }

  Storage& storage_;
  const Header h_;
  const CheckRepair repair_;
  const uint64_t cluster_size_;
  const uint64_t block_entries_;
  const uint64_t max_count_;
  uint64_t file_size_ = 0;
  CheckResult result_;
  Counts counts_;
  std::optional<MetadataMap> metadata_;
  std::vector<uint64_t> l1_;
  std::map<uint64_t, Table> tables_;
  std::vector<uint64_t> refcount_table_;  // 0: none, or a broken one
  absl::flat_hash_map<uint64_t, uint64_t> differs_;
  uint64_t highest_ = 0;
  bool rebuild_ = false;
  bool over_ = false;
  bool all_copied_ = true;  // of the clusters that L2 entries of the disk refer to
};

}  // namespace

absl::StatusOr<CheckResult> CheckFile(Storage& storage, CheckRepair repair) {
  ASSIGN_OR_RETURN(Header header, ReadHeader(storage));
  RETURN_IF_ERROR(CheckReadable(header, storage.name()));
  return Checker(storage, std::move(header), repair).Run();
}

}  // namespace atl::block::qcow2
