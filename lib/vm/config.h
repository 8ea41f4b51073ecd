// SPDX-License-Identifier: Apache-2.0
// A machine as its user described it: what lib/vm builds, what cmd/run parses
// its options into. Values are checked where they are parsed; CheckConfig()
// checks what concerns more than one of them.
#ifndef LIB_VM_CONFIG_H_
#define LIB_VM_CONFIG_H_

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "lib/host/fd_sets.h"
#include "lib/net/mac.h"
#include "lib/usernet/options.h"

namespace atl::vm {

enum class DiskInterface : uint8_t { kIde, kVirtio, kFloppy };
enum class Medium : uint8_t { kDisk, kCdrom };

struct DriveConfig {
  std::string id;      // empty: made from the place, "ide0-hd0"
  std::string file;    // empty, of a CD or floppy drive: nothing inserted
  std::string format;  // empty: probed; of a CD: raw
  DiskInterface interface = DiskInterface::kIde;
  Medium media = Medium::kDisk;
  // IDE: 0 to 3, hda to hdd; floppy: 0 and 1. Not set: the next free place of
  // the interface.
  std::optional<unsigned> index;
  bool read_only = false;
  bool snapshot = false;  // writes are forgotten at the end
  std::string serial;     // at most 20 bytes; empty: made from the index
  std::string option;     // as the user wrote it, for messages: "-hda"
};

enum class VgaKind : uint8_t { kNone, kStd };

enum class SerialKind : uint8_t { kNone, kNull, kStdio, kFile };

struct SerialConfig {
  SerialKind kind = SerialKind::kNone;
  std::string path;      // of kFile
  bool monitor = false;  // a monitor shares the terminal, of kStdio
};

// Devices that are there once, by -device.
enum class ExtraDevice : uint8_t {
  kVirtioKeyboard,
  kVirtioMouse,
  kVirtioTablet,
  kVirtioRng,
  kVirtioBalloon,
  kPvpanic,
};

struct DebugExitConfig {
  uint16_t iobase = 0x501;
  uint16_t iosize = 2;
};

struct DebugconConfig {
  uint16_t iobase = 0x402;
  SerialConfig out{SerialKind::kNull, ""};
};

// Where the firmware looks for a system.
struct BootConfig {
  std::string order = "cad";  // at most three of a (floppy), c (disk), d (CD), n (network)
  std::string once;           // instead of it until the first reset; empty: nothing
  bool menu = false;
  bool strict = false;  // nothing that `order` does not name
  // Of the menu's question; of the wait before another try. Not set: the
  // firmware's, and for ever.
  std::optional<uint16_t> menu_wait_ms;
  std::optional<uint16_t> retry_ms;
};

struct NicConfig {
  std::string model;  // of nic::NicModels()
  std::string hub;    // which NICs and backends hear each other: "vlan 0", "nic 1", "netdev lan"
  net::MacAddress mac{};
  std::optional<std::string> rom;  // empty: none; not set: the model's, if -boot names n
  std::string option;              // as the user wrote it, for messages: "-net nic"
};

// What a hub leads to outside.
enum class BackendKind : uint8_t { kTap, kStream, kUser };
struct BackendConfig {
  BackendKind kind = BackendKind::kTap;
  std::string hub;
  int fd = -1;              // inherited, instead of a name
  std::string path;         // of a stream
  std::string ifname;       // of a tap; empty: the kernel's choice
  std::string script;       // of a tap; empty: none
  std::string down_script;  // the same
  bool vnet_header = true;  // of a tap
  bool vhost = false;       // of a tap: the kernel may serve the card
  usernet::Options user;    // of the network that needs no rights
  std::string option;       // "-net tap"
};

struct MachineConfig {
  static constexpr unsigned kMaxOptionRoms = 16;
  static constexpr unsigned kMaxNics = 8;
  static constexpr unsigned kMaxVcpus = 64;
  static constexpr unsigned kMaxDrives = 20;

  std::array<uint8_t, 16> uuid{};  // as RFC 4122 writes it; zero: none
  std::string name;                // in messages and of the runtime folder
  uint64_t ram_bytes = 128 << 20;
  unsigned vcpus = 1;          // 1 to kMaxVcpus
  std::string accel = "auto";  // auto, or a backend's name
  std::string kvm_device = "/dev/kvm";
  bool kernel_lapics = true;        // kvm: where it has them
  bool kernel_chips = false;        // kvm: the other interrupt controllers and the 8254 too
  uint32_t dirty_ring_entries = 0;  // kvm: of each vCPU's; 0: bitmaps instead
  std::string cpu = "max";          // max or base, as cpu::BackendOptions has it
  // The software CPU's, see cpu::BackendOptions.
  bool translate = true, precise = false, verify = false;
  uint64_t code_bytes = uint64_t{64} << 20;

  VgaKind vga = VgaKind::kStd;
  // Nobody looks at the screen: firmware is to use the first serial port too.
  bool nographic = true;

  std::string kernel, initrd, append;    // empty: not given
  std::string kernel_cache;              // folder of host::CacheFolder(); empty: none
  std::string bios;                      // firmware image, where no kernel is given
  std::vector<std::string> option_roms;  // images that firmware runs
  BootConfig boot;
  std::vector<DriveConfig> drives;
  // What an image's name /dev/fdset/N stands for; never null. Monitors add to it.
  std::shared_ptr<host::FdSets> fd_sets = std::make_shared<host::FdSets>();
  std::vector<NicConfig> nics;
  std::vector<BackendConfig> backends;
  std::vector<SerialConfig> serials;  // at most 4: COM1 first
  std::optional<DebugExitConfig> debug_exit;
  std::optional<DebugconConfig> debugcon;
  bool test_device = false;  // pc-testdev
  std::vector<ExtraDevice> devices;
  std::optional<SerialConfig> virtio_console;
  bool no_reboot = false;    // a reset of the guest ends the machine
  bool no_shutdown = false;  // where the machine would end, it stands still instead
  bool start_paused = false;
  bool rtc_local_time = false;
};

// Who hangs where on the two IDE channels: hda, hdb, hdc, hdd; null for nobody.
// Pointers into `config`.
using IdePlaces = std::array<const DriveConfig*, 4>;
absl::StatusOr<IdePlaces> PlaceIdeDrives(const MachineConfig& config);

// The same for the floppy drives A and B.
using FloppyPlaces = std::array<const DriveConfig*, 2>;
absl::StatusOr<FloppyPlaces> PlaceFloppyDrives(const MachineConfig& config);
// "ide1-cd0", "floppy0", "virtio2": how messages and the control socket call a
// drive at that place of its interface.
std::string DriveName(const DriveConfig& drive, size_t place);

// "4dbf3a1c-…" of 32 digits; the same back.
std::string UuidText(const std::array<uint8_t, 16>& uuid);
absl::StatusOr<std::array<uint8_t, 16>> ParseUuid(absl::string_view text);

// A machine that can be built, or what is wrong and what is valid.
absl::Status CheckConfig(const MachineConfig& config);

}  // namespace atl::vm

#endif  // LIB_VM_CONFIG_H_
