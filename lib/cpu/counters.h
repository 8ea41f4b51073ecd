// SPDX-License-Identifier: Apache-2.0
// What a backend that is ours counts, where everybody can read it: these structs
// lie in shared memory (lib/vm/machine_stats.h). Names and meanings are those of
// KVM's counters, in lib/stats/fields.cc.
#ifndef LIB_CPU_COUNTERS_H_
#define LIB_CPU_COUNTERS_H_

#include <atomic>
#include <cstdint>

namespace atl::cpu {

class Counter {
 public:
  // By one thread alone: two plain moves and an addition.
  void Add(uint64_t n = 1) { Set(value() + n); }
  void Set(uint64_t n) { value_.store(n, std::memory_order_relaxed); }
  // By any.
  void AddShared(uint64_t n = 1) { value_.fetch_add(n, std::memory_order_relaxed); }
  uint64_t value() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<uint64_t> value_{0};
};
static_assert(sizeof(Counter) == 8 && std::atomic<uint64_t>::is_always_lock_free);

// Each by the vCPU's thread alone.
struct VcpuCounters {
  // By the machine, where the backend calls its bus or comes back from Run().
  Counter cr8;
  Counter exits;
  Counter instructions;
  Counter io_exits;
  Counter irq_exits;
  Counter irq_injections;
  Counter mmio_exits;
  Counter msr;
  Counter signal_exits;
  // By the backend.
  Counter halt_exits;
  Counter halt_wakeup;
  Counter insn_emulation;
  Counter insn_emulation_fail;
  Counter invlpg;
  Counter mmu_cache_miss;
  Counter mmu_recycled;
  Counter mmu_shadow_zapped;
  Counter mmu_unsync;  // as many as there are now
  Counter nmi_injections;
  Counter pf_fixed;
  Counter pf_guest;
  Counter tlb_flush;
};

// By any thread, with AddShared().
struct VmCounters {
  Counter remote_tlb_flush;
  Counter remote_tlb_flush_requests;
};

}  // namespace atl::cpu

#endif  // LIB_CPU_COUNTERS_H_
