// SPDX-License-Identifier: Apache-2.0
#include "tests/cpu/native_executor.h"

#include <asm/prctl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace atl::cpu::test {
namespace {

// The greg of each Gpr number.
constexpr int kGreg[16] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
                           REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15};
constexpr int kSignals[] = {SIGTRAP, SIGSEGV, SIGBUS, SIGILL, SIGFPE};

enum class Phase { kIdle, kStart, kRunning };

struct Shared {
  volatile Phase phase = Phase::kIdle;
  const Case* c = nullptr;
  Outcome* out = nullptr;
  gregset_t home;
  alignas(64) uint8_t home_fx[512];
  uint8_t home_ymm_high[256];
  bool avx = false;  // a signal frame has the upper halves of YMM registers
} g;

// The XSAVE image in a signal frame: XSTATE_BV, and where the AVX state lies.
constexpr unsigned kXstateBv = 512, kAvxAt = 576;
constexpr uint64_t kX87Sse = 3, kAvx = 4;

uint64_t Present(const uint8_t* fx) {
  uint64_t bits;
  memcpy(&bits, fx + kXstateBv, 8);
  return bits;
}

void TakeFpu(const uint8_t* fx, uint8_t* to, void* ymm_high) {
  memcpy(to, fx, 416);  // behind it lie the kernel's own words
  memset(ymm_high, 0, 256);
  if (g.avx && (Present(fx) & kAvx)) memcpy(ymm_high, fx + kAvxAt, 256);
}

void GiveFpu(const uint8_t* from, const void* ymm_high, uint8_t* fx) {
  memcpy(fx, from, 416);
  uint64_t bits = Present(fx) | kX87Sse;
  if (g.avx) {
    memcpy(fx + kAvxAt, ymm_high, 256);
    bits |= kAvx;
  }
  memcpy(fx + kXstateBv, &bits, 8);
}

void OnSignal(int signal, siginfo_t*, void* context) {
  // AC would make this code fault; NT and ID are kept over the signal's return.
  asm volatile(
      "pushfq\n\t"
      "andq $~0x244000, (%%rsp)\n\t"
      "popfq" ::
          : "memory", "cc");
  ucontext_t* uc = static_cast<ucontext_t*>(context);
  greg_t* r = uc->uc_mcontext.gregs;
  uint8_t* fx = reinterpret_cast<uint8_t*>(uc->uc_mcontext.fpregs);
  switch (g.phase) {
    case Phase::kIdle: {  // not ours: let it kill the process
      struct sigaction def = {};
      def.sa_handler = SIG_DFL;
      sigaction(signal, &def, nullptr);
      return;
    }
    case Phase::kStart: {
      memcpy(g.home, r, sizeof g.home);
      TakeFpu(fx, g.home_fx, g.home_ymm_high);
      const Registers& s = g.c->start;
      for (int i = 0; i < 16; i++) r[kGreg[i]] = static_cast<greg_t>(s.gpr[i]);
      r[REG_RIP] = static_cast<greg_t>(s.rip + g.c->entry);
      r[REG_EFL] = static_cast<greg_t>(s.rflags | 0x202);
      GiveFpu(s.fx, s.ymm_high, fx);
      g.phase = Phase::kRunning;
      return;
    }
    case Phase::kRunning: {
      Registers& e = g.out->end;
      for (int i = 0; i < 16; i++) e.gpr[i] = static_cast<uint64_t>(r[kGreg[i]]);
      e.rip = static_cast<uint64_t>(r[REG_RIP]);
      e.rflags = static_cast<uint64_t>(r[REG_EFL]);
      TakeFpu(fx, e.fx, e.ymm_high);
      g.out->vector = static_cast<uint8_t>(r[REG_TRAPNO]);
      g.out->error_code = static_cast<uint32_t>(r[REG_ERR]);
      g.out->address = static_cast<uint64_t>(r[REG_CR2]);
      memcpy(r, g.home, sizeof g.home);
      GiveFpu(g.home_fx, g.home_ymm_high, fx);
      g.phase = Phase::kIdle;
      return;
    }
  }
}

class NativeExecutor final : public Executor {
 public:
  NativeExecutor(uint8_t* code, uint8_t* data, uint8_t* read_only, void* stack)
      : code_(code), data_(data), read_only_(read_only), stack_(stack) {}
  ~NativeExecutor() override {
    for (size_t i = 0; i < std::size(kSignals); i++) sigaction(kSignals[i], &before_[i], nullptr);
    munmap(reinterpret_cast<void*>(kCodeAt), kCodeBytes);
    munmap(code_, kCodeBytes);
    munmap(reinterpret_cast<void*>(kDataAt), kDataBytes);
    munmap(read_only_, kPage);
    stack_t off = {};
    off.ss_flags = SS_DISABLE;
    sigaltstack(&off, nullptr);
    munmap(stack_, kStackBytes);
  }

