// SPDX-License-Identifier: Apache-2.0
#include "lib/host/event.h"

#include <errno.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cstdint>
#include <utility>

#include "lib/base/status_macros.h"

namespace atl::host {

absl::StatusOr<Event> Event::Create() {
  UniqueFd fd(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!fd.valid()) return ErrnoError(errno, "eventfd");
  return Event(std::move(fd));
}

void Event::Signal() {
  const uint64_t one = 1;
  // Fails only where the count is full, and then it is signalled already.
  (void)!write(fd_.get(), &one, sizeof one);
}

bool Event::Clear() {
  uint64_t count;
  return read(fd_.get(), &count, sizeof count) == sizeof count;
}

}  // namespace atl::host
