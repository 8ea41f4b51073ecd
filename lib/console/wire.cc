// SPDX-License-Identifier: Apache-2.0
#include "lib/console/wire.h"

#include <algorithm>
#include <cstring>
#include <iterator>
#include <optional>
#include <type_traits>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "lib/base/bytes_reader.h"
#include "lib/base/status_macros.h"

namespace atl::console {
namespace {

enum Type : uint16_t {
  kHello = 1,
  kUpdate = 2,
  kKey = 3,
  kPointer = 4,
  kAskText = 5,
  kSync = 6,
  kPower = 7,
  kViewerClipboard = 8,

  kWelcome = 65,
  kMode = 66,
  kDamage = 67,
  kCursor = 68,
  kPointerMode = 69,
  kLeds = 70,
  kName = 71,
  kText = 72,
  kSynced = 73,
  kRunClipboard = 74,
  kBye = 75,
};

struct HelloBody {
  le32 magic;
  le16 lowest, highest;
  uint8_t view_only;
  uint8_t zero[3];
};
struct KeyBody {
  uint8_t down;
  uint8_t code;
  le16 zero;
  le32 keysym;
};
struct PointerBody {
  uint8_t absolute;
  uint8_t buttons;
  uint8_t wheel, wheel_right;
  le16 x, y, width, height;
};
struct WelcomeBody {
  le32 magic;
  le16 version;
  uint8_t power;
  uint8_t input;
  le64 memory;
};
struct ModeBody {
  le32 kind, width, height, stride;
  le64 offset;
};
struct DamageBody {
  le16 columns, first_row, rows, zero;
};
struct CursorBody {
  le16 width, height, hot_x, hot_y;
};
struct TextBody {
  le16 columns, rows;
  le32 cursor;  // kNoCursor for none
  le32 blink;
  le32 palette[16];
};
static_assert(sizeof(HelloBody) == 12 && sizeof(KeyBody) == 8 && sizeof(PointerBody) == 12);
static_assert(sizeof(WelcomeBody) == 16 && sizeof(ModeBody) == 24 && sizeof(DamageBody) == 8);
static_assert(sizeof(CursorBody) == 8 && sizeof(TextBody) == 76);

constexpr uint32_t kNoCursor = 0xFFFFFFFF;
constexpr uint8_t kButtons = 0x1F;
constexpr uint8_t kLamps = 0x07;
constexpr unsigned kMaxColumns = kMaxWidth / kTile;
constexpr unsigned kMaxRows = kMaxHeight / kTile;
constexpr uint64_t kPage = 4096;

constexpr uint32_t kMaxTiles = kMaxColumns / 8 * kMaxRows;

constexpr TypeInfo kTypes[] = {
    {kHello, "hello", true, sizeof(HelloBody), sizeof(HelloBody)},
    {kUpdate, "update", true, 4, 4},
    {kKey, "key", true, sizeof(KeyBody), sizeof(KeyBody)},
    {kPointer, "pointer", true, sizeof(PointerBody), sizeof(PointerBody)},
    {kAskText, "ask-text", true, 0, 0},
    {kSync, "sync", true, 4, 4},
    {kPower, "power", true, 4, 4},
    {kViewerClipboard, "clipboard", true, 0, kMaxClipboard},
    {kWelcome, "welcome", false, sizeof(WelcomeBody), sizeof(WelcomeBody)},
    {kMode, "mode", false, sizeof(ModeBody), sizeof(ModeBody)},
    {kDamage, "damage", false, sizeof(DamageBody) + 1, sizeof(DamageBody) + kMaxTiles},
    {kCursor, "cursor", false, sizeof(CursorBody), sizeof(CursorBody) + 4 * kMaxCursor* kMaxCursor},
    {kPointerMode, "pointer-mode", false, 4, 4},
    {kLeds, "leds", false, 4, 4},
    {kName, "name", false, 0, kMaxName},
    {kText, "text", false, sizeof(TextBody), sizeof(TextBody) + 2 * kMaxCells},
    {kSynced, "synced", false, 4, 4},
    {kRunClipboard, "clipboard", false, 0, kMaxClipboard},
    {kBye, "bye", false, 0, kMaxReason},
};

constexpr bool AllFit() {
  for (const TypeInfo& t : kTypes) {
    if (t.max_size > kMaxPacket - sizeof(Header)) return false;
  }
  return true;
}
static_assert(AllFit());

absl::Status Bad(absl::string_view what) { return absl::InvalidArgumentError(what); }

// The bytes of well-formed UTF-8 without NUL, up to the first that are not.
size_t ValidUtf8(absl::string_view text) {
  size_t at = 0;
  while (at < text.size()) {
    const auto byte = [&](size_t i) { return static_cast<uint8_t>(text[i]); };
    const uint8_t first = byte(at);
    if (first == 0) return at;
    if (first < 0x80) {
      ++at;
      continue;
    }
    const size_t n = first >= 0xC2 && first <= 0xDF   ? 1
                     : first >= 0xE0 && first <= 0xEF ? 2
                     : first >= 0xF0 && first <= 0xF4 ? 3
                                                      : 0;
    if (n == 0 || text.size() - at <= n) return at;
    char32_t c = first & (0x3F >> n);
    for (size_t i = 1; i <= n; ++i) {
      if ((byte(at + i) & 0xC0) != 0x80) return at;
      c = c << 6 | (byte(at + i) & 0x3F);
    }
    constexpr char32_t kLeast[] = {0, 0x80, 0x800, 0x10000};
    if (c < kLeast[n] || c > 0x10FFFF || (c >= 0xD800 && c <= 0xDFFF)) return at;
    at += n + 1;
  }
  return at;
}

// --- Writing ---

class Packet {
 public:
  explicit Packet(Type type) : type_(type), bytes_(sizeof(Header)) {}

