// SPDX-License-Identifier: Apache-2.0
// Where tools find a running VM: a folder each, named as the VM, that holds its
// sockets ("control", "console") and the file "pid". It is there while the VM's
// process is: that process holds a lock on "pid". What a process left behind that
// was killed is swept by whoever comes next.
//
// ROOT is $ATOLL_RUNTIME_DIR, else $XDG_RUNTIME_DIR/atoll, else, for root,
// /run/atoll. All folders are the user's alone (0700).
#ifndef LIB_HOST_RUNTIME_DIR_H_
#define LIB_HOST_RUNTIME_DIR_H_

#include <sys/types.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "lib/base/unique_fd.h"

namespace atl::host {

// Empty where this user has none.
std::string RuntimeRoot();

struct VmEntry {
  std::string name;
  std::string folder;  // absolute, if ROOT is
  pid_t pid = 0;
};

// The VMs that run, by name. Nothing where `root` is not there or not ours.
std::vector<VmEntry> ListVms(const std::string& root);

// This process' own folder. One thread.
class VmFolder {
 public:
  // Makes it, and `root`, and sweeps what is stale there. Where another VM has the
  // name, this one's is "NAME.PID": look at name(). Characters that no file name
  // should have become '_'.
  static absl::StatusOr<std::unique_ptr<VmFolder>> Create(const std::string& root,
                                                          absl::string_view name);
  // Removes it with all that is in it.
  ~VmFolder();
  VmFolder(const VmFolder&) = delete;
  VmFolder& operator=(const VmFolder&) = delete;

  const std::string& name() const { return name_; }
  const std::string& path() const { return path_; }
  // ROOT: to remove a folder its parent must allow it.
  const std::string& root() const { return root_; }

 private:
  VmFolder(std::string root, std::string name);
  bool Take();

  const std::string root_;
  const std::string name_;
  const std::string path_;
  UniqueFd lock_;
};

}  // namespace atl::host

#endif  // LIB_HOST_RUNTIME_DIR_H_
