// SPDX-License-Identifier: Apache-2.0
#include "cmd/run/monitors.h"

#include <map>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "lib/base/status_macros.h"

namespace atl::run {
namespace {

using cli::UsageError;
using qmp::Carrier;
using qmp::MonitorConfig;

absl::Status Bad(absl::string_view option, absl::string_view what) {
  return UsageError(absl::StrCat("option '", option, "': ", what));
}

absl::StatusOr<bool> OnOff(absl::string_view option, const cli::KeyItem& item) {
  if (!item.value || *item.value == "on" || *item.value == "yes") return true;
  if (*item.value == "off" || *item.value == "no") return false;
  return Bad(option, absl::StrCat(item.key, "='", *item.value, "' is neither on nor off"));
}

absl::Status ReadPort(absl::string_view option, absl::string_view text, uint16_t* port) {
  unsigned number;
  if (!absl::SimpleAtoi(text, &number) || number == 0 || number > 65535) {
    return Bad(option, absl::StrCat("'", text, "' is no port from 1 to 65535"));
  }
  *port = static_cast<uint16_t>(number);
  return absl::OkStatus();
}

// server, wait and what they are called in older command lines.
absl::Status ReadSocketKey(absl::string_view option, const cli::KeyItem& item, MonitorConfig& m,
                           std::optional<bool>& wait) {
  if (item.key == "server") {
    ASSIGN_OR_RETURN(m.listens, OnOff(option, item));
  } else if (item.key == "wait") {
    ASSIGN_OR_RETURN(wait, OnOff(option, item));
  } else if (item.key == "nowait" && !item.value) {
    wait = false;
  } else {
    return Bad(option,
               absl::StrCat("no such key '", item.key, "': server=on|off and wait=on|off are"));
  }
  return absl::OkStatus();
}

absl::Status CheckWait(absl::string_view option, std::optional<bool> wait, MonitorConfig& m) {
  if (wait && !m.listens) return Bad(option, "'wait' goes with server=on");
  m.waits = m.listens && wait.value_or(true);
  return absl::OkStatus();
}

// "unix:PATH,server=on,wait=off", "tcp:HOST:PORT,...", "stdio", "null", "none".
absl::StatusOr<MonitorConfig> ParseDevice(absl::string_view option, absl::string_view text) {
  MonitorConfig out;
  const std::vector<cli::KeyItem> items = cli::SplitKeyList(text);
  // A path may have a '=' in it, which is then not a key's.
  std::string head = items.empty() ? "" : items[0].key;
  if (!items.empty() && items[0].value) absl::StrAppend(&head, "=", *items[0].value);
  absl::string_view name = head;
  const bool is_socket = absl::StartsWith(name, "unix:") || absl::StartsWith(name, "tcp:");
  if (absl::ConsumePrefix(&name, "unix:")) {
    out.carrier = Carrier::kUnix;
    out.path = std::string(name);
    if (name.empty()) return Bad(option, "unix: needs a path");
  } else if (absl::ConsumePrefix(&name, "tcp:")) {
    out.carrier = Carrier::kTcp;
    const size_t colon = name.rfind(':');
    if (colon == absl::string_view::npos) return Bad(option, "tcp: needs HOST:PORT");
    out.host = std::string(name.substr(0, colon));
    if (out.host.size() > 2 && out.host.front() == '[' && out.host.back() == ']') {
      out.host = out.host.substr(1, out.host.size() - 2);
    }
    RETURN_IF_ERROR(ReadPort(option, name.substr(colon + 1), &out.port));
  } else if (name == "stdio") {
    out.carrier = Carrier::kStdio;
  } else if (name == "null" || name == "none") {
    out.carrier = Carrier::kNull;
  } else {
    return Bad(option, absl::StrCat("no such character device '", name,
                                    "': unix:PATH, tcp:HOST:PORT, stdio and none are"));
  }
  std::optional<bool> wait;
  for (size_t i = 1; i < items.size(); ++i) {
    if (!is_socket) return Bad(option, absl::StrCat(name, " has no keys"));
    RETURN_IF_ERROR(ReadSocketKey(option, items[i], out, wait));
  }
  RETURN_IF_ERROR(CheckWait(option, wait, out));
  return out;
}

// "socket,id=ID,path=PATH,server=on,wait=off" or with host and port or fd;
// "stdio,id=ID"; "null,id=ID".
absl::StatusOr<MonitorConfig> ParseChardev(absl::string_view text) {
  constexpr absl::string_view kOption = "-chardev";
  MonitorConfig out;
  const std::vector<cli::KeyItem> items = cli::SplitKeyList(text);
  const std::string backend = items.empty() ? "" : items[0].key;
  if (backend == "stdio") {
    out.carrier = Carrier::kStdio;
  } else if (backend != "socket" && backend != "null") {
    return Bad(kOption,
               absl::StrCat("no such backend '", backend, "': socket, stdio and null are"));
  }
  std::optional<bool> wait;
  for (size_t i = 1; i < items.size(); ++i) {
    const cli::KeyItem& item = items[i];
    const std::string value = item.value.value_or("");
    if (item.key == "id") {
      out.label = value;
    } else if (backend != "socket") {
      return Bad(kOption, absl::StrCat(backend, " has no key '", item.key, "'"));
    } else if (item.key == "path") {
      out.carrier = Carrier::kUnix;
      out.path = value;
    } else if (item.key == "host") {
      out.carrier = Carrier::kTcp;
      out.host = value;
    } else if (item.key == "port") {
      out.carrier = Carrier::kTcp;
      RETURN_IF_ERROR(ReadPort(kOption, value, &out.port));
    } else if (item.key == "fd") {
      out.carrier = Carrier::kFd;
      if (!absl::SimpleAtoi(value, &out.fd) || out.fd < 0) {
        return Bad(kOption, absl::StrCat("fd='", value, "' is no descriptor"));
      }
    } else {
      RETURN_IF_ERROR(ReadSocketKey(kOption, item, out, wait));
    }
  }
  if (out.label.empty()) return Bad(kOption, "needs an id");
  if (backend == "socket" && out.carrier == Carrier::kNull) {
    return Bad(kOption, "socket needs path, or host and port, or fd");
  }
  RETURN_IF_ERROR(CheckWait(kOption, wait, out));
  return out;
}

}  // namespace

absl::StatusOr<std::vector<MonitorConfig>> ParseMonitors(const cli::Parsed& args) {
  std::vector<MonitorConfig> out;
  const auto add = [&](absl::string_view option, qmp::Protocol protocol) -> absl::Status {
    for (const cli::Given* given : args.All(option)) {
      ASSIGN_OR_RETURN(MonitorConfig m, ParseDevice(option, given->text));
      m.protocol = protocol;
      m.label = absl::StrCat("compat_monitor", out.size());
      out.push_back(std::move(m));
    }
    return absl::OkStatus();
  };
  RETURN_IF_ERROR(add("-monitor", qmp::Protocol::kHuman));
  RETURN_IF_ERROR(add("-qmp", qmp::Protocol::kControl));

  std::map<std::string, MonitorConfig> chardevs;
  for (const cli::Given* given : args.All("-chardev")) {
    ASSIGN_OR_RETURN(MonitorConfig m, ParseChardev(given->text));
    const std::string id = m.label;
    if (!chardevs.emplace(id, std::move(m)).second) {
      return Bad("-chardev", absl::StrCat("the id '", id, "' stands twice"));
    }
  }
  for (const cli::Given* given : args.All("-mon")) {
    const std::string id = given->keys.TextOr("chardev", "");
    const auto at = chardevs.find(id);
    if (at == chardevs.end()) {
      return Bad("-mon", absl::StrCat("there is no -chardev with the id '", id, "' left"));
    }
    MonitorConfig m = std::move(at->second);
    chardevs.erase(at);
    m.protocol = given->keys.TextOr("mode", "readline") == "control" ? qmp::Protocol::kControl
                                                                     : qmp::Protocol::kHuman;
    out.push_back(std::move(m));
  }
  if (!chardevs.empty()) {
    return Bad("-chardev", absl::StrCat("'", chardevs.begin()->first, "' is used by no -mon"));
  }
  return out;
}

}  // namespace atl::run
