// SPDX-License-Identifier: Apache-2.0
// The commands of the control protocol (QMP, docs/interop/qmp-spec.txt of QEMU
// 7.2) as data: one table gives the dispatch, the errors about arguments,
// query-commands and query-qmp-schema.
#ifndef LIB_QMP_COMMAND_H_
#define LIB_QMP_COMMAND_H_

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "lib/base/unique_fd.h"
#include "lib/cli/json.h"
#include "lib/qmp/json_value.h"
#include "lib/vm/control.h"

namespace atl::qmp {

enum class Type : uint8_t { kString, kInt, kBool, kList };

struct Argument {
  absl::string_view name;
  Type type = Type::kString;
  bool optional = false;
  absl::string_view choices = "";  // of a string: the words it may be; empty: any
};

// A chord of keys: pressed in this order, held, released.
struct Chord {
  std::vector<uint8_t> codes;
  uint64_t hold_ms = 100;
};

struct ChardevState {
  std::string label;
  std::string filename;
  bool open = false;  // somebody is there
};

// What commands act on. All on the loop thread.
struct Context {
  vm::MachineControl* machine = nullptr;
  std::string version;     // of atoll
  bool sandboxed = false;  // files cannot be opened everywhere
  // Queues a chord; ResourceExhausted where too many wait.
  std::function<absl::Status(Chord)> send_keys;
  std::function<std::vector<ChardevState>()> chardevs;
  // Descriptors that go with the reply of the command that runs, each the
  // reply's own. Null where the client's connection cannot carry them.
  std::vector<UniqueFd>* attached = nullptr;
  // Descriptors that the client has sent and no command has taken yet, the oldest
  // first. Null where the connection cannot carry them.
  std::vector<UniqueFd>* received = nullptr;
};

// What a command was called with, already of the types its table says.
class Arguments {
 public:
  explicit Arguments(const JsonValue::Object& members) : members_(members) {}
  bool Has(absl::string_view name) const { return Find(name) != nullptr; }
  std::string Text(absl::string_view name, absl::string_view otherwise = "") const;
  int64_t Int(absl::string_view name, int64_t otherwise = 0) const;
  bool Bool(absl::string_view name, bool otherwise = false) const;
  const JsonValue::Array& List(absl::string_view name) const;

 private:
  const JsonValue* Find(absl::string_view name) const;
  const JsonValue::Object& members_;
};

struct Command {
  absl::string_view name;
  std::span<const Argument> arguments;
  // Writes the value that is returned; nothing written stands for {}. The code
  // of an error is its class: NotFound DeviceNotFound, Unavailable
  // DeviceNotActive, anything else GenericError.
  absl::Status (*run)(Context& context, const Arguments& arguments, cli::JsonWriter& out);
};

// Sorted by name; without qmp_capabilities, which belongs to the connection.
std::span<const Command> Commands();

// The JSON text of the value or an error. CommandNotFound is Unimplemented.
absl::StatusOr<std::string> RunCommand(Context& context, absl::string_view name,
                                       const JsonValue::Object& arguments);

// QMP's name of an error's class.
absl::string_view ErrorClass(const absl::Status& status);

// {"version": ..., "capabilities": []}: of the greeting.
std::string Greeting(absl::string_view version);
void WriteVersion(absl::string_view version, cli::JsonWriter& out);
absl::string_view RunStateName(vm::RunState state);

// One line of the human monitor; what it prints, lines ended by \n.
// `cpu` is the one that registers and addresses are looked at on.
std::string RunHumanCommand(Context& context, absl::string_view line, unsigned cpu);

}  // namespace atl::qmp

#endif  // LIB_QMP_COMMAND_H_
