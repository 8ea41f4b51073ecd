// SPDX-License-Identifier: Apache-2.0
// A vCPU's data: TimeSpans for the guest, each reason and each device, then, where
// the backend fills them in, VcpuCounters. The tables below name the words.
#include "lib/vm/machine_stats.h"

#include <cpuid.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <cstring>
#include <iterator>
#include <new>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "lib/base/status_macros.h"
#include "lib/stats/format.h"

namespace atl::vm {
namespace {

constexpr absl::string_view kLeaveNames[kLeaveReasons] = {"io",   "mmio",   "lapic", "irq",
                                                          "halt", "signal", "cr8",   "msr"};

// The one that says how many there are, not how many there have been.
constexpr absl::string_view kUnsync = "mmu_unsync";

// In the order of cpu::VcpuCounters.
constexpr absl::string_view kVcpuCounters[] = {"cr8",
                                               "exits",
                                               "instructions",
                                               "io_exits",
                                               "irq_exits",
                                               "irq_injections",
                                               "mmio_exits",
                                               "msr",
                                               "signal_exits",
                                               "halt_exits",
                                               "halt_wakeup",
                                               "insn_emulation",
                                               "insn_emulation_fail",
                                               "invlpg",
                                               "mmu_cache_miss",
                                               "mmu_recycled",
                                               "mmu_shadow_zapped",
                                               kUnsync,
                                               "nmi_injections",
                                               "pf_fixed",
                                               "pf_guest",
                                               "tlb_flush"};
static_assert(sizeof(cpu::VcpuCounters) == std::size(kVcpuCounters) * sizeof(cpu::Counter));

// In the order of cpu::VmCounters.
constexpr absl::string_view kVmCounters[] = {"remote_tlb_flush", "remote_tlb_flush_requests"};
static_assert(sizeof(cpu::VmCounters) == std::size(kVmCounters) * sizeof(cpu::Counter));

static_assert(sizeof(TimeSpan) == (1 + TimeSpan::kBuckets) * sizeof(cpu::Counter));

uint64_t ClockNs() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(now.tv_nsec);
}

// CPUID 80000007h, EDX bit 8: the counter runs at one rate in all states.
bool TscIsEven() {
  unsigned a, b, c, d;
  return __get_cpuid(0x80000007, &a, &b, &c, &d) != 0 && (d & 1u << 8) != 0;
}

void AppendSpan(absl::string_view name, stats::Layout& to) {
  to.descriptors.push_back(
      {.name = absl::StrCat(name, "_ns"), .unit = stats::Unit::kSeconds, .exponent = -9});
  to.descriptors.push_back({.name = absl::StrCat(name, "_hist"),
                            .type = stats::Type::kLogHist,
                            .unit = stats::Unit::kSeconds,
                            .exponent = -9,
                            .size = TimeSpan::kBuckets});
}

}  // namespace

absl::string_view LeaveName(Leave reason) { return kLeaveNames[static_cast<unsigned>(reason)]; }

TickClock::TickClock() : even_(TscIsEven()), begin_ticks_(Now()), begin_ns_(ClockNs()) {}

uint64_t TickClock::Now() const { return even_ ? __builtin_ia32_rdtsc() : ClockNs(); }

void TickClock::Calibrate() {
  if (!even_) return;
  constexpr uint64_t kShortest = 500'000;
  uint64_t ns;
  do {
    ns = ClockNs() - begin_ns_;
  } while (ns < kShortest);
  const uint64_t ticks = Now() - begin_ticks_;
  if (ticks == 0) return;
  scale_ = static_cast<uint64_t>((static_cast<unsigned __int128>(ns) << 32) / ticks);
}

uint64_t VcpuStats::LeftTimed() {
  const uint64_t now = clock_->Now();
  EndRun();
  // Registers are set before the guest runs, and processors' clocks may differ a little.
  const uint64_t ns = last_ != 0 && now > last_ ? clock_->ToNs(now - last_) : 0;
  const uint64_t exits = counters_->exits.value();
  const uint64_t count = exits - exits_;
  exits_ = exits;
  guest_->Add(ns > estimated_ ? ns - estimated_ : 0, count);
  estimated_ = 0;
  next_skip_ = ns < kShortNs * count ? kSkip : 0;
  return now;
}

void VcpuStats::EnteredTimed(uint64_t left, Leave reason, unsigned device) {
  last_ = clock_->Now();
  const uint64_t ns = last_ > left ? clock_->ToNs(last_ - left) : 0;
  // One that took long, or in which the host ran something else, is not usual.
  Usual(reason, device) = ns < kShortNs ? ns : kShortNs;
  skip_ = ns < kShortNs ? next_skip_ : 0;
  reasons_[static_cast<unsigned>(reason)].Add(ns);
  if (device < devices_usual_.size()) devices_[device].Add(ns);
}

