// SPDX-License-Identifier: Apache-2.0
// Networks that go with a process. What the kernel does not remove by itself
// when the process ends, a bridge, rules in another's tables, the names of sockets, a guardian
// removes: a child that waits for the process' end and outlives kill -9. Where
// the guardian is killed the process ends, and removes it itself. Only both
// killed in one instant leave something: networks are tagged for `net gc`, and a socket's name
// is replaced by the next that listens there.
#ifndef CMD_NET_FOREGROUND_H_
#define CMD_NET_FOREGROUND_H_

#include <functional>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "cmd/net/services.h"
#include "lib/base/unique_fd.h"
#include "lib/hostnet/nft.h"
#include "lib/hostnet/tag.h"

namespace atl::net_tool {

class Guardian {
 public:
  // Removes what the dead process has left; false where nothing was. Runs in the guardian, which
  // has no descriptors of the process.
  using CleanUp = std::function<bool(const hostnet::Process& dead)>;
  // Before anything is made that it would have to remove, and while the process
  // has one thread and holds no lock.
  static absl::StatusOr<Guardian> Start(const CleanUp& clean_up);
  // The process removes its things itself: the guardian goes.
  void Dismiss();
  int ended_fd() const { return ended_.get(); }

 private:
  Guardian() = default;
  UniqueFd pipe_;
  UniqueFd ended_;
  int pid_ = -1;
};

// Interfaces, addresses and rules.
bool RemoveNetworks(const hostnet::Process& dead);

// Serves guests until SIGINT, SIGTERM or SIGHUP comes (OK), or the guardian or the
// owner of the tables ends, which is an error. `owner` and `services` may be
// nullptr.
absl::Status WaitForTheEnd(const Guardian& guardian, const hostnet::NftOwner* owner,
                           BridgeServices* services);

}  // namespace atl::net_tool

#endif  // CMD_NET_FOREGROUND_H_
