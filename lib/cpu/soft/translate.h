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
// Memory operands are looked up in the soft TLB, in line; those on the stack, and
// all of blocks that are seen running, are compared with what a slot remembers of
// an access before (translate_area.h), which is faster where it holds. What the TLB
// does not have, and every instruction that the table (translate_table.h) does not
// name, is executed by the interpreter's handler: every instruction starts with all
// checks and ends with the one host instruction that commits it, so the state is
// that of the instruction's start whenever it is left.
//
// A translation (`Native`) is good for one linear address and privilege. It has
// four entries: after a near jump within its page; the same with a look at
// `go_on` (backward jumps); after one from another page (is this page still
// mapped here?); after an indirect one (is this the address at all?). Flags are
// the host's at the first three, saved at the last. The last two are made when
// they are first needed, and what seldom runs stands apart from what mostly does:
// most guests run more code than the host's caches hold.
//
// Arithmetic flags that are overwritten before anything reads them are not kept
// up to date: what an exception or interrupt pushes in between may hold older
// ones. TranslateConfig::precise keeps them, and counts instructions, at some cost.
//
// FIP, FDP and FOP are 0 after x87 instructions that ran here. The interpreter does
// the same in 64-bit code where there is a translator and every exception is masked;
// code that unmasks one is interpreted, and they are right.
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
#include "absl/container/flat_hash_set.h"
#include "absl/status/statusor.h"
#include "lib/base/mutex.h"
#include "lib/cpu/soft/code_cache.h"
#include "lib/cpu/soft/host_code.h"
#include "lib/cpu/soft/insn.h"
#include "lib/cpu/soft/translate_area.h"
#include "lib/cpu/soft/vm.h"

namespace atl::cpu::soft {

class SoftVcpu;

// Number of no Native, NativeExit or RAM page.
inline constexpr uint32_t kNone = ~uint32_t{0};

// A translated block. Places in code memory are counted from its start; 0: none.
struct Native {
  uint64_t linear = 0;
  uint32_t index = 0;  // in Translator::natives_
  uint32_t ram_page = 0;
  uint32_t second_page = kNone;  // that its only instruction goes on in
  uint32_t bytes_at = 0;         // Translator::bytes_
  uint16_t bytes = 0;
  bool user = false;
  bool linked = true;  // the guest's code is still this: may be entered and jumped to
  bool gone = false;   // never again
  bool live = false;   // flags are needed at its start
  bool hot = false;    // its sites have slots of their own
  uint8_t samples = 0;
  uint32_t direct = 0, poll = 0;
  uint32_t page = 0, indirect = 0;  // where asked for
  uint32_t first_exit = 0;
  uint32_t incoming = kNone;  // a list by NativeExit::next_incoming
  uint32_t next = kNone;      // in its bucket
};

// A jump that leaves a translation for a known address.
struct NativeExit {
  uint64_t target = 0;
  uint32_t patch = 0;  // the distance
  uint32_t stub = 0;   // where it leads while not linked
  uint32_t from = kNone, to = kNone;
  uint32_t next_incoming = kNone;
  bool backward = false;
};

// An instruction that may call the interpreter.
struct NativePoint {
  uint32_t native = kNone;
  uint16_t at = 0;     // in the block's bytes
  uint8_t fpu = 0;     // which of TranslateArea::fpu_loaded it needs, if any
  bool stack = false;  // Translator::SiteKey()
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

  // The translation of the code at `linear` that is good now, or null.
  Native* Find(uint64_t linear);
  // Counts that code at `linear` is about to be interpreted; whether that happened
  // so often that it is to be translated.
  bool Warm(uint64_t linear) {
    uint8_t& heat = heat_[HeatIndex(linear)];
    if (heat >= config_.heat) return true;
    return ++heat >= config_.heat;
  }
  // A new translation of `b`, which CodeCache::Find() has just found at `linear`;
  // null: it has none.
  Native* Make(Block& b, uint64_t linear);
  // Runs translated code from `n` until it leaves; s.rip is set.
  Outcome Run(Native& n);
  // What `outcome` of kExit or kJump led to, so that it leads there at once.
  void Link(const Outcome& outcome, Native& to);

