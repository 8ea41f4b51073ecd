// SPDX-License-Identifier: Apache-2.0
#include "lib/dev/irq_chips.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <vector>

#include "lib/dev/apic.h"
#include "lib/dev/ioapic.h"
#include "lib/dev/lapic.h"
#include "lib/dev/pic.h"

namespace atl::dev {
namespace {

constexpr unsigned kIsaIrqs = 16;
constexpr unsigned kTimerIrq = 0;
constexpr unsigned kTimerPin = 2;
constexpr unsigned kCascadeIrq = 2;
constexpr unsigned kMaxSources = 64;

constexpr uint32_t kMsrApicBase = 0x1B;
constexpr uint32_t kMsrTscDeadline = 0x6E0;
constexpr uint32_t kMsrFirstX2 = 0x800;
constexpr uint32_t kMsrLastX2 = 0x8FF;

// Of a redirection entry of the IOAPIC.
constexpr uint64_t kEntryLevel = 1 << 15;
constexpr uint64_t kEntryMasked = 1 << 16;

Lapics::Message ToMsi(const ApicMessage& m) {
  return {.address = 0xFEE00000 | uint64_t{m.destination & 0xFF} << 12 | (m.logical ? 1u << 2 : 0) |
                     (m.delivery == Delivery::kLowestPriority ? 1u << 3 : 0),
          .data = static_cast<uint32_t>(m.vector | static_cast<uint32_t>(m.delivery) << 8 |
                                        (m.level ? 3u << 14 : 0))};
}

}  // namespace

class IrqChips::Impl final : public ApicFabric {
 public:
  Impl(const IrqChipsConfig& config, Clock& clock)
      : lock_(&clock), ioapic_(*this), tsc_hz_(config.tsc_hz) {
    const unsigned n = std::clamp(config.vcpus, 1u, kMaxVcpus);
    signals_.resize(n);
    for (unsigned i = 0; i < n; ++i)
      lapics_.push_back(std::make_unique<Lapic>(i, tsc_hz_, lock_.clock(), *this));
    for (unsigned i = 0; i < kLines; ++i) {
      fixed_lines_[i].impl = this;
      fixed_lines_[i].line = fixed_lines_[i].slot = i;
      line_sources_[i] = uint64_t{1} << i;
    }
  }

  // Lines are numbered 0 to 15 for ISA, 16 to 23 for the pins of that number.
  static constexpr unsigned kLines = Ioapic::kPins;

  class Source final : public IrqLine {
   public:
    ~Source() override {
      if (slot >= kLines) impl->Forget(*this);
    }
    void Set(bool level) override {
      DeviceLock::Scope scope(impl->lock_);
      impl->SetSource(*this, level);
    }

    Impl* impl = nullptr;
    unsigned line = 0;
    unsigned slot = 0;  // its bit in sources_; the fixed lines have the first ones
  };

  void SetSource(const Source& source, bool level) {
    const uint64_t bit = uint64_t{1} << source.slot;
    if (((sources_ & bit) != 0) == level) return;
    sources_ ^= bit;
    UpdateLine(source.line);
  }

  void UpdateLine(unsigned line) {
    const bool level = (sources_ & line_sources_[line]) != 0;
    if (level == ((line_levels_ >> line & 1) != 0)) return;
    line_levels_ ^= 1u << line;
    if (chips_ != nullptr) return chips_->SetLine(line, level);
    if (line < kIsaIrqs && line != kCascadeIrq) {
      pic_.SetLine(line, level);
      UpdatePic();
    }
    if (line != kCascadeIrq) ioapic_.SetLine(line == kTimerIrq ? kTimerPin : line, level);
  }

  void UpdatePic() {
    const bool output = pic_.output();
    if (output == pic_output_) return;
    SetPicOutput(output);
  }

  void SetPicOutput(bool output) {
    pic_output_ = output;
    if (remote_ == nullptr) {
      for (auto& lapic : lapics_) lapic->SetLint0(output);
      return;
    }
    remote_pending_.store(output, std::memory_order_release);
    if (signals_[0] != nullptr) signals_[0]->SetInterruptLine(output);
  }

  void UseChips(Chips* chips) { chips_ = chips; }

  void UseLapics(Lapics* lapics) {
    remote_ = lapics;
    remote_pending_ = false;
    levels_ = {};
    if (remote_ != nullptr) remote_->SetLevelMessages(levels_);
  }

