// SPDX-License-Identifier: Apache-2.0
#include "lib/nic/transmission.h"

#include <algorithm>
#include <utility>

#include "lib/base/endian.h"
#include "lib/nic/ethernet.h"

namespace atl::nic {
namespace {

// Places in headers (RFC 791, 8200, 9293, 768).
constexpr size_t kIpv4Length = 2;
constexpr size_t kIpv4Id = 4;
constexpr size_t kIpv6Length = 4;
constexpr size_t kIpv6Header = 40;
constexpr size_t kTcpSequence = 4;
constexpr size_t kTcpFlags = 13;
constexpr uint8_t kTcpFin = 0x01;
constexpr uint8_t kTcpPush = 0x08;
constexpr uint8_t kTcpCwr = 0x80;
constexpr size_t kUdpLength = 4;

void Put16(std::span<uint8_t> bytes, size_t at, size_t value) {
  if (at + 2 <= bytes.size()) StoreBe<uint16_t>(&bytes[at], static_cast<uint16_t>(value));
}
void Add16(std::span<uint8_t> bytes, size_t at, size_t value) {
  if (at + 2 <= bytes.size()) Put16(bytes, at, LoadBe<uint16_t>(&bytes[at]) + value);
}
// In ones' complement.
void AddToSum(std::span<uint8_t> bytes, size_t at, size_t value) {
  if (at + 2 > bytes.size()) return;
  Put16(bytes, at, OnesAdd(LoadBe<uint16_t>(&bytes[at]), static_cast<uint16_t>(value)));
}

void Insert(std::span<uint8_t> bytes, const Transmission::Checksum& c, bool udp) {
  const size_t end = c.end == 0 ? bytes.size() : std::min<size_t>(c.end, bytes.size());
  if (!c.on || c.start >= end || size_t{c.at} + 2 > bytes.size()) return;
  uint16_t sum = static_cast<uint16_t>(~OnesSum(bytes.subspan(c.start, end - c.start)));
  if (udp && sum == 0) sum = 0xFFFF;  // 0 would say that there is none
  Put16(bytes, c.at, sum);
}

}  // namespace

Transmission::Transmission(std::function<bool(const net::Frame&)> emit,
                           std::function<net::Offloads()> offloads)
    : emit_(std::move(emit)), offloads_(std::move(offloads)) {}

std::span<uint8_t> Transmission::Add(size_t n) {
  if (sending_ || too_long_ || n > kMaxBytes - bytes_.size()) {
    too_long_ = true;
    return {};
  }
  const size_t at = bytes_.size();
  bytes_.resize(at + n);
  return std::span(bytes_).subspan(at);
}

void Transmission::Clear() {
  bytes_.clear();
  too_long_ = sending_ = false;
  stage_ = Stage::kFresh;
  plan_ = {};
  done_ = 0;
}

bool Transmission::Send(const Plan& plan) {
  if (sending_) return false;
  const bool segments = plan.segment != 0 && plan.headers < bytes_.size();
  if (too_long_ || bytes_.size() < kHeaderBytes ||
      (segments && (plan.segment < kMinSegment || plan.headers < kHeaderBytes))) {
    Clear();
    return true;
  }
  plan_ = plan;
  if (!segments) plan_.segment = 0;
  sending_ = true;
  return Continue();
}

bool Transmission::WorkToLeave(net::Work& work) const {
  const Checksum& c = plan_.payload;
  const size_t size = bytes_.size();
  if (!c.on || (c.end != 0 && c.end < size) || c.at < c.start || size_t{c.at} + 2 > size) {
    return false;
  }
  if (plan_.segment != 0) {
    const size_t flags = c.start + kTcpFlags;
    if (plan_.udp || plan_.ip.start >= plan_.headers || flags >= plan_.headers) return false;
    work.ecn = (bytes_[flags] & kTcpCwr) != 0;
    work.segmentation = plan_.ipv6 ? net::Segmentation::kTcp6 : net::Segmentation::kTcp4;
    work.segment_size = plan_.segment;
    work.header_size = plan_.headers;
  }
  work.needs_checksum = true;
  work.checksum_start = c.start;
  work.checksum_offset = static_cast<uint16_t>(c.at - c.start);
  return net::Allows(offloads_(), work);
}

void Transmission::PrepareToLeave() {
  stage_ = Stage::kLeft;
  if (plan_.segment != 0) {
    const size_t left = bytes_.size() - plan_.ip.start;
    if (plan_.ipv6) {
      Put16(bytes_, plan_.ip.start + kIpv6Length, left - std::min(kIpv6Header, left));
    } else {
      Put16(bytes_, plan_.ip.start + kIpv4Length, left);
    }
    AddToSum(bytes_, plan_.payload.at, bytes_.size() - plan_.payload.start);
  }
  Insert(bytes_, plan_.ip, false);
}

bool Transmission::Continue() {
  if (!sending_) return true;
  net::Work work;
  const bool can_leave = WorkToLeave(work);
  if (stage_ == Stage::kFresh && done_ == 0 && can_leave) PrepareToLeave();
  if (stage_ == Stage::kFresh && plan_.segment == 0) {
    Insert(bytes_, plan_.ip, false);
    Insert(bytes_, plan_.payload, plan_.udp);
    stage_ = Stage::kWhole;
  }
  bool gone = true;
  switch (stage_) {
    case Stage::kFresh:
      gone = EmitSegments();
      break;
    case Stage::kWhole:
      gone = Emit(bytes_, {});
      break;
    case Stage::kLeft:  // lost where the other side has changed since
      gone = !can_leave || Emit(bytes_, work);
      break;
  }
  if (gone) Clear();
  return gone;
}

bool Transmission::EmitSegments() {
  const size_t payload = bytes_.size() - plan_.headers;
  while (done_ < payload) {
    const size_t n = std::min<size_t>(plan_.segment, payload - done_);
    MakeSegment(done_, n, done_ + n == payload);
    if (!Emit(segment_, {})) return false;
    done_ += static_cast<uint32_t>(n);
  }
  return true;
}

void Transmission::MakeSegment(size_t from, size_t payload, bool last) {
  const auto begin = bytes_.begin();
  segment_.assign(begin, begin + plan_.headers);
  const auto data = begin + static_cast<std::ptrdiff_t>(plan_.headers + from);
  segment_.insert(segment_.end(), data, data + static_cast<std::ptrdiff_t>(payload));

  const std::span<uint8_t> headers = std::span(segment_).first(plan_.headers);
  const size_t size = segment_.size();
  const size_t ip = plan_.ip.start;
  if (ip < size) {
    if (plan_.ipv6) {
      Put16(headers, ip + kIpv6Length, size - ip - std::min(kIpv6Header, size - ip));
    } else {
      Put16(headers, ip + kIpv4Length, size - ip);
      Add16(headers, ip + kIpv4Id, from / plan_.segment);
    }
  }
  const size_t l4 = plan_.payload.start;
  if (plan_.udp) {
    if (l4 < size) Put16(headers, l4 + kUdpLength, size - l4);
  } else {
    if (l4 + kTcpSequence + 4 <= headers.size()) {
      uint8_t* sequence = &headers[l4 + kTcpSequence];
      StoreBe(sequence, LoadBe<uint32_t>(sequence) + static_cast<uint32_t>(from));
    }
    if (l4 + kTcpFlags < headers.size()) {
      uint8_t& flags = headers[l4 + kTcpFlags];
      if (!last) flags &= static_cast<uint8_t>(~(kTcpFin | kTcpPush));
      if (from != 0) flags &= static_cast<uint8_t>(~kTcpCwr);
    }
  }
  Insert(segment_, plan_.ip, false);
  if (plan_.payload.on) {
    if (l4 < size) AddToSum(segment_, plan_.payload.at, size - l4);
    Insert(segment_, plan_.payload, plan_.udp);
  }
}

bool Transmission::Emit(std::span<const uint8_t> bytes, net::Work work) {
  if (plan_.tagged) {
    constexpr size_t kAddresses = 2 * kAddressBytes;
    tagged_.assign(bytes.begin(), bytes.begin() + kAddresses);
    const uint8_t tag[4] = {kTypeVlan >> 8, kTypeVlan & 0xFF, static_cast<uint8_t>(plan_.tag >> 8),
                            static_cast<uint8_t>(plan_.tag)};
    tagged_.insert(tagged_.end(), std::begin(tag), std::end(tag));
    tagged_.insert(tagged_.end(), bytes.begin() + kAddresses, bytes.end());
    bytes = tagged_;
    if (work.needs_checksum) work.checksum_start = static_cast<uint16_t>(work.checksum_start + 4);
    if (work.header_size != 0) work.header_size = static_cast<uint16_t>(work.header_size + 4);
  }
  if (!emit_({bytes, work})) return false;
  ++count_;
  return true;
}

unsigned Transmission::TakeCount() { return std::exchange(count_, 0); }

void Transmission::VisitState(dev::StateVisitor& v) {
  const auto checksum = [&v](absl::string_view name, Checksum& c) {
    v.Begin(name);
    v.Field("on", c.on);
    v.Field("start", c.start);
    v.Field("at", c.at);
    v.Field("end", c.end);
    v.End();
  };
  v.Begin("transmission");
  v.Blob("bytes", bytes_, kMaxBytes);
  v.Field("too_long", too_long_);
  v.Field("sending", sending_);
  v.Bounded("stage", stage_, static_cast<uint64_t>(Stage::kLeft));
  checksum("ip", plan_.ip);
  checksum("payload", plan_.payload);
  v.Field("segment", plan_.segment);
  v.Field("headers", plan_.headers);
  v.Field("ipv6", plan_.ipv6);
  v.Field("udp", plan_.udp);
  v.Field("tagged", plan_.tagged);
  v.Field("tag", plan_.tag);
  v.Field("done", done_);
  v.End();
  // What is waiting obeys the rules of Send().
  if (v.loading() && sending_) {
    const bool sound = bytes_.size() >= kHeaderBytes &&
                       (plan_.segment == 0 ||
                        (plan_.segment >= kMinSegment && plan_.headers >= kHeaderBytes &&
                         plan_.headers < bytes_.size() && done_ <= bytes_.size() - plan_.headers));
    if (!sound) Clear();
  }
}

}  // namespace atl::nic
