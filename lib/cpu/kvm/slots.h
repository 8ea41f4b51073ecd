// SPDX-License-Identifier: Apache-2.0
// A VM's memory slots, and the log of where its vCPUs write.
//
// KVM write-protects the pages of a slot that is logged; a vCPU's first write to one
// faults once, inside the kernel, and is noted: in a bitmap of the slot, which
// KVM_GET_DIRTY_LOG reads and KVM_CLEAR_DIRTY_LOG (where the module has it, else
// the same call) empties; or in a ring of the vCPU, which a full one comes back for.
// A slot is logged only while somebody wants to know: the flag comes and goes.
//
// With rings on VMX the last few pages may still be in the processor's own buffer. It
// is emptied whenever the vCPU leaves the guest, for the host's timer if for nothing
// else, so no vCPU is stopped for it: they come a few milliseconds later.
#ifndef LIB_CPU_KVM_SLOTS_H_
#define LIB_CPU_KVM_SLOTS_H_

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "lib/base/mutex.h"
#include "lib/cpu/kvm/dirty_ring.h"
#include "lib/mem/guest_memory.h"

namespace atl::cpu::kvm {

// Thread rule: Prepare() and AddVcpu() before vCPUs run, Update() while none does; the
// others any thread.
class Slots final : public WriteLog {
 public:
  // `vm`, its descriptor, and `memory` outlive it.
  Slots(int vm, GuestMemory& memory) : vm_(vm), memory_(memory) {}

  // How the log is kept. `device`: the node, for its capabilities. `ring_entries`: of
  // each vCPU's ring, 0 for bitmaps; Unimplemented where there are no rings.
  absl::Status Prepare(int device, uint32_t ring_entries);
  absl::Status AddVcpu(int vcpu);
  // Makes KVM's slots those of the memory; the first error, and then the others are
  // right.
  absl::Status Update();

  // A vCPU came back since its ring is full.
  void RingIsFull() { Collect(); }

  void Begin(std::span<uint8_t> bytes) override;
  void End() override;
  void Collect() override;

  bool rings() const { return ring_entries_ != 0; }

 private:
  bool Logged(const MemorySlot& slot) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::Status Set(uint32_t number, const MemorySlot& slot, bool logged);
  void SetLogged(bool on) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void MarkAll() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void CollectBitmap(uint32_t number) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void CollectRings() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const int vm_;
  GuestMemory& memory_;
  bool manual_ = false;  // reading a bitmap does not empty it
  uint32_t ring_entries_ = 0;

  Mutex mu_;
  // KVM's slots by number; size 0: free.
  std::vector<MemorySlot> slots_ ABSL_GUARDED_BY(mu_);
  std::vector<std::unique_ptr<DirtyRing>> rings_ ABSL_GUARDED_BY(mu_);
  std::span<uint8_t> logged_ ABSL_GUARDED_BY(mu_);  // empty: no log
  // Something is not in the log: all counts as written to at the next Collect(), or,
  // where KVM refused to keep it, at each.
  bool lost_ ABSL_GUARDED_BY(mu_) = false;
  bool refused_ ABSL_GUARDED_BY(mu_) = false;
  std::vector<uint64_t> bitmap_ ABSL_GUARDED_BY(mu_);
};

}  // namespace atl::cpu::kvm

#endif  // LIB_CPU_KVM_SLOTS_H_