  void Install() {
    __builtin_cpu_init();
    g.avx = __builtin_cpu_supports("avx");
    stack_t stack = {};
    stack.ss_sp = stack_;
    stack.ss_size = kStackBytes;
    sigaltstack(&stack, nullptr);
    struct sigaction action = {};
    action.sa_sigaction = OnSignal;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
    for (size_t i = 0; i < std::size(kSignals); i++) {
      sigaction(kSignals[i], &action, &before_[i]);
    }
  }

  void Run(const Case& c, Outcome* out) override {
    memset(code_ + last_at_, 0xCC, last_size_);
    last_at_ = c.start.rip - kCodeAt;
    last_size_ = c.code.size();
    memcpy(code_ + last_at_, c.code.data(), last_size_);
    memcpy(data_, c.data->data(), 2 * kPage);
    memcpy(read_only_, c.data->data() + 2 * kPage, kPage);
    syscall(SYS_arch_prctl, ARCH_SET_GS, kGsBase);
    g.c = &c;
    g.out = out;
    g.phase = Phase::kStart;
    asm volatile("int3" ::: "memory");
    memcpy(out->data.data(), data_, 2 * kPage);
    memcpy(out->data.data() + 2 * kPage, read_only_, kPage);
  }

  static constexpr size_t kStackBytes = 256 << 10;

 private:
  // Writable views of the code and of the read-only page; the data's own place.
  uint8_t* code_;
  uint8_t* data_;
  uint8_t* read_only_;
  void* stack_;
  size_t last_at_ = 0, last_size_ = kCodeBytes;
  struct sigaction before_[std::size(kSignals)];
};

// `size` bytes of `fd` at `at`, or anywhere where it is 0; null: errno.
uint8_t* Map(uint64_t at, uint64_t size, int protection, int fd, uint64_t offset) {
  void* p = mmap(reinterpret_cast<void*>(at), size, protection,
                 MAP_SHARED | MAP_POPULATE | (at != 0 ? MAP_FIXED_NOREPLACE : 0), fd,
                 static_cast<off_t>(offset));
  return p == MAP_FAILED ? nullptr : static_cast<uint8_t*>(p);
}

}  // namespace

absl::StatusOr<std::unique_ptr<Executor>> CreateNativeExecutor() {
  const int fd = memfd_create("cpu-test", MFD_CLOEXEC);
  if (fd < 0 || ftruncate(fd, kCodeBytes + kDataBytes) != 0)
    return absl::ErrnoToStatus(errno, "memory of the test cases");
  uint8_t* code = Map(0, kCodeBytes, PROT_READ | PROT_WRITE, fd, 0);
  uint8_t* data = Map(kDataAt, 2 * kPage, PROT_READ | PROT_WRITE, fd, kCodeBytes);
  uint8_t* read_only = Map(0, kPage, PROT_READ | PROT_WRITE, fd, kCodeBytes + 2 * kPage);
  const uint8_t* code_place = Map(kCodeAt, kCodeBytes, PROT_READ | PROT_EXEC, fd, 0);
  const uint8_t* read_only_place = Map(kReadOnlyAt, kPage, PROT_READ, fd, kCodeBytes + 2 * kPage);
  void* stack = mmap(nullptr, NativeExecutor::kStackBytes, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  const absl::Status status = absl::ErrnoToStatus(errno, "mapping the test cases' memory");
  close(fd);
  if (!code || !data || !read_only || !code_place || !read_only_place || stack == MAP_FAILED)
    return status;
  auto executor = std::make_unique<NativeExecutor>(code, data, read_only, stack);
  executor->Install();
  return executor;
}

uint64_t NativeFsBase() {
  uint64_t base = 0;
  syscall(SYS_arch_prctl, ARCH_GET_FS, &base);
  return base;
}

absl::StatusOr<Ranges> ForeignMappings() {
  std::ifstream maps("/proc/self/maps");
  Ranges ranges;
  for (std::string line; std::getline(maps, line);) {
    unsigned long begin, end;
    if (sscanf(line.c_str(), "%lx-%lx ", &begin, &end) != 2)
      return absl::InternalError("/proc/self/maps: " + line);
    if ((begin >= kCodeAt && end <= kCodeAt + kCodeBytes) ||
        (begin >= kDataAt && end <= kDataAt + kDataBytes))
      continue;
    if (!ranges.empty() && ranges.back().second == begin) {
      ranges.back().second = end;
    } else {
      ranges.emplace_back(begin, end);
    }
  }
  if (ranges.empty()) return absl::InternalError("/proc/self/maps cannot be read");
  return ranges;
}

}  // namespace atl::cpu::test
