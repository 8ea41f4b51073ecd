// SPDX-License-Identifier: Apache-2.0
// A viewer's TLS, from its first hello to what it says once it is in, with changes on
// the way: bytes that are others, missing, there twice, or from nowhere. What comes
// out is what the viewer said, up to the first change that counts, or an error.
//
// The first byte chooses whether there is a certificate and how the bytes come in
// pieces; then edits of six bytes: of which flight, what kind, where (two bytes), a
// value, how many.
#include <gnutls/gnutls.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>

#include "lib/rfb/testing/tls_peer.h"
#include "lib/rfb/tls.h"

namespace atl::rfb {
namespace {

constexpr size_t kEdit = 6;
constexpr unsigned kMostFlights = 12;
constexpr char kSaid[] = "what a viewer says once it is in, longer than a block of the cipher";

void Change(std::span<const uint8_t> edit, std::string* flight) {
  if (flight->empty()) return;
  const size_t at = (size_t{edit[2]} << 8 | edit[3]) % flight->size();
  const size_t count = std::min<size_t>(edit[5], flight->size() - at);
  switch (edit[1] % 5) {
    case 0:
      (*flight)[at] = static_cast<char>((*flight)[at] ^ edit[4]);
      break;
    case 1:
      flight->resize(at);
      break;
    case 2:
      flight->insert(at, edit[5], static_cast<char>(edit[4]));
      break;
    case 3:
      flight->insert(at, flight->substr(at, count));
      break;
    default:
      flight->erase(at, count);
      break;
  }
}

struct World {
  World() {
    if (auto tls = LoadTls(testing::SelfSigned()); tls.ok()) credentials = *tls;
  }
  std::shared_ptr<TlsCredentials> credentials;
};

}  // namespace
}  // namespace atl::rfb

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace atl::rfb;  // NOLINT: a fuzz target is this function alone
  static const auto* const world = new World;
  if (size < 1) return 0;
  if (world->credentials == nullptr) __builtin_trap();
  const bool anonymous = (data[0] & 1) != 0;
  const size_t piece = data[0] >> 1 == 0 ? ~size_t{0} : data[0] >> 1;
  const std::span<const uint8_t> edits(data + 1, (size - 1) / kEdit * kEdit);

  Output wire, plain;
  auto link = TlsLink::Create(world->credentials, !anonymous, &wire);
  if (!link.ok()) __builtin_trap();
  testing::TlsPeer peer(anonymous);
  unsigned number = 0;
  bool well = true;
  // What the viewer says, edited; then what it is answered.
  const auto exchange = [&] {
    std::string flight = std::exchange(peer.out, "");
    for (size_t i = 0; i < edits.size(); i += kEdit) {
      if (edits[i] % kMostFlights == number) Change(edits.subspan(i, kEdit), &flight);
    }
    ++number;
    std::span<const uint8_t> rest(reinterpret_cast<const uint8_t*>(flight.data()), flight.size());
    while (well && !rest.empty()) {
      const auto now = rest.first(std::min(rest.size(), piece));
      well = (*link)->Receive(now, &plain).ok();
      rest = rest.subspan(now.size());
    }
    peer.in.append(reinterpret_cast<const char*>(wire.data()), wire.size());
    wire.Clear();
  };
  int code = GNUTLS_E_AGAIN;
  while (well && code == GNUTLS_E_AGAIN && number < kMostFlights) {
    code = peer.Handshake();
    exchange();
  }
  if (well && code == GNUTLS_E_SUCCESS) {
    for (int i = 0; well && i < 2; ++i) {
      peer.Write(absl::string_view(kSaid, sizeof kSaid));
      exchange();
    }
    if (edits.empty() && (!(*link)->ready() || plain.size() != 2 * sizeof kSaid)) __builtin_trap();
  }
  if (edits.empty() && code != GNUTLS_E_SUCCESS) __builtin_trap();
  if (plain.size() > 2 * sizeof kSaid) __builtin_trap();
  for (size_t i = 0; i < plain.size(); ++i) {
    if (plain.data()[i] != static_cast<uint8_t>(kSaid[i % sizeof kSaid])) __builtin_trap();
  }
  if (well && (*link)->ready() && !(*link)->Send(plain.span()).ok()) __builtin_trap();
  (*link)->Close();
  return 0;
}
