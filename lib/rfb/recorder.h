// SPDX-License-Identifier: Apache-2.0
// Writes what a viewer is shown to a file, with its times, to be played later: the
// form "FBS 001.000" of rfbproxy, which players of VNC recordings read.
//
//   "FBS 001.000\n", then blocks: the length of the data (be32), the data, zeros up
//   to a multiple of four bytes, milliseconds since the beginning (be32). The data of
//   all blocks is what a server of version 3.3 without security sends: its version,
//   the security type 1 (be32), ServerInit, then updates.
//
// A picture is without losses, by CopyRect and Tight; its size and the cursor follow
// the guest's. At most kFramesPerSecond, and nothing is written while nothing changes.
//
// Thread rule: the server's loop thread.
#ifndef LIB_RFB_RECORDER_H_
#define LIB_RFB_RECORDER_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "lib/base/unique_fd.h"
#include "lib/rfb/access.h"
#include "lib/rfb/desktop.h"
#include "lib/rfb/guest.h"
#include "lib/rfb/output.h"
#include "lib/rfb/session.h"

namespace atl::rfb {

class Recorder {
 public:
  static constexpr unsigned kFramesPerSecond = 25;

  // Writes the beginning. `fd`: a file that is written from where it stands; `name`
  // is for errors. The others outlive it.
  static absl::StatusOr<std::unique_ptr<Recorder>> Create(UniqueFd fd, std::string name,
                                                          const Desktop* desktop,
                                                          EncoderPool* pool);
  ~Recorder();

  // To be told what changes, as every viewer.
  Session& session() { return *session_; }
  // Writes what is new, where the last picture is old enough or `last`. After an
  // error there is no use in it any more.
  absl::Status Pump(bool last = false);
  // When Pump() is to be called though nothing happened: monotonic, or none.
  std::optional<uint64_t> wake_at() const { return wake_at_; }

  const std::string& name() const { return name_; }
  uint64_t bytes() const { return bytes_; }

 private:
  // Nobody types here.
  class NoGuest;

  Recorder(UniqueFd fd, std::string name);
  absl::Status Tell(const Output& message);
  absl::Status WriteBlock(std::span<const uint8_t> data);
  absl::Status Write(std::span<const uint8_t> bytes);

  const UniqueFd fd_;
  const std::string name_;
  const uint64_t begin_;
  const Access access_;
  const std::unique_ptr<NoGuest> guest_;
  Output out_;
  std::unique_ptr<Session> session_;
  std::optional<uint64_t> wake_at_;
  uint64_t bytes_ = 0;
};

}  // namespace atl::rfb

#endif  // LIB_RFB_RECORDER_H_
