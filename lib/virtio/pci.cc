// SPDX-License-Identifier: Apache-2.0
// The legacy and the modern registers are two layouts of one set: an access of
// any size and offset is laid over the layout, and each register that it
// touches is read or written once, whole, with the bytes that it covers.
#include "lib/virtio/pci.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "lib/base/checked.h"
#include "lib/base/endian.h"
#include "lib/base/status_macros.h"

namespace atl::virtio {
namespace {

constexpr uint16_t kVendor = 0x1AF4;
constexpr uint64_t kReservedFeatures = kAnyLayout | kIndirectDesc | kEventIndex | kVersion1;
constexpr uint32_t kPbaOffset = 0x800;
constexpr uint32_t kMsixBytes = 0x1000;
constexpr uint8_t kIsrQueue = 1;
constexpr uint8_t kIsrConfig = 2;
constexpr uint64_t kLegacyAlign = 4096;

enum class Reg : uint8_t {
  kDeviceFeatureSelect,
  kDeviceFeature,
  kDriverFeatureSelect,
  kDriverFeature,
  kConfigVector,
  kQueueCount,
  kStatus,
  kGeneration,
  kQueueSelect,
  kQueueSize,
  kQueueVector,
  kQueueEnable,
  kQueueNotifyOffset,
  kQueueDescriptors,
  kQueueDriver,
  kQueueDevice,
  kLegacyDeviceFeatures,
  kLegacyDriverFeatures,
  kLegacyQueuePage,
  kLegacyQueueSize,
  kLegacyNotify,
  kIsr,
};

struct Placed {
  uint8_t offset;
  uint8_t width;
  Reg reg;
};

// VIRTIO 1.2, 4.1.4.3.
constexpr std::array<Placed, 16> kModernLayout = {{
    {0x00, 4, Reg::kDeviceFeatureSelect},
    {0x04, 4, Reg::kDeviceFeature},
    {0x08, 4, Reg::kDriverFeatureSelect},
    {0x0C, 4, Reg::kDriverFeature},
    {0x10, 2, Reg::kConfigVector},
    {0x12, 2, Reg::kQueueCount},
    {0x14, 1, Reg::kStatus},
    {0x15, 1, Reg::kGeneration},
    {0x16, 2, Reg::kQueueSelect},
    {0x18, 2, Reg::kQueueSize},
    {0x1A, 2, Reg::kQueueVector},
    {0x1C, 2, Reg::kQueueEnable},
    {0x1E, 2, Reg::kQueueNotifyOffset},
    {0x20, 8, Reg::kQueueDescriptors},
    {0x28, 8, Reg::kQueueDriver},
    {0x30, 8, Reg::kQueueDevice},
}};

// VIRTIO 1.2, 4.1.4.10; the vectors are there only while MSI-X is on.
constexpr std::array<Placed, 10> kLegacyLayout = {{
    {0x00, 4, Reg::kLegacyDeviceFeatures},
    {0x04, 4, Reg::kLegacyDriverFeatures},
    {0x08, 4, Reg::kLegacyQueuePage},
    {0x0C, 2, Reg::kLegacyQueueSize},
    {0x0E, 2, Reg::kQueueSelect},
    {0x10, 2, Reg::kLegacyNotify},
    {0x12, 1, Reg::kStatus},
    {0x13, 1, Reg::kIsr},
    {0x14, 2, Reg::kConfigVector},
    {0x16, 2, Reg::kQueueVector},
}};
constexpr unsigned kLegacyHeader = 0x14;
constexpr unsigned kLegacyHeaderMsix = 0x18;

// VIRTIO 1.2, 4.1.4.
struct VirtioCapability {
  uint8_t length;
  uint8_t type;
  uint8_t bar;
  uint8_t id;
  uint8_t padding[2];
  le32 offset;
  le32 size;
};
static_assert(sizeof(VirtioCapability) == 14);
constexpr uint8_t kVendorCapability = 0x09;
enum CapabilityType : uint8_t { kCommonCap = 1, kNotifyCap, kIsrCap, kDeviceCap, kPciCap };
// Offsets in the capability that reaches the BARs through configuration space.
constexpr unsigned kPciCapBar = 4;
constexpr unsigned kPciCapOffset = 8;
constexpr unsigned kPciCapLength = 12;
constexpr unsigned kPciCapData = 16;

uint32_t LegacyBytes(const VirtioDevice& device) {
  return std::bit_ceil(kLegacyHeaderMsix + device.config_bytes());
}

// Types 1 to 9 had a PCI device ID of their own before 1.0.
uint16_t TransitionalId(uint16_t type) {
  constexpr uint16_t kIds[] = {0, 0x1000, 0x1001, 0x1003, 0x1005, 0x1002, 0, 0, 0x1004, 0x1009};
  return type < std::size(kIds) ? kIds[type] : 0;
}

pci::PciSpec Spec(const VirtioDevice& device, bool legacy, std::vector<uint8_t> rom) {
  pci::PciSpec spec;
  spec.vendor = kVendor;
  spec.device = legacy ? TransitionalId(device.type()) : uint16_t(0x1040 + device.type());
  spec.revision = legacy ? 0 : 1;
  spec.class_code = device.pci_class();
  spec.subsystem_vendor = kVendor;
  spec.subsystem = legacy ? device.type() : 0x1100;
  spec.interrupt_pin = 1;
  spec.rom = std::move(rom);
  if (legacy) {
    spec.bars.push_back({kLegacyBar, pci::BarKind::kIo, LegacyBytes(device), false});
  }
  spec.bars.push_back({kMsixBar, pci::BarKind::kMemory32, kMsixBytes, false});
  spec.bars.push_back({kModernBar, pci::BarKind::kMemory64, kModernBytes, true});
  // One for each queue and one for configuration changes.
  spec.msix = pci::MsixSpec{static_cast<unsigned>(device.queue_sizes().size() + 1), kMsixBar, 0,
                            kPbaOffset};
  return spec;
}

class VirtioPci : public pci::PciDevice, private Transport {
 public:
  VirtioPci(const pci::PciWiring& wiring, GuestMemory* memory, std::unique_ptr<VirtioDevice> device,
            PciTransportOptions options, bool legacy)
      : PciDevice(wiring, Spec(*device, legacy, std::move(options.rom))),
        memory_(memory),
        device_(std::move(device)),
        options_(std::move(options)),
        legacy_(legacy) {
    for (uint16_t size : device_->queue_sizes()) queues_.emplace_back().max_size = size;
    AddStructure(kCommonCap, kCommonOffset, 0x38, 0);
    AddStructure(kIsrCap, kIsrOffset, 1, 0);
    if (device_->config_bytes() != 0) {
      AddStructure(kDeviceCap, kDeviceOffset, device_->config_bytes(), 0);
    }
    const uint32_t notify_bytes = kNotifyMultiplier * static_cast<uint32_t>(queues_.size());
    const unsigned notify = AddStructure(kNotifyCap, kNotifyOffset, notify_bytes, 4);
    config().Define({static_cast<uint8_t>(notify + 16), 4, kNotifyMultiplier});
    pci_cap_ = AddStructure(kPciCap, 0, 0, 4);
    config().Define({static_cast<uint8_t>(pci_cap_ + kPciCapBar), 1, 0, 0xFF});
    for (unsigned at : {kPciCapOffset, kPciCapLength, kPciCapData}) {
      config().Define({static_cast<uint8_t>(pci_cap_ + at), 4, 0, 0xFFFFFFFF});
    }
    device_->Connect(this);
    ClearTransport();
  }
  ~VirtioPci() override {
    for (Queue& q : queues_) q.bell.reset();
    device_->Reset();
    Undelegate();
  }

