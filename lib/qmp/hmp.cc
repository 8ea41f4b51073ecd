// SPDX-License-Identifier: Apache-2.0
// The human monitor's commands: one table, which is its help, too.
#include <algorithm>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "lib/base/units.h"
#include "lib/cli/suggest.h"
#include "lib/qmp/command.h"
#include "lib/qmp/hmp_memory.h"

namespace atl::qmp {
namespace {

using Words = std::vector<std::string>;

// What a line is carried out with.
struct Line {
  Context& context;
  unsigned cpu;
  std::string format;  // behind the command's slash
  Words words;         // without the command
  vm::MachineControl& machine() const { return *context.machine; }
};

struct HumanCommand {
  absl::string_view name;
  absl::string_view alias;
  absl::string_view arguments;
  absl::string_view help;
  size_t min_words;
  size_t max_words;
  std::string (*run)(const Line& line);
};

std::string Told(const absl::Status& status) {
  return status.ok() ? "" : absl::StrCat("Error: ", status.message(), "\n");
}

// The same command of the protocol, with these arguments.
std::string ByProtocol(const Line& line, absl::string_view command,
                       JsonValue::Object arguments = {}) {
  return Told(RunCommand(line.context, command, arguments).status());
}

JsonValue Text(absl::string_view text) { return JsonValue(std::string(text)); }

// info ...

std::string InfoStatus(const Line& line) {
  const vm::RunState state = line.machine().state();
  if (state == vm::RunState::kRunning) return "VM status: running\n";
  if (state == vm::RunState::kPaused) return "VM status: paused\n";
  return absl::StrCat("VM status: paused (", RunStateName(state), ")\n");
}

std::string InfoVersion(const Line& line) { return absl::StrCat(line.context.version, "\n"); }

std::string InfoName(const Line& line) { return absl::StrCat(line.machine().config().name, "\n"); }

std::string InfoKvm(const Line& line) {
  return line.machine().backend() == "kvm"
             ? "kvm support: enabled\n"
             : absl::StrCat("kvm support: disabled (accelerator: ", line.machine().backend(),
                            ")\n");
}

std::string InfoCpus(const Line& line) {
  const std::vector<int> threads = line.machine().vcpu_threads();
  std::string out;
  for (size_t i = 0; i < threads.size(); ++i) {
    absl::StrAppend(&out, i == line.cpu ? "*" : " ", " CPU #", i, ": thread_id=", threads[i], "\n");
  }
  return out;
}

std::string InfoBlock(const Line& line) {
  std::string out;
  for (const vm::DriveState& d : line.machine().drives()) {
    absl::StrAppend(&out, d.device, ": ", d.file, " (", d.format, d.read_only ? ", read-only" : "",
                    ", ", FormatSize(d.size), ")\n");
  }
  if (vm::Media* media = line.machine().media()) {
    for (const vm::MediumState& m : media->List()) {
      absl::StrAppend(&out, m.device, ": ");
      if (m.inserted) {
        absl::StrAppend(&out, m.file, " (", m.format, m.read_only ? ", read-only" : "", ")\n");
      } else {
        out += "[not inserted]\n";
      }
      absl::StrAppend(&out, "    Removable device: ", m.locked ? "" : "not ", "locked, tray ",
                      m.tray_open ? "open" : "closed", "\n");
    }
  }
  return out;
}

std::string InfoBlockstats(const Line& line) {
  std::string out;
  for (const vm::DriveState& d : line.machine().drives()) {
    absl::StrAppend(&out, d.device, ": rd_bytes=", d.read_bytes, " wr_bytes=", d.written_bytes,
                    " rd_operations=", d.read_requests, " wr_operations=", d.write_requests,
                    " flush_operations=", d.flush_requests, " failed_rd=", d.failed_reads,
                    " failed_wr=", d.failed_writes, "\n");
  }
  return out;
}

std::string InfoRegisters(const Line& line) {
  unsigned first = line.cpu;
  unsigned last = line.cpu;
  if (!line.words.empty()) {
    if (line.words[0] != "-a") return "Error: info registers [-a]\n";
    first = 0;
    last = line.machine().config().vcpus - 1;
  }
  std::string out;
  for (unsigned i = first; i <= last; ++i) {
    const absl::StatusOr<vm::VcpuState> state = line.machine().ReadVcpu(i);
    absl::StrAppend(&out, state.ok() ? DescribeRegisters(*state, i) : Told(state.status()));
  }
  return out;
}

std::string InfoMem(const Line& line) {
  const absl::StatusOr<std::string> text = DescribeMappings(line.machine(), line.cpu);
  return text.ok() ? *text : Told(text.status());
}

std::string InfoMemorySize(const Line& line) {
  return absl::StrCat("base memory: ", line.machine().config().ram_bytes, "\n");
}

std::string InfoChardev(const Line& line) {
  std::string out;
  for (const ChardevState& s :
       line.context.chardevs ? line.context.chardevs() : std::vector<ChardevState>()) {
    absl::StrAppend(&out, s.label, ": filename=", s.filename, "\n");
  }
  return out;
}

std::string InfoNetwork(const Line& line) { return line.machine().DescribeNetworks(); }

std::string InfoUsernet(const Line& line) {
  const absl::StatusOr<std::string> text =
      line.machine().TellUserNetwork(line.words.empty() ? "" : line.words[0], "info");
  return text.ok() ? *text : Told(text.status());
}

constexpr HumanCommand kInfo[] = {
    {"block", "", "", "the disks", 0, 0, InfoBlock},
    {"blockstats", "", "", "what the disks did", 0, 0, InfoBlockstats},
    {"chardev", "", "", "the monitors", 0, 0, InfoChardev},
    {"cpus", "", "", "the CPUs and their threads", 0, 0, InfoCpus},
    {"kvm", "", "", "whether KVM runs the guest", 0, 0, InfoKvm},
    {"mem", "", "", "which linear addresses are mapped", 0, 0, InfoMem},
    {"memory_size_summary", "", "", "the memory's size", 0, 0, InfoMemorySize},
    {"name", "", "", "the guest's name", 0, 0, InfoName},
    {"network", "", "", "the networks and who is on each", 0, 0, InfoNetwork},
    {"registers", "", "[-a]", "registers of the CPU, or of all", 0, 1, InfoRegisters},
    {"status", "", "", "whether the guest runs", 0, 0, InfoStatus},
    {"usernet", "", "[NETDEV]", "forwards and connections of -net user", 0, 1, InfoUsernet},
    {"version", "", "", "the version of this program", 0, 0, InfoVersion},
};

// The others.

std::string Execute(std::span<const HumanCommand> table, const Line& line, absl::string_view name,
                    absl::string_view prefix);
std::string ListOf(std::span<const HumanCommand> table, absl::string_view prefix);

std::string Info(const Line& line) {
  if (line.words.empty()) return ListOf(kInfo, "info ");
  Line rest = line;
  rest.words.erase(rest.words.begin());
  return Execute(kInfo, rest, line.words[0], "info ");
}

std::string Help(const Line& line);

std::string Stop(const Line& line) { return ByProtocol(line, "stop"); }
std::string Cont(const Line& line) { return ByProtocol(line, "cont"); }
std::string SystemReset(const Line& line) { return ByProtocol(line, "system_reset"); }
std::string SystemPowerdown(const Line& line) { return ByProtocol(line, "system_powerdown"); }
std::string SystemSleep(const Line& line) {
  line.machine().PressSleepButton();
  return "";
}
std::string Nmi(const Line& line) { return ByProtocol(line, "inject-nmi"); }

std::string Quit(const Line& line) {
  line.machine().Quit("host-qmp-quit");
  return "";
}

std::string SendKey(const Line& line) {
  JsonValue::Array keys;
  for (const absl::string_view name : absl::StrSplit(line.words[0], '-')) {
    // A lone "<" is what old clients call it.
    JsonValue::Object key;
    key.emplace_back("type", Text("qcode"));
    key.emplace_back("data", Text(name == "<" ? "less" : name));
    keys.push_back(JsonValue(std::move(key)));
  }
  JsonValue::Object arguments;
  arguments.emplace_back("keys", JsonValue(std::move(keys)));
  if (line.words.size() > 1) {
    int64_t ms;
    if (!absl::SimpleAtoi(line.words[1], &ms)) return "Error: the hold time is no number\n";
    arguments.emplace_back("hold-time", JsonValue(ms));
  }
  return ByProtocol(line, "send-key", std::move(arguments));
}

std::string Screendump(const Line& line) {
  // Without -f the name's ending decides, as nobody expects a .png that is none.
  JsonValue::Object arguments;
  std::string file;
  std::string format;
  for (size_t i = 0; i < line.words.size(); ++i) {
    if (line.words[i] == "-f" && i + 1 < line.words.size()) {
      format = line.words[++i];
    } else {
      file = line.words[i];
    }
  }
  if (format.empty()) {
    const size_t n = file.size();
    const std::string ending = n > 4 ? file.substr(n - 4) : "";
    format = ending == ".png" ? "png" : ending == ".txt" ? "txt" : "ppm";
  }
  arguments.emplace_back("filename", Text(file));
  arguments.emplace_back("format", Text(format));
  return ByProtocol(line, "screendump", std::move(arguments));
}

std::string Eject(const Line& line) {
  JsonValue::Object arguments;
  const bool force = line.words[0] == "-f";
  if (force && line.words.size() < 2) return "Error: eject [-f] DEVICE\n";
  arguments.emplace_back("device", Text(line.words[force ? 1 : 0]));
  arguments.emplace_back("force", JsonValue(force));
  return ByProtocol(line, "eject", std::move(arguments));
}

std::string Change(const Line& line) {
  JsonValue::Object arguments;
  Words words = line.words;
  const bool force = words[0] == "-f";
  if (force) words.erase(words.begin());
  if (words.size() < 2) return "Error: change [-f] DEVICE FILE [FORMAT [READ-ONLY-MODE]]\n";
  arguments.emplace_back("device", Text(words[0]));
  arguments.emplace_back("filename", Text(words[1]));
  if (words.size() > 2) arguments.emplace_back("format", Text(words[2]));
  if (words.size() > 3) arguments.emplace_back("read-only-mode", Text(words[3]));
  arguments.emplace_back("force", JsonValue(force));
  return ByProtocol(line, "blockdev-change-medium", std::move(arguments));
}

// [NETDEV] RULE
std::string TellForward(const Line& line, absl::string_view command) {
  const std::string id = line.words.size() > 1 ? line.words[0] : "";
  return Told(
      line.machine().TellUserNetwork(id, absl::StrCat(command, " ", line.words.back())).status());
}
std::string HostfwdAdd(const Line& line) { return TellForward(line, "hostfwd_add"); }
std::string HostfwdRemove(const Line& line) { return TellForward(line, "hostfwd_remove"); }

std::string Dump(const Line& line, bool physical) {
  const absl::StatusOr<std::string> text =
      DumpMemory(line.machine(), line.cpu, physical, line.format, line.words[0]);
  return text.ok() ? *text : Told(text.status());
}
std::string DumpVirtual(const Line& line) { return Dump(line, false); }
std::string DumpPhysical(const Line& line) { return Dump(line, true); }

constexpr HumanCommand kHumanCommands[] = {
    {"change", "", "[-f] DEVICE FILE [FORMAT [MODE]]", "put another medium into a drive", 2, 5,
     Change},
    {"cont", "c", "", "let the guest run", 0, 0, Cont},
    {"eject", "", "[-f] DEVICE", "take the medium out of a drive", 1, 2, Eject},
    {"help", "?", "[COMMAND]", "this list", 0, 1, Help},
    {"hostfwd_add", "", "[NETDEV] RULE", "lead a port to the guest: tcp::2222-:22", 1, 2,
     HostfwdAdd},
    {"hostfwd_remove", "", "[NETDEV] RULE", "lead it there no more: tcp::2222", 1, 2,
     HostfwdRemove},
    {"info", "", "SUBJECT", "show something; without a subject: which there are", 0, 3, Info},
    {"nmi", "", "", "raise an NMI on every CPU", 0, 0, Nmi},
    {"quit", "q", "", "end the guest", 0, 0, Quit},
    {"screendump", "", "FILE [-f ppm|png|txt]", "the screen as a picture, or its words", 1, 3,
     Screendump},
    {"sendkey", "", "KEY[-KEY...] [MS]", "press keys at once: ctrl-alt-f1", 1, 2, SendKey},
    {"stop", "s", "", "hold the guest", 0, 0, Stop},
    {"system_powerdown", "", "", "press the power button", 0, 0, SystemPowerdown},
    {"system_reset", "", "", "press the reset button", 0, 0, SystemReset},
    {"system_sleep", "", "", "press the sleep button", 0, 0, SystemSleep},
    {"x", "", "/FORMAT ADDRESS", "memory at a linear address: x/8xg $rsp", 1, 1, DumpVirtual},
    {"xp", "", "/FORMAT ADDRESS", "memory at a physical address: xp/4xw 0x1000", 1, 1,
     DumpPhysical},
};

std::string Usage(absl::string_view prefix, const HumanCommand& c) {
  return absl::StrCat(prefix, c.name, c.alias.empty() ? "" : "|", c.alias,
                      c.arguments.empty() ? "" : " ", c.arguments);
}

std::string ListOf(std::span<const HumanCommand> table, absl::string_view prefix) {
  std::string out;
  for (const HumanCommand& c : table) {
    absl::StrAppendFormat(&out, "%-46s %s\n", Usage(prefix, c), c.help);
  }
  return out;
}

std::string Help(const Line& line) {
  if (line.words.empty()) return ListOf(kHumanCommands, "");
  for (const HumanCommand& c : kHumanCommands) {
    if (c.name == line.words[0] || (!c.alias.empty() && c.alias == line.words[0])) {
      return c.name == "info" ? ListOf(kInfo, "info ") : ListOf({&c, 1}, "");
    }
  }
  return absl::StrCat("unknown command: '", line.words[0], "'\n");
}

std::string Execute(std::span<const HumanCommand> table, const Line& line, absl::string_view name,
                    absl::string_view prefix) {
  for (const HumanCommand& c : table) {
    if (c.name != name && (c.alias.empty() || c.alias != name)) continue;
    if (line.words.size() < c.min_words || line.words.size() > c.max_words) {
      return absl::StrCat("Error: usage: ", Usage(prefix, c), "\n");
    }
    return c.run(line);
  }
  std::vector<absl::string_view> names;
  for (const HumanCommand& c : table) names.push_back(c.name);
  return absl::StrCat("unknown command: '", prefix, name, "'", cli::DidYouMean(name, names),
                      "; help lists the commands\n");
}

// Words, where "..." holds blanks together and \ takes the next byte as it is.
Words SplitWords(absl::string_view text) {
  Words out;
  std::string word;
  bool in_word = false;
  bool quoted = false;
  for (size_t i = 0; i < text.size(); ++i) {
    char c = text[i];
    if (c == '\\' && quoted && i + 1 < text.size()) {
      c = text[++i];
    } else if (c == '"') {
      quoted = !quoted;
      in_word = true;
      continue;
    } else if (!quoted && absl::ascii_isspace(c)) {
      if (in_word) out.push_back(std::move(word));
      word.clear();
      in_word = false;
      continue;
    }
    word.push_back(c);
    in_word = true;
  }
  if (in_word) out.push_back(std::move(word));
  return out;
}

}  // namespace

std::string RunHumanCommand(Context& context, absl::string_view text, unsigned cpu) {
  // "x /4xw 0x0" is "x/4xw 0x0"; the address may have blanks in it.
  Line line{context, cpu, "", SplitWords(text)};
  if (line.words.empty()) return "";
  std::string name = line.words[0];
  line.words.erase(line.words.begin());
  const size_t slash = name.find('/');
  if (slash != std::string::npos) {
    line.format = name.substr(slash + 1);
    name.resize(slash);
  } else if ((name == "x" || name == "xp") && !line.words.empty() && line.words[0][0] == '/') {
    line.format = line.words[0].substr(1);
    line.words.erase(line.words.begin());
  }
  if ((name == "x" || name == "xp") && line.words.size() > 1) {
    for (size_t i = 1; i < line.words.size(); ++i) line.words[0] += line.words[i];
    line.words.resize(1);
  }
  return Execute(kHumanCommands, line, name, "");
}

}  // namespace atl::qmp
