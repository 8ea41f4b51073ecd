// SPDX-License-Identifier: Apache-2.0
// img check: the consistency of an image's metadata, and its repair.
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "cmd/img/commands.h"
#include "cmd/img/open.h"
#include "lib/base/status_macros.h"
#include "lib/cli/json.h"
#include "lib/cli/main.h"
#include "lib/cli/suggest.h"
#include "lib/cli/table.h"

namespace atl::img {
namespace {

using block::CheckRepair;
using block::CheckResult;

constexpr int kCorrupt = 2;
constexpr int kLeaks = 3;
constexpr int kUnsupported = 63;

constexpr cli::Option kOptions[] = {
    kFormat,
    kOutput,
    kQuiet,
    {.name = "-r",
     .alias = "--repair",
     .arg = "WHAT",
     .kind = cli::Kind::kString,
     .help = "repair leaked clusters, or all errors: leaks or all",
     .choices = "leaks all"},
    kSourceCache,
    kShare,
};

std::string Human(const CheckResult& r) {
  std::string out;
  if (r.corruptions == 0 && r.leaks == 0 && r.check_errors == 0) {
    absl::StrAppend(&out, "No errors were found on the image.\n");
  }
  if (r.corruptions != 0) {
    absl::StrAppend(&out, "\n", r.corruptions,
                    " errors were found on the image.\n"
                    "Data may be corrupted, or further writes to the image may corrupt it.\n");
  }
  if (r.leaks != 0) {
    absl::StrAppend(&out, "\n", r.leaks,
                    " leaked clusters were found on the image.\n"
                    "This means waste of disk space, but no harm to data.\n");
  }
  if (r.check_errors != 0) {
    absl::StrAppend(&out, "\n", r.check_errors,
                    " internal errors have occurred during the check.\n");
  }
  if (r.total_clusters != 0 && r.allocated_clusters != 0) {
    const double allocated = static_cast<double>(r.allocated_clusters);
    absl::StrAppendFormat(
        &out, "%d/%d = %0.2f%% allocated, %0.2f%% fragmented, %0.2f%% compressed clusters\n",
        r.allocated_clusters, r.total_clusters,
        allocated * 100 / static_cast<double>(r.total_clusters),
        static_cast<double>(r.fragmented_clusters) * 100 / allocated,
        static_cast<double>(r.compressed_clusters) * 100 / allocated);
  }
  if (r.image_end_offset != 0) {
    absl::StrAppend(&out, "Image end offset: ", r.image_end_offset, "\n");
  }
  return out;
}

std::string Json(const CheckResult& r, const std::string& file, const char* format) {
  cli::JsonWriter json;
  json.BeginObject();
  auto unless_zero = [&](absl::string_view key, uint64_t n) {
    if (n != 0) json.Key(key).Number(n);
  };
  unless_zero("image-end-offset", r.image_end_offset);
  unless_zero("compressed-clusters", r.compressed_clusters);
  unless_zero("total-clusters", r.total_clusters);
  unless_zero("corruptions-fixed", r.corruptions_fixed);
  unless_zero("corruptions", r.corruptions);
  json.Key("check-errors").Number(r.check_errors);
  unless_zero("leaks-fixed", r.leaks_fixed);
  unless_zero("leaks", r.leaks);
  unless_zero("allocated-clusters", r.allocated_clusters);
  json.Key("filename").String(file);
  json.Key("format").String(format);
  unless_zero("fragmented-clusters", r.fragmented_clusters);
  json.EndObject();
  return json.text() + "\n";
}

void PrintMessages(const CheckResult& r) {
  for (const std::string& line : r.messages) {
    absl::FPrintF(stderr, "%s\n", cli::Printable(line));
  }
}

absl::StatusOr<int> Run(const cli::Parsed& args) {
  ASSIGN_OR_RETURN(bool as_json, WantsJson(args));
  const std::string repair_text = args.TextOr("-r", "");
  if (args.Has("-r") && repair_text != "leaks" && repair_text != "all") {
    return cli::UsageError(
        absl::StrCat("Unknown option value for -r (expecting 'leaks' or 'all'): ", repair_text));
  }
  RETURN_IF_ERROR(ParseCacheMode("source cache", args.TextOr("-T", "writeback")).status());
  if (args.operands.size() != 1) return cli::UsageError("Expecting one image file name");
  const std::string& path = args.operands[0];
  const CheckRepair repair = repair_text.empty()      ? CheckRepair::kNone
                             : repair_text == "leaks" ? CheckRepair::kLeaks
                                                      : CheckRepair::kAll;
  const bool quiet = args.Has("-q");

  block::OpenOptions options;
  options.format = args.TextOr("-f", "");
  options.for_check = true;
  options.writable = repair != CheckRepair::kNone;
  options.force_share = args.Has("-U");
  ASSIGN_OR_RETURN(std::unique_ptr<block::Image> image, OpenImage(path, options));
  absl::StatusOr<CheckResult> result = image->Check(repair);
  if (absl::IsUnimplemented(result.status())) {
    cli::PrintError(cli::ProgramName(),
                    absl::UnimplementedError("This image format does not support checks"));
    return kUnsupported;
  }
  if (!result.ok()) return Annotate(WithoutPath(result.status(), path), "Check failed");

  if (result->leaks_fixed != 0 || result->corruptions_fixed != 0) {
    const CheckResult fixed = *result;
    if (!as_json && !quiet) {
      PrintMessages(fixed);
      cli::Print(absl::StrCat("The following inconsistencies were found and repaired:\n\n    ",
                              fixed.leaks_fixed, " leaked clusters\n    ", fixed.corruptions_fixed,
                              " corruptions\n\nDouble checking the fixed image now...\n"));
    }
    result = image->Check(CheckRepair::kNone);
    if (!result.ok()) return Annotate(WithoutPath(result.status(), path), "Check failed");
    result->leaks_fixed = fixed.leaks_fixed;
    result->corruptions_fixed = fixed.corruptions_fixed;
  }
  const char* format = image->format().name;
  absl::Status closed = image->Close();
  if (!closed.ok() && repair != CheckRepair::kNone) return closed;
  if (as_json) {
    cli::Print(Json(*result, path, format));
  } else if (!quiet) {
    PrintMessages(*result);
    cli::Print(Human(*result));
  }
  if (result->corruptions != 0) return kCorrupt;
  if (result->leaks != 0) return kLeaks;
  return result->check_errors != 0 ? cli::kExitFailed : cli::kExitDone;
}

}  // namespace

const cli::Command kCheck = {
    .name = "check",
    .operands = "FILE",
    .summary = "look for errors in an image's metadata, and repair them",
    .options = kOptions,
    .max_operands = 1,
    .run = Run,
    .notes =
        "Exit codes: 0 no errors, 1 the check could not be done, 2 the image is corrupt,\n"
        "3 clusters are leaked and nothing else is wrong, 63 the format has no checks.",
};

}  // namespace atl::img
