// SPDX-License-Identifier: Apache-2.0
// Of abi: what is the kernel's where a VM has its interrupt controllers there.
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/time.h>

#include "tests/kmod/abi.h"

namespace {

constexpr unsigned long kSetGsiRouting = _IOW(KVMIO, 0x6A, uint64_t);
constexpr uint64_t kApic = 0xFEE00000;

struct Routing {
  uint32_t nr, flags;
  kvm_irq_routing_entry entries[4];
};

kvm_irq_routing_entry Pin(uint32_t gsi, uint32_t chip, uint32_t pin) {
  kvm_irq_routing_entry e{};
  e.gsi = gsi;
  e.type = KVM_IRQ_ROUTING_IRQCHIP;
  e.u.irqchip.irqchip = chip;
  e.u.irqchip.pin = pin;
  return e;
}
kvm_irq_routing_entry Message(uint32_t gsi, uint32_t address, uint32_t data) {
  kvm_irq_routing_entry e{};
  e.gsi = gsi;
  e.type = KVM_IRQ_ROUTING_MSI;
  e.u.msi.address_lo = address;
  e.u.msi.data = data;
  return e;
}

long Line(Vm& vm, uint32_t gsi, uint32_t level) {  // its status
  kvm_irq_level l{};
  l.irq = gsi;
  l.level = level;
  const long r = Ioctl(vm.fd, KVM_IRQ_LINE_STATUS, &l);
  return r < 0 ? r : static_cast<int>(l.status);
}

long Msi(Vm& vm, uint8_t destination, uint32_t data) {
  kvm_msi m{};
  m.address_lo = static_cast<uint32_t>(kApic) | static_cast<uint32_t>(destination) << 12;
  m.data = data;
  return Ioctl(vm.fd, KVM_SIGNAL_MSI, &m);
}

kvm_lapic_state Lapic(Vm& vm) {
  kvm_lapic_state s{};
  Check("GET_LAPIC", Ioctl(vm.vcpu, KVM_GET_LAPIC, &s), 0);
  return s;
}
uint32_t& Register(kvm_lapic_state& s, unsigned offset) {
  return *reinterpret_cast<uint32_t*>(s.regs + offset);
}
void Put(Vm& vm, kvm_lapic_state s) { Check("SET_LAPIC", Ioctl(vm.vcpu, KVM_SET_LAPIC, &s), 0); }
void EnableLapic(Vm& vm) {
  kvm_lapic_state s = Lapic(vm);
  Register(s, 0xF0) = 0x1FF;
  Put(vm, s);
}

long MpState(Vm& vm) {
  kvm_mp_state m{};
  const long r = Ioctl(vm.vcpu, KVM_GET_MP_STATE, &m);
  return r < 0 ? r : m.mp_state;
}

void Wake(int) {}

// Runs until a signal some ms from now, at most.
long RunFor(Vm& vm, int ms) {
  struct sigaction action {};
  action.sa_handler = Wake;
  sigaction(SIGALRM, &action, nullptr);
  // Again and again: the first may come before it runs.
  itimerval timer{{0, ms * 1000}, {0, ms * 1000}}, off{};
  setitimer(ITIMER_REAL, &timer, nullptr);
  const long r = vm.Run();
  setitimer(ITIMER_REAL, &off, nullptr);
  return r;
}

void Coalesced() {
  Vm vm;
  kvm_coalesced_mmio_zone memory{}, port{}, both{}, part{};
  memory.addr = 0x100000;
  memory.size = 0x1000;
  port.addr = 0x80;
  port.size = 1;
  port.pio = 1;
  both.pio = 2;
  part = memory;
  part.size = 4;
  Table(vm.fd, {{"a page of kvm_run", KVM_CHECK_EXTENSION, KVM_CAP_COALESCED_MMIO, 2},
                {"a zone of both kinds", KVM_REGISTER_COALESCED_MMIO, At(both), -EINVAL},
                {"no zone of both kinds", KVM_UNREGISTER_COALESCED_MMIO, At(both), -EINVAL},
                {"a zone from nowhere", KVM_REGISTER_COALESCED_MMIO, 8, -EFAULT},
                {"none to take away", KVM_UNREGISTER_COALESCED_MMIO, At(memory), 0},
                {"a zone", KVM_REGISTER_COALESCED_MMIO, At(memory), 0},
                {"a port", KVM_REGISTER_COALESCED_MMIO, At(port), 0}});
  Check("the pages", static_cast<long>(vm.size), 3 * 4096);
  auto* ring =
      reinterpret_cast<kvm_coalesced_mmio_ring*>(reinterpret_cast<uint8_t*>(vm.run) + 0x2000);
  auto* entries = reinterpret_cast<kvm_coalesced_mmio*>(reinterpret_cast<uint8_t*>(ring) + 8);
  // movb $0x55, 0x100010; out; a word half outside; a read.
  vm.Code({0xB8, 0xFF, 0xFF, 0x8E, 0xC0, 0x26, 0xC6, 0x06, 0x20, 0x00, 0x55, 0xB0, 0x66,
           0xE6, 0x80, 0xE6, 0x81, 0x26, 0xA3, 0x0F, 0x10, 0x26, 0xA0, 0x20, 0x00, 0xF4});
  Check("another port", vm.Run(), KVM_EXIT_IO);
  Check("its number", vm.run->io.port, 0x81);
  Check("two in the ring", static_cast<long>(ring->last - ring->first), 2);
  Check("at", static_cast<long>(entries[0].phys_addr), 0x100010);
  Check("of", entries[0].len, 1);
  Check("what", entries[0].data[0], 0x55);
  Check("memory", entries[0].pio, 0);
  Check("at port", static_cast<long>(entries[1].phys_addr), 0x80);
  Check("what", entries[1].data[0], 0x66);
  Check("a port's", entries[1].pio, 1);
  ring->first = ring->last;
  Check("half outside", vm.Run(), KVM_EXIT_MMIO);
  Check("at its end", static_cast<long>(vm.run->mmio.phys_addr), 0x101000);
  Check("a read", vm.Run(), KVM_EXIT_MMIO);
  Check("a read", vm.run->mmio.is_write, 0);
  Check("end", vm.Run(), KVM_EXIT_HLT);
  Check("the half inside", static_cast<long>(ring->last - ring->first), 1);
  ring->first = ring->last;

  // mov $300, %cx; again: movb %cl, 0x100010; loop again. A full ring, and a broken one.
  const auto fill = [&] {
    vm.Code({0xB8, 0xFF, 0xFF, 0x8E, 0xC0, 0xB9, 0x2C, 0x01, 0x26, 0x88, 0x0E, 0x20, 0x00, 0xE2,
             0xF9, 0xF4});
    long exits = 0;
    while (vm.Run() == KVM_EXIT_MMIO) ++exits;
    return exits;
  };
  // Mainline's arithmetic is of 32 bits, to a base that does not divide 2^32: half is room.
  uint32_t room = 0;
  while ((ring->first - (ring->last + room) - 1) % ((4096 - 8) / 24) != 0) ++room;
  Check("exits after the ring", fill(), 300 - static_cast<long>(room));
  ring->first = ring->last = 0xFFFFFFF0;
  Check("exits with a broken ring", fill(), 300);
  ring->first = ring->last = 0;
  Check("part of it", Ioctl(vm.fd, KVM_UNREGISTER_COALESCED_MMIO, &part), 0);
  Check("exits without", fill(), 300);
}

void WithoutChips() {
  Vm vm;
  kvm_irq_level line{};
  kvm_irqchip chip{};
  kvm_pit_state2 pit{};
  kvm_reinject_control reinject{};
  kvm_msi msi{};
  kvm_lapic_state lapic{};
  kvm_clock_data clock{}, flags{};
  flags.flags = 1;
  Routing routing{};
  kvm_enable_cap split{};
  split.cap = KVM_CAP_SPLIT_IRQCHIP;
  const int event = eventfd(0, EFD_CLOEXEC);
  kvm_irqfd irqfd{};
  irqfd.fd = static_cast<uint32_t>(event);
  Table(vm.fd, {{"irqchip after a vCPU", KVM_CREATE_IRQCHIP, 0, -EINVAL},
                {"split after a vCPU", KVM_ENABLE_CAP, At(split), -EEXIST},
                {"boot CPU after a vCPU", KVM_SET_BOOT_CPU_ID, 1, -EBUSY},
                {"line of none", KVM_IRQ_LINE, At(line), -ENXIO},
                {"get of none", KVM_GET_IRQCHIP, At(chip), -ENXIO},
                {"set of none", KVM_SET_IRQCHIP, At(chip), -ENXIO},
                {"no PIT", KVM_GET_PIT2, At(pit), -ENXIO},
                {"no PIT to set", KVM_SET_PIT2, At(pit), -ENXIO},
                {"no PIT to reinject", KVM_REINJECT_CONTROL, At(reinject), -ENXIO},
                {"routes to none", kSetGsiRouting, At(routing), -EINVAL},
                {"MSI to none", KVM_SIGNAL_MSI, At(msi), -EINVAL},
                {"irqfd of none", KVM_IRQFD, At(irqfd), -EINVAL},
                {"line from nowhere", KVM_IRQ_LINE, 8, -EFAULT},
                {"clock nowhere", KVM_GET_CLOCK, 8, -EFAULT},
                {"clock", KVM_GET_CLOCK, At(clock), 0},
                {"clock's flag 1", KVM_SET_CLOCK, At(flags), -EINVAL}});
  Table(vm.vcpu, {{"LAPIC of none", KVM_GET_LAPIC, At(lapic), -EINVAL},
                  {"to set", KVM_SET_LAPIC, At(lapic), -EINVAL},
                  {"no kvmclock to stop", KVM_KVMCLOCK_CTRL, 0, -EINVAL}});
  close(event);
}

void Errors() {
  Vm vm(Chips::kKernel);
  kvm_pit_config config{};
  kvm_irqchip chip{}, third{};
  third.chip_id = 3;
  kvm_msi flags{};
  flags.flags = 2;
  kvm_enable_cap split{}, x2{};
  split.cap = KVM_CAP_SPLIT_IRQCHIP;
  x2.cap = KVM_CAP_X2APIC_API;
  x2.args[0] = 8;
  uint32_t irq = 0x20, runnable = 0, unknown = 99;
  Table(vm.fd, {{"irqchip twice", KVM_CREATE_IRQCHIP, 0, -EEXIST},
                {"split, too", KVM_ENABLE_CAP, At(split), -EEXIST},
                {"X2APIC_API 8", KVM_ENABLE_CAP, At(x2), -EINVAL},
                {"PIT from nowhere", KVM_CREATE_PIT2, 8, -EFAULT},
                {"PIT", KVM_CREATE_PIT2, At(config), 0},
                {"PIT twice", KVM_CREATE_PIT2, At(config), -EEXIST},
                {"PIT, the old way", KVM_CREATE_PIT, 0, -EEXIST},
                {"PIC", KVM_GET_IRQCHIP, At(chip), 0},
                {"chip 3", KVM_GET_IRQCHIP, At(third), -EINVAL},
                {"chip 3 to set", KVM_SET_IRQCHIP, At(third), -EINVAL},
                {"MSI's flags", KVM_SIGNAL_MSI, At(flags), -EINVAL}});
  Table(vm.vcpu, {{"interrupt past the PIC", KVM_INTERRUPT, At(irq), -ENXIO},
                  {"runnable", KVM_SET_MP_STATE, At(runnable), 0},
                  {"state 99", KVM_SET_MP_STATE, At(unknown), -EINVAL}});
  Check("MSI to nobody", Msi(vm, 9, 0x40), 0);
  Check("MSI to an APIC that is off", Msi(vm, 0, 0x40), 0);

  Routing many{}, flag{}, odd{};
  many.nr = 5000;
  flag.flags = 1;
  odd.nr = 1;
  const struct {
    const char* what;
    uint32_t nr;
    kvm_irq_routing_entry first, second;
    long expected;
  } rows[] = {
      {"IOAPIC's pin 24", 1, Pin(0, KVM_IRQCHIP_IOAPIC, 24), {}, -EINVAL},
      {"PIC's pin 8", 1, Pin(0, KVM_IRQCHIP_PIC_MASTER, 8), {}, -EINVAL},
      {"chip 3", 1, Pin(0, 3, 0), {}, -EINVAL},
      {"GSI 4096", 1, Pin(4096, KVM_IRQCHIP_IOAPIC, 0), {}, -EINVAL},
      {"twice", 2, Pin(5, KVM_IRQCHIP_IOAPIC, 5), Pin(5, KVM_IRQCHIP_IOAPIC, 6), -EINVAL},
      {"pin and MSI", 2, Pin(5, KVM_IRQCHIP_IOAPIC, 5), Message(5, kApic, 0x40), -EINVAL},
      {"two MSIs", 2, Message(5, kApic, 0x41), Message(5, kApic, 0x40), -EINVAL},
      {"both chips", 2, Pin(5, KVM_IRQCHIP_IOAPIC, 5), Pin(5, KVM_IRQCHIP_PIC_MASTER, 5), 0},
      {"none", 0, {}, {}, 0},
  };
  Check("5000 routes", Ioctl(vm.fd, kSetGsiRouting, &many), -EINVAL);
  Check("routes' flags", Ioctl(vm.fd, kSetGsiRouting, &flag), -EINVAL);
  Check("type 0", Ioctl(vm.fd, kSetGsiRouting, &odd), -EINVAL);
  for (const auto& r : rows) {
    Routing routing{r.nr, 0, {r.first, r.second}};
    Check(r.what, Ioctl(vm.fd, kSetGsiRouting, &routing), r.expected);
  }
  Check("no route", Line(vm, 5, 1), -1);

  const int event = eventfd(0, EFD_CLOEXEC), other = eventfd(0, EFD_CLOEXEC);
  const auto irqfd = [&](int fd, uint32_t gsi, uint32_t flags, int resample = 0) {
    kvm_irqfd f{};
    f.fd = static_cast<uint32_t>(fd);
    f.gsi = gsi;
    f.flags = flags;
    f.resamplefd = static_cast<uint32_t>(resample);
    return Ioctl(vm.fd, KVM_IRQFD, &f);
  };
  Check("irqfd's flags", irqfd(event, 5, 4), -EINVAL);
  Check("irqfd -1", irqfd(-1, 5, 0), -EBADF);
  Check("irqfd that is none", irqfd(vm.kvm, 5, 0), -EINVAL);
  Check("resample by none", irqfd(event, 5, KVM_IRQFD_FLAG_RESAMPLE, -1), -EBADF);
  Check("irqfd", irqfd(event, 5, 0), 0);
  Check("irqfd twice", irqfd(event, 6, 0), -EBUSY);
  Check("irqfd goes", irqfd(event, 5, KVM_IRQFD_FLAG_DEASSIGN), 0);
  Check("it is gone", irqfd(event, 5, KVM_IRQFD_FLAG_DEASSIGN), 0);
  Check("irqfd again", irqfd(event, 6, 0), 0);
  Check("one that resamples", irqfd(other, 7, KVM_IRQFD_FLAG_RESAMPLE, event), 0);

  const auto ioeventfd = [&](uint64_t at, uint32_t len, int fd, uint32_t flags, uint64_t data) {
    kvm_ioeventfd e{};
    e.addr = at;
    e.len = len;
    e.fd = fd;
    e.flags = flags;
    e.datamatch = data;
    return Ioctl(vm.fd, KVM_IOEVENTFD, &e);
  };
  constexpr uint32_t kMatch = KVM_IOEVENTFD_FLAG_DATAMATCH, kPio = KVM_IOEVENTFD_FLAG_PIO,
                     kGone = KVM_IOEVENTFD_FLAG_DEASSIGN;
  Check("3 bytes", ioeventfd(0x100000, 3, event, 0, 0), -EINVAL);
  Check("around the end", ioeventfd(~0ull, 4, event, 0, 0), -EINVAL);
  Check("its flags", ioeventfd(0x100000, 4, event, 0x100, 0), -EINVAL);
  Check("match without a length", ioeventfd(0x100000, 0, event, kMatch, 0), -EINVAL);
  Check("no eventfd", ioeventfd(0x100000, 4, vm.kvm, 0, 0), -EINVAL);
  Check("nothing to take away", ioeventfd(0x100000, 4, event, kGone, 0), -ENOENT);
  Check("ioeventfd", ioeventfd(0x100000, 4, event, 0, 0), 0);
  Check("there is one", ioeventfd(0x100000, 4, other, 0, 0), -EEXIST);
  Check("matching 1", ioeventfd(0x100010, 4, event, kMatch, 1), 0);
  Check("matching 2", ioeventfd(0x100010, 4, event, kMatch, 2), 0);
  Check("1 again", ioeventfd(0x100010, 4, other, kMatch, 1), -EEXIST);
  Check("a port", ioeventfd(0x100000, 4, event, kPio, 0), 0);
  Check("not another's", ioeventfd(0x100000, 4, other, kGone, 0), -ENOENT);
  Check("it goes", ioeventfd(0x100000, 4, event, kGone, 0), 0);

  close(event);  // one of an irqfd
  close(other);
}

void Filter() {
  Vm vm;
  kvm_msr_filter f{};
  uint8_t bits[8] = {};
  Check("none", Ioctl(vm.fd, KVM_X86_SET_MSR_FILTER, &f), 0);
  f.flags = 2;
  Check("flag 2", Ioctl(vm.fd, KVM_X86_SET_MSR_FILTER, &f), -EINVAL);
  f.flags = KVM_MSR_FILTER_DEFAULT_DENY;
  Check("denies all", Ioctl(vm.fd, KVM_X86_SET_MSR_FILTER, &f), -EINVAL);
  f.flags = 0;
  f.ranges[3] = {KVM_MSR_FILTER_READ, 1u << 20, 0, bits};
  Check("a million", Ioctl(vm.fd, KVM_X86_SET_MSR_FILTER, &f), -EINVAL);
  f.ranges[3] = {4, 8, 0, bits};
  Check("range's flags", Ioctl(vm.fd, KVM_X86_SET_MSR_FILTER, &f), -EINVAL);
  f.ranges[3] = {KVM_MSR_FILTER_READ, 8, 0xC0000100, nullptr};
  Check("bits from nowhere", Ioctl(vm.fd, KVM_X86_SET_MSR_FILTER, &f), -EFAULT);

  kvm_enable_cap cap{};
  cap.cap = KVM_CAP_X86_USER_SPACE_MSR;
  cap.args[0] = KVM_MSR_EXIT_REASON_FILTER;
  Check("exits", Ioctl(vm.fd, KVM_ENABLE_CAP, &cap), 0);
  bits[0] = 2;  // GS_BASE may be read, FS_BASE not; both may be written
  f.ranges[3] = {KVM_MSR_FILTER_READ, 8, 0xC0000100, bits};
  Check("FS_BASE", Ioctl(vm.fd, KVM_X86_SET_MSR_FILTER, &f), 0);
  // mov $0xC0000100, %ecx; wrmsr; rdmsr; inc %cx; rdmsr; hlt
  vm.Code({0x66, 0xB9, 0, 1, 0, 0xC0, 0x0F, 0x30, 0x0F, 0x32, 0x41, 0x0F, 0x32, 0xF4}, 0x5678);
  Check("read", vm.Run(), KVM_EXIT_X86_RDMSR);
  Check("why", vm.run->msr.reason, KVM_MSR_EXIT_REASON_FILTER);
  Check("which", vm.run->msr.index, 0xC0000100);
  vm.run->msr.data = 0x1234;
  vm.run->msr.error = 0;
  Check("on", vm.Run(), KVM_EXIT_HLT);
}

// mov $v, %al; out %al, $port
#define OUT(port, v) 0xB0, (v), 0xE6, (port)
// Both PICs, vectors from 0x20 and 0x28, but for the lines of the master's `mask`.
#define PICS(mask)                                                                                \
  OUT(0x20, 0x11), OUT(0x21, 0x20), OUT(0x21, 4), OUT(0x21, 1), OUT(0xA0, 0x11), OUT(0xA1, 0x28), \
      OUT(0xA1, 2), OUT(0xA1, 1), OUT(0x21, (mask)), OUT(0xA1, 0)

void Lines() {
  Vm vm(Chips::kKernel);
  Check("only the PIC is open", Line(vm, 4, 1), 1);
  Line(vm, 4, 0);
  Check("boot CPU", MpState(vm), KVM_MP_STATE_RUNNABLE);
  vm.Handler(0x24, {OUT(0x99, 1), OUT(0x20, 0x20), 0xCF});
  vm.Handler(0x29, {OUT(0x98, 2), OUT(0xA0, 0x20), OUT(0x20, 0x20), 0xCF});
  vm.Code({PICS(0xE9), OUT(0x97, 0), 0xFB, 0xF4, OUT(0x96, 0), 0xF4});
  Check("set up", vm.Run(), KVM_EXIT_IO);
  Check("its port", vm.run->io.port, 0x97);
  Check("halts", RunFor(vm, 20), -EINTR);
  Check("halted", MpState(vm), KVM_MP_STATE_HALTED);
  Check("edge", Line(vm, 4, 1), 1);
  Check("no edge", Line(vm, 4, 1), 1);
  Line(vm, 4, 0);
  Check("an edge while one waits", Line(vm, 4, 1), 0);
  Check("handler", vm.Run(), KVM_EXIT_IO);
  Check("its port", vm.run->io.port, 0x99);
  Check("low", Line(vm, 4, 0) >= 0, 1);
  Check("after it", vm.Run(), KVM_EXIT_IO);
  Check("its port", vm.run->io.port, 0x96);
  Line(vm, 9, 1);  // the slave's line 1
  Check("slave's", vm.Run(), KVM_EXIT_IO);
  Check("its port", vm.run->io.port, 0x98);
  Check("halts", RunFor(vm, 10), -EINTR);
  kvm_irqchip chip{};
  Check("state", Ioctl(vm.fd, KVM_GET_IRQCHIP, &chip), 0);
  Check("base", chip.chip.pic.irq_base, 0x20);
  Check("mask", chip.chip.pic.imr, 0xE9);
  Check("nothing in service", chip.chip.pic.isr, 0);
  Check("to set", Ioctl(vm.fd, KVM_SET_IRQCHIP, &chip), 0);
  chip.chip_id = KVM_IRQCHIP_IOAPIC;
  Check("IOAPIC", Ioctl(vm.fd, KVM_GET_IRQCHIP, &chip), 0);
  Check("its address", static_cast<long>(chip.chip.ioapic.base_address), 0xFEC00000);
  Check("masked", chip.chip.ioapic.redirtbl[5].fields.mask, 1);
}

// By the IOAPIC, level-triggered, with an irqfd that resamples.
void Resample() {
  Vm vm(Chips::kKernel);
  EnableLapic(vm);
  kvm_irqchip chip{};
  chip.chip_id = KVM_IRQCHIP_IOAPIC;
  Ioctl(vm.fd, KVM_GET_IRQCHIP, &chip);
  chip.chip.ioapic.redirtbl[10].bits = 0x8000 | 0x51;
  Check("level", Ioctl(vm.fd, KVM_SET_IRQCHIP, &chip), 0);
  Routing routing{1, 0, {Pin(10, KVM_IRQCHIP_IOAPIC, 10)}};  // the PICs would take it, too
  Check("route", Ioctl(vm.fd, kSetGsiRouting, &routing), 0);
  const int event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  const int ended = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  kvm_irqfd f{};
  f.fd = static_cast<uint32_t>(event);
  f.gsi = 10;
  f.flags = KVM_IRQFD_FLAG_RESAMPLE;
  f.resamplefd = static_cast<uint32_t>(ended);
  Check("irqfd", Ioctl(vm.fd, KVM_IRQFD, &f), 0);
  // Its end: movl $0, 0xB0 with %ds at the APIC.
  vm.Handler(0x51, {OUT(0x99, 1), 0x66, 0xC7, 0x06, 0xB0, 0, 0, 0, 0, 0, 0xCF});
  vm.Code({0x90, 0xFB, 0xF4, OUT(0x96, 0), 0xF4, 0xF4}, 0, kApic);
  uint64_t count = 0;
  const uint64_t one = 1;
  for (int turn = 0; turn < 2; ++turn) {
    Check("signal", write(event, &one, 8), 8);
    Check("handler", vm.Run(), KVM_EXIT_IO);
    Check("its port", vm.run->io.port, 0x99);
    Check("not ended", read(ended, &count, 8), -1);
    if (turn == 0) {
      Check("after it", vm.Run(), KVM_EXIT_IO);
      Check("its port", vm.run->io.port, 0x96);
    } else {
      Check("halts", RunFor(vm, 20), -EINTR);
    }
    Check("ended", read(ended, &count, 8), 8);
    Check("once", static_cast<long>(count), 1);
  }
  close(event);
  close(ended);
}

void Messages() {
  Vm vm(Chips::kKernel);
  EnableLapic(vm);
  Check("MSI", Msi(vm, 0, 0x40), 1);
  Check("again", Msi(vm, 0, 0x40), 1);
  Check("to all", Msi(vm, 0xFF, 0x41), 1);
  kvm_lapic_state s = Lapic(vm);
  Check("version", Register(s, 0x30) & 0xFF, 0x14);
  Check("requests", Register(s, 0x220), 3);
  Check("DFR", Register(s, 0xE0), 0xFFFFFFFF);
  Put(vm, s);
  // The higher of the two first; ends by writes to the page.
  vm.Handler(0x40, {OUT(0x40, 1), 0x66, 0xC7, 0x06, 0xB0, 0, 0, 0, 0, 0, 0xCF});
  vm.Handler(0x41, {OUT(0x91, 1), 0x66, 0xC7, 0x06, 0xB0, 0, 0, 0, 0, 0, 0xCF});
  vm.Handler(0x60, {OUT(0x92, 1), 0x66, 0xC7, 0x06, 0xB0, 0, 0, 0, 0, 0, 0xCF});
  // sti; then movl 0x20, %eax (the ID); movl $0x40060, 0x300 (to itself); hlt
  vm.Code({0x90, 0xFB, 0x90, 0x66, 0xA1, 0x20, 0, 0x66, 0xC7, 0x06, 0, 3, 0x60, 0, 4, 0, 0xF4},
          ~0ull, kApic);
  Check("0x41", vm.Run(), KVM_EXIT_IO);
  Check("its port", vm.run->io.port, 0x91);
  Check("0x40", vm.Run(), KVM_EXIT_IO);
  Check("its port", vm.run->io.port, 0x40);
  Check("IPI", vm.Run(), KVM_EXIT_IO);
  Check("its port", vm.run->io.port, 0x92);
  Check("ID", static_cast<uint32_t>(vm.Regs().rax) >> 24, 0);
  Check("halts", RunFor(vm, 10), -EINTR);

  // A priority above holds it back: CR8 is the same thing.
  kvm_sregs sregs{};
  Ioctl(vm.vcpu, KVM_GET_SREGS, &sregs);
  sregs.cr8 = 6;
  Check("cr8", Ioctl(vm.vcpu, KVM_SET_SREGS, &sregs), 0);
  s = Lapic(vm);
  Check("TPR", Register(s, 0x80), 0x60);
  Check("MSI", Msi(vm, 0, 0x60), 1);
  Check("held back", RunFor(vm, 10), -EINTR);
  sregs.cr8 = 5;
  Check("cr8", Ioctl(vm.vcpu, KVM_SET_SREGS, &sregs), 0);
  Check("not any more", vm.Run(), KVM_EXIT_IO);

  // As an NMI.
  memcpy(vm.memory + 8, "\x00\x12\x00\x00", 4);
  memcpy(vm.memory + 0x1200, "\xE6\x95\xCF", 3);
  vm.Code({0xF4, 0xF4});
  Check("halts", RunFor(vm, 10), -EINTR);
  Check("NMI", Msi(vm, 0, 4 << 8), 1);
  Check("handler", vm.Run(), KVM_EXIT_IO);
  Check("its port", vm.run->io.port, 0x95);
}

void Eventfds() {
  Vm vm(Chips::kKernel);
  const int event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  const struct {
    uint64_t at;
    uint32_t len, flags;
    uint64_t data;
  } rows[] = {{0x510, 1, KVM_IOEVENTFD_FLAG_PIO | KVM_IOEVENTFD_FLAG_DATAMATCH, 7},
              {0x520, 0, KVM_IOEVENTFD_FLAG_PIO, 0},
              {0x100010, 2, 0, 0}};
  for (const auto& r : rows) {
    kvm_ioeventfd e{};
    e.addr = r.at;
    e.len = r.len;
    e.fd = event;
    e.flags = r.flags;
    e.datamatch = r.data;
    Check("ioeventfd", Ioctl(vm.fd, KVM_IOEVENTFD, &e), 0);
  }
  // mov $0x510, %dx; out 7; out 8; mov $0x520, %dx; outw; two words and a byte beyond memory
  vm.Code({0xBA, 0x10, 5,    0xB0, 7,    0xEE, 0xB0, 8, 0xEE, 0xBA, 0x20, 5, 0xEF, 0xB8,
           0xFF, 0xFF, 0x8E, 0xC0, 0x26, 0xA3, 0x20, 0, 0x26, 0xA2, 0x20, 0, 0xF4});
  Check("8 is not 7", vm.Run(), KVM_EXIT_IO);
  uint64_t count = 0;
  Check("signalled", read(event, &count, 8), 8);
  Check("once", static_cast<long>(count), 1);
  Check("a byte", vm.Run(), KVM_EXIT_MMIO);
  Check("is not a word", vm.run->mmio.len, 1);
  Check("signalled", read(event, &count, 8), 8);
  Check("twice", static_cast<long>(count), 2);

  // irqfd: an edge each.
  EnableLapic(vm);
  Routing routing{1, 0, {Message(77, kApic, 0x44)}};
  Check("route", Ioctl(vm.fd, kSetGsiRouting, &routing), 0);
  const int irq = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  kvm_irqfd f{};
  f.fd = static_cast<uint32_t>(irq);
  f.gsi = 77;
  Check("irqfd", Ioctl(vm.fd, KVM_IRQFD, &f), 0);
  vm.Handler(0x44, {OUT(0x99, 1), 0x66, 0xC7, 0x06, 0xB0, 0, 0, 0, 0, 0, 0xCF});
  vm.Code({0x90, 0xFB, 0xF4, 0xF4}, 0, kApic);
  Check("halts", RunFor(vm, 10), -EINTR);
  const uint64_t one = 1;
  Check("signal", write(irq, &one, 8), 8);
  Check("handler", vm.Run(), KVM_EXIT_IO);
  Check("taken", read(irq, &count, 8), -1);
  close(irq);
  close(event);
}

struct Second {
  Vm* vm;
  int vcpu;
  kvm_run* run;
  long result;
};

void* RunSecond(void* argument) {
  auto* s = static_cast<Second*>(argument);
  do s->result = Ioctl(s->vcpu, KVM_RUN, 0ul);
  while (s->result == -EAGAIN || s->result == -EINTR);
  return nullptr;
}

// A second vCPU waits for INIT and SIPI.
void Startup() {
  Vm vm(Chips::kKernel);
  EnableLapic(vm);
  Second s{&vm, static_cast<int>(Ioctl(vm.fd, KVM_CREATE_VCPU, 1ul)), nullptr, 0};
  s.run =
      static_cast<kvm_run*>(mmap(nullptr, vm.size, PROT_READ | PROT_WRITE, MAP_SHARED, s.vcpu, 0));
  kvm_mp_state m{};
  Check("state", Ioctl(s.vcpu, KVM_GET_MP_STATE, &m), 0);
  Check("it waits", m.mp_state, KVM_MP_STATE_UNINITIALIZED);
  kvm_lapic_state lapic{};  // as every VMM does; mainline finds it only then
  Check("its LAPIC", Ioctl(s.vcpu, KVM_GET_LAPIC, &lapic), 0);
  Check("set", Ioctl(s.vcpu, KVM_SET_LAPIC, &lapic), 0);
  pthread_t thread;
  if (pthread_create(&thread, nullptr, RunSecond, &s) != 0) exit(1);
  memcpy(vm.memory + 0x7000, "\xB0\x42\xE6\x77\xF4", 5);
  // movl $1 << 24, 0x310; INIT; SIPI of page 7; hlt
  vm.Code({0x66, 0xC7, 0x06, 0x10, 3,    0,    0, 0, 1, 0x66, 0xC7, 0x06, 0,    3,    0,
           0x45, 0,    0,    0x66, 0xC7, 0x06, 0, 3, 7, 0x46, 0,    0,    0xE6, 0x70, 0xF4},
          0, kApic);
  Check("sent", vm.Run(), KVM_EXIT_IO);
  pthread_join(thread, nullptr);
  Check("second", s.result, 0);
  Check("its exit", s.run->exit_reason, KVM_EXIT_IO);
  Check("its port", s.run->io.port, 0x77);
  kvm_sregs sregs{};
  Ioctl(s.vcpu, KVM_GET_SREGS, &sregs);
  Check("its code", sregs.cs.selector, 0x700);
  munmap(s.run, vm.size);
  close(s.vcpu);
}

void Split() {
  Vm vm(Chips::kSplit);
  kvm_irqchip chip{};
  kvm_pit_config pit{};
  Check("no PIC", Ioctl(vm.fd, KVM_GET_IRQCHIP, &chip), -ENXIO);
  (void)pit;
  Routing pin{1, 0, {Pin(4, KVM_IRQCHIP_IOAPIC, 4)}};
  Check("no pins", Ioctl(vm.fd, kSetGsiRouting, &pin), -EINVAL);
  EnableLapic(vm);
  Routing routing{1, 0, {Message(4, kApic, 0xC000 | 0x48)}};
  Check("level", Ioctl(vm.fd, kSetGsiRouting, &routing), 0);
  vm.Handler(0x48, {OUT(0x99, 1), 0x66, 0xC7, 0x06, 0xB0, 0, 0, 0, 0, 0, 0xCF});
  vm.Handler(0x30, {OUT(0x98, 1), 0xCF});
  vm.Code({0x90, 0xFB, 0xF4, 0xEB, 0xFD}, 0, kApic);
  Check("halts", RunFor(vm, 10), -EINTR);
  Check("sent", Line(vm, 4, 1), 1);
  Check("handler", vm.Run(), KVM_EXIT_IO);
  Check("its end", vm.Run(), KVM_EXIT_IOAPIC_EOI);
  Check("of", vm.run->eoi.vector, 0x48);
  // User space's PIC, by LINT0.
  uint32_t irq = 0x30;
  Check("interrupt", Ioctl(vm.vcpu, KVM_INTERRUPT, &irq), 0);
  Check("another", Ioctl(vm.vcpu, KVM_INTERRUPT, &irq), -EEXIST);
  Check("handler", vm.Run(), KVM_EXIT_IO);
  Check("its port", vm.run->io.port, 0x98);
  Check("halts", RunFor(vm, 10), -EINTR);
}

uint64_t Clock(Vm& vm) {
  kvm_clock_data d{};
  Check("GET_CLOCK", Ioctl(vm.fd, KVM_GET_CLOCK, &d), 0);
  return d.clock;
}

void Kvmclock() {
  Vm vm(Chips::kKernel);
  const uint64_t first = Clock(vm);
  Check("from zero", first < 2000000000, 1);
  kvm_clock_data set{};
  set.clock = 5000000000;
  Check("set", Ioctl(vm.fd, KVM_SET_CLOCK, &set), 0);
  const uint64_t second = Clock(vm);
  Check("it is set", second >= 5000000000 && second < 7000000000, 1);
  // wrmsr of its page and of the wall clock's; rdtsc; out
  vm.Code({0x66, 0xB9, 1, 0x4D, 0x56, 0x4B, 0x66, 0xB8, 1,    0x30, 0,    0,    0x66, 0xBA,
           0,    0,    0, 0,    0x0F, 0x30, 0x66, 0xB9, 0,    0x4D, 0x56, 0x4B, 0x66, 0xB8,
           0x80, 0x30, 0, 0,    0x0F, 0x30, 0x0F, 0x31, 0xE6, 0x99, 0x0F, 0x31, 0xF4});
  const uint64_t before = Clock(vm);
  Check("written", vm.Run(), KVM_EXIT_IO);
  const uint64_t after = Clock(vm);
  const kvm_regs regs = vm.Regs();
  struct Page {
    uint32_t version, pad;
    uint64_t tsc, ns;
    uint32_t mul;
    int8_t shift;
    uint8_t flags;
  } p;
  memcpy(&p, vm.memory + 0x3000, sizeof p);
  Check("version", p.version != 0 && p.version % 2 == 0, 1);
  Check("stable", p.flags & 1, 1);
  const uint64_t tsc = static_cast<uint32_t>(regs.rax) | regs.rdx << 32;
  uint64_t delta = tsc - p.tsc;
  delta = p.shift < 0 ? delta >> -p.shift : delta << p.shift;
  const uint64_t now =
      p.ns + static_cast<uint64_t>(static_cast<unsigned __int128>(delta) * p.mul >> 32);
  Check("the guest's time", now >= before && now <= after, 1);
  uint32_t wall[3];
  memcpy(wall, vm.memory + 0x3080, sizeof wall);
  timespec real;
  clock_gettime(CLOCK_REALTIME, &real);
  const long began = real.tv_sec - static_cast<long>(now / 1000000000);
  Check("wall clock", labs(began - static_cast<long>(wall[1])) <= 2, 1);
  Check("stopped", Ioctl(vm.vcpu, KVM_KVMCLOCK_CTRL, 0ul), 0);
  vm.Code({0xE6, 0x99});
  Check("again", vm.Run(), KVM_EXIT_IO);
  memcpy(&p, vm.memory + 0x3000, sizeof p);
  Check("it is told", p.flags & 2, 2);

  uint64_t offset = 0;
  kvm_device_attr attr{};
  attr.addr = At(offset);
  Check("TSC offset", Ioctl(vm.vcpu, KVM_HAS_DEVICE_ATTR, &attr), 0);
  offset = 123456789;
  Check("set", Ioctl(vm.vcpu, KVM_SET_DEVICE_ATTR, &attr), 0);
  offset = 0;
  Check("get", Ioctl(vm.vcpu, KVM_GET_DEVICE_ATTR, &attr), 0);
  Check("the same", static_cast<long>(offset), 123456789);
  attr.group = 9;
  Check("group 9", Ioctl(vm.vcpu, KVM_HAS_DEVICE_ATTR, &attr), -ENXIO);
}

void LapicTimer() {
  Vm vm(Chips::kKernel);
  EnableLapic(vm);
  vm.Handler(0x61, {OUT(0x99, 1), 0x66, 0xC7, 0x06, 0xB0, 0, 0, 0, 0, 0, 0xCF});
  // Mainline lets the timer have the modes that CPUID tells.
  struct {
    uint32_t nent, padding;
    kvm_cpuid_entry2 entry;
  } cpuid{1, 0, {}};
  cpuid.entry.function = 1;
  cpuid.entry.ecx = 1 << 24;
  cpuid.entry.edx = 1 << 9;
  Check("CPUID", Ioctl(vm.vcpu, kSetCpuid2, &cpuid), 0);
  // Periodic, by 1: LVT, divider, count of a million ns; sti; hlt for ever.
  vm.Code({0x66, 0xC7, 0x06, 0x20, 3,    0x61, 0, 2,    0,    0x66, 0xC7, 0x06, 0xE0, 3,    0x0B, 0,
           0,    0,    0x66, 0xC7, 0x06, 0x80, 3, 0x40, 0x42, 0x0F, 0,    0xFB, 0xF4, 0xEB, 0xFD},
          0, kApic);
  for (int i = 0; i < 3; ++i) Check("tick", RunFor(vm, 500), KVM_EXIT_IO);
  kvm_lapic_state s = Lapic(vm);
  Check("count", Register(s, 0x390) <= 1000000, 1);
  Register(s, 0x320) = 0x10061;                 // masked
  Register(s, 0x130) = Register(s, 0x230) = 0;  // the last one has no end
  Put(vm, s);
  RunFor(vm, 20);
  Check("no more", RunFor(vm, 20), -EINTR);

  // By the TSC: mode, then rdtsc; add $1 << 20, %eax; wrmsr 0x6E0; sti; hlt
  uint32_t deadline[6] = {1, 0, 0x6E0, 0, 0, 0};
  vm.Code(
      {0x66, 0xC7, 0x06, 0x20, 3, 0x61, 0, 4,    0,    0x66, 0xB9, 0xE0, 6,    0,    0,    0x0F,
       0x31, 0x66, 0x05, 0,    0, 0x10, 0, 0x66, 0x83, 0xD2, 0,    0x0F, 0x30, 0xFB, 0xF4, 0xF4},
      0, kApic);
  Check("deadline", RunFor(vm, 500), KVM_EXIT_IO);
  Check("its MSR", Ioctl(vm.vcpu, kGetMsrs, deadline), 1);
  Check("over", deadline[4] | deadline[5], 0);
}

void PitTimer() {
  Vm vm(Chips::kKernel);
  kvm_pit_config config{};
  config.flags = KVM_PIT_SPEAKER_DUMMY;
  Check("PIT", Ioctl(vm.fd, KVM_CREATE_PIT2, &config), 0);
  vm.Handler(0x20, {OUT(0x99, 1), OUT(0x20, 0x20), 0xCF});
  // Counter 0 in mode 2, 5 ms; counter 2's gate and output at port 0x61.
  vm.Code({PICS(0xFE), OUT(0x43, 0x34), OUT(0x40, 0x4D), OUT(0x40, 0x17), 0xFB, 0xF4, 0xEB, 0xFD});
  for (int i = 0; i < 3; ++i) Check("tick", RunFor(vm, 500), KVM_EXIT_IO);
  kvm_pit_state2 s{};
  Check("state", Ioctl(vm.fd, KVM_GET_PIT2, &s), 0);
  Check("count", s.channels[0].count, 0x174D);
  Check("mode", s.channels[0].mode, 2);
  Check("gate", s.channels[2].gate, 0);
  Check("set", Ioctl(vm.fd, KVM_SET_PIT2, &s), 0);
  Check("tick", RunFor(vm, 500), KVM_EXIT_IO);
  // One-shot of counter 2 by polling: gate, mode 0, count; wait for the output.
  vm.Code({OUT(0x61, 1), OUT(0x43, 0xB0), OUT(0x42, 0xFF), OUT(0x42, 0x10), 0xE4, 0x61, 0xA8, 0x20,
           0x74, 0xFA, 0xE6, 0x95, 0xF4});
  Check("its output", RunFor(vm, 900), KVM_EXIT_IO);
  Check("its port", vm.run->io.port, 0x95);
}

}  // namespace

void Interrupts() {
  Coalesced();
  WithoutChips();
  Errors();
  Filter();
  Lines();
  Resample();
  Messages();
  Eventfds();
  Startup();
  Split();
}

void Timers() {
  LapicTimer();
  PitTimer();
  Kvmclock();
}
