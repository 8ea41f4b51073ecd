// SPDX-License-Identifier: Apache-2.0
#include "lib/virtio/input.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <deque>
#include <optional>
#include <span>
#include <vector>

#include "lib/base/endian.h"

namespace atl::virtio {
namespace {

constexpr unsigned kEvents = 0;  // queues
constexpr unsigned kStatus = 1;
constexpr uint16_t kQueueSize = 64;

// linux/input-event-codes.h
enum EventType : uint16_t {
  kSyn = 0,
  kKey = 1,
  kRelative = 2,
  kAbsolute = 3,
  kLed = 0x11,
  kRepeat = 0x14,
};
constexpr uint16_t kX = 0, kY = 1, kWheel = 8;
constexpr uint16_t kFirstButton = 0x110;  // left, right, middle, side, extra
constexpr unsigned kButtons = 5;
constexpr uint16_t kNumLed = 0, kCapsLed = 1, kScrollLed = 2;

struct Event {
  le16 type, code;
  le32 value;
};
static_assert(sizeof(Event) == 8);

// The configuration: what is asked for, and the answer.
enum Select : uint8_t {
  kNone = 0,
  kName = 1,
  kIds = 3,
  kEventBits = 0x11,
  kAbsoluteInfo = 0x12,
};
struct Config {
  uint8_t select, subselect, size;
  uint8_t zero[5];
  uint8_t answer[128];
};
static_assert(sizeof(Config) == 136);
struct Ids {
  le16 bus, vendor, product, version;
};
struct Range {
  le32 least, most, fuzz, flat, resolution;
};
constexpr uint16_t kVirtualBus = 6;

struct KindInfo {
  absl::string_view name;
  absl::string_view title;
  uint32_t pci_class;
  uint16_t product;
};
constexpr KindInfo kKinds[] = {
    {"virtio-keyboard", "atoll keyboard", 0x090000, 1},
    {"virtio-mouse", "atoll mouse", 0x090200, 2},
    {"virtio-tablet", "atoll tablet", 0x098000, 3},
};

class Input final : public InputDevice {
 public:
  Input(GuestMemory* memory, InputKind kind)
      : memory_(memory), kind_(kind), info_(kKinds[static_cast<size_t>(kind)]) {}

  absl::string_view name() const override { return info_.name; }
  uint16_t type() const override { return 18; }
  uint32_t pci_class() const override { return info_.pci_class; }
  uint64_t features() const override { return 0; }
  std::vector<uint16_t> queue_sizes() const override { return {kQueueSize, kQueueSize}; }
  void Connect(Transport* transport) override { transport_ = transport; }

  unsigned config_bytes() const override { return sizeof(Config); }
  void ReadConfig(uint64_t offset, std::span<uint8_t> to) override {
    const Config config = Answer();
    const auto* bytes = reinterpret_cast<const uint8_t*>(&config);
    for (size_t i = 0; i < to.size(); ++i) {
      to[i] = offset + i < sizeof config ? bytes[offset + i] : 0;
    }
  }
  void WriteConfig(uint64_t offset, std::span<const uint8_t> from) override {
    for (size_t i = 0; i < from.size(); ++i) {
      if (offset + i == 0) select_ = from[i];
      if (offset + i == 1) subselect_ = from[i];
    }
  }

  void Notify(unsigned queue) override {
    if (queue == kEvents) return Send();
    VirtQueue* q = transport_->queue(kStatus);
    if (q == nullptr) return;
    // As many as it may have prepared; a driver that goes on preparing them as
    // fast waits for its next notification.
    for (unsigned i = 0; i < 4 * kQueueSize; ++i) {
      absl::StatusOr<std::optional<Chain>> chain = q->Pop();
      if (!chain.ok()) return transport_->Fail(chain.status());
      if (!chain->has_value()) {
        if (q->SetKicks(true)) continue;
        break;
      }
      Event event;
      if ((*chain)->readable_bytes >= sizeof event &&
          (*chain)->Read(*memory_, 0, {reinterpret_cast<uint8_t*>(&event), sizeof event})) {
        Take(event);
      }
      if (absl::Status s = q->Push((*chain)->head, 0); !s.ok()) return transport_->Fail(s);
    }
    transport_->Interrupt(kStatus);
  }

