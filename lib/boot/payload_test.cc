// SPDX-License-Identifier: Apache-2.0
#include "lib/boot/payload.h"

#include <lzma.h>
#include <zlib.h>
#include <zstd.h>

#include <random>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "lib/base/endian.h"
#include "lib/base/status_matchers.h"

namespace atl::boot {
namespace {

using Bytes = std::vector<uint8_t>;

// Like machine code: repeats with differences, and calls that BCJ rewrites.
Bytes Sample(size_t size) {
  std::mt19937 rng(7);
  Bytes out;
  while (out.size() < size) {
    const unsigned kind = rng() % 4;
    if (kind == 0 && out.size() > 600) {
      const size_t from = out.size() - 1 - rng() % 500, n = 1 + rng() % 300;
      for (size_t i = 0; i < n; ++i) out.push_back(out[from + i]);
    } else if (kind == 1) {
      out.push_back(0xE8);
      for (int i = 0; i < 3; ++i) out.push_back(static_cast<uint8_t>(rng() % 3));
      out.push_back(0);
    } else {
      out.push_back(static_cast<uint8_t>(rng()));
    }
  }
  out.resize(size);
  return out;
}

void AppendSize(Bytes& out, uint32_t size) {
  out.resize(out.size() + 4);
  StoreLe(out.data() + out.size() - 4, size);
}

Bytes Xz(const Bytes& in) {
  lzma_options_lzma options;
  lzma_lzma_preset(&options, 6);
  // As the kernel's own scripts/xz_wrap.sh does: --x86 --lzma2, CRC32.
  lzma_filter filters[] = {
      {LZMA_FILTER_X86, nullptr}, {LZMA_FILTER_LZMA2, &options}, {LZMA_VLI_UNKNOWN, nullptr}};
  Bytes out(in.size() * 2 + 1000);
  size_t n = 0;
  EXPECT_EQ(lzma_stream_buffer_encode(filters, LZMA_CHECK_CRC32, nullptr, in.data(), in.size(),
                                      out.data(), &n, out.size()),
            LZMA_OK);
  out.resize(n);
  AppendSize(out, static_cast<uint32_t>(in.size()));
  return out;
}

Bytes Zstd(const Bytes& in) {
  Bytes out(ZSTD_compressBound(in.size()));
  out.resize(ZSTD_compress(out.data(), out.size(), in.data(), in.size(), 19));
  AppendSize(out, static_cast<uint32_t>(in.size()));
  return out;
}

Bytes Gzip(const Bytes& in) {
  z_stream z{};
  deflateInit2(&z, 9, Z_DEFLATED, 16 + MAX_WBITS, 9, Z_DEFAULT_STRATEGY);
  Bytes out(in.size() * 2 + 1000);
  z.next_in = const_cast<Bytef*>(in.data());
  z.avail_in = static_cast<uInt>(in.size());
  z.next_out = out.data();
  z.avail_out = static_cast<uInt>(out.size());
  EXPECT_EQ(deflate(&z, Z_FINISH), Z_STREAM_END);
  out.resize(z.total_out);
  deflateEnd(&z);
  return out;  // gzip ends with the size itself
}

// The simplest of LZ4's forms: literals alone, in blocks of `block` bytes.
Bytes Lz4Literals(const Bytes& in, size_t block) {
  Bytes out = {0x02, 0x21, 0x4C, 0x18};
  for (size_t at = 0; at < in.size(); at += block) {
    const size_t n = std::min(block, in.size() - at);
    Bytes b = {static_cast<uint8_t>(n < 15 ? n << 4 : 0xF0)};
    if (n >= 15) {
      size_t left = n - 15;
      for (; left >= 255; left -= 255) b.push_back(255);
      b.push_back(static_cast<uint8_t>(left));
    }
    b.insert(b.end(), in.begin() + static_cast<long>(at), in.begin() + static_cast<long>(at + n));
    AppendSize(out, static_cast<uint32_t>(b.size()));
    out.insert(out.end(), b.begin(), b.end());
  }
  AppendSize(out, static_cast<uint32_t>(in.size()));
  return out;
}

struct Case {
  const char* name;
  Bytes (*compress)(const Bytes&);
};

class PayloadTest : public testing::TestWithParam<Case> {};

TEST_P(PayloadTest, ComesOutAsItWentIn) {
  for (size_t size : {1, 1000, 300'000}) {
    const Bytes in = Sample(size);
    const Bytes packed = GetParam().compress(in);
    EXPECT_EQ(PayloadFormat(packed), GetParam().name);
    ASSERT_OK_AND_ASSIGN(const LazyBytes out, DecompressPayload(packed));
    EXPECT_TRUE(std::equal(in.begin(), in.end(), out.span().begin(), out.span().end())) << size;
  }
}

TEST_P(PayloadTest, DamageIsAnErrorNeverACrash) {
  const Bytes in = Sample(20'000);
  const Bytes packed = GetParam().compress(in);
  std::mt19937 rng(1);
  for (size_t cut = 0; cut < packed.size(); cut += 1 + packed.size() / 50) {
    EXPECT_FALSE(DecompressPayload(std::span(packed).first(cut)).ok()) << cut;
  }
  for (int i = 0; i < 300; ++i) {
    Bytes bad = packed;
    bad[rng() % bad.size()] ^= static_cast<uint8_t>(1 << rng() % 8);
    (void)DecompressPayload(bad);
  }
  Bytes larger = packed, huge = packed;
  StoreLe(larger.data() + larger.size() - 4, static_cast<uint32_t>(in.size() + 1));
  EXPECT_FALSE(DecompressPayload(larger).ok());
  StoreLe(huge.data() + huge.size() - 4, uint32_t{0xFFFFFFFF});
  EXPECT_THAT(DecompressPayload(huge),
              StatusIs(absl::StatusCode::kInvalidArgument, "4294967295 bytes"));
}

INSTANTIATE_TEST_SUITE_P(
    All, PayloadTest,
    testing::Values(Case{"gzip", Gzip}, Case{"xz", Xz}, Case{"zstd", Zstd},
                    Case{"lz4", [](const Bytes& in) { return Lz4Literals(in, 4096); }}),
    [](const auto& info) { return std::string(info.param.name); });

TEST(Lz4Block, CopiesMatchesThatOverlapThemselves) {
  // "ab", then a match of 4 + 15 + 3 bytes at distance 2, then literal "!".
  const Bytes block = {0x2F, 'a', 'b', 2, 0, 3, 0x10, '!'};
  Bytes out(25);
  EXPECT_EQ(DecodeLz4Block(block, out, 0), 25);
  EXPECT_EQ(std::string(out.begin(), out.end()), "abababababababababababab!");
}

TEST(Lz4Block, RefusesWhatReachesOutside) {
  Bytes out(32);
  EXPECT_EQ(DecodeLz4Block(Bytes{0x10, 'a', 0, 0}, out, 0), -1);       // distance 0
  EXPECT_EQ(DecodeLz4Block(Bytes{0x10, 'a', 2, 0}, out, 0), -1);       // before the start
  EXPECT_EQ(DecodeLz4Block(Bytes{0x10, 'a', 1}, out, 0), -1);          // half a distance
  EXPECT_EQ(DecodeLz4Block(Bytes{0x20, 'a'}, out, 0), -1);             // literals missing
  EXPECT_EQ(DecodeLz4Block(Bytes{0xF0, 255, 255}, out, 0), -1);        // endless length
  EXPECT_EQ(DecodeLz4Block(Bytes{0x1F, 'a', 1, 0, 200}, out, 0), -1);  // too long a match
  Bytes small(2);
  EXPECT_EQ(DecodeLz4Block(Bytes{0x30, 'a', 'b', 'c'}, small, 0), -1);  // too many literals
}

TEST(Payload, OtherFormatsAreNamedAsUnknown) {
  const Bytes bzip2 = {'B', 'Z', 'h', '9', 0, 0, 0, 0, 0, 0};
  EXPECT_EQ(PayloadFormat(bzip2), "");
  EXPECT_THAT(DecompressPayload(bzip2), StatusIs(absl::StatusCode::kUnimplemented, "gzip, xz"));
}

}  // namespace
}  // namespace atl::boot
