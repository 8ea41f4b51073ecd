// SPDX-License-Identifier: Apache-2.0
// Writes the host code of one block. See translate.h for where things live.
#ifndef LIB_CPU_SOFT_TRANSLATE_EMIT_H_
#define LIB_CPU_SOFT_TRANSLATE_EMIT_H_

#include <cstdint>

#include "absl/container/inlined_vector.h"
#include "lib/cpu/soft/host_code.h"
#include "lib/cpu/soft/translate.h"
#include "lib/cpu/soft/translate_table.h"

namespace atl::cpu::soft {

// Host registers.
inline constexpr int kRegStack = 4;   // RSP: the SoftVcpu
inline constexpr int kScratch0 = 1;   // RCX
inline constexpr int kScratch1 = 14;  // R14
inline constexpr int kGuestRsp = 13;
inline constexpr int kGuestRcx = 15;
// Bits of BlockEmitter::loaded_.
inline constexpr unsigned kXmmLoaded = 1, kYmmLoaded = 2, kX87Loaded = 4;
inline constexpr int kHomed = -1;
// Where guest register n lives; kHomed: in CpuState only.
inline constexpr int kHostOf[16] = {0, kGuestRcx, 2,  3,  kGuestRsp, 5,      6,      7,
                                    8, 9,         10, 11, 12,        kHomed, kHomed, kHomed};

class BlockEmitter {
 public:
  BlockEmitter(Translator& translator, SoftVcpu& vcpu, Native& native, Block& block);

  // Worst case of code bytes, points and exits for a block of `count`.
  static size_t MaxBytes(unsigned count) { return 512 + count * size_t{320}; }
  static constexpr unsigned kMaxExits = 2;

  void Emit();

 private:
  // Where the guest's flags are.
  enum class Flags : uint8_t { kHost, kSaved, kBoth, kDead };

  // Code outside of the line: look into the soft TLB, or else call the handler.
  struct Stub {
    uint8_t* from[2];      // the jumps' distances
    const uint8_t* again;  // the check
    const uint8_t* go_on;  // behind the instruction
    HostMem address;       // of the access
    bool address_known;    // in kScratch1 already
    bool handler_only;     // nothing to look up
    bool write;
    bool restore;  // flags are the host's behind the instruction
    uint32_t point;
  };

  void Liveness();
  void Count();
  void Entries();
  void Instruction(unsigned i);
  bool CanEncode(unsigned i) const;
  void Interpret(unsigned i);
  void EnsureFpu(unsigned i);  // that the host's vector or x87 registers are the guest's
  void Modrm(unsigned i);
  void Divide(unsigned i, bool is_signed);
  void Lea(unsigned i);
  void Push(unsigned i);
  void Pop(unsigned i);
  void LeaveFrame(unsigned i);
  void Control(unsigned i);
  void CheckTarget(unsigned i);  // that it is canonical
  void Target(unsigned i);       // of an indirect branch, to kScratch1
  void FinishStubs();

  // Flags.
  void Save();
  void Restore();
  void Clobber(unsigned i);  // what follows destroys the host's flags
  void NeedHost();
  void FlagsForExit();
  void FlagsForIndirect();

  // Memory. The check and the operand to use behind it; `whole`: in kScratch1 alone.
  HostMem Operand(unsigned i, unsigned size, bool write, unsigned align, bool whole);
  // [guest RSP + offset, 8); only kScratch0 is used.
  HostMem StackOperand(unsigned i, const HostMem& address, bool write);
  void Check(unsigned i, const HostMem& address, unsigned size, unsigned align, bool write,
             bool address_known, bool stack, const SiteSlot& slot);
  SiteSlot* SlotOf(unsigned i, bool write, bool stack, bool high);
  HostMem ConstantOperand(unsigned i, uint64_t where, bool write);
  HostMem TlbOperand(unsigned i, unsigned size, bool write, unsigned align);
  void Slow(unsigned i, uint8_t* from, uint8_t* from2);
  void FixStubs();

  uint32_t Point(unsigned i);
  int Use(int guest, int scratch);  // loads where homed
  void StoreHome(int guest, int host);
  HostMem Home(int guest) const;
  void LinearExit(uint64_t target);
  void AddExit(uint8_t* patch, uint64_t target);
  void Dispatch();  // to the address in kScratch1
  void PushReturn(unsigned i, bool keep_scratch1);
  uint64_t Rip(unsigned i) const { return rips_[i]; }

  Translator& t_;
  SoftVcpu& c_;
  HostCode& a_;
  Native& n_;
  const Insn* insns_;
  const unsigned count_;
  Parsed parsed_[CodeCache::kMaxBlock];
  OpInfo info_[CodeCache::kMaxBlock];
  // Flags needed before instruction i; [count_]: at the end.
  uint16_t live_[CodeCache::kMaxBlock + 1];
  uint64_t rips_[CodeCache::kMaxBlock];
  absl::InlinedVector<Stub, 24> stubs_;
  absl::InlinedVector<Stub, 2> vector_stubs_;
  size_t first_stub_ = 0;  // of this instruction
  Flags flags_ = Flags::kHost;
  const uint8_t* again_ = nullptr;
  bool ended_ = false;
  unsigned loaded_ = 0;  // which of TranslateArea::fpu_loaded are known to be set
  uint8_t* poll_ = nullptr;
  uint8_t* map_miss_ = nullptr;
  absl::InlinedVector<uint32_t, kMaxExits> pending_exits_;
};

}  // namespace atl::cpu::soft

#endif  // LIB_CPU_SOFT_TRANSLATE_EMIT_H_
