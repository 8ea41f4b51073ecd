// SPDX-License-Identifier: Apache-2.0
#define NCURSES_WIDECHAR 1
#include "cmd/run/curses.h"

#include <curses.h>
#include <locale.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <wchar.h>

#include <algorithm>
#include <deque>
#include <optional>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_format.h"
#include "lib/base/status_macros.h"
#include "lib/ui/keys.h"

namespace atl::run {
namespace {

constexpr uint64_t kFrameNs = 33'000'000;
// A guest reads keys at its own speed, and its queue is short: typed ones wait
// here, and what is pasted beyond that is lost.
constexpr uint64_t kKeyNs = 10'000'000;
constexpr size_t kMaxWaitingKeys = 4096;

// The VGA's colours in the order of the terminal's: blue and red change places.
constexpr short kTerminalColor[8] = {COLOR_BLACK, COLOR_BLUE,    COLOR_GREEN,  COLOR_CYAN,
                                     COLOR_RED,   COLOR_MAGENTA, COLOR_YELLOW, COLOR_WHITE};

constexpr int kCtrlA = 1;

struct SpecialKey {
  int curses;
  uint8_t code;
};
constexpr SpecialKey kSpecialKeys[] = {
    {KEY_UP, 0xC8},   {KEY_DOWN, 0xD0}, {KEY_LEFT, 0xCB},      {KEY_RIGHT, 0xCD},
    {KEY_HOME, 0xC7}, {KEY_END, 0xCF},  {KEY_PPAGE, 0xC9},     {KEY_NPAGE, 0xD1},
    {KEY_IC, 0xD2},   {KEY_DC, 0xD3},   {KEY_BACKSPACE, 0x0E}, {KEY_ENTER, 0x9C},
    {KEY_B2, 0x4C},   {KEY_A1, 0x47},   {KEY_A3, 0x49},        {KEY_C1, 0x4F},
    {KEY_C3, 0x51},
};
constexpr uint8_t kFunctionKeys[12] = {0x3B, 0x3C, 0x3D, 0x3E, 0x3F, 0x40,
                                       0x41, 0x42, 0x43, 0x44, 0x57, 0x58};

struct Stroke {
  uint8_t code;
  bool shift = false, ctrl = false, alt = false;
};

class Curses final : public CursesDisplay {
 public:
  Curses(host::EventLoop& loop, ui::Screen& screen, ui::Input& input, std::function<void()> quit)
      : loop_(loop), screen_(screen), input_(input), quit_(std::move(quit)) {}

  ~Curses() override {
    key_timer_.reset();
    frame_timer_.reset();
    watch_.reset();
    endwin();
    if (terminal_ != nullptr) delscreen(terminal_);
  }

  absl::Status Start();
  void Resized() override;

 private:
  void Draw();
  void DrawText(const ui::TextScreen& text);
  void DrawMessage();
  attr_t AttributeOf(uint8_t attribute, bool blink, short* pair);
  void Readable();
  void Take(wint_t c, bool special);
  void Type(Stroke stroke);
  void SendNext();

