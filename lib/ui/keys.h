// SPDX-License-Identifier: Apache-2.0
// Keys by name and by number.
//
// A name is a QKeyCode of the QEMU machine protocol ("ret", "ctrl_r", "kp_5"),
// as send-key uses. A number is what RFB's extended key events and QEMU's
// "number" use: the scancode of set 1, with bit 7 for an 0xE0 prefix; 0xC6 is
// Pause, 0xB7 Print Screen. lib/dev's keyboard takes these numbers.
#ifndef LIB_UI_KEYS_H_
#define LIB_UI_KEYS_H_

#include <cstdint>
#include <optional>
#include <span>

#include "absl/strings/string_view.h"

namespace atl::ui {

struct KeyName {
  absl::string_view name;
  uint8_t code;
};

// Sorted by name.
std::span<const KeyName> KeyNames();
std::optional<uint8_t> FindKey(absl::string_view name);
// The first name of a code; empty where there is none.
absl::string_view NameOfKey(uint8_t code);

inline constexpr uint8_t kKeyShift = 0x2A;
inline constexpr uint8_t kKeyCtrl = 0x1D;
inline constexpr uint8_t kKeyAlt = 0x38;
inline constexpr uint8_t kKeyAltRight = 0xB8;

// The key that types a character on a US keyboard.
struct TypedKey {
  uint8_t code;
  bool shift;
};
// For ASCII: printable characters, \b, \t, \n or \r, and escape.
std::optional<TypedKey> KeyOfCharacter(char c);

}  // namespace atl::ui

#endif  // LIB_UI_KEYS_H_
