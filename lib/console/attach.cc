// SPDX-License-Identifier: Apache-2.0
#include "lib/console/attach.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "lib/base/status_macros.h"
#include "lib/base/unique_fd.h"
#include "lib/host/runtime_dir.h"

namespace atl::console {
namespace {

absl::StatusOr<std::unique_ptr<Viewer>> AttachFd(absl::string_view guest, absl::string_view number,
                                                 bool view_only) {
  int fd = -1;
  struct stat st;
  if (!absl::SimpleAtoi(number, &fd) || fd < 0 || fstat(fd, &st) != 0 || !S_ISSOCK(st.st_mode)) {
    return absl::InvalidArgumentError(absl::StrCat(guest, ": is no open socket"));
  }
  fcntl(fd, F_SETFD, FD_CLOEXEC);
  return Viewer::Greet(UniqueFd(fd), guest, view_only);
}

}  // namespace

absl::StatusOr<std::unique_ptr<Viewer>> Attach(absl::string_view guest, bool view_only) {
  absl::string_view rest = guest;
  if (absl::ConsumePrefix(&rest, "fd:")) return AttachFd(guest, rest, view_only);
  if (absl::StrContains(guest, '/')) return Viewer::Connect(std::string(guest), view_only);
  const std::string root = host::RuntimeRoot();
  std::vector<std::string> names;
  for (const host::VmEntry& vm : host::ListVms(root)) {
    if (vm.name == guest) return Viewer::Connect(vm.folder + "/console", view_only);
    names.push_back(vm.name);
  }
  return absl::NotFoundError(absl::StrCat(
      guest, ": no guest of that name runs; ",
      names.empty() ? "none does" : absl::StrCat("there is ", absl::StrJoin(names, ", "))));
}

}  // namespace atl::console
