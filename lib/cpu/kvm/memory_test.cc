// SPDX-License-Identifier: Apache-2.0
// On whatever KVM there is: the log of written pages, posted writes, refused MSRs, the
// state of the FPU. Guests of a few real-mode instructions. What a node lacks is
// asserted to fall back, not passed over.
#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <functional>
#include <initializer_list>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "lib/base/status_matchers.h"
#include "lib/base/unique_fd.h"
#include "lib/cpu/backend.h"
#include "lib/cpu/kvm/msr_filter.h"
#include "lib/cpu/kvm/self_test.h"
#include "lib/cpu/kvm/vm.h"
#include "lib/cpu/kvm/xsave.h"
#include "lib/mem/guest_memory.h"
#include "lib/mem/page_tracker.h"

namespace atl::cpu::kvm {
namespace {

using absl::StatusCode;
using testing::Each;
using testing::ElementsAre;
using testing::IsEmpty;

std::vector<std::string> Devices() {
  std::vector<std::string> out;
  for (const char* device : {"/dev/kvm", "/dev/atoll"}) {
    if (access(device, R_OK | W_OK) == 0) out.push_back(device);
  }
  return out;
}

bool Offers(const std::string& device, int capability) {
  const UniqueFd fd(open(device.c_str(), O_RDWR | O_CLOEXEC));
  return ioctl(fd.get(), KVM_CHECK_EXTENSION, capability) > 0;
}

struct Seen {
  char kind;  // 'p'osted, or as it comes: 'o'ut, 'i'n, 'w'rite
  uint64_t at;
  uint64_t value;
  friend bool operator==(const Seen&, const Seen&) = default;
  friend void PrintTo(const Seen& s, std::ostream* os) {
    *os << s.kind << std::hex << " 0x" << s.at << " = 0x" << s.value;
  }
};

class FakeBus : public VcpuBus {
 public:
  uint32_t PortIn(uint16_t port, unsigned) override {
    seen.push_back({'i', port, 0});
    return 0;
  }
  void PortOut(uint16_t port, unsigned, uint32_t value) override {
    seen.push_back({'o', port, value});
  }
  uint64_t MmioRead(Gpa, unsigned) override { return 0; }
  void MmioWrite(Gpa at, unsigned, uint64_t value) override {
    seen.push_back({'w', at.value, value});
  }
  int AcknowledgeInterrupt(unsigned) override { return -1; }
  bool InterruptPending(unsigned) override { return false; }
  uint64_t ReadCr8(unsigned) override { return 0; }
  void WriteCr8(unsigned, uint64_t) override {}
  bool ReadApicMsr(unsigned, uint32_t msr, uint64_t*) override {
    refused.push_back(msr);
    return false;
  }
  bool WriteApicMsr(unsigned, uint32_t msr, uint64_t) override {
    refused.push_back(msr);
    return false;
  }
  uint64_t NowNs() override { return 0; }

  std::vector<Seen> seen;
  std::vector<uint32_t> refused;
};

class MemoryTest : public testing::TestWithParam<std::string> {
 protected:
  static constexpr uint64_t kVideo = 0x80000;  // 32 pages

