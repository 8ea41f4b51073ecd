// SPDX-License-Identifier: Apache-2.0
// The threads that run the vCPUs, and stopping them all at a known place.
//
// A thread loops over Vcpu::Run(). Pause() makes every one of them stop between
// two instructions and returns when all stand still: then, and only then, other
// threads may touch vCPU state, memory slots and device state as a whole.
#ifndef LIB_VM_VCPU_THREADS_H_
#define LIB_VM_VCPU_THREADS_H_

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "lib/base/mutex.h"
#include "lib/cpu/backend.h"
#include "lib/vm/machine_stats.h"

namespace atl::vm {

class VcpuThreads {
 public:
  // Called on a vCPU's thread, which stands still afterwards until Resume():
  // the guest is gone (kShutdown) or the backend failed (kError).
  using OnEnd = std::function<void(unsigned vcpu, const cpu::Exit& exit)>;

  // The vCPUs outlive this object, and `stats`, null or one for each vCPU, where
  // their halts are counted. Threads start paused.
  VcpuThreads(std::vector<cpu::Vcpu*> vcpus, OnEnd on_end, MachineStats* stats = nullptr);
  // Stops and joins.
  ~VcpuThreads();
  VcpuThreads(const VcpuThreads&) = delete;
  VcpuThreads& operator=(const VcpuThreads&) = delete;

  // From one controlling thread, not a vCPU's. Pause() returns when all stand.
  void Pause();
  void Resume();
  // From a vCPU's thread (a device that asks for a reset): the vCPUs are to
  // stop soon; does not wait.
  void PauseSoon();

  // Thread ids by vCPU; 0 where one has not begun. Any thread.
  std::vector<int> thread_ids() const;

 private:
  void Work(unsigned index);
  void KickAll();

  const std::vector<cpu::Vcpu*> vcpus_;
  const OnEnd on_end_;
  MachineStats* const stats_;
  std::vector<std::atomic<int>> thread_ids_;
  Mutex mu_;
  CondVar changed_;
  bool paused_ ABSL_GUARDED_BY(mu_) = true;
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  unsigned standing_ ABSL_GUARDED_BY(mu_) = 0;
  // Counts Resume()s: a vCPU that ended stands until the next one.
  uint64_t round_ ABSL_GUARDED_BY(mu_) = 0;
  std::vector<std::thread> threads_;
};

}  // namespace atl::vm

#endif  // LIB_VM_VCPU_THREADS_H_
