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

constexpr uint64_t kPrime = 0x9E3779B97F4A7C15u;

// The rows, or the columns, of a box: hashes of them before and now.
struct Lines {
  explicit Lines(size_t count) : before(count), now(count), plain(count) {}

  // How far most of those that moved did; 0 where a few happen to agree. Lines that
  // were there more than once say nothing, and so do those of one colour.
  int Shift() const {
    std::unordered_map<uint64_t, int> places;
    constexpr int kTwice = -1;
    for (size_t i = 0; i < before.size(); ++i) {
      if (plain[i] != 0) continue;
      const auto [it, fresh] = places.emplace(before[i], static_cast<int>(i));
      if (!fresh) it->second = kTwice;
    }
    std::unordered_map<int, size_t> votes;
    size_t most = 0;
    int shift = 0;
    for (size_t i = 0; i < now.size(); ++i) {
      if (now[i] == before[i]) continue;
      const auto it = places.find(now[i]);
      if (it == places.end() || it->second == kTwice) continue;
      const int by = static_cast<int>(i) - it->second;
      if (++votes[by] > most) {
        most = votes[by];
        shift = by;
      }
    }
    return most < 8 || most * 8 < now.size() ? 0 : shift;
  }

  // The lines that moved by that; runs so short that they cost more than they save
  // are left out.
  template <typename Same>
  std::vector<Scroll::Run> Runs(int shift, Same same) const {
    std::vector<Scroll::Run> out;
    if (shift == 0) return out;
    const int count = static_cast<int>(now.size());
    for (int i = std::max(0, shift); i < count + std::min(0, shift); ++i) {
      const auto to = static_cast<unsigned>(i), from = static_cast<unsigned>(i - shift);
      if (now[to] != before[from] || !same(to, from)) continue;
      if (!out.empty() && out.back().end == to) {
        ++out.back().end;
      } else {
        out.push_back({to, to + 1});
      }
    }
    std::erase_if(out, [](const Scroll::Run& r) { return r.end - r.first < kTilePixels; });
    return out;
  }

  std::vector<uint64_t> before, now;
  std::vector<uint8_t> plain;  // of one colour before
};

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
  if (std::optional<Scroll> rows = FindRows(box)) return rows;
  return FindColumns(box);
}

std::optional<Scroll> Shadow::FindRows(const ui::Rect& box) {
  Lines lines(box.height);
  for (unsigned y = 0; y < box.height; ++y) {
    const uint32_t* const row = before_.data() + size_t{y} * box.width;
    lines.before[y] = HashRow(row, box.width);
    lines.now[y] = HashRow(view().At(box.x, box.y + y), box.width);
    lines.plain[y] = OneColour(row, box.width);
  }
  Scroll out{.box = box, .down = lines.Shift()};
  // Hashes propose; the pixels decide.
  out.runs = lines.Runs(out.down, [&](unsigned to, unsigned from) {
    return std::memcmp(view().At(box.x, box.y + to), before_.data() + size_t{from} * box.width,
                       size_t{box.width} * 4) == 0;
  });
  for (Scroll::Run& r : out.runs) r = {r.first + box.y, r.end + box.y};
  if (out.runs.empty()) return std::nullopt;
  return out;
}

std::optional<Scroll> Shadow::FindColumns(const ui::Rect& box) {
  Lines lines(box.width);
  std::fill(lines.plain.begin(), lines.plain.end(), uint8_t{1});
  // Row by row, as they lie in memory.
  for (unsigned y = 0; y < box.height; ++y) {
    const uint32_t* const before = before_.data() + size_t{y} * box.width;
    const uint32_t* const now = view().At(box.x, box.y + y);
    for (unsigned x = 0; x < box.width; ++x) {
      lines.before[x] = (lines.before[x] ^ before[x]) * kPrime + 1;
      lines.now[x] = (lines.now[x] ^ now[x]) * kPrime + 1;
      lines.plain[x] &= static_cast<uint8_t>(before[x] == before_[x]);
    }
  }
  Scroll out{.box = box, .right = lines.Shift()};
  out.runs = lines.Runs(out.right, [&](unsigned to, unsigned from) {
    for (unsigned y = 0; y < box.height; ++y) {
      if (*view().At(box.x + to, box.y + y) != before_[size_t{y} * box.width + from]) return false;
    }
    return true;
  });
  for (Scroll::Run& r : out.runs) r = {r.first + box.x, r.end + box.x};
  if (out.runs.empty()) return std::nullopt;
  return out;
}

}  // namespace atl::rfb
