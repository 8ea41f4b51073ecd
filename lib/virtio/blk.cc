// SPDX-License-Identifier: Apache-2.0
#include "lib/virtio/blk.h"

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "lib/base/checked.h"
#include "lib/base/endian.h"
#include "lib/base/status_macros.h"
#include "lib/work/guest_io.h"

namespace atl::virtio {
namespace {

constexpr uint64_t kSector = 512;

constexpr uint64_t kSegMax = Bit(2);
constexpr uint64_t kGeometry = Bit(4);
constexpr uint64_t kReadOnly = Bit(5);
constexpr uint64_t kBlockSize = Bit(6);
constexpr uint64_t kFlush = Bit(9);
constexpr uint64_t kTopology = Bit(10);
constexpr uint64_t kConfigWce = Bit(11);
constexpr uint64_t kMultiQueue = Bit(12);
constexpr uint64_t kDiscard = Bit(13);
constexpr uint64_t kWriteZeroes = Bit(14);

enum RequestType : uint32_t {
  kIn = 0,
  kOut = 1,
  kFlushRequest = 4,
  kGetId = 8,
  kDiscardRequest = 11,
  kWriteZeroesRequest = 13,
};
enum RequestStatus : uint8_t { kOk = 0, kIoError = 1, kUnsupported = 2 };

struct RequestHeader {
  le32 type;
  le32 reserved;
  le64 sector;
};
static_assert(sizeof(RequestHeader) == 16);

struct RangeSegment {
  le64 sector;
  le32 sectors;
  le32 flags;
};
static_assert(sizeof(RangeSegment) == 16);
constexpr uint32_t kRangeUnmap = 1;

struct BlkConfig {
  le64 capacity;
  le32 size_max;
  le32 seg_max;
  le16 cylinders;
  uint8_t heads;
  uint8_t sectors;
  le32 blk_size;
  uint8_t physical_block_exp;
  uint8_t alignment_offset;
  le16 min_io_size;
  le32 opt_io_size;
  uint8_t writeback;
  uint8_t unused0;
  le16 num_queues;
  le32 max_discard_sectors;
  le32 max_discard_seg;
  le32 discard_sector_alignment;
  le32 max_write_zeroes_sectors;
  le32 max_write_zeroes_seg;
  uint8_t write_zeroes_may_unmap;
  uint8_t unused1[3];
};
static_assert(sizeof(BlkConfig) == 60 && offsetof(BlkConfig, writeback) == 32);
static_assert(offsetof(BlkConfig, max_discard_sectors) == 36);

constexpr size_t kIdBytes = 20;
constexpr unsigned kMaxRanges = 32;
constexpr uint32_t kMaxRangeSectors = 1u << 22;  // 2 GiB: the work of one range
// A request from the moment it was popped until it is pushed. `work` fields are
// the background's between Post() and the completion.
struct Request {
  unsigned queue = 0;
  Chain chain;
  uint32_t type = 0;
  uint64_t offset = 0;
  work::GuestPieces pieces;
  std::vector<RangeSegment> ranges;
  bool flush_after = false;
  uint32_t written = 0;  // data bytes, without the status
  uint8_t status = kOk;
  absl::Status error;
};

// The bytes [skip, skip + length) of `buffers`. Nothing where a part is not RAM.
std::optional<work::GuestPieces> Gather(GuestMemory& memory, const std::vector<Buffer>& buffers,
                                        uint64_t skip, uint64_t length) {
  work::GuestPieces out;
  for (const Buffer& b : buffers) {
    if (length == 0) break;
    if (skip >= b.size) {
      skip -= b.size;
      continue;
    }
    const uint64_t n = std::min(b.size - skip, length);
    if (!out.Append(memory, b.at + skip, n)) return std::nullopt;
    skip = 0;
    length -= n;
  }
  if (length != 0) return std::nullopt;
  return out;
}

// In the background: touches the request, the disk and guest memory.
absl::Status Execute(block::Disk& disk, GuestMemory& memory, const Request& r) {
  switch (r.type) {
    case kIn:
      return r.pieces.ReadFrom(disk, r.offset, memory);
    case kOut:
      RETURN_IF_ERROR(r.pieces.WriteTo(disk, r.offset));
      break;
    case kFlushRequest:
      return disk.Flush();
    case kDiscardRequest:
      for (const RangeSegment& s : r.ranges) {
        RETURN_IF_ERROR(disk.Discard(s.sector * kSector, s.sectors * kSector));
      }
      return absl::OkStatus();
    case kWriteZeroesRequest:
      for (const RangeSegment& s : r.ranges) {
        RETURN_IF_ERROR(disk.WriteZeroes(s.sector * kSector, s.sectors * kSector,
                                         (s.flags & kRangeUnmap) != 0));
      }
      break;
    default:
      break;
  }
  return r.flush_after ? disk.Flush() : absl::OkStatus();
}

class Blk : public VirtioDevice {
 public:
  Blk(GuestMemory* memory, block::Disk* disk, work::Background* background, BlkOptions options)
      : memory_(memory), disk_(disk), background_(background), options_(std::move(options)) {
    options_.queues = std::clamp<uint16_t>(options_.queues, 1, 64);
    options_.queue_size = std::clamp<uint16_t>(options_.queue_size, 4, kMaxQueueSize);
    sectors_ = disk_->size() / kSector;
    read_only_ = options_.read_only || disk_->read_only();
  }

