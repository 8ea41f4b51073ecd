// SPDX-License-Identifier: Apache-2.0
#include "lib/vm/firmware.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "lib/base/status_macros.h"
#include "lib/base/units.h"
#include "lib/boot/acpi/tables.h"
#include "lib/boot/e820.h"
#include "lib/boot/kernel.h"
#include "lib/boot/smbios.h"
#include "lib/dev/fw_cfg.h"
#include "lib/host/file.h"

namespace atl::vm {
namespace {

boot::AcpiConfig AcpiOf(const MachineConfig& config) {
  boot::AcpiConfig acpi;
  acpi.cpus = config.vcpus;
  acpi.hpet = Board::kHasHpet;
  return acpi;
}

class DirectKernel final : public Firmware {
 public:
  DirectKernel(const MachineConfig& config, GuestMemory& memory)
      : config_(config), memory_(memory) {}

  absl::Status Attach(Board&) override { return absl::OkStatus(); }

  absl::Status Load(Board& board, cpu::Vcpu& vcpu) override {
    RETURN_IF_ERROR(board.AssignResources());
    ASSIGN_OR_RETURN(Gpa rsdp, boot::InstallAcpiTables(AcpiOf(config_), memory_));
    boot::KernelFiles files;
    files.kernel = config_.kernel;
    files.initrd = config_.initrd;
    files.command_line = config_.append;
    files.cache = config_.kernel_cache;
    files.vga_text = board.SetTextMode();
    ASSIGN_OR_RETURN(boot::EntryState entry, boot::LoadKernel(files, rsdp, memory_));
    RETURN_IF_ERROR(vcpu.SetSystemRegs(entry.system));
    return vcpu.SetRegs(entry.regs);
  }

 private:
  const MachineConfig& config_;
  GuestMemory& memory_;
};

// A BIOS image: its end is at 4 GiB, where the processor starts, and its last
// 128 KiB are seen below 1 MiB too until the guest shadows them.
class Bios final : public Firmware {
 public:
  static constexpr uint64_t kMaxSize = 16 * kMiB;

  static absl::StatusOr<std::unique_ptr<Firmware>> Create(const MachineConfig& config,
                                                          GuestMemory& memory,
                                                          const std::string& path) {
    ASSIGN_OR_RETURN(std::vector<uint8_t> file, host::ReadFile(path, kMaxSize));
    if (file.empty() || file.size() % (64 * kKiB) != 0) {
      return absl::InvalidArgumentError(absl::StrCat(path, ": not a BIOS image: ", file.size(),
                                                     " bytes is no multiple of 64 KiB"));
    }
    std::unique_ptr<Bios> bios(new Bios(config, memory));
    RETURN_IF_ERROR(bios->Map(file));
    return bios;
  }

  ~Bios() override {
    if (image_ == nullptr) return;
    memory_.SetSlot(Gpa(GuestMemory::kHighRamBase - size_), size_, nullptr, SlotKind::kRom);
    munmap(image_, size_);
  }

  absl::Status Attach(Board& board) override {
    board.SetBios({image_, size_});
    dev::FwCfg& fw = board.fw_cfg();
    RETURN_IF_ERROR(AddOptionRoms(fw));
    fw.Add(dev::FwCfg::kUuid, {config_.uuid.begin(), config_.uuid.end()});
    fw.AddInteger(dev::FwCfg::kRamSize, memory_.ram_bytes(), 8);
    fw.AddInteger(dev::FwCfg::kCpuCount, config_.vcpus, 2);
    fw.AddInteger(dev::FwCfg::kMaxCpus, config_.vcpus, 2);
    fw.AddInteger(dev::FwCfg::kNoGraphic, config_.nographic ? 1 : 0, 2);
    RETURN_IF_ERROR(AddBootOrder(board));
    boot::AcpiFiles acpi = boot::MakeAcpiFiles(AcpiOf(config_));
    RETURN_IF_ERROR(fw.AddFile("etc/acpi/rsdp", std::move(acpi.rsdp)));
    RETURN_IF_ERROR(fw.AddFile("etc/acpi/tables", std::move(acpi.tables)));
    RETURN_IF_ERROR(fw.AddFile("etc/table-loader", std::move(acpi.loader)));
    RETURN_IF_ERROR(fw.AddFile("etc/e820", boot::E820File(memory_)));
    boot::SmbiosConfig smbios;
    smbios.cpus = config_.vcpus;
    smbios.uuid = config_.uuid;
    boot::SmbiosFiles files = boot::MakeSmbiosFiles(smbios);
    RETURN_IF_ERROR(fw.AddFile("etc/smbios/smbios-anchor", std::move(files.anchor)));
    return fw.AddFile("etc/smbios/smbios-tables", std::move(files.tables));
  }

