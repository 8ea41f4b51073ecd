// SPDX-License-Identifier: Apache-2.0
// The subcommands, one file each, and the options that several of them have.
#ifndef CMD_IMG_COMMANDS_H_
#define CMD_IMG_COMMANDS_H_

#include <string>

#include "lib/cli/option.h"

namespace atl::img {

extern const cli::Command kCheck;
extern const cli::Command kCompare;
extern const cli::Command kConvert;
extern const cli::Command kCreate;
extern const cli::Command kDd;
extern const cli::Command kInfo;
extern const cli::Command kMap;
extern const cli::Command kMeasure;
extern const cli::Command kResize;
extern const cli::Command kSnapshot;

// "raw qcow qcow2": for completion.
std::string FormatNames();

inline constexpr absl::string_view kCacheModes = "none writeback writethrough directsync unsafe";

inline constexpr cli::Option kFormat = {
    .name = "-f",
    .arg = "FMT",
    .kind = cli::Kind::kString,
    .help = "format of the image",
    .default_text = "found from the contents",
    .more_choices = FormatNames,
};
inline constexpr cli::Option kQuiet = {.name = "-q", .help = "print errors only"};
inline constexpr cli::Option kProgress = {.name = "-p", .help = "show progress on standard output"};
inline constexpr cli::Option kProgressForm = {
    .name = "--progress",
    .arg = "FORM",
    .kind = cli::Kind::kEnum,
    .help =
        "show progress on standard error: lines of JSON, a bar once a second has passed and "
        "standard error is a terminal, or nothing",
    .default_text = "bar",
    .choices = "bar json none",
};
inline constexpr cli::Option kOutput = {
    .name = "--output",
    .arg = "FORM",
    .kind = cli::Kind::kString,
    .help = "form of the output, human or json",
    .default_text = "human",
    .choices = "human json",
};
inline constexpr cli::Option kShare = {
    .name = "-U",
    .alias = "--force-share",
    .help = "open the image although another process writes to it",
};
inline constexpr cli::Option kFormatOptions = {
    .name = "-o",
    .arg = "KEY=VALUE,...",
    .kind = cli::Kind::kString,
    .help = "options of the new image's format; -o help lists them",
    .repeat = cli::Repeat::kEach,
};
inline constexpr cli::Option kBackingFormat = {
    .name = "-F",
    .arg = "FMT",
    .kind = cli::Kind::kString,
    .help = "format of the backing file",
    .more_choices = FormatNames,
};
inline constexpr cli::Option kSourceCache = {
    .name = "-T",
    .arg = "CACHE",
    .kind = cli::Kind::kString,
    .help = "cache mode for reading; all are as writeback",
    .default_text = "writeback",
    .choices = kCacheModes,
};

}  // namespace atl::img

#endif  // CMD_IMG_COMMANDS_H_
