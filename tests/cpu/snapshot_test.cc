// SPDX-License-Identifier: Apache-2.0
// Guests that are stopped, saved, loaded into a new VM and go on: what they say must
// be what they say undisturbed. On the software CPU, and where the machine has VT-x or
// SVM on each node that speaks KVM's interface, with the kernel's LAPICs and without:
//   tests/lab/lab-svm bazel-bin/tests/cpu/snapshot_test
//   tests/lab/lab-svm --module $PWD/bazel-bin/kmod/atoll.ko bazel-bin/tests/cpu/snapshot_test
#include <cpuid.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <ostream>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "lib/base/mutex.h"
#include "lib/base/status_matchers.h"
#include "lib/base/unique_fd.h"
#include "lib/cpu/backend.h"
#include "lib/cpu/msr_table.h"
#include "lib/cpu/saved.h"
#include "lib/mem/guest_memory.h"
#include "lib/vm/saved_cpu.h"

extern "C" {
extern const uint8_t snapshot_guest[], snapshot_guest_end[];
extern const uint8_t snapshot_compute[], snapshot_ticks[], snapshot_steps[], snapshot_nmis[],
    snapshot_pair[];
extern const uint8_t snapshot_on_fault[], snapshot_on_tick[], snapshot_on_interrupt[],
    snapshot_on_nmi[];
}

namespace atl {
namespace {

using absl::StatusCode;
using cpu::Exit;
using cpu::ExitReason;
using cpu::StatePart;
using testing::ElementsAre;

constexpr uint64_t kRam = 4 << 20, kCodeAt = 0x100000, kStack = 0x200000, kShared = 0x300200;
constexpr uint64_t kIdt = 0x1000, kGdt = 0x2000, kTss = 0x3000, kTables = 0x10000;
constexpr uint16_t kEnd = 0x81;
constexpr uint8_t kNmiVector = 2, kTick = 0x30, kInterrupt = 0x31;

struct Kind {
  std::string name;
  const cpu::Backend* backend = nullptr;
  std::string device;
  bool kernel_lapics = false;
  friend void PrintTo(const Kind& k, std::ostream* os) { *os << k.name; }
};

bool HasVirtualization() {
  unsigned a, b, c, d;
  if (__get_cpuid(1, &a, &b, &c, &d) && (c & 1u << 5)) return true;
  return __get_cpuid(0x80000001, &a, &b, &c, &d) && (c & 1u << 2);
}

const Kind kSoft = {"soft", &cpu::kSoftBackend, "", false};

std::vector<Kind> KvmKinds() {
  std::vector<Kind> out;
  if (!HasVirtualization()) return out;
  for (const char* name : {"kvm", "atoll"}) {
    const std::string device = std::string("/dev/") + name;
    const UniqueFd fd(open(device.c_str(), O_RDWR | O_CLOEXEC));
    if (!fd.valid()) continue;
    out.push_back({name, &cpu::kKvmBackend, device, false});
    if (ioctl(fd.get(), KVM_CHECK_EXTENSION, KVM_CAP_SPLIT_IRQCHIP) > 0) {
      out.push_back({std::string(name) + "_lapics", &cpu::kKvmBackend, device, true});
    }
  }
  return out;
}

std::vector<Kind> AllKinds() {
  std::vector<Kind> out = KvmKinds();
  out.insert(out.begin(), kSoft);
  return out;
}

std::vector<Kind> MachineLapicKinds() {
  std::vector<Kind> out;
  for (const Kind& kind : AllKinds()) {
    if (!kind.kernel_lapics) out.push_back(kind);
  }
  return out;
}

bool HasAvx() { return __builtin_cpu_supports("avx"); }

// A vCPU's surroundings, with the part of the machine's state that a LAPIC would be.
class Bus : public cpu::VcpuBus {
 public:
  uint32_t PortIn(uint16_t, unsigned) override { return ~uint32_t{0}; }
  void PortOut(uint16_t port, unsigned, uint32_t value) override {
    {
      MutexLock lock(&mu_);
      said_.push_back(value);
    }
    if (port == kEnd) ended = true;
    if (on_out) on_out(port, value);
    if (port == kEnd || --stop_in == 0) vcpu->Kick();
  }
  uint64_t MmioRead(Gpa, unsigned) override { return ~uint64_t{0}; }
  void MmioWrite(Gpa, unsigned, uint64_t) override {}
  int AcknowledgeInterrupt(unsigned) override { return vector.exchange(-1); }
  bool InterruptPending(unsigned) override { return vector.load() >= 0; }
  uint64_t ReadCr8(unsigned) override { return cr8; }
  void WriteCr8(unsigned, uint64_t value) override { cr8 = value; }
  bool ReadApicMsr(unsigned, uint32_t msr, uint64_t* value) override {
    if (msr == 0x1B) *value = apic_base;
    return msr == 0x1B;
  }
  bool WriteApicMsr(unsigned, uint32_t msr, uint64_t value) override {
    if (msr == 0x1B) apic_base = value;
    return msr == 0x1B;
  }
  uint64_t NowNs() override { return 1'000'000; }

