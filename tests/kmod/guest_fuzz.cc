// SPDX-License-Identifier: Apache-2.0
// Hostile guests: random code with random registers in real mode, protected mode with and without
// paging, compatibility mode and long mode. Whatever it does, KVM_RUN comes back with a reason that
// the interface knows, or when a signal asks it to; the host's registers are the host's; and the
// kernel's log and memory stay as they are. As root on an emulated host.
//
// usage: guest_fuzz DEVICE SEED SECONDS
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <random>

#include "tests/kmod/kernel_log.h"

namespace {

constexpr unsigned long kGetSupportedCpuid = _IOWR(KVMIO, 0x05, uint64_t);
constexpr unsigned long kSetCpuid2 = _IOW(KVMIO, 0x90, uint64_t);
constexpr size_t kMemory = 8 << 20;
constexpr uint64_t kTables = 0x400000, kGdt = 0x401800, kIdt = 0x407000, kHandlers = 0x408000;
constexpr uint64_t kCode = 0x10000;

std::mt19937_64 random_bits;
uint64_t Below(uint64_t n) { return random_bits() % n; }
bool One(uint64_t in) { return Below(in) == 0; }

// What the kernel must not change of a process that called it.
struct alignas(16) Registers {
  uint8_t xmm[16][16];
  uint32_t mxcsr;
  uint16_t fcw;
};

long RunWith(int vcpu, Registers& r) {
  long result = SYS_ioctl;
  register long none asm("rdx") = 0;
  register uint8_t* base asm("r12") = &r.xmm[0][0];
  asm volatile(
      "ldmxcsr 256(%%r12)\n fldcw 260(%%r12)\n"
      ".irp i,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n movdqa 16*\\i(%%r12), %%xmm\\i\n .endr\n"
      "syscall\n"
      ".irp i,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n movdqa %%xmm\\i, 16*\\i(%%r12)\n .endr\n"
      "stmxcsr 256(%%r12)\n fnstcw 260(%%r12)\n"
      : "+a"(result)
      : "D"(static_cast<long>(vcpu)), "S"(static_cast<long>(KVM_RUN)), "r"(none), "r"(base)
      : "rcx", "r11", "memory", "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6",
        "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15");
  return result;
}

// Instructions that processors trap on, and prefixes in front of them.
void Code(uint8_t* to, size_t n) {
  static constexpr const char* kPieces[] = {"\x0f\x01",
                                            "\x0f\x00",
                                            "\x0f\x20",
                                            "\x0f\x22",
                                            "\x0f\x21",
                                            "\x0f\x23",
                                            "\x0f\x30",
                                            "\x0f\x32",
                                            "\x0f\x33",
                                            "\x0f\xa2",
                                            "\x0f\x01\xd8",
                                            "\x0f\x01\xd9",
                                            "\x0f\x01\xda",
                                            "\x0f\x01\xdc",
                                            "\x0f\x01\xdd",
                                            "\x0f\x01\xdf",
                                            "\x0f\x01\xd1",
                                            "\x0f\x01\xc8",
                                            "\x0f\x01\xf9",
                                            "\x0f\x01\xca",
                                            "\x0f\x05",
                                            "\x0f\x07",
                                            "\x0f\x34",
                                            "\x0f\x35",
                                            "\x0f\x06",
                                            "\x0f\x08",
                                            "\x0f\x09",
                                            "\x0f\xaa",
                                            "\x0f\xae",
                                            "\x0f\xc7",
                                            "\x0f\x0b",
                                            "\xf1",
                                            "\xcc",
                                            "\xcd\x80",
                                            "\xce",
                                            "\xcf",
                                            "\xf4",
                                            "\xfa",
                                            "\xfb",
                                            "\x9c",
                                            "\x9d",
                                            "\x9b",
                                            "\xe4",
                                            "\xe6",
                                            "\xec",
                                            "\xef",
                                            "\x6c",
                                            "\x6e",
                                            "\xf3\x6c",
                                            "\xf3\x6f",
                                            "\xf3\xa4",
                                            "\xf3\xab",
                                            "\xf3\xad",
                                            "\x17",
                                            "\x8e",
                                            "\x8c",
                                            "\xca",
                                            "\xcb",
                                            "\xea",
                                            "\x9a",
                                            "\xff",
                                            "\x0f\xb2",
                                            "\xc4",
                                            "\xc5",
                                            "\x0f\x38\xf0",
                                            "\xf0",
                                            "\x66",
                                            "\x67",
                                            "\x48",
                                            "\x4c",
                                            "\x2e",
                                            "\x64",
                                            "\xeb\xfe",
                                            "\xb8",
                                            "\x31\xc9",
                                            "\xb9\x80\x00\x00\xc0",
                                            "\xb9\x10\x00\x00\x00",
                                            "\x87\x07",
                                            "\xf0\x0f\xb1",
                                            "\x0f\xc1",
                                            "\xa4",
                                            "\xab",
                                            "\x8f\x07",
                                            "\xff\x37",
                                            "\x0f\xba\x2f\x03",
                                            "\xd9\x3f",
                                            "\xdd\x27"};
  const bool soup = One(3);
  size_t i = 0;
  while (i < n) {
    const char* piece = kPieces[Below(std::size(kPieces))];
    if (!soup && !One(4)) {
      do {
        to[i++] = static_cast<uint8_t>(*piece++);
      } while (i < n && *piece);
    }
    for (uint64_t k = Below(4); k > 0 && i < n; --k) to[i++] = static_cast<uint8_t>(random_bits());
  }
}

kvm_segment Flat(uint16_t selector, uint8_t type, bool longmode, uint8_t dpl) {
  kvm_segment s{};
  s.limit = 0xFFFFFFFF;
  s.selector = selector | dpl;
  s.type = type;
  s.present = s.s = s.g = 1;
  s.dpl = dpl;
  s.l = longmode;
  s.db = !longmode;
  return s;
}

class Guest {
 public:
  explicit Guest(const char* device) : kvm_(open(device, O_RDWR | O_CLOEXEC)) {
    vm_ = ioctl(kvm_, KVM_CREATE_VM, 0ul);
    memory_ = static_cast<uint8_t*>(
        mmap(nullptr, kMemory, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    kvm_userspace_memory_region m{0, 0, 0, kMemory, reinterpret_cast<uint64_t>(memory_)};
    const int slot = ioctl(vm_, KVM_SET_USER_MEMORY_REGION, &m);
    m = {1, KVM_MEM_READONLY, 0xF00000, 0x10000, reinterpret_cast<uint64_t>(memory_)};
    ioctl(vm_, KVM_SET_USER_MEMORY_REGION, &m);
    vcpu_ = ioctl(vm_, KVM_CREATE_VCPU, 0ul);
    size_ = static_cast<size_t>(ioctl(kvm_, KVM_GET_VCPU_MMAP_SIZE, 0ul));
    run_ =
        static_cast<kvm_run*>(mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu_, 0));
    if (slot != 0 || run_ == MAP_FAILED) {
      perror(device);
      exit(1);
    }
    alignas(8) uint8_t b[8 + 128 * sizeof(kvm_cpuid_entry2)] = {128};
    if (ioctl(kvm_, kGetSupportedCpuid, b) != 0 || ioctl(vcpu_, kSetCpuid2, b) != 0) {
      perror("CPUID");
      exit(1);
    }
  }
  ~Guest() {
    munmap(run_, size_);
    munmap(memory_, kMemory);
    for (int f : {vcpu_, vm_, kvm_}) close(f);
  }

  // 0: real, 1: protected, 2: with paging, 3: compatibility, 4: long.
  void Prepare(int mode) {
    Tables(mode);
    Code(memory_ + kCode, 512);
    for (int i = 0; i < 64; ++i) Code(memory_ + kHandlers + i * 16, 16);
    for (int i = 0; i < 8; ++i) {
      const uint64_t v = random_bits();
      memcpy(memory_ + Below(0x4000 - 8), &v, 8);
    }
    kvm_sregs s;
    ioctl(vcpu_, KVM_GET_SREGS, &s);
    const bool l = mode == 4;
    const uint8_t dpl = mode && One(2) ? 3 : 0;
    if (mode == 0) {
      const uint16_t selector = One(2) ? 0 : Below(0x10000);
      for (kvm_segment* g : {&s.ds, &s.es, &s.fs, &s.gs, &s.ss}) {
        *g = {};
        g->selector = selector;
        g->base = selector * 16ul;
        g->limit = 0xFFFF;
        g->type = 3;
        g->present = g->s = 1;
      }
      s.cs = s.ds;
      s.cs.selector = kCode / 16;
      s.cs.base = kCode;
      s.cs.type = 11;
      s.cr0 = 0x10;
      s.cr4 = s.efer = 0;
      s.idt = {One(2) ? 0 : Below(kMemory), 0x3FF, {}};
    } else {
      s.cs = Flat(8, 11, l, dpl);
      s.ds = s.es = s.fs = s.gs = s.ss = Flat(16, 3, l, dpl);
      s.cr0 = 0x11 | (mode >= 2 ? 0x80000000u : 0) | (One(2) ? 0x10000 : 0) | (One(4) ? 8 : 0);
      s.cr4 = mode >= 2 ? 0x20 | (mode == 2 ? 0x10 : 0) : 0;
      if (One(2)) s.cr4 |= 0x40600;
      s.efer = mode >= 3 ? 0xD01 : 0;
      s.cr3 = kTables;
      s.idt = {kIdt, One(8) ? uint16_t{0} : uint16_t{0xFFF}, {}};
      s.gdt = {kGdt, 0x3F, {}};
    }
    if (One(8)) {
      auto* field = reinterpret_cast<uint8_t*>(&s);
      field[Below(sizeof s)] ^= 1 << Below(8);
    }
    s.tr = {};
    s.tr.base = kHandlers + 0x800;
    s.tr.limit = 0x67;
    s.tr.present = 1;
    s.tr.selector = 0x28;
    // Not busy: QEMU's SVM aborts at a change of stacks otherwise ("invalid tss type").
    s.tr.type = 9;
    ioctl(vcpu_, KVM_SET_SREGS, &s);
    kvm_regs r{};
    for (auto* p = reinterpret_cast<uint64_t*>(&r); p != reinterpret_cast<uint64_t*>(&r + 1); ++p)
      *p = One(2) ? Below(0x1000000) : One(2) ? random_bits() : Below(0x100);
    r.rip = mode ? kCode : 0;
    r.rflags = 2 | (random_bits() & (One(4) ? 0x257FD5 : 0x200));
    if (One(2)) r.rsp = 0x8000;
    ioctl(vcpu_, KVM_SET_REGS, &r);
    kvm_vcpu_events events;
    if (ioctl(vcpu_, KVM_GET_VCPU_EVENTS, &events) == 0) {
      events.exception.injected = events.interrupt.injected = events.nmi.injected = 0;
      events.nmi.masked = 0;
      ioctl(vcpu_, KVM_SET_VCPU_EVENTS, &events);
    }
    kvm_debugregs debug{};
    if (One(8)) {
      for (auto& a : debug.db) a = kCode + Below(64);
      debug.dr6 = 0xFFFF0FF0;
      debug.dr7 = 0x400 | (random_bits() & 0xFFFF23FF);
    } else {
      debug.dr6 = 0xFFFF0FF0;
      debug.dr7 = 0x400;
    }
    ioctl(vcpu_, KVM_SET_DEBUGREGS, &debug);
  }

  // False: something that must not be.
  bool Go(uint64_t reasons[64]) {
    for (int exits = 0; exits < 48; ++exits) {
      Registers before, after;
      for (auto& x : before.xmm) memset(x, static_cast<int>(Below(256)), 16);
      before.mxcsr = One(2) ? 0x1F80 : 0x7F80;
      before.fcw = One(2) ? 0x37F : 0x27F;
      after = before;
      run_->request_interrupt_window = One(4);
      const long r = RunWith(vcpu_, after);
      if (memcmp(before.xmm, after.xmm, sizeof before.xmm) != 0 || before.mxcsr != after.mxcsr ||
          before.fcw != after.fcw) {
        printf("the host's registers have changed: mxcsr %x, control word %x\n", after.mxcsr,
               after.fcw);
        return false;
      }
      if (r < 0) {
        if (r != -EINTR) printf("KVM_RUN: %s\n", strerrorname_np(static_cast<int>(-r)));
        reasons[63] += r == -EINTR;
        return r == -EINTR;
      }
      const uint32_t why = run_->exit_reason;
      if (why >= 62) {
        printf("exit reason %u\n", why);
        return false;
      }
      ++reasons[why];
      uint32_t vector = static_cast<uint32_t>(Below(256));
      switch (why) {
        case KVM_EXIT_IO:
          if (run_->io.data_offset + uint64_t{run_->io.count} * run_->io.size > size_ ||
              (run_->io.size != 1 && run_->io.size != 2 && run_->io.size != 4)) {
            printf("I/O of %u times %u at %llx\n", run_->io.count, run_->io.size,
                   run_->io.data_offset);
            return false;
          }
          break;
        case KVM_EXIT_MMIO:
          if (run_->mmio.len < 1 || run_->mmio.len > 8 ||
              (run_->mmio.phys_addr < kMemory && run_->mmio.phys_addr + 8 < kMemory)) {
            printf("MMIO of %u at %llx\n", run_->mmio.len, run_->mmio.phys_addr);
            return false;
          }
          memcpy(run_->mmio.data, &vector, 4);
          break;
        case KVM_EXIT_IRQ_WINDOW_OPEN:
        case KVM_EXIT_HLT:
          if (run_->ready_for_interrupt_injection)
            ioctl(vcpu_, KVM_INTERRUPT, &vector);
          else if (One(2))
            ioctl(vcpu_, KVM_NMI, 0ul);
          break;
        case KVM_EXIT_SET_TPR:
          break;
        case KVM_EXIT_SHUTDOWN:
        case KVM_EXIT_INTERNAL_ERROR:
        case KVM_EXIT_FAIL_ENTRY:
          return true;
        default:
          printf("exit reason %u\n", why);
          return false;
      }
    }
    return true;
  }

 private:
  void Put(uint64_t at, uint64_t value) { memcpy(memory_ + at, &value, 8); }
  void Tables(int mode) {
    memset(memory_ + kTables, 0, 0x8000);
    for (uint64_t i = 0; i < 8; ++i)
      Put(kGdt + 8 * i, One(8) ? random_bits() : i % 2 ? 0x00AF9B000000FFFF : 0x00CF93000000FFFF);
    for (int i = 0; i < 256; ++i) {
      const uint64_t to = kHandlers + Below(64) * 16;
      const uint64_t gate = (to & 0xFFFF) | 8ull << 16 | 0x8E00ull << 32 | (to >> 16) << 48;
      if (mode >= 3) {
        Put(kIdt + 16 * i % 0x1000, gate);
        Put(kIdt + (16 * i + 8) % 0x1000, 0);
      } else {
        Put(kIdt + 8 * i, One(16) ? random_bits() : gate);
      }
    }
    if (mode == 2) {  // 4 MiB pages
      for (uint32_t i = 0; i < 512; ++i) {
        const uint32_t entry = (i % 4) << 22 | 0xE7;
        memcpy(memory_ + kTables + 4 * i, &entry, 4);
      }
    }
    if (mode >= 3) {  // 2 MiB pages, the last of them where only devices are
      Put(kTables, (kTables + 0x2000) | 7);
      Put(kTables + 0x2000, (kTables + 0x3000) | 7);
      for (uint64_t i = 0; i < 512; ++i) Put(kTables + 0x3000 + 8 * i, i << 21 | 0xE7);
      for (int i = 0; i < 4; ++i) Put(kTables + 0x3000 + 8 * (8 + Below(504)), random_bits());
    }
  }

  int kvm_, vm_, vcpu_;
  size_t size_;
  uint8_t* memory_;
  kvm_run* run_;
};

double Now() {
  timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec + t.tv_nsec * 1e-9;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) return 2;
  const uint64_t seed = strtoull(argv[2], nullptr, 0);
  const double end = Now() + atof(argv[3]);
  setvbuf(stdout, nullptr, _IOLBF, 0);
  struct sigaction action {};
  action.sa_handler = [](int) {};
  sigaction(SIGALRM, &action, nullptr);
  KernelLog log;
  uint64_t reasons[64] = {}, n = 0, modes[5] = {};
  long before = 0;
  double slowest = 0;
  for (; Now() < end; ++n) {
    log.Note("guest_fuzz: seed", seed + n);
    random_bits.seed(seed + n);
    if (n == 20) before = KernelMemory();
    Guest guest(argv[1]);
    for (int i = 0; i < 40; ++i) {
      const int mode = static_cast<int>(Below(5));
      ++modes[mode];
      guest.Prepare(mode);
      const double start = Now();
      const itimerval timer{{0, 4000}, {0, 4000}}, none{};
      setitimer(ITIMER_REAL, &timer, nullptr);
      const bool good = guest.Go(reasons);
      setitimer(ITIMER_REAL, &none, nullptr);
      if (Now() - start > slowest) slowest = Now() - start;
      if (!good) {
        printf("seed %lu, program %d, mode %d\n", seed + n, i, mode);
        return 1;
      }
    }
    if (log.Complains()) {
      printf("seed %lu: the kernel complains\n", seed + n);
      return 1;
    }
  }
  const long grown = before ? KernelMemory() - before : 0;
  printf(
      "%lu VMs of 40 programs (seeds %lu to %lu); real %lu, protected %lu, paged %lu, "
      "compatibility %lu, long %lu; the longest %.3f s; kernel memory %+ld KiB\nexits:",
      n, seed, seed + n - 1, modes[0], modes[1], modes[2], modes[3], modes[4], slowest, grown);
  for (int i = 0; i < 63; ++i)
    if (reasons[i]) printf(" %d: %lu", i, reasons[i]);
  printf(" signal: %lu\n", reasons[63]);
  if (n > 20 && grown > 2048 + static_cast<long>(n)) {
    printf("the kernel's memory has grown\n");
    return 1;
  }
  return 0;
}
