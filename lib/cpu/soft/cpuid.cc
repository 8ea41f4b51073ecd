// SPDX-License-Identifier: Apache-2.0
#include "lib/cpu/soft/cpuid.h"

#include <cpuid.h>

#include <algorithm>
#include <cstring>

#include "lib/cpu/soft/sys_state.h"
#include "lib/cpu/soft/walk.h"

namespace atl::cpu::soft {
namespace {

// Why an Intel of family 6, model 0x2C. Guests choose by vendor and model what
// they work around and which string routines they use. This model's feature set
// is x86-64-v2 with AES, as the base model's is; C libraries know it as one with fast
// unaligned loads and take REP MOVSB for the rest; with ARCH_CAPABILITIES
// (msr.cc) saying that no known flaw is there, kernels leave out retpolines and
// page table isolation, which cost an interpreter more than hardware.
constexpr char kVendor[] = "GenuineIntel";
constexpr char kBrand[48] = "atoll software CPU";
constexpr char kHypervisor[12] = {'K', 'V', 'M', 'K', 'V', 'M', 'K', 'V', 'M', 0, 0, 0};

constexpr uint32_t kMaxBasic = 0x16;
constexpr uint32_t kMaxExtended = 0x80000008;
constexpr uint32_t kHypervisorBase = 0x40000000, kMaxHypervisor = 0x40000010;

using enum CpuidRegister;

constexpr CpuidFeature kFeatures[] = {
    // Leaf 1.
    {1, 0, kEcx, 0, "sse3", "native_*.cc", true},
    {1, 0, kEcx, 1, "pclmulqdq", "native_*.cc", true},
    {1, 0, kEcx, 9, "ssse3", "native_*.cc", true},
    {1, 0, kEcx, 12, "fma", "native_vex.cc", true, CpuModel::kMax},
    {1, 0, kEcx, 13, "cx16", "exec_atomic.cc: CMPXCHG16B"},
    {1, 0, kEcx, 17, "pcid", "mmu.cc: FlushPcid()"},
    {1, 0, kEcx, 19, "sse4_1", "native_*.cc", true},
    {1, 0, kEcx, 20, "sse4_2", "native_*.cc, exec_bit.cc: CRC32", true},
    {1, 0, kEcx, 21, "x2apic", "msr.cc: 0x800 to 0x8FF go to the LAPIC"},
    {1, 0, kEcx, 22, "movbe", "exec_move.cc"},
    {1, 0, kEcx, 23, "popcnt", "exec_bit.cc"},
    {1, 0, kEcx, 24, "tsc_deadline_timer", "msr.cc: 0x6E0 goes to the LAPIC"},
    {1, 0, kEcx, 25, "aes", "native_*.cc", true},
    {1, 0, kEcx, 26, "xsave", "native_xsave.cc", false, CpuModel::kMax},
    {1, 0, kEcx, 28, "avx", "native_vex.cc", true, CpuModel::kMax},
    {1, 0, kEcx, 29, "f16c", "native_vex.cc", true, CpuModel::kMax},
    {1, 0, kEcx, 30, "rdrand", "exec_*.cc, on the host's", true},
    {1, 0, kEcx, 31, "hypervisor", "leaf 0x40000000"},
    {1, 0, kEdx, 0, "fpu", "native_*.cc"},
    {1, 0, kEdx, 2, "de", "sys_control.cc: DR4 and DR5"},
    {1, 0, kEdx, 3, "pse", "walk.cc"},
    {1, 0, kEdx, 4, "tsc", "sys_control.cc"},
    {1, 0, kEdx, 5, "msr", "msr.cc"},
    {1, 0, kEdx, 6, "pae", "walk.cc"},
    {1, 0, kEdx, 7, "mce", "CR4.MCE; there are no machine checks"},
    {1, 0, kEdx, 8, "cx8", "exec_atomic.cc"},
    {1, 0, kEdx, 9, "apic", "the machine's LAPICs"},
    {1, 0, kEdx, 11, "sep", "sys_fast_call.cc"},
    {1, 0, kEdx, 12, "mtrr", "msr.cc keeps them; memory has one type"},
    {1, 0, kEdx, 13, "pge", "mmu.cc"},
    {1, 0, kEdx, 14, "mca", "msr.cc: no banks"},
    {1, 0, kEdx, 15, "cmov", "exec_move.cc"},
    {1, 0, kEdx, 16, "pat", "msr.cc keeps it; memory has one type"},
    {1, 0, kEdx, 17, "pse36", "walk.cc"},
    {1, 0, kEdx, 19, "clflush", "a NOP: there are no caches to flush"},
    {1, 0, kEdx, 23, "mmx", "native_*.cc"},
    {1, 0, kEdx, 24, "fxsr", "native_*.cc"},
    {1, 0, kEdx, 25, "sse", "native_*.cc"},
    {1, 0, kEdx, 26, "sse2", "native_*.cc"},
    // Leaf 6: the LAPIC's timer runs in every power state, as there are none.
    {6, 0, kEax, 2, "arat", "the LAPIC's timer never stops"},
    // Leaf 7.
    {7, 0, kEbx, 0, "fsgsbase", "sys_control.cc"},
    {7, 0, kEbx, 3, "bmi1", "exec_bit.cc", true, CpuModel::kMax},
    {7, 0, kEbx, 5, "avx2", "native_vex.cc, native_masked.cc", true, CpuModel::kMax},
    {7, 0, kEbx, 7, "smep", "walk.cc"},
    {7, 0, kEbx, 8, "bmi2", "exec_bit.cc, exec_multiply.cc: MULX", true, CpuModel::kMax},
    {7, 0, kEbx, 9, "erms", "exec_string.cc copies whole pages"},
    {7, 0, kEbx, 10, "invpcid", "sys_control.cc"},
    {7, 0, kEbx, 18, "rdseed", "exec_*.cc, on the host's", true},
    {7, 0, kEbx, 19, "adx", "exec_*.cc"},
    {7, 0, kEbx, 20, "smap", "walk.cc, mmu.cc"},
    {7, 0, kEbx, 23, "clflushopt", "a NOP, as clflush"},
    {7, 0, kEbx, 29, "sha_ni", "native_*.cc", true},
    {7, 0, kEcx, 2, "umip", "sys_segment.cc, sys_control.cc"},
    {7, 0, kEdx, 4, "fsrm", "exec_string.cc"},
    {7, 0, kEdx, 26, "spec_ctrl", "msr.cc: IBRS and IBPB have nothing to do"},
    {7, 0, kEdx, 29, "arch_capabilities", "msr.cc"},
    // Kernels do not believe a guest's BHI_NO, but use this instead of clearing
    // the branch history by software at every system call.
    {7, 2, kEdx, 4, "bhi_ctrl", "msr.cc: BHI_DIS_S has nothing to do"},
    // Leaf 0xD. No XSAVES: there is no supervisor state.
    {0xD, 1, kEax, 0, "xsaveopt", "native_xsave.cc", false, CpuModel::kMax},
    {0xD, 1, kEax, 1, "xsavec", "native_xsave.cc", false, CpuModel::kMax},
    {0xD, 1, kEax, 2, "xgetbv1", "native_xsave.cc", false, CpuModel::kMax},
    // KVM's leaf 0x40000001.
    {0x40000001, 0, kEax, 0, "kvmclock", "msr.cc: 0x11 and 0x12"},
    {0x40000001, 0, kEax, 1, "kvm_nopiodelay", "ports need no rest after an access"},
    {0x40000001, 0, kEax, 3, "kvmclock2", "msr.cc: 0x4B564D00 and 0x4B564D01"},
    {0x40000001, 0, kEax, 24, "kvmclock_stable", "one clock for all vCPUs"},
    // Leaf 0x80000001.
    {0x80000001, 0, kEcx, 0, "lahf_lm", "exec_*.cc"},
    {0x80000001, 0, kEcx, 5, "abm", "exec_bit.cc: LZCNT", true},
    {0x80000001, 0, kEcx, 8, "3dnowprefetch", "a NOP"},
    {0x80000001, 0, kEdx, 11, "syscall", "sys_fast_call.cc"},
    {0x80000001, 0, kEdx, 20, "nx", "walk.cc"},
    {0x80000001, 0, kEdx, 26, "pdpe1gb", "walk.cc"},
    {0x80000001, 0, kEdx, 27, "rdtscp", "sys_control.cc"},
    {0x80000001, 0, kEdx, 29, "lm", "walk.cc, sys_*.cc"},
    {0x80000007, 0, kEdx, 8, "constant_tsc", "the TSC is the machine's clock"},
};

uint32_t& Register(CpuidResult& r, CpuidRegister reg) {
  switch (reg) {
    case kEax:
      return r.eax;
    case kEbx:
      return r.ebx;
    case kEcx:
      return r.ecx;
    default:
      return r.edx;
  }
}

CpuidResult HostCpuid(uint32_t leaf, uint32_t subleaf) {
  CpuidResult r;
  __cpuid_count(leaf, subleaf, r.eax, r.ebx, r.ecx, r.edx);
  return r;
}

bool RestsOnAvx(const CpuidFeature& f) {
  return f.name == "avx" || f.name == "avx2" || f.name == "fma" || f.name == "f16c";
}

// Leaves of features, masked once: the host's CPUID can cost microseconds.
struct FeatureLeaves {
  CpuidResult leaf1, leaf6, leaf7, leaf7_2, leafd_1, kvm, extended1, extended7;

