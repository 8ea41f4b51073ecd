// SPDX-License-Identifier: Apache-2.0
// What a viewer is sent, and when: driven by what changes and what it asks for;
// no timers but one, a while after the last picture with losses.
#include <algorithm>

#include "lib/base/endian.h"
#include "lib/host/event_loop.h"
#include "lib/rfb/clipboard.h"
#include "lib/rfb/protocol.h"
#include "lib/rfb/session.h"

namespace atl::rfb {
namespace {

// The count of an update that LastRect ends.
constexpr unsigned kUncounted = 0xFFFF;
// Rows that are encoded in one go.
constexpr unsigned kBand = 256;
// Where an update has this many pixels its bands are encoded on several threads; they
// are lower then, so that there is something for each.
constexpr unsigned kManyPixels = 1 << 18;
constexpr unsigned kPoolBand = 128;
// How many pixels are made lossless in one update: what changes meanwhile is not
// to wait for it.
constexpr unsigned kRefreshPixels = 1 << 18;

constexpr unsigned kByOther = 2;

bool Contains(const ui::Rect& outer, const ui::Rect& inner) {
  return inner.x >= outer.x && inner.y >= outer.y &&
         inner.x + inner.width <= outer.x + outer.width &&
         inner.y + inner.height <= outer.y + outer.height;
}

}  // namespace

void Session::PictureChanged(const Change& change) {
  if (!normal() || change.tiles.empty()) return;
  changed_at_ = host::MonotonicNs();
  const bool whole = width_ == desktop_.width && height_ == desktop_.height;
  if (change.scroll && features_.copy_rect && whole && !copies_ &&
      !dirty_.Touches(change.scroll->box)) {
    copies_ = change.scroll;
    TileSet fresh = change.tiles;
    for (const Scroll::Run& r : copies_->runs) fresh.RemoveRect(copies_->RectOf(r));
    // What was lossy is copied as it is.
    if (lossy_.Touches(copies_->box)) lossy_.AddRect(copies_->box);
    dirty_.AddSet(fresh);
  } else {
    dirty_.AddSet(change.tiles);
  }
}

void Session::DropCopies() {
  if (!copies_) return;
  for (const Scroll::Run& r : copies_->runs) dirty_.AddRect(copies_->RectOf(r));
  copies_.reset();
}

void Session::SizeChanged(const Session* viewer) {
  if (!normal()) return;
  copies_.reset();
  if (follows_size()) {
    width_ = desktop_.width;
    height_ = desktop_.height;
    send_size_ = SizeNews{viewer == nullptr ? 0u : asked_for_size_ ? 1u : kByOther, 0, true};
    // What is asked for is of the old size.
    if (request_) request_ = ui::Rect{0, 0, width_, height_};
    if (continuous_) continuous_ = ui::Rect{0, 0, width_, height_};
  }
  asked_for_size_ = false;
  dirty_ = TileSet(width_, height_);
  lossy_ = dirty_;
  dirty_.AddAll();
}

void Session::ClipboardChanged() {
  if (!normal() || options_.view_only || too_many_replies()) return;
  const size_t before = out_.size();
  if (features_.clipboard) {
    WriteClipboardFlags(kClipboardNotify | kClipboardText, &out_);
  } else {
    const std::string text = Utf8ToLatin1(desktop_.clipboard);
    out_.U8(kServerCutText);
    // Three bytes that nobody reads, but that say nothing of our memory.
    out_.Zeros(3);
    out_.U32(static_cast<uint32_t>(text.size()));
    out_.Append(text);
  }
  replies_ += out_.size() - before;
}

bool Session::WantsPseudo() const {
  return (send_size_ && follows_size()) ||
         (send_cursor_ && desktop_.has_cursor && (features_.cursor || features_.cursor_alpha)) ||
         (send_leds_ && (features_.qemu_leds || features_.vmware_leds)) ||
         (send_pointer_mode_ && features_.pointer_motion) ||
         (send_name_ && features_.desktop_name) || send_extended_key_;
}

void Session::Pump(size_t queued) {
  wake_at_.reset();
  if (!hungry() || queued > kQuietBytes) return;
  if (!request_ && features_.fence && !flow_.Open()) return;
  // Whole tiles, so that none is left half done.
  const ui::Rect wanted = request_ ? *request_ : *continuous_;
  const unsigned left = wanted.x / kTilePixels * kTilePixels;
  const unsigned top = wanted.y / kTilePixels * kTilePixels;
  const auto up = [](unsigned n) { return (n + kTilePixels - 1) / kTilePixels * kTilePixels; };
  const ui::Rect region =
      Clip({left, top, up(wanted.x + wanted.width) - left, up(wanted.y + wanted.height) - top},
           width_, height_);
  if (WantsPseudo() || copies_ || dirty_.Touches(region)) {
    WriteUpdate(region, nullptr);
    return;
  }
  if (!lossy_.Touches(region)) return;
  const uint64_t at = changed_at_ + kRefreshNs;
  if (host::MonotonicNs() < at) {
    wake_at_ = at;
    return;
  }
  WriteUpdate(region, &lossy_);
}

EncodeSettings Session::Settings(bool lossless) const {
  return {.converter = &converter_,
          .compression = features_.compression,
          .jpeg_quality = lossless ? 0 : features_.jpeg_quality,
          .jpeg_subsampling = features_.jpeg_subsampling};
}

Encoder* Session::CurrentEncoder() {
  std::unique_ptr<Encoder>& e = encoders_[features_.encoding->number];
  if (e == nullptr) e = features_.encoding->make();
  return e.get();
}

void Session::WriteUpdate(const ui::Rect& region, const TileSet* refresh) {
  const size_t start = out_.size();
  out_.U8(kFramebufferUpdate);
  out_.U8(0);
  out_.U16(0);
  unsigned count = 0;
  // Another size comes alone: what follows is of that size.
  const bool alone = send_size_ && send_size_->changed;
  if (send_size_ && follows_size()) count = WriteSize();
  if (!alone) {
    count += WritePseudo();
    if (copies_ && !Contains(region, copies_->box)) DropCopies();
    if (copies_) {
      // In an order in which nothing is overwritten before it is copied.
      std::vector<Scroll::Run> runs = copies_->runs;
      if (copies_->down > 0 || copies_->right > 0) std::reverse(runs.begin(), runs.end());
      for (const Scroll::Run& r : runs) {
        const ui::Rect to = copies_->RectOf(r);
        WriteRectHeader(to, kEncodingCopyRect, &out_);
        out_.U16(static_cast<unsigned>(static_cast<int>(to.x) - copies_->right));
        out_.U16(static_cast<unsigned>(static_cast<int>(to.y) - copies_->down));
        ++count;
      }
      copies_.reset();
    }
    const EncodeSettings settings = Settings(refresh != nullptr);
    const std::vector<ui::Rect> rects = (refresh != nullptr ? lossy_ : dirty_).Rects(region);
    size_t pixels = 0;
    for (const ui::Rect& r : rects) pixels += size_t{r.width} * r.height;
    if (refresh != nullptr) pixels = std::min<size_t>(pixels, kRefreshPixels);
    const bool many = options_.pool != nullptr && pixels >= kManyPixels;
    const unsigned step = many ? kPoolBand : kBand;
    // By bands, so that one rectangle is not more than an update may hold.
    std::vector<ui::Rect> bands;
    for (const ui::Rect& r : rects) {
      for (unsigned y = 0; y < r.height; y += step) {
        bands.push_back({r.x, r.y + y, r.width, std::min(step, r.height - y)});
      }
    }
    size_t taken = 0, done = 0;
    while (taken < bands.size() && (refresh == nullptr || done < kRefreshPixels)) {
      done += size_t{bands[taken].width} * bands[taken].height;
      ++taken;
    }
    bands.resize(taken);
    if (many && (features_.last_rect || bands.size() < options_.max_rectangles)) {
      count += EncodeInPool(bands, settings);
    } else {
      for (const ui::Rect& band : bands) {
        if (count > options_.max_rectangles && !features_.last_rect) break;
        count += EncodeHere(band, settings);
      }
    }
  }
  const bool uncounted = features_.last_rect && count > options_.max_rectangles;
  if (uncounted) WriteRectHeader({}, kPseudoLastRect, &out_);
  StoreBe(out_.data() + start + 2, static_cast<uint16_t>(uncounted ? kUncounted : count));
  if (count == 0) {
    out_.Truncate(start);
    return;
  }
  ++updates_;
  request_.reset();
  if (continuous_ && features_.fence) {
    const uint32_t number = flow_.Sent(out_.size() - start, host::MonotonicNs());
    out_.U8(kServerFence);
    out_.Zeros(3);
    out_.U32(kFenceRequest | kFenceBlockBefore);
    out_.U8(4);
    out_.U32(number);
  }
}

void Session::NoteSent(const ui::Rect& band, const Encoded& done) {
  dirty_.RemoveRect(band);
  if (done.lossy) {
    lossy_.AddRect(band);
  } else {
    lossy_.RemoveRect(band);
  }
}

unsigned Session::EncodeHere(const ui::Rect& band, const EncodeSettings& settings) {
  const Encoded done = CurrentEncoder()->Encode(desktop_.shadow->view(), band, settings, &out_);
  NoteSent(band, done);
  return done.rectangles;
}

unsigned Session::EncodeInPool(const std::vector<ui::Rect>& bands, const EncodeSettings& settings) {
  std::vector<EncoderPool::Job> jobs(bands.size());
  for (size_t i = 0; i < bands.size(); ++i) jobs[i].rect = bands[i];
  options_.pool->Encode(*features_.encoding, desktop_.shadow->view(), settings, CurrentEncoder(),
                        jobs);
  unsigned count = 0;
  for (const EncoderPool::Job& job : jobs) {
    out_.Append(job.out.span());
    NoteSent(job.rect, job.done);
    count += job.done.rectangles;
  }
  return count;
}

unsigned Session::WriteSize() {
  const SizeNews news = *send_size_;
  send_size_.reset();
  if (!features_.extended_desktop_size) {
    WriteRectHeader({0, 0, width_, height_}, kPseudoDesktopSize, &out_);
    return 1;
  }
  WriteRectHeader({news.reason, news.status, width_, height_}, kPseudoExtendedDesktopSize, &out_);
  out_.U8(1);
  out_.Zeros(3);
  out_.U32(0);
  out_.U16(0);
  out_.U16(0);
  out_.U16(width_);
  out_.U16(height_);
  out_.U32(0);
  return 1;
}

unsigned Session::WritePseudo() {
  unsigned count = 0;
  if (send_cursor_ && desktop_.has_cursor && (features_.cursor || features_.cursor_alpha)) {
    count += WriteCursor();
    send_cursor_ = false;
  }
  if (send_leds_ && features_.qemu_leds) {
    WriteRectHeader({}, kPseudoQemuLedState, &out_);
    out_.U8(desktop_.leds);
    ++count;
  } else if (send_leds_ && features_.vmware_leds) {
    WriteRectHeader({}, kPseudoVmwareLedState, &out_);
    out_.U32(desktop_.leds);
    ++count;
  }
  send_leds_ = false;
  if (send_pointer_mode_ && features_.pointer_motion) {
    WriteRectHeader({desktop_.pointer_absolute ? 1u : 0u, 0, width_, height_},
                    kPseudoQemuPointerMotion, &out_);
    input_.SetMoves(!desktop_.pointer_absolute);
    ++count;
  }
  send_pointer_mode_ = false;
  if (send_name_ && features_.desktop_name) {
    WriteRectHeader({}, kPseudoDesktopName, &out_);
    out_.U32(static_cast<uint32_t>(desktop_.name.size()));
    out_.Append(desktop_.name);
    ++count;
  }
  send_name_ = false;
  if (send_extended_key_) {
    WriteRectHeader({}, kPseudoQemuExtendedKey, &out_);
    send_extended_key_ = false;
    ++count;
  }
  return count;
}

unsigned Session::WriteCursor() {
  const Cursor& c = desktop_.cursor;
  const ui::Rect rect{c.hot_x, c.hot_y, c.width, c.height};
  if (features_.cursor_alpha) {
    WriteRectHeader(rect, kPseudoCursorWithAlpha, &out_);
    out_.S32(kEncodingRaw);
    for (const uint32_t p : c.pixels) {
      const uint32_t alpha = p >> 24;
      for (const unsigned shift : {16u, 8u, 0u}) {
        out_.U8(static_cast<uint8_t>(((p >> shift & 255) * alpha + 127) / 255));
      }
      out_.U8(static_cast<uint8_t>(alpha));
    }
    return 1;
  }
  WriteRectHeader(rect, kPseudoCursor, &out_);
  for (const uint32_t p : c.pixels) converter_.Write(p, &out_);
  for (unsigned y = 0; y < c.height; ++y) {
    for (unsigned x = 0; x < c.width; x += 8) {
      uint8_t bits = 0;
      for (unsigned i = 0; i < 8 && x + i < c.width; ++i) {
        if (c.pixels[size_t{y} * c.width + x + i] >> 31 != 0) {
          bits = static_cast<uint8_t>(bits | 0x80 >> i);
        }
      }
      out_.U8(bits);
    }
  }
  return 1;
}

}  // namespace atl::rfb
