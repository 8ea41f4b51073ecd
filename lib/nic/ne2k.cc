// SPDX-License-Identifier: Apache-2.0
// Realtek's RTL8029AS: an NE2000 on the PCI bus. A DP8390 ("DP8390D/NS32490D NIC
// Network Interface Controller", National Semiconductor) with memory of its own,
// which the driver reaches through one data port ("remote DMA"), and Realtek's
// third page of registers.
//
// The card's memory is all that the guest can make it touch: every address is
// masked by the memory's size when it is used, and rings are checked then, since
// their registers can hold anything at any time.
#include <algorithm>
#include <array>
#include <memory>
#include <utility>
#include <vector>

#include "lib/base/endian.h"
#include "lib/nic/ethernet.h"
#include "lib/nic/nic.h"

namespace atl::nic {
namespace ne2k {
namespace {

constexpr unsigned kIoBar = 0;
constexpr uint32_t kPorts = 32;
constexpr uint64_t kDataPort = 0x10;   // to 0x17
constexpr uint64_t kResetPort = 0x18;  // to 0x1F

// The card's memory: the address (each byte twice, as on a 16-bit bus) at 0,
// buffers at kBuffers.
constexpr uint32_t kPromBytes = 32;
constexpr uint32_t kBuffers = 0x4000;
constexpr uint32_t kBufferBytes = 32 << 10;
constexpr unsigned kPage = 256;

// CR.
constexpr uint8_t kStop = 1 << 0;
constexpr uint8_t kStart = 1 << 1;
constexpr uint8_t kTransmit = 1 << 2;
constexpr uint8_t kRemoteMask = 7 << 3;
constexpr uint8_t kRemoteRead = 1 << 3;
constexpr uint8_t kRemoteWrite = 2 << 3;
constexpr uint8_t kRemoteSend = 3 << 3;
constexpr uint8_t kRemoteAbort = 4 << 3;
// ISR, IMR.
constexpr uint8_t kReceived = 1 << 0;
constexpr uint8_t kSent = 1 << 1;
constexpr uint8_t kSendError = 1 << 3;
constexpr uint8_t kRemoteDone = 1 << 6;
constexpr uint8_t kResetState = 1 << 7;
constexpr uint8_t kCauses = 0x7F;
// DCR, TCR, RCR.
constexpr uint8_t kWordWide = 1 << 0;
constexpr uint8_t kLoopbackMask = 3 << 1;
constexpr uint8_t kTakeBroadcast = 1 << 2;
constexpr uint8_t kTakeMulticast = 1 << 3;
constexpr uint8_t kTakeAll = 1 << 4;
constexpr uint8_t kMonitor = 1 << 5;
// TSR, RSR.
constexpr uint8_t kSentWell = 1 << 0;
constexpr uint8_t kAborted = 1 << 3;
constexpr uint8_t kReceivedWell = 1 << 0;
constexpr uint8_t kGroupAddress = 1 << 5;

constexpr size_t kRingHeader = 4;
// Both without the check sequence; a tag is not this card's business.
constexpr size_t kMaxBytes = kMaxFrame + 4;

pci::PciSpec Spec(std::vector<uint8_t> rom) {
  pci::PciSpec spec;
  spec.vendor = 0x10EC;
  spec.device = 0x8029;
  spec.class_code = 0x020000;
  spec.subsystem_vendor = 0x10EC;
  spec.subsystem = 0x8029;
  spec.interrupt_pin = 1;
  spec.bars = {{kIoBar, pci::BarKind::kIo, kPorts, false}};
  spec.rom = std::move(rom);
  return spec;
}

// Page and place of a register: DP8390 data sheet, 10.2; page 3: RTL8029AS.
constexpr unsigned At(unsigned page, unsigned reg) { return page << 4 | reg; }

struct State {
  uint8_t command = kStop | kRemoteAbort;
  uint8_t isr = kResetState;
  uint8_t imr = 0;
  uint8_t page_start = 0;
  uint8_t page_stop = 0;
  uint8_t boundary = 0;
  uint8_t current = 0;
  uint8_t transmit_page = 0;
  uint16_t transmit_count = 0;
  uint16_t remote_address = 0;
  uint16_t remote_count = 0;
  uint8_t receive_config = 0;
  uint8_t transmit_config = 0;
  uint8_t data_config = 0;
  uint8_t transmit_status = 0;
  uint8_t receive_status = 0;
  uint8_t address[6] = {};
  uint8_t multicast[8] = {};
};

class Ne2k final : public pci::PciDevice, private net::Client {
 public:
  explicit Ne2k(NicParts parts)
      : PciDevice(parts.wiring, Spec(std::move(parts.rom))),
        port_(*parts.port),
        buffers_(kBufferBytes) {
    for (size_t i = 0; i < kAddressBytes; ++i) prom_[2 * i] = prom_[2 * i + 1] = parts.mac[i];
    // "WW": 16 bits wide.
    for (size_t i = 28; i < kPromBytes; ++i) prom_[i] = 'W';
    port_.Connect(this);
  }
  ~Ne2k() override { port_.Connect(nullptr); }