  void Reset() override {
    waiting_.clear();
    select_ = subselect_ = 0;
    leds_ = 0;
    buttons_ = 0;
  }

  void VisitState(dev::StateVisitor& v) override {
    v.Field("select", select_);
    v.Field("subselect", subselect_);
    v.Bounded("leds", leds_, 7);
    v.Bounded("buttons", buttons_, (1 << kButtons) - 1);
    // Events that wait are lost with whoever pressed the keys.
    if (v.loading()) waiting_.clear();
  }

  bool active() override { return transport_ != nullptr && transport_->queue(kEvents) != nullptr; }
  bool taken() const override { return waiting_.empty(); }
  uint8_t leds() const override { return leds_; }

  void Key(uint8_t code, bool down) override {
    const uint16_t key = LinuxKey(code);
    if (kind_ != InputKind::kKeyboard || key == 0) return;
    Group({{kKey, key, down}}, !down);
  }
  void Move(int dx, int dy, int wheel, uint8_t buttons) override {
    if (kind_ != InputKind::kMouse) return;
    std::vector<Said> events;
    if (dx != 0) events.push_back({kRelative, kX, static_cast<uint32_t>(dx)});
    if (dy != 0) events.push_back({kRelative, kY, static_cast<uint32_t>(dy)});
    Pointer(std::move(events), wheel, buttons);
  }
  void MoveTo(uint32_t x, uint32_t y, int wheel, uint8_t buttons) override {
    if (kind_ != InputKind::kTablet) return;
    Pointer({{kAbsolute, kX, std::min(x, kMaxPlace)}, {kAbsolute, kY, std::min(y, kMaxPlace)}},
            wheel, buttons);
  }

 private:
  struct Said {
    uint16_t type, code;
    uint32_t value;
  };

  void Pointer(std::vector<Said> events, int wheel, uint8_t buttons) {
    bool released = false;
    for (unsigned i = 0; i < kButtons; ++i) {
      const uint8_t bit = static_cast<uint8_t>(1 << i);
      if (((buttons ^ buttons_) & bit) == 0) continue;
      const bool down = (buttons & bit) != 0;
      released |= !down;
      events.push_back({kKey, static_cast<uint16_t>(kFirstButton + i), down});
    }
    // Linux counts a wheel's notches upwards.
    if (wheel != 0) events.push_back({kRelative, kWheel, static_cast<uint32_t>(-wheel)});
    if (!events.empty() && Group(std::move(events), released)) buttons_ = buttons;
  }

  // Events that belong together. `important`: they release something, which is
  // not lost while there is some room left for such.
  bool Group(std::vector<Said> events, bool important) {
    if (!active()) return false;
    const size_t most = important ? 2 * kMaxWaiting : kMaxWaiting;
    if (waiting_.size() + events.size() + 1 > most) return false;
    for (const Said& e : events) waiting_.push_back(e);
    waiting_.push_back({kSyn, 0, 0});
    Send();
    return true;
  }

