// SPDX-License-Identifier: Apache-2.0
#include "lib/usernet/checksum.h"

#include <emmintrin.h>

#include "lib/base/endian.h"

namespace atl::usernet {
namespace {

uint32_t Fold(uint64_t sum) {
  sum = (sum & 0xFFFFFFFF) + (sum >> 32);
  sum = (sum & 0xFFFFFFFF) + (sum >> 32);
  sum = (sum & 0xFFFF) + (sum >> 16);
  sum = (sum & 0xFFFF) + (sum >> 16);
  return static_cast<uint32_t>(sum);
}

// The sum of 16-bit words in memory order, where `size` may be odd; at most 2^30
// bytes.
uint64_t SumOf(const uint8_t* p, size_t size) {
  uint64_t sum = 0;
  if (size >= 64) {
    // 32-bit words, each widened to 64 bits, into four pairs of sums.
    const __m128i zero = _mm_setzero_si128();
    __m128i a = zero, b = zero, c = zero, d = zero;
    for (; size >= 32; p += 32, size -= 32) {
      const __m128i x = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
      const __m128i y = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p + 16));
      a = _mm_add_epi64(a, _mm_unpacklo_epi32(x, zero));
      b = _mm_add_epi64(b, _mm_unpackhi_epi32(x, zero));
      c = _mm_add_epi64(c, _mm_unpacklo_epi32(y, zero));
      d = _mm_add_epi64(d, _mm_unpackhi_epi32(y, zero));
    }
    const __m128i all = _mm_add_epi64(_mm_add_epi64(a, b), _mm_add_epi64(c, d));
    alignas(16) uint64_t lanes[2];
    _mm_store_si128(reinterpret_cast<__m128i*>(lanes), all);
    sum = lanes[0] + lanes[1];
  }
  for (; size >= 4; p += 4, size -= 4) sum += LoadLe<uint32_t>(p);
  if (size >= 2) {
    sum += LoadLe<uint16_t>(p);
    p += 2;
    size -= 2;
  }
  if (size != 0) sum += *p;
  return sum;
}

}  // namespace

void Checksum::Add(std::span<const uint8_t> bytes) {
  uint32_t part = Fold(SumOf(bytes.data(), bytes.size()));
  // Bytes at odd places count in the other half of their word.
  if (odd_) part = ((part & 0xFF) << 8) | (part >> 8);
  sum_ += part;
  if (bytes.size() % 2 != 0) odd_ = !odd_;
}

void Checksum::AddWord(uint16_t word) { sum_ += ByteSwap(word); }

void Checksum::AddPseudoHeader(const IpAddress& from, const IpAddress& to, uint8_t protocol,
                               uint32_t length) {
  const size_t skip = from.is4() ? 12 : 0;
  Add(std::span(from.bytes).subspan(skip));
  Add(std::span(to.bytes).subspan(skip));
  AddWord(static_cast<uint16_t>(length >> 16));
  AddWord(static_cast<uint16_t>(length));
  AddWord(protocol);
}

uint16_t Checksum::sum() const { return ByteSwap(static_cast<uint16_t>(Fold(sum_))); }

}  // namespace atl::usernet
