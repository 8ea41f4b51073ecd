// SPDX-License-Identifier: Apache-2.0
// What a guest sees of the processor.
#include <bit>

#include "lib/cpu/kvm/vm.h"

namespace atl::cpu::kvm {
namespace {

constexpr uint32_t Bit(unsigned n) { return uint32_t{1} << n; }

// Leaf 1.
constexpr uint32_t kMonitor = Bit(3), kVmx = Bit(5), kX2Apic = Bit(21), kTscDeadline = Bit(24),
                   kHypervisor = Bit(31);  // ecx
constexpr uint32_t kHtt = Bit(28);         // edx
// Leaf 0x80000001, ecx.
constexpr uint32_t kSvm = Bit(2), kPerfCore = Bit(23), kPerfNb = Bit(24), kPerfLlc = Bit(28);
// Leaf 0x40000001, eax: kvmclock old and new, no I/O delay, stable clock.
constexpr uint32_t kParavirt = Bit(0) | Bit(1) | Bit(3) | Bit(24);
// With the kernel's LAPICs also stolen time, EOI in memory, unhalt, TLB flush, IPIs to
// many, control of polling, yielding to who is preempted. Not asynchronous page faults:
// memory that is gone to swap is rare, and their state is more to save.
constexpr uint32_t kParavirtOfLapics =
    Bit(5) | Bit(6) | Bit(7) | Bit(9) | Bit(11) | Bit(12) | Bit(13);

}  // namespace

void FilterCpuid(std::vector<kvm_cpuid_entry2>& entries, bool kernel_lapics, bool tsc_deadline) {
  for (kvm_cpuid_entry2& e : entries) {
    switch (e.function) {
      case 1:
        e.ecx &= ~(kMonitor | kVmx | kTscDeadline);
        if (!kernel_lapics) e.ecx &= ~kX2Apic;
        if (kernel_lapics && tsc_deadline) e.ecx |= kTscDeadline;
        e.ecx |= kHypervisor;
        break;
      case 5:    // MONITOR
      case 0xA:  // performance counters
        e.eax = e.ebx = e.ecx = e.edx = 0;
        break;
      case 0x40000001:
        e.eax &= kernel_lapics ? kParavirt | kParavirtOfLapics : kParavirt;
        break;
      case 0x80000001:
        e.ecx &= ~(kSvm | kPerfCore | kPerfNb | kPerfLlc);
        break;
      case 0x8000000A:  // SVM
        e.eax = e.ebx = e.ecx = e.edx = 0;
        break;
      default:
        break;
    }
  }
  // Leaf 0x1F would have to repeat leaf 0xB; without it guests read that one.
  std::erase_if(entries,
                [](const kvm_cpuid_entry2& e) { return e.function == 0x1F || e.function == 0xB; });
  for (uint32_t level = 0; level < 3; ++level) {
    kvm_cpuid_entry2 e{};
    e.function = 0xB;
    e.index = level;
    e.flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX;
    entries.push_back(e);
  }
}

void SetTopology(std::vector<kvm_cpuid_entry2>& entries, unsigned index, unsigned count) {
  const auto shift = static_cast<unsigned>(std::bit_width(count - 1));
  for (kvm_cpuid_entry2& e : entries) {
    switch (e.function) {
      case 1:
        e.ebx = (e.ebx & 0xFFFF) | (count & 0xFF) << 16 | index << 24;
        e.edx = count > 1 ? e.edx | kHtt : e.edx & ~kHtt;
        break;
      case 4: {  // caches: level 3 is shared by all, the others by none
        const bool shared = (e.eax >> 5 & 7) >= 3;
        const uint32_t ids = (uint32_t{1} << shift) - 1;
        if ((e.eax & 0x1F) != 0) {
          e.eax = (e.eax & 0x3FFF) | (shared ? (ids & 0xFFF) << 14 : 0) | (ids & 0x3F) << 26;
        }
        break;
      }
      case 0xB:
        e.edx = index;
        e.eax = e.index == 0 ? 0 : e.index == 1 ? shift : 0;
        e.ebx = e.index == 0 ? 1 : e.index == 1 ? count : 0;
        e.ecx = e.index | (e.index < 2 ? (e.index + 1) << 8 : 0);
        break;
      case 0x80000008:
        e.ecx = (e.ecx & ~0xF0FFu) | ((count - 1) & 0xFF) | (shift & 0xF) << 12;
        break;
      case 0x8000001D: {
        const bool shared = (e.eax >> 5 & 7) >= 3;
        e.eax = (e.eax & 0x3FFF) | (shared ? ((count - 1) & 0xFFF) << 14 : 0);
        break;
      }
      case 0x8000001E:
        e.eax = index;
        e.ebx = index & 0xFF;
        e.ecx = 0;
        break;
      default:
        break;
    }
  }
}

}  // namespace atl::cpu::kvm
