// SPDX-License-Identifier: Apache-2.0
#include "lib/qmp/schema.h"

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "lib/qmp/command.h"

namespace atl::qmp {
namespace {

constexpr absl::string_view kEvents[] = {
    "BLOCK_IO_ERROR", "DEVICE_TRAY_MOVED", "GUEST_CRASHLOADED",
    "GUEST_PANICKED", "POWERDOWN",         "RESET",
    "RESUME",         "SHUTDOWN",          "STOP",
};

constexpr absl::string_view kBuiltins[] = {"any", "bool", "int", "str"};

// The name of an argument's type: a builtin, or an enumeration of its own.
std::string TypeOf(const Command& command, const Argument& argument) {
  if (!argument.choices.empty()) return absl::StrCat(command.name, ".", argument.name);
  switch (argument.type) {
    case Type::kString:
      return "str";
    case Type::kInt:
      return "int";
    case Type::kBool:
      return "bool";
    case Type::kList:
      return "[any]";
  }
  return "any";
}

void Begin(cli::JsonWriter& out, absl::string_view name, absl::string_view meta) {
  out.BeginObject().Key("name").String(name).Key("meta-type").String(meta);
}

void WriteCommand(const Command& command, cli::JsonWriter& out) {
  const std::string arguments =
      command.arguments.empty() ? "0" : absl::StrCat(command.name, "-arg");
  Begin(out, command.name, "command");
  out.Key("arg-type").String(arguments).Key("ret-type").String("any");
  out.Key("allow-oob").Bool(false).EndObject();
  if (command.arguments.empty()) return;
  Begin(out, arguments, "object");
  out.Key("members").BeginArray();
  for (const Argument& a : command.arguments) {
    out.BeginObject().Key("name").String(a.name).Key("type").String(TypeOf(command, a));
    if (a.optional) out.Key("default").Null();
    out.EndObject();
  }
  out.EndArray().EndObject();
  for (const Argument& a : command.arguments) {
    if (a.choices.empty()) continue;
    Begin(out, TypeOf(command, a), "enum");
    const std::vector<std::string> words = absl::StrSplit(a.choices, ' ');
    out.Key("members").BeginArray();
    for (const std::string& w : words) out.BeginObject().Key("name").String(w).EndObject();
    out.EndArray().Key("values").BeginArray();
    for (const std::string& w : words) out.String(w);
    out.EndArray().EndObject();
  }
}

}  // namespace

std::span<const absl::string_view> EventNames() { return kEvents; }

void WriteSchema(cli::JsonWriter& out) {
  out.BeginArray();
  for (const Command& c : Commands()) WriteCommand(c, out);
  for (const absl::string_view event : kEvents) {
    Begin(out, event, "event");
    out.Key("arg-type").String("0").EndObject();
  }
  for (const absl::string_view name : kBuiltins) {
    Begin(out, name, "builtin");
    const absl::string_view json = name == "str"    ? "string"
                                   : name == "bool" ? "boolean"
                                   : name == "int"  ? "int"
                                                    : "value";
    out.Key("json-type").String(json).EndObject();
  }
  Begin(out, "[any]", "array");
  out.Key("element-type").String("any").EndObject();
  Begin(out, "0", "object");
  out.Key("members").BeginArray().EndArray().EndObject();
  out.EndArray();
}

}  // namespace atl::qmp
