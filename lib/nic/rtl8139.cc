// SPDX-License-Identifier: Apache-2.0
// Realtek's RTL8139C+ and, without its C+ mode, RTL8139C, after their data sheets.
// Without wake-up, CardBus and early receive.
//
// In C mode four registers hold addresses of frames to send, and received frames go
// into one ring of bytes; in C+ mode both are descriptor rings (rtl8139_plus.h),
// each direction by its own bit of C+CR.
//
// A frame never enters the receiver while the transmitter looks at its ring: in
// loopback the transmitter hands on a finished frame and fetches what is next
// afresh, and the receiver sends nothing.
#include <algorithm>
#include <array>
#include <memory>
#include <utility>
#include <vector>

#include "lib/base/endian.h"
#include "lib/nic/alarm.h"
#include "lib/nic/ethernet.h"
#include "lib/nic/microwire.h"
#include "lib/nic/nic.h"
#include "lib/nic/rtl8139_plus.h"
#include "lib/nic/rtl8139_registers.h"
#include "lib/nic/transmission.h"

namespace atl::nic {
namespace rtl8139 {
namespace {

constexpr unsigned kIoBar = 0;
constexpr unsigned kMemoryBar = 1;
constexpr uint32_t kBytes = 256;
constexpr uint16_t kVendor = 0x10EC;
constexpr uint16_t kDevice = 0x8139;

constexpr unsigned kSlots = 4;             // TSD0 to TSD3
constexpr uint32_t kMaxSlotBytes = 0x700;  // 1792
constexpr size_t kMaxReceived = 4096;      // with the check sequence
constexpr unsigned kRingHeader = 4;        // before each frame in the ring of bytes
constexpr uint64_t kTick = 30;             // ns, TCTR: the PCI clock
// Besides SendReady() and the driver's signs of life.
constexpr uint64_t kRetry = 20'000'000;  // ns
// Descriptors are given back in memory alone: who waits for them must look.
constexpr uint64_t kLookAgain = 1'000'000;  // ns

// Status in the ring of bytes.
constexpr uint16_t kRingOk = 1 << 0;
constexpr uint16_t kRingBroadcast = 1 << 13;
constexpr uint16_t kRingOwn = 1 << 14;
constexpr uint16_t kRingMulticast = 1 << 15;

pci::PciSpec Spec(bool plus, std::vector<uint8_t> rom) {
  pci::PciSpec spec;
  spec.vendor = kVendor;
  spec.device = kDevice;
  spec.revision = plus ? 0x20 : 0x10;
  spec.class_code = 0x020000;
  spec.subsystem_vendor = kVendor;
  spec.subsystem = kDevice;
  spec.interrupt_pin = 1;
  spec.bars = {{kIoBar, pci::BarKind::kIo, kBytes, false},
               {kMemoryBar, pci::BarKind::kMemory32, kBytes, false}};
  spec.rom = std::move(rom);
  return spec;
}

std::array<uint16_t, Microwire::kWords> Eeprom(const net::MacAddress& mac) {
  std::array<uint16_t, Microwire::kWords> words{};
  words[0] = 0x8129;  // marks a programmed one
  words[1] = kVendor;
  words[2] = kDevice;
  words[3] = kVendor;
  words[4] = kDevice;
  words[5] = 0x4020;  // greatest latency, shortest grant
  for (unsigned i = 0; i < 3; ++i) {
    words[7 + i] = static_cast<uint16_t>(mac[2 * i] | mac[2 * i + 1] << 8);
  }
  return words;
}

// What DTCCR dumps (data sheet, "dump tally counter").
struct Tally {
  uint64_t sent = 0, received = 0, own = 0, broadcast = 0, multicast = 0;
  uint16_t missed = 0;
};
struct TallyDump {
  le64 sent;
  le64 received;
  le64 send_errors;
  le32 receive_errors;
  le16 missed;
  le16 misaligned;
  le32 one_collision;
  le32 more_collisions;
  le64 received_own;
  le64 received_broadcast;
  le32 received_multicast;
  le16 aborted;
  le16 underrun;
};
static_assert(sizeof(TallyDump) == 64);

class Rtl8139 final : public pci::PciDevice, private net::Client {
 public:
  Rtl8139(NicParts parts, bool plus)
      : PciDevice(parts.wiring, Spec(plus, std::move(parts.rom))),
        plus_(plus),
        clock_(*parts.clock),
        memory_(*parts.memory),
        port_(*parts.port),
        registers_(Table()),
        eeprom_(Eeprom(parts.mac)),
        out_([this](const net::Frame& f) { return Emit(f); },
             [this] { return loopback() ? net::Offloads{} : port_.peer_accepts(); }),
        normal_(registers_, memory_, out_, kTsad0),
        high_(registers_, memory_, out_, kTsad2),
        receiver_(registers_, memory_),
        timer_(clock_, [this] { TimerFired(); }),
        more_(clock_, [this] { Transmit(); }),
        look_(clock_, [this] { RoomForFrames(); }) {
    ResetDevice();
    port_.Connect(this);
  }
  ~Rtl8139() override { port_.Connect(nullptr); }

