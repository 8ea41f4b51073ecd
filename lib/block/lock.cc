// SPDX-License-Identifier: Apache-2.0
#include "lib/block/lock.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cctype>
#include <cerrno>
#include <cstdio>
#include <fstream>
#include <memory>
#include <string>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "lib/base/status_macros.h"

namespace atl::block {
namespace {

constexpr off_t kUsedBase = 100;
constexpr off_t kUnsharedBase = 200;
constexpr int kPermissions = 4;
constexpr int kRead = 1 << 0, kWrite = 1 << 1, kResize = 1 << 3;
constexpr const char* kNames[kPermissions] = {"consistent read", "write", "write unchanged",
                                              "resize"};

struct flock ByteLock(short type, off_t byte) {
  struct flock l = {};
  l.l_type = type;
  l.l_whence = SEEK_SET;
  l.l_start = byte;
  l.l_len = 1;
  return l;
}

bool NoLocksHere(int error) {
  return error == EINVAL || error == ENOLCK || error == EOPNOTSUPP || error == ENOSYS;
}

struct DirCloser {
  void operator()(DIR* d) const { closedir(d); }
};
using Dir = std::unique_ptr<DIR, DirCloser>;

// Whether one of the "lock:" lines of a /proc/PID/fdinfo file is a lock on
// `byte` of the file `st`.
bool HasLock(const std::string& fdinfo, const struct stat& st, off_t byte) {
  std::ifstream in(fdinfo);
  std::string inode = absl::StrFormat("%02x:%02x:%d", major(st.st_dev), minor(st.st_dev),
                                      static_cast<uint64_t>(st.st_ino));
  for (std::string line; std::getline(in, line);) {
    if (!absl::StartsWith(line, "lock:")) continue;
    // lock: 1: OFDLCK ADVISORY READ -1 08:01:4718 100 100
    std::vector<std::string> w = absl::StrSplit(line, absl::ByAnyChar(" \t"), absl::SkipEmpty());
    if (w.size() < 9 || w[6] != inode) continue;
    int64_t first = 0, last = 0;
    if (!absl::SimpleAtoi(w[7], &first)) continue;
    if (w[8] != "EOF" && !absl::SimpleAtoi(w[8], &last)) continue;
    if (first <= byte && (w[8] == "EOF" || byte <= last)) return true;
  }
  return false;
}

// "process 4711 (qemu-system-x86)", or "another process".
std::string Holder(int fd, off_t byte) {
  struct stat st;
  Dir proc(opendir("/proc"));
  if (proc == nullptr || fstat(fd, &st) != 0) return "another process";
  while (struct dirent* p = readdir(proc.get())) {
    if (!isdigit(static_cast<unsigned char>(p->d_name[0]))) continue;
    std::string dir = absl::StrCat("/proc/", p->d_name);
    Dir fds(opendir(absl::StrCat(dir, "/fdinfo").c_str()));
    if (fds == nullptr) continue;  // another user's
    while (struct dirent* f = readdir(fds.get())) {
      if (!isdigit(static_cast<unsigned char>(f->d_name[0]))) continue;
      if (!HasLock(absl::StrCat(dir, "/fdinfo/", f->d_name), st, byte)) continue;
      std::string comm;
      std::ifstream(dir + "/comm") >> comm;
      return absl::StrCat("process ", p->d_name, " (", comm, ")");
    }
  }
  return "another process";
}

}  // namespace

absl::Status LockFile(int fd, absl::string_view name, LockMode mode) {
  if (mode == LockMode::kNone) return absl::OkStatus();
  const int used = mode == LockMode::kRead ? kRead : kRead | kWrite | kResize;
  const int unshared = kWrite | kResize;
  // Take ours first and look for others' then: of two that come at once at
  // least one sees the other.
  for (int n = 0; n < kPermissions; ++n) {
    for (auto [mask, base] : {std::pair{used, kUsedBase}, {unshared, kUnsharedBase}}) {
      if ((mask & 1 << n) == 0) continue;
      struct flock l = ByteLock(F_RDLCK, base + n);
      if (fcntl(fd, F_OFD_SETLK, &l) == 0) continue;
      if (NoLocksHere(errno)) return absl::OkStatus();
      if (errno != EAGAIN && errno != EACCES)
        return ErrnoError(errno, absl::StrCat(name, ": lock"));
      return absl::UnavailableError(absl::StrCat(name, ": Failed to get \"", kNames[n],
                                                 "\" lock: ", Holder(fd, base + n), " uses it"));
    }
  }
  for (int n = 0; n < kPermissions; ++n) {
    for (auto [mask, base] : {std::pair{used, kUnsharedBase}, {unshared, kUsedBase}}) {
      if ((mask & 1 << n) == 0) continue;
      struct flock l = ByteLock(F_WRLCK, base + n);
      if (fcntl(fd, F_OFD_GETLK, &l) != 0) {
        if (NoLocksHere(errno)) return absl::OkStatus();
        return ErrnoError(errno, absl::StrCat(name, ": lock"));
      }
      if (l.l_type == F_UNLCK) continue;
      return absl::UnavailableError(
          absl::StrCat(name, ": Failed to get ", base == kUsedBase ? "shared " : "", "\"",
                       kNames[n], "\" lock: ", Holder(fd, base + n), " uses it"));
    }
  }
  return absl::OkStatus();
}

}  // namespace atl::block
