// SPDX-License-Identifier: Apache-2.0
// Instructions from the input, in each mode, at CPL 0 and 3, with system
// instructions made likely: whatever a guest runs, the process lives, and a
// bounded run ends.
#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <thread>
#include <vector>

#include "lib/cpu/soft/state.h"
#include "lib/cpu/soft/testing/guest.h"
#include "lib/cpu/soft/vcpu.h"

namespace {

using namespace atl;             // NOLINT: a fuzz target is one function
using namespace atl::cpu;        // NOLINT
using namespace atl::cpu::soft;  // NOLINT

// What system code is made of; the input's bytes choose and follow.
constexpr std::array<std::array<uint8_t, 3>, 48> kStarts = {{
    {0x0F, 0x20, 0xC0}, {0x0F, 0x22, 0xC0}, {0x0F, 0x22, 0xD8}, {0x0F, 0x22, 0xE0},
    {0x0F, 0x23, 0xF8}, {0x0F, 0x21, 0xF0}, {0x0F, 0x01, 0x10}, {0x0F, 0x01, 0x18},
    {0x0F, 0x01, 0x00}, {0x0F, 0x01, 0xF0}, {0x0F, 0x01, 0x38}, {0x0F, 0x01, 0xF8},
    {0x0F, 0x01, 0xCB}, {0x0F, 0x01, 0xCA}, {0x0F, 0x00, 0xD0}, {0x0F, 0x00, 0xD8},
    {0x0F, 0x30, 0x90}, {0x0F, 0x32, 0x90}, {0x0F, 0xA2, 0x90}, {0x0F, 0x05, 0x90},
    {0x48, 0x0F, 0x07}, {0x0F, 0x34, 0x90}, {0x0F, 0x35, 0x90}, {0x48, 0xCF, 0x90},
    {0xCF, 0x90, 0x90}, {0xCB, 0x90, 0x90}, {0xCA, 0x04, 0x00}, {0x48, 0xCB, 0x90},
    {0xCD, 0x03, 0x90}, {0xCC, 0x90, 0x90}, {0xF1, 0x90, 0x90}, {0xCE, 0x90, 0x90},
    {0x8E, 0xD0, 0x90}, {0x8E, 0xD8, 0x90}, {0x8E, 0xE0, 0x90}, {0x0F, 0xB2, 0x00},
    {0x0F, 0x02, 0xC0}, {0x0F, 0x03, 0xC0}, {0xFF, 0x28, 0x90}, {0xFF, 0x18, 0x90},
    {0xEA, 0x00, 0x10}, {0x9A, 0x00, 0x10}, {0xF3, 0x6C, 0x90}, {0xF3, 0x6E, 0x90},
    {0x0F, 0x06, 0x90}, {0xFB, 0x90, 0x90}, {0x9D, 0x90, 0x90}, {0x66, 0x0F, 0x38},
}};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 24) return 0;
  Guest guest;
  switch (data[0] % 3) {
    case 0:
      guest.Enter64();
      break;
    case 1:
      guest.Enter32();
      break;
    default:
      guest.EnterReal();
      break;
  }
  SoftVcpu& c = guest.cpu();
  CpuState& s = c.s;
  // A GDT and a page full of the input, where selectors and pointers lead.
  std::vector<uint8_t> filler(512);
  for (size_t i = 0; i < filler.size(); ++i) filler[i] = data[i % size];
  guest.Write(Guest::kGdt + 0x30, filler);
  guest.Write(Guest::kData, filler);
  guest.Write(Guest::kStack, filler);
  s.gdt.limit = static_cast<uint16_t>(data[1] << 1 | 0x2F);
  if (data[2] & 1 && data[0] % 3 != 2) {
    SystemRegs r = c.GetSystemRegs().value();
    for (auto& g : r.segment) {
      g.selector |= 3;
      g.dpl = 3;
    }
    (void)c.SetSystemRegs(r);
  }
  for (unsigned i = 0; i < 16; ++i) {
    if (i == kRsp) continue;
    s.gpr[i] = (data[3 + i] & 1) ? data[3 + i] : Guest::kData + data[3 + i];
  }
  s.seg[kGs].base = data[19] & 1 ? 0 : Guest::kData;
  std::vector<uint8_t> code;
  for (size_t i = 20; i + 1 < size && code.size() < 200; i += 2) {
    const auto& start = kStarts[data[i] % kStarts.size()];
    code.insert(code.end(), start.begin(), start.end());
    if (data[i] & 0x80) code.push_back(data[i + 1]);
  }
  guest.Write(data[0] % 3 == 2 ? 0x10000 : Guest::kCode, code);
  // The guest may loop for ever; a kick ends the run.
  std::atomic<bool> done{false};
  std::thread kicker([&] {
    for (unsigned i = 0; i < 20 && !done; ++i)
      std::this_thread::sleep_for(std::chrono::microseconds(50));
    c.Kick();
  });
  (void)c.Run();
  done = true;
  kicker.join();
  return 0;
}
