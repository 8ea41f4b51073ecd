// SPDX-License-Identifier: Apache-2.0
// A TFTP server (RFC 1350) that sends files of one folder and takes none, with the
// options blksize (2348), tsize, timeout (2349) and windowsize (7440).
#ifndef LIB_USERNET_TFTP_H_
#define LIB_USERNET_TFTP_H_

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "lib/base/unique_fd.h"
#include "lib/usernet/address.h"

namespace atl::usernet {

class TftpServer {
 public:
  static constexpr uint16_t kPort = 69;
  static constexpr size_t kMaxTransfers = 64;
  static constexpr uint16_t kMaxBlock = 65464;
  static constexpr uint16_t kMaxWindow = 64;

  // Sends a datagram from the server's port for this transfer to `guest`.
  using SendFn =
      std::function<void(const Endpoint& guest, const Endpoint& server, std::span<const uint8_t>)>;

  // `mtu` is that of the guests' network.
  static absl::StatusOr<TftpServer> Create(const std::string& folder, uint32_t mtu, SendFn send);
  TftpServer(TftpServer&&) = default;

  // A datagram to `server`'s kPort, or to the port of a transfer. False where it belongs to
  // nothing here.
  bool Receive(const Endpoint& guest, const Endpoint& server, std::span<const uint8_t> bytes,
               uint64_t now);

  // When to call Timeout(), 0: never.
  uint64_t deadline() const;
  void Timeout(uint64_t now);

  size_t transfers() const { return transfers_.size(); }

 private:
  struct Transfer {
    Endpoint guest, server;
    UniqueFd file;
    uint64_t size = 0;
    uint16_t block = 512;
    uint16_t window = 1;
    uint64_t acknowledged = 0;  // blocks
    uint64_t sent = 0;          // blocks; 0 while the options are to be acknowledged
    uint64_t timeout_ns = 0;
    uint64_t deadline = 0;
    int retries = 0;
    std::vector<uint8_t> options;  // the packet that acknowledges them; empty: none
  };

  TftpServer(UniqueFd folder, uint32_t mtu, SendFn send)
      : folder_(std::move(folder)), mtu_(mtu), send_(std::move(send)) {}
  void Request(const Endpoint& guest, const Endpoint& server, std::span<const uint8_t> bytes,
               uint64_t now);
  absl::StatusOr<UniqueFd> Open(absl::string_view name, uint64_t* size) const;
  void SendError(const Endpoint& guest, const Endpoint& server, uint16_t code,
                 absl::string_view text);
  // The blocks of the window; false where the file cannot be read.
  bool SendWindow(Transfer& t, uint64_t now);

  UniqueFd folder_;
  uint32_t mtu_;
  SendFn send_;
  std::vector<Transfer> transfers_;
};

}  // namespace atl::usernet

#endif  // LIB_USERNET_TFTP_H_
