// SPDX-License-Identifier: Apache-2.0
#include "lib/qmp/session.h"

#include <sys/time.h>

#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "lib/cli/json.h"
#include "lib/qmp/json_value.h"

namespace atl::qmp {
namespace {

constexpr size_t kMaxLine = 4096;

class ControlSession final : public Session {
 public:
  ControlSession(Context& context, absl::string_view eol, Output output)
      : context_(context), eol_(eol), output_(std::move(output)) {}

  void Begin() override { Send(Greeting(context_.version)); }
  void Feed(absl::string_view bytes) override { splitter_.Feed(bytes); }
  void Event(absl::string_view text) override {
    if (negotiated_) Send(text);
  }

  bool Step() override {
    std::optional<absl::StatusOr<std::string>> text = splitter_.Next();
    if (!text) return false;
    if (!text->ok()) {
      SendError(text->status(), "");
      return true;
    }
    const absl::StatusOr<JsonValue> message = ParseJson(**text);
    if (!message.ok()) {
      SendError(message.status(), "");
    } else {
      Handle(*message);
    }
    return true;
  }

 private:
  void Handle(const JsonValue& message) {
    const JsonValue::Object* members = message.object();
    if (members == nullptr) {
      return SendError(absl::InvalidArgumentError("QMP input must be a JSON object"), "");
    }
    const JsonValue* id_value = message.Find("id");
    const std::string id =
        id_value == nullptr ? "" : absl::StrCat(", \"id\": ", id_value->ToString());
    absl::StatusOr<std::string> result = Execute(message, *members);
    if (result.ok()) {
      Send(absl::StrCat("{\"return\": ", *result, id, "}"));
    } else {
      SendError(result.status(), id);
    }
  }

  absl::StatusOr<std::string> Execute(const JsonValue& message, const JsonValue::Object& members) {
    for (const JsonValue::Member& m : members) {
      if (m.first != "execute" && m.first != "arguments" && m.first != "id") {
        return absl::InvalidArgumentError(
            absl::StrCat("QMP input member '", m.first, "' is unexpected"));
      }
    }
    const JsonValue* execute = message.Find("execute");
    if (execute == nullptr) {
      return absl::InvalidArgumentError("QMP input lacks member 'execute'");
    }
    if (execute->string() == nullptr) {
      return absl::InvalidArgumentError("QMP input member 'execute' must be a string");
    }
    static const JsonValue::Object kNone;
    const JsonValue::Object* arguments = &kNone;
    if (const JsonValue* given = message.Find("arguments")) {
      arguments = given->object();
      if (arguments == nullptr) {
        return absl::InvalidArgumentError("QMP input member 'arguments' must be an object");
      }
    }
    const std::string& name = *execute->string();
    if (name == "qmp_capabilities") return Negotiate(*arguments);
    if (!negotiated_) {
      return absl::UnimplementedError("Expecting capabilities negotiation with 'qmp_capabilities'");
    }
    return RunCommand(context_, name, *arguments);
  }

  absl::StatusOr<std::string> Negotiate(const JsonValue::Object& arguments) {
    if (negotiated_) {
      return absl::UnimplementedError(
          "Capabilities negotiation is already complete, command ignored");
    }
    for (const JsonValue::Member& m : arguments) {
      if (m.first != "enable" || m.second.array() == nullptr) {
        return absl::InvalidArgumentError(absl::StrCat("Parameter '", m.first, "' is unexpected"));
      }
      if (!m.second.array()->empty()) {
        return absl::InvalidArgumentError("this server offers no capabilities to enable");
      }
    }
    negotiated_ = true;
    return "{}";
  }

  void SendError(const absl::Status& status, absl::string_view id) {
    cli::JsonWriter out(0);
    out.BeginObject().Key("class").String(ErrorClass(status));
    out.Key("desc").String(status.message()).EndObject();
    Send(absl::StrCat("{\"error\": ", out.text(), id, "}"));
  }
  void Send(absl::string_view text) { output_(absl::StrCat(text, eol_)); }

