// SPDX-License-Identifier: Apache-2.0
#include "cmd/stat/options.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "lib/base/status_macros.h"
#include "lib/stats/fields.h"
#include "re2/re2.h"

namespace atl::stat {
namespace {

using cli::Kind;
using cli::Option;
using cli::Repeat;
using cli::UsageError;
using stats::SourceKind;

constexpr absl::string_view kWhatGroup = "What to count";
constexpr absl::string_view kHowGroup = "How to show it";
constexpr absl::string_view kWhereGroup = "Where to";

std::string FieldNames() {
  std::vector<absl::string_view> names = {"help"};
  for (const stats::Field& f : stats::Fields()) {
    names.push_back(f.name);
    if (!f.old_name.empty() && f.old_name != f.name) names.push_back(f.old_name);
  }
  return absl::StrJoin(names, " ");
}

// For the shell, which looks when it completes: host::RuntimeRoot() in its words.
std::string VmNames() {
  return R"($(ls "${ATOLL_RUNTIME_DIR:-${XDG_RUNTIME_DIR:-/run}/atoll}" 2>/dev/null))";
}

constexpr Option kOptions[] = {
    {.name = "-1", .alias = "--once", .help = "count for one interval, print, end"},
    {.name = "--batch", .help = "as -1"},
    {.name = "-l", .alias = "--log", .help = "a line for each interval"},
    {.name = "-s",
     .alias = "--set-delay",
     .arg = "SECONDS",
     .kind = Kind::kString,
     .help = "interval, at least 0.01",
     .default_text = "1"},
    {.name = "-n",
     .alias = "--count",
     .arg = "COUNT",
     .kind = Kind::kUnsigned,
     .help = "end after so many intervals",
     .min = 1,
     .max = 1'000'000'000},

    {.name = "-f",
     .alias = "--fields",
     .arg = "RE",
     .kind = Kind::kString,
     .help = "counters whose name, today's or the old one, begins as the regular expression "
             "says; help lists all",
     .group = kWhatGroup,
     .repeat = Repeat::kEach,
     .more_choices = FieldNames},
    {.name = "-p",
     .alias = "--pid",
     .arg = "PID",
     .kind = Kind::kUnsigned,
     .help = "the VM of this process",
     .group = kWhatGroup,
     .min = 1,
     .max = 1 << 22},
    {.name = "-g",
     .alias = "--guest",
     .arg = "NAME",
     .kind = Kind::kString,
     .help = "the VM of this name",
     .group = kWhatGroup,
     .more_choices = VmNames},
    {.name = "--vm",
     .arg = "ID",
     .kind = Kind::kString,
     .help = "a VM by name, by pid, by PID-FD as in debugfs, or by the path of a QMP socket",
     .group = kWhatGroup,
     .more_choices = VmNames},
    {.name = "--vcpu",
     .arg = "LIST",
     .kind = Kind::kString,
     .help = "these vCPUs: 0,2-3",
     .group = kWhatGroup},
    {.name = "--source",
     .arg = "LIST",
     .kind = Kind::kString,
     .help = "where counters are read: auto, or of fd, qmp, debugfs, trace",
     .default_text = "auto: all but trace",
     .group = kWhatGroup,
     .choices = "auto fd qmp debugfs trace"},
    {.name = "-d", .alias = "--debugfs", .help = "as --source=debugfs", .group = kWhatGroup},
    {.name = "-t",
     .alias = "--tracepoints",
     .help = "as --source=trace; with -d both",
     .group = kWhatGroup},
    {.name = "-i",
     .alias = "--include-past",
     .help = "the first interval has what was counted since the VMs began",
     .group = kWhatGroup},
    {.name = "--sysroot",
     .arg = "DIR",
     .kind = Kind::kString,
     .help = "stands before /sys and /proc",
     .group = kWhatGroup},

    {.name = "-F",
     .alias = "--format",
     .arg = "FORMAT",
     .kind = Kind::kEnum,
     .help = "of what is printed; all but text go with -l too",
     .default_text = "text",
     .group = kHowGroup,
     .choices = "text csv tsv jsonl openmetrics"},
    {.name = "-c", .alias = "--csv", .help = "as -F csv", .group = kHowGroup},
    {.name = "--delta", .help = "a log shows growth; this is the default", .group = kHowGroup},
    {.name = "--rate", .help = "a log shows growth a second", .group = kHowGroup},
    {.name = "--total", .help = "a log shows totals", .group = kHowGroup},
    {.name = "-z",
     .alias = "--skip-zero-records",
     .help = "leave out lines that have nothing but zeros",
     .group = kHowGroup},
    {.name = "--compat",
     .help = "names and columns of the kvm_stat of Linux 4.1 and before",
     .group = kHowGroup},

    {.name = "-L",
     .alias = "--log-to-file",
     .arg = "FILE",
     .kind = Kind::kString,
     .help = "as -l, appended to FILE, which SIGHUP opens anew",
     .group = kWhereGroup},
    {.name = "-o",
     .alias = "--output",
     .arg = "FILE",
     .kind = Kind::kString,
     .help = "with -F openmetrics: replace FILE at each interval; with -- CMD: print there",
     .group = kWhereGroup},
    {.name = "--listen",
     .arg = "ADDRESS",
     .kind = Kind::kString,
     .help = "serve OpenMetrics over HTTP: unix:PATH or 127.0.0.1:PORT",
     .group = kWhereGroup},
    {.name = "--expect",
     .arg = "EXPRESSION",
     .kind = Kind::kString,
     .help = "end with status 3 where it does not hold: exits<1000/s, mmu_unsync==0",
     .group = kWhereGroup,
     .repeat = Repeat::kEach},
};

absl::StatusOr<std::vector<int>> ParseVcpus(absl::string_view text) {
  std::vector<int> out;
  for (absl::string_view item : absl::StrSplit(text, ',')) {
    const std::vector<absl::string_view> ends = absl::StrSplit(item, '-');
    int first = -1, last = -1;
    if (ends.size() > 2 || !absl::SimpleAtoi(ends.front(), &first) ||
        !absl::SimpleAtoi(ends.back(), &last) || first < 0 || last < first || last > 4095) {
      return UsageError(
          absl::StrCat("option '--vcpu': '", item, "' is no number or range of vCPUs"));
    }
    for (int i = first; i <= last; ++i) out.push_back(i);
  }
  return out;
}

absl::StatusOr<std::vector<SourceKind>> ParseSources(absl::string_view text, bool* named) {
  static constexpr SourceKind kAuto[] = {SourceKind::kFd, SourceKind::kQmp, SourceKind::kDebugfs};
  std::vector<SourceKind> out;
  for (absl::string_view word : absl::StrSplit(text, ',')) {
    if (word == "auto") {
      out.insert(out.end(), std::begin(kAuto), std::end(kAuto));
      continue;
    }
    bool known = false;
    for (unsigned i = 0; i < stats::kSourceKinds; ++i) {
      const SourceKind kind = static_cast<SourceKind>(i);
      if (stats::SourceName(kind) != word) continue;
      out.push_back(kind);
      known = *named = true;
    }
    if (!known) {
      return UsageError(absl::StrCat("option '--source': no such source '", word,
                                     "' (valid: auto, fd, qmp, debugfs, trace)"));
    }
  }
  std::sort(out.begin(), out.end());
  out.erase(std::unique(out.begin(), out.end()), out.end());
  return out;
}

absl::Status ReadOperands(const std::vector<std::string>& words, bool once, Options& out) {
  if (words.empty()) return absl::OkStatus();
  const auto needs = [&words](size_t count, absl::string_view what) -> absl::Status {
    if (words.size() == count) return absl::OkStatus();
    return UsageError(absl::StrCat("'", words[0], "' needs ", what));
  };
  if (words[0] == "record") {
    RETURN_IF_ERROR(needs(2, "FILE"));
    out.mode = Mode::kRecord;
    out.recording = words[1];
  } else if (words[0] == "replay") {
    RETURN_IF_ERROR(needs(2, "FILE"));
    if (!once && out.mode != Mode::kView) out.mode = Mode::kLog;
    out.recording = words[1];
  } else if (words[0] == "diff") {
    RETURN_IF_ERROR(needs(3, "two files"));
    out.mode = Mode::kDiff;
    out.recording = words[1];
    out.other = words[2];
  } else {
    return UsageError(absl::StrCat("'", words[0],
                                   "' is nothing known here: record FILE, replay FILE, diff A B "
                                   "and -- COMMAND are"));
  }
  return absl::OkStatus();
}

}  // namespace

const cli::Command kStatCommand = {
    .name = "stat",
    .operands = "[record FILE | replay FILE | diff A B | -- COMMAND...]",
    .summary = "show what virtual machines leave the guest for, how often and how long",
    .options = kOptions,
    .max_operands = 3,
    .notes =
        "Without -1, -l and the like a terminal shows the counters live; h is help there.\n"
        "Exit status: 0; 1 no source could be read; 2 usage; 3 --expect does not hold;\n"
        "with -- COMMAND, the command's.",
};

absl::StatusOr<uint64_t> ParseInterval(absl::string_view text) {
  double seconds;
  if (!absl::SimpleAtod(text, &seconds) || !std::isfinite(seconds) || seconds < 0.01 ||
      seconds > 86400) {
    return UsageError(
        absl::StrCat("option '-s': '", text, "' is no number of seconds from 0.01 to 86400"));
  }
  return static_cast<uint64_t>(std::llround(seconds * 1e9));
}

absl::StatusOr<FieldFilter> MakeFilter(const std::vector<std::string>& patterns) {
  if (patterns.empty()) return FieldFilter();
  auto all = std::make_shared<std::vector<std::unique_ptr<RE2>>>();
  for (const std::string& pattern : patterns) {
    RE2::Options quiet;
    quiet.set_log_errors(false);
    auto re = std::make_unique<RE2>(pattern, quiet);
    if (!re->ok()) {
      // What RE2 names is the part that is wrong, or all where its end is missing.
      const std::string& part = re->error_arg();
      const size_t at = part == pattern ? pattern.size() : pattern.rfind(part);
      return UsageError(absl::StrCat("option '-f': '", pattern, "': ", re->error(), " at position ",
                                     at == std::string::npos ? 0 : at + 1));
    }
    all->push_back(std::move(re));
  }
  return FieldFilter([all](const std::string& name) {
    const absl::string_view old = stats::OldName(name);
    for (const std::unique_ptr<RE2>& re : *all) {
      // From the beginning, not to the end, as kvm_stat has it.
      for (const absl::string_view n : {absl::string_view(name), old}) {
        if (re->Match({n.data(), n.size()}, 0, n.size(), RE2::ANCHOR_START, nullptr, 0)) {
          return true;
        }
      }
    }
    return false;
  });
}

absl::StatusOr<Options> ReadOptions(const cli::Parsed& args,
                                    const std::vector<std::string>& command, bool terminal) {
  Options out;
  for (const cli::Given* g : args.All("-f")) out.patterns.push_back(g->text);
  if (std::find(out.patterns.begin(), out.patterns.end(), "help") != out.patterns.end()) {
    out.mode = Mode::kListFields;
    return out;
  }
  ASSIGN_OR_RETURN(out.fields, MakeFilter(out.patterns));
  if (args.Has("-s")) {
    ASSIGN_OR_RETURN(out.interval_ns, ParseInterval(args.TextOr("-s", "")));
    out.interval_given = true;
  }
  out.count = args.NumberOr("-n", 0);
  if (args.Has("-p")) out.wanted.pid = static_cast<pid_t>(args.NumberOr("-p", 0));
  for (const char* name : {"-g", "--vm"}) {
    if (args.Has(name)) out.wanted.name = args.TextOr(name, "");
  }
  if (args.Has("--vcpu")) {
    ASSIGN_OR_RETURN(out.vcpus, ParseVcpus(args.TextOr("--vcpu", "")));
  }
  std::string sources = args.TextOr("--source", "");
  for (const auto& [flag, source] : {std::pair("-d", "debugfs"), std::pair("-t", "trace")}) {
    if (args.Has(flag)) absl::StrAppend(&sources, sources.empty() ? "" : ",", source);
  }
  if (sources.empty()) sources = "auto";
  ASSIGN_OR_RETURN(out.sources, ParseSources(sources, &out.sources_named));
  out.sysroot = args.TextOr("--sysroot", "");
  out.since_start = args.Has("-i");
  out.skip_zero = args.Has("-z");
  out.compat = args.Has("--compat");
  if (args.Has("--rate")) out.show = Show::kRate;
  if (args.Has("--total")) out.show = Show::kTotal;
  if (int{args.Has("--rate")} + int{args.Has("--total")} + int{args.Has("--delta")} > 1) {
    return UsageError("only one of --delta, --rate and --total can be shown");
  }
  const std::string format = args.Has("-c") ? "csv" : args.TextOr("-F", "text");
  static constexpr absl::string_view kFormats[] = {"text", "csv", "tsv", "jsonl", "openmetrics"};
  out.format = static_cast<Format>(std::find(std::begin(kFormats), std::end(kFormats), format) -
                                   std::begin(kFormats));
  for (const cli::Given* g : args.All("--expect")) {
    ASSIGN_OR_RETURN(Expectation e, ParseExpectation(g->text));
    out.expectations.push_back(std::move(e));
  }
  out.log_file = args.TextOr("-L", "");
  out.output_file = args.TextOr("-o", "");
  out.listen = args.TextOr("--listen", "");

  if (!out.listen.empty() && !absl::StartsWith(out.listen, "unix:")) {
    const size_t colon = out.listen.rfind(':');
    unsigned port = 0;
    if (colon == std::string::npos || !absl::SimpleAtoi(out.listen.substr(colon + 1), &port) ||
        port == 0 || port > 65535) {
      return UsageError(absl::StrCat("option '--listen': '", out.listen,
                                     "' is neither unix:PATH nor 127.0.0.1:PORT"));
    }
  }
  const bool once = args.Has("-1") || args.Has("--batch");
  const bool log = args.Has("-l") || args.Has("-L");
  if (once && log) return UsageError("-1 and -l exclude each other");
  if (!command.empty() && (once || log || !args.operands.empty())) {
    return UsageError("-- COMMAND goes without -1, -l, record, replay and diff");
  }
  if (!command.empty()) {
    out.mode = Mode::kCommand;
    out.command = command;
  } else if (once) {
    out.mode = Mode::kOnce;
  } else if (log) {
    out.mode = Mode::kLog;
  } else if (!out.listen.empty() ||
             (out.format == Format::kOpenMetrics && !out.output_file.empty())) {
    out.mode = Mode::kServe;
  } else if (out.format == Format::kOpenMetrics || !out.expectations.empty()) {
    out.mode = Mode::kOnce;
  } else if (out.format != Format::kText) {
    out.mode = Mode::kLog;
  } else if (!terminal) {
    out.mode = Mode::kOnce;
  }
  RETURN_IF_ERROR(ReadOperands(args.operands, once, out));
  if (!out.output_file.empty() && out.mode != Mode::kCommand &&
      !(out.mode == Mode::kServe && out.format == Format::kOpenMetrics)) {
    return UsageError("option '-o': goes with -F openmetrics or -- COMMAND");
  }
  return out;
}

}  // namespace atl::stat
