// SPDX-License-Identifier: Apache-2.0
#include <bit>

#include "absl/strings/str_cat.h"
#include "lib/base/checked.h"
#include "lib/base/endian.h"
#include "lib/base/status_macros.h"
#include "lib/block/qcow2/layer.h"

namespace atl::block::qcow2 {
namespace {

absl::StatusOr<Header> HeaderFor(uint64_t size, const FormatOptions& options) {
  auto bad = [](absl::string_view what) { return absl::InvalidArgumentError(what); };
  Header h;
  absl::string_view compat = OptionValue(options, "compat");
  h.version = compat == "0.10" || compat == "v2" ? 2 : 3;
  h.length = h.version == 2 ? kV2Length : sizeof(RawHeader);
  h.size = RoundUp(size, 512);
  const uint64_t cluster = SizeOption(options, "cluster_size");
  if (!std::has_single_bit(cluster) || cluster < 512 || cluster > 2 << 20) {
    return bad("Cluster size must be a power of two between 512 and 2048k");
  }
  h.cluster_bits = static_cast<uint32_t>(std::countr_zero(cluster));
  const uint64_t refcount_bits = SizeOption(options, "refcount_bits");
  if (!std::has_single_bit(refcount_bits) || refcount_bits > 64) {
    return bad("Refcount width must be a power of two and may not exceed 64 bits");
  }
  h.refcount_order = static_cast<uint32_t>(std::countr_zero(refcount_bits));
  if (h.version < 3 && refcount_bits != 16) {
    return bad(
        "Different refcount widths than 16 bits require compatibility level 1.1 or above (use "
        "version=v3 or greater)");
  }
  if (BoolOption(options, "lazy_refcounts")) {
    if (h.version < 3) {
      return bad(
          "Lazy refcounts only supported with compatibility level 1.1 and above (use version=v3 "
          "or greater)");
    }
    h.compatible |= kLazyRefcounts;
  }
  if (BoolOption(options, "extended_l2")) {
    return absl::UnimplementedError("qcow2: extended L2 entries are not supported");
  }
  if (OptionValue(options, "compression_type") == "zstd") {
    if (h.version < 3) {
      return bad(
          "Non-zlib compression type is only supported with compatibility level 1.1 and above "
          "(use version=v3 or greater)");
    }
    h.compression = Compression::kZstd;
    h.incompatible |= kCompressionType;
  }
  h.backing_file = std::string(OptionValue(options, "backing_file"));
  h.backing_format = std::string(OptionValue(options, "backing_fmt"));
  if (h.backing_format.size() > 15) return bad("backing format name is too long");
  if (!h.backing_file.empty() && PreallocationOption(options) != Preallocation::kOff) {
    return bad(
        "Backing file and preallocation can only be used at the same time if extended_l2 is "
        "enabled");
  }
  if (h.size > uint64_t{1} << 62 || h.l1_needed() > kMaxL1Bytes / 8) {
    return bad(absl::StrCat("Image size too large for file format (try using a larger cluster ",
                            "size): ", h.size));
  }
  return h;
}

}  // namespace

absl::Status Create(Storage& storage, uint64_t size, const FormatOptions& options) {
  ASSIGN_OR_RETURN(Header h, HeaderFor(size, options));
  const uint64_t cs = h.cluster_size();
  const uint64_t entries = cs * 8 >> h.refcount_order;
  h.l1_size = static_cast<uint32_t>(h.l1_needed());
  const uint64_t l1_clusters = DivRoundUp(uint64_t{h.l1_size} * 8, cs);
  // Header, refcount table, its blocks, L1; the blocks count themselves too.
  uint64_t blocks = 1, table = 1, total = 0;
  for (;;) {
    total = 1 + table + blocks + l1_clusters;
    uint64_t b = DivRoundUp(total, entries), t = DivRoundUp(b * 8, cs);
    if (b <= blocks && t <= table) break;
    blocks = std::max(b, blocks);
    table = std::max(t, table);
  }
  h.refcount_table_offset = cs;
  h.refcount_table_clusters = static_cast<uint32_t>(table);
  h.l1_table_offset = (1 + table + blocks) * cs;
  ASSIGN_OR_RETURN(std::vector<uint8_t> header, EncodeHeader(h));

  std::vector<uint8_t> bytes((table + blocks) * cs);
  for (uint64_t b = 0; b < blocks; ++b)
    StoreBe<uint64_t>(bytes.data() + 8 * b, (1 + table + b) * cs);
  for (uint64_t c = 0; c < total; ++c) {
    // Blocks follow each other, so their counts do.
    SetCount(std::span(bytes).subspan(table * cs + c / entries * cs, cs), h.refcount_order,
             c % entries, 1);
  }
  RETURN_IF_ERROR(storage.Truncate(total * cs));
  if (!storage.grows_zeroed()) {
    std::vector<uint8_t> l1(l1_clusters * cs);
    RETURN_IF_ERROR(storage.Write(h.l1_table_offset, l1));
  }
  RETURN_IF_ERROR(storage.Write(cs, bytes));
  // Last: before it the file is no image.
  RETURN_IF_ERROR(storage.Write(0, header));

  const Preallocation how = PreallocationOption(options);
  if (how == Preallocation::kOff) return absl::OkStatus();
  ASSIGN_OR_RETURN(std::unique_ptr<Layer> layer,
                   Qcow2Layer::Open(Borrow(&storage), {.writable = true, .no_flush = true}));
  RETURN_IF_ERROR(static_cast<Qcow2Layer&>(*layer).Preallocate(0, how));
  return layer->Close();
}

}  // namespace atl::block::qcow2