  void Send() {
    VirtQueue* q = transport_->queue(kEvents);
    if (q == nullptr) return;
    bool any = false;
    while (!waiting_.empty()) {
      absl::StatusOr<std::optional<Chain>> chain = q->Pop();
      if (!chain.ok()) return transport_->Fail(chain.status());
      if (!chain->has_value()) {
        if (q->SetKicks(true)) continue;
        break;
      }
      const Said& said = waiting_.front();
      Event event;
      event.type = said.type;
      event.code = said.code;
      event.value = said.value;
      const std::span<const uint8_t> bytes{reinterpret_cast<const uint8_t*>(&event), sizeof event};
      if ((*chain)->writable_bytes < sizeof event || !(*chain)->Write(*memory_, 0, bytes)) {
        return transport_->Fail(absl::OutOfRangeError("no buffer for an input event"));
      }
      if (absl::Status s = q->Push((*chain)->head, sizeof event); !s.ok()) {
        return transport_->Fail(s);
      }
      waiting_.pop_front();
      any = true;
    }
    if (any) transport_->Interrupt(kEvents);
  }

  // What the driver says: lamps.
  void Take(const Event& event) {
    if (event.type != kLed) return;
    const uint8_t bit = event.code == kNumLed      ? 2
                        : event.code == kCapsLed   ? 4
                        : event.code == kScrollLed ? 1
                                                   : 0;
    leds_ = static_cast<uint8_t>(event.value != 0 ? leds_ | bit : leds_ & ~bit);
  }

  Config Answer() const {
    Config out{};
    out.select = select_;
    out.subselect = subselect_;
    switch (select_) {
      case kName:
        if (subselect_ != 0) break;
        out.size = static_cast<uint8_t>(info_.title.size());
        std::memcpy(out.answer, info_.title.data(), info_.title.size());
        break;
      case kIds: {
        if (subselect_ != 0) break;
        Ids ids;
        ids.bus = kVirtualBus;
        ids.vendor = 0x1AF4;
        ids.product = info_.product;
        ids.version = 1;
        std::memcpy(out.answer, &ids, sizeof ids);
        out.size = sizeof ids;
        break;
      }
      case kEventBits:
        AnswerBits(out);
        break;
      case kAbsoluteInfo: {
        if (kind_ != InputKind::kTablet || subselect_ > kY) break;
        Range range{};
        range.most = kMaxPlace;
        std::memcpy(out.answer, &range, sizeof range);
        out.size = sizeof range;
        break;
      }
      default:
        break;
    }
    return out;
  }

  // Which codes of the type `subselect_` there are; the size reaches to the last.
  void AnswerBits(Config& out) const {
    const auto set = [&out](unsigned code) {
      out.answer[code / 8] |= static_cast<uint8_t>(1 << code % 8);
      out.size = std::max<uint8_t>(out.size, static_cast<uint8_t>(code / 8 + 1));
    };
    const bool keyboard = kind_ == InputKind::kKeyboard;
    switch (subselect_) {
      case kKey:
        for (unsigned code = 0; keyboard && code < 256; ++code) {
          if (const uint16_t key = LinuxKey(static_cast<uint8_t>(code))) set(key);
        }
        for (unsigned i = 0; !keyboard && i < kButtons; ++i) set(kFirstButton + i);
        break;
      case kRelative:
        if (keyboard) break;
        if (kind_ == InputKind::kMouse) {
          set(kX);
          set(kY);
        }
        set(kWheel);
        break;
      case kAbsolute:
        if (kind_ != InputKind::kTablet) break;
        set(kX);
        set(kY);
        break;
      case kLed:
        if (!keyboard) break;
        set(kNumLed);
        set(kCapsLed);
        set(kScrollLed);
        break;
      case kRepeat:
        // A viewer repeats no keys: the guest is to do it.
        if (keyboard) out.size = 1;
        break;
      default:
        break;
    }
  }

  GuestMemory* const memory_;
  const InputKind kind_;
  const KindInfo& info_;
  Transport* transport_ = nullptr;
  std::deque<Said> waiting_;
  uint8_t select_ = 0, subselect_ = 0;
  uint8_t leds_ = 0;
  uint8_t buttons_ = 0;
};

}  // namespace

std::unique_ptr<InputDevice> NewInput(GuestMemory* memory, InputKind kind) {
  return std::make_unique<Input>(memory, kind);
}

}  // namespace atl::virtio