void VcpuStats::EndRun() {
  if (run_ == 0) return;
  const uint64_t ns = Usual(run_reason_, run_device_) * run_;
  estimated_ += ns;
  reasons_[static_cast<unsigned>(run_reason_)].Add(ns, run_);
  if (run_device_ < devices_usual_.size()) devices_[run_device_].Add(ns, run_);
  run_ = 0;
}

absl::StatusOr<std::unique_ptr<MachineStats>> MachineStats::Create(
    unsigned vcpus, const std::vector<std::string>& devices, bool counters) {
  std::unique_ptr<MachineStats> out(new MachineStats);
  // Makes the memfd of a layout, with room for `bytes` of data, and seals it. What
  // is described is zero, as new memory is.
  const auto make = [&out](stats::Layout layout, size_t bytes,
                           int vcpu) -> absl::StatusOr<uint8_t*> {
    const std::vector<uint8_t> head = stats::WriteLayout(layout);
    Block block;
    block.vcpu = vcpu;
    block.size = (head.size() + bytes + 4095) & ~size_t{4095};
    block.fd.reset(memfd_create("atoll-stats", MFD_CLOEXEC | MFD_ALLOW_SEALING));
    if (!block.fd.valid() || ftruncate(block.fd.get(), static_cast<off_t>(block.size)) != 0) {
      return ErrnoError(errno, "memory for counters");
    }
    void* const memory =
        mmap(nullptr, block.size, PROT_READ | PROT_WRITE, MAP_SHARED, block.fd.get(), 0);
    if (memory == MAP_FAILED) return ErrnoError(errno, "memory for counters");
    block.memory = memory;
    std::memcpy(memory, head.data(), head.size());
    // Others may read: what is mapped here stays the only way to write.
    constexpr int kFutureWrite = 0x10;  // F_SEAL_FUTURE_WRITE, Linux 5.1
    if (fcntl(block.fd.get(), F_ADD_SEALS,
              F_SEAL_SHRINK | F_SEAL_GROW | kFutureWrite | F_SEAL_SEAL) != 0) {
      const int error = errno;
      munmap(memory, block.size);
      return ErrnoError(error, "seal of the counters");
    }
    out->blocks_.push_back(std::move(block));
    return static_cast<uint8_t*>(memory) + head.size();
  };

  out->vm_ = &out->own_vm_;
  if (counters) {
    stats::Layout layout;
    layout.id = absl::StrCat("atoll-", getpid());
    for (absl::string_view name : kVmCounters) {
      layout.descriptors.push_back({.name = std::string(name)});
    }
    ASSIGN_OR_RETURN(uint8_t * data, make(std::move(layout), sizeof(cpu::VmCounters), -1));
    out->vm_ = new (data) cpu::VmCounters;
  }
  const size_t spans = 1 + kLeaveReasons + devices.size();
  for (unsigned i = 0; i < vcpus; ++i) {
    stats::Layout layout;
    layout.id = absl::StrCat("atoll-", getpid(), "/vcpu-", i);
    AppendSpan("guest", layout);
    for (absl::string_view name : kLeaveNames) AppendSpan(absl::StrCat("exit_", name), layout);
    for (const std::string& name : devices) {
      AppendSpan(absl::StrCat("dev_", absl::StrReplaceAll(name, {{"-", "_"}})), layout);
    }
    if (counters) {
      for (absl::string_view name : kVcpuCounters) {
        layout.descriptors.push_back(
            {.name = std::string(name),
             .type = name == kUnsync ? stats::Type::kInstant : stats::Type::kCumulative});
      }
    }
    ASSIGN_OR_RETURN(uint8_t * data,
                     make(std::move(layout), spans * sizeof(TimeSpan) + sizeof(cpu::VcpuCounters),
                          static_cast<int>(i)));
    VcpuStats vcpu;
    vcpu.clock_ = &out->clock_;
    vcpu.guest_ = new (data) TimeSpan[spans];
    vcpu.reasons_ = vcpu.guest_ + 1;
    vcpu.devices_ = vcpu.reasons_ + kLeaveReasons;
    vcpu.devices_usual_.resize(devices.size());
    vcpu.counters_ = new (data + spans * sizeof(TimeSpan)) cpu::VcpuCounters;
    out->vcpus_.push_back(std::move(vcpu));
  }
  return out;
}

MachineStats::~MachineStats() {
  for (const Block& b : blocks_) munmap(b.memory, b.size);
}

std::vector<StatsFd> MachineStats::fds() const {
  std::vector<StatsFd> out;
  for (const Block& b : blocks_) out.push_back({b.vcpu, b.fd.get()});
  return out;
}

}  // namespace atl::vm
