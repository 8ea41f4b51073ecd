// SPDX-License-Identifier: Apache-2.0
// Whether a node that speaks KVM's interface runs guests, and how fast.
//
// That it opens says nothing: KVM builds without VT-x or SVM below them run
// user-mode code well and emulate the rest at a fraction of the speed, and a
// guest kernel on them takes minutes to boot. So a small guest does what kernels do, in real,
// protected and long mode, and its phases are timed against this processor.
#ifndef LIB_CPU_KVM_SELF_TEST_H_
#define LIB_CPU_KVM_SELF_TEST_H_

#include <cstdint>
#include <functional>
#include <string>

#include "absl/status/statusor.h"
#include "lib/cpu/backend.h"

namespace atl::cpu::kvm {

// Nanoseconds of processor time of each phase of the guest. Zero from long mode
// on where protected mode alone was too slow by far.
struct SelfTestTimes {
  uint64_t real_mode = 0;       // 2,000 turns of a loop
  uint64_t protected_mode = 0;  // 20,000 stores in a loop
  uint64_t enter_long_mode = 0;
  uint64_t long_mode = 0;    // 50,000 stores in a loop
  uint64_t page_faults = 0;  // 256 faults taken and mended
  uint64_t page_tables = 0;  // 500 reloads of CR3 with INVLPG and a load
};

// Runs the guest. DeadlineExceeded where it is not done within `budget_ns`: the
// message names the phase. Blocks little longer than that, whatever the guest does.
absl::StatusOr<SelfTestTimes> RunSelfTest(const std::string& device, uint64_t budget_ns);

// How long the loop of `long_mode` takes here.
uint64_t NativeLongModeNs();

// What that says about `device`, on a processor that offers `hardware` (below).
Verdict Judge(const std::string& device, const SelfTestTimes& times, uint64_t native_ns,
              const std::string& hardware);

// The same of `test`, which is RunSelfTest(). Where the processor has hardware and what
// is tested looks slow, it is tested again, up to three times in all: a busy host
// takes the processor away from a guest for as long as emulation would need, but
// nothing makes emulation fast.
Verdict JudgeByTests(const std::string& device, uint64_t native_ns, const std::string& hardware,
                     const std::function<absl::StatusOr<SelfTestTimes>()>& test);

// "Intel VT-x", "AMD SVM" or, where the processor has neither, empty.
std::string VirtualizationHardware();

}  // namespace atl::cpu::kvm

#endif  // LIB_CPU_KVM_SELF_TEST_H_
