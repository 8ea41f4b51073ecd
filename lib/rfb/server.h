// SPDX-License-Identifier: Apache-2.0
// An RFB server (RFC 6143 and the community's rfbproto): viewers come in on
// listening sockets, see one picture, and type and point into one guest.
//
// Thread rule: the loop's thread, for every call and every callback.
#ifndef LIB_RFB_SERVER_H_
#define LIB_RFB_SERVER_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "lib/base/unique_fd.h"
#include "lib/host/event_loop.h"
#include "lib/rfb/access.h"
#include "lib/rfb/guest.h"
#include "lib/ui/surface.h"

namespace atl::rfb {

// What becomes of the others when a viewer asks for the guest for itself.
enum class Sharing : uint8_t {
  kAllowExclusive,  // they are disconnected
  kForceShared,     // nothing: the wish is not granted
  kExclusive,       // as if every viewer had asked
};

// What a listening socket is to serve.
struct Listener {
  UniqueFd fd;
  std::string name;        // for the log: "localhost:5901"
  bool websocket = false;  // also WebSocket and HTTP, told apart by the first bytes
  bool http_only = false;  // nobody waits here for RFB's greeting
};

struct ServerOptions {
  Access access;
  std::string name = "atoll";  // the desktop's
  Sharing sharing = Sharing::kAllowExclusive;
  bool view_only = false;  // for everybody
  unsigned max_clients = 32;
  std::shared_ptr<const WebFiles> web;  // what HTTP serves; nothing where null
  unsigned encoder_threads = 0;         // beside the loop's, for large updates
  // A file for what the guest shows from now on (recorder.h), and its name.
  UniqueFd record;
  std::string record_name;
  // A line for each viewer that came, went, or was not let in.
  std::function<void(absl::string_view)> log;
};

class Server {
 public:
  // `loop` and `guest` outlive it.
  static absl::StatusOr<std::unique_ptr<Server>> Create(host::EventLoop* loop, Guest* guest,
                                                        ServerOptions options,
                                                        std::vector<Listener> listeners);
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  // A connection that somebody else accepted. `peer` is for the log and for the
  // back-off after failed attempts; empty: no back-off.
  void Adopt(UniqueFd fd, std::string peer, bool websocket = false);

  // Until the first picture, viewers see a small black one. Looks at all of it.
  void SetPicture(const Picture& picture);
  // The picture is taken from memory now, where `damage` says so. False damage
  // costs no bytes. Rectangles are clipped to the picture.
  void Changed(std::span<const ui::Rect> damage);
  void SetCursor(const Cursor& cursor);
  // Bit 0 scroll, 1 num, 2 caps lock.
  void SetLeds(uint8_t leds);
  void SetPointerAbsolute(bool absolute);
  // What the guest put on its clipboard, UTF-8.
  void SetClipboard(absl::string_view text);
  void SetName(absl::string_view name);

  size_t clients() const;
  // Says goodbye to everybody, and ends the recording.
  void DisconnectAll(absl::string_view why);

 private:
  class Impl;
  explicit Server(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace atl::rfb

#endif  // LIB_RFB_SERVER_H_
