// SPDX-License-Identifier: Apache-2.0
#define NCURSES_WIDECHAR 1
#include "cmd/stat/terminal.h"

#include <curses.h>
#include <fcntl.h>
#include <langinfo.h>
#include <locale.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "cmd/stat/session.h"
#include "cmd/stat/view.h"
#include "lib/base/status_macros.h"
#include "lib/base/unique_fd.h"
#include "lib/cli/main.h"
#include "lib/host/event_loop.h"
#include "lib/host/signals.h"

namespace atl::stat {
namespace {

// The first difference comes soon; then the interval counts.
constexpr uint64_t kFirstNs = 250'000'000;
// More than a recording's samples ever lie apart, but for a broken one.
constexpr uint64_t kLongestNs = uint64_t{86'400} * 1'000'000'000;

constexpr std::pair<int, int> kKeys[] = {{KEY_UP, kKeyUp},        {KEY_DOWN, kKeyDown},
                                         {KEY_PPAGE, kKeyPageUp}, {KEY_NPAGE, kKeyPageDown},
                                         {KEY_HOME, kKeyHome},    {KEY_END, kKeyEnd},
                                         {KEY_ENTER, kKeyEnter},  {KEY_BACKSPACE, kKeyBackspace}};

class Terminal {
 public:
  ~Terminal() {
    if (screen_ == nullptr) return;
    endwin();
    delscreen(screen_);
  }

  absl::Status Open() {
    if (isatty(STDIN_FILENO) == 0 || isatty(STDOUT_FILENO) == 0) {
      return absl::FailedPreconditionError("this is no terminal: -1 and -l need none");
    }
    setlocale(LC_CTYPE, "");
    if (MB_CUR_MAX == 1) setlocale(LC_CTYPE, "C.UTF-8");
    unicode_ = strcmp(nl_langinfo(CODESET), "UTF-8") == 0;
    set_escdelay(25);
    screen_ = newterm(nullptr, stdout, stdin);
    if (screen_ == nullptr) {
      return absl::FailedPreconditionError("the terminal's type (TERM) is not known here");
    }
    raw();
    noecho();
    nonl();
    keypad(stdscr, TRUE);
    nodelay(stdscr, TRUE);
    curs_set(0);
    if (has_colors()) {
      start_color();
      use_default_colors();
      colors_ = true;
      init_pair(1, COLOR_GREEN, -1);
      init_pair(2, COLOR_RED, -1);
      init_pair(3, COLOR_CYAN, -1);
    }
    return absl::OkStatus();
  }

  void Draw(const std::vector<ScreenLine>& lines) {
    erase();
    for (size_t i = 0; i < lines.size(); ++i) {
      attrset(Attribute(lines[i].style));
      mvaddnstr(static_cast<int>(i), 0, lines[i].text.c_str(), -1);
    }
    attrset(A_NORMAL);
    refresh();
  }

  void Resize() {
    winsize size;
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_row > 0 && size.ws_col > 0) {
      resizeterm(size.ws_row, size.ws_col);
    }
    clearok(stdscr, TRUE);
  }

  // -1 where there is none.
  int Read() {
    for (;;) {
      wint_t c;
      const int kind = get_wch(&c);
      if (kind == ERR) return -1;
      if (kind == KEY_CODE_YES) {
        for (const auto& [curses, key] : kKeys) {
          if (static_cast<wint_t>(curses) == c) return key;
        }
        continue;
      }
      if (c == '\r' || c == '\n') return kKeyEnter;
      if (c == 0x7F || c == 8) return kKeyBackspace;
      if (c == 0x1B) return kKeyEscape;
      return static_cast<int>(c);
    }
  }

  int rows() const { return LINES; }
  int columns() const { return COLS; }
  bool unicode() const { return unicode_; }

 private:
  // A terminal without colours has bold, dim and reverse.
  int Attribute(Style style) const {
    const auto color = [this](int pair) {
      return colors_ ? static_cast<int>(COLOR_PAIR(pair)) : 0;
    };
    switch (style) {
      case Style::kTitle:
        return static_cast<int>(A_BOLD) | color(3);
      case Style::kHeading:
        return static_cast<int>(A_REVERSE);
      case Style::kSelected:
        return static_cast<int>(A_STANDOUT) | static_cast<int>(A_BOLD);
      case Style::kEnded:
        return static_cast<int>(A_DIM);
      case Style::kError:
        return static_cast<int>(A_BOLD) | color(2);
      case Style::kBusy:
        return color(1);
      case Style::kNormal:
        break;
    }
    return static_cast<int>(A_NORMAL);
  }

  SCREEN* screen_ = nullptr;
  bool colors_ = false;
  bool unicode_ = false;
};

// A name that is not there yet, in the present folder.
absl::StatusOr<std::string> WriteSnapshot(const std::string& text) {
  for (int i = 1; i < 1000; ++i) {
    const std::string name = absl::StrCat("stat-", i, ".txt");
    const UniqueFd fd(open(name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644));
    if (!fd.valid() && errno == EEXIST) continue;
    if (!fd.valid()) return ErrnoError(errno, name);
    if (write(fd.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size())) {
      return ErrnoError(errno, name);
    }
    return name;
  }
  return absl::AlreadyExistsError("stat-1.txt to stat-999.txt are all there");
}

}  // namespace

absl::StatusOr<int> RunView(const Options& options) {
  ASSIGN_OR_RETURN(std::unique_ptr<host::EventLoop> loop, host::EventLoop::Create());
  ASSIGN_OR_RETURN(std::unique_ptr<Sampler> sampler, Sampler::Create(options));
  // Before the terminal is ours: what goes wrong now is said as it always is.
  RETURN_IF_ERROR(sampler->Take());
  Terminal terminal;
  RETURN_IF_ERROR(terminal.Open());
  View view(options, terminal.unicode());
  absl::Status failed;
  const auto draw = [&] {
    terminal.Draw(view.Draw(sampler->collector(), terminal.rows(), terminal.columns()));
  };
  ASSIGN_OR_RETURN(
      std::unique_ptr<host::SignalWatch> signals,
      host::SignalWatch::Create(loop.get(), {SIGINT, SIGTERM, SIGHUP, SIGWINCH}, [&](int number) {
        if (number != SIGWINCH) return loop->Quit();
        terminal.Resize();
        draw();
      }));
  const auto sample = [&] {
    if (view.paused()) return;
    const absl::Status status = sampler->Take();
    if (!status.ok() && !absl::IsOutOfRange(status)) view.Say(std::string(status.message()), true);
    view.Sampled(sampler->collector());
    draw();
  };
  std::unique_ptr<Ticker> ticker;
  std::unique_ptr<host::LoopTimer> next;
  // A recording's samples come as they were taken, or each interval that was asked for.
  bool as_recorded = !options.interval_given;
  const auto arm = [&] {
    if (ticker != nullptr) {
      if (view.options().interval_ns > kFirstNs) next->Arm(host::MonotonicNs() + kFirstNs);
      return;
    }
    const std::optional<uint64_t> gap = sampler->UntilNext();
    if (!gap) {
      const absl::Status end = sampler->Take();
      return view.Say(std::string(end.message()), !absl::IsOutOfRange(end));
    }
    const uint64_t wait = as_recorded ? *gap : view.options().interval_ns;
    next->Arm(host::MonotonicNs() + std::min(wait, kLongestNs));
  };
  next = loop->NewTimer([&] {
    sample();
    if (ticker != nullptr) return;
    arm();
    draw();
  });
  if (!sampler->replays()) ticker = std::make_unique<Ticker>(*loop, options.interval_ns, sample);
  arm();

  const auto pressed = [&](int key) {
    switch (view.Press(key, sampler->collector())) {
      case View::Wish::kNothing:
        break;
      case View::Wish::kQuit:
        loop->Quit();
        return;
      case View::Wish::kFilter: {
        stats::Collector::Filter filter;
        if (view.options().fields) filter.fields = view.options().fields;
        filter.vcpus = view.options().vcpus;
        sampler->collector().SetFilter(std::move(filter));
        break;
      }
      case View::Wish::kRestart: {
        absl::Status status = sampler->Restart(view.options());
        if (status.ok()) status = sampler->Take();
        if (!status.ok()) view.Say(std::string(status.message()), true);
        arm();
        break;
      }
      case View::Wish::kInterval:
        as_recorded = false;
        if (ticker != nullptr) {
          ticker->SetInterval(view.options().interval_ns);
        } else {
          arm();
        }
        break;
      case View::Wish::kWrite: {
        absl::StatusOr<std::string> name = WriteSnapshot(view.Snapshot(sampler->collector()));
        view.Say(
            name.ok() ? absl::StrCat("written to ", *name) : std::string(name.status().message()),
            !name.ok());
        break;
      }
    }
    draw();
  };
  ASSIGN_OR_RETURN(std::unique_ptr<host::FdWatch> keys,
                   loop->Watch(STDIN_FILENO, EPOLLIN, [&](uint32_t events) {
                     if ((events & (EPOLLHUP | EPOLLERR)) != 0) return loop->Quit();
                     for (int key = terminal.Read(); key >= 0; key = terminal.Read()) pressed(key);
                   }));
  draw();
  loop->Run();
  keys.reset();
  next.reset();
  return cli::kExitDone;
}

}  // namespace atl::stat
