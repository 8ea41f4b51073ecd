// SPDX-License-Identifier: Apache-2.0
// A hostile TFTP client at a folder with one file.
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <span>
#include <string>

#include "lib/usernet/tftp.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace atl::usernet;
  static const std::string folder = [] {
    const char* const tmp = getenv("TEST_TMPDIR");
    std::string path = std::string(tmp == nullptr ? "/tmp" : tmp) + "/tftp_fuzz.XXXXXX";
    if (mkdtemp(path.data()) == nullptr) abort();
    std::ofstream(path + "/f") << std::string(5000, 'x');
    return path;
  }();
  size_t sent = 0;
  auto server = TftpServer::Create(folder, 1500, [&](const Endpoint&, const Endpoint&, auto bytes) {
    sent += bytes.size();
    if (bytes.size() > 1472) __builtin_trap();
  });
  if (!server.ok()) __builtin_trap();
  std::span<const uint8_t> rest(data, size);
  uint64_t now = 1;
  while (rest.size() > 2) {
    const size_t n = std::min<size_t>(rest[0], rest.size() - 2);
    const Endpoint guest{IpAddress::V4(15), static_cast<uint16_t>(rest[1] & 3)};
    sent = 0;
    server->Receive(guest, {IpAddress::V4(2), 69}, rest.subspan(2, n), now);
    if (rest[1] & 0x80) {
      now += uint64_t{1} << 32;
      server->Timeout(now);
    }
    // One packet in is at most a window out, for each transfer that a timeout repeats.
    if (sent > 5 * TftpServer::kMaxWindow * size_t{1472}) __builtin_trap();
    rest = rest.subspan(2 + n);
  }
  return 0;
}
