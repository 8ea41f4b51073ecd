// SPDX-License-Identifier: Apache-2.0
#include "lib/cpu/soft/code_cache.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <new>
#include <optional>

#include "lib/cpu/soft/decode.h"
#include "lib/cpu/soft/vcpu.h"
#include "lib/cpu/soft/vm.h"
#include "lib/mem/address.h"

namespace atl::cpu::soft {
namespace {

constexpr size_t kLargestBlock = sizeof(Block) + CodeCache::kMaxBlock * sizeof(Insn);
constexpr size_t kMaxLength = 15;
constexpr size_t kGranule = size_t{1} << SoftVm::kGranuleShift;

// The version of what has none.
const std::atomic<uint32_t> kNoVersion{0};

// Zeros; touched as it fills, so a small guest costs little.
void* MapZeros(size_t bytes) {
  void* p = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (p == MAP_FAILED) throw std::bad_alloc();
  return p;
}

}  // namespace

CodeCache::CodeCache(SoftVcpu& vcpu)
    : vcpu_(vcpu),
      arena_(static_cast<uint8_t*>(MapZeros(kArenaBytes))),
      tables_(static_cast<Tables*>(MapZeros(sizeof(Tables)))) {}

CodeCache::~CodeCache() {
  munmap(tables_, sizeof(Tables));
  munmap(arena_, kArenaBytes);
}

void CodeCache::Clear() {
  used_ = 0;
  ++clears_;
  madvise(tables_, sizeof(Tables), MADV_DONTNEED);
}

// Called only between blocks: no pointer into the arena is in use but chains of
// blocks that go with it.
Block* CodeCache::Reserve() {
  if (used_ + kLargestBlock > kArenaBytes) Clear();
  return new (arena_ + used_) Block;
}

bool CodeCache::Revalidate(Block& b, uint64_t linear) {
  // The version first: a store between the two makes the block stale again. The
  // page may have been data for a while: it is watched before it is read.
  uint32_t version = 0;
  if (const std::optional<uint64_t> page = vcpu_.memory.RamPage(b.start)) {
    const unsigned first = reinterpret_cast<uint64_t>(b.start) & (kPageSize - 1);
    const unsigned size = b.straddles ? b.first_part : b.bytes;
    if (!vcpu_.vm.WatchCode(*page, first, size, vcpu_, &version)) return false;
  }
  const uint8_t* at = b.start;
  if (b.straddles) {
    const Insn& in = b.insns()[0];
    if (std::memcmp(in.bytes, at, b.first_part) != 0) return false;
    // Only now: this may set the page's accessed bit.
    Mmu::CodePage second;
    if (!vcpu_.mmu.TranslateCode((linear | (kPageSize - 1)) + 1, &second) ||
        second.host != b.second_page)
      return false;
    uint32_t ignored;
    if (second.page != Mmu::kNotRam &&
        !vcpu_.vm.WatchCode(second.page, 0, b.bytes - b.first_part, vcpu_, &ignored))
      return false;
    if (std::memcmp(in.bytes + b.first_part, b.second_page, b.bytes - b.first_part) != 0)
      return false;
  } else {
    for (unsigned i = 0; i < b.count; ++i) {
      const Insn& in = b.insns()[i];
      if (std::memcmp(in.bytes, at, in.length) != 0) return false;
      at += in.length;
    }
  }
  b.version = version;
  return true;
}

CodeCache::Result CodeCache::Find(Block** out) {
  const uint64_t linear = LinearRip(vcpu_), tag = Tag(linear);
  Quick& q = tables_->quick[QuickIndex(linear)];
  if (q.linear == linear && q.tag == tag && q.block != nullptr &&
      (Current(*q.block) || Revalidate(*q.block, linear))) {
    *out = q.block;
    return Result::kBlock;
  }
  Mmu::CodePage page;
  if (!vcpu_.mmu.TranslateCode(linear, &page)) return Result::kFault;
  if (page.host == nullptr) return Result::kNotMemory;
  const uint8_t* start = page.host + (linear & (kPageSize - 1));
  Block** link = &tables_->buckets[BucketIndex(start)];
  for (; *link != nullptr; link = &(*link)->next_in_bucket) {
    Block* b = *link;
    if (b->start != start || b->code_size != vcpu_.s.code_size) continue;
    if (Current(*b) || Revalidate(*b, linear)) {
      q = {linear, tag, b};
      *out = b;
      return Result::kBlock;
    }
    *link = b->next_in_bucket;  // its bytes are gone; the arena forgets it later
    break;
  }
  Result r = Make(linear, page.host, page.page, out);
  if (r == Result::kBlock) q = {linear, tag, *out};
  return r;
}

CodeCache::Result CodeCache::Make(uint64_t linear, const uint8_t* page, uint64_t ram_page,
                                  Block** out) {
  SoftVm& vm = vcpu_.vm;
  const bool ram = ram_page != Mmu::kNotRam;
  const size_t offset = linear & (kPageSize - 1);
  // Where the granules of code end that are watched. The rest of the page may be
  // data, so no more of them are than instructions need.
  size_t watched = offset;
  uint32_t version = 0;
  const auto watch_more = [&] {
    const size_t end = (watched | (kGranule - 1)) + 1;
    uint32_t later;
    if (ram && !vm.WatchCode(ram_page, static_cast<unsigned>(watched),
                             static_cast<unsigned>(end - watched), vcpu_,
                             watched == offset ? &version : &later))
      return false;
    watched = end;
    return true;
  };
  if (!watch_more()) return Result::kKicked;
  Block* b = Reserve();
  b->start = page + offset;
  b->version_at = ram ? vm.VersionPlace(ram_page) : &kNoVersion;
  b->always_check = !ram;
  b->version = version;
  b->code_size = vcpu_.s.code_size;
  size_t at = offset;
  bool ends = false;
  while (!ends && b->count < kMaxBlock && at < kPageSize) {
    Insn* in = b->insns() + b->count;
    if (at == watched && !watch_more()) return Result::kKicked;
    // Another vCPU may be storing to these bytes: decode from one copy.
    uint8_t copy[kMaxLength];
    size_t size = std::min(kMaxLength, watched - at);
    std::memcpy(copy, page + at, size);
    DecodeResult result = Decode(copy, size, b->code_size, vm.model(), in, &ends);
    if (result == DecodeResult::kNeedMore && watched < kPageSize) {
      if (!watch_more()) return Result::kKicked;
      size = std::min(kMaxLength, watched - at);
      std::memcpy(copy, page + at, size);
      result = Decode(copy, size, b->code_size, vm.model(), in, &ends);
    }
    if (result == DecodeResult::kNeedMore) {
      if (b->count != 0) break;
      const uint64_t next = (linear | (kPageSize - 1)) + 1;
      Mmu::CodePage second;
      if (!vcpu_.mmu.TranslateCode(vcpu_.in_64bit() ? next : static_cast<uint32_t>(next), &second))
        return Result::kFault;
      if (second.host == nullptr) return Result::kNotMemory;
      uint32_t second_version;
      if (second.page != Mmu::kNotRam &&
          !vm.WatchCode(second.page, 0, static_cast<unsigned>(kMaxLength - size), vcpu_,
                        &second_version))
        return Result::kKicked;
      std::memcpy(copy + size, second.host, kMaxLength - size);
      Decode(copy, kMaxLength, b->code_size, vm.model(), in, &ends);
      b->straddles = b->always_check = ends = true;
      b->first_part = static_cast<uint8_t>(size);
      b->second_page = second.host;
    }
    vcpu_.counters.insn_emulation.Add();
    at += in->length;
    b->flow = in->flow;
    ++b->count;
  }
  b->bytes = static_cast<uint16_t>(at - offset);
  decoded_ += b->count;
  used_ += sizeof(Block) + b->count * sizeof(Insn);
  Block*& bucket = tables_->buckets[BucketIndex(b->start)];
  b->next_in_bucket = bucket;
  bucket = b;
  *out = b;
  return Result::kBlock;
}

}  // namespace atl::cpu::soft