  void Make(uint32_t ring_entries = 0, std::span<const PostedRange> posted = {}) {
    vcpu_.reset();
    vm_.reset();
    ASSERT_OK_AND_ASSIGN(memory_, GuestMemory::Create(1 << 20));
    ASSERT_OK_AND_ASSIGN(vm_, KvmVm::Create(GetParam(), *memory_, false, false, ring_entries));
    if (!posted.empty()) {
      posts_ = vm_->PostWrites(posted, [this](bool, uint64_t at, unsigned, uint64_t value) {
        bus_.seen.push_back({'p', at, value});
      });
    }
    ASSERT_OK_AND_ASSIGN(vcpu_, vm_->CreateVcpu({.index = 0, .count = 2, .bus = &bus_}));
  }
  void TearDown() override {
    tracker_.reset();
    vcpu_.reset();
    vm_.reset();
  }
  // After a reset: code at 0x1000 with DS at `data`, 4 GiB long, and the others flat.
  void Code(const std::vector<uint8_t>& code, uint64_t data = 0, uint64_t cr4 = 0) {
    vcpu_->Reset();
    ASSERT_TRUE(memory_->Write(Gpa(0x1000), code));
    ASSERT_OK_AND_ASSIGN(SystemRegs system, vcpu_->GetSystemRegs());
    system.segment[kCs].selector = 0;
    system.segment[kCs].base = 0;
    system.segment[kDs].base = data;
    system.segment[kDs].limit = 0xFFFFFFFF;
    system.segment[kDs].g = true;
    system.cr4 |= cr4;
    ASSERT_OK(vcpu_->SetSystemRegs(system));
    Regs regs;
    regs.rip = 0x1000;
    regs.gpr[kRsp] = 0x800;
    ASSERT_OK(vcpu_->SetRegs(regs));
  }
  ExitReason Run() {
    const absl::StatusOr<Exit> exit = vcpu_->Run();
    EXPECT_OK(exit);
    if (!exit.ok()) return ExitReason::kError;
    if (exit->reason == ExitReason::kError) ADD_FAILURE() << exit->detail;
    return exit->reason;
  }
  // Writes one byte to each of these pages.
  void Touch(std::initializer_list<uint32_t> pages) {
    std::vector<uint8_t> code;
    for (const uint32_t page : pages) {
      const uint32_t at = page << kPageShift;
      code.insert(code.end(), {0x67, 0xC6, 0x05});  // movb $1, at
      for (int i = 0; i < 4; ++i) code.push_back(static_cast<uint8_t>(at >> 8 * i));
      code.push_back(1);
    }
    code.push_back(0xF4);
    Code(code, kVideo);
    ASSERT_EQ(Run(), ExitReason::kHalted);
  }
  std::vector<size_t> Look() {
    std::vector<bool> written;
    look_ = tracker_->Look(look_, &written);
    std::vector<size_t> out;
    for (size_t i = 0; i < written.size(); ++i) {
      if (written[i]) out.push_back(i);
    }
    return out;
  }
  void FollowsTheGuest();