  std::vector<uint32_t> said() {
    MutexLock lock(&mu_);
    return said_;
  }
  void set_said(std::vector<uint32_t> said) {
    MutexLock lock(&mu_);
    said_ = std::move(said);
  }

  cpu::Vcpu* vcpu = nullptr;
  std::function<void(uint16_t, uint32_t)> on_out;
  std::atomic<int> vector = -1;
  std::atomic<int> stop_in = 0;  // outs until it is kicked
  std::atomic<bool> ended = false;
  uint64_t cr8 = 0, apic_base = 0xFEE00900;

 private:
  Mutex mu_;
  std::vector<uint32_t> said_;
};

// What is saved of a machine: bytes of its processors, its memory, and what was said.
struct Snapshot {
  std::vector<uint8_t> vm;
  std::vector<std::vector<uint8_t>> vcpus;
  std::vector<uint8_t> memory;
  std::vector<std::vector<uint32_t>> said;
};

cpu::Segment Flat(uint16_t selector, uint8_t type) {
  cpu::Segment g;
  g.limit = 0xFFFFFFFF;
  g.selector = selector;
  g.type = type;
  g.g = true;
  g.db = true;
  return g;
}

class Box {
 public:
  explicit Box(const Kind& kind, unsigned vcpus = 1) {
    auto made = GuestMemory::Create(kRam);
    if (!made.ok()) std::abort();
    memory = *std::move(made);
    cpu::BackendOptions options;
    options.device = kind.device;
    options.kernel_lapics = kind.kernel_lapics;
    auto created = kind.backend->create_vm(options, *memory);
    EXPECT_OK(created.status());
    vm = *std::move(created);
    EXPECT_EQ(vm->has_lapics(), kind.kernel_lapics);
    for (unsigned i = 0; i < vcpus; ++i) {
      buses.push_back(std::make_unique<Bus>());
      auto vcpu = vm->CreateVcpu({.index = i, .count = vcpus, .bus = buses.back().get()});
      EXPECT_OK(vcpu.status());
      cpus.push_back(*std::move(vcpu));
      buses.back()->vcpu = cpus.back().get();
    }
  }