  absl::string_view name() const override { return plus_ ? "rtl8139" : "rtl8139c"; }

 protected:
  void ResetDevice() override;
  uint64_t ReadRegion(unsigned region, uint64_t offset, unsigned size) override {
    if (region > kMemoryBar) return PciDevice::ReadRegion(region, offset, size);
    return registers_.Read(offset, size, [this](Reg reg) { return ReadRegister(reg); });
  }
  void WriteRegion(unsigned region, uint64_t offset, unsigned size, uint64_t value) override {
    if (region > kMemoryBar) return;
    registers_.Write(offset, size, value, [this](Reg reg, uint32_t given, uint32_t old) {
      WroteRegister(reg, given, old);
    });
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
  void LinkChanged(bool) override { Cause(kLinkChanged); }

  bool plus_transmits() const { return registers_.Has(kCpcr, kPlusTransmit); }
  bool plus_receives() const { return registers_.Has(kCpcr, kPlusReceive); }
  bool loopback() const { return (registers_[kTcr] & kTcrLoopback) == kTcrLoopback; }
  uint32_t ring_bytes() const { return 8192u << (registers_[kRcr] >> 11 & 3); }
  uint32_t ring_free() const;

  void SoftReset();
  void LoadAddress();
  uint32_t ReadRegister(Reg reg);
  void WroteRegister(Reg reg, uint32_t given, uint32_t old);
  void WroteCommand(uint32_t given, uint32_t old);
  void WroteEeprom();
  void WroteSlot(Reg reg);
  void DumpTally();
  bool Take(std::span<const uint8_t> frame, bool checked);
  bool TakeIntoRing(uint16_t status);
  bool Emit(const net::Frame& frame);
  void Transmit();
  void SendSlots();
  void RunRing(PlusTransmitter& ring, PlusTransmitter& other, uint32_t poll);
  void RoomForFrames();
  uint32_t Ticks() const { return static_cast<uint32_t>((clock_.NowNs() - ticks_from_) / kTick); }
  void ArmTimer();
  void TimerFired();
  void Cause(uint32_t bits) {
    registers_[kIsr] |= bits;
    UpdateInterrupt();
  }
  void UpdateInterrupt() { SetIntx((registers_[kIsr] & registers_[kImr]) != 0); }

  const bool plus_;
  dev::Clock& clock_;
  GuestMemory& memory_;
  net::Port& port_;
  Registers registers_;
  Microwire eeprom_;
  Transmission out_;
  PlusTransmitter normal_;
  PlusTransmitter high_;
  PlusReceiver receiver_;
  Alarm timer_;              // TimerInt
  Alarm more_;               // the rest of long rings
  Alarm look_;               // whether there are descriptors again
  uint64_t ticks_from_ = 0;  // when TCTR was 0, ns
  uint8_t slot_ = 0;         // of TSD0 to TSD3, the next one
  uint8_t polling_ = 0;      // TPPoll bits whose rings are not done
  bool refused_ = false;     // Receive() was false since the last ReceiveReady()
  Tally tally_;
  std::vector<uint8_t> frame_;  // scratch: a received frame, padded
};

void Rtl8139::ResetDevice() {
  registers_.Reset();
  eeprom_.Reset();
  LoadAddress();
  tally_ = {};
  ticks_from_ = clock_.NowNs();
  timer_.Clear();
  SoftReset();
}

// CR.RST: everything but the address, its filter, the configuration and the
// EEPROM's pins.
void Rtl8139::SoftReset() {
  for (unsigned r = kTsd0; r <= kMpc; ++r) registers_.Reset(static_cast<Reg>(r));
  for (Reg r : {kTimerInt, kMulint, kTppoll, kCpcr, kRdsar0, kRdsar1, kEtthr}) registers_.Reset(r);
  out_.Clear();
  normal_.Reset();
  high_.Reset();
  receiver_.Reset();
  more_.Clear();
  look_.Clear();
  timer_.Clear();
  slot_ = polling_ = 0;
  UpdateInterrupt();
  RoomForFrames();  // they go, now that nobody wants them
}

void Rtl8139::LoadAddress() {
  registers_[kIdr0] = uint32_t{eeprom_.word(8)} << 16 | eeprom_.word(7);
  registers_[kIdr4] = eeprom_.word(9);
}

uint32_t Rtl8139::ReadRegister(Reg reg) {
  const uint32_t value = registers_[reg];
  switch (reg) {
    case kCr:
      return value | (ring_free() == ring_bytes() ? kCrEmpty : 0);
    case kTcr:
      return value | (plus_ ? kVersionCPlus : kVersionC);
    case kTctr:
      return Ticks();
    case k9346cr:
      return value | (eeprom_.data_out() ? kEeOut : 0);
    case kMsr:
      return value | (port_.link_up() ? 0 : kMsrNoLink);
    case kBmsr:
      return value | (port_.link_up() ? kBmsrLink : 0);
    case kAnlpar:
    case kAner:
      return port_.link_up() ? value : 0;
    case kTsad: {
      if (plus_transmits()) return 0;
      uint32_t out = 0;
      for (unsigned i = 0; i < kSlots; ++i) {
        const uint32_t tsd = registers_[static_cast<Reg>(kTsd0 + i)];
        out |= ((tsd & kTsdOwn) != 0 ? 1u : 0) << i | ((tsd & kTsdAbort) != 0 ? 0x10u : 0) << i |
               ((tsd & kTsdUnderrun) != 0 ? 0x100u : 0) << i |
               ((tsd & kTsdOk) != 0 ? 0x1000u : 0) << i;
      }
      return out;
    }
    default:
      return value;
  }
}

void Rtl8139::WroteRegister(Reg reg, uint32_t given, uint32_t old) {
  switch (reg) {
    case kTsd0:
    case kTsd1:
    case kTsd2:
    case kTsd3:
      WroteSlot(reg);
      break;
    case kCr:
      WroteCommand(given, old);
      break;
    case kCapr:
    case kRbstart:
    case kRcr:
      RoomForFrames();
      break;
    case kImr:
    case kIsr:
      UpdateInterrupt();
      // A driver that gives descriptors back has been here.
      RoomForFrames();
      break;
    case kTctr:
      ticks_from_ = clock_.NowNs();
      ArmTimer();
      break;
    case kTimerInt:
      ArmTimer();
      break;
    case kMpc:
      registers_[kMpc] = 0;
      break;
    case k9346cr:
      WroteEeprom();
      break;
    case kConfig1:
    case kConfig3:
    case kConfig4:
      if ((registers_[k9346cr] & kEeMode) != kEeModeConfig) registers_[reg] = old;
      break;
    case kBmcr:
      if ((given & kBmcrReset) != 0) registers_.Reset(kBmcr);
      if ((given & (kBmcrReset | kBmcrRestart)) != 0) Cause(kLinkChanged);
      break;
    case kTppoll:
      if (!plus_) break;
      polling_ |= given & (kPollHigh | kPollNormal);
      if ((given & kPollSoftware) != 0) Cause(kSoftware);
      Transmit();
      break;
    case kCpcr:
      if (!plus_) registers_[kCpcr] = 0;
      RoomForFrames();
      break;
    case kRdsar0:
    case kRdsar1:
    case kEtthr:
      if (!plus_) registers_[reg] = 0;
      break;
    default:
      break;
  }
}

void Rtl8139::WroteCommand(uint32_t given, uint32_t old) {
  if ((given & kCrReset) != 0) {
    SoftReset();
    return;
  }
  const uint32_t risen = registers_[kCr] & ~old;
  if ((risen & kCrReceive) != 0) {
    registers_.Reset(kCapr);
    registers_.Reset(kCbr);
    receiver_.Reset();
  }
  if ((risen & kCrTransmit) != 0) {
    slot_ = 0;
    normal_.Reset();
    high_.Reset();
  }
  RoomForFrames();
  Transmit();
}

void Rtl8139::WroteEeprom() {
  uint32_t& r = registers_[k9346cr];
  const uint32_t mode = r & kEeMode;
  if (mode == kEeModeAutoload) {
    LoadAddress();
    r = 0;
  }
  const bool program = mode == kEeModeProgram;
  eeprom_.Set(program && (r & kEeSelect) != 0, (r & kEeClock) != 0, (r & kEeIn) != 0);
}

void Rtl8139::WroteSlot(Reg reg) {
  if (plus_transmits()) {
    if (reg == kTsd0 && registers_.Has(kTsd0, kDumpTally)) DumpTally();
    return;
  }
  registers_[reg] &= kTsdWritable;  // what was said of the frame before is gone
  Transmit();
}

void Rtl8139::DumpTally() {
  TallyDump dump = {};
  dump.sent = tally_.sent;
  dump.received = tally_.received;
  dump.missed = tally_.missed;
  dump.received_own = tally_.own;
  dump.received_broadcast = tally_.broadcast;
  dump.received_multicast = static_cast<uint32_t>(tally_.multicast);
  const Gpa to(uint64_t{registers_[kTsd1]} << 32 | (registers_[kTsd0] & ~0x3Fu));
  if (bus_master()) (void)memory_.Store(to, dump);
  registers_[kTsd0] &= ~kDumpTally;
}

// Free bytes of the ring; all of them where it is empty.
uint32_t Rtl8139::ring_free() const {
  const uint32_t size = ring_bytes();
  const uint32_t free = (registers_[kCapr] + 0x10 - registers_[kCbr]) & (size - 1);
  return free == 0 ? size : free;
}

bool Rtl8139::Take(std::span<const uint8_t> frame, bool checked) {
  const uint32_t rcr = registers_[kRcr];
  if (!bus_master() || !registers_.Has(kCr, kCrReceive) || frame.size() < kHeaderBytes) return true;
  uint8_t own[8];
  StoreLe<uint32_t>(own, registers_[kIdr0]);
  StoreLe<uint32_t>(own + 4, registers_[kIdr4]);
  uint32_t match = 0;
  uint16_t status = kRingOk;
  bool wanted = (rcr & kRcrAll) != 0;
  if (IsBroadcast(frame.data())) {
    match = kMatchBroadcast;
    status |= kRingBroadcast;
    wanted |= (rcr & kRcrBroadcast) != 0;
  } else if (IsGroup(frame.data())) {
    match = kMatchMulticast;
    status |= kRingMulticast;
    const unsigned hash = MulticastHash(frame.data());
    const uint32_t word = registers_[hash < 32 ? kMar0 : kMar4];
    wanted |= (rcr & kRcrMulticast) != 0 && (word >> (hash & 31) & 1) != 0;
  } else if (std::equal(own, own + kAddressBytes, frame.begin())) {
    match = kMatchOwn;
    status |= kRingOwn;
    wanted |= (rcr & kRcrOwn) != 0;
  }
  // A frame of more than 4 KiB is one with an error.
  if (!wanted || frame.size() + kCheckBytes > kMaxReceived) return true;

  frame_.assign(frame.begin(), frame.end());
  frame_.resize(std::max(frame.size(), kMinFrame));
  if (plus_receives()) {
    switch (receiver_.Receive(frame_, match, checked)) {
      case PlusReceiver::Verdict::kDropped:
        ++tally_.missed;
        return true;
      case PlusReceiver::Verdict::kNoRoom:
        refused_ = true;
        if (!look_.set()) look_.Set(clock_.NowNs() + kLookAgain);
        Cause(kNoDescriptor);
        return false;
      case PlusReceiver::Verdict::kStored:
        break;
    }
  } else if (!TakeIntoRing(status)) {
    // The driver may have acknowledged more than it has read, and nothing further
    // comes to tell it so.
    Cause(kReceived);
    refused_ = true;
    return false;
  }
  ++tally_.received;
  tally_.own += match == kMatchOwn;
  tally_.broadcast += match == kMatchBroadcast;
  tally_.multicast += match == kMatchMulticast;
  Cause(kReceived);
  return true;
}

// `frame_` goes behind a header of status and length, both sequence and header
// counting towards what the ring must have room for. All places are masked by the
// ring's size, whatever the guest wrote to CAPR.
bool Rtl8139::TakeIntoRing(uint16_t status) {
  const uint32_t check = FrameCheck(frame_);
  const size_t length = frame_.size() + kCheckBytes;
  const uint32_t used = static_cast<uint32_t>((kRingHeader + length + 3) & ~size_t{3});
  const uint32_t size = ring_bytes();
  if (used >= ring_free()) return false;
  std::vector<uint8_t>& bytes = frame_;
  bytes.resize(length);
  StoreLe(&bytes[length - kCheckBytes], check);
  uint8_t header[kRingHeader];
  StoreLe<uint16_t>(header, status);
  StoreLe<uint16_t>(header + 2, static_cast<uint16_t>(length));
  bytes.insert(bytes.begin(), header, header + kRingHeader);

  const Gpa ring(registers_[kRbstart]);
  const uint32_t at = registers_[kCbr] & (size - 1);
  // With WRAP the driver has room behind the ring; one of 64 KiB has none.
  const bool over = registers_.Has(kRcr, kRcrWrap) && size < 65536;
  const size_t first = over ? bytes.size() : std::min<size_t>(bytes.size(), size - at);
  (void)memory_.Write(ring + at, std::span(bytes).first(first));
  (void)memory_.Write(ring, std::span(bytes).subspan(first));
  registers_[kCbr] = (at + used) & (size - 1);
  return true;
}

bool Rtl8139::Emit(const net::Frame& frame) {
  if (loopback()) {
    // What the receiver has no room for is lost, as behind a switch.
    (void)Take(frame.bytes, false);
    refused_ = false;
  } else if (!port_.Send(frame)) {
    return false;
  }
  ++tally_.sent;
  return true;
}

void Rtl8139::Transmit() {
  if (!bus_master() || !registers_.Has(kCr, kCrTransmit)) return;
  more_.Clear();
  if (plus_transmits()) {
    RunRing(high_, normal_, kPollHigh);
    RunRing(normal_, high_, kPollNormal);
  } else {
    SendSlots();
  }
  if (out_.busy()) more_.Set(clock_.NowNs() + kRetry);
}

void Rtl8139::RunRing(PlusTransmitter& ring, PlusTransmitter& other, uint32_t poll) {
  // Both rings build their frames in one place.
  if ((polling_ & poll) == 0 || other.in_frame()) return;
  const PlusTransmitter::Outcome outcome = ring.Run();
  if (outcome.unfinished) more_.Set(clock_.NowNs() + 1);
  if (!outcome.unfinished && !out_.busy()) polling_ &= static_cast<uint8_t>(~poll);
  uint32_t causes = outcome.sent != 0 ? kSent : 0;
  if (outcome.emptied) causes |= kAllSent;
  Cause(causes);
}

void Rtl8139::SendSlots() {
  if (!out_.Continue()) return;
  for (unsigned n = 0; n < kSlots && !out_.busy(); ++n) {
    const Reg reg = static_cast<Reg>(kTsd0 + slot_);
    uint32_t& tsd = registers_[reg];
    if ((tsd & kTsdOwn) != 0) return;
    const uint32_t size = tsd & kTsdSize;
    const Gpa from(registers_[static_cast<Reg>(kTsad0 + slot_)]);
    slot_ = static_cast<uint8_t>((slot_ + 1) % kSlots);
    if (size > kMaxSlotBytes) {
      tsd |= kTsdOwn | kTsdAbort;
      Cause(kSendError);
      continue;
    }
    out_.Clear();
    const std::span<uint8_t> to = out_.Add(size);
    // What is not memory is sent as zeroes.
    if (!to.empty()) (void)memory_.Read(from, to);
    if (size != 0 && size < kMinFrame) (void)out_.Add(kMinFrame - size);
    tsd |= kTsdOwn | kTsdOk;
    out_.Send({});
    Cause(kSent);
  }
}

void Rtl8139::RoomForFrames() {
  look_.Clear();
  if (std::exchange(refused_, false)) port_.ReceiveReady();
}

// TimeOut, each time that TCTR comes by TimerInt.
void Rtl8139::ArmTimer() {
  const uint32_t target = registers_[kTimerInt];
  if (target == 0) {
    timer_.Clear();
    return;
  }
  const uint64_t ticks = (clock_.NowNs() - ticks_from_) / kTick;
  const uint32_t left = target - static_cast<uint32_t>(ticks);
  const uint64_t ahead = left == 0 ? uint64_t{1} << 32 : left;
  timer_.Set(ticks_from_ + (ticks + ahead) * kTick);
}

void Rtl8139::TimerFired() {
  Cause(kTimeout);
  ArmTimer();
}

void Rtl8139::VisitDeviceState(dev::StateVisitor& v) {
  registers_.VisitState(v);
  eeprom_.VisitState(v);
  out_.VisitState(v);
  normal_.VisitState(v);
  high_.VisitState(v);
  receiver_.VisitState(v);
  timer_.VisitState(v, "timer");
  more_.VisitState(v, "more");
  v.Field("ticks_from", ticks_from_);
  v.Bounded("slot", slot_, kSlots - 1);
  v.Bounded("polling", polling_, kPollHigh | kPollNormal);
  v.Begin("tally");
  v.Field("sent", tally_.sent);
  v.Field("received", tally_.received);
  v.Field("own", tally_.own);
  v.Field("broadcast", tally_.broadcast);
  v.Field("multicast", tally_.multicast);
  v.Field("missed", tally_.missed);
  v.End();
  if (v.loading()) {
    polling_ &= kPollHigh | kPollNormal;
    ticks_from_ = std::min(ticks_from_, clock_.NowNs());
    refused_ = true;
    RoomForFrames();
  }
}

std::unique_ptr<pci::PciDevice> NewPlus(NicParts parts) {
  return std::make_unique<Rtl8139>(std::move(parts), true);
}
std::unique_ptr<pci::PciDevice> NewPlain(NicParts parts) {
  return std::make_unique<Rtl8139>(std::move(parts), false);
}

}  // namespace
}  // namespace rtl8139

extern const NicModel kRtl8139;
const NicModel kRtl8139 = {"rtl8139", "Realtek RTL8139C+, 100 Mb/s, with checksums and large send",
                           "pxe-rtl8139.rom", rtl8139::NewPlus};
extern const NicModel kRtl8139c;
const NicModel kRtl8139c = {"rtl8139c", "Realtek RTL8139C, 100 Mb/s, for drivers without C+ mode",
                            "pxe-rtl8139.rom", rtl8139::NewPlain};

}  // namespace atl::nic