  absl::string_view name() const override { return device_->name(); }

 protected:
  void ResetDevice() override {
    device_->Reset();
    ClearTransport();
  }

  uint64_t ReadRegion(unsigned region, uint64_t offset, unsigned size) override;
  void WriteRegion(unsigned region, uint64_t offset, unsigned size, uint64_t value) override;
  void VisitDeviceState(dev::StateVisitor& v) override;

  void OnConfigRead(unsigned offset, unsigned size) override {
    if (!TouchesPciCapData(offset, size)) return;
    unsigned region = 0;
    uint64_t at = 0;
    const unsigned length = PciCapTarget(&region, &at);
    if (length == 0) return;
    config().Set<uint32_t>(pci_cap_ + kPciCapData, static_cast<uint32_t>(Read(region, at, length)));
  }
  void OnConfigWrite(unsigned offset, unsigned size) override {
    if (options_.bells != nullptr && BellsBase() != bells_base_) HangBells();
    if (!TouchesPciCapData(offset, size)) return;
    unsigned region = 0;
    uint64_t at = 0;
    const unsigned length = PciCapTarget(&region, &at);
    if (length == 0) return;
    const uint32_t data = config().Get<uint32_t>(pci_cap_ + kPciCapData);
    Write(region, at, length, length == 4 ? data : data & ((1u << (8 * length)) - 1));
  }

