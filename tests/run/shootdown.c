// SPDX-License-Identifier: Apache-2.0
// A guest's init for two vCPUs and more: threads change what pages map and allow
// while others read and write them, and everything seen is checked. What a vCPU's
// TLB keeps after it was told to forget shows as a value of the past or as an
// access that should have failed. Prints "SHOOTDOWN ok N" or what was wrong, and
// powers off.
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { kPage = 4096, kPages = 64 };
static const double kSeconds = 3;

static atomic_ulong checks;
static atomic_int stop;
static volatile uint64_t* area;
// The value that the area's pages hold, at least; and whether writing is allowed.
static atomic_ulong floor_value[kPages];

static __thread sigjmp_buf escape;
static __thread volatile sig_atomic_t guarded;

static void Finish(const char* format, ...) __attribute__((noreturn, format(printf, 1, 2)));
static void Finish(const char* format, ...) {
  char line[200];
  va_list list;
  va_start(list, format);
  vsnprintf(line, sizeof line, format, list);
  va_end(list);
  dprintf(1, "\nSHOOTDOWN %s\n", line);
  sync();
  if (getpid() == 1) reboot(RB_POWER_OFF);
  _exit(0);
}

static void OnSegv(int number, siginfo_t* info, void* context) {
  (void)context;
  if (!guarded) Finish("bad: signal %d at %p", number, info->si_addr);
  siglongjmp(escape, 1);
}

static double Now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec + t.tv_nsec * 1e-9;
}

static void Pin(int cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(cpu % (int)sysconf(_SC_NPROCESSORS_ONLN), &set);
  sched_setaffinity(0, sizeof set, &set);
}

static volatile uint64_t* At(unsigned page) { return area + page * (kPage / 8); }

// Reads pages: a value never falls below what it was known to be before.
static void* Reader(void* argument) {
  Pin((int)(intptr_t)argument);
  for (unsigned i = 0; !atomic_load(&stop); ++i) {
    const unsigned page = i % kPages;
    const uint64_t least = atomic_load(&floor_value[page]);
    guarded = 1;
    if (sigsetjmp(escape, 1) == 0) {
      const uint64_t seen = *At(page);
      guarded = 0;
      if (seen < least) Finish("bad: page %u holds %lu after %lu", page, seen, least);
      atomic_fetch_add(&checks, 1);
    }
    guarded = 0;
  }
  return NULL;
}

// Writes to a page that becomes read-only: after mprotect() returned, no store of
// the other vCPU may get through.
static volatile uint64_t* counted;
static void* Writer(void* argument) {
  Pin((int)(intptr_t)argument);
  while (!atomic_load(&stop)) {
    guarded = 1;
    if (sigsetjmp(escape, 1) == 0) {
      for (unsigned i = 0; i < 1000; ++i) ++*counted;
    }
    guarded = 0;
  }
  return NULL;
}

