// SPDX-License-Identifier: Apache-2.0
// Keyboard layouts: which key of a PC's keyboard gives a character where the
// guest believes its keyboard to be of that country. For keys that come as X11
// keysyms ("é was typed") and not as places on the keyboard.
#ifndef LIB_UI_LAYOUT_H_
#define LIB_UI_LAYOUT_H_

#include <cstdint>
#include <optional>
#include <span>

#include "absl/strings/string_view.h"

namespace atl::ui {

struct LayoutKey {
  uint8_t code = 0;  // keys.h
  bool shift = false;
  bool altgr = false;
  bool dead = false;  // shows only with the next key, a blank for the character itself
  friend bool operator==(const LayoutKey&, const LayoutKey&) = default;
};

class Layout {
 public:
  // The keys that type characters, in rows from the top left, and the four
  // levels of each; a blank for none.
  static constexpr unsigned kPlaces = 48;

  constexpr Layout(absl::string_view name, absl::string_view alias, const char32_t* plain,
                   const char32_t* shifted, const char32_t* altgr, const char32_t* dead)
      : name_(name), alias_(alias), plain_(plain), shifted_(shifted), altgr_(altgr), dead_(dead) {}

  absl::string_view name() const { return name_; }
  absl::string_view alias() const { return alias_; }
  // The key that gives a printable character, a dead one only where no other
  // does; a blank is the space bar.
  std::optional<LayoutKey> Find(char32_t character) const;

 private:
  absl::string_view name_, alias_;
  const char32_t *plain_, *shifted_, *altgr_, *dead_;
};

// The first is en-us.
std::span<const Layout> Layouts();
// By its name or its alias; null for none.
const Layout* FindLayout(absl::string_view name);

// X11's numbers (keysymdef.h). The character of a keysym, also of a dead one;
// nothing for keys that type none.
std::optional<char32_t> CharacterOfKeysym(uint32_t keysym);
bool IsDeadKeysym(uint32_t keysym);
// Of printable characters, \n or \r, \t, \b and escape.
uint32_t KeysymOfCharacter(char32_t character);
// Keys that are the same in every layout: Return, F1, Shift_L, KP_5.
std::optional<uint8_t> KeyOfKeysym(uint32_t keysym);

}  // namespace atl::ui

#endif  // LIB_UI_LAYOUT_H_
