// SPDX-License-Identifier: Apache-2.0
// The hubs of a machine and what they lead to.
#ifndef LIB_VM_NETWORKS_H_
#define LIB_VM_NETWORKS_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "lib/base/unique_fd.h"
#include "lib/dev/device_lock.h"
#include "lib/host/event_loop.h"
#include "lib/net/hub.h"
#include "lib/nic/nic.h"
#include "lib/vm/config.h"

namespace atl::vm {

// On the loop thread, or before it runs.
class Networks {
 public:
  // Opens taps and sockets and runs taps' scripts; a script that fails is an error
  // with what it said. `warn`: of what people should know later.
  static absl::StatusOr<std::unique_ptr<Networks>> Open(
      const MachineConfig& config, host::EventLoop& loop,
      std::function<void(absl::string_view)> warn);

  // A socket on the card's hub. Before Start().
  net::Port& AddCard(const NicConfig& nic, dev::DeviceLock& lock);
  absl::Status Start();
  // When the machine has ended: runs what taps are to run then.
  absl::Status Close();
  // Each hub and who is on it.
  std::string Describe() const;
  // A command for a network that needs no rights, as usernet::TellChild() has it: that
  // of the -netdev `id`, or where it is empty the first one.
  absl::StatusOr<std::string> TellUser(absl::string_view id, absl::string_view command);

 private:
  Networks(host::EventLoop& loop, std::function<void(absl::string_view)> warn)
      : loop_(loop), warn_(std::move(warn)) {}
  net::Hub& HubOf(const std::string& name);

  host::EventLoop& loop_;
  const std::function<void(absl::string_view)> warn_;
  std::map<std::string, std::unique_ptr<net::Hub>> hubs_;
  struct UserNetwork {
    std::string hub;
    UniqueFd control;
  };
  std::vector<UserNetwork> users_;
};

// The option ROM of a card: what -net names, or the model's where the firmware is
// to boot from the network; empty: none.
absl::StatusOr<std::vector<uint8_t>> ReadNicRom(const MachineConfig& config, const NicConfig& nic,
                                                const nic::NicModel& model);

}  // namespace atl::vm

#endif  // LIB_VM_NETWORKS_H_
