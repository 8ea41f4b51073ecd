// SPDX-License-Identifier: Apache-2.0
// A hostile guest at the registers of each chip: the first byte picks the chip.
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "lib/dev/acpi_pm.h"
#include "lib/dev/debug_port.h"
#include "lib/dev/device_lock.h"
#include "lib/dev/fw_cfg.h"
#include "lib/dev/hpet.h"
#include "lib/dev/i8042.h"
#include "lib/dev/i8237.h"
#include "lib/dev/irq_chips.h"
#include "lib/dev/pc_testdev.h"
#include "lib/dev/pit.h"
#include "lib/dev/reset_port.h"
#include "lib/dev/rtc.h"
#include "lib/dev/testing/fake_stream.h"
#include "lib/dev/testing/fakes.h"
#include "lib/dev/testing/fuzz_device.h"
#include "lib/dev/uart.h"
#include "lib/dev/vmmouse.h"
#include "lib/mem/guest_memory.h"

namespace atl::dev {
namespace {

// A chip, its twin and what they are wired to.
struct Rig {
  ManualClock clock;
  DeviceLock lock{&clock};
  FakeIrqLine lines[4];
  FakeSystemControl system;
  FakeStream streams[2];
  std::unique_ptr<GuestMemory> memory = GuestMemory::Create(1 << 20).value();
};

constexpr MapOptions kBytes{.max_access = 1};

template <typename Make>
void Run(std::span<const uint8_t> bytes, Rig& rig, Make&& make, std::vector<FuzzRegion> regions) {
  auto device = make(0);
  auto twin = make(1);
  FuzzDevice(bytes, rig.lock, rig.clock, *device, *twin, regions);
}

void FuzzIrqChips(std::span<const uint8_t> bytes) {
  ManualClock clock;
  IrqChips chips({.vcpus = 2}, clock);
  IrqChips twin({.vcpus = 2}, clock);
  const FuzzRegion regions[] = {
      {IrqChips::kPicMaster, 2, Space::kPort, kBytes},
      {IrqChips::kPicSlave, 2, Space::kPort, kBytes},
      {IrqChips::kElcr, 2, Space::kPort, kBytes},
      {IrqChips::kIoapic, 0x1000, Space::kMmio, {.min_access = 4}},
  };
  uint8_t last = 0;
  FuzzDevice(bytes, chips.lock(), clock, chips, twin, regions, [&](uint8_t b) {
    // Two bytes make a LAPIC register's access, an MSR's, a line or a message.
    const uint8_t value = last;
    last = b;
    const unsigned vcpu = b & 1;
    uint64_t got;
    switch (b >> 6) {
      case 0:
        chips.WriteLapic(vcpu, IrqChips::kLapicBase + (b & 0x3E) * 0x10 + (value & 1) * 0x200, 4,
                         value * 0x01010101u);
        chips.ReadLapic(vcpu, IrqChips::kLapicBase + (b & 0x3E) * 0x10, 4, &got);
        break;
      case 1:
        chips.WriteApicMsr(vcpu, (value & 1) ? 0x800 + (b & 0x3E) : 0x6E0, value * 0x0101u);
        chips.ReadApicMsr(vcpu, 0x800 + (b & 0x3F), &got);
        if ((b & 0x3F) == 0x3F)
          chips.WriteApicMsr(vcpu, 0x1B, IrqChips::kLapicBase | (value & 0xC) << 8);
        break;
      case 2:
        if ((b & 0x3F) < 16) chips.isa_irq(b & 15).Set(value & 1);
        chips.SendMsi(0xFEE00000 | (value & 0xFF) << 12 | (b & 0xC), 0x10 * (b & 0x3F));
        chips.WriteCr8(vcpu, value & 15);
        break;
      case 3:
        chips.AcknowledgeInterrupt(vcpu);
        break;
    }
  });
}

void FuzzI8042(std::span<const uint8_t> bytes) {
  Rig rig;
  I8042 kbc(rig.lines[0], rig.lines[1], rig.system);
  I8042 twin(rig.lines[2], rig.lines[3], rig.system);
  const FuzzRegion regions[] = {{I8042::kData, 1}, {I8042::kCommand, 1}, {I8042::kPortA, 1}};
  FuzzDevice(bytes, rig.lock, rig.clock, kbc, twin, regions, [&](uint8_t b) {
    if (b & 1) {
      kbc.Key(b >> 1 | (b << 6 & 0x80), b & 2);
    } else {
      kbc.MoveMouse(static_cast<int8_t>(b), b * 1000, b & 3, b >> 3);
    }
  });
}

void FuzzUart(std::span<const uint8_t> bytes) {
  Rig rig;
  Uart uart(rig.lines[0], rig.streams[0]);
  Uart twin(rig.lines[1], rig.streams[1]);
  const FuzzRegion regions[] = {{0, 8, Space::kPort, kBytes}};
  FuzzDevice(bytes, rig.lock, rig.clock, uart, twin, regions, [&](uint8_t b) {
    if (b == 0) return uart.InputBreak();
    rig.streams[0].input.append(b % 20, static_cast<char>(b));
    uart.InputReady();
  });
}

void FuzzFwCfg(std::span<const uint8_t> bytes) {
  Rig rig;
  // DMA requests lie where the fuzzer's bytes point.
  rig.memory->Write(Gpa(0), bytes);
  const auto make = [&](int) {
    auto fw = std::make_unique<FwCfg>(*rig.memory);
    (void)fw->AddFile("etc/e820", std::vector<uint8_t>(100, 0x5A));
    return fw;
  };
  Run(bytes, rig, make, {{FwCfg::kPorts, 2, Space::kPort, {.max_access = 2}}, {FwCfg::kDma, 8}});
}

void FuzzHpet(std::span<const uint8_t> bytes) {
  Rig rig;
  struct NoMessages final : MsiSink {
    void SendMsi(uint64_t, uint32_t) override {}
  } msi;
  Hpet::Wiring wiring{.irq0 = &rig.lines[0], .irq8 = &rig.lines[1], .pins = {}, .msi = &msi};
  wiring.pins.fill(&rig.lines[2]);
  Clock& clock = rig.lock.clock();
  Hpet hpet(wiring, clock);
  Hpet twin(wiring, clock);
  const FuzzRegion regions[] = {{0, Hpet::kSize, Space::kMmio, {.min_access = 4, .max_access = 8}}};
  FuzzDevice(bytes, rig.lock, rig.clock, hpet, twin, regions,
             [&](uint8_t b) { (b & 2 ? hpet.irq8_input() : hpet.irq0_input()).Set(b & 1); });
}

// Both controllers, with a device at channels 2 and 5 that moves what it may.
void FuzzI8237(std::span<const uint8_t> bytes) {
  Rig rig;
  I8237 dma(*rig.memory);
  I8237 twin(*rig.memory);
  const FuzzRegion regions[] = {{I8237::kBytes, 16, Space::kPort, kBytes},
                                {I8237::kWords, 32, Space::kPort, kBytes},
                                {I8237::kPages, 16, Space::kPort, kBytes}};
  FuzzDevice(bytes, rig.lock, rig.clock, dma, twin, regions, [&](uint8_t b) {
    const unsigned channel = b & 1 ? 5 : 2;
    dma.SetRequest(channel, b & 2);
    uint8_t block[600] = {b};
    const std::span<uint8_t> part(block, 1 + (b >> 3) * 19);
    b & 4 ? dma.ToMemory(channel, part) : dma.FromMemory(channel, part);
    dma.SetRequest(channel, false);
    // Which request there is belongs to the device, not to the saved state.
    twin.SetRequest(channel, false);
  });
}

void FuzzPcTestdev(std::span<const uint8_t> bytes) {
  Rig rig;
  PcTestdev::Lines lines;
  lines.fill(&rig.lines[0]);
  Run(bytes, rig, [&](int) { return std::make_unique<PcTestdev>(lines); },
      {{PcTestdev::kData, 4},
       {PcTestdev::kBytes, 4, Space::kPort, kBytes},
       {PcTestdev::kLines, 24},
       {PcTestdev::kMemory, PcTestdev::kMemorySize, Space::kMmio}});
}

void FuzzVmMouse(std::span<const uint8_t> bytes) {
  Rig rig;
  VmMouse mouse, twin;
  const FuzzRegion regions[] = {{0, 4}};
  uint32_t argument = 0;
  FuzzDevice(bytes, rig.lock, rig.clock, mouse, twin, regions, [&](uint8_t b) {
    static constexpr uint32_t kArguments[] = {0x45414552, 0xF5, 0x4C455252, 0x53424152};
    static constexpr uint16_t kCalls[] = {10, 39, 40, 41, 86, 0};
    argument = argument << 8 | b;
    if ((b & 1) != 0) {
      VmMouse::Registers r{VmMouse::kMagic, (b & 2) != 0 ? kArguments[b >> 6] : argument & 7u,
                           kCalls[(b >> 2 & 15) % 6], 0};
      mouse.Call(r);
    } else {
      (b & 2) != 0 ? mouse.MoveTo(argument, b * 1000u, b, b >> 3)
                   : mouse.Move(static_cast<int>(argument), -b, -b, b >> 3);
    }
  });
}

void FuzzPlain(uint8_t which, std::span<const uint8_t> bytes) {
  Rig rig;
  Clock& clock = rig.lock.clock();
  switch (which) {
    case 0:
      return Run(bytes, rig, [&](int i) { return std::make_unique<Pit>(rig.lines[i], clock); },
                 {{Pit::kCounters, 4, Space::kPort, kBytes}, {Pit::kPortB, 1}});
    case 1:
      return Run(bytes, rig, [&](int i) { return std::make_unique<Rtc>(rig.lines[i], clock); },
                 {{0, 2, Space::kPort, kBytes}});
    case 2:
      return Run(bytes, rig,
                 [&](int i) { return std::make_unique<AcpiPm>(rig.lines[i], clock, rig.system); },
                 {{AcpiPm::kPm, 64}, {AcpiPm::kGpe0, 4}, {AcpiPm::kApm, 2, Space::kPort, kBytes}});
    case 3:
      return Run(bytes, rig, [&](int) { return std::make_unique<ResetPort>(rig.system); },
                 {{0, 1}});
    default:
      Run(bytes, rig, [&](int) { return std::make_unique<DebugExit>(rig.system); }, {{0, 2}});
      return Run(bytes, rig, [&](int) { return std::make_unique<DebugConsole>(rig.streams[0]); },
                 {{0, 1}});
  }
}

}  // namespace
}  // namespace atl::dev

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::span<const uint8_t> bytes(data + 1, size - 1);
  switch (data[0] % 14) {
    case 0:
      atl::dev::FuzzIrqChips(bytes);
      break;
    case 1:
      atl::dev::FuzzI8042(bytes);
      break;
    case 2:
      atl::dev::FuzzUart(bytes);
      break;
    case 3:
      atl::dev::FuzzFwCfg(bytes);
      break;
    case 10:
      atl::dev::FuzzHpet(bytes);
      break;
    case 11:
      atl::dev::FuzzI8237(bytes);
      break;
    case 12:
      atl::dev::FuzzPcTestdev(bytes);
      break;
    case 13:
      atl::dev::FuzzVmMouse(bytes);
      break;
    default:
      atl::dev::FuzzPlain(data[0] % 14 - 4, bytes);
  }
  return 0;
}
