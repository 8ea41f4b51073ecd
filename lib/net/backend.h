// SPDX-License-Identifier: Apache-2.0
// What carries a machine's packets out of the process, or plays the network
// itself: a tap, a socket, the user-mode network.
//
// It is made, with all descriptors open, before the process gives up its rights;
// the hub owns it and connects it to its port. See port.h for who is called when.
#ifndef LIB_NET_BACKEND_H_
#define LIB_NET_BACKEND_H_

#include <functional>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "lib/host/event_loop.h"
#include "lib/net/port.h"

namespace atl::net {

// Where Receive() may be called.
enum class Threads : uint8_t {
  kLoop,  // the loop thread: the hub queues what cards send
  kAny,   // any: the sender's thread does the work; the backend has a lock of its own
};

class Backend : public Client {
 public:
  // For people: "tap tap0", "stream /tmp/passt.sock".
  virtual std::string description() const = 0;
  virtual Threads threads() const { return Threads::kLoop; }
  // What Receive() may leave to it, from the start; may be changed by the port's
  // SetAccepts().
  virtual Offloads offloads() const { return {}; }
  // See Port.
  virtual KernelPath* kernel_path() { return nullptr; }
  // Frames may come and go from now on. `port` is connected; it and `loop`
  // outlive the backend. `warn`, on the loop thread, is told of what people should
  // know: a peer that went away. On the loop thread or before it runs; once.
  virtual absl::Status Start(host::EventLoop& loop, Port& port,
                             std::function<void(absl::string_view)> warn) = 0;
  // After the machine has ended, on the loop thread, outside of Run(): what is
  // to be done last (a tap's script), waited for.
  virtual absl::Status Close() { return absl::OkStatus(); }
};

}  // namespace atl::net

#endif  // LIB_NET_BACKEND_H_
