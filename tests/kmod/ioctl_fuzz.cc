// SPDX-License-Identifier: Apache-2.0
// Hostile user space: every ioctl of the module's three kinds of descriptors, with random and
// boundary arguments, while other threads run guests, close the descriptors, unmap the guest's
// memory, fork and send signals. As root on an emulated host.
//
// A round is a process that ends by itself, by exit or by SIGKILL. Between rounds: it did end; the
// kernel's log has no complaint; its memory has not grown. A round is a function of its seed as
// far as threads let it be; the seed of the last one is printed.
//
// In lab-vmx guests do not run: Bochs leaves none whose interrupts are off, and random code has
// them off soon. All else is done there as well.
//
// usage: ioctl_fuzz DEVICE SEED SECONDS
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iterator>

#include "tests/kmod/kernel_log.h"

namespace {

const char* device;
bool guests_run;

class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed * 0x9E3779B97F4A7C15 + 1) {}
  uint64_t Next() {
    state_ ^= state_ << 13;
    state_ ^= state_ >> 7;
    state_ ^= state_ << 17;
    return state_ * 0x2545F4914F6CDD1D;
  }
  uint64_t Below(uint64_t n) { return (Next() >> 11) % n; }
  bool One(uint64_t in) { return Below(in) == 0; }
  // A number of the kind that checks get wrong.
  uint64_t Edge() {
    const uint64_t bit = 1ull << Below(64);
    switch (Below(8)) {
      case 0:
        return Below(4);
      case 1:
        return -Below(4);
      case 2:
        return bit;
      case 3:
        return bit - 1;
      case 4:
        return bit * 0x1001;
      case 5:
        return Below(0x10000);
      case 6:
        return Below(512) * 0x1000;
      default:
        return Next();
    }
  }
  void Fill(void* to, size_t n) {
    auto* p = static_cast<uint8_t*>(to);
    const uint64_t kind = Below(4);
    for (size_t i = 0; i < n; i += 8) {
      const uint64_t v = kind == 0 ? Next() : kind == 1 ? Edge() : One(16) ? Edge() : 0;
      memcpy(p + i, &v, n - i < 8 ? n - i : 8);
    }
  }

 private:
  uint64_t state_;
};

// Its struct ends in an array, whose size C++ takes for another.
constexpr unsigned long kSetGsiRouting = _IOW(KVMIO, 0x6A, uint64_t);

