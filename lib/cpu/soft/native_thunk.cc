// SPDX-License-Identifier: Apache-2.0
#include "lib/cpu/soft/native_thunk.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstring>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "lib/base/mutex.h"
#include "lib/cpu/soft/state.h"

namespace atl::cpu::soft {
namespace {

constexpr uint32_t kMaxThunks = 1 << 17;
constexpr size_t kCodeBytes = 16 << 20;
constexpr size_t kCodeAlign = 16;

Thunk g_thunks[kMaxThunks];

// Appends machine code; the longest thunk takes some 130 bytes.
class Writer {
 public:
  void Bytes(std::initializer_list<uint8_t> bytes) {
    for (uint8_t b : bytes) code_.push_back(static_cast<char>(b));
  }
  // An instruction whose last byte is the displacement from the frame in R8.
  void Frame(std::initializer_list<uint8_t> bytes, size_t offset) {
    Bytes(bytes);
    code_.push_back(static_cast<char>(offset));
  }
  const std::string& code() const { return code_; }

 private:
  std::string code_;
};

void EmitInstruction(const ThunkSpec& spec, Writer& w) {
  if (spec.prefix != 0) w.Bytes({spec.prefix});
  if (spec.rex_w) w.Bytes({0x48});
  if (spec.map >= 1) w.Bytes({0x0F});
  if (spec.map == 2) w.Bytes({0x38});
  if (spec.map == 3) w.Bytes({0x3A});
  w.Bytes({spec.opcode, spec.modrm});
  if (spec.has_imm) w.Bytes({spec.imm});
}

void EmitVexInstruction(const ThunkSpec& spec, Writer& w) {
  const uint8_t pp = spec.prefix == 0x66   ? 1
                     : spec.prefix == 0xF3 ? 2
                     : spec.prefix == 0xF2 ? 3
                                           : 0;
  w.Bytes(
      {0xC4, static_cast<uint8_t>(0xE0 | spec.map),
       static_cast<uint8_t>(spec.rex_w << 7 | (~spec.vex_vvvv & 15) << 3 | spec.vex_l << 2 | pp),
       spec.opcode, spec.modrm});
  if (spec.has_imm) w.Bytes({spec.imm});
}

bool IsVector(ThunkOperand o) { return o == ThunkOperand::kXmm || o == ThunkOperand::kYmm; }

// As Emit() below, with RDX: operand c, RCX: operand d. The upper halves of the
// host's registers are zero afterwards: none of its code pays for mixing.
std::string EmitVex(const ThunkSpec& spec) {
  const Thunk& t = spec.thunk;
  const ThunkOperand operands[] = {t.a, t.b, t.c, t.d};
  constexpr uint8_t kPointer[] = {7, 6, 2, 1};  // RDI, RSI, RDX, RCX
  static_assert(FpuState::kYmmHighFromXmm == 0x1A0);
  Writer w;
  for (unsigned i = 0; i < 4; i++) {
    if (i == 0 && !(t.flags & kVexReadsA)) continue;
    const uint8_t reg = static_cast<uint8_t>(i + 1), from = kPointer[i];
    const uint8_t at = static_cast<uint8_t>(reg << 3 | from);
    if (IsVector(operands[i])) w.Bytes({0xC5, 0xF8, 0x10, at});  // vmovups xmm, [from]
    if (operands[i] == ThunkOperand::kYmm) {
      // vinsertf128 ymm, ymm, [from + 0x1A0], 1
      w.Bytes({0xC4, 0xE3, static_cast<uint8_t>(0x05 | (~reg & 15) << 3), 0x18,
               static_cast<uint8_t>(0x80 | at), 0xA0, 0x01, 0x00, 0x00, 0x01});
    }
    if (operands[i] == ThunkOperand::kGpr) w.Bytes({0x48, 0x8B, from});  // mov rax, [from]
  }
  if (t.flags & kLengths) {
    w.Frame({0x49, 0x8B, 0x40}, offsetof(ThunkFrame, rax));
    w.Frame({0x49, 0x8B, 0x50}, offsetof(ThunkFrame, rdx));
  }
  if (t.flags & kFp) w.Frame({0x41, 0x0F, 0xAE, 0x50}, offsetof(ThunkFrame, mxcsr_in));

  EmitVexInstruction(spec, w);

  if (t.flags & kEflagsOut) {
    w.Bytes({0x0F, 0x90, 0xC0, 0x9F});  // seto al; lahf
    w.Frame({0x66, 0x41, 0x89, 0x40}, offsetof(ThunkFrame, flags_of));
  }
  if (t.flags & kFp) {
    w.Frame({0x41, 0x0F, 0xAE, 0x58}, offsetof(ThunkFrame, mxcsr_out));
    w.Frame({0x41, 0x0F, 0xAE, 0x50}, offsetof(ThunkFrame, mxcsr_host));
  }
  if (t.flags & kEcxOut) w.Frame({0x49, 0x89, 0x48}, offsetof(ThunkFrame, rcx));
  if (t.flags & kXmm0Out) w.Frame({0xC4, 0xC1, 0x78, 0x11, 0x40}, offsetof(ThunkFrame, xmm0));
  if (t.flags & kVexWritesA) {
    if (IsVector(t.a)) {
      w.Bytes({0xC5, 0xF8, 0x11, 0x0F});  // vmovups [rdi], xmm1
      // vextractf128 [rdi + 0x1A0], ymm1, 1
      w.Bytes({0xC4, 0xE3, 0x7D, 0x19, 0x8F, 0xA0, 0x01, 0x00, 0x00, 0x01});
    } else if (t.a == ThunkOperand::kGpr) {
      w.Bytes({0x48, 0x89, 0x07});  // mov [rdi], rax
    }
  }
  w.Bytes({0xC5, 0xF8, 0x77, 0xC3});  // vzeroupper; ret
  return w.code();
}

// RDI: operand a, RSI: operand b, R8: the frame. Everything touched is
// caller-saved in the System V ABI, but MXCSR's control bits, the x87 control
// word and the x87 tags: MXCSR is restored here, x87's and MMX' by the caller.
std::string Emit(const ThunkSpec& spec) {
  if (spec.vex) return EmitVex(spec);
  const uint16_t flags = spec.thunk.flags;
  Writer w;
  if (flags & kX87) {
    w.Bytes({0x48, 0x0F, 0xAE, 0x0F});  // fxrstor64 [rdi]
    if (flags & kEflagsIn) {
      w.Frame({0x49, 0x8B, 0x40}, offsetof(ThunkFrame, flags_of));  // mov rax, [r8+]
      w.Bytes({0x9E});                                              // sahf
    }
    EmitInstruction(spec, w);
    if (flags & kEflagsOut) {
      w.Bytes({0x0F, 0x90, 0xC0, 0x9F});  // seto al; lahf
      w.Frame({0x66, 0x41, 0x89, 0x40}, offsetof(ThunkFrame, flags_of));
    }
    w.Bytes({0x48, 0x0F, 0xAE, 0x07});                                    // fxsave64 [rdi]
    w.Frame({0x41, 0x0F, 0xAE, 0x50}, offsetof(ThunkFrame, mxcsr_host));  // ldmxcsr
    w.Bytes({0xC3});
    return w.code();
  }

  switch (spec.thunk.a) {
    case ThunkOperand::kXmm:
      w.Bytes({0x0F, 0x10, 0x0F});  // movups xmm1, [rdi]
      break;
    case ThunkOperand::kMmx:
      w.Bytes({0x0F, 0x6F, 0x0F});  // movq mm1, [rdi]
      break;
    default:
      break;
  }
  switch (spec.thunk.b) {
    case ThunkOperand::kXmm:
      w.Bytes({0x0F, 0x10, 0x16});  // movups xmm2, [rsi]
      break;
    case ThunkOperand::kMmx:
      w.Bytes({0x0F, 0x6F, 0x16});  // movq mm2, [rsi]
      break;
    case ThunkOperand::kGpr:
      w.Bytes({0x48, 0x8B, 0x0E});  // mov rcx, [rsi]
      break;
    default:
      break;
  }
  if (flags & kXmm0In) w.Frame({0x41, 0x0F, 0x10, 0x40}, offsetof(ThunkFrame, xmm0));
  if (flags & kLengths) {
    w.Frame({0x49, 0x8B, 0x40}, offsetof(ThunkFrame, rax));
    w.Frame({0x49, 0x8B, 0x50}, offsetof(ThunkFrame, rdx));
  }
  if (flags & kFp) w.Frame({0x41, 0x0F, 0xAE, 0x50}, offsetof(ThunkFrame, mxcsr_in));

  EmitInstruction(spec, w);

  if (flags & kEflagsOut) {
    w.Bytes({0x0F, 0x90, 0xC0, 0x9F});  // seto al; lahf
    w.Frame({0x66, 0x41, 0x89, 0x40}, offsetof(ThunkFrame, flags_of));
  }
  if (flags & kFp) {
    w.Frame({0x41, 0x0F, 0xAE, 0x58}, offsetof(ThunkFrame, mxcsr_out));  // stmxcsr
    w.Frame({0x41, 0x0F, 0xAE, 0x50}, offsetof(ThunkFrame, mxcsr_host));
  }
  if (flags & kEcxOut) w.Frame({0x49, 0x89, 0x48}, offsetof(ThunkFrame, rcx));
  if (flags & kXmm0Out) w.Frame({0x41, 0x0F, 0x11, 0x40}, offsetof(ThunkFrame, xmm0));
  switch (spec.thunk.a) {
    case ThunkOperand::kXmm:
      w.Bytes({0x0F, 0x11, 0x0F});  // movups [rdi], xmm1
      break;
    case ThunkOperand::kMmx:
      w.Bytes({0x0F, 0x7F, 0x0F});  // movq [rdi], mm1
      break;
    case ThunkOperand::kGpr:
      w.Bytes({0x48, 0x89, 0x07});  // mov [rdi], rax
      break;
    default:
      break;
  }
  if (spec.thunk.a == ThunkOperand::kMmx || spec.thunk.b == ThunkOperand::kMmx) {
    w.Bytes({0x0F, 0x77});  // emms
  }
  w.Bytes({0xC3});
  return w.code();
}

class Pool {
 public:
  absl::Status Prepare() {
    MutexLock lock(&mu_);
    return PrepareLocked();
  }

