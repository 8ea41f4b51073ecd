// SPDX-License-Identifier: Apache-2.0
// One connection, as a machine of bytes from the wire to the guest: finds out
// what the peer speaks, and stacks TLS, WebSocket and the RFB session.
//
//   RFB:      session | wire
//   VeNCrypt: session | TLS | wire      (TLS begins in the middle of the session)
//   ws:       session | WebSocket | wire
//   wss:      session | WebSocket | TLS | wire
//
// Thread rule: the server's loop thread.
#ifndef LIB_RFB_CONNECTION_H_
#define LIB_RFB_CONNECTION_H_

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "absl/status/status.h"
#include "lib/rfb/access.h"
#include "lib/rfb/desktop.h"
#include "lib/rfb/encoder_pool.h"
#include "lib/rfb/guest.h"
#include "lib/rfb/output.h"
#include "lib/rfb/session.h"
#include "lib/rfb/tls.h"
#include "lib/rfb/websocket.h"

namespace atl::rfb {

// What every connection of a server works with; outlives them.
struct Surroundings {
  const Access* access = nullptr;
  const Desktop* desktop = nullptr;
  Guest* guest = nullptr;
  const WebFiles* web = nullptr;
  // The picture is out of date, and a new one is on its way: no updates.
  bool hold = false;
  EncoderPool* pool = nullptr;  // large updates are encoded here where there is one
};

class Connection {
 public:
  // Of a listener: what may be spoken there.
  enum class Speaks : uint8_t {
    kRfb,     // RFB only
    kEither,  // RFB, and what kWeb is: whoever waits for RFB's greeting is silent
    kWeb,     // HTTP, WebSocket, both over TLS too
  };

  Connection(const Surroundings& surroundings, Speaks speaks, bool view_only);
  ~Connection();
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  void Start();
  // Whether SilenceIsRfb() is to be called if nothing comes for a while.
  bool sniffing() const { return layer_ == Layer::kSniff && speaks_ == Speaks::kEither; }
  void SilenceIsRfb();

  // Bytes from the wire. An error is the end: it says why, and what wire() holds
  // is still to be sent. OutOfRange: nothing went wrong.
  absl::Status Receive(std::span<const uint8_t> bytes);
  // What the wire gets. wire().Consume() as it takes it, then WireTook().
  Output& wire() { return wire_; }
  absl::Status WireTook();
  // After the session was told something, or its wake_at() has come.
  absl::Status Pump();

  // The peer is not to be read for now: it does not read itself.
  bool stalled() const { return session_ != nullptr && session_->too_many_replies(); }
  // Null before it is known that RFB is spoken.
  Session* session() { return session_.get(); }
  // For the log.
  std::string Describe() const;

 private:
  enum class Layer : uint8_t { kSniff, kHttp, kWebSocket, kRfb };

  void StartSession();
  absl::Status Decrypted(std::span<const uint8_t> bytes);
  absl::Status TakeWeb();
  absl::Status TakeHttp();
  absl::Status TakeRfb();
  absl::Status SendOut();

  const Surroundings& surroundings_;
  const Speaks speaks_;
  const bool view_only_;
  Layer layer_ = Layer::kSniff;
  Output wire_;
  std::unique_ptr<TlsLink> tls_;
  bool whole_tls_ = false;  // it began with the first byte
  std::unique_ptr<WebSocket> websocket_;
  Output web_in_;       // HTTP or frames, not yet decoded
  Output in_;           // for the session, not yet taken
  Output session_out_;  // from the session, not yet framed
  Output control_out_;  // WebSocket's own answers, or HTTP's
  std::unique_ptr<Session> session_;
};

}  // namespace atl::rfb

#endif  // LIB_RFB_CONNECTION_H_
