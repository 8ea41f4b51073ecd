// SPDX-License-Identifier: Apache-2.0
// The machinery: finding a command, checking its arguments, naming errors. The
// commands themselves are in commands.cc.
#include "lib/qmp/command.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "lib/base/status_macros.h"

namespace atl::qmp {
namespace {

bool Fits(const JsonValue& value, Type type) {
  switch (type) {
    case Type::kString:
      return value.string() != nullptr;
    case Type::kInt:
      return value.integer() != nullptr;
    case Type::kBool:
      return value.boolean() != nullptr;
    case Type::kList:
      return value.array() != nullptr;
  }
  return false;
}

absl::string_view TypeName(Type type) {
  switch (type) {
    case Type::kString:
      return "string";
    case Type::kInt:
      return "integer";
    case Type::kBool:
      return "boolean";
    case Type::kList:
      return "array";
  }
  return "";
}

absl::Status CheckArguments(const Command& command, const JsonValue::Object& given) {
  for (const Argument& a : command.arguments) {
    const auto at = std::find_if(given.begin(), given.end(),
                                 [&a](const JsonValue::Member& m) { return m.first == a.name; });
    if (at == given.end()) {
      if (a.optional) continue;
      return absl::InvalidArgumentError(absl::StrCat("Parameter '", a.name, "' is missing"));
    }
    if (!Fits(at->second, a.type)) {
      return absl::InvalidArgumentError(
          absl::StrCat("Invalid parameter type for '", a.name, "', expected: ", TypeName(a.type)));
    }
    if (a.choices.empty()) continue;
    const std::vector<absl::string_view> words = absl::StrSplit(a.choices, ' ');
    if (std::find(words.begin(), words.end(), *at->second.string()) == words.end()) {
      return absl::InvalidArgumentError(absl::StrCat(
          "Parameter '", a.name, "' does not accept value '", *at->second.string(), "'"));
    }
  }
  for (const JsonValue::Member& m : given) {
    if (std::none_of(command.arguments.begin(), command.arguments.end(),
                     [&m](const Argument& a) { return m.first == a.name; })) {
      return absl::InvalidArgumentError(absl::StrCat("Parameter '", m.first, "' is unexpected"));
    }
  }
  return absl::OkStatus();
}

}  // namespace

const JsonValue* Arguments::Find(absl::string_view name) const {
  for (const JsonValue::Member& m : members_) {
    if (m.first == name) return &m.second;
  }
  return nullptr;
}

std::string Arguments::Text(absl::string_view name, absl::string_view otherwise) const {
  const JsonValue* v = Find(name);
  return v != nullptr && v->string() != nullptr ? *v->string() : std::string(otherwise);
}

int64_t Arguments::Int(absl::string_view name, int64_t otherwise) const {
  const JsonValue* v = Find(name);
  return v != nullptr && v->integer() != nullptr ? *v->integer() : otherwise;
}

bool Arguments::Bool(absl::string_view name, bool otherwise) const {
  const JsonValue* v = Find(name);
  return v != nullptr && v->boolean() != nullptr ? *v->boolean() : otherwise;
}

const JsonValue::Array& Arguments::List(absl::string_view name) const {
  static const JsonValue::Array kNone;
  const JsonValue* v = Find(name);
  return v != nullptr && v->array() != nullptr ? *v->array() : kNone;
}

absl::StatusOr<std::string> RunCommand(Context& context, absl::string_view name,
                                       const JsonValue::Object& arguments) {
  const std::span<const Command> commands = Commands();
  const auto at =
      std::lower_bound(commands.begin(), commands.end(), name,
                       [](const Command& c, absl::string_view n) { return c.name < n; });
  if (at == commands.end() || at->name != name) {
    return absl::UnimplementedError(absl::StrCat("The command ", name, " has not been found"));
  }
  RETURN_IF_ERROR(CheckArguments(*at, arguments));
  cli::JsonWriter out(0);
  absl::Status status = at->run(context, Arguments(arguments), out);
  // A command of ours that something below cannot do is no missing command.
  if (status.code() == absl::StatusCode::kUnimplemented) {
    return absl::FailedPreconditionError(status.message());
  }
  RETURN_IF_ERROR(status);
  return out.text().empty() ? "{}" : out.text();
}

absl::string_view ErrorClass(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kUnimplemented:
      return "CommandNotFound";
    case absl::StatusCode::kNotFound:
      return "DeviceNotFound";
    case absl::StatusCode::kUnavailable:
      return "DeviceNotActive";
    default:
      return "GenericError";
  }
}

void WriteVersion(absl::string_view version, cli::JsonWriter& out) {
  // The version of QEMU whose protocol this is; clients look at it.
  out.BeginObject().Key("qemu").BeginObject().Key("micro").Number(0).Key("minor").Number(2);
  out.Key("major").Number(7).EndObject();
  out.Key("package").String(absl::StrCat("atoll ", version)).EndObject();
}

std::string Greeting(absl::string_view version) {
  cli::JsonWriter out(0);
  out.BeginObject().Key("QMP").BeginObject().Key("version");
  WriteVersion(version, out);
  out.Key("capabilities").BeginArray().EndArray().EndObject().EndObject();
  return out.text();
}

absl::string_view RunStateName(vm::RunState state) {
  switch (state) {
    case vm::RunState::kPrelaunch:
      return "prelaunch";
    case vm::RunState::kRunning:
      return "running";
    case vm::RunState::kPaused:
      return "paused";
    case vm::RunState::kShutdown:
      return "shutdown";
    case vm::RunState::kPanicked:
      return "guest-panicked";
    case vm::RunState::kInternalError:
      return "internal-error";
  }
  return "";
}

}  // namespace atl::qmp
