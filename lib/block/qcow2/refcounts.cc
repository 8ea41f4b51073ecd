// SPDX-License-Identifier: Apache-2.0
#include "lib/block/qcow2/refcounts.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "lib/base/checked.h"
#include "lib/base/endian.h"
#include "lib/base/status_macros.h"

namespace atl::block::qcow2 {
namespace {

constexpr uint64_t kOffsetMask = 0x00fffffffffffe00;
// Clean blocks in memory, before they are read again.
constexpr uint64_t kMaxCleanBytes = 64 << 20;
// The file grows ahead of its use by so much, so that growing costs little.
constexpr uint64_t kGrowBytes = 8 << 20;

}  // namespace

uint64_t GetCount(std::span<const uint8_t> block, uint32_t order, uint64_t i) {
  switch (order) {
    case 0:
    case 1:
    case 2: {
      unsigned bits = 1u << order, per = 8 / bits;
      return block[i / per] >> (i % per * bits) & ((1u << bits) - 1);
    }
    case 3:
      return block[i];
    case 4:
      return LoadBe<uint16_t>(block.data() + 2 * i);
    case 5:
      return LoadBe<uint32_t>(block.data() + 4 * i);
    default:
      return LoadBe<uint64_t>(block.data() + 8 * i);
  }
}

void SetCount(std::span<uint8_t> block, uint32_t order, uint64_t i, uint64_t count) {
  switch (order) {
    case 0:
    case 1:
    case 2: {
      unsigned bits = 1u << order, per = 8 / bits, shift = static_cast<unsigned>(i % per) * bits;
      unsigned mask = ((1u << bits) - 1) << shift;
      uint8_t& b = block[i / per];
      b = static_cast<uint8_t>((b & ~mask) | (static_cast<unsigned>(count) << shift & mask));
      return;
    }
    case 3:
      block[i] = static_cast<uint8_t>(count);
      return;
    case 4:
      return StoreBe(block.data() + 2 * i, static_cast<uint16_t>(count));
    case 5:
      return StoreBe(block.data() + 4 * i, static_cast<uint32_t>(count));
    default:
      return StoreBe(block.data() + 8 * i, count);
  }
}

Refcounts::Refcounts(const Header& header, Io io, MetadataMap* metadata)
    : where_(io.storage->name() + ": qcow2"),
      io_(std::move(io)),
      cluster_bits_(header.cluster_bits),
      cluster_size_(header.cluster_size()),
      order_(header.refcount_order),
      metadata_(metadata),
      table_offset_(header.refcount_table_offset),
      table_clusters_(header.refcount_table_clusters) {}

absl::Status Refcounts::Bad(const std::string& what) const {
  return absl::DataLossError(absl::StrCat(where_, ": ", what));
}

absl::Status Refcounts::Load() {
  MutexLock lock(&mu_);
  absl::StatusOr<std::vector<uint8_t>> bytes =
      ReadVector(*io_.storage, table_offset_, table_clusters_ * cluster_size_);
  if (absl::IsOutOfRange(bytes.status())) {
    return Bad(
        absl::StrFormat("refcount table at 0x%x lies past the end of the file", table_offset_));
  }
  RETURN_IF_ERROR(bytes.status());
  table_.resize(bytes->size() / 8);
  for (size_t i = 0; i < table_.size(); ++i) table_[i] = LoadBe<uint64_t>(bytes->data() + 8 * i);
  ASSIGN_OR_RETURN(file_size_, io_.storage->Size());
  file_size_at_open_ = file_size_;
  grows_zeroed_ = io_.storage->grows_zeroed();
  used_end_ = RoundUp(file_size_, cluster_size_);
  return absl::OkStatus();
}

absl::Status Refcounts::AddMetadata() {
  MutexLock lock(&mu_);
  absl::Status status =
      metadata_->Add("refcount table", table_offset_, table_clusters_ * cluster_size_);
  for (size_t i = 0; status.ok() && i < table_.size(); ++i) {
    if ((table_[i] & kOffsetMask) == 0) continue;
    status = metadata_->Add("refcount block", table_[i] & kOffsetMask, cluster_size_);
  }
  return Annotate(status, where_);
}

absl::StatusOr<Refcounts::Block*> Refcounts::GetBlock(uint64_t index) {
  if (index >= table_.size() || (table_[index] & kOffsetMask) == 0) return nullptr;
  auto it = blocks_.find(index);
  if (it != blocks_.end()) return it->second.get();
  uint64_t offset = table_[index] & kOffsetMask;
  if (offset % cluster_size_ != 0) {
    return Bad(absl::StrFormat("refcount block %d at 0x%x is not aligned", index, offset));
  }
  if (blocks_.size() * cluster_size_ >= kMaxCleanBytes) {
    absl::erase_if(blocks_, [this](const auto& b) {
      mu_.AssertHeld();
      return !dirty_blocks_.contains(b.first);
    });
  }
  auto block = std::make_unique<Block>();
  block->bytes.resize(cluster_size_);
  absl::Status status = io_.storage->Read(offset, block->bytes);
  if (absl::IsOutOfRange(status)) {
    return Bad(
        absl::StrFormat("refcount block %d at 0x%x lies past the end of the file", index, offset));
  }
  RETURN_IF_ERROR(status);
  return (blocks_[index] = std::move(block)).get();
}

absl::StatusOr<uint64_t> Refcounts::Get(uint64_t cluster) {
  ASSIGN_OR_RETURN(Block * block, GetBlock(cluster / block_entries()));
  return block == nullptr ? 0 : GetCount(block->bytes, order_, cluster % block_entries());
}

void Refcounts::Set(Block* block, uint64_t cluster, uint64_t count) {
  uint64_t i = cluster % block_entries();
  SetCount(block->bytes, order_, i, count);
  uint64_t byte = (i << order_) / 8;
  uint64_t end = byte + std::max<uint64_t>((uint64_t{1} << order_) / 8, 1);
  if (block->dirty_begin == block->dirty_end) {
    block->dirty_begin = byte;
    block->dirty_end = end;
    dirty_blocks_.insert(cluster / block_entries());
  } else {
    block->dirty_begin = std::min(block->dirty_begin, byte);
    block->dirty_end = std::max(block->dirty_end, end);
  }
}

absl::Status Refcounts::CheckPlaces(uint64_t first, uint64_t count) const {
  // Offsets of more than 56 bits do not fit into L2 entries.
  if (first + count > uint64_t{1} << (56 - cluster_bits_)) {
    return absl::ResourceExhaustedError(absl::StrCat(where_, ": the file cannot grow further"));
  }
  const char* what = metadata_->Find(first << cluster_bits_, count << cluster_bits_);
  if (what == nullptr && first != 0) return absl::OkStatus();
  return Bad(absl::StrFormat("the refcount of clusters at 0x%x is 0, but the %s lies there",
                             first << cluster_bits_, what == nullptr ? "header" : what));
}

absl::Status Refcounts::MakeBlock(uint64_t cluster) {
  const uint64_t index = cluster / block_entries();
  RETURN_IF_ERROR(CheckPlaces(cluster, 1));
  if (index >= table_.size()) return GrowTable(index);
  RETURN_IF_ERROR(ReserveFile((cluster + 1) << cluster_bits_));
  auto block = std::make_unique<Block>();
  block->bytes.resize(cluster_size_);
  Block* b = (blocks_[index] = std::move(block)).get();
  Set(b, cluster, 1);
  b->dirty_begin = 0;
  b->dirty_end = cluster_size_;
  table_[index] = cluster << cluster_bits_;
  table_dirty_ = true;
  return Annotate(metadata_->Add("refcount block", cluster << cluster_bits_, cluster_size_),
                  where_);
}

absl::Status Refcounts::GrowTable(uint64_t index) {
  // The new table and the blocks that count it start where the old table's
  // reach ends: nothing lies there.
  const uint64_t entries = block_entries(), old_entries = table_.size();
  const uint64_t start = std::max(old_entries, index) * entries;
  uint64_t blocks = 1, clusters = 0;
  for (;;) {
    uint64_t wanted = std::max(start / entries + blocks, old_entries + old_entries / 2);
    clusters = DivRoundUp(wanted * 8, cluster_size_);
    uint64_t need = DivRoundUp(blocks + clusters, entries);
    if (need <= blocks) break;
    blocks = need;
  }
  if (clusters * cluster_size_ > kMaxRefcountTableBytes) {
    return absl::ResourceExhaustedError(
        absl::StrCat(where_, ": the refcount table cannot grow past 8 MiB"));
  }
  RETURN_IF_ERROR(CheckPlaces(start, blocks + clusters));
  RETURN_IF_ERROR(ReserveFile((start + blocks + clusters) << cluster_bits_));
  const uint64_t table_at = (start + blocks) << cluster_bits_;
  table_.resize(clusters * cluster_size_ / 8);
  for (uint64_t i = 0; i < blocks; ++i) {
    auto block = std::make_unique<Block>();
    block->bytes.resize(cluster_size_);
    block->dirty_end = cluster_size_;
    blocks_[start / entries + i] = std::move(block);
    dirty_blocks_.insert(start / entries + i);
    table_[start / entries + i] = (start + i) << cluster_bits_;
  }
  for (uint64_t c = start; c < start + blocks + clusters; ++c) {
    Set(blocks_[c / entries].get(), c, 1);
  }
  // A failure from here on leaves it open which table counts; nothing that was
  // allocated may be referred to from then on.
  broken_ = true;
  const uint64_t old_offset = table_offset_, old_clusters = table_clusters_;
  RETURN_IF_ERROR(WriteBlocks());
  std::vector<uint8_t> bytes(clusters * cluster_size_);
  for (size_t i = 0; i < table_.size(); ++i) StoreBe(bytes.data() + 8 * i, table_[i]);
  RETURN_IF_ERROR(io_.write(table_at, bytes));
  if (!io_.no_flush) RETURN_IF_ERROR(io_.sync());
  uint8_t place[12];
  StoreBe<uint64_t>(place, table_at);
  StoreBe<uint32_t>(place + 8, static_cast<uint32_t>(clusters));
  table_offset_ = table_at;
  table_clusters_ = clusters;
  RETURN_IF_ERROR(io_.write(offsetof(RawHeader, refcount_table_offset), place));
  if (!io_.no_flush) RETURN_IF_ERROR(io_.sync());
  table_dirty_ = broken_ = false;
  metadata_->Remove(old_offset, old_clusters * cluster_size_);
  RETURN_IF_ERROR(Annotate(
      metadata_->Add("refcount blocks", start << cluster_bits_, blocks * cluster_size_), where_));
  RETURN_IF_ERROR(
      Annotate(metadata_->Add("refcount table", table_at, clusters * cluster_size_), where_));
  for (uint64_t c = 0; c < old_clusters; ++c) {
    uint64_t cluster = (old_offset >> cluster_bits_) + c;
    ASSIGN_OR_RETURN(Block * block, GetBlock(cluster / entries));
    if (block == nullptr || GetCount(block->bytes, order_, cluster % entries) == 0) continue;
    Set(block, cluster, 0);
    hint_ = std::min(hint_, cluster);
  }
  return absl::OkStatus();
}

absl::Status Refcounts::ReserveFile(uint64_t end) {
  used_end_ = std::max(used_end_, end);
  if (end <= file_size_) return absl::OkStatus();
  uint64_t size = io_.storage->grows_zeroed() ? RoundUp(end, kGrowBytes) : end;
  RETURN_IF_ERROR(io_.storage->Truncate(size));
  file_size_ = size;
  return absl::OkStatus();
}

absl::StatusOr<Refcounts::Run> Refcounts::AllocateLocked(uint64_t max, bool exactly) {
  uint64_t first = hint_, count = 0;
  if (broken_) return Bad("the refcount table could not be moved");
  while (count < max) {
    uint64_t c = first + count;
    ASSIGN_OR_RETURN(Block * block, GetBlock(c / block_entries()));
    if (block == nullptr) {
      if (count > 0 && !exactly) break;
      // The block takes this place, and moves the run behind it.
      RETURN_IF_ERROR(MakeBlock(c));
      first = c;
      count = 0;
      continue;
    }
    if (GetCount(block->bytes, order_, c % block_entries()) == 0) {
      ++count;
      continue;
    }
    if (count > 0 && !exactly) break;
    // On to the next free cluster of this block.
    uint64_t end = (c / block_entries() + 1) * block_entries();
    do ++c;
    while (c < end && GetCount(block->bytes, order_, c % block_entries()) != 0);
    first = c;
    count = 0;
  }
  RETURN_IF_ERROR(CheckPlaces(first, count));
  Run run{.offset = first << cluster_bits_, .clusters = count};
  run.zeroed = grows_zeroed_ && run.offset >= used_end_;
  RETURN_IF_ERROR(ReserveFile((first + count) << cluster_bits_));
  for (uint64_t c = first; c < first + count; ++c) {
    ASSIGN_OR_RETURN(Block * block, GetBlock(c / block_entries()));
    Set(block, c, 1);
  }
  // Single clusters before a run that had to be long stay for others.
  if (!exactly || max == 1 || first == hint_) hint_ = first + count;
  return run;
}

absl::StatusOr<Refcounts::Run> Refcounts::Allocate(uint64_t max, bool exactly) {
  MutexLock lock(&mu_);
  return AllocateLocked(max, exactly);
}

absl::StatusOr<uint64_t> Refcounts::AllocatePacked(uint64_t bytes) {
  MutexLock lock(&mu_);
  const uint64_t most = order_ == 6 ? UINT64_MAX : (uint64_t{1} << (uint64_t{1} << order_)) - 1;
  uint64_t at = packed_next_;
  if (at % cluster_size_ == 0) at = 0;
  if (at != 0) {
    uint64_t cluster = at >> cluster_bits_;
    ASSIGN_OR_RETURN(uint64_t count, Get(cluster));
    uint64_t room = cluster_size_ - at % cluster_size_;
    bool fits = bytes <= room;
    if (count == 0 || count >= most) at = 0;
    if (at != 0 && !fits) {
      // On into the next cluster, if that is free.
      ASSIGN_OR_RETURN(Block * next, GetBlock((cluster + 1) / block_entries()));
      if (next == nullptr || GetCount(next->bytes, order_, (cluster + 1) % block_entries()) != 0) {
        at = 0;
      } else {
        RETURN_IF_ERROR(CheckPlaces(cluster + 1, 1));
        RETURN_IF_ERROR(ReserveFile((cluster + 2) << cluster_bits_));
        Set(next, cluster + 1, 1);
        if (hint_ == cluster + 1) ++hint_;
      }
    }
    if (at != 0) {
      ASSIGN_OR_RETURN(Block * block, GetBlock(cluster / block_entries()));
      Set(block, cluster, count + 1);
    }
  }
  if (at == 0) {
    ASSIGN_OR_RETURN(Run run, AllocateLocked(1, false));
    at = run.offset;
  }
  packed_next_ = at + bytes;
  return at;
}

absl::Status Refcounts::Lower(const std::vector<std::pair<uint64_t, uint64_t>>& ranges) {
  MutexLock lock(&mu_);
  std::vector<uint64_t> freed;
  absl::Status result;
  for (auto [offset, length] : ranges) {
    if (length == 0) continue;
    for (uint64_t c = offset >> cluster_bits_; c <= (offset + length - 1) >> cluster_bits_; ++c) {
      ASSIGN_OR_RETURN(Block * block, GetBlock(c / block_entries()));
      uint64_t count = block == nullptr ? 0 : GetCount(block->bytes, order_, c % block_entries());
      if (count == 0) {
        result = Bad(
            absl::StrFormat("the refcount of 0x%x is 0, but it was in use", c << cluster_bits_));
        continue;
      }
      if (count > 1) {
        Set(block, c, count - 1);
      } else {
        freed.push_back(c);
      }
    }
  }
  // A hole first, then free: nobody can own the place while it is punched.
  std::sort(freed.begin(), freed.end());
  for (size_t i = 0; i < freed.size();) {
    size_t j = i + 1;
    while (j < freed.size() && freed[j] == freed[j - 1] + 1) ++j;
    // Space that stays taken is no error.
    io_.storage->PunchHole(freed[i] << cluster_bits_, (j - i) << cluster_bits_).IgnoreError();
    for (; i < j; ++i) {
      ASSIGN_OR_RETURN(Block * block, GetBlock(freed[i] / block_entries()));
      Set(block, freed[i], 0);
      metadata_->Remove(freed[i] << cluster_bits_, cluster_size_);
      hint_ = std::min(hint_, freed[i]);
      if (packed_next_ >> cluster_bits_ == freed[i]) packed_next_ = 0;
    }
  }
  return result;
}

absl::StatusOr<uint64_t> Refcounts::CountUsed(uint64_t clusters, uint64_t enough) {
  MutexLock lock(&mu_);
  uint64_t used = 0;
  for (uint64_t c = 0; c < clusters && used < enough;) {
    const uint64_t end = std::min((c / block_entries() + 1) * block_entries(), clusters);
    // Behind the table's reach nothing is in use.
    if (c / block_entries() >= table_.size()) break;
    ASSIGN_OR_RETURN(Block * block, GetBlock(c / block_entries()));
    for (; block != nullptr && c < end; ++c) {
      used += GetCount(block->bytes, order_, c % block_entries()) != 0;
    }
    c = end;
  }
  return used;
}

absl::Status Refcounts::WriteBlocks() {
  std::vector<uint64_t> order(dirty_blocks_.begin(), dirty_blocks_.end());
  std::sort(order.begin(), order.end());
  for (uint64_t index : order) {
    Block& block = *blocks_[index];
    uint64_t begin = RoundDown(block.dirty_begin, 512);
    uint64_t end = std::min(RoundUp(block.dirty_end, 512), cluster_size_);
    RETURN_IF_ERROR(io_.write((table_[index] & kOffsetMask) + begin,
                              std::span(block.bytes).subspan(begin, end - begin)));
    block.dirty_begin = block.dirty_end = 0;
    dirty_blocks_.erase(index);
  }
  return absl::OkStatus();
}

absl::Status Refcounts::Write(bool sync) {
  MutexLock lock(&mu_);
  if (broken_) return Bad("the refcount table could not be moved");
  RETURN_IF_ERROR(WriteBlocks());
  if (!table_dirty_) return absl::OkStatus();
  if (sync) RETURN_IF_ERROR(io_.sync());
  std::vector<uint8_t> bytes(table_clusters_ * cluster_size_);
  for (size_t i = 0; i < table_.size(); ++i) StoreBe(bytes.data() + 8 * i, table_[i]);
  RETURN_IF_ERROR(io_.write(table_offset_, bytes));
  table_dirty_ = false;
  return absl::OkStatus();
}

uint64_t Refcounts::end() const {
  MutexLock lock(&mu_);
  return used_end_;
}

absl::Status Refcounts::TrimFile() {
  MutexLock lock(&mu_);
  if (!io_.storage->grows_zeroed()) return absl::OkStatus();
  uint64_t size = std::max(used_end_, file_size_at_open_);
  if (size >= file_size_) return absl::OkStatus();
  RETURN_IF_ERROR(io_.storage->Truncate(size));
  file_size_ = size;
  return absl::OkStatus();
}

}  // namespace atl::block::qcow2
