// SPDX-License-Identifier: Apache-2.0
#include "lib/stats/format.h"

#include <algorithm>
#include <cstring>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "lib/base/status_macros.h"

namespace atl::stats {
namespace {

struct RawDescriptor {
  le32 flags;
  le16 exponent;
  le16 size;
  le32 offset;
  le32 bucket_size;
  // char name[name_size]
};
static_assert(sizeof(RawDescriptor) == 16);

constexpr uint32_t kDataAlignment = 64;

uint32_t AlignUp(uint32_t v, uint32_t to) { return (v + to - 1) / to * to; }

bool GoodName(absl::string_view name) {
  return !name.empty() && std::all_of(name.begin(), name.end(),
                                      [](unsigned char c) { return absl::ascii_isgraph(c); });
}

absl::Status Bad(absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat("binary stats: ", what));
}

}  // namespace

absl::string_view TypeName(Type type) {
  switch (type) {
    case Type::kCumulative:
      return "cumulative";
    case Type::kInstant:
      return "instant";
    case Type::kPeak:
      return "peak";
    case Type::kLinearHist:
      return "linear-hist";
    case Type::kLogHist:
      return "log-hist";
  }
  return "";
}

std::string UnitName(Unit unit, Base base, int exponent) {
  const auto prefixed = [&](absl::string_view name) -> std::string {
    if (exponent == 0) return std::string(name);
    static constexpr absl::string_view kDecimal[] = {"n", "u", "m", "", "k", "M", "G"};
    static constexpr absl::string_view kBinary[] = {"", "Ki", "Mi", "Gi"};
    if (base == Base::kPow10 && exponent % 3 == 0 && exponent >= -9 && exponent <= 9) {
      return absl::StrCat(kDecimal[exponent / 3 + 3], name);
    }
    if (base == Base::kPow2 && exponent % 10 == 0 && exponent >= 0 && exponent <= 30) {
      return absl::StrCat(kBinary[exponent / 10], name);
    }
    return absl::StrCat(base == Base::kPow10 ? 10 : 2, "^", exponent, name);
  };
  switch (unit) {
    case Unit::kNone:
      return exponent == 0 ? "" : prefixed("");
    case Unit::kBytes:
      return prefixed("B");
    case Unit::kSeconds:
      return prefixed("s");
    case Unit::kCycles:
      return prefixed("cycles");
    case Unit::kBoolean:
      return "bool";
  }
  return "";
}

bool Layout::operator==(const Layout& o) const {
  return id == o.id && data_offset == o.data_offset && words == o.words &&
         std::equal(descriptors.begin(), descriptors.end(), o.descriptors.begin(),
                    o.descriptors.end(), [](const Descriptor& a, const Descriptor& b) {
                      return a.name == b.name && a.type == b.type && a.unit == b.unit &&
                             a.base == b.base && a.exponent == b.exponent && a.size == b.size &&
                             a.bucket_size == b.bucket_size && a.offset == b.offset;
                    });
}

absl::StatusOr<uint32_t> LayoutBytes(const Header& h) {
  if (h.flags != 0) {
    return absl::UnimplementedError(
        absl::StrFormat("binary stats: flags 0x%x are not known", uint32_t{h.flags}));
  }
  if (h.name_size == 0 || h.name_size > kMaxNameSize) {
    return Bad(absl::StrCat("names of ", uint32_t{h.name_size}, " bytes"));
  }
  if (h.num_desc > kMaxDescriptors) {
    return Bad(absl::StrCat(uint32_t{h.num_desc}, " descriptors"));
  }
  const uint64_t id_end = uint64_t{h.id_offset} + h.name_size;
  const uint64_t desc_end =
      h.desc_offset + uint64_t{h.num_desc} * (sizeof(RawDescriptor) + h.name_size);
  const uint64_t end = std::max(id_end, desc_end);
  if (h.id_offset < sizeof(Header) || h.desc_offset < sizeof(Header) || end > kMaxBytes) {
    return Bad(absl::StrFormat("id at 0x%x, descriptors at 0x%x", uint32_t{h.id_offset},
                               uint32_t{h.desc_offset}));
  }
  return static_cast<uint32_t>(end);
}

