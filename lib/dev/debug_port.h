// SPDX-License-Identifier: Apache-2.0
// Ports by which guests under test talk to whoever started them.
#ifndef LIB_DEV_DEBUG_PORT_H_
#define LIB_DEV_DEBUG_PORT_H_

#include <cstdint>

#include "lib/char/stream.h"
#include "lib/dev/device.h"
#include "lib/dev/system_control.h"

namespace atl::dev {

// isa-debug-exit: writing v ends the machine with status (v << 1) | 1. Region 0:
// `iosize` ports, 0x501 and 2 by default.
class DebugExit final : public Device {
 public:
  static constexpr uint16_t kDefaultPort = 0x501;
  static constexpr uint16_t kDefaultSize = 2;

  explicit DebugExit(SystemControl& system) : system_(system) {}

  absl::string_view name() const override { return "isa-debug-exit"; }
  void Reset() override {}
  uint64_t Read(unsigned region, uint64_t offset, unsigned size) override;
  void Write(unsigned region, uint64_t offset, unsigned size, uint64_t value) override;
  void VisitState(StateVisitor&) override {}

 private:
  SystemControl& system_;
};

// The debug console of SeaBIOS (0x402) and Bochs (0xE9): bytes written go out,
// reading gives 0xE9, by which guests know that it is there. Region 0: 1 port.
class DebugConsole final : public Device {
 public:
  static constexpr uint16_t kSeabiosPort = 0x402;

  explicit DebugConsole(chr::Stream& stream) : stream_(stream) {}

  absl::string_view name() const override { return "isa-debugcon"; }
  void Reset() override {}
  uint64_t Read(unsigned region, uint64_t offset, unsigned size) override;
  void Write(unsigned region, uint64_t offset, unsigned size, uint64_t value) override;
  void VisitState(StateVisitor&) override {}

 private:
  chr::Stream& stream_;
};

}  // namespace atl::dev

#endif  // LIB_DEV_DEBUG_PORT_H_
