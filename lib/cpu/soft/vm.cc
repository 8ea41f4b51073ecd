// SPDX-License-Identifier: Apache-2.0
#include "lib/cpu/soft/vm.h"

#include <sys/mman.h>

#include <algorithm>
#include <new>
#include <optional>
#include <thread>

#include "lib/cpu/soft/mmu.h"
#include "lib/cpu/soft/translate.h"
#include "lib/cpu/soft/vcpu.h"

namespace atl::cpu::soft {
namespace {

// So many stores make a page data again, and twice as many each time that turned
// out to be wrong; a store of half a page and more does at once.
constexpr unsigned kStoresOfData = 64, kMostTurns = 4;
constexpr unsigned kWholesale = kPageSize / 2;

uint64_t GranuleBits(unsigned first, unsigned size) {
  const unsigned low = first >> SoftVm::kGranuleShift;
  const unsigned high = (first + size - 1) >> SoftVm::kGranuleShift;
  return (~uint64_t{0} << low) & (~uint64_t{0} >> (63 - high));
}

}  // namespace

SoftVm::SoftVm(GuestMemory& memory, CpuModel model, const TranslateConfig& translate)
    : memory_(memory), model_(model), translate_(translate), page_count_(memory.ram_pages()) {
  void* p = mmap(nullptr, page_count_ * sizeof(PageCode), PROT_READ | PROT_WRITE,
                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (p == MAP_FAILED) throw std::bad_alloc();
  pages_ = static_cast<PageCode*>(p);
  memory_.AddListener(this);
  memory_.SetWriteWatcher(this);
}

SoftVm::~SoftVm() {
  memory_.SetWriteWatcher(nullptr);
  memory_.RemoveListener(this);
  munmap(pages_, page_count_ * sizeof(PageCode));
}

absl::StatusOr<std::unique_ptr<Vcpu>> SoftVm::CreateVcpu(const VcpuConfig& config) {
  if (translate_.verify && config.count > 1)
    return absl::InvalidArgumentError("software CPU: verify needs a guest with one vCPU");
  return std::unique_ptr<Vcpu>(std::make_unique<SoftVcpu>(*this, memory_, config));
}

void SoftVm::SetA20(bool enabled) {
  const uint64_t mask = enabled ? ~uint64_t{0} : ~(uint64_t{1} << 20);
  if (a20_mask_.exchange(mask, std::memory_order_acq_rel) == mask) return;
  OnSlotsChanged();
}

void SoftVm::OnSlotsChanged() {
  counters_->remote_tlb_flush.AddShared();
  MutexLock lock(&vcpus_mu_);
  counters_->remote_tlb_flush_requests.AddShared(vcpus_.size());
  for (SoftVcpu* v : vcpus_) {
    v->mmu.RequestFlush();
    v->Ask(kFlushRequest);
  }
}

// Above 4 GiB a page's number is not its index in RAM.
void SoftVm::OnWatchedWrite(Gfn page) {
  const Gpa at = ToGpa(page);
  const MemorySlot* slot = memory_.Find(at, 1);
  if (slot == nullptr) return;
  if (std::optional<uint64_t> index = memory_.RamPage(slot->host + (at - slot->base))) {
    CodeWritten(*index, 0, kPageSize);
  }
}

uint64_t SoftVm::RevokeRights() {
  MutexLock lock(&vcpus_mu_);
  ++revocations_;
  for (SoftVcpu* v : vcpus_) {
    v->mmu.RequestRevocation(revocations_);
    v->Ask(kFlushRequest);
  }
  return revocations_;
}

// Whoever enters Run() after this looked sees the request before it stores.
bool SoftVm::RightsRevoked(uint64_t ticket) {
  MutexLock lock(&vcpus_mu_);
  return std::none_of(vcpus_.begin(), vcpus_.end(), [ticket](const SoftVcpu* v) {
    return !v->mmu.RevocationDone(ticket) && v->in_run.load(std::memory_order_seq_cst);
  });
}

void SoftVm::CodeWritten(uint64_t ram_page, unsigned first, unsigned size) {
  PageCode& p = pages_[ram_page];
  std::atomic_thread_fence(std::memory_order_seq_cst);
  if ((p.granules.load(std::memory_order_relaxed) & GranuleBits(first, size)) != 0) {
    p.version.fetch_add(1, std::memory_order_acq_rel);
    TellTranslators(ram_page);
  }
  // Other vCPUs may be counting too: an estimate is enough.
  const unsigned stores = p.stores.load(std::memory_order_relaxed) + 1 + size / 64;
  p.stores.store(static_cast<uint16_t>(std::min(stores, 0xFFFFu)), std::memory_order_relaxed);
  if (size >= kWholesale || stores >= kStoresOfData << p.turns.load(std::memory_order_relaxed)) {
    TurnToData(ram_page);
  }
}

// Before anybody can go on as if the bytes had been others all along.
void SoftVm::TellTranslators(uint64_t ram_page) {
  if (!translate_.on) return;
  MutexLock lock(&vcpus_mu_);
  for (SoftVcpu* v : vcpus_) {
    if (v->translator == nullptr) continue;
    v->translator->NoteCodeWritten(ram_page);
    v->Ask(kCodeRequest);
  }
}

// Never waits for the lock: who holds it may be waiting for this vCPU.
void SoftVm::TurnToData(uint64_t ram_page) {
  if (!watch_mu_.TryLock()) return;
  PageCode& p = pages_[ram_page];
  if (memory_.PageFlags(ram_page).load(std::memory_order_relaxed) & GuestMemory::kPageHasCode) {
    // In this order: who reads the new version sees that nobody watches.
    p.watched.store(false, std::memory_order_release);
    p.version.fetch_add(1, std::memory_order_acq_rel);
    TellTranslators(ram_page);
    p.granules.store(0, std::memory_order_relaxed);
    p.stores.store(0, std::memory_order_relaxed);
    const uint8_t turns = p.turns.load(std::memory_order_relaxed);
    if (turns < kMostTurns) p.turns.store(turns + 1, std::memory_order_relaxed);
    memory_.PageFlags(ram_page).fetch_and(static_cast<uint8_t>(~GuestMemory::kPageHasCode),
                                          std::memory_order_release);
  }
  watch_mu_.Unlock();
}

bool SoftVm::WatchCode(uint64_t ram_page, unsigned first, unsigned size, SoftVcpu& self,
                       uint32_t* version) {
  PageCode& p = pages_[ram_page];
  for (;;) {
    // Before it is looked at whether somebody watches: a page that turns to data
    // in between has another version then.
    *version = p.version.load(std::memory_order_acquire);
    if (p.watched.load(std::memory_order_acquire)) [[likely]]
      break;
    if (!Watch(ram_page, self)) return false;
  }
  const uint64_t bits = GranuleBits(first, size);
  if ((p.granules.load(std::memory_order_acquire) & bits) != bits) {
    p.granules.fetch_or(bits, std::memory_order_relaxed);
    std::atomic_thread_fence(std::memory_order_seq_cst);
  }
  return true;
}

bool SoftVm::Watch(uint64_t ram_page, SoftVcpu& self) {
  const auto serve = [&] {
    if (self.mmu.flush_requested()) self.mmu.TakeFlushRequest();
    if (self.requests.load(std::memory_order_acquire) & kKickRequest) return false;
    std::this_thread::yield();
    return true;
  };
  while (!watch_mu_.TryLock()) {
    if (!serve()) return false;
  }
  PageCode& p = pages_[ram_page];
  bool done = true;
  if (!p.watched.load(std::memory_order_relaxed)) {
    memory_.PageFlags(ram_page).fetch_or(GuestMemory::kPageHasCode, std::memory_order_seq_cst);
    self.mmu.DropWriteTags(ram_page);
    std::vector<SoftVcpu*> others;
    {
      MutexLock lock(&vcpus_mu_);
      if (vcpus_.size() > 1) others = vcpus_;
    }
    if (!others.empty()) counters_->remote_tlb_flush.AddShared();
    for (SoftVcpu* v : others) {
      if (v == &self) continue;
      const uint64_t ticket = v->mmu.RequestWriteDrop(ram_page);
      counters_->remote_tlb_flush_requests.AddShared();
      v->Ask(kFlushRequest);
      // Whoever enters Run() after this looked sees the request before it stores.
      while (done && !v->mmu.WriteDropDone(ticket) && v->in_run.load(std::memory_order_seq_cst)) {
        done = serve();
      }
    }
    if (done) p.watched.store(true, std::memory_order_release);
  }
  watch_mu_.Unlock();
  return done;
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
