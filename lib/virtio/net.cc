// SPDX-License-Identifier: Apache-2.0
// Sending is done where the driver kicks: each frame is copied out of guest memory
// once, and its header judged in the copy. Receiving is the port's doing. What
// holds no frame (no buffers, no room at the port) leaves its chain in the ring, so
// that nothing is in flight between two calls.
#include "lib/virtio/net.h"

#include <sys/eventfd.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstring>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "lib/base/checked.h"
#include "lib/base/endian.h"
#include "lib/base/status_macros.h"
#include "lib/base/unique_fd.h"
#include "lib/net/vnet_header.h"
#include "lib/virtio/moderation.h"

namespace atl::virtio {
namespace {

constexpr uint64_t kChecksum = Bit(0);
constexpr uint64_t kGuestChecksum = Bit(1);
constexpr uint64_t kMtu = Bit(3);
constexpr uint64_t kMac = Bit(5);
constexpr uint64_t kGuestTso4 = Bit(7);
constexpr uint64_t kGuestTso6 = Bit(8);
constexpr uint64_t kGuestEcn = Bit(9);
constexpr uint64_t kHostTso4 = Bit(11);
constexpr uint64_t kHostTso6 = Bit(12);
constexpr uint64_t kHostEcn = Bit(13);
constexpr uint64_t kMergeBuffers = Bit(15);
constexpr uint64_t kStatus = Bit(16);
constexpr uint64_t kControlQueue = Bit(17);
constexpr uint64_t kControlReceive = Bit(18);
constexpr uint64_t kControlReceiveExtra = Bit(20);
constexpr uint64_t kControlMac = Bit(23);
constexpr uint64_t kGuestUso4 = Bit(54);
constexpr uint64_t kGuestUso6 = Bit(55);
constexpr uint64_t kHostUso = Bit(56);

enum : unsigned { kReceiveQueue, kSendQueue, kControl, kQueues };
constexpr uint16_t kControlQueueSize = 64;

struct NetConfig {
  uint8_t mac[6];
  le16 status;
  le16 max_queue_pairs;
  le16 mtu;
};
static_assert(sizeof(NetConfig) == 12);
constexpr uint16_t kLinkUp = 1;

// VIRTIO 1.2, 5.1.6.5.
enum ControlClass : uint8_t { kReceiveMode = 0, kMacAddresses = 1 };
enum MacCommand : uint8_t { kTableSet = 0, kAddressSet = 1 };
constexpr uint8_t kAck = 0;
constexpr uint8_t kError = 1;
// A request of the control queue that is longer is refused unread.
constexpr uint32_t kMaxControl = 4096;
// Addresses of each kind that are kept; where there are more, all are let through.
constexpr size_t kMaxTable = 64;

// Frames of one kick before the rest waits for its turn in the background.
constexpr unsigned kTurn = 256;
// How often buffers are looked for that a driver adds meanwhile.
constexpr unsigned kTries = 8;

class Net final : public VirtioDevice, private net::Client, private SlotListener {
 public:
  Net(GuestMemory* memory, net::Port* port, work::Background* background, const NetOptions& options)
      : memory_(memory), port_(port), background_(background), options_(options) {
    options_.queue_size = std::clamp<uint16_t>(options_.queue_size, 4, kMaxQueueSize);
    if (options_.clock != nullptr) {
      const auto wanted = [this] {
        const VirtQueue* q = transport_->queue(kSendQueue);
        return q != nullptr && q->WantsInterrupt();
      };
      moderation_ = std::make_unique<InterruptModeration>(
          options_.clock, wanted, [this] { transport_->Interrupt(kSendQueue); });
    }
    ForgetDriver();
    port_->Connect(this);
    // One answer for the device's life: features do not change under a driver.
    peer_ = port_->peer_accepts();
  }
  ~Net() override {
    Withdraw();
    port_->Connect(nullptr);
  }

