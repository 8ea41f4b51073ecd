// SPDX-License-Identifier: Apache-2.0
// The page walker against a naive one, over random tables in every paging mode.
#include "lib/cpu/soft/walk.h"

#include <cstdint>
#include <cstring>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <vector>

#include "gtest/gtest.h"
#include "lib/mem/guest_memory.h"

namespace atl::cpu::soft {
namespace {

constexpr uint64_t kRam = 2 << 20;

struct Expected {
  bool ok = false;
  uint32_t error = 0;
  uint64_t physical = 0;
  unsigned shift = 0;
  bool user = false, writable = false, executable = false, dirty = false, global = false;
  std::map<uint64_t, uint64_t> entries;  // physical address to value after the walk
};

// As the manual's figures 4-4 to 4-11 and section 4.6 say it, level by level, with
// no thought for speed.
class Oracle {
 public:
  Oracle(const GuestMemory& memory, const Paging& paging) : memory_(memory), p_(paging) {}

  Expected Walk(uint64_t linear, WalkAccess a) {
    Expected e;
    const bool wide = p_.kind != Paging::Kind::kTwoLevel;
    struct Level {
      unsigned low, bits;
      bool may_be_page;
    };
    std::vector<Level> levels;
    uint64_t table = 0;
    switch (p_.kind) {
      case Paging::Kind::kFourLevel:
        levels = {{39, 9, false}, {30, 9, true}, {21, 9, true}, {12, 9, true}};
        table = p_.root & 0x000FFFFFFFFFF000;
        break;
      case Paging::Kind::kPae: {
        const uint64_t pdpte = p_.pdpte[linear >> 30 & 3];
        if (!(pdpte & 1)) return Fail(a, 0);
        levels = {{21, 9, true}, {12, 9, true}};
        table = pdpte & 0x000FFFFFFFFFF000;
        break;
      }
      default:
        levels = {{22, 10, p_.page_size}, {12, 10, true}};
        table = p_.root & 0xFFFFF000;
    }
    bool user = true, write = true, execute = true;
    std::vector<std::pair<uint64_t, uint64_t>> seen;
    for (const Level& l : levels) {
      const uint64_t index = linear >> l.low & ((1 << l.bits) - 1);
      const uint64_t at = (table + index * (wide ? 8 : 4)) & p_.a20;
      const uint64_t v = Load(at, wide);
      seen.push_back({at, v});
      if (!(v & 1)) return Fail(a, 0);
      const bool ps = (v & 0x80) != 0;
      const bool leaf = l.low == 12 || (l.may_be_page && ps);
      bool reserved = false;
      if (wide) {
        for (unsigned bit = kPhysicalBits; bit < 52; ++bit) reserved |= (v >> bit & 1) != 0;
        if (p_.kind == Paging::Kind::kPae) {
          for (unsigned bit = 52; bit < 63; ++bit) reserved |= (v >> bit & 1) != 0;
        }
        if (!p_.no_execute) reserved |= (v >> 63) != 0;
        if (l.low == 39) reserved |= ps;
        if (leaf && l.low > 12) {
          for (unsigned bit = 13; bit < l.low; ++bit) reserved |= (v >> bit & 1) != 0;
        }
      } else if (leaf && l.low == 22) {
        reserved |= (v >> 21 & 1) != 0;
      }
      if (reserved) return Fail(a, 9);
      user = user && (v & 4);
      write = write && (v & 2);
      if (wide) execute = execute && !(v >> 63);
      if (!leaf) {
        table = wide ? v & 0x000FFFFFFFFFF000 : v & 0xFFFFF000;
        continue;
      }
      uint64_t frame = wide ? v & 0x000FFFFFFFFFF000 : v & 0xFFFFF000;
      if (!wide && l.low == 22) frame = (v & 0xFFC00000) | (v >> 13 & 0xFF) << 32;
      frame &= ~((uint64_t{1} << l.low) - 1);
      e.physical = (frame + ((linear & ((uint64_t{1} << l.low) - 1)) & ~uint64_t{0xFFF})) & p_.a20;
      e.shift = l.low;
      e.global = p_.global && (v & 0x100);
      e.dirty = (v & 0x40) || a.access == Access::kWrite;
      break;
    }
    bool allowed;
    if (a.rights == Rights::kUser) {
      allowed = user && (a.access != Access::kWrite || write) &&
                (a.access != Access::kExecute || execute);
    } else if (a.access == Access::kExecute) {
      allowed = execute && !(user && p_.smep);
    } else {
      allowed = a.access != Access::kWrite || write || !p_.write_protect;
      if (user && p_.smap && !(a.rights == Rights::kSupervisor && a.ac)) allowed = false;
    }
    if (!allowed) return Fail(a, 1);
    e.ok = true;
    e.user = user;
    e.writable = write;
    e.executable = execute;
    for (size_t i = 0; i < seen.size(); ++i) {
      uint64_t v = seen[i].second | 0x20;
      if (i + 1 == seen.size() && a.access == Access::kWrite) v |= 0x40;
      if (seen[i].first + 8 <= kRam) e.entries[seen[i].first] = v;
    }
    return e;
  }