 private:
  struct Queue {
    uint16_t max_size = 0;
    uint16_t size = 0;
    uint16_t vector = kNoVector;
    bool enabled = false;
    uint64_t descriptors = 0;
    uint64_t driver_ring = 0;
    uint64_t device_ring = 0;
    std::optional<VirtQueue> ring = std::nullopt;  // there while enabled and sound
    std::unique_ptr<dev::Bell> bell = nullptr;
    // While it is delegated: the eventfds, who hears of `call`, and what sends it on.
    int kick = -1, call = -1;
    std::unique_ptr<dev::Bell> heard = nullptr;
    std::unique_ptr<dev::MessageFd> message = nullptr;
  };

  // Transport.
  VirtQueue* queue(unsigned index) override {
    if (failed_ || index >= queues_.size() || !queues_[index].ring.has_value()) return nullptr;
    return &*queues_[index].ring;
  }
  uint64_t features() const override { return driver_features_ & offered(); }
  void Interrupt(unsigned index) override {
    VirtQueue* q = queue(index);
    if (q != nullptr && q->TakeInterrupt()) Signal(queues_[index].vector, kIsrQueue);
  }
  void ConfigChanged() override {
    ++generation_;
    if ((status_ & kStatusDriverOk) != 0) Signal(config_vector_, kIsrConfig);
  }
  void Fail(const absl::Status& why) override {
    if (failed_) return;
    failed_ = true;
    status_ |= kStatusNeedsReset;
    if (options_.on_fail) options_.on_fail(Annotate(why, device_->name()));
    ConfigChanged();
  }

  bool Delegate(unsigned index, int kick, int call) override;
  void Undelegate() override {
    for (Queue& q : queues_) {
      if (q.call < 0) continue;
      q.bell.reset();
      q.heard.reset();
      q.message.reset();
      q.kick = q.call = -1;
    }
  }
  void UpdateCall(Queue& q);
  void OnMsixChanged() override {
    for (Queue& q : queues_) {
      if (q.call >= 0) UpdateCall(q);
    }
  }

  uint64_t offered() const { return device_->features() | kReservedFeatures; }
  bool modern_driver() const { return (driver_features_ & kVersion1) != 0; }

  unsigned AddStructure(CapabilityType type, uint32_t offset, uint32_t size, unsigned extra) {
    VirtioCapability cap = {};
    cap.length = static_cast<uint8_t>(sizeof cap + 2 + extra);
    cap.type = type;
    cap.bar = type == kPciCap ? 0 : kModernBar;
    cap.offset = offset;
    cap.size = size;
    std::vector<uint8_t> bytes(sizeof cap + extra);
    std::memcpy(bytes.data(), &cap, sizeof cap);
    return AddCapability(kVendorCapability, bytes);
  }

