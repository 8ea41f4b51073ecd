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

  // `count` spans that come to `total_ns`.
  void Add(uint64_t total_ns, uint64_t count = 1) {
    ns.Add(total_ns);
    const uint64_t each = count == 1 ? total_ns : total_ns / count;
    const unsigned bucket = each == 0 ? 0 : 64 - static_cast<unsigned>(__builtin_clzll(each));
    hist[bucket < kBuckets ? bucket : kBuckets - 1].Add(count);
  }
};

// Counts are exact, but for the last few that still go on. Times are, where more
// than kShortNs lies between two exits; where exits come faster, looking at the
// clock twice for each would be a good part of what they cost: then one in
// seventeen is timed, and those between count with what their reason and device
// took when they were last. The sum of all times stays what the clock says.
class VcpuStats {
 public:
  static constexpr unsigned kNoDevice = ~0u;

  cpu::VcpuCounters& counters() { return *counters_; }
  // The vCPU goes on, or begins, after a time that nobody counts.
  void Resume() {
    last_ = clock_->Now();
    exits_ = counters_->exits.value();
    skip_ = 0;
  }
  // It has left the guest: what to give to Entered(). `always`: to be timed.
  uint64_t Left(bool always = false) {
    counters_->exits.Add();
    if (skip_ != 0 && !always) {
      --skip_;
      return 0;
    }
    return LeftTimed();
  }
  // It goes on; `device` is a number from MachineStats.
  void Entered(uint64_t left, Leave reason, unsigned device = kNoDevice) {
    if (left != 0) return EnteredTimed(left, reason, device);
    if (reason != run_reason_ || device != run_device_) {
      EndRun();
      run_reason_ = reason;
      run_device_ = device;
    }
    ++run_;
  }

 private:
  friend class MachineStats;
  static constexpr uint64_t kShortNs = 1000;
  static constexpr uint64_t kSkip = 16;

  uint64_t LeftTimed();
  void EnteredTimed(uint64_t left, Leave reason, unsigned device);
  // Counts the exits of one kind that were not timed.
  void EndRun();
  uint64_t& Usual(Leave reason, unsigned device) {
    return device < devices_usual_.size() ? devices_usual_[device]
                                          : reasons_usual_[static_cast<unsigned>(reason)];
  }

  const TickClock* clock_ = nullptr;
  uint64_t skip_ = 0;  // exits that are not timed from here on
  uint64_t run_ = 0;   // of those, the last of one kind
  Leave run_reason_ = Leave::kIo;
  unsigned run_device_ = kNoDevice;
  cpu::VcpuCounters* counters_ = nullptr;
  uint64_t last_ = 0;       // when the guest was entered after the last timed exit
  uint64_t exits_ = 0;      // how many there had been then
  uint64_t estimated_ = 0;  // what those since took
  uint64_t next_skip_ = 0;
  TimeSpan* guest_ = nullptr;
  TimeSpan* reasons_ = nullptr;
  TimeSpan* devices_ = nullptr;
  // What one took when it was last timed.
  uint64_t reasons_usual_[kLeaveReasons] = {};
  std::vector<uint64_t> devices_usual_;
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
