// SPDX-License-Identifier: Apache-2.0
// RFC 6143, 7.7.6.
#include <algorithm>
#include <vector>

#include "lib/rfb/deflate_stream.h"
#include "lib/rfb/encodings.h"
#include "lib/rfb/palette.h"
#include "lib/rfb/protocol.h"

namespace atl::rfb {
namespace {

constexpr unsigned kTile = 64;
constexpr unsigned kMaxPalette = 127;
constexpr uint8_t kTileRaw = 0;
constexpr uint8_t kTileSolid = 1;
constexpr uint8_t kTilePlainRle = 128;
constexpr uint8_t kTilePaletteRle = 128;  // plus the palette's size
// Tiles are compressed together, about this many bytes at a time.
constexpr size_t kBatch = 64 * 1024;

size_t LengthBytes(size_t run) { return (run - 1) / 255 + 1; }

class Zrle final : public Encoder {
 public:
  Encoded Encode(const View& view, const ui::Rect& rect, const EncodeSettings& settings,
                 Output* out) override {
    if (settings.apart) stream_.Restart();
    WriteRectHeader(rect, kEncodingZrle, out);
    const size_t length = out->size();
    out->U32(0);
    level_ = std::max(1, settings.compression);
    for (unsigned y = 0; y < rect.height; y += kTile) {
      for (unsigned x = 0; x < rect.width; x += kTile) {
        Tile(view,
             {rect.x + x, rect.y + y, std::min(kTile, rect.width - x),
              std::min(kTile, rect.height - y)},
             *settings.converter, out);
      }
    }
    Flush(out);
    StoreBe(out->data() + length, static_cast<uint32_t>(out->size() - length - 4));
    return {.rectangles = 1};
  }
  void Restart() override { stream_.Restart(); }

 private:
  void Flush(Output* out) {
    if (!batch_.empty()) stream_.Compress(batch_.span(), level_, noise_, out);
    batch_.Clear();
  }
  // What follows compresses by repetition, or does not.
  void Begin(bool noise, Output* out) {
    if (noise != noise_ || batch_.size() >= kBatch) Flush(out);
    noise_ = noise;
  }
  void Compact(uint32_t wire) {
    uint8_t bytes[4];
    std::memcpy(bytes, &wire, 4);
    std::memcpy(batch_.Grow(compact_), bytes + skip_, compact_);
  }
  void Length(size_t run) {
    for (--run; run >= 255; run -= 255) batch_.U8(255);
    batch_.U8(static_cast<uint8_t>(run));
  }

  void Tile(const View& view, const ui::Rect& rect, const PixelConverter& converter, Output* out) {
    compact_ = converter.compact_bytes();
    skip_ = converter.compact_skip();
    const size_t count = size_t{rect.width} * rect.height;
    for (unsigned y = 0; y < rect.height; ++y) {
      converter.ConvertRow(view.At(rect.x, rect.y + y), rect.width,
                           pixels_ + size_t{y} * rect.width);
    }
    // The runs, and the palette as long as there is one.
    palette_.Clear();
    bool indexed = true;
    runs_.clear();
    size_t plain = 0, by_palette = 0;
    for (size_t i = 0; i < count;) {
      const uint32_t p = pixels_[i];
      size_t end = i + 1;
      while (end < count && pixels_[end] == p) ++end;
      const size_t run = end - i;
      unsigned index = 0;
      if (indexed) {
        index = palette_.Add(p);
        if (palette_.size() > kMaxPalette) indexed = false;
      }
      runs_.push_back({p, static_cast<uint16_t>(run), static_cast<uint16_t>(index)});
      plain += compact_ + LengthBytes(run);
      by_palette += run == 1 ? 1 : 1 + LengthBytes(run);
      i = end;
    }
    const unsigned colours = palette_.size();
    if (indexed && colours == 1) {
      Begin(false, out);
      batch_.U8(kTileSolid);
      Compact(pixels_[0]);
      return;
    }
    const size_t raw = count * compact_;
    size_t best = std::min(raw, plain);
    if (indexed) best = std::min(best, by_palette += colours * compact_);
    if (indexed && colours <= 16) {
      const unsigned bits = colours == 2 ? 1 : colours <= 4 ? 2 : 4;
      const size_t packed = colours * compact_ + (rect.width * bits + 7) / 8 * rect.height;
      if (packed <= best) {
        Begin(false, out);
        Packed(rect, bits);
        return;
      }
    }
    if (indexed && by_palette == best) {
      Begin(false, out);
      batch_.U8(static_cast<uint8_t>(kTilePaletteRle + colours));
      for (const uint32_t p : palette_.pixels()) Compact(p);
      for (const Run& r : runs_) {
        batch_.U8(static_cast<uint8_t>(r.length == 1 ? r.index : r.index | 128));
        if (r.length > 1) Length(r.length);
      }
    } else if (plain == best && plain < raw) {
      Begin(false, out);
      batch_.U8(kTilePlainRle);
      for (const Run& r : runs_) {
        Compact(r.pixel);
        Length(r.length);
      }
    } else {
      Begin(true, out);
      batch_.U8(kTileRaw);
      uint8_t* to = batch_.Grow(raw);
      for (size_t i = 0; i < count; ++i, to += compact_) {
        uint8_t bytes[4];
        std::memcpy(bytes, &pixels_[i], 4);
        std::memcpy(to, bytes + skip_, compact_);
      }
    }
  }

  void Packed(const ui::Rect& rect, unsigned bits) {
    batch_.U8(static_cast<uint8_t>(palette_.size()));
    for (const uint32_t p : palette_.pixels()) Compact(p);
    unsigned x = 0, filled = 0;
    uint8_t byte = 0;
    for (const Run& r : runs_) {
      for (unsigned i = 0; i < r.length; ++i) {
        byte = static_cast<uint8_t>(byte << bits | r.index);
        filled += bits;
        if (++x == rect.width) {
          byte = static_cast<uint8_t>(byte << (8 - filled));
          filled = 8;
          x = 0;
        }
        if (filled == 8) {
          batch_.U8(byte);
          filled = 0;
          byte = 0;
        }
      }
    }
  }

  struct Run {
    uint32_t pixel;
    uint16_t length;
    uint16_t index;
  };
  DeflateStream stream_;
  int level_ = 1;
  bool noise_ = false;
  unsigned compact_ = 4, skip_ = 0;
  Output batch_;
  Palette palette_;
  std::vector<Run> runs_;
  uint32_t pixels_[kTile * kTile];
};

}  // namespace

const Encoding kZrle = {.number = kEncodingZrle, .name = "ZRLE", .make = [] {
                          return std::unique_ptr<Encoder>(std::make_unique<Zrle>());
                        }};

}  // namespace atl::rfb
