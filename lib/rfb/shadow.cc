// SPDX-License-Identifier: Apache-2.0
#include "lib/rfb/shadow.h"

#include <algorithm>
#include <cstring>
#include <unordered_map>

#include "lib/base/endian.h"

namespace atl::rfb {
namespace {

// Scrolling is looked for in boxes at least this large, most of which changed.
constexpr unsigned kScrollWidth = 64;
constexpr unsigned kScrollHeight = 48;
// Found this often in a row not to be there (a film), it is looked for only now
// and then.
constexpr unsigned kManyMisses = 8;
constexpr unsigned kEvery = 16;

uint64_t HashRow(const uint32_t* row, size_t count) {
  uint64_t a = 0x9E3779B97F4A7C15u, b = count;
  size_t i = 0;
  for (; i + 4 <= count; i += 4) {
    a = (a ^ LoadLe<uint64_t>(row + i)) * 0xFF51AFD7ED558CCDu;
    b = (b ^ LoadLe<uint64_t>(row + i + 2)) * 0xC4CEB9FE1A85EC53u;
    a ^= a >> 32;
    b ^= b >> 32;
  }
  for (; i < count; ++i) a = (a ^ row[i]) * 0xFF51AFD7ED558CCDu;
  return a ^ (b * 31 + 7);
}

bool OneColour(const uint32_t* row, size_t count) {
  return count == 0 || std::memcmp(row, row + 1, (count - 1) * 4) == 0;
}

}  // namespace

Shadow::Shadow(unsigned width, unsigned height)
    : width_(width), height_(height), pixels_(size_t{width} * height) {}

bool Shadow::CopyTile(const Picture& picture, unsigned column, unsigned row) {
  const unsigned x = column * kTilePixels, y = row * kTilePixels;
  const unsigned width = std::min(kTilePixels, picture.width - x);
  const unsigned height = std::min(kTilePixels, picture.height - y);
  uint32_t differs = 0;
  for (unsigned i = 0; i < height; ++i) {
    const uint32_t* const from = picture.pixels + (y + i) * picture.stride + x;
    uint32_t* const to = pixels_.data() + size_t{y + i} * width_ + x;
    for (unsigned j = 0; j < width; ++j) {
      const uint32_t p = from[j] & 0xFFFFFF;
      differs |= p ^ to[j];
      to[j] = p;
    }
  }
  return differs != 0;
}

Change Shadow::Update(const Picture& picture, std::span<const ui::Rect> damage) {
  Change out{TileSet(width_, height_), std::nullopt};
  TileSet marked(width_, height_);
  const unsigned width = std::min(picture.width, width_);
  const unsigned height = std::min(picture.height, height_);
  for (const ui::Rect& r : damage) marked.AddRect(Clip(r, width, height));
  if (marked.empty()) return out;
  const ui::Rect box = marked.Bounds();
  bool look =
      box.width >= kScrollWidth && box.height >= kScrollHeight &&
      marked.count() * size_t{kTilePixels * kTilePixels} * 2 >= size_t{box.width} * box.height;
  if (look && misses_ >= kManyMisses) {
    look = misses_ % kEvery == 0;
    if (!look) ++misses_;
  }
  if (look) {
    before_.resize(size_t{box.width} * box.height);
    for (unsigned y = 0; y < box.height; ++y) {
      std::memcpy(before_.data() + size_t{y} * box.width, view().At(box.x, box.y + y),
                  size_t{box.width} * 4);
    }
  }
  const Picture inside{picture.pixels, width, height, picture.stride};
  for (unsigned y = 0; y < marked.rows(); ++y) {
    for (unsigned x = 0; x < marked.columns(); ++x) {
      if (marked.Has(x, y) && CopyTile(inside, x, y)) out.tiles.Add(x, y);
    }
  }
  if (look && !out.tiles.empty()) {
    out.scroll = FindScroll(box);
    misses_ = out.scroll ? 0 : misses_ + 1;
  }
  return out;
}

std::optional<Scroll> Shadow::FindScroll(const ui::Rect& box) {
  // Where each row stood before; rows that stand there more than once say
  // nothing, and so do those of one colour.
  std::vector<uint64_t> old_rows(box.height), new_rows(box.height);
  std::unordered_map<uint64_t, int> places;
  constexpr int kTwice = -1;
  for (unsigned y = 0; y < box.height; ++y) {
    const uint32_t* const row = before_.data() + size_t{y} * box.width;
    old_rows[y] = HashRow(row, box.width);
    new_rows[y] = HashRow(view().At(box.x, box.y + y), box.width);
    if (OneColour(row, box.width)) continue;
    const auto [it, fresh] = places.emplace(old_rows[y], static_cast<int>(y));
    if (!fresh) it->second = kTwice;
  }
  std::unordered_map<int, unsigned> votes;
  unsigned most = 0;
  int down = 0;
  for (unsigned y = 0; y < box.height; ++y) {
    if (new_rows[y] == old_rows[y]) continue;
    const auto it = places.find(new_rows[y]);
    if (it == places.end() || it->second == kTwice) continue;
    const int by = static_cast<int>(y) - it->second;
    if (++votes[by] > most) {
      most = votes[by];
      down = by;
    }
  }
  // A few rows that happen to agree are not worth it.
  if (down == 0 || most < 8 || most * 8 < box.height) return std::nullopt;
  Scroll out{box, down, {}};
  const int height = static_cast<int>(box.height);
  for (int y = std::max(0, down); y < height + std::min(0, down); ++y) {
    // Hashes propose; the pixels decide.
    if (new_rows[static_cast<size_t>(y)] != old_rows[static_cast<size_t>(y - down)] ||
        std::memcmp(view().At(box.x, box.y + static_cast<unsigned>(y)),
                    before_.data() + static_cast<size_t>(y - down) * box.width,
                    size_t{box.width} * 4) != 0) {
      continue;
    }
    const unsigned row = box.y + static_cast<unsigned>(y);
    if (!out.runs.empty() && out.runs.back().end == row) {
      ++out.runs.back().end;
    } else {
      out.runs.push_back({row, row + 1});
    }
  }
  // Short runs cost more than they save.
  std::erase_if(out.runs, [](const Scroll::Run& r) { return r.end - r.first < kTilePixels; });
  if (out.runs.empty()) return std::nullopt;
  return out;
}

}  // namespace atl::rfb
