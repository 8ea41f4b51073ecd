// SPDX-License-Identifier: Apache-2.0
// What a machine counts about itself, for `stat`: a memfd for the VM and one for
// each vCPU, sealed, in the KVM binary stats format (lib/stats/format.h). Whoever
// holds one reads it with pread(); the machine only adds to words of memory.
//
// A vCPU's holds, for every backend, how long it was in the guest and how long
// what it came back for took, by reason and by device: sums and log2 histograms of
// nanoseconds. For a backend that is ours it also holds what the kernel counts
// for KVM.
//
// Thread rule: each VcpuStats belongs to its vCPU's thread.
#ifndef LIB_VM_MACHINE_STATS_H_
#define LIB_VM_MACHINE_STATS_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "lib/base/unique_fd.h"
#include "lib/cpu/counters.h"

namespace atl::vm {

// Why a vCPU left the guest.
enum class Leave : uint8_t {
  kIo,      // a port
  kMmio,    // a device's address
  kLapic,   // its own LAPIC's page
  kIrq,     // to take an interrupt
  kHalt,    // nothing to do
  kSignal,  // somebody wants it to stand still
  kCr8,
  kMsr,  // of the LAPIC
};
inline constexpr unsigned kLeaveReasons = 8;
absl::string_view LeaveName(Leave reason);  // "io"

// The processor's time-stamp counter as nanoseconds; the host's clock where that
// counter does not run evenly.
class TickClock {
 public:
  TickClock();
  uint64_t Now() const;
  // Some hundred microseconds after it was made, before ToNs() is used.
  void Calibrate();
  uint64_t ToNs(uint64_t ticks) const {
    return static_cast<uint64_t>(static_cast<unsigned __int128>(ticks) * scale_ >> 32);
  }

 private:
  bool even_;
  uint64_t scale_ = uint64_t{1} << 32;
  uint64_t begin_ticks_;
  uint64_t begin_ns_;
};

// A sum and a histogram, as they lie in the file.
struct TimeSpan {
  static constexpr unsigned kBuckets = 40;  // the last begins at 275 s
  cpu::Counter ns;
  cpu::Counter hist[kBuckets];

  void Add(uint64_t span_ns) {
    ns.Add(span_ns);
    const unsigned bucket =
        64 - static_cast<unsigned>(__builtin_clzll(span_ns | 1)) - (span_ns == 0);
    hist[bucket < kBuckets ? bucket : kBuckets - 1].Add();
  }
};

class VcpuStats {
 public:
  static constexpr unsigned kNoDevice = ~0u;

  cpu::VcpuCounters& counters() { return *counters_; }
  // The vCPU goes on, or begins, after a time that nobody counts.
  void Resume() { last_ = clock_->Now(); }
  // It has left the guest: the time to give to Entered().
  uint64_t Left() {
    const uint64_t now = clock_->Now();
    guest_->Add(clock_->ToNs(now - last_));
    counters_->exits.Add();
    return now;
  }
  // It goes on; `device` is a number from MachineStats.
  void Entered(uint64_t left, Leave reason, unsigned device = kNoDevice) {
    last_ = clock_->Now();
    const uint64_t ns = clock_->ToNs(last_ - left);
    reasons_[static_cast<unsigned>(reason)].Add(ns);
    if (device < device_count_) devices_[device].Add(ns);
  }

 private:
  friend class MachineStats;
  const TickClock* clock_ = nullptr;
  uint64_t last_ = 0;
  TimeSpan* guest_ = nullptr;
  TimeSpan* reasons_ = nullptr;
  TimeSpan* devices_ = nullptr;
  unsigned device_count_ = 0;
  cpu::VcpuCounters* counters_ = nullptr;
};

// A descriptor that can be handed out; it stays the machine's.
struct StatsFd {
  int vcpu = -1;  // -1: the VM's
  int fd = -1;
};

class MachineStats {
 public:
  // `devices`: names, each once. `counters`: whether the backend fills in
  // VcpuCounters and VmCounters.
  static absl::StatusOr<std::unique_ptr<MachineStats>> Create(
      unsigned vcpus, const std::vector<std::string>& devices, bool counters);
  ~MachineStats();
  MachineStats(const MachineStats&) = delete;
  MachineStats& operator=(const MachineStats&) = delete;

  VcpuStats& vcpu(unsigned index) { return vcpus_[index]; }
  cpu::VmCounters& vm() { return *vm_; }
  // Before the first vCPU runs.
  void Calibrate() { clock_.Calibrate(); }
  std::vector<StatsFd> fds() const;

 private:
  struct Block {
    UniqueFd fd;
    void* memory = nullptr;
    size_t size = 0;
    int vcpu = -1;
  };

  MachineStats() = default;

  TickClock clock_;
  std::vector<Block> blocks_;
  std::vector<VcpuStats> vcpus_;
  cpu::VmCounters* vm_ = nullptr;
  cpu::VmCounters own_vm_;
};

}  // namespace atl::vm

#endif  // LIB_VM_MACHINE_STATS_H_
