// SPDX-License-Identifier: Apache-2.0
#include "lib/cpu/kvm/slots.h"

#include <errno.h>
#include <linux/kvm.h>
#include <sys/ioctl.h>

#include <algorithm>
#include <bit>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "lib/base/status_macros.h"
#include "lib/mem/page_tracker.h"

namespace atl::cpu::kvm {
namespace {

constexpr uint64_t kWordPages = 64;

bool SameSlot(const MemorySlot& a, const MemorySlot& b) {
  return a.base == b.base && a.size == b.size && a.host == b.host && a.kind == b.kind;
}

int Offers(int device, int capability) { return ioctl(device, KVM_CHECK_EXTENSION, capability); }

}  // namespace

absl::Status Slots::Prepare(int device, uint32_t ring_entries) {
  kvm_enable_cap enable{};
  if (ring_entries == 0) {
    // With all pages noted at first nothing is protected, and no large page is split,
    // before somebody has looked.
    constexpr int kWanted = KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE | KVM_DIRTY_LOG_INITIALLY_SET;
    const int offered = Offers(device, KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2);
    enable.cap = KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2;
    enable.args[0] = static_cast<uint64_t>(std::max(offered, 0) & kWanted);
    manual_ = (enable.args[0] & KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE) != 0 &&
              ioctl(vm_, KVM_ENABLE_CAP, &enable) == 0;
    return absl::OkStatus();
  }
  const uint64_t bytes = uint64_t{ring_entries} * sizeof(kvm_dirty_gfn);
  // Both are one on x86, whose stores are ordered; older kernels have the first alone.
  for (const int capability : {KVM_CAP_DIRTY_LOG_RING_ACQ_REL, KVM_CAP_DIRTY_LOG_RING}) {
    const int most = Offers(device, capability);
    if (most <= 0) continue;
    if (bytes > static_cast<uint64_t>(most)) {
      return absl::OutOfRangeError(absl::StrFormat("a dirty ring of %d entries, of %d at the most",
                                                   ring_entries,
                                                   most / static_cast<int>(sizeof(kvm_dirty_gfn))));
    }
    enable.cap = static_cast<uint32_t>(capability);
    enable.args[0] = bytes;
    if (ioctl(vm_, KVM_ENABLE_CAP, &enable) != 0) return ErrnoError(errno, "dirty rings");
    ring_entries_ = ring_entries;
    return absl::OkStatus();
  }
  return absl::UnimplementedError("this KVM has no dirty rings (dirty-ring-size=0 does without)");
}

absl::Status Slots::AddVcpu(int vcpu) {
  if (!rings()) return absl::OkStatus();
  ASSIGN_OR_RETURN(std::unique_ptr<DirtyRing> ring, DirtyRing::Map(vcpu, ring_entries_));
  MutexLock lock(&mu_);
  rings_.push_back(std::move(ring));
  return absl::OkStatus();
}

absl::Status Slots::Set(uint32_t number, const MemorySlot& slot, bool logged) {
  kvm_userspace_memory_region region{};
  region.slot = number;
  if (slot.size != 0 && slot.kind == SlotKind::kRom) region.flags |= KVM_MEM_READONLY;
  if (slot.size != 0 && logged) region.flags |= KVM_MEM_LOG_DIRTY_PAGES;
  region.guest_phys_addr = slot.base.value;
  region.memory_size = slot.size;
  region.userspace_addr = reinterpret_cast<uint64_t>(slot.host);
  if (ioctl(vm_, KVM_SET_USER_MEMORY_REGION, &region) != 0) {
    return ErrnoError(
        errno, absl::StrFormat("memory slot of 0x%x bytes at 0x%x", slot.size, slot.base.value));
  }
  return absl::OkStatus();
}

absl::Status Slots::Update() {
  MutexLock lock(&mu_);
  absl::Status status;
  const std::span<const MemorySlot> wanted = memory_.slots();
  // First what is gone or changed, so that what is new never overlaps it.
  for (uint32_t i = 0; i < slots_.size(); ++i) {
    const MemorySlot& old = slots_[i];
    if (old.size == 0) continue;
    const bool kept = std::any_of(wanted.begin(), wanted.end(),
                                  [&old](const MemorySlot& w) { return SameSlot(w, old); });
    if (kept) continue;
    // Its log goes with it.
    lost_ = lost_ || Logged(slots_[i]);
    status.Update(Set(i, MemorySlot{slots_[i].base, 0, slots_[i].host, SlotKind::kRam}, false));
    slots_[i] = {};
  }
  for (const MemorySlot& w : wanted) {
    const bool there = std::any_of(slots_.begin(), slots_.end(),
                                   [&](const MemorySlot& s) { return SameSlot(w, s); });
    if (there) continue;
    uint32_t free = 0;
    while (free < slots_.size() && slots_[free].size != 0) ++free;
    if (free == slots_.size()) slots_.emplace_back();
    status.Update(Set(free, w, Logged(w)));
    slots_[free] = w;
  }
  return status;
}

bool Slots::Logged(const MemorySlot& slot) const {
  return slot.size != 0 && slot.kind == SlotKind::kRam && slot.host >= logged_.data() &&
         slot.host < logged_.data() + logged_.size();
}

void Slots::SetLogged(bool on) {
  for (uint32_t i = 0; i < slots_.size(); ++i) {
    if (Logged(slots_[i]) && !Set(i, slots_[i], on).ok() && on) refused_ = true;
  }
}

void Slots::Begin(std::span<uint8_t> bytes) {
  MutexLock lock(&mu_);
  logged_ = bytes;
  lost_ = refused_ = false;
  SetLogged(true);
}

void Slots::End() {
  MutexLock lock(&mu_);
  SetLogged(false);
  logged_ = {};
  if (rings()) CollectRings();
}

void Slots::Collect() {
  MutexLock lock(&mu_);
  if (rings()) {
    CollectRings();
  } else {
    for (uint32_t i = 0; i < slots_.size(); ++i) {
      if (Logged(slots_[i])) CollectBitmap(i);
    }
  }
  if (lost_ || refused_) MarkAll();
  lost_ = false;
}

void Slots::MarkAll() {
  PageTracker* const tracker = memory_.tracker();
  for (size_t at = 0; tracker != nullptr && at < logged_.size(); at += kPageSize) {
    tracker->Mark(logged_.data() + at);
  }
}

void Slots::CollectBitmap(uint32_t number) {
  const MemorySlot& slot = slots_[number];
  const uint64_t pages = slot.size >> kPageShift;
  bitmap_.assign((pages + kWordPages - 1) / kWordPages, 0);
  kvm_dirty_log log{};
  log.slot = number;
  log.dirty_bitmap = bitmap_.data();
  if (ioctl(vm_, KVM_GET_DIRTY_LOG, &log) != 0) {
    lost_ = true;
    return;
  }
  const auto any = [](uint64_t word) { return word != 0; };
  const auto first = std::find_if(bitmap_.begin(), bitmap_.end(), any);
  if (first == bitmap_.end()) return;
  const auto end = std::find_if(bitmap_.rbegin(), bitmap_.rend(), any).base();
  if (manual_) {
    // Before anybody looks at the bytes. What stays noted by an error is told again.
    kvm_clear_dirty_log clear{};
    clear.slot = number;
    clear.first_page = static_cast<uint64_t>(first - bitmap_.begin()) * kWordPages;
    clear.num_pages = static_cast<uint32_t>(std::min<uint64_t>(
        static_cast<uint64_t>(end - first) * kWordPages, pages - clear.first_page));
    clear.dirty_bitmap = &*first;
    (void)ioctl(vm_, KVM_CLEAR_DIRTY_LOG, &clear);
  }
  PageTracker* const tracker = memory_.tracker();
  for (auto word = first; tracker != nullptr && word != end; ++word) {
    const uint64_t from = static_cast<uint64_t>(word - bitmap_.begin()) * kWordPages;
    for (uint64_t bits = *word; bits != 0; bits &= bits - 1) {
      const uint64_t page = from + static_cast<unsigned>(std::countr_zero(bits));
      const uint8_t* const host = slot.host + (page << kPageShift);
      if (page < pages && tracker->Covers(host)) tracker->Mark(host);
    }
  }
}

void Slots::CollectRings() {
  PageTracker* const tracker = memory_.tracker();
  uint32_t count = 0;
  for (const std::unique_ptr<DirtyRing>& ring : rings_) {
    count += ring->Harvest([&](uint32_t number, uint64_t page) {
      mu_.AssertHeld();
      if (number >= slots_.size()) return;
      const MemorySlot& slot = slots_[number];
      if (!Logged(slot) || page >= slot.size >> kPageShift || tracker == nullptr) return;
      const uint8_t* const host = slot.host + (page << kPageShift);
      if (tracker->Covers(host)) tracker->Mark(host);
    });
  }
  // From here on a write faults again.
  if (count != 0) (void)ioctl(vm_, KVM_RESET_DIRTY_RINGS, 0);
}

}  // namespace atl::cpu::kvm
