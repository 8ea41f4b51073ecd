// SPDX-License-Identifier: Apache-2.0
#include "lib/usernet/dhcp6.h"

#include <algorithm>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "lib/base/endian.h"

namespace atl::usernet {
namespace {

enum Type : uint8_t {
  kSolicit = 1,
  kAdvertise = 2,
  kRequest = 3,
  kConfirm = 4,
  kRenew = 5,
  kRebind = 6,
  kReply = 7,
  kRelease = 8,
  kDecline = 9,
  kInformation = 11,
};

enum Option : uint16_t {
  kClientId = 1,
  kServerId = 2,
  kIaNa = 3,
  kIaAddress = 5,
  kStatus = 13,
  kRapidCommit = 14,
  kDns = 23,
  kSearch = 24,
  kBootfileUrl = 59,
};

constexpr uint32_t kLifetime = 86400;
// The first lease is ::15, as IPv4's is .15.
constexpr uint16_t kFirst = 0x15;

using Bytes = std::vector<uint8_t>;

void Put16(Bytes* out, uint16_t value) {
  uint8_t b[2];
  StoreBe(b, value);
  out->insert(out->end(), b, b + 2);
}
void Put32(Bytes* out, uint32_t value) {
  uint8_t b[4];
  StoreBe(b, value);
  out->insert(out->end(), b, b + 4);
}
void PutOption(Bytes* out, uint16_t option, std::span<const uint8_t> value) {
  Put16(out, option);
  Put16(out, static_cast<uint16_t>(value.size()));
  out->insert(out->end(), value.begin(), value.end());
}

struct Request {
  std::span<const uint8_t> client;
  std::span<const uint8_t> server;
  std::optional<uint32_t> ia;  // the identifier of the first IA_NA
  bool rapid = false;
};

// False where an option leaves the message.
bool Parse(std::span<const uint8_t> options, Request* out) {
  while (options.size() >= 4) {
    const uint16_t option = LoadBe<uint16_t>(&options[0]);
    const size_t size = LoadBe<uint16_t>(&options[2]);
    if (size > options.size() - 4) return false;
    const std::span<const uint8_t> value = options.subspan(4, size);
    if (option == kClientId) out->client = value;
    if (option == kServerId) out->server = value;
    if (option == kIaNa && size >= 12 && !out->ia) out->ia = LoadBe<uint32_t>(value.data());
    if (option == kRapidCommit) out->rapid = true;
    options = options.subspan(4 + size);
  }
  return options.empty();
}

}  // namespace

Dhcp6Server::Dhcp6Server(const Options& options, const MacAddress& mac) : options_(options) {
  Put16(&own_duid_, 3);  // of a link-layer address
  Put16(&own_duid_, 1);  // of Ethernet
  own_duid_.insert(own_duid_.end(), mac.begin(), mac.end());
}

IpAddress Dhcp6Server::AddressFor(std::span<const uint8_t> duid) {
  const auto old = std::ranges::find_if(
      leases_, [&](const Lease& l) { return std::ranges::equal(l.duid, duid); });
  if (old != leases_.end()) {
    std::rotate(old, old + 1, leases_.end());
    return leases_.back().address;
  }
  IpAddress address = options_.prefix6;
  if (leases_.size() >= kMaxLeases) {
    address = leases_.front().address;
    leases_.erase(leases_.begin());
  } else {
    StoreBe(&address.bytes[14], static_cast<uint16_t>(kFirst + leases_.size()));
  }
  leases_.push_back({Bytes(duid.begin(), duid.end()), address});
  return address;
}

std::optional<Bytes> Dhcp6Server::Answer(std::span<const uint8_t> message) {
  if (message.size() < 4) return {};
  const uint8_t type = message[0];
  Request request;
  if (!Parse(message.subspan(4), &request)) return {};
  const bool to_us = std::ranges::equal(request.server, own_duid_);
  if (!request.server.empty() && !to_us) return {};
  if (request.client.size() > kMaxDuid) return {};
  // Who it is may be left out only by those that ask for no address.
  if (request.client.empty() && type != kInformation) return {};

  Bytes out = {kReply, message[1], message[2], message[3]};
  PutOption(&out, kServerId, own_duid_);
  if (!request.client.empty()) PutOption(&out, kClientId, request.client);
  bool address = false;
  switch (type) {
    case kSolicit:
      address = true;
      if (request.rapid) {
        PutOption(&out, kRapidCommit, {});
      } else {
        out[0] = kAdvertise;
      }
      break;
    case kRequest:
    case kRenew:
      if (!to_us) return {};
      address = true;
      break;
    case kRebind:
      address = true;
      break;
    case kConfirm: {
      // On this network every address is right that we gave.
      const uint8_t success[2] = {};
      PutOption(&out, kStatus, success);
      return out;
    }
    case kRelease:
    case kDecline: {
      // An address is its client's for good: there are enough.
      const uint8_t success[2] = {};
      PutOption(&out, kStatus, success);
      return out;
    }
    case kInformation:
      break;
    default:
      return {};
  }
  if (address && request.ia) {
    Bytes ia;
    Put32(&ia, *request.ia);
    Put32(&ia, kLifetime / 2);
    Put32(&ia, kLifetime / 4 * 3);
    const IpAddress given = AddressFor(request.client);
    Bytes of(given.bytes.begin(), given.bytes.end());
    Put32(&of, kLifetime);
    Put32(&of, kLifetime);
    PutOption(&ia, kIaAddress, of);
    PutOption(&out, kIaNa, ia);
  }
  if (!options_.restricted) {
    IpAddress dns = options_.prefix6;
    dns.bytes[15] = 3;
    PutOption(&out, kDns, dns.bytes);
  }
  Bytes names;
  for (const std::string& name : options_.search) {
    for (const absl::string_view label : absl::StrSplit(name, '.', absl::SkipEmpty())) {
      if (label.size() > 63) continue;
      names.push_back(static_cast<uint8_t>(label.size()));
      names.insert(names.end(), label.begin(), label.end());
    }
    names.push_back(0);
  }
  if (!names.empty() && names.size() < 512) PutOption(&out, kSearch, names);
  if (!options_.bootfile.empty()) {
    IpAddress server = options_.prefix6;
    server.bytes[15] = 2;
    const std::string url = absl::StrContains(options_.bootfile, "://")
                                ? options_.bootfile
                                : absl::StrCat("tftp://[", server.ToString(), "]/",
                                               absl::StripPrefix(options_.bootfile, "/"));
    PutOption(&out, kBootfileUrl, {reinterpret_cast<const uint8_t*>(url.data()), url.size()});
  }
  return out;
}

}  // namespace atl::usernet
