// SPDX-License-Identifier: Apache-2.0
#include "lib/dev/irq_chips.h"

#include <memory>
#include <span>
#include <vector>

#include "gtest/gtest.h"
#include "lib/base/status_matchers.h"
#include "lib/dev/state.h"
#include "lib/dev/testing/fakes.h"
#include "lib/dev/testing/round_trip.h"

namespace atl::dev {
namespace {

struct FakeVcpu final : VcpuSignals {
  void SetInterruptLine(bool high) override { line = high; }
  void RaiseNmi() override { ++nmis; }
  void SendInit() override { ++inits; }
  void SendSipi(uint8_t vector) override { sipi = vector; }
  bool line = false;
  int nmis = 0, inits = 0, sipi = -1;
};

constexpr uint64_t kLapic = IrqChips::kLapicBase;
// LAPIC offsets.
enum : uint64_t {
  kId = 0x20,
  kVersion = 0x30,
  kTpr = 0x80,
  kPpr = 0xA0,
  kEoi = 0xB0,
  kLdr = 0xD0,
  kDfr = 0xE0,
  kSvr = 0xF0,
  kIsr = 0x100,
  kTmr = 0x180,
  kIrr = 0x200,
  kEsr = 0x280,
  kIcrLow = 0x300,
  kIcrHigh = 0x310,
  kLvtTimer = 0x320,
  kLvtLint0 = 0x350,
  kLvtLint1 = 0x360,
  kLvtError = 0x370,
  kInitialCount = 0x380,
  kCurrentCount = 0x390,
  kDivide = 0x3E0,
};

class IrqChipsTest : public testing::Test {
 protected:
  void Make(unsigned vcpus) {
    chips_ =
        std::make_unique<IrqChips>(IrqChipsConfig{.vcpus = vcpus, .tsc_hz = 2'000'000'000}, clock_);
    vcpus_.resize(vcpus);
    for (unsigned i = 0; i < vcpus; ++i) chips_->ConnectVcpu(i, &vcpus_[i]);
  }
  IrqChipsTest() { Make(1); }

  void Out(unsigned region, unsigned offset, uint8_t value) {
    chips_->lock().Run([&] { chips_->Write(region, offset, 1, value); });
  }
  uint8_t In(unsigned region, unsigned offset) {
    return chips_->lock().Run(
        [&] { return static_cast<uint8_t>(chips_->Read(region, offset, 1)); });
  }
  // As every PC operating system does it: vectors 0x20 and 0x28.
  void InitPics(uint8_t icw4 = 0x01) {
    for (unsigned chip : {IrqChips::kPicMaster, IrqChips::kPicSlave}) {
      Out(chip, 0, 0x11);
      Out(chip, 1, chip == IrqChips::kPicMaster ? 0x20 : 0x28);
      Out(chip, 1, chip == IrqChips::kPicMaster ? 0x04 : 0x02);
      Out(chip, 1, icw4);
      Out(chip, 1, 0x00);
    }
  }
  void Eoi(unsigned chip) { Out(chip, 0, 0x20); }
  void Pulse(unsigned irq) {
    chips_->isa_irq(irq).Set(true);
    chips_->isa_irq(irq).Set(false);
  }
  int Ack(unsigned vcpu = 0) { return chips_->AcknowledgeInterrupt(vcpu); }

  uint32_t Get(uint64_t offset, unsigned vcpu = 0) {
    uint64_t v = 0;
    EXPECT_TRUE(chips_->ReadLapic(vcpu, kLapic + offset, 4, &v));
    return static_cast<uint32_t>(v);
  }
  void Put(uint64_t offset, uint32_t value, unsigned vcpu = 0) {
    EXPECT_TRUE(chips_->WriteLapic(vcpu, kLapic + offset, 4, value));
  }
  void EnableLapic(unsigned vcpu = 0) { Put(kSvr, 0x1FF, vcpu); }
  void SetEntry(unsigned pin, uint64_t entry) {
    chips_->lock().Run([&] {
      chips_->Write(IrqChips::kIoapic, 0x00, 4, 0x10 + 2 * pin + 1);
      chips_->Write(IrqChips::kIoapic, 0x10, 4, entry >> 32);
      chips_->Write(IrqChips::kIoapic, 0x00, 4, 0x10 + 2 * pin);
      chips_->Write(IrqChips::kIoapic, 0x10, 4, static_cast<uint32_t>(entry));
    });
  }
  uint64_t Entry(unsigned pin) {
    return chips_->lock().Run([&] {
      chips_->Write(IrqChips::kIoapic, 0x00, 4, 0x10 + 2 * pin);
      uint64_t low = chips_->Read(IrqChips::kIoapic, 0x10, 4);
      chips_->Write(IrqChips::kIoapic, 0x00, 4, 0x10 + 2 * pin + 1);
      return low | chips_->Read(IrqChips::kIoapic, 0x10, 4) << 32;
    });
  }
  void MaskPics() {
    Out(IrqChips::kPicMaster, 1, 0xFF);
    Out(IrqChips::kPicSlave, 1, 0xFF);
  }

  ManualClock clock_;
  std::unique_ptr<IrqChips> chips_;
  std::vector<FakeVcpu> vcpus_;
};

// The 8259 pair.

TEST_F(IrqChipsTest, PicDeliversByPriorityAndNests) {
  InitPics();
  EXPECT_EQ(Ack(), -1);
  Pulse(4);
  Pulse(1);
  EXPECT_TRUE(vcpus_[0].line);
  EXPECT_TRUE(chips_->InterruptPending(0));
  EXPECT_EQ(Ack(), 0x21);
  EXPECT_EQ(Ack(), -1);  // 4 waits behind 1
  EXPECT_FALSE(vcpus_[0].line);
  Pulse(0);
  EXPECT_EQ(Ack(), 0x20);  // 0 does not
  Eoi(IrqChips::kPicMaster);
  EXPECT_EQ(Ack(), -1);
  Eoi(IrqChips::kPicMaster);
  EXPECT_EQ(Ack(), 0x24);
  Eoi(IrqChips::kPicMaster);
  EXPECT_FALSE(chips_->InterruptPending(0));
}

TEST_F(IrqChipsTest, PicCascades) {
  InitPics();
  Pulse(12);
  Pulse(8);
  EXPECT_EQ(Ack(), 0x28);
  EXPECT_EQ(Ack(), -1);
  Eoi(IrqChips::kPicSlave);
  Eoi(IrqChips::kPicMaster);
  EXPECT_EQ(Ack(), 0x2C);
  Out(IrqChips::kPicSlave, 0, 0x0B);  // read ISR
  EXPECT_EQ(In(IrqChips::kPicSlave, 0), 0x10);
  Eoi(IrqChips::kPicSlave);
  EXPECT_EQ(In(IrqChips::kPicSlave, 0), 0);
}

TEST_F(IrqChipsTest, PicMasksAndKeepsTheRequest) {
  InitPics();
  Out(IrqChips::kPicMaster, 1, 0x10);
  Pulse(4);
  EXPECT_FALSE(chips_->InterruptPending(0));
  EXPECT_EQ(In(IrqChips::kPicMaster, 0), 0x10);  // IRR
  Out(IrqChips::kPicMaster, 1, 0);
  EXPECT_EQ(Ack(), 0x24);
}

TEST_F(IrqChipsTest, PicLevelLinesRepeatWhileHigh) {
  InitPics();
  Out(IrqChips::kElcr, 1, 0xFF);
  EXPECT_EQ(In(IrqChips::kElcr, 1), 0xDE);  // IRQ 8 and 13 stay edges
  chips_->isa_irq(11).Set(true);
  EXPECT_EQ(Ack(), 0x2B);
  Eoi(IrqChips::kPicSlave);
  Eoi(IrqChips::kPicMaster);
  EXPECT_EQ(Ack(), 0x2B);
  chips_->isa_irq(11).Set(false);
  Eoi(IrqChips::kPicSlave);
  Eoi(IrqChips::kPicMaster);
  EXPECT_EQ(Ack(), -1);
}

TEST_F(IrqChipsTest, PicSlaveKeepsAskingBehindItsFirst) {
  InitPics();
  Pulse(10);
  EXPECT_EQ(Ack(), 0x2A);
  Pulse(9);  // of higher priority, while 10 is in service: only special nesting
  Eoi(IrqChips::kPicMaster);
  EXPECT_EQ(Ack(), 0x29);
  Eoi(IrqChips::kPicSlave);
  Eoi(IrqChips::kPicMaster);
  EXPECT_EQ(Ack(), -1);
}

TEST_F(IrqChipsTest, PicRotatesPollsAndEndsItself) {
  InitPics(0x03);  // automatic EOI
  Pulse(3);
  EXPECT_EQ(Ack(), 0x23);
  Pulse(3);
  EXPECT_EQ(Ack(), 0x23);
  InitPics();
  Out(IrqChips::kPicMaster, 0, 0xC3);  // 3 becomes the lowest
  Pulse(1);
  Pulse(4);
  EXPECT_EQ(Ack(), 0x24);
  Out(IrqChips::kPicMaster, 0, 0xA0);  // rotate on EOI: 4 is the lowest
  Pulse(4);
  EXPECT_EQ(Ack(), 0x21);
  Eoi(IrqChips::kPicMaster);
  Out(IrqChips::kPicMaster, 0, 0x0C);  // poll
  EXPECT_EQ(In(IrqChips::kPicMaster, 0), 0x84);
  Out(IrqChips::kPicMaster, 0, 0x64);  // specific EOI
  Out(IrqChips::kPicMaster, 0, 0x0C);
  EXPECT_EQ(In(IrqChips::kPicMaster, 0), 0);
}

TEST_F(IrqChipsTest, PicSpecialMask) {
  InitPics();
  Pulse(1);
  EXPECT_EQ(Ack(), 0x21);
  Pulse(6);
  Out(IrqChips::kPicMaster, 1, 0x02);
  EXPECT_EQ(Ack(), -1);
  Out(IrqChips::kPicMaster, 0, 0x68);
  EXPECT_EQ(Ack(), 0x26);
}

// Wiring.

TEST_F(IrqChipsTest, LineIsHighWhileAnySourceIs) {
  InitPics();
  Out(IrqChips::kElcr, 1, 0x02);
  auto other = chips_->NewIsaSource(9);
  chips_->isa_irq(9).Set(true);
  other->Set(true);
  chips_->isa_irq(9).Set(false);
  EXPECT_EQ(Ack(), 0x29);
  Eoi(IrqChips::kPicSlave);
  Eoi(IrqChips::kPicMaster);
  EXPECT_TRUE(chips_->InterruptPending(0));
  other.reset();
  EXPECT_FALSE(chips_->InterruptPending(0));
}

TEST_F(IrqChipsTest, TooManySourcesIsNull) {
  std::vector<std::unique_ptr<IrqLine>> all;
  for (int i = 0; i < 40; ++i) {
    all.push_back(chips_->NewPinSource(20));
    ASSERT_NE(all.back(), nullptr);
  }
  EXPECT_EQ(chips_->NewPinSource(20), nullptr);
  all.pop_back();
  EXPECT_NE(chips_->NewPinSource(20), nullptr);
}

// IOAPIC.

TEST_F(IrqChipsTest, IoapicRegisters) {
  chips_->lock().Run([&] {
    chips_->Write(IrqChips::kIoapic, 0, 4, 1);
    EXPECT_EQ(chips_->Read(IrqChips::kIoapic, 0x10, 4), 0x00170020u);
    chips_->Write(IrqChips::kIoapic, 0, 4, 0x40);  // past the last entry
    EXPECT_EQ(chips_->Read(IrqChips::kIoapic, 0x10, 4), 0u);
    chips_->Write(IrqChips::kIoapic, 0x10, 4, ~0u);
  });
  EXPECT_EQ(Entry(5), 0x10000u);
  SetEntry(5, ~uint64_t{0});
  EXPECT_EQ(Entry(5), 0xFF0000000001AFFFu);  // status and remote IRR are read-only
}

TEST_F(IrqChipsTest, IoapicEdges) {
  MaskPics();
  EnableLapic();
  SetEntry(4, 0x10034);
  Pulse(4);  // lost: masked
  SetEntry(4, 0x34);
  EXPECT_EQ(Ack(), -1);
  Pulse(4);
  Pulse(4);  // one IRR bit
  EXPECT_EQ(Ack(), 0x34);
  EXPECT_EQ(Ack(), -1);
  Put(kEoi, 0);
  EXPECT_EQ(Ack(), -1);
  SetEntry(2, 0x30);
  Pulse(0);  // the timer comes in on pin 2
  EXPECT_EQ(Ack(), 0x30);
}

TEST_F(IrqChipsTest, IoapicLevelUntilEoiAndAgainWhileHigh) {
  MaskPics();
  EnableLapic();
  SetEntry(11, 0x8051);
  chips_->isa_irq(11).Set(true);
  EXPECT_EQ(Ack(), 0x51);
  EXPECT_EQ(Entry(11), 0xC051u);  // remote IRR
  EXPECT_EQ(Get(kTmr + 0x20), 1u << 17);
  Put(kEoi, 0);
  EXPECT_EQ(Ack(), 0x51);
  chips_->isa_irq(11).Set(false);
  Put(kEoi, 0);
  EXPECT_EQ(Ack(), -1);
  EXPECT_EQ(Entry(11), 0x8051u);
  // Raised while masked: delivered when unmasked.
  SetEntry(11, 0x18051);
  chips_->isa_irq(11).Set(true);
  EXPECT_EQ(Ack(), -1);
  SetEntry(11, 0x8051);
  EXPECT_EQ(Ack(), 0x51);
  // The EOI register ends it as well.
  chips_->isa_irq(11).Set(false);
  chips_->lock().Run([&] { chips_->Write(IrqChips::kIoapic, 0x40, 4, 0x51); });
  EXPECT_EQ(Entry(11), 0x8051u);
}

// LAPIC.

TEST_F(IrqChipsTest, LapicPriorities) {
  MaskPics();
  EnableLapic();
  chips_->SendMsi(0xFEE00000, 0x41);
  chips_->SendMsi(0xFEE00000, 0x62);
  chips_->SendMsi(0xFEE00000, 0x45);
  EXPECT_EQ(Ack(), 0x62);
  EXPECT_EQ(Get(kPpr), 0x60u);
  EXPECT_EQ(Ack(), -1);
  EXPECT_EQ(Get(kIsr + 0x30), 1u << 2);
  EXPECT_EQ(Get(kIrr + 0x20), 1u << 1 | 1u << 5);
  Put(kEoi, 0);
  EXPECT_EQ(Ack(), 0x45);
  Put(kEoi, 0);
  chips_->WriteCr8(0, 4);
  EXPECT_FALSE(chips_->InterruptPending(0));
  EXPECT_EQ(Get(kTpr), 0x40u);
  EXPECT_EQ(Ack(), -1);
  Put(kTpr, 0x3F);
  EXPECT_EQ(chips_->ReadCr8(0), 3u);
  EXPECT_EQ(Ack(), 0x41);
}

TEST_F(IrqChipsTest, LapicVirtualWireAndMaskedLint0) {
  InitPics();
  Pulse(1);
  EXPECT_TRUE(chips_->InterruptPending(0));
  Put(kLvtLint0, 0x10700);
  EXPECT_FALSE(chips_->InterruptPending(0));
  EnableLapic();
  Put(kLvtLint0, 0x700);
  EXPECT_EQ(Ack(), 0x21);
  Eoi(IrqChips::kPicMaster);
  // As a fixed interrupt: how Linux uses it when the IOAPIC pin is dead.
  Put(kLvtLint0, 0x39);
  Pulse(0);
  EXPECT_EQ(Ack(), 0x39);
}

TEST_F(IrqChipsTest, LapicNmiLine) {
  chips_->PulseNmi();
  EXPECT_EQ(vcpus_[0].nmis, 0);
  EnableLapic();
  Put(kLvtLint1, 0x400);
  chips_->PulseNmi();
  EXPECT_EQ(vcpus_[0].nmis, 1);
}

TEST_F(IrqChipsTest, LapicSoftwareDisableMasks) {
  EnableLapic();
  Put(kLvtTimer, 0x20040);
  EXPECT_EQ(Get(kLvtTimer), 0x20040u);
  Put(kSvr, 0xFF);
  EXPECT_EQ(Get(kLvtTimer), 0x30040u);
  Put(kLvtTimer, 0x40);
  EXPECT_EQ(Get(kLvtTimer), 0x10040u);
  chips_->SendMsi(0xFEE00000, 0x41);
  EXPECT_EQ(Ack(), -1);
  EXPECT_EQ(Get(kVersion), 0x50014u);
}

TEST_F(IrqChipsTest, LapicTimerOneShotAndPeriodic) {
  EnableLapic();
  MaskPics();
  Put(kDivide, 0x3);  // by 16
  Put(kLvtTimer, 0x40);
  Put(kInitialCount, 1000);
  EXPECT_EQ(Get(kCurrentCount), 1000u);
  clock_.Advance(8000);
  EXPECT_EQ(Get(kCurrentCount), 500u);
  EXPECT_EQ(Ack(), -1);
  clock_.Advance(8000);
  EXPECT_EQ(Get(kCurrentCount), 0u);
  EXPECT_EQ(Ack(), 0x40);
  Put(kEoi, 0);
  clock_.Advance(100000);
  EXPECT_EQ(Ack(), -1);

  Put(kDivide, 0xB);  // by 1
  Put(kLvtTimer, 0x20041);
  Put(kInitialCount, 1000000);
  for (int i = 0; i < 3; ++i) {
    clock_.Advance(999999);
    EXPECT_EQ(Ack(), -1);
    EXPECT_EQ(Get(kCurrentCount), 1u);
    clock_.Advance(1);
    EXPECT_EQ(Ack(), 0x41);
    Put(kEoi, 0);
  }
  Put(kInitialCount, 0);
  EXPECT_EQ(clock_.NextDeadline(), ~uint64_t{0});
}

// A tick each nanosecond would keep the loop thread from everything else.
TEST_F(IrqChipsTest, LapicTimerStormIsBounded) {
  EnableLapic();
  Put(kDivide, 0xB);
  Put(kLvtTimer, 0x20041);
  Put(kInitialCount, 1);
  clock_.Advance(10'000'000);
  EXPECT_LT(clock_.fired(), 1000u);
}

TEST_F(IrqChipsTest, LapicTscDeadline) {
  EnableLapic();
  MaskPics();
  uint64_t v = 1;
  EXPECT_TRUE(chips_->WriteApicMsr(0, 0x6E0, 5000));  // not in this mode: nothing
  EXPECT_TRUE(chips_->ReadApicMsr(0, 0x6E0, &v));
  EXPECT_EQ(v, 0u);
  Put(kLvtTimer, 0x40050);
  EXPECT_TRUE(chips_->WriteApicMsr(0, 0x6E0, 5000));  // of a 2 GHz TSC
  clock_.Advance(2499);
  EXPECT_EQ(Ack(), -1);
  EXPECT_TRUE(chips_->ReadApicMsr(0, 0x6E0, &v));
  EXPECT_EQ(v, 5000u);
  clock_.Advance(1);
  EXPECT_EQ(Ack(), 0x50);
  EXPECT_TRUE(chips_->ReadApicMsr(0, 0x6E0, &v));
  EXPECT_EQ(v, 0u);
  Put(kEoi, 0);
  EXPECT_TRUE(chips_->WriteApicMsr(0, 0x6E0, 1));  // past: at once
  EXPECT_EQ(Ack(), 0x50);
  EXPECT_TRUE(chips_->WriteApicMsr(0, 0x6E0, ~uint64_t{0}));
  EXPECT_TRUE(chips_->WriteApicMsr(0, 0x6E0, 0));
  EXPECT_EQ(clock_.NextDeadline(), ~uint64_t{0});
}

TEST_F(IrqChipsTest, StartsTheOthers) {
  Make(3);
  EnableLapic();
  EXPECT_EQ(Get(kId, 2), 2u << 24);
  Put(kIcrLow, 0xC4500);  // INIT to all but self, as firmware does
  EXPECT_EQ(vcpus_[0].inits, 0);
  EXPECT_EQ(vcpus_[1].inits, 1);
  Put(kIcrLow, 0xC4610);
  EXPECT_EQ(vcpus_[0].sipi, -1);
  EXPECT_EQ(vcpus_[2].sipi, 0x10);
  Put(kIcrHigh, 1u << 24);  // as Linux does: one by one
  Put(kIcrLow, 0xC500);
  Put(kIcrLow, 0x8500);  // deassert
  EXPECT_EQ(vcpus_[1].inits, 2);
  EXPECT_EQ(vcpus_[2].inits, 1);
  Put(kIcrLow, 0x0699);
  EXPECT_EQ(vcpus_[1].sipi, 0x99);
  Put(kIcrLow, 0x0400);
  EXPECT_EQ(vcpus_[1].nmis, 1);
}

TEST_F(IrqChipsTest, Destinations) {
  Make(4);
  MaskPics();
  for (unsigned i = 0; i < 4; ++i) {
    EnableLapic(i);
    Put(kLdr, 1u << (24 + i), i);
  }
  auto took = [&] {
    unsigned mask = 0;
    for (unsigned i = 0; i < 4; ++i) {
      if (Ack(i) >= 0) mask |= 1u << i;
      Put(kEoi, 0, i);
    }
    return mask;
  };
  auto send = [&](uint32_t destination, uint32_t low) {
    Put(kIcrHigh, destination << 24);
    Put(kIcrLow, low);
    return took();
  };
  EXPECT_EQ(send(2, 0x40), 0b0100u);
  EXPECT_EQ(send(0xFF, 0x40), 0b1111u);
  EXPECT_EQ(send(0b1010, 0x840), 0b1010u);
  EXPECT_EQ(send(0, 0x40040), 0b0001u);
  EXPECT_EQ(send(0, 0x80040), 0b1111u);
  EXPECT_EQ(send(0, 0xC0040), 0b1110u);
  EXPECT_EQ(send(7, 0x40), 0u);
  // Lowest priority: the idlest, in turn.
  Put(kTpr, 0x50, 3);
  unsigned seen = 0;
  for (int i = 0; i < 6; ++i) {
    unsigned mask = send(0b1111, 0x940);
    EXPECT_EQ(std::popcount(mask), 1);
    seen |= mask;
  }
  EXPECT_EQ(seen, 0b0111u);
  // Clusters.
  for (unsigned i = 0; i < 4; ++i) {
    Put(kDfr, 0, i);
    Put(kLdr, (i / 2) << 28 | 1u << (24 + i % 2), i);
  }
  Put(kTpr, 0, 3);
  EXPECT_EQ(send(0x13, 0x840), 0b1100u);
  EXPECT_EQ(send(0xF1, 0x840), 0b0101u);
  // MSI, logical, redirectable: one of them.
  chips_->SendMsi(0xFEE0300C, 0x40);
  EXPECT_EQ(std::popcount(took() & 0b0011u), 1);
  chips_->SendMsi(0x1FEE03000, 0x40);  // not that range
  EXPECT_EQ(took(), 0u);
}

TEST_F(IrqChipsTest, X2Apic) {
  Make(2);
  MaskPics();
  uint64_t v = 0;
  EXPECT_FALSE(chips_->ReadApicMsr(0, 0x802, &v));
  EXPECT_TRUE(chips_->ReadApicMsr(1, 0x1B, &v));
  EXPECT_EQ(v, 0xFEE00800u);
  EXPECT_FALSE(chips_->WriteApicMsr(0, 0x1B, 0xFEE00400));
  EXPECT_FALSE(chips_->WriteApicMsr(0, 0x1B, 0xFEE00801));
  for (unsigned i = 0; i < 2; ++i) {
    EXPECT_TRUE(chips_->WriteApicMsr(i, 0x1B, 0xFEE00C00));
    EXPECT_TRUE(chips_->WriteApicMsr(i, 0x80F, 0x1FF));
    EXPECT_TRUE(chips_->ReadApicMsr(i, 0x802, &v));
    EXPECT_EQ(v, i);
    EXPECT_TRUE(chips_->ReadApicMsr(i, 0x80D, &v));
    EXPECT_EQ(v, 1u << i);
  }
  EXPECT_TRUE(chips_->ReadApicMsr(0, 0x1B, &v));
  EXPECT_EQ(v, 0xFEE00D00u);  // bit 8 stays the BSP's
  EXPECT_FALSE(chips_->ReadLapic(0, kLapic + kId, 4, &v));
  EXPECT_FALSE(chips_->WriteApicMsr(0, 0x1B, 0xFEE00900));  // not straight back
  EXPECT_TRUE(chips_->WriteApicMsr(0, 0x830, uint64_t{1} << 32 | 0x44));
  EXPECT_EQ(Ack(1), 0x44);
  EXPECT_FALSE(chips_->WriteApicMsr(1, 0x80B, 1));
  EXPECT_TRUE(chips_->WriteApicMsr(1, 0x80B, 0));
  EXPECT_TRUE(chips_->WriteApicMsr(0, 0x830, uint64_t{0xFFFFFFFF} << 32 | 0x45));
  EXPECT_EQ(Ack(0), 0x45);
  EXPECT_EQ(Ack(1), 0x45);
  EXPECT_TRUE(chips_->WriteApicMsr(0, 0x83F, 0x77));
  EXPECT_EQ(Ack(0), 0x77);
  for (uint32_t msr : {0x80Bu, 0x80Eu, 0x831u, 0x83Fu, 0x840u, 0x8FFu})
    EXPECT_FALSE(chips_->ReadApicMsr(0, msr, &v)) << std::hex << msr;
  for (uint32_t msr : {0x802u, 0x803u, 0x80Du, 0x80Eu, 0x810u, 0x831u, 0x839u})
    EXPECT_FALSE(chips_->WriteApicMsr(0, msr, 0)) << std::hex << msr;
  EXPECT_FALSE(chips_->WriteApicMsr(0, 0x808, uint64_t{1} << 32));
}

TEST_F(IrqChipsTest, MovedAndDisabledBase) {
  uint64_t v;
  EXPECT_TRUE(chips_->WriteApicMsr(0, 0x1B, 0xFED00900));
  EXPECT_FALSE(chips_->ReadLapic(0, kLapic + kId, 4, &v));
  EXPECT_TRUE(chips_->ReadLapic(0, 0xFED00000 + kVersion, 4, &v));
  EXPECT_TRUE(chips_->WriteApicMsr(0, 0x1B, 0xFEE00100));
  EXPECT_FALSE(chips_->ReadLapic(0, kLapic + kId, 4, &v));
  InitPics();
  Pulse(3);
  EXPECT_EQ(Ack(), 0x23);  // INTR goes straight to the CPU
}

TEST_F(IrqChipsTest, LapicErrorsAndOddAccesses) {
  EnableLapic();
  Put(kLvtError, 0x5);  // a vector that is an error itself
  Put(kIcrLow, 0x40005);
  Put(kEsr, 0);
  EXPECT_EQ(Get(kEsr), 0x60u);
  Put(kLvtError, 0xFE);
  Get(0x3F0);
  EXPECT_EQ(Ack(), 0xFE);
  uint64_t v = 0;
  EXPECT_TRUE(chips_->ReadLapic(0, kLapic + kVersion + 2, 1, &v));
  EXPECT_EQ(v, 5u);
  EXPECT_TRUE(chips_->ReadLapic(0, kLapic + kVersion + 4, 4, &v));
  EXPECT_EQ(v, 0u);
  EXPECT_TRUE(chips_->WriteLapic(0, kLapic + kTpr, 1, 0x20));
  EXPECT_EQ(Get(kTpr), 0u);
}

TEST_F(IrqChipsTest, ResetPutsAllBack) {
  Make(2);
  const std::string fresh = ShowState(*chips_);
  InitPics();
  EnableLapic(1);
  Put(kInitialCount, 55, 1);
  SetEntry(9, 0x8055);
  chips_->lock().Run([&] { chips_->Reset(); });
  EXPECT_EQ(ShowState(*chips_), fresh);
  EXPECT_EQ(clock_.NextDeadline(), ~uint64_t{0});
}

TEST_F(IrqChipsTest, StateRoundTrip) {
  Make(2);
  InitPics();
  Out(IrqChips::kElcr, 1, 0x08);
  chips_->isa_irq(11).Set(true);
  EnableLapic();
  SetEntry(11, 0x8051);
  Put(kLvtTimer, 0x20041);
  Put(kInitialCount, 50000);  // times 2
  IrqChips other({.vcpus = 2, .tsc_hz = 2'000'000'000}, clock_);
  ExpectRoundTrip(*chips_, other);
  EXPECT_TRUE(other.InterruptPending(0));
  EXPECT_EQ(other.AcknowledgeInterrupt(0), 0x51);
  clock_.Advance(100000);
  other.isa_irq(11).Set(false);
  other.WriteLapic(0, kLapic + kEoi, 4, 0);
  EXPECT_EQ(other.AcknowledgeInterrupt(0), 0x41);
}

// Somebody else's LAPICs.
struct FakeLapics final : Lapics {
  void Send(const Message& m) override { sent.push_back(m); }
  void SetLevelMessages(std::span<const Message, kPins> pins) override {
    levels.assign(pins.begin(), pins.end());
    ++changes;
  }
  std::vector<Message> sent;
  std::vector<Message> levels;
  int changes = 0;
};

TEST_F(IrqChipsTest, OtherLapicsGetTheMessages) {
  Make(2);
  FakeLapics lapics;
  chips_->UseLapics(&lapics);
  chips_->Reset();
  const int changes = lapics.changes;

  // An edge to APIC 1, lowest priority and logical.
  SetEntry(4, uint64_t{1} << 56 | 1 << 11 | 1 << 8 | 0x44);
  EXPECT_EQ(lapics.changes, changes);
  Pulse(4);
  ASSERT_EQ(lapics.sent.size(), 1u);
  EXPECT_EQ(lapics.sent[0], (Lapics::Message{0xFEE0100C, 0x144}));

  // A level: told of, sent once until its end comes back, and again while it is high.
  SetEntry(16, 1 << 15 | 0x51);
  EXPECT_EQ(lapics.changes, changes + 1);
  EXPECT_EQ(lapics.levels[16], (Lapics::Message{0xFEE00000, 0xC051}));
  EXPECT_EQ(lapics.levels[4], Lapics::Message{});
  chips_->ioapic_pin(16).Set(true);
  EXPECT_EQ(lapics.sent.size(), 2u);
  EXPECT_EQ(lapics.sent[1], lapics.levels[16]);
  chips_->EndOfInterrupt(0x52);  // another's
  EXPECT_EQ(lapics.sent.size(), 2u);
  chips_->EndOfInterrupt(0x51);
  EXPECT_EQ(lapics.sent.size(), 3u);
  chips_->ioapic_pin(16).Set(false);
  chips_->EndOfInterrupt(0x51);
  EXPECT_EQ(lapics.sent.size(), 3u);

  // Masked it is still known: it may be in service.
  SetEntry(16, 1 << 16 | 1 << 15 | 0x51);
  EXPECT_EQ(lapics.levels[16].data, 0xC051u);
  SetEntry(16, 0x51);
  EXPECT_EQ(lapics.levels[16], Lapics::Message{});

  chips_->SendMsi(0xFEE01000, 0x61);
  EXPECT_EQ(lapics.sent.back(), (Lapics::Message{0xFEE01000, 0x61}));
  chips_->PulseNmi();
  EXPECT_EQ(vcpus_[0].nmis + vcpus_[1].nmis, 2);

  // Nobody's page or MSRs here.
  uint64_t value = 0;
  EXPECT_FALSE(chips_->ReadLapic(0, kLapic + kId, 4, &value));
  EXPECT_FALSE(chips_->WriteLapic(0, kLapic + kSvr, 4, 0x1FF));
  EXPECT_FALSE(chips_->ReadApicMsr(0, 0x1B, &value));
  EXPECT_FALSE(chips_->WriteApicMsr(0, 0x80F, 0x1FF));
}

struct FakeChips final : Chips {
  void SetLine(unsigned line, bool high) override { lines.push_back({line, high}); }
  void SetLevelTriggered(unsigned irq) override { level = irq; }
  void ReplaceTimer(bool on) override { replaced = on; }
  void Reset() override { ++resets; }
  std::vector<std::pair<unsigned, bool>> lines;
  unsigned level = 0, resets = 0;
  bool replaced = false;
};

TEST_F(IrqChipsTest, OtherChipsGetTheLines) {
  Make(1);
  FakeLapics lapics;
  FakeChips chips;
  chips_->UseLapics(&lapics);
  chips_->UseChips(&chips);
  chips_->Reset();
  EXPECT_EQ(chips.resets, 1u);
  InitPics();
  SetEntry(16, 0x51);
  // Sharers are one line there, too.
  const auto a = chips_->NewIsaSource(4), b = chips_->NewIsaSource(4);
  a->Set(true);
  b->Set(true);
  a->Set(false);
  b->Set(false);
  chips_->isa_irq(0).Set(true);
  chips_->ioapic_pin(16).Set(true);
  const std::vector<std::pair<unsigned, bool>> expected = {
      {4, true}, {4, false}, {0, true}, {16, true}};
  EXPECT_EQ(chips.lines, expected);
  EXPECT_FALSE(chips_->InterruptPending(0));
  EXPECT_TRUE(lapics.sent.empty());
  chips_->SendMsi(0xFEE00000, 0x61);
  EXPECT_EQ(lapics.sent.size(), 1u);
  chips_->SetLevelTriggered(11);
  EXPECT_EQ(chips.level, 11u);
  chips_->ReplaceTimer(true);
  EXPECT_TRUE(chips.replaced);
}

TEST_F(IrqChipsTest, The8259sAreTheFirstsWithOtherLapics) {
  Make(2);
  FakeLapics lapics;
  chips_->UseLapics(&lapics);
  chips_->Reset();
  InitPics();
  chips_->isa_irq(1).Set(true);
  EXPECT_TRUE(vcpus_[0].line);
  EXPECT_FALSE(vcpus_[1].line);
  EXPECT_TRUE(chips_->InterruptPending(0));
  EXPECT_FALSE(chips_->InterruptPending(1));
  EXPECT_EQ(Ack(1), -1);
  EXPECT_EQ(Ack(0), 0x21);
  EXPECT_FALSE(chips_->InterruptPending(0));
  EXPECT_EQ(Ack(0), -1);
  EXPECT_TRUE(lapics.sent.empty());  // the IOAPIC's pins are masked
}

}  // namespace
}  // namespace atl::dev
