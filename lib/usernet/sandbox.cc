// SPDX-License-Identifier: Apache-2.0
#include "lib/usernet/sandbox.h"

#include "lib/base/status_macros.h"
#include "lib/host/lockdown.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define ATOLL_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define ATOLL_SANITIZED 1
#endif
#endif
#ifndef ATOLL_SANITIZED
#define ATOLL_SANITIZED 0
#endif

namespace atl::usernet {

absl::Status EnterSandbox(const Options& options, const std::vector<std::string>& sockets) {
  if (ATOLL_SANITIZED) return absl::OkStatus();
  host::LockdownOptions keep;
  keep.internet = true;
  keep.read.push_back("/etc/resolv.conf");
  if (!options.tftp.empty()) keep.read.push_back(options.tftp);
  for (const std::string& socket : sockets) {
    const size_t slash = socket.rfind('/');
    keep.remove_files.push_back(slash == std::string::npos ? "." : socket.substr(0, slash + 1));
  }
  ASSIGN_OR_RETURN(const host::LockdownResult result, host::LockDown(keep));
  return host::CheckLockdown(result);
}

}  // namespace atl::usernet
