// SPDX-License-Identifier: Apache-2.0
// Guest memory that the host swaps out, moves, merges, shares with a child, makes large and logs
// while a guest runs over it. The guest changes and checks its pages; each of the host's doings
// that is named must be seen in the host's own counters, or the test fails. As root on an emulated
// host; the same passes on mainline's /dev/kvm.
//
// usage: memory DEVICE [swap|move|merge|fork|large|log]...
#include <dirent.h>
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>

#include <atomic>
#include <string>

#include "tests/kmod/abi.h"
#include "tests/kmod/kernel_log.h"

// The guest, 32-bit with flat segments: pages that change with each pass, then pages that are
// alike but for one word, which it counts up in one of them each pass. Port 1: a pass is done;
// port 2: a page is not what it was.
asm(R"(
    .section .rodata
    .code32
guest:
    xor %ebp, %ebp
1:  mov $0x200000, %esi
2:  lea (%esi,%ebp), %eax
    cmp %eax, (%esi)
    jne 5f
    inc %eax
    mov %eax, (%esi)
    add $0x1000, %esi
    cmp $0x800000, %esi
    jb 2b
3:  cmpl $0x5A5A5A5A, (%esi)
    jne 5f
    add $0x1000, %esi
    cmp $0xC00000, %esi
    jb 3b
    mov %ebp, %eax
    and $1023, %eax
    shl $12, %eax
    incl 0x800008(%eax)
    inc %ebp
    out %al, $1
    jmp 1b
5:  out %al, $2
    jmp 5b
guest_end:
    .code64
    .text
)");
extern const uint8_t guest[], guest_end[];