  CpuidResult* For(uint32_t leaf, uint32_t subleaf) {
    switch (leaf) {
      case 1:
        return &leaf1;
      case 6:
        return &leaf6;
      case 7:
        return subleaf == 2 ? &leaf7_2 : &leaf7;
      case 0xD:
        return &leafd_1;
      case 0x40000001:
        return &kvm;
      case 0x80000001:
        return &extended1;
      default:
        return &extended7;
    }
  }
  explicit FeatureLeaves(CpuModel model) {
    for (const CpuidFeature& f : kFeatures) {
      if (Offered(f, model)) Register(*For(f.leaf, f.subleaf), f.reg) |= 1u << f.bit;
    }
  }
};

const FeatureLeaves& Leaves(CpuModel model) {
  static const FeatureLeaves leaves[] = {FeatureLeaves(CpuModel::kBase),
                                         FeatureLeaves(CpuModel::kMax)};
  return leaves[static_cast<unsigned>(model)];
}

// How many low bits of an APIC id tell `count` apart.
unsigned IdBits(unsigned count) {
  unsigned bits = 0;
  while ((1u << bits) < count) ++bits;
  return bits;
}

// Leaf 4: sharing is a count of APIC ids, less one.
CpuidResult CacheLeaf(const CpuidTopology& t, uint32_t subleaf) {
  struct Cache {
    uint32_t type, level, ways, sets;
    bool shared;
  };
  // 32K, 32K, 256K and 16M of 64-byte lines.
  constexpr Cache kCaches[] = {
      {1, 1, 8, 64, false}, {2, 1, 8, 64, false}, {3, 2, 8, 512, false}, {3, 3, 16, 16384, true}};
  if (subleaf >= std::size(kCaches)) return {};
  const Cache& c = kCaches[subleaf];
  const uint32_t ids = std::min(1u << IdBits(t.count), 64u);
  CpuidResult r;
  r.eax = c.type | c.level << 5 | 1 << 8 | (c.shared ? ids - 1 : 0) << 14 | (ids - 1) << 26;
  r.ebx = 63 | (c.ways - 1) << 22;
  r.ecx = c.sets - 1;
  return r;
}

// Leaf 0xB: threads within a core (one), cores within the package.
CpuidResult TopologyLeaf(const CpuidTopology& t, uint32_t subleaf) {
  CpuidResult r;
  r.ecx = subleaf & 0xFF;
  r.edx = t.index;
  if (subleaf == 0) {
    r.ebx = 1;
    r.ecx |= 1 << 8;
  } else if (subleaf == 1) {
    r.eax = IdBits(t.count);
    r.ebx = t.count;
    r.ecx |= 2 << 8;
  }
  return r;
}

// Leaf 0xD: sizes of XSAVE's area (vol. 1, 13.2).
CpuidResult XsaveLeaf(const CpuidTopology& t, uint32_t subleaf) {
  constexpr uint32_t kAvx = 4, kAvxAt = 576, kAvxBytes = 256;
  const uint64_t supported = SupportedXcr0(t.model);
  const auto size = [](uint64_t mask) { return mask & kAvx ? kAvxAt + kAvxBytes : kAvxAt; };
  CpuidResult r;
  if (supported == 0) return r;
  if (subleaf == 0) {
    r.eax = static_cast<uint32_t>(supported);
    r.ebx = size(t.xcr0);
    r.ecx = size(supported);
  } else if (subleaf == 1) {
    r = Leaves(t.model).leafd_1;
    r.ebx = size(t.xcr0);
  } else if (subleaf == 2 && (supported & kAvx)) {
    r.eax = kAvxBytes;
    r.ebx = kAvxAt;
  }
  return r;
}

CpuidResult FromText(const char* text) {
  CpuidResult r;
  std::memcpy(&r.eax, text, 4);
  std::memcpy(&r.ebx, text + 4, 4);
  std::memcpy(&r.ecx, text + 8, 4);
  std::memcpy(&r.edx, text + 12, 4);
  return r;
}

CpuidResult Basic(const CpuidTopology& t, uint32_t leaf, uint32_t subleaf) {
  CpuidResult r;
  switch (leaf) {
    case 0:
      r.eax = kMaxBasic;
      std::memcpy(&r.ebx, kVendor, 4);
      std::memcpy(&r.edx, kVendor + 4, 4);
      std::memcpy(&r.ecx, kVendor + 8, 4);
      return r;
    case 1:
      r = Leaves(t.model).leaf1;
      if (t.osxsave) r.ecx |= 1 << 27;
      r.eax = kCpuSignature;
      r.ebx = t.index << 24 | std::min(1u << IdBits(t.count), 255u) << 16 | 8 << 8;
      if (t.count > 1) r.edx |= 1 << 28;  // EBX's count of ids is valid
      return r;
    case 2:
      r.eax = 0x00FF5A01;  // TLBs; caches: leaf 4
      return r;
    case 4:
      return CacheLeaf(t, subleaf);
    case 6:
      return Leaves(t.model).leaf6;
    case 7:
      if (subleaf == 0) {
        r = Leaves(t.model).leaf7;
        r.eax = 2;  // the last subleaf
      } else if (subleaf == 2) {
        r = Leaves(t.model).leaf7_2;
      }
      return r;
    case 0xB:
      return TopologyLeaf(t, subleaf);
    case 0xD:
      return XsaveLeaf(t, subleaf);
    case 0x15:
      // The LAPIC's timer counts at the same rate as the TSC.
      r.eax = r.ebx = 1;
      r.ecx = kTscHz;
      return r;
    case 0x16:
      r.eax = r.ebx = kTscHz / 1000000;
      r.ecx = 100;
      return r;
    default:
      return r;
  }
}

CpuidResult Hypervisor(CpuModel model, uint32_t leaf) {
  CpuidResult r;
  switch (leaf) {
    case kHypervisorBase:
      r.eax = kMaxHypervisor;
      std::memcpy(&r.ebx, kHypervisor, 4);
      std::memcpy(&r.ecx, kHypervisor + 4, 4);
      std::memcpy(&r.edx, kHypervisor + 8, 4);
      return r;
    case kHypervisorBase + 1:
      return Leaves(model).kvm;
    case kHypervisorBase + 0x10:
      r.eax = r.ebx = kTscHz / 1000;
      return r;
    default:
      return r;
  }
}

CpuidResult Extended(CpuModel model, uint32_t leaf) {
  CpuidResult r;
  switch (leaf) {
    case 0x80000000:
      r.eax = kMaxExtended;
      return r;
    case 0x80000001:
      return Leaves(model).extended1;
    case 0x80000002:
    case 0x80000003:
    case 0x80000004:
      return FromText(kBrand + (leaf - 0x80000002) * 16);
    case 0x80000006:
      r.ecx = 256 << 16 | 6 << 12 | 64;  // the L2
      return r;
    case 0x80000007:
      return Leaves(model).extended7;
    case 0x80000008:
      r.eax = kPhysicalBits | kLinearBits << 8;
      return r;
    default:
      return r;
  }
}

}  // namespace

std::span<const CpuidFeature> CpuidFeatures() { return kFeatures; }

bool Offered(const CpuidFeature& f, CpuModel model) {
  if (f.since > model) return false;
  if (!f.needs_host) return true;
  if (RestsOnAvx(f)) {
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("avx")) return false;
  }
  CpuidResult max = HostCpuid(f.leaf & 0x80000000, 0);
  if (max.eax < f.leaf) return false;
  CpuidResult host = HostCpuid(f.leaf, f.subleaf);
  return (Register(host, f.reg) >> f.bit & 1) != 0;
}

