// SPDX-License-Identifier: Apache-2.0
// Decoded blocks of one vCPU.
//
// A block is a run of instructions of one page, up to a branch, the page's end
// or kMaxBlock of them; an instruction that lies on two pages is a block of its
// own. Blocks are found by (host address of the first byte, code size). A block
// is good while the version of its page (vm.h) is the one it was decoded at;
// where it is not, its bytes are compared, so that data beside code costs no
// decoding. Memory that has no version (ROM) is compared at every entry.
//
// Three ways lead to a block, from the fastest: the chain of the block before
// it, for near direct branches; a table by linear address; translation and the
// hash table. The first two hold while Mmu::generation() and the privilege are
// those they were made with, the chain within one page for ever.
//
// Memory is bounded: blocks are made in an arena, and where it is full all go.
#ifndef LIB_CPU_SOFT_CODE_CACHE_H_
#define LIB_CPU_SOFT_CODE_CACHE_H_

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "lib/cpu/soft/insn.h"
#include "lib/cpu/soft/state.h"
#include "lib/cpu/soft/vcpu.h"

namespace atl::cpu::soft {

struct Block;

struct Chain {
  Block* to = nullptr;
  uint64_t linear = 0;
  uint64_t tag = 0;  // CodeCache::Tag() then
};

struct alignas(64) Block {
  const uint8_t* start = nullptr;  // host address of the first byte
  const std::atomic<uint32_t>* version_at = nullptr;
  uint32_t version = 0;
  uint16_t count = 0;  // of instructions
  uint16_t bytes = 0;
  CodeSize code_size = CodeSize::k16;
  Flow flow = Flow::kStraight;  // of the last instruction
  // Compare the bytes at every entry: no version, or two pages.
  bool always_check = false;
  bool straddles = false;
  uint8_t first_part = 0;  // straddles: bytes on the first page
  const uint8_t* second_page = nullptr;
  Block* next_in_bucket = nullptr;
  Chain taken, fallthrough;

  Insn* insns() { return reinterpret_cast<Insn*>(this + 1); }
};
static_assert(sizeof(Block) == 128);

class CodeCache {
 public:
  static constexpr unsigned kMaxBlock = 48;
  static constexpr size_t kArenaBytes = size_t{4} << 20;

  explicit CodeCache(SoftVcpu& vcpu);
  ~CodeCache();
  CodeCache(const CodeCache&) = delete;
  CodeCache& operator=(const CodeCache&) = delete;

  enum class Result : uint8_t {
    kBlock,
    kFault,      // SoftVcpu::fault: fetching raises it
    kNotMemory,  // rip points into no memory
    kKicked,     // see SoftVm::WatchCode()
  };
  // The block at the vCPU's rip in its present mode, valid to be run now.
  Result Find(Block** out);

  // What chains and the table by address are good for, beside the address.
  uint64_t Tag(uint64_t linear) const;
  // Whether the block's bytes are still those it was decoded from.
  static bool Current(const Block& b) {
    return !b.always_check && b.version_at->load(std::memory_order_acquire) == b.version;
  }
  // The same, comparing bytes where the version moved.
  bool Revalidate(Block& b, uint64_t linear);

  // Looks into the table by address only.
  Block* FindQuick(uint64_t linear, uint64_t tag) {
    const Quick& q = tables_->quick[QuickIndex(linear)];
    return q.linear == linear && q.tag == tag ? q.block : nullptr;
  }

  void Clear();
  uint64_t decoded() const { return decoded_; }
  // Changes when blocks go: pointers to them are good while it is the same.
  uint64_t clears() const { return clears_; }

 private:
  struct Quick {
    uint64_t linear, tag;
    Block* block;
  };
  static constexpr unsigned kQuickBits = 15, kBucketBits = 15;
  // Zeros are an empty table, so that what is not used takes no memory.
  struct Tables {
    Block* buckets[size_t{1} << kBucketBits];
    Quick quick[size_t{1} << kQuickBits];
  };
  static size_t QuickIndex(uint64_t linear) {
    return (linear ^ (linear >> kQuickBits)) & ((size_t{1} << kQuickBits) - 1);
  }
  static size_t BucketIndex(const uint8_t* start) {
    return (reinterpret_cast<uint64_t>(start) * 0x9E3779B97F4A7C15u) >> (64 - kBucketBits);
  }
  Result Make(uint64_t linear, const uint8_t* page, uint64_t ram_page, Block** out);
  Block* Reserve();

  SoftVcpu& vcpu_;
  uint8_t* arena_ = nullptr;
  size_t used_ = 0;
  uint64_t decoded_ = 0, clears_ = 0;
  Tables* tables_ = nullptr;
};

inline uint64_t CodeCache::Tag(uint64_t linear) const {
  return vcpu_.mmu.generation(linear) << 3 | static_cast<uint64_t>(vcpu_.s.code_size) << 1 |
         static_cast<uint64_t>(vcpu_.user());
}

}  // namespace atl::cpu::soft

#endif  // LIB_CPU_SOFT_CODE_CACHE_H_
