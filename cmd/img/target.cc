// SPDX-License-Identifier: Apache-2.0
#include "cmd/img/target.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <limits>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/strip.h"
#include "cmd/img/open.h"
#include "lib/base/status_macros.h"
#include "lib/base/units.h"
#include "lib/cli/suggest.h"

namespace atl::img {
namespace {

using Type = block::FormatOption::Type;

constexpr absl::string_view kProcFd = "/proc/self/fd/";

const block::FormatOption* FindOption(const block::Format& format, absl::string_view name) {
  for (const block::FormatOption& o : format.options) {
    if (name == o.name) return &o;
  }
  return nullptr;
}

std::string OptionHelp(const block::Format& format) {
  std::string out = absl::StrCat("Supported ", format.name, " options:\n");
  auto line = [&](absl::string_view head, absl::string_view help) {
    absl::StrAppendFormat(&out, "  %-22s - %s\n", head, help);
  };
  bool has_size = false;
  for (const block::FormatOption& o : format.options) {
    const char* value = "str";
    if (o.type == Type::kSize) value = "size";
    if (o.type == Type::kNumber) value = "num";
    if (o.type == Type::kBool) value = "bool (on/off)";
    std::string help = o.help;
    if (o.type == Type::kChoice && o.choices != nullptr) {
      absl::StrAppend(&help, ": ", absl::StrReplaceAll(o.choices, {{"|", ", "}}));
    }
    if (o.default_value != nullptr) absl::StrAppend(&help, " (default ", o.default_value, ")");
    line(absl::StrCat(o.name, "=<", value, ">"), help);
    has_size |= absl::string_view(o.name) == "size";
  }
  if (!has_size) line("size=<size>", "Virtual disk size");
  return out;
}

// The value as the library reads it: sizes in bytes, on and off.
std::string Normal(const block::FormatOption& option, const std::string& value) {
  if (option.type == Type::kSize || option.type == Type::kNumber) {
    absl::StatusOr<uint64_t> n = ParseSize(value);
    if (n.ok()) return absl::StrCat(*n);
  }
  if (option.type == Type::kBool) {
    if (value == "yes" || value == "true" || value == "y") return "on";
    if (value == "no" || value == "false" || value == "n") return "off";
  }
  return value;
}

absl::Status AddOption(const cli::KeyItem& item, ImageSpec* spec) {
  const std::string value = item.value.value_or("on");
  if (item.key == "size") {
    ASSIGN_OR_RETURN(spec->size, ParseSizeArgument("image size", value));
    return absl::OkStatus();
  }
  if (spec->format->supports_backing && item.key == "backing_file") {
    spec->backing_file = value;
    return absl::OkStatus();
  }
  if (spec->format->supports_backing && item.key == "backing_fmt") {
    spec->backing_format = value;
    return absl::OkStatus();
  }
  const block::FormatOption* option = FindOption(*spec->format, item.key);
  if (option == nullptr) {
    std::vector<absl::string_view> names = {"size"};
    std::string list;
    for (const block::FormatOption& o : spec->format->options) {
      names.push_back(o.name);
      absl::StrAppend(&list, o.name, ", ");
    }
    return cli::UsageError(absl::StrCat("Invalid parameter '", item.key, "'",
                                        cli::DidYouMean(item.key, names), " (valid for ",
                                        spec->format->name, ": ", list, "size)"));
  }
  spec->options.emplace_back(item.key, Normal(*option, value));
  return absl::OkStatus();
}

// The folder that a new entry `path` would stand in.
std::string Folder(const std::string& path) {
  size_t slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

absl::Status CouldNotCreate(absl::string_view path, int error) {
  return ErrnoError(error, absl::StrCat("Could not create '", path, "'"));
}

}  // namespace

absl::StatusOr<SpecResult> ParseImageSpec(const block::Format& format, const cli::Parsed& args) {
  SpecResult result;
  result.spec.format = &format;
  for (const cli::Given* given : args.All("-o")) {
    for (const cli::KeyItem& item : cli::SplitKeyList(given->text)) {
      if (item.key == "help" || item.key == "?") {
        result.help = OptionHelp(format);
        return result;
      }
      RETURN_IF_ERROR(AddOption(item, &result.spec));
    }
  }
  absl::StatusOr<block::FormatOptions> complete =
      block::CompleteOptions(format, result.spec.options);
  if (!complete.ok()) return cli::UsageError(complete.status().message());
  return result;
}

absl::Status CheckNotASource(absl::string_view target, std::span<block::Image* const> sources) {
  struct stat st;
  if (stat(std::string(target).c_str(), &st) != 0) return absl::OkStatus();
  for (block::Image* image : sources) {
    for (int i = 0; i < image->depth(); ++i) {
      struct stat other;
      const int fd = image->layer(i).storage().fd();
      if (fd >= 0 && fstat(fd, &other) == 0 && st.st_dev == other.st_dev &&
          st.st_ino == other.st_ino) {
        return absl::InvalidArgumentError(absl::StrCat(
            "'", target, "' is a file of the source: writing it would destroy what is to be read"));
      }
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<uint64_t> CheckBacking(absl::string_view path, const ImageSpec& spec) {
  absl::StatusOr<std::string> backing = block::ResolveBackingName(path, spec.backing_file);
  if (!backing.ok()) return backing.status();
  if (*backing == path) {
    return absl::InvalidArgumentError(absl::StrCat(
        "Error: Trying to create an image with the same filename as the backing file: '", path,
        "'"));
  }
  block::OpenOptions options;
  options.format = spec.backing_format;
  absl::StatusOr<std::unique_ptr<block::Image>> image = OpenImage(*backing, options);
  if (!image.ok()) {
    absl::Status status(image.status().code(),
                        absl::StrCat(image.status().message(), "\nCould not open backing image."));
    return status;
  }
  if (spec.backing_format.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("Backing file specified without backing format\nDetected format of ",
                     (*image)->format().name, "."));
  }
  return (*image)->size();
}

std::string FormattingLine(absl::string_view path, const ImageSpec& spec) {
  // The order and the choice are qemu-img's: options given, and some defaults.
  struct Shown {
    const char* name;
    bool always;
  };
  static constexpr Shown kShown[] = {
      {"cluster_size", true},     {"extended_l2", true},    {"preallocation", false},
      {"compression_type", true}, {"size", true},           {"compat", false},
      {"data_file", false},       {"backing_file", true},   {"backing_fmt", true},
      {"data_file_raw", false},   {"lazy_refcounts", true}, {"refcount_bits", true},
  };
  std::string out = absl::StrCat("Formatting '", path, "', fmt=", spec.format->name);
  for (const Shown& shown : kShown) {
    const absl::string_view name = shown.name;
    std::string value(block::OptionValue(spec.options, name));
    const block::FormatOption* option = FindOption(*spec.format, name);
    if (name == "size") value = absl::StrCat(spec.size.value_or(0));
    if (name == "backing_file") value = spec.backing_file;
    if (name == "backing_fmt") value = spec.backing_format;
    if (value.empty() && shown.always && option != nullptr && option->default_value != nullptr) {
      value = Normal(*option, option->default_value);
    }
    if (!value.empty()) absl::StrAppend(&out, " ", name, "=", cli::EscapeKeyValue(value));
  }
  absl::StrAppend(&out, "\n");
  return out;
}

absl::StatusOr<NewImage> NewImage::Make(absl::string_view path, const ImageSpec& spec) {
  NewImage made;
  made.path_ = std::string(path);
  made.io_path_ = made.path_;
  made.format_ = spec.format;
  struct stat st;
  const bool was_there = stat(made.path_.c_str(), &st) == 0;
  if (!was_there) {
    if (errno != ENOENT) return CouldNotCreate(path, errno);
    // A symbolic link to nowhere: the file is made where it points.
    const bool dangling = lstat(made.path_.c_str(), &st) == 0;
    int fd = dangling ? -1 : open(Folder(made.path_).c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0644);
    const std::string link = absl::StrCat(kProcFd, fd);
    if (fd >= 0 && access(link.c_str(), F_OK) == 0) {
      made.fd_.reset(fd);
      made.unnamed_ = true;
      made.io_path_ = link;
    } else if (fd >= 0) {
      close(fd);  // /proc is not there
    } else if (!dangling && errno != EOPNOTSUPP && errno != EISDIR && errno != EINVAL) {
      return CouldNotCreate(path, errno);
    }
  } else if (S_ISDIR(st.st_mode)) {
    return CouldNotCreate(path, EISDIR);
  }

  block::FormatOptions given = spec.options;
  if (!spec.backing_file.empty()) {
    given.emplace_back("backing_file", spec.backing_file);
    if (!spec.backing_format.empty()) given.emplace_back("backing_fmt", spec.backing_format);
  }
  ASSIGN_OR_RETURN(block::FormatOptions options, block::CompleteOptions(*spec.format, given));
  block::FileOptions file;
  file.writable = true;
  file.create = true;
  file.lock = block::LockMode::kReadWrite;
  absl::StatusOr<std::unique_ptr<block::Storage>> storage = block::OpenFile(made.io_path_, file);
  if (!storage.ok()) {
    return Annotate(WithoutPath(made.Renamed(storage.status()), path),
                    absl::StrCat("Could not create '", path, "'"));
  }
  if (!was_there && !made.unnamed_) made.remove_.reset(new std::string(made.path_));
  RETURN_IF_ERROR(made.Renamed(spec.format->create(**storage, *spec.size, options)));
  return made;
}

void NewImage::Remove::operator()(std::string* path) const {
  unlink(path->c_str());
  delete path;
}

void NewImage::Keep() { delete remove_.release(); }

absl::Status NewImage::Renamed(const absl::Status& status) const {
  if (status.ok() || !unnamed_) return status;
  return absl::Status(status.code(), absl::StrReplaceAll(status.message(), {{io_path_, path_}}));
}

absl::StatusOr<std::unique_ptr<block::Image>> NewImage::Open(bool flush, bool with_backing) {
  block::OpenOptions options;
  options.format = format_->name;
  options.writable = true;
  options.no_backing = !with_backing;
  options.no_flush = !flush;
  options.open_storage = [folder = Folder(path_)](absl::string_view name) {
    // A relative backing name was taken from where our link lies.
    std::string real(name);
    if (absl::ConsumePrefix(&name, kProcFd)) real = absl::StrCat(folder, "/", name);
    return block::OpenFile(real, block::FileOptions{});
  };
  block::FileOptions file;
  file.writable = true;
  file.lock = block::LockMode::kReadWrite;
  absl::StatusOr<std::unique_ptr<block::Storage>> storage = block::OpenFile(io_path_, file);
  if (!storage.ok()) return Renamed(storage.status());
  absl::StatusOr<std::unique_ptr<block::Image>> image =
      block::Image::Open(*std::move(storage), options);
  if (!image.ok()) return Renamed(image.status());
  if (!unnamed_ && absl::string_view(format_->name) != "raw") {
    UniqueFd fd(open(path_.c_str(), O_RDWR | O_CLOEXEC));
    std::array<uint8_t, 4> magic;
    const std::array<uint8_t, 4> nothing = {};
    if (!fd.valid() || pread(fd.get(), magic.data(), magic.size(), 0) != 4 ||
        pwrite(fd.get(), nothing.data(), nothing.size(), 0) != 4) {
      return ErrnoError(errno, path_);
    }
    magic_ = magic;
    fd_ = std::move(fd);
  }
  return image;
}

absl::Status NewImage::Publish(bool flush) {
  if (magic_) {
    if (flush && fdatasync(fd_.get()) != 0) return ErrnoError(errno, path_);
    if (pwrite(fd_.get(), magic_->data(), magic_->size(), 0) != 4) return ErrnoError(errno, path_);
    if (flush && fdatasync(fd_.get()) != 0) return ErrnoError(errno, path_);
    Keep();
    return absl::OkStatus();
  }
  if (!unnamed_) {
    Keep();
    return absl::OkStatus();
  }
  // AT_EMPTY_PATH would need a capability; the link in /proc needs none.
  if (linkat(AT_FDCWD, io_path_.c_str(), AT_FDCWD, path_.c_str(), AT_SYMLINK_FOLLOW) != 0) {
    return CouldNotCreate(path_, errno);
  }
  return absl::OkStatus();
}

}  // namespace atl::img
