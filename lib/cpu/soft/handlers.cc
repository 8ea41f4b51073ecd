// SPDX-License-Identifier: Apache-2.0
#include "lib/cpu/soft/handlers.h"

#include <Zydis/Decoder.h>

#include <array>

namespace atl::cpu::soft {
namespace {

// A mnemonic can have two selectors (MOV of general and of segment registers):
// the first that knows the instruction has it.
struct Selectors {
  Selector first = nullptr, second = nullptr;
};
using ByMnemonic = std::array<Selectors, ZYDIS_MNEMONIC_MAX_VALUE + 1>;

ByMnemonic Index() {
  ByMnemonic by = {};
  for (const HandlerTable* table :
       {&kAluHandlers, &kMoveHandlers, &kShiftHandlers, &kMultiplyHandlers, &kBitHandlers,
        &kAtomicHandlers, &kControlHandlers, &kStackHandlers, &kStringHandlers, &kSystemHandlers}) {
    for (const HandlerEntry& e : *table) {
      Selectors& s = by[e.mnemonic];
      (s.first == nullptr ? s.first : s.second) = e.select;
    }
  }
  return by;
}

}  // namespace

Handler SelectHandler(Insn& in, const DecodedView& view) {
  static const ByMnemonic by = Index();
  if (IsNative(view)) return SelectNative(in, view);
  const Selectors& s = by[in.mnemonic];
  for (Selector select : {s.first, s.second}) {
    if (select == nullptr) continue;
    if (Handler handler = select(in, view)) return handler;
  }
  return nullptr;
}

}  // namespace atl::cpu::soft
