// SPDX-License-Identifier: Apache-2.0
#include "lib/stats/fields.h"

#include <algorithm>
#include <string>

#include "gtest/gtest.h"

namespace atl::stats {
namespace {

// The table of Linux 2.6.29 to 4.1.
constexpr absl::string_view kClassic[] = {"efer_reload",
                                          "exits",
                                          "fpu_reload",
                                          "halt_exits",
                                          "halt_wakeup",
                                          "host_state_reload",
                                          "hypercalls",
                                          "insn_emulation",
                                          "insn_emulation_fail",
                                          "invlpg",
                                          "io_exits",
                                          "irq_exits",
                                          "irq_injections",
                                          "irq_window",
                                          "largepages",
                                          "mmio_exits",
                                          "mmu_cache_miss",
                                          "mmu_flooded",
                                          "mmu_pde_zapped",
                                          "mmu_pte_updated",
                                          "mmu_pte_write",
                                          "mmu_recycled",
                                          "mmu_shadow_zapped",
                                          "mmu_unsync",
                                          "nmi_injections",
                                          "nmi_window",
                                          "pf_fixed",
                                          "pf_guest",
                                          "remote_tlb_flush",
                                          "request_irq",
                                          "signal_exits",
                                          "tlb_flush"};

TEST(Fields, TheClassicOnesAreAllThere) {
  EXPECT_EQ(std::size(kClassic), 32u);
  for (absl::string_view name : kClassic) {
    const Field* f = FindField(name);
    ASSERT_NE(f, nullptr) << name;
    EXPECT_TRUE(OldName(f->name) == name) << f->name;
  }
}

TEST(Fields, AreSortedAndSaid) {
  for (const Field& f : Fields()) {
    EXPECT_TRUE(&f == Fields().data() || (&f)[-1].name < f.name) << f.name;
    EXPECT_TRUE(!f.meaning.empty() && f.meaning.size() <= 80 && f.meaning.back() != '.') << f.name;
    EXPECT_EQ(FindField(f.name), &f);
  }
}

TEST(Fields, NamesOldAndOfPatterns) {
  EXPECT_TRUE(FindField("irq_window")->name == "irq_window_exits");
  EXPECT_TRUE(OldName("pages_2m") == "largepages");
  EXPECT_TRUE(OldName("dev_ns16550_ns") == "dev_ns16550_ns");
  EXPECT_TRUE(FindField("dev_ns16550_hist")->name == "dev_NAME_hist");
  EXPECT_TRUE(FindField("exit_io_ns")->name == "exit_NAME_ns");
  EXPECT_TRUE(FindField("kvm_exit(HLT)")->name == "kvm_exit");
  EXPECT_EQ(FindField("dev__hist"), nullptr);
  EXPECT_EQ(FindField("brand_new"), nullptr);
}

}  // namespace
}  // namespace atl::stats
