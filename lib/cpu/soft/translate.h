// SPDX-License-Identifier: Apache-2.0
// The translator: decoded blocks that run often, as host code.
//
// Guest and host have the same instruction set, so a translation is the guest's
// own instructions with registers and memory operands in new places. Most guest
// registers live in the host's of the same name; RSP lives in R13 and RCX in R15;
// R13 to R15 stay in CpuState. The host's RSP points at the SoftVcpu, RCX and R14
// are scratch. The host's flags are the guest's, from one instruction to the
// next, and are saved (CpuState::flags_of, flags_lo) only where code that is no
// guest instruction would destroy flags that are still needed.
//
// Memory operands are checked against what the site used last (translate_area.h),
// behind it against the soft TLB, by code outside of the line; what neither has,
// and every instruction that the table (translate_table.h) does not name, is
// executed by the interpreter's handler: every instruction starts with all checks
// and ends with the one host instruction that commits it, so the state is that of
// the instruction's start whenever it is left.
//
// A translation (`Native`) is good for one linear address and privilege. It has
// four entries: after a near jump within its page; the same with a look at
// `go_on` (backward jumps); after one from another page (is this page still
// mapped here?); after an indirect one (is this the address at all?). Flags are
// the host's at the first three, saved at the last.
//
// Arithmetic flags that are overwritten before anything reads them are not kept
// up to date: what an exception or interrupt pushes in between may hold older
// ones. TranslateConfig::precise keeps them, and counts instructions, at some cost.
//
// Stores to translated code take the slow path and end in SoftVm::CodeWritten(),
// which tells each translator; what it then has of the page is unlinked, before
// the next block is run.
//
// Thread rule: the vCPU's thread, but for NoteCodeWritten().
#ifndef LIB_CPU_SOFT_TRANSLATE_H_
#define LIB_CPU_SOFT_TRANSLATE_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "lib/base/mutex.h"
#include "lib/cpu/soft/code_cache.h"
#include "lib/cpu/soft/host_code.h"
#include "lib/cpu/soft/insn.h"
#include "lib/cpu/soft/translate_area.h"
#include "lib/cpu/soft/vm.h"

namespace atl::cpu::soft {

class SoftVcpu;

// A translated block. Addresses are of the writable mapping.
struct Native {
  Block* block = nullptr;
  uint64_t linear = 0;
  uint64_t ram_page = 0;
  bool user = false;
  bool linked = true;  // may be entered and jumped to
  const uint8_t* direct = nullptr;
  const uint8_t* poll = nullptr;
  const uint8_t* page = nullptr;
  const uint8_t* indirect = nullptr;
  Native* next = nullptr;  // of the same block
  std::vector<uint32_t> incoming;
};

// A jump that leaves a translation for a known address.
struct NativeExit {
  uint64_t target = 0;
  uint8_t* patch = nullptr;       // the distance
  const uint8_t* stub = nullptr;  // where it leads while not linked
  Native* from = nullptr;
  bool backward = false;
};

// An instruction that may call the interpreter.
struct NativePoint {
  const Insn* insn = nullptr;
  uint64_t rip = 0;
  uint8_t fpu = 0;  // which of TranslateArea::fpu_loaded it needs, if any
};

class Translator {
 public:
  // Fails where the system gives no executable memory.
  static absl::StatusOr<std::unique_ptr<Translator>> Create(SoftVcpu& vcpu,
                                                            const TranslateConfig& config);
  ~Translator();

  enum class Left : uint8_t {
    kExit,  // at a jump to a known address; `exit`: its number
    kJump,  // at an indirect branch
    kPoll,  // go_on is zero
    kMap,   // the page of s.rip is not known to be mapped as it was
    kStep,  // `step`, of an instruction that a handler executed
  };
  struct Outcome {
    Left left;
    uint32_t exit;
    Step step;
    uint64_t epoch;  // of what `exit` numbers
  };

  // The translation of `b` at `linear`, which CodeCache::Find() has just found, or
  // null: not hot yet, or not translatable.
  Native* Get(Block& b, uint64_t linear);
  // Runs translated code from `n` until it leaves; s.rip is set.
  Outcome Run(Native& n);
  // What `outcome` of kExit or kJump led to, so that it leads there at once.
  void Link(const Outcome& outcome, Native& to);

  // Drops everything, since the code cache did.
  void Clear();
  // A page with code was written to. Any thread.
  void NoteCodeWritten(uint64_t ram_page);
  bool HasWrittenPages() const { return any_written_.load(std::memory_order_acquire); }
  void TakeWrittenPages();

 private:
  friend class BlockEmitter;

  // Kinds of leaving, in the upper half of what `enter_` returns.
  enum Glue : uint32_t { kGlueExit, kGlueJump, kGluePoll, kGlueMap, kGlueStep };

  Translator(SoftVcpu& vcpu, const TranslateConfig& config);
  absl::Status Init();
  void EmitGlue();
  const uint8_t* EmitProbe(bool user, bool write, bool restore_flags);
  const uint8_t* EmitCall(uint64_t (*function)(SoftVcpu*, uint32_t), bool flags, bool save_flags);
  void EmitSpill(int stack_bytes, bool flags);
  void EmitReload(bool flags);
  void EmitLeave();
  const uint8_t* EmitWayOut(Glue glue, bool number, bool flags);
  void Unlink(Native& n);
  const uint8_t** JumpOf(const Native& n);
  Native* Make(Block& b, uint64_t linear);
  static uint64_t CallHandler(SoftVcpu* c, uint32_t point);
  // Marks registers as loaded where they may be; else executes the instruction.
  static uint64_t UseFpu(SoftVcpu* c, uint32_t point);
  void LoadX87();
  void SaveX87();
  void LookAtVectors();  // whether they may still be
  const uint8_t* EmitSaveVectors();
  const uint8_t* EmitLoadVectors();

  SoftVcpu& vcpu_;
  TranslateArea& area_;
  CodeMemory memory_;
  std::unique_ptr<HostCode> code_;
  const TranslateConfig config_;
  Step step_ = Step::kNext;

  size_t glue_end_ = 0;
  uint64_t (*enter_)(SoftVcpu*, const uint8_t*) = nullptr;
  const uint8_t* exit_glue_ = nullptr;  // flags in the host
  const uint8_t* poll_glue_ = nullptr;
  const uint8_t* map_glue_ = nullptr;
  const uint8_t* jump_glue_ = nullptr;
  const uint8_t* call_glue_[2] = {};  // [restore flags]
  const uint8_t* fpu_glue_[2] = {};   // [flags in the host]
  const uint8_t* save_vectors_ = nullptr;
  const uint8_t* load_vectors_ = nullptr;
  const uint8_t* probe_glue_[2][2][2] = {};  // [user][write][restore flags]

  std::deque<Native> natives_;
  std::vector<NativeExit> exits_;
  std::vector<NativePoint> points_;
  absl::flat_hash_map<uint64_t, std::vector<Native*>> by_page_;
  uint64_t epoch_ = 0;

  std::atomic<bool> any_written_{false};
  Mutex written_mu_;
  std::vector<uint64_t> written_ ABSL_GUARDED_BY(written_mu_);
};

}  // namespace atl::cpu::soft

#endif  // LIB_CPU_SOFT_TRANSLATE_H_
