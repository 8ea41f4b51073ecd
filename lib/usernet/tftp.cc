// SPDX-License-Identifier: Apache-2.0
#include "lib/usernet/tftp.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "lib/base/endian.h"
#include "lib/base/status_macros.h"

namespace atl::usernet {
namespace {

enum Operation : uint16_t { kRead = 1, kWrite = 2, kData = 3, kAck = 4, kError = 5, kOack = 6 };
enum Error : uint16_t { kNotDefined = 0, kNotFound = 1, kDenied = 2, kIllegal = 4 };

constexpr uint64_t kSecondNs = 1'000'000'000;
constexpr int kMaxRetries = 8;
constexpr size_t kLongestName = 512;
constexpr size_t kHeaders = 32;  // IP, UDP and TFTP before a block

// The next text that ends in a zero byte; nothing where there is none.
std::optional<absl::string_view> Text(std::span<const uint8_t>* bytes) {
  const auto end = std::ranges::find(*bytes, uint8_t{0});
  if (end == bytes->end()) return std::nullopt;
  const size_t size = static_cast<size_t>(end - bytes->begin());
  const absl::string_view out(reinterpret_cast<const char*>(bytes->data()), size);
  *bytes = bytes->subspan(size + 1);
  return out;
}

void PutText(std::vector<uint8_t>* out, absl::string_view text) {
  out->insert(out->end(), text.begin(), text.end());
  out->push_back(0);
}

uint64_t Blocks(uint64_t size, uint16_t block) { return size / block + 1; }

}  // namespace

absl::StatusOr<TftpServer> TftpServer::Create(const std::string& folder, uint32_t mtu,
                                              SendFn send) {
  UniqueFd fd(open(folder.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!fd.valid()) return ErrnoError(errno, absl::StrCat("tftp: ", folder));
  return TftpServer(std::move(fd), mtu, std::move(send));
}

absl::StatusOr<UniqueFd> TftpServer::Open(absl::string_view name, uint64_t* size) const {
  std::string path(name);
  // What Windows' boot manager asks for.
  std::replace(path.begin(), path.end(), '\\', '/');
  const size_t begin = path.find_first_not_of('/');
  if (begin == std::string::npos) return absl::NotFoundError("no name");
  open_how how{};
  how.flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY;
  // Links and .. are followed as if the folder were all there is.
  how.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS;
  UniqueFd fd(static_cast<int>(
      syscall(SYS_openat2, folder_.get(), path.c_str() + begin, &how, sizeof how)));
  if (!fd.valid()) return ErrnoError(errno, path);
  struct stat st;
  if (fstat(fd.get(), &st) != 0) return ErrnoError(errno, path);
  if (!S_ISREG(st.st_mode)) return absl::PermissionDeniedError("no regular file");
  *size = static_cast<uint64_t>(st.st_size);
  return fd;
}

void TftpServer::SendError(const Endpoint& guest, const Endpoint& server, uint16_t code,
                           absl::string_view text) {
  std::vector<uint8_t> out(4);
  StoreBe<uint16_t>(&out[0], kError);
  StoreBe(&out[2], code);
  PutText(&out, text);
  send_(guest, server, out);
}

bool TftpServer::Receive(const Endpoint& guest, const Endpoint& server,
                         std::span<const uint8_t> bytes, uint64_t now) {
  if (bytes.size() < 4) return false;
  const uint16_t operation = LoadBe<uint16_t>(bytes.data());
  if (operation == kRead) {
    Request(guest, server, bytes.subspan(2), now);
    return true;
  }
  if (operation == kWrite) {
    SendError(guest, server, kDenied, "this server takes no files");
    return true;
  }
  const auto it = std::ranges::find_if(
      transfers_, [&](const Transfer& t) { return t.guest == guest && t.server == server; });
  if (it == transfers_.end()) return false;
  Transfer& t = *it;
  if (operation == kError) {
    transfers_.erase(it);
    return true;
  }
  if (operation != kAck) return true;
  const uint16_t ahead =
      static_cast<uint16_t>(LoadBe<uint16_t>(&bytes[2]) - static_cast<uint16_t>(t.acknowledged));
  if (!t.options.empty()) {
    if (ahead != 0) return true;
    t.options.clear();
  } else if (ahead == 0) {
    // The same again: with a window, its first block was lost. Without, answering
    // would double every packet from here on.
    if (t.window == 1 || ++t.retries > kMaxRetries) return true;
  } else if (ahead > t.sent - t.acknowledged) {
    return true;  // of what was not sent
  } else {
    t.acknowledged += ahead;
    t.retries = 0;
  }
  if (t.acknowledged == Blocks(t.size, t.block) || !SendWindow(t, now)) transfers_.erase(it);
  return true;
}

void TftpServer::Request(const Endpoint& guest, const Endpoint& server,
                         std::span<const uint8_t> bytes, uint64_t now) {
  const std::optional<absl::string_view> name = Text(&bytes);
  const std::optional<absl::string_view> mode = name ? Text(&bytes) : std::nullopt;
  if (!mode || name->size() > kLongestName) {
    return SendError(guest, server, kIllegal, "malformed request");
  }
  if (!absl::EqualsIgnoreCase(*mode, "octet")) {
    return SendError(guest, server, kIllegal, "only octet mode is served");
  }
  // A guest that asks again has not got the answer.
  std::erase_if(transfers_,
                [&](const Transfer& t) { return t.guest == guest && t.server == server; });
  if (transfers_.size() >= kMaxTransfers) {
    return SendError(guest, server, kNotDefined, "too many transfers");
  }
  Transfer t;
  t.guest = guest;
  t.server = server;
  absl::StatusOr<UniqueFd> file = Open(*name, &t.size);
  if (!file.ok()) {
    const bool missing = absl::IsNotFound(file.status());
    return SendError(guest, server, missing ? kNotFound : kDenied,
                     missing ? "file not found" : "access denied");
  }
  t.file = *std::move(file);
  t.timeout_ns = kSecondNs;
  std::vector<uint8_t> accepted(2);
  StoreBe<uint16_t>(accepted.data(), kOack);
  const auto accept = [&accepted](absl::string_view option, uint64_t value) {
    PutText(&accepted, option);
    PutText(&accepted, absl::StrCat(value));
  };
  // Each option once; what is left of a hostile list is not looked at.
  for (int i = 0; i < 8 && !bytes.empty(); ++i) {
    const std::optional<absl::string_view> option = Text(&bytes);
    const std::optional<absl::string_view> text = option ? Text(&bytes) : std::nullopt;
    uint64_t value;
    if (!text || !absl::SimpleAtoi(*text, &value)) break;
    if (absl::EqualsIgnoreCase(*option, "tsize")) {
      accept("tsize", t.size);
    } else if (absl::EqualsIgnoreCase(*option, "blksize") && value >= 8) {
      t.block = static_cast<uint16_t>(
          std::min<uint64_t>({value, kMaxBlock, std::max<uint32_t>(mtu_ - kHeaders, 512)}));
      accept("blksize", t.block);
    } else if (absl::EqualsIgnoreCase(*option, "windowsize") && value >= 1) {
      t.window = static_cast<uint16_t>(std::min<uint64_t>(value, kMaxWindow));
      accept("windowsize", t.window);
    } else if (absl::EqualsIgnoreCase(*option, "timeout") && value >= 1 && value <= 255) {
      t.timeout_ns = value * kSecondNs;
      accept("timeout", value);
    }
  }
  if (accepted.size() > 2) {
    t.options = std::move(accepted);
    t.deadline = now + t.timeout_ns;
    send_(guest, server, t.options);
  } else if (!SendWindow(t, now)) {
    return;
  }
  transfers_.push_back(std::move(t));
}

bool TftpServer::SendWindow(Transfer& t, uint64_t now) {
  const uint64_t blocks = Blocks(t.size, t.block);
  t.sent = std::min(t.acknowledged + t.window, blocks);
  t.deadline = now + t.timeout_ns;
  std::vector<uint8_t> out(4 + size_t{t.block});
  StoreBe<uint16_t>(&out[0], kData);
  for (uint64_t n = t.acknowledged + 1; n <= t.sent; ++n) {
    StoreBe(&out[2], static_cast<uint16_t>(n));
    const uint64_t at = (n - 1) * t.block;
    const size_t size = static_cast<size_t>(std::min<uint64_t>(t.block, t.size - at));
    if (pread(t.file.get(), &out[4], size, static_cast<off_t>(at)) != static_cast<ssize_t>(size)) {
      SendError(t.guest, t.server, kNotDefined, "the file cannot be read");
      return false;
    }
    send_(t.guest, t.server, std::span(out).first(4 + size));
  }
  return true;
}

uint64_t TftpServer::deadline() const {
  uint64_t first = 0;
  for (const Transfer& t : transfers_) {
    if (first == 0 || t.deadline < first) first = t.deadline;
  }
  return first;
}

void TftpServer::Timeout(uint64_t now) {
  std::erase_if(transfers_, [&](Transfer& t) {
    if (now < t.deadline) return false;
    if (++t.retries > kMaxRetries) return true;
    if (t.options.empty()) return !SendWindow(t, now);
    t.deadline = now + t.timeout_ns;
    send_(t.guest, t.server, t.options);
    return false;
  });
}

}  // namespace atl::usernet
