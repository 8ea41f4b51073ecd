// SPDX-License-Identifier: Apache-2.0
// One viewer, as a machine of bytes: what it says goes in, what it is to be told
// comes out. Knows no socket, no TLS and no WebSocket (connection.h).
//
// Thread rule: the server's loop thread.
#ifndef LIB_RFB_SESSION_H_
#define LIB_RFB_SESSION_H_

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "lib/rfb/access.h"
#include "lib/rfb/desktop.h"
#include "lib/rfb/encoder.h"
#include "lib/rfb/encoder_pool.h"
#include "lib/rfb/flow.h"
#include "lib/rfb/guest.h"
#include "lib/rfb/input.h"
#include "lib/rfb/messages.h"
#include "lib/rfb/output.h"
#include "lib/rfb/tiles.h"

namespace atl::rfb {

// What the viewer said that it understands.
struct Features {
  const Encoding* encoding = nullptr;  // the first one listed that is known
  bool copy_rect = false;
  bool desktop_size = false, extended_desktop_size = false;
  bool desktop_name = false;
  bool cursor = false, cursor_alpha = false;
  bool pointer_motion = false, extended_key = false;
  bool qemu_leds = false, vmware_leds = false;
  bool fence = false, continuous = false;
  bool last_rect = false;
  bool clipboard = false, xvp = false;
  int jpeg_quality = 0;  // 0: lossless
  int jpeg_subsampling = 1;
  int compression = 1;
};
Features FeaturesOf(std::span<const int32_t> encodings);

struct SessionOptions {
  bool view_only = false;
  bool encrypted = false;  // what is below is: wss
  bool websocket = false;  // VeNCrypt's TLS cannot be
  EncoderPool* pool = nullptr;
  // An update is one message with a 16-bit count: what is left follows in the next,
  // or, to viewers that know LastRect, without being counted.
  unsigned max_rectangles = 60000;
};

// What an ExtendedDesktopSize rectangle says beside the size.
struct SizeNews {
  unsigned reason = 0, status = 0;
  bool changed = false;  // the size is another than before
};

class Session {
 public:
  // Changes of a picture are this long apart before what was lossy is sent again.
  static constexpr uint64_t kRefreshNs = 300'000'000;
  // What may wait to be sent while an update is made.
  static constexpr size_t kQuietBytes = 16 * 1024;
  // Answers that may wait, beside an update: above, the viewer is not read.
  static constexpr size_t kMaxReplies = 64 * 1024;

  // All outlive it.
  Session(const Access* access, const Desktop* desktop, Guest* guest, Output* out,
          SessionOptions options);
  ~Session();
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  void Start();
  // How many of the bytes are done with; the rest comes again, with more. An
  // error is the end: what is in the output is still to be sent.
  absl::StatusOr<size_t> Receive(std::span<const uint8_t> bytes);

  enum class State : uint8_t {
    kVersion,
    kSecurityType,
    kVencryptVersion,
    kVencryptType,
    kTls,  // wants TLS below itself: start it, then TlsReady()
    kPlain,
    kVncResponse,
    kInit,
    kNormal,
    kFailed,
  };
  State state() const { return state_; }
  absl::Status TlsReady();
  bool tls_with_certificate() const { return with_certificate_; }
  // In: what it shows and does is the viewer's. Set once ClientInit has come,
  // with its wish; the server says then who else stays.
  bool normal() const { return state_ == State::kNormal; }
  bool shared() const { return shared_; }
  bool auth_failed() const { return auth_failed_; }
  bool view_only() const { return options_.view_only; }

  // What has changed; nothing is sent before Pump().
  void PictureChanged(const Change& change);
  // Where the shadow is another one. `viewer`: who asked for it, or null.
  void SizeChanged(const Session* viewer);
  void CursorChanged() { send_cursor_ = true; }
  void LedsChanged() { send_leds_ = true; }
  void PointerModeChanged() { send_pointer_mode_ = true; }
  void NameChanged() { send_name_ = true; }
  void ClipboardChanged();

  // Sends an update where the viewer wants one, there is something new and no
  // more than a little, `queued` bytes, is under way.
  void Pump(size_t queued);
  // Would send what changes.
  bool hungry() const { return normal() && (request_ || continuous_); }
  // Would send what it has not been sent yet.
  bool wants_picture() const { return hungry() && !dirty_.empty(); }
  // When Pump() is to be called though nothing happened: monotonic, or none.
  std::optional<uint64_t> wake_at() const { return wake_at_; }
  bool too_many_replies() const { return replies_ > kMaxReplies; }
  void OutputDrained() { replies_ = 0; }

