// SPDX-License-Identifier: Apache-2.0
// img snapshot: lists the internal snapshots of an image.
#include <ctime>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "cmd/img/commands.h"
#include "cmd/img/open.h"
#include "cmd/img/snapshot_list.h"
#include "lib/base/status_macros.h"
#include "lib/base/units.h"
#include "lib/cli/main.h"
#include "lib/cli/table.h"

namespace atl::img {
namespace {

constexpr cli::Option kOptions[] = {
    kFormat,
    {.name = "-l", .help = "list the snapshots; this is what happens without an option too"},
    kQuiet,
    kShare,
};

absl::StatusOr<int> Run(const cli::Parsed& args) {
  if (args.operands.size() != 1) return cli::UsageError("Expecting one image file name");
  block::OpenOptions options;
  options.format = args.TextOr("-f", "");
  options.describe_only = true;
  options.force_share = args.Has("-U");
  ASSIGN_OR_RETURN(std::unique_ptr<block::Image> image, OpenImage(args.operands[0], options));
  ASSIGN_OR_RETURN(block::ImageInfo info, image->Info());
  cli::Print(SnapshotTable(info.snapshots));
  return cli::kExitDone;
}

}  // namespace

std::string SnapshotTable(const std::vector<block::SnapshotInfo>& snapshots) {
  if (snapshots.empty()) return "";
  std::string out = "Snapshot list:\n";
  absl::StrAppendFormat(&out, "%-10s%-17s%8s%20s%13s%11s\n", "ID", "TAG", "VM SIZE", "DATE",
                        "VM CLOCK", "ICOUNT");
  for (const block::SnapshotInfo& s : snapshots) {
    char date[64] = "";
    const auto seconds = static_cast<time_t>(s.date_sec);
    struct tm local = {};
    // A year that has no calendar shows as an empty date.
    if (localtime_r(&seconds, &local) != nullptr) {
      strftime(date, sizeof date, "%Y-%m-%d %H:%M:%S", &local);
    }
    const uint64_t clock = s.vm_clock_nsec / 1000000000;
    const std::string vm_clock =
        absl::StrFormat("%02d:%02d:%02d.%03d", clock / 3600, clock / 60 % 60, clock % 60,
                        s.vm_clock_nsec / 1000000 % 1000);
    const std::string icount = s.icount ? absl::StrCat(*s.icount) : "";
    absl::StrAppendFormat(&out, "%-9s %-16s %8s%20s%13s%11s\n", cli::Printable(s.id),
                          cli::Printable(s.name), FormatSize(s.vm_state_size), date, vm_clock,
                          icount);
  }
  return out;
}

const cli::Command kSnapshot = {
    .name = "snapshot",
    .operands = "FILE",
    .summary = "list the internal snapshots of an image",
    .options = kOptions,
    .max_operands = 1,
    .run = Run,
};

}  // namespace atl::img
