// SPDX-License-Identifier: Apache-2.0
// Arbitrary machine code and registers in each mode, interpreted or translated at
// once: a guest may crash itself, never its host. Bytes 0 and 1: mode, paging,
// privilege, place, translation; then 16 that registers are made of; the rest is
// code, begun at several of its bytes.
//
// Aborts where a guest's store reaches memory that is none of its own (RAM has
// guard pages around it, a ROM must keep its bytes) and where a loop outlives a
// kick by more than kLimitMs of the vCPU's CPU time. --mode=NAME keeps to one
// mode, --translate=on or off to one way; the longest time from a kick to the end of Run() is
// printed at exit.
#include <pthread.h>
#include <time.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "lib/cpu/soft/state.h"
#include "lib/cpu/soft/testing/guest.h"
#include "lib/cpu/soft/vcpu.h"
#include "lib/mem/guest_memory.h"

namespace {

using namespace atl;             // NOLINT: a fuzz target is one function
using namespace atl::cpu;        // NOLINT
using namespace atl::cpu::soft;  // NOLINT

constexpr size_t kHead = 18, kMaxCode = 1024;
constexpr auto kBudget = std::chrono::microseconds(500);
#if defined(__SANITIZE_ADDRESS__)
constexpr uint64_t kLimitMs = 100;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
constexpr uint64_t kLimitMs = 100;
#else
constexpr uint64_t kLimitMs = 10;
#endif
#else
constexpr uint64_t kLimitMs = 10;
#endif

enum Mode : int {
  kReal,
  kVirtual8086,
  kProtected16,
  kProtected32,
  kLong64,
  kCompatibility,
  kModes
};
constexpr const char* kModeNames[kModes] = {"real", "v86", "prot16", "prot32", "long64", "compat"};
int only_mode = -1, only_translate = -1;

uint64_t longest_ns = 0, kicked = 0, rounds = 0;

constexpr uint64_t kRom = 0xF0000000;
constexpr size_t kRomBytes = 4 * kPageSize;
constexpr uint64_t kPageDirectory = 0x60000;  // of 32-bit paging
// Selectors behind those of Guest: code64, data, code32, code16 and data16, DPL 3.
constexpr uint64_t kDescriptors[] = {0x00AFFB000000FFFF, 0x00CFF3000000FFFF, 0x00CFFB000000FFFF,
                                     0x0000FB100000FFFF, 0x0000F3300000FFFF};

Segment MakeSegment(uint16_t selector, uint8_t type, uint64_t base, uint32_t limit, bool user) {
  Segment g;
  g.selector = static_cast<uint16_t>(selector | (user ? 3 : 0));
  g.type = type;
  g.base = base;
  g.limit = limit;
  g.g = limit > 0xFFFF;
  g.dpl = user ? 3 : 0;
  return g;
}

// Sets the mode; gives the linear address where code begins, rip being 0 or that.
uint64_t Enter(Guest& g, Mode mode, bool paging, bool user) {
  for (unsigned i = 0; i < std::size(kDescriptors); ++i)
    g.memory->Store<uint64_t>(Gpa(Guest::kGdt + 0x30 + 8 * i), kDescriptors[i]);
  SoftVcpu& c = g.cpu();
  if (mode == kReal) {
    g.EnterReal();
    return 0x10000;
  }
  const bool long_mode = mode == kLong64 || mode == kCompatibility;
  if (long_mode) {
    g.Enter64();
    g.memory->Store<uint64_t>(Gpa(Guest::kTss + 4), Guest::kStack + 0x8000);
  } else {
    g.Enter32();
    g.memory->Store<uint32_t>(Gpa(Guest::kTss + 4), Guest::kStack + 0x8000);
    g.memory->Store<uint32_t>(Gpa(Guest::kTss + 8), 0x10);
  }
  SystemRegs r = c.GetSystemRegs().value();
  r.gdt.limit = 0x30 + sizeof kDescriptors - 1;
  r.tr.selector = 0x20;
  r.tr.base = Guest::kTss;
  r.tr.limit = 0x67;
  r.tr.type = 11;
  r.tr.s = false;
  const uint16_t data = user ? 0x38 : 0x10;
  for (auto& s : r.segment) {
    s = MakeSegment(data, 3, 0, 0xFFFFFFFF, user);
    s.db = true;
  }
  uint64_t code_at = Guest::kCode;
  Segment& cs = r.segment[kCs];
  switch (mode) {
    case kLong64:
      cs = MakeSegment(user ? 0x30 : 0x08, 11, 0, 0xFFFFFFFF, user);
      cs.l = true;
      break;
    case kProtected32:
    case kCompatibility:
      cs = MakeSegment(user ? 0x40 : 0x18, 11, 0, 0xFFFFFFFF, user);
      cs.db = true;
      break;
    case kProtected16:
      cs = MakeSegment(0x48, 11, Guest::kCode, 0xFFFF, user);
      for (auto s : {kSs, kDs, kEs})
        r.segment[s] = MakeSegment(0x50, 3, Guest::kData, 0xFFFF, user);
      break;
    default:
      for (unsigned s = 0; s < 6; ++s) r.segment[s] = MakeSegment(0x2000, 3, 0x20000, 0xFFFF, true);
      for (auto& s : r.segment) s.selector = 0x2000;
      cs = MakeSegment(0x1000, 3, 0x10000, 0xFFFF, true);
      cs.selector = 0x1000;
      code_at = 0x10000;
      break;
  }
  if (paging && !long_mode) {
    // 4 MiB pages: RAM where it is, and once more below 1 GiB, read-only.
    for (uint64_t i = 0; i < 4; ++i) {
      g.memory->Store<uint32_t>(Gpa(kPageDirectory + 4 * i), static_cast<uint32_t>(i << 22 | 0x87));
      g.memory->Store<uint32_t>(Gpa(kPageDirectory + 4 * (i + 252)),
                                static_cast<uint32_t>(i << 22 | 0x85));
    }
    g.memory->Store<uint32_t>(Gpa(kPageDirectory + 4 * (kRom >> 22)), uint32_t{kRom | 0x87});
    r.cr3 = kPageDirectory;
    r.cr4 = kCr4Pse | kCr4Osfxsr;
    r.cr0 |= uint64_t{kCr0Pg} | kCr0Wp;
  } else if (!long_mode) {
    r.cr4 = kCr4Osfxsr;
  }
  (void)c.SetSystemRegs(r);
  Regs regs = c.GetRegs().value();
  regs.rip = mode == kProtected16 || mode == kVirtual8086 ? 0 : code_at;
  if (mode == kProtected16 || mode == kVirtual8086) regs.gpr[kRsp] = 0x8000;
  if (mode == kVirtual8086) regs.rflags |= kVm;
  (void)c.SetRegs(regs);
  if (mode == kVirtual8086) {
    c.s.cpl = 3;
    ModeChanged(c);
    c.mmu.ModeChanged();
  }
  return code_at;
}

uint64_t CpuNs(clockid_t clock) {
  timespec t;
  clock_gettime(clock, &t);
  return static_cast<uint64_t>(t.tv_sec) * 1000000000 + static_cast<uint64_t>(t.tv_nsec);
}

// Ends runs that took longer than kBudget, and remembers when it asked to.
class Watchdog {
 public:
  Watchdog() {
    pthread_getcpuclockid(pthread_self(), &clock_);
    thread_ = std::thread([this] { Loop(); });
  }
  ~Watchdog() {
    {
      std::lock_guard lock(mu_);
      stop_ = true;
    }
    changed_.notify_one();
    thread_.join();
  }
  // To the end of Run() or the kick; gives how long it ran on after the kick.
  uint64_t Run(SoftVcpu& c, Exit* exit) {
    {
      std::lock_guard lock(mu_);
      vcpu_ = &c;
      kicked_at_ = 0;
      deadline_ = std::chrono::steady_clock::now() + kBudget;
    }
    changed_.notify_one();
    if (auto e = c.Run(); e.ok()) *exit = *e;
    const uint64_t now = CpuNs(clock_);
    std::lock_guard lock(mu_);
    vcpu_ = nullptr;
    c.requests.fetch_and(~uint32_t{kKickRequest});  // it came as the run ended
    return kicked_at_ == 0 || now < kicked_at_ ? 0 : now - kicked_at_;
  }

