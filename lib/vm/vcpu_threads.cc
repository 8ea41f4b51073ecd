// SPDX-License-Identifier: Apache-2.0
#include "lib/vm/vcpu_threads.h"

#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <utility>

#include "absl/strings/str_cat.h"

namespace atl::vm {

VcpuThreads::VcpuThreads(std::vector<cpu::Vcpu*> vcpus, OnEnd on_end, MachineStats* stats)
    : vcpus_(std::move(vcpus)),
      on_end_(std::move(on_end)),
      stats_(stats),
      thread_ids_(vcpus_.size()) {
  for (unsigned i = 0; i < vcpus_.size(); ++i) threads_.emplace_back([this, i] { Work(i); });
}

VcpuThreads::~VcpuThreads() {
  {
    MutexLock lock(&mu_);
    stopping_ = true;
    changed_.NotifyAll();
  }
  KickAll();
  for (std::thread& t : threads_) t.join();
}

std::vector<int> VcpuThreads::thread_ids() const {
  return {thread_ids_.begin(), thread_ids_.end()};
}

void VcpuThreads::KickAll() {
  for (cpu::Vcpu* v : vcpus_) v->Kick();
}

void VcpuThreads::PauseSoon() {
  {
    MutexLock lock(&mu_);
    paused_ = true;
  }
  KickAll();
}

void VcpuThreads::Pause() {
  PauseSoon();
  MutexLock lock(&mu_);
  while (standing_ < vcpus_.size()) changed_.Wait(&mu_);
}

void VcpuThreads::Resume() {
  MutexLock lock(&mu_);
  paused_ = false;
  ++round_;
  changed_.NotifyAll();
}

void VcpuThreads::Work(unsigned index) {
  pthread_setname_np(pthread_self(), absl::StrCat("vcpu", index).c_str());
  thread_ids_[index] = gettid();
  cpu::Vcpu& vcpu = *vcpus_[index];
  VcpuStats* const stats = stats_ != nullptr ? &stats_->vcpu(index) : nullptr;
  bool ended = false;
  uint64_t ended_round = 0;
  for (;;) {
    {
      MutexLock lock(&mu_);
      if (paused_ || stopping_ || (ended && ended_round == round_)) {
        ++standing_;
        changed_.NotifyAll();
        while (!stopping_ && (paused_ || (ended && ended_round == round_))) changed_.Wait(&mu_);
        --standing_;
      }
      if (stopping_) return;
      ended_round = round_;
    }
    ended = false;
    if (stats != nullptr) stats->Resume();
    absl::StatusOr<cpu::Exit> exit = vcpu.Run();
    uint64_t left = 0;
    if (stats != nullptr) {
      left = stats->Left(true);
      stats->counters().instructions.Set(vcpu.instructions());
    }
    if (!exit.ok()) {
      exit = cpu::Exit{cpu::ExitReason::kError, std::string(exit.status().message())};
    }
    switch (exit->reason) {
      case cpu::ExitReason::kKicked:
        if (stats != nullptr) {
          stats->counters().signal_exits.Add();
          stats->Entered(left, Leave::kSignal);
        }
        break;
      case cpu::ExitReason::kHalted:
        vcpu.WaitForWork();
        if (stats != nullptr) stats->Entered(left, Leave::kHalt);
        break;
      case cpu::ExitReason::kShutdown:
      case cpu::ExitReason::kError:
        ended = true;
        on_end_(index, *exit);
        break;
    }
  }
}

}  // namespace atl::vm
