// SPDX-License-Identifier: Apache-2.0
// The run loop: what comes between instructions (vol. 3, 6.9: the order of
// simultaneous events) and the running of blocks.
#include <Zydis/Mnemonic.h>

#include "absl/strings/str_format.h"
#include "lib/cpu/soft/access.h"
#include "lib/cpu/soft/code_cache.h"
#include "lib/cpu/soft/translate.h"
#include "lib/cpu/soft/vcpu.h"
#include "lib/cpu/soft/verify.h"
#include "lib/cpu/soft/vm.h"

namespace atl::cpu::soft {
namespace {

constexpr uint32_t kDr6SingleStep = 1 << 14;
// Any breakpoint enabled in DR7.
constexpr uint64_t kDr7Armed = 0xFF;

bool FitsCodeSegment(const SoftVcpu& c, unsigned bytes) {
  return c.in_64bit() || c.s.rip + bytes - 1 <= c.s.seg[kCs].limit;
}

// Only flat 64-bit code in RAM is.
bool Translatable(const Block& b) {
  return b.code_size == CodeSize::k64 && (!b.always_check || b.straddles);
}

}  // namespace

absl::StatusOr<Exit> SoftVcpu::Run() {
  exit = Exit();
  in_run.store(true, std::memory_order_seq_cst);
  for (bool go = true; go;) {
    switch (LookAtEvents()) {
      case Next::kRun:
        go = RunBlocks();
        break;
      case Next::kSingle:
        go = RunSingle();
        break;
      case Next::kExit:
        go = false;
        break;
    }
  }
  block_version_at = nullptr;
  in_run.store(false, std::memory_order_seq_cst);
  return exit;
}

void SoftVcpu::Shutdown() {
  exit.reason = ExitReason::kShutdown;
  exit.detail = absl::StrFormat(
      "vCPU %u: triple fault: exception %u at %04x:%x (CR2 %x, CR3 %x, RSP %x)", index,
      unsigned{fault.vector}, s.seg[kCs].selector, s.rip, s.cr2, s.cr3, s.gpr[kRsp]);
}

bool SoftVcpu::Deliver() {
  if (fault.vector == kPfault) counters.pf_guest.Add();
  if (DeliverFault(*this)) return true;
  Shutdown();
  return false;
}

bool SoftVcpu::CannotFetch() {
  counters.insn_emulation_fail.Add();
  exit.reason = ExitReason::kError;
  exit.detail = absl::StrFormat("vCPU %u: %04x:%x (linear %x) is no memory to run code from", index,
                                s.seg[kCs].selector, s.rip, LinearRip(*this));
  return false;
}

// Vol. 3, 9.4: the BSP starts again at the reset vector, others wait for SIPI.
void SoftVcpu::TakeInit() {
  ResetState(*this, true);
  ModeChanged(*this);
  mmu.ModeChanged();
  mmu.FlushAll();
  s.wait_for_sipi = index != 0;
}

SoftVcpu::Next SoftVcpu::LookAtEvents() {
  // Whoever asks from now on stops translated code again.
  area().go_on.store(1, std::memory_order_seq_cst);
  if (mmu.flush_requested()) mmu.TakeFlushRequest();
  const uint32_t posted = requests.load(std::memory_order_acquire);
  // Cleared before what they stand for is looked at: nothing is missed.
  if (constexpr uint32_t kOnce = kFlushRequest | kInternalRequest | kCodeRequest; posted & kOnce) {
    requests.fetch_and(~kOnce, std::memory_order_acq_rel);
    if (mmu.flush_requested()) mmu.TakeFlushRequest();
  }
  if (translator != nullptr && translator->HasWrittenPages()) translator->TakeWrittenPages();
  if (posted & kInitRequest) {
    requests.fetch_and(~uint32_t{kInitRequest}, std::memory_order_acq_rel);
    TakeInit();
  }
  if (posted & kKickRequest) {
    requests.fetch_and(~uint32_t{kKickRequest}, std::memory_order_acq_rel);
    exit.reason = ExitReason::kKicked;
    return Next::kExit;
  }
  if (s.wait_for_sipi) {
    if ((posted & kSipiRequest) == 0) {
      exit.reason = ExitReason::kHalted;
      return Next::kExit;
    }
    requests.fetch_and(~uint32_t{kSipiRequest}, std::memory_order_acq_rel);
    s.wait_for_sipi = false;
    const uint16_t vector = sipi_vector.load(std::memory_order_acquire);
    s.seg[kCs].selector = static_cast<uint16_t>(vector << 8);
    s.seg[kCs].base = uint64_t{vector} << 12;
    s.rip = 0;
  } else if (posted & kSipiRequest) {
    requests.fetch_and(~uint32_t{kSipiRequest}, std::memory_order_acq_rel);
  }
  if (s.pending_debug != 0) {
    s.dr[6] |= s.pending_debug;
    s.pending_debug = 0;
    s.halted = false;
    Raise(kDb);
    if (!Deliver()) return Next::kExit;
  }
  if (s.rip != s.shadow_rip) s.interrupt_shadow = false;
  if (!s.interrupt_shadow) {
    if ((posted & kNmiRequest) && !s.nmi_blocked) {
      requests.fetch_and(~uint32_t{kNmiRequest}, std::memory_order_acq_rel);
      s.halted = false;
      s.nmi_blocked = true;
      counters.nmi_injections.Add();
      if (!DeliverInterrupt(*this, kNmi)) return Shutdown(), Next::kExit;
    } else if ((posted & kInterruptRequest) && (s.rflags_rest & kIf)) {
      const int vector = bus.AcknowledgeInterrupt(index);
      if (vector >= 0) {
        s.halted = false;
        if (!DeliverInterrupt(*this, static_cast<uint8_t>(vector))) return Shutdown(), Next::kExit;
      }
    }
    if (s.halted) {
      exit.reason = ExitReason::kHalted;
      return Next::kExit;
    }
  }
  event_mask_ = EventMask();
  // RF is for one instruction; blocks do not look at it.
  const bool slow = s.interrupt_shadow || (s.rflags_rest & (kTf | kRf)) || (s.dr[7] & kDr7Armed);
  return slow ? Next::kSingle : Next::kRun;
}

// One translated block beside the interpreter. Nothing is linked, so that each
// comes here.
Step SoftVcpu::RunVerified(Native& n) {
  Step step;
  Block* b = nullptr;
  if (code->Find(&b) != CodeCache::Result::kBlock) return Step::kLeave;  // kicked
  const Verifier::Result result = verifier->Run(
      *b,
      [&] {
        block_version_at = nullptr;
        const Translator::Outcome outcome = translator->Run(n);
        return outcome.left == Translator::Left::kStep ? outcome.step : Step::kBranch;
      },
      &step);
  block_version_at = nullptr;
  if (result == Verifier::Result::kDiffers) {
    exit.reason = ExitReason::kError;
    exit.detail = verifier->report();
    return Step::kExit;
  }
  return step == Step::kNext ? Step::kBranch : step;
}

// Runs translated code from `n` until it ends (null: what RunBlocks() returns is
// in `go`), or comes to a block that has no translation yet.
Block* SoftVcpu::RunNative(Native* n, bool* go) {
  block_version_at = nullptr;
  for (;;) {
    const Translator::Outcome outcome =
        verifier == nullptr ? translator->Run(*n)
                            : Translator::Outcome{Translator::Left::kStep, 0, RunVerified(*n), 0};
    switch (outcome.left) {
      case Translator::Left::kPoll:
        return nullptr;
      case Translator::Left::kStep:
        if (outcome.step == Step::kFault) {
          *go = Deliver();
          return nullptr;
        }
        if (outcome.step == Step::kExit) *go = false;
        if (outcome.step != Step::kBranch) return nullptr;
        // As below: it may have been a far one.
        if (s.rflags_rest & (kTf | kRf)) return nullptr;
        event_mask_ = EventMask();
        break;
      default:
        break;
    }
    if (Posted()) return nullptr;
    Native* next = translator->Find(s.rip);
    if (next == nullptr) {
      Block* b = nullptr;
      switch (code->Find(&b)) {
        case CodeCache::Result::kBlock:
          break;
        case CodeCache::Result::kFault:
          *go = Deliver();
          return nullptr;
        case CodeCache::Result::kNotMemory:
          *go = CannotFetch();
          return nullptr;
        case CodeCache::Result::kKicked:
          return nullptr;
      }
      if (!Translatable(*b) || !translator->Warm(s.rip)) return b;
      next = translator->Make(*b, s.rip);
      if (next == nullptr) return b;
    }
    n = next;
    translator->Link(outcome, *n);
  }
}

// The translation of `b`, which is at s.rip, made now if it is time to.
Native* SoftVcpu::Translated(Block& b) {
  if (translator == nullptr || !Translatable(b) || !translator->Warm(s.rip)) return nullptr;
  Native* n = translator->Find(s.rip);
  return n != nullptr ? n : translator->Make(b, s.rip);
}

// Runs blocks until an event is to be looked at.
bool SoftVcpu::RunBlocks() {
  Block* b = nullptr;
  for (;;) {
    switch (code->Find(&b)) {
      case CodeCache::Result::kBlock:
        break;
      case CodeCache::Result::kFault:
        return Deliver();
      case CodeCache::Result::kNotMemory:
        return CannotFetch();
      case CodeCache::Result::kKicked:
        return true;
    }
    for (;;) {  // blocks, while chains lead from one to the next
      if (Native* n = Translated(*b)) {
        bool go = true;
        b = RunNative(n, &go);
        if (b == nullptr) return go;
      }
      if (b->code_size != CodeSize::k64 && !FitsCodeSegment(*this, b->bytes)) return RunSingle();
      block_version_at = b->version_at;
      block_version = b->version;
      const Insn* in = b->insns();
      const Insn* const end = in + b->count;
      uint64_t rip = s.rip;
      const uint64_t entry = rip;
      Step step;
      do {
        s.rip = rip;
        step = in->run(*this, *in);
        if (step != Step::kNext) break;
        rip += in->length;
        ++in;
      } while (in != end);

      Chain* chain;
      if (step == Step::kNext) [[likely]] {
        retired.store(retired.load(std::memory_order_relaxed) + b->count,
                      std::memory_order_relaxed);
        s.rip = b->code_size == CodeSize::k64 ? rip : static_cast<uint32_t>(rip);
        chain = &b->fallthrough;
      } else {
        const uint64_t ran = static_cast<uint64_t>(in - b->insns());
        retired.store(retired.load(std::memory_order_relaxed) + ran + (step != Step::kFault),
                      std::memory_order_relaxed);
        if (step != Step::kBranch) {
          if (step == Step::kFault) return Deliver();
          s.rip = b->code_size == CodeSize::k64 ? rip + in->length
                                                : static_cast<uint32_t>(rip + in->length);
          return step == Step::kLeave;
        }
        if (in->flow == Flow::kStraight) {
          // Far, or repeated: the flags may have changed.
          if (s.rflags_rest & (kTf | kRf)) return true;
          event_mask_ = EventMask();
        }
        if (requests.load(std::memory_order_relaxed) & event_mask_) [[unlikely]]
          return true;
        if (in->flow != Flow::kDirect) {
          const uint64_t linear = LinearRip(*this);
          b = code->FindQuick(linear, code->Tag(linear));
          if (b != nullptr && CodeCache::Current(*b)) continue;
          break;
        }
        chain = &b->taken;
      }
      if (requests.load(std::memory_order_relaxed) & event_mask_) [[unlikely]]
        return true;
      const uint64_t linear = LinearRip(*this);
      if (chain->linear == linear && (chain->tag == 0 || chain->tag == code->Tag(linear)) &&
          chain->to != nullptr && CodeCache::Current(*chain->to)) [[likely]] {
        b = chain->to;
        continue;
      }
      // Find the next one and remember the way, unless finding it dropped `b`.
      const uint64_t clears = code->clears();
      const uint8_t* const page =
          reinterpret_cast<const uint8_t*>(reinterpret_cast<uint64_t>(b->start) & ~uint64_t{0xFFF});
      const uint64_t from =
          b->code_size == CodeSize::k64 ? entry : static_cast<uint32_t>(s.seg[kCs].base + entry);
      const bool one_page = !b->straddles && ((linear ^ from) >> kPageShift) == 0;
      Block* to = nullptr;
      if (code->Find(&to) != CodeCache::Result::kBlock) break;
      if (code->clears() == clears) {
        const bool same = one_page && to->start >= page && to->start < page + kPageSize;
        *chain = {to, linear, same ? 0 : code->Tag(linear)};
      }
      b = to;
    }
  }
}

bool SoftVcpu::CheckCodeBreakpoints() {
  const uint64_t linear = LinearRip(*this);
  uint32_t hit = 0;
  for (unsigned i = 0; i < 4; ++i) {
    const bool enabled = s.dr[7] >> (2 * i) & 3;
    if (enabled && (s.dr[7] >> (16 + 4 * i) & 3) == 0 && s.dr[i] == linear) hit |= 1u << i;
  }
  if (hit == 0) return false;
  s.dr[6] |= hit;
  Raise(kDb);
  return true;
}

namespace {
bool LoadsFlags(uint16_t mnemonic) {
  switch (mnemonic) {
    case ZYDIS_MNEMONIC_POPF:
    case ZYDIS_MNEMONIC_POPFD:
    case ZYDIS_MNEMONIC_POPFQ:
    case ZYDIS_MNEMONIC_IRET:
    case ZYDIS_MNEMONIC_IRETD:
    case ZYDIS_MNEMONIC_IRETQ:
      return true;
    default:
      return false;
  }
}
}  // namespace

// One instruction with all that the fast loop leaves out: the code segment's
// limit, code breakpoints, the trap flag, the interrupt shadow.
bool SoftVcpu::RunSingle() {
  const bool trap = s.rflags_rest & kTf, resume = s.rflags_rest & kRf;
  if ((s.dr[7] & kDr7Armed) && !resume && !s.interrupt_shadow && CheckCodeBreakpoints())
    return Deliver();
  Block* b = nullptr;
  switch (code->Find(&b)) {
    case CodeCache::Result::kBlock:
      break;
    case CodeCache::Result::kFault:
      s.interrupt_shadow = false;
      return Deliver();
    case CodeCache::Result::kNotMemory:
      return CannotFetch();
    case CodeCache::Result::kKicked:
      return true;
  }
  s.interrupt_shadow = false;
  const Insn& in = b->insns()[0];
  if (!FitsCodeSegment(*this, in.length)) {
    Raise(kGp, 0);
    return Deliver();
  }
  block_version_at = b->version_at;
  block_version = b->version;
  const CodeSize size = s.code_size;
  const Step step = in.run(*this, in);
  if (step == Step::kFault) return Deliver();
  retired.store(retired.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
  if (step != Step::kBranch) {
    s.rip += in.length;
    if (size != CodeSize::k64) s.rip = static_cast<uint32_t>(s.rip);
  }
  if (resume) s.rflags_rest &= ~kRf;
  // What enters a handler clears TF and is not trapped (vol. 3, 17.3.1.4); POPF
  // and IRET are by the TF that they started with.
  if (trap && ((s.rflags_rest & kTf) || LoadsFlags(in.mnemonic))) {
    s.pending_debug |= kDr6SingleStep;
  }
  return step != Step::kExit;
}

}  // namespace atl::cpu::soft