  Context& context_;
  const std::string eol_;
  const Output output_;
  MessageSplitter splitter_;
  bool negotiated_ = false;
};

class HumanSession final : public Session {
 public:
  HumanSession(Context& context, absl::string_view eol, Output output)
      : context_(context), eol_(eol), output_(std::move(output)) {}

  void Begin() override {
    Say(absl::StrCat("atoll ", context_.version, " monitor - type 'help' for the commands\n"));
    Prompt();
  }
  void Event(absl::string_view) override {}

  void Feed(absl::string_view bytes) override { pending_.append(bytes.data(), bytes.size()); }
  bool Step() override {
    const size_t end = pending_.find('\n');
    if (end == std::string::npos) {
      // A line without an end is not kept for ever.
      if (pending_.size() > kMaxLine) {
        pending_.clear();
        too_long_ = true;
      }
      return false;
    }
    std::string line = pending_.substr(0, end);
    pending_.erase(0, end + 1);
    if (std::exchange(too_long_, false) || line.size() > kMaxLine) {
      Say("Error: the line is too long\n");
    } else {
      if (!line.empty() && line.back() == '\r') line.pop_back();
      Say(RunHumanCommand(context_, line, 0));
    }
    Prompt();
    return true;
  }

 private:
  void Prompt() { output_("(run) "); }
  void Say(absl::string_view text) {
    if (!text.empty()) output_(absl::StrReplaceAll(text, {{"\n", eol_}}));
  }

  Context& context_;
  const std::string eol_;
  const Output output_;
  std::string pending_;
  bool too_long_ = false;
};

}  // namespace

std::unique_ptr<Session> NewSession(Protocol protocol, Context& context, absl::string_view eol,
                                    Session::Output output) {
  if (protocol == Protocol::kHuman) {
    return std::make_unique<HumanSession>(context, eol, std::move(output));
  }
  return std::make_unique<ControlSession>(context, eol, std::move(output));
}

std::optional<std::string> EventText(const vm::MachineEvent& event,
                                     const vm::MachineConfig& config) {
  absl::string_view name;
  cli::JsonWriter data(0);
  data.BeginObject();
  if (event.name == "stop") {
    name = "STOP";
  } else if (event.name == "resume") {
    name = "RESUME";
  } else if (event.name == "powerdown") {
    name = "POWERDOWN";
  } else if (event.name == "reset" || event.name == "shutdown") {
    name = event.name == "reset" ? "RESET" : "SHUTDOWN";
    data.Key("guest").Bool(event.guest).Key("reason").String(event.reason);
  } else if (event.name == "crash") {
    // A guest that is restarted after it is a guest that was reset.
    if (!config.no_reboot) return std::nullopt;
    name = "GUEST_PANICKED";
    data.Key("action").String(config.no_shutdown ? "pause" : "poweroff");
  } else if (event.name == "panic") {
    name = "GUEST_PANICKED";
    data.Key("action").String(config.no_shutdown ? "pause" : "poweroff");
  } else if (event.name == "crash-loaded") {
    name = "GUEST_CRASHLOADED";
    data.Key("action").String("run");
  } else if (event.name == "tray") {
    name = "DEVICE_TRAY_MOVED";
    data.Key("device").String(event.device).Key("id").String(event.device);
    data.Key("tray-open").Bool(event.flag);
  } else if (event.name == "io-error") {
    name = "BLOCK_IO_ERROR";
    data.Key("device").String(event.device).Key("operation").String(event.flag ? "write" : "read");
    data.Key("action").String("report").Key("reason").String(event.detail);
  } else {
    return std::nullopt;
  }
  data.EndObject();
  timeval now;
  gettimeofday(&now, nullptr);
  return absl::StrCat(
      "{\"timestamp\": {\"seconds\": ", now.tv_sec, ", \"microseconds\": ", now.tv_usec,
      "}, \"event\": \"", name, "\"",
      data.text() == "{}" ? "" : ", \"data\": ", data.text() == "{}" ? "" : data.text(), "}");
}

}  // namespace atl::qmp
