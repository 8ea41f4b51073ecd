// SPDX-License-Identifier: Apache-2.0
#include "lib/host/lockdown.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/landlock.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include <cstdint>
#include <filesystem>
#include <memory>

#include "absl/strings/str_cat.h"
#include "lib/base/status_macros.h"
#include "lib/base/unique_fd.h"

namespace atl::host {
namespace {

// linux/landlock.h as later kernels have it.
constexpr uint64_t kRefer = uint64_t{1} << 13;     // ABI 2
constexpr uint64_t kTruncate = uint64_t{1} << 14;  // ABI 3
constexpr uint64_t kIoctlDev = uint64_t{1} << 15;  // ABI 5
constexpr uint64_t kBindTcp = 1;                   // ABI 4
constexpr uint64_t kConnectTcp = 2;                // ABI 4
constexpr uint64_t kScopeAbstractUnix = 1;         // ABI 6
constexpr uint64_t kScopeSignal = 2;               // ABI 6
struct RulesetAttributes {
  uint64_t fs = 0;
  uint64_t net = 0;
  uint64_t scoped = 0;
};

// Everything up to LANDLOCK_ACCESS_FS_MAKE_SYM: ABI 1.
constexpr uint64_t kAbi1 = (uint64_t{1} << 13) - 1;
constexpr uint64_t kReadFile = LANDLOCK_ACCESS_FS_READ_FILE;
constexpr uint64_t kRead = LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR;
constexpr uint64_t kWrite = kRead | LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_MAKE_REG |
                            LANDLOCK_ACCESS_FS_REMOVE_FILE | kTruncate;

absl::Status AllowPath(int ruleset, const std::string& path, uint64_t access, uint64_t handled) {
  const UniqueFd fd(open(path.c_str(), O_PATH | O_CLOEXEC));
  if (!fd.valid()) {
    if (errno == ENOENT || errno == ENOTDIR) return absl::OkStatus();
    return ErrnoError(errno, path);
  }
  struct stat st;
  if (fstat(fd.get(), &st) != 0) return ErrnoError(errno, path);
  landlock_path_beneath_attr rule{};
  rule.parent_fd = fd.get();
  rule.allowed_access = handled & (S_ISDIR(st.st_mode) ? access : kReadFile);
  if (syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) != 0) {
    return ErrnoError(errno, absl::StrCat("landlock: ", path));
  }
  return absl::OkStatus();
}

// False where the kernel has none.
absl::StatusOr<bool> ConfinePaths(const LockdownOptions& options) {
  const long abi =
      syscall(SYS_landlock_create_ruleset, nullptr, 0, LANDLOCK_CREATE_RULESET_VERSION);
  if (abi < 1) return false;
  RulesetAttributes attributes;
  attributes.fs = kAbi1;
  if (abi >= 2) attributes.fs |= kRefer;
  if (abi >= 3) attributes.fs |= kTruncate;
  if (abi >= 5) attributes.fs |= kIoctlDev;
  if (abi >= 4 && !options.internet) attributes.net = kBindTcp | kConnectTcp;
  if (abi >= 6) attributes.scoped = kScopeAbstractUnix | kScopeSignal;
  // Older kernels know a shorter struct.
  const size_t size = abi >= 6 ? sizeof attributes : abi >= 4 ? 16 : 8;
  const UniqueFd ruleset(
      static_cast<int>(syscall(SYS_landlock_create_ruleset, &attributes, size, 0)));
  if (!ruleset.valid()) return ErrnoError(errno, "landlock_create_ruleset");
  for (const std::string& p : options.read) {
    RETURN_IF_ERROR(AllowPath(ruleset.get(), p, kRead, attributes.fs));
  }
  for (const std::string& p : options.write) {
    RETURN_IF_ERROR(AllowPath(ruleset.get(), p, kWrite, attributes.fs));
  }
  for (const std::string& p : options.remove_folders) {
    RETURN_IF_ERROR(AllowPath(ruleset.get(), p, LANDLOCK_ACCESS_FS_REMOVE_DIR, attributes.fs));
  }
  for (const std::string& p : options.remove_files) {
    RETURN_IF_ERROR(AllowPath(ruleset.get(), p, LANDLOCK_ACCESS_FS_REMOVE_FILE, attributes.fs));
  }
  if (syscall(SYS_landlock_restrict_self, ruleset.get(), 0) != 0) {
    return ErrnoError(errno, "landlock_restrict_self");
  }
  return true;
}

// What the process goes on doing, whatever the arguments.
constexpr int kAllowed[] = {
    // descriptors that are open
    SCMP_SYS(read), SCMP_SYS(write), SCMP_SYS(readv), SCMP_SYS(writev), SCMP_SYS(pread64),
    SCMP_SYS(pwrite64), SCMP_SYS(preadv), SCMP_SYS(pwritev), SCMP_SYS(preadv2), SCMP_SYS(pwritev2),
    SCMP_SYS(lseek), SCMP_SYS(close), SCMP_SYS(close_range), SCMP_SYS(dup), SCMP_SYS(dup2),
    SCMP_SYS(dup3), SCMP_SYS(fcntl), SCMP_SYS(flock), SCMP_SYS(fsync), SCMP_SYS(fdatasync),
    SCMP_SYS(sync_file_range), SCMP_SYS(fallocate), SCMP_SYS(ftruncate), SCMP_SYS(fstat),
    SCMP_SYS(newfstatat), SCMP_SYS(lstat), SCMP_SYS(stat), SCMP_SYS(statx), SCMP_SYS(fstatfs),
    SCMP_SYS(getdents64), SCMP_SYS(copy_file_range), SCMP_SYS(fadvise64), SCMP_SYS(pipe2),
    SCMP_SYS(readlink), SCMP_SYS(readlinkat), SCMP_SYS(access), SCMP_SYS(faccessat),
    SCMP_SYS(faccessat2), SCMP_SYS(getcwd), SCMP_SYS(fchmod), SCMP_SYS(umask),
    // sockets that are open
    SCMP_SYS(accept4), SCMP_SYS(recvfrom), SCMP_SYS(recvmsg), SCMP_SYS(recvmmsg), SCMP_SYS(sendto),
    SCMP_SYS(sendmsg), SCMP_SYS(sendmmsg), SCMP_SYS(shutdown), SCMP_SYS(getsockname),
    SCMP_SYS(getpeername), SCMP_SYS(getsockopt), SCMP_SYS(setsockopt),
    // waiting and time
    SCMP_SYS(epoll_create1), SCMP_SYS(epoll_ctl), SCMP_SYS(epoll_wait), SCMP_SYS(epoll_pwait),
    SCMP_SYS(epoll_pwait2), SCMP_SYS(poll), SCMP_SYS(ppoll), SCMP_SYS(select), SCMP_SYS(pselect6),
    SCMP_SYS(eventfd2), SCMP_SYS(timerfd_create), SCMP_SYS(timerfd_settime),
    SCMP_SYS(timerfd_gettime), SCMP_SYS(signalfd4), SCMP_SYS(nanosleep), SCMP_SYS(clock_nanosleep),
    SCMP_SYS(clock_gettime), SCMP_SYS(clock_getres), SCMP_SYS(gettimeofday), SCMP_SYS(time),
    SCMP_SYS(futex), SCMP_SYS(sched_yield), SCMP_SYS(restart_syscall),
    // memory; mmap, mprotect: see below
    SCMP_SYS(munmap), SCMP_SYS(mremap), SCMP_SYS(madvise), SCMP_SYS(brk), SCMP_SYS(msync),
    SCMP_SYS(mincore), SCMP_SYS(memfd_create), SCMP_SYS(membarrier), SCMP_SYS(mlock),
    SCMP_SYS(munlock),
    // threads; clone: see below
    SCMP_SYS(set_robust_list), SCMP_SYS(rseq), SCMP_SYS(exit), SCMP_SYS(exit_group),
    SCMP_SYS(set_tid_address), SCMP_SYS(sched_getaffinity), SCMP_SYS(sched_getparam),
    SCMP_SYS(sched_getscheduler), SCMP_SYS(gettid), SCMP_SYS(getpid), SCMP_SYS(getppid),
    SCMP_SYS(getpgrp), SCMP_SYS(getpgid), SCMP_SYS(getuid), SCMP_SYS(geteuid), SCMP_SYS(getgid),
    SCMP_SYS(getegid), SCMP_SYS(getrusage), SCMP_SYS(sysinfo), SCMP_SYS(uname), SCMP_SYS(getcpu),
    SCMP_SYS(getrandom), SCMP_SYS(prctl),
    // signals; tgkill: see below
    SCMP_SYS(rt_sigaction), SCMP_SYS(rt_sigprocmask), SCMP_SYS(rt_sigreturn),
    SCMP_SYS(rt_sigtimedwait), SCMP_SYS(sigaltstack)};

// What Landlock judges by the path, where there is Landlock.
constexpr int kOfPaths[] = {
    SCMP_SYS(open),      SCMP_SYS(openat), SCMP_SYS(openat2),  SCMP_SYS(rename), SCMP_SYS(renameat),
    SCMP_SYS(renameat2), SCMP_SYS(unlink), SCMP_SYS(unlinkat), SCMP_SYS(mkdir),  SCMP_SYS(mkdirat)};

// Terminals: settings and size, but not TIOCSTI, which types for the user.
constexpr uint64_t kTerminalRequests[] = {TCGETS,     TCSETS,    TCSETSW,  TCSETSF,
                                          TIOCGWINSZ, TIOCGPGRP, FIONREAD, FIONBIO};
// Families of requests, by bits 8 to 15: KVM's, and block devices'.
constexpr uint64_t kRequestFamilies[] = {0xAE00, 0x1200};

// Of an open tap: what the guest's driver leaves to the host changes as it starts.
constexpr uint64_t kTapOffloads = TUNSETOFFLOAD;
// vhost's family, where it is asked for.
constexpr uint64_t kVhostRequests = 0xAF00;

class Filter {
 public:
  Filter() : context_(seccomp_init(SCMP_ACT_ERRNO(EPERM)), seccomp_release) {}

