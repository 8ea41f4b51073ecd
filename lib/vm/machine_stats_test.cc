// SPDX-License-Identifier: Apache-2.0
#include "lib/vm/machine_stats.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <cstring>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "lib/base/status_matchers.h"
#include "lib/stats/fields.h"
#include "lib/stats/format.h"

namespace atl::vm {
namespace {

// As a reader does: nothing but pread().
std::map<std::string, std::vector<uint64_t>> ReadAll(int fd) {
  std::map<std::string, std::vector<uint64_t>> out;
  stats::Header h;
  if (pread(fd, &h, sizeof h, 0) != sizeof h) return out;
  std::vector<uint8_t> head(stats::LayoutBytes(h).value());
  if (pread(fd, head.data(), head.size(), 0) != static_cast<ssize_t>(head.size())) return out;
  const stats::Layout layout = stats::ParseLayout(head).value();
  for (const stats::Descriptor& d : layout.descriptors) {
    std::vector<uint64_t> v(d.size);
    EXPECT_EQ(pread(fd, v.data(), v.size() * 8, layout.data_offset + d.offset),
              static_cast<ssize_t>(v.size() * 8));
    EXPECT_NE(stats::FindField(d.name), nullptr) << d.name;
    out[d.name] = v;
  }
  return out;
}

TEST(MachineStats, AReaderSeesWhatIsCounted) {
  ASSERT_OK_AND_ASSIGN(std::unique_ptr<MachineStats> m,
                       MachineStats::Create(2, {"ns16550", "lapic"}, true));
  m->Calibrate();
  VcpuStats& v = m->vcpu(1);
  v.Resume();
  const uint64_t left = v.Left();
  const timespec pause = {0, 3'000'000};
  nanosleep(&pause, nullptr);
  v.Entered(left, Leave::kIo, 0);
  v.counters().io_exits.Add();
  m->vm().remote_tlb_flush.AddShared(3);
  const std::vector<StatsFd> fds = m->fds();
  ASSERT_EQ(fds.size(), 3u);
  EXPECT_EQ(fds[0].vcpu, -1);
  EXPECT_EQ(ReadAll(fds[0].fd)["remote_tlb_flush"][0], 3u);
  EXPECT_EQ(ReadAll(fds[1].fd)["exits"][0], 0u);
  auto values = ReadAll(fds[2].fd);
  EXPECT_EQ(values["exits"][0], 1u);
  EXPECT_EQ(values["io_exits"][0], 1u);
  // What slept is what was measured, by another clock.
  EXPECT_GE(values["exit_io_ns"][0], 2'990'000u);
  EXPECT_LT(values["exit_io_ns"][0], 1'000'000'000u);
  EXPECT_EQ(values["dev_ns16550_ns"], values["exit_io_ns"]);
  unsigned bucket = 0;
  while (values["exit_io_hist"][bucket] == 0) ++bucket;
  EXPECT_GE(values["exit_io_ns"][0], uint64_t{1} << (bucket - 1));
  EXPECT_LT(values["exit_io_ns"][0], uint64_t{1} << bucket);
  EXPECT_EQ(values["dev_lapic_ns"][0], 0u);
}

// Some tens of nanoseconds.
void Work() {
  for (int i = 0; i < 30; ++i) asm volatile("" : : "r"(i) : "memory");
}

TEST(MachineStats, ManyShortExits) {
  ASSERT_OK_AND_ASSIGN(std::unique_ptr<MachineStats> m, MachineStats::Create(1, {"a", "b"}, true));
  m->Calibrate();
  VcpuStats& v = m->vcpu(0);
  timespec begin, end;
  clock_gettime(CLOCK_MONOTONIC, &begin);
  v.Resume();
  constexpr uint64_t kExits = 300'000;
  for (uint64_t i = 0; i < kExits; ++i) {
    const uint64_t left = v.Left();
    Work();
    v.Entered(left, i % 3 == 0 ? Leave::kMmio : Leave::kIo, i % 2);
    Work();
  }
  v.Entered(v.Left(true), Leave::kHalt);
  clock_gettime(CLOCK_MONOTONIC, &end);
  const double passed = static_cast<double>(end.tv_sec - begin.tv_sec) * 1e9 +
                        static_cast<double>(end.tv_nsec - begin.tv_nsec);
  auto values = ReadAll(m->fds()[1].fd);
  const auto count = [&values](const char* name) {
    uint64_t sum = 0;
    for (uint64_t b : values[name]) sum += b;
    return sum;
  };
  // Each is counted, though few were timed.
  EXPECT_EQ(values["exits"][0], kExits + 1);
  EXPECT_EQ(count("guest_hist"), kExits + 1);
  EXPECT_EQ(count("exit_mmio_hist"), kExits / 3);
  EXPECT_EQ(count("exit_io_hist"), kExits - kExits / 3);
  EXPECT_EQ(count("dev_a_hist"), kExits / 2);
  EXPECT_EQ(count("dev_b_hist"), kExits / 2);
  // The sum is about the time that passed: how near depends on what else the host
  // does, since most of it is estimated.
  double sum = 0;
  for (const char* name : {"guest_ns", "exit_io_ns", "exit_mmio_ns", "exit_halt_ns"}) {
    sum += static_cast<double>(values[name][0]);
  }
  EXPECT_GT(sum, 0.1 * passed);
  EXPECT_LT(sum, 10 * passed);
}

// A backend that is given registers tells the bus of some.
TEST(MachineStats, WhatIsCountedBeforeTheGuestRunsTakesNoTimeOfIt) {
  auto m = *MachineStats::Create(1, {}, true);
  VcpuStats& v = m->vcpu(0);
  v.Entered(v.Left(), Leave::kCr8);
  auto values = ReadAll(m->fds()[1].fd);
  EXPECT_EQ(values["exits"][0], 1u);
  EXPECT_EQ(values["guest_ns"][0], 0u);
}

TEST(MachineStats, BucketsArePowersOfTwo) {
  TimeSpan span;
  for (uint64_t ns : {uint64_t{0}, uint64_t{1}, uint64_t{2}, uint64_t{3}, uint64_t{4},
                      uint64_t{1} << 38, ~uint64_t{0}}) {
    span.Add(ns);
  }
  EXPECT_EQ(span.hist[0].value(), 1u);
  EXPECT_EQ(span.hist[1].value(), 1u);
  EXPECT_EQ(span.hist[2].value(), 2u);
  EXPECT_EQ(span.hist[3].value(), 1u);
  EXPECT_EQ(span.hist[39].value(), 2u);
}

TEST(MachineStats, WithoutCountersOnlyTimes) {
  ASSERT_OK_AND_ASSIGN(std::unique_ptr<MachineStats> m, MachineStats::Create(1, {}, false));
  m->vcpu(0).counters().exits.Add();
  ASSERT_EQ(m->fds().size(), 1u);
  const auto values = ReadAll(m->fds()[0].fd);
  EXPECT_EQ(values.count("exits"), 0u);
  EXPECT_EQ(values.count("guest_hist"), 1u);
}

TEST(MachineStats, ReadersCannotWrite) {
  ASSERT_OK_AND_ASSIGN(std::unique_ptr<MachineStats> m, MachineStats::Create(1, {}, true));
  for (const StatsFd& f : m->fds()) {
    EXPECT_EQ(pwrite(f.fd, "x", 1, 0), -1);
    EXPECT_EQ(ftruncate(f.fd, 0), -1);
    EXPECT_EQ(mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, f.fd, 0), MAP_FAILED);
  }
}

}  // namespace
}  // namespace atl::vm