// Two files whose pages are mapped in turn at the same place, each page of
// version n holding n.
static void Remap(double until) {
  uint64_t version = 1;
  while (Now() < until) {
    ++version;
    for (unsigned page = 0; page < kPages; ++page) {
      // Elsewhere first, then moved over the old one at once.
      volatile uint64_t* fresh =
          mmap(NULL, kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
      if (fresh == MAP_FAILED) Finish("bad: mmap");
      *fresh = version;
      if (mremap((void*)fresh, kPage, kPage, MREMAP_MAYMOVE | MREMAP_FIXED, (void*)At(page)) ==
          MAP_FAILED)
        Finish("bad: mremap");
      atomic_store(&floor_value[page], version);
    }
  }
}

static void Protect(double until) {
  while (Now() < until) {
    if (mprotect((void*)counted, kPage, PROT_READ) != 0) Finish("bad: mprotect");
    const uint64_t before = *counted;
    for (volatile unsigned i = 0; i < 2000; ++i) {
    }
    const uint64_t after = *counted;
    if (before != after) Finish("bad: %lu stores to a read-only page", after - before);
    atomic_fetch_add(&checks, 1);
    if (mprotect((void*)counted, kPage, PROT_READ | PROT_WRITE) != 0) Finish("bad: mprotect");
    // The writer gets to it.
    for (unsigned i = 0; i < 200 && *counted == after; ++i) sched_yield();
  }
}

// Unmapped pages give SIGSEGV on every vCPU at once; and forks, whose writes to
// shared pages must not be seen by the other side.
static atomic_ulong present;  // page + 1, or 0
static void* Prober(void* argument) {
  Pin((int)(intptr_t)argument);
  while (!atomic_load(&stop)) {
    const unsigned long gone = atomic_load(&present);
    if (gone == 0) continue;
    guarded = 1;
    if (sigsetjmp(escape, 1) == 0) {
      const uint64_t seen = *At((unsigned)gone - 1);
      guarded = 0;
      // It may be there again by now; then the number has changed.
      if (atomic_load(&present) == gone) Finish("bad: an unmapped page holds %lu", seen);
    }
    guarded = 0;
    atomic_fetch_add(&checks, 1);
  }
  return NULL;
}
static void Unmap(double until) {
  for (unsigned i = 0; Now() < until; ++i) {
    const unsigned page = i % kPages;
    *At(page) = i;
    if (munmap((void*)At(page), kPage) != 0) Finish("bad: munmap");
    atomic_store(&present, page + 1);
    for (volatile unsigned j = 0; j < 500; ++j) {
    }
    atomic_store(&present, 0);
    if (mmap((void*)At(page), kPage, PROT_READ | PROT_WRITE,
             MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED)
      Finish("bad: mmap");
  }
}

static void Fork(double until) {
  for (uint64_t i = 1; Now() < until; ++i) {
    for (unsigned page = 0; page < kPages; ++page) *At(page) = i;
    for (unsigned page = 0; page < kPages; ++page) atomic_store(&floor_value[page], i);
    const pid_t child = fork();
    if (child == 0) {
      for (unsigned page = 0; page < kPages; ++page) {
        if (*At(page) != i) _exit(1);
        *At(page) = i + 1000000;
      }
      _exit(0);
    }
    for (unsigned page = 0; page < kPages; ++page) {
      if (*At(page) != i) Finish("bad: a page of %lu holds %lu", i, *At(page));
      *At(page) = i + 1;
    }
    int status = -1;
    if (child < 0 || waitpid(child, &status, 0) != child || status != 0)
      Finish("bad: a child ended with %d", status);
    atomic_fetch_add(&checks, 2 * kPages);
  }
}

static void With(void* (*other)(void*), void (*mine)(double)) {
  pthread_t threads[2];
  atomic_store(&stop, 0);
  for (intptr_t i = 0; i < 2; ++i) pthread_create(&threads[i], NULL, other, (void*)(i + 1));
  Pin(0);
  mine(Now() + kSeconds);
  atomic_store(&stop, 1);
  for (int i = 0; i < 2; ++i) pthread_join(threads[i], NULL);
  dprintf(1, "SHOOTDOWN part done, %lu checks\n", atomic_load(&checks));
}

int main(void) {
  if (getpid() == 1) {
    mkdir("/dev", 0755);
    mount("none", "/dev", "devtmpfs", 0, NULL);
    const int console = open("/dev/console", O_RDWR);
    for (int i = 0; console >= 0 && i < 3; ++i) dup2(console, i);
  }
  struct sigaction action = {.sa_sigaction = OnSegv, .sa_flags = SA_SIGINFO | SA_NODEFER};
  sigaction(SIGSEGV, &action, NULL);
  sigaction(SIGBUS, &action, NULL);
  area = mmap(NULL, kPages * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  counted = mmap(NULL, kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (area == MAP_FAILED || counted == MAP_FAILED) Finish("bad: no memory");
  With(Reader, Remap);
  With(Writer, Protect);
  With(Prober, Unmap);
  for (unsigned page = 0; page < kPages; ++page) atomic_store(&floor_value[page], 0);
  With(Reader, Fork);
  Finish("ok %lu", atomic_load(&checks));
}
