// SPDX-License-Identifier: Apache-2.0
// Ports and memory-mapped registers: who answers at which address.
//
// A mapping ties a range of one space to a region of a device and is made once,
// at set-up; where it lies, and whether it is there, can change at any time
// (PCI BARs) while vCPUs access the bus. The access that races with a move
// reaches the device at the old place or the new one, or nobody.
//
// The bus makes of any access what the mapping says its device understands:
// naturally aligned (within the region) pieces of min_access to max_access
// bytes, lowest address first. An access belongs to the mapping at its first
// byte; what hangs over its end goes on to the next. Where nothing is, reads
// are all ones and writes vanish. Where ranges overlap, the greater priority
// wins, then the mapping made later.
//
// Thread rule: accesses, Map, Move and Unmap from any thread; the device's lock
// is held around each device call, and none of the bus' own.
#ifndef LIB_DEV_BUS_H_
#define LIB_DEV_BUS_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "lib/base/mutex.h"
#include "lib/dev/device.h"
#include "lib/dev/device_lock.h"

namespace atl::dev {

enum class Space : uint8_t { kPort, kMmio };

struct MapOptions {
  uint8_t min_access = 1;  // narrower reads are cut out of one of this size,
                           // narrower writes are widened with zeros
  uint8_t max_access = 4;
  bool unaligned = false;  // the device takes accesses at any offset
  int8_t priority = 0;
};

class Bus {
 public:
  using MappingId = unsigned;
  static constexpr unsigned kMaxMappings = 512;
  static constexpr unsigned kMaxMmioRanges = 128;  // mapped at one time

  Bus();
  ~Bus();
  Bus(const Bus&) = delete;
  Bus& operator=(const Bus&) = delete;

  // A mapping that is nowhere yet. `lock` and `device` outlive the bus' use.
  // ResourceExhausted past kMaxMappings.
  absl::StatusOr<MappingId> Add(Space space, DeviceLock& lock, Device& device, unsigned region,
                                uint64_t size, const MapOptions& options = {});
  // Puts it at `base`, from wherever it was. OutOfRange, and nowhere, where the
  // range leaves the space (64 Ki ports, 2^64 bytes) or too many are mapped.
  absl::Status Move(MappingId id, uint64_t base);
  void Unmap(MappingId id);

  // Add and Move in one, for what stays where it is.
  absl::StatusOr<MappingId> Map(Space space, DeviceLock& lock, Device& device, unsigned region,
                                uint64_t base, uint64_t size, const MapOptions& options = {});

  // `size` 1, 2, 4 or 8; bytes of `value` above it are ignored and read as 0.
  // `owner`, where wanted, is set to the mapping that the first byte belongs to, or
  // kMaxMappings where that is nobody's.
  uint64_t Read(Space space, uint64_t address, unsigned size, MappingId* owner = nullptr);
  void Write(Space space, uint64_t address, unsigned size, uint64_t value,
             MappingId* owner = nullptr);

  // Of mappings made so far; valid ids are below.
  unsigned count() const { return count_.load(std::memory_order_acquire); }
  absl::string_view DeviceName(MappingId id) const;

  // "0x60-0x60 i8042" lines, by address, for people.
  std::string Show(Space space) const;

 private:
  struct Mapping;
  struct PortTable;
  struct MmioTable;

  Mapping* Find(Space space, uint64_t address, uint64_t* offset);
  template <typename Piece>
  void Pieces(Mapping& mapping, uint64_t offset, unsigned size, Piece&& piece);
  void RebuildPorts(uint64_t base, uint64_t size) ABSL_EXCLUSIVE_LOCKS_REQUIRED(map_lock_);
  absl::Status RebuildMmio() ABSL_EXCLUSIVE_LOCKS_REQUIRED(map_lock_);

  mutable Mutex map_lock_;  // writers of the tables
  std::atomic<unsigned> count_{0};
  std::unique_ptr<Mapping[]> mappings_;
  std::unique_ptr<PortTable> ports_;
  std::unique_ptr<MmioTable> mmio_;
};

}  // namespace atl::dev

#endif  // LIB_DEV_BUS_H_
