// SPDX-License-Identifier: Apache-2.0
#include "lib/boot/payload.h"

#include <lzma.h>
#include <sys/mman.h>
#include <zlib.h>
#include <zstd.h>

#include <algorithm>
#include <cstring>
#include <string>

#include "absl/strings/str_cat.h"
#include "lib/base/checked.h"
#include "lib/base/endian.h"
#include "lib/base/status_macros.h"

namespace atl::boot {
namespace {

using Bytes = std::span<const uint8_t>;

// Fills `to` exactly, or says what is wrong.
using Decoder = absl::Status (*)(Bytes from, std::span<uint8_t> to);

absl::Status Damaged(absl::string_view why) { return absl::DataLossError(std::string(why)); }

absl::Status WrongSize(uint64_t got) {
  return Damaged(absl::StrCat("gives ", got, " bytes, not as many as its trailer says"));
}

absl::Status Gzip(Bytes from, std::span<uint8_t> to) {
  z_stream z{};
  // 16: a gzip header is expected.
  if (inflateInit2(&z, 16 + MAX_WBITS) != Z_OK) return absl::ResourceExhaustedError("no memory");
  z.next_in = const_cast<Bytef*>(from.data());
  z.avail_in = static_cast<uInt>(from.size());
  z.next_out = to.data();
  z.avail_out = static_cast<uInt>(to.size());
  const int result = inflate(&z, Z_FINISH);
  const uint64_t got = z.total_out;
  const std::string why = z.msg != nullptr ? z.msg : "it ends too early";
  inflateEnd(&z);
  if (result != Z_STREAM_END && got < to.size()) return Damaged(why);
  return got == to.size() ? absl::OkStatus() : WrongSize(got);
}

absl::Status Xz(Bytes from, std::span<uint8_t> to) {
  // The dictionary is at most 64 MiB in what xz makes; the bound is on memory.
  constexpr uint64_t kMemoryLimit = uint64_t{128} << 20;
  lzma_stream s = LZMA_STREAM_INIT;
  if (lzma_stream_decoder(&s, kMemoryLimit, 0) != LZMA_OK) {
    return absl::ResourceExhaustedError("no memory");
  }
  s.next_in = from.data();
  s.avail_in = from.size();
  s.next_out = to.data();
  s.avail_out = to.size();
  const lzma_ret result = lzma_code(&s, LZMA_FINISH);
  const uint64_t got = s.total_out;
  lzma_end(&s);
  if (result != LZMA_STREAM_END && got < to.size()) {
    return Damaged(absl::StrCat("xz error ", static_cast<int>(result), " after ", got, " bytes"));
  }
  return got == to.size() ? absl::OkStatus() : WrongSize(got);
}

absl::Status Zstd(Bytes from, std::span<uint8_t> to) {
  const size_t frame = ZSTD_findFrameCompressedSize(from.data(), from.size());
  if (ZSTD_isError(frame)) return Damaged(ZSTD_getErrorName(frame));
  const size_t got = ZSTD_decompress(to.data(), to.size(), from.data(), frame);
  if (ZSTD_isError(got)) return Damaged(ZSTD_getErrorName(got));
  return got == to.size() ? absl::OkStatus() : WrongSize(got);
}

// What `lz4 -l` writes: the magic, then blocks that each follow their size.
absl::Status Lz4(Bytes from, std::span<uint8_t> to) {
  uint64_t at = 4, got = 0;
  while (got < to.size()) {
    if (from.size() - at < 4) return Damaged("it ends too early");
    const uint64_t size = LoadLe<uint32_t>(from.data() + at);
    at += 4;
    if (size > from.size() - at) return Damaged("an lz4 block leaves it");
    // Blocks of the legacy form do not refer to each other.
    const int64_t n = DecodeLz4Block(from.subspan(at, size), to.subspan(got), 0);
    if (n <= 0) return Damaged(absl::StrCat("lz4 block at byte ", at, " is damaged"));
    at += size;
    got += static_cast<uint64_t>(n);
  }
  return absl::OkStatus();
}

struct Format {
  absl::string_view name;
  uint8_t magic[6];
  size_t magic_size;
  Decoder decode;
};

constexpr Format kFormats[] = {
    {"gzip", {0x1F, 0x8B, 0x08}, 3, Gzip},
    {"xz", {0xFD, '7', 'z', 'X', 'Z', 0x00}, 6, Xz},
    {"zstd", {0x28, 0xB5, 0x2F, 0xFD}, 4, Zstd},
    {"lz4", {0x02, 0x21, 0x4C, 0x18}, 4, Lz4},
};

const Format* FindFormat(Bytes payload) {
  for (const Format& f : kFormats) {
    if (payload.size() > f.magic_size && std::memcmp(payload.data(), f.magic, f.magic_size) == 0)
      return &f;
  }
  return nullptr;
}

}  // namespace

LazyBytes::LazyBytes(uint64_t size) {
  constexpr uint64_t kHugePage = 2 << 20;
  const uint64_t rounded = RoundUp(size, size < kHugePage ? 64 : kHugePage);
  data_.reset(
      static_cast<uint8_t*>(std::aligned_alloc(size < kHugePage ? 64 : kHugePage, rounded)));
  if (data_ == nullptr) return;
  size_ = size;
  if (size >= kHugePage) madvise(data_.get(), rounded, MADV_HUGEPAGE);
}

absl::string_view PayloadFormat(Bytes payload) {
  const Format* format = FindFormat(payload);
  return format == nullptr ? absl::string_view() : format->name;
}

absl::StatusOr<LazyBytes> DecompressPayload(Bytes payload) {
  const Format* format = FindFormat(payload);
  if (format == nullptr || payload.size() < 8) {
    return absl::UnimplementedError(
        "compressed in none of the known formats (gzip, xz, zstd, lz4)");
  }
  const uint64_t size = LoadLe<uint32_t>(payload.data() + payload.size() - 4);
  if (size == 0 || size > kMaxKernelBytes) {
    return absl::InvalidArgumentError(absl::StrCat("the kernel inside claims ", size, " bytes"));
  }
  LazyBytes out(size);
  if (out.size() != size) return absl::ResourceExhaustedError("no memory to decompress the kernel");
  // gzip's own trailer ends with the same four bytes, so they stay for it.
  const Bytes body = format->decode == Gzip ? payload : payload.first(payload.size() - 4);
  RETURN_IF_ERROR(
      Annotate(format->decode(body, out.span()), absl::StrCat(format->name, " payload")));
  return out;
}

}  // namespace atl::boot