  uint32_t Find(const ThunkSpec& spec) {
    const std::string code = Emit(spec);
    // The code does not tell two thunks apart that differ in what the handler does.
    std::string key = code;
    key.push_back(static_cast<char>(spec.thunk.flags));
    key.push_back(static_cast<char>(spec.thunk.flags >> 8));
    key.push_back(static_cast<char>(spec.thunk.a));
    key.push_back(static_cast<char>(spec.thunk.b));
    key.push_back(static_cast<char>(spec.thunk.c));
    key.push_back(static_cast<char>(spec.thunk.d));
    key.push_back(static_cast<char>(spec.thunk.mem_size));

    MutexLock lock(&mu_);
    if (auto it = numbers_.find(key); it != numbers_.end()) return it->second;
    if (!PrepareLocked().ok() || next_ == kMaxThunks || used_ + code.size() > kCodeBytes) return 0;
    memcpy(write_ + used_, code.data(), code.size());
    Thunk& thunk = g_thunks[next_];
    thunk = spec.thunk;
    thunk.code = reinterpret_cast<Thunk::Code>(run_ + used_);
    used_ = (used_ + code.size() + kCodeAlign - 1) & ~(kCodeAlign - 1);
    numbers_.emplace(std::move(key), next_);
    return next_++;
  }

