// SPDX-License-Identifier: Apache-2.0
// What the CPU sees between 0xC0000 and 1 MiB: RAM, or the BIOS image behind
// it, as the host bridge's PAM registers say.
#ifndef LIB_VM_SHADOW_H_
#define LIB_VM_SHADOW_H_

#include <cstdint>
#include <functional>
#include <span>

#include "lib/mem/guest_memory.h"
#include "lib/pci/i440fx.h"

namespace atl::vm {

// Without a BIOS image everything there is RAM and stays so: a kernel that is
// entered directly finds its ACPI tables there.
class Shadow final : public pci::ShadowMap {
 public:
  using AtStandstill = std::function<void(std::function<void()>)>;

  // Changes are carried out by `at_standstill`, once the guest can run.
  Shadow(GuestMemory& memory, AtStandstill at_standstill)
      : memory_(memory), at_standstill_(std::move(at_standstill)) {}

  // The image whose last 128 KiB lie under 0xE0000 to 0xFFFFF; they show until
  // the guest shadows them. Before the guest runs.
  void SetBios(std::span<uint8_t> image);
  // From now on vCPUs may run; until then changes take place at once.
  void GuestRuns(bool runs) { guest_runs_ = runs; }

  void SetShadow(Gpa base, uint64_t size, pci::ShadowMode mode) override;
  void SetSmramOpen(bool open) override;

 private:
  void Apply(Gpa base, uint64_t size, pci::ShadowMode mode);

  GuestMemory& memory_;
  const AtStandstill at_standstill_;
  std::span<uint8_t> bios_;
  bool guest_runs_ = false;
};

}  // namespace atl::vm

#endif  // LIB_VM_SHADOW_H_
