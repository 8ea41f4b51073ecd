// SPDX-License-Identifier: Apache-2.0
// Tight and TightPNG of rfbproto.
//
// A rectangle is divided by content (blocks.h). Photographs become JPEG where the
// viewer takes losses; what has up to 256 colours goes as indices; the rest as
// it is. Two ways to compress: little goes through a zlib stream that remembers
// what went before; much starts stream 3 anew each time, so that it can be
// compressed in one piece by libdeflate, in a third of the time. What is encoded apart
// goes through stream 3 in any case.
#include <emmintrin.h>
#include <libdeflate.h>
#include <png.h>

#include <algorithm>
#include <array>
#include <bit>
#include <csetjmp>
#include <new>
#include <vector>

#include "lib/rfb/blocks.h"
#include "lib/rfb/deflate_stream.h"
#include "lib/rfb/encodings.h"
#include "lib/rfb/jpeg.h"
#include "lib/rfb/palette.h"
#include "lib/rfb/protocol.h"

namespace atl::rfb {
namespace {

constexpr unsigned kMaxWidth = 2048;
constexpr unsigned kMaxArea = 1 << 18;
// Halves of what has too many colours are tried down to this.
constexpr unsigned kSmallestHalf = 128 * 128;
constexpr size_t kUncompressed = 12;  // fewer bytes are sent as they are
constexpr size_t kFresh = 4096;       // from here on stream 3

constexpr uint8_t kExplicitFilter = 0x40;
constexpr uint8_t kFill = 0x80;
constexpr uint8_t kJpeg = 0x90;
constexpr uint8_t kPng = 0xA0;
constexpr uint8_t kFilterPalette = 1;
// The streams.
constexpr unsigned kStreamPixels = 0, kStreamBits = 1, kStreamIndices = 2, kStreamFresh = 3;
constexpr unsigned kLastingStreams = 3;

void WriteCompactLength(size_t n, Output* out) {
  out->U8(static_cast<uint8_t>((n & 0x7F) | (n > 0x7F ? 0x80 : 0)));
  if (n <= 0x7F) return;
  out->U8(static_cast<uint8_t>((n >> 7 & 0x7F) | (n > 0x3FFF ? 0x80 : 0)));
  if (n > 0x3FFF) out->U8(static_cast<uint8_t>(n >> 14));
}

constexpr std::array<uint8_t, 256> kReversed = [] {
  std::array<uint8_t, 256> out{};
  for (unsigned i = 0; i < 256; ++i) {
    for (unsigned bit = 0; bit < 8; ++bit) {
      if ((i >> bit & 1) != 0) out[i] = static_cast<uint8_t>(out[i] | 0x80 >> bit);
    }
  }
  return out;
}();

class Tight final : public Encoder {
 public:
  explicit Tight(bool png) : png_(png), encoding_(png ? kEncodingTightPng : kEncodingTight) {}
  ~Tight() override {
    for (libdeflate_compressor* c : compressors_) {
      if (c != nullptr) libdeflate_free_compressor(c);
    }
  }

  Encoded Encode(const View& view, const ui::Rect& rect, const EncodeSettings& settings,
                 Output* out) override {
    view_ = view;
    settings_ = &settings;
    out_ = out;
    done_ = {};
    const bool jpeg = settings.jpeg_quality > 0 && settings.converter->bytes() >= 2;
    parts_.clear();
    Divide(view, rect, kMaxWidth, kMaxArea, jpeg, &parts_);
    for (const Part& p : parts_) {
      if (p.content == Content::kSolid) {
        Fill(p.rect, p.pixel);
      } else if (p.content != Content::kPhoto || !Jpeg(p.rect)) {
        Drawn(p.rect);
      }
    }
    return done_;
  }

 private:
  void Header(const ui::Rect& rect) {
    WriteRectHeader(rect, encoding_, out_);
    ++done_.rectangles;
  }

