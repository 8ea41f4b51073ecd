// SPDX-License-Identifier: Apache-2.0
// The messages of the console socket, atoll-console(5): what `run` and a viewer
// say to each other over a unix socket of type SOCK_SEQPACKET. One packet is one
// message: a header and the bytes that its type says; numbers are little-endian.
//
// Encoding and decoding only: no descriptors, no state, any thread. Decoding
// bounds everything, so that what it returns can be used as it is; each message
// has one encoding only.
#ifndef LIB_CONSOLE_WIRE_H_
#define LIB_CONSOLE_WIRE_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "lib/base/endian.h"
#include "lib/ui/screen.h"

namespace atl::console {

inline constexpr uint32_t kMagic = 0x4E435441;  // "ATCN"
inline constexpr uint16_t kVersion = 1;         // the highest known here

// Limits, of both directions.
inline constexpr unsigned kMaxWidth = ui::Surface::kMaxWidth;
inline constexpr unsigned kMaxHeight = ui::Surface::kMaxHeight;
inline constexpr unsigned kTile = ui::Damage::kTile;
inline constexpr unsigned kMaxCursor = 128;               // pixels, each way
inline constexpr size_t kMaxClipboard = 128 * 1024 - 64;  // bytes of UTF-8
inline constexpr size_t kMaxName = 255;                   // bytes of UTF-8
inline constexpr size_t kMaxReason = 255;
inline constexpr size_t kMaxCells = 32768;        // of a text screen
inline constexpr size_t kMaxPacket = 128 * 1024;  // with its header
// The framebuffer's memory; what a Mode says lies within.
inline constexpr uint64_t kMaxMemory = uint64_t{4} * kMaxWidth * kMaxHeight * 2;

struct Header {
  le16 type;
  le16 zero;
  le32 size;  // bytes that follow
};
static_assert(sizeof(Header) == 8);

// --- Both ways ---

// UTF-8 without NUL. From a viewer: what its user copied; from run: what the
// guest did.
struct Clipboard {
  std::string text;
  friend bool operator==(const Clipboard&, const Clipboard&) = default;
};

// --- From a viewer ---

// The first message: which versions it speaks. The answer is a Welcome, or a
// Bye where none of them is known.
struct Hello {
  uint16_t lowest = 1;
  uint16_t highest = kVersion;
  // It will send no input: run refuses any from it.
  bool view_only = false;
  friend bool operator==(const Hello&, const Hello&) = default;
};
// Wants one Damage (and what else is new) as soon as there is some: a viewer that
// asks no more gets no more. `all`: as though the whole picture had changed.
struct Update {
  bool all = false;
  friend bool operator==(const Update&, const Update&) = default;
};
// At least one of the two is not 0. Where `code` is there it counts, and says
// which key of a PC's keyboard it is, whatever is printed on it (lib/ui/keys.h:
// set 1 scancode, bit 7 for an 0xE0 prefix, as RFB's extended key events). Else
// run looks for the key that gives the X11 keysym, by its -k layout.
struct Key {
  bool down = false;
  uint8_t code = 0;
  uint32_t keysym = 0;
  friend bool operator==(const Key&, const Key&) = default;
};
// The pointer. Absolute: x and y are pixels of a picture of `width` x `height`,
// inside it. Relative: they are moves, right and down positive.
struct Pointer {
  bool absolute = false;
  uint8_t buttons = 0;     // held: bit 0 left, 1 right, 2 middle, 3 and 4 side
  int8_t wheel = 0;        // notches, down positive
  int8_t wheel_right = 0;  // right positive
  int16_t x = 0, y = 0;
  uint16_t width = 0, height = 0;  // 0 where relative
  friend bool operator==(const Pointer&, const Pointer&) = default;
};
// Wants a Text.
struct AskText {
  friend bool operator==(const AskText&, const AskText&) = default;
};
// Wants a Synced when the guest has got the keys before.
struct Sync {
  uint32_t id = 0;
  friend bool operator==(const Sync&, const Sync&) = default;
};
enum class PowerAction : uint8_t {
  kShutDown = 1,  // the power button
  kReset = 2,     // the reset button
};
// Where Welcome said that it may.
struct Power {
  PowerAction action = PowerAction::kShutDown;
  friend bool operator==(const Power&, const Power&) = default;
};

using FromViewer = std::variant<Hello, Update, Key, Pointer, AskText, Sync, Power, Clipboard>;

// --- From run ---

// Comes with one descriptor: a memfd of `memory` bytes that can be mapped for
// reading only and never changes its size.
struct Welcome {
  uint16_t version = kVersion;
  bool power = false;  // Power messages are heeded
  bool input = false;  // so is input
  uint64_t memory = 0;
  friend bool operator==(const Welcome&, const Welcome&) = default;
};
// Where in the memory the picture lies from now on: rows of `width` pixels from
// the top, `stride` bytes apart, each le32 0x00RRGGBB. Everything is damaged.
struct Mode {
  ui::ScreenKind kind = ui::ScreenKind::kBlank;
  uint32_t width = 0, height = 0;  // pixels, at least 1
  uint32_t stride = 0;             // bytes, a multiple of 4
  uint64_t offset = 0;             // bytes, a multiple of 4096
  friend bool operator==(const Mode&, const Mode&) = default;
};
// Which tiles of 16x16 pixels changed since the last Damage: rows of tiles from
// `first_row`, each of ceil(columns / 8) bytes, the lowest bit of a byte left.
// Bits past the last column are 0; at least one is 1.
struct Tiles {
  uint16_t columns = 0;  // of the whole picture, at least 1
  uint16_t first_row = 0;
  uint16_t rows = 0;          // at least 1
  std::vector<uint8_t> bits;  // rows * RowBytes(columns)

