// SPDX-License-Identifier: Apache-2.0
// A node that speaks KVM's interface, as root on the host where this runs: errnos, small
// guests, lives and deaths. The same is expected of mainline's /dev/kvm, the oracle.
// A plain program without libraries, since an emulated host runs it.
//
// usage: abi DEVICE [OTHER]
//
// Where OTHER's module is loaded too: who has no VM is refused while the other has one.
#include "tests/kmod/abi.h"

#include <cpuid.h>
#include <signal.h>
#include <sys/time.h>
#include <sys/wait.h>

#include "tests/kmod/kernel_log.h"

namespace {

bool InLab(const char* name) {
  const char* const lab = getenv("LAB");
  return lab && strcmp(lab, name) == 0;
}

// A guest that stays until it is interrupted; with interrupts off. But lab-vmx's Bochs
// does not leave a guest for the host's interrupts then, whoever made it: STI there.
std::initializer_list<uint8_t> Spin() {
  static const std::initializer_list<uint8_t> kOff{0xEB, 0xFE}, kOn{0xFB, 0xEB, 0xFE};
  return InLab("vmx") ? kOn : kOff;
}

void Errors() {
  Vm vm;
  uint32_t none[4] = {}, zero[64] = {};
  Table(vm.kvm, {{"version", KVM_GET_API_VERSION, 0, 12},
                 {"version of 1", KVM_GET_API_VERSION, 1, -EINVAL},
                 {"mmap size of 1", KVM_GET_VCPU_MMAP_SIZE, 1, -EINVAL},
                 {"VM of type 77", KVM_CREATE_VM, 77, -EINVAL},
                 {"unknown capability", KVM_CHECK_EXTENSION, 100000, 0},
                 {"user memory", KVM_CHECK_EXTENSION, KVM_CAP_USER_MEMORY, 1},
                 {"immediate exit", KVM_CHECK_EXTENSION, KVM_CAP_IMMEDIATE_EXIT, 1},
                 {"device: unknown", 0xAEFF, 0, -EINVAL},
                 {"device: a VM's", KVM_CREATE_VCPU, 0, -EINVAL},
                 {"CPUID nowhere", kGetSupportedCpuid, 8, -EFAULT},
                 {"CPUID without room", kGetSupportedCpuid, At(none), -E2BIG},
                 {"MSRs nowhere", kGetMsrIndexList, 8, -EFAULT},
                 {"MSRs without room", kGetMsrIndexList, At(zero), -E2BIG}});

  uint8_t* const m = vm.memory;
  Check("unknown flag", vm.Slot(1, 4, 0x200000, 0x1000, m), -EINVAL);
  Check("half a page", vm.Slot(1, 0, 0x200000, 0x800, m), -EINVAL);
  Check("not at a page", vm.Slot(1, 0, 0x200800, 0x1000, m), -EINVAL);
  Check("not from a page", vm.Slot(1, 0, 0x200000, 0x1000, m + 8), -EINVAL);
  Check("the kernel's", vm.Slot(1, 0, 0x200000, 0x1000, reinterpret_cast<void*>(1ul << 63)),
        -EINVAL);
  Check("around the end", vm.Slot(1, 0, -0x1000ul, 0x2000, m), -EINVAL);
  Check("slot 99999", vm.Slot(99999, 0, 0x200000, 0x1000, m), -EINVAL);
  Check("nothing to delete", vm.Slot(5, 0, 0, 0, nullptr), -EINVAL);
  Check("over another", vm.Slot(1, 0, 0xFF000, 0x2000, m), -EEXIST);
  Check("another size", vm.Slot(0, 0, 0, 0x1000, m), -EINVAL);
  Check("another address", vm.Slot(0, 0, 0, Vm::kMemory, m + 0x1000), -EINVAL);
  Check("suddenly read-only", vm.Slot(0, KVM_MEM_READONLY, 0, Vm::kMemory, m), -EINVAL);
  Check("the same again", vm.Slot(0, 0, 0, Vm::kMemory, m), 0);
  kvm_dirty_log log{}, absent{}, far{};
  log.dirty_bitmap = absent.dirty_bitmap = far.dirty_bitmap = m;
  absent.slot = 7;
  far.slot = 99999;
  kvm_enable_cap cap{};
  cap.cap = 99999;
  Table(vm.fd, {{"VM: unknown", 0xAEFF, 0, -ENOTTY},
                {"vCPU twice", KVM_CREATE_VCPU, 0, -EEXIST},
                {"vCPU 100000", KVM_CREATE_VCPU, 100000, -EINVAL},
                {"slot from nowhere", KVM_SET_USER_MEMORY_REGION, 8, -EFAULT},
                {"no log", KVM_GET_DIRTY_LOG, At(log), -ENOENT},
                {"log of no slot", KVM_GET_DIRTY_LOG, At(absent), -ENOENT},
                {"log of slot 99999", KVM_GET_DIRTY_LOG, At(far), -EINVAL},
                {"unknown capability", KVM_ENABLE_CAP, At(cap), -EINVAL}});

  uint32_t irq = 256, mp = 3, runnable = 0, mask[3] = {4};
  uint32_t many[2] = {256}, unknown[6] = {1, 0, 0xDEAD0000}, good[6] = {1, 0, 0x174, 0, 16, 0};
  uint32_t pat[6] = {1, 0, 0x277, 0, 2, 2}, cpuid[2] = {5000};
  kvm_debugregs flags{}, wide{};
  flags.flags = 1;
  wide.dr7 = 1ull << 32;
  kvm_vcpu_events unknown_flag{}, exception{};
  unknown_flag.flags = 1u << 31;
  exception.exception.injected = 1;
  exception.exception.nr = 32;
  Table(vm.vcpu, {{"vCPU: unknown", 0xAEFF, 0, -EINVAL},
                  {"run of 1", KVM_RUN, 1, -EINVAL},
                  {"registers nowhere", KVM_GET_REGS, 8, -EFAULT},
                  {"registers from nowhere", KVM_SET_REGS, 8, -EFAULT},
                  {"interrupt 256", KVM_INTERRUPT, At(irq), -EINVAL},
                  {"halted without a controller", KVM_SET_MP_STATE, At(mp), -EINVAL},
                  {"runnable", KVM_SET_MP_STATE, At(runnable), 0},
                  {"signal mask of 4", kSetSignalMask, At(mask), -EINVAL},
                  {"no signal mask", kSetSignalMask, 0, 0},
                  {"256 MSRs", kGetMsrs, At(many), -E2BIG},
                  {"no MSR", kSetMsrs, At(none), 0},
                  {"unknown MSR", kSetMsrs, At(unknown), 0},
                  {"a good MSR", kSetMsrs, At(good), 1},
                  {"PAT of type 2", kSetMsrs, At(pat), 0},
                  {"5000 CPUID entries", kSetCpuid2, At(cpuid), -E2BIG},
                  {"debug flags", KVM_SET_DEBUGREGS, At(flags), -EINVAL},
                  {"DR7 of 64 bits", KVM_SET_DEBUGREGS, At(wide), -EINVAL},
                  {"event flags", KVM_SET_VCPU_EVENTS, At(unknown_flag), -EINVAL},
                  {"exception 32", KVM_SET_VCPU_EVENTS, At(exception), -EINVAL}});

  const struct {
    uint64_t cr0, cr4, efer;
    long expected;
  } registers[] = {
      {0x80000010, 0, 0, -EINVAL},  // PG without PE
      {0x20000010, 0, 0, -EINVAL},  // NW without CD
      {1ull << 32, 0, 0, -EINVAL},
      {0x10, 1u << 31, 0, -EINVAL},
      {0x10, 1 << 13, 0, -EINVAL},         // VMX
      {0x10, 0, 0x400, -EINVAL},           // LMA alone
      {0x80000011, 0, 0x500, -EINVAL},     // without PAE
      {0x80000011, 0x20, 0x100, -EINVAL},  // without LMA
      {0x10, 0, 0, 0},
  };
  for (const auto& r : registers) {
    kvm_sregs s{};
    Ioctl(vm.vcpu, KVM_GET_SREGS, &s);
    s.cr0 = r.cr0;
    s.cr4 = r.cr4;
    s.efer = r.efer;
    char what[80];
    snprintf(what, sizeof what, "cr0 %lx cr4 %lx efer %lx", r.cr0, r.cr4, r.efer);
    Check(what, Ioctl(vm.vcpu, KVM_SET_SREGS, &s), r.expected);
  }
  // Another address space.
  const pid_t child = fork();
  if (child == 0) {
    kvm_regs regs;
    _exit(Ioctl(vm.fd, KVM_CREATE_VCPU, 1ul) == -EIO && Ioctl(vm.vcpu, KVM_RUN, 0ul) == -EIO &&
                  Ioctl(vm.vcpu, KVM_GET_REGS, &regs) == -EIO
              ? 0
              : 1);
  }
  int status;
  waitpid(child, &status, 0);
  Check("EIO in a child", status, 0);
}

void Guests() {
  Vm vm;
  vm.Code({0xB8, 0x34, 0x12, 0xBB, 0x11, 0x11, 0x01, 0xD8, 0xF4});
  Check("halt", vm.Run(), KVM_EXIT_HLT);
  Check("sum", static_cast<long>(vm.Regs().rax), 0x2345);
  Check("rip after hlt", static_cast<long>(vm.Regs().rip), 0x1009);

  // in, then outsb of five bytes in as many exits as it takes.
  vm.Code({0xE5, 0x71, 0xBE, 0x00, 0x20, 0xB9, 5, 0, 0xBA, 0x10, 0x00, 0xF3, 0x6E, 0xF4});
  memcpy(vm.memory + 0x2000, "hello", 5);
  Check("in", vm.Run(), KVM_EXIT_IO);
  Check("its size", vm.run->io.size, 2);
  memcpy(vm.Data(), "\xCD\xEF", 2);
  char said[16] = {};
  size_t n = 0;
  while (vm.Run() == KVM_EXIT_IO && n + vm.run->io.count < sizeof said) {
    memcpy(said + n, vm.Data(), vm.run->io.count);
    n += vm.run->io.count;
  }
  Check("outsb", memcmp(said, "hello", 6), 0);
  Check("ax", static_cast<long>(vm.Regs().rax), 0xEFCD);

  // Beyond the memory: a store, a load, xchg, add; %es is 0xFFFF.
  vm.Code({0xB8, 0xFF, 0xFF, 0x8E, 0xC0, 0x26, 0xC6, 0x06, 0x10, 0x00, 0x55, 0x26, 0xA1, 0x12,
           0x00, 0x26, 0x87, 0x06, 0x20, 0x10, 0x26, 0x83, 0x2E, 0x30, 0x00, 0x03, 0xF4});
  const struct {
    uint64_t at;
    uint32_t len;
    bool write;
    uint64_t value;
  } expected[] = {{0x100000, 1, true, 0x55}, {0x100002, 2, false, 0},
                  {0x101010, 2, false, 0},   {0x101010, 2, true, 0x7788},
                  {0x100020, 2, false, 0},   {0x100020, 2, true, 0x7785}};
  for (const auto& e : expected) {
    Check("mmio", vm.Run(), KVM_EXIT_MMIO);
    Check("at", static_cast<long>(vm.run->mmio.phys_addr), static_cast<long>(e.at));
    Check("len", vm.run->mmio.len, e.len);
    Check("write", vm.run->mmio.is_write, e.write);
    uint64_t value = 0;
    memcpy(&value, vm.run->mmio.data, e.len);
    if (e.write) Check("value", static_cast<long>(value), static_cast<long>(e.value));
    value = 0x1122334455667788;
    if (!e.write) memcpy(vm.run->mmio.data, &value, 8);
  }
  Check("end", vm.Run(), KVM_EXIT_HLT);

  // Interrupt window: sti; nop; nop. The vector leads to out.
  memcpy(vm.memory + 0x80, "\x00\x11\x00\x00", 4);
  memcpy(vm.memory + 0x1100, "\xE6\x99\xF4", 3);
  vm.Code({0x90, 0xFB, 0x90, 0x90, 0xF4});
  vm.run->request_interrupt_window = 1;
  Check("window", vm.Run(), KVM_EXIT_IRQ_WINDOW_OPEN);
  Check("ready", vm.run->ready_for_interrupt_injection, 1);
  Check("if", vm.run->if_flag, 1);
  vm.run->request_interrupt_window = 0;
  uint32_t irq = 0x20;
  Check("interrupt", Ioctl(vm.vcpu, KVM_INTERRUPT, &irq), 0);
  Check("its handler", vm.Run(), KVM_EXIT_IO);
  Check("its port", vm.run->io.port, 0x99);

  memcpy(vm.memory + 8, "\x00\x12\x00\x00", 4);
  memcpy(vm.memory + 0x1200, "\xE6\x98\xCF", 3);
  vm.Code({0x90, 0xF4});
  Check("nmi", Ioctl(vm.vcpu, KVM_NMI, 0ul), 0);
  Check("its handler", vm.Run(), KVM_EXIT_IO);
  Check("its port", vm.run->io.port, 0x98);
  Check("after it", vm.Run(), KVM_EXIT_HLT);

  vm.Code(Spin());
  vm.run->immediate_exit = 1;
  Check("immediate exit", vm.Run(), -EINTR);
  vm.run->immediate_exit = 0;
  struct sigaction action {};
  action.sa_handler = [](int) {};
  sigaction(SIGALRM, &action, nullptr);
  itimerval timer{{}, {0, 20000}};
  setitimer(ITIMER_REAL, &timer, nullptr);
  Check("a signal", vm.Run(), -EINTR);
  Check("its reason", vm.run->exit_reason, KVM_EXIT_INTR);

  vm.Code({0x0F, 0x01, 0x1E, 0x00, 0x20, 0xCC});  // lidt of nothing; int3
  memset(vm.memory + 0x2000, 0, 6);
  Check("triple fault", vm.Run(), KVM_EXIT_SHUTDOWN);
}

// What atoll.ko claims is claimed by mainline as well, and the rest of the numbers is 0.
void Capabilities() {
  static constexpr int kClaimed[] = {
      KVM_CAP_USER_MEMORY,
      KVM_CAP_SET_TSS_ADDR,
      KVM_CAP_EXT_CPUID,
      KVM_CAP_MP_STATE,
      KVM_CAP_SYNC_MMU,
      KVM_CAP_DESTROY_MEMORY_REGION_WORKS,
      KVM_CAP_JOIN_MEMORY_REGIONS_WORKS,
      KVM_CAP_SET_IDENTITY_MAP_ADDR,
      KVM_CAP_INTERNAL_ERROR_DATA,
      KVM_CAP_VCPU_EVENTS,
      KVM_CAP_USER_NMI,
      KVM_CAP_DEBUGREGS,
      KVM_CAP_READONLY_MEM,
      KVM_CAP_IMMEDIATE_EXIT,
      KVM_CAP_GET_TSC_KHZ,
      KVM_CAP_GET_MSR_FEATURES,
      KVM_CAP_BINARY_STATS_FD,
      KVM_CAP_HLT,
      KVM_CAP_NOP_IO_DELAY,
      KVM_CAP_IRQCHIP,
      KVM_CAP_PIT2,
      KVM_CAP_PIT_STATE2,
      KVM_CAP_REINJECT_CONTROL,
      KVM_CAP_IRQ_INJECT_STATUS,
      KVM_CAP_IRQFD,
      KVM_CAP_IRQFD_RESAMPLE,
      KVM_CAP_IOEVENTFD,
      KVM_CAP_IOEVENTFD_ANY_LENGTH,
      KVM_CAP_IOEVENTFD_NO_LENGTH,
      KVM_CAP_SIGNAL_MSI,
      KVM_CAP_SPLIT_IRQCHIP,
      KVM_CAP_SET_BOOT_CPU_ID,
      KVM_CAP_TSC_DEADLINE_TIMER,
      KVM_CAP_VCPU_ATTRIBUTES,
      KVM_CAP_X86_MSR_FILTER,
      KVM_CAP_MSR_PLATFORM_INFO,
      KVM_CAP_ENFORCE_PV_FEATURE_CPUID,
      KVM_CAP_COALESCED_PIO,
      KVM_CAP_COALESCED_MMIO,
      KVM_CAP_DISABLE_QUIRKS2,
      KVM_CAP_SYNC_REGS,
      KVM_CAP_X2APIC_API,
      KVM_CAP_IRQ_ROUTING,
      KVM_CAP_CLOCKSOURCE,
      KVM_CAP_KVMCLOCK_CTRL,
      KVM_CAP_ADJUST_CLOCK,
      KVM_CAP_XSAVE,
      KVM_CAP_XCRS,
      KVM_CAP_X86_USER_SPACE_MSR,
      KVM_CAP_NR_VCPUS,
      KVM_CAP_MAX_VCPUS,
      KVM_CAP_MAX_VCPU_ID,
      KVM_CAP_NR_MEMSLOTS,
  };
  const bool ours = strcmp(device, "/dev/atoll") == 0;
  const int kvm = open(device, O_RDWR | O_CLOEXEC);
  for (int cap = 0; cap < 300; ++cap) {
    bool claimed = false;
    for (int c : kClaimed) claimed |= c == cap;
    // In lab-vmx the kernel does without XSAVE; the FPU is still given in its form.
    unsigned eax, ebx, ecx, edx;
    if (cap == KVM_CAP_XCRS)
      claimed = __get_cpuid(1, &eax, &ebx, &ecx, &edx) && (ecx & bit_OSXSAVE);
    // Its one quirk is SVM's.
    if (ours && cap == KVM_CAP_DISABLE_QUIRKS2) claimed = InLab("svm");
    char what[40];
    snprintf(what, sizeof what, "capability %d", cap);
    const long value = Ioctl(kvm, KVM_CHECK_EXTENSION, static_cast<unsigned long>(cap));
    if (ours || claimed) Check(what, value != 0, claimed);
  }
  close(kvm);
}

// What the host does with memory below a guest.
void Memory() {
  Vm vm;
  auto* more = static_cast<uint8_t*>(
      mmap(nullptr, 0x10000, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  Check("logging slot", vm.Slot(1, KVM_MEM_LOG_DIRTY_PAGES, 0x100000, 0x10000, more), 0);
  uint64_t bitmap = 0;
  kvm_dirty_log log{};
  log.slot = 1;
  log.dirty_bitmap = &bitmap;
  for (int turn = 0; turn < 2; ++turn) {  // writes to pages 0 and 3, a read of page 5
    vm.Code({0xB8, 0xFF, 0xFF, 0x8E, 0xC0, 0x26, 0xA2, 0x10, 0x00, 0x26, 0xA2, 0x10, 0x30, 0x26,
             0xA0, 0x10, 0x50, 0xF4});
    Check("writes", vm.Run(), KVM_EXIT_HLT);
    Check("log", Ioctl(vm.fd, KVM_GET_DIRTY_LOG, &log), 0);
    Check("dirty pages", static_cast<long>(bitmap), 9);
    Check("log", Ioctl(vm.fd, KVM_GET_DIRTY_LOG, &log), 0);
    Check("none", static_cast<long>(bitmap), 0);
  }
  Check("slot goes", vm.Slot(1, 0, 0x100000, 0, nullptr), 0);
  more[0x10] = 0x42;
  Check("read-only slot", vm.Slot(1, KVM_MEM_READONLY, 0x100000, 0x10000, more), 0);
  vm.Code({0xB8, 0xFF, 0xFF, 0x8E, 0xC0, 0x26, 0xA0, 0x20, 0x00, 0x26, 0xA2, 0x21, 0x00, 0xF4});
  Check("write to it", vm.Run(), KVM_EXIT_MMIO);
  Check("what was read", vm.run->mmio.data[0], 0x42);
  Check("then", vm.Run(), KVM_EXIT_HLT);
  Check("unchanged", more[0x11], 0);

  for (int turn = 0; turn < 20; ++turn) {  // mov 0x8000, %al; incb 0x8000
    vm.memory[0x8000] = static_cast<uint8_t>(turn);
    vm.Code({0xA0, 0x00, 0x80, 0xFE, 0x06, 0x00, 0x80, 0xF4});
    Check("through it", vm.Run(), KVM_EXIT_HLT);
    Check("loaded", static_cast<long>(vm.Regs().rax & 0xFF), turn);
    Check("stored", vm.memory[0x8000], turn + 1);
    madvise(vm.memory + 0x8000, 0x1000, MADV_REMOVE);  // another page from here on
  }
  mprotect(more, 0x10000, PROT_NONE);
  vm.Code({0xB8, 0xFF, 0xFF, 0x8E, 0xC0, 0x26, 0xA0, 0x20, 0x00, 0xF4});
  Check("no memory behind a slot", vm.Run(), -EFAULT);
  munmap(more, 0x10000);
}

void One() {
  Vm vm;
  vm.Code({0xB8, 0xFF, 0xFF, 0x8E, 0xC0, 0x26, 0xA2, 0x10, 0x00, 0xF4});
  Check("mmio", vm.Run(), KVM_EXIT_MMIO);
  Check("hlt", vm.Run(), KVM_EXIT_HLT);
}

void Lives() {
  for (int i = 0; i < 20; ++i) One();
  const long before = KernelMemory(), slabs = SlabMemory();
  for (int i = 0; i < 100; ++i) One();
  const long grown = KernelMemory() - before, objects = SlabMemory() - slabs;
  printf("100 VMs: the kernel's memory grew by %ld KiB, its objects by %ld KiB\n", grown, objects);
  Check("a page a VM leaked", grown > 800, 0);
  Check("objects leaked", objects > 800, 0);
  for (int i = 0; i < 3; ++i) {
    int ready[2];
    char c;
    if (pipe(ready) != 0) exit(1);
    const pid_t child = fork();
    if (child == 0) {
      Vm vm;
      vm.Code(Spin());
      if (write(ready[1], "x", 1) == 1) vm.Run();
      _exit(0);
    }
    Check("child", read(ready[0], &c, 1), 1);
    usleep(10000);
    kill(child, SIGKILL);
    int status;
    waitpid(child, &status, 0);
    Check("killed", WIFSIGNALED(status) ? WTERMSIG(status) : 0, SIGKILL);
    close(ready[0]);
    close(ready[1]);
  }
  One();
}

const char* other;

void Conflict() {
  for (int turn = 0; turn < 2; ++turn) {
    const int theirs = open(turn ? device : other, O_RDWR | O_CLOEXEC);
    const int ours = open(turn ? other : device, O_RDWR | O_CLOEXEC);
    const long vm = Ioctl(theirs, KVM_CREATE_VM, 0ul);
    Check("a VM", vm >= 0, 1);
    Check("another module's", Ioctl(ours, KVM_CREATE_VM, 0ul), -EBUSY);
    close(static_cast<int>(vm));
    close(theirs);
    const long after = Ioctl(ours, KVM_CREATE_VM, 0ul);
    Check("after it", after >= 0, 1);
    close(static_cast<int>(after));
    close(ours);
  }
  One();
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2 && argc != 3) return 2;
  device = argv[1];
  other = argv[2];
  setvbuf(stdout, nullptr, _IOLBF, 0);
  const struct {
    const char* name;
    void (*run)();
  } parts[] = {{"capabilities", Capabilities},
               {"errors", Errors},
               {"guests", Guests},
               {"modes", Modes},
               {"memory", Memory},
               {"interrupts", Interrupts},
               {"timers", Timers},
               {"lives", Lives},
               {"conflict", Conflict},
               {"counters", Counters}};
  for (const auto& p : parts) {
    if ((p.run == Conflict) != (argc == 3)) continue;
    if (p.run == Counters && strcmp(device, "/dev/atoll") != 0) continue;
    const int before = failures;
    p.run();
    printf("%s %s: %s\n", device, p.name, failures == before ? "ok" : "FAILED");
  }
  printf("%d checks, %d failed\n", checks, failures);
  return failures ? 1 : 0;
}
