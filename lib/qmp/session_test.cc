// SPDX-License-Identifier: Apache-2.0
// Commands, arguments, errors and events, against a machine that only remembers.
#include "lib/qmp/session.h"

#include <fcntl.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "lib/base/status_matchers.h"
#include "lib/base/unique_fd.h"
#include "lib/qmp/json_value.h"
#include "lib/qmp/testing/fake_machine.h"

namespace atl::qmp {
namespace {

class SessionTest : public testing::Test {
 protected:
  SessionTest() {
    context_.machine = &machine_;
    context_.version = "1.2";
    context_.send_keys = [this](Chord chord) {
      chords_.push_back(std::move(chord));
      return absl::OkStatus();
    };
  }

  void Start(Protocol protocol) {
    session_ = NewSession(protocol, context_, "\n",
                          [this](absl::string_view text) { absl::StrAppend(&out_, text); });
    session_->Begin();
  }
  void Negotiate() {
    Start(Protocol::kControl);
    Say("{\"execute\": \"qmp_capabilities\"}");
  }
  // What comes back.
  std::string Say(absl::string_view text) {
    out_.clear();
    session_->Feed(absl::StrCat(text, "\n"));
    while (session_->Step()) {
    }
    if (!out_.empty() && out_.back() == '\n') out_.pop_back();
    return out_;
  }
  std::string Run(absl::string_view command, absl::string_view arguments = "") {
    return Say(absl::StrCat("{\"execute\": \"", command, "\"",
                            arguments.empty() ? "" : ", \"arguments\": ", arguments, "}"));
  }
  static std::string Error(absl::string_view type, absl::string_view text) {
    return absl::StrCat("{\"error\": {\"class\": \"", type, "\", \"desc\": \"", text, "\"}}");
  }
  static constexpr absl::string_view kDone = "{\"return\": {}}";

