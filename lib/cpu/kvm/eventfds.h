// SPDX-License-Identifier: Apache-2.0
// A VM's eventfds (KVM_IOEVENTFD, KVM_IRQFD) and the table of routes that the latter and
// the IOAPIC's level-triggered pins share (KVM_SET_GSI_ROUTING): GSIs 0 to 23 are the pins,
// those behind them messages. The kernel takes the whole table at each change.
#ifndef LIB_CPU_KVM_EVENTFDS_H_
#define LIB_CPU_KVM_EVENTFDS_H_

#include <array>
#include <memory>
#include <optional>
#include <span>

#include "lib/base/mutex.h"
#include "lib/cpu/backend.h"
#include "lib/cpu/eventfds.h"

namespace atl::cpu::kvm {

class KvmEventFds final : public EventFds {
 public:
  // `vm`: KVM's descriptor, outlives this object. `any_size`: doorbells need none.
  KvmEventFds(int vm, bool any_size) : vm_(vm), any_size_(any_size) {}

  absl::Status AddDoorbell(const Doorbell& at, int fd) override;
  void RemoveDoorbell(const Doorbell& at, int fd) override;
  absl::StatusOr<std::unique_ptr<InterruptFd>> NewInterrupt(int fd) override;

  void SetLevelMessages(std::span<const InterruptMessage, Vm::kLevelMessages> pins);
  // The pins are the kernel's own controllers' (chips.h), and lead there.
  absl::Status UseChips();

 private:
  class Interrupt;

  absl::Status Ring(const Doorbell& at, int fd, bool add);
  absl::Status SetRoute(unsigned route, const InterruptMessage& message);
  void FreeRoute(unsigned route);
  absl::Status Attach(unsigned route, int fd, bool on);
  absl::Status WriteTable() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const int vm_;
  const bool any_size_;
  Mutex mu_;
  bool chips_ ABSL_GUARDED_BY(mu_) = false;
  std::array<InterruptMessage, Vm::kLevelMessages> pins_ ABSL_GUARDED_BY(mu_){};
  struct Route {
    bool taken = false;
    std::optional<InterruptMessage> message;
  };
  std::array<Route, kMaxInterrupts> routes_ ABSL_GUARDED_BY(mu_);
};

}  // namespace atl::cpu::kvm

#endif  // LIB_CPU_KVM_EVENTFDS_H_
