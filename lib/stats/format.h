// SPDX-License-Identifier: Apache-2.0
// The KVM binary stats format (Documentation/virt/kvm/api.rst, 4.133): what a
// stats descriptor holds. A header, an id text, descriptors that name and type
// the values, and the values: 64-bit words that change all the time. Names are
// data: nothing here knows a list of them.
#ifndef LIB_STATS_FORMAT_H_
#define LIB_STATS_FORMAT_H_

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "lib/base/endian.h"

namespace atl::stats {

enum class Type : uint8_t {
  kCumulative,  // only grows: may be shown as a rate
  kInstant,     // what is now
  kPeak,        // the greatest so far
  kLinearHist,  // `size` buckets of `bucket_size`; the last one is open
  kLogHist,     // bucket 0 is [0, 1), bucket n [2^(n-1), 2^n); the last one is open
};
enum class Unit : uint8_t { kNone, kBytes, kSeconds, kCycles, kBoolean };
enum class Base : uint8_t { kPow10, kPow2 };

absl::string_view TypeName(Type type);  // "cumulative", "log-hist"
// "ns", "KiB", "cycles", "bool": unit, base and exponent in one word; empty for kNone.
std::string UnitName(Unit unit, Base base, int exponent);

// What one value, or one histogram, is.
struct Descriptor {
  std::string name;
  Type type = Type::kCumulative;
  Unit unit = Unit::kNone;
  Base base = Base::kPow10;
  int16_t exponent = 0;      // the value times base^exponent is in `unit`
  uint16_t size = 1;         // words: buckets of a histogram
  uint32_t bucket_size = 0;  // of kLinearHist
  uint32_t offset = 0;       // bytes from the data's beginning

  bool histogram() const { return type == Type::kLinearHist || type == Type::kLogHist; }
  // Whether a difference of two samples means something.
  bool accumulates() const {
    return (type == Type::kCumulative || histogram()) && unit != Unit::kBoolean;
  }
};

struct Layout {
  std::string id;  // "kvm-1234/vcpu-0"
  std::vector<Descriptor> descriptors;
  uint32_t data_offset = 0;
  uint32_t words = 0;  // of data that the descriptors cover

  bool operator==(const Layout& o) const;
};

// Bounds of what is taken from outside.
inline constexpr uint32_t kMaxNameSize = 512;
inline constexpr uint32_t kMaxDescriptors = 4096;
inline constexpr uint32_t kMaxWords = 64 * 1024;
inline constexpr uint32_t kMaxBytes = 4 * 1024 * 1024;  // of all before the data

// The first bytes of a file in the format.
struct Header {
  le32 flags;
  le32 name_size;
  le32 num_desc;
  le32 id_offset;
  le32 desc_offset;
  le32 data_offset;
};
static_assert(sizeof(Header) == 24);

// How many bytes from the beginning ParseLayout() needs, by a header. Errors
// name what is out of bounds; Unimplemented for flags that are not known.
absl::StatusOr<uint32_t> LayoutBytes(const Header& header);

// `bytes` are at least LayoutBytes() of them. An error names the descriptor.
absl::StatusOr<Layout> ParseLayout(std::span<const uint8_t> bytes);

// Everything before the data, which follows at a multiple of 64 bytes. Fills in
// the offsets of `layout`: values lie in the order of the descriptors. The names,
// sizes and counts must be within the bounds above.
std::vector<uint8_t> WriteLayout(Layout& layout);

}  // namespace atl::stats

#endif  // LIB_STATS_FORMAT_H_
