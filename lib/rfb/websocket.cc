// SPDX-License-Identifier: Apache-2.0
#include "lib/rfb/websocket.h"

#include <algorithm>
#include <cstring>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "lib/base/endian.h"

namespace atl::rfb {
namespace {

constexpr uint8_t kFinal = 0x80, kMasked = 0x80;
constexpr uint8_t kReserved = 0x70;
constexpr uint8_t kContinuation = 0, kText = 1, kBinary = 2, kClose = 8, kPing = 9, kPong = 10;
constexpr uint16_t kGoingAway = 1000;
constexpr size_t kMaxControl = 125;
// Answers to pings that may wait to be sent.
constexpr size_t kMaxWaiting = 16 * 1024;

}  // namespace

absl::StatusOr<size_t> WebSocket::Receive(std::span<const uint8_t> bytes, Output* payload,
                                          Output* out) {
  size_t at = 0;
  while (true) {
    if (left_ > 0) {
      const size_t n = static_cast<size_t>(std::min<uint64_t>(left_, bytes.size() - at));
      uint8_t* const to = payload->Grow(n);
      for (size_t i = 0; i < n; ++i) {
        to[i] = static_cast<uint8_t>(bytes[at + i] ^ mask_[(mask_at_ + i) % 4]);
      }
      mask_at_ = static_cast<unsigned>((mask_at_ + n) % 4);
      at += n;
      left_ -= n;
      if (left_ > 0) return at;
    }
    const std::span<const uint8_t> b = bytes.subspan(at);
    if (b.size() < 2) return at;
    const uint8_t opcode = b[0] & 0x0F;
    const bool final = (b[0] & kFinal) != 0;
    if ((b[0] & kReserved) != 0) return absl::InvalidArgumentError("websocket: reserved bits");
    if ((b[1] & kMasked) == 0) return absl::InvalidArgumentError("websocket: no mask");
    uint64_t length = b[1] & 0x7F;
    size_t head = 2;
    if (length == 126) {
      if (b.size() < 4) return at;
      length = LoadBe<uint16_t>(b.data() + 2);
      head = 4;
    } else if (length == 127) {
      if (b.size() < 10) return at;
      length = LoadBe<uint64_t>(b.data() + 2);
      head = 10;
    }
    if (length > kMaxFrame) {
      return absl::InvalidArgumentError(absl::StrCat("websocket: a frame of ", length, " bytes"));
    }
    if (b.size() < head + 4) return at;
    uint8_t mask[4];
    std::memcpy(mask, b.data() + head, 4);
    head += 4;
    if (opcode < kClose) {
      const bool begins = opcode == kBinary || opcode == kText;
      if ((!begins && opcode != kContinuation) || begins == fragmented_) {
        return absl::InvalidArgumentError("websocket: a frame out of order");
      }
      fragmented_ = !final;
      std::memcpy(mask_, mask, 4);
      mask_at_ = 0;
      left_ = length;
      at += head;
      continue;
    }
    if (length > kMaxControl || !final) {
      return absl::InvalidArgumentError("websocket: a control frame that is too long");
    }
    if (b.size() < head + length) return at;
    if (opcode == kClose) {
      WriteClose(kGoingAway, out);
      return absl::OutOfRangeError("closed");
    }
    if (opcode == kPing) {
      // Who does not read the answers gets no more of them.
      if (out->size() < kMaxWaiting) {
        out->U8(kFinal | kPong);
        out->U8(static_cast<uint8_t>(length));
        for (size_t i = 0; i < length; ++i) {
          out->U8(static_cast<uint8_t>(b[head + i] ^ mask[i % 4]));
        }
      }
    } else if (opcode != kPong) {
      return absl::InvalidArgumentError("websocket: an opcode that is not defined");
    }
    at += head + static_cast<size_t>(length);
  }
}

void WebSocket::WriteHead(size_t payload, Output* out) {
  out->U8(kFinal | kBinary);
  if (payload < 126) {
    out->U8(static_cast<uint8_t>(payload));
  } else if (payload < 65536) {
    out->U8(126);
    out->U16(static_cast<unsigned>(payload));
  } else {
    out->U8(127);
    StoreBe(out->Grow(8), uint64_t{payload});
  }
}

void WebSocket::WriteClose(uint16_t code, Output* out) {
  out->U8(kFinal | kClose);
  out->U8(2);
  out->U16(code);
}

}  // namespace atl::rfb
