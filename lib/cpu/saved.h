// SPDX-License-Identifier: Apache-2.0
// A vCPU's whole state and a VM's own, as values: what a backend gives when it is
// saved and takes when it is loaded, the same shapes for all of them. lib/vm makes
// bytes of them (lib/vm/saved_cpu.h).
//
// A state belongs to the memory, and where the machine has the interrupt
// controllers to the devices, that were saved with it. What a backend cannot
// represent it refuses with an error that names the field; nothing is dropped.
#ifndef LIB_CPU_SAVED_H_
#define LIB_CPU_SAVED_H_

#include <cstdint>
#include <vector>

#include "lib/cpu/regs.h"

namespace atl::cpu {

// How much of a state is loaded.
enum class StatePart : uint8_t {
  // All of it: the same kind of backend goes on where the other stopped.
  kWhole,
  // What instructions compute with, and the events under way: the part that
  // means the same on every backend. Time (TSC, kvmclock) and the kernel's LAPIC
  // stay as after Reset().
  kRegisters,
};

enum class Activity : uint8_t {
  kRunning,
  kHalted,        // HLT
  kWaitForSipi,   // after power-on or INIT, not the first processor
  kInitReceived,  // the next two: KVM's LAPIC, on the way to the one before
  kSipiReceived,
};
inline constexpr Activity kLastActivity = Activity::kSipiReceived;

struct SavedMsr {
  uint32_t index = 0;
  uint64_t value = 0;
  friend bool operator==(const SavedMsr&, const SavedMsr&) = default;
};

// Bits of SavedEvents::shadow.
inline constexpr uint8_t kShadowMovSs = 1, kShadowSti = 2;

struct SavedEvents {
  // Taken, and delivered before the next instruction: an exception, an interrupt of
  // `interrupt_vector`, an NMI.
  bool exception = false;
  uint8_t exception_vector = 0;
  bool exception_has_code = false;
  uint32_t exception_code = 0;
  bool interrupt = false;
  uint8_t interrupt_vector = 0;
  bool nmi = false;
  // DR6 bits of a #DB that comes before the next instruction.
  uint32_t debug = 0;

  uint8_t shadow = 0;  // interrupts are held off for one instruction
  bool nmi_pending = false;
  bool nmi_masked = false;  // until IRET
  // From other processors, not taken yet; SIPI after INIT.
  bool init = false;
  bool sipi = false;
  uint8_t sipi_vector = 0;
  // System management mode.
  bool smm = false;
  bool smi_pending = false;
  bool smm_inside_nmi = false;
  bool smm_latched_init = false;
};

struct SavedVcpu {
  Regs regs;
  SystemRegs system;
  // With PAE paging: as loaded with CR3, where the backend knows them apart from
  // what is in memory.
  bool has_pdptes = false;
  uint64_t pdpte[4] = {};
  uint64_t dr[4] = {};
  uint64_t dr6 = 0xFFFF0FF0;
  uint64_t dr7 = 0x400;
  uint64_t xcr0 = 1;
  // XSAVE's standard form (SDM vol. 1, 13.4): 512 bytes as of FXSAVE64, the header,
  // AVX at 576, what else there is at the places CPUID 0xD names.
  std::vector<uint8_t> xsave;
  std::vector<SavedMsr> msrs;  // of msr_table.h, in its order
  SavedEvents events;
  Activity activity = Activity::kRunning;
  // KVM_GET_LAPIC's 1024 bytes where the LAPIC is the VM's own, else none.
  std::vector<uint8_t> lapic;
  uint32_t tsc_khz = 0;
  uint64_t tsc = 0;  // its counter when the VM was saved
};
inline constexpr uint64_t kMaxXsaveBytes = 1 << 16;
inline constexpr uint64_t kLapicBytes = 1024;
inline constexpr uint64_t kMaxSavedMsrs = 512;

struct SavedVm {
  bool has_clock = false;  // kvmclock, where it is the VM's own
  uint64_t clock_ns = 0;
  // Interrupt controllers and timer where they are the VM's own, else none:
  // KVM_GET_IRQCHIP's bytes (two 8259s, the IOAPIC), KVM_GET_PIT2's.
  std::vector<uint8_t> pic[2];
  std::vector<uint8_t> ioapic;
  std::vector<uint8_t> pit;
};
inline constexpr uint64_t kMaxChipBytes = 512;

}  // namespace atl::cpu

#endif  // LIB_CPU_SAVED_H_
