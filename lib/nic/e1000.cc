// SPDX-License-Identifier: Apache-2.0
// Intel's 82540EM ("PRO/1000 MT Desktop"), after the "PCI/PCI-X Family of Gigabit
// Ethernet Controllers Software Developer's Manual" (317453). Without flash memory,
// wake-up and management; the link is a cable that is plugged in or not.
//
// Interrupts are throttled as ITR says and delayed as RDTR, RADV, TIDV and TADV
// say, by the machine's clock.
//
// A frame never enters the receiver while the transmitter looks at its ring: in
// loopback the transmitter hands on a finished frame and fetches the next
// descriptor afresh, and the receiver sends nothing.
#include <algorithm>
#include <array>
#include <memory>
#include <utility>

#include "lib/nic/alarm.h"
#include "lib/nic/e1000_receive.h"
#include "lib/nic/e1000_registers.h"
#include "lib/nic/e1000_transmit.h"
#include "lib/nic/ethernet.h"
#include "lib/nic/microwire.h"
#include "lib/nic/nic.h"
#include "lib/nic/phy.h"
#include "lib/nic/transmission.h"

namespace atl::nic {
namespace e1000 {
namespace {

constexpr unsigned kMemoryBar = 0;
constexpr unsigned kIoBar = 2;
constexpr uint32_t kIoBytes = 64;
constexpr uint16_t kVendor = 0x8086;
constexpr uint16_t kDevice = 0x100E;
constexpr uint16_t kSubsystem = 0x001E;
constexpr unsigned kPhyAddress = 1;

constexpr uint64_t kThrottleUnit = 256;  // ns, ITR
constexpr uint64_t kDelayUnit = 1024;    // ns, RDTR, RADV, TIDV, TADV
// Besides SendReady(), which a card that was loaded waits for in vain.
constexpr uint64_t kRetry = 20'000'000;  // ns

pci::PciSpec Spec(std::vector<uint8_t> rom) {
  pci::PciSpec spec;
  spec.vendor = kVendor;
  spec.device = kDevice;
  spec.revision = 2;
  spec.class_code = 0x020000;
  spec.subsystem_vendor = kVendor;
  spec.subsystem = kSubsystem;
  spec.interrupt_pin = 1;
  spec.bars = {{kMemoryBar, pci::BarKind::kMemory32, kMemoryBytes, false},
               {kIoBar, pci::BarKind::kIo, kIoBytes, false}};
  spec.rom = std::move(rom);
  return spec;
}

// 317453, table 5-2. The sum of all words is 0xBABA.
std::array<uint16_t, Microwire::kWords> Eeprom(const net::MacAddress& mac) {
  std::array<uint16_t, Microwire::kWords> words{};
  for (unsigned i = 0; i < 3; ++i) {
    words[i] = static_cast<uint16_t>(mac[2 * i] | mac[2 * i + 1] << 8);
  }
  words[0x0A] = 0x4003;  // valid; the identities below are to be loaded
  words[0x0B] = kSubsystem;
  words[0x0C] = kVendor;
  words[0x0D] = kDevice;
  words[0x0E] = kVendor;
  words[0x0F] = 0x3040;  // flow control, both ways
  uint16_t sum = 0;
  for (const uint16_t w : words) sum = static_cast<uint16_t>(sum + w);
  words[0x3F] = static_cast<uint16_t>(0xBABA - sum);
  return words;
}

// An interrupt that waits a little for more of its kind: each event puts it off,
// but not past the absolute limit, where there is one.
class Delay {
 public:
  Delay(dev::Clock& clock, std::function<void()> ring) : alarm_(clock, std::move(ring)) {}
  void Event(uint64_t now, uint64_t delay_ns, uint64_t limit_ns) {
    if (!alarm_.set()) limit_ = limit_ns == 0 ? ~uint64_t{0} : now + limit_ns;
    alarm_.Set(std::min(now + delay_ns, limit_));
  }
  bool Cancel() {
    const bool was_set = alarm_.set();
    alarm_.Clear();
    return was_set;
  }
  void VisitState(dev::StateVisitor& v, absl::string_view name) {
    v.Begin(name);
    alarm_.VisitState(v, "deadline");
    v.Field("limit", limit_);
    v.End();
  }

