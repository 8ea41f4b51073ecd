// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>

#include <cerrno>
#include <utility>

#include "absl/strings/str_cat.h"
#include "lib/base/status_macros.h"
#include "lib/base/unique_fd.h"
#include "lib/char/output_buffer.h"
#include "lib/char/stream.h"

namespace atl::chr {
namespace {

class NullStream final : public Stream {
 public:
  size_t Read(std::span<uint8_t>) override { return 0; }
  void Write(std::span<const uint8_t>) override {}
};

class FileStream final : public Stream {
 public:
  explicit FileStream(UniqueFd fd) : fd_(std::move(fd)), output_(fd_.get()) {}
  size_t Read(std::span<uint8_t>) override { return 0; }
  void Write(std::span<const uint8_t> bytes) override { output_.Write(bytes); }
  void SetLater(std::function<void()> later) override { output_.SetLater(std::move(later)); }
  bool FlushReady() override { return output_.FlushReady(); }

 private:
  UniqueFd fd_;
  OutputBuffer output_;
};

}  // namespace

std::unique_ptr<Stream> NewNullStream() { return std::make_unique<NullStream>(); }

absl::StatusOr<std::unique_ptr<Stream>> NewFileStream(const std::string& path) {
  UniqueFd fd(open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY, 0666));
  if (!fd.valid()) return ErrnoError(errno, path);
  return std::make_unique<FileStream>(std::move(fd));
}

}  // namespace atl::chr
