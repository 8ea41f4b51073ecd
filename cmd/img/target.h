// SPDX-License-Identifier: Apache-2.0
// A new image that appears under its name only when it is complete.
//
// Where the file is not there yet, it is made without a name (O_TMPFILE) and
// linked at the end: a tool that is killed leaves nothing behind (on file systems
// without O_TMPFILE: a file that is no image of its format). Where the
// file is there, it is emptied and written in place, so that links, owner and
// mode stay, and its first bytes, by which its format is known, are written
// last. Raw images have no such bytes: over an existing file an interrupted
// convert to raw leaves a part of the image.
#ifndef CMD_IMG_TARGET_H_
#define CMD_IMG_TARGET_H_

#include <array>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "lib/base/unique_fd.h"
#include "lib/block/format.h"
#include "lib/block/image.h"
#include "lib/cli/option.h"

namespace atl::img {

// What -f/-O, -o, -b, -F and SIZE of create, convert and dd say.
struct ImageSpec {
  const block::Format* format = nullptr;
  block::FormatOptions options;  // as given, without size and the backing file
  std::optional<uint64_t> size;
  std::string backing_file;
  std::string backing_format;
};

// Reads every -o. The list of options is in `help` where "-o help" was asked
// for. Values are checked, sizes in them written out.
struct SpecResult {
  ImageSpec spec;
  std::string help;
};
absl::StatusOr<SpecResult> ParseImageSpec(const block::Format& format, const cli::Parsed& args);

// Opens the backing file that an image at `path` would have and returns its
// size. Errors name both.
absl::StatusOr<uint64_t> CheckBacking(absl::string_view path, const ImageSpec& spec);

// An error where the file `target` is there and one of the files that the
// sources read.
absl::Status CheckNotASource(absl::string_view target, std::span<block::Image* const> sources);

// "Formatting 'a.qcow2', fmt=qcow2 cluster_size=65536 … size=…\n".
std::string FormattingLine(absl::string_view path, const ImageSpec& spec);

class NewImage {
 public:
  // spec.size is set; the backing file is not looked at.
  static absl::StatusOr<NewImage> Make(absl::string_view path, const ImageSpec& spec);
  NewImage(NewImage&&) = default;

  // Opens it for writing. Without its backing file, zeroes that are written
  // where nothing is may be left out.
  absl::StatusOr<std::unique_ptr<block::Image>> Open(bool flush, bool with_backing);
  // Gives it its name, after the image was closed. Without this call there is
  // no image.
  absl::Status Publish(bool flush);
  // With the user's name for the file in place of ours.
  absl::Status Renamed(const absl::Status& status) const;

 private:
  NewImage() = default;
  void Keep();

  std::string path_;
  std::string io_path_;
  const block::Format* format_ = nullptr;
  UniqueFd fd_;
  bool unnamed_ = false;
  // Removes the named file that was made, where it is not published.
  struct Remove {
    void operator()(std::string* path) const;
  };
  std::unique_ptr<std::string, Remove> remove_;
  std::optional<std::array<uint8_t, 4>> magic_;  // what is written last
};

}  // namespace atl::img

#endif  // CMD_IMG_TARGET_H_