 private:
  void Loop() {
    std::unique_lock lock(mu_);
    while (!stop_) {
      if (vcpu_ == nullptr || kicked_at_ != 0) {
        changed_.wait(lock);
      } else if (changed_.wait_until(lock, deadline_) == std::cv_status::timeout &&
                 vcpu_ != nullptr && std::chrono::steady_clock::now() >= deadline_) {
        const uint64_t before = CpuNs(clock_);
        vcpu_->Kick();
        // Where this thread lost its processor between the two, the later counts.
        const uint64_t after = CpuNs(clock_);
        kicked_at_ = after - before < 100000 ? before : after;
      }
    }
  }

  clockid_t clock_;
  std::mutex mu_;
  std::condition_variable changed_;
  SoftVcpu* vcpu_ = nullptr;
  uint64_t kicked_at_ = 0;
  std::chrono::steady_clock::time_point deadline_;
  bool stop_ = false;
  std::thread thread_;
};

void PrintLongest() {
  std::fprintf(stderr, "%llu runs, %llu ended by a kick, the slowest %.3f ms after it\n",
               static_cast<unsigned long long>(rounds), static_cast<unsigned long long>(kicked),
               static_cast<double>(longest_ns) / 1e6);
}

}  // namespace

extern "C" int LLVMFuzzerInitialize(int* argc, char*** argv) {
  int kept = 1;
  for (int i = 1; i < *argc; ++i) {
    const std::string argument = (*argv)[i];
    if (argument == "--translate=on" || argument == "--translate=off") {
      only_translate = argument == "--translate=on";
      continue;
    }
    if (argument.rfind("--mode=", 0) != 0) {
      (*argv)[kept++] = (*argv)[i];
      continue;
    }
    for (int m = 0; m < kModes; ++m)
      if (argument.substr(7) == kModeNames[m]) only_mode = m;
    if (only_mode < 0) {
      std::fprintf(stderr, "no mode is called '%s'\n", argument.c_str() + 7);
      std::exit(2);
    }
  }
  *argc = kept;
  std::atexit(PrintLongest);
  return 0;
}

