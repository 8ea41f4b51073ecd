// SPDX-License-Identifier: Apache-2.0
// Arbitrary machine code and registers in each mode: a guest may crash itself,
// never its host. First byte: the mode; then 16 bytes that registers are made
// of; the rest is code.
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <thread>

#include "lib/cpu/soft/testing/guest.h"

namespace {

using namespace atl::cpu;        // NOLINT: a fuzz target is one function
using namespace atl::cpu::soft;  // NOLINT

constexpr size_t kHead = 17, kMaxCode = 1024;
constexpr auto kBudget = std::chrono::milliseconds(10);

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size <= kHead) return 0;
  Guest g;
  const unsigned mode = data[0] % 4;
  uint64_t code_at = Guest::kCode;
  switch (mode) {
    case 0:
      g.EnterReal();
      code_at = 0x10000;
      break;
    case 1:
      g.Enter32();
      break;
    default:
      g.Enter64();
      break;
  }
  static constexpr uint64_t kPlaces[] = {0,
                                         Guest::kData,
                                         Guest::kData + 0xFFD,
                                         Guest::kCode,
                                         Guest::kStack,
                                         Guest::kPageTable,
                                         0xFEE00000,
                                         0xFFFFFFFFFFFFFFF8,
                                         0x8000000000000000,
                                         Guest::kGdt,
                                         Guest::kTss};
  for (unsigned i = 0; i < 16; ++i) {
    if (i == kRsp) continue;
    const uint8_t v = data[1 + i];
    g.cpu().s.gpr[i] = kPlaces[v % std::size(kPlaces)] + (v >> 4);
  }
  const size_t n = std::min(size - kHead, kMaxCode);
  g.Write(code_at, std::span(data + kHead, n));
  if (mode == 3) {  // at the end of a page that nothing follows
    g.Write(Guest::kCode + 0x1000 - std::min<size_t>(n, 64),
            std::span(data + kHead, std::min<size_t>(n, 64)));
    g.MapPage(Guest::kCode + 0x1000, 0);
    g.cpu().s.rip = Guest::kCode + 0x1000 - std::min<size_t>(n, 64);
  }
  // Somebody has to end its loops.
  std::mutex mu;
  std::condition_variable ended;
  bool done = false;
  std::thread watchdog([&] {
    std::unique_lock lock(mu);
    ended.wait_for(lock, kBudget, [&] { return done; });
    g.cpu().Kick();
  });
  (void)g.cpu().Run();
  {
    std::lock_guard lock(mu);
    done = true;
  }
  ended.notify_one();
  watchdog.join();
  return 0;
}