  absl::string_view name() const override { return "virtio-blk"; }
  uint16_t type() const override { return 2; }
  uint32_t pci_class() const override { return 0x010000; }
  uint64_t features() const override {
    uint64_t f = kSegMax | kGeometry | kBlockSize | kFlush | kTopology | kConfigWce;
    if (options_.queues > 1) f |= kMultiQueue;
    return f | (read_only_ ? kReadOnly : kDiscard | kWriteZeroes);
  }
  std::vector<uint16_t> queue_sizes() const override {
    return std::vector<uint16_t>(options_.queues, options_.queue_size);
  }
  void Connect(Transport* transport) override { transport_ = transport; }

  unsigned config_bytes() const override { return sizeof(BlkConfig); }
  void ReadConfig(uint64_t offset, std::span<uint8_t> to) override {
    const BlkConfig config = Config();
    for (size_t i = 0; i < to.size(); ++i) {
      const bool inside = RangeFits(offset, i + 1, sizeof config);
      to[i] = inside ? reinterpret_cast<const uint8_t*>(&config)[offset + i] : 0;
    }
  }
  void WriteConfig(uint64_t offset, std::span<const uint8_t> from) override {
    constexpr uint64_t kAt = offsetof(BlkConfig, writeback);
    if ((transport_->features() & kConfigWce) == 0) return;
    if (offset <= kAt && kAt - offset < from.size()) write_back_ = from[kAt - offset] != 0;
  }

  void Started() override {
    if (options_.ring == nullptr || options_.bells == nullptr) return;
    ring_bell_ = options_.bells->WatchFd(options_.ring->fd(), [this] { Reap(); });
  }
  void Notify(unsigned queue) override;
  void Reset() override {
    ring_bell_.reset();
    if (options_.ring != nullptr) options_.ring->Cancel();
    background_->Cancel();
    write_back_ = true;
  }
  void VisitState(dev::StateVisitor& v) override { v.Field("write_back", write_back_); }

 private:
  BlkConfig Config() const;
  // False where the queue was broken.
  bool Begin(unsigned queue, Chain chain);
  uint8_t Prepare(Request& r);
  uint8_t PrepareTransfer(Request& r, const std::vector<Buffer>& buffers, uint64_t skip,
                          uint64_t bytes);
  uint8_t PrepareRanges(Request& r);
  uint8_t AnswerId(Request& r);
  // False: in the background, then.
  bool ByRing(const std::shared_ptr<Request>& r);
  void InBackground(const std::shared_ptr<Request>& r);
  void Reap() {
    options_.ring->Reap();
    options_.ring->Submit();
  }
  void Complete(Request& r);
  bool WriteThrough() const {
    if ((transport_->features() & kConfigWce) != 0) return !write_back_;
    return (transport_->features() & kFlush) == 0;
  }

