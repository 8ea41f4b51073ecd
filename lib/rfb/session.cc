// SPDX-License-Identifier: Apache-2.0
#include "lib/rfb/session.h"

#include <algorithm>
#include <array>

#include "absl/strings/str_cat.h"
#include "lib/base/status_macros.h"
#include "lib/host/event_loop.h"
#include "lib/rfb/clipboard.h"
#include "lib/rfb/protocol.h"

namespace atl::rfb {
namespace {

// The levels of quality that viewers know, as JPEG has them. Colours are halved
// for longer than other servers do it: what is lossy is exact once it is still.
struct Quality {
  int quality, subsampling;
};
constexpr std::array<Quality, 10> kQualities = {
    {{15, 4}, {29, 4}, {41, 4}, {42, 2}, {62, 2}, {77, 2}, {79, 2}, {86, 2}, {92, 2}, {100, 1}}};
// Of kPseudoSubsamplingLow and what follows it.
constexpr std::array<int, 6> kSubsamplings = {1, 4, 2, 0, 4, 4};

constexpr uint8_t kXvpFail = 0, kXvpInit = 1;

ui::Rect Whole(const Session& s) { return {0, 0, s.width(), s.height()}; }

}  // namespace

Features FeaturesOf(std::span<const int32_t> encodings) {
  Features out;
  for (const int32_t e : encodings) {
    if (out.encoding == nullptr) out.encoding = FindEncoding(e);
    switch (e) {
      case kEncodingCopyRect:
        out.copy_rect = true;
        break;
      case kPseudoDesktopSize:
        out.desktop_size = true;
        break;
      case kPseudoExtendedDesktopSize:
        out.extended_desktop_size = true;
        break;
      case kPseudoDesktopName:
        out.desktop_name = true;
        break;
      case kPseudoCursor:
        out.cursor = true;
        break;
      case kPseudoCursorWithAlpha:
        out.cursor_alpha = true;
        break;
      case kPseudoQemuPointerMotion:
        out.pointer_motion = true;
        break;
      case kPseudoQemuExtendedKey:
        out.extended_key = true;
        break;
      case kPseudoQemuLedState:
        out.qemu_leds = true;
        break;
      case kPseudoVmwareLedState:
        out.vmware_leds = true;
        break;
      case kPseudoLastRect:
        out.last_rect = true;
        break;
      case kPseudoFence:
        out.fence = true;
        break;
      case kPseudoContinuousUpdates:
        out.continuous = true;
        break;
      case kPseudoExtendedClipboard:
        out.clipboard = true;
        break;
      case kPseudoXvp:
        out.xvp = true;
        break;
      default:
        break;
    }
    if (e >= kPseudoQualityLow && e <= kPseudoQualityHigh) {
      const Quality& q = kQualities[static_cast<size_t>(e - kPseudoQualityLow)];
      out.jpeg_quality = q.quality;
      out.jpeg_subsampling = q.subsampling;
    } else if (e >= kPseudoCompressLow && e <= kPseudoCompressHigh) {
      out.compression = e - kPseudoCompressLow;
    }
  }
  // The finer numbers count more, wherever they stand.
  for (const int32_t e : encodings) {
    if (e >= kPseudoFineQualityLow && e <= kPseudoFineQualityHigh) {
      out.jpeg_quality = std::max(1, e - kPseudoFineQualityLow);
    } else if (e >= kPseudoSubsamplingLow && e <= kPseudoSubsamplingHigh) {
      out.jpeg_subsampling = kSubsamplings[static_cast<size_t>(e - kPseudoSubsamplingLow)];
    }
  }
  if (out.encoding == nullptr) out.encoding = FindEncoding(kEncodingRaw);
  return out;
}

Session::Session(const Access* access, const Desktop* desktop, Guest* guest, Output* out,
                 SessionOptions options)
    : access_(*access),
      desktop_(*desktop),
      guest_(*guest),
      out_(*out),
      options_(options),
      converter_(PixelFormat()),
      features_(FeaturesOf({})),
      input_(guest) {}

Session::~Session() = default;

absl::StatusOr<size_t> Session::Receive(std::span<const uint8_t> bytes) {
  size_t all = 0;
  // TLS begins with the byte behind the choice of it.
  while (state_ != State::kTls && !too_many_replies()) {
    const size_t before = out_.size();
    ASSIGN_OR_RETURN(size_t n, Step(bytes.subspan(all)));
    replies_ += out_.size() - before;
    if (n == 0) break;
    all += n;
  }
  return all;
}

absl::StatusOr<size_t> Session::Step(std::span<const uint8_t> bytes) {
  switch (state_) {
    case State::kVersion:
      return TakeVersion(bytes);
    case State::kSecurityType:
      return TakeSecurityType(bytes);
    case State::kVencryptVersion:
      return TakeVencryptVersion(bytes);
    case State::kVencryptType:
      return TakeVencryptType(bytes);
    case State::kTls:
      return 0;
    case State::kPlain:
      return TakePlain(bytes);
    case State::kVncResponse:
      return TakeVncResponse(bytes);
    case State::kInit:
      return TakeInit(bytes);
    case State::kNormal: {
      ASSIGN_OR_RETURN(ParsedMessage parsed, ParseClientMessage(bytes, features_.clipboard));
      if (parsed.consumed > 0) RETURN_IF_ERROR(Take(parsed.message));
      return parsed.consumed;
    }
    case State::kFailed:
      break;
  }
  return absl::FailedPreconditionError("it goes on after a failure");
}

absl::Status Session::Take(const ClientMessage& message) {
  return std::visit([this](const auto& m) { return On(m); }, message);
}

absl::Status Session::On(const SetPixelFormat& m) {
  converter_ = PixelConverter(m.format);
  if (!m.format.true_colour) converter_.WriteColourMap(&out_);
  return absl::OkStatus();
}

absl::Status Session::On(const SetEncodings& m) {
  const Features old = features_;
  features_ = FeaturesOf(m.encodings);
  if (features_.extended_desktop_size && !old.extended_desktop_size) send_size_ = SizeNews{};
  if (!old.cursor && !old.cursor_alpha) send_cursor_ = true;
  if (!old.qemu_leds && !old.vmware_leds) send_leds_ = true;
  if (!old.pointer_motion) send_pointer_mode_ = true;
  if (features_.extended_key && !old.extended_key) send_extended_key_ = true;
  if (features_.fence && !announced_fence_) {
    announced_fence_ = true;
    out_.U8(kServerFence);
    out_.Zeros(3);
    out_.U32(kFenceRequest);
    out_.U8(0);
  }
  if (features_.continuous && !announced_continuous_) {
    announced_continuous_ = true;
    out_.U8(kEndOfContinuousUpdates);
  }
  if (features_.clipboard && !old.clipboard) {
    WriteClipboardFlags(kClipboardCaps | kClipboardRequest | kClipboardPeek | kClipboardNotify |
                            kClipboardProvide | kClipboardText,
                        &out_);
  }
  if (features_.xvp && !old.xvp) {
    out_.U8(kServerXvp);
    out_.U8(0);
    out_.U8(1);
    out_.U8(kXvpInit);
  }
  if (!features_.copy_rect) DropCopies();
  return absl::OkStatus();
}

absl::Status Session::On(const UpdateRequest& m) {
  ui::Rect rect = Clip(m.rect, width_, height_);
  if (!m.incremental) {
    DropCopies();
    dirty_.AddRect(rect);
    // A viewer that wants everything may have lost what it was told.
    if (rect == Whole(*this) && features_.extended_desktop_size && !send_size_) {
      send_size_ = SizeNews{};
    }
  }
  if (rect.width == 0) return absl::OkStatus();
  if (request_) {
    // Both are wanted: the rectangle around them.
    const unsigned right = std::max(rect.x + rect.width, request_->x + request_->width);
    const unsigned bottom = std::max(rect.y + rect.height, request_->y + request_->height);
    rect.x = std::min(rect.x, request_->x);
    rect.y = std::min(rect.y, request_->y);
    rect.width = right - rect.x;
    rect.height = bottom - rect.y;
  }
  request_ = rect;
  return absl::OkStatus();
}

absl::Status Session::On(const KeyEvent& m) {
  if (!options_.view_only) input_.Key(m);
  return absl::OkStatus();
}

absl::Status Session::On(const PointerEvent& m) {
  if (!options_.view_only) {
    input_.Pointer(m, desktop_.pointer_absolute, desktop_.width, desktop_.height);
  }
  return absl::OkStatus();
}

absl::Status Session::On(const CutText& m) {
  if (!options_.view_only) guest_.SetClipboard(Latin1ToUtf8(m.latin1));
  return absl::OkStatus();
}

absl::Status Session::On(const ExtendedClipboard& m) {
  const bool text = (m.flags & kClipboardText) != 0;
  if ((m.flags & kClipboardCaps) != 0) return absl::OkStatus();
  if ((m.flags & kClipboardRequest) != 0) {
    if (text && !options_.view_only && !desktop_.clipboard.empty()) {
      WriteClipboardText(desktop_.clipboard, &out_);
    }
  } else if ((m.flags & kClipboardPeek) != 0) {
    WriteClipboardFlags(kClipboardNotify | (desktop_.clipboard.empty() ? 0 : kClipboardText),
                        &out_);
  } else if ((m.flags & kClipboardNotify) != 0) {
    if (text && !options_.view_only) {
      WriteClipboardFlags(kClipboardRequest | kClipboardText, &out_);
    }
  } else if ((m.flags & kClipboardProvide) != 0) {
    ASSIGN_OR_RETURN(std::optional<std::string> got, ReadClipboardText(m.flags, m.data));
    if (got && !options_.view_only) guest_.SetClipboard(*got);
  }
  return absl::OkStatus();
}

absl::Status Session::On(const EnableContinuousUpdates& m) {
  if (!features_.continuous) {
    return absl::InvalidArgumentError("it enables continuous updates that it has not");
  }
  const bool was = continuous_.has_value();
  continuous_.reset();
  if (m.enable) {
    const ui::Rect rect = Clip(m.rect, width_, height_);
    if (rect.width > 0) continuous_ = rect;
  } else if (was) {
    out_.U8(kEndOfContinuousUpdates);
  }
  return absl::OkStatus();
}

absl::Status Session::On(const Fence& m) {
  if ((m.flags & kFenceRequest) != 0) {
    // Everything here happens in order, so every block is kept.
    constexpr uint32_t kKnown = kFenceBlockBefore | kFenceBlockAfter | kFenceSyncNext;
    out_.U8(kServerFence);
    out_.Zeros(3);
    out_.U32(m.flags & kKnown);
    out_.U8(static_cast<uint8_t>(m.payload.size()));
    out_.Append(m.payload);
  } else if (m.payload.size() == 4) {
    flow_.Echoed(LoadBe<uint32_t>(m.payload.data()), host::MonotonicNs());
  }
  return absl::OkStatus();
}

absl::Status Session::On(const Xvp& m) {
  if (m.version == 1 && m.code >= 2 && m.code <= 4 && !options_.view_only && features_.xvp &&
      guest_.Power(static_cast<PowerAction>(m.code))) {
    return absl::OkStatus();
  }
  out_.U8(kServerXvp);
  out_.U8(0);
  out_.U8(1);
  out_.U8(kXvpFail);
  return absl::OkStatus();
}

absl::Status Session::On(const SetDesktopSize& m) {
  constexpr unsigned kByThis = 1, kProhibited = 1, kInvalid = 3;
  SizeNews news{.reason = kByThis};
  if (m.width == 0 || m.height == 0 || m.width > Picture::kMaxSide ||
      m.height > Picture::kMaxSide || m.screens == 0) {
    news.status = kInvalid;
  } else if (options_.view_only || !guest_.Resize(m.width, m.height)) {
    news.status = kProhibited;
  } else {
    asked_for_size_ = true;
    return absl::OkStatus();
  }
  send_size_ = news;
  return absl::OkStatus();
}

}  // namespace atl::rfb
