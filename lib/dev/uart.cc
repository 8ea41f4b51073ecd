// SPDX-License-Identifier: Apache-2.0
#include "lib/dev/uart.h"

#include <algorithm>

#include "lib/dev/state.h"

namespace atl::dev {
namespace {

enum Register : unsigned { kData, kIer, kIirFcr, kLcr, kMcr, kLsr, kMsr, kScratch };

constexpr uint8_t kIerData = 0x01;
constexpr uint8_t kIerSent = 0x02;
constexpr uint8_t kIerLine = 0x04;
constexpr uint8_t kIerModem = 0x08;

constexpr uint8_t kNoInterrupt = 0x01;
constexpr uint8_t kModemInterrupt = 0x00;
constexpr uint8_t kSentInterrupt = 0x02;
constexpr uint8_t kDataInterrupt = 0x04;
constexpr uint8_t kLineInterrupt = 0x06;
constexpr uint8_t kTimeoutInterrupt = 0x0C;
constexpr uint8_t kFifoBits = 0xC0;

constexpr uint8_t kDivisorLatch = 0x80;  // LCR
constexpr uint8_t kLoopback = 0x10;      // MCR

constexpr uint8_t kDataReady = 0x01;  // LSR
constexpr uint8_t kOverrun = 0x02;
constexpr uint8_t kBreak = 0x10;
constexpr uint8_t kTransmitterEmpty = 0x60;
constexpr uint8_t kErrorBits = 0x1E;

constexpr uint8_t kClearToSend = 0x10;  // MSR
constexpr uint8_t kDataSetReady = 0x20;
constexpr uint8_t kRing = 0x40;
constexpr uint8_t kCarrier = 0x80;

constexpr uint16_t kResetDivisor = 12;  // 9600 baud

}  // namespace

Uart::Uart(IrqLine& irq, chr::Stream& stream) : irq_(irq), stream_(stream) { Reset(); }

void Uart::Reset() {
  ier_ = fcr_ = lcr_ = mcr_ = 0;
  errors_ = modem_deltas_ = scratch_ = 0;
  divisor_ = kResetDivisor;
  sent_ = false;
  std::fill(std::begin(fifo_), std::end(fifo_), 0);
  head_ = count_ = 0;
  Update();
}

void Uart::InputReady() {
  Fill();
  Update();
}

void Uart::InputBreak() {
  if (mcr_ & kLoopback) return;
  errors_ |= kBreak;
  if (count_ < capacity()) Push(0);
  Update();
}

void Uart::Fill() {
  if (mcr_ & kLoopback) return;
  uint8_t bytes[kFifoSize];
  while (count_ < capacity()) {
    const size_t n = stream_.Read({bytes, capacity() - count_});
    if (n == 0) return;
    for (size_t i = 0; i < std::min<size_t>(n, sizeof bytes); ++i) Push(bytes[i]);
  }
}

void Uart::Push(uint8_t byte) {
  if (count_ >= capacity()) {
    errors_ |= kOverrun;
    return;
  }
  fifo_[(head_ + count_) % kFifoSize] = byte;
  ++count_;
}

uint8_t Uart::Pop() {
  if (count_ == 0) return 0;
  const uint8_t byte = fifo_[head_];
  head_ = (head_ + 1) % kFifoSize;
  --count_;
  return byte;
}

unsigned Uart::trigger() const {
  static constexpr uint8_t kLevels[] = {1, 4, 8, 14};
  return fifo_enabled() ? kLevels[fcr_ >> 6] : 1;
}

uint8_t Uart::InterruptId() const {
  if ((ier_ & kIerLine) && errors_ != 0) return kLineInterrupt;
  if ((ier_ & kIerData) && count_ != 0)
    // Below the trigger level, the timeout has always just passed.
    return count_ >= trigger() ? kDataInterrupt : kTimeoutInterrupt;
  if ((ier_ & kIerSent) && sent_) return kSentInterrupt;
  if ((ier_ & kIerModem) && modem_deltas_ != 0) return kModemInterrupt;
  return kNoInterrupt;
}

void Uart::Update() { irq_.Set(InterruptId() != kNoInterrupt); }

uint8_t Uart::LineStatus() const {
  return kTransmitterEmpty | errors_ | (count_ != 0 ? kDataReady : 0);
}

uint8_t Uart::ModemInputs() const {
  if (!(mcr_ & kLoopback)) return kClearToSend | kDataSetReady | kCarrier;
  // DTR, RTS, OUT1, OUT2 come back as DSR, CTS, RI, DCD.
  return (mcr_ & 0x01 ? kDataSetReady : 0) | (mcr_ & 0x02 ? kClearToSend : 0) |
         (mcr_ & 0x04 ? kRing : 0) | (mcr_ & 0x08 ? kCarrier : 0);
}

void Uart::WriteModemControl(uint8_t value) {
  const uint8_t before = ModemInputs();
  mcr_ = value & 0x1F;
  const uint8_t after = ModemInputs();
  const uint8_t changed = before ^ after;
  modem_deltas_ |= (changed & (kClearToSend | kDataSetReady | kCarrier)) >> 4;
  if ((before & kRing) && !(after & kRing)) modem_deltas_ |= kRing >> 4;  // its trailing edge
  Fill();
}

void Uart::WriteFifoControl(uint8_t value) {
  const bool toggled = (value ^ fcr_) & 0x01;
  if (toggled || (value & 0x02)) {
    head_ = count_ = 0;
    errors_ = 0;
  }
  fcr_ = value & 0x01 ? value & 0xC9 : 0;
  Fill();
}

uint64_t Uart::Read(unsigned, uint64_t offset, unsigned) {
  uint8_t value = 0;
  switch (offset & 7) {
    case kData:
      if (lcr_ & kDivisorLatch) return divisor_ & 0xFF;
      value = Pop();
      Fill();
      break;
    case kIer:
      return lcr_ & kDivisorLatch ? divisor_ >> 8 : ier_;
    case kIirFcr:
      value = InterruptId();
      if (value == kSentInterrupt) sent_ = false;
      if (fifo_enabled()) value |= kFifoBits;
      break;
    case kLcr:
      return lcr_;
    case kMcr:
      return mcr_;
    case kLsr:
      value = LineStatus();
      errors_ = 0;
      break;
    case kMsr:
      value = ModemInputs() | modem_deltas_;
      modem_deltas_ = 0;
      break;
    case kScratch:
      return scratch_;
  }
  Update();
  return value;
}

void Uart::Write(unsigned, uint64_t offset, unsigned, uint64_t wide) {
  const uint8_t value = static_cast<uint8_t>(wide);
  switch (offset & 7) {
    case kData:
      if (lcr_ & kDivisorLatch) {
        divisor_ = (divisor_ & 0xFF00) | value;
        break;
      }
      if (mcr_ & kLoopback) {
        Push(value);
      } else {
        stream_.Write({&value, 1});
      }
      sent_ = true;
      break;
    case kIer:
      if (lcr_ & kDivisorLatch) {
        divisor_ = static_cast<uint16_t>((divisor_ & 0xFF) | value << 8);
        break;
      }
      // Enabling it with an empty transmitter interrupts again.
      if ((value & kIerSent) && !(ier_ & kIerSent)) sent_ = true;
      ier_ = value & 0x0F;
      break;
    case kIirFcr:
      WriteFifoControl(value);
      break;
    case kLcr:
      lcr_ = value;
      break;
    case kMcr:
      WriteModemControl(value);
      break;
    case kLsr:
    case kMsr:
      break;
    case kScratch:
      scratch_ = value;
      break;
  }
  Update();
}

void Uart::VisitState(StateVisitor& v) {
  v.Bounded("ier", ier_, 0x0F);
  v.Field("fcr", fcr_);
  v.Field("lcr", lcr_);
  v.Bounded("mcr", mcr_, 0x1F);
  v.Bounded("errors", errors_, kErrorBits);
  v.Bounded("modem_deltas", modem_deltas_, 0x0F);
  v.Field("scratch", scratch_);
  v.Field("divisor", divisor_);
  v.Field("sent", sent_);
  v.Array("fifo", fifo_);
  v.Bounded("head", head_, kFifoSize - 1);
  v.Bounded("count", count_, kFifoSize);
  if (v.loading()) {
    head_ %= kFifoSize;  // a refused load leaves no index to misuse
    count_ = std::min<uint8_t>(count_, kFifoSize);
    Update();
  }
}

}  // namespace atl::dev
