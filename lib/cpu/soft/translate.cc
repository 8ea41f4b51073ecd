// SPDX-License-Identifier: Apache-2.0
#include "lib/cpu/soft/translate.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "lib/base/status_macros.h"
#include "lib/cpu/soft/native_fpu.h"
#include "lib/cpu/soft/translate_emit.h"
#include "lib/cpu/soft/vcpu.h"

namespace atl::cpu::soft {
namespace {

constexpr uint32_t kMaxNatives = 1 << 19;
// A guest that writes to code all the time makes no list longer than that.
constexpr size_t kMaxWritten = 256;

}  // namespace

Translator::Translator(SoftVcpu& vcpu, const TranslateConfig& config)
    : vcpu_(vcpu), area_(vcpu.area()), config_(config) {}

Translator::~Translator() = default;

absl::StatusOr<std::unique_ptr<Translator>> Translator::Create(SoftVcpu& vcpu,
                                                               const TranslateConfig& config) {
  std::unique_ptr<Translator> t(new Translator(vcpu, config));
  RETURN_IF_ERROR(t->Init());
  return t;
}

absl::Status Translator::Init() {
  RETURN_IF_ERROR(memory_.Map(config_.code_bytes));
  code_ = std::make_unique<HostCode>(memory_);
  EmitGlue();
  glue_end_ = code_->getSize();
  Clear();
  return absl::OkStatus();
}

void Translator::Clear() {
  // Blocks may outlive this, so they forget; those that do not, are still here.
  for (Native& n : natives_) {
    n.block->native = nullptr;
    n.block->heat = 0;
  }
  natives_.clear();
  exits_.clear();
  points_.clear();
  by_page_.clear();
  ++epoch_;
  area_.ForgetAll();
  const uint8_t* miss = memory_.Executable(jump_glue_);
  for (auto& table : area_.jumps) std::fill(std::begin(table), std::end(table), miss);
  code_->Rewind(glue_end_);
}

const uint8_t** Translator::JumpOf(const Native& n) {
  return &area_.jumps[n.user][n.linear & (TranslateArea::kJumpSlots - 1)];
}

Native* Translator::Get(Block& b, uint64_t linear) {
  const bool user = vcpu_.user();
  for (Native* n = b.native; n != nullptr; n = n->next) {
    if (n->linear != linear || n->user != user) continue;
    if (!n->linked) {
      // The code cache has just compared the bytes.
      n->linked = true;
      by_page_[n->ram_page].push_back(n);
    }
    return n;
  }
  if (++b.heat < config_.heat) return nullptr;
  return Make(b, linear);
}

Native* Translator::Make(Block& b, uint64_t linear) {
  Mmu::CodePage page;
  if (!vcpu_.mmu.TranslateCode(linear, &page) || page.page == Mmu::kNotRam) return nullptr;
  if (code_->room() < BlockEmitter::MaxBytes(b.count) ||
      points_.size() + 2 * b.count + 2 > TranslateArea::kMaxPoints ||
      natives_.size() >= kMaxNatives) {
    Clear();
  }
  Block* const kept = vcpu_.code->Keep(b);
  if (kept == nullptr) {
    // The block itself is whole until the next one is made.
    vcpu_.code->Clear();
    return nullptr;
  }
  Native& n = natives_.emplace_back();
  n.block = kept;
  n.linear = linear;
  n.ram_page = page.page;
  n.user = vcpu_.user();
  n.next = kept->native;
  kept->native = &n;
  BlockEmitter(*this, vcpu_, n).Emit();
  by_page_[n.ram_page].push_back(&n);
  return &n;
}

Translator::Outcome Translator::Run(Native& n) {
  // Whoever calls has found the block mapped here.
  area_.exec_key[n.user][TranslateArea::ExecSlot(n.linear)] =
      TranslateArea::ExecKey(n.linear, n.ram_page);
  const uint64_t r = enter_(&vcpu_, memory_.Executable(n.direct));
  if (area_.fpu_loaded[2] != 0) SaveX87();
  const uint32_t low = static_cast<uint32_t>(r);
  switch (static_cast<Glue>(r >> 32)) {
    case kGlueExit:
      vcpu_.s.rip = exits_[low].target;
      return {Left::kExit, low, Step::kNext, epoch_};
    case kGluePoll:
      vcpu_.s.rip = natives_[low].linear;
      return {Left::kPoll, 0, Step::kNext, epoch_};
    case kGlueMap:
      vcpu_.s.rip = natives_[low].linear;
      return {Left::kMap, 0, Step::kNext, epoch_};
    case kGlueStep:
      return {Left::kStep, 0, step_, epoch_};
    case kGlueJump:
      break;
  }
  return {Left::kJump, 0, Step::kNext, epoch_};
}

void Translator::Link(const Outcome& outcome, Native& to) {
  if (outcome.epoch != epoch_) return;
  if (outcome.left == Left::kJump) {
    *JumpOf(to) = memory_.Executable(to.indirect);
    return;
  }
  if (outcome.left != Left::kExit) return;
  NativeExit& e = exits_[outcome.exit];
  if (e.target != to.linear || e.from->user != to.user) return;
  const bool same_page =
      (e.from->linear ^ to.linear) >> kPageShift == 0 && e.from->ram_page == to.ram_page;
  HostCode::Patch(e.patch, !same_page ? to.page : e.backward ? to.poll : to.direct);
  to.incoming.push_back(outcome.exit);
}

void Translator::Unlink(Native& n) {
  n.linked = false;
  for (uint32_t k : n.incoming) HostCode::Patch(exits_[k].patch, exits_[k].stub);
  n.incoming.clear();
  const uint8_t** jump = JumpOf(n);
  if (*jump == memory_.Executable(n.indirect)) *jump = memory_.Executable(jump_glue_);
}

void Translator::NoteCodeWritten(uint64_t ram_page) {
  MutexLock lock(&written_mu_);
  any_written_.store(true, std::memory_order_release);
  if (!written_.empty() && written_.back() == ram_page) return;
  if (written_.size() < kMaxWritten) written_.push_back(ram_page);
}

void Translator::TakeWrittenPages() {
  std::vector<uint64_t> pages;
  {
    MutexLock lock(&written_mu_);
    pages.swap(written_);
    any_written_.store(false, std::memory_order_relaxed);
  }
  auto drop = [this](std::vector<Native*>& natives) {
    for (Native* n : natives) Unlink(*n);
    natives.clear();
  };
  if (pages.size() >= kMaxWritten) {
    for (auto& [page, natives] : by_page_) drop(natives);
    return;
  }
  for (uint64_t page : pages) {
    if (auto it = by_page_.find(page); it != by_page_.end()) drop(it->second);
  }
}

uint64_t Translator::CallHandler(SoftVcpu* c, uint32_t point) {
  Translator& t = *c->translator;
  const NativePoint& p = t.points_[point];
  c->s.rip = p.rip;
  // Handlers and devices may use x87 instructions.
  const bool x87 = t.area_.fpu_loaded[2] != 0;
  if (x87) t.SaveX87();
  Step step = p.insn->run(*c, *p.insn);
  if (step != Step::kFault) {
    c->retired.store(c->retired.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
  }
  if (step == Step::kNext) {
    if (c->Posted() == 0) {
      if (t.area_.fpu_loaded[0] != 0) t.LookAtVectors();
      if (x87) t.LoadX87();
      return 0;
    }
    step = Step::kLeave;
  }
  if (step == Step::kLeave || step == Step::kExit) c->s.rip = p.rip + p.insn->length;
  t.step_ = step;
  return uint64_t{kGlueStep} << 32;
}

// With an exception unmasked the host would raise it.
void Translator::LookAtVectors() {
  const CpuState& s = vcpu_.s;
  const bool xmm = (s.cr0 & (kCr0Em | kCr0Ts)) == 0 && (s.cr4 & kCr4Osfxsr) != 0 &&
                   (FpuGet<uint32_t>(s.fpu, FpuState::kMxcsr) & kMxcsrMasks) == kMxcsrMasks;
  const bool ymm = xmm && (s.cr4 & kCr4Osxsave) != 0 &&
                   (s.xcr0 & (kXcr0Sse | kXcr0Avx)) == (kXcr0Sse | kXcr0Avx);
  area_.fpu_loaded[0] = xmm;
  area_.fpu_loaded[1] = ymm;
}

// The same of x87's, where an exception that is pending counts too.
void Translator::LoadX87() {
  const CpuState& s = vcpu_.s;
  if ((s.cr0 & (kCr0Em | kCr0Ts)) != 0 ||
      (FpuGet<uint16_t>(s.fpu, FpuState::kFcw) & kFswFlags) != kFswFlags ||
      (FpuGet<uint16_t>(s.fpu, FpuState::kFsw) & kFswEs) != 0)
    return;
  // XMM registers too: to where they are saved, and loaded again behind this.
  const uint32_t mxcsr = area_.host_mxcsr;
  asm volatile("fxrstor64 %0\n\tldmxcsr %1" : : "m"(vcpu_.s.fpu.image), "m"(mxcsr) : "memory");
  area_.fpu_loaded[2] = 1;
}

void Translator::SaveX87() {
  alignas(16) uint8_t image[512];
  asm volatile("fxsave64 %0\n\tfninit" : "=m"(image) : : "memory");
  uint8_t* to = vcpu_.s.fpu.image;
  // The control, status and tag words and the registers. Where the instruction
  // and its operand were, is known of the host's only.
  std::memcpy(to, image, FpuState::kFop);
  std::memset(to + FpuState::kFop, 0, FpuState::kMxcsr - FpuState::kFop);
  std::memcpy(to + FpuState::kSt, image + FpuState::kSt, FpuState::kXmm - FpuState::kSt);
  area_.fpu_loaded[2] = 0;
}

uint64_t Translator::UseFpu(SoftVcpu* c, uint32_t point) {
  Translator& t = *c->translator;
  const NativePoint& p = t.points_[point];
  const bool x87 = t.area_.fpu_loaded[2] != 0;
  if (p.fpu == 2) {
    t.LoadX87();
  } else {
    t.LookAtVectors();
  }
  if (t.area_.fpu_loaded[p.fpu] != 0) return 0;
  if (x87) t.SaveX87();
  if (CallHandler(c, point) == 0) {
    c->s.rip = p.rip + p.insn->length;
    t.step_ = Step::kBranch;
  }
  return uint64_t{kGlueStep} << 32;
}

}  // namespace atl::cpu::soft
