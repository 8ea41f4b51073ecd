// SPDX-License-Identifier: Apache-2.0
// A guest's physical memory: one piece of RAM, seen through slots.
//
// The RAM is private anonymous memory. A memfd could be handed to other
// processes, but hosts rarely give those huge pages (shmem_enabled), on which the
// software CPU's speed depends.
//
// RAM lies at [0, low) and, what exceeds kLowRamLimit, at [4 GiB, ...), as on
// i440FX. Slots can be changed (PAM, ROM shadowing); listeners are told.
// Everything outside the slots is not memory: MMIO or nothing.
//
// The guest is hostile. Its addresses and lengths go through the checked copies
// here; what is read is read once, into host memory, and validated there, since
// another vCPU may change it at any time. DMA through these calls never reaches
// MMIO, so a device cannot be made to call itself.
//
// Thread rule: copies, loads and stores from any thread; slot changes only
// while no vCPU runs and from one thread (the backend quiesces vCPUs).
#ifndef LIB_MEM_GUEST_MEMORY_H_
#define LIB_MEM_GUEST_MEMORY_H_

#include <atomic>
#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <span>
#include <type_traits>
#include <vector>

#include "absl/status/statusor.h"
#include "lib/mem/address.h"

namespace atl {

// What a slot's bytes are to the guest.
enum class SlotKind : uint8_t {
  kRam,
  kRom,  // guest writes are dropped
};

struct MemorySlot {
  Gpa base;           // page-aligned
  uint64_t size = 0;  // bytes, a multiple of the page size
  uint8_t* host = nullptr;
  SlotKind kind = SlotKind::kRam;
};

// Told about changes of what lies where. Called on the thread that changes the
// slots, after the change.
class SlotListener {
 public:
  virtual ~SlotListener() = default;
  virtual void OnSlotsChanged() = 0;
};

class PageTracker;

// A backend that wants to know of writes, and knows of its own.
class WriteWatcher {
 public:
  virtual ~WriteWatcher() = default;
  // Watched RAM pages are written by the host side (DMA, loaders): decoded code of
  // the page is to be dropped. Called on the writing thread.
  virtual void OnWatchedWrite(Gfn page) = 0;
  // Its vCPUs mark pages of the PageTracker before they write to them. Any thread:
  // RevokeRights() takes back what allows them to without, and does not wait;
  // RightsRevoked() says when no vCPU writes by a right from before any more.
  virtual bool KeepsRights() const { return false; }
  virtual uint64_t RevokeRights() { return 0; }
  virtual bool RightsRevoked(uint64_t ticket) { return ticket == 0; }
};

// A backend that cannot tell when its vCPUs write, but afterwards where: KVM. Only
// while it keeps a log, which costs vCPUs their first write to each page between two
// looks. Any thread.
class WriteLog {
 public:
  virtual ~WriteLog() = default;
  // Keeps a log of `bytes`, which lie in slots of the guest's memory, or will. What was
  // written before is not in it. Once until End().
  virtual void Begin(std::span<uint8_t> bytes) = 0;
  virtual void End() = 0;
  // Marks pages of the PageTracker: at least those that were written to since the
  // last call. Who looks at their bytes after that sees these writes, and the next
  // call tells of those that come later.
  virtual void Collect() = 0;
};

class GuestMemory {
 public:
  // RAM below this address; the rest is mapped from 4 GiB up.
  static constexpr uint64_t kLowRamLimit = 0xC0000000;
  static constexpr uint64_t kHighRamBase = 0x100000000;

  // `ram_bytes`: a multiple of 4 KiB, from 1 MiB to 1 TiB. ResourceExhausted
  // where the host has not that much memory and swap.
  static absl::StatusOr<std::unique_ptr<GuestMemory>> Create(uint64_t ram_bytes);
  ~GuestMemory();
  GuestMemory(const GuestMemory&) = delete;
  GuestMemory& operator=(const GuestMemory&) = delete;

  uint64_t ram_bytes() const { return ram_bytes_; }
  uint64_t low_ram_bytes() const;   // what lies from address 0
  uint64_t high_ram_bytes() const;  // what lies from 4 GiB
  uint8_t* ram_host() const { return ram_; }

