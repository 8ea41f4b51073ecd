// SPDX-License-Identifier: Apache-2.0
// An opened image with the chain of files behind it, as a guest's disk and as
// `img` sees it.
//
// Thread rule: the calls of Disk, MapAt, Compress and WriteCompressed
// from any thread, any number at once; Resize and Check only while no other
// call runs. Nothing is in the file for sure before Flush() or Close().
//
// Formats: with OpenOptions::format empty the format is guessed from the first
// bytes. A guest that writes a qcow2 header into the first sector of a raw disk
// must not make the next start open a file of its choice, so a guess that ends
// in raw refuses writes that would make the next guess end elsewhere; name the
// format to allow them.
#ifndef LIB_BLOCK_IMAGE_H_
#define LIB_BLOCK_IMAGE_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "lib/block/disk.h"
#include "lib/block/format.h"
#include "lib/block/layer.h"
#include "lib/block/storage.h"

namespace atl::block {

// Which backing files an image may name.
enum class BackingPolicy {
  kAny,       // any path; never a protocol or json: name
  kConfined,  // only files below the folder of the image that names them
  kNone,      // none: an image that names one is refused
};

struct OpenOptions {
  std::string format;     // empty: guess
  bool writable = false;  // backing files are always opened read-only
  // Do not open backing files; bytes that come from them read as zeroes.
  bool no_backing = false;
  // Only Info() will be called: opens what cannot be read here, no backing.
  bool describe_only = false;
  bool for_check = false;  // Check() comes next; implies no_backing
  BackingPolicy backing = BackingPolicy::kAny;
  // Locks as qemu's (lock.h), so that two writers exclude each other.
  // force_share (-U) reads without looking at them.
  bool lock = true;
  bool force_share = false;
  // Flush() does not wait for the medium ("cache=unsafe").
  bool no_flush = false;
  // How backing files are opened; null: OpenFile(). For tests.
  std::function<absl::StatusOr<std::unique_ptr<Storage>>(absl::string_view path)> open_storage;
};

// A run of guest bytes in one state, through the whole chain, with the meaning
// of the fields of `qemu-img map --output=json`.
struct MapExtent {
  uint64_t offset = 0;
  uint64_t length = 0;
  int depth = 0;         // the layer that says it; 0 is the image itself
  bool present = false;  // some layer says it
  bool zero = false;     // reads as zeroes
  bool data = false;     // has a place in a file for bytes; with `zero`: a hole of it
  bool compressed = false;
  std::optional<uint64_t> host_offset;  // in `file`, where bytes stand as they are
  const std::string* file = nullptr;    // set with host_offset; lives as long as the image
};

class Image : public Disk {
 public:
  static constexpr int kMaxDepth = 200;

  static absl::StatusOr<std::unique_ptr<Image>> Open(absl::string_view path,
                                                     const OpenOptions& options);
  static absl::StatusOr<std::unique_ptr<Image>> Open(std::unique_ptr<Storage> storage,
                                                     const OpenOptions& options);
  // Flushes as Close() does, with nobody to tell an error to.
  ~Image() override;
  Image(const Image&) = delete;
  Image& operator=(const Image&) = delete;

  // Writes all that is pending. Later calls fail. Call it where errors matter.
  // Locks are held until the image is destroyed.
  absl::Status Close();

  // Disk.
  uint64_t size() const override;
  bool read_only() const override;
  std::string name() const override;
  absl::Status Read(uint64_t offset, std::span<uint8_t> to) override;
  absl::Status Write(uint64_t offset, std::span<const uint8_t> from) override;
  absl::Status Flush() override;
  absl::Status WriteZeroes(uint64_t offset, uint64_t length, bool unmap) override;
  absl::Status Discard(uint64_t offset, uint64_t length) override;
  std::optional<Place> PlaceOf(uint64_t offset, uint64_t length, bool write) override;

  // The chain, the image itself first.
  int depth() const { return static_cast<int>(layers_.size()); }
  Layer& layer(int i) { return *layers_[static_cast<size_t>(i)]; }
  const Format& format() const { return *format_; }
  uint64_t cluster_size() const { return layers_[0]->cluster_size(); }  // 0: none

  // The run at `offset`, as long as the state stays the same, up to
  // `max_length`. offset < size().
  absl::StatusOr<MapExtent> MapAt(uint64_t offset, uint64_t max_length = UINT64_MAX);

  // Of layer `i`, with full_backing_file.
  absl::StatusOr<ImageInfo> Info(int i = 0);

  // See Layer.
  absl::StatusOr<std::optional<std::vector<uint8_t>>> Compress(std::span<const uint8_t> cluster);
  absl::Status WriteCompressed(uint64_t offset, std::span<const uint8_t> packed);
  absl::Status Resize(uint64_t size, Preallocation preallocation);
  absl::StatusOr<CheckResult> Check(CheckRepair repair);

 private:
  Image() = default;

  std::vector<std::unique_ptr<Layer>> layers_;
  std::vector<std::string> file_names_;  // of the layers
  const Format* format_ = nullptr;
  bool closed_ = false;

  absl::Status OpenLayers(std::unique_ptr<Storage> storage, const OpenOptions& options);
  absl::Status AddLayer(std::unique_ptr<Storage> storage, absl::string_view format,
                        const LayerOptions& options);
  absl::StatusOr<MapExtent> MapOne(uint64_t offset, uint64_t max_length);
  static absl::Status LookForHole(Layer& layer, MapExtent* extent);
  absl::Status CheckOpen() const;
};

struct CreateRequest {
  std::string path;
  std::string format;  // a name of Formats()
  // Missing: the size of the backing file, which must be given then.
  std::optional<uint64_t> size;
  // Includes backing_file and backing_fmt where wanted.
  FormatOptions options;
  // The backing file is not opened to see whether it is there (-u).
  bool unsafe_backing = false;
};

// Makes the image file. What is in an existing file is lost, after the lock is
// had. On an error the file that was made is removed again.
absl::Status CreateImage(const CreateRequest& request);

// The path that the name `backing` in the image at `image_path` stands for.
// InvalidArgument for json: and protocol names ("nbd:…", "file:…").
absl::StatusOr<std::string> ResolveBackingName(absl::string_view image_path,
                                               absl::string_view backing);

}  // namespace atl::block

#endif  // LIB_BLOCK_IMAGE_H_