  void Pixel(uint32_t pixel) {
    if (settings_->converter->tight_rgb()) {
      uint8_t* const to = out_->Grow(3);
      to[0] = static_cast<uint8_t>(pixel >> 16);
      to[1] = static_cast<uint8_t>(pixel >> 8);
      to[2] = static_cast<uint8_t>(pixel);
    } else {
      settings_->converter->Write(pixel, out_);
    }
  }

  void Fill(const ui::Rect& rect, uint32_t pixel) {
    Header(rect);
    out_->U8(kFill);
    Pixel(pixel);
  }

  bool Jpeg(const ui::Rect& rect) {
    scratch_.Clear();
    if (!jpeg_.Compress(view_, rect, settings_->jpeg_quality, settings_->jpeg_subsampling,
                        &scratch_)) {
      return false;
    }
    Header(rect);
    out_->U8(kJpeg);
    WriteCompactLength(scratch_.size(), out_);
    out_->Append(scratch_.span());
    done_.lossy = true;
    return true;
  }

  // Pixels as numbers of palette_, in bytes_; false where they are too many.
  bool Index(const ui::Rect& rect) {
    palette_.Clear();
    bytes_.resize(size_t{rect.width} * rect.height);
    uint8_t* to = bytes_.data();
    uint32_t last = *view_.At(rect.x, rect.y);
    unsigned index = palette_.Add(last);
    for (unsigned y = 0; y < rect.height; ++y) {
      const uint32_t* const row = view_.At(rect.x, rect.y + y);
      unsigned x = 0;
      while (x < rect.width) {
        if (row[x] != last) {
          last = row[x];
          index = palette_.Add(last);
          if (index == Palette::kMax) return false;
        }
        // Most of what people look at repeats.
        unsigned end = x + 1;
        const uint64_t pair = uint64_t{last} << 32 | last;
        while (end + 4 <= rect.width && LoadLe<uint64_t>(row + end) == pair &&
               LoadLe<uint64_t>(row + end + 2) == pair) {
          end += 4;
        }
        while (end < rect.width && row[end] == last) ++end;
        std::memset(to + x, static_cast<int>(index), end - x);
        x = end;
      }
      to += rect.width;
    }
    return true;
  }

  // What has two colours, as most text has: straight to bits, in bytes_.
  // False where there are more, or one.
  bool TwoColours(const ui::Rect& rect) {
    const uint32_t first = *view_.At(rect.x, rect.y);
    uint32_t second = first;
    bytes_.resize(size_t{(rect.width + 7) / 8} * rect.height);
    uint8_t* to = bytes_.data();
    for (unsigned y = 0; y < rect.height; ++y) {
      const uint32_t* const row = view_.At(rect.x, rect.y + y);
      unsigned x = 0;
      for (; x + 8 <= rect.width; x += 8) {
        unsigned is_first = Mask(row + x, first);
        if (is_first != 0xFF) {
          if (second == first) second = row[x + std::countr_one(is_first)];
          if ((is_first | Mask(row + x, second)) != 0xFF) return false;
        }
        *to++ = kReversed[is_first ^ 0xFF];
      }
      unsigned bits = 0, count = 0;
      for (; x < rect.width; ++x, ++count) {
        if (row[x] != first && second == first) second = row[x];
        if (row[x] != first && row[x] != second) return false;
        bits = bits << 1 | (row[x] != first ? 1 : 0);
      }
      if (count > 0) *to++ = static_cast<uint8_t>(bits << (8 - count));
    }
    if (second == first) return false;
    palette_.Clear();
    palette_.Add(first);
    palette_.Add(second);
    return true;
  }

  // A bit for each of eight pixels, the lowest for the first.
  static unsigned Mask(const uint32_t* pixels, uint32_t value) {
    const __m128i four = _mm_set1_epi32(static_cast<int>(value));
    const __m128i a = _mm_loadu_si128(reinterpret_cast<const __m128i*>(pixels));
    const __m128i b = _mm_loadu_si128(reinterpret_cast<const __m128i*>(pixels + 4));
    const __m128i both = _mm_packs_epi32(_mm_cmpeq_epi32(a, four), _mm_cmpeq_epi32(b, four));
    return static_cast<unsigned>(_mm_movemask_epi8(_mm_packs_epi16(both, both))) & 0xFF;
  }

