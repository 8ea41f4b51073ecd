// SPDX-License-Identifier: Apache-2.0
// The software CPU's Vm: what its vCPUs share.
//
// Decoded code and stores. Each RAM page has a flag (GuestMemory::PageFlags,
// kPageHasCode) and a version. A vCPU that decodes from a page for the first
// time sets the flag, asks every other vCPU to drop its fast write entries and
// waits until each has (a vCPU outside Run() counts as having), and only then
// reads the bytes; while it waits it serves such requests itself, so two can
// wait for each other. Stores to a flagged page take the slow path, which bumps
// the version (CodeWritten); a block is valid while its page's version is the
// one it was decoded at, which every block entry compares.
#ifndef LIB_CPU_SOFT_VM_H_
#define LIB_CPU_SOFT_VM_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "lib/base/mutex.h"
#include "lib/cpu/backend.h"
#include "lib/cpu/soft/model.h"
#include "lib/mem/guest_memory.h"

namespace atl::cpu::soft {

class SoftVcpu;

class SoftVm final : public Vm, public SlotListener, public WriteWatcher {
 public:
  explicit SoftVm(GuestMemory& memory, CpuModel model = CpuModel::kMax);
  ~SoftVm() override;

  absl::StatusOr<std::unique_ptr<Vcpu>> CreateVcpu(const VcpuConfig& config) override;
  void SetA20(bool enabled) override;
  void OnSlotsChanged() override;
  void OnWatchedWrite(Gfn page) override;

  CpuModel model() const { return model_; }

  // Linear-to-physical addresses are ANDed with this.
  uint64_t a20_mask() const { return a20_mask_.load(std::memory_order_relaxed); }

  // The version of a RAM page's code; odd bits mean nothing, only equality.
  uint32_t CodeVersion(uint64_t ram_page) const {
    return versions_[ram_page].load(std::memory_order_acquire);
  }
  // Bytes of a page flagged kPageHasCode have changed. Call it after the store:
  // a vCPU that decodes between the two sees old bytes with the old version.
  void CodeWritten(uint64_t ram_page);
  // Before decoding from a RAM page: see above. On `self`'s thread. False where
  // `self` was kicked while it waited: leave Run() and try again.
  bool WatchCodePage(uint64_t ram_page, SoftVcpu& self);
  // Where CodeVersion() lies; for memory that is no RAM, a place that never changes.
  const std::atomic<uint32_t>* VersionPlace(uint64_t ram_page) const {
    return &versions_[ram_page];
  }

  // Serialises locked accesses that no host instruction can do at once (MMIO,
  // page crossing) against each other.
  Mutex& split_lock() { return split_lock_; }

  // Vcpus register themselves for the calls above.
  void Add(SoftVcpu* vcpu);
  void Remove(SoftVcpu* vcpu);

 private:
  GuestMemory& memory_;
  const CpuModel model_;
  std::atomic<uint64_t> a20_mask_{~uint64_t{0}};
  std::unique_ptr<std::atomic<uint32_t>[]> versions_;
  // Per RAM page: no vCPU has a fast write entry for it any more.
  std::unique_ptr<std::atomic<bool>[]> watched_;
  Mutex split_lock_;
  Mutex vcpus_mu_;
  std::vector<SoftVcpu*> vcpus_ ABSL_GUARDED_BY(vcpus_mu_);
};

}  // namespace atl::cpu::soft

#endif  // LIB_CPU_SOFT_VM_H_