 private:
  absl::Status PrepareLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    if (run_ != nullptr) return absl::OkStatus();
    int fd = memfd_create("atoll-thunks", MFD_CLOEXEC);
    if (fd < 0) return absl::ErrnoToStatus(errno, "code memory: memfd_create");
    void* w = MAP_FAILED;
    void* x = MAP_FAILED;
    if (ftruncate(fd, kCodeBytes) == 0) {
      w = mmap(nullptr, kCodeBytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
      x = mmap(nullptr, kCodeBytes, PROT_READ | PROT_EXEC, MAP_SHARED, fd, 0);
    }
    absl::Status status = absl::ErrnoToStatus(errno, "code memory");
    close(fd);
    if (w == MAP_FAILED || x == MAP_FAILED) {
      if (w != MAP_FAILED) munmap(w, kCodeBytes);
      if (x != MAP_FAILED) munmap(x, kCodeBytes);
      return status;
    }
    write_ = static_cast<uint8_t*>(w);
    run_ = static_cast<uint8_t*>(x);
    return absl::OkStatus();
  }

  Mutex mu_;
  uint8_t* write_ ABSL_GUARDED_BY(mu_) = nullptr;
  uint8_t* run_ ABSL_GUARDED_BY(mu_) = nullptr;
  size_t used_ ABSL_GUARDED_BY(mu_) = 0;
  uint32_t next_ ABSL_GUARDED_BY(mu_) = 1;  // 0 is "none"
  absl::flat_hash_map<std::string, uint32_t> numbers_ ABSL_GUARDED_BY(mu_);
};

Pool& ThePool() {
  static Pool& pool = *new Pool;  // never destroyed: vCPU threads may outlive main()
  return pool;
}

}  // namespace

const Thunk* const kThunks = g_thunks;

absl::Status PrepareThunks() { return ThePool().Prepare(); }
uint32_t FindThunk(const ThunkSpec& spec) { return ThePool().Find(spec); }

}  // namespace atl::cpu::soft
