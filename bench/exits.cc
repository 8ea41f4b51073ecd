// SPDX-License-Identifier: Apache-2.0
// What one exit of a guest costs on a node that speaks KVM's interface: loops in real mode of one
// instruction each. Prints of each kind nanoseconds and exits for one turn of the loop.
//
// usage: exits DEVICE TURNS
#include <fcntl.h>
#include <linux/kvm.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <initializer_list>
#include <string>
#include <thread>
#include <vector>

namespace {

constexpr unsigned long kGetSupportedCpuid = _IOWR(KVMIO, 0x05, uint64_t);
constexpr unsigned long kSetCpuid2 = _IOW(KVMIO, 0x90, uint64_t);
constexpr size_t kMemory = 0x100000;
constexpr uint16_t kCode = 0x1000, kOtherCode = 0x2000, kHandler = 0x3000;
constexpr uint64_t kApic = 0xFEE00000, kDevice = 0xD0000000;
constexpr uint8_t kDone = 0x99, kVector = 0x40;

void Fail(const char* what) {
  perror(what);
  exit(1);
}

long Ioctl(int fd, unsigned long request, const void* argument, const char* what) {
  const int r = ioctl(fd, request, argument);
  if (r < 0) Fail(what);
  return r;
}

double Nanoseconds() {
  timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1e9 + t.tv_nsec;
}

class Vcpu {
 public:
  Vcpu(int kvm, int vm, uint64_t id) {
    fd_ = ioctl(vm, KVM_CREATE_VCPU, id);
    size_ = static_cast<size_t>(Ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, nullptr, "size"));
    run_ = static_cast<kvm_run*>(mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_SHARED, fd_, 0));
    if (run_ == MAP_FAILED) Fail("a vCPU");
    alignas(8) uint8_t b[8 + 128 * sizeof(kvm_cpuid_entry2)] = {128};
    Ioctl(kvm, kGetSupportedCpuid, b, "CPUID");
    Ioctl(fd_, kSetCpuid2, b, "CPUID");
  }

  // Code at `rip`, %es's base at `es`, %ecx turns of it.
  void Start(uint16_t rip, uint64_t es, uint32_t turns) {
    kvm_sregs s{};
    Ioctl(fd_, KVM_GET_SREGS, &s, "registers");
    s.cs.base = s.cs.selector = 0;
    s.es.base = es;
    Ioctl(fd_, KVM_SET_SREGS, &s, "registers");
    kvm_regs r{};
    r.rip = rip;
    r.rsp = 0x800 + (rip >> 4);
    r.rflags = 2;
    r.rsi = turns;
    Ioctl(fd_, KVM_SET_REGS, &r, "registers");
    const kvm_mp_state runnable{KVM_MP_STATE_RUNNABLE};
    ioctl(fd_, KVM_SET_MP_STATE, &runnable);
  }

  // Until it writes to port kDone.
  void Go() {
    for (;;) {
      if (ioctl(fd_, KVM_RUN, 0ul) < 0) Fail("KVM_RUN");
      const uint32_t why = run_->exit_reason;
      if (why == KVM_EXIT_IO && run_->io.port == kDone) return;
      if (why != KVM_EXIT_IO && why != KVM_EXIT_MMIO && why != KVM_EXIT_HLT) {
        kvm_regs r{};
        ioctl(fd_, KVM_GET_REGS, &r);
        fprintf(stderr, "exit reason %u (%u) at %llx\n", why, run_->internal.suberror, r.rip);
        exit(1);
      }
    }
  }

  // The counter `exits` of its statistics.
  uint64_t Exits() {
    const int fd = static_cast<int>(Ioctl(fd_, KVM_GET_STATS_FD, nullptr, "statistics"));
    kvm_stats_header h;
    if (pread(fd, &h, sizeof h, 0) != sizeof h) Fail("statistics");
    // As in C: an array without a size has one in C++.
    constexpr size_t kHead = 16;
    const size_t size = kHead + h.name_size;
    uint64_t value = 0;
    for (uint32_t i = 0; i < h.num_desc; ++i) {
      std::vector<char> d(size + 1);
      if (pread(fd, d.data(), size, h.desc_offset + i * size) != static_cast<ssize_t>(size))
        Fail("statistics");
      kvm_stats_desc desc{};
      memcpy(&desc, d.data(), kHead);
      if (std::string(d.data() + kHead) == "exits" &&
          pread(fd, &value, 8, h.data_offset + desc.offset) != 8)
        Fail("statistics");
    }
    close(fd);
    return value;
  }
  void Close() {
    munmap(run_, size_);
    close(fd_);
  }

 private:
  int fd_;
  size_t size_;
  kvm_run* run_;
};

