// SPDX-License-Identifier: Apache-2.0
// A card with memory, a clock that is moved by hand and a port that remembers; and
// packets to send through it.
#ifndef LIB_NIC_TESTING_RIG_H_
#define LIB_NIC_TESTING_RIG_H_

#include <algorithm>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/strings/string_view.h"
#include "lib/base/endian.h"
#include "lib/dev/testing/fakes.h"
#include "lib/mem/guest_memory.h"
#include "lib/net/testing/fake_port.h"
#include "lib/nic/ethernet.h"
#include "lib/nic/nic.h"
#include "lib/pci/device.h"
#include "lib/pci/testing/fakes.h"

namespace atl::nic {

using Bytes = std::vector<uint8_t>;

inline constexpr net::MacAddress kMac = {0x52, 0x54, 0x00, 0x12, 0x34, 0x56};
inline constexpr net::MacAddress kOther = {0x52, 0x54, 0x00, 0xAB, 0xCD, 0xEF};

struct Rig {
  static constexpr uint64_t kRam = 2 << 20;

  explicit Rig(absl::string_view model) : memory(*GuestMemory::Create(kRam)), card(NewCard(model)) {
    card->WriteConfig(pci::kCommand, 2,
                      pci::kCommandIo | pci::kCommandMemory | pci::kCommandBusMaster);
  }

  std::unique_ptr<pci::PciDevice> NewCard(absl::string_view model) {
    return FindNicModel(model)->create(
        {wiring.At(3), memory.get(), &clock, &port, kMac, Bytes(2048, 0x55)});
  }

  uint32_t Read(uint64_t offset, unsigned size = 4, unsigned region = 0) {
    return static_cast<uint32_t>(card->Read(region, offset, size));
  }
  void Write(uint64_t offset, uint32_t value, unsigned size = 4, unsigned region = 0) {
    card->Write(region, offset, size, value);
  }
  void Poke(uint64_t at, const Bytes& bytes) { (void)memory->Write(Gpa(at), bytes); }
  Bytes Peek(uint64_t at, size_t size) {
    Bytes out(size);
    (void)memory->Read(Gpa(at), out);
    return out;
  }
  template <typename T>
  void Store(uint64_t at, T v) {
    memory->Store<T>(Gpa(at), v);
  }
  template <typename T>
  T Load(uint64_t at) {
    return memory->Load<T>(Gpa(at)).value_or(T{});
  }
  // The frames sent since the last call.
  std::vector<Bytes> TakeSent() {
    std::vector<Bytes> out;
    for (const net::FakePort::Sent& s : port.sent) out.push_back(s.bytes);
    port.sent.clear();
    return out;
  }

  std::unique_ptr<GuestMemory> memory;
  dev::ManualClock clock;
  net::FakePort port;
  pci::FakeWiring wiring;
  std::unique_ptr<pci::PciDevice> card;
};

// A frame of `size` bytes of a pattern, from `from` to `to`.
inline Bytes Frame(size_t size, const net::MacAddress& to = kMac,
                   const net::MacAddress& from = kOther) {
  Bytes out(size);
  for (size_t i = 0; i < size; ++i) out[i] = static_cast<uint8_t>(i * 7 + size);
  // A short frame ends within its addresses.
  std::copy_n(to.begin(), std::min<size_t>(size, 6), out.begin());
  if (size > 6) std::copy_n(from.begin(), std::min<size_t>(size - 6, 6), out.begin() + 6);
  if (size >= 14) StoreBe<uint16_t>(&out[12], 0x88B5);  // for experiments
  return out;
}

// A TCP or UDP packet over IPv4 with all checksums right.
inline Bytes Ipv4Packet(size_t payload, uint8_t protocol = kProtocolTcp) {
  const size_t l4_header = protocol == kProtocolTcp ? 20 : 8;
  Bytes out = Frame(14 + 20 + l4_header + payload);
  StoreBe<uint16_t>(&out[12], kTypeIpv4);
  uint8_t* ip = &out[14];
  std::fill(ip, ip + 20 + l4_header, uint8_t{0});
  ip[0] = 0x45;
  StoreBe<uint16_t>(ip + 2, static_cast<uint16_t>(20 + l4_header + payload));
  StoreBe<uint16_t>(ip + 4, 0x1234);
  ip[8] = 64;
  ip[9] = protocol;
  const uint8_t addresses[8] = {10, 0, 0, 1, 10, 0, 0, 2};
  std::copy(addresses, addresses + 8, ip + 12);
  StoreBe<uint16_t>(ip + 10, static_cast<uint16_t>(~OnesSum({ip, 20})));
  uint8_t* l4 = ip + 20;
  StoreBe<uint16_t>(l4, 4096);
  StoreBe<uint16_t>(l4 + 2, 80);
  const size_t length = l4_header + payload;
  size_t at = 6;
  if (protocol == kProtocolTcp) {
    StoreBe<uint32_t>(l4 + 4, 0xFFFFFF00);  // the sequence wraps
    l4[12] = 0x50;
    l4[13] = 0x19;  // ACK, PSH, FIN
    at = 16;
  } else {
    StoreBe<uint16_t>(l4 + 4, static_cast<uint16_t>(length));
  }
  uint16_t sum = OnesAdd(OnesSum({ip + 12, 8}), protocol);
  sum = OnesAdd(sum, static_cast<uint16_t>(length));
  StoreBe<uint16_t>(l4 + at, static_cast<uint16_t>(~OnesAdd(sum, OnesSum({l4, length}))));
  return out;
}

// What the driver leaves in the checksum field: the pseudo header's sum, with the
// length of what follows it, or, for segmentation, without.
inline void LeaveChecksum(Bytes& packet, bool with_length) {
  uint8_t* ip = &packet[14];
  const size_t length = packet.size() - 34;
  uint16_t sum = OnesAdd(OnesSum({ip + 12, 8}), ip[9]);
  if (with_length) sum = OnesAdd(sum, static_cast<uint16_t>(length));
  StoreBe<uint16_t>(ip + 20 + (ip[9] == kProtocolTcp ? 16 : 6), sum);
}

inline bool ChecksumsGood(const Bytes& packet) {
  const Ipv4Checks found = CheckIpv4(packet, false);
  return found.ip && found.ip_good && found.protocol != 0 && found.payload_good;
}

}  // namespace atl::nic

#endif  // LIB_NIC_TESTING_RIG_H_
