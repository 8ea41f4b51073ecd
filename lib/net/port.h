// SPDX-License-Identifier: Apache-2.0
// Where packets go in and out of a device or a backend: a socket of the hub
// (hub.h) that joins a machine's network cards with taps, sockets and the
// user-mode network.
//
// Who is plugged in is a Client; what it is plugged into is a Port. Both sides
// are symmetric: a card's transmitted frames and a tap's received ones go into
// Port::Send(), and what others sent comes in Client::Receive().
//
// Back-pressure. Receive() answers false where there is no room now (a guest that
// has given no buffers): the frame then was not taken, the hub keeps or returns
// it, and the client says ReceiveReady() once there is room. Send() is false
// where nobody had room: the frame was not taken, and SendReady() comes when it
// is worth trying again. A client that cannot wait may drop the frame instead.
// A hub of two never drops a frame that it took. A hub of more does not wait for
// the slowest: Send() is always true there, and who has no room loses frames
// after a bounded queue. ReceiveReady() is due at a reset, too: frames are dropped
// then, which is as good as room.
//
// What is no frame for the client (another's address, a receiver switched off)
// it drops, and answers true. Frames that come while a card is reset or its
// driver is not there yet are dropped, too: they do not wait for a system that
// may boot hours later.
//
// Thread rule. Calls of a card's client come with its device's lock held; Receive(),
// BurstEnd(), SendReady() and LinkChanged() on the loop thread. A card calls its
// Port with its lock held, on any thread. A backend's client is called on the
// loop thread, without locks, and calls its Port there; but one made for any
// thread (Threads::kAny) gets Receive() and BurstEnd() on any, and keeps its own
// lock, below devices' locks, which it does not hold when it calls its Port.
// No call of a Port enters a client before it returns, but Receive() of
// Threads::kAny: so a card's code is never entered from within its Send().
#ifndef LIB_NET_PORT_H_
#define LIB_NET_PORT_H_

#include "lib/net/frame.h"
#include "lib/net/kernel_path.h"

namespace atl::net {

class Client {
 public:
  virtual ~Client() = default;

  // A frame, well-formed and with no more work left than the client accepts;
  // true: taken or dropped, false: no room, see above.
  virtual bool Receive(const Frame& frame) = 0;
  // After each Receive() that was true, or after several at once where no further
  // frame follows right now: one interrupt may do for all of them.
  virtual void BurstEnd() {}
  // After a Send() that was false.
  virtual void SendReady() {}
  // What others accept has changed (Port::peer_accepts()).
  virtual void OffloadsChanged() {}
  // The cable, so to speak: up at the start.
  virtual void LinkChanged(bool /*up*/) {}
};

class Port {
 public:
  virtual ~Port() = default;

  // `client` receives from now on, until another or null takes its place. A
  // device calls it in its constructor and, with null, in its destructor; while
  // the loop does not run or on its thread.
  virtual void Connect(Client* client) = 0;

  // Offers a frame to all others. One that is not WellFormed() is dropped, as
  // is, for a receiver that does not accept it, one with work left to do.
  virtual bool Send(const Frame& frame) = 0;
  // Receive() may be called again, after it was false.
  virtual void ReceiveReady() = 0;

  // What Receive() may be given; nothing (complete frames) at first. For cards:
  // by what the driver has negotiated, taken back at a reset.
  virtual void SetAccepts(const Offloads& offloads) = 0;
  // What all others could accept. It may shrink in use; frames on their way then
  // are lost.
  virtual Offloads peer_accepts() const = 0;

  // Whether somebody is at the other end, as LinkChanged() says.
  virtual bool link_up() const = 0;
  // For backends whose other end has come or gone.
  virtual void SetLink(bool up) = 0;

  // What can serve a card's queues past the hub, where only that and the card are on it;
  // lives as long as the hub. Null: nothing.
  virtual KernelPath* kernel_path() { return nullptr; }

  // Between these, on the loop thread, receivers wait with what they do at the
  // end of a burst. See Burst.
  virtual void BeginBurst() {}
  virtual void EndBurst() {}
};

// For a backend that sends all that has come in: receivers see one burst.
class Burst {
 public:
  explicit Burst(Port& port) : port_(port) { port_.BeginBurst(); }
  ~Burst() { port_.EndBurst(); }
  Burst(const Burst&) = delete;
  Burst& operator=(const Burst&) = delete;

 private:
  Port& port_;
};

}  // namespace atl::net

#endif  // LIB_NET_PORT_H_
