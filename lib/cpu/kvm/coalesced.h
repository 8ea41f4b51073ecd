// SPDX-License-Identifier: Apache-2.0
// Writes that KVM keeps in a ring for us instead of leaving the guest for each
// (KVM_CAP_COALESCED_MMIO and _PIO): 169 at the most, of all vCPUs, in their order. A
// full ring leaves the guest as if there were none.
//
// Order. A vCPU's later access that does come here finds the ring emptied: by its own
// thread, or by another that is at it, which it waits for. What is delivered counts as
// that only when it has reached its device.
//
// The kernel never sees a beginning at entry 0 but at first: before Linux 6.12 it does
// not find a ring full that begins there and is more than half full, and would write
// over all of it. One that was never full there stops at the half.
#ifndef LIB_CPU_KVM_COALESCED_H_
#define LIB_CPU_KVM_COALESCED_H_

#include <linux/kvm.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "lib/base/mutex.h"
#include "lib/cpu/backend.h"

namespace atl::cpu::kvm {

// struct kvm_coalesced_mmio_ring: a page that the kernel shares.
struct CoalescedRing {
  static constexpr uint32_t kEntries = (4096 - 8) / sizeof(kvm_coalesced_mmio);
  uint32_t first = 0;  // ours
  uint32_t last = 0;   // the kernel's
  kvm_coalesced_mmio entries[kEntries] = {};
};
static_assert(sizeof(CoalescedRing) <= 4096);

// Delivers what `ring` holds to `sink`. An entry outside the ring or of a size that no
// access has is passed over: it is in memory that others write to. Any thread that holds
// no device's lock.
class RingReader {
 public:
  RingReader(CoalescedRing& ring, PostedSink& sink) : ring_(ring), sink_(sink) {}
  // Where nothing is there: two loads.
  void Deliver() {
    if (__atomic_load_n(&ring_.last, __ATOMIC_ACQUIRE) != first_.load(std::memory_order_acquire)) {
      DeliverAll();
    }
  }

 private:
  void DeliverAll();
  void DeliverOne(const kvm_coalesced_mmio& entry);

  CoalescedRing& ring_;
  PostedSink& sink_;
  Mutex mu_;
  std::atomic<uint32_t> first_{0};  // not delivered yet; changed under mu_
};

// The ring of a VM, and what goes into it.
class Coalesced {
 public:
  // `sink` outlives it. Of `ranges` those that the module can coalesce.
  Coalesced(int vm, std::span<const PostedRange> ranges, PostedSink& sink);
  ~Coalesced();
  Coalesced(const Coalesced&) = delete;
  Coalesced& operator=(const Coalesced&) = delete;

  bool any() const { return !ranges_.empty(); }
  // The first vCPU is there, through which the ring is mapped; nothing is posted
  // before. Where this fails, and where the module cannot, all writes exit.
  void AddVcpu(int vcpu);
  void Deliver() {
    if (reader_) reader_->Deliver();
  }
  // Whether ranges that are seen are posted. What was is there after Deliver().
  void LetSeenWait(bool may);

 private:
  void Set(const PostedRange& range, bool posted);

  const int vm_;
  PostedSink& sink_;
  std::vector<PostedRange> ranges_;
  void* ring_ = nullptr;
  std::unique_ptr<RingReader> reader_;
  Mutex mu_;
  bool seen_wait_ ABSL_GUARDED_BY(mu_) = true;
};

}  // namespace atl::cpu::kvm

#endif  // LIB_CPU_KVM_COALESCED_H_