  // After a change of the IOAPIC's entries. A pin that is only masked keeps its message:
  // what it sent may be in service yet.
  void UpdateLevels() {
    if (remote_ == nullptr) return;
    std::array<Lapics::Message, kLines> levels = levels_;
    for (unsigned pin = 0; pin < kLines; ++pin) {
      const uint64_t e = ioapic_.entry(pin);
      if (e & kEntryMasked) continue;
      levels[pin] = e & kEntryLevel ? ToMsi({.destination = static_cast<uint32_t>(e >> 56),
                                             .logical = (e & 1 << 11) != 0,
                                             .delivery = static_cast<Delivery>(e >> 8 & 7),
                                             .vector = static_cast<uint8_t>(e),
                                             .level = true})
                                    : Lapics::Message{};
    }
    if (levels == levels_) return;
    levels_ = levels;
    remote_->SetLevelMessages(levels_);
  }

  void Send(const ApicMessage& m) override {
    if (remote_ != nullptr) return remote_->Send(ToMsi(m));
    if (m.delivery != Delivery::kLowestPriority) {
      for (auto& lapic : lapics_)
        if (lapic->IsAddressed(m)) lapic->Deliver(m);
      return;
    }
    // The least busy of those addressed, in turn where they are equal.
    Lapic* chosen = nullptr;
    unsigned chosen_index = 0;
    for (unsigned k = 1; k <= lapics_.size(); ++k) {
      const unsigned i = static_cast<unsigned>((last_chosen_ + k) % lapics_.size());
      Lapic* lapic = lapics_[i].get();
      if (!lapic->takes_interrupts() || !lapic->IsAddressed(m)) continue;
      if (chosen == nullptr || lapic->ProcessorPriority() < chosen->ProcessorPriority()) {
        chosen = lapic;
        chosen_index = i;
      }
    }
    if (chosen == nullptr) return;
    last_chosen_ = chosen_index;
    chosen->Deliver(m);
  }

  void SendToAll(const ApicMessage& m, const Lapic* except) override {
    for (auto& lapic : lapics_)
      if (lapic.get() != except && lapic->hardware_enabled()) lapic->Deliver(m);
  }

  void BroadcastEoi(uint8_t vector) override { ioapic_.EndOfInterrupt(vector); }
  bool pic_output() const override { return pic_output_; }

  void VisitState(StateVisitor& v) {
    v.Field("sources", sources_);
    v.Field("line_levels", line_levels_);
    v.Bounded("last_chosen", last_chosen_, lapics_.size() - 1);
    v.Begin("pic");
    pic_.VisitState(v);
    v.End();
    v.Begin("ioapic");
    ioapic_.VisitState(v);
    v.End();
    if (v.loading()) {
      pic_output_ = pic_.output();
      remote_pending_ = remote_ != nullptr && pic_output_;
      UpdateLevels();
    }
    for (auto& lapic : lapics_) {
      v.Begin("lapic");
      lapic->VisitState(v);
      v.End();
    }
  }

  void Reset() {
    pic_.Reset();
    ioapic_.Reset();
    pic_output_ = pic_.output();
    if (remote_ != nullptr) UseLapics(remote_);
    if (chips_ != nullptr) chips_->Reset();
    last_chosen_ = 0;
    for (auto& lapic : lapics_) lapic->Reset();
  }

  std::unique_ptr<IrqLine> NewSource(unsigned line) {
    DeviceLock::Scope scope(lock_);
    auto source = std::make_unique<Source>();
    const unsigned slot = static_cast<unsigned>(std::countr_one(used_slots_));
    if (slot == kMaxSources) return nullptr;
    used_slots_ |= uint64_t{1} << slot;
    line_sources_[line] |= uint64_t{1} << slot;
    source->impl = this;
    source->line = line;
    source->slot = slot;
    return source;
  }

  void Forget(const Source& source) {
    DeviceLock::Scope scope(lock_);
    SetSource(source, false);
    const uint64_t bit = uint64_t{1} << source.slot;
    used_slots_ &= ~bit;
    line_sources_[source.line] &= ~bit;
  }

  Lapic& lapic(unsigned vcpu) { return *lapics_[vcpu]; }

  DeviceLock lock_;
  PicPair pic_;
  bool pic_output_ = false;
  Ioapic ioapic_;
  const uint64_t tsc_hz_;
  std::vector<std::unique_ptr<Lapic>> lapics_;
  std::vector<VcpuSignals*> signals_;
  // Where they are somebody else's: what it knows of the IOAPIC, and whether vCPU 0
  // has an interrupt of the 8259's to take.
  Lapics* remote_ = nullptr;
  Chips* chips_ = nullptr;
  std::array<Lapics::Message, kLines> levels_{};
  std::atomic<bool> remote_pending_{false};
  uint32_t last_chosen_ = 0;  // for lowest priority