  void Drawn(const ui::Rect& rect) {
    if (!png_ && TwoColours(rect)) {
      Palettized(rect, kStreamBits);
      return;
    }
    if (Index(rect)) {
      if (palette_.size() == 1) {
        Fill(rect, palette_[0]);
      } else if (png_) {
        Png(rect, true);
      } else {
        Palettized(rect, kStreamIndices);
      }
      return;
    }
    if (rect.width * rect.height > kSmallestHalf) {
      ui::Rect a = rect, b = rect;
      if (rect.width > rect.height) {
        a.width = (rect.width / 2 + 63) / 64 * 64;
        b.x += a.width;
        b.width -= a.width;
      } else {
        a.height = (rect.height / 2 + 63) / 64 * 64;
        b.y += a.height;
        b.height -= a.height;
      }
      Drawn(a);
      if (b.width > 0 && b.height > 0) Drawn(b);
      return;
    }
    if (png_) {
      Png(rect, false);
      return;
    }
    FullColour(rect);
  }

  // bytes_ are the indices, or the bits.
  void Palettized(const ui::Rect& rect, unsigned stream) {
    Header(rect);
    Begin(stream, bytes_.size(), kExplicitFilter);
    out_->U8(kFilterPalette);
    out_->U8(static_cast<uint8_t>(palette_.size() - 1));
    for (const uint32_t p : palette_.pixels()) Pixel(p);
    Compressed(stream, false);
  }

  void FullColour(const ui::Rect& rect) {
    const PixelConverter& converter = *settings_->converter;
    const size_t pixel = converter.tight_rgb() ? 3 : converter.bytes();
    bytes_.resize(size_t{rect.width} * rect.height * pixel);
    uint8_t* to = bytes_.data();
    for (unsigned y = 0; y < rect.height; ++y) {
      const uint32_t* const row = view_.At(rect.x, rect.y + y);
      if (converter.tight_rgb()) {
        for (unsigned x = 0; x < rect.width; ++x, to += 3) {
          to[0] = static_cast<uint8_t>(row[x] >> 16);
          to[1] = static_cast<uint8_t>(row[x] >> 8);
          to[2] = static_cast<uint8_t>(row[x]);
        }
      } else {
        converter.WriteRow(row, rect.width, to);
        to += rect.width * pixel;
      }
    }
    Header(rect);
    Begin(kStreamPixels, bytes_.size(), 0);
    Compressed(kStreamPixels, true);
  }

  bool Fresh(size_t size) const { return size >= kFresh || settings_->apart; }

  void Begin(unsigned stream, size_t size, uint8_t filter) {
    const unsigned used = Fresh(size) ? kStreamFresh : stream;
    out_->U8(static_cast<uint8_t>(used << 4 | filter | (Fresh(size) ? 1u << kStreamFresh : 0)));
  }

  // bytes_, with its length where that is not known from the pixels.
  void Compressed(unsigned stream, bool full_colour) {
    if (bytes_.size() < kUncompressed) {
      out_->Append(bytes_);
      return;
    }
    scratch_.Clear();
    const int level = settings_->compression;
    if (!Fresh(bytes_.size())) {
      streams_[stream].Compress(bytes_, std::max(1, level), false, &scratch_);
    } else {
      libdeflate_compressor* const c = Compressor(level, full_colour);
      const size_t room = libdeflate_zlib_compress_bound(c, bytes_.size());
      uint8_t* const to = scratch_.Grow(room);
      scratch_.Truncate(libdeflate_zlib_compress(c, bytes_.data(), bytes_.size(), to, room));
    }
    WriteCompactLength(scratch_.size(), out_);
    out_->Append(scratch_.span());
  }

  libdeflate_compressor* Compressor(int level, bool full_colour) {
    // Level 1 is libdeflate's fastest; indices gain from a longer look.
    const int wanted = std::clamp(full_colour ? level : level + 1, 1, 9);
    libdeflate_compressor*& c = compressors_[static_cast<size_t>(wanted)];
    if (c == nullptr) c = libdeflate_alloc_compressor(wanted);
    if (c == nullptr) throw std::bad_alloc();
    return c;
  }