  GuestMemory* memory_;
  block::Disk* disk_;
  work::Background* background_;
  BlkOptions options_;
  Transport* transport_ = nullptr;
  uint64_t sectors_ = 0;
  bool read_only_ = false;
  bool write_back_ = true;
  std::unique_ptr<dev::Bell> ring_bell_;  // there while the ring is used
};

BlkConfig Blk::Config() const {
  BlkConfig c = {};
  c.capacity = sectors_;
  c.seg_max = options_.queue_size - 2u;  // the header and the status take two
  c.cylinders = static_cast<uint16_t>(std::min<uint64_t>(sectors_ / (16 * 63), 65535));
  c.heads = 16;
  c.sectors = 63;
  c.blk_size = kSector;
  c.physical_block_exp = 3;
  c.min_io_size = 1;
  c.writeback = write_back_;
  c.num_queues = options_.queues;
  c.max_discard_sectors = c.max_write_zeroes_sectors = kMaxRangeSectors;
  c.max_discard_seg = c.max_write_zeroes_seg = kMaxRanges;
  c.discard_sector_alignment = 8;
  c.write_zeroes_may_unmap = 1;
  return c;
}

void Blk::Notify(unsigned queue) {
  VirtQueue* q = transport_->queue(queue);
  if (q == nullptr) return;
  // A driver on another vCPU could feed this loop for ever: after a queue's
  // worth of chains the rest waits for its turn in the background.
  unsigned budget = 2u * q->size();
  do {
    q->SetKicks(false);
    while (budget > 0) {
      absl::StatusOr<std::optional<Chain>> chain = q->Pop();
      if (!chain.ok()) {
        transport_->Fail(Annotate(chain.status(), absl::StrCat("queue ", queue)));
        return;
      }
      if (!chain->has_value()) break;
      --budget;
      if (!Begin(queue, **std::move(chain))) return;
    }
    if (ring_bell_ != nullptr) {
      options_.ring->Submit();
      Reap();
      // What ended may have broken a queue.
      if ((q = transport_->queue(queue)) == nullptr) return;
    }
    if (budget == 0) {
      background_->Post(nullptr, [this, queue] { Notify(queue); });
      return;
    }
  } while (q->SetKicks(true));
}

bool Blk::Begin(unsigned queue, Chain chain) {
  auto r = std::make_shared<Request>();
  r->queue = queue;
  r->chain = std::move(chain);
  RequestHeader header;
  if (r->chain.writable_bytes == 0 ||
      !r->chain.Read(*memory_, 0, {reinterpret_cast<uint8_t*>(&header), sizeof header})) {
    transport_->Fail(absl::InvalidArgumentError(
        "a request without a readable header or a place for its status"));
    return false;
  }
  r->type = header.type;
  r->offset = header.sector;  // in sectors until Prepare() has checked it
  r->status = Prepare(*r);
  const bool posts = r->status == kOk && r->type != kGetId;
  if (!posts) {
    Complete(*r);
    return transport_->queue(queue) != nullptr;
  }
  if (!ByRing(r)) InBackground(r);
  return transport_->queue(queue) != nullptr;
}

void Blk::InBackground(const std::shared_ptr<Request>& r) {
  background_->Post([disk = disk_, memory = memory_, r] { r->error = Execute(*disk, *memory, *r); },
                    [this, r] { Complete(*r); });
}

bool Blk::ByRing(const std::shared_ptr<Request>& r) {
  if (ring_bell_ == nullptr || (r->type != kIn && r->type != kOut) || r->flush_after) return false;
  std::vector<iovec> pieces = r->pieces.vectors();
  if (pieces.empty() || pieces.size() > work::Ring::kMaxPieces) return false;
  const bool write = r->type == kOut;
  const std::optional<block::Disk::Place> place =
      disk_->PlaceOf(r->offset, r->pieces.bytes(), write);
  if (!place.has_value()) return false;
  return options_.ring->Add(write, place->fd, place->offset, std::move(pieces),
                            [this, r, until = place->until](int64_t result) mutable {
                              until.reset();
                              if (r->type == kIn) r->pieces.MarkWritten(*memory_);
                              // Short or failed: once more, by who knows why.
                              if (result != static_cast<int64_t>(r->pieces.bytes())) {
                                return InBackground(r);
                              }
                              Complete(*r);
                            });
}

uint8_t Blk::Prepare(Request& r) {
  switch (r.type) {
    case kIn:
      return PrepareTransfer(r, r.chain.writable, 0, r.chain.writable_bytes - 1);
    case kOut:
      if (read_only_) return kIoError;
      r.flush_after = WriteThrough();
      return PrepareTransfer(r, r.chain.readable, sizeof(RequestHeader),
                             r.chain.readable_bytes - sizeof(RequestHeader));
    case kFlushRequest:
      return kOk;
    case kGetId:
      return AnswerId(r);
    case kDiscardRequest:
    case kWriteZeroesRequest:
      if (read_only_) return kIoError;
      r.flush_after = WriteThrough();
      return PrepareRanges(r);
    default:
      return kUnsupported;
  }
}

uint8_t Blk::PrepareTransfer(Request& r, const std::vector<Buffer>& buffers, uint64_t skip,
                             uint64_t bytes) {
  if (bytes % kSector != 0 || !RangeFits(r.offset, bytes / kSector, sectors_)) {
    r.error =
        absl::OutOfRangeError(absl::StrFormat("%s: guest asked for %d bytes at sector %d of %d",
                                              disk_->name(), bytes, r.offset, sectors_));
    return kIoError;
  }
  std::optional<work::GuestPieces> pieces = Gather(*memory_, buffers, skip, bytes);
  if (!pieces.has_value()) {
    r.error = absl::OutOfRangeError(
        absl::StrFormat("%s: a request's buffer lies outside RAM", disk_->name()));
    return kIoError;
  }
  r.pieces = *std::move(pieces);
  r.offset *= kSector;
  if (r.type == kIn) r.written = static_cast<uint32_t>(bytes);
  return kOk;
}

uint8_t Blk::PrepareRanges(Request& r) {
  const uint64_t bytes = r.chain.readable_bytes - sizeof(RequestHeader);
  if (bytes == 0 || bytes % sizeof(RangeSegment) != 0 ||
      bytes > kMaxRanges * sizeof(RangeSegment)) {
    return kUnsupported;
  }
  r.ranges.resize(bytes / sizeof(RangeSegment));
  if (!r.chain.Read(*memory_, sizeof(RequestHeader),
                    {reinterpret_cast<uint8_t*>(r.ranges.data()), bytes})) {
    return kIoError;
  }
  const uint32_t known = r.type == kWriteZeroesRequest ? kRangeUnmap : 0;
  for (const RangeSegment& s : r.ranges) {
    if ((s.flags & ~known) != 0) return kUnsupported;
    if (s.sectors > kMaxRangeSectors || !RangeFits(s.sector, s.sectors, sectors_)) return kIoError;
  }
  return kOk;
}

uint8_t Blk::AnswerId(Request& r) {
  uint8_t id[kIdBytes] = {};
  std::memcpy(id, options_.serial.data(), std::min(options_.serial.size(), kIdBytes));
  const uint32_t n = std::min<uint32_t>(kIdBytes, r.chain.writable_bytes - 1);
  if (!r.chain.Write(*memory_, 0, std::span(id).first(n))) return kIoError;
  r.written = n;
  return kOk;
}

void Blk::Complete(Request& r) {
  if (!r.error.ok()) {
    r.status = kIoError;
    if (options_.on_error) options_.on_error(r.error);
  }
  VirtQueue* q = transport_->queue(r.queue);
  if (q == nullptr) return;
  // The status is the last writable byte, wherever that lies.
  if (!r.chain.Write(*memory_, r.chain.writable_bytes - 1, {&r.status, 1})) {
    transport_->Fail(absl::OutOfRangeError("a request's status lies outside memory"));
    return;
  }
  // On an error the data may be written in part: only the status is certain.
  const uint32_t written = r.status == kOk ? r.written + 1 : r.chain.writable_bytes;
  if (absl::Status pushed = q->Push(r.chain.head, written); !pushed.ok()) {
    transport_->Fail(pushed);
    return;
  }
  transport_->Interrupt(r.queue);
}

}  // namespace

std::unique_ptr<VirtioDevice> NewBlk(GuestMemory* memory, block::Disk* disk,
                                     work::Background* background, BlkOptions options) {
  return std::make_unique<Blk>(memory, disk, background, std::move(options));
}

}  // namespace atl::virtio
