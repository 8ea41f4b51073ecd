// SPDX-License-Identifier: Apache-2.0
// What /proc says of other processes, within bounds.
#ifndef LIB_STATS_SOURCES_PROC_H_
#define LIB_STATS_SOURCES_PROC_H_

#include <sys/types.h>

#include <string>
#include <utility>
#include <vector>

#include "lib/base/unique_fd.h"

namespace atl::stats {

// The names in a folder but "." and "..", sorted; at most some ten thousand.
std::vector<std::string> FolderNames(const std::string& path, int* error = nullptr);

// At most `max` bytes; empty where it cannot be read.
std::string ReadText(const std::string& path, size_t max);

// A process' words; empty where it is gone or a kernel thread.
std::vector<std::string> CommandLine(const std::string& sysroot, pid_t pid);

// Processes whose program's name begins with "qemu-system" or is "kvm".
std::vector<pid_t> QemuProcesses(const std::string& sysroot);

// Open descriptors of a process whose link begins with `prefix`: number and link.
std::vector<std::pair<int, std::string>> DescriptorsOf(pid_t pid, const std::string& prefix);

UniqueFd OpenPid(pid_t pid);           // pidfd_open()
bool HasEnded(const UniqueFd& pidfd);  // by a pidfd
// A copy of a descriptor of another process: needs the right to trace it.
UniqueFd CopyDescriptor(const UniqueFd& pidfd, int fd);

}  // namespace atl::stats

#endif  // LIB_STATS_SOURCES_PROC_H_
