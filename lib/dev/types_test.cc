// SPDX-License-Identifier: Apache-2.0
#include "lib/dev/types.h"

#include <algorithm>
#include <string>

#include "gtest/gtest.h"
#include "lib/dev/acpi_pm.h"
#include "lib/dev/debug_port.h"
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
#include "lib/dev/uart.h"
#include "lib/dev/vmmouse.h"
#include "lib/mem/guest_memory.h"

namespace atl::dev {
namespace {

TEST(DeviceTypes, SortedUniqueAndDescribed) {
  const auto types = DeviceTypes();
  EXPECT_TRUE(std::is_sorted(types.begin(), types.end(), [](const auto& a, const auto& b) {
    return std::string(a.name) < std::string(b.name);
  }));
  for (const DeviceType& t : types) {
    EXPECT_EQ(FindDeviceType(t.name), &t);
    EXPECT_FALSE(t.summary.empty()) << t.name;
    EXPECT_TRUE(t.attachment != Attachment::kBoard || t.options.empty()) << t.name;
  }
  EXPECT_EQ(FindDeviceType("nonesuch"), nullptr);
  EXPECT_NE(DescribeDeviceTypes().find("isa-debug-exit   isa    writing v"), std::string::npos);
}

TEST(DeviceTypes, EveryChipIsInTheTable) {
  ManualClock clock;
  FakeIrqLine line;
  FakeSystemControl system;
  FakeStream stream;
  auto memory = GuestMemory::Create(1 << 20).value();
  AcpiPm pm(line, clock, system);
  DebugExit debug_exit(system);
  DebugConsole console(stream);
  FwCfg fw(*memory);
  Hpet hpet({.irq0 = &line, .irq8 = &line}, clock);
  I8042 kbc(line, line, system);
  I8237 dma(*memory);
  IrqChips chips({}, clock);
  Pit pit(line, clock);
  ResetPort reset(system);
  Rtc rtc(line, clock);
  Uart uart(line, stream);
  PcTestdev testdev({});
  VmMouse vmmouse;
  for (Device* d :
       std::initializer_list<Device*>{&pm, &debug_exit, &console, &fw, &hpet, &kbc, &dma, &chips,
                                      &pit, &reset, &rtc, &uart, &testdev, &vmmouse})
    EXPECT_NE(FindDeviceType(d->name()), nullptr) << d->name();
}

}  // namespace
}  // namespace atl::dev
