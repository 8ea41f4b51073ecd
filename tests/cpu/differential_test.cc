// SPDX-License-Identifier: Apache-2.0
// The software CPU against the real one: the same instructions with the same
// registers and memory must end in the same state or with the same exception.
//
//   --seconds=N   how long, after every form had its turns (default 20)
//   --seed=N      other cases
//   --form=TEXT   only forms whose name contains it
#include <Zydis/Zydis.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <iterator>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/string_view.h"
#include "lib/cpu/soft/decode.h"
#include "lib/cpu/soft/model.h"
#include "tests/cpu/compare.h"
#include "tests/cpu/generator.h"
#include "tests/cpu/machine_state.h"
#include "tests/cpu/native_executor.h"
#include "tests/cpu/soft_executor.h"

namespace atl::cpu::test {
namespace {

struct Options {
  unsigned seconds = 20;
  uint64_t seed = 1;
  std::string form;
} options;

// Runs of every form, whatever the time.
constexpr unsigned kMinRuns = 60;
constexpr unsigned kMaxReports = 60;

// Offered instructions that cannot be compared in this process: they leave it,
// change what it rests on, give another value each time, or are emulated by the
// host's kernel.
bool IsExcluded(ZydisMnemonic m) {
  switch (m) {
    case ZYDIS_MNEMONIC_SYSCALL:
    case ZYDIS_MNEMONIC_SYSENTER:
    case ZYDIS_MNEMONIC_INT:
    case ZYDIS_MNEMONIC_INT1:
    case ZYDIS_MNEMONIC_INT3:
    case ZYDIS_MNEMONIC_INTO:
    case ZYDIS_MNEMONIC_IRET:
    case ZYDIS_MNEMONIC_IRETD:
    case ZYDIS_MNEMONIC_IRETQ:
    case ZYDIS_MNEMONIC_WRFSBASE:
    case ZYDIS_MNEMONIC_WRGSBASE:
    case ZYDIS_MNEMONIC_LFS:
    case ZYDIS_MNEMONIC_LGS:
    case ZYDIS_MNEMONIC_LSS:
    case ZYDIS_MNEMONIC_CPUID:
    case ZYDIS_MNEMONIC_RDTSC:
    case ZYDIS_MNEMONIC_RDTSCP:
    case ZYDIS_MNEMONIC_RDPMC:
    case ZYDIS_MNEMONIC_RDRAND:
    case ZYDIS_MNEMONIC_RDSEED:
    case ZYDIS_MNEMONIC_SGDT:
    case ZYDIS_MNEMONIC_SIDT:
    case ZYDIS_MNEMONIC_SLDT:
    case ZYDIS_MNEMONIC_STR:
    case ZYDIS_MNEMONIC_SMSW:
    case ZYDIS_MNEMONIC_XGETBV:
    // The host's GDT and page tables are not the guest's.
    case ZYDIS_MNEMONIC_LAR:
    case ZYDIS_MNEMONIC_LSL:
    case ZYDIS_MNEMONIC_VERR:
    case ZYDIS_MNEMONIC_VERW:
      return true;
    default:
      return false;
  }
}

bool HasRepPrefix(const Decoded& d) {
  for (unsigned i = 0; i < d.insn.raw.prefix_count; i++) {
    const uint8_t v = d.insn.raw.prefixes[i].value;
    if (v == 0xF2 || v == 0xF3) return true;
  }
  return false;
}

bool Admit(const Decoded& d) {
  if (!soft::IsaOffered({&d.insn, d.operands}, soft::CpuModel::kMax) || IsExcluded(d.insn.mnemonic))
    return false;
  switch (d.insn.meta.isa_ext) {
    case ZYDIS_ISA_EXT_VTX:
    case ZYDIS_ISA_EXT_SVM:
      return false;  // #UD here, intercepted where the host is a guest
    default:
      break;
  }
  // AMD's processors cut the target to 16 bits, Intel's ignore the prefix.
  if (d.insn.meta.branch_type != ZYDIS_BRANCH_TYPE_NONE &&
      (d.insn.attributes & ZYDIS_ATTRIB_HAS_OPERANDSIZE)) {
    return false;
  }
  const ZydisMnemonic m = d.insn.mnemonic;
  // Prefixes that mean nothing to Intel's processors, but do to AMD's.
  if ((m == ZYDIS_MNEMONIC_LOOPE || m == ZYDIS_MNEMONIC_LOOPNE) && HasRepPrefix(d)) return false;
  // XCHG R8, RAX, which Zydis takes for PAUSE.
  if (m == ZYDIS_MNEMONIC_PAUSE && d.insn.raw.rex.B) return false;
  // 0F 0D with registers: a NOP to Intel, undefined to AMD.
  if (m == ZYDIS_MNEMONIC_NOP && d.insn.opcode == 0x0D) return false;
  // Privileged ones leave user mode by #GP: the host's processor knows more of
  // them than the guest's.
  if (d.insn.attributes & ZYDIS_ATTRIB_IS_PRIVILEGED) return false;
  if (d.insn.meta.branch_type == ZYDIS_BRANCH_TYPE_FAR) return false;
  for (unsigned i = 0; i < d.insn.operand_count; i++) {
    const ZydisDecodedOperand& o = d.operands[i];
    const bool written = o.actions & ZYDIS_OPERAND_ACTION_MASK_WRITE;
    if (o.type == ZYDIS_OPERAND_TYPE_REGISTER && written &&
        ZydisRegisterGetClass(o.reg.value) == ZYDIS_REGCLASS_SEGMENT) {
      return false;
    }
  }
  return true;
}

// What ends with an exception always, in user mode without I/O rights.
bool NeverEnds(ZydisMnemonic m) {
  switch (m) {
    case ZYDIS_MNEMONIC_UD0:
    case ZYDIS_MNEMONIC_UD1:
    case ZYDIS_MNEMONIC_UD2:
    case ZYDIS_MNEMONIC_CLI:
    case ZYDIS_MNEMONIC_STI:
    case ZYDIS_MNEMONIC_IN:
    case ZYDIS_MNEMONIC_INSB:
    case ZYDIS_MNEMONIC_INSW:
    case ZYDIS_MNEMONIC_INSD:
    case ZYDIS_MNEMONIC_OUT:
    case ZYDIS_MNEMONIC_OUTSB:
    case ZYDIS_MNEMONIC_OUTSW:
    case ZYDIS_MNEMONIC_OUTSD:
    case ZYDIS_MNEMONIC_LGDT:
    case ZYDIS_MNEMONIC_LIDT:
    case ZYDIS_MNEMONIC_RSM:
      return true;
    default:
      return false;
  }
}

class DifferentialTest : public testing::Test {
 protected:
  void SetUp() override {
    auto native = CreateNativeExecutor();
    ASSERT_TRUE(native.ok()) << native.status();
    native_ = *std::move(native);
    auto soft = CreateSoftExecutor();
    ASSERT_TRUE(soft.ok()) << soft.status();
    soft_ = *std::move(soft);
    auto foreign = ForeignMappings();
    ASSERT_TRUE(foreign.ok()) << foreign.status();
    foreign_ = *std::move(foreign);
    generator_ = std::make_unique<Generator>(options.seed, Admit);
  }