  FakeBus bus_;
  std::unique_ptr<GuestMemory> memory_;
  std::unique_ptr<KvmVm> vm_;
  std::unique_ptr<Vcpu> vcpu_;
  std::unique_ptr<PageTracker> tracker_;
  uint64_t look_ = 0;
  bool posts_ = false;
};

alignas(4096) uint8_t video[0x20000];

void MemoryTest::FollowsTheGuest() {
  memory_->SetSlot(Gpa(kVideo), sizeof video, video, SlotKind::kRam);
  tracker_ = std::make_unique<PageTracker>(*memory_, video);
  ASSERT_TRUE(tracker_->knows());
  // Before the first look nobody keeps a log: all of it.
  Touch({1});
  EXPECT_EQ(Look().size(), 32u);
  Look();  // what bitmaps begin with
  EXPECT_THAT(Look(), IsEmpty());
  Touch({3, 7, 31});
  EXPECT_THAT(Look(), ElementsAre(3, 7, 31));
  EXPECT_THAT(Look(), IsEmpty());
  // A page that was written to is told again.
  Touch({7, 0});
  Touch({8});
  EXPECT_THAT(Look(), ElementsAre(0, 7, 8));
  // What a device writes there.
  const uint8_t bytes[2] = {1, 2};
  ASSERT_TRUE(memory_->Write(Gpa(kVideo + 0x4FFF), bytes));
  EXPECT_THAT(Look(), ElementsAre(4, 5));
  // It tells of nothing by itself.
  EXPECT_FALSE(tracker_->OnNextMark([] {}));
  // The memory moves: with it goes the log, but nothing of what was in it.
  Touch({9});
  memory_->SetSlot(Gpa(kVideo), sizeof video, nullptr, SlotKind::kRam);
  memory_->SetSlot(Gpa(kVideo), sizeof video, video, SlotKind::kRam);
  EXPECT_EQ(Look().size(), 32u);
  Look();
  EXPECT_THAT(Look(), IsEmpty());
  Touch({2});
  EXPECT_THAT(Look(), ElementsAre(2));
  // Nobody looks, no log; who comes back sees all.
  EXPECT_TRUE(tracker_->OnNextMark(nullptr));
  Touch({6});
  EXPECT_EQ(Look().size(), 32u);
  tracker_.reset();
}

TEST_P(MemoryTest, TellsWrittenPages) {
  Make();
  FollowsTheGuest();
}

TEST_P(MemoryTest, TellsWrittenPagesByRings) {
  if (!Offers(GetParam(), KVM_CAP_DIRTY_LOG_RING)) {
    ASSERT_OK_AND_ASSIGN(memory_, GuestMemory::Create(1 << 20));
    EXPECT_THAT(KvmVm::Create(GetParam(), *memory_, false, false, 1024),
                StatusIs(StatusCode::kUnimplemented, "no dirty rings"));
    return;
  }
  Make(1024);
  FollowsTheGuest();
}

// A ring that fills up is emptied on the way, and nothing is lost.
TEST_P(MemoryTest, TellsMorePagesThanARingHas) {
  // Not so KVM without VT-x or SVM, which executes on past the ring's end: bitmaps.
  const bool rings =
      Offers(GetParam(), KVM_CAP_DIRTY_LOG_RING) && !VirtualizationHardware().empty();
  Make(rings ? 1024 : 0);
  constexpr uint64_t kBase = 0x1000000, kPages = 3000;
  std::vector<uint8_t> bytes((kPages + 1) << kPageShift);
  uint8_t* const at = bytes.data() + (-reinterpret_cast<uintptr_t>(bytes.data()) & 0xFFF);
  const std::span<uint8_t> large(at, kPages << kPageShift);
  memory_->SetSlot(Gpa(kBase), large.size(), large.data(), SlotKind::kRam);
  tracker_ = std::make_unique<PageTracker>(*memory_, large);
  EXPECT_EQ(Look().size(), kPages);
  Look();
  EXPECT_THAT(Look(), IsEmpty());
  const std::vector<uint8_t> every_page = {
      0x66, 0xB9, kPages & 0xFF, kPages >> 8, 0,    0,           // mov $kPages, %ecx
      0x66, 0x31, 0xF6,                                          // xor %esi, %esi
      0x67, 0xC6, 0x06,          0x01,                           // 1: movb $1, (%esi)
      0x66, 0x81, 0xC6,          0x00,        0x10, 0x00, 0x00,  // add $4096, %esi
      0x66, 0x49, 0x75,          0xF1,                           // dec %ecx; jne 1b
      0xF4,
  };
  for (int i = 0; i < 2; ++i) {
    Code(every_page, kBase);
    ASSERT_EQ(Run(), ExitReason::kHalted);
    EXPECT_EQ(Look().size(), kPages);
    EXPECT_THAT(Look(), IsEmpty());
  }
  tracker_.reset();
  vcpu_.reset();
  vm_.reset();
  memory_.reset();
}

TEST_P(MemoryTest, LogsWhileTheGuestWrites) {
  Make();
  memory_->SetSlot(Gpa(kVideo), sizeof video, video, SlotKind::kRam);
  tracker_ = std::make_unique<PageTracker>(*memory_, video);
  video[0x5000] = 0;
  Code({0xFE, 0x06, 0x00, 0x50, 0xEB, 0xFA}, kVideo);  // 1: incb 0x5000; jmp 1b
  std::thread guest([&] { EXPECT_EQ(Run(), ExitReason::kKicked); });
  Look();
  Look();
  // From one look to the next the page is written to; no other is.
  for (int i = 0; i < 20; ++i) {
    std::vector<size_t> seen;
    for (int tries = 0; seen.empty() && tries < 10000; ++tries) {
      std::this_thread::sleep_for(std::chrono::microseconds(100));
      seen = Look();
    }
    EXPECT_THAT(seen, ElementsAre(5));
  }
  vcpu_->Kick();
  guest.join();
  tracker_.reset();
}

constexpr PostedRange kPosted[] = {
    {.port = false, .base = 0xA0000, .size = 0x10000, .seen = true},
    {.port = true, .base = 0x80, .size = 1},
};

TEST_P(MemoryTest, PostedWritesComeBeforeTheNextExit) {
  Make(0, kPosted);
  memory_->SetSlot(Gpa(0xA0000), 0x20000, nullptr, SlotKind::kRam);
  EXPECT_EQ(posts_, Offers(GetParam(), KVM_CAP_COALESCED_MMIO));
  const bool ports = posts_ && Offers(GetParam(), KVM_CAP_COALESCED_PIO);
  const std::vector<uint8_t> code = {
      0xC6, 0x06, 0x10, 0x00, 0x11,        // movb $0x11, 0x10
      0xB0, 0x22, 0xE6, 0x80,              // mov $0x22, %al; out %al, $0x80
      0xC7, 0x06, 0x20, 0x00, 0x44, 0x33,  // movw $0x3344, 0x20
      0xE4, 0x71,                          // in $0x71, %al
      0xC6, 0x06, 0x30, 0x00, 0x55,        // movb $0x55, 0x30
      0xE6, 0x81,                          // out %al, $0x81: of no range
      0x67, 0xC6, 0x05, 0,    0,    1,
      0,    0x66, 0xF4,  // movb $0x66, 0x10000: past the range; hlt
  };
  const char mmio = posts_ ? 'p' : 'w', port = ports ? 'p' : 'o';
  Code(code, 0xA0000);
  EXPECT_EQ(Run(), ExitReason::kHalted);
  EXPECT_THAT(bus_.seen,
              ElementsAre(Seen{mmio, 0xA0010, 0x11}, Seen{port, 0x80, 0x22},
                          Seen{mmio, 0xA0020, 0x3344}, Seen{'i', 0x71, 0},
                          Seen{mmio, 0xA0030, 0x55}, Seen{'o', 0x81, 0}, Seen{'w', 0xB0000, 0x66}));
  // Somebody looks: what is seen comes at once, the rest does not.
  vm_->LetSeenWait(false);
  bus_.seen.clear();
  Code(code, 0xA0000);
  EXPECT_EQ(Run(), ExitReason::kHalted);
  EXPECT_THAT(bus_.seen,
              ElementsAre(Seen{'w', 0xA0010, 0x11}, Seen{port, 0x80, 0x22},
                          Seen{'w', 0xA0020, 0x3344}, Seen{'i', 0x71, 0}, Seen{'w', 0xA0030, 0x55},
                          Seen{'o', 0x81, 0}, Seen{'w', 0xB0000, 0x66}));
  vm_->LetSeenWait(true);
  bus_.seen.clear();
  Code(code, 0xA0000);
  EXPECT_EQ(Run(), ExitReason::kHalted);
  EXPECT_EQ(bus_.seen[0], (Seen{mmio, 0xA0010, 0x11}));
}

// More than the ring has: those that find it full come by themselves, in their order.
TEST_P(MemoryTest, AThousandPostedWritesKeepTheirOrder) {
  Make(0, kPosted);
  memory_->SetSlot(Gpa(0xA0000), 0x20000, nullptr, SlotKind::kRam);
  Code(
      {
          0xB9, 0xE8, 0x03,        // mov $1000, %cx
          0x31, 0xF6,              // xor %si, %si
          0x88, 0x0C,              // 1: mov %cl, (%si)
          0x46, 0xE2, 0xFB, 0xF4,  // inc %si; loop 1b; hlt
      },
      0xA0000);
  EXPECT_EQ(Run(), ExitReason::kHalted);
  ASSERT_EQ(bus_.seen.size(), 1000u);
  size_t exits = 0;
  for (uint64_t i = 0; i < 1000; ++i) {
    ASSERT_EQ(bus_.seen[i].at, 0xA0000 + i);
    ASSERT_EQ(bus_.seen[i].value, (1000 - i) & 0xFF);
    exits += bus_.seen[i].kind == 'w';
  }
  RecordProperty("exits", static_cast<int>(exits));
  if (posts_) {
    EXPECT_LE(exits, 1000u / 85);  // half a ring is all that older kernels use at times
  }
}

// A guest that does nothing more after a write: whoever looks has it delivered.
TEST_P(MemoryTest, PostedWritesAreDeliveredWithoutAnExit) {
  Make(0, kPosted);
  memory_->SetSlot(Gpa(0xA0000), 0x20000, nullptr, SlotKind::kRam);
  Code({0xC6, 0x06, 0x10, 0x00, 0x11, 0xEB, 0xFE}, 0xA0000);
  std::atomic<bool> done = false;
  std::thread guest([&] {
    EXPECT_EQ(Run(), ExitReason::kKicked);
    done = true;
  });
  if (posts_) {
    // Only this thread delivers as long as the guest runs.
    for (int i = 0; i < 50000 && bus_.seen.empty(); ++i) {
      vm_->DeliverPosted();
      std::this_thread::sleep_for(std::chrono::microseconds(100));
    }
    EXPECT_FALSE(done);
    EXPECT_THAT(bus_.seen, ElementsAre(Seen{'p', 0xA0010, 0x11}));
  } else {
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
  }
  vcpu_->Kick();
  guest.join();
  EXPECT_EQ(bus_.seen.size(), 1u);
}

// Reads `msr`, and writes it back, with #GP's handler at 0x1100 that says so at port
// 0x0D and goes on after the two bytes.
std::vector<Seen> kTwoFaults = {{'o', 0x0D, 0}, {'o', 0x0D, 0}};

TEST_P(MemoryTest, RefusedAndUnknownMsrsAreFaultsAndTold) {
  Make();
  memory_->Store(Gpa(13 * 4), uint32_t{0x1100});
  const uint8_t handler[] = {
      0xB0, 0x00, 0xE6, 0x0D,        // mov $0, %al; out %al, $0x0D
      0x89, 0xE5,                    // mov %sp, %bp
      0x83, 0x46, 0x00, 0x02, 0xCF,  // addw $2, 0(%bp); iret
  };
  ASSERT_TRUE(memory_->Write(Gpa(0x1100), handler));
  std::vector<uint32_t> msrs = {0x12345678};
  for (const RefusedMsrs& r : GetRefusedMsrs()) {
    msrs.push_back(r.first);
    msrs.push_back(r.first + r.count - 1);
  }
  for (const uint32_t msr : msrs) {
    bus_.seen.clear();
    bus_.refused.clear();
    std::vector<uint8_t> code = {0x66, 0xB9};  // mov $msr, %ecx
    for (int i = 0; i < 4; ++i) code.push_back(static_cast<uint8_t>(msr >> 8 * i));
    code.insert(code.end(), {0x66, 0x31, 0xC0, 0x66, 0x31, 0xD2});  // xor %eax, %eax; %edx
    code.insert(code.end(), {0x0F, 0x32, 0x0F, 0x30, 0xF4});        // rdmsr; wrmsr; hlt
    Code(code);
    EXPECT_EQ(Run(), ExitReason::kHalted);
    EXPECT_EQ(bus_.seen, kTwoFaults) << std::hex << "0x" << msr;
    if (Offers(GetParam(), KVM_CAP_X86_USER_SPACE_MSR)) {
      EXPECT_THAT(bus_.refused, ElementsAre(msr, msr)) << std::hex << "0x" << msr;
    }
  }
  // One that it has is none of them.
  bus_.seen.clear();
  bus_.refused.clear();
  Code({0x66, 0xB9, 0x77, 0x02, 0, 0, 0x0F, 0x32, 0x0F, 0x30, 0xF4});  // PAT
  EXPECT_EQ(Run(), ExitReason::kHalted);
  EXPECT_THAT(bus_.seen, IsEmpty());
  EXPECT_THAT(bus_.refused, IsEmpty());
}

// Of instructions that a KVM without VT-x or SVM does not execute. Where there is no
// hardware, these do not exist.
class HardwareTest : public MemoryTest {};

// Neither VMX nor SVM: not in CPUID, and not by trying.
TEST_P(HardwareTest, GuestsHaveNoVirtualizationOfTheirOwn) {
  Make();
  memory_->Store(Gpa(13 * 4), uint32_t{0x1100});
  memory_->Store(Gpa(6 * 4), uint32_t{0x1100});
  const uint8_t handler[] = {0xE7, 0x0D, 0xF4};  // out %ax, $0x0D; hlt
  ASSERT_TRUE(memory_->Write(Gpa(0x1100), handler));
  Code({
      0x66, 0xB8, 1,    0,    0,    0,    0x0F, 0xA2,  // mov $1, %eax; cpuid
      0x66, 0x89, 0xC8, 0x66, 0xE7, 0x01,              // mov %ecx, %eax; out %eax, $1
      0x66, 0xB8, 1,    0,    0,    0x80, 0x0F, 0xA2,  // mov $0x80000001, %eax; cpuid
      0x66, 0x89, 0xC8, 0x66, 0xE7, 0x02,              // mov %ecx, %eax; out %eax, $2
      0x66, 0xB8, 10,   0,    0,    0x80, 0x0F, 0xA2, 0x66, 0xE7, 0x03,  // 0x8000000A; out %eax, $3
      0xF4,
  });
  EXPECT_EQ(Run(), ExitReason::kHalted);
  ASSERT_EQ(bus_.seen.size(), 3u);
  EXPECT_EQ(bus_.seen[0].value & 1 << 5, 0u);
  EXPECT_EQ(bus_.seen[1].value & 1 << 2, 0u);
  EXPECT_EQ(bus_.seen[2].value, 0u);
  const std::vector<uint8_t> tries[] = {
      // EFER.SVME
      {0x66, 0xB9, 0x80, 0, 0, 0xC0, 0x0F, 0x32, 0x80, 0xCC, 0x10, 0x0F, 0x30, 0xE7, 0x0E, 0xF4},
      // CR4.VMXE
      {0x0F, 0x20, 0xE0, 0x66, 0x0D, 0, 0x20, 0, 0, 0x0F, 0x22, 0xE0, 0xE7, 0x0E, 0xF4},
      // VMRUN, VMXON 0
      {0x0F, 0x01, 0xD8, 0xE7, 0x0E, 0xF4},
      {0xF3, 0x0F, 0xC7, 0x36, 0, 0, 0xE7, 0x0E, 0xF4},
  };
  for (const std::vector<uint8_t>& code : tries) {
    bus_.seen.clear();
    Code(code);
    EXPECT_EQ(Run(), ExitReason::kHalted);
    ASSERT_EQ(bus_.seen.size(), 1u);
    EXPECT_EQ(bus_.seen[0].at, 0x0Du) << "try " << &code - tries;
  }
}

TEST_P(HardwareTest, ResetClearsVectorRegisters) {
  Make();
  constexpr uint64_t kOsfxsr = 0x200;
  std::vector<uint8_t> code = {
      0x66, 0xB8, 1, 2, 3, 4, 0x66, 0x0F, 0x6E, 0xC8,  // mov $0x04030201, %eax; movd %eax, %xmm1
  };
  const std::vector<uint8_t> store = {
      0x0F, 0xAE, 0x1E, 0x00, 0x20,              // stmxcsr 0x2000
      0x66, 0x0F, 0x7E, 0x0E, 0x10, 0x20, 0xF4,  // movd %xmm1, 0x2010; hlt
  };
  code.insert(code.end(), store.begin(), store.end());
  Code(code, 0, kOsfxsr);
  EXPECT_EQ(Run(), ExitReason::kHalted);
  EXPECT_EQ(*memory_->Load<uint32_t>(Gpa(0x2000)), 0x1F80u);
  EXPECT_EQ(*memory_->Load<uint32_t>(Gpa(0x2010)), 0x04030201u);
  Code(store, 0, kOsfxsr);  // resets
  EXPECT_EQ(Run(), ExitReason::kHalted);
  EXPECT_EQ(*memory_->Load<uint32_t>(Gpa(0x2000)), 0x1F80u);
  EXPECT_EQ(*memory_->Load<uint32_t>(Gpa(0x2010)), 0u);
}

TEST_P(MemoryTest, ExtendedStateGoesInAndComesBack) {
  Make();
  const UniqueFd vcpu(ioctl(vm_->fd(), KVM_CREATE_VCPU, 1));
  ASSERT_TRUE(vcpu.valid());
  auto list = std::make_unique<CpuidList>();
  list->count = static_cast<uint32_t>(vm_->cpuid().size());
  std::copy(vm_->cpuid().begin(), vm_->cpuid().end(), list->entries);
  ASSERT_EQ(ioctl(vcpu.get(), kSetCpuid2, list.get()), 0);
  const size_t bytes = vm_->xsave_bytes();
  ASSERT_EQ(bytes != 0, Offers(GetParam(), KVM_CAP_XSAVE));
  if (bytes == 0) {
    EXPECT_THAT(GetXsave(vcpu.get(), 0), StatusIs(StatusCode::kUnimplemented, "KVM_CAP_XSAVE"));
    EXPECT_OK(ResetXsave(vcpu.get(), 0));
    return;
  }
  ASSERT_GE(bytes, 4096u);
  ASSERT_OK(ResetXsave(vcpu.get(), bytes));
  ASSERT_OK_AND_ASSIGN(const std::vector<uint8_t> first, GetXsave(vcpu.get(), bytes));
  ASSERT_EQ(first.size(), bytes);
  EXPECT_EQ(first[0] | first[1] << 8, 0x40);
  EXPECT_EQ(first[24] | first[25] << 8, 0x1F80);
  // x87, SSE and, where CPUID has it, the upper halves of AVX, at their place.
  uint64_t offered = 3;
  size_t upper = 0;
  for (const kvm_cpuid_entry2& e : vm_->cpuid()) {
    if (e.function == 0xD && e.index == 0) offered = e.eax & 7;
    if (e.function == 0xD && e.index == 2) upper = e.ebx;
  }
  std::vector<uint8_t> area = first;
  std::memcpy(area.data() + 512, &offered, sizeof offered);
  area[1] = 0x0C;  // another rounding
  area[24] = 0xC0, area[25] = 0x5F;
  for (size_t i = 160; i < 416; ++i) area[i] = static_cast<uint8_t>(i);
  if ((offered & 4) != 0) {
    ASSERT_LE(upper + 256, bytes);
    for (size_t i = 0; i < 256; ++i) area[upper + i] = static_cast<uint8_t>(~i);
  }
  ASSERT_OK(SetXsave(vcpu.get(), area));
  ASSERT_OK_AND_ASSIGN(std::vector<uint8_t> got, GetXsave(vcpu.get(), bytes));
  EXPECT_TRUE(std::equal(got.begin(), got.begin() + 2, area.begin()));
  EXPECT_TRUE(std::equal(got.begin() + 24, got.begin() + 26, area.begin() + 24));
  EXPECT_TRUE(std::equal(got.begin() + 160, got.begin() + 416, area.begin() + 160));
  if ((offered & 4) != 0) {
    EXPECT_TRUE(std::equal(got.begin() + upper, got.begin() + upper + 256, area.begin() + upper));
  }
  // And power-on leaves nothing of it.
  ASSERT_OK(ResetXsave(vcpu.get(), bytes));
  ASSERT_OK_AND_ASSIGN(got, GetXsave(vcpu.get(), bytes));
  EXPECT_EQ(got[0] | got[1] << 8, 0x40);
  EXPECT_EQ(got[24] | got[25] << 8, 0x1F80);
  EXPECT_THAT(std::vector<uint8_t>(got.begin() + 32, got.begin() + 416), Each(0));
  if ((offered & 4) != 0) {
    EXPECT_THAT(std::vector<uint8_t>(got.begin() + upper, got.begin() + upper + 256), Each(0));
  }
  // Components that no processor has.
  area[512 + 7] = 0x40;
  EXPECT_THAT(SetXsave(vcpu.get(), area), StatusIs(StatusCode::kInvalidArgument, "KVM_SET_XSAVE"));
  EXPECT_THAT(SetXsave(vcpu.get(), std::span(area).first(4095)),
              StatusIs(StatusCode::kInvalidArgument, "4095"));
}

std::vector<std::string> DevicesOnHardware() {
  return VirtualizationHardware().empty() ? std::vector<std::string>() : Devices();
}

GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(HardwareTest);
INSTANTIATE_TEST_SUITE_P(, HardwareTest, testing::ValuesIn(DevicesOnHardware()),
                         [](const auto& info) {
                           return info.param.substr(info.param.rfind('/') + 1);
                         });
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(MemoryTest);
INSTANTIATE_TEST_SUITE_P(, MemoryTest, testing::ValuesIn(Devices()), [](const auto& info) {
  return info.param.substr(info.param.rfind('/') + 1);
});

}  // namespace
}  // namespace atl::cpu::kvm