  // Tables and code in memory, and vCPU `n` at `entry` in 64-bit mode with interrupts off.
  void Enter(const uint8_t* entry, uint64_t rdi, uint64_t rsi, unsigned n = 0) {
    memory->Write(Gpa(kCodeAt), {snapshot_guest, snapshot_guest_end});
    const uint64_t gdt[] = {0, 0x00AF9B000000FFFF, 0x00CF93000000FFFF, 0, 0x0000890030000067, 0};
    for (unsigned i = 0; i < 6; ++i) memory->Store<uint64_t>(Gpa(kGdt + 8 * i), gdt[i]);
    memory->Store<uint64_t>(Gpa(kTables), kTables + 0x1007);
    memory->Store<uint64_t>(Gpa(kTables + 0x1000), kTables + 0x2007);
    for (uint64_t i = 0; i < 2; ++i) {
      memory->Store<uint64_t>(Gpa(kTables + 0x2000 + 8 * i), i << 21 | 0x87);
    }
    const auto gate = [&](unsigned vector, const uint8_t* handler) {
      const uint64_t at = kCodeAt + static_cast<uint64_t>(handler - snapshot_guest);
      memory->Store<uint64_t>(Gpa(kIdt + 16 * vector),
                              (at & 0xFFFF) | 8 << 16 | 0x8E00ull << 32 | (at >> 16) << 48);
    };
    for (unsigned vector = 0; vector < 32; ++vector) gate(vector, snapshot_on_fault);
    gate(kNmiVector, snapshot_on_nmi);
    gate(kTick, snapshot_on_tick);
    gate(kInterrupt, snapshot_on_interrupt);

    cpu::SavedVcpu state;
    ASSERT_OK(cpus[n]->Save(&state));
    cpu::SystemRegs& s = state.system;
    for (cpu::Segment& g : s.segment) g = Flat(0x10, 3);
    s.segment[cpu::kCs] = Flat(8, 11);
    s.segment[cpu::kCs].l = true;
    s.segment[cpu::kCs].db = false;
    s.tr.selector = 0x20;
    s.tr.base = kTss;
    s.tr.limit = 0x67;
    s.tr.type = 11;
    s.tr.s = false;
    s.gdt = {kGdt, 47};
    s.idt = {kIdt, 16 * 64 - 1};
    s.cr0 = 0x80010033;
    s.cr3 = kTables;
    s.cr4 = 0x6A0;
    s.efer = 0xD01;
    if (HasAvx()) {
      // Not by the guest's XSETBV, which lab-svm's processor does not intercept, so that
      // KVM does not know of it.
      s.cr4 |= 0x40000;
      state.xcr0 = 7;
    }
    state.regs = cpu::Regs();
    state.regs.rip = kCodeAt + static_cast<uint64_t>(entry - snapshot_guest);
    state.regs.gpr[cpu::kRsp] = kStack - n * 0x10000;
    state.regs.gpr[cpu::kRdi] = rdi;
    state.regs.gpr[cpu::kRsi] = rsi;
    state.activity = cpu::Activity::kRunning;
    ASSERT_OK(cpus[n]->Load(state, StatePart::kWhole));
  }

  // Runs vCPU `n` until it is kicked (kKicked) or halts (kHalted).
  ExitReason Run(unsigned n = 0) {
    const absl::StatusOr<Exit> exit = cpus[n]->Run();
    EXPECT_OK(exit.status());
    if (exit.ok() && (exit->reason == ExitReason::kKicked || exit->reason == ExitReason::kHalted))
      return exit->reason;
    if (exit.ok()) ADD_FAILURE() << exit->detail;
    buses[n]->ended = true;  // nobody is to wait for it
    return ExitReason::kError;
  }
  // Runs until `outs` more things were said, or it ended.
  void RunFor(int outs, unsigned n = 0) {
    buses[n]->stop_in = outs;
    while (buses[n]->stop_in > 0 && !buses[n]->ended) {
      const ExitReason reason = Run(n);
      ASSERT_NE(reason, ExitReason::kError);
      if (reason == ExitReason::kHalted && !buses[n]->ended) cpus[n]->WaitForWork();
    }
  }
  void RunToEnd(unsigned n = 0) {
    RunFor(1 << 30, n);
    EXPECT_TRUE(buses[n]->ended);
  }