uint64_t SupportedXcr0(CpuModel model) {
  const InstructionSets& sets = SetsOf(model);
  return !sets.xsave ? 0 : sets.avx ? 7 : 3;
}

const InstructionSets& SetsOf(CpuModel model) {
  static const auto make = [](CpuModel m) {
    const FeatureLeaves& l = Leaves(m);
    const auto bit = [](uint32_t v, unsigned n) { return (v >> n & 1) != 0; };
    return InstructionSets{bit(l.extended1.ecx, 5), bit(l.leaf7.ebx, 3),  bit(l.leaf7.ebx, 8),
                           bit(l.leaf1.ecx, 26),    bit(l.leaf1.ecx, 28), bit(l.leaf7.ebx, 5),
                           bit(l.leaf1.ecx, 12),    bit(l.leaf1.ecx, 29)};
  };
  static const InstructionSets sets[] = {make(CpuModel::kBase), make(CpuModel::kMax)};
  return sets[static_cast<unsigned>(model)];
}

CpuidResult Cpuid(const CpuidTopology& topology, uint32_t leaf, uint32_t subleaf) {
  if (leaf >= kHypervisorBase && leaf <= kMaxHypervisor) return Hypervisor(topology.model, leaf);
  if (leaf >= 0x80000000 && leaf <= kMaxExtended) return Extended(topology.model, leaf);
  // Beyond the last leaf: the last one's data.
  return Basic(topology, std::min(leaf, kMaxBasic), subleaf);
}

}  // namespace atl::cpu::soft
