// SPDX-License-Identifier: Apache-2.0
#include "lib/mem/guest_memory.h"

#include <sys/mman.h>
#include <sys/sysinfo.h>

#include <algorithm>
#include <cerrno>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "lib/base/checked.h"
#include "lib/base/endian.h"
#include "lib/base/status_macros.h"
#include "lib/base/units.h"
#include "lib/mem/page_tracker.h"

namespace atl {
namespace {

constexpr uint64_t kMinRam = uint64_t{1} << 20;
constexpr uint64_t kMaxRam = uint64_t{1} << 40;
constexpr uint64_t kHugePage = 2 * kMiB;

// What the host could give at the most, so that a guest too big is refused
// before it starts instead of killed when it touches its memory.
uint64_t HostMemory() {
  struct sysinfo info;
  if (sysinfo(&info) != 0) return ~uint64_t{0};
  return (static_cast<uint64_t>(info.totalram) + info.totalswap) * info.mem_unit;
}

}  // namespace

absl::StatusOr<std::unique_ptr<GuestMemory>> GuestMemory::Create(uint64_t ram_bytes) {
  if (ram_bytes < kMinRam || ram_bytes > kMaxRam || ram_bytes % kPageSize != 0) {
    return absl::InvalidArgumentError(absl::StrCat(
        "guest memory of ", ram_bytes, " bytes: must be a multiple of 4K from 1M to 1T"));
  }
  const uint64_t host = HostMemory();
  if (ram_bytes > host) {
    return absl::ResourceExhaustedError(absl::StrCat("guest memory of ", ram_bytes >> 20,
                                                     "M: the host has ", host >> 20,
                                                     "M of memory and swap"));
  }
  // Room to begin at a huge page's boundary, between two pages that nobody may
  // touch: an access of the backend that runs past either end ends there.
  const uint64_t mapped = ram_bytes + 2 * kHugePage;
  void* p = mmap(nullptr, mapped, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (p == MAP_FAILED) {
    return ErrnoError(errno, absl::StrCat("guest memory of ", ram_bytes >> 20, "M"));
  }
  uint8_t* const begin = static_cast<uint8_t*>(p);
  uint8_t* const ram = begin + (RoundUp(reinterpret_cast<uint64_t>(begin) + kPageSize, kHugePage) -
                                reinterpret_cast<uint64_t>(begin));
  uint8_t* const guard = ram - kPageSize;
  uint8_t* const end = ram + ram_bytes + kPageSize;
  if (guard > begin) munmap(begin, static_cast<size_t>(guard - begin));
  if (end < begin + mapped) munmap(end, static_cast<size_t>(begin + mapped - end));
  if (mprotect(ram, ram_bytes, PROT_READ | PROT_WRITE) != 0) {
    const int error = errno;
    munmap(guard, static_cast<size_t>(end - guard));
    return ErrnoError(error, absl::StrCat("guest memory of ", ram_bytes >> 20, "M"));
  }
  // Huge pages where the host gives them: 512 times fewer faults as the guest
  // first touches its memory, and the software CPU's reach is the host TLB's.
  madvise(ram, ram_bytes, MADV_HUGEPAGE);
  // A child between fork and exec must not turn the guest's writes into copies,
  // nor a core file give the guest's secrets away.
  madvise(ram, ram_bytes, MADV_DONTFORK);
  madvise(ram, ram_bytes, MADV_DONTDUMP);
  return std::unique_ptr<GuestMemory>(new GuestMemory(ram, ram_bytes));
}

GuestMemory::GuestMemory(uint8_t* ram, uint64_t ram_bytes)
    : ram_(ram),
      ram_bytes_(ram_bytes),
      page_flags_(new std::atomic<uint8_t>[ram_bytes >> kPageShift]()) {
  slots_.push_back({Gpa(0), low_ram_bytes(), ram_, SlotKind::kRam});
  if (high_ram_bytes() != 0) {
    slots_.push_back({Gpa(kHighRamBase), high_ram_bytes(), ram_ + low_ram_bytes(), SlotKind::kRam});
  }
}

// With its guard pages.
GuestMemory::~GuestMemory() { munmap(ram_ - kPageSize, ram_bytes_ + 2 * kPageSize); }

uint64_t GuestMemory::low_ram_bytes() const { return std::min(ram_bytes_, kLowRamLimit); }
uint64_t GuestMemory::high_ram_bytes() const { return ram_bytes_ - low_ram_bytes(); }

void GuestMemory::RemoveListener(SlotListener* listener) {
  listeners_.erase(std::remove(listeners_.begin(), listeners_.end(), listener), listeners_.end());
}

void GuestMemory::SetSlot(Gpa base, uint64_t size, uint8_t* host, SlotKind kind) {
  const Gpa end = base + size;
  std::vector<MemorySlot> next;
  for (const MemorySlot& s : slots_) {
    const Gpa s_end = s.base + s.size;
    if (s_end <= base || s.base >= end) {
      next.push_back(s);
      continue;
    }
    if (s.base < base) next.push_back({s.base, base - s.base, s.host, s.kind});
    if (s_end > end) next.push_back({end, s_end - end, s.host + (end - s.base), s.kind});
  }
  if (host != nullptr) next.push_back({base, size, host, kind});
  std::sort(next.begin(), next.end(),
            [](const MemorySlot& a, const MemorySlot& b) { return a.base < b.base; });
  slots_ = std::move(next);
  for (SlotListener* l : listeners_) l->OnSlotsChanged();
}

const MemorySlot* GuestMemory::Find(Gpa at, uint64_t size) const {
  for (const MemorySlot& s : slots_) {
    if (at >= s.base && RangeFits(at - s.base, size, s.size)) return &s;
  }
  return nullptr;
}

void GuestMemory::CopyIn(void* to, const uint8_t* from, size_t size) {
  // One access for what a guest writes by one access (descriptor indices).
  const bool aligned = (reinterpret_cast<uintptr_t>(from) & (size - 1)) == 0;
  if (aligned && size == 8) {
    uint64_t v = __atomic_load_n(reinterpret_cast<const uint64_t*>(from), __ATOMIC_ACQUIRE);
    std::memcpy(to, &v, 8);
  } else if (aligned && size == 4) {
    uint32_t v = __atomic_load_n(reinterpret_cast<const uint32_t*>(from), __ATOMIC_ACQUIRE);
    std::memcpy(to, &v, 4);
  } else if (aligned && size == 2) {
    uint16_t v = __atomic_load_n(reinterpret_cast<const uint16_t*>(from), __ATOMIC_ACQUIRE);
    std::memcpy(to, &v, 2);
  } else {
    std::memcpy(to, from, size);
  }
}

bool GuestMemory::Read(Gpa from, std::span<uint8_t> to) const {
  // Checked whole before the first byte is copied: a copy may span slots.
  for (uint64_t done = 0; done < to.size();) {
    const MemorySlot* s = Find(from + done, 1);
    if (s == nullptr) return false;
    done += s->size - (from + done - s->base);
  }
  for (uint64_t done = 0; done < to.size();) {
    const MemorySlot* s = Find(from + done, 1);
    const uint64_t at = from + done - s->base;
    const uint64_t n = std::min<uint64_t>(s->size - at, to.size() - done);
    std::memcpy(to.data() + done, s->host + at, n);
    done += n;
  }
  return true;
}

bool GuestMemory::Write(Gpa to, std::span<const uint8_t> from) {
  for (uint64_t done = 0; done < from.size();) {
    const MemorySlot* s = Find(to + done, 1);
    if (s == nullptr) return false;
    done += s->size - (to + done - s->base);
  }
  for (uint64_t done = 0; done < from.size();) {
    const MemorySlot* s = Find(to + done, 1);
    const uint64_t at = to + done - s->base;
    const uint64_t n = std::min<uint64_t>(s->size - at, from.size() - done);
    if (s->kind == SlotKind::kRam) {
      uint8_t* host = s->host + at;
      const bool aligned = (reinterpret_cast<uintptr_t>(host) & (n - 1)) == 0;
      // The guest polls on single values: they must appear at once.
      if (aligned && n == 8) {
        __atomic_store_n(reinterpret_cast<uint64_t*>(host), LoadLe<uint64_t>(from.data() + done),
                         __ATOMIC_RELEASE);
      } else if (aligned && n == 4) {
        __atomic_store_n(reinterpret_cast<uint32_t*>(host), LoadLe<uint32_t>(from.data() + done),
                         __ATOMIC_RELEASE);
      } else if (aligned && n == 2) {
        __atomic_store_n(reinterpret_cast<uint16_t*>(host), LoadLe<uint16_t>(from.data() + done),
                         __ATOMIC_RELEASE);
      } else {
        std::memcpy(host, from.data() + done, n);
      }
    }
    done += n;
  }
  MarkWritten(to, from.size());
  return true;
}

bool GuestMemory::Fill(Gpa to, uint8_t value, uint64_t size) {
  for (uint64_t done = 0; done < size;) {
    const MemorySlot* s = Find(to + done, 1);
    if (s == nullptr) return false;
    done += s->size - (to + done - s->base);
  }
  for (uint64_t done = 0; done < size;) {
    const MemorySlot* s = Find(to + done, 1);
    const uint64_t at = to + done - s->base;
    const uint64_t n = std::min<uint64_t>(s->size - at, size - done);
    if (s->kind == SlotKind::kRam) std::memset(s->host + at, value, n);
    done += n;
  }
  MarkWritten(to, size);
  return true;
}

bool GuestMemory::Zero(Gpa to, uint64_t size) {
  const std::span<uint8_t> all = Span(to, size);
  const uint64_t head = std::min<uint64_t>(RoundUp(to.value, kPageSize) - to.value, size);
  const uint64_t whole = RoundDown(size - head, kPageSize);
  // Lent memory (a slot of others) or locked: written.
  if (whole == 0 || all.empty() || !RamPage(all.data()) ||
      madvise(all.data() + head, whole, MADV_DONTNEED) != 0) {
    return Fill(to, 0, size);
  }
  MarkWritten(to + head, whole);
  return Fill(to, 0, head) && Fill(to + head + whole, 0, size - head - whole);
}

std::span<uint8_t> GuestMemory::Span(Gpa at, uint64_t size) {
  const MemorySlot* s = Find(at, size);
  if (s == nullptr || s->kind != SlotKind::kRam) return {};
  return {s->host + (at - s->base), size};
}

void GuestMemory::MarkWritten(Gpa at, uint64_t size) {
  if (size == 0) return;
  if (watcher_ == nullptr) {
    // A log has the vCPUs' writes only.
    if (write_log_ != nullptr && tracker_ != nullptr) tracker_->MarkLogged(at, size);
    return;
  }
  // A full fence: a vCPU that sets the flag and then reads the page must either
  // see these bytes or be seen by the load below.
  std::atomic_thread_fence(std::memory_order_seq_cst);
  const uint64_t last = (at + (size - 1)).value >> kPageShift;
  for (uint64_t page = at.value >> kPageShift; page <= last; ++page) {
    const MemorySlot* s = Find(ToGpa(Gfn(page)), 1);
    if (s == nullptr || s->kind != SlotKind::kRam) continue;
    const uint8_t* const host = s->host + (ToGpa(Gfn(page)) - s->base);
    std::optional<uint64_t> index = RamPage(host);
    if (!index && tracker_ != nullptr && tracker_->Covers(host)) tracker_->Mark(host);
    if (index && page_flags_[*index].load(std::memory_order_relaxed) != 0) {
      watcher_->OnWatchedWrite(Gfn(page));
    }
  }
}

}  // namespace atl