  // The part of the shadow that it shows.
  unsigned width() const { return width_; }
  unsigned height() const { return height_; }
  bool follows_size() const { return features_.desktop_size || features_.extended_desktop_size; }

  bool asked_for_size() const { return asked_for_size_; }

  // For the log.
  std::string Describe() const;
  uint64_t updates() const { return updates_; }

 private:
  absl::StatusOr<size_t> Step(std::span<const uint8_t> bytes);
  // handshake.cc
  absl::StatusOr<size_t> TakeVersion(std::span<const uint8_t> bytes);
  absl::StatusOr<size_t> TakeSecurityType(std::span<const uint8_t> bytes);
  absl::StatusOr<size_t> TakeVencryptVersion(std::span<const uint8_t> bytes);
  absl::StatusOr<size_t> TakeVencryptType(std::span<const uint8_t> bytes);
  absl::StatusOr<size_t> TakePlain(std::span<const uint8_t> bytes);
  absl::StatusOr<size_t> TakeVncResponse(std::span<const uint8_t> bytes);
  absl::StatusOr<size_t> TakeInit(std::span<const uint8_t> bytes);
  std::vector<uint8_t> SecurityTypes() const;
  std::vector<uint32_t> VencryptTypes() const;
  absl::Status BeginAuth(uint32_t type);
  absl::Status Fail(absl::string_view reason);
  void Succeed();

  // session.cc
  absl::Status Take(const ClientMessage& message);
  absl::Status On(const SetPixelFormat& m);
  absl::Status On(const SetEncodings& m);
  absl::Status On(const UpdateRequest& m);
  absl::Status On(const KeyEvent& m);
  absl::Status On(const PointerEvent& m);
  absl::Status On(const CutText& m);
  absl::Status On(const ExtendedClipboard& m);
  absl::Status On(const EnableContinuousUpdates& m);
  absl::Status On(const Fence& m);
  absl::Status On(const Xvp& m);
  absl::Status On(const SetDesktopSize& m);

  // update.cc
  bool WantsPseudo() const;
  void DropCopies();
  // One band; how many rectangles it became.
  unsigned EncodeHere(const ui::Rect& band, const EncodeSettings& settings);
  unsigned EncodeInPool(const std::vector<ui::Rect>& bands, const EncodeSettings& settings);
  void NoteSent(const ui::Rect& band, const Encoded& done);
  void WriteUpdate(const ui::Rect& region, const TileSet* refresh);
  unsigned WritePseudo();
  unsigned WriteSize();
  unsigned WriteCursor();
  EncodeSettings Settings(bool lossless) const;
  Encoder* CurrentEncoder();

  const Access& access_;
  const Desktop& desktop_;
  Guest& guest_;
  Output& out_;
  SessionOptions options_;
  State state_ = State::kVersion;
  unsigned minor_ = 8;  // of version 3
  bool with_certificate_ = false;
  bool auth_failed_ = false;
  bool shared_ = true;
  uint32_t auth_type_ = 0;  // what was chosen: VeNCrypt's number, or RFC 6143's
  std::array<uint8_t, 16> challenge_{};
  std::string user_;

  PixelConverter converter_;
  Features features_;
  std::map<int32_t, std::unique_ptr<Encoder>> encoders_;
  InputState input_;
  FlowControl flow_;
  unsigned width_ = 0, height_ = 0;

  TileSet dirty_;
  TileSet lossy_;
  std::optional<Scroll> copies_;
  std::optional<ui::Rect> request_;
  std::optional<ui::Rect> continuous_;
  std::optional<uint64_t> wake_at_;
  uint64_t changed_at_ = 0;
  bool announced_fence_ = false, announced_continuous_ = false;
  bool send_cursor_ = false, send_leds_ = false, send_pointer_mode_ = false, send_name_ = false;
  bool send_extended_key_ = false;
  std::optional<SizeNews> send_size_;
  bool asked_for_size_ = false;
  size_t replies_ = 0;
  uint64_t updates_ = 0;
};

}  // namespace atl::rfb

#endif  // LIB_RFB_SESSION_H_
