// SPDX-License-Identifier: Apache-2.0
// The system instructions and who executes them.
#include "Zydis/Zydis.h"
#include "lib/cpu/soft/handlers.h"
#include "lib/cpu/soft/sys_select.h"

namespace atl::cpu::soft {
namespace {

Handler SelectMove(Insn& in, const DecodedView& view) {
  if (Handler h = SelectControlMove(in, view)) return h;
  return SelectSegmentMove(in, view);
}

constexpr HandlerEntry kEntries[] = {
    // These have other forms, which are the integer code's.
    {ZYDIS_MNEMONIC_MOV, SelectMove},
    {ZYDIS_MNEMONIC_PUSH, SelectSegmentPush},
    {ZYDIS_MNEMONIC_POP, SelectSegmentPop},
    {ZYDIS_MNEMONIC_CALL, SelectFar},
    {ZYDIS_MNEMONIC_JMP, SelectFar},
    {ZYDIS_MNEMONIC_RET, SelectFar},

    {ZYDIS_MNEMONIC_LDS, SelectFarPointer},
    {ZYDIS_MNEMONIC_LES, SelectFarPointer},
    {ZYDIS_MNEMONIC_LFS, SelectFarPointer},
    {ZYDIS_MNEMONIC_LGS, SelectFarPointer},
    {ZYDIS_MNEMONIC_LSS, SelectFarPointer},

    {ZYDIS_MNEMONIC_ARPL, SelectDescriptorTable},
    {ZYDIS_MNEMONIC_LAR, SelectDescriptorTable},
    {ZYDIS_MNEMONIC_LGDT, SelectDescriptorTable},
    {ZYDIS_MNEMONIC_LIDT, SelectDescriptorTable},
    {ZYDIS_MNEMONIC_LLDT, SelectDescriptorTable},
    {ZYDIS_MNEMONIC_LSL, SelectDescriptorTable},
    {ZYDIS_MNEMONIC_LTR, SelectDescriptorTable},
    {ZYDIS_MNEMONIC_SGDT, SelectDescriptorTable},
    {ZYDIS_MNEMONIC_SIDT, SelectDescriptorTable},
    {ZYDIS_MNEMONIC_SLDT, SelectDescriptorTable},
    {ZYDIS_MNEMONIC_STR, SelectDescriptorTable},
    {ZYDIS_MNEMONIC_VERR, SelectDescriptorTable},
    {ZYDIS_MNEMONIC_VERW, SelectDescriptorTable},

    {ZYDIS_MNEMONIC_IRET, SelectFar},
    {ZYDIS_MNEMONIC_IRETD, SelectFar},
    {ZYDIS_MNEMONIC_IRETQ, SelectFar},
    {ZYDIS_MNEMONIC_INT, SelectInterrupt},
    {ZYDIS_MNEMONIC_INT1, SelectInterrupt},
    {ZYDIS_MNEMONIC_INT3, SelectInterrupt},
    {ZYDIS_MNEMONIC_INTO, SelectInterrupt},

    {ZYDIS_MNEMONIC_SYSCALL, SelectFastCall},
    {ZYDIS_MNEMONIC_SYSENTER, SelectFastCall},
    {ZYDIS_MNEMONIC_SYSEXIT, SelectFastCall},
    {ZYDIS_MNEMONIC_SYSRET, SelectFastCall},

    {ZYDIS_MNEMONIC_CLAC, SelectControl},
    {ZYDIS_MNEMONIC_CLI, SelectControl},
    {ZYDIS_MNEMONIC_CLTS, SelectControl},
    {ZYDIS_MNEMONIC_CPUID, SelectControl},
    {ZYDIS_MNEMONIC_HLT, SelectControl},
    {ZYDIS_MNEMONIC_INVD, SelectControl},
    {ZYDIS_MNEMONIC_INVLPG, SelectControl},
    {ZYDIS_MNEMONIC_INVPCID, SelectControl},
    {ZYDIS_MNEMONIC_LMSW, SelectControl},
    {ZYDIS_MNEMONIC_RDFSBASE, SelectControl},
    {ZYDIS_MNEMONIC_RDGSBASE, SelectControl},
    {ZYDIS_MNEMONIC_RDMSR, SelectControl},
    {ZYDIS_MNEMONIC_RDPMC, SelectControl},
    {ZYDIS_MNEMONIC_RDTSC, SelectControl},
    {ZYDIS_MNEMONIC_RDTSCP, SelectControl},
    {ZYDIS_MNEMONIC_SMSW, SelectControl},
    {ZYDIS_MNEMONIC_STAC, SelectControl},
    {ZYDIS_MNEMONIC_STI, SelectControl},
    {ZYDIS_MNEMONIC_SWAPGS, SelectControl},
    {ZYDIS_MNEMONIC_WBINVD, SelectControl},
    {ZYDIS_MNEMONIC_WRFSBASE, SelectControl},
    {ZYDIS_MNEMONIC_WRGSBASE, SelectControl},
    {ZYDIS_MNEMONIC_WRMSR, SelectControl},

    {ZYDIS_MNEMONIC_IN, SelectPortIo},
    {ZYDIS_MNEMONIC_INSB, SelectPortIo},
    {ZYDIS_MNEMONIC_INSD, SelectPortIo},
    {ZYDIS_MNEMONIC_INSW, SelectPortIo},
    {ZYDIS_MNEMONIC_OUT, SelectPortIo},
    {ZYDIS_MNEMONIC_OUTSB, SelectPortIo},
    {ZYDIS_MNEMONIC_OUTSD, SelectPortIo},
    {ZYDIS_MNEMONIC_OUTSW, SelectPortIo},
};

}  // namespace

const HandlerTable kSystemHandlers(kEntries);

}  // namespace atl::cpu::soft