class Vm {
 public:
  Vm(const char* device, bool chips) : kvm_(open(device, O_RDWR | O_CLOEXEC)) {
    vm_ = ioctl(kvm_, KVM_CREATE_VM, 0ul);
    memory_ = static_cast<uint8_t*>(
        mmap(nullptr, kMemory, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
    const kvm_userspace_memory_region m{0, 0, 0, kMemory, reinterpret_cast<uint64_t>(memory_)};
    Ioctl(vm_, KVM_SET_USER_MEMORY_REGION, &m, device);
    if (chips) Ioctl(vm_, KVM_CREATE_IRQCHIP, nullptr, "interrupt controllers");
    for (uint64_t id = 0; id < (chips ? 2 : 1); ++id) vcpus.emplace_back(kvm_, vm_, id);
  }
  ~Vm() {
    for (Vcpu& v : vcpus) v.Close();
    munmap(memory_, kMemory);
    close(vm_);
    close(kvm_);
  }
  void Put(uint16_t at, std::initializer_list<uint8_t> bytes) {
    memcpy(memory_ + at, bytes.begin(), bytes.size());
  }
  // `body` between the loop's start and end: dec %esi; jnz; out %al, kDone.
  void Loop(std::initializer_list<uint8_t> body) {
    Put(kCode, body);
    const uint8_t n = static_cast<uint8_t>(body.size());
    Put(kCode + n, {0x66, 0x4E, 0x75, static_cast<uint8_t>(-n - 4), 0xE6, kDone});
  }
  std::vector<Vcpu> vcpus;

 private:
  int kvm_, vm_;
  uint8_t* memory_;
};

void Tell(const char* name, double ns, uint64_t exits, uint32_t turns) {
  printf("%s %.0f %.2f\n", name, ns / turns, static_cast<double>(exits) / turns);
}

void Measure(const char* device, const char* name, std::initializer_list<uint8_t> body,
             uint32_t turns) {
  Vm vm(device, false);
  vm.Loop(body);
  Vcpu& v = vm.vcpus[0];
  v.Start(kCode, kDevice, turns / 10 + 1);  // memory is mapped, caches are warm
  v.Go();
  const uint64_t before = v.Exits();
  v.Start(kCode, kDevice, turns);
  const double start = Nanoseconds();
  v.Go();
  const double ns = Nanoseconds() - start;
  Tell(name, ns, v.Exits() - before, turns);
}

// Two vCPUs that wake each other by turns: there and back is one turn.
void Interrupts(const char* device, uint32_t turns) {
  Vm vm(device, true);
  // movl $0x1FF, %es:0xF0: the APIC on; then nop; sti; hlt; cli around a write to its
  // ICR. (The nop: QEMU's SVM, under KVM, gives a guest's first instruction no STI shadow.)
  const auto code = [&](uint16_t at, uint8_t to, bool first) {
    vm.Put(at, {0x26, 0x66, 0xC7, 0x06, 0xF0, 0x00, 0xFF, 0x01, 0x00, 0x00});
    const std::initializer_list<uint8_t> send = {0x26, 0x66, 0xC7,    0x06, 0x10, 0x03, 0,
                                                 0,    0,    to,      0x26, 0x66, 0xC7, 0x06,
                                                 0x00, 0x03, kVector, 0,    0,    0};
    const std::initializer_list<uint8_t> wait = {0x90, 0xFB, 0xF4, 0xFA};
    vm.Put(at + 10, first ? send : wait);
    vm.Put(at + 10 + (first ? 20 : 4), first ? wait : send);
    if (first)
      vm.Put(at + 34, {0x66, 0x4E, 0x75, static_cast<uint8_t>(-24 - 4), 0xE6, kDone});
    else
      vm.Put(at + 34, {0xEB, static_cast<uint8_t>(-24 - 2)});
  };
  code(kCode, 1, true);
  code(kOtherCode, 0, false);
  // movl $0, %es:0xB0: end of interrupt; iret.
  vm.Put(kHandler, {0x26, 0x66, 0xC7, 0x06, 0xB0, 0x00, 0, 0, 0, 0, 0xCF});
  vm.Put(4 * kVector, {kHandler & 0xFF, kHandler >> 8, 0, 0});
  Vcpu& v = vm.vcpus[0];
  vm.vcpus[1].Start(kOtherCode, kApic, 0);
  std::thread([&] { vm.vcpus[1].Go(); }).detach();
  usleep(50000);
  v.Start(kCode, kApic, turns / 10 + 1);
  v.Go();
  const uint64_t before = v.Exits();
  v.Start(kCode, kApic, turns);
  const double start = Nanoseconds();
  v.Go();
  const double ns = Nanoseconds() - start;
  Tell("ipi", ns, v.Exits() - before, turns);
  fflush(stdout);
  _exit(0);  // the other one waits for ever
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  const char* device = argv[1];
  const auto turns = static_cast<uint32_t>(atoi(argv[2]));
  setvbuf(stdout, nullptr, _IOLBF, 0);
  Measure(device, "cpuid", {0x66, 0x31, 0xC0, 0x0F, 0xA2}, turns);
  Measure(device, "hlt", {0xF4}, turns);
  Measure(device, "out", {0xE6, 0x80}, turns);
  Measure(device, "in", {0xE4, 0x80}, turns);
  Measure(device, "mmio-write", {0x26, 0xA2, 0x10, 0x00}, turns);
  Measure(device, "mmio-read", {0x26, 0xA0, 0x10, 0x00}, turns);
  Interrupts(device, turns);
}