namespace {

constexpr size_t kPage = 0x1000, kMemory = 0xC00000, kChanging = 0x200000, kAlike = 0x800000;
constexpr size_t kLarge = 0x200000;

uint8_t* memory;
int vm, vcpu;
kvm_run* run;
std::atomic<uint64_t> passes;
std::atomic<bool> stop, hold, held;

[[noreturn]] void Fail(const char* what) {
  printf("%s: %s\n", what, strerror(errno));
  _exit(1);
}

void* Guest(void*) {
  while (!stop) {
    if (ioctl(vcpu, KVM_RUN, 0ul) < 0) {
      if (errno == EINTR) continue;
      Fail("KVM_RUN");
    }
    if (run->exit_reason != KVM_EXIT_IO || run->io.port != 1) {
      kvm_regs r{};
      ioctl(vcpu, KVM_GET_REGS, &r);
      uint64_t value;
      memcpy(&value, memory + r.rsi % kMemory, 8);
      printf("exit %u, port %u: pass %llu, page %llx, expected %llx, now %lx\n", run->exit_reason,
             run->io.port, r.rbp, r.rsi, r.rax, value);
      _exit(1);
    }
    ++passes;
    for (; hold; usleep(1000)) held = true;
    held = false;
  }
  return nullptr;
}

// Until the guest has been over all of it once more, from its start.
void Wait() {
  const uint64_t until = passes + 2;
  for (int i = 0; passes < until; ++i) {
    if (i == 60000) {
      errno = ETIMEDOUT;
      Fail("the guest stands still");
    }
    usleep(1000);
  }
}

void Write(const char* path, const char* text) {
  const int fd = open(path, O_WRONLY | O_CLOEXEC);
  if (fd < 0 || write(fd, text, strlen(text)) < 0) Fail(path);
  close(fd);
}

// The number after a word of a file; where there is no word, the first of the file.
long Number(const char* path, const char* word) {
  FILE* f = fopen(path, "r");
  if (!f) Fail(path);
  char line[200];
  long value = -1;
  const size_t n = strlen(word);
  while (value < 0 && fgets(line, sizeof line, f))
    if (strncmp(line, word, n) == 0 && (n == 0 || line[n] == ' ' || line[n] == ':'))
      value = strtol(line + n + (n != 0), nullptr, 10);
  fclose(f);
  return value;
}

uint64_t Frame(size_t at) {
  const int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
  uint64_t entry = 0;
  if (pread(fd, &entry, 8,
            static_cast<off_t>((reinterpret_cast<uint64_t>(memory) + at) / kPage * 8)) != 8)
    Fail("pagemap");
  close(fd);
  return entry >> 63 ? entry & ((1ull << 55) - 1) : 0;
}

long Swap() {
  const long before = Number("/proc/vmstat", "pswpout"), in = Number("/proc/vmstat", "pswpin");
  for (int i = 0; i < 8; ++i) {
    // The host spares what the guest has just used: so that it sees that, and then that no more,
    // the guest waits every other time.
    hold = i % 2 != 0;
    while (held != hold) usleep(1000);
    for (int again = 0; again < 3; ++again)
      if (madvise(memory + kChanging, kMemory - kChanging, MADV_PAGEOUT) != 0) Fail("MADV_PAGEOUT");
    hold = false;
    Wait();
  }
  const long back = Number("/proc/vmstat", "pswpin") - in;
  printf("  %ld pages out, %ld in\n", Number("/proc/vmstat", "pswpout") - before, back);
  return back;
}

// The host takes a frame out of use: its page goes to another.
long Move() {
  constexpr int kSoftOffline = 101;  // MADV_SOFT_OFFLINE
  long moved = 0;
  for (size_t i = 0; i < 16; ++i) {
    const size_t at = kChanging + i * 37 * kPage;
    Wait();
    const uint64_t before = Frame(at);
    if (madvise(memory + at, kPage, kSoftOffline) != 0) {
      if (errno == EBUSY || errno == EIO) continue;
      Fail("MADV_SOFT_OFFLINE");
    }
    Wait();
    moved += before != 0 && Frame(at) != before;
  }
  return moved;
}

long Merge() {
  if (madvise(memory + kAlike, kMemory - kAlike, MADV_MERGEABLE) != 0) Fail("MADV_MERGEABLE");
  Write("/sys/kernel/mm/ksm/pages_to_scan", "4096");
  Write("/sys/kernel/mm/ksm/sleep_millisecs", "1");
  Write("/sys/kernel/mm/ksm/run", "1");
  long most = 0;
  // The thread that merges has to come by twice; then the guest has its own again, page by page.
  for (int i = 0; i < 500 && most < 500; ++i) {
    Wait();
    const long now = Number("/sys/kernel/mm/ksm/pages_sharing", "");
    if (now > most) most = now;
  }
  for (int i = 0; i < 20; ++i) Wait();
  Write("/sys/kernel/mm/ksm/run", "2");  // each its own again
  if (madvise(memory + kAlike, kMemory - kAlike, MADV_UNMERGEABLE) != 0) Fail("MADV_UNMERGEABLE");
  Wait();
  return most;
}

long Fork() {
  long children = 0;
  for (int i = 0; i < 8; ++i) {
    const pid_t child = fork();
    if (child == 0) {
      // What it sees is the guest's memory of that moment, whatever the guest writes.
      uint32_t first, then;
      memcpy(&first, memory + kChanging, 4);
      usleep(100000);
      memcpy(&then, memory + kChanging, 4);
      _exit(first == then ? 0 : 1);
    }
    Wait();
    int status = -1;
    if (child < 0 || waitpid(child, &status, 0) != child || status != 0) {
      printf("  a child's memory has changed\n");
      _exit(1);
    }
    ++children;
  }
  return children;
}

// Two megabytes by one entry: the host's, and in the module what is written in its counter.
long Large() {
  constexpr int kCollapse = 25;  // MADV_COLLAPSE, Linux 6.1
  long huge = 0;
  for (int i = 0; i < 4; ++i) {
    if (madvise(memory + kChanging, kAlike - kChanging, kCollapse) != 0 && errno != EAGAIN &&
        errno != EBUSY)
      Fail("MADV_COLLAPSE");
    Wait();
    long now = Number("/proc/self/smaps_rollup", "AnonHugePages") / 2048;
    if (strcmp(device, "/dev/atoll") == 0) {
      const std::string counter = "/sys/kernel/debug/atoll/" + std::to_string(getpid()) + "-" +
                                  std::to_string(vm) + "/largepages";
      const long mapped = Number(counter.c_str(), "");
      printf("  %ld of the host's, %ld of the module's\n", now, mapped);
      if (mapped < now) now = mapped;
    }
    if (now > huge) huge = now;
    // One page of each goes: no entry is large any more.
    for (size_t at = kChanging; at < kAlike; at += kLarge)
      if (madvise(memory + at + 5 * kPage, kPage, MADV_PAGEOUT) != 0) Fail("MADV_PAGEOUT");
    Wait();
  }
  return huge;
}

long Log() {
  static uint64_t bitmap[kMemory / kPage / 64];
  long complete = 0;
  for (int i = 0; i < 4; ++i) {
    kvm_userspace_memory_region r{0, KVM_MEM_LOG_DIRTY_PAGES, 0, kMemory,
                                  reinterpret_cast<uint64_t>(memory)};
    if (ioctl(vm, KVM_SET_USER_MEMORY_REGION, &r) != 0) Fail("logging");
    kvm_dirty_log log{};
    log.dirty_bitmap = bitmap;
    for (int turn = 0; turn < 3; ++turn) {
      Wait();
      if (ioctl(vm, KVM_GET_DIRTY_LOG, &log) != 0) Fail("KVM_GET_DIRTY_LOG");
      bool all = true;
      for (size_t page = kChanging / kPage; page < kAlike / kPage; ++page)
        all &= bitmap[page / 64] >> page % 64 & 1;
      complete += all;
    }
    r.flags = 0;
    if (ioctl(vm, KVM_SET_USER_MEMORY_REGION, &r) != 0) Fail("logging off");
    Wait();
  }
  if (complete != 12) {
    printf("  pages were written that the log has not: %ld of 12 complete\n", complete);
    _exit(1);
  }
  return complete;
}

void Start() {
  const int kvm = open(device, O_RDWR | O_CLOEXEC);
  vm = static_cast<int>(Ioctl(kvm, KVM_CREATE_VM, 0ul));
  auto* at = static_cast<uint8_t*>(
      mmap(nullptr, kMemory + kLarge, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  memory = at + (-reinterpret_cast<uint64_t>(at) & (kLarge - 1));
  madvise(memory, kMemory, MADV_HUGEPAGE);
  memcpy(memory + 0x1000, guest, static_cast<size_t>(guest_end - guest));
  for (size_t i = kChanging; i < kAlike; i += kPage) {
    const auto value = static_cast<uint32_t>(i);
    memcpy(memory + i, &value, 4);
  }
  for (size_t i = kAlike; i < kMemory; i += kPage) memset(memory + i, 0x5A, 4);
  kvm_userspace_memory_region r{0, 0, 0, kMemory, reinterpret_cast<uint64_t>(memory)};
  if (ioctl(vm, KVM_SET_USER_MEMORY_REGION, &r) != 0) Fail("slot");
  vcpu = static_cast<int>(Ioctl(vm, KVM_CREATE_VCPU, 0ul));
  run = static_cast<kvm_run*>(mmap(nullptr,
                                   static_cast<size_t>(Ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0ul)),
                                   PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0));
  if (run == MAP_FAILED) Fail(device);
  kvm_sregs s{};
  ioctl(vcpu, KVM_GET_SREGS, &s);
  s.cr0 = 0x31;
  kvm_segment flat{};
  flat.limit = 0xFFFFFFFF;
  flat.selector = 16;
  flat.type = 3;
  flat.present = flat.db = flat.s = flat.g = 1;
  s.ds = s.es = s.fs = s.gs = s.ss = s.cs = flat;
  s.cs.selector = 8;
  s.cs.type = 11;
  kvm_regs regs{};
  regs.rip = 0x1000;
  regs.rflags = 0x202;  // Bochs leaves no guest whose interrupts are off
  if (ioctl(vcpu, KVM_SET_SREGS, &s) != 0 || ioctl(vcpu, KVM_SET_REGS, &regs) != 0)
    Fail("registers");
}

// After the guest: what it counted, page by page.
bool Counted() {
  uint64_t sum = 0;
  for (size_t i = kAlike; i < kMemory; i += kPage) {
    uint32_t n;
    memcpy(&n, memory + i + 8, 4);
    sum += n;
  }
  const uint64_t done = passes;
  if (sum == done) return true;
  printf("%lu passes, but %lu are counted in memory\n", done, sum);
  return false;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) return 2;
  device = argv[1];
  setvbuf(stdout, nullptr, _IOLBF, 0);
  constexpr struct {
    const char* name;
    long (*act)();
  } kActs[] = {{"swap", Swap}, {"move", Move},   {"merge", Merge},
               {"fork", Fork}, {"large", Large}, {"log", Log}};
  KernelLog log;
  Start();
  pthread_t thread;
  pthread_create(&thread, nullptr, Guest, nullptr);
  Wait();
  bool good = true;
  for (const auto& act : kActs) {
    bool wanted = argc == 2;
    for (int i = 2; i < argc; ++i) wanted |= strcmp(argv[i], act.name) == 0;
    if (!wanted) continue;
    const uint64_t before = passes;
    const long done = act.act();
    printf("%s: %ld, while the guest went over its memory %lu times\n", act.name, done,
           passes - before);
    if (done <= 0) {
      printf("%s: the host did nothing of it\n", act.name);
      good = false;
    }
  }
  stop = true;
  pthread_join(thread, nullptr);
  good = Counted() && good;
  good = !log.Complains() && good;
  printf("%s\n", good ? "ok" : "FAILED");
  return good ? 0 : 1;
}
