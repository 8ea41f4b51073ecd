// SPDX-License-Identifier: Apache-2.0
#include "lib/host/runtime_dir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "lib/base/status_macros.h"

namespace atl::host {
namespace {

constexpr size_t kMaxName = 64;
constexpr size_t kMaxVms = 4096;
constexpr char kPid[] = "/pid";

std::string FileName(absl::string_view name) {
  std::string out(name.substr(0, kMaxName));
  for (char& c : out) {
    if (c == '/' || static_cast<unsigned char>(c) <= ' ' || c == 0x7F) c = '_';
  }
  if (out.empty() || out[0] == '.') out = absl::StrCat("_", out);
  return out;
}

std::vector<std::string> Names(const std::string& folder) {
  std::vector<std::string> out;
  DIR* const dir = opendir(folder.c_str());
  if (dir == nullptr) return out;
  while (const dirent* e = readdir(dir)) {
    if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0) out.push_back(e->d_name);
    if (out.size() >= kMaxVms) break;
  }
  closedir(dir);
  std::sort(out.begin(), out.end());
  return out;
}

// Not rmdir and unlink: a process that is locked down has unlinkat alone.
void Remove(const std::string& folder) {
  for (const std::string& name : Names(folder)) {
    unlinkat(AT_FDCWD, absl::StrCat(folder, "/", name).c_str(), 0);
  }
  unlinkat(AT_FDCWD, folder.c_str(), AT_REMOVEDIR);
}

// True where nobody holds the lock of what is, or was, a VM's folder. A folder
// that has no "pid" is either somebody's own or was left half made.
bool Stale(const std::string& folder) {
  const UniqueFd fd(
      open(absl::StrCat(folder, kPid).c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
  if (!fd.valid()) return errno == ENOENT && Names(folder).empty();
  return flock(fd.get(), LOCK_EX | LOCK_NB) == 0;
}

// Only the user's own folders are trusted.
bool Ours(const std::string& path) {
  struct stat st;
  return lstat(path.c_str(), &st) == 0 && S_ISDIR(st.st_mode) &&
         (st.st_uid == geteuid() || geteuid() == 0);
}

}  // namespace

std::string RuntimeRoot() {
  if (const char* dir = getenv("ATOLL_RUNTIME_DIR"); dir != nullptr && *dir != 0) return dir;
  if (const char* dir = getenv("XDG_RUNTIME_DIR"); dir != nullptr && *dir == '/') {
    return absl::StrCat(dir, "/atoll");
  }
  return geteuid() == 0 ? "/run/atoll" : "";
}

std::vector<VmEntry> ListVms(const std::string& root) {
  std::vector<VmEntry> out;
  if (root.empty() || !Ours(root)) return out;
  for (const std::string& name : Names(root)) {
    VmEntry e{name, absl::StrCat(root, "/", name), 0};
    const UniqueFd fd(
        open(absl::StrCat(e.folder, kPid).c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
    if (!fd.valid() || flock(fd.get(), LOCK_SH | LOCK_NB) == 0) continue;
    char text[32];
    const ssize_t n = pread(fd.get(), text, sizeof text, 0);
    if (n <= 0 || !absl::SimpleAtoi(absl::string_view(text, static_cast<size_t>(n)), &e.pid) ||
        e.pid <= 0) {
      continue;
    }
    out.push_back(std::move(e));
  }
  return out;
}

VmFolder::VmFolder(std::string root, std::string name)
    : root_(std::move(root)), name_(std::move(name)), path_(absl::StrCat(root_, "/", name_)) {}

// False where another VM has it.
bool VmFolder::Take() {
  if (mkdir(path_.c_str(), 0700) != 0) {
    if (errno != EEXIST || !Stale(path_)) return false;
    Remove(path_);
    if (mkdir(path_.c_str(), 0700) != 0) return false;
  }
  lock_.reset(open(absl::StrCat(path_, kPid).c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  // Somebody who lists VMs may hold it for a moment.
  if (!lock_.valid() || flock(lock_.get(), LOCK_EX) != 0) return false;
  const std::string pid = absl::StrCat(getpid(), "\n");
  return write(lock_.get(), pid.data(), pid.size()) == static_cast<ssize_t>(pid.size());
}

absl::StatusOr<std::unique_ptr<VmFolder>> VmFolder::Create(const std::string& root,
                                                           absl::string_view name) {
  if (root.empty()) return absl::NotFoundError("there is no runtime directory");
  if (mkdir(root.c_str(), 0700) != 0 && errno != EEXIST) return ErrnoError(errno, root);
  if (!Ours(root)) {
    return absl::PermissionDeniedError(absl::StrCat(root, ": is not this user's folder"));
  }
  const UniqueFd all(open(root.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!all.valid()) return ErrnoError(errno, root);
  // One at a time: a folder that is being made is not stale.
  if (flock(all.get(), LOCK_EX) != 0) return ErrnoError(errno, root);
  for (const std::string& other : Names(root)) {
    const std::string folder = absl::StrCat(root, "/", other);
    if (Stale(folder)) Remove(folder);
  }
  const std::string wanted = FileName(name);
  for (const std::string& n : {wanted, absl::StrCat(wanted, ".", getpid())}) {
    std::unique_ptr<VmFolder> out(new VmFolder(root, n));
    if (out->Take()) return out;
    const int error = errno;
    out->lock_.reset();
    if (error != EEXIST && error != EWOULDBLOCK) return ErrnoError(error, out->path_);
  }
  return absl::AlreadyExistsError(absl::StrCat(root, "/", wanted, ": is there already"));
}

VmFolder::~VmFolder() {
  if (lock_.valid()) Remove(path_);
}

}  // namespace atl::host