namespace {

// Gives the longest time from a kick to the end.
uint64_t RunInput(const uint8_t* data, size_t size) {
  // Made once, and alive to the end of the process.
  static Watchdog& watchdog = *new Watchdog;
  const bool translate = only_translate >= 0 ? only_translate != 0 : (data[1] & 8) != 0;
  Guest g(1, CpuModel::kMax, {.on = translate, .code_bytes = size_t{1} << 20, .heat = 1});
  std::vector<uint8_t> rom(kRomBytes + kPageSize, 0x90);
  uint8_t* rom_page = rom.data() + (-reinterpret_cast<uint64_t>(rom.data()) & (kPageSize - 1));
  g.memory->SetSlot(Gpa(kRom), kRomBytes, rom_page, SlotKind::kRom);
  const Mode mode = static_cast<Mode>(only_mode >= 0 ? only_mode : data[0] % kModes);
  const bool paging = data[1] & 1, user = data[1] & 2, at_end = data[1] & 4;
  const uint64_t code_at = Enter(g, mode, paging, user);
  static constexpr uint64_t kPlaces[] = {0,
                                         Guest::kData,
                                         Guest::kData + 0xFFD,
                                         Guest::kCode,
                                         Guest::kStack,
                                         Guest::kPageTable,
                                         0xFEE00000,
                                         0xFFFFFFFFFFFFFFF8,
                                         0x8000000000000000,
                                         kRom,
                                         kRom + kRomBytes - 3,
                                         Guest::kRam - 3,
                                         0x3F000000,
                                         0x7FFFFFFFFFF9,
                                         Guest::kGdt,
                                         Guest::kTss};
  CpuState& s = g.cpu().s;
  for (unsigned i = 0; i < 16; ++i) {
    if (i == kRsp) continue;
    const uint8_t v = data[2 + i];
    s.gpr[i] = kPlaces[v & 15] + (v >> 4);
    if (s.code_size != CodeSize::k64) s.gpr[i] = static_cast<uint32_t>(s.gpr[i]);
  }
  const size_t n = std::min(size - kHead, kMaxCode);
  g.Write(code_at, std::span(data + kHead, n));
  uint64_t first = s.rip;
  if (at_end && mode == kLong64) {  // at the end of a page that nothing follows
    const size_t part = std::min<size_t>(n, 64);
    g.Write(code_at + 0x1000 - part, std::span(data + kHead, part));
    g.MapPage(code_at + 0x1000, 0);
    first += 0x1000 - part;
  }
  const CpuState start = s;
  uint64_t longest = 0;
  for (unsigned round = 0; round < 4 && round < n; ++round) {
    s = start;
    s.rip = first + round * n / 4;
    ModeChanged(g.cpu());
    g.cpu().mmu.ModeChanged();
    g.cpu().mmu.AcChanged();
    g.cpu().mmu.FlushAll();
    Exit exit;
    const uint64_t ns = watchdog.Run(g.cpu(), &exit);
    ++rounds;
    kicked += ns != 0;
    longest = std::max(longest, ns);
    for (const uint8_t b : rom) {
      if (b == 0x90) continue;
      std::fprintf(stderr, "%s: the guest wrote into ROM\n", kModeNames[mode]);
      std::abort();
    }
  }
  return longest;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size <= kHead) return 0;
  // What the host's kernel does in the thread's time (huge pages) and what a
  // hypervisor below takes does not come back with the same input.
  uint64_t ns = RunInput(data, size);
  for (int tries = 0; tries < 5 && ns > 500000; ++tries) ns = std::min(ns, RunInput(data, size));
  longest_ns = std::max(longest_ns, ns);
  if (ns > kLimitMs * 1000000) {
    std::fprintf(stderr, "Run() went on for %.3f ms of CPU time after a kick\n",
                 static_cast<double>(ns) / 1e6);
    std::abort();
  }
  return 0;
}
