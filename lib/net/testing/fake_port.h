// SPDX-License-Identifier: Apache-2.0
// A port without a hub: what the client sends is kept, what it is to receive the
// test hands in. Or a loopback: what is sent comes back by DeliverSent().
#ifndef LIB_NET_TESTING_FAKE_PORT_H_
#define LIB_NET_TESTING_FAKE_PORT_H_

#include <cstdint>
#include <deque>
#include <utility>
#include <vector>

#include "lib/net/frame.h"
#include "lib/net/port.h"

namespace atl::net {

class FakePort : public Port {
 public:
  struct Sent {
    std::vector<uint8_t> bytes;
    Work work;
  };

  void Connect(Client* client) override { client_ = client; }
  bool Send(const Frame& frame) override {
    if (!WellFormed(frame)) {
      ++malformed;
      return true;
    }
    if (!Allows(peer_offloads, frame.work)) {
      ++not_accepted;
      return true;
    }
    if (room == 0) {
      ++refused;
      return false;
    }
    --room;
    sent.push_back({{frame.bytes.begin(), frame.bytes.end()}, frame.work});
    return true;
  }
  void ReceiveReady() override { ++ready_calls; }
  void SetAccepts(const Offloads& offloads) override { accepts = offloads; }
  Offloads peer_accepts() const override { return peer_offloads; }
  bool link_up() const override { return link; }
  void SetLink(bool up) override { link = up; }

  // As the hub would: what the client does not accept never reaches it.
  bool Deliver(const std::vector<uint8_t>& bytes, const Work& work = {}) {
    const Frame frame{bytes, work};
    if (client_ == nullptr || !WellFormed(frame) || !Allows(accepts, work)) return true;
    const bool taken = client_->Receive(frame);
    client_->BurstEnd();
    return taken;
  }
  // Hands back the oldest frame sent, if the client has room; false: it has not,
  // or there is none.
  bool DeliverSent() {
    if (sent.empty()) return false;
    const Sent frame = sent.front();
    if (!Deliver(frame.bytes, frame.work)) return false;
    sent.pop_front();
    return true;
  }
  void MakeRoom(unsigned frames) {
    room = frames;
    if (client_ != nullptr) client_->SendReady();
  }
  void ChangeLink(bool up) {
    link = up;
    if (client_ != nullptr) client_->LinkChanged(up);
  }
  Client* client() { return client_; }

  std::deque<Sent> sent;
  unsigned room = ~0u;  // frames that Send() still takes
  unsigned refused = 0, malformed = 0, not_accepted = 0, ready_calls = 0;
  Offloads accepts;        // what the client said
  Offloads peer_offloads;  // what it is told that others accept
  bool link = true;

 private:
  Client* client_ = nullptr;
};

}  // namespace atl::net

#endif  // LIB_NET_TESTING_FAKE_PORT_H_
