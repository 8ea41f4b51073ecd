// SPDX-License-Identifier: Apache-2.0
#include "lib/host/user.h"

#include <grp.h>
#include <pwd.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "lib/base/status_macros.h"

namespace atl::host {

absl::StatusOr<User> FindUser(absl::string_view text) {
  User out;
  out.name = std::string(text);
  const std::vector<absl::string_view> parts = absl::StrSplit(text, ':');
  if (parts.size() == 2) {
    uint32_t uid, gid;
    // The last number means "no change" to the kernel.
    if (!absl::SimpleAtoi(parts[0], &uid) || !absl::SimpleAtoi(parts[1], &gid) ||
        uid == ~uint32_t{0} || gid == ~uint32_t{0}) {
      return absl::InvalidArgumentError(absl::StrCat("'", text, "' is not UID:GID, two numbers"));
    }
    out.uid = uid;
    out.gid = gid;
    return out;
  }
  errno = 0;
  const passwd* entry = getpwnam(out.name.c_str());
  if (entry == nullptr) {
    return absl::NotFoundError(
        absl::StrCat("'", text, "' is no user of this system, and not UID:GID"));
  }
  out.uid = entry->pw_uid;
  out.gid = entry->pw_gid;
  out.named = true;
  return out;
}

absl::Status ChangeRoot(const std::string& folder) {
  if (chdir(folder.c_str()) != 0 || chroot(".") != 0) return ErrnoError(errno, folder);
  return absl::OkStatus();
}

absl::Status BecomeUser(const User& user) {
  const bool groups =
      user.named ? initgroups(user.name.c_str(), user.gid) == 0 : setgroups(0, nullptr) == 0;
  if (!groups || setresgid(user.gid, user.gid, user.gid) != 0 ||
      setresuid(user.uid, user.uid, user.uid) != 0) {
    return ErrnoError(errno, user.name);
  }
  if (user.uid != 0 && (setuid(0) == 0 || seteuid(0) == 0)) {
    return absl::InternalError(absl::StrCat(user.name, ": root's rights could come back"));
  }
  return absl::OkStatus();
}

}  // namespace atl::host