  absl::string_view name() const override { return "virtio-net"; }
  uint16_t type() const override { return 1; }
  uint32_t pci_class() const override { return 0x020000; }
  uint64_t features() const override {
    uint64_t f = kMac | kMergeBuffers | kStatus | kControlQueue | kControlReceive |
                 kControlReceiveExtra | kControlMac;
    if (options_.mtu != 0) f |= kMtu;
    if (!peer_.checksum) return f;
    f |= kChecksum | kGuestChecksum | kGuestTso4 | kGuestTso6 | kGuestEcn;
    if (peer_.tcp4) f |= kHostTso4;
    if (peer_.tcp6) f |= kHostTso6;
    if (peer_.ecn) f |= kHostEcn;
    if (peer_.udp4 && peer_.udp6) f |= kHostUso | kGuestUso4 | kGuestUso6;
    return f;
  }
  std::vector<uint16_t> queue_sizes() const override {
    return {options_.queue_size, options_.queue_size, kControlQueueSize};
  }
  void Connect(Transport* transport) override { transport_ = transport; }

  unsigned config_bytes() const override { return sizeof(NetConfig); }
  void ReadConfig(uint64_t offset, std::span<uint8_t> to) override {
    NetConfig config{};
    std::copy(mac_.begin(), mac_.end(), config.mac);
    config.status = port_->link_up() ? kLinkUp : 0;
    config.max_queue_pairs = 1;
    config.mtu = options_.mtu;
    for (size_t i = 0; i < to.size(); ++i) {
      const bool inside = RangeFits(offset, i + 1, sizeof config);
      to[i] = inside ? reinterpret_cast<const uint8_t*>(&config)[offset + i] : 0;
    }
  }
  // Only drivers from before 1.0 set the address so.
  void WriteConfig(uint64_t offset, std::span<const uint8_t> from) override {
    if ((transport_->features() & (kVersion1 | kControlMac)) != 0) return;
    for (size_t i = 0; i < from.size(); ++i) {
      if (RangeFits(offset, i + 1, mac_.size())) mac_[offset + i] = from[i];
    }
  }

  void Started() override {
    started_ = true;
    const uint64_t f = transport_->features();
    net::Offloads accepts;
    accepts.checksum = (f & kGuestChecksum) != 0;
    if (accepts.checksum) {
      accepts.tcp4 = (f & kGuestTso4) != 0;
      accepts.tcp6 = (f & kGuestTso6) != 0;
      accepts.ecn = (f & kGuestEcn) != 0;
      accepts.udp4 = (f & kGuestUso4) != 0;
      accepts.udp6 = (f & kGuestUso6) != 0;
    }
    port_->SetAccepts(accepts);
    Delegate();
  }
  void Notify(unsigned queue) override;
  void Reset() override {
    Withdraw();
    background_->Cancel();
    ForgetDriver();
    port_->SetAccepts({});
    if (std::exchange(starving_, false)) port_->ReceiveReady();
  }
  // The indices are the kernel's while it serves the queues: they come back, and go again.
  void BeforeSave() override { Withdraw(); }
  void VisitState(dev::StateVisitor& v) override;

 private:
  // net::Client.
  bool Receive(const net::Frame& frame) override;
  void BurstEnd() override { transport_->Interrupt(kReceiveQueue); }
  void SendReady() override { Send(); }
  void LinkChanged(bool) override { transport_->ConfigChanged(); }

  // SlotListener.
  void OnSlotsChanged() override { (void)path_->SetMemory(Regions()); }

  std::vector<net::KernelPath::Region> Regions() const;
  // The two queues to the kernel, where that can be, and back.
  void Delegate();
  bool TryDelegate(net::KernelPath& path);
  void Withdraw();

