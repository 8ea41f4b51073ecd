// SPDX-License-Identifier: Apache-2.0
#include "lib/net/stream.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "lib/base/endian.h"
#include "lib/base/mutex.h"
#include "lib/base/status_macros.h"
#include "lib/net/vnet_header.h"

namespace atl::net {
namespace {

constexpr size_t kLengthBytes = 4;
constexpr size_t kMaxRecord = kLengthBytes + kVnetHeaderBytes + kMaxFrame;
// Reads of one wake-up: other descriptors are to have their turn.
constexpr unsigned kReadsATurn = 4;

// The peer may be hostile: a record's length is judged before anything of it is
// kept, and what waits to be written is one record at most.
class Stream final : public Backend {
 public:
  Stream(UniqueFd fd, StreamOptions options)
      : fd_(std::move(fd)), options_(std::move(options)), input_(2 * kMaxRecord) {}

  std::string description() const override { return absl::StrCat("stream ", options_.name); }
  Threads threads() const override { return Threads::kAny; }
  Offloads offloads() const override {
    return options_.vnet_header ? options_.accepts : Offloads{};
  }

  absl::Status Start(host::EventLoop& loop, Port& port,
                     std::function<void(absl::string_view)> warn) override {
    loop_ = &loop;
    port_ = &port;
    warn_ = std::move(warn);
    ASSIGN_OR_RETURN(watch_,
                     loop.Watch(fd_.get(), EPOLLIN, [this](uint32_t events) { OnReady(events); }));
    TellOffloads();
    return absl::OkStatus();
  }

  bool Receive(const Frame& frame) override;
  void OffloadsChanged() override { TellOffloads(); }
  void SendReady() override {
    stalled_ = false;
    Deliver();
    UpdateEvents();
  }

 private:
  void TellOffloads();
  void OnReady(uint32_t events);
  void Flush();
  void ReadMore();
  // Hands over the whole frames that have come in.
  void Deliver();
  void UpdateEvents();
  void End(absl::string_view why);

  const UniqueFd fd_;
  const StreamOptions options_;
  host::EventLoop* loop_ = nullptr;
  Port* port_ = nullptr;
  std::function<void(absl::string_view)> warn_;
  std::shared_ptr<char> alive_ = std::make_shared<char>();

  // The loop thread's.
  std::unique_ptr<host::FdWatch> watch_;
  std::vector<uint8_t> input_;
  size_t begin_ = 0, end_ = 0;  // what of input_ has come and waits
  bool stalled_ = false;        // the port has no room

  Mutex mu_;
  bool closed_ ABSL_GUARDED_BY(mu_) = false;
  std::vector<uint8_t> output_ ABSL_GUARDED_BY(mu_);  // what of a record is still to be written
  size_t written_ ABSL_GUARDED_BY(mu_) = 0;           // of output_
  bool refused_ ABSL_GUARDED_BY(mu_) = false;         // Receive() was false
  uint8_t told_ ABSL_GUARDED_BY(mu_) = 0;             // what the other side knows of offloads
  bool tell_ ABSL_GUARDED_BY(mu_) = false;            // once there is room
};

bool Stream::Receive(const Frame& frame) {
  MutexLock lock(&mu_);
  if (closed_ || loop_ == nullptr) return true;
  if (!output_.empty()) {
    refused_ = true;
    return false;
  }
  VnetHeader header = HeaderFor(frame.work);
  const size_t header_bytes = options_.vnet_header ? sizeof header : 0;
  be32 length = static_cast<uint32_t>(header_bytes + frame.bytes.size());
  iovec parts[] = {{&length, sizeof length},
                   {&header, header_bytes},
                   {const_cast<uint8_t*>(frame.bytes.data()), frame.bytes.size()}};
  const size_t total = sizeof length + header_bytes + frame.bytes.size();
  msghdr message{};
  message.msg_iov = parts;
  message.msg_iovlen = std::size(parts);
  ssize_t n;
  do {
    n = sendmsg(fd_.get(), &message, MSG_DONTWAIT | MSG_NOSIGNAL);
  } while (n < 0 && errno == EINTR);
  // Of a broken socket the reader hears.
  if (n < 0 && errno != EAGAIN) return true;
  size_t skip = n < 0 ? 0 : static_cast<size_t>(n);
  if (skip == total) return true;
  output_.reserve(total - skip);
  for (const iovec& part : parts) {
    const size_t left_out = std::min(skip, part.iov_len);
    skip -= left_out;
    const uint8_t* bytes = static_cast<const uint8_t*>(part.iov_base);
    output_.insert(output_.end(), bytes + left_out, bytes + part.iov_len);
  }
  written_ = 0;
  loop_->Post([this, alive = std::weak_ptr<char>(alive_)] {
    if (!alive.expired()) UpdateEvents();
  });
  return true;
}

// See stream.h: a header and no frame.
void Stream::TellOffloads() {
  if (!options_.vnet_header || port_ == nullptr) return;
  const Offloads accepts = port_->peer_accepts();
  uint8_t flags = 0;
  if (accepts.checksum)
    flags = static_cast<uint8_t>(1 | (accepts.tcp4 ? 2 : 0) | (accepts.tcp6 ? 4 : 0));
  MutexLock lock(&mu_);
  if (closed_ || flags == told_) return;
  if (!output_.empty()) {
    tell_ = true;
    return;
  }
  told_ = flags;
  uint8_t record[kLengthBytes + kVnetHeaderBytes] = {};
  StoreBe(record, uint32_t{kVnetHeaderBytes});
  record[kLengthBytes] = flags;
  const ssize_t n = send(fd_.get(), record, sizeof record, MSG_DONTWAIT | MSG_NOSIGNAL);
  // Of a broken socket the reader hears.
  if (n == static_cast<ssize_t>(sizeof record) || (n < 0 && errno != EAGAIN && errno != EINTR)) {
    return;
  }
  output_.assign(record + std::max<ssize_t>(n, 0), record + sizeof record);
  written_ = 0;
  loop_->Post([this, alive = std::weak_ptr<char>(alive_)] {
    if (!alive.expired()) UpdateEvents();
  });
}

void Stream::UpdateEvents() {
  if (watch_ == nullptr) return;
  bool writes = false;
  {
    MutexLock lock(&mu_);
    writes = !output_.empty();
  }
  watch_->SetEvents((stalled_ ? 0u : uint32_t{EPOLLIN}) | (writes ? uint32_t{EPOLLOUT} : 0u));
}

void Stream::OnReady(uint32_t events) {
  if ((events & EPOLLOUT) != 0) Flush();
  if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0) ReadMore();
  UpdateEvents();
}

void Stream::Flush() {
  bool room = false;
  bool tell = false;
  {
    MutexLock lock(&mu_);
    while (written_ < output_.size()) {
      const ssize_t n = send(fd_.get(), output_.data() + written_, output_.size() - written_,
                             MSG_DONTWAIT | MSG_NOSIGNAL);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0 && errno == EAGAIN) return;
      // Again: of a broken socket the reader hears.
      written_ = n < 0 ? output_.size() : written_ + static_cast<size_t>(n);
    }
    output_.clear();
    room = std::exchange(refused_, false);
    tell = std::exchange(tell_, false);
  }
  if (tell) TellOffloads();
  if (room) port_->ReceiveReady();
}

