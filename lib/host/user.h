// SPDX-License-Identifier: Apache-2.0
// Another user and another root directory, for good, of a process that root has
// started. Before threads are made: other threads would keep what they are.
#ifndef LIB_HOST_USER_H_
#define LIB_HOST_USER_H_

#include <sys/types.h>

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace atl::host {

struct User {
  std::string name;  // as it was given
  uid_t uid = 0;
  gid_t gid = 0;
  bool named = false;  // has the groups that the system's tables say, not only its own
};

// "NAME" or "UID:GID". An error says which it is not.
absl::StatusOr<User> FindUser(absl::string_view text);

// Names of files begin at `folder` from now on, which is the working directory, too.
absl::Status ChangeRoot(const std::string& folder);

// Root's rights go with it: it is an error where they could come back.
absl::Status BecomeUser(const User& user);

}  // namespace atl::host

#endif  // LIB_HOST_USER_H_
