// SPDX-License-Identifier: Apache-2.0
// A hub: what one member sends, all others get, as with the vlan=n of -net. The
// rules between a hub and its members are in port.h.
//
// How frames travel. A backend's Send(), on the loop thread, calls the others
// there and then (a card with its device's lock). A card's Send() holds its own
// device's lock and may be on any thread: it calls a backend made for any thread
// directly, and queues for everybody else, whom the loop calls soon after: two
// cards on one hub never hold both locks.
//
// Bounds: each member has a queue of at most kQueueFrames frames and kQueueBytes
// bytes.
#ifndef LIB_NET_HUB_H_
#define LIB_NET_HUB_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "lib/base/mutex.h"
#include "lib/dev/device_lock.h"
#include "lib/host/event_loop.h"
#include "lib/net/backend.h"
#include "lib/net/port.h"

namespace atl::net {

// Members are added before Start(), on one thread; the hub outlives the cards.
// Destroyed on the loop thread while it does not run.
class Hub {
 public:
  static constexpr size_t kQueueFrames = 512;
  static constexpr size_t kQueueBytes = 1 << 20;  // and one frame

  explicit Hub(host::EventLoop& loop);
  ~Hub();
  Hub(const Hub&) = delete;
  Hub& operator=(const Hub&) = delete;

  // A socket for the card whose lock this is.
  Port& AddCard(dev::DeviceLock& lock, absl::string_view name);
  Port& AddBackend(std::unique_ptr<Backend> backend);

  // Starts the backends.
  absl::Status Start(const std::function<void(absl::string_view)>& warn);
  // Closes them; the first error.
  absl::Status Close();

  size_t members() const { return members_.size(); }
  // A line a member: what it is, its frames and what it lost. Any thread.
  std::string Describe() const;

 private:
  class Member;
  enum class Offer : uint8_t { kTaken, kLost, kRefused };

  bool Send(Member& from, const Frame& frame);
  Offer OfferTo(Member& to, Member& from, const Frame& frame);
  bool pair() const { return members_.size() == 2; }
  void ScheduleLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Work();
  void Drain(Member& to);

  host::EventLoop& loop_;
  // Work that was posted looks here whether the hub still is.
  const std::shared_ptr<char> alive_ = std::make_shared<char>();
  std::vector<std::unique_ptr<Member>> members_;  // unchanged from Start() on
  // Below all devices' and backends' locks; no client is called with it held.
  mutable Mutex mu_;
  bool scheduled_ ABSL_GUARDED_BY(mu_) = false;
};

}  // namespace atl::net

#endif  // LIB_NET_HUB_H_
