// SPDX-License-Identifier: Apache-2.0
#include "lib/host/socket.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <iterator>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "lib/base/status_macros.h"

namespace atl::host {
namespace {

constexpr int kBacklog = 16;
// Last letters of the names that stand beside a listener's until it listens.
constexpr char kDraftEnds[] = {'~', '%', '+', '='};

absl::StatusOr<sockaddr_un> UnixAddress(const std::string& path) {
  sockaddr_un out{};
  out.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof out.sun_path) {
    return absl::InvalidArgumentError(absl::StrCat(
        "'", path, "' is not a path of 1 to ", sizeof out.sun_path - 1, " bytes, as sockets need"));
  }
  memcpy(out.sun_path, path.data(), path.size());
  return out;
}

absl::StatusOr<UniqueFd> NewUnix(int type) {
  UniqueFd fd(socket(AF_UNIX, type | SOCK_CLOEXEC, 0));
  if (!fd.valid()) return ErrnoError(errno, "unix socket");
  return fd;
}

// Binds to a name beside `path`, which stays free until somebody listens: who finds
// a socket's name can connect to it. The name is as long, so that it fits.
absl::StatusOr<std::string> BindDraft(int fd, const std::string& path) {
  std::string draft = path;
  for (const char last : kDraftEnds) {
    if (draft.back() == '/') break;  // bind says what is wrong with it
    draft.back() = last;
    if (draft == path) continue;
    ASSIGN_OR_RETURN(const sockaddr_un address, UnixAddress(draft));
    if (bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0) return draft;
    if (errno != EADDRINUSE) return ErrnoError(errno, path);
  }
  return absl::AlreadyExistsError(absl::StrCat(path, ": no name beside it is free"));
}

// An address with its length; the two families that there are.
struct InetAddress {
  sockaddr_storage storage{};
  socklen_t size = 0;
  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage); }
};

absl::StatusOr<InetAddress> Loopback(const std::string& host, uint16_t port) {
  InetAddress out;
  sockaddr_in v4{};
  sockaddr_in6 v6{};
  const std::string name = host == "localhost" ? "127.0.0.1" : host;
  if (inet_pton(AF_INET, name.c_str(), &v4.sin_addr) == 1) {
    if (ntohl(v4.sin_addr.s_addr) >> 24 == 127) {
      v4.sin_family = AF_INET;
      v4.sin_port = htons(port);
      memcpy(&out.storage, &v4, sizeof v4);
      out.size = sizeof v4;
      return out;
    }
  } else if (inet_pton(AF_INET6, name.c_str(), &v6.sin6_addr) == 1) {
    if (IN6_IS_ADDR_LOOPBACK(&v6.sin6_addr)) {
      v6.sin6_family = AF_INET6;
      v6.sin6_port = htons(port);
      memcpy(&out.storage, &v6, sizeof v6);
      out.size = sizeof v6;
      return out;
    }
  }
  return absl::InvalidArgumentError(absl::StrCat(
      "'", host, "' is not an address of this host alone: localhost, 127.0.0.1 and ::1 are"));
}

absl::StatusOr<UniqueFd> NewInet(const InetAddress& address) {
  UniqueFd fd(socket(address.storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd.valid()) return ErrnoError(errno, "TCP socket");
  return fd;
}

}  // namespace

absl::StatusOr<UnixListener> UnixListener::Create(const std::string& path, int type) {
  RETURN_IF_ERROR(UnixAddress(path).status());
  ASSIGN_OR_RETURN(UniqueFd fd, NewUnix(type));
  // The name gets the mode of the socket that is bound to it.
  if (fchmod(fd.get(), 0600) != 0) return ErrnoError(errno, path);
  ASSIGN_OR_RETURN(const std::string draft, BindDraft(fd.get(), path));
  const auto fail = [&](absl::Status status) {
    unlink(draft.c_str());
    return status;
  };
  if (listen(fd.get(), kBacklog) != 0) return fail(ErrnoError(errno, path));
  if (link(draft.c_str(), path.c_str()) != 0) {
    if (errno != EEXIST) return fail(ErrnoError(errno, path));
    struct stat st;
    if (lstat(path.c_str(), &st) != 0) return fail(ErrnoError(errno, path));
    if (!S_ISSOCK(st.st_mode)) {
      return fail(absl::AlreadyExistsError(absl::StrCat(path, ": is there and is no socket")));
    }
    // A listener of another type refuses too, but otherwise.
    if (!absl::IsUnavailable(ConnectUnix(path, type).status())) {
      return fail(absl::AlreadyExistsError(absl::StrCat(path, ": somebody listens there")));
    }
    if (unlink(path.c_str()) != 0 || link(draft.c_str(), path.c_str()) != 0) {
      return fail(ErrnoError(errno, path));
    }
  }
  unlink(draft.c_str());
  UnixListener out(std::move(fd), path);
  struct stat st;
  if (lstat(path.c_str(), &st) == 0) {
    out.device_ = st.st_dev;
    out.inode_ = st.st_ino;
  }
  return out;
}

