// SPDX-License-Identifier: Apache-2.0
// The kernel's side of a test on an emulated host: its log, and the memory it keeps.
#ifndef ATOLL_TESTS_KMOD_KERNEL_LOG_H_
#define ATOLL_TESTS_KMOD_KERNEL_LOG_H_

#include <fcntl.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>

// What the kernel says from construction on.
class KernelLog {
 public:
  KernelLog() : fd_(open("/dev/kmsg", O_RDWR | O_NONBLOCK | O_CLOEXEC)) {
    if (fd_ < 0) perror("/dev/kmsg");
    lseek(fd_, 0, SEEK_END);
  }
  // A line of the caller's among the kernel's, also on the console: what was under way when it
  // died.
  void Note(const char* what, unsigned long value) {
    char line[100];
    const int n = snprintf(line, sizeof line, "<3>%s %lu\n", what, value);
    if (write(fd_, line, n) != n) perror("/dev/kmsg");
  }
  // Whether there was an oops, a warning, a lockup or a report of a sanitizer; they are printed.
  // True also where the log cannot be read.
  bool Complains() {
    bool any = fd_ < 0;
    char line[4096];
    ssize_t n;
    while ((n = read(fd_, line, sizeof line - 1)) > 0) {
      line[n] = 0;
      for (const char* word : {"BUG", "WARNING", "Oops", "Call Trace", "lockup", "rcu_preempt",
                               "stall on CPU", "blocked for more", "general protection", "KASAN",
                               "UBSAN", "already present", "cut here"})
        any |= strstr(line, word) != nullptr;
      if (any) fputs(line, stdout);
    }
    return any;
  }

 private:
  int fd_;
};

// KiB that the kernel will not give back: all but what is free, cached or a process's.
inline long KernelMemory() {
  FILE* f = fopen("/proc/sys/vm/drop_caches", "w");
  if (f) fputs("3", f), fclose(f);
  usleep(100000);
  char line[100];
  long sum = 0, value;
  f = fopen("/proc/meminfo", "r");
  while (f && fgets(line, sizeof line, f)) {
    if (sscanf(line, "MemTotal: %ld", &value) == 1) sum += value;
    for (const char* free :
         {"MemFree: %ld", "Buffers: %ld", "Cached: %ld", "AnonPages: %ld", "SReclaimable: %ld"})
      if (sscanf(line, free, &value) == 1) sum -= value;
  }
  if (f) fclose(f);
  // Free pages that processors keep at hand.
  f = fopen("/proc/zoneinfo", "r");
  while (f && fgets(line, sizeof line, f))
    if (sscanf(line, " count: %ld", &value) == 1) sum -= 4 * value;
  if (f) fclose(f);
  return sum;
}

// KiB of the kernel's objects that it cannot give back.
inline long SlabMemory() {
  char line[100];
  long value = 0;
  FILE* f = fopen("/proc/meminfo", "r");
  while (f && fgets(line, sizeof line, f))
    if (sscanf(line, "SUnreclaim: %ld", &value) == 1) break;
  if (f) fclose(f);
  return value;
}

#endif  // ATOLL_TESTS_KMOD_KERNEL_LOG_H_
