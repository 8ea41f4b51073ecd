// SPDX-License-Identifier: Apache-2.0
#include "lib/block/image.h"

#include <sys/stat.h>

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "lib/base/status_macros.h"

namespace atl::block {
namespace {

constexpr uint64_t kProbeBytes = 2048;

std::string FolderOf(absl::string_view path) {
  size_t slash = path.rfind('/');
  if (slash == absl::string_view::npos) return ".";
  return std::string(slash == 0 ? path.substr(0, 1) : path.substr(0, slash));
}

// What makes two names the same file.
std::string Identity(const std::string& path) {
  struct stat st;
  if (stat(path.c_str(), &st) != 0) return path;
  return absl::StrCat(st.st_dev, ":", st.st_ino);
}

LockMode LockModeFor(const OpenOptions& o, bool writable) {
  if (!o.lock || o.force_share) return LockMode::kNone;
  return writable ? LockMode::kReadWrite : LockMode::kRead;
}

bool Mergeable(const MapExtent& a, const MapExtent& b) {
  if (a.depth != b.depth || a.present != b.present || a.zero != b.zero || a.data != b.data ||
      a.compressed != b.compressed || a.file != b.file) {
    return false;
  }
  if (a.host_offset.has_value() != b.host_offset.has_value()) return false;
  return !a.host_offset.has_value() || *a.host_offset + a.length == *b.host_offset;
}

}  // namespace

absl::StatusOr<std::string> ResolveBackingName(absl::string_view image_path,
                                               absl::string_view backing) {
  size_t colon = backing.find_first_of(":/");
  if (colon != absl::string_view::npos && backing[colon] == ':') {
    return absl::InvalidArgumentError(absl::StrCat(
        image_path, ": backing file '", backing,
        "': names with a protocol (json:, nbd:, file:, ...) are not followed; only paths are"));
  }
  if (backing.find('\0') != absl::string_view::npos) {
    return absl::InvalidArgumentError(
        absl::StrCat(image_path, ": the backing file's name contains a NUL byte"));
  }
  if (backing.empty() || absl::StartsWith(backing, "/")) return std::string(backing);
  size_t slash = image_path.rfind('/');
  if (slash == absl::string_view::npos) return std::string(backing);
  return absl::StrCat(image_path.substr(0, slash + 1), backing);
}

absl::StatusOr<std::unique_ptr<Image>> Image::Open(absl::string_view path,
                                                   const OpenOptions& options) {
  std::unique_ptr<Storage> storage;
  if (options.open_storage) {
    ASSIGN_OR_RETURN(storage, options.open_storage(path));
  } else {
    ASSIGN_OR_RETURN(storage, OpenFile(path, {.writable = options.writable,
                                              .lock = LockModeFor(options, options.writable)}));
  }
  return Open(std::move(storage), options);
}

absl::StatusOr<std::unique_ptr<Image>> Image::Open(std::unique_ptr<Storage> storage,
                                                   const OpenOptions& options) {
  std::unique_ptr<Image> image(new Image());
  RETURN_IF_ERROR(image->OpenLayers(std::move(storage), options));
  return image;
}

absl::Status Image::AddLayer(std::unique_ptr<Storage> storage, absl::string_view format_name,
                             const LayerOptions& options) {
  const Format* format = nullptr;
  LayerOptions layer_options = options;
  if (format_name.empty()) {
    ASSIGN_OR_RETURN(uint64_t size, storage->Size());
    std::vector<uint8_t> head(std::min(size, kProbeBytes));
    RETURN_IF_ERROR(storage->Read(0, head));
    format = &ProbeFormat(head);
    layer_options.probed = true;
  } else {
    format = FindFormat(format_name);
    if (format == nullptr) {
      return absl::InvalidArgumentError(absl::StrCat(
          storage->name(), ": Unknown file format '", format_name, "'; there are ",
          absl::StrJoin(Formats(), ", ",
                        [](std::string* out, const Format* f) { out->append(f->name); })));
    }
  }
  file_names_.push_back(storage->name());
  ASSIGN_OR_RETURN(std::unique_ptr<Layer> layer, format->open(std::move(storage), layer_options));
  if (format_ == nullptr) format_ = format;
  layers_.push_back(std::move(layer));
  return absl::OkStatus();
}

absl::Status Image::OpenLayers(std::unique_ptr<Storage> storage, const OpenOptions& options) {
  LayerOptions top{.writable = options.writable,
                   .describe_only = options.describe_only,
                   .for_check = options.for_check,
                   .no_flush = options.no_flush};
  const std::string first = storage->name();
  RETURN_IF_ERROR(AddLayer(std::move(storage), options.format, top));
  if (options.no_backing || options.describe_only || options.for_check) return absl::OkStatus();

  std::vector<std::string> chain = {first}, seen = {Identity(first)};
  for (;;) {
    const Layer& above = *layers_.back();
    const std::string name = above.backing_file();
    if (name.empty()) break;
    if (options.backing == BackingPolicy::kNone) {
      return absl::PermissionDeniedError(
          absl::StrCat(chain.back(), ": names the backing file '", name, "', and none is allowed"));
    }
    ASSIGN_OR_RETURN(std::string path, ResolveBackingName(chain.back(), name));
    auto in_chain = [&](absl::string_view what) {
      return absl::StrCat(what, ": ", absl::StrJoin(chain, " -> "), " -> ", path);
    };
    std::string identity = Identity(path);
    if (std::find(seen.begin(), seen.end(), identity) != seen.end()) {
      return absl::FailedPreconditionError(in_chain("backing files form a loop"));
    }
    if (chain.size() >= kMaxDepth) {
      return absl::FailedPreconditionError(
          absl::StrCat(first, ": more than ", kMaxDepth, " backing files"));
    }
    std::unique_ptr<Storage> below;
    FileOptions file{.lock = LockModeFor(options, false)};
    std::string file_path = path;
    if (options.backing == BackingPolicy::kConfined) {
      file.beneath = FolderOf(chain.back());
      file_path = name;
    }
    absl::StatusOr<std::unique_ptr<Storage>> opened =
        options.open_storage ? options.open_storage(path) : OpenFile(file_path, file);
    if (!opened.ok()) {
      return Annotate(opened.status(),
                      absl::StrCat("Could not open backing file of ", chain.back()));
    }
    chain.push_back(path);
    seen.push_back(identity);
    RETURN_IF_ERROR(
        Annotate(AddLayer(std::move(*opened), above.backing_format(), {}),
                 absl::StrCat("Could not open backing file of ", chain[chain.size() - 2])));
  }
  for (size_t i = 0; i + 1 < layers_.size(); ++i) layers_[i]->SetBacking(layers_[i + 1].get());
  return absl::OkStatus();
}

Image::~Image() {
  if (!layers_.empty() && !closed_) layers_[0]->Close().IgnoreError();
}

absl::Status Image::CheckOpen() const {
  if (!closed_) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat(file_names_[0], ": is closed"));
}

