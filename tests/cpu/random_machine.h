// SPDX-License-Identifier: Apache-2.0
// A guest that runs random programs (random_program.h) on the software CPU, in
// one of the ways that must agree: the interpreter an instruction at a time, by
// blocks, the translator; with and without interrupts. Interrupts are counted by
// a handler that programs see nothing of, and reload CR3 now and then.
//
// Exceptions halt the guest, so that its whole state can be kept and compared,
// and go on behind the instruction; but for page faults of the demand pages and
// single steps, which handlers of the guest's own deal with and log.
#ifndef TESTS_CPU_RANDOM_MACHINE_H_
#define TESTS_CPU_RANDOM_MACHINE_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "tests/cpu/machine_state.h"
#include "tests/cpu/random_program.h"

namespace atl::cpu::test {

struct RunMode {
  std::string name;
  bool single = false;  // events are looked at before every instruction
  bool interrupts = false;
  // With a translator: code is translated after `heat` executions, from 256 on never.
  bool translate = false;
  uint32_t heat = 1;
  // Arithmetic flags are right at faults too, where nothing reads them any more.
  bool precise_flags = true;
  bool verify = false;  // each translated block beside the interpreter
};

struct Event {
  uint8_t vector = 0;
  uint32_t error_code = 0;
  uint64_t address = 0;  // CR2, of a page fault
  Registers at;
  uint64_t memory = 0;  // a checksum of what the program writes mostly
};

struct RunResult {
  enum Kind : uint8_t {
    kEnded,
    kLong,  // nothing is wrong, but it does not end soon
    // A kernel program made itself a HLT and executed it, or mapped code where no
    // memory is: `trouble` says where.
    kStopped,
    kAstray,  // a kernel program that changed itself loaded a CR3 of its own: `trouble` says
    kLost,    // `trouble` says
  };
  Kind kind = kLost;
  std::string trouble;
  std::vector<Event> events;    // the last is the program's own INT3 or HLT, where it ended
  std::vector<uint8_t> memory;  // all that programs and handlers write
  uint64_t instructions = 0, interrupts = 0;
};

class RandomMachine {
 public:
  virtual ~RandomMachine() = default;
  // `cold`: nothing decoded or translated is kept from earlier programs.
  // Gives up, as kLong, after `limit` instructions where that is not 0.
  virtual RunResult Run(const Program& program, const Assembled& assembled, bool cold,
                        uint64_t limit) = 0;
  virtual const RunMode& mode() const = 0;
};

absl::StatusOr<std::unique_ptr<RandomMachine>> CreateRandomMachine(const RunMode& mode);

// Empty where they agree; else what differs, a line each.
std::string Difference(const RunResult& expected, const RunResult& got, const RunMode& mode);

}  // namespace atl::cpu::test

#endif  // TESTS_CPU_RANDOM_MACHINE_H_
