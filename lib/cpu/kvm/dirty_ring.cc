// SPDX-License-Identifier: Apache-2.0
#include "lib/cpu/kvm/dirty_ring.h"

#include <errno.h>
#include <sys/mman.h>

#include "lib/base/status_macros.h"
#include "lib/mem/address.h"

namespace atl::cpu::kvm {

absl::StatusOr<std::unique_ptr<DirtyRing>> DirtyRing::Map(int vcpu, uint32_t entries) {
  void* const at = mmap(nullptr, entries * sizeof(kvm_dirty_gfn), PROT_READ | PROT_WRITE,
                        MAP_SHARED, vcpu, KVM_DIRTY_LOG_PAGE_OFFSET * kPageSize);
  if (at == MAP_FAILED) return ErrnoError(errno, "mmap of a dirty ring");
  auto out = std::make_unique<DirtyRing>(
      std::span<kvm_dirty_gfn>(static_cast<kvm_dirty_gfn*>(at), entries));
  out->mapped_ = true;
  return out;
}

DirtyRing::~DirtyRing() {
  if (mapped_) munmap(entries_.data(), entries_.size_bytes());
}

// No more than the ring has in one go: a vCPU that fills it while we empty it does not
// keep us here.
uint32_t DirtyRing::Harvest(const std::function<void(uint32_t slot, uint64_t page)>& page) {
  uint32_t count = 0;
  for (; count < entries_.size(); ++count) {
    kvm_dirty_gfn& e = entries_[next_];
    if ((__atomic_load_n(&e.flags, __ATOMIC_ACQUIRE) & KVM_DIRTY_GFN_F_MASK) !=
        KVM_DIRTY_GFN_F_DIRTY) {
      break;
    }
    page(e.slot, e.offset);
    __atomic_store_n(&e.flags, uint32_t{KVM_DIRTY_GFN_F_RESET}, __ATOMIC_RELEASE);
    next_ = next_ + 1 == entries_.size() ? 0 : next_ + 1;
  }
  return count;
}

}  // namespace atl::cpu::kvm