  absl::Status Load(bool paths_confined, const LockdownOptions& options) {
    if (context_ == nullptr) return absl::UnimplementedError("seccomp: cannot make a filter");
    for (const int call : kAllowed) Allow(call);
    if (paths_confined) {
      for (const int call : kOfPaths) Allow(call);
    } else {
      constexpr uint64_t kWriting = O_ACCMODE | O_CREAT | O_TRUNC;
      Allow(SCMP_SYS(open), {SCMP_A1(SCMP_CMP_MASKED_EQ, kWriting, O_RDONLY)});
      Allow(SCMP_SYS(openat), {SCMP_A2(SCMP_CMP_MASKED_EQ, kWriting, O_RDONLY)});
    }
    if (options.internet) {
      for (const uint64_t family : {AF_INET, AF_INET6}) {
        for (const uint64_t type : {SOCK_STREAM, SOCK_DGRAM}) {
          // Beside the type stand SOCK_NONBLOCK and SOCK_CLOEXEC.
          Allow(SCMP_SYS(socket),
                {SCMP_A0(SCMP_CMP_EQ, family), SCMP_A1(SCMP_CMP_MASKED_EQ, 0xF, type)});
        }
      }
      for (const int call : {SCMP_SYS(connect), SCMP_SYS(bind), SCMP_SYS(listen)}) Allow(call);
    }
    if (options.rings) Allow(SCMP_SYS(io_uring_enter));
    if (options.vhost) {
      Allow(SCMP_SYS(ioctl), {SCMP_A1(SCMP_CMP_MASKED_EQ, 0xFF00, kVhostRequests)});
    }
    // Memory that is written is never executed, and none becomes so.
    Allow(SCMP_SYS(mmap), {SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0)});
    Allow(SCMP_SYS(mprotect), {SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0)});
    // Threads, no processes. clone3's flags cannot be seen: libc then uses clone.
    Allow(SCMP_SYS(clone), {SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_THREAD, CLONE_THREAD)});
    Add(SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), {});
    Allow(SCMP_SYS(tgkill), {SCMP_A0(SCMP_CMP_EQ, static_cast<uint64_t>(getpid()))});
    for (const uint64_t request : kTerminalRequests) {
      Allow(SCMP_SYS(ioctl), {SCMP_A1(SCMP_CMP_MASKED_EQ, 0xFFFFFFFF, request)});
    }
    Allow(SCMP_SYS(ioctl), {SCMP_A1(SCMP_CMP_MASKED_EQ, 0xFFFFFFFF, kTapOffloads)});
    for (const uint64_t family : kRequestFamilies) {
      Allow(SCMP_SYS(ioctl), {SCMP_A1(SCMP_CMP_MASKED_EQ, 0xFF00, family)});
    }
    if (error_ == 0) error_ = -seccomp_load(context_.get());
    if (error_ == ENOSYS || error_ == EINVAL) {
      return absl::UnimplementedError("the kernel has no seccomp filters");
    }
    return error_ == 0 ? absl::OkStatus() : ErrnoError(error_, "seccomp");
  }

 private:
  void Allow(int call, std::initializer_list<scmp_arg_cmp> arguments = {}) {
    Add(SCMP_ACT_ALLOW, call, arguments);
  }
  void Add(uint32_t action, int call, std::initializer_list<scmp_arg_cmp> arguments) {
    const int result = seccomp_rule_add_array(
        context_.get(), action, call, static_cast<unsigned>(arguments.size()), arguments.begin());
    if (result != 0 && error_ == 0) error_ = -result;
  }

  const std::unique_ptr<void, void (*)(scmp_filter_ctx)> context_;
  int error_ = 0;
};

