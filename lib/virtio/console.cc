// SPDX-License-Identifier: Apache-2.0
#include "lib/virtio/console.h"

#include <algorithm>
#include <array>
#include <optional>
#include <span>
#include <vector>

#include "lib/base/endian.h"

namespace atl::virtio {
namespace {

constexpr unsigned kReceive = 0;  // queues
constexpr unsigned kSend = 1;
constexpr uint16_t kQueueSize = 64;
constexpr size_t kPieceBytes = 4096;
// Of one request; Linux sends pages. And of all, before others have a turn.
constexpr uint32_t kMaxRequest = 1 << 20;
constexpr uint32_t kBytesAtOnce = 1 << 20;

struct Config {
  le16 columns, rows;
  le32 ports, emergency;
};
static_assert(sizeof(Config) == 12);

class Console final : public ConsoleDevice {
 public:
  Console(GuestMemory* memory, work::Background* background, chr::Stream* stream)
      : memory_(memory), background_(background), stream_(*stream) {}

  absl::string_view name() const override { return "virtio-console"; }
  uint16_t type() const override { return 3; }
  uint32_t pci_class() const override { return 0x078000; }
  uint64_t features() const override { return 0; }
  std::vector<uint16_t> queue_sizes() const override { return {kQueueSize, kQueueSize}; }
  void Connect(Transport* transport) override { transport_ = transport; }

  // Without features none of it counts.
  unsigned config_bytes() const override { return sizeof(Config); }
  void ReadConfig(uint64_t, std::span<uint8_t> to) override {
    std::fill(to.begin(), to.end(), uint8_t{0});
  }

  void Notify(unsigned queue) override { queue == kReceive ? Receive() : Send(); }
  void InputReady() override { Receive(); }

  void Reset() override {
    background_->Cancel();
    held_.clear();
  }
  // Input that the guest has not taken is lost with the stream it came from.
  void VisitState(dev::StateVisitor& v) override {
    if (v.loading()) held_.clear();
  }

 private:
  void Receive() {
    VirtQueue* const q = transport_->queue(kReceive);
    if (q == nullptr) return;
    bool any = false;
    for (;;) {
      if (held_.empty()) {
        held_.resize(kPieceBytes);
        held_.resize(stream_.Read(held_));
        if (held_.empty()) break;
      }
      absl::StatusOr<std::optional<Chain>> chain = q->Pop();
      if (!chain.ok()) return transport_->Fail(chain.status());
      if (!chain->has_value()) {
        if (q->SetKicks(true)) continue;
        break;
      }
      const size_t n = std::min<size_t>(held_.size(), (*chain)->writable_bytes);
      if (n == 0 || !(*chain)->Write(*memory_, 0, std::span<const uint8_t>(held_).first(n))) {
        return transport_->Fail(absl::OutOfRangeError("no buffer for input"));
      }
      held_.erase(held_.begin(), held_.begin() + static_cast<ptrdiff_t>(n));
      if (absl::Status s = q->Push((*chain)->head, static_cast<uint32_t>(n)); !s.ok()) {
        return transport_->Fail(s);
      }
      any = true;
    }
    if (any) transport_->Interrupt(kReceive);
  }

  void Send() {
    VirtQueue* const q = transport_->queue(kSend);
    if (q == nullptr) return;
    uint32_t sent = 0;
    bool any = false;
    while (sent < kBytesAtOnce) {
      absl::StatusOr<std::optional<Chain>> chain = q->Pop();
      if (!chain.ok()) return transport_->Fail(chain.status());
      if (!chain->has_value()) {
        if (q->SetKicks(true)) continue;
        break;
      }
      if (absl::Status s = Write(**chain); !s.ok()) return transport_->Fail(s);
      if (absl::Status s = q->Push((*chain)->head, 0); !s.ok()) return transport_->Fail(s);
      sent += (*chain)->readable_bytes + 1;
      any = true;
    }
    if (any) transport_->Interrupt(kSend);
    if (sent >= kBytesAtOnce) background_->Post(nullptr, [this] { Send(); });
  }

  absl::Status Write(const Chain& chain) {
    if (chain.readable_bytes > kMaxRequest) return absl::OutOfRangeError("a request of over 1 MiB");
    std::array<uint8_t, kPieceBytes> piece;
    for (uint32_t at = 0; at < chain.readable_bytes;) {
      const uint32_t n = std::min<uint32_t>(chain.readable_bytes - at, piece.size());
      const std::span<uint8_t> bytes = std::span(piece).first(n);
      if (!chain.Read(*memory_, at, bytes)) {
        return absl::OutOfRangeError("a request's buffer lies outside memory");
      }
      stream_.Write(bytes);
      at += n;
    }
    return absl::OkStatus();
  }

  GuestMemory* const memory_;
  work::Background* const background_;
  chr::Stream& stream_;
  Transport* transport_ = nullptr;
  std::vector<uint8_t> held_;  // read from the stream, for the next buffer
};

}  // namespace

std::unique_ptr<ConsoleDevice> NewConsole(GuestMemory* memory, work::Background* background,
                                          chr::Stream* stream) {
  return std::make_unique<Console>(memory, background, stream);
}

}  // namespace atl::virtio
