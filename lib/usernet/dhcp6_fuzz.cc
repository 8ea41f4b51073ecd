// SPDX-License-Identifier: Apache-2.0
// A hostile DHCPv6 client: messages one after the other, each behind its length.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>

#include "lib/usernet/dhcp6.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace atl::usernet;
  static const Options options = [] {
    Options o;
    o.bootfile = "file";
    o.search = {"example.org"};
    return *Completed(o);
  }();
  Dhcp6Server server(options, {2, 0, 0, 0, 0, 1});
  std::span<const uint8_t> rest(data, size);
  while (rest.size() > 1) {
    const size_t n = std::min<size_t>(rest[0], rest.size() - 1);
    const auto reply = server.Answer(rest.subspan(1, n));
    if (reply && reply->size() > 600) __builtin_trap();
    rest = rest.subspan(1 + n);
  }
  return 0;
}
