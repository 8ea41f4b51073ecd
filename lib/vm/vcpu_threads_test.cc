// SPDX-License-Identifier: Apache-2.0
#include "lib/vm/vcpu_threads.h"

#include <atomic>
#include <chrono>
#include <memory>
#include <thread>
#include <vector>

#include "gtest/gtest.h"

namespace atl::vm {
namespace {

// A vCPU that counts, halts now and then, and does what it is told.
class FakeVcpu : public cpu::Vcpu {
 public:
  absl::StatusOr<cpu::Exit> Run() override {
    while (!kicked_.exchange(false)) {
      runs.fetch_add(1);
      if (shutdown.exchange(false)) return cpu::Exit{cpu::ExitReason::kShutdown, "three faults"};
      if (runs.load() % 64 == 0) return cpu::Exit{cpu::ExitReason::kHalted, ""};
    }
    return cpu::Exit{cpu::ExitReason::kKicked, ""};
  }
  void WaitForWork() override { std::this_thread::sleep_for(std::chrono::microseconds(50)); }
  void Kick() override { kicked_ = true; }
  void SetInterruptLine(bool) override {}
  void RaiseNmi() override {}
  void SendInit() override {}
  void SendSipi(uint8_t) override {}
  void Reset() override {}
  absl::StatusOr<cpu::Regs> GetRegs() override { return cpu::Regs{}; }
  absl::Status SetRegs(const cpu::Regs&) override { return absl::OkStatus(); }
  absl::StatusOr<cpu::SystemRegs> GetSystemRegs() override { return cpu::SystemRegs{}; }
  absl::Status SetSystemRegs(const cpu::SystemRegs&) override { return absl::OkStatus(); }
  absl::StatusOr<uint64_t> GetMsr(uint32_t) override { return 0; }
  absl::Status SetMsr(uint32_t, uint64_t) override { return absl::OkStatus(); }

  std::atomic<uint64_t> runs{0};
  std::atomic<bool> shutdown{false};

 private:
  std::atomic<bool> kicked_{false};
};

void WaitUntilRuns(FakeVcpu& v) {
  const uint64_t before = v.runs;
  while (v.runs == before) std::this_thread::yield();
}

TEST(VcpuThreads, StartPausedAndStandStillWhilePaused) {
  FakeVcpu a, b;
  VcpuThreads threads({&a, &b}, [](unsigned, const cpu::Exit&) {});
  EXPECT_EQ(a.runs, 0u);
  for (int round = 0; round < 100; ++round) {
    threads.Resume();
    WaitUntilRuns(a);
    WaitUntilRuns(b);
    threads.Pause();
    const uint64_t a_runs = a.runs, b_runs = b.runs;
    std::this_thread::sleep_for(std::chrono::microseconds(100));
    EXPECT_EQ(a.runs, a_runs);
    EXPECT_EQ(b.runs, b_runs);
  }
}

TEST(VcpuThreads, OneThatEndedStandsUntilResumed) {
  FakeVcpu a, b;
  std::atomic<int> ended{0};
  VcpuThreads threads({&a, &b}, [&](unsigned vcpu, const cpu::Exit& exit) {
    EXPECT_EQ(vcpu, 0u);
    EXPECT_EQ(exit.detail, "three faults");
    ++ended;
  });
  threads.Resume();
  WaitUntilRuns(a);
  a.shutdown = true;
  while (ended == 0) std::this_thread::yield();
  const uint64_t stopped_at = a.runs;
  WaitUntilRuns(b);  // the other goes on
  EXPECT_EQ(a.runs, stopped_at);
  threads.Pause();
  threads.Resume();
  WaitUntilRuns(a);
  EXPECT_EQ(ended, 1);
}

}  // namespace
}  // namespace atl::vm