  host::EventLoop& loop_;
  ui::Screen& screen_;
  ui::Input& input_;
  const std::function<void()> quit_;
  SCREEN* terminal_ = nullptr;
  std::unique_ptr<host::FdWatch> watch_;
  std::unique_ptr<host::LoopTimer> frame_timer_;
  std::unique_ptr<host::LoopTimer> key_timer_;
  bool colors_ = false;
  std::optional<ui::TextScreen> drawn_;
  bool redraw_ = true;
  bool command_ = false;  // Ctrl-A was typed
  // Codes to send, with whether the key goes down.
  std::deque<std::pair<uint8_t, bool>> waiting_;
};

absl::Status Curses::Start() {
  if (isatty(STDIN_FILENO) == 0 || isatty(STDOUT_FILENO) == 0) {
    return absl::FailedPreconditionError("-display curses: this is no terminal");
  }
  setlocale(LC_CTYPE, "");
  if (MB_CUR_MAX == 1) setlocale(LC_CTYPE, "C.UTF-8");
  // Escape sequences come whole; a lone escape should not wait long.
  set_escdelay(25);
  terminal_ = newterm(nullptr, stdout, stdin);
  if (terminal_ == nullptr) {
    return absl::FailedPreconditionError(
        "-display curses: the terminal's type (TERM) is not known here");
  }
  raw();
  noecho();
  nonl();
  keypad(stdscr, TRUE);
  nodelay(stdscr, TRUE);
  meta(stdscr, TRUE);
  if (has_colors()) {
    start_color();
    colors_ = true;
    // From 1, since pair 0 is the terminal's own.
    for (short bg = 0; bg < 8; ++bg) {
      for (short fg = 0; fg < 8; ++fg) {
        const short pair = static_cast<short>(1 + bg * 8 + fg);
        if (pair < COLOR_PAIRS) init_pair(pair, kTerminalColor[fg], kTerminalColor[bg]);
      }
    }
  }
  ASSIGN_OR_RETURN(watch_, loop_.Watch(STDIN_FILENO, EPOLLIN, [this](uint32_t events) {
    if ((events & (EPOLLHUP | EPOLLERR)) != 0) {  // the terminal is gone
      watch_->SetEvents(0);
      return quit_();
    }
    Readable();
  }));
  key_timer_ = loop_.NewTimer([this] { SendNext(); });
  frame_timer_ = loop_.NewTimer([this] {
    Draw();
    frame_timer_->Arm(host::MonotonicNs() + kFrameNs);
  });
  frame_timer_->Arm(host::MonotonicNs());
  return absl::OkStatus();
}

void Curses::Resized() {
  struct winsize size;
  if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_row > 0 && size.ws_col > 0) {
    resizeterm(size.ws_row, size.ws_col);
  }
  redraw_ = true;
}

attr_t Curses::AttributeOf(uint8_t attribute, bool blink, short* pair) {
  const unsigned foreground = attribute & 7;
  const unsigned background = attribute >> 4 & 7;
  *pair = colors_ ? static_cast<short>(1 + background * 8 + foreground) : 0;
  attr_t out = A_NORMAL;
  if ((attribute & 8) != 0) out |= A_BOLD;
  if (blink && (attribute & 0x80) != 0) out |= A_BLINK;
  if (!colors_ && background > foreground) out |= A_REVERSE;
  return out;
}

void Curses::Draw() {
  std::optional<ui::TextScreen> text = screen_.Text();
  if (!redraw_ && text == drawn_) return;
  erase();
  if (text) {
    DrawText(*text);
  } else {
    DrawMessage();
  }
  refresh();
  // The size in the message may change while there is no text.
  redraw_ = !text;
  drawn_ = std::move(text);
}

void Curses::DrawText(const ui::TextScreen& text) {
  const unsigned rows = std::min<unsigned>(text.rows, static_cast<unsigned>(std::max(LINES, 0)));
  const unsigned columns =
      std::min<unsigned>(text.columns, static_cast<unsigned>(std::max(COLS, 0)));
  // A terminal that is too low shows the part that the cursor is in.
  unsigned first = 0;
  if (text.cursor && *text.cursor / text.columns >= rows) {
    first = *text.cursor / text.columns - rows + 1;
  }
  for (unsigned y = 0; y < rows; ++y) {
    for (unsigned x = 0; x < columns; ++x) {
      const ui::TextCell& cell = text.cells[size_t{first + y} * text.columns + x];
      short pair;
      const attr_t attribute = AttributeOf(cell.attribute, text.blink, &pair);
      const wchar_t c[2] = {static_cast<wchar_t>(ui::UnicodeOfCp437(cell.code)), 0};
      cchar_t out;
      setcchar(&out, c, attribute, pair, nullptr);
      mvadd_wch(static_cast<int>(y), static_cast<int>(x), &out);
    }
  }
  bool shown = false;
  if (text.cursor) {
    const unsigned y = *text.cursor / text.columns - first;
    const unsigned x = *text.cursor % text.columns;
    shown = y < rows && x < columns;
    if (shown) move(static_cast<int>(y), static_cast<int>(x));
  }
  curs_set(shown ? 1 : 0);
}

void Curses::DrawMessage() {
  std::string message = "the guest's screen is blank";
  if (screen_.kind() == ui::ScreenKind::kGraphics) {
    const ui::Surface picture = screen_.Capture();
    message = absl::StrFormat("the guest shows graphics, %dx%d", picture.width, picture.height);
  }
  curs_set(0);
  const int x = std::max(0, (COLS - static_cast<int>(message.size())) / 2);
  mvaddnstr(LINES / 2, x, message.c_str(), std::max(0, COLS));
}

void Curses::Readable() {
  bool escape = false;
  for (;;) {
    wint_t c;
    const int kind = get_wch(&c);
    if (kind == ERR) break;
    if (kind == OK && c == 0x1B && !escape && !command_) {
      // Alt and a key come as an escape before it.
      escape = true;
      continue;
    }
    if (escape) {
      escape = false;
      const std::optional<ui::TypedKey> key =
          kind == OK && c < 0x80 ? ui::KeyOfCharacter(static_cast<char>(c)) : std::nullopt;
      if (key) {
        Type({.code = key->code, .shift = key->shift, .alt = true});
        continue;
      }
      Take(0x1B, false);
    }
    Take(c, kind == KEY_CODE_YES);
  }
  if (escape) Take(0x1B, false);
}

void Curses::Take(wint_t c, bool special) {
  if (special) {
    // What resizeterm() leaves behind; answering it with another would not end.
    if (c == static_cast<wint_t>(KEY_RESIZE)) return;
    if (c > static_cast<wint_t>(KEY_F0) && c <= static_cast<wint_t>(KEY_F0 + 12)) {
      return Type({.code = kFunctionKeys[c - KEY_F0 - 1]});
    }
    if (c == static_cast<wint_t>(KEY_BTAB)) return Type({.code = 0x0F, .shift = true});
    for (const SpecialKey& k : kSpecialKeys) {
      if (static_cast<wint_t>(k.curses) == c) return Type({.code = k.code});
    }
    return;
  }
  if (command_) {
    command_ = false;
    if (c == 'x') return quit_();
    if (c == 'd') return Type({.code = 0xD3, .ctrl = true, .alt = true});
    if (c == 'l') {
      redraw_ = true;
      clearok(stdscr, TRUE);
      return;
    }
    if (c == kCtrlA) return Type({.code = 0x1E, .ctrl = true});
    return;
  }
  if (c == kCtrlA) {
    command_ = true;
    return;
  }
  if (c >= 0x80) return;  // no key of a US keyboard
  const char ascii = static_cast<char>(c);
  if (std::optional<ui::TypedKey> key = ui::KeyOfCharacter(ascii)) {
    return Type({.code = key->code, .shift = key->shift});
  }
  // Control characters: Ctrl and the letter, or what stands 64 further.
  const char letter = static_cast<char>(c >= 1 && c <= 26 ? c + 'a' - 1 : c + '@');
  if (std::optional<ui::TypedKey> key = ui::KeyOfCharacter(letter)) {
    Type({.code = key->code, .shift = key->shift, .ctrl = true});
  }
}

void Curses::Type(Stroke stroke) {
  if (waiting_.size() > kMaxWaitingKeys) return;
  const bool idle = waiting_.empty();
  const std::pair<bool, uint8_t> modifiers[] = {
      {stroke.ctrl, ui::kKeyCtrl}, {stroke.alt, ui::kKeyAlt}, {stroke.shift, ui::kKeyShift}};
  for (const auto& [held, code] : modifiers) {
    if (held) waiting_.emplace_back(code, true);
  }
  waiting_.emplace_back(stroke.code, true);
  waiting_.emplace_back(stroke.code, false);
  for (const auto& [held, code] : modifiers) {
    if (held) waiting_.emplace_back(code, false);
  }
  if (idle) SendNext();
}

void Curses::SendNext() {
  if (waiting_.empty()) return;
  const auto [code, down] = waiting_.front();
  input_.Key(code, down);
  waiting_.pop_front();
  if (!waiting_.empty()) key_timer_->Arm(host::MonotonicNs() + kKeyNs);
}

}  // namespace

absl::StatusOr<std::unique_ptr<CursesDisplay>> CursesDisplay::Create(host::EventLoop& loop,
                                                                     ui::Screen& screen,
                                                                     ui::Input& input,
                                                                     std::function<void()> quit) {
  auto display = std::make_unique<Curses>(loop, screen, input, std::move(quit));
  RETURN_IF_ERROR(display->Start());
  return display;
}

}  // namespace atl::run
