// SPDX-License-Identifier: Apache-2.0
#include "lib/cpu/soft/translate.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "lib/base/status_macros.h"
#include "lib/cpu/soft/translate_emit.h"
#include "lib/cpu/soft/vcpu.h"

namespace atl::cpu::soft {
namespace {

constexpr uint32_t kMaxNatives = 1 << 17;
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
  Native& n = natives_.emplace_back();
  n.block = &b;
  n.linear = linear;
  n.ram_page = page.page;
  n.user = vcpu_.user();
  n.next = b.native;
  b.native = &n;
  BlockEmitter(*this, vcpu_, n).Emit();
  by_page_[n.ram_page].push_back(&n);
  return &n;
}

Translator::Outcome Translator::Run(Native& n) {
  // Whoever calls has found the block mapped here.
  area_.exec_key[n.user][TranslateArea::ExecSlot(n.linear)] =
      TranslateArea::ExecKey(n.linear, n.ram_page);
  const uint64_t r = enter_(&vcpu_, memory_.Executable(n.direct));
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
  Step step = p.insn->run(*c, *p.insn);
  if (step != Step::kFault) {
    c->retired.store(c->retired.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
  }
  if (step == Step::kNext) {
    if (c->Posted() == 0) return 0;
    step = Step::kLeave;
  }
  if (step == Step::kLeave || step == Step::kExit) c->s.rip = p.rip + p.insn->length;
  t.step_ = step;
  return uint64_t{kGlueStep} << 32;
}

}  // namespace atl::cpu::soft
