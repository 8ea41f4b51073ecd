// SPDX-License-Identifier: Apache-2.0
// bridge TAP SOCKET: carries frames between a new tap of this network namespace and a
// server of QEMU's stream protocol, as fast as it can: what a virtual machine's network
// card would do, for measurements without one.
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <vector>

namespace {

constexpr size_t kLargest = 65550;
constexpr size_t kBuffer = 1 << 20;

int Fail(const char* what) {
  perror(what);
  return 1;
}

bool WriteAll(int fd, const uint8_t* from, size_t size) {
  while (size != 0) {
    const ssize_t n = write(fd, from, size);
    if (n < 0 && errno == EAGAIN) {
      pollfd p{fd, POLLOUT, 0};
      poll(&p, 1, -1);
    } else if (n <= 0) {
      return false;
    } else {
      from += n;
      size -= static_cast<size_t>(n);
    }
  }
  return true;
}

uint32_t Length(const uint8_t* p) {
  return uint32_t{p[0]} << 24 | uint32_t{p[1]} << 16 | uint32_t{p[2]} << 8 | p[3];
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    fprintf(stderr, "usage: bridge TAP SOCKET\n");
    return 2;
  }
  const int tap = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
  ifreq request{};
  request.ifr_flags = IFF_TAP | IFF_NO_PI;
  strncpy(request.ifr_name, argv[1], IFNAMSIZ - 1);
  if (tap < 0 || ioctl(tap, TUNSETIFF, &request) != 0) return Fail(argv[1]);
  const int server = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_un to{};
  to.sun_family = AF_UNIX;
  strncpy(to.sun_path, argv[2], sizeof to.sun_path - 1);
  if (connect(server, reinterpret_cast<sockaddr*>(&to), sizeof to) != 0) return Fail(argv[2]);
  fcntl(server, F_SETFL, O_NONBLOCK);
  const int room = 4 << 20;
  setsockopt(server, SOL_SOCKET, SO_SNDBUF, &room, sizeof room);
  puts("ready");
  fflush(stdout);

  std::vector<uint8_t> out(kBuffer), in(kBuffer);
  size_t in_used = 0;
  for (;;) {
    pollfd fds[2] = {{tap, POLLIN, 0}, {server, POLLIN, 0}};
    if (poll(fds, 2, -1) < 0) return Fail("poll");
    if (fds[0].revents != 0) {
      size_t used = 0;
      while (used + 4 + kLargest <= out.size()) {
        const ssize_t n = read(tap, &out[used + 4], kLargest);
        if (n <= 0) break;
        for (int i = 0; i < 4; ++i) out[used + i] = static_cast<uint8_t>(n >> (24 - 8 * i));
        used += 4 + static_cast<size_t>(n);
      }
      if (!WriteAll(server, out.data(), used)) return 0;
    }
    if (fds[1].revents != 0) {
      const ssize_t n = read(server, &in[in_used], in.size() - in_used);
      if (n == 0 || (n < 0 && errno != EAGAIN)) return 0;
      if (n > 0) in_used += static_cast<size_t>(n);
      size_t at = 0;
      while (in_used - at >= 4) {
        const size_t size = Length(&in[at]);
        if (in_used - at - 4 < size) break;
        (void)!write(tap, &in[at + 4], size);
        at += 4 + size;
      }
      memmove(in.data(), &in[at], in_used - at);
      in_used -= at;
    }
  }
}
