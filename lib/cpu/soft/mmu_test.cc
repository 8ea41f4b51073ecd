// SPDX-License-Identifier: Apache-2.0
// The soft TLB: what it may hold and what flushes must take from it. Host
// addresses that the fast path gives are compared with what a walk says.
#include "lib/cpu/soft/mmu.h"

#include <cstdint>
#include <cstring>
#include <random>
#include <vector>

#include "gtest/gtest.h"
#include "lib/cpu/soft/testing/guest.h"
#include "lib/mem/page_tracker.h"

namespace atl::cpu::soft {
namespace {

constexpr uint64_t kP = 1, kW = 2, kU = 4, kD = 0x40, kPs = 0x80, kG = 0x100;
constexpr uint64_t kPage = 0x300000;

class MmuTest : public ::testing::Test {
 protected:
  void SetUp() override { guest_.Enter64(); }
  SoftVcpu& cpu() { return guest_.cpu(); }
  Mmu& mmu() { return guest_.cpu().mmu; }
  CpuState& s() { return guest_.cpu().s; }
  uint64_t Pte(uint64_t linear) { return Guest::kPageTable + 8 * (linear >> 12); }
  // Without a flush.
  void SetPte(uint64_t linear, uint64_t entry) { guest_.memory->Store(Gpa(Pte(linear)), entry); }
  bool Read(uint64_t at, Rights rights = Rights::kSupervisor) {
    uint64_t v;
    return mmu().ReadSlow(at, &v, 8, rights);
  }
  bool Write(uint64_t at, uint64_t v, Rights rights = Rights::kSupervisor) {
    return mmu().WriteSlow(at, &v, 8, rights);
  }
  bool Fast(uint64_t at, bool user = false) { return mmu().FastRead<uint64_t>(at, user); }
  bool FastW(uint64_t at, bool user = false) { return mmu().FastWrite<uint64_t>(at, user); }
  void SetCr4(uint64_t bits) {
    s().cr4 |= bits;
    ModeChanged(cpu());
    mmu().FlushAll();
  }

