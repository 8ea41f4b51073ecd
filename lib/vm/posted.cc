// SPDX-License-Identifier: Apache-2.0
#include "lib/vm/posted.h"

namespace atl::vm {
namespace {

constexpr cpu::PostedRange kRanges[] = {
    // The VGA's window, and the ports that say what a byte in it means, colours and the
    // cursor. Not the Bochs interface's: it clears memory that the guest also writes to
    // without any device.
    {.port = false, .base = 0xA0000, .size = 0x20000, .seen = true},
    {.port = true, .base = 0x3C0, .size = 16, .seen = true},
    {.port = true, .base = 0x3D4, .size = 2, .seen = true},
    // IDE: features to LBA, not the drive's selection and the command.
    {.port = true, .base = 0x1F1, .size = 5},
    {.port = true, .base = 0x171, .size = 5},
    // The clock's index, and the port that firmware shows its progress at and that
    // drivers write to only to lose time.
    {.port = true, .base = 0x70, .size = 1},
    {.port = true, .base = 0x80, .size = 1},
};

}  // namespace

std::span<const cpu::PostedRange> PostedRanges() { return kRanges; }

PostedPath::PostedPath(cpu::Vm& vm, dev::Bus& bus)
    : vm_(vm),
      used_(vm.PostWrites(kRanges, [&bus](bool port, uint64_t at, unsigned size, uint64_t value) {
        bus.Write(port ? dev::Space::kPort : dev::Space::kMmio, at, size, value);
      })) {}

}  // namespace atl::vm