absl::Status Image::Close() {
  RETURN_IF_ERROR(CheckOpen());
  closed_ = true;
  return layers_[0]->Close();
}

uint64_t Image::size() const { return layers_[0]->size(); }
bool Image::read_only() const { return layers_[0]->read_only(); }
std::string Image::name() const { return file_names_[0]; }

absl::Status Image::Read(uint64_t offset, std::span<uint8_t> to) {
  RETURN_IF_ERROR(CheckOpen());
  return layers_[0]->Read(offset, to);
}
absl::Status Image::Write(uint64_t offset, std::span<const uint8_t> from) {
  RETURN_IF_ERROR(CheckOpen());
  return layers_[0]->Write(offset, from);
}
absl::Status Image::Flush() {
  RETURN_IF_ERROR(CheckOpen());
  return layers_[0]->Flush();
}
absl::Status Image::WriteZeroes(uint64_t offset, uint64_t length, bool unmap) {
  RETURN_IF_ERROR(CheckOpen());
  return layers_[0]->WriteZeroes(offset, length, unmap);
}
absl::Status Image::Discard(uint64_t offset, uint64_t length) {
  RETURN_IF_ERROR(CheckOpen());
  return layers_[0]->Discard(offset, length);
}
std::optional<Disk::Place> Image::PlaceOf(uint64_t offset, uint64_t length, bool write) {
  return closed_ ? std::nullopt : layers_[0]->PlaceOf(offset, length, write);
}
absl::StatusOr<std::optional<std::vector<uint8_t>>> Image::Compress(
    std::span<const uint8_t> cluster) {
  return layers_[0]->Compress(cluster);
}
absl::Status Image::WriteCompressed(uint64_t offset, std::span<const uint8_t> packed) {
  RETURN_IF_ERROR(CheckOpen());
  return layers_[0]->WriteCompressed(offset, packed);
}
absl::Status Image::Resize(uint64_t size, Preallocation preallocation) {
  RETURN_IF_ERROR(CheckOpen());
  return layers_[0]->Resize(size, preallocation);
}
absl::StatusOr<CheckResult> Image::Check(CheckRepair repair) {
  RETURN_IF_ERROR(CheckOpen());
  return layers_[0]->Check(repair);
}

