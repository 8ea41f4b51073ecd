// SPDX-License-Identifier: Apache-2.0
#include "lib/ui/layout.h"

#include <algorithm>
#include <iterator>
#include <string_view>

namespace atl::ui {
namespace {

constexpr uint8_t kPlaceCodes[Layout::kPlaces] = {
    0x29, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09, 0x0A, 0x0B, 0x0C, 0x0D,  //
    0x10, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18, 0x19, 0x1A, 0x1B,        //
    0x1E, 0x1F, 0x20, 0x21, 0x22, 0x23, 0x24, 0x25, 0x26, 0x27, 0x28, 0x2B,        //
    0x56, 0x2C, 0x2D, 0x2E, 0x2F, 0x30, 0x31, 0x32, 0x33, 0x34, 0x35};

using Level = char32_t[Layout::kPlaces + 1];

constexpr Level kNothing =
    U"             "
    U"            "
    U"            "
    U"           ";

constexpr Level kUsPlain =
    U"`1234567890-="
    U"qwertyuiop[]"
    U"asdfghjkl;'\\"
    U" zxcvbnm,./";
constexpr Level kUsShifted =
    U"~!@#$%^&*()_+"
    U"QWERTYUIOP{}"
    U"ASDFGHJKL:\"|"
    U" ZXCVBNM<>?";

constexpr Level kGbPlain =
    U"`1234567890-="
    U"qwertyuiop[]"
    U"asdfghjkl;'#"
    U"\\zxcvbnm,./";
constexpr Level kGbShifted =
    U"¬!\"£$%^&*()_+"
    U"QWERTYUIOP{}"
    U"ASDFGHJKL:@~"
    U"|ZXCVBNM<>?";
constexpr Level kGbAltGr =
    U"¦   €        "
    U"            "
    U"            "
    U"           ";

constexpr Level kDePlain =
    U"^1234567890ß´"
    U"qwertzuiopü+"
    U"asdfghjklöä#"
    U"<yxcvbnm,.-";
constexpr Level kDeShifted =
    U"°!\"§$%&/()=?`"
    U"QWERTZUIOPÜ*"
    U"ASDFGHJKLÖÄ'"
    U">YXCVBNM;:_";
constexpr Level kDeAltGr =
    U"  ²³   {[]}\\ "
    U"@ €        ~"
    U"            "
    U"|      µ   ";

constexpr Level kFrPlain =
    U"²&é\"'(-è_çà)="
    U"azertyuiop^$"
    U"qsdfghjklmù*"
    U"<wxcvbn,;:!";
constexpr Level kFrShifted =
    U" 1234567890°+"
    U"AZERTYUIOP¨£"
    U"QSDFGHJKLM%µ"
    U">WXCVBN?./§";
constexpr Level kFrAltGr =
    U"  ~#{[|`\\^@]}"
    U"  €        ¤"
    U"            "
    U"           ";

constexpr Layout kLayouts[] = {
    {"en-us", "us", kUsPlain, kUsShifted, kNothing, U""},
    {"en-gb", "gb", kGbPlain, kGbShifted, kGbAltGr, U""},
    {"de", "de-de", kDePlain, kDeShifted, kDeAltGr, U"^´`"},
    {"fr", "fr-fr", kFrPlain, kFrShifted, kFrAltGr, U"^¨"},
};

struct NamedKey {
  uint32_t keysym;
  uint8_t code;
};
constexpr NamedKey kNamedKeys[] = {
    {0xFE03, 0xB8},  // ISO_Level3_Shift
    {0xFE20, 0x0F},  // ISO_Left_Tab
    {0xFF08, 0x0E},  // BackSpace
    {0xFF09, 0x0F},  // Tab
    {0xFF0D, 0x1C},  // Return
    {0xFF13, 0xC6},  // Pause
    {0xFF14, 0x46},  // Scroll_Lock
    {0xFF15, 0x54},  // Sys_Req
    {0xFF1B, 0x01},  // Escape
    {0xFF50, 0xC7},  // Home
    {0xFF51, 0xCB},  // Left
    {0xFF52, 0xC8},  // Up
    {0xFF53, 0xCD},  // Right
    {0xFF54, 0xD0},  // Down
    {0xFF55, 0xC9},  // Page_Up
    {0xFF56, 0xD1},  // Page_Down
    {0xFF57, 0xCF},  // End
    {0xFF61, 0xB7},  // Print
    {0xFF63, 0xD2},  // Insert
    {0xFF67, 0xDD},  // Menu
    {0xFF6A, 0xF5},  // Help
    {0xFF6B, 0xC6},  // Break
    {0xFF7E, 0xB8},  // Mode_switch
    {0xFF7F, 0x45},  // Num_Lock
    {0xFF80, 0x39},  // KP_Space
    {0xFF89, 0x0F},  // KP_Tab
    {0xFF8D, 0x9C},  // KP_Enter
    {0xFF95, 0x47},  // KP_Home
    {0xFF96, 0x4B},  // KP_Left
    {0xFF97, 0x48},  // KP_Up
    {0xFF98, 0x4D},  // KP_Right
    {0xFF99, 0x50},  // KP_Down
    {0xFF9A, 0x49},  // KP_Page_Up
    {0xFF9B, 0x51},  // KP_Page_Down
    {0xFF9C, 0x4F},  // KP_End
    {0xFF9D, 0x4C},  // KP_Begin
    {0xFF9E, 0x52},  // KP_Insert
    {0xFF9F, 0x53},  // KP_Delete
    {0xFFAA, 0x37},  // KP_Multiply
    {0xFFAB, 0x4E},  // KP_Add
    {0xFFAC, 0x7E},  // KP_Separator
    {0xFFAD, 0x4A},  // KP_Subtract
    {0xFFAE, 0x53},  // KP_Decimal
    {0xFFAF, 0xB5},  // KP_Divide
    {0xFFB0, 0x52},  // KP_0
    {0xFFB1, 0x4F}, {0xFFB2, 0x50}, {0xFFB3, 0x51}, {0xFFB4, 0x4B}, {0xFFB5, 0x4C},
    {0xFFB6, 0x4D}, {0xFFB7, 0x47}, {0xFFB8, 0x48}, {0xFFB9, 0x49}, {0xFFBD, 0x59},  // KP_Equal
    {0xFFBE, 0x3B},                                                                  // F1
    {0xFFBF, 0x3C}, {0xFFC0, 0x3D}, {0xFFC1, 0x3E}, {0xFFC2, 0x3F}, {0xFFC3, 0x40},
    {0xFFC4, 0x41}, {0xFFC5, 0x42}, {0xFFC6, 0x43}, {0xFFC7, 0x44}, {0xFFC8, 0x57},
    {0xFFC9, 0x58}, {0xFFE1, 0x2A},  // Shift_L
    {0xFFE2, 0x36},                  // Shift_R
    {0xFFE3, 0x1D},                  // Control_L
    {0xFFE4, 0x9D},                  // Control_R
    {0xFFE5, 0x3A},                  // Caps_Lock
    {0xFFE6, 0x3A},                  // Shift_Lock
    {0xFFE7, 0xDB},                  // Meta_L
    {0xFFE8, 0xDC},                  // Meta_R
    {0xFFE9, 0x38},                  // Alt_L
    {0xFFEA, 0xB8},                  // Alt_R
    {0xFFEB, 0xDB},                  // Super_L
    {0xFFEC, 0xDC},                  // Super_R
    {0xFFFF, 0xD3},                  // Delete
};

struct DeadKey {
  uint32_t keysym;
  char32_t character;
};
constexpr DeadKey kDeadKeys[] = {
    {0xFE50, U'`'}, {0xFE51, U'´'}, {0xFE52, U'^'}, {0xFE53, U'~'}, {0xFE57, U'¨'},
};

constexpr uint32_t kEuroSign = 0x20AC;     // a keysym of its own
constexpr uint32_t kUnicode = 0x01000000;  // and then the character
constexpr char32_t kLastCharacter = 0x10FFFF;

}  // namespace

std::optional<LayoutKey> Layout::Find(char32_t character) const {
  constexpr uint8_t kSpaceBar = 0x39;
  if (character == U' ') return LayoutKey{kSpaceBar};
  std::optional<LayoutKey> dead;
  const struct {
    const char32_t* keys;
    bool shift, altgr;
  } levels[] = {{plain_, false, false}, {shifted_, true, false}, {altgr_, false, true}};
  for (const auto& level : levels) {
    const size_t at = std::u32string_view(level.keys, kPlaces).find(character);
    if (at == std::u32string_view::npos) continue;
    // Of the layouts here none has a dead key with AltGr.
    const bool is_dead =
        !level.altgr && std::u32string_view(dead_).find(character) != std::u32string_view::npos;
    const LayoutKey key{kPlaceCodes[at], level.shift, level.altgr, is_dead};
    if (!is_dead) return key;
    if (!dead) dead = key;
  }
  return dead;
}

std::span<const Layout> Layouts() { return kLayouts; }

const Layout* FindLayout(absl::string_view name) {
  for (const Layout& l : kLayouts) {
    if (l.name() == name || l.alias() == name) return &l;
  }
  return nullptr;
}

bool IsDeadKeysym(uint32_t keysym) {
  return std::any_of(std::begin(kDeadKeys), std::end(kDeadKeys),
                     [keysym](const DeadKey& k) { return k.keysym == keysym; });
}

std::optional<char32_t> CharacterOfKeysym(uint32_t keysym) {
  for (const DeadKey& k : kDeadKeys) {
    if (k.keysym == keysym) return k.character;
  }
  if ((keysym >= 0x20 && keysym <= 0x7E) || (keysym >= 0xA0 && keysym <= 0xFF)) return keysym;
  if (keysym == kEuroSign) return U'€';
  if (keysym > kUnicode + 0xFF && keysym <= kUnicode + kLastCharacter) return keysym - kUnicode;
  return std::nullopt;
}

uint32_t KeysymOfCharacter(char32_t c) {
  switch (c) {
    case U'\n':
    case U'\r':
      return 0xFF0D;
    case U'\t':
      return 0xFF09;
    case U'\b':
    case 0x7F:
      return 0xFF08;
    case 0x1B:
      return 0xFF1B;
    case U'€':
      return kEuroSign;
    default:
      return c <= 0xFF ? c : kUnicode + c;
  }
}

std::optional<uint8_t> KeyOfKeysym(uint32_t keysym) {
  const auto* it = std::lower_bound(std::begin(kNamedKeys), std::end(kNamedKeys), keysym,
                                    [](const NamedKey& k, uint32_t n) { return k.keysym < n; });
  if (it == std::end(kNamedKeys) || it->keysym != keysym) return std::nullopt;
  return it->code;
}

}  // namespace atl::ui