 private:
  uint64_t Load(uint64_t at, bool wide) {
    if (wide) return memory_.Load<uint64_t>(Gpa(at)).value_or(~uint64_t{0});
    return memory_.Load<uint32_t>(Gpa(at)).value_or(~uint32_t{0});
  }
  Expected Fail(WalkAccess a, uint32_t bits) {
    Expected e;
    e.error = bits;
    if (a.access == Access::kWrite) e.error |= 2;
    if (a.rights == Rights::kUser) e.error |= 4;
    if (a.access == Access::kExecute &&
        (p_.smep || (p_.no_execute && p_.kind != Paging::Kind::kTwoLevel))) {
      e.error |= 16;
    }
    return e;
  }

  const GuestMemory& memory_;
  const Paging p_;
};

class WalkTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto memory = GuestMemory::Create(kRam);
    ASSERT_TRUE(memory.ok());
    memory_ = *std::move(memory);
  }

  // A paging-structure entry that leads somewhere often enough.
  uint64_t RandomEntry(bool wide) {
    uint64_t v = 0;
    if (random_() % 16 != 0) v |= 1;
    if (random_() % 4 != 0) v |= 2;
    if (random_() % 4 != 0) v |= 4;
    if (random_() % 6 == 0) v |= 0x80;
    v |= random_() & 0x160;
    // The tables fill the first 64 pages.
    uint64_t page = random_() % 64;
    if (random_() % 10 == 0) page = random_() % 0x100000;
    v |= page << 12;
    if ((v & 0x80) && random_() % 3 != 0) v &= ~(((uint64_t{1} << (wide ? 21 : 22)) - 1) ^ 0xFFF);
    if (wide) {
      if (random_() % 8 == 0) v |= uint64_t{1} << 63;
      if (random_() % 32 == 0) v |= uint64_t{1} << (40 + random_() % 23);
    }
    return v;
  }

  void FillTables(bool wide) {
    for (uint64_t at = 0; at < 64 * kPageSize; at += wide ? 8 : 4) {
      const uint64_t v = RandomEntry(wide);
      if (wide) {
        memory_->Store(Gpa(at), v);
      } else {
        memory_->Store(Gpa(at), static_cast<uint32_t>(v));
      }
    }
  }

  std::unique_ptr<GuestMemory> memory_;
  std::mt19937_64 random_{20261123};
};

TEST_F(WalkTest, AgreesWithTheOracle) {
  unsigned good = 0, reserved = 0, denied = 0;
  for (int round = 0; round < 60; ++round) {
    Paging p;
    p.kind = static_cast<Paging::Kind>(1 + round % 3);
    const bool wide = p.kind != Paging::Kind::kTwoLevel;
    FillTables(wide);
    p.write_protect = random_() & 1;
    p.page_size = random_() & 1;
    p.global = random_() & 1;
    p.no_execute = random_() & 1;
    p.smep = random_() & 1;
    p.smap = random_() & 1;
    p.root = (random_() % 64) << 12;
    for (uint64_t& d : p.pdpte) d = (random_() % 64) << 12 | (random_() % 8 != 0);
    if (random_() % 4 == 0) p.a20 = ~(uint64_t{1} << 20);
    PhysicalMap map(*memory_);
    for (int i = 0; i < 4000; ++i) {
      uint64_t linear = random_();
      if (p.kind == Paging::Kind::kFourLevel) {
        linear = static_cast<uint64_t>(static_cast<int64_t>(linear << 16) >> 16);
      } else {
        linear &= 0xFFFFFFFF;
      }
      WalkAccess a;
      a.access = static_cast<Access>(random_() % 3);
      a.rights = static_cast<Rights>(random_() % 3);
      a.ac = random_() & 1;
      const Expected want = Oracle(*memory_, p).Walk(linear, a);
      PageWalk got;
      uint32_t error = 0;
      const bool ok = WalkPageTables(p, map, linear, a, &got, &error);
      ASSERT_EQ(ok, want.ok) << std::hex << linear << " error " << error << " " << want.error;
      if (!ok) {
        ASSERT_EQ(error, want.error) << std::hex << linear;
        reserved += (error & kPfReserved) != 0;
        denied += (error & (kPfPresent | kPfReserved)) == kPfPresent;
        continue;
      }
      ++good;
      ASSERT_EQ(got.physical, want.physical) << std::hex << linear;
      ASSERT_EQ(got.shift, want.shift);
      ASSERT_EQ(got.user, want.user);
      ASSERT_EQ(got.writable, want.writable);
      ASSERT_EQ(got.executable, want.executable);
      ASSERT_EQ(got.dirty, want.dirty);
      ASSERT_EQ(got.global, want.global);
      // An entry can be reached twice in one walk, then bits of both are set.
      for (const auto& [at, v] : want.entries) {
        const uint64_t now =
            wide ? *memory_->Load<uint64_t>(Gpa(at)) : *memory_->Load<uint32_t>(Gpa(at));
        ASSERT_EQ(now & v, v) << std::hex << at;
      }
    }
  }
  // The tables were worth walking.
  EXPECT_GT(good, 10000u);
  EXPECT_GT(reserved, 1000u);
  EXPECT_GT(denied, 1000u);
}