// Every ioctl of linux/kvm.h that x86 has had, whether this module knows it or not.
constexpr unsigned long kDevice[] = {
    KVM_GET_API_VERSION,    KVM_CREATE_VM,           KVM_GET_MSR_INDEX_LIST,
    KVM_CHECK_EXTENSION,    KVM_GET_VCPU_MMAP_SIZE,  KVM_GET_SUPPORTED_CPUID,
    KVM_GET_EMULATED_CPUID, _IOWR(KVMIO, 0x02, int), _IOWR(KVMIO, 0x05, long),
};
constexpr unsigned long kVm[] = {
    KVM_CREATE_VCPU,
    KVM_SET_USER_MEMORY_REGION,
    KVM_GET_DIRTY_LOG,
    KVM_CHECK_EXTENSION,
    KVM_ENABLE_CAP,
    KVM_SET_TSS_ADDR,
    KVM_SET_IDENTITY_MAP_ADDR,
    KVM_GET_STATS_FD,
    KVM_CREATE_IRQCHIP,
    KVM_CREATE_PIT2,
    KVM_IRQ_LINE,
    KVM_IRQ_LINE_STATUS,
    kSetGsiRouting,
    KVM_GET_IRQCHIP,
    KVM_SET_IRQCHIP,
    KVM_GET_PIT2,
    KVM_SET_PIT2,
    KVM_IRQFD,
    KVM_IOEVENTFD,
    KVM_SIGNAL_MSI,
    KVM_GET_CLOCK,
    KVM_SET_CLOCK,
    KVM_REGISTER_COALESCED_MMIO,
    KVM_UNREGISTER_COALESCED_MMIO,
    KVM_SET_BOOT_CPU_ID,
    KVM_CREATE_DEVICE,
    KVM_X86_SET_MSR_FILTER,
    KVM_CLEAR_DIRTY_LOG,
    KVM_REINJECT_CONTROL,
    KVM_SET_NR_MMU_PAGES,
    KVM_SET_PMU_EVENT_FILTER,
    KVM_GET_TSC_KHZ,
    KVM_SET_TSC_KHZ,
};
constexpr unsigned long kVcpu[] = {
    KVM_RUN,
    KVM_GET_REGS,
    KVM_SET_REGS,
    KVM_GET_SREGS,
    KVM_SET_SREGS,
    KVM_GET_FPU,
    KVM_SET_FPU,
    KVM_GET_XSAVE,
    KVM_SET_XSAVE,
    KVM_GET_XCRS,
    KVM_SET_XCRS,
    KVM_GET_DEBUGREGS,
    KVM_SET_DEBUGREGS,
    KVM_GET_VCPU_EVENTS,
    KVM_SET_VCPU_EVENTS,
    KVM_GET_MSRS,
    KVM_SET_MSRS,
    KVM_SET_CPUID2,
    KVM_GET_CPUID2,
    KVM_INTERRUPT,
    KVM_NMI,
    KVM_GET_MP_STATE,
    KVM_SET_MP_STATE,
    KVM_SET_SIGNAL_MASK,
    KVM_TRANSLATE,
    KVM_GET_TSC_KHZ,
    KVM_SET_TSC_KHZ,
    KVM_GET_STATS_FD,
    KVM_GET_LAPIC,
    KVM_SET_LAPIC,
    KVM_TPR_ACCESS_REPORTING,
    KVM_SET_VAPIC_ADDR,
    KVM_SET_GUEST_DEBUG,
    KVM_SMI,
    KVM_KVMCLOCK_CTRL,
    KVM_ENABLE_CAP,
    KVM_X86_SETUP_MCE,
    KVM_X86_SET_MCE,
    KVM_GET_SREGS2,
    KVM_SET_SREGS2,
    KVM_GET_XSAVE2,
    KVM_GET_NESTED_STATE,
    KVM_SET_NESTED_STATE,
    _IOWR(KVMIO, 0x88, long),
    _IOW(KVMIO, 0x89, long),
    _IOW(KVMIO, 0x8B, int),
    _IOW(KVMIO, 0x90, long),
};
constexpr struct {
  const unsigned long* requests;
  size_t n;
} kTables[] = {{kDevice, std::size(kDevice)}, {kVm, std::size(kVm)}, {kVcpu, std::size(kVcpu)}};

constexpr size_t kMemory = 4 << 20;
constexpr size_t kRunPages = 3;
// Far from where mmap() puts what has no place: a hole there stays one.
void* const kPlace = reinterpret_cast<void*>(0x200000000000);
enum Kind { kOfDevice, kOfVm, kOfVcpu, kOfStats, kOfEvent, kKinds };

// What the threads of a round share, without a lock: that is the point.
std::atomic<int> fds[kKinds][4];
std::atomic<kvm_run*> runs[4];
uint8_t* memory;
uint8_t* bad;  // a page, then one without access
pthread_t threads[3];
uint64_t counts[kKinds];

long Ioctl(int fd, unsigned long request, uint64_t argument) {
  return syscall(SYS_ioctl, fd, request, argument);
}
uint64_t At(const void* p) { return reinterpret_cast<uint64_t>(p); }

