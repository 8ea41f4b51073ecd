// SPDX-License-Identifier: Apache-2.0
#include "cmd/run/check.h"

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "cmd/run/network.h"
#include "lib/base/status_macros.h"
#include "lib/base/units.h"
#include "lib/block/image.h"
#include "lib/boot/kernel.h"
#include "lib/cli/json.h"
#include "lib/cli/main.h"
#include "lib/cli/table.h"
#include "lib/cpu/backends.h"
#include "lib/dev/types.h"
#include "lib/host/fd_sets.h"
#include "lib/mem/guest_memory.h"
#include "lib/net/mac.h"
#include "lib/nic/nic.h"
#include "lib/vm/accel.h"
#include "lib/vm/drives.h"

namespace atl::run {
namespace {

struct FileVerdict {
  std::string what;  // "-hda", "-kernel"
  std::string file;
  bool usable = false;
  std::string reason;
};

FileVerdict CheckDrive(const vm::DriveConfig& drive, const host::FdSets& fds) {
  FileVerdict v{drive.option, drive.file, false, ""};
  block::OpenOptions options;
  options.format = drive.format;
  if (drive.media == vm::Medium::kCdrom && options.format.empty()) options.format = "raw";
  options.force_share = true;  // only looking: a guest may be running on it
  auto image = host::FdSets::Names(drive.file) ? vm::OpenGivenImage(drive.file, fds, options)
                                               : block::Image::Open(drive.file, options);
  if (!image.ok()) {
    v.reason = std::string(image.status().message());
    return v;
  }
  v.usable = true;
  v.reason = absl::StrCat((*image)->format().name, ", ", FormatSize((*image)->size()));
  return v;
}

FileVerdict CheckKernel(const vm::MachineConfig& config) {
  FileVerdict v{"-kernel", config.kernel, false, ""};
  auto memory = GuestMemory::Create(config.ram_bytes);
  absl::Status status = memory.status();
  if (status.ok()) {
    auto entry = boot::LoadKernel({config.kernel, config.initrd, config.append}, Gpa(0), **memory);
    status = entry.status();
    if (entry.ok()) {
      v.usable = true;
      v.reason = entry->description;
      return v;
    }
  }
  v.reason = std::string(status.message());
  return v;
}

// For DryRun().
struct Disk {
  std::string place;
  const vm::DriveConfig* drive;
};
bool IsCd(const Disk& d) { return d.drive->media == vm::Medium::kCdrom; }
std::string FormatOf(const Disk& d) {
  if (!d.drive->format.empty()) return d.drive->format;
  return IsCd(d) ? "raw" : "probed";
}

// "tap tap0", "stream /run/passt.sock", "tap fd 3".
std::string NameOf(const vm::BackendConfig& b) {
  if (b.kind == vm::BackendKind::kUser) return "user";
  const bool tap = b.kind == vm::BackendKind::kTap;
  const std::string& name = tap ? b.ifname : b.path;
  return absl::StrCat(tap ? "tap" : "stream", " ",
                      b.fd >= 0      ? absl::StrCat("fd ", b.fd)
                      : name.empty() ? "(new)"
                                     : name);
}

}  // namespace

absl::StatusOr<int> CheckHost(const Invocation& invocation) {
  const vm::MachineConfig& config = invocation.machine;
  const std::vector<vm::BackendVerdict> backends = vm::ProbeBackends(config);
  std::vector<FileVerdict> files;
  if (!config.kernel.empty()) files.push_back(CheckKernel(config));
  for (const vm::DriveConfig& d : config.drives) {
    if (!d.file.empty()) files.push_back(CheckDrive(d, *config.fd_sets));
  }

  bool wanted_backend = false;
  for (const vm::BackendVerdict& b : backends) {
    if (b.verdict.usable && (config.accel == "auto" || config.accel == b.backend->name)) {
      wanted_backend = true;
    }
  }
  bool all_files = true;
  for (const FileVerdict& f : files) all_files = all_files && f.usable;

  if (invocation.json) {
    cli::JsonWriter json;
    json.BeginObject().Key("backends").BeginArray();
    for (const vm::BackendVerdict& b : backends) {
      json.BeginObject().Key("name").String(b.backend->name).Key("usable").Bool(b.verdict.usable);
      json.Key("reason").String(b.verdict.reason).EndObject();
    }
    json.EndArray().Key("files").BeginArray();
    for (const FileVerdict& f : files) {
      json.BeginObject().Key("option").String(f.what).Key("file").String(f.file);
      json.Key("usable").Bool(f.usable).Key("reason").String(f.reason).EndObject();
    }
    json.EndArray().Key("usable").Bool(wanted_backend && all_files).EndObject();
    cli::Print(json.text() + "\n");
  } else {
    cli::TextTable table;
    table.AddColumn("");
    table.AddColumn("");
    table.AddColumn("");
    for (const vm::BackendVerdict& b : backends) {
      table.AddRow({b.verdict.usable ? "ok" : "no", absl::StrCat("backend ", b.backend->name),
                    b.verdict.reason});
    }
    for (const FileVerdict& f : files) {
      table.AddRow({f.usable ? "ok" : "no", absl::StrCat(f.what, " ", cli::Printable(f.file)),
                    cli::Printable(f.reason)});
    }
    cli::Print(table.ToString());
  }
  return wanted_backend && all_files ? cli::kExitDone : cli::kExitFailed;
}

absl::StatusOr<int> DryRun(const Invocation& invocation) {
  const vm::MachineConfig& m = invocation.machine;
  ASSIGN_OR_RETURN(vm::IdePlaces ide, vm::PlaceIdeDrives(m));
  std::vector<Disk> disks;
  constexpr absl::string_view kIdeNames[] = {"hda", "hdb", "hdc", "hdd"};
  for (size_t i = 0; i < ide.size(); ++i) {
    if (ide[i] != nullptr) disks.push_back({std::string(kIdeNames[i]), ide[i]});
  }
  ASSIGN_OR_RETURN(vm::FloppyPlaces floppies, vm::PlaceFloppyDrives(m));
  for (size_t i = 0; i < floppies.size(); ++i) {
    if (floppies[i] != nullptr) disks.push_back({i == 0 ? "fda" : "fdb", floppies[i]});
  }
  int virtio = 0;
  for (const vm::DriveConfig& d : m.drives) {
    if (d.interface == vm::DiskInterface::kVirtio) {
      disks.push_back({absl::StrCat("virtio", virtio++), &d});
    }
  }
  if (invocation.json) {
    cli::JsonWriter json;
    json.BeginObject().Key("name").String(m.name).Key("machine").String("pc");
    json.Key("memory").Number(m.ram_bytes).Key("vcpus").Number(m.vcpus);
    json.Key("accel").String(m.accel).Key("cpu").String(m.cpu).Key("kernel").String(m.kernel);
    json.Key("initrd").String(m.initrd).Key("append").String(m.append);
    json.Key("disks").BeginArray();
    for (const Disk& d : disks) {
      json.BeginObject().Key("place").String(d.place).Key("file").String(d.drive->file);
      json.Key("media").String(IsCd(d) ? "cdrom" : "disk").Key("format").String(FormatOf(d));
      json.Key("readonly").Bool(d.drive->read_only || IsCd(d));
      json.Key("snapshot").Bool(d.drive->snapshot).EndObject();
    }
    json.EndArray().Key("nics").BeginArray();
    for (const vm::NicConfig& nic : m.nics) {
      json.BeginObject().Key("model").String(nic.model).Key("hub").String(nic.hub);
      json.Key("mac").String(net::FormatMac(nic.mac)).EndObject();
    }
    json.EndArray().Key("backends").BeginArray();
    for (const vm::BackendConfig& b : m.backends) {
      json.BeginObject().Key("type").String(NameOf(b)).Key("hub").String(b.hub).EndObject();
    }
    json.EndArray().EndObject();
    cli::Print(json.text() + "\n");
    return cli::kExitDone;
  }
  std::string out =
      absl::StrCat("name     ", m.name, "\nmachine  pc\nmemory   ", FormatSize(m.ram_bytes),
                   "\nvcpus    ", m.vcpus, "\naccel    ", m.accel, "\ncpu      ", m.cpu, "\n");
  if (!m.kernel.empty()) {
    absl::StrAppend(&out, "kernel   ", cli::Printable(m.kernel), "\n");
    if (!m.initrd.empty()) absl::StrAppend(&out, "initrd   ", cli::Printable(m.initrd), "\n");
    if (!m.append.empty()) absl::StrAppend(&out, "append   ", cli::Printable(m.append), "\n");
  }
  for (const Disk& d : disks) {
    absl::StrAppend(&out, IsCd(d) ? "cdrom" : "disk ", "    ", d.place, ": ");
    if (d.drive->file.empty()) {
      out += "empty\n";
      continue;
    }
    absl::StrAppend(&out, cli::Printable(d.drive->file), " (", FormatOf(d),
                    d.drive->read_only ? ", read-only" : "",
                    d.drive->snapshot && !IsCd(d) ? ", snapshot" : "", ")\n");
  }
  for (const vm::NicConfig& nic : m.nics) {
    absl::StrAppend(&out, "nic      ", nic.model, ", ", net::FormatMac(nic.mac), ", ", nic.hub,
                    "\n");
  }
  for (const vm::BackendConfig& b : m.backends) {
    absl::StrAppend(&out, "network  ", NameOf(b), ", ", b.hub, "\n");
  }
  cli::Print(out);
  return cli::kExitDone;
}

absl::StatusOr<int> ShowList(absl::string_view what) {
  cli::TextTable table;
  table.AddColumn("");
  table.AddColumn("");
  table.AddColumn("");
  if (what == "accel") {
    table.AddRow({"auto", "the first of these whose self-test passes"});
    for (const cpu::Backend* b : cpu::Backends()) {
      table.AddRow({std::string(b->name), std::string(b->summary)});
    }
  } else if (what == "cpu") {
    table.AddRow({"max", "all that atoll passes on of the host's processor"});
    table.AddRow({"base", "x86-64-v2 with AES, PCLMULQDQ and SHA (-accel soft)"});
  } else if (what == "net") {
    for (const NetworkKind& k : NetworkKinds()) {
      table.AddRow({std::string(k.name), std::string(k.help)});
      for (const cli::Option& key : k.keys) {
        table.AddRow({absl::StrCat("  ", key.name, "=", key.arg), std::string(key.help),
                      std::string(key.default_text)});
      }
    }
  } else if (what == "model") {
    for (const nic::NicModel* m : nic::NicModels()) {
      table.AddRow({std::string(m->name), std::string(m->summary)});
    }
  } else {
    for (const dev::DeviceType& t : dev::DeviceTypes()) {
      if (t.attachment != dev::Attachment::kIsa && t.attachment != dev::Attachment::kExtra)
        continue;
      table.AddRow({std::string(t.name), std::string(t.summary), std::string(t.options)});
    }
    for (const nic::NicModel* m : nic::NicModels()) {
      table.AddRow({std::string(m->name), std::string(m->summary), "netdev=ID,mac=MAC"});
    }
  }
  cli::Print(table.ToString());
  return cli::kExitDone;
}

}  // namespace atl::run
