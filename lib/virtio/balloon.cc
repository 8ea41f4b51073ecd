// SPDX-License-Identifier: Apache-2.0
#include "lib/virtio/balloon.h"

#include <algorithm>
#include <array>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "lib/base/endian.h"

namespace atl::virtio {
namespace {

constexpr unsigned kInflate = 0;  // queues
constexpr unsigned kDeflate = 1;
constexpr uint16_t kQueueSize = 128;
// Pages that are looked at before others have a turn: a guest may name the same
// ones without end.
constexpr unsigned kPagesAtOnce = 4096;
// Of a request. Linux names 256.
constexpr uint32_t kMaxPages = 65536;
constexpr uint64_t kDeflateOnOom = Bit(2);

struct Config {
  le32 target, actual;
};
static_assert(sizeof(Config) == 8);

class Balloon final : public BalloonDevice {
 public:
  Balloon(GuestMemory* memory, work::Background* background, std::function<void(Gpa)> discard)
      : memory_(memory), background_(background), discard_(std::move(discard)) {}

  absl::string_view name() const override { return "virtio-balloon"; }
  uint16_t type() const override { return 5; }
  uint32_t pci_class() const override { return 0x00FF00; }
  uint64_t features() const override { return kDeflateOnOom; }
  std::vector<uint16_t> queue_sizes() const override { return {kQueueSize, kQueueSize}; }
  void Connect(Transport* transport) override { transport_ = transport; }

  unsigned config_bytes() const override { return sizeof(Config); }
  void ReadConfig(uint64_t offset, std::span<uint8_t> to) override {
    Config config;
    config.target = target_;
    config.actual = actual_;
    const auto* bytes = reinterpret_cast<const uint8_t*>(&config);
    for (size_t i = 0; i < to.size(); ++i) {
      to[i] = offset + i < sizeof config ? bytes[offset + i] : 0;
    }
  }
  void WriteConfig(uint64_t offset, std::span<const uint8_t> from) override {
    constexpr uint64_t kActualAt = 4;
    for (size_t i = 0; i < from.size(); ++i) {
      const uint64_t at = offset + i;
      if (at < kActualAt || at >= sizeof(Config)) continue;
      const unsigned shift = static_cast<unsigned>(8 * (at - kActualAt));
      actual_ = (actual_ & ~(uint32_t{0xFF} << shift)) | uint32_t{from[i]} << shift;
    }
  }

  void SetTarget(uint32_t pages) override {
    if (pages == target_) return;
    target_ = pages;
    if (transport_ != nullptr) transport_->ConfigChanged();
  }
  uint32_t target() const override { return target_; }
  uint32_t actual() const override { return actual_; }

  void Notify(unsigned queue) override {
    if (queue > kDeflate) return;
    VirtQueue* const q = transport_->queue(queue);
    if (q == nullptr) return;
    unsigned pages = 0;
    bool any = false;
    while (pages < kPagesAtOnce) {
      absl::StatusOr<std::optional<Chain>> chain = q->Pop();
      if (!chain.ok()) return transport_->Fail(chain.status());
      if (!chain->has_value()) {
        if (q->SetKicks(true)) continue;
        break;
      }
      if (absl::Status s = Take(queue, **chain, &pages); !s.ok()) return transport_->Fail(s);
      if (absl::Status s = q->Push((*chain)->head, 0); !s.ok()) return transport_->Fail(s);
      any = true;
      ++pages;  // also of a request of none
    }
    if (any) transport_->Interrupt(queue);
    if (pages >= kPagesAtOnce) background_->Post(nullptr, [this, queue] { Notify(queue); });
  }

  // The pages are the driver's again: it finds them when it touches them.
  void Reset() override {
    background_->Cancel();
    actual_ = 0;
  }
  void VisitState(dev::StateVisitor& v) override {
    v.Field("target", target_);
    v.Field("actual", actual_);
  }

 private:
  absl::Status Take(unsigned queue, const Chain& chain, unsigned* pages) {
    const uint32_t count = chain.readable_bytes / sizeof(le32);
    if (count > kMaxPages) return absl::OutOfRangeError("a request of too many pages");
    std::array<le32, 256> numbers;
    for (uint32_t at = 0; at < count;) {
      const uint32_t n = std::min<uint32_t>(count - at, numbers.size());
      const std::span<uint8_t> bytes{reinterpret_cast<uint8_t*>(numbers.data()), n * sizeof(le32)};
      if (!chain.Read(*memory_, uint64_t{at} * sizeof(le32), bytes)) {
        return absl::OutOfRangeError("a request's buffer lies outside memory");
      }
      if (queue == kInflate) {
        for (uint32_t i = 0; i < n; ++i) discard_(Gpa(uint64_t{numbers[i]} * kPageBytes));
      }
      at += n;
      *pages += n;
    }
    return absl::OkStatus();
  }

  GuestMemory* const memory_;
  work::Background* const background_;
  const std::function<void(Gpa)> discard_;
  Transport* transport_ = nullptr;
  uint32_t target_ = 0;
  uint32_t actual_ = 0;
};

}  // namespace

std::unique_ptr<BalloonDevice> NewBalloon(GuestMemory* memory, work::Background* background,
                                          std::function<void(Gpa)> discard) {
  return std::make_unique<Balloon>(memory, background, std::move(discard));
}

}  // namespace atl::virtio
