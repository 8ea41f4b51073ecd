// SPDX-License-Identifier: Apache-2.0
// A display's linear memory as memory of the guest: where its BAR lies, a slot
// takes the guest's accesses without an exit.
#ifndef LIB_VM_FRAMEBUFFER_H_
#define LIB_VM_FRAMEBUFFER_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <utility>

#include "lib/mem/guest_memory.h"
#include "lib/pci/wiring.h"

namespace atl::vm {

// Stands between one function and the machine's BarMapper. The slot follows the
// BAR at the next standstill; until then, and where the guest has put it over
// RAM or ROM, the bus leads to the function as with every other BAR.
class Framebuffer final : public pci::BarMapper {
 public:
  using AtStandstill = std::function<void(std::function<void()>)>;

  Framebuffer(pci::BarMapper& bars, GuestMemory& memory, AtStandstill at_standstill)
      : bars_(bars), memory_(memory), at_standstill_(std::move(at_standstill)) {}
  ~Framebuffer() override { Apply(std::nullopt); }

  // The memory behind region `region`; before the first Map(). The bytes outlive
  // this object.
  void SetMemory(unsigned region, std::span<uint8_t> bytes) {
    region_ = region;
    bytes_ = bytes;
  }
  // From now on vCPUs may run; until then changes take place at once.
  void GuestRuns(bool runs) { guest_runs_ = runs; }

  void Map(dev::Device& device, unsigned region, pci::Space space, uint64_t base,
           uint64_t size) override;
  void Unmap(dev::Device& device, unsigned region) override;

 private:
  void Request(std::optional<Gpa> base);
  void Apply(std::optional<Gpa> base);

  pci::BarMapper& bars_;
  GuestMemory& memory_;
  const AtStandstill at_standstill_;
  unsigned region_ = 0;
  std::span<uint8_t> bytes_;
  bool guest_runs_ = false;
  std::optional<Gpa> placed_;  // changed at standstill
};

}  // namespace atl::vm

#endif  // LIB_VM_FRAMEBUFFER_H_