  // The processor's reset state is what starts it.
  absl::Status Load(Board&, cpu::Vcpu&) override { return absl::OkStatus(); }

 private:
  // SeaBIOS runs those of that folder once PCI is set up.
  absl::Status AddOptionRoms(dev::FwCfg& fw) {
    constexpr uint64_t kMaxRom = 256 * kKiB;  // there is no more room below 1 MiB
    for (size_t i = 0; i < config_.option_roms.size(); ++i) {
      const std::string& path = config_.option_roms[i];
      ASSIGN_OR_RETURN(std::vector<uint8_t> rom, host::ReadFile(path, kMaxRom));
      if (rom.size() < 512 || rom[0] != 0x55 || rom[1] != 0xAA) {
        return absl::InvalidArgumentError(
            absl::StrCat(path, ": not an option ROM: it does not begin with bytes 55 AA"));
      }
      RETURN_IF_ERROR(fw.AddFile(absl::StrCat("genroms/", i, ".rom"), std::move(rom)));
    }
    return absl::OkStatus();
  }

  // The order itself is in the CMOS; a list of names is for what it cannot say.
  absl::Status AddBootOrder(Board& board) {
    const BootConfig& boot = config_.boot;
    dev::FwCfg& fw = board.fw_cfg();
    const auto number = [](uint32_t v, size_t size) {
      std::vector<uint8_t> out(size);
      for (size_t i = 0; i < size; ++i) out[i] = static_cast<uint8_t>(v >> (8 * i));
      return out;
    };
    fw.AddInteger(dev::FwCfg::kBootMenu, boot.menu ? 1 : 0, 2);
    if (boot.menu_wait_ms) {
      RETURN_IF_ERROR(fw.AddFile("etc/boot-menu-wait", number(*boot.menu_wait_ms, 2)));
    }
    RETURN_IF_ERROR(
        fw.AddFile("etc/boot-fail-wait", number(boot.retry_ms ? *boot.retry_ms : ~0u, 4)));
    if (!boot.strict) return absl::OkStatus();
    std::string list;
    for (char letter : boot.once.empty() ? boot.order : boot.once) {
      for (const std::string& device : board.BootDevices(letter)) {
        absl::StrAppend(&list, device, "\n");
      }
    }
    list += "HALT";
    std::vector<uint8_t> bytes(list.begin(), list.end());
    bytes.push_back(0);
    return fw.AddFile("bootorder", std::move(bytes));
  }

  Bios(const MachineConfig& config, GuestMemory& memory) : config_(config), memory_(memory) {}

  absl::Status Map(const std::vector<uint8_t>& file) {
    size_ = file.size();
    void* p = mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) return ErrnoError(errno, "memory for the BIOS image");
    image_ = static_cast<uint8_t*>(p);
    std::memcpy(image_, file.data(), size_);
    memory_.SetSlot(Gpa(GuestMemory::kHighRamBase - size_), size_, image_, SlotKind::kRom);
    return absl::OkStatus();
  }

  const MachineConfig& config_;
  GuestMemory& memory_;
  uint8_t* image_ = nullptr;
  uint64_t size_ = 0;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Firmware>> Firmware::Create(const MachineConfig& config,
                                                           GuestMemory& memory) {
  if (!config.kernel.empty()) return std::make_unique<DirectKernel>(config, memory);
  if (!config.bios.empty()) return Bios::Create(config, memory, config.bios);
  constexpr const char* kSeabios = "/usr/share/seabios/bios-256k.bin";
  if (access(kSeabios, R_OK) != 0) {
    return absl::NotFoundError(
        absl::StrCat("nothing to start: give -kernel FILE or -bios FILE, or install SeaBIOS (",
                     kSeabios, ", package seabios)"));
  }
  return Bios::Create(config, memory, kSeabios);
}

}  // namespace atl::vm
