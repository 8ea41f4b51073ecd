// SPDX-License-Identifier: Apache-2.0
// The drives whose medium can be changed while the guest runs, CD and floppy,
// for those who change it from outside: control socket, monitor.
//
// Thread rule: every call from any thread, without a device's lock held. The
// handler of SetTrayHandler() runs on any thread with the drive's device lock
// held: it notes the event and calls nothing here.
//
// Errors name the drive: NotFound with the names there are; FailedPrecondition
// where the guest has locked the tray, where a tray is closed or open at the
// wrong time; what opening the image says.
#ifndef LIB_VM_MEDIA_H_
#define LIB_VM_MEDIA_H_

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace atl::vm {

struct MediumState {
  std::string device;  // "ide1-cd0", "floppy0", or the drive's own id
  bool cdrom = false;  // else a floppy drive
  bool tray_open = false;
  bool locked = false;  // by the guest
  bool inserted = false;
  // Where inserted.
  std::string file;
  std::string format;
  uint64_t size = 0;  // bytes
  bool read_only = true;
};

struct MediumOptions {
  std::string file;
  std::string format;      // empty: raw for a CD, else probed
  bool read_only = false;  // a CD is always
};

class Media {
 public:
  virtual ~Media() = default;

  virtual std::vector<MediumState> List() = 0;

  // A tray that is open already is no error. Where the guest has locked it,
  // the guest is asked to eject and, without `force`, the call fails.
  virtual absl::Status OpenTray(absl::string_view device, bool force) = 0;
  virtual absl::Status CloseTray(absl::string_view device) = 0;
  // With the tray open; a floppy drive has none, and is always open for these.
  virtual absl::Status Remove(absl::string_view device) = 0;
  virtual absl::Status Insert(absl::string_view device, const MediumOptions& medium) = 0;

  // In one: open and remove; open, remove, insert and close. The new image is
  // opened first: on an error the drive keeps what it had.
  virtual absl::Status Eject(absl::string_view device, bool force) = 0;
  virtual absl::Status Change(absl::string_view device, const MediumOptions& medium,
                              bool force) = 0;

  // Told of each tray that opens or closes, whoever did it. Before the guest runs.
  virtual void SetTrayHandler(std::function<void(absl::string_view device, bool open)> handler) = 0;
};

}  // namespace atl::vm

#endif  // LIB_VM_MEDIA_H_