void* Somewhere(Random& r) {
  switch (r.Below(8)) {
    case 0:
      return memory + r.Below(kMemory);
    case 1:
      return bad + 0x1000 - r.Below(64);
    case 2:
      return runs[r.Below(4)].load();
    case 3:
      return reinterpret_cast<void*>(r.Edge());
    case 4:
      return reinterpret_cast<void*>(0xFFFF888000000000 + r.Below(1 << 30));
    default:
      return nullptr;
  }
}

// Code of a few instructions that exit, between random ones.
void Code(Random& r, uint8_t* to) {
  static constexpr uint8_t kPieces[][8] = {{0xE4, 0x71},
                                           {0xE6, 0x80},
                                           {0xF3, 0x6E},
                                           {0xF3, 0x6C},
                                           {0x0F, 0xA2},
                                           {0xF4},
                                           {0x0F, 0x32},
                                           {0x0F, 0x30},
                                           {0xFB},
                                           {0xFA},
                                           {0xCF},
                                           {0xEB, 0xFE},
                                           {0x0F, 0x01, 0xD9},
                                           {0x0F, 0x20, 0xC0},
                                           {0x0F, 0x22, 0xC0},
                                           {0x0F, 0x22, 0xE0},
                                           {0x0F, 0x23, 0xF8},
                                           {0xA2, 0x00, 0x00},
                                           {0xA1, 0x00, 0x00},
                                           {0x0F, 0x01, 0x1E},
                                           {0x0F, 0x09},
                                           {0xCC}};
  for (int i = 0; i < 8; ++i, to += 4) {
    if (r.One(3))
      r.Fill(to, 4);
    else
      memcpy(to, kPieces[r.Below(std::size(kPieces))], 4);
  }
}

void PutFd(Random& r, Kind kind, int fd) {
  if (fd < 0) return;
  const int old = fds[kind][r.Below(4)].exchange(fd);
  if (old > 0) close(old);
}

void MakeVm(Random& r) {
  const int vm = Ioctl(fds[kOfDevice][0], KVM_CREATE_VM, 0);
  if (r.One(2)) {
    Ioctl(vm, KVM_CREATE_IRQCHIP, 0);
    kvm_pit_config pit{};
    if (r.One(2)) Ioctl(vm, KVM_CREATE_PIT2, At(&pit));
  }
  PutFd(r, kOfVm, vm);
}

// Interrupts, by all the ways that lead to the controllers.
void Interrupts(Random& r, int vm) {
  const int event = fds[kOfEvent][r.Below(4)];
  switch (r.Below(7)) {
    case 5: {
      kvm_coalesced_mmio_zone z{};
      z.pio = r.Below(2);
      z.addr = z.pio ? 0x80 : kMemory;
      z.size = r.One(4) ? static_cast<uint32_t>(r.Edge()) : 0x1000;
      Ioctl(vm, r.One(3) ? KVM_UNREGISTER_COALESCED_MMIO : KVM_REGISTER_COALESCED_MMIO, At(&z));
      return;
    }
    case 0: {
      kvm_irqfd f{};
      f.fd = event;
      f.gsi = r.Below(28);
      f.flags = r.Below(4);
      f.resamplefd = fds[kOfEvent][r.Below(4)];
      Ioctl(vm, KVM_IRQFD, At(&f));
      return;
    }
    case 1: {
      kvm_ioeventfd f{};
      f.fd = event;
      f.flags = r.Below(16);
      f.len = 1 << r.Below(4);
      f.addr = r.One(2) ? 0x80 + r.Below(4) : kMemory + r.Below(16);
      f.datamatch = r.Below(2);
      Ioctl(vm, KVM_IOEVENTFD, At(&f));
      return;
    }
    case 2: {
      struct {
        uint32_t nr, flags;
        kvm_irq_routing_entry e[6];
      } routing{};
      routing.nr = r.Below(7);
      for (auto& e : routing.e) {
        e.gsi = r.One(8) ? r.Edge() : r.Below(28);
        e.type = 1 + r.Below(3);
        e.u.msi.address_lo = e.type == 2 ? 0xFEE00000 | r.Below(0x100000) : r.Below(4);
        e.u.msi.address_hi = e.type == 1 ? r.Below(26) : 0;
        e.u.msi.data = r.Next();
      }
      Ioctl(vm, kSetGsiRouting, At(&routing));
      return;
    }
    case 3: {
      kvm_msi msi{};
      msi.address_lo = 0xFEE00000 | r.Below(0x100000);
      msi.data = r.Next();
      Ioctl(vm, KVM_SIGNAL_MSI, At(&msi));
      return;
    }
    case 4: {
      const uint64_t one = 1;
      if (event >= 0 && write(event, &one, sizeof one) < 0) return;
      return;
    }
    default: {
      kvm_irq_level level{};
      level.irq = r.Below(28);
      level.level = r.Below(2);
      Ioctl(vm, r.One(2) ? KVM_IRQ_LINE : KVM_IRQ_LINE_STATUS, At(&level));
      return;
    }
  }
}

