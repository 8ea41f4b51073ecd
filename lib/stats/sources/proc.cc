// SPDX-License-Identifier: Apache-2.0
#include "lib/stats/sources/proc.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace atl::stats {
namespace {
constexpr size_t kMaxNames = 20000;
constexpr size_t kMaxCommandLine = 128 * 1024;
}  // namespace

std::vector<std::string> FolderNames(const std::string& path, int* error) {
  std::vector<std::string> out;
  DIR* const dir = opendir(path.c_str());
  if (error != nullptr) *error = dir == nullptr ? errno : 0;
  if (dir == nullptr) return out;
  while (const dirent* e = readdir(dir)) {
    const absl::string_view name = e->d_name;
    if (name != "." && name != "..") out.emplace_back(name);
    if (out.size() >= kMaxNames) break;
  }
  closedir(dir);
  std::sort(out.begin(), out.end());
  return out;
}

std::string ReadText(const std::string& path, size_t max) {
  std::string out;
  const UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!fd.valid()) return out;
  while (out.size() < max) {
    char part[16384];
    const ssize_t n = read(fd.get(), part, std::min(sizeof part, max - out.size()));
    if (n <= 0) break;
    out.append(part, static_cast<size_t>(n));
  }
  return out;
}

std::vector<std::string> CommandLine(const std::string& sysroot, pid_t pid) {
  std::string text = ReadText(absl::StrCat(sysroot, "/proc/", pid, "/cmdline"), kMaxCommandLine);
  if (text.empty()) return {};
  if (text.back() == 0) text.pop_back();
  return absl::StrSplit(text, '\0');
}

std::vector<pid_t> QemuProcesses(const std::string& sysroot) {
  std::vector<pid_t> out;
  for (const std::string& name : FolderNames(absl::StrCat(sysroot, "/proc"))) {
    pid_t pid;
    if (!absl::SimpleAtoi(name, &pid) || pid <= 0) continue;
    const std::string comm = ReadText(absl::StrCat(sysroot, "/proc/", name, "/comm"), 32);
    // Cut to 15 bytes by the kernel: "qemu-system-x86".
    if (absl::StartsWith(comm, "qemu-system") || comm == "kvm\n" || comm == "qemu-kvm\n") {
      out.push_back(pid);
    }
  }
  return out;
}

std::vector<std::pair<int, std::string>> DescriptorsOf(pid_t pid, const std::string& prefix) {
  std::vector<std::pair<int, std::string>> out;
  const std::string folder = absl::StrCat("/proc/", pid, "/fd");
  for (const std::string& name : FolderNames(folder)) {
    char link[PATH_MAX];
    const ssize_t n = readlink(absl::StrCat(folder, "/", name).c_str(), link, sizeof link);
    int fd;
    if (n <= 0 || !absl::SimpleAtoi(name, &fd)) continue;
    const absl::string_view text(link, static_cast<size_t>(n));
    if (absl::StartsWith(text, prefix)) out.emplace_back(fd, std::string(text));
  }
  std::sort(out.begin(), out.end());
  return out;
}

UniqueFd OpenPid(pid_t pid) { return UniqueFd(static_cast<int>(syscall(SYS_pidfd_open, pid, 0))); }

bool HasEnded(const UniqueFd& pidfd) {
  pollfd p{pidfd.get(), POLLIN, 0};
  return pidfd.valid() && poll(&p, 1, 0) > 0;
}

UniqueFd CopyDescriptor(const UniqueFd& pidfd, int fd) {
  return UniqueFd(static_cast<int>(syscall(SYS_pidfd_getfd, pidfd.get(), fd, 0)));
}

}  // namespace atl::stats