absl::Status NotRefused(absl::string_view what) {
  return absl::InternalError(absl::StrCat("lockdown: ", what, " is not refused"));
}

}  // namespace

absl::StatusOr<LockdownResult> LockDown(const LockdownOptions& options) {
  std::error_code error;
  size_t threads = 0;
  for ([[maybe_unused]] const auto& t :
       std::filesystem::directory_iterator("/proc/self/task", error)) {
    ++threads;
  }
  if (threads > 1) {
    return absl::FailedPreconditionError(
        absl::StrCat("lockdown: the process has ", threads, " threads already"));
  }
  // No memory of the guest's in core files, no more descriptors than now are allowed.
  rlimit limit = {0, 0};
  if (setrlimit(RLIMIT_CORE, &limit) != 0 || getrlimit(RLIMIT_NOFILE, &limit) != 0) {
    return ErrnoError(errno, "lockdown: limits");
  }
  limit.rlim_max = limit.rlim_cur;
  if (setrlimit(RLIMIT_NOFILE, &limit) != 0) return ErrnoError(errno, "lockdown: limits");
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return ErrnoError(errno, "no_new_privs");
  LockdownResult result;
  ASSIGN_OR_RETURN(result.paths, ConfinePaths(options));
  Filter filter;
  result.internet = options.internet;
  RETURN_IF_ERROR(filter.Load(result.paths, options));
  return result;
}