void Slot(Random& r, int vm) {
  kvm_userspace_memory_region m{};
  m.slot = r.Below(3);
  m.flags = r.Below(4);
  m.guest_phys_addr = m.slot * kMemory;
  m.memory_size = r.One(4) ? 0 : kMemory;
  m.userspace_addr = At(memory);
  if (r.One(4)) m.memory_size = r.Below(2 * kMemory) & ~0xFFFull;
  if (r.One(4)) m.guest_phys_addr = r.Edge();
  if (r.One(8)) m.userspace_addr = r.Edge();
  if (r.One(16)) m.slot = r.Edge();
  Ioctl(vm, KVM_SET_USER_MEMORY_REGION, At(&m));
}

void MakeVcpu(Random& r) {
  const int vm = fds[kOfVm][r.Below(4)];
  Slot(r, vm);
  const int vcpu = Ioctl(vm, KVM_CREATE_VCPU, r.Below(6));
  if (vcpu < 0) return;
  void* run = mmap(nullptr, 0x1000 * kRunPages, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0);
  if (run != MAP_FAILED) {
    void* old = runs[r.Below(4)].exchange(static_cast<kvm_run*>(run));
    if (old) munmap(old, 0x1000 * kRunPages);
  }
  if (r.One(2)) {
    // CPUID as supported, so that all of the registers can be had.
    alignas(8) uint8_t b[8 + 128 * sizeof(kvm_cpuid_entry2)] = {128};
    if (Ioctl(fds[kOfDevice][0], _IOWR(KVMIO, 0x05, long), At(b)) == 0)
      Ioctl(vcpu, _IOW(KVMIO, 0x90, long), At(b));
  }
  PutFd(r, kOfVcpu, vcpu);
}

// Registers as they are, a little changed: what passes most checks.
void Mutate(Random& r, int vcpu) {
  static constexpr unsigned long kPairs[][2] = {{KVM_GET_REGS, KVM_SET_REGS},
                                                {KVM_GET_SREGS, KVM_SET_SREGS},
                                                {KVM_GET_VCPU_EVENTS, KVM_SET_VCPU_EVENTS},
                                                {KVM_GET_DEBUGREGS, KVM_SET_DEBUGREGS},
                                                {KVM_GET_FPU, KVM_SET_FPU},
                                                {KVM_GET_XSAVE, KVM_SET_XSAVE},
                                                {KVM_GET_XCRS, KVM_SET_XCRS},
                                                {KVM_GET_LAPIC, KVM_SET_LAPIC},
                                                {KVM_GET_MP_STATE, KVM_SET_MP_STATE}};
  const auto& pair = kPairs[r.Below(std::size(kPairs))];
  alignas(64) uint8_t b[4096 + 64] = {};
  if (Ioctl(vcpu, pair[0], At(b)) < 0) return;
  const size_t size = _IOC_SIZE(pair[1]) ? _IOC_SIZE(pair[1]) : sizeof b;
  for (uint64_t i = r.Below(6); i > 0; --i) {
    const uint64_t v = r.Edge();
    const size_t at = r.Below(size);
    if (r.One(2))
      b[at] ^= 1 << r.Below(8);
    else
      memcpy(b + at, &v, size - at < 8 ? size - at : 8);
  }
  Ioctl(vcpu, pair[1], At(b));
}

