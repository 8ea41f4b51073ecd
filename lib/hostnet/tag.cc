// SPDX-License-Identifier: Apache-2.0
#include "lib/hostnet/tag.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <iterator>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "lib/base/unique_fd.h"

namespace atl::hostnet {
namespace {

constexpr absl::string_view kPrefix = "atoll:";
// By Tag::AddressState.
constexpr absl::string_view kStates[] = {"address", "nataddress", "adding"};
constexpr uint32_t kGroupMark = 0xa7000000;
constexpr uint32_t kGroupPid = 0x00ffffff;  // PID_MAX_LIMIT is 2^22

// 0 where there is no such process.
uint64_t StartOf(pid_t pid) {
  UniqueFd fd(open(absl::StrCat("/proc/", pid, "/stat").c_str(), O_RDONLY | O_CLOEXEC));
  char text[2048];
  const ssize_t n = fd.valid() ? read(fd.get(), text, sizeof text) : -1;
  if (n <= 0) return 0;
  const absl::string_view all(text, static_cast<size_t>(n));
  // The name stands in parentheses and may have any character.
  const size_t name_end = all.rfind(')');
  if (name_end == absl::string_view::npos) return 0;
  const std::vector<absl::string_view> fields =
      absl::StrSplit(all.substr(name_end + 1), ' ', absl::SkipEmpty());
  uint64_t start = 0;
  // A zombie holds nothing any more.
  if (fields.size() < 20 || fields[0] == "Z" || fields[0] == "X") return 0;
  return absl::SimpleAtoi(fields[19], &start) ? start : 0;
}

uint64_t OwnPidNamespace() {
  struct stat st = {};
  return stat("/proc/self/ns/pid", &st) == 0 ? st.st_ino : 0;
}

}  // namespace

Process Process::Self() {
  return {.pid = getpid(), .start = StartOf(getpid()), .pid_namespace = OwnPidNamespace()};
}

bool Process::Alive() const {
  if (pid_namespace != OwnPidNamespace()) return true;
  return StartOf(pid) == start;
}

bool Process::Running(pid_t pid) { return StartOf(pid) != 0; }

std::string Process::Text() const { return absl::StrCat(pid, ".", start, ".", pid_namespace); }

std::optional<Process> Process::Parse(absl::string_view text) {
  const std::vector<absl::string_view> parts = absl::StrSplit(text, '.');
  Process out;
  uint32_t pid = 0;
  if (parts.size() != 3 || !absl::SimpleAtoi(parts[0], &pid) || pid == 0 || pid > kGroupPid ||
      !absl::SimpleAtoi(parts[1], &out.start) || out.start == 0 ||
      !absl::SimpleAtoi(parts[2], &out.pid_namespace)) {
    return std::nullopt;
  }
  out.pid = static_cast<pid_t>(pid);
  return out;
}

std::string Tag::Text() const {
  std::string text = absl::StrCat(kPrefix, kind);
  if (kept) absl::StrAppend(&text, ",kept");
  if (address) {
    absl::StrAppend(&text, ",", kStates[static_cast<size_t>(address_state)], "=", address->Text());
  }
  if (by) absl::StrAppend(&text, ",by=", by->Text());
  return text;
}

std::optional<Tag> Tag::Parse(absl::string_view text) {
  if (!absl::ConsumePrefix(&text, kPrefix)) return std::nullopt;
  const std::vector<absl::string_view> words = absl::StrSplit(text, ',');
  Tag tag;
  if (words[0] != "tap" && words[0] != "bridge" && words[0] != "nat") return std::nullopt;
  tag.kind = std::string(words[0]);
  for (size_t i = 1; i < words.size(); ++i) {
    absl::string_view word = words[i];
    if (word == "kept") {
      tag.kept = true;
    } else if (absl::ConsumePrefix(&word, "by=")) {
      tag.by = Process::Parse(word);
      if (!tag.by) return std::nullopt;
    } else {
      const size_t equals = word.find('=');
      if (equals == absl::string_view::npos) return std::nullopt;
      const auto* state = std::find(std::begin(kStates), std::end(kStates), word.substr(0, equals));
      absl::StatusOr<netlink::IpPrefix> address = netlink::ParseIpPrefix(word.substr(equals + 1));
      if (state == std::end(kStates) || !address.ok()) return std::nullopt;
      tag.address = *address;
      tag.address_state = static_cast<Tag::AddressState>(state - std::begin(kStates));
    }
  }
  if (!tag.kept && !tag.by) return std::nullopt;
  return tag;
}

uint32_t MakingGroup(pid_t pid) { return kGroupMark | (static_cast<uint32_t>(pid) & kGroupPid); }

std::optional<pid_t> MakerOfGroup(uint32_t group) {
  if ((group & ~kGroupPid) != kGroupMark) return std::nullopt;
  return static_cast<pid_t>(group & kGroupPid);
}

}  // namespace atl::hostnet
