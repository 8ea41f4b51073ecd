// SPDX-License-Identifier: Apache-2.0
// Into translated code and out of it, and what it calls.
#include "lib/cpu/soft/translate.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "lib/base/status_macros.h"
#include "lib/cpu/soft/decode.h"
#include "lib/cpu/soft/native_fpu.h"
#include "lib/cpu/soft/vcpu.h"

namespace atl::cpu::soft {
namespace {

// How often a block must be seen running, and how many are made again with it.
constexpr unsigned kSamplesToHot = 2, kHotTogether = 16;

}  // namespace

Translator::Translator(SoftVcpu& vcpu, const TranslateConfig& config)
    : vcpu_(vcpu),
      area_(vcpu.area()),
      config_(config),
      buckets_(size_t{1} << kBucketBits),
      heat_(size_t{1} << kHeatBits),
      recent_(size_t{1} << kRecentBits) {}

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
  cold_begin_ = memory_.size() / 3 * 2;
  Clear();
  return absl::OkStatus();
}

void Translator::SetExecKeys(const Native& n) {
  auto& keys = area_.exec_key[n.user];
  keys[TranslateArea::ExecSlot(n.linear)] = TranslateArea::ExecKey(n.linear, n.ram_page);
  if (n.second_page == kNone) return;
  const uint64_t second = n.linear + kPageSize;
  keys[TranslateArea::ExecSlot(second)] = TranslateArea::ExecKey(second, n.second_page);
}

Translator::Outcome Translator::Run(Native& n) {
  // Whoever calls has found the block mapped here.
  SetExecKeys(n);
  const uint64_t r = enter_(&vcpu_, RunAt(n.direct));
  if (area_.fpu_loaded[2] != 0) SaveX87();
  const uint32_t low = static_cast<uint32_t>(r);
  switch (static_cast<Glue>(r >> 32)) {
    case kGlueExit:
      vcpu_.s.rip = exits_[low].target;
      return {Left::kExit, low, Step::kNext, epoch_};
    case kGluePoll:
      vcpu_.s.rip = natives_[low].linear;
      NoteHot(natives_[low]);
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

// ---- Slots ----

unsigned Translator::NewSlot() {
  return next_slot_ < TranslateArea::kSlots ? next_slot_++ : kNoSlot;
}

bool Translator::GiveUpSlot(uint32_t point) {
  area_.sites[point].misses = TranslateArea::kMisses;
  if (points_[point].stack) return false;
  const auto [it, added] = own_slots_.emplace(SiteKey(point), kNoSlot);
  if (!added && it->second == kNoSlot) return false;
  it->second = kNoSlot;
  MakeAgain(natives_[points_[point].native]);
  return true;
}

void Translator::NoteHot(Native& n) {
  if (n.hot || ++n.samples < kSamplesToHot) return;
  std::vector<Native*> found = {&n};
  for (size_t k = 0; k < found.size(); ++k) {
    const uint32_t index = found[k]->index;
    for (uint32_t e = found[k]->first_exit; e < exits_.size() && exits_[e].from == index; ++e) {
      if (exits_[e].to == kNone || found.size() == kHotTogether) continue;
      Native* to = &natives_[exits_[e].to];
      if (!to->hot && std::find(found.begin(), found.end(), to) == found.end()) found.push_back(to);
    }
  }
  for (Native* h : found) {
    hot_blocks_.insert(HotKey(h->linear, h->user));
    MakeAgain(*h);
  }
}

// ---- Handlers ----

// Translated blocks keep their bytes only.
const Insn& Translator::Decoded(uint32_t point) {
  Recent& r = recent_[point & (recent_.size() - 1)];
  if (r.point != point) {
    const NativePoint& p = points_[point];
    const Native& n = natives_[p.native];
    bool ends;
    Decode(&bytes_[n.bytes_at + p.at], n.bytes - p.at, CodeSize::k64, vcpu_.vm.model(), &r.insn,
           &ends);
    r.point = point;
  }
  return r.insn;
}

uint64_t Translator::CallHandler(SoftVcpu* c, uint32_t point) {
  Translator& t = *c->translator;
  const Insn& in = t.Decoded(point);
  const uint64_t rip = t.natives_[t.points_[point].native].linear + t.points_[point].at;
  c->s.rip = rip;
  // Handlers and devices may use x87 instructions.
  const bool x87 = t.area_.fpu_loaded[2] != 0;
  if (x87) t.SaveX87();
  Step step = in.run(*c, in);
  if (step != Step::kFault) {
    c->retired.store(c->retired.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
  }
  const bool again = t.area_.sites[point].misses == 0 && t.GiveUpSlot(point);
  if (step == Step::kNext) {
    if (c->Posted() == 0 && !again) {
      if (t.area_.fpu_loaded[0] != 0) t.LookAtVectors();
      if (x87) t.LoadX87();
      return 0;
    }
    step = Step::kLeave;
  }
  if (step == Step::kLeave || step == Step::kExit) c->s.rip = rip + in.length;
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
  const unsigned fpu = t.points_[point].fpu;
  const bool x87 = t.area_.fpu_loaded[2] != 0;
  if (fpu == 2) {
    t.LoadX87();
  } else {
    t.LookAtVectors();
  }
  if (t.area_.fpu_loaded[fpu] != 0) return 0;
  if (x87) t.SaveX87();
  if (CallHandler(c, point) == 0) {
    c->s.rip += t.Decoded(point).length;
    t.step_ = Step::kBranch;
  }
  return uint64_t{kGlueStep} << 32;
}

}  // namespace atl::cpu::soft