  absl::string_view name() const override { return "ne2k_pci"; }

 protected:
  void ResetDevice() override {
    std::fill(buffers_.begin(), buffers_.end(), uint8_t{0});
    ResetChip();
  }
  uint64_t ReadRegion(unsigned region, uint64_t offset, unsigned size) override;
  void WriteRegion(unsigned region, uint64_t offset, unsigned size, uint64_t value) override;
  void VisitDeviceState(dev::StateVisitor& v) override;

 private:
  // net::Client.
  bool Receive(const net::Frame& frame) override;
  void SendReady() override { Transmit(); }

  void ResetChip();
  uint8_t ReadRegister(unsigned reg);
  void WriteRegister(unsigned reg, uint8_t value);
  void WriteCommand(uint8_t value);
  void Transmit();
  uint8_t ReadMemory(uint16_t address) const;
  void WriteMemory(uint16_t address, uint8_t value);
  uint64_t ReadData(unsigned size);
  void WriteData(unsigned size, uint64_t value);
  void Remote(unsigned bytes);
  bool Wanted(std::span<const uint8_t> frame) const;
  void RoomForFrames() {
    if (std::exchange(refused_, false)) port_.ReceiveReady();
  }
  void Cause(uint8_t bits) {
    s_.isr |= bits;
    UpdateInterrupt();
  }
  void UpdateInterrupt() { SetIntx((s_.isr & s_.imr & kCauses) != 0); }

