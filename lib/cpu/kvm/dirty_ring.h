// SPDX-License-Identifier: Apache-2.0
// A vCPU's dirty ring (Documentation/virt/kvm/api.rst, KVM_CAP_DIRTY_LOG_RING): pages
// that it wrote to, in order, which the kernel fills and we empty. An entry's flags
// say whose it is: ours with DIRTY, the kernel's again with RESET.
#ifndef LIB_CPU_KVM_DIRTY_RING_H_
#define LIB_CPU_KVM_DIRTY_RING_H_

#include <linux/kvm.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <span>

#include "absl/status/statusor.h"

namespace atl::cpu::kvm {

class DirtyRing {
 public:
  // Fewer than the kernel keeps in reserve it refuses.
  static constexpr uint32_t kMinEntries = 1024, kMaxEntries = 65536;

  // That of a vCPU, whose VM has rings of `entries`, a power of two.
  static absl::StatusOr<std::unique_ptr<DirtyRing>> Map(int vcpu, uint32_t entries);
  // Over memory that is the caller's.
  explicit DirtyRing(std::span<kvm_dirty_gfn> entries) : entries_(entries) {}
  ~DirtyRing();
  DirtyRing(const DirtyRing&) = delete;
  DirtyRing& operator=(const DirtyRing&) = delete;

  // Gives each entry that is ours to `page`, and back to the kernel, which takes it
  // with KVM_RESET_DIRTY_RINGS; how many. What it says is to be checked: the guest
  // chooses the pages, and a slot may have gone since. One thread at a time.
  uint32_t Harvest(const std::function<void(uint32_t slot, uint64_t page)>& page);

 private:
  const std::span<kvm_dirty_gfn> entries_;
  bool mapped_ = false;
  size_t next_ = 0;
};

}  // namespace atl::cpu::kvm

#endif  // LIB_CPU_KVM_DIRTY_RING_H_
