// SPDX-License-Identifier: Apache-2.0
// -net, -nic, -netdev and -device CARD: from their key lists to cards, backends
// and the hubs that join them.
#ifndef CMD_RUN_NETWORK_H_
#define CMD_RUN_NETWORK_H_

#include <span>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "lib/cli/option.h"
#include "lib/vm/config.h"

namespace atl::run {

// What -net and its like take first, and the keys that follow it.
struct NetworkKind {
  absl::string_view name;  // "tap"
  absl::string_view help;
  std::span<const cli::Option> keys;
  std::span<const cli::Option> card_keys;  // with -nic: the card's too
};
std::span<const NetworkKind> NetworkKinds();

// Whether -device's type is a network card: a model, or what QEMU calls it.
bool IsCard(absl::string_view device);
std::string CardNames();  // for messages: "virtio, e1000"

// Fills in `machine`'s nics and backends; its name is set.
absl::Status AddNetworks(const cli::Parsed& args, vm::MachineConfig& machine);

}  // namespace atl::run

#endif  // CMD_RUN_NETWORK_H_