void Stream::ReadMore() {
  const Burst burst(*port_);
  for (unsigned turn = 0; turn < kReadsATurn && !stalled_ && watch_ != nullptr; ++turn) {
    // A record that has begun fits behind what has come of it.
    if (begin_ > input_.size() - kMaxRecord) {
      memmove(input_.data(), input_.data() + begin_, end_ - begin_);
      end_ -= begin_;
      begin_ = 0;
    }
    const size_t room = input_.size() - end_;
    const ssize_t n = recv(fd_.get(), input_.data() + end_, room, MSG_DONTWAIT);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) return;
    if (n < 0) return End(strerror(errno));
    if (n == 0) return End("the peer has closed it");
    end_ += static_cast<size_t>(n);
    Deliver();
    if (static_cast<size_t>(n) < room) return;
  }
}

void Stream::Deliver() {
  const size_t header_bytes = options_.vnet_header ? sizeof(VnetHeader) : 0;
  while (!stalled_ && end_ - begin_ >= kLengthBytes) {
    const size_t length = LoadBe<uint32_t>(input_.data() + begin_);
    if (length > header_bytes + kMaxFrame) {
      return End(absl::StrCat("the peer announces a frame of ", length, " bytes; the most is ",
                              kMaxFrame));
    }
    if (end_ - begin_ - kLengthBytes < length) break;
    std::span<const uint8_t> bytes(input_.data() + begin_ + kLengthBytes, length);
    Frame frame;
    bool good = bytes.size() >= header_bytes;
    if (good && header_bytes != 0) {
      VnetHeader header;
      memcpy(&header, bytes.data(), sizeof header);
      const std::optional<Work> work = WorkFrom(header);
      good = work.has_value();
      if (good) frame.work = *work;
    }
    if (good) {
      frame.bytes = bytes.subspan(header_bytes);
      stalled_ = !port_->Send(frame);
    }
    if (!stalled_) begin_ += kLengthBytes + length;
  }
  if (begin_ == end_) begin_ = end_ = 0;
}

void Stream::End(absl::string_view why) {
  watch_.reset();
  {
    MutexLock lock(&mu_);
    closed_ = true;
    output_.clear();
    refused_ = false;
  }
  begin_ = end_ = 0;
  port_->SetLink(false);
  // Who waits for room waits in vain: what comes now is dropped.
  port_->ReceiveReady();
  if (warn_) warn_(absl::StrCat(description(), ": ", why, ": the guest's cable is out"));
}

}  // namespace

absl::StatusOr<std::unique_ptr<Backend>> NewStream(UniqueFd fd, StreamOptions options) {
  int type = 0;
  socklen_t size = sizeof type;
  if (getsockopt(fd.get(), SOL_SOCKET, SO_TYPE, &type, &size) != 0) {
    return ErrnoError(errno, options.name);
  }
  if (type != SOCK_STREAM) {
    return absl::InvalidArgumentError(absl::StrCat(options.name, ": no stream socket"));
  }
  const int flags = fcntl(fd.get(), F_GETFL);
  if (flags < 0 || fcntl(fd.get(), F_SETFL, flags | O_NONBLOCK) != 0) {
    return ErrnoError(errno, options.name);
  }
  return std::make_unique<Stream>(std::move(fd), std::move(options));
}

}  // namespace atl::net
