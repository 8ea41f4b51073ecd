// SPDX-License-Identifier: Apache-2.0
// Random programs, run in every way that the software CPU has, must do the same
// in each: the reference is the interpreter at one instruction a time. Programs
// that the host's processor can run are run there too.
//
//   --seconds=N   how long (default 50)
//   --seed=N      other programs
//   --program=N   only program N of the seed, printed
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/string_view.h"
#include "tests/cpu/compare.h"
#include "tests/cpu/machine_state.h"
#include "tests/cpu/native_executor.h"
#include "tests/cpu/random_layout.h"
#include "tests/cpu/random_machine.h"
#include "tests/cpu/random_program.h"

namespace atl::cpu::test {
namespace {

struct Options {
  unsigned seconds = 50;
  uint64_t seed = 1;
  uint64_t program = 0;
} options;

constexpr uint64_t kMaxInstructions = 100000;
constexpr unsigned kMaxReports = 4;

// Interprets as it does beside translated code (x87's pointers), and never translates.
constexpr uint32_t kNever = UINT32_MAX;

const RunMode kReference = {
    .name = "interpreter, single", .single = true, .translate = true, .heat = kNever};
const RunMode kModes[] = {
    {.name = "interpreter, single, interrupted",
     .single = true,
     .interrupts = true,
     .translate = true,
     .heat = kNever},
    {.name = "interpreter", .translate = true, .heat = kNever},
    {.name = "interpreter, interrupted", .interrupts = true, .translate = true, .heat = kNever},
    {.name = "translator", .translate = true, .heat = 3},
    {.name = "translator, at once", .translate = true},
    {.name = "translator, at once, interrupted", .interrupts = true, .translate = true},
    {.name = "translator, not precise, interrupted",
     .interrupts = true,
     .translate = true,
     .heat = 3,
     .precise_flags = false},
    {.name = "translator, verified", .translate = true, .verify = true},
};

class RandomTest : public testing::Test {
 protected:
  void SetUp() override {
    auto reference = CreateRandomMachine(kReference);
    ASSERT_TRUE(reference.ok()) << reference.status();
    reference_ = *std::move(reference);
    for (const RunMode& mode : kModes) {
      auto machine = CreateRandomMachine(mode);
      ASSERT_TRUE(machine.ok()) << machine.status();
      machines_.push_back(*std::move(machine));
    }
    auto native = CreateNativeExecutor();
    ASSERT_TRUE(native.ok()) << native.status();
    native_ = *std::move(native);
    auto foreign = ForeignMappings();
    ASSERT_TRUE(foreign.ok()) << foreign.status();
    foreign_ = *std::move(foreign);
  }

  bool IsForeign(uint64_t address) const {
    return std::any_of(foreign_.begin(), foreign_.end(), [&](const auto& range) {
      return address + 64 > range.first && address < range.second;
    });
  }

  static std::string Differs(RandomMachine& machine, const Program& program,
                             const Assembled& assembled, const RunResult& expected, bool cold) {
    return Difference(expected, machine.Run(program, assembled, cold, 0), machine.mode());
  }

  // The host's processor; empty where it agrees.
  std::string DiffersFromHost(const Program& program, const Assembled& assembled,
                              const RunResult& expected) {
    const Event& e = expected.events.back();
    if (e.vector == 14 && IsForeign(e.address)) return "";
    Case c;
    c.start = program.start;
    c.start.rip = kCodeAt + program.offset;
    c.code = assembled.code;
    c.data = &program.data;
    const Tolerance tolerance = ToleranceOf(generator_.instructions(), c);
    c.entry = assembled.at[program.entry] - c.start.rip;
    Outcome got, want;
    native_->Run(c, &want);
    got.end = e.at;
    got.vector = e.vector;
    got.error_code = e.error_code;
    got.address = e.address;
    std::copy_n(expected.memory.begin() + kProgramPages * kPage, kDataBytes, got.data.begin());
    return test::Difference(c, want, got, tolerance);
  }

  // Leaves out pieces as long as the difference stays.
  template <typename StillDiffers>
  static void Shrink(Program* program, StillDiffers still_differs) {
    const size_t n = program->pieces.size() - 1;  // not the end
    for (size_t chunk = n / 2; chunk > 0; chunk /= 2) {
      for (size_t at = 0; at < n; at += chunk) {
        Program less = *program;
        bool any = false;
        for (size_t i = at; i < std::min(n, at + chunk); ++i) {
          any |= !less.pieces[i].dropped;
          less.pieces[i].dropped = true;
        }
        if (any && still_differs(less)) *program = std::move(less);
      }
    }
  }

