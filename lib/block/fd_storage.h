// SPDX-License-Identifier: Apache-2.0
// An image's file that somebody else has opened.
#ifndef LIB_BLOCK_FD_STORAGE_H_
#define LIB_BLOCK_FD_STORAGE_H_

#include <memory>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "lib/base/unique_fd.h"
#include "lib/block/storage.h"

namespace atl::block {

// As OpenFile(); `fd` is open for reading, and for writing too where `opts` says
// writable. Beside that, `lock` alone counts. `name`: for messages.
absl::StatusOr<std::unique_ptr<Storage>> OpenFd(UniqueFd fd, absl::string_view name,
                                                const FileOptions& opts);

}  // namespace atl::block

#endif  // LIB_BLOCK_FD_STORAGE_H_