  static size_t RowBytes(unsigned columns) { return (columns + 7) / 8; }
  bool Has(unsigned column, unsigned row) const {
    if (row < first_row || row - first_row >= rows || column >= columns) return false;
    return (bits[(row - first_row) * RowBytes(columns) + column / 8] >> column % 8 & 1) != 0;
  }
  friend bool operator==(const Tiles&, const Tiles&) = default;
};
// The guest's own pointer, where its display draws one. Without pixels there is
// none, and the viewer shows its own.
struct Cursor {
  uint16_t width = 0, height = 0;  // at most kMaxCursor, both 0 or none
  uint16_t hot_x = 0, hot_y = 0;   // inside it
  std::vector<uint32_t> pixels;    // width * height, 0xAARRGGBB, not premultiplied
  friend bool operator==(const Cursor&, const Cursor&) = default;
};
// Whether the guest takes absolute positions now. Both kinds may be sent always.
struct PointerMode {
  bool absolute = false;
  friend bool operator==(const PointerMode&, const PointerMode&) = default;
};
struct Leds {
  uint8_t lit = 0;  // bit 0 scroll lock, 1 num lock, 2 caps lock
  friend bool operator==(const Leds&, const Leds&) = default;
};
struct Name {
  std::string text;  // UTF-8
  friend bool operator==(const Name&, const Name&) = default;
};
// The answer to AskText; no cells where the screen is none of text.
struct Text {
  ui::TextScreen screen;
  friend bool operator==(const Text&, const Text&) = default;
};
struct Synced {
  uint32_t id = 0;
  friend bool operator==(const Synced&, const Synced&) = default;
};
// The last message, and why.
struct Bye {
  std::string reason;  // UTF-8
  friend bool operator==(const Bye&, const Bye&) = default;
};

using FromRun = std::variant<Welcome, Mode, Tiles, Cursor, PointerMode, Leds, Name, Text, Synced,
                             Clipboard, Bye>;

// What the types are called, which way they go, how long they may be.
struct TypeInfo {
  uint16_t type;
  absl::string_view name;
  bool from_viewer;
  uint32_t min_size, max_size;  // without the header
};
std::span<const TypeInfo> Types();

// The whole packet. Values outside the limits are cut to them.
std::vector<uint8_t> Encode(const FromViewer& message);
std::vector<uint8_t> Encode(const FromRun& message);
// InvalidArgument says what is wrong with the packet.
absl::StatusOr<FromViewer> DecodeFromViewer(std::span<const uint8_t> packet);
absl::StatusOr<FromRun> DecodeFromRun(std::span<const uint8_t> packet);

}  // namespace atl::console

#endif  // LIB_CONSOLE_WIRE_H_
