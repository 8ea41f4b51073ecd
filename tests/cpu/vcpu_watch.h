// SPDX-License-Identifier: Apache-2.0
// Has a vCPU that does not end come back now and then, for who runs it to look at the time.
#ifndef TESTS_CPU_VCPU_WATCH_H_
#define TESTS_CPU_VCPU_WATCH_H_

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <thread>

#include "lib/cpu/backend.h"

namespace atl::cpu::test {

class VcpuWatch {
 public:
  explicit VcpuWatch(Vcpu& vcpu)
      : thread_([this, &vcpu] {
          std::unique_lock lock(mu_);
          while (!ending_) {
            if (changed_.wait_for(lock, std::chrono::seconds(1)) == std::cv_status::timeout)
              vcpu.Kick();
          }
        }) {}
  ~VcpuWatch() {
    {
      std::lock_guard lock(mu_);
      ending_ = true;
    }
    changed_.notify_all();
    thread_.join();
  }

 private:
  std::mutex mu_;
  std::condition_variable changed_;
  bool ending_ = false;
  std::thread thread_;
};

}  // namespace atl::cpu::test

#endif  // TESTS_CPU_VCPU_WATCH_H_
