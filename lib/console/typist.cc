// SPDX-License-Identifier: Apache-2.0
#include "lib/console/typist.h"

#include <optional>
#include <utility>

#include "lib/ui/keys.h"

namespace atl::console {
namespace {

constexpr uint8_t kShiftRight = 0x36;
constexpr uint8_t kCtrlRight = 0x9D;
constexpr uint8_t kSpaceBar = 0x39;
constexpr uint8_t kCapsLock = 0x04;  // of the lamps
constexpr size_t kMaxKeysyms = 64;
constexpr uint64_t kLookAgainNs = 2'000'000;

bool HasCase(char32_t c) {
  return (c >= U'a' && c <= U'z') || (c >= U'A' && c <= U'Z') ||
         (c >= 0xC0 && c <= 0xFE && c != 0xD7 && c != 0xDF && c != 0xF7);
}

}  // namespace

Typist::Typist(host::EventLoop& loop, ui::Input& input, const ui::Layout& layout,
               std::function<void()> delivered)
    : input_(input),
      layout_(layout),
      delivered_(std::move(delivered)),
      timer_(loop.NewTimer([this] { OnTimer(); })) {}

void Typist::Key(HeldKeys& held, bool down, uint8_t code, uint32_t keysym) {
  if (code != 0) return Press(held, code, down);
  if (down) return PressKeysym(held, keysym);
  const auto at = held.by_keysym.find(keysym);
  if (at == held.by_keysym.end()) return;
  Press(held, at->second, false);
  held.by_keysym.erase(at);
}

void Typist::Press(HeldKeys& held, uint8_t code, bool down) {
  // A key that is down may come down again: it repeats.
  if (down && waiting_.size() >= kMaxWaiting) return;
  if (!down && !held.codes[code]) return;
  held.codes[code] = down;
  Push(code, down);
}

void Typist::PressKeysym(HeldKeys& held, uint32_t keysym) {
  if (waiting_.size() >= kMaxWaiting) return;
  const auto remember = [&](uint8_t code) {
    if (held.by_keysym.size() < kMaxKeysyms) held.by_keysym[keysym] = code;
  };
  if (const std::optional<uint8_t> code = ui::KeyOfKeysym(keysym)) {
    remember(*code);
    return Press(held, *code, true);
  }
  const std::optional<char32_t> character = ui::CharacterOfKeysym(keysym);
  if (!character) return;
  const std::optional<ui::LayoutKey> key = layout_.Find(*character);
  if (!key) return;

  // With Ctrl or Alt it is the key that matters. Else the guest must see the
  // modifiers that its layout has for the character, whatever the viewer's has.
  const bool chord = held.codes[ui::kKeyCtrl] || held.codes[kCtrlRight] || held.codes[ui::kKeyAlt];
  bool shift = key->shift;
  if (HasCase(*character) && (input_.leds() & kCapsLock) != 0) shift = !shift;
  uint8_t up[3] = {}, down[3] = {};
  unsigned ups = 0, downs = 0;
  if (!chord) {
    const bool left = held.codes[ui::kKeyShift], right = held.codes[kShiftRight];
    if (shift && !left && !right) down[downs++] = ui::kKeyShift;
    if (!shift && left) up[ups++] = ui::kKeyShift;
    if (!shift && right) up[ups++] = kShiftRight;
    const bool altgr = held.codes[ui::kKeyAltRight];
    if (key->altgr && !altgr) down[downs++] = ui::kKeyAltRight;
    if (!key->altgr && altgr) up[ups++] = ui::kKeyAltRight;
  }
  for (unsigned i = 0; i < ups; ++i) Push(up[i], false);
  for (unsigned i = 0; i < downs; ++i) Push(down[i], true);
  const bool alone = key->dead && !ui::IsDeadKeysym(keysym);
  if (alone) {
    Push(key->code, true);
    Push(key->code, false);
  } else {
    remember(key->code);
    held.codes[key->code] = true;
    Push(key->code, true);
  }
  for (unsigned i = downs; i > 0; --i) Push(down[i - 1], false);
  if (alone) {
    Push(kSpaceBar, true);
    Push(kSpaceBar, false);
  }
  for (unsigned i = ups; i > 0; --i) Push(up[i - 1], true);
}

void Typist::Release(HeldKeys& held) {
  for (size_t code = 0; code < held.codes.size(); ++code) {
    if (held.codes[code]) Push(static_cast<uint8_t>(code), false);
  }
  held = HeldKeys();
}

void Typist::Push(uint8_t code, bool down) {
  waiting_.push_back({code, down});
  ++asked_;
  if (!busy_) Next();
}

void Typist::Next() {
  const Event event = waiting_.front();
  waiting_.pop_front();
  input_.Key(event.code, event.down);
  given_ns_ = host::MonotonicNs();
  busy_ = true;
  timer_->Arm(given_ns_ + kPaceNs);
}

void Typist::OnTimer() {
  const uint64_t now = host::MonotonicNs();
  if (!input_.keys_taken() && now < given_ns_ + kPatienceNs) {
    return timer_->Arm(now + kLookAgainNs);
  }
  ++taken_;
  busy_ = false;
  if (!waiting_.empty()) Next();
  delivered_();
}

}  // namespace atl::console
