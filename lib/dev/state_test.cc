// SPDX-License-Identifier: Apache-2.0
#include "lib/dev/state.h"

#include "gtest/gtest.h"
#include "lib/base/status_matchers.h"
#include "lib/dev/device.h"
#include "lib/dev/testing/round_trip.h"

namespace atl::dev {
namespace {

enum class Mode : uint8_t { kOne, kTwo };

class Chip final : public Device {
 public:
  explicit Chip(absl::string_view name = "chip") : name_(name) {}
  absl::string_view name() const override { return name_; }
  void Reset() override {}
  uint64_t Read(unsigned, uint64_t, unsigned) override { return 0; }
  void Write(unsigned, uint64_t, unsigned, uint64_t) override {}
  void VisitState(StateVisitor& v) override {
    v.Field("flag", flag);
    v.Field("negative", negative);
    v.Bounded("index", index, 7);
    v.Begin("fifo");
    v.Bounded("mode", mode, 1);
    v.Blob("bytes", bytes, 16);
    v.Array("words", words);
    v.End();
    if (v.loading()) ++loads;
  }

  bool flag = false;
  int16_t negative = 0;
  uint32_t index = 0;
  Mode mode = Mode::kOne;
  std::vector<uint8_t> bytes;
  uint16_t words[3] = {};
  int loads = 0;

 private:
  absl::string_view name_;
};

Chip Filled() {
  Chip a;
  a.flag = true;
  a.negative = -2;
  a.index = 5;
  a.mode = Mode::kTwo;
  a.bytes = {1, 2, 3};
  a.words[2] = 0x1234;
  return a;
}

TEST(State, RoundTrip) {
  Chip a = Filled(), b;
  ExpectRoundTrip(a, b);
  EXPECT_EQ(b.negative, -2);
  EXPECT_EQ(b.mode, Mode::kTwo);
  EXPECT_EQ(b.words[2], 0x1234);
}

TEST(State, ShowsFieldsByPart) {
  Chip a = Filled();
  EXPECT_EQ(ShowState(a),
            "flag = 0x1\nnegative = 0xfffe\nindex = 0x5\nfifo.mode = 0x1\n"
            "fifo.bytes = 01 02 03\nfifo.words = 00*4 34 12\n");
}

TEST(State, RefusesNamingTheField) {
  Chip a = Filled(), b;
  a.index = 8;
  EXPECT_THAT(LoadState(b, SaveState(a)), StatusIs(absl::StatusCode::kInvalidArgument,
                                                   "state of chip: field index: 8 is more than 7"));
  a = Filled();
  a.bytes.resize(17);
  EXPECT_THAT(LoadState(b, SaveState(a)), StatusIs(absl::StatusCode::kInvalidArgument,
                                                   "field fifo.bytes: 17 bytes, at most 16"));
  Chip other("lamp");
  EXPECT_THAT(LoadState(b, SaveState(other)),
              StatusIs(absl::StatusCode::kInvalidArgument, "is of device 'lamp'"));
}

// State load of hostile bytes: any one byte changed is refused or changes a
// value within its bound; nothing else happens.
TEST(State, HostileBytes) {
  Chip a = Filled();
  std::vector<uint8_t> saved = SaveState(a);
  for (size_t i = 0; i < saved.size(); ++i) {
    for (unsigned change : {0x01, 0x80, 0xFF}) {
      std::vector<uint8_t> bad = saved;
      bad[i] ^= change;
      Chip b;
      if (LoadState(b, bad).ok()) {
        EXPECT_LE(b.index, 7u);
        EXPECT_LE(static_cast<int>(b.mode), 1);
        EXPECT_LE(b.bytes.size(), 16u);
      }
    }
  }
  saved.push_back(0);
  Chip b;
  EXPECT_THAT(LoadState(b, saved),
              StatusIs(absl::StatusCode::kInvalidArgument, "1 bytes past the end"));
}

}  // namespace
}  // namespace atl::dev
