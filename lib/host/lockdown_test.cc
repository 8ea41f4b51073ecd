// SPDX-License-Identifier: Apache-2.0
// Escape attempts from inside: each runs in a child that has locked itself down.
#include "lib/host/lockdown.h"

#include <errno.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <fstream>
#include <functional>
#include <string>
#include <thread>

#include "lib/base/status_matchers.h"

namespace atl::host {
namespace {

class LockdownTest : public testing::Test {
 protected:
  LockdownTest() : folder_(testing::TempDir() + "/lockdown." + std::to_string(getpid())) {
    mkdir(folder_.c_str(), 0700);
    mkdir((folder_ + "/in").c_str(), 0700);
    mkdir((folder_ + "/vms").c_str(), 0700);
    std::ofstream(folder_ + "/in/file") << "inside";
    std::ofstream(folder_ + "/out") << "outside";
  }

  // What `attempt` returns in a child that is locked down: an errno, or 0.
  int In(const std::function<int()>& attempt) {
    const pid_t child = fork();
    if (child == 0) {
      absl::StatusOr<LockdownResult> locked =
          LockDown({{folder_ + "/in/file"}, {folder_ + "/in"}, {folder_ + "/vms"}});
      if (!locked.ok()) {
        fprintf(stderr, "%s\n", std::string(locked.status().message()).c_str());
        _exit(254);
      }
      if (!locked->paths) fprintf(stderr, "this kernel has no Landlock\n");
      _exit(attempt());
    }
    int status = 0;
    waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 255;
  }
  static int Errno(long result) { return result < 0 ? errno : 0; }

