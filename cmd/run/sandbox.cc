// SPDX-License-Identifier: Apache-2.0
#include "cmd/run/sandbox.h"

#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "lib/base/status_macros.h"
#include "lib/boot/kernel.h"
#include "lib/cli/main.h"
#include "lib/host/file_cache.h"
#include "lib/host/lockdown.h"
#include "lib/host/user.h"

// The sanitizers' runtime reads /proc and traces the process when it ends.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define ATOLL_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define ATOLL_SANITIZED 1
#endif
#endif
#ifndef ATOLL_SANITIZED
#define ATOLL_SANITIZED 0
#endif

namespace atl::run {
namespace {

std::string FolderOf(const std::string& path) {
  const size_t slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

absl::StatusOr<host::LockdownOptions> Needs(const Invocation& invocation) {
  host::LockdownOptions out;
  const vm::MachineConfig& m = invocation.machine;
  // A guest that restarts is loaded anew.
  for (const std::string& file : {m.kernel, m.initrd, m.bios}) {
    if (!file.empty() && access(file.c_str(), F_OK) == 0) out.read.push_back(file);
  }
  // Where the kernel is a Multiboot one, that is not a file but a list of them.
  for (const boot::ModuleFile& module : boot::SplitModules(m.initrd)) {
    if (access(module.path.c_str(), F_OK) == 0) out.read.push_back(module.path);
  }
  const std::string cache = host::CacheFolder();
  if (!cache.empty()) out.read.push_back(cache);
  for (const std::string& dir : invocation.sandbox_dirs) {
    struct stat st;
    if (stat(dir.c_str(), &st) != 0) return ErrnoError(errno, absl::StrCat("-sandbox dir=", dir));
    out.write.push_back(dir);
  }
  // lib/vm makes them, restricted to reads and writes, for KVM's guests.
  out.rings = m.accel != "soft";
  for (const vm::BackendConfig& b : m.backends) out.vhost |= b.vhost;
  if (invocation.screendump) out.write.push_back(FolderOf(invocation.screendump->file));
  return out;
}

absl::Status GiveUpRoot(const Invocation& invocation) {
  host::User user;
  if (!invocation.runas.empty()) {
    absl::StatusOr<host::User> found = host::FindUser(invocation.runas);
    if (!found.ok()) return Annotate(found.status(), "-runas");
    user = *std::move(found);
  }
  if (!invocation.chroot.empty()) {
    const absl::Status changed = host::ChangeRoot(invocation.chroot);
    if (!changed.ok()) return Annotate(changed, "-chroot");
  }
  if (!invocation.runas.empty()) {
    const absl::Status became = host::BecomeUser(user);
    if (!became.ok()) return Annotate(became, "-runas");
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<bool> EnterSandbox(const Invocation& invocation, const host::VmFolder* folder) {
  const bool wanted = invocation.sandbox == Sandbox::kOn;
  tzset();  // reads its file now
  RETURN_IF_ERROR(GiveUpRoot(invocation));
  if (invocation.sandbox == Sandbox::kOff || (ATOLL_SANITIZED && !wanted)) return false;
  ASSIGN_OR_RETURN(host::LockdownOptions options, Needs(invocation));
  if (folder != nullptr) {
    options.write.push_back(folder->path());
    options.remove_folders.push_back(folder->root());
  }
  absl::StatusOr<host::LockdownResult> result = host::LockDown(options);
  if (!result.ok()) {
    if (wanted || result.status().code() != absl::StatusCode::kUnimplemented) {
      return Annotate(result.status(), "-sandbox");
    }
    cli::PrintWarning(cli::ProgramName(), absl::StrCat("no sandbox: ", result.status().message()));
    return false;
  }
  if (!result->paths) {
    if (wanted) {
      return absl::UnimplementedError("-sandbox: the kernel has no Landlock to confine paths");
    }
    cli::PrintWarning(cli::ProgramName(),
                      "the kernel has no Landlock: a guest that takes over this process could read "
                      "every file that you can");
  }
  RETURN_IF_ERROR(host::CheckLockdown(*result));
  return true;
}

}  // namespace atl::run
