// SPDX-License-Identifier: Apache-2.0
// Every encoding in every kind of pixel format, decoded by a viewer that shares
// no code with it.
#include <random>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "lib/base/status_matchers.h"
#include "lib/rfb/connection.h"
#include "lib/rfb/encoder_pool.h"
#include "lib/rfb/protocol.h"
#include "lib/rfb/testing/client.h"
#include "lib/rfb/testing/frames.h"
#include "lib/rfb/testing/rig.h"

namespace atl::rfb {
namespace {

using testing::FrameKind;
using testing::RequestMessage;
using testing::Rig;
using testing::SetEncodingsMessage;
using testing::SetPixelFormatMessage;

constexpr int32_t kAll[] = {kEncodingRaw,  kEncodingRre,   kEncodingHextile, kEncodingZlib,
                            kEncodingZrle, kEncodingTight, kEncodingTightPng};

constexpr PixelFormat kFormats[] = {
    {},
    {.big_endian = true},
    // Red and blue the other way round, and in the high bytes.
    {.red_shift = 0, .green_shift = 8, .blue_shift = 16},
    {.red_shift = 24, .green_shift = 16, .blue_shift = 8},
    {.big_endian = true, .red_shift = 24, .green_shift = 16, .blue_shift = 8},
    {.depth = 32},
    {.bits_per_pixel = 16,
     .depth = 16,
     .red_max = 31,
     .green_max = 63,
     .blue_max = 31,
     .red_shift = 11,
     .green_shift = 5,
     .blue_shift = 0},
    {.bits_per_pixel = 16,
     .depth = 15,
     .big_endian = true,
     .red_max = 31,
     .green_max = 31,
     .blue_max = 31,
     .red_shift = 10,
     .green_shift = 5,
     .blue_shift = 0},
    {.bits_per_pixel = 8,
     .depth = 8,
     .red_max = 7,
     .green_max = 7,
     .blue_max = 3,
     .red_shift = 0,
     .green_shift = 3,
     .blue_shift = 6},
    {.bits_per_pixel = 8,
     .depth = 8,
     .true_colour = false,
     .red_max = 7,
     .green_max = 7,
     .blue_max = 3},
};

class EncodingTest : public ::testing::TestWithParam<int32_t> {};

TEST_P(EncodingTest, IsExactInEveryFormat) {
  for (const PixelFormat& format : kFormats) {
    // PNG knows true colours of a byte each only.
    if (GetParam() == kEncodingTightPng && format != PixelFormat()) continue;
    // Not a multiple of any tile.
    Rig rig(333, 217);
    ASSERT_OK(rig.Enter());
    rig.view.SetFormat(format);
    const int32_t encodings[] = {GetParam()};
    ASSERT_OK(rig.Say(SetPixelFormatMessage(format) + SetEncodingsMessage(encodings)));
    for (const FrameKind kind : {FrameKind::kDesk, FrameKind::kText, FrameKind::kPhoto,
                                 FrameKind::kNoise, FrameKind::kSolid}) {
      Draw(kind, 3, &rig.frame);
      rig.Update();
      ASSERT_OK(rig.Say(RequestMessage(true, rig.Whole())))
          << "bits " << int{format.bits_per_pixel} << " kind " << static_cast<int>(kind);
      EXPECT_EQ(rig.Wrong(), 0u) << "bits " << int{format.bits_per_pixel} << " shift "
                                 << int{format.red_shift} << " kind " << static_cast<int>(kind);
    }
    EXPECT_GT(rig.view.rectangles[GetParam()], 0u);
  }
}

TEST_P(EncodingTest, IsExactForSmallChanges) {
  Rig rig(333, 217);
  ASSERT_OK(rig.Enter());
  const int32_t encodings[] = {GetParam()};
  ASSERT_OK(rig.Say(SetEncodingsMessage(encodings) + RequestMessage(false, rig.Whole())));
  ASSERT_EQ(rig.Wrong(), 0u);
  std::mt19937 random(5);
  for (int i = 0; i < 200; ++i) {
    const unsigned x = random() % rig.frame.width, y = random() % rig.frame.height;
    const unsigned w = 1 + random() % std::min(40u, rig.frame.width - x);
    const unsigned h = 1 + random() % std::min(40u, rig.frame.height - y);
    const unsigned colours = 1 + random() % 300;
    for (unsigned j = 0; j < h; ++j) {
      for (unsigned k = 0; k < w; ++k) {
        rig.frame.Row(y + j)[x + k] = random() % colours * 0x10305 & 0xFFFFFF;
      }
    }
    rig.Update();
    ASSERT_OK(rig.Say(RequestMessage(true, rig.Whole())));
    ASSERT_EQ(rig.Wrong(), 0u) << "step " << i;
  }
}

// A viewer may change its mind; compressors go on where they were.
TEST_P(EncodingTest, SwitchesAndComesBack) {
  Rig rig;
  ASSERT_OK(rig.Enter());
  for (int i = 0; i < 6; ++i) {
    const int32_t encodings[] = {i % 2 == 0 ? GetParam() : kEncodingRaw,
                                 kPseudoCompressLow + i % 10};
    Draw(i % 3 == 0 ? FrameKind::kDesk : FrameKind::kPhoto, static_cast<uint32_t>(i), &rig.frame);
    rig.Update();
    ASSERT_OK(rig.Say(SetEncodingsMessage(encodings) + RequestMessage(false, rig.Whole())));
    ASSERT_EQ(rig.Wrong(), 0u) << i;
  }
}

// Large updates by several threads, small ones between them: the viewer sees no
// difference, and the bytes are the same however many threads there are.
TEST_P(EncodingTest, ThreadsMakeNoDifference) {
  std::vector<size_t> sizes;
  for (const unsigned threads : {1u, 3u}) {
    EncoderPool pool(threads);
    Rig rig(801, 603, {}, Connection::Speaks::kRfb, false, &pool);
    ASSERT_OK(rig.Enter());
    const int32_t encodings[] = {GetParam()};
    ASSERT_OK(rig.Say(SetEncodingsMessage(encodings)));
    for (uint32_t i = 0; i < 6; ++i) {
      if (i % 2 == 0) {
        Draw(i == 2 ? FrameKind::kPhoto : FrameKind::kDesk, i, &rig.frame);
      } else {
        for (unsigned y = 100; y < 140; ++y) {
          for (unsigned x = 0; x < 200; ++x) rig.frame.Row(y)[x] = i * x * y & 0xFFFFFF;
        }
      }
      rig.Update();
      ASSERT_OK(rig.Say(RequestMessage(i == 4, rig.Whole()))) << i;
      ASSERT_EQ(rig.Wrong(), 0u) << i;
    }
    sizes.push_back(rig.bytes_sent);
  }
  EXPECT_EQ(sizes[0], sizes[1]);
}

INSTANTIATE_TEST_SUITE_P(All, EncodingTest, ::testing::ValuesIn(kAll));

// Text is to stay sharp whatever quality the viewer takes; photographs are to be
// small.
TEST(TightTest, JpegIsForPhotographs) {
  for (const int32_t encoding : {kEncodingTight, kEncodingTightPng}) {
    Rig rig(640, 480);
    ASSERT_OK(rig.Enter());
    const int32_t encodings[] = {encoding, kPseudoQualityLow + 6};
    Draw(FrameKind::kText, 1, &rig.frame);
    rig.Update();
    ASSERT_OK(rig.Say(SetEncodingsMessage(encodings) + RequestMessage(false, rig.Whole())));
    EXPECT_EQ(rig.view.lossy_pixels, 0u);
    EXPECT_EQ(rig.Wrong(), 0u);
    const size_t text = rig.bytes_sent;
    Draw(FrameKind::kPhoto, 1, &rig.frame);
    rig.Update();
    ASSERT_OK(rig.Say(RequestMessage(true, rig.Whole())));
    EXPECT_GT(rig.view.lossy_pixels, 600u * 400);
    EXPECT_LT(rig.bytes_sent - text, 640u * 480 / 2);
    // Near, if not the same.
    uint64_t error = 0;
    for (size_t i = 0; i < rig.frame.pixels.size(); ++i) {
      for (const unsigned shift : {0u, 8u, 16u}) {
        const int d = static_cast<int>(rig.frame.pixels[i] >> shift & 255) -
                      static_cast<int>(rig.view.picture().pixels[i] >> shift & 255);
        error += static_cast<uint64_t>(d * d);
      }
    }
    EXPECT_LT(error / (rig.frame.pixels.size() * 3), 60u);
  }
}

TEST(TightTest, TextIsSmall) {
  Rig rig(1280, 800);
  ASSERT_OK(rig.Enter());
  Draw(FrameKind::kText, 1, &rig.frame);
  rig.Update();
  const int32_t encodings[] = {kEncodingTight};
  ASSERT_OK(rig.Say(SetEncodingsMessage(encodings) + RequestMessage(false, rig.Whole())));
  EXPECT_LT(rig.bytes_sent, 60000u);
}

// Wider than a Tight rectangle may be.
TEST(TightTest, WidePicture) {
  for (const int32_t quality : {kPseudoQualityHigh, 0}) {
    Rig rig(4096, 80);
    ASSERT_OK(rig.Enter());
    const int32_t encodings[] = {kEncodingTight, quality};
    for (const FrameKind kind : {FrameKind::kText, FrameKind::kPhoto, FrameKind::kSolid}) {
      Draw(kind, 1, &rig.frame);
      rig.Update();
      ASSERT_OK(rig.Say(SetEncodingsMessage(encodings) + RequestMessage(false, rig.Whole())));
    }
    EXPECT_EQ(rig.Wrong(), 0u);
  }
}

}  // namespace
}  // namespace atl::rfb
