// SPDX-License-Identifier: Apache-2.0
#include "lib/stats/format.h"

#include <linux/kvm.h>

#include <cstddef>
#include <cstring>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "lib/base/status_matchers.h"

namespace atl::stats {
namespace {

// The kernel's header is the oracle.
static_assert(sizeof(kvm_stats_header) == sizeof(Header));
static_assert(offsetof(kvm_stats_header, data_offset) == offsetof(Header, data_offset));
static_assert(KVM_STATS_TYPE_LOG_HIST == static_cast<int>(Type::kLogHist));
static_assert(KVM_STATS_UNIT_BOOLEAN == static_cast<int>(Unit::kBoolean) << KVM_STATS_UNIT_SHIFT);
static_assert(KVM_STATS_BASE_POW2 == static_cast<int>(Base::kPow2) << KVM_STATS_BASE_SHIFT);

Layout Sample() {
  Layout l;
  l.id = "kvm-77/vcpu-3";
  l.descriptors = {
      {.name = "exits"},
      {.name = "halt_wait_ns", .unit = Unit::kSeconds, .exponent = -9},
      {.name = "halt_wait_hist",
       .type = Type::kLogHist,
       .unit = Unit::kSeconds,
       .exponent = -9,
       .size = 32},
      {.name = "pages_2m", .type = Type::kInstant},
      {.name = "a", .type = Type::kLinearHist, .size = 4, .bucket_size = 10},
      {.name = "b", .type = Type::kPeak, .unit = Unit::kBytes, .base = Base::kPow2, .exponent = 10},
      {.name = "guest_mode", .type = Type::kInstant, .unit = Unit::kBoolean}};
  return l;
}

TEST(Format, WhatIsWrittenIsRead) {
  Layout l = Sample();
  const std::vector<uint8_t> bytes = WriteLayout(l);
  EXPECT_EQ(bytes.size(), l.data_offset);
  EXPECT_EQ(l.data_offset % 64, 0u);
  EXPECT_EQ(l.words, 1u + 1 + 32 + 1 + 4 + 1 + 1);
  ASSERT_OK_AND_ASSIGN(Layout read, ParseLayout(bytes));
  EXPECT_TRUE(read == l);
  EXPECT_EQ(read.descriptors[2].offset, 16u);
}

TEST(Format, IsTheKernelsStruct) {
  Layout l = Sample();
  const std::vector<uint8_t> bytes = WriteLayout(l);
  kvm_stats_header h;
  memcpy(&h, bytes.data(), sizeof h);
  EXPECT_STREQ(reinterpret_cast<const char*>(bytes.data()) + h.id_offset, "kvm-77/vcpu-3");
  ASSERT_EQ(h.num_desc, 7u);
  const auto* d = reinterpret_cast<const kvm_stats_desc*>(bytes.data() + h.desc_offset +
                                                          2 * (16 + h.name_size));
  EXPECT_EQ(d->flags, uint32_t{KVM_STATS_TYPE_LOG_HIST | KVM_STATS_UNIT_SECONDS});
  EXPECT_EQ(d->exponent, -9);
  EXPECT_EQ(d->size, 32);
  EXPECT_STREQ(reinterpret_cast<const char*>(d) + 16, "halt_wait_hist");
}

TEST(Format, WhatIsDifferenced) {
  const Layout l = Sample();
  std::string flags;
  for (const Descriptor& d : l.descriptors) flags += d.accumulates() ? 'y' : 'n';
  EXPECT_EQ(flags, "yyynynn");
}

TEST(Format, RefusesWhatIsOutOfBounds) {
  Layout l = Sample();
  const std::vector<uint8_t> good = WriteLayout(l);
  const auto with = [&](size_t at, uint32_t value) {
    std::vector<uint8_t> bytes = good;
    memcpy(bytes.data() + at, &value, 4);
    return ParseLayout(bytes);
  };
  Header h;
  memcpy(&h, good.data(), sizeof h);
  EXPECT_THAT(with(0, 1), StatusIs(absl::StatusCode::kUnimplemented, "0x1"));
  EXPECT_THAT(with(4, 0), StatusIs(absl::StatusCode::kInvalidArgument, "names"));
  EXPECT_THAT(with(4, ~0u), StatusIs(absl::StatusCode::kInvalidArgument, "names"));
  EXPECT_THAT(with(8, 4097), StatusIs(absl::StatusCode::kInvalidArgument, "4097"));
  EXPECT_THAT(with(8, 60), StatusIs(absl::StatusCode::kInvalidArgument, "ends before"));
  EXPECT_THAT(with(12, 8), StatusIs(absl::StatusCode::kInvalidArgument, "id at 0x8"));
  EXPECT_THAT(with(16, 0xFFFFFFF0), StatusIs(absl::StatusCode::kInvalidArgument, "descriptors"));
  EXPECT_THAT(with(20, 0xFFFFFFF0), StatusIs(absl::StatusCode::kInvalidArgument, "data"));
  const size_t first = h.desc_offset;
  EXPECT_THAT(with(first + 8, 4), StatusIs(absl::StatusCode::kInvalidArgument, "exits"));
  EXPECT_THAT(with(first + 8, 8 * kMaxWords),
              StatusIs(absl::StatusCode::kInvalidArgument, "exits"));
  EXPECT_THAT(with(first + 4, 0), StatusIs(absl::StatusCode::kInvalidArgument, "exits: 0 words"));
  EXPECT_THAT(with(first + 16, 0x0A1B), StatusIs(absl::StatusCode::kInvalidArgument, "no name"));
  // A type of the future is no error.
  ASSERT_OK_AND_ASSIGN(Layout future, with(first, 0xFFF));
  EXPECT_FALSE(future.descriptors[0].accumulates());
  for (size_t n = 0; n + 64 < good.size(); ++n) {
    EXPECT_FALSE(ParseLayout(std::span(good).first(n)).ok()) << n;
  }
}

TEST(Format, Units) {
  EXPECT_EQ(UnitName(Unit::kSeconds, Base::kPow10, -9), "ns");
  EXPECT_EQ(UnitName(Unit::kBytes, Base::kPow2, 10), "KiB");
  EXPECT_EQ(UnitName(Unit::kNone, Base::kPow10, 0), "");
  EXPECT_EQ(UnitName(Unit::kSeconds, Base::kPow10, -7), "10^-7s");
  EXPECT_EQ(UnitName(Unit::kBoolean, Base::kPow10, 0), "bool");
}

}  // namespace
}  // namespace atl::stats