  FakeMachine machine_;
  Context context_;
  std::vector<Chord> chords_;
  std::string out_;
  std::unique_ptr<Session> session_;
};

TEST_F(SessionTest, GreetsAndNegotiates) {
  Start(Protocol::kControl);
  absl::StatusOr<JsonValue> greeting = ParseJson(out_);
  ASSERT_OK(greeting.status());
  const JsonValue* version = greeting->Find("QMP")->Find("version");
  EXPECT_EQ(*version->Find("package")->string(), "atoll 1.2");
  EXPECT_EQ(*version->Find("qemu")->Find("major")->integer(), 7);
  EXPECT_EQ(Run("stop"),
            Error("CommandNotFound", "Expecting capabilities negotiation with 'qmp_capabilities'"));
  EXPECT_EQ(machine_.run_state, vm::RunState::kRunning);
  session_->Event("{}");
  EXPECT_TRUE(absl::EndsWith(out_, "}}"));  // no event before
  EXPECT_EQ(Run("qmp_capabilities", "{\"enable\": [\"oob\"]}").substr(0, 9), "{\"error\":");
  EXPECT_EQ(Run("qmp_capabilities", "{\"enable\": []}"), kDone);
  EXPECT_EQ(
      Run("qmp_capabilities"),
      Error("CommandNotFound", "Capabilities negotiation is already complete, command ignored"));
  out_.clear();
  session_->Event("{\"event\": \"STOP\"}");
  EXPECT_EQ(out_, "{\"event\": \"STOP\"}\n");
}

TEST_F(SessionTest, EchoesTheId) {
  Negotiate();
  for (const char* id : {"1", "\"x\"", "null", "{\"a\": [1, 2.5]}"}) {
    EXPECT_EQ(Say(absl::StrCat("{\"execute\": \"stop\", \"id\": ", id, "}")),
              absl::StrCat("{\"return\": {}, \"id\": ", id, "}"));
    EXPECT_EQ(Say(absl::StrCat("{\"id\": ", id, "}")),
              absl::StrCat("{\"error\": {\"class\": \"GenericError\", \"desc\": \"QMP input lacks "
                           "member 'execute'\"}, \"id\": ",
                           id, "}"));
  }
}

TEST_F(SessionTest, ErrorsOfShapeAndArguments) {
  Negotiate();
  EXPECT_EQ(Say("[]"), Error("GenericError", "QMP input must be a JSON object"));
  EXPECT_EQ(Say("{\"execute\": 1}"),
            Error("GenericError", "QMP input member 'execute' must be a string"));
  EXPECT_EQ(Say("{\"execute\": \"stop\", \"arguments\": 1}"),
            Error("GenericError", "QMP input member 'arguments' must be an object"));
  EXPECT_EQ(Say("{\"execute\": \"stop\", \"extra\": 1}"),
            Error("GenericError", "QMP input member 'extra' is unexpected"));
  EXPECT_EQ(Run("fly"), Error("CommandNotFound", "The command fly has not been found"));
  EXPECT_EQ(Run("stop", "{\"a\": 1}"), Error("GenericError", "Parameter 'a' is unexpected"));
  EXPECT_EQ(Run("screendump"), Error("GenericError", "Parameter 'filename' is missing"));
  EXPECT_EQ(Run("screendump", "{\"filename\": 1}"),
            Error("GenericError", "Invalid parameter type for 'filename', expected: string"));
  EXPECT_EQ(Run("screendump", "{\"filename\": \"x\", \"format\": \"gif\"}"),
            Error("GenericError", "Parameter 'format' does not accept value 'gif'"));
  EXPECT_EQ(Say("{\"execute\": }").substr(0, 60),
            Error("GenericError", "JSON parse error, ").substr(0, 60));
  EXPECT_EQ(machine_.run_state, vm::RunState::kRunning);
}

TEST_F(SessionTest, CommandsReachTheMachine) {
  Negotiate();
  EXPECT_EQ(Run("stop"), kDone);
  EXPECT_EQ(Run("query-status"),
            "{\"return\": {\"running\": false, \"singlestep\": false, \"status\": \"paused\"}}");
  EXPECT_EQ(Run("cont"), kDone);
  EXPECT_EQ(machine_.run_state, vm::RunState::kRunning);
  machine_.run_state = vm::RunState::kShutdown;
  EXPECT_EQ(Run("cont"), Error("GenericError", "Resetting the Virtual Machine is required"));
  for (const char* command : {"system_reset", "system_powerdown", "inject-nmi", "quit"}) {
    EXPECT_EQ(Run(command), kDone);
  }
  EXPECT_EQ(machine_.asked, "reset power nmi host-qmp-quit ");
  EXPECT_EQ(Run("balloon", "{\"value\": 1048576}"), kDone);
  EXPECT_EQ(Run("query-balloon"), "{\"return\": {\"actual\": 1048576}}");
  EXPECT_EQ(Run("balloon", "{\"value\": 0}"),
            Error("GenericError", "Parameter 'value' expects a size"));
}

TEST_F(SessionTest, EveryCommandAnswers) {
  Negotiate();
  for (const Command& c : Commands()) {
    absl::StatusOr<JsonValue> answer = ParseJson(Run(c.name));
    ASSERT_OK(answer.status()) << c.name;
    const bool needs = std::any_of(c.arguments.begin(), c.arguments.end(),
                                   [](const Argument& a) { return !a.optional; });
    if (needs) {
      EXPECT_TRUE(answer->Find("error") != nullptr) << c.name;
    }
    EXPECT_TRUE((answer->Find("return") != nullptr) != (answer->Find("error") != nullptr))
        << c.name;
  }
  EXPECT_TRUE(std::is_sorted(Commands().begin(), Commands().end(),
                             [](const Command& a, const Command& b) { return a.name < b.name; }));
}

TEST_F(SessionTest, TheSchemaNamesTypesThatItHas) {
  Negotiate();
  absl::StatusOr<JsonValue> answer = ParseJson(Run("query-qmp-schema"));
  ASSERT_OK(answer.status());
  std::vector<std::string> names;
  for (const JsonValue& v : *answer->Find("return")->array()) {
    names.push_back(*v.Find("name")->string());
  }
  const auto known = [&](const JsonValue* name) {
    return name == nullptr || std::find(names.begin(), names.end(), *name->string()) != names.end();
  };
  for (const JsonValue& v : *answer->Find("return")->array()) {
    EXPECT_TRUE(known(v.Find("arg-type"))) << v.ToString();
    EXPECT_TRUE(known(v.Find("ret-type"))) << v.ToString();
    if (v.Find("meta-type")->ToString() != "\"object\"") continue;
    for (const JsonValue& m : *v.Find("members")->array()) EXPECT_TRUE(known(m.Find("type")));
  }
}

TEST_F(SessionTest, Media) {
  Negotiate();
  EXPECT_EQ(Run("eject", "{\"device\": \"nope\"}"),
            Error("DeviceNotFound", "Device 'nope' not found"));
  EXPECT_EQ(Run("eject", "{\"id\": \"ide0-hd0\"}"),
            Error("GenericError", "Device 'ide0-hd0' is not removable"));
  machine_.cd.cd.locked = true;
  EXPECT_EQ(Run("eject", "{\"id\": \"ide1-cd0\"}"),
            Error("GenericError", "Device 'ide1-cd0' is locked"));
  EXPECT_EQ(Run("eject", "{\"id\": \"ide1-cd0\", \"force\": true}"), kDone);
  EXPECT_FALSE(machine_.cd.cd.inserted);
  machine_.cd.cd.locked = false;
  EXPECT_EQ(Run("blockdev-change-medium",
                "{\"id\": \"ide1-cd0\", \"filename\": \"b.iso\", \"format\": \"raw\"}"),
            kDone);
  EXPECT_EQ(machine_.cd.cd.file, "b.iso");
  EXPECT_EQ(machine_.cd.last.format, "raw");
  EXPECT_EQ(Run("blockdev-change-medium", "{\"id\": \"ide1-cd0\", \"filename\": \"missing\"}"),
            Error("GenericError", "missing: No such file or directory"));
  EXPECT_EQ(Run("blockdev-remove-medium", "{\"id\": \"ide1-cd0\"}"),
            Error("GenericError", "Tray is not open"));
  EXPECT_EQ(Run("blockdev-open-tray", "{\"id\": \"ide1-cd0\"}"), kDone);
  EXPECT_EQ(Run("blockdev-remove-medium", "{\"id\": \"ide1-cd0\"}"), kDone);
  EXPECT_EQ(Run("blockdev-close-tray", "{\"id\": \"ide1-cd0\"}"), kDone);
  machine_.has_media = false;
  EXPECT_EQ(Run("eject", "{\"id\": \"ide1-cd0\"}"),
            Error("DeviceNotFound", "Device 'ide1-cd0' not found"));
}

TEST_F(SessionTest, SendKey) {
  Negotiate();
  EXPECT_EQ(Run("send-key",
                "{\"keys\": [{\"type\": \"qcode\", \"data\": \"ctrl\"}, "
                "{\"type\": \"number\", \"data\": 59}], \"hold-time\": 5}"),
            kDone);
  ASSERT_EQ(chords_.size(), 1u);
  EXPECT_EQ(chords_[0].codes, (std::vector<uint8_t>{0x1D, 59}));
  EXPECT_EQ(chords_[0].hold_ms, 5u);
  for (const char* bad : {"[]", "[1]", "[{\"type\": \"qcode\", \"data\": \"nokey\"}]",
                          "[{\"type\": \"number\", \"data\": 256}]", "[{\"type\": \"qcode\"}]"}) {
    EXPECT_EQ(Run("send-key", absl::StrCat("{\"keys\": ", bad, "}")).substr(0, 9), "{\"error\":");
  }
  EXPECT_EQ(Run("send-key",
                "{\"keys\": [{\"type\": \"qcode\", \"data\": \"a\"}], "
                "\"hold-time\": -1}")
                .substr(0, 9),
            "{\"error\":");
  EXPECT_EQ(chords_.size(), 1u);
}

TEST_F(SessionTest, EventsHaveTheirData) {
  const auto data = [this](const vm::MachineEvent& event) -> std::string {
    std::optional<std::string> text = EventText(event, machine_.configuration);
    if (!text) return "none";
    absl::StatusOr<JsonValue> value = ParseJson(*text);
    if (!value.ok() || value->Find("timestamp")->Find("microseconds") == nullptr) return "bad";
    const JsonValue* d = value->Find("data");
    return absl::StrCat(*value->Find("event")->string(), d == nullptr ? "" : " ",
                        d == nullptr ? "" : d->ToString());
  };
  EXPECT_EQ(data({.name = "stop"}), "STOP");
  EXPECT_EQ(data({.name = "resume"}), "RESUME");
  EXPECT_EQ(data({.name = "powerdown"}), "POWERDOWN");
  EXPECT_EQ(data({.name = "reset", .reason = "guest-reset", .guest = true}),
            "RESET {\"guest\": true, \"reason\": \"guest-reset\"}");
  EXPECT_EQ(data({.name = "shutdown", .reason = "host-qmp-quit"}),
            "SHUTDOWN {\"guest\": false, \"reason\": \"host-qmp-quit\"}");
  EXPECT_EQ(data({.name = "tray", .device = "ide1-cd0", .flag = true}),
            "DEVICE_TRAY_MOVED {\"device\": \"ide1-cd0\", \"id\": \"ide1-cd0\", "
            "\"tray-open\": true}");
  EXPECT_EQ(data({.name = "io-error", .detail = "full", .device = "ide0-hd0", .flag = true}),
            "BLOCK_IO_ERROR {\"device\": \"ide0-hd0\", \"operation\": \"write\", \"action\": "
            "\"report\", \"reason\": \"full\"}");
  EXPECT_EQ(data({.name = "start"}), "none");
  EXPECT_EQ(data({.name = "panic"}), "GUEST_PANICKED {\"action\": \"poweroff\"}");
  EXPECT_EQ(data({.name = "crash-loaded"}), "GUEST_CRASHLOADED {\"action\": \"run\"}");
  EXPECT_EQ(data({.name = "crash"}), "none");
  machine_.configuration.no_reboot = true;
  EXPECT_EQ(data({.name = "crash"}), "GUEST_PANICKED {\"action\": \"poweroff\"}");
}

TEST_F(SessionTest, HumanCommands) {
  Start(Protocol::kHuman);
  EXPECT_TRUE(absl::EndsWith(out_, "(run) "));
  const auto says = [this](absl::string_view line, absl::string_view words) {
    const std::string answer = Say(line);
    EXPECT_TRUE(absl::StrContains(answer, words)) << line << ": " << answer;
    EXPECT_TRUE(absl::EndsWith(answer, "(run) ")) << answer;
  };
  says("", "");
  says("info status", "VM status: running\n");
  says("stop\r", "");
  says("info status", "VM status: paused\n");
  says("c", "");
  EXPECT_EQ(machine_.run_state, vm::RunState::kRunning);
  says("info block", "ide0-hd0: disk.qcow2 (qcow2");
  says("info block", "ide1-cd0: first.iso (raw");
  says("info blockstats", "rd_bytes=512");
  says("info cpus", "* CPU #0: thread_id=101");
  says("info registers", "RIP=0000000000001000");
  says("info registers -a", "CPU#1");
  says("info mem", "0000000000001000-0000000000003000 0000000000002000 ur-");
  says("info kvm", "disabled");
  says("info version", "1.2");
  says("info name", "fake");
  says("info", "info status");
  says("info nothing", "unknown command: 'info nothing'");
  says("xp/4xb 0x10", "0000000000000010: 0x10 0x11 0x12 0x13\n");
  says("xp/2xh 0x10", "0000000000000010: 0x1110 0x1312\n");
  says("xp /2dw 0xf0", "-202182160 -134810124");
  says("x/1xg $rsp+8", "0000000000000108: 0x0f0e0d0c0b0a0908\n");
  says("xp/2c 0x41", "'A' 'B'");
  says("xp/1xg 0x2000", "Cannot access memory");
  says("xp/99999999xg 0", "at most");
  says("xp/1z 0", "format");
  says("xp/1x $nope", "unknown register");
  says("xp/1x 1 + ", "invalid char");
  says("x", "usage");
  says("sendkey ctrl-alt-delete", "");
  ASSERT_EQ(chords_.size(), 1u);
  EXPECT_EQ(chords_[0].codes, (std::vector<uint8_t>{0x1D, 0x38, 0xD3}));
  says("sendkey a-b-nokey", "nokey");
  machine_.asked.clear();
  says("info usernet", "guests 1\n");
  says("hostfwd_add tcp::2222-:22", "");
  says("hostfwd_remove net0 tcp::2222", "");
  EXPECT_EQ(machine_.asked, "<info> <hostfwd_add tcp::2222-:22> net0<hostfwd_remove tcp::2222> ");
  says("hostfwd_add other tcp::2222-:22", "Error: 'other' is no -netdev user");
  says("hostfwd_add", "usage: hostfwd_add [NETDEV] RULE");
  machine_.asked.clear();
  says("change ide1-cd0 \"with blank.iso\" raw read-only", "");
  EXPECT_EQ(machine_.cd.last.file, "with blank.iso");
  EXPECT_TRUE(machine_.cd.last.read_only);
  says("eject -f ide1-cd0", "");
  says("eject ide0-hd0", "is not removable");
  says("screendump x.png", "Error: ");
  says("system_reset", "");
  says("system_powerdown", "");
  says("nmi", "");
  says("quit", "");
  EXPECT_EQ(machine_.asked, "reset power nmi host-qmp-quit ");
  says("stpo", "did you mean 'stop'?");
  says("help", "system_powerdown");
  says("help info", "info registers");
  says("help x", "$rsp");
  says(std::string(10'000, 'a'), "too long");
  says("info status", "running");
}

TEST_F(SessionTest, DescriptorSets) {
  Negotiate();
  const std::string none = Error("GenericError", "No file descriptor supplied via SCM_RIGHTS");
  EXPECT_EQ(Run("add-fd"), none);  // by no unix socket
  std::vector<UniqueFd> received;
  context_.received = &received;
  EXPECT_EQ(Run("add-fd"), none);
  received.emplace_back(open("/dev/null", O_RDONLY | O_CLOEXEC));
  received.emplace_back(open("/dev/null", O_RDWR | O_CLOEXEC));
  const int first = received[0].get(), second = received[1].get();
  EXPECT_EQ(Run("add-fd", "{\"opaque\": \"disk\"}"),
            absl::StrCat("{\"return\": {\"fdset-id\": 0, \"fd\": ", first, "}}"));
  EXPECT_EQ(Run("add-fd", "{\"fdset-id\": 7}"),
            absl::StrCat("{\"return\": {\"fdset-id\": 7, \"fd\": ", second, "}}"));
  EXPECT_EQ(Run("add-fd"), none);
  EXPECT_EQ(Run("query-fdsets"),
            absl::StrCat("{\"return\": [{\"fdset-id\": 0, \"fds\": [{\"fd\": ", first,
                         ", \"opaque\": \"disk\"}]}, {\"fdset-id\": 7, \"fds\": [{\"fd\": ", second,
                         "}]}]}"));
  for (const char* wrong : {"{\"fdset-id\": 1}", "{\"fdset-id\": 0, \"fd\": -1}",
                            "{\"fdset-id\": 0, \"fd\": 99999999999}", "{}"}) {
    EXPECT_EQ(Run("remove-fd", wrong).substr(0, 9), "{\"error\":") << wrong;
  }
  EXPECT_EQ(Run("remove-fd", "{\"fdset-id\": 0}"), kDone);
  EXPECT_EQ(Run("remove-fd", absl::StrCat("{\"fdset-id\": 7, \"fd\": ", second, "}")), kDone);
  EXPECT_EQ(Run("query-fdsets"), "{\"return\": []}");
  // What a set does not take is closed.
  received.emplace_back(open("/dev/null", O_RDONLY | O_CLOEXEC));
  const int third = received[0].get();
  EXPECT_EQ(Run("add-fd", "{\"fdset-id\": -1}").substr(0, 9), "{\"error\":");
  EXPECT_TRUE(received.empty());
  EXPECT_EQ(fcntl(third, F_GETFD), -1);
}

TEST_F(SessionTest, HumanMonitorCommand) {
  Negotiate();
  EXPECT_EQ(Run("human-monitor-command", "{\"command-line\": \"info name\"}"),
            "{\"return\": \"fake\\r\\n\"}");
  EXPECT_TRUE(absl::StrContains(
      Run("human-monitor-command", "{\"command-line\": \"info registers\", \"cpu-index\": 1}"),
      "RIP=0000000000001001"));
  EXPECT_EQ(
      Run("human-monitor-command", "{\"command-line\": \"x\", \"cpu-index\": 2}").substr(0, 9),
      "{\"error\":");
}

}  // namespace
}  // namespace atl::qmp