  bool IsForeign(uint64_t address) const {
    const auto after = std::upper_bound(
        foreign_.begin(), foreign_.end(), address,
        [](uint64_t a, const std::pair<uint64_t, uint64_t>& range) { return a < range.first; });
    return after != foreign_.begin() && address < std::prev(after)->second;
  }

  // What differs; expected_ and got_ are set.
  std::string RunBoth(const Case& c) {
    soft_->Run(c, &got_);
    if (got_.vector == 14 && IsForeign(got_.address)) {
      // Nothing lies there in the guest, but here something does, which the case
      // might overwrite.
      expected_ = got_;
      return "";
    }
    native_->Run(c, &expected_);
    cases_++;
    return Difference(c, expected_, got_, ToleranceOf(*generator_, c));
  }

  // Leaves out instructions as long as a difference remains.
  Case Shrink(Case c) {
    for (size_t at = 0; at < c.code.size();) {
      Decoded d;
      const std::vector<uint8_t> rest(c.code.begin() + static_cast<long>(at), c.code.end());
      if (!generator_->Decode(rest, &d)) break;
      Case less = c;
      const auto begin = less.code.begin() + static_cast<long>(at);
      less.code.erase(begin, begin + d.insn.length);
      if (RunBoth(less).empty()) {
        at += d.insn.length;
      } else {
        c = less;
      }
    }
    return c;
  }

