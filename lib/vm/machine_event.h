// SPDX-License-Identifier: Apache-2.0
// What happens to a machine, for --events and monitors.
#ifndef LIB_VM_MACHINE_EVENT_H_
#define LIB_VM_MACHINE_EVENT_H_

#include <string>

#include "absl/strings/string_view.h"

namespace atl::vm {

// `name` is "start", "stop", "resume", "powerdown", "reset", "crash", "shutdown"
// (the guest is gone, the process may stay), "end", "tray", "io-error", and, by
// pvpanic, "panic" and "crash-loaded" (a crash kernel of the guest takes over). "warning"
// is for people: a network peer has gone.
struct MachineEvent {
  absl::string_view name;
  std::string detail = "";        // for people
  absl::string_view reason = "";  // of reset and shutdown: "guest-reset"
  bool guest = false;             // of reset and shutdown: the guest's own doing
  std::string device = "";        // of tray and io-error: the drive
  bool flag = false;              // of tray: it opens; of io-error: it was a write
};

}  // namespace atl::vm

#endif  // LIB_VM_MACHINE_EVENT_H_