// The same of the controllers of a VM.
void MutateChips(Random& r, int vm) {
  static constexpr unsigned long kPairs[][2] = {{KVM_GET_IRQCHIP, KVM_SET_IRQCHIP},
                                                {KVM_GET_PIT2, KVM_SET_PIT2},
                                                {KVM_GET_CLOCK, KVM_SET_CLOCK}};
  const auto& pair = kPairs[r.Below(3)];
  alignas(64) uint8_t b[sizeof(kvm_irqchip) + 64] = {};
  b[0] = r.Below(3);
  if (Ioctl(vm, pair[0], At(b)) < 0) return;
  for (uint64_t i = 1 + r.Below(6); i > 0; --i) {
    const uint64_t v = r.Edge();
    memcpy(b + r.Below(sizeof(kvm_irqchip)), &v, 1 << r.Below(4));
  }
  Ioctl(vm, pair[1], At(b));
}

void Msrs(Random& r, int vcpu) {
  static constexpr uint32_t kMsrs[] = {
      0x10,       0x1B,       0x3B,       0x8B,       0xFE,       0x174,      0x175,
      0x176,      0x179,      0x17A,      0x1A0,      0x200,      0x20F,      0x250,
      0x258,      0x268,      0x26F,      0x277,      0x2FF,      0x6E0,      0x800,
      0xC0000080, 0xC0000081, 0xC0000082, 0xC0000100, 0xC0000102, 0xC0000103, 0xC0010015,
      0x4B564D00, 0x4B564D01, 0x4B564D02, 0x4B564D04, 0x11,       0x12};
  struct {
    uint32_t n, pad;
    kvm_msr_entry e[4];
  } m{static_cast<uint32_t>(r.One(8) ? r.Edge() : r.Below(5)), 0, {}};
  for (auto& e : m.e) {
    e.index = r.One(4) ? r.Edge() : kMsrs[r.Below(std::size(kMsrs))];
    e.data = r.Edge();
  }
  Ioctl(vcpu, r.One(2) ? _IOWR(KVMIO, 0x88, long) : _IOW(KVMIO, 0x89, long), At(&m));
}

void Run(Random& r, int vcpu) {
  kvm_run* run = runs[r.Below(4)];
  if (run && r.One(2)) {
    run->immediate_exit = r.One(4);
    run->request_interrupt_window = r.One(2);
    if (r.One(4)) run->cr8 = r.Below(18);
    if (r.One(8)) r.Fill(run, 0x1000);
  }
  if (r.One(3)) {
    Code(r, memory + r.Below(kMemory - 64));
    kvm_regs regs{};
    r.Fill(&regs, sizeof regs);
    regs.rip = r.Below(0x10000);
    regs.rflags = 2 | (r.Next() & 0x47FD5);
    Code(r, memory + regs.rip);
    kvm_sregs s;
    if (Ioctl(vcpu, KVM_GET_SREGS, At(&s)) == 0) {
      s.cs.base = s.cs.selector = 0;
      Ioctl(vcpu, KVM_SET_SREGS, At(&s));
    }
    Ioctl(vcpu, KVM_SET_REGS, At(&regs));
  }
  if (!guests_run) return;
  for (uint64_t i = r.Below(8); i > 0; --i) Ioctl(vcpu, KVM_RUN, 0);
}