  bool TouchesPciCapData(unsigned offset, unsigned size) const {
    const unsigned data = pci_cap_ + kPciCapData;
    return size <= 4 && offset < data + 4 && data < offset + size;
  }
  // The length of the access that the guest asks for through configuration
  // space, or 0 where it asks for none that its BARs have.
  unsigned PciCapTarget(unsigned* region, uint64_t* at) const {
    const uint8_t bar = config().Get<uint8_t>(pci_cap_ + kPciCapBar);
    const uint32_t offset = config().Get<uint32_t>(pci_cap_ + kPciCapOffset);
    const uint32_t length = config().Get<uint32_t>(pci_cap_ + kPciCapLength);
    if ((length != 1 && length != 2 && length != 4) || offset % length != 0) return 0;
    for (const pci::BarSpec& spec : bars()) {
      if (spec.index != bar || !RangeFits(offset, length, spec.size)) continue;
      *region = bar;
      *at = offset;
      return length;
    }
    return 0;
  }

  void ClearTransport() {
    device_feature_select_ = driver_feature_select_ = 0;
    driver_features_ = 0;
    queue_select_ = 0;
    status_ = isr_ = 0;
    failed_ = false;
    config_vector_ = kNoVector;
    bells_base_.reset();
    for (Queue& q : queues_) q = {.max_size = q.max_size, .size = q.max_size};
    SetIntx(false);
  }

  void Signal(uint16_t vector, uint8_t isr) {
    if (msix_enabled()) {
      if (vector != kNoVector) TriggerMsix(vector);
      return;
    }
    isr_ |= isr;
    SetIntx(true);
  }

  void Kick(uint64_t index) {
    // Legacy drivers use their queues before they say DRIVER_OK.
    if (modern_driver() && (status_ & kStatusDriverOk) == 0) return;
    if (index < queues_.size() && queue(static_cast<unsigned>(index)) != nullptr) {
      device_->Notify(static_cast<unsigned>(index));
    }
  }

  // Where bells are to hang now, if anywhere.
  std::optional<uint64_t> BellsBase() const {
    if ((status_ & kStatusDriverOk) == 0) return std::nullopt;
    return region_base(modern_driver() ? kModernBar : kLegacyBar);
  }
  void HangBells();

  void EnableQueue(Queue& q) {
    q.enabled = true;
    absl::StatusOr<VirtQueue> ring = CreateRing(q);
    if (!ring.ok()) {
      Fail(Annotate(ring.status(), absl::StrCat("queue ", &q - queues_.data())));
      return;
    }
    q.ring.emplace(*std::move(ring));
  }
  absl::StatusOr<VirtQueue> CreateRing(const Queue& q) {
    return VirtQueue::Create(memory_, {.descriptors = Gpa(q.descriptors),
                                       .driver_ring = Gpa(q.driver_ring),
                                       .device_ring = Gpa(q.device_ring),
                                       .size = q.size,
                                       .event_index = (features() & kEventIndex) != 0,
                                       .indirect = (features() & kIndirectDesc) != 0});
  }

  void SetStatus(uint8_t value);
  void SetQueuePage(uint32_t page);
  uint16_t CheckedVector(uint64_t vector) const {
    return vector < msix_vectors() ? static_cast<uint16_t>(vector) : kNoVector;
  }

  Queue* Selected() { return queue_select_ < queues_.size() ? &queues_[queue_select_] : nullptr; }
  uint64_t Get(Reg reg);
  void Set(Reg reg, uint64_t value);

