// SPDX-License-Identifier: Apache-2.0
// Frames into a file that tcpdump and Wireshark read (pcap-savefile(5), nanoseconds).
#ifndef LIB_USERNET_PCAP_H_
#define LIB_USERNET_PCAP_H_

#include <sys/uio.h>

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "lib/base/unique_fd.h"

namespace atl::usernet {

class PcapWriter {
 public:
  // Replaces what is there.
  static absl::StatusOr<std::unique_ptr<PcapWriter>> Create(const std::string& path);
  ~PcapWriter() { Flush(); }

  void Write(std::span<const uint8_t> header, std::span<const iovec> payload);
  // After an error (a full disk) nothing more is written.
  void Flush();

 private:
  explicit PcapWriter(UniqueFd fd) : fd_(std::move(fd)) {}

  UniqueFd fd_;
  std::vector<uint8_t> buffer_;
};

}  // namespace atl::usernet

#endif  // LIB_USERNET_PCAP_H_