  void ForgetDriver();
  size_t header_bytes() const {
    return (transport_->features() & (kVersion1 | kMergeBuffers)) != 0 ? net::kVnetHeaderBytes
                                                                       : net::kShortVnetHeaderBytes;
  }
  void Send();
  // The driver, of frames that it has sent.
  void TellSent(VirtQueue& q, unsigned frames, uint64_t bytes);
  // False: the port has no room.
  absl::StatusOr<bool> SendChain(const Chain& chain);
  bool Wanted(std::span<const uint8_t> frame) const;
  // False, and nothing taken, where the ring has not enough.
  absl::StatusOr<bool> TakeBuffers(VirtQueue& q, size_t bytes);
  absl::Status Fill(VirtQueue& q, const net::Frame& frame);
  void Control();
  uint8_t Execute(std::span<const uint8_t> request);
  uint8_t SetMode(uint8_t command, std::span<const uint8_t> argument);
  uint8_t SetTable(std::span<const uint8_t> argument);

  struct Table {
    std::vector<net::MacAddress> addresses;
    bool overflow = false;
    bool Has(std::span<const uint8_t> mac) const {
      return overflow ||
             std::any_of(addresses.begin(), addresses.end(), [mac](const net::MacAddress& a) {
               return std::equal(a.begin(), a.end(), mac.begin());
             });
    }
  };

  GuestMemory* memory_;
  net::Port* port_;
  work::Background* background_;
  NetOptions options_;
  Transport* transport_ = nullptr;
  net::Offloads peer_;
  std::unique_ptr<InterruptModeration> moderation_;

  // While the kernel serves the two queues: by what, and the eventfds of each.
  net::KernelPath* path_ = nullptr;
  std::array<UniqueFd, 2> kicks_, calls_;

  net::MacAddress mac_{};
  bool started_ = false;
  bool starving_ = false;  // Receive() was false
  // Commands 0 to 5 of the receive class.
  enum Mode : uint8_t { kPromiscuous, kAllMulti, kAllUni, kNoMulti, kNoUni, kNoBroadcast, kModes };
  std::array<bool, kModes> modes_{};
  Table unicast_, multicast_;

