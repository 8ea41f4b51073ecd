// SPDX-License-Identifier: Apache-2.0
// Lock step of the interpreter and another way to run a block (the translator):
// -accel soft,verify=on.
//
// A block is run by the interpreter with its stores logged; then registers and
// memory are put back and it is run the other way; then the two are compared:
// registers, flags, x87 and vector state, all other state of the vCPU, the
// exception, and memory where the interpreter wrote. What cannot be done twice
// (devices, stores to code, instructions that give another value each time) is
// done by the interpreter alone. A store of the other way to somewhere else shows
// only by what it leads to.
//
// Devices and the clock may change memory in between: where the two differ, both
// results are kept, memory is put back once more and the interpreter runs again;
// only what differs then too is reported. Other vCPUs would do that all the time,
// so this is for VMs with one.
//
// Thread rule: the vCPU's thread.
#ifndef LIB_CPU_SOFT_VERIFY_H_
#define LIB_CPU_SOFT_VERIFY_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "lib/cpu/soft/code_cache.h"
#include "lib/cpu/soft/fault.h"
#include "lib/cpu/soft/state.h"
#include "lib/cpu/soft/vcpu.h"
#include "lib/cpu/soft/write_log.h"

namespace atl::cpu::soft {

class Verifier {
 public:
  // `precise_flags`: the other way keeps arithmetic flags exact where a block is
  // left before its end, too.
  Verifier(SoftVcpu& vcpu, bool precise_flags) : vcpu_(vcpu), precise_flags_(precise_flags) {}

  enum class Result : uint8_t {
    kSame,         // the other way's result stands
    kInterpreted,  // it was not asked: the interpreter's result stands
    kDiffers,      // report() says what
  };
  // Runs `b`, which begins at the vCPU's rip, once, for all that the guest sees.
  // `other` does so its way and gives how it ended, with SoftVcpu::s.rip behind
  // the last instruction that it executed (kFault: at the one that faults). It may
  // end early where something is to be looked at. `step`: how the block ended.
  Result Run(Block& b, absl::FunctionRef<Step()> other, Step* step);

  const std::string& report() const { return report_; }
  // Blocks that were run both ways, and by the interpreter alone.
  uint64_t compared() const { return compared_; }
  uint64_t interpreted() const { return interpreted_; }

 private:
  struct End {
    CpuState state;
    Step step = Step::kNext;
    Fault fault;
    std::vector<WriteLog::Entry> stores;
    std::vector<uint8_t> memory;  // what stands there, as WriteLog::Keep() gives it
  };

  // From the block's start; to its end, or to where rip is `stop` (0: nowhere).
  Step Interpret(Block& b, uint64_t stop);
  void TakeBack(const CpuState& start);
  // `inside`: the block was left before its end.
  std::string Difference(const End& expected, const End& got, bool inside) const;
  void Report(Block& b, const CpuState& start, const std::string& difference);

  SoftVcpu& vcpu_;
  const bool precise_flags_;
  WriteLog log_;
  std::string report_;
  uint64_t compared_ = 0, interpreted_ = 0;
};

}  // namespace atl::cpu::soft

#endif  // LIB_CPU_SOFT_VERIFY_H_