 private:
  Alarm alarm_;
  uint64_t limit_ = 0;
};

class E1000 final : public pci::PciDevice, private net::Client {
 public:
  explicit E1000(NicParts parts)
      : PciDevice(parts.wiring, Spec(std::move(parts.rom))),
        clock_(*parts.clock),
        port_(*parts.port),
        eeprom_(Eeprom(parts.mac)),
        out_([this](const net::Frame& f) { return Emit(f); },
             [this] { return loopback() ? net::Offloads{} : port_.peer_accepts(); }),
        transmitter_(registers_, *parts.memory, out_),
        receiver_(registers_, *parts.memory),
        throttle_(clock_, [this] { UpdateInterrupt(); }),
        receive_delay_(clock_, [this] { Cause(kIcrRxTimer); }),
        transmit_delay_(clock_, [this] { Cause(kIcrTxDescWritten); }),
        more_(clock_, [this] { Transmit(); }) {
    ResetChip();
    port_.Connect(this);
    phy_.SetLink(port_.link_up());
  }
  ~E1000() override { port_.Connect(nullptr); }

  absl::string_view name() const override { return "e1000"; }

 protected:
  void ResetDevice() override {
    eeprom_.Reset();
    phy_.Reset();
    ResetChip();
  }
  uint64_t ReadRegion(unsigned region, uint64_t offset, unsigned size) override {
    if (region == kMemoryBar && offset < kMemoryBytes) return ReadMemory(offset, size);
    if (region != kIoBar) return PciDevice::ReadRegion(region, offset, size);
    if (offset == 0) return io_address_;
    return offset == 4 && io_address_ < kMemoryBytes ? ReadMemory(io_address_, size) : 0;
  }
  void WriteRegion(unsigned region, uint64_t offset, unsigned size, uint64_t value) override {
    if (region == kMemoryBar && offset < kMemoryBytes) return WriteMemory(offset, size, value);
    if (region != kIoBar) return;
    if (offset == 0) io_address_ = static_cast<uint32_t>(value) & ~3u;
    if (offset == 4 && io_address_ < kMemoryBytes) WriteMemory(io_address_, size, value);
  }
  void OnConfigWrite(unsigned offset, unsigned size) override {
    // The guest may have let the card reach memory, with work already waiting.
    if (offset <= pci::kCommand && size <= 4) Transmit();
  }
  void VisitDeviceState(dev::StateVisitor& v) override;

 private:
  // net::Client.
  bool Receive(const net::Frame& frame) override {
    if (loopback()) return true;
    return Take(frame.bytes, frame.work.checksum_valid);
  }
  void SendReady() override { Transmit(); }
  void LinkChanged(bool up) override {
    phy_.SetLink(up);
    Cause(kIcrLinkChanged);
  }

  // RCTL.LBM, or the transceiver's own.
  bool loopback() const { return registers_.file.Has(kRctl, kRctlLoopback) || phy_.loopback(); }

  void ResetChip();
  void LoadAddress();
  uint64_t ReadMemory(uint64_t offset, unsigned size);
  void WriteMemory(uint64_t offset, unsigned size, uint64_t value);
  uint32_t ReadRegister(Reg reg);
  void WroteRegister(Reg reg, uint32_t given, uint32_t old);
  uint32_t* ArrayWord(uint64_t offset);
  uint32_t* StatisticAt(uint64_t offset) {
    if (offset < kStatisticsAt || offset >= kStatisticsAt + 4 * kStatistics) return nullptr;
    return &registers_.statistics[(offset - kStatisticsAt) / 4];
  }
  void AccessPhy();
  bool Take(std::span<const uint8_t> frame, bool checked);
  bool Emit(const net::Frame& frame);
  void Transmit();
  void RoomForFrames();
  void Cause(uint32_t bits);
  void UpdateInterrupt();

