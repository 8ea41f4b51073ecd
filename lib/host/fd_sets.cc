// SPDX-License-Identifier: Apache-2.0
#include "lib/host/fd_sets.h"

#include <errno.h>
#include <fcntl.h>

#include <algorithm>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "lib/base/status_macros.h"

namespace atl::host {
namespace {

constexpr absl::string_view kFolder = "/dev/fdset/";

}  // namespace

bool FdSets::Names(absl::string_view path) { return absl::ConsumePrefix(&path, kFolder); }

absl::StatusOr<FdSets::Added> FdSets::Add(UniqueFd fd, std::optional<int64_t> set,
                                          absl::string_view opaque) {
  size_t count = 0;
  for (const auto& [id, entries] : sets_) count += entries.size();
  if (count >= kMaxFds) {
    return absl::ResourceExhaustedError(absl::StrCat("there are ", kMaxFds, " descriptors"));
  }
  if (set.value_or(0) < 0) return absl::InvalidArgumentError("a set's number is 0 or more");
  if (opaque.size() > kMaxOpaque) {
    return absl::InvalidArgumentError(
        absl::StrCat("what is said of a descriptor has at most ", kMaxOpaque, " bytes"));
  }
  int64_t id = set.value_or(0);
  while (!set && sets_.contains(id)) ++id;
  const Added added{id, fd.get()};
  sets_[id].push_back({std::move(fd), std::string(opaque)});
  return added;
}

absl::Status FdSets::Remove(int64_t set, std::optional<int> fd) {
  const auto at = sets_.find(set);
  if (at == sets_.end()) {
    return absl::InvalidArgumentError(absl::StrCat("there is no descriptor set ", set));
  }
  if (fd) {
    const size_t removed =
        std::erase_if(at->second, [&](const Entry& e) { return e.fd.get() == *fd; });
    if (removed == 0) {
      return absl::InvalidArgumentError(
          absl::StrCat("descriptor set ", set, " has no descriptor ", *fd));
    }
  }
  if (!fd || at->second.empty()) sets_.erase(at);
  return absl::OkStatus();
}

absl::StatusOr<UniqueFd> FdSets::Open(absl::string_view path, bool writable) const {
  absl::string_view number = path;
  int64_t set;
  if (!absl::ConsumePrefix(&number, kFolder) || !absl::SimpleAtoi(number, &set)) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": is not ", kFolder, "NUMBER"));
  }
  const auto at = sets_.find(set);
  if (at == sets_.end()) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": there is no descriptor set ", set));
  }
  // What can be written is read from only where nothing else can.
  const Entry* best = nullptr;
  for (const Entry& e : at->second) {
    const int flags = fcntl(e.fd.get(), F_GETFL);
    // Appending would put every write at the file's end.
    if (flags < 0 || (flags & (O_PATH | O_APPEND)) != 0) continue;
    const int access = flags & O_ACCMODE;
    if (access == (writable ? O_RDWR : O_RDONLY)) {
      best = &e;
      break;
    }
    if (!writable && access == O_RDWR && best == nullptr) best = &e;
  }
  if (best == nullptr) {
    return absl::FailedPreconditionError(
        absl::StrCat(path, ": no descriptor of the set is open for ",
                     writable ? "reading and writing" : "reading"));
  }
  UniqueFd copy(fcntl(best->fd.get(), F_DUPFD_CLOEXEC, 0));
  if (!copy.valid()) return ErrnoError(errno, path);
  return copy;
}

}  // namespace atl::host
