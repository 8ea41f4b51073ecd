// SPDX-License-Identifier: Apache-2.0
// From the option table's values to a machine description.
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "cmd/run/monitors.h"
#include "cmd/run/network.h"
#include "cmd/run/options.h"
#include "lib/base/status_macros.h"
#include "lib/base/unique_fd.h"
#include "lib/cli/suggest.h"
#include "lib/dev/types.h"
#include "lib/host/fd_sets.h"
#include "lib/host/file_cache.h"
#include "lib/mem/address.h"

namespace atl::run {
namespace {

using cli::Parsed;
using cli::UsageError;
using vm::DebugconConfig;
using vm::DebugExitConfig;

constexpr unsigned kMaxSerials = 4;
constexpr unsigned kCdromPlace = 2;  // hdc

absl::StatusOr<vm::SerialConfig> ParseSerial(absl::string_view option, absl::string_view text) {
  vm::SerialConfig out;
  if (text == "stdio" || text == "mon:stdio") {
    out.kind = vm::SerialKind::kStdio;
    out.monitor = text == "mon:stdio";
  } else if (text == "null") {
    out.kind = vm::SerialKind::kNull;
  } else if (text == "none") {
    out.kind = vm::SerialKind::kNone;
  } else if (text.substr(0, 5) == "file:" && text.size() > 5) {
    out.kind = vm::SerialKind::kFile;
    out.path = std::string(text.substr(5));
  } else {
    return UsageError(absl::StrCat("option '", option, "': no such character device '", text,
                                   "': stdio, mon:stdio, null, none and file:FILE are"));
  }
  return out;
}

absl::Status ReadPort(absl::string_view device, absl::string_view key,
                      const std::optional<std::string>& value, uint64_t max, uint16_t* out) {
  uint64_t number = 0;
  const absl::string_view text = value ? absl::string_view(*value) : "";
  const bool hex = text.substr(0, 2) == "0x";
  if (!(hex ? absl::SimpleHexAtoi(text, &number) : absl::SimpleAtoi(text, &number)) ||
      number == 0 || number > max) {
    return UsageError(absl::StrCat("option '-device': ", device, ": ", key, "='", text,
                                   "' is not a number from 1 to ", max));
  }
  *out = static_cast<uint16_t>(number);
  return absl::OkStatus();
}

// By our name, or by the one that other emulators have for it on PCI.
std::optional<vm::ExtraDevice> FindExtraDevice(absl::string_view type) {
  constexpr struct {
    absl::string_view name;
    vm::ExtraDevice device;
  } kDevices[] = {
      {"virtio-keyboard", vm::ExtraDevice::kVirtioKeyboard},
      {"virtio-mouse", vm::ExtraDevice::kVirtioMouse},
      {"virtio-tablet", vm::ExtraDevice::kVirtioTablet},
      {"virtio-rng", vm::ExtraDevice::kVirtioRng},
      {"virtio-balloon", vm::ExtraDevice::kVirtioBalloon},
      {"pvpanic", vm::ExtraDevice::kPvpanic},
  };
  absl::ConsumeSuffix(&type, "-pci");
  for (const auto& d : kDevices) {
    if (d.name == type) return d.device;
  }
  return std::nullopt;
}

absl::Status AddDevice(absl::string_view text, vm::MachineConfig& machine) {
  const std::vector<cli::KeyItem> items = cli::SplitKeyList(text);
  const std::string type = items.empty() ? "" : items[0].key;
  if (type == "pc-testdev" && items.size() == 1) {
    machine.test_device = true;
    return absl::OkStatus();
  }
  if (type == "virtio-console") {
    vm::SerialConfig config{vm::SerialKind::kNull, ""};
    for (size_t i = 1; i < items.size(); ++i) {
      if (items[i].key != "dev" || !items[i].value) {
        return UsageError(absl::StrCat("option '-device': ", type, " has no property '",
                                       items[i].key, "': it has dev=DEV, as -serial has it"));
      }
      ASSIGN_OR_RETURN(config, ParseSerial("-device", *items[i].value));
    }
    if (config.monitor || config.kind == vm::SerialKind::kNone) {
      return UsageError("option '-device': virtio-console takes dev=stdio, null and file:FILE");
    }
    machine.virtio_console = config;
    return absl::OkStatus();
  }
  if (const std::optional<vm::ExtraDevice> device = FindExtraDevice(type)) {
    if (items.size() > 1) {
      return UsageError(absl::StrCat("option '-device': ", type, " has no properties"));
    }
    if (std::find(machine.devices.begin(), machine.devices.end(), *device) !=
        machine.devices.end()) {
      return UsageError(absl::StrCat("option '-device': there can be one ", type, " only"));
    }
    machine.devices.push_back(*device);
    return absl::OkStatus();
  }
  const bool debug_exit = type == "isa-debug-exit";
  if (!debug_exit && type != "isa-debugcon") {
    std::vector<absl::string_view> names;
    for (const dev::DeviceType& t : dev::DeviceTypes()) {
      if (t.attachment == dev::Attachment::kIsa || t.attachment == dev::Attachment::kExtra) {
        names.push_back(t.name);
      }
    }
    return UsageError(absl::StrCat("option '-device': no such device type '", type, "'",
                                   cli::DidYouMean(type, names), "; there is ",
                                   absl::StrJoin(names, ", "), ", and the cards ", CardNames()));
  }
  DebugExitConfig exit;
  DebugconConfig console;
  for (size_t i = 1; i < items.size(); ++i) {
    const cli::KeyItem& item = items[i];
    if (item.key == "iobase") {
      RETURN_IF_ERROR(ReadPort(type, item.key, item.value, 0xFFFF,
                               debug_exit ? &exit.iobase : &console.iobase));
    } else if (item.key == "iosize" && debug_exit) {
      RETURN_IF_ERROR(ReadPort(type, item.key, item.value, 8, &exit.iosize));
    } else {
      return UsageError(absl::StrCat("option '-device': ", type, " has no property '", item.key,
                                     "': it has ", dev::FindDeviceType(type)->options));
    }
  }
  if (debug_exit) {
    machine.debug_exit = exit;
  } else {
    machine.debugcon = console;
  }
  return absl::OkStatus();
}

// Takes the descriptors over.
absl::Status AddFds(const Parsed& args, host::FdSets& sets) {
  for (const cli::Given* given : args.All("-add-fd")) {
    const int fd = static_cast<int>(given->keys.NumberOr("fd", 0));
    if (fcntl(fd, F_SETFD, FD_CLOEXEC) != 0) {
      return UsageError(absl::StrCat("option '-add-fd': fd=", fd, " is not open"));
    }
    for (const auto& [id, entries] : sets.sets()) {
      for (const host::FdSets::Entry& e : entries) {
        if (e.fd.get() == fd) {
          return UsageError(
              absl::StrCat("option '-add-fd': fd=", fd, " is in set ", id, " already"));
        }
      }
    }
    const auto set = static_cast<int64_t>(given->keys.NumberOr("set", 0));
    absl::Status status = sets.Add(UniqueFd(fd), set, given->keys.TextOr("opaque", "")).status();
    if (!status.ok()) return UsageError(absl::StrCat("option '-add-fd': ", status.message()));
  }
  return absl::OkStatus();
}

absl::Status AddDrives(const Parsed& args, vm::MachineConfig& machine) {
  constexpr std::array<absl::string_view, 4> kHd = {"-hda", "-hdb", "-hdc", "-hdd"};
  for (unsigned i = 0; i < kHd.size(); ++i) {
    if (std::optional<std::string> file = args.Text(kHd[i])) {
      vm::DriveConfig drive;
      drive.file = *file;
      drive.index = i;
      drive.option = std::string(kHd[i]);
      machine.drives.push_back(std::move(drive));
    }
  }
  const auto add = [&](absl::string_view option, vm::DiskInterface interface, vm::Medium media,
                       unsigned index) {
    std::optional<std::string> file = args.Text(option);
    if (!file) return;
    vm::DriveConfig drive;
    drive.file = *file;
    drive.interface = interface;
    drive.media = media;
    drive.index = index;
    drive.option = std::string(option);
    machine.drives.push_back(std::move(drive));
  };
  add("-cdrom", vm::DiskInterface::kIde, vm::Medium::kCdrom, kCdromPlace);
  add("-fda", vm::DiskInterface::kFloppy, vm::Medium::kDisk, 0);
  add("-fdb", vm::DiskInterface::kFloppy, vm::Medium::kDisk, 1);
  for (const cli::Given* given : args.All("-drive")) {
    const Parsed& keys = given->keys;
    vm::DriveConfig drive;
    drive.option = "-drive";
    drive.file = keys.TextOr("file", "");
    drive.format = keys.TextOr("format", "");
    const std::string interface = keys.TextOr("if", "ide");
    if (interface == "virtio") drive.interface = vm::DiskInterface::kVirtio;
    if (interface == "floppy") drive.interface = vm::DiskInterface::kFloppy;
    if (keys.TextOr("media", "disk") == "cdrom") drive.media = vm::Medium::kCdrom;
    drive.id = keys.TextOr("id", "");
    if (std::optional<uint64_t> index = keys.Number("index")) {
      drive.index = static_cast<unsigned>(*index);
    }
    drive.read_only = keys.OnOr("readonly", false);
    drive.snapshot = keys.OnOr("snapshot", args.OnOr("-snapshot", false));
    drive.serial = keys.TextOr("serial", "");
    machine.drives.push_back(std::move(drive));
  }
  for (vm::DriveConfig& d : machine.drives) {
    if (d.option != "-drive") d.snapshot = args.OnOr("-snapshot", false);
  }
  // A CD drive is always there where there is room: media come later.
  absl::StatusOr<vm::IdePlaces> places = vm::PlaceIdeDrives(machine);
  const bool has_cd =
      std::any_of(machine.drives.begin(), machine.drives.end(),
                  [](const vm::DriveConfig& d) { return d.media == vm::Medium::kCdrom; });
  if (places.ok() && (*places)[kCdromPlace] == nullptr && !has_cd) {
    vm::DriveConfig drive;
    drive.media = vm::Medium::kCdrom;
    drive.index = kCdromPlace;
    drive.option = "-cdrom";
    machine.drives.push_back(std::move(drive));
  }
  return absl::OkStatus();
}

void SetBoot(const Parsed& args, vm::BootConfig& boot) {
  const cli::Given* given = args.Find("-boot");
  if (given == nullptr) return;
  boot.order = given->keys.TextOr("order", boot.order);
  boot.once = given->keys.TextOr("once", "");
  boot.menu = given->keys.OnOr("menu", false);
  boot.strict = given->keys.OnOr("strict", false);
  if (std::optional<uint64_t> ms = given->keys.Number("splash-time")) {
    boot.menu_wait_ms = static_cast<uint16_t>(*ms);
  }
  if (std::optional<uint64_t> ms = given->keys.Number("reboot-timeout")) {
    boot.retry_ms = static_cast<uint16_t>(*ms);
  }
}

absl::Status AddDisplay(const Parsed& args, Invocation& out) {
  vm::MachineConfig& m = out.machine;
  if (args.TextOr("-vga", "std") == "none") m.vga = vm::VgaKind::kNone;
  out.curses = args.TextOr("-display", "none") == "curses";
  const bool nographic = args.OnOr("-nographic", false);
  if (out.curses && nographic) {
    return UsageError("option '-display': curses and '-nographic' both want the terminal");
  }
  // Firmware speaks to the serial port too unless somebody has said where the
  // screen goes.
  ASSIGN_OR_RETURN(out.viewers, ParseViewers(args));
  m.nographic = nographic || (!args.Has("-display") && out.viewers.vnc.empty());
  if (const cli::Given* given = args.Find("-screendump")) {
    ScreendumpOptions dump;
    dump.file = given->keys.TextOr("file", "");
    if (std::optional<uint64_t> after = given->keys.Number("after")) {
      dump.after = std::chrono::seconds(*after);
    }
    out.screendump = std::move(dump);
  }
  const absl::string_view shows = out.curses                    ? "-display"
                                  : out.screendump              ? "-screendump"
                                  : !out.viewers.vnc.empty()    ? "-vnc"
                                  : !out.viewers.socket.empty() ? "-console-socket"
                                                                : "";
  if (m.vga == vm::VgaKind::kNone && !shows.empty()) {
    return UsageError(absl::StrCat("option '", shows, "': with '-vga none' there is no screen"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Invocation> Configure(const Parsed& args) {
  Invocation out;
  vm::MachineConfig& m = out.machine;
  if (args.OnOr("--check", false)) out.mode = Mode::kCheck;
  if (args.OnOr("--dry-run", false)) out.mode = Mode::kDryRun;
  out.json = args.OnOr("--json", false);
  if (out.json && out.mode == Mode::kRun) {
    return UsageError("option '--json' goes with --check or --dry-run");
  }

  m.ram_bytes = args.NumberOr("-m", m.ram_bytes);
  if (m.ram_bytes % kPageSize != 0) {
    return UsageError(
        absl::StrCat("option '-m': '", args.TextOr("-m", ""), "' is no multiple of 4K"));
  }
  if (const cli::Given* smp = args.Find("-smp")) {
    m.vcpus = static_cast<unsigned>(smp->keys.NumberOr("cpus", 1));
  }
  if (const cli::Given* accel = args.Find("-accel")) {
    m.accel = accel->keys.TextOr("accel", "auto");
    m.kvm_device = accel->keys.TextOr("device", m.kvm_device);
    const std::string irqchip = accel->keys.TextOr("kernel-irqchip", "split");
    m.kernel_lapics = irqchip != "off";
    m.kernel_chips = irqchip == "on";
    m.dirty_ring_entries = static_cast<uint32_t>(accel->keys.NumberOr("dirty-ring-size", 0));
    if (m.dirty_ring_entries != 0 &&
        (m.dirty_ring_entries < 1024 || !std::has_single_bit(m.dirty_ring_entries))) {
      return UsageError(
          "option '-accel': 'dirty-ring-size' is 0 or a power of two from 1024 to 65536");
    }
    m.translate = accel->keys.OnOr("translate", m.translate);
    m.precise = accel->keys.OnOr("precise", m.precise);
    m.code_bytes = accel->keys.NumberOr("tb-size", m.code_bytes);
    if (m.accel == "help") {
      out.mode = Mode::kList;
      out.list = "accel";
    } else if (m.accel == "soft") {
      for (const char* key : {"device", "kernel-irqchip", "dirty-ring-size"}) {
        if (!accel->keys.Has(key)) continue;
        return UsageError(absl::StrCat("option '-accel': soft takes no '", key, "'"));
      }
    }
    m.verify = accel->keys.OnOr("verify", false);
    if (m.verify && m.accel != "soft") {
      return UsageError("option '-accel': only soft takes 'verify'");
    }
    if (m.verify && m.vcpus > 1) {
      return UsageError("option '-accel': 'verify' needs a guest with one CPU");
    }
  }
  m.cpu = args.TextOr("-cpu", m.cpu);
  if (m.cpu == "help") {
    out.mode = Mode::kList;
    out.list = "cpu";
  } else if (m.cpu == "base" && m.accel != "soft") {
    return UsageError("option '-cpu': base goes with -accel soft");
  }
  if (const cli::Given* rtc = args.Find("-rtc")) {
    m.rtc_local_time = rtc->keys.TextOr("base", "utc") == "localtime";
  }
  for (absl::string_view option : {"-net", "-nic", "-netdev"}) {
    for (const cli::Given* given : args.All(option)) {
      if (given->text != "help" && given->text != "nic,model=help" && given->text != "model=help") {
        continue;
      }
      out.mode = Mode::kList;
      out.list = given->text == "help" ? "net" : "model";
    }
  }
  for (const cli::Given* device : args.All("-device")) {
    if (device->text == "help") {
      out.mode = Mode::kList;
      out.list = "device";
      continue;
    }
    if (IsCard(device->text.substr(0, device->text.find(',')))) continue;
    RETURN_IF_ERROR(AddDevice(device->text, m));
  }
  if (out.mode != Mode::kList) RETURN_IF_ERROR(AddFds(args, *m.fd_sets));
  RETURN_IF_ERROR(AddDrives(args, m));
  SetBoot(args, m.boot);

  m.kernel = args.TextOr("-kernel", "");
  m.initrd = args.TextOr("-initrd", "");
  m.append = args.TextOr("-append", "");
  m.kernel_cache = host::CacheFolder();
  m.bios = args.TextOr("-bios", "");
  for (const cli::Given* rom : args.All("-option-rom")) m.option_roms.push_back(rom->text);
  if (m.option_roms.size() > vm::MachineConfig::kMaxOptionRoms) {
    return UsageError(absl::StrCat("option '-option-rom': stands ", m.option_roms.size(),
                                   " times; at most ", vm::MachineConfig::kMaxOptionRoms, " can"));
  }
  if (!m.option_roms.empty() && !m.kernel.empty()) {
    return UsageError("option '-option-rom': firmware runs it, and with '-kernel' there is none");
  }
  if (std::optional<std::string> uuid = args.Text("-uuid")) {
    absl::StatusOr<std::array<uint8_t, 16>> parsed = vm::ParseUuid(*uuid);
    if (!parsed.ok())
      return UsageError(absl::StrCat("option '-uuid': ", parsed.status().message()));
    m.uuid = *parsed;
  }

  RETURN_IF_ERROR(AddDisplay(args, out));
  for (const cli::Given* serial : args.All("-serial")) {
    ASSIGN_OR_RETURN(vm::SerialConfig config, ParseSerial("-serial", serial->text));
    m.serials.push_back(std::move(config));
  }
  if (m.serials.size() > kMaxSerials) {
    return UsageError(absl::StrCat("option '-serial': stands ", m.serials.size(),
                                   " times; a PC has ", kMaxSerials, " serial ports"));
  }
  ASSIGN_OR_RETURN(out.monitors, ParseMonitors(args));
  out.daemonize = args.OnOr("-daemonize", false);
  const bool monitor_has_stdio =
      std::any_of(out.monitors.begin(), out.monitors.end(),
                  [](const qmp::MonitorConfig& c) { return c.carrier == qmp::Carrier::kStdio; });
  if (m.serials.empty()) {
    const bool console_has_stdio =
        m.virtio_console && m.virtio_console->kind == vm::SerialKind::kStdio;
    m.serials.push_back({monitor_has_stdio || console_has_stdio || out.daemonize || out.curses
                             ? vm::SerialKind::kNull
                             : vm::SerialKind::kStdio,
                         ""});
  }
  // Who names no monitor finds one behind the serial port's terminal.
  if (!args.Has("-monitor")) {
    for (vm::SerialConfig& s : m.serials) s.monitor |= s.kind == vm::SerialKind::kStdio;
  }
  if (std::optional<std::string> debugcon = args.Text("-debugcon")) {
    if (!m.debugcon) m.debugcon.emplace();
    ASSIGN_OR_RETURN(m.debugcon->out, ParseSerial("-debugcon", *debugcon));
  }
  const auto is_stdio = [](const vm::SerialConfig& s) { return s.kind == vm::SerialKind::kStdio; };
  const size_t stdio_users =
      static_cast<size_t>(std::count_if(m.serials.begin(), m.serials.end(), is_stdio)) +
      (m.debugcon && is_stdio(m.debugcon->out) ? 1 : 0) +
      (m.virtio_console && is_stdio(*m.virtio_console) ? 1 : 0) +
      static_cast<size_t>(std::count_if(
          out.monitors.begin(), out.monitors.end(),
          [](const qmp::MonitorConfig& c) { return c.carrier == qmp::Carrier::kStdio; }));
  if (out.curses && stdio_users > 0) {
    return UsageError("option '-display': curses has the terminal; stdio is not free");
  }
  if (stdio_users > 1) {
    return UsageError(
        "stdio stands for more than one of -serial, -debugcon, -monitor, -qmp and -chardev");
  }
  if (out.daemonize && stdio_users > 0) {
    return UsageError("option '-daemonize': there is no terminal to put stdio on");
  }

  m.name = args.TextOr("-name", absl::StrCat("vm-", getpid()));
  // As management programs write it: guest=NAME,debug-threads=on.
  if (m.name.substr(0, 6) == "guest=") m.name = m.name.substr(6, m.name.find(',') - 6);
  const auto bad = [](char c) {
    return !absl::ascii_isalnum(c) && c != '-' && c != '_' && c != '.';
  };
  if (m.name.empty() || m.name.size() > 64 || m.name[0] == '.' ||
      std::any_of(m.name.begin(), m.name.end(), bad)) {
    return UsageError(absl::StrCat("option '-name': '", m.name,
                                   "' is not 1 to 64 letters, digits, '-', '_' and '.'"));
  }
  // Cards' addresses are made from the name.
  if (out.mode != Mode::kList) RETURN_IF_ERROR(AddNetworks(args, m));
  m.no_reboot = args.OnOr("-no-reboot", false);
  m.no_shutdown = args.OnOr("-no-shutdown", false);
  for (const cli::Given* action : args.All("-action")) {
    if (action->keys.Has("reboot")) {
      m.no_reboot = action->keys.TextOr("reboot", "") == "shutdown";
    }
    if (action->keys.Has("shutdown")) {
      m.no_shutdown = action->keys.TextOr("shutdown", "") == "pause";
    }
  }
  m.start_paused = args.OnOr("-S", false);
  for (const cli::Given* given : args.All("-sandbox")) {
    const std::string enable = given->keys.TextOr("enable", "");
    if (enable == "on") out.sandbox = Sandbox::kOn;
    if (enable == "off") out.sandbox = Sandbox::kOff;
    for (const cli::Given* dir : given->keys.All("dir")) out.sandbox_dirs.push_back(dir->text);
  }
  out.runas = args.TextOr("-runas", "");
  out.chroot = args.TextOr("-chroot", "");
  for (const absl::string_view option : {"-runas", "-chroot"}) {
    if (args.Has(option) && args.TextOr(option, "").empty()) {
      return UsageError(absl::StrCat(option, " needs a name"));
    }
  }
  out.pidfile = args.TextOr("-pidfile", "");
  if (std::optional<uint64_t> seconds = args.Number("--timeout")) {
    out.timeout = std::chrono::seconds(*seconds);
  }
  if (const cli::Given* events = args.Find("--events")) {
    out.events = true;
    out.events_file = events->keys.TextOr("file", "");
  }
  if (out.mode != Mode::kList) {
    absl::Status status = vm::CheckConfig(m);
    if (!status.ok()) return UsageError(status.message());
  }
  return out;
}

}  // namespace atl::run