  // True where `machine` (null: the host) differs from the reference in `program`.
  bool DiffersAtAll(RandomMachine* machine, const Program& program, std::string* difference) {
    const std::optional<Assembled> assembled = Assemble(program);
    if (!assembled) return false;
    const RunResult expected = reference_->Run(program, *assembled, true, kMaxInstructions);
    if (expected.kind != RunResult::kEnded && expected.kind != RunResult::kStopped) return false;
    // Interrupts come when they come.
    for (int tries = machine != nullptr && machine->mode().interrupts ? 20 : 2; tries > 0;
         --tries) {
      *difference = machine == nullptr ? DiffersFromHost(program, *assembled, expected)
                                       : Differs(*machine, program, *assembled, expected, true);
      if (!difference->empty()) return true;
    }
    return false;
  }

  void Report(const std::string& mode, RandomMachine* machine, const Program& program,
              uint64_t number, const std::string& difference) {
    ++differences_;
    if (differences_ > kMaxReports) return;
    Program less = program;
    std::string now = difference;
    if (std::string again; DiffersAtAll(machine, less, &again)) {
      now = again;
      Shrink(&less, [&](const Program& p) {
        std::string d;
        if (!DiffersAtAll(machine, p, &d)) return false;
        now = d;
        return true;
      });
    } else {
      now += "  (only after the programs before it)\n";
    }
    const std::optional<Assembled> assembled = Assemble(less);
    std::string registers;
    for (unsigned i = 0; i < 16; ++i)
      absl::StrAppendFormat(&registers, "  %016x%s", less.start.gpr[i], i % 4 == 3 ? "\n" : "");
    ADD_FAILURE() << "seed " << options.seed << ", program " << number << " (kind "
                  << int{less.kind} << "), " << mode << "\n"
                  << Disassemble(less, *assembled) << registers << now;
  }

  ProgramGenerator generator_{options.seed};
  std::unique_ptr<RandomMachine> reference_;
  std::vector<std::unique_ptr<RandomMachine>> machines_;
  std::unique_ptr<Executor> native_;
  Ranges foreign_;
  unsigned differences_ = 0;
};

TEST_F(RandomTest, EveryWayDoesTheSame) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(options.seconds);
  uint64_t programs = 0, ended = 0, instructions = 0, exceptions = 0, interrupts = 0, on_host = 0,
           host_end = 0;
  for (uint64_t number = 1; std::chrono::steady_clock::now() < deadline; ++number) {
    const Program::Kind kind = number % 5 == 0   ? Program::kHost
                               : number % 2 == 0 ? Program::kUser
                                                 : Program::kKernel;
    const Program program = generator_.Make(kind);
    if (options.program != 0 && number < options.program) continue;
    const std::optional<Assembled> assembled = Assemble(program);
    if (!assembled) continue;
    ++programs;
    if (options.program != 0) absl::PrintF("%s", Disassemble(program, *assembled));
    const bool cold = number % 3 == 0;
    const RunResult expected = reference_->Run(program, *assembled, cold, kMaxInstructions);
    if (expected.kind == RunResult::kLost) {
      ADD_FAILURE() << "seed " << options.seed << ", program " << number << ": "
                    << expected.trouble;
      break;
    }
    if (expected.kind == RunResult::kLong || expected.kind == RunResult::kAstray) continue;
    ++ended;
    instructions += expected.instructions;
    exceptions += expected.events.size();
    for (const auto& machine : machines_) {
      if (!machine->mode().precise_flags && !program.defined_flags) continue;
      // An interrupt ends a HLT.
      if (expected.kind == RunResult::kStopped && machine->mode().interrupts) continue;
      const RunResult got = machine->Run(program, *assembled, cold, 0);
      interrupts += got.interrupts;
      const std::string d = Difference(expected, got, machine->mode());
      if (!d.empty()) Report(machine->mode().name, machine.get(), program, number, d);
    }
    if (kind == Program::kHost) {
      ++on_host;
      host_end += expected.events.back().vector == 3;
      const std::string d = DiffersFromHost(program, *assembled, expected);
      if (!d.empty()) Report("the host's processor", nullptr, program, number, d);
    }
    if (options.program != 0 || differences_ >= kMaxReports) break;
  }
  absl::PrintF(
      "%u programs, %u ended, of %u instructions, %u exceptions; %u interrupts; %u on the host, %u "
      "to their end\n",
      programs, ended, instructions, exceptions, interrupts, on_host, host_end);
  EXPECT_EQ(differences_, 0u);
  if (options.program == 0) {
    EXPECT_GT(ended, programs / 2);
    EXPECT_GT(interrupts, 0u);
    EXPECT_GT(host_end, 0u);
  }
}

}  // namespace

bool ParseOption(absl::string_view argument) {
  const auto value = [&](absl::string_view name, auto* to) {
    return absl::StartsWith(argument, name) && absl::SimpleAtoi(argument.substr(name.size()), to);
  };
  return value("--seconds=", &options.seconds) || value("--seed=", &options.seed) ||
         value("--program=", &options.program);
}

}  // namespace atl::cpu::test

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  for (int i = 1; i < argc; i++) {
    if (!atl::cpu::test::ParseOption(argv[i])) {
      std::fprintf(stderr, "%s: unknown option %s\n", argv[0], argv[i]);
      return 2;
    }
  }
  return RUN_ALL_TESTS();
}