absl::StatusOr<ImageInfo> Image::Info(int i) {
  ImageInfo info;
  RETURN_IF_ERROR(layer(i).Describe(&info));
  if (!info.backing_file.empty()) {
    // Names that are not followed are shown as they are.
    info.full_backing_file =
        ResolveBackingName(file_names_[static_cast<size_t>(i)], info.backing_file)
            .value_or(info.backing_file);
  }
  return info;
}

absl::StatusOr<MapExtent> Image::MapOne(uint64_t offset, uint64_t max_length) {
  using Kind = LayerExtent::Kind;
  MapExtent out{.offset = offset, .length = max_length};
  for (size_t i = 0; i < layers_.size(); ++i) {
    Layer& l = *layers_[i];
    out.depth = static_cast<int>(i);
    ASSIGN_OR_RETURN(LayerExtent e, l.ExtentAt(offset, std::min(out.length, l.size() - offset)));
    out.length = e.length;
    if (e.kind == Kind::kUnallocated) {
      bool below = i + 1 < layers_.size() && offset < layers_[i + 1]->size();
      if (below) continue;
      out.zero = true;
      return out;
    }
    out.present = true;
    out.zero = e.kind == Kind::kZero || e.kind == Kind::kZeroAllocated;
    out.data = !out.zero;
    out.compressed = e.kind == Kind::kCompressed;
    if (e.kind == Kind::kData || e.kind == Kind::kZeroAllocated) {
      out.host_offset = e.host_offset;
      out.file = &file_names_[i];
    }
    if (e.kind == Kind::kData && l.data_has_holes()) RETURN_IF_ERROR(LookForHole(l, &out));
    return out;
  }
  return out;
}

absl::Status Image::LookForHole(Layer& layer, MapExtent* extent) {
  ASSIGN_OR_RETURN(uint64_t file, layer.storage().Size());
  if (*extent->host_offset >= file) {
    extent->zero = true;
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(StorageExtent e, layer.storage().ExtentAt(*extent->host_offset));
  extent->zero = !e.data;
  // Past the end of the file it goes on as zeroes, too.
  const bool to_the_end = !e.data && *extent->host_offset + e.length >= file;
  if (!to_the_end) extent->length = std::min(extent->length, e.length);
  return absl::OkStatus();
}

absl::StatusOr<MapExtent> Image::MapAt(uint64_t offset, uint64_t max_length) {
  RETURN_IF_ERROR(CheckOpen());
  if (offset >= size()) {
    return absl::OutOfRangeError(
        absl::StrFormat("%s: 0x%x lies past the end of the disk", file_names_[0], offset));
  }
  max_length = std::min(max_length, size() - offset);
  ASSIGN_OR_RETURN(MapExtent run, MapOne(offset, max_length));
  while (run.length < max_length) {
    ASSIGN_OR_RETURN(MapExtent next, MapOne(offset + run.length, max_length - run.length));
    if (!Mergeable(run, next)) break;
    run.length += next.length;
  }
  return run;
}

}  // namespace atl::block