  void Png(const ui::Rect& rect, bool indexed) {
    scratch_.Clear();
    if (!WritePng(rect, indexed)) {
      // A viewer of TightPNG takes the raw encoding, too.
      if (raw_ == nullptr) raw_ = kRaw.make();
      raw_->Encode(view_, rect, *settings_, out_);
      ++done_.rectangles;
      return;
    }
    Header(rect);
    out_->U8(kPng);
    WriteCompactLength(scratch_.size(), out_);
    out_->Append(scratch_.span());
  }

  bool WritePng(const ui::Rect& rect, bool indexed) {
    png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, nullptr, nullptr, nullptr);
    png_infop info = png == nullptr ? nullptr : png_create_info_struct(png);
    if (info == nullptr) {
      png_destroy_write_struct(&png, nullptr);
      return false;
    }
    png_color colours[Palette::kMax];
    // libpng leaves by longjmp: nothing below has a destructor.
    if (setjmp(png_jmpbuf(png)) != 0) {
      png_destroy_write_struct(&png, &info);
      return false;
    }
    png_set_write_fn(
        png, &scratch_,
        [](png_structp p, png_bytep bytes, size_t n) {
          static_cast<Output*>(png_get_io_ptr(p))->Append(std::span<const uint8_t>(bytes, n));
        },
        nullptr);
    png_set_compression_level(png, std::max(1, settings_->compression));
    png_set_filter(png, 0, PNG_FILTER_NONE);
    png_set_IHDR(png, info, rect.width, rect.height, 8,
                 indexed ? PNG_COLOR_TYPE_PALETTE : PNG_COLOR_TYPE_RGB, PNG_INTERLACE_NONE,
                 PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
    if (indexed) {
      for (unsigned i = 0; i < palette_.size(); ++i) {
        const uint32_t p = palette_[i];
        colours[i] = {static_cast<png_byte>(p >> 16), static_cast<png_byte>(p >> 8),
                      static_cast<png_byte>(p)};
      }
      png_set_PLTE(png, info, colours, static_cast<int>(palette_.size()));
    }
    png_write_info(png, info);
    if (!indexed) bytes_.resize(size_t{rect.width} * 3);
    for (unsigned y = 0; y < rect.height; ++y) {
      if (indexed) {
        png_write_row(png, bytes_.data() + size_t{y} * rect.width);
        continue;
      }
      const uint32_t* const row = view_.At(rect.x, rect.y + y);
      for (unsigned x = 0; x < rect.width; ++x) {
        bytes_[3 * x] = static_cast<uint8_t>(row[x] >> 16);
        bytes_[3 * x + 1] = static_cast<uint8_t>(row[x] >> 8);
        bytes_[3 * x + 2] = static_cast<uint8_t>(row[x]);
      }
      png_write_row(png, bytes_.data());
    }
    png_write_end(png, nullptr);
    png_destroy_write_struct(&png, &info);
    return true;
  }

  const bool png_;
  const int32_t encoding_;
  View view_;
  const EncodeSettings* settings_ = nullptr;
  Output* out_ = nullptr;
  Encoded done_;
  std::vector<Part> parts_;
  Palette palette_;
  std::vector<uint8_t> bytes_;
  Output scratch_;
  JpegCompressor jpeg_;
  std::array<DeflateStream, kLastingStreams> streams_;
  std::array<libdeflate_compressor*, 10> compressors_{};
  std::unique_ptr<Encoder> raw_;
};

}  // namespace

const Encoding kTight = {.number = kEncodingTight, .name = "Tight", .make = [] {
                           return std::unique_ptr<Encoder>(std::make_unique<Tight>(false));
                         }};
const Encoding kTightPng = {.number = kEncodingTightPng, .name = "TightPNG", .make = [] {
                              return std::unique_ptr<Encoder>(std::make_unique<Tight>(true));
                            }};

}  // namespace atl::rfb
