// SPDX-License-Identifier: Apache-2.0
// The head of an HTTP request, its answer, and WebSocket's frames.
#include <cstddef>
#include <cstdint>
#include <span>

#include "lib/rfb/websocket.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace atl::rfb;  // NOLINT: a fuzz target is this function alone
  if (size < 1) return 0;
  std::span<const uint8_t> rest(data + 1, size - 1);
  Output out;
  if ((data[0] & 1) != 0) {
    const absl::StatusOr<HttpRequest> request = ParseHttpRequest(rest);
    if (!request.ok() || request->size == 0) return 0;
    if (request->size > rest.size() || request->size > kMaxHttpHead) __builtin_trap();
    if (WantsWebSocket(*request)) {
      AcceptWebSocket(*request, {"host"}, &out).IgnoreError();
    } else {
      AnswerHttp(*request, nullptr, &out);
    }
    return 0;
  }
  WebSocket socket;
  Output payload;
  while (!rest.empty()) {
    const absl::StatusOr<size_t> n = socket.Receive(rest, &payload, &out);
    if (!n.ok() || *n == 0) break;
    rest = rest.subspan(*n);
  }
  // Nothing comes of nothing.
  if (payload.size() > size) __builtin_trap();
  return 0;
}