  cpu::SavedVcpu SaveVcpu(unsigned n = 0) {
    cpu::SavedVcpu state;
    EXPECT_OK(cpus[n]->Save(&state));
    return state;
  }
  Snapshot Save() {
    Snapshot out;
    cpu::SavedVm state;
    EXPECT_OK(vm->Save(&state));
    out.vm = vm::ToBytes(state);
    for (unsigned i = 0; i < cpus.size(); ++i) {
      out.vcpus.push_back(vm::ToBytes(SaveVcpu(i)));
      out.said.push_back(buses[i]->said());
    }
    out.memory.assign(memory->ram_host(), memory->ram_host() + kRam);
    return out;
  }
  absl::Status Load(const Snapshot& in, StatePart part = StatePart::kWhole) {
    memory->Write(Gpa(0), in.memory);
    if (part == StatePart::kWhole) {
      absl::StatusOr<cpu::SavedVm> state = vm::SavedVmFromBytes(in.vm);
      if (!state.ok()) return state.status();
      if (absl::Status s = vm->Load(*state); !s.ok()) return s;
    }
    for (unsigned i = 0; i < cpus.size(); ++i) {
      absl::StatusOr<cpu::SavedVcpu> state = vm::SavedVcpuFromBytes(in.vcpus[i]);
      if (!state.ok()) return state.status();
      if (absl::Status s = cpus[i]->Load(*state, part); !s.ok()) return s;
      buses[i]->set_said(in.said[i]);
    }
    return absl::OkStatus();
  }
  std::vector<uint32_t> said(unsigned n = 0) { return buses[n]->said(); }

