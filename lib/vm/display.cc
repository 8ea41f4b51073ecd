// SPDX-License-Identifier: Apache-2.0
#include "lib/vm/display.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "lib/base/status_macros.h"
#include "lib/host/file.h"
#include "lib/vga/std_vga.h"
#include "lib/vga/text_mode.h"

namespace atl::vm {
namespace {

constexpr char kRomName[] = "vgabios-stdvga.bin";
constexpr char kRomFolder[] = "/usr/share/seabios/";
constexpr uint64_t kMaxRom = 256 << 10;

absl::StatusOr<std::vector<uint8_t>> ReadVgaBios(const MachineConfig& config) {
  std::vector<std::string> places;
  if (!config.bios.empty()) {
    const size_t slash = config.bios.rfind('/');
    const std::string folder = slash == std::string::npos ? "" : config.bios.substr(0, slash + 1);
    places.push_back(absl::StrCat(folder, kRomName));
  }
  places.push_back(absl::StrCat(kRomFolder, kRomName));
  for (const std::string& place : places) {
    absl::StatusOr<std::vector<uint8_t>> rom = host::ReadFile(place, kMaxRom);
    if (rom.ok() || rom.status().code() != absl::StatusCode::kNotFound) return rom;
  }
  return std::vector<uint8_t>();
}

}  // namespace

absl::StatusOr<std::unique_ptr<Display>> Display::Create(const MachineConfig& config,
                                                         GuestMemory& memory, pci::BarMapper& bars,
                                                         dev::DeviceLock& lock,
                                                         Framebuffer::AtStandstill at_standstill) {
  ASSIGN_OR_RETURN(std::unique_ptr<vga::Vram> vram, vga::Vram::Create(kVramBytes));
  ASSIGN_OR_RETURN(std::vector<uint8_t> rom, ReadVgaBios(config));
  return std::unique_ptr<Display>(
      new Display(std::move(vram), std::move(rom), memory, bars, lock, std::move(at_standstill)));
}

Display::Display(std::unique_ptr<vga::Vram> vram, std::vector<uint8_t> rom, GuestMemory& memory,
                 pci::BarMapper& bars, dev::DeviceLock& lock,
                 Framebuffer::AtStandstill at_standstill)
    : vram_(std::move(vram)),
      rom_(std::move(rom)),
      lock_(lock),
      vga_(*vram_, lock.clock()),
      tracker_(memory, vram_->bytes()),
      screen_(vga_, lock, &tracker_),
      framebuffer_(bars, memory, std::move(at_standstill)) {
  framebuffer_.SetMemory(vga::kFramebufferBar, vram_->bytes());
}

std::unique_ptr<pci::PciDevice> Display::NewFunction(pci::PciWiring wiring) {
  wiring.mapper = &framebuffer_;
  return vga::NewStdVga(wiring, &vga_, rom_);
}

bool Display::SetTextMode() {
  return lock_.Run([this] { return vga::SetTextMode(vga_, rom_); });
}

}  // namespace atl::vm
