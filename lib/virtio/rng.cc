// SPDX-License-Identifier: Apache-2.0
#include "lib/virtio/rng.h"

#include <algorithm>
#include <array>
#include <optional>
#include <utility>
#include <vector>

namespace atl::virtio {
namespace {

constexpr uint16_t kQueueSize = 64;

class Rng : public VirtioDevice {
 public:
  Rng(GuestMemory* memory, work::Background* background, Entropy entropy)
      : memory_(memory), background_(background), entropy_(std::move(entropy)) {}

  absl::string_view name() const override { return "virtio-rng"; }
  uint16_t type() const override { return 4; }
  uint32_t pci_class() const override { return 0x00FF00; }
  uint64_t features() const override { return 0; }
  std::vector<uint16_t> queue_sizes() const override { return {kQueueSize}; }
  void Connect(Transport* transport) override { transport_ = transport; }
  unsigned config_bytes() const override { return 0; }
  void ReadConfig(uint64_t, std::span<uint8_t> to) override {
    std::fill(to.begin(), to.end(), uint8_t{0});
  }
  void Reset() override { background_->Cancel(); }
  void VisitState(dev::StateVisitor&) override {}

  void Notify(unsigned queue) override {
    VirtQueue* q = transport_->queue(queue);
    if (q == nullptr) return;
    unsigned budget = kQueueSize;
    do {
      q->SetKicks(false);
      for (; budget > 0; --budget) {
        absl::StatusOr<std::optional<Chain>> chain = q->Pop();
        if (!chain.ok()) return transport_->Fail(chain.status());
        if (!chain->has_value()) break;
        if (absl::Status given = Give(*q, **chain); !given.ok()) return transport_->Fail(given);
      }
      transport_->Interrupt(queue);
      if (budget == 0) {
        background_->Post(nullptr, [this, queue] { Notify(queue); });
        return;
      }
    } while (q->SetKicks(true));
  }

 private:
  absl::Status Give(VirtQueue& q, const Chain& chain) {
    std::array<uint8_t, kRngBytes> bytes;
    const std::span<uint8_t> wanted =
        std::span(bytes).first(std::min(chain.writable_bytes, kRngBytes));
    uint32_t written = 0;
    if (entropy_(wanted)) {
      if (!chain.Write(*memory_, 0, wanted)) {
        return absl::OutOfRangeError("a request's buffer lies outside memory");
      }
      written = static_cast<uint32_t>(wanted.size());
    }
    return q.Push(chain.head, written);
  }

  GuestMemory* memory_;
  work::Background* background_;
  Entropy entropy_;
  Transport* transport_ = nullptr;
};

}  // namespace

std::unique_ptr<VirtioDevice> NewRng(GuestMemory* memory, work::Background* background,
                                     Entropy entropy) {
  return std::make_unique<Rng>(memory, background, std::move(entropy));
}

}  // namespace atl::virtio