  // True where the two agree; the first disagreements are reported.
  bool Check(const Case& c, const std::string& name) {
    if (RunBoth(c).empty()) return true;
    failures_[name]++;
    if (reports_ < kMaxReports && failures_[name] <= 2) {
      reports_++;
      const Case less = Shrink(c);
      const std::string difference = RunBoth(less);
      ADD_FAILURE() << name << "\n"
                    << Describe(*generator_, less) << "the software CPU differs (vector "
                    << unsigned{expected_.vector} << "):\n"
                    << difference;
    } else {
      failed_ = true;
    }
    return false;
  }

  void TearDown() override {
    for (const auto& [name, count] : failures_) {
      absl::PrintF("differs %6u times: %s\n", count, name);
    }
    EXPECT_FALSE(failed_) << "more differences than are shown";
  }

  std::unique_ptr<Executor> native_, soft_;
  std::unique_ptr<Generator> generator_;
  Ranges foreign_;
  Outcome expected_, got_;
  std::map<std::string, unsigned> failures_;
  uint64_t cases_ = 0;
  unsigned reports_ = 0;
  bool failed_ = false;
};

std::chrono::steady_clock::time_point Deadline(unsigned seconds) {
  return std::chrono::steady_clock::now() + std::chrono::seconds(seconds);
}

TEST_F(DifferentialTest, EveryForm) {
  std::vector<Form>& forms = generator_->forms();
  ASSERT_GT(forms.size(), 1000u);
  // By mnemonic: how often it ended as it should end, at its own next instruction.
  std::map<ZydisMnemonic, unsigned> completed;
  const auto deadline = Deadline(options.seconds / 2);
  bool time_left = true;
  for (unsigned round = 0; round < kMinRuns || time_left; round++) {
    for (Form& form : forms) {
      if (!options.form.empty() && !absl::StrContains(form.name, options.form)) continue;
      completed.emplace(form.mnemonic, 0);
      const Case c = generator_->MakeOne(form);
      if (c.code.empty()) continue;
      form.runs++;
      if (Check(c, form.name) && expected_.vector == 3) completed[form.mnemonic]++;
    }
    time_left = std::chrono::steady_clock::now() < deadline;
  }
  for (const Form& form : forms) {
    if (!options.form.empty() && !absl::StrContains(form.name, options.form)) continue;
    EXPECT_GE(form.runs, kMinRuns / 2) << form.name << " was hardly tried";
  }
  for (const auto& [mnemonic, count] : completed) {
    if (NeverEnds(mnemonic)) continue;
    EXPECT_GT(count, 0u) << ZydisMnemonicGetString(mnemonic) << " never ran to its end";
  }
  unsigned vex = 0, wide = 0;
  uint64_t vex_runs = 0;
  for (const Form& form : forms) {
    if (!form.vex) continue;
    vex++;
    vex_runs += form.runs;
    wide += absl::StrContains(form.name, "ymm");
  }
  absl::PrintF("%u mnemonics, %u forms, %u cases; with VEX %u forms (%u with YMM), %u cases\n",
               completed.size(), forms.size(), cases_, vex, wide, vex_runs);
  __builtin_cpu_init();
  if (options.form.empty() && __builtin_cpu_supports("avx2")) {
    EXPECT_GT(wide, 400u);
  }
}

TEST_F(DifferentialTest, RandomBlocks) {
  const auto deadline = Deadline(options.seconds - options.seconds / 2);
  uint64_t completed = 0;
  while (std::chrono::steady_clock::now() < deadline || cases_ < 2000) {
    for (int i = 0; i < 100; i++) {
      const Case c = generator_->MakeBlock(30);
      if (c.code.empty()) continue;
      if (Check(c, "block") && expected_.vector == 3) completed++;
    }
    if (HasFailure()) break;
  }
  EXPECT_GT(completed, cases_ / 10);
  absl::PrintF("%u blocks, %u to their end\n", cases_, completed);
}

}  // namespace

bool ParseOption(absl::string_view argument) {
  auto value = [&](absl::string_view name, auto parse) {
    return absl::StartsWith(argument, name) && parse(argument.substr(name.size()));
  };
  return value("--seconds=", [](auto v) { return absl::SimpleAtoi(v, &options.seconds); }) ||
         value("--seed=", [](auto v) { return absl::SimpleAtoi(v, &options.seed); }) ||
         value("--form=", [](auto v) {
           options.form = std::string(v);
           return true;
         });
}

}  // namespace atl::cpu::test

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  for (int i = 1; i < argc; i++) {
    if (!atl::cpu::test::ParseOption(argv[i])) {
      fprintf(stderr, "%s: unknown option %s\n", argv[0], argv[i]);
      return 2;
    }
  }
  return RUN_ALL_TESTS();
}
