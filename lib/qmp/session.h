// SPDX-License-Identifier: Apache-2.0
// One client's conversation, whatever carries it: bytes in, bytes out. Loop
// thread.
#ifndef LIB_QMP_SESSION_H_
#define LIB_QMP_SESSION_H_

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "absl/strings/string_view.h"
#include "lib/qmp/command.h"
#include "lib/vm/machine_event.h"

namespace atl::qmp {

enum class Protocol : uint8_t {
  kControl,  // QMP
  kHuman,    // lines and a prompt
};

class Session {
 public:
  using Output = std::function<void(absl::string_view)>;
  virtual ~Session() = default;

  // The greeting or the prompt.
  virtual void Begin() = 0;
  // What came in. It is kept until Step() works it off; what no message can be
  // is dropped and answered with an error.
  virtual void Feed(absl::string_view bytes) = 0;
  // Carries out the next message that is there as a whole; false where none is.
  virtual bool Step() = 0;
  // A line of JSON, where the client hears events.
  virtual void Event(absl::string_view text) = 0;
};

// `context` outlives the session. `eol` ends lines.
std::unique_ptr<Session> NewSession(Protocol protocol, Context& context, absl::string_view eol,
                                    Session::Output output);

// QMP's event for what happened to the machine; nothing where it has none.
std::optional<std::string> EventText(const vm::MachineEvent& event,
                                     const vm::MachineConfig& config);

}  // namespace atl::qmp

#endif  // LIB_QMP_SESSION_H_
