// SPDX-License-Identifier: Apache-2.0
// What random programs are made of beside straight code.
#include <cstdint>
#include <utility>
#include <vector>

#include "tests/cpu/random_layout.h"
#include "tests/cpu/random_program.h"

namespace atl::cpu::test {
namespace {

constexpr unsigned kRax = 0, kRcx = 1, kRdx = 2, kRsp = 4, kRsi = 6, kRdi = 7;
// What functions leave alone, for the counters of loops around calls.
constexpr unsigned kSaved = 0xF000, kFirstSaved = 12;
constexpr uint8_t kJump = 0xE9, kJnz = 0x85;
constexpr uint64_t kTableEntries = (kPage - (kTablesAt - kExtraAt)) / 8;

template <typename T, size_t n>
const T& Pick(Random& random, const T (&from)[n]) {
  return from[random.Below(n)];
}

}  // namespace

// CMP and the like; what keeps the flags; what looks at them.
void ProgramGenerator::FlagsFarApart(unsigned depth) {
  const auto reg = [&] { return static_cast<uint8_t>(random_.Below(8)); };
  const auto both = [&](uint8_t a, uint8_t b) { return static_cast<uint8_t>(0xC0 | a << 3 | b); };
  const uint8_t wide = random_.Percent(50) ? 0x48 : 0x40;
  switch (random_.Below(7)) {
    case 0:
      Emit({wide, 0x39, both(reg(), reg())});
      break;
    case 1:
      Emit({wide, 0x85, both(reg(), reg())});
      break;
    case 2:
      Emit({0x66, 0x3D, static_cast<uint8_t>(random_.Next()), 0});
      break;
    case 3:
      Emit({0x38, both(reg(), reg())});  // AH to BH among them
      break;
    case 4: {
      const unsigned r = FreeRegister();
      Emit({static_cast<uint8_t>(wide | r >> 3), 0xFF,
            static_cast<uint8_t>((random_.Percent(50) ? 0xC0 : 0xC8) | (r & 7))});
      known_[r].reset();
      break;
    }
    case 5:
      EmitPlace({wide, 0x3B, static_cast<uint8_t>(0x05 | reg() << 3)}, SomeData(8));
      break;
    default:
      InstructionOf(kInteger);
      break;
  }
  for (unsigned n = random_.Below(5); n > 0; --n) {
    const unsigned r = FreeRegister();
    switch (random_.Below(7)) {
      case 0:
        EmitPlace({static_cast<uint8_t>(0x48 | r >> 3 << 2), 0x89,
                   static_cast<uint8_t>(0x05 | (r & 7) << 3)},
                  SomeData(8));
        break;
      case 1:
        EmitPlace({static_cast<uint8_t>(0x48 | r >> 3 << 2), 0x8B,
                   static_cast<uint8_t>(0x05 | (r & 7) << 3)},
                  SomeData(8));
        known_[r].reset();
        break;
      case 2:
        Emit({static_cast<uint8_t>(0x48 | r >> 3), 0xF7, static_cast<uint8_t>(0xD0 | (r & 7))});
        known_[r].reset();
        break;
      case 3:
        Emit({static_cast<uint8_t>(0x40 | r >> 3), static_cast<uint8_t>(0x50 | (r & 7))});
        Emit({0x41, 0x5B});  // POP R11
        known_[11].reset();
        break;
      case 4:
        Emit({0x0F, 0xB6, static_cast<uint8_t>(0xC0 | reg())});  // MOVZX EAX, r8
        known_[kRax].reset();
        break;
      case 5:
        Emit({0x88, both(reg(), 4 + random_.Below(4))});  // into AH, CH, DH, BH
        for (unsigned i = 0; i < 4; ++i) known_[i].reset();
        if (kept_ & 15) p_->pieces.pop_back();
        break;
      default:
        InstructionOf(kVector);
        break;
    }
  }
  const uint8_t cc = static_cast<uint8_t>(random_.Below(16));
  const unsigned r = FreeRegister();
  const uint8_t rex = static_cast<uint8_t>(0x48 | r >> 3), low = r & 7;
  known_[r].reset();
  switch (random_.Below(7)) {
    case 0:
      Emit({rex, 0x0F, static_cast<uint8_t>(0x90 | cc), static_cast<uint8_t>(0xC0 | low)});
      break;
    case 1:
      Emit({static_cast<uint8_t>(0x48 | r >> 3 << 2), 0x0F, static_cast<uint8_t>(0x40 | cc),
            static_cast<uint8_t>(0xC0 | low << 3 | reg())});
      break;
    case 2:  // ADC, SBB
      Emit({rex, 0x83, static_cast<uint8_t>((random_.Percent(50) ? 0xD0 : 0xD8) | low),
            static_cast<uint8_t>(random_.Next())});
      break;
    case 3:  // RCL, RCR
      Emit({rex, 0xD1, static_cast<uint8_t>((random_.Percent(50) ? 0xD0 : 0xD8) | low)});
      break;
    case 4:
      if (p_->kind == Program::kHost) break;  // TF and IF are not its own there
      Emit({0x9C});
      Emit({static_cast<uint8_t>(0x40 | r >> 3), static_cast<uint8_t>(0x58 | low)});
      break;
    case 5:
      EmitPlace({0x0F, static_cast<uint8_t>(0x90 | cc), 0x05}, SomeData(1));
      break;
    default:
      If(depth);
      break;
  }
}

void ProgramGenerator::If(unsigned depth) {
  const size_t branch = EmitBranch(static_cast<uint8_t>(0x80 | random_.Below(16)));
  Statements(1 + random_.Below(4), depth + 1);
  if (random_.Percent(35)) {
    const size_t out = EmitBranch(kJump);
    Land(branch);
    Statements(1 + random_.Below(3), depth + 1);
    Land(out);
  } else {
    Land(branch);
  }
}

void ProgramGenerator::Loop(unsigned depth) {
  const unsigned times = 1 + random_.Below(depth == 1 ? 12 : 5);
  const unsigned kind = random_.Below(4);
  const unsigned before = kept_;
  const bool host = p_->kind == Program::kHost;
  if ((kind == 0 && !host) || kept_ == (kept_ | kSaved)) {
    if (host || counters_ == kTablesAt) return;
    const uint64_t counter = counters_;
    counters_ += 8;
    const size_t n = EmitPlace({0xC7, 0x05}, counter);
    p_->pieces[n].bytes.insert(p_->pieces[n].bytes.end(), {static_cast<uint8_t>(times), 0, 0, 0});
    const size_t top = p_->pieces.size();
    Join();
    Statements(1 + random_.Below(5), depth + 1);
    EmitPlace({0xFF, 0x0D}, counter);
    EmitBranch(kJnz, top);
  } else if (kind == 1 && (kept_ >> kRcx & 1) == 0) {
    // LOOP over a jump back, since it reaches 128 bytes only. No calls inside.
    MoveImmediate(kRcx, times);
    kept_ |= 1u << kRcx;
    const size_t top = p_->pieces.size();
    Join();
    Statements(1 + random_.Below(3), 9);
    EmitFixed({static_cast<uint8_t>(random_.Percent(70) ? 0xE2 : 0xE0 + random_.Below(2)), 0x02,
               0xEB, 0x05, kJump},
              {.target = top});
  } else {
    unsigned r = kFirstSaved;
    while (kept_ >> r & 1) ++r;
    MoveImmediate(r, times);
    kept_ |= 1u << r;
    const size_t top = p_->pieces.size();
    Join();
    Statements(1 + random_.Below(5), depth + 1);
    if (random_.Percent(50)) {
      Emit({0x41, 0xFF, static_cast<uint8_t>(0xC8 | (r & 7))});  // DEC
    } else {
      Emit({0x49, 0x83, static_cast<uint8_t>(0xE8 | (r & 7)), 1});  // SUB
    }
    EmitBranch(kJnz, top);
  }
  kept_ = before;
  Join();
}

void ProgramGenerator::Stack(unsigned depth) {
  switch (random_.Below(4)) {
    case 0:
      EmitPlace({0xFF, 0x35}, SomeData(8));
      break;
    case 1:
      Emit({0x6A, static_cast<uint8_t>(random_.Next())});
      break;
    default: {
      const unsigned r = random_.Below(16);
      Emit({static_cast<uint8_t>(0x40 | r >> 3), static_cast<uint8_t>(0x50 | (r & 7))});
      break;
    }
  }
  Statements(random_.Below(4), depth + 1);
  switch (random_.Below(5)) {
    case 0:
      EmitPlace({0x8F, 0x05}, SomeData(8));
      break;
    case 1:
      Emit({0x48, 0x8D, 0x64, 0x24, 0x08});  // LEA RSP, [RSP + 8]
      break;
    case 2:
      Emit({0x48, 0x83, 0xC4, 0x08});
      break;
    default: {
      const unsigned r = FreeRegister();
      Emit({static_cast<uint8_t>(0x40 | r >> 3), static_cast<uint8_t>(0x58 | (r & 7))});
      known_[r].reset();
      break;
    }
  }
}

void ProgramGenerator::Call() {
  if (p_->kind != Program::kHost && random_.Percent(15)) {
    EmitPlace({0xE8}, kRemapCodeAt + kRemapFunctionBytes * random_.Below(kRemapFunctions));
    return Join();
  }
  if (functions_.empty()) return;
  const size_t f = functions_[random_.Below(static_cast<uint32_t>(functions_.size()))];
  const unsigned r = FreeRegister();
  switch (random_.Below(6)) {
    case 0:
      LeaCode(r, f);
      Emit({static_cast<uint8_t>(0x40 | r >> 3), 0xFF, static_cast<uint8_t>(0xD0 | (r & 7))});
      break;
    case 1: {
      if (p_->kind == Program::kHost || tables_ == kTableEntries) break;
      const uint64_t place = kTablesAt + 8 * tables_++;
      p_->pointers.push_back({place, f});
      EmitPlace({0xFF, 0x15}, place);
      break;
    }
    case 2: {  // as retpolines do: RET to where the stack was made to say
      const size_t call = EmitFixed({0xE8}, {});
      const size_t spin = Emit({0xF3, 0x90});
      EmitBranch(kJump, spin);
      Land(call);
      LeaCode(r, f);
      Emit({static_cast<uint8_t>(0x48 | r >> 3 << 2), 0x89,
            static_cast<uint8_t>(0x04 | (r & 7) << 3), 0x24});  // MOV [RSP], r
      // It comes back to behind this call.
      const size_t inner = EmitFixed({0xE8}, {});
      const size_t out = EmitBranch(kJump);
      Land(inner);
      Emit({0x48, 0x83, 0xC4, 0x08});  // ADD RSP, 8: drops that again
      const size_t back = EmitFixed({0x68}, {.kind = Piece::Fix::kAbsolute});
      LeaCode(r, f);
      Emit({static_cast<uint8_t>(0x40 | r >> 3), static_cast<uint8_t>(0x50 | (r & 7))});
      p_->pieces[Emit({0xC3})].recover = true;
      p_->pieces[back].fix->target = p_->pieces.size();
      Emit({0x48, 0x83, 0xC4, 0x08});
      Land(out);
      break;
    }
    default:
      EmitFixed({0xE8}, {.target = f});
      break;
  }
  Join();
}

void ProgramGenerator::Switch(unsigned depth) {
  const bool table = p_->kind != Program::kHost && tables_ + 4 <= kTableEntries;
  const unsigned ways = table ? 1u << random_.Below(3) : 1;
  if ((kept_ & 5) != 0) return;  // RAX, RDX
  std::vector<size_t> ends;
  std::vector<size_t> jumps;
  uint64_t place = 0;
  if (table) {
    const unsigned from = random_.Below(16);
    place = kTablesAt + 8 * tables_;
    tables_ += ways;
    Emit({static_cast<uint8_t>(0x40 | from >> 3 << 2), 0x89,
          static_cast<uint8_t>(0xC0 | (from & 7) << 3)});  // MOV EAX, from
    Emit({0x83, 0xE0, static_cast<uint8_t>(ways - 1)});    // AND EAX, ways - 1
    EmitPlace({0x48, 0x8D, 0x15}, place);                  // LEA RDX, [table]
    jumps.push_back(Emit({0xFF, 0x24, 0xC2}));             // JMP [RDX + RAX * 8]
  } else {
    EmitFixed({0x48, 0x8D, 0x15}, {});
    jumps.push_back(p_->pieces.size() - 1);
    Emit({0xFF, 0xE2});
  }
  p_->pieces.back().recover = true;
  for (unsigned w = 0; w < ways; ++w) {
    if (table) {
      p_->pointers.push_back({place + 8 * w, p_->pieces.size()});
      Join();
    } else {
      Emit({0x0F, 0x0B});  // jumped over
      Land(jumps[0]);
    }
    Statements(1 + random_.Below(3), depth + 1);
    if (w + 1 < ways) ends.push_back(EmitBranch(kJump));
  }
  for (const size_t e : ends) Land(e);
  Join();
}

void ProgramGenerator::StoreToCode(bool later) {
  if (p_->kind == Program::kHost || (!later && patchable_.empty())) return;
  Piece::Fix fix;
  uint8_t offset = 0;
  if (!later) {
    const auto& [piece, at] = patchable_[random_.Below(static_cast<uint32_t>(patchable_.size()))];
    fix.target = piece;
    offset = at;
  }
  if (random_.Percent(20)) fix.add = kAliasAt - kCodeAt;
  const auto wide = static_cast<uint8_t>(random_.Next());
  const unsigned r = random_.Below(8);
  const uint8_t modrm = static_cast<uint8_t>(0x05 | r << 3);
  size_t n;
  std::vector<uint8_t> immediate;
  unsigned inside = 0;
  switch (random_.Below(6)) {
    case 0:
      n = EmitFixed({0xC6, 0x05}, fix);
      immediate = {wide};
      inside = random_.Below(4);
      break;
    case 1:
      n = EmitFixed({0x66, 0xC7, 0x05}, fix);
      immediate = {wide, 1};
      inside = random_.Below(3);
      break;
    case 2:
      n = EmitFixed({0xC7, 0x05}, fix);
      immediate = {wide, 1, 2, 3};
      break;
    case 3:
      n = EmitFixed({0x83, 0x05}, fix);  // ADD dword, imm8
      immediate = {wide};
      break;
    case 4:
      n = EmitFixed({0xF0, 0x0F, 0xC1, modrm}, fix);  // LOCK XADD
      if (r == kRsp || (kept_ >> r & 1)) p_->pieces[n].bytes[3] = 0x05;
      if (p_->pieces[n].bytes[3] == 0x05 && (kept_ & 1)) p_->pieces[n].bytes = {0x90}, fix = {};
      for (auto& k : known_) k.reset();
      break;
    default:
      n = EmitFixed({0x89, modrm}, fix);
      break;
  }
  if (p_->pieces[n].bytes.size() == 1) {
    p_->pieces[n].fix.reset();
    return;
  }
  Piece& store = p_->pieces[n];
  store.bytes.insert(store.bytes.end(), immediate.begin(), immediate.end());
  if (!later) {
    // Now and then the operation of ADD and its like, not its immediate.
    store.fix->offset = static_cast<uint8_t>(offset + inside);
    return;
  }
  for (unsigned gap = random_.Below(5); gap > 0; --gap) Straight();
  const size_t target = EmitPatchable();
  p_->pieces[n].fix->target = target;
  p_->pieces[n].fix->offset = static_cast<uint8_t>(patchable_.back().second + inside);
}

void ProgramGenerator::SingleSteps(unsigned depth) {
  Emit({0x9C});
  Emit({0x81, 0x0C, 0x24, 0x00, 0x01, 0x00, 0x00});  // OR dword [RSP], TF
  Emit({0x9D});
  Statements(1 + random_.Below(4), depth + 1);
  Emit({0x9C});
  Emit({0x81, 0x24, 0x24, 0xFF, 0xFE, 0xFF, 0xFF});
  Emit({0x9D});
}

// Kernel programs only.
void ProgramGenerator::Remap() {
  const bool code = random_.Percent(30), demand = !code && random_.Percent(30);
  uint64_t page = kRemapCodeAt, frame = kRemapCodeFrameAt;
  if (!code) {
    page = kRemapAt + kPage * random_.Below(kRemapPages);
    frame = kRemapFrameAt;
  }
  frame += kPage * random_.Below(kRemapFrames);
  uint32_t entry = static_cast<uint32_t>(frame) | Pick<uint32_t>(random_, {7, 7, 7, 0x67, 5, 0x25});
  if (demand) {
    page = kDemandAt + kPage * random_.Below(kDemandPages);
    entry = static_cast<uint32_t>(kRemapFrameAt + kPage * (4 + (page - kDemandAt) / kPage)) | 6;
  } else if (!code && random_.Percent(10)) {
    entry = 0;
  }
  for (unsigned space = 0; space < 2; ++space) {
    const size_t n =
        EmitPlace({0x48, 0xC7, 0x05}, kTableWindowAt + kPage * space + (page >> 12 & 511) * 8);
    for (unsigned i = 0; i < 4; ++i)
      p_->pieces[n].bytes.push_back(static_cast<uint8_t>(entry >> (8 * i)));
  }
  if (random_.Percent(80)) {
    Emit({0x0F, 0x01, 0x3C, 0x25, static_cast<uint8_t>(page), static_cast<uint8_t>(page >> 8),
          static_cast<uint8_t>(page >> 16), static_cast<uint8_t>(page >> 24)});
  } else if ((kept_ & 1) == 0) {  // all of them
    Emit({0x0F, 0x20, 0xD8});     // MOV RAX, CR3
    Emit({0x0F, 0x22, 0xD8});
    known_[kRax].reset();
  }
  if (code) {
    EmitPlace({0xE8}, kRemapCodeAt + kRemapFunctionBytes * random_.Below(kRemapFunctions));
    Join();
  } else {
    const unsigned r = FreeRegister();
    EmitPlace({static_cast<uint8_t>(0x48 | r >> 3 << 2),
               static_cast<uint8_t>(random_.Percent(50) ? 0x89 : 0x8B),
               static_cast<uint8_t>(0x05 | (r & 7) << 3)},
              page + 8 * random_.Below(kPage / 8));
    known_[r].reset();
  }
}

void ProgramGenerator::Fault() {
  switch (random_.Below(7)) {
    case 0:
      Emit({0x0F, 0x0B});
      break;
    case 1:
      Emit({0xCC});
      break;
    case 2:
      MoveImmediate(FreeRegister(), 0);
      Emit({0x48, 0xF7, 0x34, 0x25, 0x08, 0x80, 0x12, 0x40});  // DIV qword [kStackAt + 8]: zero
      known_[kRax].reset();
      known_[kRdx].reset();
      if (kept_ & 5) p_->pieces.pop_back();
      break;
    case 3:
      EmitPlace({0x0F, 0x28, 0x05}, kDataAt + 8);  // MOVAPS, misaligned
      break;
    case 4: {
      const unsigned r = FreeRegister();
      MoveImmediate(r, Pick<uint64_t>(random_, {kDataAt + 64, kDataAt - 64, 0x0001000000000000,
                                                0xFFFFFFFFFFFFFFF0, kReadOnlyAt}));
      const size_t n = Emit({static_cast<uint8_t>(0x40 | r >> 3), 0xFF,
                             static_cast<uint8_t>((random_.Percent(50) ? 0xD0 : 0xE0) | (r & 7))});
      p_->pieces[n].recover = true;
      break;
    }
    case 5:
      EmitPlace({0x48, 0xFF, 0x05}, kReadOnlyAt + 8 * random_.Below(100));  // INC
      break;
    default:
      if (p_->kind != Program::kKernel) Emit({random_.Percent(50) ? uint8_t{0xF4} : uint8_t{0xFA}});
      break;
  }
}

void ProgramGenerator::SystemCall() {
  if (p_->kind == Program::kHost) return;
  if (p_->kind == Program::kUser && (kept_ >> kRcx & 1) == 0 && random_.Percent(70)) {
    Emit({0x0F, 0x05});
    known_[kRcx].reset();
    known_[11].reset();
  } else {
    Emit({0xCD, kCallVector});
  }
}

void ProgramGenerator::StringCopy() {
  if (kept_ & (1u << kRcx | 1u << kRsi | 1u << kRdi)) return;
  MoveImmediate(kRsi, SomeData(64));
  MoveImmediate(kRdi, SomeData(64));
  MoveImmediate(kRcx, random_.Below(300));
  if (random_.Percent(15)) Emit({0xFD});
  const uint8_t opcode = Pick<uint8_t>(random_, {0xA4, 0xA5, 0xAA, 0xAB, 0xA6, 0xAE, 0xAF, 0xAC});
  std::vector<uint8_t> bytes = {Pick<uint8_t>(random_, {0xF3, 0xF3, 0xF2})};
  if (random_.Percent(40)) bytes.push_back(0x48);
  bytes.push_back(opcode);
  if ((opcode & 0xFE) == 0xAC && (kept_ & 1)) return;
  Emit(std::move(bytes));
  for (const unsigned r : {kRax, kRcx, kRsi, kRdi}) known_[r].reset();
  Emit({0xFC});
}

void ProgramGenerator::Oddity(unsigned depth) {
  switch (random_.Below(6)) {
    case 0: {  // where am I
      const unsigned r = FreeRegister();
      const size_t call = EmitFixed({0xE8}, {});
      Land(call);
      Emit({static_cast<uint8_t>(0x40 | r >> 3), static_cast<uint8_t>(0x58 | (r & 7))});
      break;
    }
    case 1:  // alignment checks
      if (p_->kind != Program::kUser) break;
      Emit({0x9C});
      Emit({0x81, 0x0C, 0x24, 0x00, 0x00, 0x04, 0x00});
      Emit({0x9D});
      Statements(2, depth + 1);
      Emit({0x9C});
      Emit({0x81, 0x24, 0x24, 0xFF, 0xFF, 0xFB, 0xFF});
      Emit({0x9D});
      break;
    case 2:
      if (p_->kind != Program::kKernel) break;
      Emit({0xFA});
      Statements(2, depth + 1);
      Emit({0xFB});
      break;
    case 3: {
      if (p_->kind != Program::kKernel || (kept_ & 1)) break;
      MoveImmediate(kRax, kCr3[random_.Below(2)]);
      Emit({0x0F, 0x22, 0xD8});
      break;
    }
    case 4: {  // PUSH [RSP + 8 * n] and POP [RSP + 8 * n]: which RSP?
      const uint8_t disp = static_cast<uint8_t>(8 * random_.Below(4));
      Emit({0xFF, 0x74, 0x24, disp});
      Emit({0x8F, 0x44, 0x24, disp});
      break;
    }
    default: {  // XLAT, LEAVE and others that use registers by no name
      const unsigned r = FreeRegister();
      if (kept_ >> 5 & 1) break;
      Emit({0xC8, static_cast<uint8_t>(8 * random_.Below(8)), 0, 0});  // ENTER
      Emit({static_cast<uint8_t>(0x48 | r >> 3 << 2), 0x8B,
            static_cast<uint8_t>(0x45 | (r & 7) << 3), 0xF8});  // MOV r, [RBP - 8]
      Emit({0xC9});
      known_[5].reset();
      known_[r].reset();
      break;
    }
  }
}

void ProgramGenerator::Statement(unsigned depth) {
  const uint32_t kind = random_.Below(100);
  if (depth > 3 || kind < 52) return Straight();
  if (kind < 64) return FlagsFarApart(depth);
  if (kind < 70) return If(depth);
  if (kind < 74) return Loop(depth);
  if (kind < 78) return Stack(depth);
  if (kind < 82) return Call();
  if (kind < 84) return Switch(depth);
  if (kind < 87) return StoreToCode(false);
  if (kind < 89) return StoreToCode(true);
  if (kind < 91) {
    EmitPatchable();
  } else if (kind < 92) {
    if (p_->kind != Program::kHost && random_.Percent(40)) SingleSteps(depth);
  } else if (kind < 94) {
    if (p_->kind == Program::kKernel) Remap();
  } else if (kind < 95) {
    if (random_.Percent(p_->kind == Program::kHost ? 5 : 30)) Fault();
  } else if (kind < 96) {
    SystemCall();
  } else if (kind < 98) {
    StringCopy();
  } else {
    Oddity(depth);
  }
}

void ProgramGenerator::Statements(unsigned count, unsigned depth) {
  while (count-- > 0) Statement(depth);
}

Program ProgramGenerator::Make(Program::Kind kind) {
  Program p;
  p_ = &p;
  p.kind = kind;
  p.defined_flags = kind == Program::kHost || random_.Percent(40);
  const Case c = generator_.MakeBlock(0);
  p.start = c.start;
  p.data = *c.data;
  const bool host = kind == Program::kHost;
  p.start.gpr[kRsp] = host ? kDataAt + kPage + 0x48 : kStackStart;
  p.offset = random_.Below(kPage);
  functions_.clear();
  patchable_.clear();
  tables_ = 0;
  counters_ = kExtraAt + 8;
  for (unsigned n = random_.Below(4); n > 0; --n) {
    Join();
    kept_ = kSaved;
    const size_t first = p.pieces.size();
    Statements(1 + random_.Below(10), 2);
    p.pieces[Emit({0xC3})].recover = true;
    functions_.push_back(first);
    Emit({0x0F, 0x0B});
  }
  // All of it some times over, so that what is found out about hot code is used.
  p.entry = p.pieces.size();
  Join();
  kept_ = 0;
  const unsigned times = random_.Percent(70) ? 1 + random_.Below(8) : 1 + random_.Below(100);
  if (host) {
    kept_ = 1u << 15;
    MoveImmediate(15, times);
  } else {
    const size_t n = EmitPlace({0xC7, 0x05}, kExtraAt);
    p.pieces[n].bytes.insert(p.pieces[n].bytes.end(), {static_cast<uint8_t>(times), 0, 0, 0});
  }
  const size_t top = p.pieces.size();
  Join();
  Statements(5 + random_.Below(30), 1);
  p.recovery = p.pieces.size();
  if (host) {
    Emit({0x41, 0xFF, 0xCF});
  } else {
    EmitPlace({0xFF, 0x0D}, kExtraAt);
  }
  EmitBranch(kJnz, top);
  Emit({0xCC});
  p_ = nullptr;
  return p;
}

}  // namespace atl::cpu::test
