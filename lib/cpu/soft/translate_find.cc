// SPDX-License-Identifier: Apache-2.0
// Which translations there are, what leads to them, and when they are no longer
// the guest's code.
#include <algorithm>
#include <cstring>
#include <utility>

#include "lib/cpu/soft/translate.h"
#include "lib/cpu/soft/translate_emit.h"
#include "lib/cpu/soft/vcpu.h"

namespace atl::cpu::soft {
namespace {

// A guest that writes to code all the time makes no list longer than that.
constexpr size_t kMaxWritten = 256;
// Of code memory for each translation, on the average of the smallest.
constexpr size_t kLeastBytes = 128;

}  // namespace

void Translator::Clear() {
  natives_.clear();
  exits_.clear();
  points_.clear();
  bytes_.clear();
  by_page_.clear();
  std::fill(buckets_.begin(), buckets_.end(), kNone);
  for (Recent& r : recent_) r.point = kNone;
  ++epoch_;
  area_.ForgetAll();
  own_slots_.clear();
  hot_blocks_.clear();
  next_slot_ = 2 * TranslateArea::kShared;
  if (area_.used != 0) {
    area_.DropOwn();
    ForgetJumps();
  }
  hot_ = glue_end_;
  cold_ = cold_begin_;
}

void Translator::ForgetJumps() {
  const uint8_t* miss = memory_.Executable(jump_glue_);
  for (auto& table : area_.jumps) std::fill(std::begin(table), std::end(table), miss);
}

const uint8_t** Translator::JumpOf(const Native& n) {
  return &area_.jumps[n.user][n.linear & (TranslateArea::kJumpSlots - 1)];
}

Native* Translator::Find(uint64_t linear) {
  const bool user = vcpu_.user();
  Mmu::CodePage page, second;
  if (!vcpu_.mmu.TranslateCode(linear, &page) || page.page == Mmu::kNotRam) return nullptr;
  for (uint32_t k = Bucket(linear, user); k != kNone; k = natives_[k].next) {
    Native& n = natives_[k];
    if (n.linear != linear || n.user != user || n.ram_page != page.page) continue;
    const unsigned offset = linear & (kPageSize - 1);
    const unsigned here = std::min<unsigned>(n.bytes, kPageSize - offset);
    if (!n.linked && !SameBytes(n, 0, here, n.ram_page, page.host + offset)) return nullptr;
    if (n.second_page != kNone) {
      // Only now, since this may set the page's accessed bit.
      if (!vcpu_.mmu.TranslateCode((linear | (kPageSize - 1)) + 1, &second) ||
          second.page != n.second_page)
        continue;
      if (!n.linked && !SameBytes(n, here, n.bytes - here, n.second_page, second.host))
        return nullptr;
    }
    if (!n.linked) {
      n.linked = true;
      Enlist(n);
    }
    return &n;
  }
  return nullptr;
}

// Whether `size` bytes of `n` from `at` are still the guest's, at `now`. If not, it
// is forgotten.
bool Translator::SameBytes(Native& n, unsigned at, unsigned size, uint32_t ram_page,
                           const uint8_t* now) {
  uint32_t ignored;
  const unsigned offset = reinterpret_cast<uint64_t>(now) & (kPageSize - 1);
  // Watched before they are read: a store in between is told.
  if (!vcpu_.vm.WatchCode(ram_page, offset, size, vcpu_, &ignored)) return false;  // kicked
  if (std::memcmp(now, &bytes_[n.bytes_at + at], size) == 0) return true;
  Forget(n);
  return false;
}

void Translator::Forget(Native& n) {
  n.gone = true;
  uint32_t* link = &Bucket(n.linear, n.user);
  while (*link != n.index) link = &natives_[*link].next;
  *link = n.next;
}

void Translator::MakeAgain(Native& n) {
  if (n.gone) return;
  Unlink(n);
  Forget(n);
}

void Translator::Enlist(Native& n) {
  by_page_[n.ram_page].push_back(n.index);
  if (n.second_page != kNone) by_page_[n.second_page].push_back(n.index);
}

Native* Translator::Make(Block& b, uint64_t linear) {
  Mmu::CodePage page, second;
  if (!vcpu_.mmu.TranslateCode(linear, &page) || page.page == Mmu::kNotRam) return nullptr;
  if (b.straddles && (!vcpu_.mmu.TranslateCode((linear | (kPageSize - 1)) + 1, &second) ||
                      second.page == Mmu::kNotRam))
    return nullptr;
  const size_t most = BlockEmitter::MaxBytes(b.count);
  if (cold_begin_ - hot_ < most || memory_.size() - cold_ < most ||
      points_.size() + 2 * b.count + 2 > TranslateArea::kMaxPoints ||
      natives_.size() >= memory_.size() / kLeastBytes) {
    Clear();
  }
  if (area_.used == 0) {
    area_.Prepare();
    ForgetJumps();
  }
  Native& n = natives_.emplace_back();
  n.linear = linear;
  n.index = static_cast<uint32_t>(natives_.size() - 1);
  n.ram_page = static_cast<uint32_t>(page.page);
  if (b.straddles) n.second_page = static_cast<uint32_t>(second.page);
  n.user = vcpu_.user();
  n.hot = hot_blocks_.contains(HotKey(linear, n.user));
  n.first_exit = static_cast<uint32_t>(exits_.size());
  n.bytes_at = static_cast<uint32_t>(bytes_.size());
  n.bytes = b.bytes;
  for (unsigned i = 0; i < b.count; ++i) {
    const Insn& in = b.insns()[i];
    bytes_.insert(bytes_.end(), in.bytes, in.bytes + in.length);
  }
  BlockEmitter(*this, vcpu_, n, b).Emit();
  uint32_t& bucket = Bucket(linear, n.user);
  n.next = bucket;
  bucket = n.index;
  Enlist(n);
  return &n;
}

void Translator::Link(const Outcome& outcome, Native& to) {
  if (outcome.epoch != epoch_) return;
  if (outcome.left == Left::kJump) {
    if (const uint32_t entry = IndirectEntry(to)) *JumpOf(to) = RunAt(entry);
    return;
  }
  if (outcome.left != Left::kExit) return;
  NativeExit& e = exits_[outcome.exit];
  const Native& from = natives_[e.from];
  if (e.target != to.linear || from.user != to.user || e.to != kNone) return;
  const bool same_page =
      (from.linear ^ to.linear) >> kPageShift == 0 && from.ram_page == to.ram_page;
  const uint32_t entry = !same_page ? PageEntry(to) : e.backward ? to.poll : to.direct;
  if (entry == 0) return;
  HostCode::Patch(At(e.patch), At(entry));
  e.to = to.index;
  e.next_incoming = to.incoming;
  to.incoming = outcome.exit;
}

void Translator::Unlink(Native& n) {
  n.linked = false;
  for (uint32_t k = n.incoming; k != kNone; k = exits_[k].next_incoming) {
    HostCode::Patch(At(exits_[k].patch), At(exits_[k].stub));
    exits_[k].to = kNone;
  }
  n.incoming = kNone;
  const uint8_t** jump = JumpOf(n);
  if (n.indirect != 0 && *jump == RunAt(n.indirect)) *jump = memory_.Executable(jump_glue_);
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
  auto drop = [this](std::vector<uint32_t>& natives) {
    for (uint32_t k : natives) Unlink(natives_[k]);
    natives.clear();
  };
  if (pages.size() >= kMaxWritten) {
    for (auto& [page, natives] : by_page_) drop(natives);
    return;
  }
  for (uint64_t page : pages) {
    if (auto it = by_page_.find(static_cast<uint32_t>(page)); it != by_page_.end())
      drop(it->second);
  }
}

}  // namespace atl::cpu::soft
