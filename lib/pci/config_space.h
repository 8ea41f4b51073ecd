// SPDX-License-Identifier: Apache-2.0
// The 256 bytes of a PCI function's configuration, as data: each register has
// an offset, a width, a value after reset, the bits that the guest can write
// and those that it clears by writing ones (PCI Local Bus 3.0, chapter 6).
// Bytes that nothing defines read as zero and ignore writes.
#ifndef LIB_PCI_CONFIG_SPACE_H_
#define LIB_PCI_CONFIG_SPACE_H_

#include <array>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "lib/dev/state.h"

namespace atl::pci {

struct ConfigRegister {
  uint8_t offset = 0;
  uint8_t width = 4;  // bytes: 1, 2 or 4
  uint32_t reset = 0;
  uint32_t writable = 0;
  uint32_t write_one_to_clear = 0;
};

// The offsets every function shares.
inline constexpr unsigned kVendorId = 0x00;
inline constexpr unsigned kDeviceId = 0x02;
inline constexpr unsigned kCommand = 0x04;
inline constexpr unsigned kStatus = 0x06;
inline constexpr unsigned kRevision = 0x08;
inline constexpr unsigned kClassCode = 0x09;
inline constexpr unsigned kHeaderType = 0x0E;
inline constexpr unsigned kBar0 = 0x10;
inline constexpr unsigned kSubsystemVendor = 0x2C;
inline constexpr unsigned kRomBar = 0x30;
inline constexpr unsigned kCapabilities = 0x34;
inline constexpr unsigned kInterruptLine = 0x3C;
inline constexpr unsigned kInterruptPin = 0x3D;

inline constexpr uint16_t kCommandIo = 1 << 0;
inline constexpr uint16_t kCommandMemory = 1 << 1;
inline constexpr uint16_t kCommandBusMaster = 1 << 2;
inline constexpr uint16_t kCommandIntxDisable = 1 << 10;
inline constexpr uint16_t kStatusInterrupt = 1 << 3;
inline constexpr uint16_t kStatusCapabilities = 1 << 4;

class ConfigSpace {
 public:
  static constexpr unsigned kBytes = 256;

  // Adds to what lies there already: a later definition replaces an earlier.
  void Define(const ConfigRegister& r);
  void Reset() { value_ = reset_; }

  // As the guest does: any offset and size. What lies past the end reads as
  // ones and ignores writes.
  uint32_t Read(unsigned offset, unsigned size) const;
  void Write(unsigned offset, unsigned size, uint32_t value);

  // As the device does: past the masks. `offset` is the device's own constant.
  template <typename T>
  T Get(unsigned offset) const {
    static_assert(std::is_unsigned_v<T>);
    T v = 0;
    if (offset + sizeof v <= kBytes) std::memcpy(&v, value_.data() + offset, sizeof v);
    return v;
  }
  template <typename T>
  void Set(unsigned offset, T v) {
    static_assert(std::is_unsigned_v<T>);
    if (offset + sizeof v <= kBytes) std::memcpy(value_.data() + offset, &v, sizeof v);
  }

  // Saves every byte; loads the bits that a guest could have changed, so that
  // no saved state gives a device another identity.
  void VisitState(dev::StateVisitor& v);

 private:
  std::array<uint8_t, kBytes> value_{};
  std::array<uint8_t, kBytes> reset_{};
  std::array<uint8_t, kBytes> writable_{};
  std::array<uint8_t, kBytes> clear_{};
};

}  // namespace atl::pci

#endif  // LIB_PCI_CONFIG_SPACE_H_