  dev::Clock& clock_;
  net::Port& port_;
  Registers registers_;
  Microwire eeprom_;
  Phy phy_;
  Transmission out_;
  Transmitter transmitter_;
  Receiver receiver_;
  Alarm throttle_;  // until the next interrupt is allowed
  Delay receive_delay_;
  Delay transmit_delay_;
  Alarm more_;  // the rest of a long ring
  uint32_t io_address_ = 0;
  bool asserted_ = false;
  uint64_t interrupt_at_ = 0;  // when the last one was, ns; 0: none yet
  bool refused_ = false;       // Receive() was false since the last ReceiveReady()
};

void E1000::ResetChip() {
  registers_.Reset();
  LoadAddress();
  out_.Clear();
  transmitter_.Reset();
  throttle_.Clear();
  more_.Clear();
  receive_delay_.Cancel();
  transmit_delay_.Cancel();
  io_address_ = 0;
  interrupt_at_ = 0;
  asserted_ = false;
  SetIntx(false);
  RoomForFrames();  // they go, now that nobody wants them
}

void E1000::LoadAddress() {
  registers_.addresses[0] = uint32_t{eeprom_.word(1)} << 16 | eeprom_.word(0);
  registers_.addresses[1] = kAddressValid | eeprom_.word(2);
}

// The tables of single words, which take any value.
uint32_t* E1000::ArrayWord(uint64_t offset) {
  const auto at = [&](uint32_t base, std::span<uint32_t> words) -> uint32_t* {
    if (offset < base || offset >= base + 4 * words.size()) return nullptr;
    return &words[(offset - base) / 4];
  };
  if (uint32_t* w = at(kMulticastAt, registers_.multicast)) return w;
  if (uint32_t* w = at(kAddressesAt, registers_.addresses)) return w;
  return at(kVlanAt, registers_.vlan);
}

uint64_t E1000::ReadMemory(uint64_t offset, unsigned size) {
  const uint64_t mask = size >= 8 ? ~uint64_t{0} : (uint64_t{1} << 8 * size) - 1;
  if (const uint32_t* word = ArrayWord(offset)) {
    return *word >> 8 * (offset & 3) & mask & 0xFFFFFFFF;
  }
  if (uint32_t* counter = StatisticAt(offset)) {
    return std::exchange(*counter, 0) >> 8 * (offset & 3) & mask;
  }
  return registers_.file.Read(offset, size, [this](Reg reg) { return ReadRegister(reg); });
}

void E1000::WriteMemory(uint64_t offset, unsigned size, uint64_t value) {
  if (uint32_t* word = ArrayWord(offset)) {
    const unsigned shift = 8 * (offset & 3);
    const uint64_t bytes = size >= 4 ? 0xFFFFFFFF : (uint64_t{1} << 8 * size) - 1;
    const uint32_t mask = static_cast<uint32_t>(bytes << shift);
    *word = (*word & ~mask) | (static_cast<uint32_t>(value << shift) & mask);
    return;
  }
  registers_.file.Write(offset, size, value, [this](Reg reg, uint32_t given, uint32_t old) {
    WroteRegister(reg, given, old);
  });
}

uint32_t E1000::ReadRegister(Reg reg) {
  const uint32_t value = registers_.file[reg];
  switch (reg) {
    case kStatus: {
      const bool up = port_.link_up() && registers_.file.Has(kCtrl, kCtrlSetLinkUp);
      return value | (up ? kStatusLinkUp : 0);
    }
    case kEecd:
      return value | ((value & kEecdRequest) != 0 ? kEecdGrant : 0) |
             (eeprom_.data_out() ? kEecdOut : 0);
    case kIcr:
      registers_.file[kIcr] = 0;
      UpdateInterrupt();
      return value;
    default:
      return value;
  }
}

void E1000::WroteRegister(Reg reg, uint32_t given, uint32_t) {
  RegisterFile<Reg>& file = registers_.file;
  switch (reg) {
    case kCtrl:
      if ((given & kCtrlReset) != 0) {
        ResetChip();
      } else if ((given & kCtrlPhyReset) != 0) {
        phy_.Reset();
      }
      break;
    case kEecd:
      eeprom_.Set(file.Has(kEecd, kEecdSelect), file.Has(kEecd, kEecdClock),
                  file.Has(kEecd, kEecdIn));
      break;
    case kEerd:
      if ((given & kEerdStart) != 0) {
        const unsigned word = given >> 8 & 0xFF;
        const uint16_t data = word < Microwire::kWords ? eeprom_.word(word) : 0xFFFF;
        file[kEerd] = uint32_t{data} << 16 | (given & 0xFF00) | kEerdDone;
      }
      break;
    case kCtrlExt:
      if ((given & kCtrlExtEepromReset) != 0) LoadAddress();
      break;
    case kMdic:
      AccessPhy();
      break;
    case kIcr:
    case kItr:
      UpdateInterrupt();
      break;
    case kIcs:
      Cause(given & kIcrCauses);
      break;
    case kIms:
      file[kIms] |= given & kIcrCauses;
      UpdateInterrupt();
      break;
    case kImc:
      file[kIms] &= ~given;
      UpdateInterrupt();
      break;
    case kRctl:
    case kRdlen:
    case kRdh:
    case kRdt:
      RoomForFrames();
      break;
    case kRdtr:
      if ((given & kFlushDelay) != 0 && receive_delay_.Cancel()) Cause(kIcrRxTimer);
      break;
    case kTidv:
      if ((given & kFlushDelay) != 0 && transmit_delay_.Cancel()) Cause(kIcrTxDescWritten);
      break;
    case kTctl:
    case kTdt:
      Transmit();
      break;
    default:
      break;
  }
}

// 317453, 13.4.8.
void E1000::AccessPhy() {
  uint32_t& mdic = registers_.file[kMdic];
  const unsigned reg = mdic >> 16 & 31;
  const uint32_t operation = mdic & kMdicOperation;
  bool negotiated = false;
  mdic &= ~kMdicError;
  if ((mdic >> 21 & 31) != kPhyAddress) {
    mdic |= kMdicError;
  } else if (operation == kMdicRead) {
    mdic = (mdic & 0xFFFF0000) | phy_.Read(reg);
  } else if (operation == kMdicWrite) {
    negotiated = phy_.Write(reg, static_cast<uint16_t>(mdic));
  } else {
    mdic |= kMdicError;
  }
  mdic |= kMdicReady;
  uint32_t causes = negotiated ? kIcrLinkChanged : 0;
  if ((mdic & kMdicInterrupt) != 0) causes |= kIcrMdioDone;
  Cause(causes);
}

bool E1000::Take(std::span<const uint8_t> frame, bool checked) {
  if (!bus_master()) return true;
  bool below_minimum = false;
  switch (receiver_.Receive(frame, checked, below_minimum)) {
    case Receiver::Verdict::kDropped:
      return true;
    case Receiver::Verdict::kNoRoom:
      refused_ = true;
      return false;
    case Receiver::Verdict::kStored:
      break;
  }
  const uint64_t delay = registers_.file[kRdtr] * kDelayUnit;
  uint32_t causes = below_minimum ? kIcrRxMinimum : 0;
  if (delay == 0) {
    causes |= kIcrRxTimer;
  } else {
    receive_delay_.Event(clock_.NowNs(), delay, registers_.file[kRadv] * kDelayUnit);
  }
  Cause(causes);
  return true;
}

bool E1000::Emit(const net::Frame& frame) {
  if (loopback()) {
    // What the receiver has no room for is lost, as behind a switch.
    (void)Take(frame.bytes, false);
    refused_ = false;
  } else if (!port_.Send(frame)) {
    return false;
  }
  const size_t on_wire = std::max(frame.bytes.size(), kMinFrame) + kCheckBytes;
  registers_.Count(kTxGood);
  registers_.Count(kTxTotal);
  registers_.CountBytes(kTxGoodBytes, on_wire);
  registers_.CountBytes(kTxBytes, on_wire);
  registers_.CountSize(kTx64, on_wire);
  if (IsBroadcast(frame.bytes.data())) {
    registers_.Count(kTxBroadcast);
  } else if (IsGroup(frame.bytes.data())) {
    registers_.Count(kTxMulticast);
  }
  return true;
}

void E1000::Transmit() {
  if (!bus_master()) return;
  more_.Clear();
  const Transmitter::Outcome outcome = transmitter_.Run();
  uint32_t causes = outcome.emptied ? kIcrTxQueueEmpty : 0;
  const uint64_t delay = registers_.file[kTidv] * kDelayUnit;
  if (outcome.written || (outcome.written_later && delay == 0)) {
    causes |= kIcrTxDescWritten;
    transmit_delay_.Cancel();
  } else if (outcome.written_later) {
    transmit_delay_.Event(clock_.NowNs(), delay, registers_.file[kTadv] * kDelayUnit);
  }
  Cause(causes);
  if (outcome.unfinished) more_.Set(clock_.NowNs() + 1);
  if (out_.busy()) more_.Set(clock_.NowNs() + kRetry);
}

void E1000::RoomForFrames() {
  if (std::exchange(refused_, false)) port_.ReceiveReady();
}

void E1000::Cause(uint32_t bits) {
  registers_.file[kIcr] |= bits;
  UpdateInterrupt();
}

// INTA# is up while an unmasked cause is there; it rises no sooner than ITR after
// it last rose (13.4.18).
void E1000::UpdateInterrupt() {
  const bool wanted = (registers_.file[kIcr] & registers_.file[kIms]) != 0;
  if (!wanted) {
    throttle_.Clear();
    if (asserted_) SetIntx(false);
    asserted_ = false;
    return;
  }
  if (asserted_) return;
  const uint64_t interval = registers_.file[kItr] * kThrottleUnit;
  const uint64_t now = clock_.NowNs();
  if (interval != 0 && interrupt_at_ != 0 && now < interrupt_at_ + interval) {
    throttle_.Set(interrupt_at_ + interval);
    return;
  }
  throttle_.Clear();
  asserted_ = true;
  interrupt_at_ = std::max<uint64_t>(now, 1);
  SetIntx(true);
}

void E1000::VisitDeviceState(dev::StateVisitor& v) {
  registers_.VisitState(v);
  eeprom_.VisitState(v);
  phy_.VisitState(v);
  out_.VisitState(v);
  transmitter_.VisitState(v);
  throttle_.VisitState(v, "throttle");
  receive_delay_.VisitState(v, "receive_delay");
  transmit_delay_.VisitState(v, "transmit_delay");
  more_.VisitState(v, "more");
  v.Field("io_address", io_address_);
  v.Field("asserted", asserted_);
  v.Field("interrupt_at", interrupt_at_);
  if (v.loading()) {
    phy_.SetLink(port_.link_up());
    refused_ = true;
    RoomForFrames();
  }
}

}  // namespace
}  // namespace e1000

extern const NicModel kE1000;
const NicModel kE1000 = {"e1000", "Intel 82540EM, gigabit, with checksums and segmentation",
                         "pxe-e1000.rom", [](NicParts parts) -> std::unique_ptr<pci::PciDevice> {
                           return std::make_unique<e1000::E1000>(std::move(parts));
                         }};

}  // namespace atl::nic
