// SPDX-License-Identifier: Apache-2.0
// What the parts of abi share: counted expectations, a small VM. See abi.cc.
#ifndef TESTS_KMOD_ABI_H_
#define TESTS_KMOD_ABI_H_

#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <initializer_list>

// Structs that end in an array of no size have another size in C++ than in C,
// and with it their ioctls other numbers.
constexpr unsigned long kGetMsrIndexList = _IOWR(KVMIO, 0x02, uint32_t);
constexpr unsigned long kGetSupportedCpuid = _IOWR(KVMIO, 0x05, uint64_t);
constexpr unsigned long kGetMsrs = _IOWR(KVMIO, 0x88, uint64_t);
constexpr unsigned long kSetMsrs = _IOW(KVMIO, 0x89, uint64_t);
constexpr unsigned long kSetSignalMask = _IOW(KVMIO, 0x8B, uint32_t);
constexpr unsigned long kSetCpuid2 = _IOW(KVMIO, 0x90, uint64_t);

inline const char* device;
inline int checks, failures;

inline void Check(const char* what, long got, long expected) {
  ++checks;
  if (got == expected) return;
  ++failures;
  printf("%s: %ld (%s), not %ld\n", what, got,
         got < 0 ? strerrorname_np(static_cast<int>(-got)) : "", expected);
}

// The result, or minus the errno.
inline long Ioctl(int fd, unsigned long request, unsigned long argument) {
  const int result = ioctl(fd, request, argument);
  return result >= 0 ? result : -errno;
}
inline long Ioctl(int fd, unsigned long request, void* argument) {
  return Ioctl(fd, request, reinterpret_cast<unsigned long>(argument));
}

// Where the interrupt controllers of a VM are: with user space, all in the kernel, or
// the local APICs alone.
enum class Chips { kUser, kKernel, kSplit };

// Memory from 0 and a vCPU in real mode, code at 0x1000.
class Vm {
 public:
  static constexpr size_t kMemory = 0x100000;
  explicit Vm(Chips chips = Chips::kUser) : kvm(open(device, O_RDWR | O_CLOEXEC)) {
    fd = static_cast<int>(Ioctl(kvm, KVM_CREATE_VM, 0ul));
    kvm_enable_cap split{};
    split.cap = KVM_CAP_SPLIT_IRQCHIP;
    split.args[0] = 24;
    if (chips == Chips::kKernel) Check("irqchip", Ioctl(fd, KVM_CREATE_IRQCHIP, 0ul), 0);
    if (chips == Chips::kSplit) Check("split", Ioctl(fd, KVM_ENABLE_CAP, &split), 0);
    memory = static_cast<uint8_t*>(
        mmap(nullptr, kMemory, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
    Check("a slot", Slot(0, 0, 0, kMemory, memory), 0);
    vcpu = static_cast<int>(Ioctl(fd, KVM_CREATE_VCPU, 0ul));
    size = static_cast<size_t>(Ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0ul));
    run = static_cast<kvm_run*>(mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0));
    if (run == MAP_FAILED) {
      perror(device);
      exit(1);
    }
  }
  ~Vm() {
    munmap(run, size);
    munmap(memory, kMemory);
    for (int f : {vcpu, fd, kvm}) close(f);
  }
  long Slot(uint32_t slot, uint32_t flags, uint64_t gpa, uint64_t bytes, const void* at) {
    kvm_userspace_memory_region r{slot, flags, gpa, bytes, reinterpret_cast<uint64_t>(at)};
    return Ioctl(fd, KVM_SET_USER_MEMORY_REGION, &r);
  }
  // `data` is where %ds begins.
  void Code(std::initializer_list<uint8_t> code, uint64_t rax = 0, uint64_t data = 0) {
    memcpy(memory + 0x1000, code.begin(), code.size());
    kvm_sregs s{};
    Check("GET_SREGS", Ioctl(vcpu, KVM_GET_SREGS, &s), 0);
    s.cs.base = s.cs.selector = 0;
    s.ds.base = data;
    Check("SET_SREGS", Ioctl(vcpu, KVM_SET_SREGS, &s), 0);
    kvm_regs r{};
    r.rip = 0x1000;
    r.rsp = 0x800;
    r.rflags = 2;
    r.rax = rax;
    Check("SET_REGS", Ioctl(vcpu, KVM_SET_REGS, &r), 0);
    kvm_mp_state m{KVM_MP_STATE_RUNNABLE};  // it may be halted
    Check("SET_MP_STATE", Ioctl(vcpu, KVM_SET_MP_STATE, &m), 0);
  }
  // What an interrupt executes: up to 16 bytes.
  void Handler(uint8_t vector, std::initializer_list<uint8_t> code) {
    const uint16_t at = static_cast<uint16_t>(0x4000 + 16 * vector);
    memcpy(memory + 4 * vector, &at, 2);
    memset(memory + 4 * vector + 2, 0, 2);
    memcpy(memory + at, code.begin(), code.size());
  }
  // The exit reason, or minus the errno.
  long Run() {
    const long r = Ioctl(vcpu, KVM_RUN, 0ul);
    return r < 0 ? r : run->exit_reason;
  }
  kvm_regs Regs() {
    kvm_regs r{};
    Ioctl(vcpu, KVM_GET_REGS, &r);
    return r;
  }
  uint8_t* Data() { return reinterpret_cast<uint8_t*>(run) + run->io.data_offset; }

  int kvm, fd, vcpu;
  size_t size;
  uint8_t* memory;
  kvm_run* run;
};

struct Row {
  const char* what;
  unsigned long request, argument;
  long expected;
};

inline void Table(int fd, std::initializer_list<Row> rows) {
  for (const Row& r : rows) Check(r.what, Ioctl(fd, r.request, r.argument), r.expected);
}

template <typename T>
unsigned long At(T& t) {
  return reinterpret_cast<unsigned long>(&t);
}

// abi_cpu.cc: protected mode, paging of all kinds.
void Modes();

// abi_irq.cc: interrupt controllers, timers, eventfds and clocks in the kernel.
void Interrupts();
void Timers();

// abi_stats.cc: atoll.ko's counters and tracepoints.
void Counters();

#endif  // TESTS_KMOD_ABI_H_