  // A page with code was written to. Any thread.
  void NoteCodeWritten(uint64_t ram_page);
  bool HasWrittenPages() const { return any_written_.load(std::memory_order_acquire); }
  void TakeWrittenPages();

 private:
  friend class BlockEmitter;

  static constexpr size_t kEntryBytes = 160;
  static constexpr unsigned kBucketBits = 16, kHeatBits = 17, kRecentBits = 10;

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
  // Its entries, made when they are first needed; 0: no more room.
  uint32_t PageEntry(Native& n);
  uint32_t IndirectEntry(Native& n);
  bool BeginHot(size_t bytes);  // false: no more room
  uint32_t Place() const { return static_cast<uint32_t>(code_->getSize()); }
  void SetExecKeys(const Native& n);
  void Clear();
  void ForgetJumps();
  bool SameBytes(Native& n, unsigned at, unsigned size, uint32_t ram_page, const uint8_t* now);
  void Forget(Native& n);  // takes it from its bucket
  void Enlist(Native& n);  // to by_page_
  const uint8_t** JumpOf(const Native& n);
  const Insn& Decoded(uint32_t point);
  uint32_t& Bucket(uint64_t linear, bool user) {
    return buckets_[(linear * 2 + user) * 0x9E3779B97F4A7C15u >> (64 - kBucketBits)];
  }
  static size_t HeatIndex(uint64_t linear) {
    return linear * 0x9E3779B97F4A7C15u >> (64 - kHeatBits);
  }
  uint8_t* At(uint32_t place) const { return memory_.writable() + place; }
  const uint8_t* RunAt(uint32_t place) const { return memory_.Executable(At(place)); }
  static uint64_t CallHandler(SoftVcpu* c, uint32_t point);
  // Marks registers as loaded where they may be; else executes the instruction.
  static uint64_t UseFpu(SoftVcpu* c, uint32_t point);
  // A site's slot misses often: it does without. Its block is made again.
  bool GiveUpSlot(uint32_t point);
  // A block that was running when somebody looked: it and what it leads to are
  // made again, with a slot for each site.
  void NoteHot(Native& n);
  void MakeAgain(Native& n);
  unsigned NewSlot();  // or kNoSlot
  static constexpr uint16_t kNoSlot = 0xFFFF;
  static uint64_t HotKey(uint64_t linear, bool user) { return linear << 1 | uint64_t{user}; }
  static uint64_t SiteKey(uint64_t rip, bool user, bool stack) {
    return rip << 2 | uint64_t{user} << 1 | uint64_t{stack};
  }
  uint64_t SiteKey(uint32_t point) const {
    const NativePoint& p = points_[point];
    const Native& n = natives_[p.native];
    return SiteKey(n.linear + p.at, n.user, p.stack);
  }
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
  // Code memory is in two parts, what mostly runs and what seldom does: where
  // either goes on, and where the second begins.
  size_t hot_ = 0, cold_ = 0, cold_begin_ = 0;
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
  std::deque<NativeExit> exits_;
  std::deque<NativePoint> points_;
  std::vector<uint8_t> bytes_;  // of the guest, that natives are made of
  std::vector<uint32_t> buckets_;
  std::vector<uint8_t> heat_;
  // Natives that are linked, by RAM page.
  absl::flat_hash_map<uint32_t, std::vector<uint32_t>> by_page_;
  // Instructions of points whose handler was called lately.
  struct Recent {
    uint32_t point = kNone;
    Insn insn;
  };
  std::vector<Recent> recent_;
  absl::flat_hash_map<uint64_t, uint16_t> own_slots_;  // by SiteKey()
  absl::flat_hash_set<uint64_t> hot_blocks_;           // by HotKey()
  unsigned next_slot_ = 0;
  uint64_t epoch_ = 0;

  std::atomic<bool> any_written_{false};
  Mutex written_mu_;
  std::vector<uint64_t> written_ ABSL_GUARDED_BY(written_mu_);
};

}  // namespace atl::cpu::soft

#endif  // LIB_CPU_SOFT_TRANSLATE_H_
