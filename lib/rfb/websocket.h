// SPDX-License-Identifier: Apache-2.0
// WebSocket (RFC 6455), a server's end, as a machine of bytes; and the little of
// HTTP that comes before it and that serves a page.
#ifndef LIB_RFB_WEBSOCKET_H_
#define LIB_RFB_WEBSOCKET_H_

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "lib/rfb/access.h"
#include "lib/rfb/output.h"

namespace atl::rfb {

struct HttpRequest {
  size_t size = 0;  // bytes with the blank line; 0: there is more to come
  std::string method;
  std::string path;                            // without a query
  std::map<std::string, std::string> headers;  // names in lower case
};
// The head of a request. InvalidArgument where it is none, or is longer than
// kMaxHttpHead.
inline constexpr size_t kMaxHttpHead = 8192;
absl::StatusOr<HttpRequest> ParseHttpRequest(std::span<const uint8_t> bytes);

bool WantsWebSocket(const HttpRequest& request);
// Answers a request for a WebSocket. PermissionDenied: a page of somebody else's
// (`Origin`) is behind it; the answer says so. `hosts`: names by which a page may
// call this server, beside addresses and localhost.
absl::Status AcceptWebSocket(const HttpRequest& request, const std::vector<std::string>& hosts,
                             Output* out);
// Answers any other: a file of `files` (which may be null), or why not.
void AnswerHttp(const HttpRequest& request, const WebFiles* files, Output* out);
void AnswerBadRequest(Output* out);

class WebSocket {
 public:
  // A frame's payload is passed on as it comes, so this bounds no memory.
  static constexpr uint64_t kMaxFrame = uint64_t{64} << 20;

  // Decodes frames: what they carry is appended to `payload`, answers (pong,
  // close) to `out`. How many bytes are done with; an error is the end, and
  // OutOfRange a polite one.
  absl::StatusOr<size_t> Receive(std::span<const uint8_t> bytes, Output* payload, Output* out);
  // One binary frame.
  static void WriteHead(size_t payload, Output* out);
  static void WriteClose(uint16_t code, Output* out);

 private:
  uint64_t left_ = 0;  // of the present frame's payload
  uint8_t mask_[4] = {};
  unsigned mask_at_ = 0;
  bool fragmented_ = false;
};

}  // namespace atl::rfb

#endif  // LIB_RFB_WEBSOCKET_H_
