// SPDX-License-Identifier: Apache-2.0
// The same guests on every backend: the small ones of guest_programs.S, each compared in
// all its registers, memory and accesses to devices, and random programs of user mode.
// The reference is the software CPU's interpreter; its translator is always compared,
// and KVM's nodes where they are named.
//
//   --device=NODE    also that of /dev/kvm, /dev/atoll, ...; repeatable
//   --cases=N        random programs of each seed (default 300)
//   --general        without x87 and vector instructions, which emulated hosts have
//                    their own ideas of
//   --seed=N         another seed than the fixed ones
//   --program=NAME   only this one, with its accesses and its log
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
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
#include "lib/cpu/backend.h"
#include "tests/cpu/compare.h"
#include "tests/cpu/guest_programs.h"
#include "tests/cpu/native_executor.h"
#include "tests/cpu/random_program.h"
#include "tests/cpu/vcpu_executor.h"

namespace atl::cpu::test {
namespace {

constexpr std::array<uint64_t, 4> kSeeds = {1, 20, 333, 4444};
constexpr unsigned kMaxReports = 5;

struct Options {
  std::vector<std::string> devices;
  unsigned cases = 300;
  bool general = false;
  std::vector<uint64_t> seeds{kSeeds.begin(), kSeeds.end()};
  std::string program;
} options;

struct Way {
  std::string name;
  const Backend* backend;
  BackendOptions options;
};

BackendOptions Soft(bool translate) {
  BackendOptions out;
  out.translate = translate;
  out.precise = true;
  return out;
}

// All but the reference.
std::vector<Way> Ways() {
  std::vector<Way> out = {{"soft, translated", &kSoftBackend, Soft(true)}};
  for (const std::string& device : options.devices) {
    for (const bool lapics : {false, true}) {
      BackendOptions o;
      o.device = device;
      o.kernel_lapics = lapics;
      out.push_back({absl::StrCat(device, lapics ? ", its LAPICs" : ""), &kKvmBackend, o});
    }
  }
  return out;
}

const KnownDefect* DefectOf(absl::string_view program, const Way& way) {
  if (way.backend != &kKvmBackend) return nullptr;
  const char* lab = std::getenv("LAB");
  for (const KnownDefect& d : KnownDefects()) {
    const bool here = d.lab.empty() || (lab != nullptr && d.lab == lab);
    if (here && d.program == program && (d.node.empty() || d.node == way.options.device)) return &d;
  }
  return nullptr;
}

TEST(BackendsTest, GuestProgramsEndAlike) {
  unsigned same = 0, known = 0;
  for (const GuestProgram& program : GuestPrograms()) {
    if (!options.program.empty() && options.program != program.name) continue;
    const absl::StatusOr<GuestResult> expected = RunGuest(program, kSoftBackend, Soft(false));
    ASSERT_TRUE(expected.ok()) << expected.status();
    EXPECT_EQ(expected->trouble, "") << program.name;
    if (!options.program.empty()) {
      for (const std::string& access : expected->accesses) absl::PrintF("  %s\n", access);
      for (size_t at = kGuestLogAt; at < kGuestLogAt + 0x400; at += 4) {
        uint32_t word;
        std::memcpy(&word, &expected->memory[at], 4);
        absl::PrintF("%s%08x%s", at % 32 == 0 ? "  " : " ", word, at % 32 == 28 ? "\n" : "");
      }
    }
    std::map<const KnownDefect*, bool> defects;  // whether they show
    for (const Way& way : Ways()) {
      const absl::StatusOr<GuestResult> got = RunGuest(program, *way.backend, way.options);
      ASSERT_TRUE(got.ok()) << way.name << ": " << got.status();
      const std::string difference = Difference(*expected, *got);
      const KnownDefect* const defect = DefectOf(program.name, way);
      if (defect != nullptr) defects[defect] |= !difference.empty();
      if (defect != nullptr && !difference.empty()) {
        absl::PrintF("%s, %s: known: %s\n", program.name, way.name, defect->reason);
        if (!options.program.empty()) absl::PrintF("%s", difference);
        ++known;
        continue;
      }
      if (!difference.empty())
        ADD_FAILURE() << program.name << ", " << way.name << ": " << program.what << "\n"
                      << difference;
      same += difference.empty();
    }
    // What is mended there is to leave the list.
    for (const auto& [defect, shows] : defects)
      EXPECT_TRUE(shows) << program.name << ": nothing shows of: " << defect->reason;
  }
  absl::PrintF("%d runs alike, %d known not to be\n", same, known);
  EXPECT_GT(same, 0u);
}

TEST(BackendsTest, RandomProgramsEndAlike) {
  if (!options.program.empty()) return;
  auto reference = CreateVcpuExecutor(kSoftBackend, Soft(false));
  ASSERT_TRUE(reference.ok()) << reference.status();
  const auto native = CreateNativeExecutor();
  ASSERT_TRUE(native.ok()) << native.status();
  struct Executing {
    Way way;
    std::unique_ptr<VcpuExecutor> executor;
  };
  std::vector<Executing> ways;
  for (const Way& way : Ways()) {
    // The translator runs instructions of the host's: it needs a real processor.
    if (way.backend == &kSoftBackend && std::getenv("LAB") != nullptr) continue;
    auto executor = CreateVcpuExecutor(*way.backend, way.options);
    ASSERT_TRUE(executor.ok()) << way.name << ": " << executor.status();
    ways.push_back({way, *std::move(executor)});
  }
  unsigned programs = 0, to_the_end = 0, differences = 0, of_processor = 0;
  uint64_t bytes = 0;
  for (const uint64_t seed : options.seeds) {
    ProgramGenerator generator(seed, options.general);
    for (unsigned number = 1; number <= options.cases; ++number) {
      const Program program = generator.Make(Program::kHost);
      const std::optional<Assembled> assembled = Assemble(program);
      if (!assembled) continue;
      Case c;
      c.start = program.start;
      c.start.rip = kCodeAt + program.offset;
      c.code = assembled->code;
      c.data = &program.data;
      // The emulated hosts that this is for have no AVX.
      if (options.general) std::memset(c.start.ymm_high, 0, sizeof c.start.ymm_high);
      c.entry = assembled->at[program.entry] - c.start.rip;
      const Tolerance tolerance = ToleranceOf(generator.instructions(), c);
      Outcome expected, got, as_native;
      (*reference)->Run(c, &expected);
      ASSERT_EQ((*reference)->trouble(), "") << "seed " << seed << ", program " << number;
      ++programs;
      to_the_end += expected.vector == 3;
      bytes += c.code.size();
      for (const auto& [way, executor] : ways) {
        executor->Run(c, &got);
        ASSERT_EQ(executor->trouble(), "")
            << way.name << ", seed " << seed << ", program " << number << "\n"
            << Disassemble(program, *assembled);
        const std::string difference = Difference(c, expected, got, tolerance);
        if (difference.empty()) continue;
        // A guest cannot do better than the processor that it runs on.
        (*native)->Run(c, &as_native);
        if (Difference(c, as_native, got, tolerance).empty()) {
          ++of_processor;
          continue;
        }
        if (++differences > kMaxReports) continue;
        ADD_FAILURE() << way.name << ", seed " << seed << ", program " << number << "\n"
                      << Disassemble(program, *assembled) << "vector " << int{expected.vector}
                      << " at " << absl::StrFormat("%x", expected.end.rip) << "\n"
                      << difference;
      }
    }
  }
  absl::PrintF(
      "%d programs of %d bytes in %d ways, %d to their end; %d runs as on this host's processor "
      "and not as on the software CPU\n",
      programs, bytes, ways.size() + 1, to_the_end, of_processor);
  EXPECT_EQ(differences, 0u);
  EXPECT_GT(to_the_end, programs / 20);
  EXPECT_LE(of_processor, std::getenv("LAB") != nullptr ? programs / 20 : 0);
}

}  // namespace

bool ParseOption(absl::string_view argument) {
  const auto text = [&](absl::string_view name) -> std::optional<std::string> {
    if (!absl::StartsWith(argument, name)) return std::nullopt;
    return std::string(argument.substr(name.size()));
  };
  if (const auto device = text("--device=")) {
    options.devices.push_back(*device);
    return true;
  }
  if (const auto program = text("--program=")) {
    options.program = *program;
    return true;
  }
  if (argument == "--general") {
    options.general = true;
    return true;
  }
  if (const auto cases = text("--cases=")) return absl::SimpleAtoi(*cases, &options.cases);
  if (const auto seed = text("--seed=")) {
    options.seeds.resize(1);
    return absl::SimpleAtoi(*seed, &options.seeds[0]);
  }
  return false;
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
