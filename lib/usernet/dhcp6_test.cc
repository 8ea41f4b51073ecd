// SPDX-License-Identifier: Apache-2.0
#include "lib/usernet/dhcp6.h"

#include <map>
#include <string>

#include "gtest/gtest.h"
#include "lib/base/endian.h"

namespace atl::usernet {
namespace {

using Bytes = std::vector<uint8_t>;

constexpr MacAddress kMac = {0x52, 0x55, 0x0A, 0, 2, 2};
const Bytes kServerDuid = {0, 3, 0, 1, 0x52, 0x55, 0x0A, 0, 2, 2};

void Put(Bytes* out, uint16_t option, const Bytes& value) {
  uint8_t head[4];
  StoreBe(head, option);
  StoreBe(head + 2, static_cast<uint16_t>(value.size()));
  out->insert(out->end(), head, head + 4);
  out->insert(out->end(), value.begin(), value.end());
}

Bytes Message(uint8_t type, uint8_t client, bool ia, const Bytes& server = {}) {
  Bytes out = {type, 1, 2, 3};
  if (client != 0) Put(&out, 1, {0, 3, 0, 1, 0, 0, 0, 0, 0, client});
  if (!server.empty()) Put(&out, 2, server);
  if (ia) Put(&out, 3, {0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0});
  return out;
}

std::map<int, Bytes> OptionsOf(std::span<const uint8_t> m) {
  std::map<int, Bytes> out;
  while (m.size() >= 4) {
    const size_t size = LoadBe<uint16_t>(&m[2]);
    out[LoadBe<uint16_t>(&m[0])] = Bytes(m.begin() + 4, m.begin() + 4 + static_cast<long>(size));
    m = m.subspan(4 + size);
  }
  return out;
}

std::string AddressOf(const std::optional<Bytes>& reply) {
  if (!reply) return "no reply";
  const Bytes ia = OptionsOf(std::span(*reply).subspan(4))[3];
  if (ia.size() < 12 + 4 + 16) return "none";
  IpAddress a;
  std::copy_n(ia.begin() + 16, 16, a.bytes.begin());
  return a.ToString();
}

TEST(Dhcp6, GivesEachClientItsAddress) {
  const Options options = *Completed({});
  Dhcp6Server server(options, kMac);
  const auto advertise = server.Answer(Message(1, 1, true));
  ASSERT_TRUE(advertise);
  EXPECT_EQ((*advertise)[0], 2);
  EXPECT_EQ((*advertise)[3], 3);
  EXPECT_EQ(OptionsOf(std::span(*advertise).subspan(4))[2], kServerDuid);
  EXPECT_EQ(AddressOf(advertise), "fec0::15");
  EXPECT_EQ(AddressOf(server.Answer(Message(1, 2, true))), "fec0::16");
  EXPECT_EQ(AddressOf(server.Answer(Message(3, 1, true, kServerDuid))), "fec0::15");
  EXPECT_EQ(AddressOf(server.Answer(Message(6, 2, true))), "fec0::16");
}

TEST(Dhcp6, TellsNameServerAndBootFile) {
  Options raw;
  raw.bootfile = "grub.efi";
  raw.search = {"example.org"};
  const Options options = *Completed(raw);
  Dhcp6Server server(options, kMac);
  const auto reply = server.Answer(Message(11, 0, false));
  ASSERT_TRUE(reply);
  EXPECT_EQ((*reply)[0], 7);
  auto o = OptionsOf(std::span(*reply).subspan(4));
  EXPECT_EQ(o[23].size(), 16u);
  EXPECT_EQ(std::string(o[24].begin(), o[24].end()), std::string("\7example\3org\0", 13));
  EXPECT_EQ(std::string(o[59].begin(), o[59].end()), "tftp://[fec0::2]/grub.efi");
}

TEST(Dhcp6, PassesOverWhatIsNotForIt) {
  const Options options = *Completed({});
  Dhcp6Server server(options, kMac);
  EXPECT_FALSE(server.Answer({}));
  EXPECT_FALSE(server.Answer(Message(1, 0, true)));                   // nobody
  EXPECT_FALSE(server.Answer(Message(3, 1, true)));                   // no server
  EXPECT_FALSE(server.Answer(Message(3, 1, true, {0, 3, 0, 1, 9})));  // another
  EXPECT_FALSE(server.Answer(Message(77, 1, true)));
  Bytes cut = Message(1, 1, true);
  cut.pop_back();
  EXPECT_FALSE(server.Answer(cut));
}

TEST(Dhcp6, LeasesHaveABound) {
  const Options options = *Completed({});
  Dhcp6Server server(options, kMac);
  for (uint32_t i = 0; i < 2000; ++i) {
    Bytes duid(8);
    StoreBe(&duid[0], i);
    Bytes m = {1, 0, 0, 0};
    Put(&m, 1, duid);
    Put(&m, 3, Bytes(12));
    ASSERT_NE(AddressOf(server.Answer(m)), "none");
  }
  EXPECT_LE(server.leases().size(), Dhcp6Server::kMaxLeases);
}

}  // namespace
}  // namespace atl::usernet