  Guest guest_;
};

TEST_F(MmuTest, WritesAreFastOnlyOnceDirty) {
  EXPECT_FALSE(Fast(kPage));
  ASSERT_TRUE(Read(kPage));
  EXPECT_TRUE(Fast(kPage));
  EXPECT_FALSE(FastW(kPage));
  EXPECT_EQ(guest_.Read64(Pte(kPage)) & kD, 0u);
  ASSERT_TRUE(Write(kPage, 0x1234));
  EXPECT_TRUE(FastW(kPage));
  EXPECT_NE(guest_.Read64(Pte(kPage)) & kD, 0u);
  EXPECT_EQ(guest_.Read64(kPage), 0x1234u);
  EXPECT_FALSE(Fast(kPage, true));  // the tables are apart
}

TEST_F(MmuTest, FastNeverCrossesAPage) {
  ASSERT_TRUE(Write(kPage, 0));
  ASSERT_TRUE(Write(kPage + 0x1000, 0));
  EXPECT_TRUE(Fast(kPage + 0xFF8));
  for (unsigned i = 1; i < 8; ++i) EXPECT_FALSE(Fast(kPage + 0xFF8 + i)) << i;
}

TEST_F(MmuTest, CrossingWritesFaultBeforeTheFirstByte) {
  guest_.MapPage(kPage + 0x1000, 0);
  ASSERT_TRUE(Write(kPage + 0xFF8, 0x1111111111111111));
  EXPECT_FALSE(Write(kPage + 0xFFC, 0x2222222222222222));
  EXPECT_EQ(cpu().fault.vector, kPfault);
  EXPECT_EQ(cpu().fault.error_code, 2u);
  EXPECT_EQ(cpu().fault.address, kPage + 0x1000);
  EXPECT_EQ(guest_.Read64(kPage + 0xFF8), 0x1111111111111111u);
}

TEST_F(MmuTest, NonCanonicalAddresses) {
  EXPECT_FALSE(Read(0x0000800000000000));
  EXPECT_EQ(cpu().fault.vector, kGp);
  uint64_t v;
  EXPECT_FALSE(mmu().ReadSlow(0x0000800000000000, &v, 8, Rights::kSupervisor, true));
  EXPECT_EQ(cpu().fault.vector, kSsFault);
  EXPECT_EQ(cpu().fault.error_code, 0u);
  // Crossing into the hole.
  EXPECT_FALSE(Read(0x00007FFFFFFFFFFC));
}

TEST_F(MmuTest, SmapFollowsAc) {
  SetCr4(kCr4Smap);
  EXPECT_FALSE(Read(kPage));  // the pages are the user's
  EXPECT_EQ(cpu().fault.error_code, 1u);
  s().rflags_rest |= kAc;
  mmu().AcChanged();
  ASSERT_TRUE(Write(kPage, 1));
  EXPECT_TRUE(Fast(kPage));
  EXPECT_TRUE(FastW(kPage));
  // The processor's own accesses are not let through by AC.
  EXPECT_EQ(mmu().FastReadImplicit<uint64_t>(kPage), nullptr);
  EXPECT_FALSE(Read(kPage, Rights::kImplicitSupervisor));
  ASSERT_TRUE(Read(kPage));
  s().rflags_rest &= ~kAc;
  mmu().AcChanged();
  EXPECT_FALSE(Fast(kPage));
  EXPECT_FALSE(FastW(kPage));
  // And at once again.
  s().rflags_rest |= kAc;
  mmu().AcChanged();
  EXPECT_TRUE(Fast(kPage));
  // User mode does not care.
  EXPECT_TRUE(Read(kPage, Rights::kUser));
}

TEST_F(MmuTest, SmepKeepsUserCodeFromTheKernel) {
  Mmu::CodePage page;
  EXPECT_TRUE(mmu().TranslateCode(kPage, &page));
  EXPECT_EQ(page.page, kPage >> 12);
  SetCr4(kCr4Smep);
  EXPECT_FALSE(mmu().TranslateCode(kPage, &page));
  EXPECT_EQ(cpu().fault.error_code, kPfPresent | kPfFetch);
}

TEST_F(MmuTest, GlobalPagesOutliveCr3) {
  guest_.MapPage(kPage, kPage | kP | kW | kG);
  ASSERT_TRUE(Read(kPage));
  ASSERT_TRUE(Read(kPage + 0x1000));
  mmu().FlushNonGlobal();
  EXPECT_TRUE(Fast(kPage));
  EXPECT_FALSE(Fast(kPage + 0x1000));
  // A global page in a slot that a local one had.
  constexpr uint64_t kSame = kPage + (uint64_t{Mmu::kTlbSize} << 12);
  guest_.memory->Store<uint64_t>(Gpa(0x12000 + 8 * (kSame >> 21)), 0x700007);
  guest_.memory->Store<uint64_t>(Gpa(0x700000 + 8 * (kSame >> 12 & 511)), kPage | 7);
  ASSERT_TRUE(Read(kSame));
  ASSERT_TRUE(Read(kPage));
  mmu().FlushNonGlobal();
  EXPECT_TRUE(Fast(kPage));
  // And the other way.
  ASSERT_TRUE(Read(kSame));
  mmu().FlushNonGlobal();
  EXPECT_FALSE(Fast(kSame));
  ASSERT_TRUE(Read(kPage));
  mmu().FlushAll();
  EXPECT_FALSE(Fast(kPage));
}

TEST_F(MmuTest, InvlpgTakesTheWholeLargePage) {
  guest_.memory->Store<uint64_t>(Gpa(0x12000 + 8 * 3), 0x600000 | kP | kW | kU | kPs);
  mmu().FlushAll();
  ASSERT_TRUE(Read(0x601000));
  ASSERT_TRUE(Read(0x7FF000));
  ASSERT_TRUE(Read(kPage));
  mmu().FlushPage(0x655000);  // never accessed itself
  EXPECT_FALSE(Fast(0x601000));
  EXPECT_FALSE(Fast(0x7FF000));
  EXPECT_TRUE(Fast(kPage));
}

TEST_F(MmuTest, FlushesChangeTheGeneration) {
  constexpr uint64_t kUpper = ~uint64_t{0} << 47;
  Mmu::CodePage page;
  ASSERT_TRUE(mmu().TranslateCode(kPage, &page));
  uint64_t g = mmu().generation(kPage), upper = mmu().generation(kUpper);
  // Of a page whose region had no code: not of it.
  mmu().FlushPage(kPage + (1 << 23));
  EXPECT_EQ(mmu().generation(kPage), g);
  // In the same large page, were it one.
  mmu().FlushPage(kPage ^ 0x1FF000);
  EXPECT_NE(mmu().generation(kPage), g);
  g = mmu().generation(kPage);
  mmu().FlushNonGlobal();
  EXPECT_NE(mmu().generation(kPage), g);
  // No code there that is not global.
  EXPECT_EQ(mmu().generation(kUpper), upper);
  g = mmu().generation(kPage);
  mmu().FlushAll();
  EXPECT_NE(mmu().generation(kPage), g);
  EXPECT_NE(mmu().generation(kUpper), upper);
  const uint64_t ticket = mmu().RequestFlush();
  EXPECT_TRUE(mmu().flush_requested());
  EXPECT_FALSE(mmu().FlushDone(ticket));
  ASSERT_TRUE(Read(kPage));
  mmu().TakeFlushRequest();
  EXPECT_TRUE(mmu().FlushDone(ticket));
  EXPECT_FALSE(mmu().flush_requested());
  EXPECT_FALSE(Fast(kPage));
}

TEST_F(MmuTest, LocalCodeOfTheUpperHalfGoesWithItsSpace) {
  constexpr uint64_t kUpper = ~uint64_t{0} << 47;
  // The last PML4 entries of the upper half: the same tables again.
  guest_.memory->Store<uint64_t>(Gpa(0x10000 + 8 * 256), 0x11007);
  guest_.MapPage(kPage + 0x1000, (kPage + 0x1000) | kP | kW | kG);
  Mmu::CodePage page;
  ASSERT_TRUE(mmu().TranslateCode(kUpper + kPage + 0x1000, &page));
  uint64_t g = mmu().generation(kUpper);
  mmu().FlushNonGlobal();
  EXPECT_EQ(mmu().generation(kUpper), g);
  ASSERT_TRUE(mmu().TranslateCode(kUpper + kPage, &page));
  mmu().FlushNonGlobal();
  EXPECT_NE(mmu().generation(kUpper), g);
  g = mmu().generation(kUpper);
  ASSERT_TRUE(mmu().TranslateCode(kUpper + kPage + 0x1000, &page));
  mmu().FlushPage(kUpper + kPage + 0x1000);
  EXPECT_NE(mmu().generation(kUpper), g);
}

TEST_F(MmuTest, GenerationsComeBackWithTheirPcid) {
  SetCr4(kCr4Pcide);
  const auto go = [&](uint64_t pcid, bool keep) {
    s().cr3 = 0x10000 | pcid;
    mmu().SwitchTo(keep);
    return mmu().generation(0);
  };
  const uint64_t one = go(1, false), two = go(2, false);
  EXPECT_NE(one, two);
  ASSERT_TRUE(Read(kPage));
  EXPECT_EQ(go(1, true), one);
  EXPECT_FALSE(Fast(kPage));  // the other space's
  EXPECT_EQ(go(2, true), two);
  mmu().FlushPcid(1);
  EXPECT_EQ(mmu().generation(0), two);
  const uint64_t one_again = go(1, true);
  EXPECT_NE(one_again, one);
  EXPECT_NE(go(1, false), one_again);
  EXPECT_EQ(go(2, true), two);
  mmu().FlushNonGlobal();
  EXPECT_NE(go(2, true), two);
  // More than are remembered; no number is there twice.
  std::vector<uint64_t> seen;
  for (uint64_t p = 3; p < 40; ++p) seen.push_back(go(p, true));
  for (uint64_t p = 3; p < 40; ++p) {
    const uint64_t g = go(p, true);
    for (uint64_t other = 3; other < 40; ++other) {
      if (other != p) {
        EXPECT_NE(g, seen[other - 3]);
      }
    }
  }
}

TEST_F(MmuTest, RememberedPageTablesAreCounted) {
  constexpr uint64_t kPml4 = 0x800000, kPdpt = 0x801000, kPd = 0x802000, kPt = 0x803000;
  GuestMemory& m = *guest_.memory;
  m.Store<uint64_t>(Gpa(kPml4), kPdpt | 7);
  m.Store<uint64_t>(Gpa(kPdpt), kPd | 7);
  for (uint64_t i = 0; i < 512; ++i) m.Store<uint64_t>(Gpa(kPd + 8 * i), kPt | 7);
  for (uint64_t i = 0; i < 8; ++i) m.Store<uint64_t>(Gpa(kPt + 8 * i), (0x900 + i) << 12 | 7);
  s().cr3 = kPml4;
  mmu().SwitchTo(false);
  const VcpuCounters& c = cpu().counters;
  const uint64_t misses = c.mmu_cache_miss.value(), zapped = c.mmu_shadow_zapped.value(),
                 recycled = c.mmu_recycled.value();
  EXPECT_EQ(c.mmu_unsync.value(), 0u);
  const auto expect = [&](uint64_t new_misses, uint64_t new_zapped, uint64_t new_recycled,
                          uint64_t unsync) {
    EXPECT_EQ(c.mmu_cache_miss.value() - misses, new_misses);
    EXPECT_EQ(c.mmu_shadow_zapped.value() - zapped, new_zapped);
    EXPECT_EQ(c.mmu_recycled.value() - recycled, new_recycled);
    EXPECT_EQ(c.mmu_unsync.value(), unsync);
  };
  // There is room for 64, by region; six more take the places of the first.
  for (uint64_t i = 0; i < 64; ++i) ASSERT_TRUE(Read(i << 21));
  expect(64, 0, 0, 64);
  for (uint64_t i = 0; i < 64; ++i) ASSERT_TRUE(Read(i << 21 | 0x1000));
  expect(64, 0, 0, 64);
  for (uint64_t i = 64; i < 70; ++i) ASSERT_TRUE(Read(i << 21));
  expect(70, 6, 6, 64);
  // What the guest wrote shows when an old table does not allow an access.
  EXPECT_FALSE(Read(uint64_t{20} << 21 | 0x9000));
  expect(70, 6, 6, 64);
  m.Store<uint64_t>(Gpa(kPd + 8 * 20), kPt + 0x1000 + 7);
  m.Store<uint64_t>(Gpa(kPt + 0x1000 + 8 * 9), 0x900000 | 7);
  EXPECT_TRUE(Read(uint64_t{20} << 21 | 0x9000));
  expect(71, 7, 6, 64);
  mmu().FlushPage(0);
  expect(71, 71, 6, 0);
  ASSERT_TRUE(Read(0x2000));
  expect(72, 71, 6, 1);
}

// Three address spaces that differ in what they map and in their page tables, with
// the invalidations that the manual asks for; nothing of one is seen in another.
TEST_F(MmuTest, AddressSpacesStayApart) {
  constexpr unsigned kSpaces = 3;
  std::mt19937_64 random(2);
  SetCr4(kCr4Pcide);
  // Space i: PML4 at 0x800000 + i * 64 KiB, then PDPT, PD, and two page tables for
  // what lies from 4 MiB.
  const auto table = [](uint64_t space, uint64_t n) {
    return 0x800000 + space * 0x10000 + n * 0x1000;
  };
  const auto frame = [&] { return (0xA00 + random() % 0x400) << 12; };
  for (uint64_t i = 0; i < kSpaces; ++i) {
    GuestMemory& m = *guest_.memory;
    m.Store<uint64_t>(Gpa(table(i, 0)), table(i, 1) | 7);
    m.Store<uint64_t>(Gpa(table(i, 1)), table(i, 2) | 7);
    m.Store<uint64_t>(Gpa(table(i, 2) + 16), table(i, 3) | 7);
    m.Store<uint64_t>(Gpa(table(i, 2) + 24), table(i, 4) | 7);
    for (uint64_t j = 0; j < 1024; ++j) {
      m.Store<uint64_t>(Gpa(table(i, 3) + 8 * j), frame() | 7);
    }
  }
  unsigned now = 0;
  bool stale[kSpaces] = {true, true, true};
  const auto go = [&](unsigned to) {
    s().cr3 = table(to, 0) | (to + 1);
    mmu().SwitchTo(!stale[to]);
    stale[to] = false;
    now = to;
  };
  go(0);
  for (int i = 0; i < 100000; ++i) {
    const uint64_t page = 0x400000 + random() % 1024 * 0x1000;
    const unsigned space = random() % kSpaces;
    switch (random() % 16) {
      case 0:
        go(space);
        break;
      case 1: {
        guest_.memory->Store<uint64_t>(Gpa(table(space, 3) + 8 * ((page - 0x400000) >> 12)),
                                       frame() | (random() & (kW | kU)) | (random() % 8 != 0));
        if (space == now) {
          mmu().FlushPage(page);
        } else if (random() % 2) {
          mmu().FlushPcid(static_cast<uint16_t>(space + 1));
        } else {
          stale[space] = true;
        }
        break;
      }
      case 2:
        // The level above: the second table, or the first at its place too.
        guest_.memory->Store<uint64_t>(Gpa(table(space, 2) + 24),
                                       table(space, 3 + random() % 2) | 1 | (random() & (kW | kU)));
        if (space == now) {
          mmu().FlushPcid(static_cast<uint16_t>(space + 1));
        } else {
          stale[space] = true;
        }
        break;
      default:
        if (random() % 2) {
          Read(page, static_cast<Rights>(random() % 3));
        } else {
          Write(page, 0, static_cast<Rights>(random() % 3));
        }
    }
    const uint64_t at = 0x400000 + random() % 1024 * 0x1000 + 8 * (random() % 512);
    const bool user = random() & 1;
    PhysicalMap map(*guest_.memory);
    const auto expect = [&](const uint8_t* host, Access access) {
      if (host == nullptr) return;
      PageWalk walk;
      uint32_t error;
      ASSERT_TRUE(WalkPageTables(mmu().paging(), map, at,
                                 {access, user ? Rights::kUser : Rights::kSupervisor, false}, &walk,
                                 &error));
      ASSERT_EQ(host, guest_.memory->ram_host() + walk.physical + (at & 0xFFF)) << i;
    };
    expect(mmu().FastRead<uint64_t>(at, user), Access::kRead);
    expect(mmu().FastWrite<uint64_t>(at, user), Access::kWrite);
    if (HasFatalFailure()) return;
  }
}

TEST_F(MmuTest, RomIsNeverWritten) {
  alignas(4096) static uint8_t rom[4096] = {1, 2, 3};
  guest_.memory->SetSlot(Gpa(0xF0000), 4096, rom, SlotKind::kRom);
  mmu().TakeFlushRequest();
  ASSERT_TRUE(Write(0xF0000, 0));
  EXPECT_EQ(rom[0], 1);
  EXPECT_FALSE(FastW(0xF0000));
  EXPECT_TRUE(Fast(0xF0000));
  bool faulted;
  EXPECT_EQ(mmu().RmwPointer(0xF0000, 4, Rights::kSupervisor, false, &faulted), nullptr);
  EXPECT_FALSE(faulted);
}

TEST_F(MmuTest, MmioComesInAlignedPieces) {
  guest_.MapPage(kPage, 0xFED00000 | kP | kW);
  uint8_t bytes[16];
  for (unsigned i = 0; i < 16; ++i) bytes[i] = static_cast<uint8_t>(i + 1);
  ASSERT_TRUE(mmu().WriteSlow(kPage + 3, bytes, 8, Rights::kSupervisor));
  using Writes = std::vector<std::pair<uint64_t, uint64_t>>;
  EXPECT_EQ(
      guest_.bus.mmio_writes,
      (Writes{{0xFED00003, 1}, {0xFED00004, 0x05040302}, {0xFED00008, 0x0706}, {0xFED0000A, 8}}));
  guest_.bus.mmio_writes.clear();
  ASSERT_TRUE(mmu().WriteSlow(kPage, bytes, 16, Rights::kSupervisor));
  EXPECT_EQ(guest_.bus.mmio_writes,
            (Writes{{0xFED00000, 0x0807060504030201}, {0xFED00008, 0x100F0E0D0C0B0A09}}));
  EXPECT_FALSE(FastW(kPage));
  EXPECT_FALSE(Fast(kPage));
}

TEST_F(MmuTest, PagesWithCodeAreWrittenSlowly) {
  SoftVm& vm = cpu().vm;
  constexpr uint64_t kIndex = kPage >> 12;
  ASSERT_TRUE(Write(kPage, 0));
  EXPECT_TRUE(FastW(kPage));
  uint32_t version;
  ASSERT_TRUE(vm.WatchCode(kIndex, 0x40, 0x41, cpu(), &version));
  EXPECT_EQ(version, vm.CodeVersion(kIndex));
  EXPECT_FALSE(FastW(kPage));
  ASSERT_TRUE(Write(kPage + 0x40, 1));
  EXPECT_NE(vm.CodeVersion(kIndex), version);
  EXPECT_TRUE(Fast(kPage));
  EXPECT_FALSE(FastW(kPage));
  // A read-modify-write says so after its store, not before.
  bool faulted;
  const uint32_t before = vm.CodeVersion(kIndex);
  uint8_t* p = mmu().RmwPointer(kPage + 0xB8, 8, Rights::kSupervisor, false, &faulted);
  ASSERT_NE(p, nullptr);
  EXPECT_EQ(vm.CodeVersion(kIndex), before);
  mmu().Stored(p, 8);
  EXPECT_NE(vm.CodeVersion(kIndex), before);
}

TEST_F(MmuTest, GranulesWithoutCodeAreData) {
  SoftVm& vm = cpu().vm;
  constexpr uint64_t kIndex = kPage >> 12;
  uint32_t version;
  ASSERT_TRUE(vm.WatchCode(kIndex, 0x7F, 2, cpu(), &version));  // 0x40 to 0xBF
  for (const uint64_t at : {0x00, 0x38, 0xC0, 0xFF8}) {
    ASSERT_TRUE(Write(kPage + at, 1));
    EXPECT_EQ(vm.CodeVersion(kIndex), version) << at;
  }
  for (const uint64_t at : {0x39, 0x78, 0x7C, 0xB8, 0xBF}) {
    const uint32_t before = vm.CodeVersion(kIndex);
    ASSERT_TRUE(Write(kPage + at, 1));
    EXPECT_NE(vm.CodeVersion(kIndex), before) << at;
  }
  const uint32_t before = vm.CodeVersion(kIndex);
  ASSERT_TRUE(vm.WatchCode(kIndex, 0xFFF, 1, cpu(), &version));
  ASSERT_TRUE(Write(kPage + 0xFC0, 1));
  EXPECT_NE(vm.CodeVersion(kIndex), before);
}

TEST_F(MmuTest, ManyStoresMakeAPageDataAgain) {
  SoftVm& vm = cpu().vm;
  constexpr uint64_t kIndex = kPage >> 12;
  unsigned needed[8];
  for (unsigned& n : needed) {
    uint32_t version;
    ASSERT_TRUE(vm.WatchCode(kIndex, 0, 1, cpu(), &version));
    for (n = 0; !FastW(kPage) && n < 100000; ++n) ASSERT_TRUE(Write(kPage + 0x800, n));
    // What was decoded is compared before it runs again.
    EXPECT_NE(vm.CodeVersion(kIndex), version);
    EXPECT_TRUE(FastW(kPage + 0x100));
  }
  EXPECT_GT(needed[0], 30u);
  EXPECT_LT(needed[0], 100u);
  // Where that happens time and again it takes longer, but not for ever.
  EXPECT_GT(needed[1], needed[0]);
  EXPECT_EQ(needed[6], needed[7]);
  EXPECT_LT(needed[7], 2000u);
}

TEST_F(MmuTest, AWholePageWrittenIsDataAtOnce) {
  SoftVm& vm = cpu().vm;
  constexpr uint64_t kIndex = kPage >> 12;
  uint32_t version;
  ASSERT_TRUE(vm.WatchCode(kIndex, 0, 1, cpu(), &version));
  const std::vector<uint8_t> zero(4096);
  ASSERT_TRUE(mmu().WriteSlow(kPage, zero.data(), 4096, Rights::kSupervisor));
  EXPECT_NE(vm.CodeVersion(kIndex), version);
  ASSERT_TRUE(Write(kPage, 1));
  EXPECT_TRUE(FastW(kPage));
}

TEST_F(MmuTest, OthersDropTheirWriteTags) {
  Guest two(2);
  two.Enter64(0);
  two.Enter64(1);
  Mmu& other = two.cpu(1).mmu;
  uint64_t v = 0;
  for (uint64_t i = 0; i < 40; ++i) {
    ASSERT_TRUE(other.WriteSlow(kPage + i * 4096, &v, 8, Rights::kSupervisor));
  }
  // Outside Run() nobody waits for it; what it missed it makes good, one request
  // or more than are remembered.
  for (const auto& [first, last] : {std::pair<uint64_t, uint64_t>{0, 1}, {1, 6}, {6, 39}}) {
    for (uint64_t i = first; i < last; ++i) {
      uint32_t version;
      ASSERT_TRUE(two.cpu(0).vm.WatchCode((kPage >> 12) + i, 0, 1, two.cpu(0), &version));
    }
    ASSERT_TRUE(other.flush_requested());
    other.TakeFlushRequest();
    EXPECT_FALSE(other.flush_requested());
    for (uint64_t i = 0; i < last; ++i) {
      EXPECT_EQ(other.FastWrite<uint64_t>(kPage + i * 4096, false), nullptr) << i;
    }
    // A few requests cost no more than their pages.
    EXPECT_EQ(other.FastWrite<uint64_t>(kPage + 39 * 4096, false) != nullptr, last < 39);
  }
}

// Memory beside RAM: a page is marked before it is written to, and once rights are
// taken back, again.
TEST_F(MmuTest, TrackedPagesAreMarkedBeforeTheyAreWritten) {
  alignas(4096) static uint8_t memory[3 * 4096];
  PageTracker tracker(*guest_.memory, memory);
  ASSERT_TRUE(tracker.knows());
  guest_.memory->SetSlot(Gpa(0xE0000000), sizeof memory, memory, SlotKind::kRam);
  mmu().TakeFlushRequest();
  for (uint64_t i = 0; i < 3; ++i)
    guest_.MapPage(kPage + i * 4096, (0xE0000000 + i * 4096) | kP | kW | kD);
  std::vector<bool> written;
  // To look is not to write.
  ASSERT_TRUE(Read(kPage));
  EXPECT_TRUE(Fast(kPage));
  EXPECT_FALSE(FastW(kPage));
  EXPECT_EQ(tracker.Look(0, &written), 1u);
  EXPECT_EQ(written, (std::vector<bool>{false, false, false}));
  // The first write is told, and gives the right to more.
  int told = 0;
  EXPECT_TRUE(tracker.OnNextMark([&told] { ++told; }));
  ASSERT_TRUE(Write(kPage + 4096 + 8, 7));
  EXPECT_EQ(told, 1);
  EXPECT_EQ(memory[4096 + 8], 7);
  EXPECT_TRUE(FastW(kPage + 4096));
  cpu().in_run = true;
  EXPECT_EQ(tracker.Look(1, &written), 2u);
  EXPECT_EQ(written, (std::vector<bool>{false, true, false}));
  // The vCPU has the right still.
  EXPECT_TRUE(FastW(kPage + 4096));
  EXPECT_FALSE(tracker.OnNextMark([&told] { ++told; }));
  EXPECT_EQ(tracker.Look(2, &written), 3u);
  EXPECT_EQ(written, (std::vector<bool>{false, true, false}));
  EXPECT_TRUE(mmu().flush_requested());
  mmu().TakeFlushRequest();
  EXPECT_FALSE(FastW(kPage + 4096));
  EXPECT_TRUE(Fast(kPage + 4096));
  // What it wrote until then, once more; then no more.
  EXPECT_EQ(tracker.Look(3, &written), 4u);
  EXPECT_EQ(written, (std::vector<bool>{false, true, false}));
  EXPECT_EQ(tracker.Look(4, &written), 5u);
  EXPECT_EQ(written, (std::vector<bool>{false, false, false}));
  EXPECT_TRUE(tracker.OnNextMark([&told] { ++told; }));
  EXPECT_EQ(told, 1);
  // A read-modify-write, and a device's.
  bool faulted;
  EXPECT_NE(mmu().RmwPointer(kPage, 4, Rights::kSupervisor, false, &faulted), nullptr);
  EXPECT_EQ(told, 2);
  guest_.memory->Store<uint32_t>(Gpa(0xE0002000), 1);
  EXPECT_EQ(tracker.Look(5, &written), 6u);
  EXPECT_EQ(written, (std::vector<bool>{true, false, true}));
  // A vCPU outside of Run() has let go of its rights.
  cpu().in_run = false;
  EXPECT_EQ(tracker.Look(6, &written), 7u);
  EXPECT_EQ(written, (std::vector<bool>{true, false, true}));
  EXPECT_TRUE(tracker.OnNextMark(nullptr));
  // Of somebody who looks less often.
  tracker.Look(1, &written);
  EXPECT_EQ(written, (std::vector<bool>{true, true, true}));
  guest_.memory->SetSlot(Gpa(0xE0000000), sizeof memory, nullptr, SlotKind::kRam);
  mmu().TakeFlushRequest();
}

// RAM from 4 GiB up has page numbers that are not its indices.
TEST_F(MmuTest, HostWritesFindTheRamPage) {
  const uint64_t index = kPage >> 12;
  guest_.memory->SetSlot(Gpa(GuestMemory::kHighRamBase), 4096, guest_.memory->ram_host() + kPage,
                         SlotKind::kRam);
  uint32_t version;
  ASSERT_TRUE(cpu().vm.WatchCode(index, 0, 1, cpu(), &version));
  ASSERT_TRUE(guest_.memory->Store<uint64_t>(Gpa(GuestMemory::kHighRamBase), 1));
  EXPECT_NE(cpu().vm.CodeVersion(index), version);
}

TEST_F(MmuTest, DataBreakpoints) {
  ASSERT_TRUE(Write(kPage + 0x100, 0));
  s().dr[0] = kPage + 0x100;
  s().dr[7] = 0x400 | 1 | 0xD << 16;  // 4 bytes, writes
  mmu().BreakpointsChanged();
  ASSERT_TRUE(Read(kPage + 0x100));
  EXPECT_EQ(s().pending_debug, 0u);
  EXPECT_FALSE(Fast(kPage));  // the page stays slow
  ASSERT_TRUE(Write(kPage + 0x104, 0));
  EXPECT_EQ(s().pending_debug, 0u);
  ASSERT_TRUE(Write(kPage + 0xFC, 0));
  EXPECT_EQ(s().pending_debug, 1u);
  s().pending_debug = 0;
  s().dr[7] = 0x400;
  mmu().BreakpointsChanged();
  ASSERT_TRUE(Write(kPage + 0x100, 0));
  EXPECT_EQ(s().pending_debug, 0u);
  EXPECT_TRUE(FastW(kPage));
}

// Pages change, with the flushes that the manual asks for; whatever the fast path
// then gives is what a walk gives.
TEST_F(MmuTest, FastPathAgreesWithWalks) {
  std::mt19937_64 random(1);
  SetCr4(kCr4Smap | kCr4Smep);
  const auto linear = [&] { return 0x400000 + (random() % 0x800) * 0x1000; };
  for (int i = 0; i < 60000; ++i) {
    const uint64_t page = linear();
    switch (random() % 8) {
      case 0:
        SetPte(page, (0x400 + random() % 0xC00) << 12 | (random() & (kW | kU | kG)) |
                         (random() % 8 != 0));
        mmu().FlushPage(page);
        break;
      case 1:
        s().rflags_rest ^= kAc;
        mmu().AcChanged();
        break;
      case 2:
        if (random() % 64 == 0) mmu().FlushNonGlobal();
        break;
      default: {
        const Rights rights = static_cast<Rights>(random() % 3);
        if (random() % 2) {
          Read(page, rights);
        } else {
          Write(page, 0, rights);
        }
      }
    }
    const uint64_t at = linear() + 8 * (random() % 512);
    const bool user = random() & 1, ac = (s().rflags_rest & kAc) != 0;
    PhysicalMap map(*guest_.memory);
    const auto expect = [&](const uint8_t* host, Access access, Rights rights) {
      if (host == nullptr) return;
      PageWalk walk;
      uint32_t error;
      const uint64_t before = guest_.Read64(Pte(at));
      ASSERT_TRUE(WalkPageTables(mmu().paging(), map, at, {access, rights, ac}, &walk, &error))
          << std::hex << at << " " << before;
      ASSERT_EQ(host, guest_.memory->ram_host() + walk.physical + (at & 0xFFF));
      // The fast path hides no bit from the guest's tables.
      ASSERT_EQ(guest_.Read64(Pte(at)), before);
    };
    const Rights explicit_rights = user ? Rights::kUser : Rights::kSupervisor;
    expect(mmu().FastRead<uint64_t>(at, user), Access::kRead, explicit_rights);
    expect(mmu().FastWrite<uint64_t>(at, user), Access::kWrite, explicit_rights);
    expect(mmu().FastReadImplicit<uint64_t>(at), Access::kRead, Rights::kImplicitSupervisor);
    if (HasFatalFailure()) return;
  }
}

}  // namespace
}  // namespace atl::cpu::soft