  uint64_t sources_ = 0;      // which are high
  uint32_t line_levels_ = 0;  // which lines are
  uint64_t used_slots_ = (uint64_t{1} << kLines) - 1;
  std::array<uint64_t, kLines> line_sources_{};
  std::array<Source, kLines> fixed_lines_;
};

IrqChips::IrqChips(const IrqChipsConfig& config, Clock& clock)
    : impl_(std::make_unique<Impl>(config, clock)) {
  Reset();
}

IrqChips::~IrqChips() = default;

DeviceLock& IrqChips::lock() { return impl_->lock_; }

void IrqChips::ConnectVcpu(unsigned vcpu, VcpuSignals* signals) {
  DeviceLock::Scope scope(impl_->lock_);
  impl_->lapic(vcpu).Connect(signals);
  impl_->signals_[vcpu] = signals;
}

void IrqChips::UseLapics(Lapics* lapics) {
  DeviceLock::Scope scope(impl_->lock_);
  impl_->UseLapics(lapics);
}

void IrqChips::UseChips(Chips* chips) {
  DeviceLock::Scope scope(impl_->lock_);
  impl_->UseChips(chips);
}

void IrqChips::SetLevelTriggered(unsigned irq) {
  DeviceLock::Scope scope(impl_->lock_);
  if (impl_->chips_ != nullptr) impl_->chips_->SetLevelTriggered(irq);
}

void IrqChips::ReplaceTimer(bool replaced) {
  DeviceLock::Scope scope(impl_->lock_);
  if (impl_->chips_ != nullptr) impl_->chips_->ReplaceTimer(replaced);
}

void IrqChips::EndOfInterrupt(uint8_t vector) {
  DeviceLock::Scope scope(impl_->lock_);
  impl_->ioapic_.EndOfInterrupt(vector);
}

IrqLine& IrqChips::isa_irq(unsigned irq) { return impl_->fixed_lines_[irq]; }
IrqLine& IrqChips::ioapic_pin(unsigned pin) { return impl_->fixed_lines_[pin]; }

std::unique_ptr<IrqLine> IrqChips::NewIsaSource(unsigned irq) { return impl_->NewSource(irq); }
std::unique_ptr<IrqLine> IrqChips::NewPinSource(unsigned pin) { return impl_->NewSource(pin); }

void IrqChips::SendMsi(uint64_t address, uint32_t data) {
  if (address >> 20 != 0xFEE) return;
  const bool redirect = address & 1 << 3;
  const auto delivery = static_cast<Delivery>(data >> 8 & 7);
  DeviceLock::Scope scope(impl_->lock_);
  if (impl_->remote_ != nullptr) return impl_->remote_->Send({address, data});
  impl_->Send(
      {.destination = static_cast<uint32_t>(address >> 12 & 0xFF),
       .logical = (address & 1 << 2) != 0,
       .delivery = redirect && delivery == Delivery::kFixed ? Delivery::kLowestPriority : delivery,
       .vector = static_cast<uint8_t>(data),
       .level = (data & 1 << 15) != 0});
}

void IrqChips::PulseNmi() {
  DeviceLock::Scope scope(impl_->lock_);
  if (impl_->remote_ != nullptr) {
    for (VcpuSignals* s : impl_->signals_)
      if (s != nullptr) s->RaiseNmi();
    return;
  }
  for (auto& lapic : impl_->lapics_) lapic->PulseLint1();
}

int IrqChips::AcknowledgeInterrupt(unsigned vcpu) {
  if (!InterruptPending(vcpu)) return -1;
  DeviceLock::Scope scope(impl_->lock_);
  const bool remote = impl_->remote_ != nullptr;
  Lapic& lapic = impl_->lapic(vcpu);
  int vector = remote ? -1 : lapic.Acknowledge();
  if (vector < 0 && impl_->pic_output_ && (remote || lapic.AcceptsExtInt())) {
    vector = impl_->pic_.Acknowledge();
    // INTR drops during INTA: another request is a new edge.
    if (impl_->pic_.output()) impl_->SetPicOutput(false);
    impl_->UpdatePic();
  }
  return vector;
}

bool IrqChips::InterruptPending(unsigned vcpu) const {
  if (impl_->remote_ != nullptr) {
    return vcpu == 0 && impl_->remote_pending_.load(std::memory_order_acquire);
  }
  return impl_->lapic(vcpu).pending();
}

uint64_t IrqChips::ReadCr8(unsigned vcpu) {
  DeviceLock::Scope scope(impl_->lock_);
  return impl_->lapic(vcpu).task_priority() >> 4;
}

void IrqChips::WriteCr8(unsigned vcpu, uint64_t value) {
  DeviceLock::Scope scope(impl_->lock_);
  impl_->lapic(vcpu).set_task_priority(static_cast<uint8_t>((value & 0xF) << 4));
}

bool IrqChips::ReadApicMsr(unsigned vcpu, uint32_t msr, uint64_t* value) {
  DeviceLock::Scope scope(impl_->lock_);
  if (impl_->remote_ != nullptr) return false;
  Lapic& lapic = impl_->lapic(vcpu);
  if (msr == kMsrApicBase) {
    *value = lapic.base();
    return true;
  }
  if (msr == kMsrTscDeadline) {
    *value = lapic.deadline();
    return true;
  }
  return msr >= kMsrFirstX2 && msr <= kMsrLastX2 && lapic.ReadX2(msr, value);
}

bool IrqChips::WriteApicMsr(unsigned vcpu, uint32_t msr, uint64_t value) {
  DeviceLock::Scope scope(impl_->lock_);
  if (impl_->remote_ != nullptr) return false;
  Lapic& lapic = impl_->lapic(vcpu);
  if (msr == kMsrApicBase) return lapic.WriteBase(value);
  if (msr == kMsrTscDeadline) {
    lapic.WriteDeadline(value);
    return true;
  }
  return msr >= kMsrFirstX2 && msr <= kMsrLastX2 && lapic.WriteX2(msr, value);
}

namespace {

constexpr uint64_t kPageMask = 0xFFF;
constexpr uint64_t kEnabled = 1 << 11;
constexpr uint64_t kX2 = 1 << 10;

bool InPage(uint64_t base, uint64_t gpa) {
  return (base & (kEnabled | kX2)) == kEnabled && ((base ^ gpa) & ~kPageMask) == 0;
}

}  // namespace

bool IrqChips::ReadLapic(unsigned vcpu, uint64_t gpa, unsigned size, uint64_t* value) {
  if (impl_->remote_ != nullptr) return false;
  Lapic& lapic = impl_->lapic(vcpu);
  if (!InPage(lapic.base(), gpa)) return false;
  DeviceLock::Scope scope(impl_->lock_);
  const uint64_t offset = gpa & kPageMask;
  // The first four bytes of each sixteen are the register.
  const uint64_t whole = offset % 16 < 4 ? lapic.ReadPage(offset) >> (8 * (offset % 4)) : 0;
  *value = size >= 4 ? whole : whole & ((uint64_t{1} << (8 * size)) - 1);
  return true;
}

bool IrqChips::WriteLapic(unsigned vcpu, uint64_t gpa, unsigned size, uint64_t value) {
  if (impl_->remote_ != nullptr) return false;
  Lapic& lapic = impl_->lapic(vcpu);
  if (!InPage(lapic.base(), gpa)) return false;
  if (size < 4) return true;  // undefined (11.4.1)
  DeviceLock::Scope scope(impl_->lock_);
  lapic.WritePage(gpa & kPageMask, static_cast<uint32_t>(value));
  return true;
}

void IrqChips::Reset() {
  DeviceLock::Scope scope(impl_->lock_);
  impl_->Reset();
}

uint64_t IrqChips::Read(unsigned region, uint64_t offset, unsigned) {
  switch (region) {
    case kPicMaster:
    case kPicSlave: {
      const uint8_t value = impl_->pic_.Read(region == kPicSlave, offset & 1);
      impl_->UpdatePic();  // a poll acknowledges
      return value;
    }
    case kElcr:
      return impl_->pic_.ReadElcr(offset & 1);
    case kIoapic:
      return impl_->ioapic_.Read(offset);
    default:
      return ~uint64_t{0};
  }
}

void IrqChips::Write(unsigned region, uint64_t offset, unsigned, uint64_t value) {
  switch (region) {
    case kPicMaster:
    case kPicSlave:
      impl_->pic_.Write(region == kPicSlave, offset & 1, static_cast<uint8_t>(value));
      break;
    case kElcr:
      impl_->pic_.WriteElcr(offset & 1, static_cast<uint8_t>(value));
      break;
    case kIoapic:
      impl_->ioapic_.Write(offset, static_cast<uint32_t>(value));
      impl_->UpdateLevels();
      return;
    default:
      return;
  }
  impl_->UpdatePic();
}

void IrqChips::VisitState(StateVisitor& v) { impl_->VisitState(v); }

}  // namespace atl::dev