  const std::string folder_;
};

TEST_F(LockdownTest, TheSelfTestPasses) {
  EXPECT_EQ(In([] { return CheckLockdown({true}).ok() ? 0 : 1; }), 0);
}

TEST_F(LockdownTest, InternetSocketsWhereTheyAreAskedFor) {
  const auto attempt = [](int family, int type, bool internet) {
    const pid_t child = fork();
    if (child == 0) {
      LockdownOptions options;
      options.internet = internet;
      absl::StatusOr<LockdownResult> locked = LockDown(options);
      if (!locked.ok() || !CheckLockdown(*locked).ok()) _exit(254);
      const int fd = socket(family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
      if (fd < 0) _exit(errno);
      sockaddr_in to{};
      to.sin_family = AF_INET;
      to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
      if (bind(fd, reinterpret_cast<sockaddr*>(&to), sizeof to) != 0) _exit(errno);
      _exit(0);
    }
    int status = 0;
    waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 255;
  };
  EXPECT_EQ(attempt(AF_INET, SOCK_STREAM, true), 0);
  EXPECT_EQ(attempt(AF_INET, SOCK_DGRAM, true), 0);
  EXPECT_EQ(attempt(AF_INET, SOCK_RAW, true), EPERM);
  EXPECT_EQ(attempt(AF_UNIX, SOCK_STREAM, true), EPERM);
  EXPECT_EQ(attempt(AF_INET, SOCK_STREAM, false), EPERM);
}

TEST(Lockdown, TheSelfTestFailsWithoutIt) { EXPECT_FALSE(CheckLockdown({true}).ok()); }

TEST_F(LockdownTest, FilesOutside) {
  const std::string out = folder_ + "/out";
  EXPECT_EQ(In([&] { return Errno(open(out.c_str(), O_RDONLY)); }), EACCES);
  EXPECT_EQ(In([&] { return Errno(open(out.c_str(), O_WRONLY)); }), EACCES);
  EXPECT_EQ(In([&] { return Errno(open((out + "2").c_str(), O_WRONLY | O_CREAT, 0600)); }), EACCES);
  EXPECT_EQ(In([&] { return Errno(unlink(out.c_str())); }), EACCES);
  EXPECT_EQ(In([&] { return Errno(rename((folder_ + "/in/file").c_str(), out.c_str())) != 0; }), 1);
  EXPECT_EQ(In([&] { return Errno(link(out.c_str(), (folder_ + "/in/l").c_str())); }), EPERM);
  EXPECT_EQ(In([&] { return Errno(symlink(out.c_str(), (folder_ + "/in/l").c_str())); }), EPERM);
  EXPECT_EQ(In([&] { return Errno(chmod(out.c_str(), 0777)); }), EPERM);
  EXPECT_EQ(In([&] { return Errno(truncate(out.c_str(), 0)); }), EPERM);
  EXPECT_EQ(In([] { return Errno(open("/etc/passwd", O_RDONLY)); }), EACCES);
  EXPECT_EQ(In([] { return Errno(open("/proc/self/mem", O_RDWR)); }), EACCES);
  // Out by the way of a folder that is allowed.
  EXPECT_EQ(In([&] { return Errno(open((folder_ + "/in/../out").c_str(), O_RDONLY)); }), EACCES);
}

TEST_F(LockdownTest, FilesInside) {
  const std::string in = folder_ + "/in/";
  EXPECT_EQ(In([&] { return Errno(open((in + "file").c_str(), O_RDONLY)); }), 0);
  EXPECT_EQ(In([&] {
              const int fd = open((in + "new").c_str(), O_RDWR | O_CREAT | O_TRUNC, 0600);
              if (fd < 0 || write(fd, "x", 1) != 1) return 1;
              return Errno(rename((in + "new").c_str(), (in + "moved").c_str()));
            }),
            0);
  EXPECT_EQ(In([&] { return Errno(unlink((in + "moved").c_str())); }), 0);
}

TEST_F(LockdownTest, FoldersThatMayGo) {
  const std::string vms = folder_ + "/vms";
  for (const char* f : {"", "/empty", "/full", "/full/sub"}) mkdir((vms + f).c_str(), 0700);
  std::ofstream(vms + "/full/pid") << "1";
  const auto rmdir_at = [&](const std::string& path) {
    return In([&] { return Errno(unlinkat(AT_FDCWD, path.c_str(), AT_REMOVEDIR)); });
  };
  EXPECT_EQ(rmdir_at(vms + "/empty"), 0);
  // Nothing else there: another VM's folder is never empty.
  EXPECT_EQ(rmdir_at(vms + "/full"), ENOTEMPTY);
  EXPECT_EQ(In([&] { return Errno(unlink((vms + "/full/pid").c_str())); }), EACCES);
  EXPECT_EQ(In([&] { return Errno(open((vms + "/full/pid").c_str(), O_RDONLY)); }), EACCES);
  EXPECT_EQ(In([&] { return Errno(open((vms + "/new").c_str(), O_WRONLY | O_CREAT, 0600)); }),
            EACCES);
  EXPECT_EQ(rmdir_at(vms), EACCES);
}

TEST_F(LockdownTest, Programs) {
  EXPECT_EQ(In([] { return Errno(execl("/bin/true", "true", nullptr)); }), EPERM);
  EXPECT_EQ(In([] { return Errno(syscall(SYS_execveat, AT_FDCWD, "/bin/true", 0, 0, 0)); }), EPERM);
  EXPECT_EQ(In([] { return Errno(fork()); }), EPERM);
  EXPECT_EQ(In([] { return Errno(vfork()); }), EPERM);
  EXPECT_EQ(In([] { return Errno(syscall(SYS_clone3, nullptr, 0)); }), ENOSYS);
  EXPECT_EQ(In([] { return Errno(syscall(SYS_unshare, CLONE_NEWUSER)); }), EPERM);
}

TEST_F(LockdownTest, OtherProcesses) {
  const pid_t parent = getpid();
  EXPECT_EQ(In([&] { return Errno(ptrace(PTRACE_ATTACH, parent, 0, 0)); }), EPERM);
  EXPECT_EQ(In([&] { return Errno(kill(parent, 0)); }), EPERM);
  EXPECT_EQ(In([&] { return Errno(syscall(SYS_tgkill, parent, parent, 0)); }), EPERM);
  EXPECT_EQ(In([&] {
              char byte;
              iovec local{&byte, 1}, remote{&byte, 1};
              return Errno(process_vm_readv(parent, &local, 1, &remote, 1, 0));
            }),
            EPERM);
  EXPECT_EQ(In([&] { return Errno(syscall(SYS_pidfd_open, parent, 0)); }), EPERM);
}

TEST_F(LockdownTest, Network) {
  EXPECT_EQ(In([] { return Errno(socket(AF_INET, SOCK_STREAM, 0)); }), EPERM);
  EXPECT_EQ(In([] { return Errno(socket(AF_UNIX, SOCK_STREAM, 0)); }), EPERM);
  EXPECT_EQ(In([] { return Errno(socket(AF_NETLINK, SOCK_RAW, 0)); }), EPERM);
  int pair[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_DGRAM, 0, pair), 0);
  EXPECT_EQ(In([&] {
              sockaddr_un address{};
              address.sun_family = AF_UNIX;
              return Errno(connect(pair[0], reinterpret_cast<sockaddr*>(&address), 10));
            }),
            EPERM);
  // What is open goes on.
  EXPECT_EQ(In([&] { return Errno(send(pair[0], "x", 1, 0)); }), 0);
  close(pair[0]);
  close(pair[1]);
}

TEST_F(LockdownTest, Kernel) {
  EXPECT_EQ(In([] { return Errno(syscall(SYS_bpf, 0, 0, 0)); }), EPERM);
  EXPECT_EQ(In([] { return Errno(syscall(SYS_io_uring_setup, 1, 0)); }), EPERM);
  EXPECT_EQ(In([] { return Errno(syscall(SYS_userfaultfd, 0)); }), EPERM);
  EXPECT_EQ(In([] { return Errno(syscall(SYS_keyctl, 0, 0, 0, 0, 0)); }), EPERM);
  EXPECT_EQ(In([] { return Errno(syscall(SYS_mount, "x", "/", "x", 0, 0)); }), EPERM);
  EXPECT_EQ(In([] { return Errno(setuid(0)); }), EPERM);
  EXPECT_EQ(In([] { return Errno(ioctl(0, TIOCSTI, "x")); }), EPERM);
}

TEST_F(LockdownTest, RingsThatAreThereWhereTheyAreAskedFor) {
  const auto attempt = [](bool rings) {
    const pid_t child = fork();
    if (child == 0) {
      LockdownOptions options;
      options.rings = rings;
      if (!LockDown(options).ok()) _exit(1);
      // No descriptor of a ring, and none to be had.
      const int enter = Errno(syscall(SYS_io_uring_enter, 0, 0, 0, 0, nullptr, 0));
      const int setup = Errno(syscall(SYS_io_uring_setup, 1, 0));
      const int change = Errno(syscall(SYS_io_uring_register, 0, 0, nullptr, 0));
      _exit(enter == (rings ? EOPNOTSUPP : EPERM) && setup == EPERM && change == EPERM ? 0 : 2);
    }
    int status = -1;
    waitpid(child, &status, 0);
    return status;
  };
  EXPECT_EQ(attempt(true), 0);
  EXPECT_EQ(attempt(false), 0);
}

TEST_F(LockdownTest, MemoryForCode) {
  EXPECT_EQ(In([] {
              void* p =
                  mmap(nullptr, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
              return p == MAP_FAILED ? errno : 0;
            }),
            EPERM);
  EXPECT_EQ(In([] {
              void* p =
                  mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
              if (p == MAP_FAILED) return 1;
              return Errno(mprotect(p, 4096, PROT_READ | PROT_EXEC));
            }),
            EPERM);
}

TEST_F(LockdownTest, ThreadsAreLockedDownToo) {
  EXPECT_EQ(In([] {
              int result = 0;
              std::thread([&result] { result = Errno(open("/etc/passwd", O_RDONLY)); }).join();
              return result;
            }),
            EACCES);
}

TEST(Lockdown, AProcessWithThreadsIsRefused) {
  // In a child: the test's own process is not to be locked down.
  const pid_t child = fork();
  if (child == 0) {
    int ends[2];
    if (pipe(ends) != 0) _exit(2);
    std::thread waiting([&] {
      char byte;
      (void)!read(ends[0], &byte, 1);
    });
    const bool refused = !LockDown({}).ok();
    (void)!write(ends[1], "x", 1);
    waiting.join();
    _exit(refused ? 0 : 1);
  }
  int status;
  waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
}

}  // namespace
}  // namespace atl::host
