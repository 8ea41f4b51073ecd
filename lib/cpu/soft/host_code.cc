// SPDX-License-Identifier: Apache-2.0
#include "lib/cpu/soft/host_code.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace atl::cpu::soft {

CodeMemory::~CodeMemory() {
  if (write_ != nullptr) munmap(write_, size_);
  if (run_ != nullptr) munmap(run_, size_);
  if (fd_ >= 0) close(fd_);
}

namespace {

constexpr size_t kHuge = size_t{2} << 20;
// Linux 6.1; a C library may not know it.
constexpr int kMadvCollapse = 25;

// A shared mapping of `fd` that begins at a huge page, or null.
uint8_t* MapAligned(int fd, size_t bytes, int protection) {
  void* room = mmap(nullptr, bytes + kHuge, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (room == MAP_FAILED) return nullptr;
  const uint64_t from = reinterpret_cast<uint64_t>(room);
  const uint64_t at = (from + kHuge - 1) & ~(kHuge - 1);
  if (at != from) munmap(room, at - from);
  munmap(reinterpret_cast<void*>(at + bytes), from + kHuge - at);
  void* p = mmap(reinterpret_cast<void*>(at), bytes, protection, MAP_SHARED | MAP_FIXED, fd, 0);
  if (p != MAP_FAILED) return static_cast<uint8_t*>(p);
  munmap(reinterpret_cast<void*>(at), bytes);
  return nullptr;
}

}  // namespace

absl::Status CodeMemory::Map(size_t bytes) {
  fd_ = memfd_create("atoll-code", MFD_CLOEXEC);
  if (fd_ < 0) return absl::ErrnoToStatus(errno, "code memory: memfd_create");
  if (ftruncate(fd_, static_cast<off_t>(bytes)) != 0)
    return absl::ErrnoToStatus(errno, "code memory: ftruncate");
  write_ = MapAligned(fd_, bytes, PROT_READ | PROT_WRITE);
  if (write_ == nullptr) return absl::ErrnoToStatus(errno, "code memory: writable mapping");
  size_ = bytes;
  run_ = MapAligned(fd_, bytes, PROT_READ | PROT_EXEC);
  if (run_ == nullptr) return absl::ErrnoToStatus(errno, "code memory: executable mapping");
  return absl::OkStatus();
}

// Code of a large guest is spread over more pages than the host's TLB has room
// for; without huge pages (older systems) it is only slower.
void CodeMemory::MakeHuge(size_t at) {
  while (huge_ <= at && huge_ + kHuge <= size_) {
    // A hole has nothing to collapse.
    volatile uint8_t* touch = write_ + huge_;
    *touch = *touch;
    if (madvise(write_ + huge_, kHuge, kMadvCollapse) == 0)
      madvise(run_ + huge_, kHuge, kMadvCollapse);
    huge_ += kHuge;
  }
}

void HostCode::Rewrite(const Parsed& p, const uint8_t* bytes, int reg, const HostRm& rm,
                       bool byte_regs, bool lock) {
  const int base = rm.is_reg() ? rm.reg : rm.mem.base;
  const int index = rm.is_reg() ? -1 : rm.mem.index;
  uint8_t rex = p.wide() ? 0x48 : 0;
  if (reg & 8) rex |= 0x44;
  if (index >= 0 && (index & 8)) rex |= 0x42;
  if (base >= 0 && (base & 8)) rex |= 0x41;
  if (byte_regs) rex |= 0x40;
  if (p.vex) {
    const bool two = p.map == 1 && (rex & 0xB) == 0;
    const uint8_t last =
        static_cast<uint8_t>((~p.vex_vvvv & 15) << 3 | (p.vex_l ? 4 : 0) | p.vex_pp);
    if (two) {
      db(0xC5);
      db((rex & 4 ? 0 : 0x80) | last);
    } else {
      db(0xC4);
      db((rex & 4 ? 0 : 0x80) | (rex & 2 ? 0 : 0x40) | (rex & 1 ? 0 : 0x20) | p.map);
      db((rex & 8 ? 0x80 : 0) | last);
    }
    db(p.opcode);
  } else {
    if (lock) db(0xF0);
    if (p.size16) db(0x66);
    if (p.prefix != 0) db(p.prefix);
    if (rex != 0) db(rex);
    if (p.map >= 1) db(0x0F);
    if (p.map == 2) db(0x38);
    if (p.map == 3) db(0x3A);
    db(p.opcode);
  }
  const uint8_t field = static_cast<uint8_t>((reg & 7) << 3);
  if (rm.is_reg()) {
    db(0xC0 | field | (rm.reg & 7));
  } else if (base < 0) {
    // Only an absolute address of 32 bits, or an index.
    db(field | 4);
    db(index < 0 ? 0x25 : (index & 7) << 3 | 5 | __builtin_ctz(rm.mem.scale) << 6);
    dd(static_cast<uint32_t>(rm.mem.disp));
  } else {
    const int32_t disp = rm.mem.disp;
    const uint8_t mod = disp == 0 && (base & 7) != 5 ? 0 : disp >= -128 && disp < 128 ? 0x40 : 0x80;
    if (index >= 0) {
      db(mod | field | 4);
      db(static_cast<uint8_t>(__builtin_ctz(rm.mem.scale) << 6 | (index & 7) << 3 | (base & 7)));
    } else if ((base & 7) == 4) {
      db(mod | field | 4);
      db(0x20 | (base & 7));
    } else {
      db(mod | field | (base & 7));
    }
    if (mod == 0x40) db(static_cast<uint8_t>(disp));
    if (mod == 0x80) dd(static_cast<uint32_t>(disp));
  }
  for (unsigned i = 0; i < p.imm_size; ++i) db(bytes[p.imm_at + i]);
}

uint8_t* HostCode::Jcc(unsigned cc) {
  db(0x0F);
  db(0x80 | cc);
  dd(0);
  return const_cast<uint8_t*>(getCurr()) - 4;
}

uint8_t* HostCode::Jmp() {
  db(0xE9);
  dd(0);
  return const_cast<uint8_t*>(getCurr()) - 4;
}

void HostCode::Patch(uint8_t* at, const uint8_t* target) {
  const int32_t distance = static_cast<int32_t>(target - (at + 4));
  // One store: another thread never runs this vCPU's code, but the instruction
  // may straddle cache lines.
  std::memcpy(at, &distance, 4);
}

void HostCode::JmpTo(const uint8_t* target) { Patch(Jmp(), target); }

void HostCode::CallTo(const uint8_t* target) {
  db(0xE8);
  dd(0);
  Patch(const_cast<uint8_t*>(getCurr()) - 4, target);
}

}  // namespace atl::cpu::soft
