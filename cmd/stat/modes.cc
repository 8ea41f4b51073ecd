// SPDX-License-Identifier: Apache-2.0
// What is done with samples, but for the terminal.
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <map>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "cmd/stat/listen.h"
#include "cmd/stat/print.h"
#include "cmd/stat/session.h"
#include "lib/base/status_macros.h"
#include "lib/base/unique_fd.h"
#include "lib/cli/main.h"
#include "lib/cli/table.h"
#include "lib/host/signals.h"
#include "lib/stats/sources/recording.h"

extern char** environ;

namespace atl::stat {
namespace {

// How often new VMs are looked for while a command runs.
constexpr uint64_t kCommandNs = 50'000'000;

absl::Status WriteAll(int fd, absl::string_view text, absl::string_view name) {
  while (!text.empty()) {
    const ssize_t n = write(fd, text.data(), text.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return ErrnoError(errno, name);
    text.remove_prefix(static_cast<size_t>(n));
  }
  return absl::OkStatus();
}

absl::StatusOr<UniqueFd> OpenLog(const std::string& file) {
  UniqueFd fd(open(file.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY, 0644));
  if (!fd.valid()) return ErrnoError(errno, file);
  return fd;
}

// A reader sees the old file or the new one.
absl::Status Replace(const std::string& file, absl::string_view text) {
  const std::string next = absl::StrCat(file, ".", getpid(), ".new");
  UniqueFd fd(open(next.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
  if (!fd.valid()) return ErrnoError(errno, next);
  absl::Status status = WriteAll(fd.get(), text, next);
  if (status.ok() && rename(next.c_str(), file.c_str()) != 0) status = ErrnoError(errno, file);
  if (!status.ok()) unlink(next.c_str());
  return status;
}

unsigned TerminalHeight() {
  winsize size;
  const bool known =
      isatty(STDOUT_FILENO) != 0 && ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_row > 2;
  return known ? size.ws_row - 2u : 20u;
}

// The loop that log, serve, record and command share.
class Run {
 public:
  explicit Run(const Options& options) : options_(options) {}

  absl::Status Begin() {
    ASSIGN_OR_RETURN(loop_, host::EventLoop::Create());
    ASSIGN_OR_RETURN(signals_, host::SignalWatch::Create(loop_.get(), {SIGINT, SIGTERM, SIGHUP},
                                                         [this](int number) {
                                                           if (number == SIGHUP && on_hangup_)
                                                             return on_hangup_();
                                                           loop_->Quit();
                                                         }));
    ASSIGN_OR_RETURN(sampler_, Sampler::Create(options_));
    return absl::OkStatus();
  }
  // The first sample; a source may come later where samples are taken for long.
  absl::Status First() { return sampler_->Take(); }

  // `each` after every further sample, until it is false, the count is reached or a
  // signal comes. Where no VM is left, samples go on: one may come.
  absl::Status Go(uint64_t interval_ns, std::function<absl::StatusOr<bool>()> each) {
    absl::Status result;
    uint64_t taken = 0;
    const auto tick = [&] {
      const absl::Status sampled = sampler_->Take();
      if (absl::IsOutOfRange(sampled)) return loop_->Quit();
      absl::StatusOr<bool> go = each();
      if (!go.ok()) result = go.status();
      if (!go.ok() || !*go || (options_.count != 0 && ++taken >= options_.count)) loop_->Quit();
    };
    if (sampler_->replays()) {
      // As fast as it can be read.
      for (;;) {
        const absl::Status sampled = sampler_->Take();
        if (absl::IsOutOfRange(sampled)) return result;
        RETURN_IF_ERROR(sampled);
        ASSIGN_OR_RETURN(bool go, each());
        if (!go || (options_.count != 0 && ++taken >= options_.count)) return result;
      }
    }
    Ticker ticker(*loop_, interval_ns, tick);
    loop_->Run();
    return result;
  }

  host::EventLoop& loop() { return *loop_; }
  Sampler& sampler() { return *sampler_; }
  stats::Collector& collector() { return sampler_->collector(); }
  void OnHangup(std::function<void()> f) { on_hangup_ = std::move(f); }

 private:
  const Options& options_;
  std::unique_ptr<host::EventLoop> loop_;
  std::unique_ptr<host::SignalWatch> signals_;
  std::unique_ptr<Sampler> sampler_;
  std::function<void()> on_hangup_;
};

// Standard output is written at once, so that who reads it is up to date, and its
// end is seen.
absl::Status Put(absl::string_view text) {
  return WriteAll(STDOUT_FILENO, text, "standard output");
}

std::string Whole(const Options& options, const stats::Collector& sample,
                  const std::vector<stats::Row>& rows) {
  if (options.format == Format::kText) {
    return OnceText(ShortLines(rows, options.compat, options.skip_zero), options.compat);
  }
  return NewLog(options, 20)->Sample(sample);
}

}  // namespace

absl::StatusOr<int> RunOnce(const Options& options) {
  Options once = options;
  once.count = 1;
  Run run(once);
  RETURN_IF_ERROR(run.Begin());
  RETURN_IF_ERROR(run.First());
  Growth growth;
  growth.Add(run.collector());
  if (run.sampler().replays()) once.count = 0;  // to its end
  RETURN_IF_ERROR(run.Go(once.interval_ns, [&]() -> absl::StatusOr<bool> {
    growth.Add(run.collector());
    return true;
  }));
  const std::vector<stats::Row> rows = growth.Rows(run.collector());
  RETURN_IF_ERROR(Put(Whole(once, run.collector(), rows)));
  return CheckExpectations(once.expectations, rows, growth.interval_ns());
}

absl::StatusOr<int> RunLog(const Options& options) {
  Run run(options);
  RETURN_IF_ERROR(run.Begin());
  UniqueFd file;
  if (!options.log_file.empty()) {
    ASSIGN_OR_RETURN(file, OpenLog(options.log_file));
    run.OnHangup([&] {
      // What cannot be opened anew goes on where it is.
      if (absl::StatusOr<UniqueFd> again = OpenLog(options.log_file); again.ok()) {
        file = *std::move(again);
      } else {
        cli::PrintError(cli::ProgramName(), again.status());
      }
    });
  }
  RETURN_IF_ERROR(run.First());
  std::unique_ptr<Listener> listener;
  if (!options.listen.empty()) {
    ASSIGN_OR_RETURN(listener, Listener::Create(run.loop(), options.listen,
                                                [&run] { return OpenMetrics(run.collector()); }));
  }
  const std::unique_ptr<Log> log = NewLog(options, file.valid() ? 20 : TerminalHeight());
  int code = cli::kExitDone;
  const auto put = [&]() -> absl::StatusOr<bool> {
    const std::string text = log->Sample(run.collector());
    RETURN_IF_ERROR(file.valid() ? WriteAll(file.get(), text, options.log_file) : Put(text));
    code = CheckExpectations(options.expectations, run.collector().rows(),
                             run.collector().time().interval_ns);
    return code == cli::kExitDone;
  };
  // With all that was counted before there is something to show at once.
  if (options.since_start) RETURN_IF_ERROR(put().status());
  RETURN_IF_ERROR(run.Go(options.interval_ns, put));
  return code;
}

absl::StatusOr<int> RunServe(const Options& options) {
  Run run(options);
  RETURN_IF_ERROR(run.Begin());
  RETURN_IF_ERROR(run.First());
  std::unique_ptr<Listener> listener;
  if (!options.listen.empty()) {
    ASSIGN_OR_RETURN(listener, Listener::Create(run.loop(), options.listen,
                                                [&run] { return OpenMetrics(run.collector()); }));
  }
  int code = cli::kExitDone;
  const auto put = [&]() -> absl::StatusOr<bool> {
    if (!options.output_file.empty()) {
      RETURN_IF_ERROR(Replace(options.output_file, OpenMetrics(run.collector())));
    }
    code = CheckExpectations(options.expectations, run.collector().rows(),
                             run.collector().time().interval_ns);
    return code == cli::kExitDone;
  };
  if (!options.output_file.empty()) {
    RETURN_IF_ERROR(Replace(options.output_file, OpenMetrics(run.collector())));
  }
  RETURN_IF_ERROR(run.Go(options.interval_ns, put));
  return code;
}

absl::StatusOr<int> RunRecord(const Options& options) {
  Run run(options);
  RETURN_IF_ERROR(run.Begin());
  RETURN_IF_ERROR(run.First());
  UniqueFd file(open(options.recording.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
  if (!file.valid()) return ErrnoError(errno, options.recording);
  stats::Recorder recorder;
  const auto put = [&]() -> absl::StatusOr<bool> {
    RETURN_IF_ERROR(WriteAll(
        file.get(), recorder.Sample(run.collector().time().wall_ns, run.collector().groups()),
        options.recording));
    return true;
  };
  RETURN_IF_ERROR(put().status());
  RETURN_IF_ERROR(run.Go(options.interval_ns, put));
  return cli::kExitDone;
}

absl::StatusOr<int> RunWithCommand(const Options& options) {
  Options o = options;
  // VMs that the command starts are new: all that they count belongs to it.
  Run run(o);
  RETURN_IF_ERROR(run.Begin());
  // There may be no VM before the command makes one.
  run.First().IgnoreError();
  Growth growth;
  growth.Add(run.collector());

  std::vector<char*> argv;
  for (const std::string& word : options.command) argv.push_back(const_cast<char*>(word.c_str()));
  argv.push_back(nullptr);
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  sigset_t none, defaults;
  sigemptyset(&none);
  sigemptyset(&defaults);
  for (int s : {SIGINT, SIGTERM, SIGHUP, SIGPIPE}) sigaddset(&defaults, s);
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setsigdefault(&attributes, &defaults);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  pid_t pid;
  const int error = posix_spawnp(&pid, argv[0], nullptr, &attributes, argv.data(), environ);
  posix_spawnattr_destroy(&attributes);
  if (error != 0) {
    cli::PrintError(cli::ProgramName(), ErrnoError(error, options.command[0]));
    return error == ENOENT ? 127 : 126;  // as a shell has it
  }
  const UniqueFd process(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
  if (!process.valid()) return ErrnoError(errno, "pidfd_open");
  ASSIGN_OR_RETURN(
      std::unique_ptr<host::FdWatch> ended,
      run.loop().Watch(process.get(), EPOLLIN, [&run](uint32_t) { run.loop().Quit(); }));
  absl::Status status = run.Go(kCommandNs, [&]() -> absl::StatusOr<bool> {
    growth.Add(run.collector());
    return true;
  });
  ended.reset();
  // A signal of ours is the command's too.
  int wait_status = 0;
  if (waitpid(pid, &wait_status, WNOHANG) == 0) {
    kill(pid, SIGTERM);
    waitpid(pid, &wait_status, 0);
  }
  RETURN_IF_ERROR(status);
  const absl::Status last = run.sampler().Take();
  growth.Add(run.collector());
  const int code = WIFEXITED(wait_status) ? WEXITSTATUS(wait_status) : 128 + WTERMSIG(wait_status);
  if (run.collector().rows().empty()) {
    cli::PrintError(cli::ProgramName(), last);
    return code != 0 ? code : cli::kExitFailed;
  }
  const std::vector<stats::Row> rows = growth.Rows(run.collector());
  const std::string text = Whole(o, run.collector(), rows);
  if (o.output_file.empty()) {
    RETURN_IF_ERROR(Put(text));
  } else {
    RETURN_IF_ERROR(Replace(o.output_file, text));
  }
  const int held = CheckExpectations(o.expectations, rows, growth.interval_ns());
  return code != 0 ? code : held;
}

absl::StatusOr<int> RunDiff(const Options& options) {
  struct Side {
    std::vector<stats::Row> rows;
    double seconds = 0;
  };
  const auto read = [&options](const std::string& file) -> absl::StatusOr<Side> {
    Options o = options;
    o.recording = file;
    ASSIGN_OR_RETURN(std::unique_ptr<Sampler> sampler, Sampler::Create(o));
    Growth growth;
    absl::Status taken;
    while ((taken = sampler->Take()).ok()) growth.Add(sampler->collector());
    if (!absl::IsOutOfRange(taken)) return taken;
    return Side{growth.Rows(sampler->collector()), static_cast<double>(growth.interval_ns()) / 1e9};
  };
  ASSIGN_OR_RETURN(Side a, read(options.recording));
  ASSIGN_OR_RETURN(Side b, read(options.other));
  std::map<std::string, std::pair<double, double>> lines;
  std::set<std::string> rates;
  for (int side = 0; side < 2; ++side) {
    const Side& s = side == 0 ? a : b;
    for (const Line& l : ShortLines(s.rows, options.compat, false)) {
      const bool rate = l.accumulates && s.seconds > 0;
      const double value = rate ? l.delta / s.seconds : l.total;
      if (rate) rates.insert(l.name);
      (side == 0 ? lines[l.name].first : lines[l.name].second) = value;
    }
  }
  cli::TextTable table;
  table.AddColumn("FIELD");
  for (const char* name : {"A", "B", "B-A", "CHANGE"}) {
    table.AddColumn(name, cli::TextTable::Align::kRight, 10);
  }
  for (const auto& [name, values] : lines) {
    const auto& [from, to] = values;
    if (options.skip_zero && from == 0 && to == 0) continue;
    const char* const unit = rates.count(name) != 0 ? "/s" : "";
    table.AddRow({name, absl::StrFormat("%.1f%s", from, unit), absl::StrFormat("%.1f%s", to, unit),
                  absl::StrFormat("%+.1f", to - from),
                  from == 0 ? "-" : absl::StrFormat("%+.1f%%", (to - from) / from * 100)});
  }
  RETURN_IF_ERROR(Put(table.ToString()));
  return cli::kExitDone;
}

}  // namespace atl::stat