bool UnixListener::RemoveLeft(const std::string& path, int type) {
  if (path.empty() || path.back() == '/') return false;
  std::string ends(std::begin(kDraftEnds), std::end(kDraftEnds));
  ends.push_back(path.back());
  bool removed = false;
  std::string name = path;
  for (const char last : ends) {
    name.back() = last;
    struct stat st;
    if (lstat(name.c_str(), &st) != 0 || !S_ISSOCK(st.st_mode)) continue;
    if (!absl::IsUnavailable(ConnectUnix(name, type).status())) continue;
    removed |= unlink(name.c_str()) == 0;
  }
  return removed;
}

UnixListener::~UnixListener() {
  if (!fd_.valid()) return;
  struct stat st;
  if (lstat(path_.c_str(), &st) == 0 && st.st_dev == device_ && st.st_ino == inode_) {
    unlink(path_.c_str());
  }
}

absl::StatusOr<UniqueFd> ConnectUnix(const std::string& path, int type) {
  ASSIGN_OR_RETURN(sockaddr_un address, UnixAddress(path));
  ASSIGN_OR_RETURN(UniqueFd fd, NewUnix(type));
  if (connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    return ErrnoError(errno, path);
  }
  return fd;
}

absl::StatusOr<UniqueFd> ListenLoopback(const std::string& host, uint16_t port) {
  ASSIGN_OR_RETURN(InetAddress address, Loopback(host, port));
  ASSIGN_OR_RETURN(UniqueFd fd, NewInet(address));
  const int on = 1;
  setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (bind(fd.get(), address.get(), address.size) != 0 || listen(fd.get(), kBacklog) != 0) {
    return ErrnoError(errno, absl::StrCat(host, ":", port));
  }
  return fd;
}

absl::StatusOr<UniqueFd> ConnectLoopback(const std::string& host, uint16_t port) {
  ASSIGN_OR_RETURN(InetAddress address, Loopback(host, port));
  ASSIGN_OR_RETURN(UniqueFd fd, NewInet(address));
  if (connect(fd.get(), address.get(), address.size) != 0) {
    return ErrnoError(errno, absl::StrCat(host, ":", port));
  }
  return fd;
}

absl::StatusOr<std::vector<UniqueFd>> ListenTcp(const std::string& host, uint16_t port) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  addrinfo* list = nullptr;
  const std::string where = absl::StrCat(host, ":", port);
  const int code = getaddrinfo(host == "*" ? nullptr : host.c_str(), std::to_string(port).c_str(),
                               &hints, &list);
  if (code != 0) return absl::NotFoundError(absl::StrCat(where, ": ", gai_strerror(code)));
  const std::unique_ptr<addrinfo, void (*)(addrinfo*)> owner(list, freeaddrinfo);
  std::vector<UniqueFd> out;
  absl::Status status = absl::NotFoundError(absl::StrCat(where, ": no address"));
  for (const addrinfo* a = list; a != nullptr; a = a->ai_next) {
    UniqueFd fd(socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
    // A family that the kernel has not is nothing that anybody asked for.
    if (!fd.valid()) {
      if (errno != EAFNOSUPPORT) status = ErrnoError(errno, where);
      continue;
    }
    const int on = 1;
    setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (a->ai_family == AF_INET6) {
      setsockopt(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
    }
    if (bind(fd.get(), a->ai_addr, a->ai_addrlen) != 0 || listen(fd.get(), kBacklog) != 0) {
      status = ErrnoError(errno, where);
      if (errno == EADDRNOTAVAIL) continue;
      return status;
    }
    out.push_back(std::move(fd));
  }
  if (out.empty()) return status;
  return out;
}

absl::StatusOr<UniqueFd> Accept(int listener) {
  UniqueFd fd(accept4(listener, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
  if (fd.valid()) return fd;
  if (errno == EAGAIN || errno == ECONNABORTED || errno == EINTR) {
    return absl::UnavailableError("nobody waits");
  }
  return ErrnoError(errno, "accept");
}

}  // namespace atl::host