void Generic(Random& r) {
  static thread_local uint8_t buffer[0x4000];
  const auto kind = static_cast<Kind>(r.Below(3));
  const auto& table = kTables[r.One(16) ? r.Below(3) : static_cast<uint64_t>(kind)];
  unsigned long request = table.requests[r.Below(table.n)];
  if (r.One(16)) request = _IOC(r.Below(4), KVMIO, r.Below(256), r.One(2) ? r.Below(64) * 8 : 0);
  if (request == KVM_CREATE_VM || request == KVM_CREATE_VCPU) return;
  if (request == KVM_RUN && !guests_run) return;
  uint64_t argument = At(buffer);
  r.Fill(buffer, _IOC_SIZE(request) ? _IOC_SIZE(request) + 64 : 256);
  if (r.One(2)) {  // counts of arrays are the first field
    const uint32_t n = r.One(2) ? r.Below(300) : r.Edge();
    memcpy(buffer, &n, sizeof n);
  }
  if (r.One(4)) argument = At(Somewhere(r));
  if (r.One(6)) argument = r.Edge();
  const long result = Ioctl(fds[kind][r.Below(4)], request, argument);
  if (request == KVM_GET_STATS_FD) PutFd(r, kOfStats, result);
  ++counts[kind];
}

void Memory(Random& r) {
  uint8_t* at = memory + (r.Below(kMemory) & ~0xFFFull);
  size_t n = (1 + r.Below(64)) * 0x1000;
  if (r.One(4)) at = memory, n = kMemory;
  if (at + n > memory + kMemory) n = memory + kMemory - at;
  constexpr int kAnywhere = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED;
  switch (r.Below(7)) {
    case 0:
      madvise(at, n, MADV_DONTNEED);
      break;
    case 1:
      mprotect(at, n, r.One(2) ? PROT_READ : PROT_NONE);
      break;
    case 2:
      munmap(at, n);
      break;
    case 3:
      mmap(at, n, PROT_READ | PROT_WRITE,
           r.One(2) ? kAnywhere : MAP_SHARED | (kAnywhere & ~MAP_PRIVATE), -1, 0);
      break;
    case 4:
      madvise(memory, kMemory, MADV_HUGEPAGE);
      break;
    default:
      // Whole again: the rest needs it.
      mmap(memory, kMemory, PROT_READ | PROT_WRITE, kAnywhere, -1, 0);
      break;
  }
}

void ReadStats(Random& r) {
  char b[2000], path[200];
  if (pread(fds[kOfStats][r.Below(4)], b, sizeof b, r.One(4) ? r.Edge() : r.Below(30000)) < 0)
    return;
  static constexpr const char* kNames[] = {"exits", "mmio_exits", "tlb_flush", "largepages",
                                           "exit_reasons"};
  snprintf(path, sizeof path, "/sys/kernel/debug/atoll/%d-%ld/%s", getpid(), 3 + r.Below(12),
           kNames[r.Below(5)]);
  const int fd = open(path, O_RDONLY);
  if (fd < 0) return;
  // EIO where the VM has ended meanwhile.
  if (read(fd, b, sizeof b) < 0 && errno != EIO) perror(path);
  close(fd);
}

// A page that is not there, or a run page beyond the last, is the fuzzer's own fault: the operation
// is given up.
thread_local sigjmp_buf* back;
void OnFault(int) {
  if (back) siglongjmp(*back, 1);
  _exit(4);
}

void Fork() {
  const pid_t child = fork();
  if (child == 0) {
    back = nullptr;
    // Another address space: all is refused, and what it closes stays open here.
    kvm_regs regs;
    const bool refused = Ioctl(fds[kOfVcpu][0], KVM_GET_REGS, At(&regs)) < 0 &&
                         Ioctl(fds[kOfVcpu][0], KVM_RUN, 0) < 0;
    munmap(memory, kMemory);
    _exit(refused ? 0 : 3);
  }
  int status;
  if (child < 0 || waitpid(child, &status, 0) != child) return;
  if (WIFEXITED(status) && WEXITSTATUS(status) == 3) {
    fprintf(stderr, "a child used its parent's vCPU\n");
    _exit(3);
  }
}

