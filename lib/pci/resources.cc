// SPDX-License-Identifier: Apache-2.0
#include "lib/pci/resources.h"

#include <algorithm>

#include "absl/strings/str_format.h"
#include "lib/base/checked.h"
#include "lib/base/status_macros.h"
#include "lib/pci/piix.h"

namespace atl::pci {
namespace {

constexpr uint32_t kIsaBridge = 0x70008086;
constexpr uint32_t kIdeFunction = 0x70108086;
constexpr uint32_t kPmFunction = 0x71138086;
constexpr unsigned kIdeTiming = 0x40;  // two words, channel 0 and 1
constexpr uint16_t kIdeDecode = 0x8000;

struct Bar {
  PciDevice* function;
  unsigned offset;
  bool io;
  bool wide;
  uint64_t size;
};

// Asks as firmware does: all ones in, the size out.
std::vector<Bar> SizeBars(PciBus& bus) {
  std::vector<Bar> out;
  for (PciDevice* f : bus.Functions()) {
    for (unsigned i = 0; i < PciDevice::kBars; ++i) {
      const unsigned at = kBar0 + 4 * i;
      const uint32_t old = bus.ReadConfig(f->where(), at, 4);
      bus.WriteConfig(f->where(), at, 4, 0xFFFFFFFF);
      const uint32_t answer = bus.ReadConfig(f->where(), at, 4);
      bus.WriteConfig(f->where(), at, 4, old);
      if (answer == 0) continue;
      const bool io = (answer & 1) != 0;
      const bool wide = !io && (answer & 6) == 4;
      const uint32_t mask = answer & (io ? ~3u : ~15u);
      // BARs above 4 GiB in size have no bits in the lower half: none of ours.
      if (mask != 0) out.push_back({f, at, io, wide, uint64_t{0} - (mask | ~uint64_t{0xFFFFFFFF})});
      if (wide) ++i;
    }
  }
  // The largest first: no hole is larger than the alignment.
  std::stable_sort(out.begin(), out.end(),
                   [](const Bar& a, const Bar& b) { return a.size > b.size; });
  return out;
}

absl::Status Place(PciBus& bus, const Bar& bar, uint64_t& next, uint64_t end) {
  const uint64_t base = RoundUp(next, bar.size);
  const DevFn where = bar.function->where();
  if (base >= end || end - base < bar.size) {
    return absl::ResourceExhaustedError(
        absl::StrFormat("PCI %02x.%d (%s): no room for BAR %d of %d bytes in the %s window",
                        where.slot(), where.function(), bar.function->name(),
                        (bar.offset - kBar0) / 4, bar.size, bar.io ? "I/O" : "memory"));
  }
  bus.WriteConfig(where, bar.offset, 4, static_cast<uint32_t>(base));
  if (bar.wide) bus.WriteConfig(where, bar.offset + 4, 4, static_cast<uint32_t>(base >> 32));
  next = base + bar.size;
  return absl::OkStatus();
}

void SetUpChipset(PciBus& bus, DevFn where, const ResourceWindows& windows) {
  switch (bus.ReadConfig(where, kVendorId, 4)) {
    case kIsaBridge:
      for (unsigned i = 0; i < kPirqs; ++i) {
        bus.WriteConfig(where, kPirqRoute + i, 1, windows.pirq[i]);
      }
      break;
    case kIdeFunction:
      bus.WriteConfig(where, kIdeTiming, 2, kIdeDecode);
      bus.WriteConfig(where, kIdeTiming + 2, 2, kIdeDecode);
      break;
    case kPmFunction:
      bus.WriteConfig(where, kPmBase, 4, windows.pm_base | 1u);
      bus.WriteConfig(where, kPmRegMisc, 1, 1);
      bus.WriteConfig(where, kSmbusBase, 4, windows.smbus_base | 1u);
      bus.WriteConfig(where, kSmbusHostConfig, 1, 9);
      break;
    default:
      break;
  }
}

}  // namespace

absl::Status AssignResources(PciBus& bus, const ResourceWindows& windows) {
  uint64_t memory = windows.memory_base;
  uint64_t io = windows.io_base;
  for (const Bar& bar : SizeBars(bus)) {
    RETURN_IF_ERROR(bar.io ? Place(bus, bar, io, windows.io_end)
                           : Place(bus, bar, memory, windows.memory_end));
  }
  for (PciDevice* f : bus.Functions()) {
    const DevFn where = f->where();
    SetUpChipset(bus, where, windows);
    const unsigned pin = bus.ReadConfig(where, kInterruptPin, 1);
    const bool is_pm = bus.ReadConfig(where, kVendorId, 4) == kPmFunction;
    // The PM function's interrupt is ACPI's SCI, not its pin.
    if (pin >= 1 && pin <= 4 && !is_pm) {
      bus.WriteConfig(where, kInterruptLine, 1, windows.pirq[PirqOf(where.slot(), pin)]);
    }
    const uint32_t command = bus.ReadConfig(where, kCommand, 2);
    bus.WriteConfig(where, kCommand, 2, command | kCommandIo | kCommandMemory);
  }
  return absl::OkStatus();
}

std::vector<IntxRoute> IntxRoutes() {
  std::vector<IntxRoute> out;
  for (unsigned slot = 1; slot < 32; ++slot) {
    for (unsigned pin = 1; pin <= 4; ++pin) out.push_back({slot, pin, PirqOf(slot, pin)});
  }
  return out;
}

}  // namespace atl::pci
