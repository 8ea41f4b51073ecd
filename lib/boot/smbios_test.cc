// SPDX-License-Identifier: Apache-2.0
#include "lib/boot/smbios.h"

#include <cstring>
#include <numeric>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "lib/base/endian.h"

namespace atl::boot {
namespace {

TEST(Smbios, StructuresFollowEachOtherToTheEnd) {
  SmbiosConfig config{.cpus = 2};
  std::iota(config.uuid.begin(), config.uuid.end(), uint8_t{1});
  const SmbiosFiles files = MakeSmbiosFiles(config);
  const std::vector<uint8_t>& t = files.tables;
  std::vector<int> types;
  size_t at = 0;
  while (at + 4 <= t.size()) {
    types.push_back(t[at]);
    if (t[at] == 1) {
      EXPECT_EQ(LoadLe<uint32_t>(&t[at + 8]), 0x01020304u);
      EXPECT_EQ(t[at + 8 + 15], 16);
    }
    at += t[at + 1];
    while (at + 1 < t.size() && (t[at] != 0 || t[at + 1] != 0)) ++at;
    at += 2;
  }
  EXPECT_EQ(at, t.size());
  EXPECT_THAT(types, testing::ElementsAre(0, 1, 3, 4, 127));
}

TEST(Smbios, AnchorSumsToZeroAndTellsTheSizes) {
  const SmbiosFiles files = MakeSmbiosFiles({});
  const std::vector<uint8_t>& a = files.anchor;
  ASSERT_EQ(a.size(), 31u);
  EXPECT_EQ(std::memcmp(a.data(), "_SM_", 4), 0);
  EXPECT_EQ(std::accumulate(a.begin(), a.end(), 0) & 0xFF, 0);
  EXPECT_EQ(std::accumulate(a.begin() + 16, a.end(), 0) & 0xFF, 0);
  EXPECT_EQ(LoadLe<uint16_t>(&a[22]), files.tables.size());
  EXPECT_EQ(LoadLe<uint16_t>(&a[28]), 5);
}

}  // namespace
}  // namespace atl::boot
