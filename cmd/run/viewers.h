// SPDX-License-Identifier: Apache-2.0
// Who looks at the guest's screen from outside: the console socket, and with
// -vnc a vnc of our own.
#ifndef CMD_RUN_VIEWERS_H_
#define CMD_RUN_VIEWERS_H_

#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "cmd/run/viewer_options.h"
#include "lib/console/server.h"
#include "lib/host/event_loop.h"
#include "lib/vm/machine.h"

namespace atl::run {

class Viewers {
 public:
  // Listens, starts vnc, and waits until it serves: an error where it does not,
  // after it has said itself why. `folder`: where the socket is to be if the
  // options do not say; empty for nowhere. Before there are threads.
  static absl::StatusOr<std::unique_ptr<Viewers>> Create(
      const ViewerOptions& options, const std::string& folder, vm::Machine& machine,
      host::EventLoop& loop, std::function<void(absl::string_view)> say);
  // From now on on a thread of their own.
  absl::Status Start();
  // Before the machine goes.
  void Finish(absl::string_view reason);

 private:
  Viewers() = default;
  absl::Status StartVnc(const VncOptions& options, std::function<void(absl::string_view)> say);

  std::unique_ptr<console::Server> server_;
};

}  // namespace atl::run

#endif  // CMD_RUN_VIEWERS_H_
