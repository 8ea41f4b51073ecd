// SPDX-License-Identifier: Apache-2.0
// The locks that qemu and its tools take on image files, so that they and we
// exclude each other: OFD read locks on one byte for each permission. A lock on
// byte 100 + n says "I use permission n", one on byte 200 + n "nobody else may
// use permission n". n: 0 consistent read, 1 write, 2 write unchanged, 3 resize.
#ifndef LIB_BLOCK_LOCK_H_
#define LIB_BLOCK_LOCK_H_

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "lib/block/storage.h"

namespace atl::block {

// Takes the locks of `mode` on `fd`; they end with the open file description.
// Unavailable names the file, and the process that holds a lock against it
// where /proc tells. File systems without such locks count as not locked.
absl::Status LockFile(int fd, absl::string_view name, LockMode mode);

}  // namespace atl::block

#endif  // LIB_BLOCK_LOCK_H_
