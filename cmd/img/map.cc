// SPDX-License-Identifier: Apache-2.0
// img map: where the guest's bytes are.
#include <algorithm>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "cmd/img/commands.h"
#include "cmd/img/open.h"
#include "lib/base/status_macros.h"
#include "lib/cli/main.h"
#include "lib/cli/table.h"

namespace atl::img {
namespace {

using block::MapExtent;

constexpr cli::Option kOptions[] = {
    kFormat,
    kOutput,
    {.name = "-s",
     .alias = "--start-offset",
     .arg = "OFFSET",
     .kind = cli::Kind::kString,
     .help = "begin at this offset of the guest's disk",
     .default_text = "0"},
    {.name = "-l",
     .alias = "--max-length",
     .arg = "LENGTH",
     .kind = cli::Kind::kString,
     .help = "show no more than this many bytes",
     .default_text = "up to the end"},
    kShare,
};

// Output is gathered and written in large pieces: an image has millions of
// extents.
class Output {
 public:
  virtual ~Output() = default;
  virtual absl::Status Add(const MapExtent& e) = 0;
  virtual void End() {}

 protected:
  void Emit() {
    if (text_.size() >= 1 << 16) Flush();
  }
  void Flush() {
    cli::Print(text_);
    text_.clear();
  }
  std::string text_;
};

class HumanOutput : public Output {
 public:
  HumanOutput() {
    absl::StrAppendFormat(&text_, "%-16s%-16s%-16s%s\n", "Offset", "Length", "Mapped to", "File");
  }
  absl::Status Add(const MapExtent& e) override {
    if (!e.data || e.zero) return absl::OkStatus();
    if (!e.host_offset || e.file == nullptr) {
      Flush();
      return absl::UnimplementedError(
          "File contains external, encrypted or compressed clusters: use --output=json.");
    }
    absl::StrAppendFormat(&text_, "%#-16x%#-16x%#-16x%s\n", e.offset, e.length, *e.host_offset,
                          cli::Printable(*e.file));
    Emit();
    return absl::OkStatus();
  }
  void End() override { Flush(); }
};

class JsonOutput : public Output {
 public:
  JsonOutput() { text_.push_back('['); }
  absl::Status Add(const MapExtent& e) override {
    auto yes = [](bool b) { return b ? "true" : "false"; };
    if (!first_) absl::StrAppend(&text_, ",\n");
    first_ = false;
    absl::StrAppend(&text_, "{ \"start\": ", e.offset, ", \"length\": ", e.length,
                    ", \"depth\": ", e.depth, ", \"present\": ", yes(e.present),
                    ", \"zero\": ", yes(e.zero), ", \"data\": ", yes(e.data));
    if (e.host_offset) absl::StrAppend(&text_, ", \"offset\": ", *e.host_offset);
    absl::StrAppend(&text_, "}");
    Emit();
    return absl::OkStatus();
  }
  void End() override {
    absl::StrAppend(&text_, "]\n");
    Flush();
  }

 private:
  bool first_ = true;
};

bool Joins(const MapExtent& a, const MapExtent& b) {
  return a.depth == b.depth && a.present == b.present && a.zero == b.zero && a.data == b.data &&
         a.host_offset.has_value() == b.host_offset.has_value() && a.file == b.file &&
         (!a.host_offset || *a.host_offset + a.length == *b.host_offset);
}

absl::StatusOr<int> Run(const cli::Parsed& args) {
  ASSIGN_OR_RETURN(bool as_json, WantsJson(args));
  uint64_t start = 0;
  if (args.Has("-s")) {
    ASSIGN_OR_RETURN(start, ParseSizeArgument("start offset", *args.Text("-s")));
  }
  uint64_t max_length = UINT64_MAX;
  if (args.Has("-l")) {
    ASSIGN_OR_RETURN(max_length, ParseSizeArgument("max length", *args.Text("-l")));
  }
  if (args.operands.size() != 1) return cli::UsageError("Expecting one image file name");
  block::OpenOptions options;
  options.format = args.TextOr("-f", "");
  options.force_share = args.Has("-U");
  ASSIGN_OR_RETURN(std::unique_ptr<block::Image> image, OpenImage(args.operands[0], options));

  const uint64_t size = image->size();
  if (start > size) {
    return absl::OutOfRangeError(absl::StrCat("start offset ", start, " lies past the end of '",
                                              args.operands[0], "', which has ", size, " bytes"));
  }
  const uint64_t end = start + std::min(max_length, size - start);
  std::unique_ptr<Output> out;
  if (as_json) {
    out = std::make_unique<JsonOutput>();
  } else {
    out = std::make_unique<HumanOutput>();
  }
  MapExtent run;
  for (uint64_t at = start; at < end;) {
    ASSIGN_OR_RETURN(MapExtent e, image->MapAt(at, end - at));
    at += e.length;
    if (run.length != 0 && Joins(run, e)) {
      run.length += e.length;
      continue;
    }
    if (run.length != 0) RETURN_IF_ERROR(out->Add(run));
    run = e;
  }
  if (run.length != 0) RETURN_IF_ERROR(out->Add(run));
  out->End();
  return cli::kExitDone;
}

}  // namespace

const cli::Command kMap = {
    .name = "map",
    .operands = "FILE",
    .summary = "show which ranges of a disk are data, zeroes or holes, and where they are",
    .options = kOptions,
    .max_operands = 1,
    .run = Run,
};

}  // namespace atl::img
