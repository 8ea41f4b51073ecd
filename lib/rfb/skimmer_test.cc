// SPDX-License-Identifier: Apache-2.0
// What skims updates ends where they do.
#include "lib/rfb/skimmer.h"

#include <algorithm>
#include <string>

#include "gtest/gtest.h"
#include "lib/base/status_matchers.h"
#include "lib/rfb/protocol.h"
#include "lib/rfb/testing/frames.h"
#include "lib/rfb/testing/rig.h"

namespace atl::rfb {
namespace {

class RigStream final : public ByteStream {
 public:
  explicit RigStream(testing::Rig* rig) : rig_(*rig) {}
  absl::Status Read(std::span<uint8_t> to) override {
    while (kept.size() < to.size()) {
      absl::Status status = rig_.connection->Pump();
      if (!status.ok()) return status;
      const std::string more = rig_.Read();
      if (more.empty()) return absl::UnavailableError("nothing more comes");
      kept += more;
      status = rig_.connection->WireTook();
      if (!status.ok()) return status;
    }
    std::copy_n(kept.begin(), to.size(), to.begin());
    kept.erase(0, to.size());
    return absl::OkStatus();
  }
  absl::Status Write(std::span<const uint8_t> bytes) override {
    return rig_.Write({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  }

  std::string kept;

 private:
  testing::Rig& rig_;
};

TEST(SkimmerTest, EndsWhereAnUpdateDoes) {
  for (const int32_t encoding : {kEncodingRaw, kEncodingRre, kEncodingHextile, kEncodingZlib,
                                 kEncodingZrle, kEncodingTight}) {
    for (const testing::FrameKind kind : {testing::FrameKind::kDesk, testing::FrameKind::kPhoto}) {
      testing::Rig rig(333, 217);
      Draw(kind, 1, &rig.frame);
      rig.Update();
      RigStream stream(&rig);
      Skimmer skimmer(&stream);
      ASSERT_OK(skimmer.Enter());
      EXPECT_EQ(skimmer.width(), 333u);
      EXPECT_EQ(skimmer.height(), 217u);
      const int32_t encodings[] = {encoding, kPseudoQualityLow + 5};
      ASSERT_OK(skimmer.SetEncodings(encodings));
      for (int i = 0; i < 3; ++i) {
        ASSERT_OK(skimmer.Ask(false));
        const uint64_t before = skimmer.bytes();
        ASSERT_OK(skimmer.Update()) << encoding;
        EXPECT_GT(skimmer.bytes() - before, 1000u);
        EXPECT_EQ(stream.kept, "") << encoding;
      }
    }
  }
}

TEST(SkimmerTest, WhoIsAskedForAPasswordStaysOut) {
  Access access;
  access.auth = Auth::kVnc;
  access.passwords = {MakeVncPassword("secret", false)};
  testing::Rig rig(320, 200, access);
  RigStream stream(&rig);
  EXPECT_THAT(Skimmer(&stream).Enter(),
              StatusIs(absl::StatusCode::kPermissionDenied, "wants to know who"));
}

}  // namespace
}  // namespace atl::rfb