absl::Status CheckLockdown(const LockdownResult& result) {
  // Each of these is harmless where it is not refused.
  if (prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1) return NotRefused("gaining privileges");
  for (const int family : {AF_UNIX, AF_NETLINK, AF_PACKET}) {
    if (UniqueFd(socket(family, SOCK_DGRAM, 0)).valid()) return NotRefused("making a socket");
  }
  if (UniqueFd(socket(AF_INET, result.internet ? SOCK_RAW : SOCK_DGRAM, 0)).valid()) {
    return NotRefused("making a socket");
  }
  void* const code = mmap(nullptr, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (code != MAP_FAILED) {
    munmap(code, 4096);
    return NotRefused("memory for code");
  }
  // Without a program's name, execve would fail with EFAULT.
  if (syscall(SYS_execve, nullptr, nullptr, nullptr) != -1 || errno != EPERM)
    return NotRefused("execve");
  if (ptrace(PTRACE_TRACEME, 0, nullptr, nullptr) != -1 || errno != EPERM) {
    return NotRefused("ptrace");
  }
  if (UniqueFd(open("/proc/self/mem", O_RDWR | O_CLOEXEC)).valid()) {
    return NotRefused("writing to /proc/self/mem");
  }
  if (result.paths && UniqueFd(open("/proc/self/environ", O_RDONLY | O_CLOEXEC)).valid()) {
    return NotRefused("opening a file");
  }
  const pid_t child = fork();
  if (child == 0) _exit(0);
  if (child > 0) {
    waitpid(child, nullptr, 0);
    return NotRefused("fork");
  }
  return absl::OkStatus();
}

}  // namespace atl::host
