// SPDX-License-Identifier: Apache-2.0
// Whether two processors did the same with a case.
#ifndef TESTS_CPU_COMPARE_H_
#define TESTS_CPU_COMPARE_H_

#include <string>

#include "tests/cpu/generator.h"
#include "tests/cpu/machine_state.h"

namespace atl::cpu::test {

// What the manual leaves open, so that processors may differ in it.
struct Tolerance {
  uint64_t undefined_flags = 0;
  // Data that an instruction stored and that holds pointers of the x87 unit,
  // which depend on the processor (FXSAVE, FNSAVE, FNSTENV): not compared.
  bool ignore_data = false;
  // After a fault: processors differ in which byte's address they give for large
  // operands, in what ENTER and MASKMOVQ have changed by then, and in what CALL
  // and ENTER look at first.
  bool ignore_address = false;
  bool ignore_data_of_fault = false;
  bool ignore_x87_of_fault = false;
  bool any_memory_fault = false;
  // Gathers: how far they came, which differs between makers.
  bool ignore_vectors_of_fault = false;
  // DPPS and DPPD stop after their first step, with its flags only.
  bool ignore_mxcsr_of_fault = false;
};

Tolerance ToleranceOf(const Generator& generator, const Case& c);

// Empty where they agree; else what differs, a line each.
std::string Difference(const Case& c, const Outcome& expected, const Outcome& got,
                       const Tolerance& tolerance);

// The case for people: the instructions, bytes and the registers at its start.
std::string Describe(const Generator& generator, const Case& c);

}  // namespace atl::cpu::test

#endif  // TESTS_CPU_COMPARE_H_
