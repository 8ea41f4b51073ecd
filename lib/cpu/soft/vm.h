// SPDX-License-Identifier: Apache-2.0
// The software CPU's Vm: what its vCPUs share.
//
// Decoded code and stores. Each RAM page has a flag (GuestMemory::PageFlags,
// kPageHasCode), a version, and a bit for each granule of 64 bytes. A vCPU that
// decodes from a page sets the flag, asks every other vCPU to drop its fast
// write entries for the page and waits until each has (a vCPU outside Run()
// counts as having), sets the bits of the granules, and only then reads the
// bytes (WatchCode); while it waits it serves such requests itself, so two can
// wait for each other. Stores to a flagged page take the slow path, which bumps
// the version where a granule with code was hit (CodeWritten); a block is valid
// while its page's version is the one it was decoded at, which every block entry
// compares. Store then bit, bit then bytes, with a fence between: either the
// decoder reads the new bytes or the writer sees the bit.
//
// A page that is stored to often, or as a whole, is data again: the flag and the
// bits go, stores are fast, and the version is bumped, so that whoever runs the
// page's code next compares it and asks to watch it again.
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

struct TranslateConfig {
  bool on = true;
  size_t code_bytes = size_t{64} << 20;  // host code that each vCPU keeps
  uint32_t heat = 6;                     // executions by the interpreter before
  bool precise = false;                  // Translator::set_precise()
  // Compare every translated block with the interpreter (verify.h): no `heat`.
  bool verify = false;
};

class SoftVm final : public Vm, public SlotListener, public WriteWatcher {
 public:
  explicit SoftVm(GuestMemory& memory, CpuModel model = CpuModel::kMax,
                  const TranslateConfig& translate = {});
  ~SoftVm() override;

  absl::StatusOr<std::unique_ptr<Vcpu>> CreateVcpu(const VcpuConfig& config) override;
  void SetA20(bool enabled) override;
  void SetCounters(VmCounters* counters) override { counters_ = counters; }
  absl::Status Save(SavedVm* out) override;
  absl::Status Load(const SavedVm& in) override;
  void OnSlotsChanged() override;
  void OnWatchedWrite(Gfn page) override;
  bool KeepsRights() const override { return true; }
  uint64_t RevokeRights() override;
  bool RightsRevoked(uint64_t ticket) override;

  CpuModel model() const { return model_; }

  // Linear-to-physical addresses are ANDed with this.
  uint64_t a20_mask() const { return a20_mask_.load(std::memory_order_relaxed); }

  static constexpr unsigned kGranuleShift = 6;

  // The version of a RAM page's code; only equality means something.
  uint32_t CodeVersion(uint64_t ram_page) const {
    return pages_[ram_page].version.load(std::memory_order_acquire);
  }
  // Where CodeVersion() lies.
  const std::atomic<uint32_t>* VersionPlace(uint64_t ram_page) const {
    return &pages_[ram_page].version;
  }
  // Before the bytes [first, first + size) of a RAM page are decoded, or compared
  // with what was: see above. On `self`'s thread. *version is the one that blocks
  // made of them are valid at; of several calls for a block, the first call's.
  // False where `self` was kicked while it waited: leave Run() and try again.
  bool WatchCode(uint64_t ram_page, unsigned first, unsigned size, SoftVcpu& self,
                 uint32_t* version);
  // Bytes [first, first + size) of a page flagged kPageHasCode have changed. Call
  // it after the store.
  void CodeWritten(uint64_t ram_page, unsigned first, unsigned size);

  // Serialises locked accesses that no host instruction can do at once (MMIO,
  // page crossing) against each other.
  Mutex& split_lock() { return split_lock_; }

  const TranslateConfig& translate() const { return translate_; }

  // Vcpus register themselves for the calls above.
  void Add(SoftVcpu* vcpu);
  void Remove(SoftVcpu* vcpu);

 private:
  struct PageCode {
    std::atomic<uint32_t> version;
    std::atomic<uint16_t> stores;  // since it is flagged; large ones count for more
    std::atomic<uint8_t> turns;    // how often it went back to data, up to kMostTurns
    std::atomic<bool> watched;     // no vCPU has a fast write entry for it
    std::atomic<uint64_t> granules;
  };
  static_assert(sizeof(PageCode) == 16);

  bool Watch(uint64_t ram_page, SoftVcpu& self);
  void TurnToData(uint64_t ram_page);
  void TellTranslators(uint64_t ram_page);

  GuestMemory& memory_;
  const CpuModel model_;
  const TranslateConfig translate_;
  VmCounters* counters_ = &own_counters_;
  VmCounters own_counters_;
  std::atomic<uint64_t> a20_mask_{~uint64_t{0}};
  const uint64_t page_count_;
  PageCode* pages_;  // zero pages of the host until used
  // Held while a page becomes watched, and while one ceases to be.
  Mutex watch_mu_;
  Mutex split_lock_;
  Mutex vcpus_mu_;
  std::vector<SoftVcpu*> vcpus_ ABSL_GUARDED_BY(vcpus_mu_);
  uint64_t revocations_ ABSL_GUARDED_BY(vcpus_mu_) = 0;
};

}  // namespace atl::cpu::soft

#endif  // LIB_CPU_SOFT_VM_H_
