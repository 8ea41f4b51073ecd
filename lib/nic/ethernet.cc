// SPDX-License-Identifier: Apache-2.0
#include "lib/nic/ethernet.h"

#include <array>

#include "lib/base/endian.h"

namespace atl::nic {
namespace {

constexpr uint32_t kPolynomial = 0xEDB88320;  // bit-reversed

// Table n has the CRC of a byte with n zero bytes behind it.
constexpr unsigned kSlices = 8;
constexpr auto kTables = [] {
  std::array<std::array<uint32_t, 256>, kSlices> t{};
  for (uint32_t i = 0; i < 256; ++i) {
    uint32_t crc = i;
    for (int bit = 0; bit < 8; ++bit) crc = crc >> 1 ^ ((crc & 1) != 0 ? kPolynomial : 0);
    t[0][i] = crc;
  }
  for (unsigned n = 1; n < kSlices; ++n) {
    for (unsigned i = 0; i < 256; ++i) t[n][i] = t[n - 1][i] >> 8 ^ t[0][t[n - 1][i] & 0xFF];
  }
  return t;
}();

uint32_t Crc(std::span<const uint8_t> bytes) {
  uint32_t crc = 0xFFFFFFFF;
  while (bytes.size() >= kSlices) {
    const uint32_t low = LoadLe<uint32_t>(bytes.data()) ^ crc;
    crc = kTables[7][low & 0xFF] ^ kTables[6][low >> 8 & 0xFF] ^ kTables[5][low >> 16 & 0xFF] ^
          kTables[4][low >> 24] ^ kTables[3][bytes[4]] ^ kTables[2][bytes[5]] ^
          kTables[1][bytes[6]] ^ kTables[0][bytes[7]];
    bytes = bytes.subspan(kSlices);
  }
  for (const uint8_t b : bytes) crc = crc >> 8 ^ kTables[0][(crc ^ b) & 0xFF];
  return crc;
}

}  // namespace

uint32_t FrameCheck(std::span<const uint8_t> frame) { return ~Crc(frame); }

unsigned MulticastHash(const uint8_t* address) {
  const uint32_t crc = Crc({address, kAddressBytes});
  unsigned out = 0;
  for (unsigned i = 0; i < 6; ++i) out = out << 1 | (crc >> i & 1);
  return out;
}

bool IsBroadcast(const uint8_t* address) {
  for (size_t i = 0; i < kAddressBytes; ++i) {
    if (address[i] != 0xFF) return false;
  }
  return true;
}

uint16_t OnesSum(std::span<const uint8_t> bytes) {
  uint64_t sum = 0;
  while (bytes.size() >= 4) {
    sum += LoadLe<uint32_t>(bytes.data());
    bytes = bytes.subspan(4);
  }
  if (bytes.size() >= 2) {
    sum += LoadLe<uint16_t>(bytes.data());
    bytes = bytes.subspan(2);
  }
  if (!bytes.empty()) sum += bytes[0];
  while (sum >> 16 != 0) sum = (sum & 0xFFFF) + (sum >> 16);
  // A sum of swapped words is the swapped sum (RFC 1071, 2).
  return ByteSwap(static_cast<uint16_t>(sum));
}

// RFC 791, 793, 768.
Ipv4Checks CheckIpv4(std::span<const uint8_t> frame, bool checked) {
  constexpr size_t kIpHeader = 20;
  constexpr size_t kTcpHeader = 20;
  constexpr size_t kUdpHeader = 8;
  constexpr size_t kTagBytes = 4;
  Ipv4Checks out;
  size_t at = kHeaderBytes;
  if (frame.size() >= at + kTagBytes && LoadBe<uint16_t>(&frame[at - 2]) == kTypeVlan) {
    at += kTagBytes;
  }
  if (frame.size() < at + kIpHeader || LoadBe<uint16_t>(&frame[at - 2]) != kTypeIpv4) return out;
  const std::span<const uint8_t> packet = frame.subspan(at);
  const size_t header = 4u * (packet[0] & 0xF);
  if (packet[0] >> 4 != 4 || header < kIpHeader || header > packet.size()) return out;
  out.ip = true;
  out.ip_good = OnesSum(packet.first(header)) == 0xFFFF;

  const size_t total = LoadBe<uint16_t>(&packet[2]);
  const bool fragment = (LoadBe<uint16_t>(&packet[6]) & 0x3FFF) != 0;
  if (fragment || total < header || total > packet.size()) return out;
  const std::span<const uint8_t> payload = packet.subspan(header, total - header);
  const uint8_t protocol = packet[9];
  if (protocol == kProtocolTcp ? payload.size() < kTcpHeader
                               : protocol != kProtocolUdp || payload.size() < kUdpHeader ||
                                     LoadBe<uint16_t>(&payload[6]) == 0) {
    return out;  // none of both, or UDP without one
  }
  out.protocol = protocol;
  out.payload_good = checked;
  if (checked) return out;
  uint16_t sum = OnesSum(payload);
  sum = OnesAdd(sum, OnesSum(packet.subspan(12, 8)));  // both addresses
  sum = OnesAdd(sum, protocol);
  sum = OnesAdd(sum, static_cast<uint16_t>(payload.size()));
  out.payload_good = sum == 0xFFFF;
  return out;
}

}  // namespace atl::nic