void Step(Random& r) {
  const int vcpu = fds[kOfVcpu][r.Below(4)];
  switch (r.Below(46)) {
    case 0:
      return MakeVm(r);
    case 1:
    case 2:
      return MakeVcpu(r);
    case 3:
      return Slot(r, fds[kOfVm][r.Below(4)]);
    case 4: {
      const Kind kind = static_cast<Kind>(1 + r.Below(kKinds - 1));
      const int fd = fds[kind][r.Below(4)].exchange(-1);
      if (fd > 0) close(fd);
      return;
    }
    case 5:
      return ReadStats(r);
    case 6:
      return r.One(8) ? Fork() : void();
    case 7: {
      kvm_run* run = runs[r.Below(4)].exchange(nullptr);
      if (run) munmap(run, 0x1000 * kRunPages);
      return;
    }
    case 8:
      pthread_kill(threads[r.Below(3)], SIGUSR1);
      return;
    case 9:
    case 10:
      return Memory(r);
    case 11:
    case 12:
    case 13:
    case 14:
    case 15:
      return Run(r, vcpu);
    case 16:
    case 17:
    case 18:
    case 19:
      return Mutate(r, vcpu);
    case 20:
      return Msrs(r, vcpu);
    case 21: {
      void* p = mmap(nullptr, 0x1000 * (1 + r.Below(8)), PROT_READ | PROT_WRITE,
                     r.One(2) ? MAP_SHARED : MAP_PRIVATE, vcpu, r.Below(8) * 0x1000);
      if (p == MAP_FAILED) return;
      runs[r.Below(4)].exchange(static_cast<kvm_run*>(p));  // the old one ends with the process
      return;
    }
    case 22:
    case 23:
    case 24:
    case 25:
      return Interrupts(r, fds[kOfVm][r.Below(4)]);
    case 27:
      return MutateChips(r, fds[kOfVm][r.Below(4)]);
    case 26:
      return PutFd(r, kOfEvent, eventfd(0, EFD_NONBLOCK));
    default:
      return Generic(r);
  }
}

timespec Now() {
  timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t;
}
double Since(const timespec& from) {
  const timespec t = Now();
  return t.tv_sec - from.tv_sec + (t.tv_nsec - from.tv_nsec) * 1e-9;
}

double round_seconds;

void* Thread(void* seed) {
  Random r(At(seed));
  sigjmp_buf here;
  back = &here;
  const timespec start = Now();
  while (Since(start) < round_seconds) {
    if (sigsetjmp(here, 1) == 0)
      for (int i = 0; i < 16; ++i) Step(r);
  }
  return nullptr;
}

