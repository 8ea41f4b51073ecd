// SPDX-License-Identifier: Apache-2.0
// The commands, sorted by name, each with its arguments; QEMU's
// docs/interop/qmp-qapi reference says what they mean.
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <climits>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "lib/base/status_macros.h"
#include "lib/host/fd_sets.h"
#include "lib/qmp/command.h"
#include "lib/qmp/schema.h"
#include "lib/ui/keys.h"
#include "lib/ui/picture.h"

namespace atl::qmp {
namespace {

using absl::Status;
using cli::JsonWriter;

constexpr int64_t kMaxHoldMs = 10'000;
constexpr size_t kMaxKeys = 32;

// Looking.

// Ours: the VM's counters as descriptors, so many in a reply as a message carries.
constexpr size_t kFdsInReply = 64;
constexpr Argument kStatsFds[] = {{"first", Type::kInt, true}};

Status StatsFds(Context& c, const Arguments& arguments, JsonWriter& out) {
  if (c.attached == nullptr) {
    return absl::FailedPreconditionError("descriptors are handed over a unix socket alone");
  }
  const std::vector<vm::StatsFd> all = c.machine->stats_fds();
  const int64_t first = arguments.Int("first");
  if (first < 0 || static_cast<uint64_t>(first) > all.size()) {
    return absl::InvalidArgumentError(
        absl::StrCat("Parameter 'first' is past the ", all.size(), " descriptors"));
  }
  out.BeginObject().Key("name").String(c.machine->config().name);
  out.Key("backend").String(c.machine->backend());
  out.Key("pid").Number(static_cast<uint64_t>(getpid())).Key("total").Number(all.size());
  out.Key("fds").BeginArray();
  const size_t begin = static_cast<size_t>(first);
  for (size_t i = begin; i < std::min(all.size(), begin + kFdsInReply); ++i) {
    UniqueFd copy(fcntl(all[i].fd, F_DUPFD_CLOEXEC, 0));
    if (!copy.valid()) return ErrnoError(errno, "a descriptor for the client");
    c.attached->push_back(std::move(copy));
    out.Signed(all[i].vcpu);  // -1: the VM's
  }
  out.EndArray().EndObject();
  return absl::OkStatus();
}

Status QueryStatus(Context& c, const Arguments&, JsonWriter& out) {
  const vm::RunState state = c.machine->state();
  out.BeginObject().Key("running").Bool(state == vm::RunState::kRunning);
  out.Key("singlestep").Bool(false).Key("status").String(RunStateName(state)).EndObject();
  return absl::OkStatus();
}

Status QueryVersion(Context& c, const Arguments&, JsonWriter& out) {
  WriteVersion(c.version, out);
  return absl::OkStatus();
}

Status QueryName(Context& c, const Arguments&, JsonWriter& out) {
  out.BeginObject().Key("name").String(c.machine->config().name).EndObject();
  return absl::OkStatus();
}

Status QueryUuid(Context& c, const Arguments&, JsonWriter& out) {
  out.BeginObject().Key("UUID").String(vm::UuidText(c.machine->config().uuid)).EndObject();
  return absl::OkStatus();
}

Status QueryKvm(Context& c, const Arguments&, JsonWriter& out) {
  const bool enabled = c.machine->backend() == "kvm";
  out.BeginObject().Key("enabled").Bool(enabled);
  out.Key("present").Bool(enabled || access("/dev/kvm", F_OK) == 0).EndObject();
  return absl::OkStatus();
}

Status QueryTarget(Context&, const Arguments&, JsonWriter& out) {
  out.BeginObject().Key("arch").String("x86_64").EndObject();
  return absl::OkStatus();
}

Status QueryMachines(Context&, const Arguments&, JsonWriter& out) {
  out.BeginArray().BeginObject().Key("name").String("pc").Key("is-default").Bool(true);
  out.Key("cpu-max").Number(vm::MachineConfig::kMaxVcpus);
  out.Key("hotpluggable-cpus").Bool(false).Key("numa-mem-supported").Bool(false);
  out.Key("deprecated").Bool(false).EndObject().EndArray();
  return absl::OkStatus();
}

Status QueryMemorySize(Context& c, const Arguments&, JsonWriter& out) {
  out.BeginObject().Key("base-memory").Number(c.machine->config().ram_bytes).EndObject();
  return absl::OkStatus();
}

Status QueryCpus(Context& c, const Arguments&, JsonWriter& out) {
  const std::vector<int> threads = c.machine->vcpu_threads();
  out.BeginArray();
  for (size_t i = 0; i < threads.size(); ++i) {
    out.BeginObject().Key("cpu-index").Number(i);
    out.Key("qom-path").String(absl::StrCat("/machine/cpu[", i, "]"));
    out.Key("thread-id").Signed(threads[i]).Key("target").String("x86_64");
    out.Key("props").BeginObject().Key("core-id").Number(0).Key("thread-id").Number(0);
    out.Key("socket-id").Number(i).EndObject().EndObject();
  }
  out.EndArray();
  return absl::OkStatus();
}

void WriteInserted(absl::string_view file, absl::string_view format, uint64_t size, bool read_only,
                   JsonWriter& out) {
  out.Key("inserted").BeginObject().Key("file").String(file).Key("drv").String(format);
  out.Key("ro").Bool(read_only).Key("encrypted").Bool(false);
  out.Key("backing_file_depth").Number(0).Key("detect_zeroes").String("off");
  for (const absl::string_view limit : {"bps", "bps_rd", "bps_wr", "iops", "iops_rd", "iops_wr"}) {
    out.Key(limit).Number(0);
  }
  out.Key("write_threshold").Number(0);
  out.Key("cache").BeginObject().Key("writeback").Bool(true).Key("direct").Bool(false);
  out.Key("no-flush").Bool(false).EndObject();
  out.Key("image").BeginObject().Key("filename").String(file).Key("format").String(format);
  out.Key("virtual-size").Number(size).EndObject().EndObject();
}

Status QueryBlock(Context& c, const Arguments&, JsonWriter& out) {
  out.BeginArray();
  for (const vm::DriveState& d : c.machine->drives()) {
    out.BeginObject().Key("device").String(d.device).Key("type").String("unknown");
    out.Key("removable").Bool(false).Key("locked").Bool(false);
    out.Key("io-status").String(d.failed_reads + d.failed_writes == 0 ? "ok" : "failed");
    WriteInserted(d.file, d.format, d.size, d.read_only, out);
    out.EndObject();
  }
  if (vm::Media* media = c.machine->media()) {
    for (const vm::MediumState& m : media->List()) {
      out.BeginObject().Key("device").String(m.device).Key("type").String("unknown");
      out.Key("removable").Bool(true).Key("locked").Bool(m.locked);
      if (m.cdrom) out.Key("tray_open").Bool(m.tray_open);
      if (m.inserted) WriteInserted(m.file, m.format, m.size, m.read_only, out);
      out.EndObject();
    }
  }
  out.EndArray();
  return absl::OkStatus();
}

Status QueryBlockstats(Context& c, const Arguments&, JsonWriter& out) {
  out.BeginArray();
  for (const vm::DriveState& d : c.machine->drives()) {
    out.BeginObject().Key("device").String(d.device).Key("stats").BeginObject();
    out.Key("rd_bytes").Number(d.read_bytes).Key("rd_operations").Number(d.read_requests);
    out.Key("wr_bytes").Number(d.written_bytes).Key("wr_operations").Number(d.write_requests);
    out.Key("flush_operations").Number(d.flush_requests);
    out.Key("failed_rd_operations").Number(d.failed_reads);
    out.Key("failed_wr_operations").Number(d.failed_writes);
    out.Key("invalid_rd_operations").Number(0).Key("invalid_wr_operations").Number(0);
    out.Key("account_invalid").Bool(false).Key("account_failed").Bool(true);
    out.EndObject().EndObject();
  }
  out.EndArray();
  return absl::OkStatus();
}

Status QueryChardev(Context& c, const Arguments&, JsonWriter& out) {
  out.BeginArray();
  for (const ChardevState& s : c.chardevs ? c.chardevs() : std::vector<ChardevState>()) {
    out.BeginObject().Key("label").String(s.label).Key("filename").String(s.filename);
    out.Key("frontend-open").Bool(s.open).EndObject();
  }
  out.EndArray();
  return absl::OkStatus();
}

Status QueryCommands(Context&, const Arguments&, JsonWriter& out) {
  out.BeginArray();
  for (const Command& command : Commands()) {
    out.BeginObject().Key("name").String(command.name).EndObject();
  }
  out.BeginObject().Key("name").String("qmp_capabilities").EndObject().EndArray();
  return absl::OkStatus();
}

Status QuerySchema(Context&, const Arguments&, JsonWriter& out) {
  WriteSchema(out);
  return absl::OkStatus();
}

Status QueryNothing(Context&, const Arguments&, JsonWriter& out) {
  out.BeginArray().EndArray();
  return absl::OkStatus();
}

// Running.

Status Stop(Context& c, const Arguments&, JsonWriter&) { return c.machine->Stop(); }
Status Cont(Context& c, const Arguments&, JsonWriter&) { return c.machine->Cont(); }

Status SystemReset(Context& c, const Arguments&, JsonWriter&) {
  c.machine->ResetFromOutside();
  return absl::OkStatus();
}

Status SystemPowerdown(Context& c, const Arguments&, JsonWriter&) {
  c.machine->PressPowerButton();
  return absl::OkStatus();
}

Status SystemWakeup(Context&, const Arguments&, JsonWriter&) {
  return absl::FailedPreconditionError("wake-up from suspend is not supported by this guest");
}

Status InjectNmi(Context& c, const Arguments&, JsonWriter&) {
  c.machine->InjectNmi();
  return absl::OkStatus();
}

Status Balloon(Context& c, const Arguments& a, JsonWriter&) {
  const int64_t bytes = a.Int("value");
  if (bytes <= 0) return absl::InvalidArgumentError("Parameter 'value' expects a size");
  return c.machine->SetBalloon(static_cast<uint64_t>(bytes));
}

Status QueryBalloon(Context& c, const Arguments&, JsonWriter& out) {
  ASSIGN_OR_RETURN(const uint64_t bytes, c.machine->balloon());
  out.BeginObject().Key("actual").Number(bytes).EndObject();
  return absl::OkStatus();
}

Status Quit(Context& c, const Arguments&, JsonWriter&) {
  c.machine->Quit("host-qmp-quit");
  return absl::OkStatus();
}

Status HumanCommand(Context& c, const Arguments& a, JsonWriter& out) {
  const int64_t cpu = a.Int("cpu-index");
  if (cpu < 0 || cpu >= static_cast<int64_t>(c.machine->config().vcpus)) {
    return absl::InvalidArgumentError("Parameter 'cpu-index' expects a CPU number");
  }
  std::string text = RunHumanCommand(c, a.Text("command-line"), static_cast<unsigned>(cpu));
  // Terminals' line ends, which clients of QEMU's have learnt to expect.
  std::string out_text;
  for (const char ch : text) {
    if (ch == '\n') out_text.push_back('\r');
    out_text.push_back(ch);
  }
  out.String(out_text);
  return absl::OkStatus();
}

// What went wrong with a file or a drive that is there: no missing device.
Status OfFile(const Context& c, const Status& status) {
  if (status.ok()) return status;
  const bool denied = c.sandboxed && status.code() == absl::StatusCode::kPermissionDenied;
  return absl::FailedPreconditionError(absl::StrCat(
      status.message(), denied ? ": run is sandboxed; -sandbox dir=FOLDER opens a folder" : ""));
}

// Screen and keyboard.

Status Screendump(Context& c, const Arguments& a, JsonWriter&) {
  ui::Screen* screen = c.machine->screen();
  if (screen == nullptr) return absl::FailedPreconditionError("no console to take a picture of");
  if (a.Int("head") != 0) return absl::InvalidArgumentError("the screen has head 0 only");
  const std::string wanted = a.Text("format", "ppm");
  ui::PictureFormat format = ui::PictureFormat::kPpm;
  if (wanted == "png") format = ui::PictureFormat::kPng;
  if (wanted == "txt") format = ui::PictureFormat::kText;
  return OfFile(c, ui::WriteScreen(*screen, format, a.Text("filename")));
}

absl::StatusOr<uint8_t> KeyCode(const JsonValue& key) {
  const JsonValue* type = key.Find("type");
  const JsonValue* data = key.Find("data");
  if (type == nullptr || type->string() == nullptr || data == nullptr) {
    return absl::InvalidArgumentError("Parameter 'keys' expects objects with 'type' and 'data'");
  }
  if (*type->string() == "qcode" && data->string() != nullptr) {
    if (const std::optional<uint8_t> code = ui::FindKey(*data->string())) return *code;
    return absl::InvalidArgumentError(
        absl::StrCat("Parameter 'data' does not accept value '", *data->string(), "'"));
  }
  if (*type->string() == "number" && data->integer() != nullptr) {
    const int64_t n = *data->integer();
    if (n > 0 && n < 256) return static_cast<uint8_t>(n);
  }
  return absl::InvalidArgumentError("Parameter 'keys' expects a qcode's name or a number's value");
}

Status SendKey(Context& c, const Arguments& a, JsonWriter&) {
  Chord chord;
  for (const JsonValue& key : a.List("keys")) {
    ASSIGN_OR_RETURN(uint8_t code, KeyCode(key));
    chord.codes.push_back(code);
  }
  if (chord.codes.empty() || chord.codes.size() > kMaxKeys) {
    return absl::InvalidArgumentError(
        absl::StrCat("Parameter 'keys' expects 1 to ", kMaxKeys, " keys"));
  }
  const int64_t hold = a.Int("hold-time", static_cast<int64_t>(chord.hold_ms));
  if (hold < 0 || hold > kMaxHoldMs) {
    return absl::InvalidArgumentError(
        absl::StrCat("Parameter 'hold-time' expects milliseconds up to ", kMaxHoldMs));
  }
  chord.hold_ms = static_cast<uint64_t>(hold);
  return c.send_keys(std::move(chord));
}

// Media.

struct MediaDrive {
  vm::Media* media;
  std::string device;
  vm::MediumState state;
};

// The drive that 'id' or 'device' names.
absl::StatusOr<MediaDrive> FindDrive(Context& c, const Arguments& a) {
  const std::string name = a.Has("id") ? a.Text("id") : a.Text("device");
  if (name.empty()) return absl::InvalidArgumentError("Parameter 'id' is missing");
  if (vm::Media* media = c.machine->media()) {
    for (vm::MediumState& m : media->List()) {
      if (m.device == name) return MediaDrive{media, name, std::move(m)};
    }
  }
  for (const vm::DriveState& d : c.machine->drives()) {
    if (d.device == name) {
      return absl::InvalidArgumentError(absl::StrCat("Device '", name, "' is not removable"));
    }
  }
  return absl::NotFoundError(absl::StrCat("Device '", name, "' not found"));
}

Status Eject(Context& c, const Arguments& a, JsonWriter&) {
  ASSIGN_OR_RETURN(MediaDrive d, FindDrive(c, a));
  return OfFile(c, d.media->Eject(d.device, a.Bool("force")));
}

Status OpenTray(Context& c, const Arguments& a, JsonWriter&) {
  ASSIGN_OR_RETURN(MediaDrive d, FindDrive(c, a));
  return OfFile(c, d.media->OpenTray(d.device, a.Bool("force")));
}

Status CloseTray(Context& c, const Arguments& a, JsonWriter&) {
  ASSIGN_OR_RETURN(MediaDrive d, FindDrive(c, a));
  return OfFile(c, d.media->CloseTray(d.device));
}

Status RemoveMedium(Context& c, const Arguments& a, JsonWriter&) {
  ASSIGN_OR_RETURN(MediaDrive d, FindDrive(c, a));
  return OfFile(c, d.media->Remove(d.device));
}

Status ChangeMedium(Context& c, const Arguments& a, JsonWriter&) {
  ASSIGN_OR_RETURN(MediaDrive d, FindDrive(c, a));
  vm::MediumOptions medium;
  medium.file = a.Text("filename");
  medium.format = a.Text("format");
  const std::string mode = a.Text("read-only-mode", "retain");
  medium.read_only =
      mode == "read-only" || (mode == "retain" && d.state.inserted && d.state.read_only);
  return OfFile(c, d.media->Change(d.device, medium, a.Bool("force")));
}

// Files that the client has opened.

Status AddFd(Context& c, const Arguments& a, JsonWriter& out) {
  if (c.received == nullptr || c.received->empty()) {
    return absl::FailedPreconditionError("No file descriptor supplied via SCM_RIGHTS");
  }
  UniqueFd fd = std::move(c.received->front());
  c.received->erase(c.received->begin());
  std::optional<int64_t> set;
  if (a.Has("fdset-id")) set = a.Int("fdset-id");
  ASSIGN_OR_RETURN(const host::FdSets::Added added,
                   c.machine->config().fd_sets->Add(std::move(fd), set, a.Text("opaque")));
  out.BeginObject().Key("fdset-id").Signed(added.set).Key("fd").Signed(added.fd).EndObject();
  return absl::OkStatus();
}

Status RemoveFd(Context& c, const Arguments& a, JsonWriter&) {
  std::optional<int> fd;
  if (a.Has("fd")) {
    // What no descriptor can be is none of the set's.
    fd = static_cast<int>(std::clamp<int64_t>(a.Int("fd"), -1, INT_MAX));
  }
  return c.machine->config().fd_sets->Remove(a.Int("fdset-id"), fd);
}

Status QueryFdsets(Context& c, const Arguments&, JsonWriter& out) {
  out.BeginArray();
  for (const auto& [id, entries] : c.machine->config().fd_sets->sets()) {
    out.BeginObject().Key("fdset-id").Signed(id).Key("fds").BeginArray();
    for (const host::FdSets::Entry& e : entries) {
      out.BeginObject().Key("fd").Signed(e.fd.get());
      if (!e.opaque.empty()) out.Key("opaque").String(e.opaque);
      out.EndObject();
    }
    out.EndArray().EndObject();
  }
  out.EndArray();
  return absl::OkStatus();
}

// The table.

constexpr Argument kAddFd[] = {{.name = "fdset-id", .type = Type::kInt, .optional = true},
                               {.name = "opaque", .optional = true}};
constexpr Argument kRemoveFd[] = {{.name = "fdset-id", .type = Type::kInt},
                                  {.name = "fd", .type = Type::kInt, .optional = true}};
constexpr Argument kBalloon[] = {{.name = "value", .type = Type::kInt}};
constexpr Argument kDrive[] = {{.name = "device", .optional = true},
                               {.name = "id", .optional = true}};
constexpr Argument kDriveForce[] = {{.name = "device", .optional = true},
                                    {.name = "id", .optional = true},
                                    {.name = "force", .type = Type::kBool, .optional = true}};
constexpr Argument kChange[] = {
    {.name = "device", .optional = true},
    {.name = "id", .optional = true},
    {.name = "filename"},
    {.name = "format", .optional = true},
    {.name = "force", .type = Type::kBool, .optional = true},
    {.name = "read-only-mode", .optional = true, .choices = "retain read-only read-write"}};
constexpr Argument kHuman[] = {{.name = "command-line"},
                               {.name = "cpu-index", .type = Type::kInt, .optional = true}};
constexpr Argument kScreendump[] = {{.name = "filename"},
                                    {.name = "device", .optional = true},
                                    {.name = "head", .type = Type::kInt, .optional = true},
                                    {.name = "format", .optional = true, .choices = "ppm png txt"}};
constexpr Argument kSendKey[] = {{.name = "keys", .type = Type::kList},
                                 {.name = "hold-time", .type = Type::kInt, .optional = true}};

constexpr Command kCommands[] = {
    {"add-fd", kAddFd, AddFd},
    {"atoll-stats-fds", kStatsFds, StatsFds},
    {"balloon", kBalloon, Balloon},
    {"blockdev-change-medium", kChange, ChangeMedium},
    {"blockdev-close-tray", kDrive, CloseTray},
    {"blockdev-open-tray", kDriveForce, OpenTray},
    {"blockdev-remove-medium", kDrive, RemoveMedium},
    {"cont", {}, Cont},
    {"eject", kDriveForce, Eject},
    {"human-monitor-command", kHuman, HumanCommand},
    {"inject-nmi", {}, InjectNmi},
    {"query-balloon", {}, QueryBalloon},
    {"query-block", {}, QueryBlock},
    {"query-blockstats", {}, QueryBlockstats},
    {"query-chardev", {}, QueryChardev},
    {"query-commands", {}, QueryCommands},
    {"query-cpus-fast", {}, QueryCpus},
    {"query-fdsets", {}, QueryFdsets},
    {"query-iothreads", {}, QueryNothing},
    {"query-kvm", {}, QueryKvm},
    {"query-machines", {}, QueryMachines},
    {"query-memory-size-summary", {}, QueryMemorySize},
    {"query-name", {}, QueryName},
    {"query-qmp-schema", {}, QuerySchema},
    {"query-status", {}, QueryStatus},
    {"query-target", {}, QueryTarget},
    {"query-uuid", {}, QueryUuid},
    {"query-version", {}, QueryVersion},
    {"quit", {}, Quit},
    {"remove-fd", kRemoveFd, RemoveFd},
    {"screendump", kScreendump, Screendump},
    {"send-key", kSendKey, SendKey},
    {"stop", {}, Stop},
    {"system_powerdown", {}, SystemPowerdown},
    {"system_reset", {}, SystemReset},
    {"system_wakeup", {}, SystemWakeup},
};

}  // namespace

std::span<const Command> Commands() { return kCommands; }

}  // namespace atl::qmp
