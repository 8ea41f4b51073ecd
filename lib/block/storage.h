// SPDX-License-Identifier: Apache-2.0
// Bytes at offsets that an image lives in: a file, memory, and the wrappers
// that tests put around them.
//
// Thread rule: every call from any thread, any number at once, except
// Truncate(), which the caller keeps apart from calls on the bytes it removes.
// Errors name the storage and the offset.
#ifndef LIB_BLOCK_STORAGE_H_
#define LIB_BLOCK_STORAGE_H_

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace atl::block {

// A run of bytes that are all backed by storage (data) or all a hole, which
// reads as zeroes. Holes are found as far as the file system tells them.
struct StorageExtent {
  uint64_t length = 0;  // > 0; the run may go on behind it
  bool data = true;
};

class Storage {
 public:
  virtual ~Storage() = default;

  // The file name, as the user wrote it.
  virtual const std::string& name() const = 0;
  virtual bool writable() const = 0;

  // All of `to`, else an error: OutOfRange where the range passes the end.
  virtual absl::Status Read(uint64_t offset, std::span<uint8_t> to) = 0;
  // Writes past the end grow the storage; what lies between reads as zeroes.
  virtual absl::Status Write(uint64_t offset, std::span<const uint8_t> from) = 0;
  // What was written before the call is on stable storage after it.
  virtual absl::Status Flush() = 0;

  virtual absl::StatusOr<uint64_t> Size() = 0;
  virtual absl::Status Truncate(uint64_t size) = 0;
  // The range reads as zeroes afterwards and takes no space where the file
  // system can do that; Unimplemented (and nothing done) where it cannot.
  virtual absl::Status PunchHole(uint64_t offset, uint64_t length) = 0;
  // Space is reserved for the range, which grows the storage and otherwise
  // keeps its bytes; Unimplemented where the file system cannot.
  virtual absl::Status Allocate(uint64_t offset, uint64_t length) = 0;
  // The run that begins at `offset` < Size().
  virtual absl::StatusOr<StorageExtent> ExtentAt(uint64_t offset) = 0;
  // Bytes that the storage takes on its medium.
  virtual absl::StatusOr<uint64_t> AllocatedBytes() = 0;
  // Whether growing by Truncate() or by a Write() further on yields zeroes:
  // true for files, false for block devices.
  virtual bool grows_zeroed() const { return true; }

  // The descriptor behind it, for sandboxes and reflinks; -1 for none.
  virtual int fd() const { return -1; }
};

// As Read(), but bytes past the end are zeroes: data clusters may end after
// the file does.
absl::Status ReadPadded(Storage& storage, uint64_t offset, std::span<uint8_t> to);
// As Read(), of a length that a header claims: no memory is taken for bytes
// that lie past the end.
absl::StatusOr<std::vector<uint8_t>> ReadVector(Storage& storage, uint64_t offset, uint64_t length);

// What a process does with a file and lets others do meanwhile, as qemu's
// permission bits mean it; see lock.h.
enum class LockMode {
  kNone,       // take no lock and look at none
  kRead,       // read, and nobody may write
  kReadWrite,  // read and write, and nobody else may write
};

struct FileOptions {
  bool writable = false;
  // Makes the file, or empties it where it is there. Needs `writable`.
  bool create = false;
  mode_t mode = 0644;
  LockMode lock = LockMode::kNone;
  // Where not empty: the path is taken from this folder and must not leave it,
  // by "..", by links or by being absolute.
  std::string beneath;
};

// Regular files and block devices. Directories and everything else are
// refused. With `create`, a file that another process has locked is refused
// and keeps its contents.
absl::StatusOr<std::unique_ptr<Storage>> OpenFile(absl::string_view path, const FileOptions& opts);

// Another handle on `storage`, which outlives it.
std::unique_ptr<Storage> Borrow(Storage* storage);

// A growing array. Memory is taken for pages that hold data only.
std::unique_ptr<Storage> NewMemoryStorage(absl::string_view name,
                                          std::span<const uint8_t> contents = {});

}  // namespace atl::block

#endif  // LIB_BLOCK_STORAGE_H_