  // Sorted by base, never overlapping.
  std::span<const MemorySlot> slots() const { return slots_; }

  // Replaces whatever lay in [base, base + size) by `host` (which must outlive
  // this object), or by nothing where `host` is null. Page-aligned.
  void SetSlot(Gpa base, uint64_t size, uint8_t* host, SlotKind kind);
  void AddListener(SlotListener* listener) { listeners_.push_back(listener); }
  void RemoveListener(SlotListener* listener);

  // Checked copies. False, and nothing copied, where any byte is not memory.
  // Write() into ROM drops the bytes and is true.
  bool Read(Gpa from, std::span<uint8_t> to) const;
  bool Write(Gpa to, std::span<const uint8_t> from);
  bool Fill(Gpa to, uint8_t value, uint64_t size);
  // Fill() with zeros; whole pages of RAM go back to the host for it, so that what was
  // never touched still takes nothing.
  bool Zero(Gpa to, uint64_t size);

  // Little-endian values; atomic where naturally aligned and of 1 to 8 bytes.
  template <typename T>
  std::optional<T> Load(Gpa from) const {
    static_assert(std::is_trivially_copyable_v<T>);
    const MemorySlot* slot = Find(from, sizeof(T));
    if (slot == nullptr) {
      T v;
      if (!Read(from, {reinterpret_cast<uint8_t*>(&v), sizeof v})) return std::nullopt;
      return v;
    }
    T v;
    CopyIn(&v, slot->host + (from - slot->base), sizeof v);
    return v;
  }
  template <typename T>
  bool Store(Gpa to, const T& v) {
    static_assert(std::is_trivially_copyable_v<T>);
    return Write(to, {reinterpret_cast<const uint8_t*>(&v), sizeof v});
  }

  // The bytes themselves, for DMA without a copy (readv into them): empty where
  // [at, at + size) does not lie within one RAM slot. The guest can change them
  // under the caller. After writing through a span: MarkWritten().
  std::span<uint8_t> Span(Gpa at, uint64_t size);
  void MarkWritten(Gpa at, uint64_t size);

  // The RAM or ROM page's host address, or null. For page walks and TLB fills.
  const MemorySlot* Find(Gpa at, uint64_t size) const;

  // A byte of flags for each page of RAM, indexed by RamPage(): set by the
  // software CPU, read by MarkWritten(). Atomic: relaxed is enough for reads.
  static constexpr uint8_t kPageHasCode = 1;
  std::atomic<uint8_t>& PageFlags(uint64_t ram_page) { return page_flags_[ram_page]; }
  uint64_t ram_pages() const { return ram_bytes_ >> kPageShift; }
  // Index of the RAM page that `host` points into, or nothing for ROM and the like.
  std::optional<uint64_t> RamPage(const uint8_t* host) const {
    if (host < ram_ || host >= ram_ + ram_bytes_) return std::nullopt;
    return static_cast<uint64_t>(host - ram_) >> kPageShift;
  }
  // At most one watcher; null to end it. Set before vCPUs run.
  void SetWriteWatcher(WriteWatcher* watcher) { watcher_ = watcher; }
  WriteWatcher* watcher() const { return watcher_; }
  // The same of a log; there is one of the two at most.
  void SetWriteLog(WriteLog* log) { write_log_ = log; }
  WriteLog* write_log() const { return write_log_; }
  // The same of trackers: it does so itself.
  void SetTracker(PageTracker* tracker) { tracker_ = tracker; }
  PageTracker* tracker() const { return tracker_; }

 private:
  GuestMemory(uint8_t* ram, uint64_t ram_bytes);
  static void CopyIn(void* to, const uint8_t* from, size_t size);

  uint8_t* const ram_;
  uint64_t ram_bytes_;
  std::vector<MemorySlot> slots_;
  std::vector<SlotListener*> listeners_;
  std::unique_ptr<std::atomic<uint8_t>[]> page_flags_;
  WriteWatcher* watcher_ = nullptr;
  WriteLog* write_log_ = nullptr;
  PageTracker* tracker_ = nullptr;
};

}  // namespace atl

#endif  // LIB_MEM_GUEST_MEMORY_H_
