// SPDX-License-Identifier: Apache-2.0
#include "cmd/run/options.h"

#include "lib/base/units.h"
#include "lib/vm/config.h"

namespace atl::run {
namespace {

using cli::Kind;
using cli::Option;
using cli::Repeat;

constexpr Option kMachineKeys[] = {
    {.name = "type", .arg = "TYPE", .kind = Kind::kEnum, .help = "machine", .choices = "pc"},
};

constexpr Option kSmpKeys[] = {
    {.name = "cpus",
     .arg = "N",
     .kind = Kind::kUnsigned,
     .help = "virtual CPUs",
     .min = 1,
     .max = vm::MachineConfig::kMaxVcpus,
     .required = true},
};

constexpr Option kAccelKeys[] = {
    {.name = "accel",
     .arg = "NAME",
     .kind = Kind::kEnum,
     .help = "what runs the guest's instructions",
     .choices = "auto kvm soft help"},
    {.name = "device",
     .arg = "FILE",
     .kind = Kind::kString,
     .help = "the node that speaks KVM's interface",
     .default_text = "/dev/kvm"},
};

constexpr Option kDriveKeys[] = {
    {.name = "file", .arg = "FILE", .kind = Kind::kString, .help = "the image", .required = true},
    {.name = "format",
     .arg = "FMT",
     .kind = Kind::kEnum,
     .help = "its format",
     .default_text = "probed",
     .choices = "raw qcow qcow2"},
    {.name = "if",
     .arg = "TYPE",
     .kind = Kind::kEnum,
     .help = "what the disk hangs on",
     .default_text = "ide",
     .choices = "ide virtio"},
    {.name = "index",
     .arg = "N",
     .kind = Kind::kUnsigned,
     .help = "place on an IDE interface, 0 to 3",
     .default_text = "the next free one",
     .max = 3},
    {.name = "readonly",
     .arg = "on|off",
     .kind = Kind::kBool,
     .help = "refuse the guest's writes",
     .default_text = "off"},
    {.name = "serial",
     .arg = "TEXT",
     .kind = Kind::kString,
     .help = "serial number the guest reads, at most 20 bytes"},
};

constexpr Option kRtcKeys[] = {
    {.name = "base",
     .arg = "BASE",
     .kind = Kind::kEnum,
     .help = "what the guest's clock shows at its start",
     .default_text = "utc",
     .choices = "utc localtime"},
};

constexpr Option kEventKeys[] = {
    {.name = "format", .arg = "FMT", .kind = Kind::kEnum, .help = "form", .choices = "json"},
    {.name = "file",
     .arg = "FILE",
     .kind = Kind::kString,
     .help = "where to",
     .default_text = "standard error"},
};

constexpr absl::string_view kMachineGroup = "Machine";
constexpr absl::string_view kDiskGroup = "Disks";
constexpr absl::string_view kBootGroup = "Starting a kernel directly";
constexpr absl::string_view kConsoleGroup = "Consoles";
constexpr absl::string_view kRunGroup = "Running";

constexpr Option kOptions[] = {
    {.name = "-M",
     .alias = "-machine",
     .arg = "TYPE",
     .kind = Kind::kKeyList,
     .help = "kind of machine: pc, an i440FX/PIIX board",
     .default_text = "pc",
     .group = kMachineGroup,
     .keys = kMachineKeys,
     .implied_key = "type"},
    {.name = "-m",
     .arg = "SIZE",
     .kind = Kind::kSize,
     .help = "memory, in MiB or with a suffix: 512, 512M, 4G",
     .default_text = "128M",
     .group = kMachineGroup,
     .min = kMiB,
     .max = kTiB,
     .unit = kMiB},
    {.name = "-smp",
     .arg = "N",
     .kind = Kind::kKeyList,
     .help = "virtual CPUs",
     .default_text = "1",
     .group = kMachineGroup,
     .keys = kSmpKeys,
     .implied_key = "cpus"},
    {.name = "-accel",
     .arg = "NAME[,device=FILE]",
     .kind = Kind::kKeyList,
     .help = "auto, kvm or soft (our software CPU); help lists them",
     .default_text = "auto",
     .group = kMachineGroup,
     .keys = kAccelKeys,
     .implied_key = "accel"},
    {.name = "-device",
     .arg = "TYPE[,KEY=VALUE]",
     .kind = Kind::kString,
     .help = "add a device; help lists the types",
     .group = kMachineGroup,
     .repeat = Repeat::kEach},
    {.name = "-rtc",
     .arg = "base=BASE",
     .kind = Kind::kKeyList,
     .help = "clock of the guest: utc or localtime",
     .default_text = "base=utc",
     .group = kMachineGroup,
     .keys = kRtcKeys},
    {.name = "-bios",
     .arg = "FILE",
     .kind = Kind::kString,
     .help = "firmware image, where no kernel is given",
     .default_text = "SeaBIOS",
     .group = kMachineGroup},

    {.name = "-hda",
     .arg = "FILE",
     .kind = Kind::kString,
     .help = "first IDE disk",
     .group = kDiskGroup},
    {.name = "-hdb",
     .arg = "FILE",
     .kind = Kind::kString,
     .help = "second IDE disk",
     .group = kDiskGroup},
    {.name = "-hdc",
     .arg = "FILE",
     .kind = Kind::kString,
     .help = "third IDE disk",
     .group = kDiskGroup},
    {.name = "-hdd",
     .arg = "FILE",
     .kind = Kind::kString,
     .help = "fourth IDE disk",
     .group = kDiskGroup},
    {.name = "-drive",
     .arg = "file=FILE[,KEY=VALUE]",
     .kind = Kind::kKeyList,
     .help = "add a disk: format, if, index, readonly, serial",
     .group = kDiskGroup,
     .repeat = Repeat::kEach,
     .keys = kDriveKeys,
     .implied_key = "file"},

    {.name = "-kernel",
     .arg = "FILE",
     .kind = Kind::kString,
     .help = "a bzImage or an ELF kernel",
     .group = kBootGroup},
    {.name = "-initrd",
     .arg = "FILE",
     .kind = Kind::kString,
     .help = "its initial RAM disk",
     .group = kBootGroup},
    {.name = "-append",
     .arg = "TEXT",
     .kind = Kind::kString,
     .help = "its command line",
     .group = kBootGroup},

    {.name = "-nographic",
     .kind = Kind::kFlag,
     .help = "no display; the first serial port is the terminal",
     .group = kConsoleGroup},
    {.name = "-display",
     .arg = "TYPE",
     .kind = Kind::kEnum,
     .help = "none",
     .default_text = "none",
     .group = kConsoleGroup,
     .choices = "none"},
    {.name = "-serial",
     .arg = "DEV",
     .kind = Kind::kString,
     .help = "next serial port: stdio, null, none or file:FILE",
     .default_text = "stdio",
     .group = kConsoleGroup,
     .repeat = Repeat::kEach},
    {.name = "-debugcon",
     .arg = "DEV",
     .kind = Kind::kString,
     .help = "debug console at port 0x402: stdio, null or file:FILE",
     .group = kConsoleGroup},

    {.name = "-name",
     .arg = "NAME",
     .kind = Kind::kString,
     .help = "name of the guest, in messages and process lists",
     .default_text = "vm-PID",
     .group = kRunGroup},
    {.name = "-no-reboot",
     .kind = Kind::kFlag,
     .help = "end instead of restarting the guest",
     .group = kRunGroup},
    {.name = "--timeout",
     .arg = "SECONDS",
     .kind = Kind::kUnsigned,
     .help = "end with status 124 after so long",
     .group = kRunGroup,
     .min = 1,
     .max = 31536000},
    {.name = "--events",
     .arg = "json[,file=FILE]",
     .kind = Kind::kKeyList,
     .help = "report what happens, a JSON object a line",
     .group = kRunGroup,
     .keys = kEventKeys,
     .implied_key = "format"},
    {.name = "--check",
     .kind = Kind::kFlag,
     .help = "test the backends and the files named, start nothing",
     .group = kRunGroup},
    {.name = "--dry-run",
     .kind = Kind::kFlag,
     .help = "show what would be started, start nothing",
     .group = kRunGroup},
    {.name = "--json",
     .kind = Kind::kFlag,
     .help = "JSON, with --check and --dry-run",
     .group = kRunGroup},
};

}  // namespace

const cli::Command kRunCommand = {
    .name = "run",
    .operands = "",
    .summary = "run a virtual machine",
    .options = kOptions,
    .style = cli::Style::kSingleDash,
    .notes =
        "In the terminal, Ctrl-A x ends the guest and Ctrl-A Ctrl-A sends a Ctrl-A.\n"
        "Exit status: 0 the guest shut down; 1 it could not start or died; 2 usage;\n"
        "3 it crashed with -no-reboot; 124 on --timeout; isa-debug-exit gives\n"
        "(value << 1) | 1.",
};

}  // namespace atl::run
