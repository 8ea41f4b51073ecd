// SPDX-License-Identifier: Apache-2.0
#include "lib/usernet/pcap.h"

#include <errno.h>
#include <fcntl.h>
#include <time.h>
#include <unistd.h>

#include <cstring>

#include "lib/base/endian.h"
#include "lib/base/status_macros.h"

namespace atl::usernet {
namespace {

constexpr size_t kBuffer = 128 * 1024;

struct FileHeader {
  le32 magic = 0xA1B23C4Du;
  le16 major = uint16_t{2};
  le16 minor = uint16_t{4};
  le32 zone = 0u;
  le32 precision = 0u;
  le32 longest = 262144u;
  le32 link_type = 1u;  // Ethernet
};
static_assert(sizeof(FileHeader) == 24);

struct RecordHeader {
  le32 seconds;
  le32 nanoseconds;
  le32 kept;
  le32 size;
};
static_assert(sizeof(RecordHeader) == 16);

}  // namespace

absl::StatusOr<std::unique_ptr<PcapWriter>> PcapWriter::Create(const std::string& path) {
  UniqueFd fd(open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  if (!fd.valid()) return ErrnoError(errno, path);
  std::unique_ptr<PcapWriter> out(new PcapWriter(std::move(fd)));
  const FileHeader header;
  out->buffer_.resize(sizeof header);
  memcpy(out->buffer_.data(), &header, sizeof header);
  return out;
}

void PcapWriter::Write(std::span<const uint8_t> header, std::span<const iovec> payload) {
  if (!fd_.valid()) return;
  size_t size = header.size();
  for (const iovec& part : payload) size += part.iov_len;
  timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  RecordHeader record;
  record.seconds = static_cast<uint32_t>(now.tv_sec);
  record.nanoseconds = static_cast<uint32_t>(now.tv_nsec);
  record.kept = record.size = static_cast<uint32_t>(size);
  const auto append = [this](const void* from, size_t n) {
    const uint8_t* const bytes = static_cast<const uint8_t*>(from);
    buffer_.insert(buffer_.end(), bytes, bytes + n);
  };
  append(&record, sizeof record);
  append(header.data(), header.size());
  for (const iovec& part : payload) append(part.iov_base, part.iov_len);
  if (buffer_.size() >= kBuffer) Flush();
}

void PcapWriter::Flush() {
  size_t at = 0;
  while (fd_.valid() && at < buffer_.size()) {
    const ssize_t n = write(fd_.get(), buffer_.data() + at, buffer_.size() - at);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) {
      fd_.reset();
      break;
    }
    at += static_cast<size_t>(n);
  }
  buffer_.clear();
}

}  // namespace atl::usernet
