// SPDX-License-Identifier: Apache-2.0
// Theory of operation.
//
// Goal: vCPU threads find the mapping of an address without a lock, while
// others move mappings. A Mapping is made once and lives as long as the bus, so
// no reader can hold one that is gone; only its `base` changes, and a reader
// that took it from a table checks the address against that base once more.
//
// Ports: one index (mapping + 1, 0 for nothing) for each of the 64 Ki ports.
// MMIO: the mapped ranges as a sorted list without overlaps (what priority
// hides is cut away), guarded by a sequence count: odd while a writer is at it,
// and a reader whose count changed tries again. Each thread remembers the
// mapping it hit last, as a guess: tried first where nothing overlaps it.
#include "lib/dev/bus.h"

#include <algorithm>
#include <array>
#include <bit>
#include <map>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_format.h"
#include "lib/base/checked.h"
#include "lib/base/status_macros.h"

namespace atl::dev {
namespace {

constexpr uint64_t kNowhere = ~uint64_t{0};  // no mapping has its base there
constexpr uint64_t kPorts = 0x10000;

uint64_t LowBytes(uint64_t value, unsigned size) {
  return size >= 8 ? value : value & ((uint64_t{1} << (8 * size)) - 1);
}

}  // namespace

struct Bus::Mapping {
  Space space = Space::kPort;
  DeviceLock* lock = nullptr;
  Device* device = nullptr;
  unsigned region = 0;
  uint64_t size = 0;
  MapOptions options;
  std::atomic<uint64_t> base{kNowhere};
  std::atomic<bool> alone{false};  // no other mapping overlaps it
};

struct Bus::PortTable {
  std::array<std::atomic<uint16_t>, kPorts> owner{};
};

struct Bus::MmioTable {
  struct Range {
    std::atomic<uint64_t> first{0};
    std::atomic<uint64_t> last{0};
    std::atomic<unsigned> mapping{0};
  };
  // Cutting n ranges at each other's ends makes at most 2n - 1 pieces.
  static constexpr unsigned kMaxPieces = 2 * kMaxMmioRanges;
  std::atomic<unsigned> sequence{0};
  std::atomic<unsigned> count{0};
  std::array<Range, kMaxPieces> ranges{};
};

Bus::Bus()
    : mappings_(std::make_unique<Mapping[]>(kMaxMappings)),
      ports_(std::make_unique<PortTable>()),
      mmio_(std::make_unique<MmioTable>()) {}

Bus::~Bus() = default;

absl::StatusOr<Bus::MappingId> Bus::Add(Space space, DeviceLock& lock, Device& device,
                                        unsigned region, uint64_t size, const MapOptions& options) {
  const bool sizes_ok = std::has_single_bit(options.min_access) &&
                        std::has_single_bit(options.max_access) &&
                        options.min_access <= options.max_access && options.max_access <= 8;
  if (size == 0 || !sizes_ok) {
    return absl::InvalidArgumentError(
        absl::StrFormat("%s: region %u: %u bytes with accesses of %u to %u", device.name(), region,
                        size, options.min_access, options.max_access));
  }
  MutexLock hold(&map_lock_);
  const unsigned id = count_.load(std::memory_order_relaxed);
  if (id == kMaxMappings) {
    return absl::ResourceExhaustedError(absl::StrFormat(
        "%s: region %u: the bus has %u mappings already", device.name(), region, kMaxMappings));
  }
  Mapping& m = mappings_[id];
  m.space = space;
  m.lock = &lock;
  m.device = &device;
  m.region = region;
  m.size = size;
  m.options = options;
  count_.store(id + 1, std::memory_order_release);
  return id;
}

absl::Status Bus::Move(MappingId id, uint64_t base) {
  Unmap(id);
  Mapping& m = mappings_[id];
  const uint64_t space_size = m.space == Space::kPort ? kPorts : kNowhere;
  if (!RangeFits(base, m.size, space_size)) {
    return absl::OutOfRangeError(absl::StrFormat("%s: region %u: %#x bytes do not fit at %#x",
                                                 m.device->name(), m.region, m.size, base));
  }
  MutexLock hold(&map_lock_);
  m.base.store(base, std::memory_order_release);
  if (m.space == Space::kPort) {
    RebuildPorts(base, m.size);
    return absl::OkStatus();
  }
  absl::Status status = RebuildMmio();
  if (!status.ok()) {
    m.base.store(kNowhere, std::memory_order_release);
    (void)RebuildMmio();
    return Annotate(status, m.device->name());
  }
  return absl::OkStatus();
}

void Bus::Unmap(MappingId id) {
  Mapping& m = mappings_[id];
  MutexLock hold(&map_lock_);
  const uint64_t base = m.base.load(std::memory_order_relaxed);
  if (base == kNowhere) return;
  m.base.store(kNowhere, std::memory_order_release);
  if (m.space == Space::kPort) {
    RebuildPorts(base, m.size);
  } else {
    (void)RebuildMmio();  // fewer ranges always fit
  }
}

absl::StatusOr<Bus::MappingId> Bus::Map(Space space, DeviceLock& lock, Device& device,
                                        unsigned region, uint64_t base, uint64_t size,
                                        const MapOptions& options) {
  ASSIGN_OR_RETURN(MappingId id, Add(space, lock, device, region, size, options));
  RETURN_IF_ERROR(Move(id, base));
  return id;
}

void Bus::RebuildPorts(uint64_t base, uint64_t size) {
  std::vector<unsigned> over;
  for (unsigned i = 0; i < count_.load(std::memory_order_relaxed); ++i) {
    const Mapping& m = mappings_[i];
    const uint64_t b = m.base.load(std::memory_order_relaxed);
    if (m.space == Space::kPort && b != kNowhere && b < base + size && base < b + m.size)
      over.push_back(i);
  }
  std::stable_sort(over.begin(), over.end(), [this](unsigned a, unsigned b) {
    return mappings_[a].options.priority < mappings_[b].options.priority;
  });
  for (uint64_t p = base; p < base + size; ++p) {
    uint16_t owner = 0;
    for (unsigned i : over) {
      const uint64_t b = mappings_[i].base.load(std::memory_order_relaxed);
      if (p - b < mappings_[i].size) owner = static_cast<uint16_t>(i + 1);
    }
    ports_->owner[p].store(owner, std::memory_order_release);
  }
}

absl::Status Bus::RebuildMmio() {
  std::vector<unsigned> mapped;
  for (unsigned i = 0; i < count_.load(std::memory_order_relaxed); ++i) {
    if (mappings_[i].space == Space::kMmio &&
        mappings_[i].base.load(std::memory_order_relaxed) != kNowhere)
      mapped.push_back(i);
  }
  if (mapped.size() > kMaxMmioRanges) {
    return absl::ResourceExhaustedError(
        absl::StrFormat("more than %u MMIO ranges are mapped", kMaxMmioRanges));
  }
  std::stable_sort(mapped.begin(), mapped.end(), [this](unsigned a, unsigned b) {
    return mappings_[a].options.priority < mappings_[b].options.priority;
  });
  // Paints each range over the earlier ones: first address of a piece → its
  // last address and owner.
  struct Piece {
    uint64_t last;
    unsigned owner;
  };
  std::map<uint64_t, Piece> pieces;
  for (unsigned i : mapped) {
    Mapping& m = mappings_[i];
    const uint64_t first = m.base.load(std::memory_order_relaxed);
    const uint64_t last = first + m.size - 1;
    m.alone.store(true, std::memory_order_relaxed);
    auto it = pieces.upper_bound(first);
    if (it != pieces.begin() && std::prev(it)->second.last >= first) --it;
    while (it != pieces.end() && it->first <= last) {
      const uint64_t old_first = it->first;
      const Piece old = it->second;
      m.alone.store(false, std::memory_order_relaxed);
      mappings_[old.owner].alone.store(false, std::memory_order_relaxed);
      it = pieces.erase(it);
      if (old_first < first) pieces[old_first] = {first - 1, old.owner};
      if (old.last > last) it = pieces.insert_or_assign(last + 1, Piece{old.last, old.owner}).first;
    }
    pieces[first] = {last, i};
  }

  // seq_cst keeps the table's stores between the two counts.
  mmio_->sequence.fetch_add(1);
  unsigned n = 0;
  for (const auto& [first, piece] : pieces) {
    if (n == MmioTable::kMaxPieces) break;
    mmio_->ranges[n].first.store(first);
    mmio_->ranges[n].last.store(piece.last);
    mmio_->ranges[n].mapping.store(piece.owner);
    ++n;
  }
  mmio_->count.store(n);
  mmio_->sequence.fetch_add(1);
  return absl::OkStatus();
}

Bus::Mapping* Bus::Find(Space space, uint64_t address, uint64_t* offset) {
  // The mapping may have moved since it was looked up; then it is not there.
  auto check = [&](Mapping& m) -> Mapping* {
    *offset = address - m.base.load(std::memory_order_acquire);
    return *offset < m.size ? &m : nullptr;
  };
  if (space == Space::kPort) {
    const unsigned owner = ports_->owner[address & (kPorts - 1)].load(std::memory_order_acquire);
    return owner == 0 ? nullptr : check(mappings_[owner - 1]);
  }

  static thread_local unsigned last_hit = 0;
  if (last_hit < count_.load(std::memory_order_acquire)) {
    Mapping& m = mappings_[last_hit];
    if (m.space == Space::kMmio && m.alone.load(std::memory_order_relaxed) && check(m)) return &m;
  }
  for (;;) {
    const unsigned before = mmio_->sequence.load();
    if (before & 1) continue;
    unsigned low = 0;
    unsigned high = std::min(mmio_->count.load(), MmioTable::kMaxPieces);
    while (low < high) {
      const unsigned mid = (low + high) / 2;
      if (mmio_->ranges[mid].last.load() < address) {
        low = mid + 1;
      } else {
        high = mid;
      }
    }
    bool hit = low < mmio_->count.load() && low < MmioTable::kMaxPieces &&
               mmio_->ranges[low].first.load() <= address;
    const unsigned id = hit ? mmio_->ranges[low].mapping.load() : 0;
    if (mmio_->sequence.load() != before) continue;
    if (!hit) return nullptr;
    last_hit = id;
    return check(mappings_[id]);
  }
}

// Calls piece(offset, size, shift) for each naturally aligned part, `shift`
// being its place in the value in bits.
template <typename Piece>
void Bus::Pieces(Mapping& mapping, uint64_t offset, unsigned size, Piece&& piece) {
  for (unsigned done = 0; done < size;) {
    const uint64_t at = offset + done;
    unsigned n = std::min<unsigned>(mapping.options.max_access, std::bit_floor(size - done));
    while (!mapping.options.unaligned && at % n != 0) n /= 2;
    piece(at, n, 8 * done);
    done += n;
  }
}

absl::string_view Bus::DeviceName(MappingId id) const { return mappings_[id].device->name(); }

uint64_t Bus::Read(Space space, uint64_t address, unsigned size, MappingId* owner) {
  if (owner != nullptr) *owner = kMaxMappings;
  uint64_t value = 0;
  for (unsigned done = 0; done < size;) {
    uint64_t offset;
    Mapping* m = Find(space, address + done, &offset);
    if (m == nullptr) {
      value |= uint64_t{0xFF} << (8 * done++);
      continue;
    }
    if (owner != nullptr && done == 0) *owner = static_cast<MappingId>(m - mappings_.get());
    const unsigned here = static_cast<unsigned>(std::min<uint64_t>(size - done, m->size - offset));
    DeviceLock::Scope scope(*m->lock);
    if (!scope.entered()) {  // the device's own DMA or reset came back to it
      value |= LowBytes(~uint64_t{0}, here) << (8 * done);
      done += here;
      continue;
    }
    Pieces(*m, offset, here, [&](uint64_t at, unsigned n, unsigned shift) {
      const unsigned wide = std::max<unsigned>(n, m->options.min_access);
      const uint64_t start = wide > n ? RoundDown(at, wide) : at;
      uint64_t got = m->device->Read(m->region, start, wide) >> (8 * (at - start));
      value |= LowBytes(got, n) << (shift + 8 * done);
    });
    done += here;
  }
  return value;
}

void Bus::Write(Space space, uint64_t address, unsigned size, uint64_t value, MappingId* owner) {
  if (owner != nullptr) *owner = kMaxMappings;
  for (unsigned done = 0; done < size;) {
    uint64_t offset;
    Mapping* m = Find(space, address + done, &offset);
    if (m == nullptr) {
      ++done;
      continue;
    }
    if (owner != nullptr && done == 0) *owner = static_cast<MappingId>(m - mappings_.get());
    const unsigned here = static_cast<unsigned>(std::min<uint64_t>(size - done, m->size - offset));
    DeviceLock::Scope scope(*m->lock);
    if (scope.entered()) {
      Pieces(*m, offset, here, [&](uint64_t at, unsigned n, unsigned shift) {
        const unsigned wide = std::max<unsigned>(n, m->options.min_access);
        const uint64_t start = wide > n ? RoundDown(at, wide) : at;
        const uint64_t part = LowBytes(value >> (shift + 8 * done), n);
        m->device->Write(m->region, start, wide, part << (8 * (at - start)));
      });
    }
    done += here;
  }
}

std::string Bus::Show(Space space) const {
  MutexLock hold(&map_lock_);
  std::multimap<uint64_t, const Mapping*> by_base;
  for (unsigned i = 0; i < count_.load(std::memory_order_relaxed); ++i) {
    const uint64_t base = mappings_[i].base.load(std::memory_order_relaxed);
    if (mappings_[i].space == space && base != kNowhere) by_base.emplace(base, &mappings_[i]);
  }
  std::string out;
  for (const auto& [base, m] : by_base)
    absl::StrAppendFormat(&out, "%#x-%#x %s\n", base, base + m->size - 1, m->device->name());
  return out;
}

}  // namespace atl::dev
