// SPDX-License-Identifier: Apache-2.0
// A hostile DHCP client: messages one after the other, each behind its length.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>

#include "lib/usernet/dhcp.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace atl::usernet;
  static const Options options = [] {
    Options o;
    o.tftp = "/";
    o.bootfile = "file";
    o.search = {"example.org"};
    return *Completed(o);
  }();
  DhcpServer server(options);
  std::span<const uint8_t> rest(data, size);
  while (rest.size() > 2) {
    const size_t n = std::min<size_t>(rest[0] * size_t{2} + rest[1], rest.size() - 2);
    const auto reply = server.Answer(rest.subspan(2, n));
    if (reply && reply->message.size() > 1400) __builtin_trap();
    if (reply && reply->lease &&
        (reply->lease->address >> 8 != options.network >> 8 ||
         reply->lease->address == options.gateway)) {
      __builtin_trap();
    }
    rest = rest.subspan(2 + n);
  }
  return 0;
}