// A failed walk leaves no accessed bit.
TEST_F(WalkTest, FaultsChangeNothing) {
  FillTables(true);
  std::vector<uint8_t> before(64 * kPageSize), after(64 * kPageSize);
  Paging p;
  p.kind = Paging::Kind::kFourLevel;
  p.no_execute = true;
  PhysicalMap map(*memory_);
  for (int i = 0; i < 300; ++i) {
    ASSERT_TRUE(memory_->Read(Gpa(0), before));
    PageWalk got;
    uint32_t error;
    const uint64_t linear = random_() & 0x7FFFFFFFFFFF;
    if (WalkPageTables(p, map, linear, {Access::kWrite, Rights::kUser}, &got, &error)) continue;
    ASSERT_TRUE(memory_->Read(Gpa(0), after));
    ASSERT_EQ(before, after);
  }
}

TEST_F(WalkTest, TablesOutsideMemoryReadAsOnes) {
  Paging p;
  p.kind = Paging::Kind::kFourLevel;
  p.root = 0x7FFFF000;
  PhysicalMap map(*memory_);
  PageWalk got;
  uint32_t error = 0;
  EXPECT_FALSE(WalkPageTables(p, map, 0x1000, {}, &got, &error));
  EXPECT_EQ(error, kPfPresent | kPfReserved);
  p.kind = Paging::Kind::kTwoLevel;
  EXPECT_TRUE(WalkPageTables(p, map, 0x1000, {}, &got, &error));
  EXPECT_EQ(got.physical, 0xFFFFF000u);
}

TEST_F(WalkTest, NoPagingMapsToItself) {
  Paging p;
  p.a20 = ~(uint64_t{1} << 20);
  PhysicalMap map(*memory_);
  PageWalk got;
  uint32_t error;
  ASSERT_TRUE(WalkPageTables(p, map, 0x345678, {Access::kWrite}, &got, &error));
  EXPECT_EQ(got.physical, 0x245000u);
  EXPECT_TRUE(got.user && got.writable && got.executable && got.dirty);
}

TEST_F(WalkTest, PdptesWithReservedBitsAreRefused) {
  PhysicalMap map(*memory_);
  uint64_t out[4] = {7, 7, 7, 7};
  for (unsigned bit = 0; bit < 64; ++bit) {
    memory_->Store(Gpa(0x1020), uint64_t{1} | uint64_t{1} << bit);
    const bool reserved = bit == 1 || bit == 2 || (bit >= 5 && bit <= 8) || bit >= kPhysicalBits;
    EXPECT_EQ(ReadPdptes(map, 0x1020, ~uint64_t{0}, out), !reserved) << bit;
    // Not present: anything goes.
    memory_->Store(Gpa(0x1020), (uint64_t{1} << bit) & ~uint64_t{1});
    EXPECT_TRUE(ReadPdptes(map, 0x1020, ~uint64_t{0}, out)) << bit;
  }
}

TEST_F(WalkTest, CanonicalAddresses) {
  EXPECT_TRUE(IsCanonical(0));
  EXPECT_TRUE(IsCanonical(0x00007FFFFFFFFFFF));
  EXPECT_FALSE(IsCanonical(0x0000800000000000));
  EXPECT_FALSE(IsCanonical(0xFFFF7FFFFFFFFFFF));
  EXPECT_TRUE(IsCanonical(0xFFFF800000000000));
}

}  // namespace
}  // namespace atl::cpu::soft
