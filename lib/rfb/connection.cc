// SPDX-License-Identifier: Apache-2.0
#include "lib/rfb/connection.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "lib/base/status_macros.h"

namespace atl::rfb {
namespace {

// The first byte of a TLS connection: a handshake record.
constexpr uint8_t kTlsHandshake = 0x16;
// One WebSocket frame of ours.
constexpr size_t kFrame = 256 * 1024;

}  // namespace

Connection::Connection(const Surroundings& surroundings, Speaks speaks, bool view_only)
    : surroundings_(surroundings), speaks_(speaks), view_only_(view_only) {}

Connection::~Connection() = default;

void Connection::Start() {
  if (speaks_ == Speaks::kRfb) SilenceIsRfb();
}

void Connection::SilenceIsRfb() {
  if (layer_ != Layer::kSniff) return;
  layer_ = Layer::kRfb;
  StartSession();
  // Its greeting is a few bytes in clear: nothing can go wrong.
  SendOut().IgnoreError();
}

void Connection::StartSession() {
  session_ = std::make_unique<Session>(surroundings_.access, surroundings_.desktop,
                                       surroundings_.guest, &session_out_,
                                       SessionOptions{.view_only = view_only_,
                                                      .encrypted = whole_tls_,
                                                      .websocket = websocket_ != nullptr,
                                                      .pool = surroundings_.pool});
  session_->Start();
}

std::string Connection::Describe() const {
  std::string out = websocket_ != nullptr ? (whole_tls_ ? "wss" : "ws")
                    : session_ != nullptr ? "RFB"
                                          : "HTTP";
  if (session_ != nullptr) absl::StrAppend(&out, ", ", session_->Describe());
  return out;
}

absl::Status Connection::Receive(std::span<const uint8_t> bytes) {
  if (bytes.empty()) return absl::OkStatus();
  if (layer_ == Layer::kSniff) {
    // RFB's own first words, from a viewer that did not wait for ours.
    if (bytes[0] == 'R' && speaks_ == Speaks::kEither) {
      SilenceIsRfb();
    } else {
      layer_ = Layer::kHttp;
      if (bytes[0] == kTlsHandshake) {
        if (surroundings_.access->tls == nullptr || !HasCertificate(*surroundings_.access->tls)) {
          return absl::FailedPreconditionError("TLS, but there is no certificate");
        }
        ASSIGN_OR_RETURN(tls_, TlsLink::Create(surroundings_.access->tls, true, &wire_));
        whole_tls_ = true;
      }
    }
  }
  absl::Status status;
  if (tls_ != nullptr) {
    Output plain;
    const bool was_ready = tls_->ready();
    status = tls_->Receive(bytes, &plain);
    if (!was_ready && tls_->ready() && !whole_tls_) {
      status.Update(session_->TlsReady());
    }
    if (absl::Status taken = Decrypted(plain.span()); !taken.ok()) status = taken;
  } else {
    status = Decrypted(bytes);
  }
  if (absl::Status sent = SendOut(); status.ok()) status = sent;
  if (!status.ok() && tls_ != nullptr) tls_->Close();
  return status;
}

absl::Status Connection::Decrypted(std::span<const uint8_t> bytes) {
  if (layer_ == Layer::kRfb) {
    in_.Append(bytes);
    return TakeRfb();
  }
  web_in_.Append(bytes);
  return TakeWeb();
}

absl::Status Connection::TakeWeb() {
  if (layer_ == Layer::kHttp) RETURN_IF_ERROR(TakeHttp());
  if (layer_ != Layer::kWebSocket) return absl::OkStatus();
  absl::StatusOr<size_t> n = websocket_->Receive(web_in_.span(), &in_, &control_out_);
  if (n.ok()) web_in_.Consume(*n);
  // What came before a goodbye still counts.
  RETURN_IF_ERROR(TakeRfb());
  return n.status();
}

absl::Status Connection::TakeHttp() {
  absl::StatusOr<HttpRequest> request = ParseHttpRequest(web_in_.span());
  if (!request.ok()) {
    AnswerBadRequest(&control_out_);
    return request.status();
  }
  if (request->size == 0) return absl::OkStatus();
  web_in_.Consume(request->size);
  if (!WantsWebSocket(*request)) {
    AnswerHttp(*request, surroundings_.web, &control_out_);
    return absl::OutOfRangeError(absl::StrCat("HTTP ", request->method, " answered"));
  }
  const Access& access = *surroundings_.access;
  if (access.tls_required && !whole_tls_) {
    AnswerBadRequest(&control_out_);
    return absl::PermissionDeniedError("ws, and only wss is allowed here");
  }
  RETURN_IF_ERROR(AcceptWebSocket(*request, access.web_hosts, &control_out_));
  websocket_ = std::make_unique<WebSocket>();
  layer_ = Layer::kWebSocket;
  // The answer goes out before the first frame.
  RETURN_IF_ERROR(SendOut());
  StartSession();
  return absl::OkStatus();
}

absl::Status Connection::TakeRfb() {
  if (session_ == nullptr || stalled()) return absl::OkStatus();
  ASSIGN_OR_RETURN(size_t n, session_->Receive(in_.span()));
  in_.Consume(n);
  if (session_->state() == Session::State::kTls && tls_ == nullptr) {
    // The choice is confirmed in clear; everything behind it is TLS.
    RETURN_IF_ERROR(SendOut());
    ASSIGN_OR_RETURN(
        tls_, TlsLink::Create(surroundings_.access->tls, session_->tls_with_certificate(), &wire_));
    if (!in_.empty()) {
      Output cipher;
      std::swap(cipher, in_);
      Output plain;
      RETURN_IF_ERROR(tls_->Receive(cipher.span(), &plain));
      if (tls_->ready()) RETURN_IF_ERROR(session_->TlsReady());
      if (!plain.empty()) return Decrypted(plain.span());
    }
  }
  return absl::OkStatus();
}

absl::Status Connection::SendOut() {
  const bool encrypted = tls_ != nullptr && (whole_tls_ || tls_->ready());
  const auto lower = [&](std::span<const uint8_t> bytes) {
    if (encrypted) return tls_->Send(bytes);
    wire_.Append(bytes);
    return absl::OkStatus();
  };
  if (tls_ != nullptr && !tls_->ready()) return absl::OkStatus();
  if (!control_out_.empty()) {
    RETURN_IF_ERROR(lower(control_out_.span()));
    control_out_.Clear();
  }
  if (session_out_.empty()) return absl::OkStatus();
  if (websocket_ != nullptr) {
    for (std::span<const uint8_t> rest = session_out_.span(); !rest.empty();) {
      const std::span<const uint8_t> part = rest.first(std::min(rest.size(), kFrame));
      Output head;
      WebSocket::WriteHead(part.size(), &head);
      RETURN_IF_ERROR(lower(head.span()));
      RETURN_IF_ERROR(lower(part));
      rest = rest.subspan(part.size());
    }
  } else if (!encrypted && wire_.empty()) {
    // A whole picture is not copied once more.
    std::swap(wire_, session_out_);
    return absl::OkStatus();
  } else {
    RETURN_IF_ERROR(lower(session_out_.span()));
  }
  session_out_.Clear();
  return absl::OkStatus();
}

absl::Status Connection::WireTook() {
  if (session_ == nullptr || !wire_.empty()) return absl::OkStatus();
  const bool was_stalled = session_->too_many_replies();
  session_->OutputDrained();
  // What was left lying while it did not read.
  if (was_stalled) RETURN_IF_ERROR(TakeRfb());
  return Pump();
}

absl::Status Connection::Pump() {
  if (session_ == nullptr) return absl::OkStatus();
  if (!surroundings_.hold) session_->Pump(wire_.size());
  return SendOut();
}

}  // namespace atl::rfb
