// SPDX-License-Identifier: Apache-2.0
// Gives a guest the keys of its viewers at the speed at which it takes them, and
// finds the keys that give what was typed as keysyms.
#ifndef LIB_CONSOLE_TYPIST_H_
#define LIB_CONSOLE_TYPIST_H_

#include <bitset>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>

#include "lib/host/event_loop.h"
#include "lib/ui/layout.h"
#include "lib/ui/screen.h"

namespace atl::console {

// The keys that one viewer holds.
struct HeldKeys {
  std::bitset<256> codes;
  // What was pressed for a keysym, which may be released under other modifiers.
  std::map<uint32_t, uint8_t> by_keysym;
};

// Thread rule: the loop's.
class Typist {
 public:
  // Of all viewers together; what is pressed beyond that is lost, as on a
  // keyboard. Releases are never lost.
  static constexpr size_t kMaxWaiting = 4096;
  // Between two events: BIOSes keep few keys, so faster ones are lost there.
  static constexpr uint64_t kPaceNs = 5'000'000;
  // A guest that does not look at its keyboard for this long gets the next one
  // all the same.
  static constexpr uint64_t kPatienceNs = 250'000'000;

  // `delivered` is called when the guest has taken an event. All outlive the
  // typist.
  Typist(host::EventLoop& loop, ui::Input& input, const ui::Layout& layout,
         std::function<void()> delivered);

  // As Key of wire.h.
  void Key(HeldKeys& held, bool down, uint8_t code, uint32_t keysym);
  // Everything that is held goes up.
  void Release(HeldKeys& held);

  // Counts events: those that were asked for, and those of them that the guest
  // has taken.
  uint64_t asked() const { return asked_; }
  uint64_t taken() const { return taken_; }

 private:
  struct Event {
    uint8_t code;
    bool down;
  };

  void Press(HeldKeys& held, uint8_t code, bool down);
  void PressKeysym(HeldKeys& held, uint32_t keysym);
  void Push(uint8_t code, bool down);
  void Next();
  void OnTimer();

  ui::Input& input_;
  const ui::Layout& layout_;
  const std::function<void()> delivered_;
  std::deque<Event> waiting_;
  uint64_t asked_ = 0;
  uint64_t taken_ = 0;
  uint64_t given_ns_ = 0;
  bool busy_ = false;  // the timer runs
  const std::unique_ptr<host::LoopTimer> timer_;
};

}  // namespace atl::console

#endif  // LIB_CONSOLE_TYPIST_H_
