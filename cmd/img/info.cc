// SPDX-License-Identifier: Apache-2.0
// img info: what an image says about itself. Nothing that the image names is
// opened, except for --backing-chain.
#include <ctime>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "cmd/img/commands.h"
#include "cmd/img/open.h"
#include "cmd/img/snapshot_list.h"
#include "lib/base/status_macros.h"
#include "lib/base/units.h"
#include "lib/cli/json.h"
#include "lib/cli/main.h"
#include "lib/cli/table.h"

namespace atl::img {
namespace {

using block::ImageInfo;

constexpr cli::Option kOptions[] = {
    kFormat,
    kOutput,
    {.name = "--backing-chain", .help = "show the backing files too, the nearest first"},
    kShare,
};

// As qemu-img writes them: every string that is the image's own goes through
// Printable().
std::string Human(const ImageInfo& info) {
  std::string out;
  absl::StrAppend(&out, "image: ", cli::Printable(info.file), "\n");
  absl::StrAppend(&out, "file format: ", info.format, "\n");
  absl::StrAppend(&out, "virtual size: ", FormatSize(info.virtual_size), " (", info.virtual_size,
                  " bytes)\n");
  absl::StrAppend(&out, "disk size: ", FormatSize(info.disk_size), "\n");
  if (info.encrypted) absl::StrAppend(&out, "encrypted: yes\n");
  if (info.cluster_size != 0) absl::StrAppend(&out, "cluster_size: ", info.cluster_size, "\n");
  if (info.dirty) absl::StrAppend(&out, "cleanly shut down: no\n");
  if (!info.backing_file.empty()) {
    absl::StrAppend(&out, "backing file: ", cli::Printable(info.backing_file));
    if (info.full_backing_file.empty()) {
      absl::StrAppend(&out, " (cannot determine actual path)");
    } else if (info.full_backing_file != info.backing_file) {
      absl::StrAppend(&out, " (actual path: ", cli::Printable(info.full_backing_file), ")");
    }
    absl::StrAppend(&out, "\n");
    if (!info.backing_format.empty()) {
      absl::StrAppend(&out, "backing file format: ", cli::Printable(info.backing_format), "\n");
    }
  }
  if (!info.snapshots.empty()) absl::StrAppend(&out, SnapshotTable(info.snapshots));
  if (info.qcow2) {
    const block::Qcow2Info& q = *info.qcow2;
    const bool v3 = q.compat != "0.10";
    auto yes = [](bool b) { return b ? "true" : "false"; };
    absl::StrAppend(&out, "Format specific information:\n");
    absl::StrAppend(&out, "    compat: ", q.compat, "\n");
    absl::StrAppend(&out, "    compression type: ", q.compression_type, "\n");
    if (v3) absl::StrAppend(&out, "    lazy refcounts: ", yes(q.lazy_refcounts), "\n");
    if (!q.bitmaps.empty()) {
      absl::StrAppend(&out, "    bitmaps:\n");
      for (size_t i = 0; i < q.bitmaps.size(); ++i) {
        const block::BitmapInfo& b = q.bitmaps[i];
        absl::StrAppend(&out, "        [", i, "]:\n            flags:\n");
        int n = 0;
        for (auto [set, name] : {std::pair(b.in_use, "in-use"), std::pair(b.automatic, "auto")}) {
          if (set) absl::StrAppend(&out, "                [", n++, "]: ", name, "\n");
        }
        absl::StrAppend(&out, "            name: ", cli::Printable(b.name), "\n");
        absl::StrAppend(&out, "            granularity: ", b.granularity, "\n");
      }
    }
    absl::StrAppend(&out, "    refcount bits: ", q.refcount_bits, "\n");
    if (!q.data_file.empty()) {
      absl::StrAppend(&out, "    data file: ", cli::Printable(q.data_file), "\n");
      absl::StrAppend(&out, "    data file raw: ", yes(q.data_file_raw), "\n");
    }
    if (v3) {
      absl::StrAppend(&out, "    corrupt: ", yes(q.corrupt), "\n");
      absl::StrAppend(&out, "    extended l2: ", yes(q.extended_l2), "\n");
    }
  }
  return out;
}

void Qcow2Json(const block::Qcow2Info& q, cli::JsonWriter* json) {
  const bool v3 = q.compat != "0.10";
  json->Key("format-specific").BeginObject();
  json->Key("type").String("qcow2").Key("data").BeginObject();
  json->Key("compat").String(q.compat);
  json->Key("compression-type").String(q.compression_type);
  if (v3) json->Key("lazy-refcounts").Bool(q.lazy_refcounts);
  if (!q.bitmaps.empty()) {
    json->Key("bitmaps").BeginArray();
    for (const block::BitmapInfo& b : q.bitmaps) {
      json->BeginObject().Key("flags").BeginArray();
      if (b.in_use) json->String("in-use");
      if (b.automatic) json->String("auto");
      json->EndArray().Key("name").String(b.name).Key("granularity").Number(b.granularity);
      json->EndObject();
    }
    json->EndArray();
  }
  json->Key("refcount-bits").Number(static_cast<uint64_t>(q.refcount_bits));
  if (!q.data_file.empty()) {
    json->Key("data-file").String(q.data_file).Key("data-file-raw").Bool(q.data_file_raw);
  }
  if (v3) json->Key("corrupt").Bool(q.corrupt).Key("extended-l2").Bool(q.extended_l2);
  json->EndObject().EndObject();
}

void Json(const ImageInfo& info, cli::JsonWriter* json) {
  json->BeginObject();
  if (!info.snapshots.empty()) {
    json->Key("snapshots").BeginArray();
    for (const block::SnapshotInfo& s : info.snapshots) {
      json->BeginObject();
      if (s.icount) json->Key("icount").Number(*s.icount);
      json->Key("vm-clock-nsec").Number(s.vm_clock_nsec % 1000000000);
      json->Key("name").String(s.name);
      json->Key("date-sec").Number(s.date_sec).Key("date-nsec").Number(s.date_nsec);
      json->Key("vm-clock-sec").Number(s.vm_clock_nsec / 1000000000);
      json->Key("id").String(s.id).Key("vm-state-size").Number(s.vm_state_size);
      json->EndObject();
    }
    json->EndArray();
  }
  if (!info.backing_format.empty()) {
    json->Key("backing-filename-format").String(info.backing_format);
  }
  json->Key("virtual-size").Number(info.virtual_size);
  json->Key("filename").String(info.file);
  if (info.encrypted) json->Key("encrypted").Bool(true);
  if (info.cluster_size != 0) json->Key("cluster-size").Number(info.cluster_size);
  json->Key("format").String(info.format);
  json->Key("actual-size").Number(info.disk_size);
  if (info.qcow2) Qcow2Json(*info.qcow2, json);
  if (!info.full_backing_file.empty()) {
    json->Key("full-backing-filename").String(info.full_backing_file);
  }
  if (!info.backing_file.empty()) json->Key("backing-filename").String(info.backing_file);
  json->Key("dirty-flag").Bool(info.dirty);
  json->EndObject();
}

absl::StatusOr<std::vector<ImageInfo>> Gather(const std::string& path, const std::string& format,
                                              bool chain, bool share) {
  std::vector<ImageInfo> all;
  std::string next = path;
  std::string next_format = format;
  while (true) {
    for (const ImageInfo& seen : all) {
      if (seen.file == next) {
        return absl::InvalidArgumentError(
            absl::StrCat("Backing file '", next, "' creates an infinite loop."));
      }
    }
    // Names that differ can still be a loop: "a", "./a", "././a".
    if (all.size() >= block::Image::kMaxDepth) {
      return absl::InvalidArgumentError(
          absl::StrCat("'", path, "' has more than ", block::Image::kMaxDepth, " backing files"));
    }
    block::OpenOptions options;
    options.format = next_format;
    options.describe_only = true;
    options.force_share = share;
    ASSIGN_OR_RETURN(std::unique_ptr<block::Image> image, OpenImage(next, options));
    ASSIGN_OR_RETURN(ImageInfo info, image->Info());
    info.file = next;
    all.push_back(info);
    if (!chain || info.backing_file.empty()) return all;
    if (info.full_backing_file.empty()) {
      return absl::InvalidArgumentError(absl::StrCat(
          "'", next, "': backing file '", info.backing_file, "' is not the name of a file"));
    }
    next = info.full_backing_file;
    next_format = info.backing_format;
  }
}

absl::StatusOr<int> Run(const cli::Parsed& args) {
  ASSIGN_OR_RETURN(bool as_json, WantsJson(args));
  if (args.operands.size() != 1) return cli::UsageError("Expecting one image file name");
  const bool chain = args.Has("--backing-chain");
  ASSIGN_OR_RETURN(std::vector<ImageInfo> all,
                   Gather(args.operands[0], args.TextOr("-f", ""), chain, args.Has("-U")));
  if (as_json) {
    cli::JsonWriter json;
    if (chain) json.BeginArray();
    for (const ImageInfo& info : all) Json(info, &json);
    if (chain) json.EndArray();
    cli::Print(json.text());
    cli::Print("\n");
    return cli::kExitDone;
  }
  for (size_t i = 0; i < all.size(); ++i) {
    if (i > 0) cli::Print("\n");
    cli::Print(Human(all[i]));
  }
  return cli::kExitDone;
}

}  // namespace

const cli::Command kInfo = {
    .name = "info",
    .operands = "FILE",
    .summary = "show size, format, backing file and snapshots of an image",
    .options = kOptions,
    .max_operands = 1,
    .run = Run,
};

}  // namespace atl::img