absl::StatusOr<Layout> ParseLayout(std::span<const uint8_t> bytes) {
  Header h;
  if (bytes.size() < sizeof h) return Bad("shorter than its header");
  std::memcpy(&h, bytes.data(), sizeof h);
  ASSIGN_OR_RETURN(uint32_t needed, LayoutBytes(h));
  if (bytes.size() < needed) return Bad(absl::StrCat("ends before its descriptors, at ", needed));
  const auto text = [&](size_t at) {
    const char* p = reinterpret_cast<const char*>(bytes.data()) + at;
    return absl::string_view(p, strnlen(p, h.name_size));
  };
  Layout out;
  // Only shown: what it has in it need not be printable.
  out.id = std::string(text(h.id_offset).substr(0, h.name_size - 1));
  out.data_offset = h.data_offset;
  out.descriptors.reserve(h.num_desc);
  for (uint32_t i = 0; i < h.num_desc; ++i) {
    const size_t at = h.desc_offset + size_t{i} * (sizeof(RawDescriptor) + h.name_size);
    RawDescriptor raw;
    std::memcpy(&raw, bytes.data() + at, sizeof raw);
    Descriptor d;
    d.name = std::string(text(at + sizeof raw));
    if (!GoodName(d.name) || d.name.size() == h.name_size) {
      return Bad(absl::StrCat("descriptor ", i, " has no name"));
    }
    const uint32_t type = raw.flags & 0xF, unit = raw.flags >> 4 & 0xF, base = raw.flags >> 8 & 0xF;
    // A type from the future is shown as it is and never differenced.
    d.type =
        type <= static_cast<uint32_t>(Type::kLogHist) ? static_cast<Type>(type) : Type::kInstant;
    d.unit = unit <= static_cast<uint32_t>(Unit::kBoolean) ? static_cast<Unit>(unit) : Unit::kNone;
    d.base = base == 1 ? Base::kPow2 : Base::kPow10;
    d.exponent = static_cast<int16_t>(uint16_t{raw.exponent});
    d.size = raw.size;
    d.bucket_size = raw.bucket_size;
    d.offset = raw.offset;
    if (d.size == 0 || d.offset % 8 != 0 || uint64_t{d.offset} / 8 + d.size > kMaxWords) {
      return Bad(absl::StrFormat("%s: %u words at 0x%x", d.name, d.size, d.offset));
    }
    out.words = std::max(out.words, d.offset / 8 + d.size);
    out.descriptors.push_back(std::move(d));
  }
  // Offsets past what a file can have.
  if (uint64_t{out.data_offset} + uint64_t{out.words} * 8 > uint64_t{1} << 31) {
    return Bad(absl::StrFormat("data at 0x%x", out.data_offset));
  }
  return out;
}

std::vector<uint8_t> WriteLayout(Layout& layout) {
  size_t longest = layout.id.size();
  for (const Descriptor& d : layout.descriptors) longest = std::max(longest, d.name.size());
  const uint32_t name_size = AlignUp(static_cast<uint32_t>(longest) + 1, 8);
  Header h;
  h.flags = 0;
  h.name_size = name_size;
  h.num_desc = static_cast<uint32_t>(layout.descriptors.size());
  h.id_offset = sizeof h;
  h.desc_offset = static_cast<uint32_t>(sizeof h) + name_size;
  layout.data_offset =
      AlignUp(h.desc_offset + h.num_desc * static_cast<uint32_t>(sizeof(RawDescriptor) + name_size),
              kDataAlignment);
  h.data_offset = layout.data_offset;
  std::vector<uint8_t> out(layout.data_offset);
  std::memcpy(out.data(), &h, sizeof h);
  std::memcpy(out.data() + h.id_offset, layout.id.data(), layout.id.size());
  layout.words = 0;
  uint8_t* at = out.data() + h.desc_offset;
  for (Descriptor& d : layout.descriptors) {
    d.offset = layout.words * 8;
    layout.words += d.size;
    RawDescriptor raw;
    raw.flags = static_cast<uint32_t>(d.type) | static_cast<uint32_t>(d.unit) << 4 |
                static_cast<uint32_t>(d.base) << 8;
    raw.exponent = static_cast<uint16_t>(d.exponent);
    raw.size = d.size;
    raw.offset = d.offset;
    raw.bucket_size = d.bucket_size;
    std::memcpy(at, &raw, sizeof raw);
    std::memcpy(at + sizeof raw, d.name.data(), d.name.size());
    at += sizeof raw + name_size;
  }
  return out;
}

}  // namespace atl::stats
