// SPDX-License-Identifier: Apache-2.0
// Runs qemu-img and qemu-io, the other opinion on what an image says.
#ifndef LIB_BLOCK_TESTING_QEMU_H_
#define LIB_BLOCK_TESTING_QEMU_H_

#include <sys/wait.h>

#include <cstdio>
#include <cstdlib>
#include <string>
#include <utility>

#include "absl/strings/string_view.h"

namespace atl::block {

struct CommandResult {
  int exit = -1;
  std::string output;  // both streams
};

inline CommandResult RunCommand(const std::string& command) {
  CommandResult r;
  FILE* pipe = popen((command + " 2>&1").c_str(), "r");
  if (pipe == nullptr) return r;
  char buffer[4096];
  while (size_t n = fread(buffer, 1, sizeof buffer, pipe)) r.output.append(buffer, n);
  int status = pclose(pipe);
  r.exit = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  return r;
}

inline std::string TestPath(absl::string_view name) {
  const char* dir = std::getenv("TEST_TMPDIR");
  return std::string(dir == nullptr ? "/tmp" : dir) + "/" + std::string(name);
}

}  // namespace atl::block

#endif  // LIB_BLOCK_TESTING_QEMU_H_
