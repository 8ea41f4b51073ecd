// SPDX-License-Identifier: Apache-2.0
// run's end of the console socket: shows a screen to viewers, and gives their
// keys and pointers to the guest.
//
// It has a thread of its own, and the guest does not notice viewers: nothing
// here blocks, and there is no queue of output. What a viewer is to be told is
// kept as "this is new", and said when its socket has room; damage is a bit for
// each tile. A viewer that does not read costs that much and no more.
//
// The screen is looked at while a viewer waits for news: when it says that it
// changed, or, where it cannot say, from time to time, less often the longer
// nothing happens.
#ifndef LIB_CONSOLE_SERVER_H_
#define LIB_CONSOLE_SERVER_H_

#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "lib/base/unique_fd.h"
#include "lib/console/wire.h"
#include "lib/ui/layout.h"
#include "lib/ui/screen.h"

namespace atl::console {

struct ServerOptions {
  std::string path;  // of the listening socket; empty: none
  std::string name;  // the guest's
  const ui::Layout* layout = &ui::Layouts()[0];
};

struct ServerHooks {
  // Both on the server's thread; null where it may not be.
  std::function<void(PowerAction)> power;
  std::function<void(absl::string_view)> clipboard;
};

// Of one viewer; on the server's thread, null where nobody wants to know.
struct ViewerHooks {
  std::function<void()> came;  // it has greeted, and was welcome
  std::function<void()> gone;
};

class Server {
 public:
  static constexpr size_t kMaxViewers = 32;
  static constexpr uint64_t kGreetingNs = 5'000'000'000;  // until a Hello must have come
  // Between two looks at the screen: while it changes or somebody types, at least,
  // and when nothing happens.
  static constexpr uint64_t kBusyNs = 3'000'000;
  static constexpr uint64_t kIdleNs = 100'000'000;

  // Listens. `screen` and `input` outlive the server.
  static absl::StatusOr<std::unique_ptr<Server>> Create(ServerOptions options, ui::Screen& screen,
                                                        ui::Input& input, ServerHooks hooks);
  // Ends the thread.
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  // A connected socket for a viewer, whose other end is served here. Before
  // Start().
  absl::StatusOr<UniqueFd> NewViewer(ViewerHooks hooks);
  // Serves on this thread until `fd` is readable or closed at its other end.
  // Before Start().
  absl::Status ServeUntil(int fd);
  // Serves on a thread of its own from now on. Once.
  absl::Status Start();

  // What the guest copied; any thread.
  void SetClipboard(absl::string_view text);
  // The guest's own pointer, where its display adapter draws one; within the bounds
  // of wire.h. Any thread.
  void SetCursor(Cursor cursor);
  // Says goodbye to all, and serves no more: screen and input may go. Any thread
  // but the server's.
  void Finish(absl::string_view reason);

 private:
  class Impl;
  explicit Server(std::unique_ptr<Impl> impl);
  const std::unique_ptr<Impl> impl_;
};

}  // namespace atl::console

#endif  // LIB_CONSOLE_SERVER_H_
