// SPDX-License-Identifier: Apache-2.0
#include <sys/stat.h>
#include <unistd.h>

#include "absl/strings/str_cat.h"
#include "lib/base/status_macros.h"
#include "lib/block/image.h"

namespace atl::block {
namespace {

// The size of the backing file, which has to be there.
absl::StatusOr<uint64_t> BackingSize(const CreateRequest& request, absl::string_view backing) {
  ASSIGN_OR_RETURN(std::string path, ResolveBackingName(request.path, backing));
  OpenOptions options{.format = std::string(OptionValue(request.options, "backing_fmt"))};
  absl::StatusOr<std::unique_ptr<Image>> image = Image::Open(path, options);
  if (!image.ok()) return Annotate(image.status(), "Could not open backing file");
  return (*image)->size();
}

FormatOptions WithoutPreallocation(FormatOptions options) {
  std::erase_if(options, [](const auto& o) { return o.first == "preallocation"; });
  return options;
}

}  // namespace

absl::Status CreateImage(const CreateRequest& request) {
  const Format* format = FindFormat(request.format);
  if (format == nullptr) {
    return absl::InvalidArgumentError(
        absl::StrCat(request.path, ": Unknown file format '", request.format, "'"));
  }
  const absl::string_view backing = OptionValue(request.options, "backing_file");
  if (!backing.empty() && !format->supports_backing) {
    return absl::InvalidArgumentError(absl::StrCat(
        request.path, ": Backing file not supported for file format '", format->name, "'"));
  }
  absl::StatusOr<FormatOptions> options = CompleteOptions(*format, request.options);
  RETURN_IF_ERROR(Annotate(options.status(), request.path));
  std::optional<uint64_t> size = request.size;
  if (!backing.empty()) {
    absl::string_view backing_format = OptionValue(request.options, "backing_fmt");
    if (backing_format.empty()) {
      return absl::InvalidArgumentError(
          absl::StrCat(request.path, ": Backing file specified without backing format"));
    }
    if (backing == request.path) {
      return absl::InvalidArgumentError(
          absl::StrCat(request.path,
                       ": Error: Trying to create an image with the same filename as the "
                       "backing file"));
    }
    if (FindFormat(backing_format) == nullptr && !request.unsafe_backing) {
      return absl::InvalidArgumentError(
          absl::StrCat(request.path, ": Unknown backing file format '", backing_format, "'"));
    }
    if (!request.unsafe_backing || !size.has_value()) {
      ASSIGN_OR_RETURN(uint64_t backing_size, BackingSize(request, backing));
      if (!size.has_value()) size = backing_size;
    }
  }
  if (!size.has_value()) {
    return absl::InvalidArgumentError(
        absl::StrCat(request.path, ": Image creation needs a size parameter"));
  }
  if (*size > INT64_MAX) {
    return absl::InvalidArgumentError(
        absl::StrCat(request.path, ": Image size must be less than 8 EiB"));
  }
  // A rehearsal in memory: what is wrong with the options is said before an
  // existing file is emptied.
  {
    auto memory = NewMemoryStorage(request.path);
    RETURN_IF_ERROR(
        Annotate(format->create(*memory, *size, WithoutPreallocation(*options)), request.path));
  }
  struct stat st;
  const bool existed = stat(request.path.c_str(), &st) == 0;
  ASSIGN_OR_RETURN(std::unique_ptr<Storage> storage,
                   OpenFile(request.path, {.writable = true,
                                           .create = !existed || S_ISREG(st.st_mode),
                                           .lock = LockMode::kReadWrite}));
  absl::Status status = format->create(*storage, *size, *options);
  if (!status.ok() && !existed) unlink(request.path.c_str());
  return status;
}

}  // namespace atl::block
