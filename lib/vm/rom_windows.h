// SPDX-License-Identifier: Apache-2.0
// Option ROMs of PCI functions as memory of the guest: where a ROM's BAR lies, a slot takes
// the guest's reads without an exit. Firmware copies whole ROMs, four bytes at a time.
#ifndef LIB_VM_ROM_WINDOWS_H_
#define LIB_VM_ROM_WINDOWS_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>

#include "absl/base/thread_annotations.h"
#include "lib/base/mutex.h"
#include "lib/dev/device.h"
#include "lib/mem/guest_memory.h"
#include "lib/pci/wiring.h"

namespace atl::vm {

// Stands between all functions and the machine's BarMapper. As with Framebuffer, a slot
// follows at the next standstill, and until then and where memory lies already, the bus
// leads to the function. Map() reads the ROM through the function, whose lock is held.
class RomWindows final : public pci::BarMapper {
 public:
  using AtStandstill = std::function<void(std::function<void()>)>;

  RomWindows(pci::BarMapper& bars, GuestMemory& memory, AtStandstill at_standstill)
      : bars_(bars), memory_(memory), at_standstill_(std::move(at_standstill)) {}
  // Takes the slots away. Nothing waits for a standstill any more.
  ~RomWindows() override;

  // From now on vCPUs may run; until then changes take place at once.
  void GuestRuns(bool runs) { guest_runs_ = runs; }

  void Map(dev::Device& device, unsigned region, pci::Space space, uint64_t base,
           uint64_t size) override;
  void Unmap(dev::Device& device, unsigned region) override;

 private:
  struct Free {
    void operator()(uint8_t* p) const;
  };
  struct Window {
    std::unique_ptr<uint8_t[], Free> bytes;  // begins at a page
    uint64_t size = 0;
    std::optional<Gpa> placed;  // changed at standstill
  };

  void Request(Window& window, std::optional<Gpa> base);
  void Apply(Window& window, std::optional<Gpa> base);

  pci::BarMapper& bars_;
  GuestMemory& memory_;
  const AtStandstill at_standstill_;
  bool guest_runs_ = false;
  Mutex mu_;
  std::map<dev::Device*, Window> windows_ ABSL_GUARDED_BY(mu_);  // never removed
};

}  // namespace atl::vm

#endif  // LIB_VM_ROM_WINDOWS_H_
