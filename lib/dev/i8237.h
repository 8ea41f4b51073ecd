// SPDX-License-Identifier: Apache-2.0
// The two 8237A DMA controllers of a PC with their page registers (Intel 8237A
// datasheet; 82371 PIIX, 2.5.1): channels 0 to 3 move bytes, 5 to 7 words, 4
// joins the controllers.
//
// A device asks for its channel with SetRequest() and moves bytes with
// ToMemory() and FromMemory() when the channel is ready: DmaClient tells when
// the guest has made it so. The device shares this chip's lock.
//
// Transfers go to guest RAM below 16 MiB and nowhere else. Left out: transfers
// from memory to memory, and the pace of single transfers.
#ifndef LIB_DEV_I8237_H_
#define LIB_DEV_I8237_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "lib/dev/device.h"
#include "lib/mem/guest_memory.h"

namespace atl::dev {

class DmaClient {
 public:
  virtual ~DmaClient() = default;
  // The channel became ready while the device asks for it.
  virtual void OnDmaReady() = 0;
};

class I8237 final : public Device {
 public:
  static constexpr unsigned kChannels = 8;

  // Regions, with the place they have on a PC; all max_access 1.
  enum Region : unsigned {
    kBytes,  // ports 0x00, 16
    kWords,  // ports 0xC0, 32: each register stands twice
    kPages,  // ports 0x80, 16
  };

  explicit I8237(GuestMemory& memory) : memory_(memory) { Reset(); }

  // `client` outlives this object's use.
  void Connect(unsigned channel, DmaClient* client) { channels_[channel].client = client; }

  void SetRequest(unsigned channel, bool level);
  // Whether bytes can be moved now.
  bool Ready(unsigned channel) const;
  // Bytes until the count ends.
  size_t Left(unsigned channel) const;

  struct Moved {
    size_t bytes = 0;
    bool ended = false;  // the count is at its end: the terminal count signal
  };
  // As much of `bytes` as the count allows, nothing while not ready. Where the
  // channel is set up for the other direction or to verify, the count runs and
  // memory is left alone.
  Moved ToMemory(unsigned channel, std::span<const uint8_t> bytes);
  Moved FromMemory(unsigned channel, std::span<uint8_t> bytes);

  absl::string_view name() const override { return "i8237"; }
  void Reset() override;
  uint64_t Read(unsigned region, uint64_t offset, unsigned size) override;
  void Write(unsigned region, uint64_t offset, unsigned size, uint64_t value) override;
  void VisitState(StateVisitor& v) override;

 private:
  struct Channel {
    DmaClient* client = nullptr;
    uint16_t base_address = 0;
    uint16_t base_count = 0;
    uint16_t address = 0;
    uint16_t count = 0;  // units less one
    uint8_t mode = 0;
    uint8_t page = 0;
    bool masked = true;
    bool requested = false;
    bool ended = false;
  };
  struct Controller {
    uint8_t command = 0;
    bool high_byte = false;  // the next byte of an address or a count
  };
  enum class Direction : uint8_t { kVerify, kToMemory, kFromMemory, kNone };

  static constexpr size_t kPageRegisters = 16;

  Controller& Of(unsigned channel) { return controllers_[channel / 4]; }
  unsigned UnitShift(unsigned channel) const { return channel < 4 ? 0 : 1; }
  Direction DirectionOf(const Channel& c) const { return Direction(c.mode >> 2 & 3); }
  // Calls `piece(address, bytes)` for runs that do not wrap, then counts.
  template <typename Piece>
  Moved Move(unsigned channel, size_t bytes, Piece&& piece);

  uint8_t ReadChip(unsigned chip, unsigned reg);
  void WriteChip(unsigned chip, unsigned reg, uint8_t value);
  void ClearChip(unsigned chip);
  void Tell();

  GuestMemory& memory_;
  std::array<Channel, kChannels> channels_;
  std::array<Controller, 2> controllers_;
  uint8_t pages_[kPageRegisters] = {};
};

}  // namespace atl::dev

#endif  // LIB_DEV_I8237_H_
