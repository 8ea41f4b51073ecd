// SPDX-License-Identifier: Apache-2.0
// A hostile guest at a VGA's ports, windows and registers, with somebody who
// looks at the screen.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>

#include "lib/dev/device_lock.h"
#include "lib/dev/testing/fakes.h"
#include "lib/dev/testing/fuzz_device.h"
#include "lib/pci/device.h"
#include "lib/pci/testing/fakes.h"
#include "lib/vga/screen.h"
#include "lib/vga/std_vga.h"
#include "lib/vga/vga.h"

namespace atl::vga {
namespace {

struct Card {
  explicit Card(dev::DeviceLock& lock) : vga(*vram, lock.clock()), screen(vga, lock) {}
  std::unique_ptr<Vram> vram = Vram::Create(Vram::kMinBytes).value();
  Vga vga;
  VgaScreen screen;
  pci::FakeWiring wiring;
  std::unique_ptr<pci::PciDevice> pci =
      NewStdVga(wiring.At(2), &vga, std::vector<uint8_t>(2048, 0x55));
};

}  // namespace
}  // namespace atl::vga

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using atl::dev::Space;
  namespace vga = atl::vga;
  atl::dev::ManualClock clock;
  atl::dev::DeviceLock lock(&clock);
  vga::Card card(lock), twin(lock);
  const atl::dev::FuzzRegion regions[] = {
      {vga::kVgaPorts, 16, Space::kPort, {.max_access = 1}},
      {vga::kColorPorts, 7, Space::kPort, {.max_access = 1}},
      {vga::kMonoPorts, 7, Space::kPort, {.max_access = 1}},
      {vga::kDispiRegion, 3, Space::kPort, {.max_access = 2, .unaligned = true}},
      {vga::kRegisterBar, 0x1000, Space::kMmio, {.max_access = 8, .unaligned = true}},
      {vga::kWindowRegion,
       vga::Vga::kWindowSize,
       Space::kMmio,
       {.max_access = 8, .unaligned = true}},
  };
  atl::ui::Surface seen;
  unsigned pictures = 0;
  atl::dev::FuzzDevice({data, size}, lock, clock, *card.pci, *twin.pci, regions, [&](uint8_t b) {
    // The end of the window, which the offsets above do not reach.
    card.vga.WriteWindow(0x1FF00u + b, 8, uint64_t{b} * 0x0101010101010101);
    card.vga.ReadWindow(0x18000u + 64 * b, 8);
    constexpr unsigned kMaxPictures = 3;
    if (++pictures > kMaxPictures) return;
    card.screen.Refresh(seen);
    if (seen.pixels.size() != size_t{seen.width} * seen.height || seen.pixels.empty()) std::abort();
    if (const auto text = card.screen.Text()) {
      if (text->cells.size() != size_t{text->columns} * text->rows) std::abort();
      if (text->cursor && *text->cursor >= text->cells.size()) std::abort();
    }
  });
  return 0;
}