  std::vector<uint8_t> frame_;  // the one that is sent
  std::vector<Chain> chains_;   // those that receive a frame; empty between calls
  size_t too_few_ = 0;          // buffers that were not enough for the last frame
};

// Drivers that know no control queue get everything.
void Net::ForgetDriver() {
  if (moderation_ != nullptr) moderation_->Reset();
  started_ = false;
  mac_ = options_.mac;
  modes_ = {};
  modes_[kPromiscuous] = true;
  unicast_ = multicast_ = {};
}

std::vector<net::KernelPath::Region> Net::Regions() const {
  std::vector<net::KernelPath::Region> out;
  for (const MemorySlot& s : memory_->slots()) {
    if (s.kind == SlotKind::kRam) out.push_back({s.base.value, s.size, s.host});
  }
  return out;
}

void Net::Delegate() {
  net::KernelPath* const path = options_.delegates ? port_->kernel_path() : nullptr;
  if (path == nullptr || header_bytes() != net::kVnetHeaderBytes) return;
  if (!TryDelegate(*path)) {
    transport_->Undelegate();
    for (UniqueFd& fd : kicks_) fd.reset();
    for (UniqueFd& fd : calls_) fd.reset();
    return;
  }
  path_ = path;
  memory_->AddListener(this);
}

bool Net::TryDelegate(net::KernelPath& path) {
  constexpr uint64_t kRings = kMergeBuffers | kIndirectDesc | kEventIndex | kVersion1;
  const uint64_t features = transport_->features() & kRings;
  if ((features & ~path.features()) != 0) return false;
  std::array<net::KernelPath::Queue, 2> queues;
  for (unsigned i = 0; i < queues.size(); ++i) {
    const VirtQueue* q = transport_->queue(i);
    if (q == nullptr) return false;
    kicks_[i] = UniqueFd(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    calls_[i] = UniqueFd(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (!kicks_[i].valid() || !calls_[i].valid()) return false;
    const QueueLayout& l = q->layout();
    const auto host = [this](Gpa at, uint64_t bytes) { return memory_->Span(at, bytes).data(); };
    queues[i] = {.size = l.size,
                 .next = q->next_available(),
                 .descriptors = host(l.descriptors, 16 * uint64_t{l.size}),
                 .driver_ring = host(l.driver_ring, q->driver_ring_bytes()),
                 .device_ring = host(l.device_ring, q->device_ring_bytes()),
                 .kick = kicks_[i].get(),
                 .call = calls_[i].get()};
    if (queues[i].descriptors == nullptr || queues[i].driver_ring == nullptr ||
        queues[i].device_ring == nullptr) {
      return false;
    }
    if (!transport_->Delegate(i, kicks_[i].get(), calls_[i].get())) return false;
  }
  return path.Serve(features, Regions(), queues).ok();
}

void Net::Withdraw() {
  if (path_ == nullptr) return;
  memory_->RemoveListener(this);
  const std::array<uint16_t, 2> next = path_->Stop();
  path_ = nullptr;
  for (unsigned i = 0; i < next.size(); ++i) {
    if (VirtQueue* q = transport_->queue(i)) q->ComeBack(next[i]);
  }
  transport_->Undelegate();
  for (UniqueFd& fd : kicks_) fd.reset();
  for (UniqueFd& fd : calls_) fd.reset();
}

void Net::VisitState(dev::StateVisitor& v) {
  for (uint8_t& b : mac_) v.Field("mac", b);
  for (bool& m : modes_) v.Field("mode", m);
  v.Field("started", started_);
  for (Table* t : {&unicast_, &multicast_}) {
    uint64_t n = t->addresses.size();
    v.Bounded("addresses", n, kMaxTable);
    if (v.loading()) t->addresses.assign(std::min<uint64_t>(n, kMaxTable), {});
    for (net::MacAddress& a : t->addresses) {
      for (uint8_t& b : a) v.Field("byte", b);
    }
    v.Field("overflow", t->overflow);
  }
  if (!started_) return;
  if (!v.loading()) return Delegate();
  Started();
  if (moderation_ != nullptr) moderation_->Loaded();
}

void Net::Notify(unsigned queue) {
  if (path_ != nullptr && queue < kicks_.size()) {
    (void)eventfd_write(kicks_[queue].get(), 1);
    return;
  }
  if (queue == kSendQueue) return Send();
  if (queue == kControl) return Control();
  VirtQueue* q = transport_->queue(queue);
  if (q == nullptr || queue != kReceiveQueue) return;
  // Buffers are looked for when a frame comes; only who waits wants to be told.
  if (starving_) {
    starving_ = false;
    port_->ReceiveReady();
  }
  q->SetKicks(false);
}

void Net::Send() {
  if (path_ != nullptr) return;
  VirtQueue* q = transport_->queue(kSendQueue);
  if (q == nullptr) return;
  if (moderation_ != nullptr && moderation_->Settle()) q->TakeInterrupt();
  unsigned budget = kTurn;
  do {
    q->SetKicks(false);
    unsigned frames = 0;
    uint64_t bytes = 0;
    for (; budget > 0; --budget) {
      absl::StatusOr<std::optional<Chain>> chain = q->Pop();
      if (!chain.ok()) return transport_->Fail(chain.status());
      if (!chain->has_value()) break;
      const absl::StatusOr<bool> sent = SendChain(**chain);
      if (!sent.ok()) return transport_->Fail(sent.status());
      if (!*sent) {
        q->Unpop((*chain)->head);
        TellSent(*q, frames, bytes);
        return;  // until SendReady()
      }
      ++frames;
      bytes += (*chain)->readable_bytes;
      if (absl::Status pushed = q->Push((*chain)->head, 0); !pushed.ok()) {
        return transport_->Fail(pushed);
      }
    }
    TellSent(*q, frames, bytes);
    if (budget == 0) {
      background_->Post(nullptr, [this] { Send(); });
      return;
    }
  } while (q->SetKicks(true));
}

void Net::TellSent(VirtQueue& q, unsigned frames, uint64_t bytes) {
  const bool waits =
      moderation_ != nullptr && q.WantsInterrupt() && moderation_->Wait(frames, bytes);
  if (!waits) transport_->Interrupt(kSendQueue);
}

absl::StatusOr<bool> Net::SendChain(const Chain& chain) {
  const size_t skip = header_bytes();
  net::VnetHeader header{};
  if (!chain.Read(*memory_, 0, {reinterpret_cast<uint8_t*>(&header), skip})) {
    return absl::InvalidArgumentError("a frame without a readable header");
  }
  const size_t size = chain.readable_bytes - skip;
  const std::optional<net::Work> work = net::WorkFrom(header);
  // What is no frame is lost like one: the driver gets its buffers back.
  if (size > net::kMaxFrame || !work.has_value()) return true;
  if (work->needs_checksum && (transport_->features() & kChecksum) == 0) return true;
  frame_.resize(size);
  if (!chain.Read(*memory_, skip, frame_)) {
    return absl::OutOfRangeError("a frame's buffer lies outside memory");
  }
  return port_->Send({frame_, *work});
}

bool Net::Wanted(std::span<const uint8_t> frame) const {
  if (modes_[kPromiscuous]) return true;
  const std::span<const uint8_t> to = frame.first(6);
  if ((to[0] & 1) != 0) {
    const bool broadcast = std::all_of(to.begin(), to.end(), [](uint8_t b) { return b == 0xFF; });
    if (broadcast) return !modes_[kNoBroadcast];
    return !modes_[kNoMulti] && (modes_[kAllMulti] || multicast_.Has(to));
  }
  return !modes_[kNoUni] &&
         (modes_[kAllUni] || std::equal(to.begin(), to.end(), mac_.begin()) || unicast_.Has(to));
}

bool Net::Receive(const net::Frame& frame) {
  if (path_ != nullptr) return true;  // read before the kernel took over
  VirtQueue* q = transport_->queue(kReceiveQueue);
  if (!started_ || q == nullptr || !Wanted(frame.bytes)) return true;
  const size_t bytes = header_bytes() + frame.bytes.size();
  for (unsigned tries = 0; tries < kTries; ++tries) {
    const absl::StatusOr<bool> enough = TakeBuffers(*q, bytes);
    absl::Status status = enough.status();
    if (status.ok() && *enough) status = Fill(*q, frame);
    if (!status.ok()) {
      chains_.clear();
      transport_->Fail(status);
      return true;
    }
    if (*enough) {
      if (moderation_ != nullptr) moderation_->Received();
      return true;
    }
    // Further buffers may have come just before the driver was asked to tell of them.
    q->SetKicks(true);
    if (q->waiting() <= too_few_) break;
  }
  starving_ = true;
  return false;
}

absl::StatusOr<bool> Net::TakeBuffers(VirtQueue& q, size_t bytes) {
  const bool merges = (transport_->features() & kMergeBuffers) != 0;
  uint64_t room = 0;
  chains_.clear();
  while (room < bytes) {
    ASSIGN_OR_RETURN(std::optional<Chain> chain, q.Pop());
    if (!chain.has_value()) {
      too_few_ = chains_.size();
      for (auto c = chains_.rbegin(); c != chains_.rend(); ++c) q.Unpop(c->head);
      chains_.clear();
      return false;
    }
    room += chain->writable_bytes;
    chains_.push_back(*std::move(chain));
    if (chains_[0].writable_bytes < header_bytes()) {
      return absl::InvalidArgumentError("a receive buffer with no place for the header");
    }
    // Each takes a part of the frame, so that their number has a bound.
    if (chains_.back().writable_bytes == 0) {
      return absl::InvalidArgumentError("an empty receive buffer");
    }
    if (!merges) break;
  }
  return true;
}

absl::Status Net::Fill(VirtQueue& q, const net::Frame& frame) {
  const size_t skip = header_bytes();
  net::VnetHeader header = net::HeaderFor(frame.work);
  header.buffers = static_cast<uint16_t>(chains_.size());
  std::vector<VirtQueue::Done> done;
  done.reserve(chains_.size());
  std::span<const uint8_t> rest = frame.bytes;
  size_t at = skip;
  uint64_t room = 0;
  for (const Chain& c : chains_) room += c.writable_bytes;
  if (room < skip + frame.bytes.size()) {
    // Without merging: a driver whose buffers are too small for what it accepts
    // loses the frame.
    q.Unpop(chains_[0].head);
    chains_.clear();
    return absl::OkStatus();
  }
  bool written = chains_[0].Write(*memory_, 0, {reinterpret_cast<const uint8_t*>(&header), skip});
  for (const Chain& c : chains_) {
    const size_t n = std::min<size_t>(rest.size(), c.writable_bytes - at);
    written = written && c.Write(*memory_, at, rest.first(n));
    rest = rest.subspan(n);
    done.push_back({c.head, static_cast<uint32_t>(at + n)});
    at = 0;
  }
  chains_.clear();
  if (!written) return absl::OutOfRangeError("a receive buffer lies outside memory");
  return q.Push(done);
}

void Net::Control() {
  VirtQueue* q = transport_->queue(kControl);
  if (q == nullptr) return;
  unsigned budget = kControlQueueSize;
  do {
    q->SetKicks(false);
    for (; budget > 0; --budget) {
      absl::StatusOr<std::optional<Chain>> popped = q->Pop();
      if (!popped.ok()) return transport_->Fail(popped.status());
      if (!popped->has_value()) break;
      const Chain& chain = **popped;
      uint8_t answer = kError;
      if (chain.readable_bytes <= kMaxControl) {
        std::vector<uint8_t> request(chain.readable_bytes);
        if (chain.Read(*memory_, 0, request)) answer = Execute(request);
      }
      if (!chain.Write(*memory_, 0, {&answer, 1})) {
        return transport_->Fail(
            absl::InvalidArgumentError("a control request without a place for its answer"));
      }
      if (absl::Status pushed = q->Push(chain.head, 1); !pushed.ok()) {
        return transport_->Fail(pushed);
      }
    }
    transport_->Interrupt(kControl);
    if (budget == 0) {
      background_->Post(nullptr, [this] { Control(); });
      return;
    }
  } while (q->SetKicks(true));
}

uint8_t Net::Execute(std::span<const uint8_t> request) {
  if (request.size() < 2) return kError;
  const uint8_t command = request[1];
  const std::span<const uint8_t> argument = request.subspan(2);
  if (request[0] == kReceiveMode) return SetMode(command, argument);
  if (request[0] != kMacAddresses) return kError;
  if (command == kTableSet) return SetTable(argument);
  if (command != kAddressSet || argument.size() != mac_.size()) return kError;
  std::copy(argument.begin(), argument.end(), mac_.begin());
  return kAck;
}

uint8_t Net::SetMode(uint8_t command, std::span<const uint8_t> argument) {
  if (command >= kModes || argument.size() != 1) return kError;
  modes_[command] = argument[0] != 0;
  return kAck;
}

// Twice a number and as many addresses: unicast, multicast.
uint8_t Net::SetTable(std::span<const uint8_t> argument) {
  std::array<Table, 2> tables;
  for (Table& table : tables) {
    if (argument.size() < sizeof(uint32_t)) return kError;
    const uint64_t count = LoadLe<uint32_t>(argument.data());
    argument = argument.subspan(sizeof(uint32_t));
    constexpr size_t kEach = sizeof(net::MacAddress);
    // Compared by division: the number is the driver's.
    if (count > argument.size() / kEach) return kError;
    table.overflow = count > kMaxTable;
    for (size_t i = 0; i < count && !table.overflow; ++i) {
      std::copy_n(argument.begin() + static_cast<long>(i * kEach), kEach,
                  table.addresses.emplace_back().begin());
    }
    argument = argument.subspan(count * kEach);
  }
  if (!argument.empty()) return kError;
  unicast_ = std::move(tables[0]);
  multicast_ = std::move(tables[1]);
  return kAck;
}

}  // namespace

std::unique_ptr<VirtioDevice> NewNet(GuestMemory* memory, net::Port* port,
                                     work::Background* background, const NetOptions& options) {
  return std::make_unique<Net>(memory, port, background, options);
}

}  // namespace atl::virtio