  template <typename T>
  Packet& Put(const T& body) {
    static_assert(std::is_trivially_copyable_v<T> && alignof(T) == 1);
    const auto* p = reinterpret_cast<const uint8_t*>(&body);
    bytes_.insert(bytes_.end(), p, p + sizeof body);
    return *this;
  }
  Packet& Put(absl::string_view text, size_t most) {
    text = text.substr(0, most);
    text = text.substr(0, ValidUtf8(text));
    bytes_.insert(bytes_.end(), text.begin(), text.end());
    return *this;
  }
  Packet& Put(std::span<const uint8_t> bytes) {
    bytes_.insert(bytes_.end(), bytes.begin(), bytes.end());
    return *this;
  }
  std::vector<uint8_t> Take() {
    Header header{};
    header.type = type_;
    header.size = static_cast<uint32_t>(bytes_.size() - sizeof header);
    std::memcpy(bytes_.data(), &header, sizeof header);
    return std::move(bytes_);
  }

 private:
  const Type type_;
  std::vector<uint8_t> bytes_;
};

std::vector<uint8_t> Put(Type type, uint32_t value) { return Packet(type).Put(le32(value)).Take(); }

std::vector<uint8_t> Write(const Hello& m) {
  HelloBody body{};
  body.magic = kMagic;
  body.lowest = m.lowest;
  body.highest = m.highest;
  body.view_only = m.view_only;
  return Packet(kHello).Put(body).Take();
}
std::vector<uint8_t> Write(const Update& m) { return Put(kUpdate, m.all); }
std::vector<uint8_t> Write(const Key& m) {
  KeyBody body{};
  body.down = m.down;
  body.code = m.code;
  body.keysym = m.keysym;
  return Packet(kKey).Put(body).Take();
}
std::vector<uint8_t> Write(const Pointer& m) {
  PointerBody body{};
  body.absolute = m.absolute;
  body.buttons = m.buttons & kButtons;
  body.wheel = static_cast<uint8_t>(m.wheel);
  body.wheel_right = static_cast<uint8_t>(m.wheel_right);
  body.x = static_cast<uint16_t>(m.x);
  body.y = static_cast<uint16_t>(m.y);
  if (m.absolute) {
    const int width = std::clamp<int>(m.width, 1, kMaxWidth);
    const int height = std::clamp<int>(m.height, 1, kMaxHeight);
    body.width = static_cast<uint16_t>(width);
    body.height = static_cast<uint16_t>(height);
    body.x = static_cast<uint16_t>(std::clamp<int>(m.x, 0, width - 1));
    body.y = static_cast<uint16_t>(std::clamp<int>(m.y, 0, height - 1));
  }
  return Packet(kPointer).Put(body).Take();
}
std::vector<uint8_t> Write(const AskText&) { return Packet(kAskText).Take(); }
std::vector<uint8_t> Write(const Sync& m) { return Put(kSync, m.id); }
std::vector<uint8_t> Write(const Power& m) { return Put(kPower, static_cast<uint32_t>(m.action)); }

std::vector<uint8_t> Write(const Welcome& m) {
  WelcomeBody body{};
  body.magic = kMagic;
  body.version = m.version;
  body.power = m.power;
  body.input = m.input;
  body.memory = m.memory;
  return Packet(kWelcome).Put(body).Take();
}
std::vector<uint8_t> Write(const Mode& m) {
  ModeBody body{};
  body.kind = static_cast<uint32_t>(m.kind);
  body.width = m.width;
  body.height = m.height;
  body.stride = m.stride;
  body.offset = m.offset;
  return Packet(kMode).Put(body).Take();
}
std::vector<uint8_t> Write(const Tiles& m) {
  DamageBody body{};
  body.columns = m.columns;
  body.first_row = m.first_row;
  body.rows = m.rows;
  return Packet(kDamage).Put(body).Put(std::span<const uint8_t>(m.bits)).Take();
}
std::vector<uint8_t> Write(const Cursor& m) {
  CursorBody body{};
  body.width = m.width;
  body.height = m.height;
  body.hot_x = m.hot_x;
  body.hot_y = m.hot_y;
  Packet out(kCursor);
  out.Put(body);
  for (const uint32_t pixel : m.pixels) out.Put(le32(pixel));
  return out.Take();
}
std::vector<uint8_t> Write(const PointerMode& m) { return Put(kPointerMode, m.absolute); }
std::vector<uint8_t> Write(const Leds& m) { return Put(kLeds, m.lit & kLamps); }
std::vector<uint8_t> Write(const Name& m) { return Packet(kName).Put(m.text, kMaxName).Take(); }
std::vector<uint8_t> Write(const Text& m) {
  const ui::TextScreen& s = m.screen;
  const bool fits = size_t{s.columns} * s.rows == s.cells.size() && s.cells.size() <= kMaxCells &&
                    s.columns <= UINT16_MAX && s.rows <= UINT16_MAX;
  if (!fits || s.cells.empty()) {
    TextBody none{};
    none.cursor = kNoCursor;
    return Packet(kText).Put(none).Take();
  }
  TextBody body{};
  body.columns = static_cast<uint16_t>(s.columns);
  body.rows = static_cast<uint16_t>(s.rows);
  body.cursor = s.cursor && *s.cursor < s.cells.size() ? *s.cursor : kNoCursor;
  body.blink = s.blink;
  for (unsigned i = 0; i < 16; ++i) body.palette[i] = s.palette[i] & 0xFFFFFF;
  Packet out(kText);
  out.Put(body);
  for (const ui::TextCell& c : s.cells) out.Put(c.code).Put(c.attribute);
  return out.Take();
}
std::vector<uint8_t> Write(const Synced& m) { return Put(kSynced, m.id); }
std::vector<uint8_t> Write(const Bye& m) { return Packet(kBye).Put(m.reason, kMaxReason).Take(); }

// `clipboard`: the type of the one message that goes both ways.
template <typename Message>
std::vector<uint8_t> EncodeAs(const Message& message, Type clipboard) {
  return std::visit(
      [&](const auto& m) {
        if constexpr (std::is_same_v<std::decay_t<decltype(m)>, Clipboard>) {
          return Packet(clipboard).Put(m.text, kMaxClipboard).Take();
        } else {
          return Write(m);
        }
      },
      message);
}

// --- Reading ---

using Bytes = std::span<const uint8_t>;

// The caller has checked the size by the table.
template <typename T>
T Get(Bytes bytes) {
  return *ReadAt<T>(bytes, 0);
}

absl::StatusOr<uint32_t> Number(Bytes bytes, uint32_t least, uint32_t most) {
  const uint32_t value = Get<le32>(bytes);
  if (value < least || value > most) return Bad(absl::StrCat("a value of ", value));
  return value;
}

absl::StatusOr<std::string> String(Bytes bytes) {
  std::string text(bytes.begin(), bytes.end());
  if (ValidUtf8(text) != text.size()) return Bad("text that is not UTF-8");
  return text;
}

absl::StatusOr<FromViewer> ReadHello(Bytes bytes) {
  const auto body = Get<HelloBody>(bytes);
  if (body.magic != kMagic) return Bad("another magic number");
  Hello out;
  out.lowest = body.lowest;
  out.highest = body.highest;
  if (out.lowest == 0 || out.highest < out.lowest) return Bad("an empty range of versions");
  if (body.view_only > 1 || body.zero[0] != 0 || body.zero[1] != 0 || body.zero[2] != 0) {
    return Bad("reserved bits that are set");
  }
  out.view_only = body.view_only != 0;
  return out;
}
absl::StatusOr<FromViewer> ReadUpdate(Bytes bytes) {
  ASSIGN_OR_RETURN(const uint32_t all, Number(bytes, 0, 1));
  return Update{all != 0};
}
absl::StatusOr<FromViewer> ReadKey(Bytes bytes) {
  const auto body = Get<KeyBody>(bytes);
  if (body.down > 1 || body.zero != 0) return Bad("reserved bits that are set");
  if (body.code == 0 && body.keysym == 0) return Bad("no key");
  return Key{body.down != 0, body.code, body.keysym};
}
absl::StatusOr<FromViewer> ReadPointer(Bytes bytes) {
  const auto body = Get<PointerBody>(bytes);
  if (body.absolute > 1 || (body.buttons & ~kButtons) != 0) {
    return Bad("reserved bits that are set");
  }
  Pointer out;
  out.absolute = body.absolute != 0;
  out.buttons = body.buttons;
  out.wheel = static_cast<int8_t>(body.wheel);
  out.wheel_right = static_cast<int8_t>(body.wheel_right);
  out.x = static_cast<int16_t>(static_cast<uint16_t>(body.x));
  out.y = static_cast<int16_t>(static_cast<uint16_t>(body.y));
  out.width = body.width;
  out.height = body.height;
  if (out.absolute
          ? out.width == 0 || out.width > kMaxWidth || out.height == 0 || out.height > kMaxHeight ||
                out.x < 0 || out.x >= out.width || out.y < 0 || out.y >= out.height
          : out.width != 0 || out.height != 0) {
    return Bad("a place outside the picture");
  }
  return out;
}
absl::StatusOr<FromViewer> ReadAskText(Bytes) { return AskText{}; }
absl::StatusOr<FromViewer> ReadSync(Bytes bytes) { return Sync{Get<le32>(bytes)}; }
absl::StatusOr<FromViewer> ReadPower(Bytes bytes) {
  ASSIGN_OR_RETURN(const uint32_t action, Number(bytes, 1, 2));
  return Power{static_cast<PowerAction>(action)};
}
absl::StatusOr<FromViewer> ReadViewerClipboard(Bytes bytes) {
  ASSIGN_OR_RETURN(std::string text, String(bytes));
  return Clipboard{std::move(text)};
}

absl::StatusOr<FromRun> ReadWelcome(Bytes bytes) {
  const auto body = Get<WelcomeBody>(bytes);
  if (body.magic != kMagic) return Bad("another magic number");
  if (body.power > 1 || body.input > 1) return Bad("reserved bits that are set");
  if (body.version == 0) return Bad("version 0");
  if (body.memory == 0 || body.memory > kMaxMemory || body.memory % kPage != 0) {
    return Bad(absl::StrCat("memory of ", uint64_t{body.memory}, " bytes"));
  }
  return Welcome{body.version, body.power != 0, body.input != 0, body.memory};
}
absl::StatusOr<FromRun> ReadMode(Bytes bytes) {
  const auto body = Get<ModeBody>(bytes);
  Mode out;
  if (body.kind > static_cast<uint32_t>(ui::ScreenKind::kGraphics)) return Bad("a kind of screen");
  out.kind = static_cast<ui::ScreenKind>(static_cast<uint32_t>(body.kind));
  out.width = body.width;
  out.height = body.height;
  out.stride = body.stride;
  out.offset = body.offset;
  if (out.width == 0 || out.width > kMaxWidth || out.height == 0 || out.height > kMaxHeight) {
    return Bad(absl::StrCat("a picture of ", out.width, "x", out.height));
  }
  if (out.stride % 4 != 0 || out.stride < out.width * 4 || out.stride > kMaxWidth * 4) {
    return Bad(absl::StrCat("rows of ", out.stride, " bytes"));
  }
  if (out.offset % kPage != 0 || out.offset > kMaxMemory ||
      kMaxMemory - out.offset < uint64_t{out.stride} * out.height) {
    return Bad("a picture outside the memory");
  }
  return out;
}
absl::StatusOr<FromRun> ReadDamage(Bytes bytes) {
  const auto body = Get<DamageBody>(bytes);
  Tiles out;
  out.columns = body.columns;
  out.first_row = body.first_row;
  out.rows = body.rows;
  if (out.columns == 0 || out.columns > kMaxColumns || out.rows == 0 ||
      out.first_row + out.rows > static_cast<int>(kMaxRows) || body.zero != 0) {
    return Bad("tiles outside every picture");
  }
  const size_t row = Tiles::RowBytes(out.columns);
  bytes = bytes.subspan(sizeof body);
  if (bytes.size() != row * out.rows) return Bad("a map of another size");
  out.bits.assign(bytes.begin(), bytes.end());
  const auto past = static_cast<uint8_t>(out.columns % 8 == 0 ? 0 : 0xFF << out.columns % 8);
  for (unsigned y = 0; y < out.rows; ++y) {
    if ((out.bits[y * row + row - 1] & past) != 0) return Bad("tiles past the last column");
  }
  if (std::all_of(bytes.begin(), bytes.end(), [](uint8_t b) { return b == 0; })) {
    return Bad("damage of no tile");
  }
  return out;
}
absl::StatusOr<FromRun> ReadCursor(Bytes bytes) {
  const auto body = Get<CursorBody>(bytes);
  Cursor out{body.width, body.height, body.hot_x, body.hot_y, {}};
  if (out.width > kMaxCursor || out.height > kMaxCursor || (out.width == 0) != (out.height == 0)) {
    return Bad(absl::StrCat("a cursor of ", out.width, "x", out.height));
  }
  if (out.width == 0 ? out.hot_x != 0 || out.hot_y != 0
                     : out.hot_x >= out.width || out.hot_y >= out.height) {
    return Bad("a hot spot outside the cursor");
  }
  bytes = bytes.subspan(sizeof body);
  if (bytes.size() != size_t{4} * out.width * out.height) return Bad("a cursor of another size");
  out.pixels.resize(size_t{out.width} * out.height);
  for (size_t i = 0; i < out.pixels.size(); ++i) {
    out.pixels[i] = LoadLe<uint32_t>(bytes.data() + 4 * i);
  }
  return out;
}
absl::StatusOr<FromRun> ReadPointerMode(Bytes bytes) {
  ASSIGN_OR_RETURN(const uint32_t absolute, Number(bytes, 0, 1));
  return PointerMode{absolute != 0};
}
absl::StatusOr<FromRun> ReadLeds(Bytes bytes) {
  ASSIGN_OR_RETURN(const uint32_t lit, Number(bytes, 0, kLamps));
  return Leds{static_cast<uint8_t>(lit)};
}
absl::StatusOr<FromRun> ReadName(Bytes bytes) {
  ASSIGN_OR_RETURN(std::string text, String(bytes));
  return Name{std::move(text)};
}
absl::StatusOr<FromRun> ReadText(Bytes bytes) {
  const auto body = Get<TextBody>(bytes);
  Text out;
  ui::TextScreen& s = out.screen;
  s.columns = body.columns;
  s.rows = body.rows;
  const size_t cells = size_t{s.columns} * s.rows;
  bytes = bytes.subspan(sizeof body);
  if ((s.columns == 0) != (s.rows == 0) || cells > kMaxCells || bytes.size() != 2 * cells) {
    return Bad(absl::StrCat("text of ", s.columns, "x", s.rows));
  }
  if (body.cursor != kNoCursor) {
    if (body.cursor >= cells) return Bad("a text cursor outside the screen");
    s.cursor = body.cursor;
  }
  if (body.blink > 1) return Bad("reserved bits that are set");
  s.blink = body.blink != 0;
  for (unsigned i = 0; i < 16; ++i) {
    if (body.palette[i] > 0xFFFFFF) return Bad("reserved bits that are set");
    s.palette[i] = body.palette[i];
  }
  // One encoding only of no text.
  if (cells == 0 && (s.blink || std::any_of(std::begin(s.palette), std::end(s.palette),
                                            [](uint32_t c) { return c != 0; }))) {
    return Bad("colours of no text");
  }
  s.cells.resize(cells);
  for (size_t i = 0; i < cells; ++i) s.cells[i] = {bytes[2 * i], bytes[2 * i + 1]};
  return out;
}
absl::StatusOr<FromRun> ReadSynced(Bytes bytes) { return Synced{Get<le32>(bytes)}; }
absl::StatusOr<FromRun> ReadRunClipboard(Bytes bytes) {
  ASSIGN_OR_RETURN(std::string text, String(bytes));
  return Clipboard{std::move(text)};
}
absl::StatusOr<FromRun> ReadBye(Bytes bytes) {
  ASSIGN_OR_RETURN(std::string reason, String(bytes));
  return Bye{std::move(reason)};
}

template <typename Message>
struct Reader {
  Type type;
  absl::StatusOr<Message> (*read)(Bytes);
};
constexpr Reader<FromViewer> kFromViewer[] = {
    {kHello, ReadHello},     {kUpdate, ReadUpdate},
    {kKey, ReadKey},         {kPointer, ReadPointer},
    {kAskText, ReadAskText}, {kSync, ReadSync},
    {kPower, ReadPower},     {kViewerClipboard, ReadViewerClipboard},
};
constexpr Reader<FromRun> kFromRun[] = {
    {kWelcome, ReadWelcome},
    {kMode, ReadMode},
    {kDamage, ReadDamage},
    {kCursor, ReadCursor},
    {kPointerMode, ReadPointerMode},
    {kLeds, ReadLeds},
    {kName, ReadName},
    {kText, ReadText},
    {kSynced, ReadSynced},
    {kRunClipboard, ReadRunClipboard},
    {kBye, ReadBye},
};

template <typename Message>
absl::StatusOr<Message> Decode(Bytes packet, std::span<const Reader<Message>> readers) {
  const std::optional<Header> header = ReadAt<Header>(packet, 0);
  if (!header) return Bad(absl::StrCat("a packet of ", packet.size(), " bytes"));
  const Bytes body = packet.subspan(sizeof *header);
  for (const Reader<Message>& r : readers) {
    if (r.type != header->type) continue;
    const TypeInfo& info = *std::find_if(std::begin(kTypes), std::end(kTypes),
                                         [&](const TypeInfo& t) { return t.type == r.type; });
    if (header->size != body.size() || header->zero != 0 || body.size() < info.min_size ||
        body.size() > info.max_size) {
      return Bad(absl::StrCat("message '", info.name, "': a size of ", body.size(), " bytes"));
    }
    absl::StatusOr<Message> out = r.read(body);
    if (!out.ok()) return Annotate(out.status(), absl::StrCat("message '", info.name, "'"));
    return out;
  }
  return Bad(absl::StrCat("a message of the unknown type ", uint16_t{header->type}));
}

}  // namespace

std::span<const TypeInfo> Types() { return kTypes; }

std::vector<uint8_t> Encode(const FromViewer& message) {
  return EncodeAs(message, kViewerClipboard);
}

std::vector<uint8_t> Encode(const FromRun& message) { return EncodeAs(message, kRunClipboard); }

absl::StatusOr<FromViewer> DecodeFromViewer(Bytes packet) {
  return Decode<FromViewer>(packet, kFromViewer);
}

absl::StatusOr<FromRun> DecodeFromRun(Bytes packet) { return Decode<FromRun>(packet, kFromRun); }

}  // namespace atl::console