  net::Port& port_;
  State s_;
  std::array<uint8_t, kPromBytes> prom_{};
  std::vector<uint8_t> buffers_;
  bool refused_ = false;  // Receive() was false since the last ReceiveReady()
};

void Ne2k::ResetChip() {
  s_ = State();
  UpdateInterrupt();
  RoomForFrames();  // they go, now that nobody wants them
}

uint8_t Ne2k::ReadMemory(uint16_t address) const {
  if (address < kPromBytes) return prom_[address];
  if (address >= kBuffers && address < kBuffers + kBufferBytes) return buffers_[address - kBuffers];
  return 0xFF;
}

void Ne2k::WriteMemory(uint16_t address, uint8_t value) {
  if (address >= kBuffers && address < kBuffers + kBufferBytes) {
    buffers_[address - kBuffers] = value;
  }
}

// `bytes` more are through: the address goes on, round the ring, the count down.
void Ne2k::Remote(unsigned bytes) {
  s_.remote_address = static_cast<uint16_t>(s_.remote_address + bytes);
  if (s_.remote_address == s_.page_stop << 8) {
    s_.remote_address = static_cast<uint16_t>(s_.page_start << 8);
  }
  s_.remote_count =
      s_.remote_count <= bytes ? uint16_t{0} : static_cast<uint16_t>(s_.remote_count - bytes);
  if (s_.remote_count == 0) Cause(kRemoteDone);
}

uint64_t Ne2k::ReadData(unsigned size) {
  const uint8_t remote = s_.command & kRemoteMask;
  if (remote != kRemoteRead && remote != kRemoteSend) return 0;
  // A card that is one byte wide gives one byte in each access.
  const unsigned bytes = (s_.data_config & kWordWide) != 0 ? std::min(size, 4u) : 1;
  uint64_t value = 0;
  for (unsigned i = 0; i < bytes && s_.remote_count != 0; ++i) {
    value |= uint64_t{ReadMemory(s_.remote_address)} << 8 * i;
    Remote(1);
  }
  return value;
}

void Ne2k::WriteData(unsigned size, uint64_t value) {
  if ((s_.command & kRemoteMask) != kRemoteWrite) return;
  const unsigned bytes = (s_.data_config & kWordWide) != 0 ? std::min(size, 4u) : 1;
  for (unsigned i = 0; i < bytes && s_.remote_count != 0; ++i) {
    WriteMemory(s_.remote_address, static_cast<uint8_t>(value >> 8 * i));
    Remote(1);
  }
}

uint64_t Ne2k::ReadRegion(unsigned region, uint64_t offset, unsigned size) {
  if (region != kIoBar || offset >= kPorts) return PciDevice::ReadRegion(region, offset, size);
  if (offset >= kDataPort && offset < kResetPort) return ReadData(size);
  uint64_t value = 0;
  for (unsigned i = 0; i < size && offset + i < kPorts; ++i) {
    uint8_t byte = 0;
    if (offset + i >= kResetPort) {
      ResetChip();
    } else if (offset + i < kDataPort) {
      byte = ReadRegister(static_cast<unsigned>(offset + i));
    }
    value |= uint64_t{byte} << 8 * i;
  }
  return value;
}

void Ne2k::WriteRegion(unsigned region, uint64_t offset, unsigned size, uint64_t value) {
  if (region != kIoBar || offset >= kPorts) return;
  if (offset >= kDataPort && offset < kResetPort) return WriteData(size, value);
  for (unsigned i = 0; i < size && offset + i < kDataPort; ++i) {
    WriteRegister(static_cast<unsigned>(offset + i), static_cast<uint8_t>(value >> 8 * i));
  }
}

uint8_t Ne2k::ReadRegister(unsigned reg) {
  if (reg == 0) return s_.command;
  const unsigned at = At(s_.command >> 6, reg);
  if (at >= At(1, 1) && at <= At(1, 6)) return s_.address[at - At(1, 1)];
  if (at >= At(1, 8) && at <= At(1, 15)) return s_.multicast[at - At(1, 8)];
  switch (at) {
    case At(0, 0x1):  // CLDA: the local DMA stands between two frames
      return 0;
    case At(0, 0x2):
      return s_.current;
    case At(0, 0x3):
      return s_.boundary;
    case At(0, 0x4):
      return s_.transmit_status;
    case At(0, 0x7):
      return s_.isr;
    case At(0, 0x8):  // CRDA
      return static_cast<uint8_t>(s_.remote_address);
    case At(0, 0x9):
      return static_cast<uint8_t>(s_.remote_address >> 8);
    case At(0, 0xA):  // 8029ID0, 8029ID1
      return 'P';
    case At(0, 0xB):
      return 'C';
    case At(0, 0xC):
      return s_.receive_status;
    case At(1, 0x7):
      return s_.current;
    case At(2, 0x1):
      return s_.page_start;
    case At(2, 0x2):
      return s_.page_stop;
    case At(2, 0x4):
      return s_.transmit_page;
    case At(2, 0xC):
      return s_.receive_config | 0xC0;
    case At(2, 0xD):
      return s_.transmit_config | 0xE0;
    case At(2, 0xE):
      return s_.data_config | 0x80;
    case At(2, 0xF):
      return s_.imr | 0x80;
    case At(3, 0x3):  // CONFIG0: 10BaseT connected
      return 0x00;
    case At(3, 0x5):  // CONFIG2: link test passed
      return 0x40;
    case At(3, 0x6):  // CONFIG3: not full duplex
      return 0x00;
    case At(3, 0xE):  // 8029ASID0, 8029ASID1
      return 0x29;
    case At(3, 0xF):
      return 0x80;
    default:  // counters of errors that do not happen, and the FIFO
      return 0;
  }
}

void Ne2k::WriteRegister(unsigned reg, uint8_t value) {
  if (reg == 0) return WriteCommand(value);
  const unsigned at = At(s_.command >> 6, reg);
  if (at >= At(1, 1) && at <= At(1, 6)) {
    s_.address[at - At(1, 1)] = value;
    return;
  }
  if (at >= At(1, 8) && at <= At(1, 15)) {
    s_.multicast[at - At(1, 8)] = value;
    return;
  }
  const auto low = [value](uint16_t& word) {
    word = static_cast<uint16_t>((word & 0xFF00) | value);
  };
  const auto high = [value](uint16_t& word) {
    word = static_cast<uint16_t>((word & 0x00FF) | value << 8);
  };
  switch (at) {
    case At(0, 0x1):
      s_.page_start = value;
      RoomForFrames();
      break;
    case At(0, 0x2):
      s_.page_stop = value;
      RoomForFrames();
      break;
    case At(0, 0x3):
      s_.boundary = value;
      RoomForFrames();
      break;
    case At(0, 0x4):
      s_.transmit_page = value;
      break;
    case At(0, 0x5):
      low(s_.transmit_count);
      break;
    case At(0, 0x6):
      high(s_.transmit_count);
      break;
    case At(0, 0x7):  // RST shows whether the chip stands still: not to be cleared
      s_.isr &= static_cast<uint8_t>(~(value & kCauses));
      UpdateInterrupt();
      RoomForFrames();
      break;
    case At(0, 0x8):
      low(s_.remote_address);
      break;
    case At(0, 0x9):
      high(s_.remote_address);
      break;
    case At(0, 0xA):
      low(s_.remote_count);
      break;
    case At(0, 0xB):
      high(s_.remote_count);
      break;
    case At(0, 0xC):
      s_.receive_config = value & 0x3F;
      RoomForFrames();
      break;
    case At(0, 0xD):
      s_.transmit_config = value & 0x1F;
      break;
    case At(0, 0xE):
      s_.data_config = value & 0x7F;
      break;
    case At(0, 0xF):
      s_.imr = value & kCauses;
      UpdateInterrupt();
      break;
    case At(1, 0x7):
      s_.current = value;
      RoomForFrames();
      break;
    default:
      break;
  }
}

void Ne2k::WriteCommand(uint8_t value) {
  // With neither, the chip goes on as it was: iPXE turns pages so.
  if ((value & (kStop | kStart)) == 0) value |= s_.command & (kStop | kStart);
  // TXP stays until the frame is gone.
  s_.command = value | (s_.command & kTransmit);
  if ((value & kStop) != 0) {
    s_.isr |= kResetState;
    s_.command &= static_cast<uint8_t>(~kTransmit);
  } else if ((value & kStart) != 0) {
    s_.isr &= static_cast<uint8_t>(~kResetState);
  }
  switch (value & kRemoteMask) {
    case kRemoteRead:
    case kRemoteWrite:
      if (s_.remote_count == 0) Cause(kRemoteDone);
      break;
    case kRemoteSend:
      // The next frame of the ring, by the length in its header.
      s_.remote_address = static_cast<uint16_t>(s_.boundary << 8);
      s_.remote_count =
          static_cast<uint16_t>(ReadMemory(static_cast<uint16_t>(s_.remote_address + 2)) |
                                ReadMemory(static_cast<uint16_t>(s_.remote_address + 3)) << 8);
      break;
    default:
      break;
  }
  Transmit();
  RoomForFrames();
}

void Ne2k::Transmit() {
  if ((s_.command & kTransmit) == 0 || (s_.command & kStart) == 0) return;
  const size_t size = s_.transmit_count;
  bool well = size <= kMaxBytes && size != 0;
  // In loopback frames go round within the chip and not into its memory.
  if (well && (s_.transmit_config & kLoopbackMask) == 0) {
    std::array<uint8_t, kMaxBytes> bytes;
    const uint16_t from = static_cast<uint16_t>(s_.transmit_page << 8);
    for (size_t i = 0; i < size; ++i) bytes[i] = ReadMemory(static_cast<uint16_t>(from + i));
    if (!port_.Send({{bytes.data(), size}, {}})) return;  // SendReady() goes on
  }
  s_.command &= static_cast<uint8_t>(~kTransmit);
  s_.transmit_status = well ? kSentWell : kAborted;
  Cause(well ? kSent : kSendError);
}

bool Ne2k::Wanted(std::span<const uint8_t> frame) const {
  const uint8_t config = s_.receive_config;
  if (IsBroadcast(frame.data())) return (config & (kTakeBroadcast | kTakeAll)) != 0;
  if (IsGroup(frame.data())) {
    const unsigned hash = MulticastHash(frame.data());
    return (config & kTakeMulticast) != 0 && (s_.multicast[hash >> 3] >> (hash & 7) & 1) != 0;
  }
  return (config & kTakeAll) != 0 ||
         std::equal(std::begin(s_.address), std::end(s_.address), frame.begin());
}

// The ring of pages [page_start, page_stop): a frame goes to `current`, behind a
// header of status, next page and length; `boundary` is the first page that the
// driver has not read. A ring that is none, or lies outside the memory, takes
// nothing.
bool Ne2k::Receive(const net::Frame& in) {
  const std::span<const uint8_t> frame = in.bytes;
  if ((s_.command & kStop) != 0 || (s_.command & kStart) == 0 ||
      (s_.transmit_config & kLoopbackMask) != 0 || (s_.receive_config & kMonitor) != 0 ||
      frame.size() < kHeaderBytes || frame.size() > kMaxBytes || !Wanted(frame)) {
    return true;
  }
  const unsigned start = s_.page_start, stop = s_.page_stop;
  const bool sound = start < stop && start >= kBuffers / kPage &&
                     stop <= (kBuffers + kBufferBytes) / kPage && s_.current >= start &&
                     s_.current < stop;
  if (!sound) return true;
  const size_t size = std::max(frame.size(), kMinFrame);
  const size_t length = size + kCheckBytes;
  const unsigned pages = static_cast<unsigned>((kRingHeader + length + kPage - 1) / kPage);
  const unsigned ring = stop - start;
  if (pages >= ring) return true;  // never fits
  // Linux' 8390.c writes the page before the next frame's, where the ring begins, too: the page
  // before its first one is its last. Any other boundary outside of the ring stops nobody.
  const unsigned boundary = s_.boundary + 1u == start ? stop - 1 : s_.boundary;
  const bool inside = boundary >= start && boundary < stop;
  const unsigned free =
      !inside || boundary == s_.current ? ring : (boundary + ring - s_.current) % ring;
  if (pages >= free) {
    // The driver may have acknowledged more than it has read, and nothing further
    // comes to tell it so.
    Cause(kReceived);
    refused_ = true;
    return false;
  }

  const unsigned after = start + (s_.current - start + pages) % ring;
  s_.receive_status = kReceivedWell | (IsGroup(frame.data()) ? kGroupAddress : 0);
  std::array<uint8_t, kRingHeader + kMaxBytes + kCheckBytes> bytes{};
  bytes[0] = s_.receive_status;
  bytes[1] = static_cast<uint8_t>(after);
  StoreLe<uint16_t>(&bytes[2], static_cast<uint16_t>(length));
  std::copy(frame.begin(), frame.end(), bytes.begin() + kRingHeader);
  StoreLe(&bytes[kRingHeader + size], FrameCheck({&bytes[kRingHeader], size}));
  const size_t total = kRingHeader + length;
  const size_t at = s_.current * kPage - kBuffers;
  const size_t first = std::min<size_t>(total, (stop - s_.current) * kPage);
  std::copy_n(bytes.begin(), first, buffers_.begin() + static_cast<std::ptrdiff_t>(at));
  std::copy_n(bytes.begin() + static_cast<std::ptrdiff_t>(first), total - first,
              buffers_.begin() + static_cast<std::ptrdiff_t>(start * kPage - kBuffers));
  s_.current = static_cast<uint8_t>(after);
  Cause(kReceived);
  return true;
}

void Ne2k::VisitDeviceState(dev::StateVisitor& v) {
  v.Field("command", s_.command);
  v.Field("isr", s_.isr);
  v.Field("imr", s_.imr);
  v.Field("page_start", s_.page_start);
  v.Field("page_stop", s_.page_stop);
  v.Field("boundary", s_.boundary);
  v.Field("current", s_.current);
  v.Field("transmit_page", s_.transmit_page);
  v.Field("transmit_count", s_.transmit_count);
  v.Field("remote_address", s_.remote_address);
  v.Field("remote_count", s_.remote_count);
  v.Field("receive_config", s_.receive_config);
  v.Field("transmit_config", s_.transmit_config);
  v.Field("data_config", s_.data_config);
  v.Field("transmit_status", s_.transmit_status);
  v.Field("receive_status", s_.receive_status);
  v.Array("address", s_.address);
  v.Array("multicast", s_.multicast);
  v.Bytes("buffers", buffers_);
  if (v.loading()) {
    refused_ = true;
    RoomForFrames();
  }
}

}  // namespace
}  // namespace ne2k

extern const NicModel kNe2kPci;
const NicModel kNe2kPci = {"ne2k_pci", "Realtek RTL8029AS, an NE2000 on PCI, 10 Mb/s",
                           "pxe-ne2k_pci.rom",
                           [](NicParts parts) -> std::unique_ptr<pci::PciDevice> {
                             return std::make_unique<ne2k::Ne2k>(std::move(parts));
                           }};

}  // namespace atl::nic
