// SPDX-License-Identifier: Apache-2.0
#include "lib/dev/debug_port.h"

namespace atl::dev {

uint64_t DebugExit::Read(unsigned, uint64_t, unsigned) { return 0; }

void DebugExit::Write(unsigned, uint64_t, unsigned, uint64_t value) {
  // A process' status has eight bits.
  system_.RequestExit(static_cast<int>((value << 1 | 1) & 0xFF));
}

uint64_t DebugConsole::Read(unsigned, uint64_t, unsigned) { return 0xE9; }

void DebugConsole::Write(unsigned, uint64_t, unsigned, uint64_t value) {
  const uint8_t byte = static_cast<uint8_t>(value);
  stream_.Write({&byte, 1});
}

}  // namespace atl::dev