[[noreturn]] void Round(uint64_t seed) {
  Random r(seed);
  struct sigaction action {};
  action.sa_handler = [](int) {};
  sigaction(SIGUSR1, &action, nullptr);
  action.sa_handler = OnFault;
  action.sa_flags = SA_NODEFER;
  sigaction(SIGSEGV, &action, nullptr);
  sigaction(SIGBUS, &action, nullptr);
  const rlimit files{400, 400}, core{0, 0};
  setrlimit(RLIMIT_NOFILE, &files);
  setrlimit(RLIMIT_CORE, &core);
  memory = static_cast<uint8_t*>(
      mmap(kPlace, kMemory, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  bad = static_cast<uint8_t*>(
      mmap(nullptr, 0x2000, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  mprotect(bad + 0x1000, 0x1000, PROT_NONE);
  for (auto& kind : fds)
    for (auto& fd : kind) fd = -1;
  for (auto& fd : fds[kOfDevice]) fd = open(device, O_RDWR | O_CLOEXEC);
  for (auto& fd : fds[kOfEvent]) fd = eventfd(0, EFD_NONBLOCK);
  MakeVm(r);
  MakeVcpu(r);
  round_seconds = 0.05 + r.Below(400) * 0.001;
  const bool abrupt = r.One(3);
  for (auto& t : threads) pthread_create(&t, nullptr, Thread, reinterpret_cast<void*>(r.Next()));
  // Guests that loop come out by a signal only.
  const timespec start = Now();
  while (Since(start) < round_seconds + (abrupt ? -0.02 : 0.05)) {
    usleep(1000 + r.Below(3000));
    pthread_kill(threads[r.Below(3)], SIGUSR1);
  }
  if (abrupt) kill(getpid(), SIGKILL);
  // Threads that are in a guest yet end with the process.
  printf("%lu %lu %lu\n", counts[0], counts[1], counts[2]);
  fflush(stdout);
  _exit(0);
}

// Waits for a process that has been told to end, or fails: it hangs in the kernel.
bool Ends(pid_t child, double seconds, int* status) {
  const timespec start = Now();
  bool killed = false;
  for (;;) {
    if (waitpid(child, status, WNOHANG) == child) return true;
    if (Since(start) > seconds && !killed) {
      killed = true;
      kill(child, SIGKILL);
    }
    if (Since(start) > 2 * seconds) return false;
    usleep(2000);
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) return 2;
  device = argv[1];
  const char* const lab = getenv("LAB");
  guests_run = !lab || strcmp(lab, "vmx") != 0;
  if (!guests_run) printf("guests do not run here\n");
  const uint64_t seed = strtoull(argv[2], nullptr, 0);
  const double seconds = atof(argv[3]);
  setvbuf(stdout, nullptr, _IOLBF, 0);
  KernelLog log;
  const timespec start = Now();
  double told = 0;
  long before = 0;
  uint64_t n = 0, killed = 0, sums[3] = {};
  for (; Since(start) < seconds; ++n) {
    int out[2];
    log.Note("ioctl_fuzz: seed", seed + n);
    if (pipe(out) != 0) return 1;
    const pid_t child = fork();
    if (child == 0) {
      dup2(out[1], 1);
      Round(seed + n);
    }
    close(out[1]);
    int status = 0;
    const bool ended = Ends(child, 60, &status);
    char line[200] = {};
    uint64_t c[3];
    if (ended && read(out[0], line, sizeof line - 1) > 0 &&
        sscanf(line, "%lu %lu %lu", &c[0], &c[1], &c[2]) == 3)
      for (int i = 0; i < 3; ++i) sums[i] += c[i];
    close(out[0]);
    if (!ended) {
      printf("round of seed %lu: the process does not end\n", seed + n);
      return 1;
    }
    killed += WIFSIGNALED(status);
    if (WIFEXITED(status) && WEXITSTATUS(status) != 0) {
      printf("round of seed %lu: status %d\n", seed + n, WEXITSTATUS(status));
      return 1;
    }
    if (log.Complains()) {
      printf("round of seed %lu: the kernel complains\n", seed + n);
      return 1;
    }
    if (n == 30) before = KernelMemory();
    if (Since(start) > told + 60) {
      told = Since(start);
      printf("%.0f s: %lu rounds, kernel memory %+ld KiB\n", told, n + 1,
             before ? KernelMemory() - before : 0);
    }
  }
  const long grown = before ? KernelMemory() - before : 0;
  printf(
      "%lu rounds (seeds %lu to %lu), %lu killed; of those that told, ioctls of the device, VMs, "
      "vCPUs beside runs: %lu %lu %lu; kernel memory %+ld KiB\n",
      n, seed, seed + n - 1, killed, sums[0], sums[1], sums[2], grown);
  // Less than a page for each round, with room for what the rest of the host does.
  if (n > 30 && grown > 2048 + static_cast<long>(n)) {
    printf("the kernel's memory has grown\n");
    return 1;
  }
  return 0;
}
