// SPDX-License-Identifier: Apache-2.0
#include "lib/host/file_cache.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "lib/base/endian.h"
#include "lib/base/status_macros.h"

namespace atl::host {
namespace {

struct Header {
  char magic[8];
  le64 size;      // of what follows the header
  le64 checksum;  // of that
  uint8_t reserved[40];
};
static_assert(sizeof(Header) == 64);
constexpr char kMagic[8] = {'a', 't', 'o', 'l', 'l', 'c', '1', '\n'};

// What a writer that died leaves behind.
constexpr char kTemporary[] = "new.";
constexpr time_t kStale = 600;

bool GoodName(absl::string_view name) {
  return !name.empty() && name.size() <= 200 && name[0] != '.' &&
         !absl::StartsWith(name, kTemporary) && std::all_of(name.begin(), name.end(), [](char c) {
           return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '-' || c == '_' ||
                  c == '.';
         });
}

absl::Status NotOurs(absl::string_view what) {
  return absl::PermissionDeniedError(
      absl::StrCat(what, ": not used, since others own it or may write it"));
}

bool Ours(const struct stat& st) { return st.st_uid == geteuid() && (st.st_mode & 022) == 0; }

absl::Status WriteAll(int fd, std::span<const uint8_t> bytes) {
  while (!bytes.empty()) {
    const ssize_t n = write(fd, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return ErrnoError(errno, "writing");
    bytes = bytes.subspan(static_cast<size_t>(n));
  }
  return absl::OkStatus();
}

absl::Status ReadAll(int fd, std::span<uint8_t> to) {
  while (!to.empty()) {
    const ssize_t n = read(fd, to.data(), to.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return ErrnoError(errno, "reading");
    if (n == 0) return absl::DataLossError("it ends too early");
    to = to.subspan(static_cast<size_t>(n));
  }
  return absl::OkStatus();
}

template <typename T>
std::span<const uint8_t> BytesOf(const T& v) {
  return {reinterpret_cast<const uint8_t*>(&v), sizeof v};
}

constexpr uint64_t kPrime = 0x9E3779B97F4A7C15;

}  // namespace

void Checksum::Add(std::span<const uint8_t> bytes) {
  if (bytes.empty()) return;
  total_ += bytes.size();
  if (filled_ != 0) {
    const size_t n = std::min(bytes.size(), kBlock - filled_);
    std::memcpy(tail_ + filled_, bytes.data(), n);
    filled_ += n;
    bytes = bytes.subspan(n);
    if (filled_ < kBlock) return;
    Mix({tail_, kBlock});
  }
  filled_ = bytes.size() % kBlock;
  Mix(bytes.first(bytes.size() - filled_));
  if (filled_ != 0) std::memcpy(tail_, bytes.data() + bytes.size() - filled_, filled_);
}

uint64_t Checksum::Finish() {
  std::memset(tail_ + filled_, 0, kBlock - filled_);
  Mix({tail_, kBlock});
  uint64_t out = total_;
  for (const uint64_t lane : lanes_) {
    out = (out ^ lane) * kPrime;
    out ^= out >> 29;
  }
  return out;
}

void Checksum::Mix(std::span<const uint8_t> blocks) {
  std::array<uint64_t, 4> lanes = lanes_;
  for (size_t at = 0; at < blocks.size(); at += kBlock) {
    for (unsigned i = 0; i < 4; ++i) {
      lanes[i] = (lanes[i] ^ LoadLe<uint64_t>(blocks.data() + at + 8 * i)) * kPrime;
      lanes[i] ^= lanes[i] >> 32;
    }
  }
  lanes_ = lanes;
}

std::string CacheFolder() {
  const auto absolute = [](const char* path) { return path != nullptr && path[0] == '/'; };
  if (const char* own = getenv("ATOLL_CACHE")) return absolute(own) ? own : "";
  const char* xdg = getenv("XDG_CACHE_HOME");
  if (absolute(xdg)) return absl::StrCat(xdg, "/atoll");
  const char* home = getenv("HOME");
  return absolute(home) ? absl::StrCat(home, "/.cache/atoll") : "";
}

absl::StatusOr<UniqueFd> FileCache::OpenFolder() const {
  UniqueFd fd(open(folder_.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!fd.valid()) return ErrnoError(errno, folder_);
  struct stat st;
  if (fstat(fd.get(), &st) != 0) return ErrnoError(errno, folder_);
  if (!Ours(st)) return NotOurs(folder_);
  return fd;
}

absl::Status CachedFile::Damaged(absl::string_view why) const {
  unlinkat(folder_.get(), name_.c_str(), 0);
  return absl::DataLossError(absl::StrCat(path_, ": ", why));
}

absl::Status CachedFile::Read(std::span<uint8_t> to) {
  if (to.size() > left_) return Damaged("it ends too early");
  const absl::Status read = ReadAll(file_.get(), to);
  if (!read.ok()) return Damaged(read.message());
  left_ -= to.size();
  sum_.Add(to);
  return absl::OkStatus();
}

absl::Status CachedFile::Finish() {
  if (left_ != 0) return Damaged("it goes on behind its end");
  if (sum_.Finish() != checksum_) return Damaged("its checksum is wrong");
  // The time of the last use, whatever the mount's options say about that.
  const timespec times[2] = {{0, UTIME_NOW}, {0, UTIME_OMIT}};
  futimens(file_.get(), times);
  return absl::OkStatus();
}

absl::StatusOr<CachedFile> FileCache::Open(absl::string_view name) const {
  if (!GoodName(name)) return absl::InvalidArgumentError("no name for an entry");
  CachedFile out;
  ASSIGN_OR_RETURN(out.folder_, OpenFolder());
  out.name_ = std::string(name);
  out.path_ = absl::StrCat(folder_, "/", name);
  out.file_ = UniqueFd(
      openat(out.folder_.get(), out.name_.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
  if (!out.file_.valid()) return ErrnoError(errno, out.path_);
  struct stat st;
  if (fstat(out.file_.get(), &st) != 0) return ErrnoError(errno, out.path_);
  if (!S_ISREG(st.st_mode) || !Ours(st)) return NotOurs(out.path_);

  Header header;
  const absl::Status read =
      ReadAll(out.file_.get(), {reinterpret_cast<uint8_t*>(&header), sizeof header});
  if (!read.ok()) return out.Damaged(read.message());
  out.left_ = static_cast<uint64_t>(st.st_size) - sizeof header;
  out.checksum_ = header.checksum;
  if (std::memcmp(header.magic, kMagic, sizeof kMagic) != 0) {
    return out.Damaged("is not an entry");
  }
  if (header.size != out.left_) return out.Damaged("its size is not what its header says");
  if (out.left_ > max_bytes_) return out.Damaged("is larger than the cache may be");
  return out;
}

absl::Status FileCache::Load(absl::string_view name,
                             const std::function<std::span<uint8_t>(uint64_t)>& room) const {
  ASSIGN_OR_RETURN(CachedFile file, Open(name));
  const std::span<uint8_t> to = room(file.left());
  if (to.size() != file.left()) {
    return absl::ResourceExhaustedError(absl::StrCat(folder_, "/", name, ": not wanted"));
  }
  RETURN_IF_ERROR(file.Read(to));
  return file.Finish();
}

absl::Status FileCache::Store(absl::string_view name,
                              std::span<const std::span<const uint8_t>> parts) const {
  if (!GoodName(name)) return absl::InvalidArgumentError("no name for an entry");
  Header header{};
  std::memcpy(header.magic, kMagic, sizeof kMagic);
  Checksum sum;
  uint64_t size = 0;
  for (const std::span<const uint8_t> part : parts) {
    sum.Add(part);
    size += part.size();
  }
  header.size = size;
  header.checksum = sum.Finish();
  if (size > max_bytes_) {
    return absl::ResourceExhaustedError(absl::StrCat(folder_, ": an entry larger than the cache"));
  }

  // Each folder on the way that is missing, for this user alone.
  for (size_t slash = folder_.find('/', 1);; slash = folder_.find('/', slash + 1)) {
    mkdir(folder_.substr(0, slash).c_str(), 0700);
    if (slash == folder_.npos) break;
  }
  ASSIGN_OR_RETURN(const UniqueFd folder, OpenFolder());
  // A cache must not be what fills a disk.
  struct statvfs space;
  constexpr uint64_t kLeave = 4;
  if (fstatvfs(folder.get(), &space) == 0 && space.f_bavail * space.f_frsize < kLeave * size) {
    return absl::ResourceExhaustedError(absl::StrCat(folder_, ": the disk is nearly full"));
  }
  // Named after thread and time: two guests may start at once.
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  const std::string temporary = absl::StrCat(kTemporary, gettid(), ".", now.tv_sec, now.tv_nsec);
  const UniqueFd fd(openat(folder.get(), temporary.c_str(),
                           O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!fd.valid()) return ErrnoError(errno, absl::StrCat(folder_, "/", temporary));
  absl::Status status = WriteAll(fd.get(), BytesOf(header));
  for (const std::span<const uint8_t> part : parts) {
    if (status.ok()) status = WriteAll(fd.get(), part);
  }
  if (status.ok() &&
      renameat(folder.get(), temporary.c_str(), folder.get(), std::string(name).c_str()) != 0) {
    status = ErrnoError(errno, "renaming");
  }
  if (!status.ok()) {
    unlinkat(folder.get(), temporary.c_str(), 0);
    return Annotate(status, absl::StrCat(folder_, "/", temporary));
  }
  Trim(folder.get());
  return absl::OkStatus();
}

void FileCache::Trim(int folder) const {
  struct Entry {
    std::string name;
    uint64_t size;
    timespec used;
  };
  const int again = openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  DIR* const list = again < 0 ? nullptr : fdopendir(again);
  if (list == nullptr) {
    if (again >= 0) close(again);
    return;
  }
  std::vector<Entry> entries;
  uint64_t total = 0;
  while (const dirent* d = readdir(list)) {
    struct stat st;
    if (fstatat(folder, d->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISREG(st.st_mode)) continue;
    if (absl::StartsWith(d->d_name, kTemporary)) {
      if (time(nullptr) - st.st_mtime > kStale) unlinkat(folder, d->d_name, 0);
      continue;
    }
    entries.push_back({d->d_name, static_cast<uint64_t>(st.st_size), st.st_atim});
    total += entries.back().size;
  }
  closedir(list);
  std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
    return a.used.tv_sec != b.used.tv_sec ? a.used.tv_sec < b.used.tv_sec
                                          : a.used.tv_nsec < b.used.tv_nsec;
  });
  for (const Entry& e : entries) {
    if (total <= max_bytes_) break;
    if (unlinkat(folder, e.name.c_str(), 0) == 0) total -= e.size;
  }
}

}  // namespace atl::host