  std::unique_ptr<GuestMemory> memory;
  std::vector<std::unique_ptr<Bus>> buses;
  std::unique_ptr<cpu::Vm> vm;
  std::vector<std::unique_ptr<cpu::Vcpu>> cpus;
};

// A new machine that goes on where `from` stands.
std::unique_ptr<Box> Moved(Box& from, const Kind& to, StatePart part = StatePart::kWhole) {
  const Snapshot snapshot = from.Save();
  auto out = std::make_unique<Box>(to, static_cast<unsigned>(from.cpus.size()));
  EXPECT_OK(out->Load(snapshot, part));
  return out;
}

constexpr uint64_t kRounds = 60;

std::vector<uint32_t> Undisturbed(const Kind& kind) {
  Box box(kind);
  box.Enter(snapshot_compute, HasAvx(), kRounds);
  box.RunToEnd();
  EXPECT_GT(box.said().size(), kRounds + 20) << testing::PrintToString(box.said());
  return box.said();
}

// A guest that hangs ends the test, with its name as the last in the log.
class SnapshotTest : public testing::TestWithParam<Kind> {
 protected:
  void SetUp() override { alarm(120); }
  void TearDown() override { alarm(0); }
};

TEST_P(SnapshotTest, EachStopInTheMiddleOfComputing) {
  const std::vector<uint32_t> expected = Undisturbed(GetParam());
  ASSERT_GT(expected.size(), kRounds + 20);
  for (int step : {1, 2, 7}) {
    auto box = std::make_unique<Box>(GetParam());
    box->Enter(snapshot_compute, HasAvx(), kRounds);
    int loads = 0;
    while (!box->buses[0]->ended && !HasFailure()) {
      box->RunFor(step);
      box = Moved(*box, GetParam());
      if (box->said().back() == expected.back() && box->said().size() == expected.size()) break;
      ++loads;
    }
    EXPECT_EQ(box->said(), expected) << "stopped at each " << step;
    EXPECT_GE(loads, static_cast<int>(kRounds) / step);
  }
}

// The same state twice, byte for byte: nothing is lost on the way in.
TEST_P(SnapshotTest, WhatWasLoadedIsSavedAgain) {
  Box box(GetParam());
  box.Enter(snapshot_compute, HasAvx(), kRounds);
  for (int i = 0; i < 20; ++i) {
    box.RunFor(4);
    const Snapshot first = box.Save();
    Box other(GetParam());
    ASSERT_OK(other.Load(first));
    cpu::SavedVcpu a = *vm::SavedVcpuFromBytes(first.vcpus[0]), b = other.SaveVcpu();
    if (GetParam().backend != &cpu::kSoftBackend) {
      // Time has passed, though not much.
      EXPECT_LT(b.tsc - a.tsc, 20'000'000'000u);
      b.tsc = a.tsc;
    }
    EXPECT_EQ(vm::ToBytes(a), vm::ToBytes(b));
  }
}

// At moments that nothing chooses: a kick from another thread.
TEST_P(SnapshotTest, StopsAtAnyMoment) {
  const std::vector<uint32_t> expected = Undisturbed(GetParam());
  std::mt19937 random(7);
  auto box = std::make_unique<Box>(GetParam());
  box->Enter(snapshot_compute, HasAvx(), kRounds);
  for (int i = 0; i < 30 && !box->buses[0]->ended; ++i) {
    std::thread other([&, wait = random() % 400] {
      std::this_thread::sleep_for(std::chrono::microseconds(wait));
      box->cpus[0]->Kick();
    });
    box->Run();
    other.join();
    if (!box->buses[0]->ended) box = Moved(*box, GetParam());
  }
  if (!box->buses[0]->ended) box->RunToEnd();
  EXPECT_EQ(box->said(), expected);
}

// A timer that was armed before goes off after; what halts goes on halting until then.
TEST_P(SnapshotTest, TicksGoOn) {
  constexpr uint32_t kTicks = 8;
  for (uint64_t timer : {0, 1, 2}) {
    if ((timer != 0) != GetParam().kernel_lapics) continue;
    SCOPED_TRACE(timer);
    auto box = std::make_unique<Box>(GetParam());
    box->Enter(snapshot_ticks, timer, kTicks);
    for (int i = 0; i < 60 && !box->buses[0]->ended && !HasFailure(); ++i) {
      if (timer == 0) {
        // The tick is there before it halts, or comes while it does.
        if (i % 2 == 0) box->buses[0]->vector = kTick;
        box->cpus[0]->SetInterruptLine(true);
        while (box->Run() != ExitReason::kHalted && !box->buses[0]->ended) {
        }
      } else {
        std::thread other([&] {
          std::this_thread::sleep_for(std::chrono::microseconds(500 * (i % 5)));
          box->cpus[0]->Kick();
        });
        box->Run();
        other.join();
      }
      if (box->buses[0]->ended) break;
      const cpu::SavedVcpu state = box->SaveVcpu();
      if (timer == 0) {
        EXPECT_EQ(state.activity, cpu::Activity::kHalted);
      }
      const int pending = box->buses[0]->vector;
      auto next = Moved(*box, GetParam());
      next->buses[0]->vector = pending;
      box = std::move(next);
    }
    if (timer != 0 && !box->buses[0]->ended) box->RunToEnd();
    // One more can come before the guest closes its ears.
    const std::vector<uint32_t> said = box->said();
    ASSERT_GE(said.size(), kTicks + 1);
    for (uint32_t i = 0; i + 1 < said.size(); ++i) EXPECT_EQ(said[i], i + 1);
    EXPECT_EQ(said.back(), 1u);
  }
}

// The instruction after STI comes before the interrupt, also where the machine was
// saved and loaded in between.
TEST_P(SnapshotTest, TheShadowOfStiIsKept) {
  for (bool shadow : {true, false}) {
    Box first(GetParam());
    first.Enter(snapshot_steps, 0, 0);
    cpu::SavedVcpu state = first.SaveVcpu();
    state.regs.rflags |= 0x200;
    state.events.shadow = shadow ? cpu::kShadowSti : 0;
    ASSERT_OK(first.cpus[0]->Load(state, StatePart::kWhole));
    auto second = Moved(first, GetParam());
    EXPECT_EQ(second->SaveVcpu().events.shadow != 0, shadow);
    for (Box* box : {&first, second.get()}) {
      box->buses[0]->vector = kInterrupt;
      box->cpus[0]->SetInterruptLine(true);
      box->RunToEnd();
    }
    // lab-svm's processor drops the shadow that it is entered with.
    EXPECT_EQ(second->said(), first.said());
    if (GetParam().backend == &cpu::kSoftBackend) {
      EXPECT_THAT(second->said(), ElementsAre(0x100u | shadow, 8, 1));
    }
  }
}

// An NMI that comes in the handler of one waits for its IRET, wherever that is.
TEST_P(SnapshotTest, AnNmiThatIsMaskedWaits) {
  for (bool before : {true, false}) {
    auto box = std::make_unique<Box>(GetParam());
    box->Enter(snapshot_nmis, 0, 2);
    box->RunFor(1);
    box->cpus[0]->RaiseNmi();
    box->RunFor(1);
    ASSERT_THAT(box->said(), ElementsAre(1, 0x11));
    if (before) box->cpus[0]->RaiseNmi();
    const cpu::SavedVcpu state = box->SaveVcpu();
    EXPECT_TRUE(state.events.nmi_masked);
    EXPECT_EQ(state.events.nmi_pending, before);
    box = Moved(*box, GetParam());
    if (!before) box->cpus[0]->RaiseNmi();
    box->RunToEnd();
    EXPECT_THAT(box->said(), ElementsAre(1, 0x11, 0x12, 0x11, 0x12, 1));
  }
}

// Taken, and not delivered yet: an interrupt, an exception, an NMI.
TEST_P(SnapshotTest, WhatWasTakenIsDelivered) {
  Box first(GetParam());
  first.Enter(snapshot_steps, 0, 0);
  cpu::SavedVcpu state = first.SaveVcpu();
  state.regs.rflags |= 0x200;
  state.events.interrupt = true;
  state.events.interrupt_vector = kInterrupt;
  ASSERT_OK(first.cpus[0]->Load(state, StatePart::kWhole));
  auto second = Moved(first, GetParam());
  second->RunToEnd();
  EXPECT_THAT(second->said(), ElementsAre(0x100, 8, 1));
}

TEST_P(SnapshotTest, TwoProcessors) {
  constexpr uint64_t kAdds = 200'000;
  const auto run = [&](int stops) {
    auto box = std::make_unique<Box>(GetParam(), 2);
    box->Enter(snapshot_pair, 0, kAdds, 0);
    box->Enter(snapshot_pair, 1, kAdds, 1);
    std::mt19937 random(11);
    for (int i = 0;; ++i) {
      std::vector<std::thread> threads;
      std::atomic<bool> stopping = false;
      for (unsigned n = 0; n < 2; ++n) {
        threads.emplace_back([&, n] {
          while (!stopping && !box->buses[n]->ended) box->Run(n);
        });
      }
      if (i < stops) {
        std::this_thread::sleep_for(std::chrono::microseconds(random() % 2000));
        stopping = true;
        for (auto& vcpu : box->cpus) vcpu->Kick();
      }
      for (std::thread& t : threads) t.join();
      const bool ended[2] = {box->buses[0]->ended, box->buses[1]->ended};
      if (ended[0] && ended[1]) break;
      if (i >= stops) continue;
      const cpu::SavedVcpu a = box->SaveVcpu(0);
      auto next = Moved(*box, GetParam());
      next->buses[0]->ended = ended[0];
      next->buses[1]->ended = ended[1];
      box = std::move(next);
      if (GetParam().backend == &cpu::kSoftBackend) continue;
      // Their counters agree as they did, to the last tick.
      const cpu::SavedVcpu was = a, is = box->SaveVcpu(0), other = box->SaveVcpu(1);
      EXPECT_GE(is.tsc, was.tsc);
      EXPECT_EQ(is.tsc, other.tsc);
    }
    EXPECT_EQ(*box->memory->Load<uint64_t>(Gpa(kShared)), 2 * kAdds);
    return std::vector<std::vector<uint32_t>>{box->said(0), box->said(1)};
  };
  const auto expected = run(0);
  ASSERT_EQ(expected[0].size(), 2u);
  EXPECT_NE(expected[0], expected[1]);
  EXPECT_EQ(run(12), expected);
}

// Where the machine has the LAPICs.
class StartupTest : public SnapshotTest {};

// INIT and SIPI that were sent and not taken yet.
TEST_P(StartupTest, ASecondProcessorStartsAfterLoading) {
  auto box = std::make_unique<Box>(GetParam(), 2);
  const uint8_t code[] = {0x8C, 0xC8, 0xE7, 0x80, 0xE7, 0x81, 0xF4};  // says cs
  box->memory->Write(Gpa(0x9000), code);
  EXPECT_EQ(box->Run(1), ExitReason::kHalted);
  box = Moved(*box, GetParam());
  EXPECT_EQ(box->SaveVcpu(1).activity, cpu::Activity::kWaitForSipi);
  box->cpus[1]->SendInit();
  box->cpus[1]->SendSipi(9);
  box = Moved(*box, GetParam());
  box->RunToEnd(1);
  EXPECT_THAT(box->said(1), ElementsAre(0x900, 0x900));
}

TEST_P(SnapshotTest, HostileStatesAreRefusedByName) {
  Box box(GetParam());
  box.Enter(snapshot_compute, HasAvx(), kRounds);
  box.RunFor(5);
  const cpu::SavedVcpu good = box.SaveVcpu();
  const auto load = [&](const std::function<void(cpu::SavedVcpu&)>& change) {
    cpu::SavedVcpu bad = good;
    change(bad);
    return box.cpus[0]->Load(bad, StatePart::kWhole);
  };
  EXPECT_THAT(load([](auto& s) { s.xcr0 = 2; }), StatusIs(StatusCode::kInvalidArgument, "xcr0"));
  EXPECT_THAT(load([](auto& s) { s.xsave.resize(100); }),
              StatusIs(StatusCode::kInvalidArgument, "xsave"));
  EXPECT_THAT(load([](auto& s) { s.xsave[27] = 0xFF; }),
              StatusIs(StatusCode::kInvalidArgument, "xsave"));
  EXPECT_THAT(load([](auto& s) {
                s.msrs.push_back({0x1B, 1});
              }),
              StatusIs(StatusCode::kInvalidArgument, "MSR 0x1b"));
  EXPECT_THAT(load([](auto& s) {
                s.msrs.push_back({0x277, 2});
              }),
              StatusIs(StatusCode::kInvalidArgument, "PAT"));
  EXPECT_THAT(load([](auto& s) { s.dr7 = uint64_t{1} << 40; }),
              StatusIs(StatusCode::kInvalidArgument, "dr"));
  EXPECT_THAT(load([](auto& s) { s.system.efer = 0x1; }), testing::Not(IsOk()));
  EXPECT_THAT(load([](auto& s) { s.lapic.resize(s.lapic.empty() ? 1024 : 0); }),
              StatusIs(StatusCode::kInvalidArgument, "lapic"));
  EXPECT_THAT(load([](auto& s) { s.tsc_khz = 0; }),
              StatusIs(StatusCode::kInvalidArgument, "tsc_khz"));
  EXPECT_THAT(load([](auto& s) {
                s.events.exception = true;
                s.events.exception_vector = 77;
              }),
              StatusIs(StatusCode::kInvalidArgument, "exception_vector"));
  // And the processor is none the worse for it.
  ASSERT_OK(box.cpus[0]->Load(good, StatePart::kWhole));
  box.RunToEnd();
  EXPECT_EQ(box.said(), Undisturbed(GetParam()));
}

INSTANTIATE_TEST_SUITE_P(, SnapshotTest, testing::ValuesIn(AllKinds()),
                         [](const auto& info) { return info.param.name; });

INSTANTIATE_TEST_SUITE_P(, StartupTest, testing::ValuesIn(MachineLapicKinds()),
                         [](const auto& info) { return info.param.name; });

// ---- From one backend to another ----

class HandOverTest : public SnapshotTest {};

TEST_P(HandOverTest, TheRegisterPartGoesToTheSoftwareCpuAndBack) {
  const std::vector<uint32_t> expected = Undisturbed(kSoft);
  EXPECT_EQ(Undisturbed(GetParam()), expected);
  auto box = std::make_unique<Box>(GetParam());
  box->Enter(snapshot_compute, HasAvx(), kRounds);
  bool soft = false;
  int moves = 0;
  while (!HasFailure()) {
    box->RunFor(3);
    if (box->buses[0]->ended) break;
    const cpu::SavedVcpu was = box->SaveVcpu();
    soft = !soft;
    box = Moved(*box, soft ? kSoft : GetParam(), StatePart::kRegisters);
    ++moves;
    const cpu::SavedVcpu is = box->SaveVcpu();
    EXPECT_THAT(is.regs.gpr, testing::ElementsAreArray(was.regs.gpr));
    EXPECT_EQ(is.regs.rip, was.regs.rip);
    EXPECT_EQ(is.regs.rflags, was.regs.rflags);
    EXPECT_EQ(is.system.cr0, was.system.cr0);
    EXPECT_EQ(is.system.cr4, was.system.cr4);
    EXPECT_EQ(is.system.segment[cpu::kGs].base, was.system.segment[cpu::kGs].base);
    EXPECT_THAT(is.dr, testing::ElementsAreArray(was.dr));
    EXPECT_EQ(is.xcr0, was.xcr0);
  }
  EXPECT_EQ(box->said(), expected);
  EXPECT_GT(moves, static_cast<int>(kRounds) / 3);
}

TEST_P(HandOverTest, WhatTheSoftwareCpuCannotBeIsNamed) {
  Box box(GetParam());
  box.Enter(snapshot_compute, HasAvx(), kRounds);
  box.RunFor(5);
  const Snapshot whole = box.Save();
  cpu::SavedVcpu state = box.SaveVcpu();
  Box soft(kSoft);
  // Its clock is another.
  EXPECT_THAT(
      soft.cpus[0]->Load(state, StatePart::kWhole),
      StatusIs(StatusCode::kInvalidArgument, GetParam().kernel_lapics ? "lapic" : "tsc_khz"));
  EXPECT_THAT(soft.Load(whole), StatusIs(StatusCode::kInvalidArgument, "clock"));
  // A machine check bank in use.
  state.msrs.push_back({0x400, ~uint64_t{0}});
  EXPECT_THAT(soft.cpus[0]->Load(state, StatePart::kRegisters),
              StatusIs(StatusCode::kInvalidArgument, "MSR 0x400 (MC)"));
  state.msrs.pop_back();
  state.events.smm = true;
  EXPECT_THAT(soft.cpus[0]->Load(state, StatePart::kRegisters),
              StatusIs(StatusCode::kInvalidArgument, "system management mode"));
}

// No MSR that KVM names as state is unheard of.
TEST_P(HandOverTest, EachMsrOfKvmsListIsInTheTable) {
  const UniqueFd kvm(open(GetParam().device.c_str(), O_RDWR | O_CLOEXEC));
  struct {
    uint32_t count = 1024;
    uint32_t index[1024];
  } list;
  ASSERT_EQ(ioctl(kvm.get(), _IOC(_IOC_READ | _IOC_WRITE, KVMIO, 0x02, 4), &list), 0);
  ASSERT_GT(list.count, 10u);
  for (uint32_t i = 0; i < list.count; ++i) {
    EXPECT_NE(cpu::FindMsr(list.index[i]), nullptr) << std::hex << list.index[i];
  }
}

GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(HandOverTest);
INSTANTIATE_TEST_SUITE_P(, HandOverTest, testing::ValuesIn(KvmKinds()),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace atl
