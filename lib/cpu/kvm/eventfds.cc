// SPDX-License-Identifier: Apache-2.0
#include "lib/cpu/kvm/eventfds.h"

#include <errno.h>
#include <linux/kvm.h>
#include <sys/ioctl.h>

#include <cstdint>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "lib/base/status_macros.h"

namespace atl::cpu::kvm {
namespace {

// linux/kvm.h's ends in an array of no size, which gives it another size in C++ than in C
// and with that another ioctl number.
struct RoutingTable {  // struct kvm_irq_routing
  uint32_t count = 0;
  uint32_t flags = 0;
  // A pin leads to one of the 8259s and to the IOAPIC.
  kvm_irq_routing_entry entries[2 * Vm::kLevelMessages + EventFds::kMaxInterrupts];

  void Add(uint32_t gsi, const InterruptMessage& message) {
    kvm_irq_routing_entry& e = entries[count++];
    e = {};
    e.gsi = gsi;
    e.type = KVM_IRQ_ROUTING_MSI;
    e.u.msi.address_lo = static_cast<uint32_t>(message.address);
    e.u.msi.address_hi = static_cast<uint32_t>(message.address >> 32);
    e.u.msi.data = message.data;
  }
  void Add(uint32_t gsi, uint32_t chip, uint32_t pin) {
    kvm_irq_routing_entry& e = entries[count++];
    e = {};
    e.gsi = gsi;
    e.type = KVM_IRQ_ROUTING_IRQCHIP;
    e.u.irqchip.irqchip = chip;
    e.u.irqchip.pin = pin;
  }
};
constexpr unsigned long kSetGsiRouting = _IOC(_IOC_WRITE, KVMIO, 0x6A, 8);

constexpr unsigned kIsaIrqs = 16, kTimerIrq = 0, kTimerPin = 2, kCascadeIrq = 2;

constexpr uint32_t Gsi(unsigned route) { return Vm::kLevelMessages + route; }

}  // namespace

class KvmEventFds::Interrupt final : public InterruptFd {
 public:
  Interrupt(KvmEventFds& owner, unsigned route, int fd) : owner_(owner), route_(route), fd_(fd) {}
  ~Interrupt() override {
    Hold();
    owner_.FreeRoute(route_);
  }

  absl::Status Send(const InterruptMessage& message) override {
    RETURN_IF_ERROR(owner_.SetRoute(route_, message));
    if (attached_) return absl::OkStatus();
    // What was written to the eventfd meanwhile is sent at this.
    RETURN_IF_ERROR(owner_.Attach(route_, fd_, true));
    attached_ = true;
    return absl::OkStatus();
  }
  void Hold() override {
    if (!attached_) return;
    attached_ = false;
    (void)owner_.Attach(route_, fd_, false);
  }

 private:
  KvmEventFds& owner_;
  const unsigned route_;
  const int fd_;
  bool attached_ = false;
};

absl::Status KvmEventFds::AddDoorbell(const Doorbell& at, int fd) { return Ring(at, fd, true); }

void KvmEventFds::RemoveDoorbell(const Doorbell& at, int fd) { (void)Ring(at, fd, false); }

absl::Status KvmEventFds::Ring(const Doorbell& at, int fd, bool add) {
  kvm_ioeventfd ring{};
  ring.addr = at.address;
  ring.len = at.size != 0 || any_size_ ? at.size : 2;
  ring.fd = fd;
  if (at.port) ring.flags |= KVM_IOEVENTFD_FLAG_PIO;
  if (at.value.has_value()) {
    ring.flags |= KVM_IOEVENTFD_FLAG_DATAMATCH;
    ring.datamatch = *at.value;
  }
  if (!add) ring.flags |= KVM_IOEVENTFD_FLAG_DEASSIGN;
  if (ioctl(vm_, KVM_IOEVENTFD, &ring) == 0) return absl::OkStatus();
  const int error = errno;
  const std::string what =
      absl::StrFormat("doorbell at %s 0x%x", at.port ? "port" : "address", at.address);
  if (error == EEXIST) return absl::AlreadyExistsError(absl::StrCat(what, ": there is one"));
  if (error == ENOSPC) return absl::ResourceExhaustedError(absl::StrCat(what, ": too many"));
  return ErrnoError(error, what);
}

absl::StatusOr<std::unique_ptr<InterruptFd>> KvmEventFds::NewInterrupt(int fd) {
  MutexLock lock(&mu_);
  for (unsigned i = 0; i < routes_.size(); ++i) {
    if (routes_[i].taken) continue;
    routes_[i].taken = true;
    return std::make_unique<Interrupt>(*this, i, fd);
  }
  return absl::ResourceExhaustedError(
      absl::StrCat("more than ", kMaxInterrupts, " interrupts by eventfd"));
}

absl::Status KvmEventFds::SetRoute(unsigned route, const InterruptMessage& message) {
  MutexLock lock(&mu_);
  if (routes_[route].message == message) return absl::OkStatus();
  routes_[route].message = message;
  absl::Status written = WriteTable();
  if (!written.ok()) routes_[route].message.reset();
  return written;
}

void KvmEventFds::FreeRoute(unsigned route) {
  MutexLock lock(&mu_);
  const bool there = routes_[route].message.has_value();
  routes_[route] = {};
  if (there) (void)WriteTable();
}

void KvmEventFds::SetLevelMessages(std::span<const InterruptMessage, Vm::kLevelMessages> pins) {
  MutexLock lock(&mu_);
  std::copy(pins.begin(), pins.end(), pins_.begin());
  (void)WriteTable();
}

absl::Status KvmEventFds::UseChips() {
  MutexLock lock(&mu_);
  chips_ = true;
  return WriteTable();
}

// KVM looks in the table for whose end to come back, too: an entry a pin.
absl::Status KvmEventFds::WriteTable() {
  const auto table = std::make_unique<RoutingTable>();
  for (unsigned pin = 0; pin < pins_.size(); ++pin) {
    if (!chips_) {
      if (pins_[pin].data != 0) table->Add(pin, pins_[pin]);
      continue;
    }
    if (pin == kCascadeIrq) continue;
    if (pin < 8) table->Add(pin, KVM_IRQCHIP_PIC_MASTER, pin);
    if (pin >= 8 && pin < kIsaIrqs) table->Add(pin, KVM_IRQCHIP_PIC_SLAVE, pin - 8);
    table->Add(pin, KVM_IRQCHIP_IOAPIC, pin == kTimerIrq ? kTimerPin : pin);
  }
  for (unsigned i = 0; i < routes_.size(); ++i) {
    if (routes_[i].message.has_value()) table->Add(Gsi(i), *routes_[i].message);
  }
  if (ioctl(vm_, kSetGsiRouting, table.get()) == 0) return absl::OkStatus();
  return ErrnoError(errno, "KVM_SET_GSI_ROUTING");
}

absl::Status KvmEventFds::Attach(unsigned route, int fd, bool on) {
  kvm_irqfd irq{};
  irq.fd = static_cast<uint32_t>(fd);
  irq.gsi = Gsi(route);
  if (!on) irq.flags = KVM_IRQFD_FLAG_DEASSIGN;
  if (ioctl(vm_, KVM_IRQFD, &irq) == 0) return absl::OkStatus();
  return ErrnoError(errno, "KVM_IRQFD");
}

}  // namespace atl::cpu::kvm