  // `value` carries the old register's bytes where the access covers none.
  uint64_t ReadLayout(std::span<const Placed> layout, uint64_t offset, unsigned size);
  void WriteLayout(std::span<const Placed> layout, uint64_t offset, unsigned size, uint64_t value);
  uint64_t ReadDeviceConfig(uint64_t offset, unsigned size);
  void WriteDeviceConfig(uint64_t offset, unsigned size, uint64_t value);
  std::span<const Placed> LegacyLayout() const {
    return std::span(kLegacyLayout).first(msix_enabled() ? kLegacyLayout.size() : 8);
  }
  unsigned LegacyHeader() const { return msix_enabled() ? kLegacyHeaderMsix : kLegacyHeader; }

  GuestMemory* memory_;
  std::unique_ptr<VirtioDevice> device_;
  PciTransportOptions options_;
  bool legacy_;
  unsigned pci_cap_ = 0;
  std::vector<Queue> queues_;
  uint32_t device_feature_select_ = 0;
  uint32_t driver_feature_select_ = 0;
  uint64_t driver_features_ = 0;
  uint16_t queue_select_ = 0;
  uint16_t config_vector_ = kNoVector;
  uint8_t status_ = 0;
  uint8_t isr_ = 0;
  uint8_t generation_ = 0;
  bool failed_ = false;
  std::optional<uint64_t> bells_base_;
};

bool VirtioPci::Delegate(unsigned index, int kick, int call) {
  if (options_.bells == nullptr || queue(index) == nullptr) return false;
  Queue& q = queues_[index];
  q.kick = kick;
  q.call = call;
  UpdateCall(q);
  if (q.heard == nullptr && (q.message == nullptr || !MsixMessage(q.vector))) {
    q.kick = q.call = -1;
    return false;
  }
  // Hung by SetStatus(), where the driver is not ready yet.
  if (bells_base_.has_value()) HangBells();
  return true;
}

// Straight into the guest where its vector can be sent as it is; else, also where that is
// masked and becomes pending, by this function as for every other queue. What was written
// to the eventfd in between is heard by whoever takes it up.
void VirtioPci::UpdateCall(Queue& q) {
  const std::optional<pci::Msix::Message> message = MsixMessage(q.vector);
  if (message.has_value()) {
    if (q.message == nullptr) q.message = options_.bells->NewMessageFd(q.call);
    if (q.message != nullptr) {
      q.heard.reset();
      if (q.message->Send(message->address, message->data)) return;
    }
  }
  if (q.message != nullptr) q.message->Hold();
  if (q.heard != nullptr) return;
  q.heard = options_.bells->WatchFd(q.call, [this, &q] {
    uint64_t count;
    if (read(q.call, &count, sizeof count) == sizeof count) Signal(q.vector, kIsrQueue);
  });
}

// As long as a driver is there: registers that nobody uses cost the kernel nothing, and a
// BAR that is moved about to be sized, no more than that.
void VirtioPci::HangBells() {
  bells_base_ = BellsBase();
  for (Queue& q : queues_) q.bell.reset();
  if (!bells_base_.has_value()) return;
  for (unsigned i = 0; i < queues_.size(); ++i) {
    if (!queues_[i].ring.has_value()) continue;
    dev::BellPlace place;
    if (modern_driver()) {
      place.address = *bells_base_ + kNotifyOffset + kNotifyMultiplier * i;
    } else {
      place = {.port = true,
               .address = *bells_base_ + kLegacyNotify,
               .size = 2,
               .value = static_cast<uint16_t>(i)};
    }
    if (queues_[i].kick >= 0) {
      queues_[i].bell = options_.bells->HangFd(place, queues_[i].kick);
    } else if (!options_.bells_of_delegated_only) {
      queues_[i].bell = options_.bells->Hang(place, [this, i] { Kick(i); });
    }
    // What a bell that hung elsewhere was rung for may not have been heard.
    Kick(i);
  }
}

void VirtioPci::SetStatus(uint8_t value) {
  if (value == 0) {
    ResetDevice();
    return;
  }
  // Features that were not offered, or a 1.x driver that does not say that it
  // is one, are refused by leaving the bit clear.
  const bool acceptable = (driver_features_ & ~offered()) == 0 && modern_driver();
  if ((value & kStatusFeaturesOk) != 0 && (status_ & kStatusFeaturesOk) == 0 && !acceptable) {
    value &= static_cast<uint8_t>(~kStatusFeaturesOk);
  }
  const bool starts = (value & kStatusDriverOk) != 0 && (status_ & kStatusDriverOk) == 0;
  status_ = static_cast<uint8_t>(value | (failed_ ? kStatusNeedsReset : 0));
  if (!starts) return;
  device_->Started();
  for (unsigned i = 0; i < queues_.size(); ++i) Kick(i);
  if (options_.bells != nullptr) HangBells();
}

// The legacy way to place a queue: all three tables from one page on.
void VirtioPci::SetQueuePage(uint32_t page) {
  if (page == 0) {
    ResetDevice();
    return;
  }
  Queue* q = Selected();
  if (q == nullptr || q->enabled) return;
  q->descriptors = uint64_t{page} << kPageShift;
  q->driver_ring = q->descriptors + 16 * uint64_t{q->size};
  q->device_ring = RoundUp(q->driver_ring + 2 * (3 + uint64_t{q->size}), kLegacyAlign);
  EnableQueue(*q);
}

uint64_t VirtioPci::Get(Reg reg) {
  Queue* q = Selected();
  switch (reg) {
    case Reg::kDeviceFeatureSelect:
      return device_feature_select_;
    case Reg::kDeviceFeature:
      return device_feature_select_ < 2 ? offered() >> (32 * device_feature_select_) : 0;
    case Reg::kDriverFeatureSelect:
      return driver_feature_select_;
    case Reg::kDriverFeature:
      return driver_feature_select_ < 2 ? driver_features_ >> (32 * driver_feature_select_) : 0;
    case Reg::kConfigVector:
      return config_vector_;
    case Reg::kQueueCount:
      return queues_.size();
    case Reg::kStatus:
      return status_;
    case Reg::kGeneration:
      return generation_;
    case Reg::kQueueSelect:
      return queue_select_;
    case Reg::kQueueSize:
      return q != nullptr ? q->size : 0;
    case Reg::kQueueVector:
      return q != nullptr ? q->vector : kNoVector;
    case Reg::kQueueEnable:
      return q != nullptr && q->enabled;
    case Reg::kQueueNotifyOffset:
      return q != nullptr ? queue_select_ : 0;
    case Reg::kQueueDescriptors:
      return q != nullptr ? q->descriptors : 0;
    case Reg::kQueueDriver:
      return q != nullptr ? q->driver_ring : 0;
    case Reg::kQueueDevice:
      return q != nullptr ? q->device_ring : 0;
    case Reg::kLegacyDeviceFeatures:
      return offered() & 0xFFFFFFFF;
    case Reg::kLegacyDriverFeatures:
      return driver_features_ & 0xFFFFFFFF;
    case Reg::kLegacyQueuePage:
      return q != nullptr ? q->descriptors >> kPageShift : 0;
    case Reg::kLegacyQueueSize:
      return q != nullptr ? q->max_size : 0;
    case Reg::kLegacyNotify:
      return 0;
    case Reg::kIsr: {
      const uint8_t was = std::exchange(isr_, uint8_t{0});
      SetIntx(false);
      return was;
    }
  }
  return 0;
}

void VirtioPci::Set(Reg reg, uint64_t value) {
  Queue* q = Selected();
  const uint32_t low = static_cast<uint32_t>(value);
  switch (reg) {
    case Reg::kDeviceFeatureSelect:
      device_feature_select_ = low;
      break;
    case Reg::kDriverFeatureSelect:
      driver_feature_select_ = low;
      break;
    case Reg::kDriverFeature:
      if ((status_ & kStatusFeaturesOk) != 0) break;
      if (driver_feature_select_ == 0) {
        driver_features_ = (driver_features_ & ~uint64_t{0xFFFFFFFF}) | low;
      } else if (driver_feature_select_ == 1) {
        driver_features_ = (driver_features_ & 0xFFFFFFFF) | uint64_t{low} << 32;
      }
      break;
    case Reg::kLegacyDriverFeatures:
      if ((status_ & (kStatusFeaturesOk | kStatusDriverOk)) == 0) {
        driver_features_ = low & offered();
      }
      break;
    case Reg::kConfigVector:
      config_vector_ = CheckedVector(value);
      break;
    case Reg::kStatus:
      SetStatus(static_cast<uint8_t>(value));
      break;
    case Reg::kQueueSelect:
      queue_select_ = static_cast<uint16_t>(value);
      break;
    case Reg::kQueueVector:
      if (q == nullptr) break;
      q->vector = CheckedVector(value);
      if (q->call >= 0) UpdateCall(*q);
      break;
    case Reg::kQueueSize:
      if (q != nullptr && !q->enabled && value <= q->max_size) {
        q->size = static_cast<uint16_t>(value);
      }
      break;
    case Reg::kQueueEnable:
      if (q != nullptr && !q->enabled && value == 1) EnableQueue(*q);
      break;
    case Reg::kQueueDescriptors:
      if (q != nullptr && !q->enabled) q->descriptors = value;
      break;
    case Reg::kQueueDriver:
      if (q != nullptr && !q->enabled) q->driver_ring = value;
      break;
    case Reg::kQueueDevice:
      if (q != nullptr && !q->enabled) q->device_ring = value;
      break;
    case Reg::kLegacyQueuePage:
      SetQueuePage(low);
      break;
    case Reg::kLegacyNotify:
      Kick(value);
      break;
    case Reg::kDeviceFeature:
    case Reg::kQueueCount:
    case Reg::kGeneration:
    case Reg::kQueueNotifyOffset:
    case Reg::kLegacyDeviceFeatures:
    case Reg::kLegacyQueueSize:
    case Reg::kIsr:
      break;
  }
}

uint64_t VirtioPci::ReadLayout(std::span<const Placed> layout, uint64_t offset, unsigned size) {
  uint64_t out = 0;
  for (const Placed& p : layout) {
    if (p.offset >= offset + size || offset >= p.offset + uint64_t{p.width}) continue;
    const uint64_t value = Get(p.reg);
    for (unsigned i = 0; i < p.width; ++i) {
      const uint64_t at = p.offset + i;
      if (at < offset || at >= offset + size) continue;
      out |= (value >> (8 * i) & 0xFF) << (8 * (at - offset));
    }
  }
  return out;
}

void VirtioPci::WriteLayout(std::span<const Placed> layout, uint64_t offset, unsigned size,
                            uint64_t value) {
  for (const Placed& p : layout) {
    if (p.offset >= offset + size || offset >= p.offset + uint64_t{p.width}) continue;
    uint64_t bytes = 0;
    uint64_t covered = 0;
    for (unsigned i = 0; i < p.width; ++i) {
      const uint64_t at = p.offset + i;
      if (at < offset || at >= offset + size) continue;
      bytes |= (value >> (8 * (at - offset)) & 0xFF) << (8 * i);
      covered |= uint64_t{0xFF} << (8 * i);
    }
    const uint64_t whole = p.width == 8 ? ~uint64_t{0} : (uint64_t{1} << (8 * p.width)) - 1;
    if (covered != whole) bytes |= Get(p.reg) & ~covered;
    Set(p.reg, bytes);
  }
}

uint64_t VirtioPci::ReadDeviceConfig(uint64_t offset, unsigned size) {
  uint8_t bytes[8] = {};
  device_->ReadConfig(offset, std::span(bytes).first(std::min(size, 8u)));
  return LoadLe<uint64_t>(bytes);
}

void VirtioPci::WriteDeviceConfig(uint64_t offset, unsigned size, uint64_t value) {
  uint8_t bytes[8];
  StoreLe(bytes, value);
  device_->WriteConfig(offset, std::span(bytes).first(std::min(size, 8u)));
}

uint64_t VirtioPci::ReadRegion(unsigned region, uint64_t offset, unsigned size) {
  if (region == kLegacyBar && legacy_) {
    if (offset >= LegacyBytes(*device_)) return PciDevice::ReadRegion(region, offset, size);
    if (offset >= LegacyHeader()) return ReadDeviceConfig(offset - LegacyHeader(), size);
    return ReadLayout(LegacyLayout(), offset, size);
  }
  if (region != kModernBar) return PciDevice::ReadRegion(region, offset, size);
  if (offset < kIsrOffset) return ReadLayout(kModernLayout, offset, size);
  if (offset < kDeviceOffset) return offset == kIsrOffset ? Get(Reg::kIsr) : 0;
  if (offset < kNotifyOffset) return ReadDeviceConfig(offset - kDeviceOffset, size);
  return 0;
}

void VirtioPci::WriteRegion(unsigned region, uint64_t offset, unsigned size, uint64_t value) {
  if (region == kLegacyBar && legacy_) {
    if (offset >= LegacyBytes(*device_)) return;
    if (offset >= LegacyHeader()) {
      WriteDeviceConfig(offset - LegacyHeader(), size, value);
    } else {
      WriteLayout(LegacyLayout(), offset, size, value);
    }
    return;
  }
  if (region != kModernBar) return;
  if (offset < kIsrOffset) {
    WriteLayout(kModernLayout, offset, size, value);
  } else if (offset >= kDeviceOffset && offset < kNotifyOffset) {
    WriteDeviceConfig(offset - kDeviceOffset, size, value);
  } else if (offset >= kNotifyOffset) {
    Kick((offset - kNotifyOffset) / kNotifyMultiplier);
  }
}

void VirtioPci::VisitDeviceState(dev::StateVisitor& v) {
  v.loading() ? device_->Reset() : device_->BeforeSave();
  v.Field("device_feature_select", device_feature_select_);
  v.Field("driver_feature_select", driver_feature_select_);
  v.Field("driver_features", driver_features_);
  v.Field("queue_select", queue_select_);
  v.Field("config_vector", config_vector_);
  v.Field("status", status_);
  v.Field("isr", isr_);
  v.Field("generation", generation_);
  v.Field("failed", failed_);
  if (v.loading()) config_vector_ = CheckedVector(config_vector_);
  for (Queue& q : queues_) {
    v.Begin("queue");
    v.Bounded("size", q.size, q.max_size);
    v.Field("vector", q.vector);
    v.Field("enabled", q.enabled);
    v.Field("descriptors", q.descriptors);
    v.Field("driver_ring", q.driver_ring);
    v.Field("device_ring", q.device_ring);
    bool has_ring = q.ring.has_value();
    v.Field("has_ring", has_ring);
    if (v.loading()) {
      q.vector = CheckedVector(q.vector);
      q.ring.reset();
      if (has_ring && v.status().ok()) {
        absl::StatusOr<VirtQueue> ring = CreateRing(q);
        if (ring.ok()) {
          q.ring.emplace(*std::move(ring));
        } else {
          failed_ = true;
        }
      }
    }
    if (q.ring.has_value()) q.ring->VisitState(v);
    v.End();
  }
  v.Begin("device");
  device_->VisitState(v);
  v.End();
}

}  // namespace

std::unique_ptr<pci::PciDevice> NewVirtioPci(const pci::PciWiring& wiring, GuestMemory* memory,
                                             std::unique_ptr<VirtioDevice> device,
                                             PciTransportOptions options) {
  const bool legacy = options.legacy && TransitionalId(device->type()) != 0;
  return std::make_unique<VirtioPci>(wiring, memory, std::move(device), std::move(options), legacy);
}

}  // namespace atl::virtio
