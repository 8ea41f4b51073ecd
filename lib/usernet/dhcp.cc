// SPDX-License-Identifier: Apache-2.0
#include "lib/usernet/dhcp.h"

#include <algorithm>
#include <cstring>
#include <string>

#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "lib/base/bytes_reader.h"
#include "lib/base/endian.h"

namespace atl::usernet {
namespace {

struct Message {
  uint8_t operation;  // 1 request, 2 reply
  uint8_t hardware;   // 1 Ethernet
  uint8_t hardware_size;
  uint8_t hops;
  be32 transaction;
  be16 seconds;
  be16 flags;
  be32 client;  // what the client has
  be32 yours;   // what the client gets
  be32 server;  // whom to load from
  be32 relay;
  uint8_t mac[16];
  char server_name[64];
  char file[128];
  be32 cookie;
};
static_assert(sizeof(Message) == 240);

constexpr uint32_t kCookie = 0x63825363;
constexpr uint16_t kBroadcast = 0x8000;
constexpr uint32_t kLeaseSeconds = 86400;
constexpr size_t kShortest = 300;  // BOOTP's: some clients drop less

enum Option : uint8_t {
  kPad = 0,
  kMask = 1,
  kRouter = 3,
  kDns = 6,
  kHostName = 12,
  kDomain = 15,
  kMtu = 26,
  kWanted = 50,
  kLeaseTime = 51,
  kType = 53,
  kServer = 54,
  kTftpServer = 66,
  kBootfile = 67,
  kSearch = 119,
  kEnd = 255,
};

enum Type : uint8_t {
  kDiscover = 1,
  kOffer = 2,
  kRequest = 3,
  kDecline = 4,
  kAck = 5,
  kNak = 6,
  kRelease = 7,
  kInform = 8,
};

struct Request {
  std::optional<uint8_t> type;  // none: BOOTP
  std::optional<uint32_t> wanted;
  std::optional<uint32_t> server;
};

Request ParseOptions(std::span<const uint8_t> options) {
  Request out;
  while (!options.empty() && options[0] != kEnd) {
    if (options[0] == kPad) {
      options = options.subspan(1);
      continue;
    }
    if (options.size() < 2 || size_t{options[1]} + 2 > options.size()) break;
    const std::span<const uint8_t> value = options.subspan(2, options[1]);
    if (options[0] == kType && value.size() == 1) out.type = value[0];
    if (options[0] == kWanted && value.size() == 4) out.wanted = LoadBe<uint32_t>(value.data());
    if (options[0] == kServer && value.size() == 4) out.server = LoadBe<uint32_t>(value.data());
    options = options.subspan(value.size() + 2);
  }
  return out;
}

class OptionWriter {
 public:
  explicit OptionWriter(std::vector<uint8_t>* out) : out_(out) {}
  void Put(Option option, std::span<const uint8_t> value) {
    if (value.empty() || value.size() > 255) return;
    out_->push_back(option);
    out_->push_back(static_cast<uint8_t>(value.size()));
    out_->insert(out_->end(), value.begin(), value.end());
  }
  void Text(Option option, absl::string_view value) {
    Put(option, {reinterpret_cast<const uint8_t*>(value.data()), value.size()});
  }
  template <typename T>
  void Number(Option option, T value) {
    uint8_t bytes[sizeof(T)];
    StoreBe(bytes, value);
    Put(option, bytes);
  }

