// SPDX-License-Identifier: Apache-2.0
#include "lib/ui/keys.h"

#include <algorithm>

namespace atl::ui {
namespace {

constexpr KeyName kNames[] = {
    {"0", 0x0B},
    {"1", 0x02},
    {"2", 0x03},
    {"3", 0x04},
    {"4", 0x05},
    {"5", 0x06},
    {"6", 0x07},
    {"7", 0x08},
    {"8", 0x09},
    {"9", 0x0A},
    {"a", 0x1E},
    {"ac_back", 0xEA},
    {"ac_bookmarks", 0xE6},
    {"ac_forward", 0xE9},
    {"ac_home", 0xB2},
    {"ac_refresh", 0xE7},
    {"again", 0x85},
    {"alt", 0x38},
    {"alt_r", 0xB8},
    {"apostrophe", 0x28},
    {"asterisk", 0x37},
    {"audiomute", 0xA0},
    {"audionext", 0x99},
    {"audioplay", 0xA2},
    {"audioprev", 0x90},
    {"audiostop", 0xA4},
    {"b", 0x30},
    {"backslash", 0x2B},
    {"backspace", 0x0E},
    {"bracket_left", 0x1A},
    {"bracket_right", 0x1B},
    {"c", 0x2E},
    {"calculator", 0xA1},
    {"caps_lock", 0x3A},
    {"comma", 0x33},
    {"compose", 0xDD},
    {"computer", 0xEB},
    {"copy", 0xF8},
    {"ctrl", 0x1D},
    {"ctrl_r", 0x9D},
    {"cut", 0xBC},
    {"d", 0x20},
    {"delete", 0xD3},
    {"dot", 0x34},
    {"down", 0xD0},
    {"e", 0x12},
    {"end", 0xCF},
    {"equal", 0x0D},
    {"esc", 0x01},
    {"f", 0x21},
    {"f1", 0x3B},
    {"f10", 0x44},
    {"f11", 0x57},
    {"f12", 0x58},
    {"f2", 0x3C},
    {"f3", 0x3D},
    {"f4", 0x3E},
    {"f5", 0x3F},
    {"f6", 0x40},
    {"f7", 0x41},
    {"f8", 0x42},
    {"f9", 0x43},
    {"find", 0xC1},
    {"front", 0x8C},
    {"g", 0x22},
    {"grave_accent", 0x29},
    {"h", 0x23},
    {"help", 0xF5},
    {"henkan", 0x79},
    {"hiragana", 0x77},
    {"home", 0xC7},
    {"i", 0x17},
    {"insert", 0xD2},
    {"j", 0x24},
    {"k", 0x25},
    {"katakana", 0x78},
    {"katakanahiragana", 0x70},
    {"kp_0", 0x52},
    {"kp_1", 0x4F},
    {"kp_2", 0x50},
    {"kp_3", 0x51},
    {"kp_4", 0x4B},
    {"kp_5", 0x4C},
    {"kp_6", 0x4D},
    {"kp_7", 0x47},
    {"kp_8", 0x48},
    {"kp_9", 0x49},
    {"kp_add", 0x4E},
    {"kp_comma", 0x7E},
    {"kp_decimal", 0x53},
    {"kp_divide", 0xB5},
    {"kp_enter", 0x9C},
    {"kp_equals", 0x59},
    {"kp_multiply", 0x37},
    {"kp_subtract", 0x4A},
    {"l", 0x26},
    {"lang1", 0x72},
    {"lang2", 0x71},
    {"left", 0xCB},
    {"less", 0x56},
    {"lf", 0x5B},
    {"m", 0x32},
    {"mail", 0xEC},
    {"mediaselect", 0xED},
    {"menu", 0x9E},
    {"meta_l", 0xDB},
    {"meta_r", 0xDC},
    {"minus", 0x0C},
    {"muhenkan", 0x7B},
    {"n", 0x31},
    {"num_lock", 0x45},
    {"o", 0x18},
    {"open", 0x64},
    {"p", 0x19},
    {"paste", 0x65},
    {"pause", 0xC6},
    {"pgdn", 0xD1},
    {"pgup", 0xC9},
    {"power", 0xDE},
    {"print", 0xB7},
    {"props", 0x86},
    {"q", 0x10},
    {"r", 0x13},
    {"ret", 0x1C},
    {"right", 0xCD},
    {"ro", 0x73},
    {"s", 0x1F},
    {"scroll_lock", 0x46},
    {"semicolon", 0x27},
    {"shift", 0x2A},
    {"shift_r", 0x36},
    {"slash", 0x35},
    {"sleep", 0xDF},
    {"spc", 0x39},
    {"stop", 0xE8},
    {"sysrq", 0x54},
    {"t", 0x14},
    {"tab", 0x0F},
    {"u", 0x16},
    {"undo", 0x87},
    {"up", 0xC8},
    {"v", 0x2F},
    {"volumedown", 0xAE},
    {"volumeup", 0xB0},
    {"w", 0x11},
    {"wake", 0xE3},
    {"x", 0x2D},
    {"y", 0x15},
    {"yen", 0x7D},
    {"z", 0x2C},
};

// By scancode, from 2: the keys that type characters, plain and shifted.
constexpr uint8_t kFirstTyped = 0x02;
constexpr char kPlainKeys[] =
    "1234567890-=\b\tqwertyuiop[]\n\0"
    "asdfghjkl;'`\0\\zxcvbnm,./";
constexpr absl::string_view kPlain(kPlainKeys, sizeof kPlainKeys - 1);
constexpr char kShiftedKeys[] =
    "!@#$%^&*()_+\b\tQWERTYUIOP{}\n\0"
    "ASDFGHJKL:\"~\0|ZXCVBNM<>?";
constexpr absl::string_view kShifted(kShiftedKeys, sizeof kShiftedKeys - 1);

}  // namespace

std::span<const KeyName> KeyNames() { return kNames; }

std::optional<uint8_t> FindKey(absl::string_view name) {
  const auto* it =
      std::lower_bound(std::begin(kNames), std::end(kNames), name,
                       [](const KeyName& k, absl::string_view n) { return k.name < n; });
  if (it == std::end(kNames) || it->name != name) return std::nullopt;
  return it->code;
}

absl::string_view NameOfKey(uint8_t code) {
  for (const KeyName& k : kNames) {
    if (k.code == code) return k.name;
  }
  return "";
}

std::optional<TypedKey> KeyOfCharacter(char c) {
  constexpr uint8_t kEscape = 0x01, kSpace = 0x39;
  if (c == '\0') return std::nullopt;
  if (c == ' ') return TypedKey{kSpace, false};
  if (c == '\x1B') return TypedKey{kEscape, false};
  if (c == '\r') c = '\n';
  if (c == '\x7F') c = '\b';
  const size_t plain = kPlain.find(c);
  if (plain != absl::string_view::npos) {
    return TypedKey{static_cast<uint8_t>(kFirstTyped + plain), false};
  }
  const size_t shifted = kShifted.find(c);
  if (shifted != absl::string_view::npos) {
    return TypedKey{static_cast<uint8_t>(kFirstTyped + shifted), true};
  }
  return std::nullopt;
}

}  // namespace atl::ui
