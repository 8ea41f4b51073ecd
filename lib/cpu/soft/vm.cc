// SPDX-License-Identifier: Apache-2.0
#include "lib/cpu/soft/vm.h"

#include <algorithm>
#include <optional>
#include <thread>

#include "lib/cpu/soft/mmu.h"
#include "lib/cpu/soft/vcpu.h"

namespace atl::cpu::soft {

SoftVm::SoftVm(GuestMemory& memory, CpuModel model)
    : memory_(memory),
      model_(model),
      versions_(new std::atomic<uint32_t>[memory.ram_pages()]()),
      watched_(new std::atomic<bool>[memory.ram_pages()]()) {
  memory_.AddListener(this);
  memory_.SetWriteWatcher(this);
}

SoftVm::~SoftVm() {
  memory_.SetWriteWatcher(nullptr);
  memory_.RemoveListener(this);
}

absl::StatusOr<std::unique_ptr<Vcpu>> SoftVm::CreateVcpu(const VcpuConfig& config) {
  return std::unique_ptr<Vcpu>(std::make_unique<SoftVcpu>(*this, memory_, config));
}

void SoftVm::SetA20(bool enabled) {
  const uint64_t mask = enabled ? ~uint64_t{0} : ~(uint64_t{1} << 20);
  if (a20_mask_.exchange(mask, std::memory_order_acq_rel) == mask) return;
  OnSlotsChanged();
}

void SoftVm::OnSlotsChanged() {
  MutexLock lock(&vcpus_mu_);
  for (SoftVcpu* v : vcpus_) {
    v->mmu.RequestFlush();
    v->requests.fetch_or(kFlushRequest, std::memory_order_acq_rel);
  }
}

// Above 4 GiB a page's number is not its index in RAM.
void SoftVm::OnWatchedWrite(Gfn page) {
  const Gpa at = ToGpa(page);
  const MemorySlot* slot = memory_.Find(at, 1);
  if (slot == nullptr) return;
  if (std::optional<uint64_t> index = memory_.RamPage(slot->host + (at - slot->base))) {
    CodeWritten(*index);
  }
}

void SoftVm::CodeWritten(uint64_t ram_page) {
  versions_[ram_page].fetch_add(1, std::memory_order_acq_rel);
}

bool SoftVm::WatchCodePage(uint64_t ram_page, SoftVcpu& self) {
  if (watched_[ram_page].load(std::memory_order_acquire)) return true;
  memory_.PageFlags(ram_page).fetch_or(GuestMemory::kPageHasCode, std::memory_order_seq_cst);
  self.mmu.DropWriteTags(ram_page);
  std::vector<SoftVcpu*> others;
  {
    MutexLock lock(&vcpus_mu_);
    others = vcpus_;
  }
  for (SoftVcpu* v : others) {
    if (v == &self) continue;
    const uint64_t ticket = v->mmu.RequestFlush();
    v->requests.fetch_or(kFlushRequest, std::memory_order_seq_cst);
    // Whoever enters Run() after this looked sees the request before it stores.
    while (!v->mmu.FlushDone(ticket) && v->in_run.load(std::memory_order_seq_cst)) {
      if (self.mmu.flush_requested()) self.mmu.TakeFlushRequest();
      if (self.requests.load(std::memory_order_acquire) & kKickRequest) return false;
      std::this_thread::yield();
    }
  }
  watched_[ram_page].store(true, std::memory_order_release);
  return true;
}

void SoftVm::Add(SoftVcpu* vcpu) {
  MutexLock lock(&vcpus_mu_);
  vcpus_.push_back(vcpu);
}

void SoftVm::Remove(SoftVcpu* vcpu) {
  MutexLock lock(&vcpus_mu_);
  vcpus_.erase(std::remove(vcpus_.begin(), vcpus_.end(), vcpu), vcpus_.end());
}

}  // namespace atl::cpu::soft