 private:
  std::vector<uint8_t>* const out_;
};

// Domain names as DNS writes them (RFC 3397), uncompressed; what does not fit is left out.
std::vector<uint8_t> EncodeNames(const std::vector<std::string>& names) {
  std::vector<uint8_t> out;
  for (const std::string& name : names) {
    std::vector<uint8_t> one;
    for (const absl::string_view label : absl::StrSplit(name, '.', absl::SkipEmpty())) {
      if (label.size() > 63) break;
      one.push_back(static_cast<uint8_t>(label.size()));
      one.insert(one.end(), label.begin(), label.end());
    }
    one.push_back(0);
    if (out.size() + one.size() <= 255) out.insert(out.end(), one.begin(), one.end());
  }
  return out;
}

}  // namespace

bool DhcpServer::Usable(uint32_t address) const {
  const uint32_t mask = ~uint32_t{0} << (32 - options_.prefix);
  return (address & mask) == options_.network && (address & ~mask) != 0 &&
         (address | mask) != ~uint32_t{0} && address != options_.gateway &&
         address != options_.nameserver;
}

bool DhcpServer::Free(uint32_t address) const {
  return std::ranges::none_of(leases_, [&](const Lease& l) { return l.address == address; });
}

void DhcpServer::Forget(const MacAddress& mac) {
  std::erase_if(leases_, [&](const Lease& l) { return l.mac == mac; });
}

std::optional<uint32_t> DhcpServer::AddressFor(const MacAddress& mac,
                                               std::optional<uint32_t> wanted) {
  const auto old = std::ranges::find(leases_, mac, &Lease::mac);
  if (old != leases_.end()) {
    const Lease lease = *old;
    leases_.erase(old);
    leases_.push_back(lease);
    return lease.address;
  }
  uint32_t address = 0;
  if (wanted && Usable(*wanted) && *wanted >= options_.first_lease && Free(*wanted)) {
    address = *wanted;
  } else {
    uint32_t next = options_.first_lease;
    while (Usable(next) || next == options_.gateway || next == options_.nameserver) {
      if (Usable(next) && Free(next)) {
        address = next;
        break;
      }
      ++next;
    }
  }
  if (address == 0 || leases_.size() >= kMaxLeases) {
    // All are given: to clients that have not been heard of for longest, which may be
    // inventions of one guest.
    if (leases_.empty()) return std::nullopt;
    if (address == 0) address = leases_.front().address;
    leases_.erase(leases_.begin());
  }
  leases_.push_back({mac, address});
  return address;
}

std::optional<DhcpServer::Reply> DhcpServer::Answer(std::span<const uint8_t> bytes) {
  const std::optional<Message> in = ReadAt<Message>(bytes, 0);
  if (!in || in->operation != 1 || in->hardware != 1 || in->hardware_size != 6) return {};
  // A relay's requests come from elsewhere; there is no elsewhere here.
  if (in->relay != 0) return {};
  MacAddress mac;
  std::copy_n(in->mac, mac.size(), mac.begin());
  Request request;
  if (in->cookie == kCookie) request = ParseOptions(bytes.subspan(sizeof *in));
  if (request.server && *request.server != options_.gateway) return {};

  uint8_t type = 0;
  std::optional<uint32_t> address;
  switch (request.type.value_or(0)) {
    case 0:  // BOOTP
      address = AddressFor(mac, std::nullopt);
      break;
    case kDiscover:
      type = kOffer;
      address = AddressFor(mac, request.wanted);
      break;
    case kRequest: {
      const uint32_t wanted = request.wanted.value_or(in->client);
      address = AddressFor(mac, wanted);
      type = address && *address == wanted ? kAck : kNak;
      break;
    }
    case kInform:
      type = kAck;
      address = 0;
      break;
    case kDecline:
    case kRelease:
      Forget(mac);
      return {};
    default:
      return {};
  }
  if (!address) return {};

  Message out{};
  out.operation = 2;
  out.hardware = 1;
  out.hardware_size = 6;
  out.transaction = in->transaction;
  out.flags = in->flags;
  memcpy(out.mac, in->mac, sizeof out.mac);
  out.cookie = kCookie;
  Reply reply;
  // Who has no address yet cannot be reached by the one it is getting.
  const bool to_all = type == kNak || in->client == 0 || (in->flags & kBroadcast) != 0;
  reply.to = to_all ? 0xFFFFFFFF : uint32_t{in->client};
  if (type != kNak) {
    out.client = type == kAck ? uint32_t{in->client} : 0;
    out.yours = *address;
    if (*address != 0) reply.lease = Lease{mac, *address};
    if (!options_.tftp.empty() || !options_.bootfile.empty()) {
      out.server = options_.gateway;
      options_.bootfile.copy(out.file, sizeof out.file - 1);
      options_.next_server.copy(out.server_name, sizeof out.server_name - 1);
    }
  }
  reply.message.resize(sizeof out);
  memcpy(reply.message.data(), &out, sizeof out);
  OptionWriter put(&reply.message);
  if (type != 0) {
    put.Number<uint8_t>(kType, type);
    put.Number<uint32_t>(kServer, options_.gateway);
  }
  if (type != kNak) {
    put.Number<uint32_t>(kMask, ~uint32_t{0} << (32 - options_.prefix));
    // A network that leads nowhere should not be taken for the way out.
    if (!options_.restricted) {
      put.Number<uint32_t>(kRouter, options_.gateway);
      put.Number<uint32_t>(kDns, options_.nameserver);
    }
    if (type != 0 && *address != 0) put.Number<uint32_t>(kLeaseTime, kLeaseSeconds);
    put.Text(kHostName, options_.hostname);
    put.Text(kDomain, options_.domain);
    put.Put(kSearch, EncodeNames(options_.search));
    if (options_.mtu != 1500) {
      put.Number<uint16_t>(kMtu, static_cast<uint16_t>(options_.mtu));
    }
    if (!options_.bootfile.empty()) {
      put.Text(kBootfile, options_.bootfile);
      put.Text(kTftpServer, options_.next_server.empty()
                                ? IpAddress::V4(options_.gateway).ToString()
                                : options_.next_server);
    }
  }
  reply.message.push_back(kEnd);
  if (reply.message.size() < kShortest) reply.message.resize(kShortest);
  return reply;
}

}  // namespace atl::usernet
