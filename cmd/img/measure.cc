// SPDX-License-Identifier: Apache-2.0
// img measure: how large the file of a new image will be.
#include <algorithm>
#include <memory>
#include <optional>
#include <string>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "cmd/img/commands.h"
#include "cmd/img/open.h"
#include "cmd/img/target.h"
#include "lib/base/checked.h"
#include "lib/base/status_macros.h"
#include "lib/base/units.h"
#include "lib/cli/json.h"
#include "lib/cli/main.h"

namespace atl::img {
namespace {

constexpr cli::Option kOptions[] = {
    kFormat,
    {.name = "-O",
     .arg = "FMT",
     .kind = cli::Kind::kString,
     .help = "format of the new image: raw or qcow2",
     .default_text = "raw",
     .more_choices = FormatNames},
    kFormatOptions,
    kOutput,
    {.name = "--size",
     .arg = "SIZE",
     .kind = cli::Kind::kString,
     .help = "measure for an empty image of this size instead of a FILE"},
    kShare,
};

struct Measure {
  uint64_t required = 0;
  uint64_t fully_allocated = 0;
  std::optional<uint64_t> bitmaps;  // where the source can have any
};

// Clusters that the refcounts of `clusters` clusters take, their own included.
uint64_t RefcountClusters(uint64_t clusters, uint64_t cluster_size, uint64_t refcount_bits) {
  const uint64_t counts_per_block = cluster_size * 8 / refcount_bits;
  const uint64_t blocks_per_table = cluster_size / 8;
  uint64_t blocks = 0;
  uint64_t table = 0;
  while (true) {
    const uint64_t need = DivRoundUp(clusters + blocks + table, counts_per_block);
    const uint64_t need_table = DivRoundUp(need, blocks_per_table);
    if (need == blocks && need_table == table) return blocks + table;
    blocks = need;
    table = need_table;
  }
}

// Header, L1, L2 and refcounts of a qcow2 image whose clusters are all there.
absl::StatusOr<Measure> MeasureQcow2(uint64_t size, uint64_t data, const ImageSpec& spec) {
  ASSIGN_OR_RETURN(block::FormatOptions options,
                   block::CompleteOptions(*spec.format, spec.options));
  uint64_t cluster_size = 0;
  uint64_t refcount_bits = 16;
  absl::StatusOr<uint64_t> parsed = ParseSize(block::OptionValue(options, "cluster_size"));
  if (parsed.ok()) cluster_size = *parsed;
  absl::string_view bits = block::OptionValue(options, "refcount_bits");
  if (!bits.empty() && !absl::SimpleAtoi(bits, &refcount_bits)) refcount_bits = 0;
  if (cluster_size < 512 || (cluster_size & (cluster_size - 1)) != 0) {
    return cli::UsageError("Cluster size must be a power of two between 512 and 2048k");
  }
  if (refcount_bits == 0 || refcount_bits > 64 || (refcount_bits & (refcount_bits - 1)) != 0) {
    return cli::UsageError("Refcount width must be a power of two and may not exceed 64 bits");
  }
  const uint64_t l2_entry = block::OptionValue(options, "extended_l2") == "on" ? 16 : 8;
  const uint64_t aligned = RoundUp(size, cluster_size);
  const uint64_t l2 = RoundUp(aligned / cluster_size * l2_entry, cluster_size);
  const uint64_t l1 = RoundUp(l2 / cluster_size * 8, cluster_size);
  const uint64_t without_counts = cluster_size + l1 + l2 + aligned;
  const uint64_t counts =
      RefcountClusters(without_counts / cluster_size, cluster_size, refcount_bits) * cluster_size;
  Measure m;
  m.fully_allocated = without_counts + counts;
  m.required = m.fully_allocated - aligned + data;
  return m;
}

// Bytes of the clusters of `cluster_size` that hold data.
absl::StatusOr<uint64_t> DataBytes(block::Image* image, uint64_t cluster_size) {
  uint64_t bytes = 0;
  uint64_t counted_to = 0;  // clusters before this offset are done
  for (uint64_t at = 0; at < image->size();) {
    ASSIGN_OR_RETURN(block::MapExtent e, image->MapAt(at));
    if (!e.zero) {
      const uint64_t begin = std::max(counted_to, RoundDown(at, cluster_size));
      const uint64_t end = RoundUp(at + e.length, cluster_size);
      if (end > begin) bytes += end - begin;
      counted_to = std::max(counted_to, end);
    }
    at += e.length;
  }
  return bytes;
}

// What the source's bitmaps would add: their data, tables and directory.
uint64_t BitmapBytes(const block::ImageInfo& info, uint64_t cluster_size) {
  uint64_t bytes = 0;
  uint64_t directory = 0;
  for (const block::BitmapInfo& b : info.qcow2->bitmaps) {
    if (b.in_use || b.granularity == 0) continue;
    const uint64_t bits = DivRoundUp(info.virtual_size, b.granularity);
    const uint64_t clusters = DivRoundUp(DivRoundUp(bits, 8), cluster_size);
    bytes += clusters * cluster_size + RoundUp(clusters * 8, cluster_size);
    directory += RoundUp(24 + b.name.size(), 8);
  }
  return bytes + RoundUp(directory, cluster_size);
}

absl::StatusOr<int> Run(const cli::Parsed& args) {
  ASSIGN_OR_RETURN(bool as_json, WantsJson(args));
  if (args.Has("--size") == !args.operands.empty() || args.operands.size() > 1) {
    return cli::UsageError("Either --size N or one filename must be specified.");
  }
  ASSIGN_OR_RETURN(const block::Format* format, FormatByName(args.TextOr("-O", "raw")));
  ASSIGN_OR_RETURN(SpecResult parsed, ParseImageSpec(*format, args));
  if (!parsed.help.empty()) {
    cli::Print(parsed.help);
    return cli::kExitDone;
  }
  const absl::string_view name = format->name;
  if (name != "raw" && name != "qcow2") {
    return absl::UnimplementedError(absl::StrCat("Block driver '", name,
                                                 "' does not support size measurement (valid: "
                                                 "raw, qcow2)"));
  }
  std::unique_ptr<block::Image> image;
  uint64_t size = 0;
  if (args.Has("--size")) {
    ASSIGN_OR_RETURN(size, ParseSizeArgument("image size", *args.Text("--size")));
    size = RoundUp(size, 512);
  } else {
    block::OpenOptions options;
    options.format = args.TextOr("-f", "");
    options.force_share = args.Has("-U");
    ASSIGN_OR_RETURN(image, OpenImage(args.operands[0], options));
    size = image->size();
  }
  if (size > uint64_t{1} << 60) {
    return absl::OutOfRangeError("no image of more than 1 EiB can be measured");
  }
  Measure m{.required = size, .fully_allocated = size};
  if (name == "qcow2") {
    ASSIGN_OR_RETURN(m, MeasureQcow2(size, 0, parsed.spec));
    if (image != nullptr) {
      ASSIGN_OR_RETURN(block::FormatOptions options,
                       block::CompleteOptions(*format, parsed.spec.options));
      ASSIGN_OR_RETURN(uint64_t cluster, ParseSize(block::OptionValue(options, "cluster_size")));
      ASSIGN_OR_RETURN(uint64_t data, DataBytes(image.get(), cluster));
      ASSIGN_OR_RETURN(m, MeasureQcow2(size, data, parsed.spec));
      ASSIGN_OR_RETURN(block::ImageInfo info, image->Info());
      if (info.qcow2 && info.qcow2->compat != "0.10") m.bitmaps = BitmapBytes(info, cluster);
    }
  }
  if (as_json) {
    cli::JsonWriter json;
    json.BeginObject();
    if (m.bitmaps) json.Key("bitmaps").Number(*m.bitmaps);
    json.Key("required").Number(m.required);
    json.Key("fully-allocated").Number(m.fully_allocated).EndObject();
    cli::Print(json.text() + "\n");
  } else {
    cli::Print(absl::StrCat("required size: ", m.required,
                            "\nfully allocated size: ", m.fully_allocated, "\n"));
    if (m.bitmaps) cli::Print(absl::StrCat("bitmaps size: ", *m.bitmaps, "\n"));
  }
  return cli::kExitDone;
}

}  // namespace

const cli::Command kMeasure = {
    .name = "measure",
    .operands = "[FILE]",
    .summary = "say how large the file of a new image will be",
    .options = kOptions,
    .max_operands = 1,
    .run = Run,
};

}  // namespace atl::img
