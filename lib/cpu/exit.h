// SPDX-License-Identifier: Apache-2.0
// Why Vcpu::Run() came back.
#ifndef LIB_CPU_EXIT_H_
#define LIB_CPU_EXIT_H_

#include <cstdint>
#include <string>

namespace atl::cpu {

enum class ExitReason : uint8_t {
  kKicked,    // somebody called Kick(); look for requests, run again
  kHalted,    // HLT with no interrupt pending: Vcpu::WaitForWork(), run again
  kShutdown,  // triple fault
  kError,     // the backend cannot go on; `detail` says why
};

struct Exit {
  ExitReason reason = ExitReason::kKicked;
  std::string detail;  // for kError and kShutdown: where and what, for people
};

}  // namespace atl::cpu

#endif  // LIB_CPU_EXIT_H_
