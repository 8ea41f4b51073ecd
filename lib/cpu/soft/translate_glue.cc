// SPDX-License-Identifier: Apache-2.0
// What all translations share: in and out of translated code, the call of a
// handler, the look into the soft TLB. Written once for each vCPU.
#include "lib/cpu/soft/translate.h"
#include "lib/cpu/soft/translate_emit.h"
#include "lib/cpu/soft/translate_write.h"
#include "lib/cpu/soft/vcpu.h"

namespace atl::cpu::soft {
namespace {

using Xbyak::Reg8;

const Reg64 rdx_(2), rsi_(6), rdi_(7);

// Callee-saved registers of the System V ABI.
constexpr int kSavedByCallee[] = {3, 5, 12, 13, 14, 15};

}  // namespace

#define OFF(field) ATOLL_OFF(vcpu_, field)

// Guest registers to CpuState, with `stack_bytes` pushed; the host's flags too.
void Translator::EmitSpill(int stack_bytes, bool flags) {
  HostCode& a = *code_;
  for (int n = 0; n < 16; ++n) {
    if (kHostOf[n] != kHomed)
      a.mov(qword_[rsp_ + stack_bytes + OFF(vcpu_.s.gpr[n])], Reg64(kHostOf[n]));
  }
  if (!flags) return;
  a.seto(Reg8(0));
  a.lahf();
  a.mov(word_[rsp_ + stack_bytes + OFF(vcpu_.s.flags_of)], Xbyak::Reg16(0));
}

void Translator::EmitReload(bool flags) {
  HostCode& a = *code_;
  if (flags) {
    a.movzx(Reg32(0), word_[rsp_ + OFF(vcpu_.s.flags_of)]);
    a.add(Reg8(0), 0x7F);
    a.sahf();
  }
  for (int n = 0; n < 16; ++n) {
    if (kHostOf[n] != kHomed) a.mov(Reg64(kHostOf[n]), qword_[rsp_ + OFF(vcpu_.s.gpr[n])]);
  }
}

// Vector registers to CpuState, where they are the guest's, and the host's MXCSR
// back. RDI: the vCPU; nothing else changes but RAX.
const uint8_t* Translator::EmitSaveVectors() {
  HostCode& a = *code_;
  FpuState& f = vcpu_.s.fpu;
  const uint8_t* here = a.Here();
  a.cmp(dword_[rdi_ + OFF(area_.fpu_loaded[0])], 0);
  uint8_t* none = a.Jcc(4);
  a.stmxcsr(dword_[rdi_ + OFF(f.image[FpuState::kMxcsr])]);
  a.ldmxcsr(dword_[rdi_ + OFF(area_.host_mxcsr)]);
  a.cmp(dword_[rdi_ + OFF(area_.fpu_loaded[1])], 0);
  uint8_t* narrow = a.Jcc(4);
  for (int i = 0; i < 16; ++i) {
    a.vmovups(a.ptr[rdi_ + OFF(f.image[FpuState::kXmm + 16 * i])], Xbyak::Xmm(i));
    a.vextractf128(a.ptr[rdi_ + OFF(f.ymm_high[i][0])], Xbyak::Ymm(i), 1);
  }
  a.vzeroupper();
  a.ret();
  a.PatchHere(narrow);
  for (int i = 0; i < 16; ++i)
    a.movups(a.ptr[rdi_ + OFF(f.image[FpuState::kXmm + 16 * i])], Xbyak::Xmm(i));
  a.PatchHere(none);
  a.ret();
  return here;
}

// The other way round, where they are to be the guest's.
const uint8_t* Translator::EmitLoadVectors() {
  HostCode& a = *code_;
  FpuState& f = vcpu_.s.fpu;
  const uint8_t* here = a.Here();
  a.cmp(dword_[rdi_ + OFF(area_.fpu_loaded[0])], 0);
  uint8_t* none = a.Jcc(4);
  a.ldmxcsr(dword_[rdi_ + OFF(f.image[FpuState::kMxcsr])]);
  a.cmp(dword_[rdi_ + OFF(area_.fpu_loaded[1])], 0);
  uint8_t* narrow = a.Jcc(4);
  for (int i = 0; i < 16; ++i) {
    a.vmovups(Xbyak::Xmm(i), a.ptr[rdi_ + OFF(f.image[FpuState::kXmm + 16 * i])]);
    a.vinsertf128(Xbyak::Ymm(i), Xbyak::Ymm(i), a.ptr[rdi_ + OFF(f.ymm_high[i][0])], 1);
  }
  a.ret();
  a.PatchHere(narrow);
  for (int i = 0; i < 16; ++i)
    a.movups(Xbyak::Xmm(i), a.ptr[rdi_ + OFF(f.image[FpuState::kXmm + 16 * i])]);
  a.PatchHere(none);
  a.ret();
  return here;
}

// RAX is what enter_() returns; RSP is the vCPU; vector registers are saved.
void Translator::EmitLeave() {
  HostCode& a = *code_;
  a.mov(qword_[rsp_ + OFF(area_.fpu_loaded[0])], 0);  // and [1]
  a.mov(rsp_, qword_[rsp_ + OFF(area_.host_rsp)]);
  a.add(rsp_, 8);
  for (int i = 5; i >= 0; --i) a.pop(Reg64(kSavedByCallee[i]));
  a.ret();
}

const uint8_t* Translator::EmitWayOut(Glue glue, bool number, bool flags) {
  HostCode& a = *code_;
  const uint8_t* here = a.Here();
  const int stack_bytes = number ? 8 : 0;
  EmitSpill(stack_bytes, flags);
  if (glue == kGlueJump) a.mov(qword_[rsp_ + OFF(vcpu_.s.rip)], r14_);
  a.lea(rdi_, a.ptr[rsp_ + stack_bytes]);
  a.CallTo(save_vectors_);
  if (number) {
    a.pop(rcx_);
    a.mov(Reg32(1), Reg32(1));
  }
  a.mov(rax_, uint64_t{glue} << 32);
  if (number) a.or_(rax_, rcx_);
  EmitLeave();
  return here;
}

// On the stack: the point, the return address. Returns where `function` gives 0,
// with RSP and the registers as they were, both taken from the stack. `flags`:
// those in CpuState become the host's; `save_flags`: the host's go there before.
const uint8_t* Translator::EmitCall(uint64_t (*function)(SoftVcpu*, uint32_t), bool flags,
                                    bool save_flags) {
  HostCode& a = *code_;
  const uint8_t* here = a.Here();
  EmitSpill(16, save_flags);
  a.mov(rax_, qword_[rsp_]);
  a.mov(qword_[rsp_ + 16 + OFF(area_.return_to)], rax_);
  a.mov(Reg32(6), dword_[rsp_ + 8]);
  a.lea(rdi_, a.ptr[rsp_ + 16]);
  a.mov(rsp_, qword_[rdi_ + OFF(area_.host_rsp)]);
  a.CallTo(save_vectors_);
  a.mov(rax_, reinterpret_cast<uint64_t>(function));
  a.call(rax_);
  a.mov(rsp_, reinterpret_cast<uint64_t>(&vcpu_));
  a.test(rax_, rax_);
  uint8_t* leave = a.Jcc(5);
  a.mov(rdi_, rsp_);
  a.CallTo(load_vectors_);
  EmitReload(flags);
  a.push(qword_[rsp_ + OFF(area_.return_to)]);
  a.ret();
  a.PatchHere(leave);
  EmitLeave();
  return here;
}

// On the stack: the point, the return address; in R14 the linear address. Returns
// where the TLB has it and the site now remembers it; else 5 bytes further, from
// the handler.
const uint8_t* Translator::EmitProbe(bool user, bool write, bool restore_flags) {
  HostCode& a = *code_;
  const uint8_t* here = a.Here();
  constexpr int kUp = 32;
  a.push(rax_);
  a.push(rdx_);
  a.mov(Reg32(2), dword_[rsp_ + 24]);
  static_assert(sizeof(Site) == 6);
  a.lea(rdx_, a.ptr[rdx_ + rdx_ * 2]);
  a.lea(rdx_, a.ptr[rsp_ + rdx_ * 2 + kUp + OFF(area_.sites[0])]);
  // All of it in one page, aligned as it must be.
  a.movzx(Reg32(0), byte_[rdx_ + static_cast<int>(offsetof(Site, last))]);
  a.add(Reg32(0), Reg32(14));
  a.xor_(Reg32(0), Reg32(14));
  a.test(Reg32(0), 0xFFFFF000);
  uint8_t* crosses = a.Jcc(5);
  a.movzx(Reg32(0), byte_[rdx_ + static_cast<int>(offsetof(Site, misaligned))]);
  a.test(Reg32(0), Reg32(14));
  uint8_t* misaligned = a.Jcc(5);
  uint8_t* open = nullptr;
  if (!user) {
    a.cmp(dword_[rsp_ + kUp + OFF(area_.open_kernel)], 0);
    uint8_t* closed = a.Jcc(4);
    a.test(r14_, r14_);
    open = a.Jcc(9);  // not negative: a user page that is open for a while
    a.PatchHere(closed);
  }
  a.mov(rcx_, r14_);
  a.shr(rcx_, kPageShift);
  a.and_(Reg32(1), Mmu::kTlbSize - 1);
  static_assert(sizeof(TlbEntry) == 32);
  a.shl(Reg32(1), 5);
  if (user) {
    a.lea(rcx_, a.ptr[rsp_ + rcx_ + kUp + OFF(*vcpu_.mmu.user_table())]);
  } else {
    a.add(rcx_, qword_[rsp_ + kUp + OFF(area_.kernel_tlb)]);
  }
  a.mov(rax_, r14_);
  a.and_(rax_, -4096);
  a.cmp(rax_, qword_[rcx_ + static_cast<int>(write ? offsetof(TlbEntry, write_tag)
                                                   : offsetof(TlbEntry, read_tag))]);
  uint8_t* missing = a.Jcc(5);
  a.mov(rcx_, qword_[rcx_ + static_cast<int>(offsetof(TlbEntry, host))]);
  a.sub(rcx_, rax_);
  a.sub(byte_[rdx_ + static_cast<int>(offsetof(Site, misses))], 1);
  uint8_t* too_often = a.Jcc(4);
  a.movzx(Reg32(2), word_[rdx_ + static_cast<int>(offsetof(Site, slot))]);
  a.shl(rdx_, 4);
  static_assert(sizeof(SiteSlot) == 16);
  a.mov(r14_, qword_[rsp_ + rdx_ + kUp + OFF(area_.slots[0].tag)]);
  a.mov(qword_[rsp_ + rdx_ + kUp + OFF(area_.slots[0].tag)], rax_);
  a.mov(qword_[rsp_ + rdx_ + kUp + OFF(area_.slots[0].addend)], rcx_);
  a.cmp(r14_, qword_[rsp_ + kUp + OFF(area_.empty.tag)]);
  uint8_t* listed = a.Jcc(5);
  a.mov(Reg32(1), dword_[rsp_ + kUp + OFF(area_.filled_count[user])]);
  a.shr(Reg32(2), 4);
  a.mov(dword_[rsp_ + rcx_ * 4 + kUp + OFF(area_.filled[user][0])], Reg32(2));
  a.add(Reg32(1), 1);
  a.mov(dword_[rsp_ + kUp + OFF(area_.filled_count[user])], Reg32(1));
  a.PatchHere(listed);
  a.shr(rax_, kPageShift);
  a.and_(Reg32(0), TranslateArea::kSeenSlots - 1);
  a.mov(byte_[rsp_ + rax_ + kUp + OFF(area_.seen[user][0])], 1);
  a.pop(rdx_);
  a.pop(rax_);
  a.ret(8);
  a.PatchHere(crosses);
  a.PatchHere(misaligned);
  a.PatchHere(missing);
  a.PatchHere(too_often);
  if (open != nullptr) a.PatchHere(open);
  a.pop(rdx_);
  a.pop(rax_);
  a.add(qword_[rsp_], 5);
  a.JmpTo(call_glue_[restore_flags]);
  return here;
}

void Translator::EmitGlue() {
  HostCode& a = *code_;
  const uint8_t* enter = a.HereRun();
  for (int r : kSavedByCallee) a.push(Reg64(r));
  a.sub(rsp_, 8);
  a.mov(qword_[rdi_ + OFF(area_.host_rsp)], rsp_);
  a.mov(qword_[rdi_ + OFF(area_.enter_at)], rsi_);
  a.mov(rsp_, rdi_);
  EmitReload(true);
  a.jmp(qword_[rsp_ + OFF(area_.enter_at)]);
  enter_ = reinterpret_cast<uint64_t (*)(SoftVcpu*, const uint8_t*)>(const_cast<uint8_t*>(enter));

  save_vectors_ = EmitSaveVectors();
  load_vectors_ = EmitLoadVectors();
  exit_glue_ = EmitWayOut(kGlueExit, true, true);
  poll_glue_ = EmitWayOut(kGluePoll, true, true);
  map_glue_ = EmitWayOut(kGlueMap, true, false);
  jump_glue_ = EmitWayOut(kGlueJump, false, false);
  for (bool flags : {false, true}) {
    call_glue_[flags] = EmitCall(&Translator::CallHandler, flags, false);
    fpu_glue_[flags] = EmitCall(&Translator::UseFpu, flags, flags);
  }
  for (bool user : {false, true}) {
    for (bool write : {false, true}) {
      for (bool restore : {false, true})
        probe_glue_[user][write][restore] = EmitProbe(user, write, restore);
    }
  }
}

// ---- Entries ----

bool Translator::BeginHot(size_t bytes) {
  if (cold_begin_ - hot_ < bytes) return false;
  code_->Seek(hot_);
  return true;
}

uint32_t Translator::PageEntry(Native& n) {
  if (n.page != 0 || !BeginHot(kEntryBytes)) return n.page;
  HostCode& a = *code_;
  const uint64_t key = TranslateArea::ExecKey(n.linear, n.ram_page);
  const int32_t key_at = OFF(area_.exec_key[n.user][TranslateArea::ExecSlot(n.linear)]);
  const int32_t flags_at = OFF(vcpu_.s.flags_of);
  n.page = Place();
  if (n.live) SaveFlags(a, flags_at);
  a.mov(rcx_, key);
  a.cmp(rcx_, qword_[rsp_ + key_at]);
  uint8_t* miss = a.Jcc(5);
  if (n.live) RestoreFlags(a, flags_at);
  a.JmpTo(At(n.poll));
  a.PatchHere(miss);
  a.push(n.index);
  a.JmpTo(map_glue_);
  hot_ = a.getSize();
  return n.page;
}

uint32_t Translator::IndirectEntry(Native& n) {
  if (n.indirect != 0 || !BeginHot(kEntryBytes)) return n.indirect;
  HostCode& a = *code_;
  const uint64_t key = TranslateArea::ExecKey(n.linear, n.ram_page);
  const int32_t key_at = OFF(area_.exec_key[n.user][TranslateArea::ExecSlot(n.linear)]);
  n.indirect = Place();
  if (Fits32(n.linear)) {
    a.cmp(r14_, static_cast<uint32_t>(n.linear));
  } else {
    a.mov(rcx_, n.linear);
    a.cmp(r14_, rcx_);
  }
  HostCode::Patch(a.Jcc(5), jump_glue_);
  a.mov(rcx_, key);
  a.cmp(rcx_, qword_[rsp_ + key_at]);
  HostCode::Patch(a.Jcc(5), jump_glue_);
  if (n.live) RestoreFlags(a, OFF(vcpu_.s.flags_of));
  a.JmpTo(At(n.poll));
  hot_ = a.getSize();
  return n.indirect;
}

}  // namespace atl::cpu::soft
