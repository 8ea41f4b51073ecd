// SPDX-License-Identifier: Apache-2.0
// The IDE function as a driver sees it: ports, interrupts and bus mastering.
#include <array>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "gtest/gtest.h"
#include "lib/base/endian.h"
#include "lib/base/status_matchers.h"
#include "lib/block/testing/memory_disk.h"
#include "lib/dev/device_lock.h"
#include "lib/dev/testing/fakes.h"
#include "lib/dev/testing/round_trip.h"
#include "lib/ide/channel.h"
#include "lib/ide/piix_ide.h"
#include "lib/mem/guest_memory.h"
#include "lib/pci/testing/fakes.h"
#include "lib/work/background.h"
#include "lib/work/worker_pool.h"

namespace atl::ide {
namespace {

constexpr uint64_t kMemory = 16 << 20;
constexpr uint64_t kDiskBytes = 8 << 20;  // 16384 sectors
constexpr uint64_t kTable = 0x10000;
constexpr uint64_t kData = 0x100000;

constexpr uint8_t kIdle = kReady | kSeekDone;
constexpr uint8_t kWants = kReady | kSeekDone | kDataRequest;
constexpr uint8_t kFailed = kReady | kSeekDone | kErrorBit;

class Ide : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_OK_AND_ASSIGN(memory_, GuestMemory::Create(kMemory));
    for (size_t i = 0; i < disk_.bytes().size(); ++i) {
      disk_.bytes()[i] = static_cast<uint8_t>(i * 2654435761u >> 24);
    }
    Make(&inline_, &inline_);
  }
  void Make(work::Background* first, work::Background* second, block::Disk* disk = nullptr) {
    ide_ = New(&wiring_, disk != nullptr ? disk : &disk_, first, second);
    ide_->Reset();
    ide_->WriteConfig(pci::kCommand, 2, 5);
  }
  std::unique_ptr<pci::PciDevice> New(pci::FakeWiring* wiring, block::Disk* disk,
                                      work::Background* first, work::Background* second) {
    auto on_error = [this](const absl::Status& s) { errors_.push_back(s.ToString()); };
    return NewPiix3Ide(wiring->At(1, 1),
                       {ChannelWiring{&irqs_[0], memory_.get(), first, on_error},
                        ChannelWiring{&irqs_[1], memory_.get(), second, on_error}},
                       {DriveOptions{.disk = disk, .serial = "S1"}, DriveOptions{},
                        DriveOptions{.disk = &slave_}, DriveOptions{.disk = &slave_}});
  }

  unsigned Region(unsigned i) { return kLegacyPorts[channel_ * 2 + i].region; }
  uint8_t In(unsigned port) { return static_cast<uint8_t>(ide_->Read(Region(0), port, 1)); }
  void Out(unsigned port, uint8_t v) { ide_->Write(Region(0), port, 1, v); }
  uint8_t AltStatus() { return static_cast<uint8_t>(ide_->Read(Region(1), 0, 1)); }
  void Control(uint8_t v) { ide_->Write(Region(1), 0, 1, v); }
  uint8_t Bm(unsigned port) {
    return static_cast<uint8_t>(ide_->Read(kBusMasterBar, 8 * channel_ + port, 1));
  }
  void SetBm(unsigned port, uint8_t v) { ide_->Write(kBusMasterBar, 8 * channel_ + port, 1, v); }

  void Command28(uint8_t opcode, uint32_t lba, uint8_t count) {
    Out(6, static_cast<uint8_t>(0xE0 | (lba >> 24 & 15)));
    Out(2, count);
    Out(3, static_cast<uint8_t>(lba));
    Out(4, static_cast<uint8_t>(lba >> 8));
    Out(5, static_cast<uint8_t>(lba >> 16));
    Out(7, opcode);
  }
  void Command48(uint8_t opcode, uint64_t lba, uint16_t count) {
    Out(6, 0xE0);
    Out(2, static_cast<uint8_t>(count >> 8));
    for (unsigned i = 0; i < 3; ++i) Out(3 + i, static_cast<uint8_t>(lba >> (24 + 8 * i)));
    Out(2, static_cast<uint8_t>(count));
    for (unsigned i = 0; i < 3; ++i) Out(3 + i, static_cast<uint8_t>(lba >> (8 * i)));
    Out(7, opcode);
  }
  std::vector<uint8_t> TakeData(size_t bytes, unsigned size = 2) {
    std::vector<uint8_t> out;
    while (out.size() < bytes) {
      const uint64_t v = ide_->Read(Region(0), 0, size);
      for (unsigned i = 0; i < size; ++i) out.push_back(static_cast<uint8_t>(v >> (8 * i)));
    }
    return out;
  }
  void GiveData(const std::vector<uint8_t>& bytes, unsigned size = 2) {
    for (size_t i = 0; i < bytes.size(); i += size) {
      uint64_t v = 0;
      for (unsigned j = 0; j < size; ++j) v |= uint64_t{bytes[i + j]} << (8 * j);
      ide_->Write(Region(0), 0, size, v);
    }
  }
  struct Region32 {
    uint32_t at;
    uint32_t bytes;
  };
  // Lays the table, points the bus master to it, and starts it.
  void StartBusMaster(std::vector<Region32> regions, bool to_memory) {
    for (size_t i = 0; i < regions.size(); ++i) {
      const Gpa d(kTable + 8 * i);
      memory_->Store<uint32_t>(d, regions[i].at);
      memory_->Store<uint32_t>(
          d + 4, (regions[i].bytes & 0xFFFF) | (i + 1 == regions.size() ? 0x80000000 : 0));
    }
    ide_->Write(kBusMasterBar, 8 * channel_ + 4, 4, kTable);
    SetBm(2, 6);
    SetBm(0, to_memory ? 8 : 0);
    SetBm(0, to_memory ? 9 : 1);
  }
  std::vector<uint8_t> Disk(uint64_t sector, uint64_t n) {
    return {disk_.bytes().begin() + static_cast<long>(sector * 512),
            disk_.bytes().begin() + static_cast<long>((sector + n) * 512)};
  }
  std::vector<uint8_t> Guest(uint64_t at, uint64_t n) {
    std::vector<uint8_t> out(n);
    EXPECT_TRUE(memory_->Read(Gpa(at), out));
    return out;
  }
  std::vector<uint8_t> Pattern(size_t n, uint8_t seed) {
    std::vector<uint8_t> out(n);
    for (size_t i = 0; i < n; ++i) out[i] = static_cast<uint8_t>(seed + i * 7 + i / 512);
    return out;
  }

  std::unique_ptr<GuestMemory> memory_;
  block::MemoryDisk disk_{kDiskBytes};
  block::MemoryDisk slave_{1 << 20};
  work::InlineBackground inline_;
  pci::FakeWiring wiring_;
  std::array<dev::FakeIrqLine, 2> irqs_;
  std::unique_ptr<pci::PciDevice> ide_;
  std::vector<std::string> errors_;
  unsigned channel_ = 0;
};

TEST_F(Ide, SignaturesAndPresence) {
  EXPECT_EQ(In(7), kIdle);
  EXPECT_EQ(In(1), 1);
  EXPECT_EQ(In(2), 1);
  EXPECT_EQ(In(3), 1);
  EXPECT_EQ(In(4), 0);
  EXPECT_EQ(In(5), 0);
  // There is no slave: whatever is written, nothing reads back.
  Out(6, 0xB0);
  Out(2, 0x55);
  Out(3, 0xAA);
  EXPECT_EQ(In(2), 0);
  EXPECT_EQ(In(3), 0);
  EXPECT_EQ(In(7), 0);
  Out(7, 0xEC);
  EXPECT_EQ(In(7), 0);
  EXPECT_FALSE(irqs_[0].level());
  channel_ = 1;
  Out(6, 0xB0);
  Out(2, 0x55);
  Out(3, 0xAA);
  EXPECT_EQ(In(2), 0x55);
  EXPECT_EQ(In(3), 0xAA);
}

TEST_F(Ide, Identify) {
  Out(6, 0xA0);
  Out(7, 0xEC);
  EXPECT_TRUE(irqs_[0].level());
  EXPECT_EQ(AltStatus(), kWants);
  EXPECT_TRUE(irqs_[0].level()) << "the alternate status leaves the interrupt";
  EXPECT_EQ(In(7), kWants);
  EXPECT_FALSE(irqs_[0].level());
  const std::vector<uint8_t> id = TakeData(512);
  EXPECT_EQ(In(7), kIdle);
  auto word = [&](unsigned i) { return LoadLe<uint16_t>(&id[2 * i]); };
  EXPECT_EQ(word(0), 0x0040);
  EXPECT_EQ(word(1), 16384 / (16 * 63));
  EXPECT_EQ(word(3), 16);
  EXPECT_EQ(word(6), 63);
  EXPECT_EQ(word(60) | word(61) << 16, 16384);
  EXPECT_EQ(word(100), 16384);
  std::string model;
  for (unsigned i = 54; i < 94; ++i) model.push_back(static_cast<char>(id[i ^ 1]));
  EXPECT_EQ(model, "ATOLL HARDDISK" + std::string(26, ' '));
  EXPECT_EQ(id[20], '1');
  EXPECT_EQ(id[21], 'S');
}

TEST_F(Ide, ReadSectorsByEveryAddressAndAccess) {
  for (unsigned size : {1u, 2u, 4u}) {
    Command28(0x20, 77, 3);
    for (unsigned i = 0; i < 3; ++i) {
      ASSERT_EQ(irqs_[0].TakeEdges(), 1u) << "one interrupt a sector";
      ASSERT_EQ(In(7), kWants);
      ASSERT_EQ(TakeData(512, size), Disk(77 + i, 1));
    }
    EXPECT_EQ(irqs_[0].TakeEdges(), 0u);
    EXPECT_EQ(In(7), kIdle);
  }
  Command48(0x24, 16383, 1);
  EXPECT_EQ(TakeData(512), Disk(16383, 1));
  // CHS 2/3/4: (2 * 16 + 3) * 63 + 3.
  Out(6, 0xA3);
  Out(2, 1);
  Out(3, 4);
  Out(4, 2);
  Out(5, 0);
  Out(7, 0x20);
  EXPECT_EQ(TakeData(512), Disk((2 * 16 + 3) * 63 + 3, 1));
  // The same address in a geometry that the BIOS sets.
  Out(6, 0xA7);
  Out(2, 17);
  Out(7, 0x91);
  EXPECT_EQ(In(7), kIdle);
  Out(6, 0xA3);
  Out(2, 1);
  Out(7, 0x20);
  EXPECT_EQ(TakeData(512), Disk((2 * 8 + 3) * 17 + 3, 1));
}

TEST_F(Ide, CountZeroIsTheMost) {
  Command28(0x20, 0, 0);
  EXPECT_EQ(TakeData(256 * 512), Disk(0, 256));
  EXPECT_EQ(In(7), kIdle);
  Command48(0x24, 0, 0);  // 65536 sectors: more than there are
  EXPECT_EQ(In(7), kFailed);
  EXPECT_EQ(In(1), kIdNotFound);
}

TEST_F(Ide, WriteSectors) {
  const std::vector<uint8_t> data = Pattern(3 * 512, 9);
  Command28(0x30, 100, 3);
  EXPECT_EQ(irqs_[0].TakeEdges(), 0u) << "the first block is asked for without an interrupt";
  for (unsigned i = 0; i < 3; ++i) {
    ASSERT_EQ(In(7), kWants);
    GiveData({data.begin() + 512 * i, data.begin() + 512 * (i + 1)}, i == 1 ? 4 : 2);
    ASSERT_EQ(irqs_[0].TakeEdges(), 1u);
  }
  EXPECT_EQ(In(7), kIdle);
  EXPECT_EQ(Disk(100, 3), data);
  Command48(0x34, 16000, 1);
  GiveData(Pattern(512, 1));
  EXPECT_EQ(Disk(16000, 1), Pattern(512, 1));
}

TEST_F(Ide, MultipleMovesBlocks) {
  Out(2, 8);
  Out(6, 0xE0);
  Out(7, 0xC6);
  EXPECT_EQ(In(7), kIdle);
  irqs_[0].TakeEdges();
  Command28(0xC4, 50, 20);
  EXPECT_EQ(TakeData(20 * 512), Disk(50, 20));
  EXPECT_EQ(irqs_[0].TakeEdges(), 1u) << "the level stays up without a status read";
  EXPECT_EQ(In(7), kIdle);
  Command48(0x39, 60, 9);
  GiveData(Pattern(9 * 512, 3), 4);
  EXPECT_EQ(In(7), kIdle);
  EXPECT_EQ(Disk(60, 9), Pattern(9 * 512, 3));
  for (uint8_t bad : {3, 17, 32, 255}) {
    Out(2, bad);
    Out(7, 0xC6);
    EXPECT_EQ(In(7), kFailed) << int{bad};
    EXPECT_EQ(In(1), kAborted);
  }
  Out(2, 0);
  Out(7, 0xC6);
  Command28(0xC4, 0, 1);
  EXPECT_EQ(In(1), kAborted) << "multiple mode is off";
}

TEST_F(Ide, AddressesPastTheEndAreNotFound) {
  for (uint8_t opcode : {0x20, 0x30, 0x40, 0xC4, 0xC5, 0xC8, 0xCA}) {
    Command28(opcode, 16384, 1);
    EXPECT_EQ(In(7), kFailed) << int{opcode};
    EXPECT_EQ(In(1), kIdNotFound);
    Command28(opcode, 16380, 5);
    EXPECT_EQ(In(7), kFailed);
  }
  for (uint8_t opcode : {0x24, 0x34, 0x25, 0x35, 0x29, 0x39, 0x42}) {
    Command48(opcode, 0xFFFFFFFFFFFF, 0xFFFF);
    EXPECT_EQ(In(7), kFailed) << int{opcode};
  }
  Out(6, 0xA0);
  Out(2, 1);
  Out(3, 0);  // CHS sectors are counted from 1
  Out(4, 0);
  Out(5, 0);
  Out(7, 0x20);
  EXPECT_EQ(In(1), kIdNotFound);
  EXPECT_EQ(disk_.reads() + disk_.writes(), 0u);
}

TEST_F(Ide, UnknownCommandsAreAborted) {
  for (unsigned opcode : {0x01u, 0x50u, 0x87u, 0xA0u, 0xA1u, 0xF1u, 0xFFu}) {
    Out(6, 0xE0);
    Out(7, static_cast<uint8_t>(opcode));
    EXPECT_EQ(In(7), kFailed) << opcode;
    EXPECT_EQ(In(1), kAborted);
  }
}

TEST_F(Ide, SmallCommands) {
  Command28(0x40, 0, 1);
  EXPECT_EQ(In(7), kIdle);
  Out(7, 0xE5);
  EXPECT_EQ(In(2), 0xFF);
  Out(7, 0x27);
  EXPECT_EQ(In(3) | In(4) << 8, 16383);
  Out(7, 0xE7);
  Out(7, 0xEA);
  EXPECT_EQ(disk_.flushes(), 2u);
  Out(1, 0x82);
  Out(7, 0xEF);
  EXPECT_EQ(disk_.flushes(), 3u);
  Command28(0x30, 0, 1);
  GiveData(Pattern(512, 0));
  EXPECT_EQ(disk_.flushes(), 4u) << "the write cache is off";
  Out(1, 3);
  Out(2, 0x45);
  Out(7, 0xEF);
  EXPECT_EQ(In(7), kIdle);
  Out(2, 0x47);
  Out(7, 0xEF);
  EXPECT_EQ(In(7), kFailed);
  Out(1, 0xDA);
  Out(4, 0x4F);
  Out(5, 0xC2);
  Out(7, 0xB0);
  EXPECT_EQ(In(7), kIdle);
  EXPECT_EQ(In(4), 0x4F);
  Out(1, 0xD0);
  Out(7, 0xB0);
  uint8_t sum = 0;
  for (uint8_t b : TakeData(512)) sum = static_cast<uint8_t>(sum + b);
  EXPECT_EQ(sum, 0);
}

TEST_F(Ide, InterruptsCanBeTurnedOff) {
  Control(2);
  Out(7, 0xEC);
  EXPECT_FALSE(irqs_[0].level());
  Control(0);
  EXPECT_TRUE(irqs_[0].level());
}

TEST_F(Ide, HighOrderByteReadsBack) {
  Out(2, 0x12);
  Out(2, 0x34);
  EXPECT_EQ(In(2), 0x34);
  Control(0x80);
  EXPECT_EQ(In(2), 0x12);
  Out(3, 0);
  EXPECT_EQ(In(2), 0x34) << "a write to the command block ends it";
}

TEST_F(Ide, SoftwareResetInTheMiddleOfABlock) {
  Command28(0x30, 5, 2);
  GiveData(Pattern(100, 1));
  Control(4);
  EXPECT_EQ(AltStatus(), kBusy);
  Out(7, 0xEC);
  EXPECT_EQ(AltStatus(), kBusy);
  Control(0);
  EXPECT_EQ(In(7), kIdle);
  EXPECT_EQ(In(1), 1);
  GiveData(Pattern(1024, 1));
  EXPECT_EQ(disk_.writes(), 0u);
  EXPECT_EQ(TakeData(4), std::vector<uint8_t>(4));
}

TEST_F(Ide, DiagnosticResetsBothDrives) {
  channel_ = 1;
  Out(6, 0xB0);
  Out(7, 0x90);
  EXPECT_TRUE(irqs_[1].level());
  EXPECT_EQ(In(6) & 0x10, 0);
  EXPECT_EQ(In(1), 1);
  EXPECT_EQ(In(7), kIdle);
}

TEST_F(Ide, DmaReadAndWrite) {
  Command28(0xC8, 1000, 64);
  EXPECT_EQ(AltStatus(), kWants);
  EXPECT_FALSE(irqs_[0].level());
  StartBusMaster({{kData, 0x3000}, {kData + 0x8000, 0x5000}}, /*to_memory=*/true);
  EXPECT_TRUE(irqs_[0].level());
  EXPECT_EQ(Bm(2), 4) << "interrupt, not active, no error";
  EXPECT_EQ(In(7), kIdle);
  SetBm(0, 0);
  std::vector<uint8_t> got = Guest(kData, 0x3000);
  for (uint8_t b : Guest(kData + 0x8000, 0x5000)) got.push_back(b);
  EXPECT_EQ(got, Disk(1000, 64));

  memory_->Write(Gpa(kData), Pattern(0x8000, 5));
  Command48(0x35, 2000, 64);
  StartBusMaster({{kData, 0x8000}}, /*to_memory=*/false);
  EXPECT_EQ(In(7), kIdle);
  EXPECT_EQ(Disk(2000, 64), Pattern(0x8000, 5));
  EXPECT_EQ(In(7), kIdle);
}

TEST_F(Ide, BusMasterThatStartsBeforeTheCommand) {
  StartBusMaster({{kData, 512}}, true);
  EXPECT_EQ(Bm(2), 1);
  Command28(0xC8, 3, 1);
  EXPECT_EQ(Guest(kData, 512), Disk(3, 1));
  EXPECT_EQ(Bm(2), 4);
}

TEST_F(Ide, DmaCountZeroIs64KiB) {
  Command28(0xC8, 0, 128);
  StartBusMaster({{kData, 0}}, true);
  EXPECT_EQ(Guest(kData, 0x10000), Disk(0, 128));
  EXPECT_EQ(Bm(2), 4);
}

TEST_F(Ide, DmaTableLongerThanTheTransferStaysActive) {
  Command28(0xC8, 0, 1);
  StartBusMaster({{kData, 1024}}, true);
  EXPECT_EQ(Bm(2), 5);
  SetBm(0, 0);
  EXPECT_EQ(Bm(2), 4);
}

TEST_F(Ide, HostileDmaTables) {
  memory_->Fill(Gpa(kData), 0xEE, 4096);
  const std::vector<std::vector<Region32>> tables = {
      {{kData, 512}},                            // ends before the transfer
      {{0xFFFFFFF0, 1024}},                      // wraps at 4 GiB
      {{static_cast<uint32_t>(kMemory), 1024}},  // outside memory
      {{static_cast<uint32_t>(kMemory) - 512, 1024}},
      {{0xE0000000, 1024}},  // MMIO
  };
  for (const auto& table : tables) {
    Command28(0xC8, 0, 2);
    StartBusMaster(table, true);
    EXPECT_EQ(Bm(2), 6) << "interrupt and error";
    EXPECT_EQ(In(7), kFailed);
    SetBm(0, 0);
  }
  // The table itself outside memory, and one that never ends.
  Command28(0xC8, 0, 2);
  ide_->Write(kBusMasterBar, 4, 4, 0xFFFFFFFC);
  SetBm(2, 6);
  SetBm(0, 9);
  EXPECT_EQ(In(7), kFailed);
  SetBm(0, 0);
  for (uint64_t i = 0; i < 70000; ++i) {
    memory_->Store<uint32_t>(Gpa(0x200000 + 8 * i), kData);
    memory_->Store<uint32_t>(Gpa(0x200004 + 8 * i), 2);
  }
  Command28(0xC8, 0, 0);
  ide_->Write(kBusMasterBar, 4, 4, 0x200000);
  SetBm(2, 6);
  SetBm(0, 9);
  EXPECT_EQ(In(7), kFailed) << "131072 bytes take more descriptors than 64 KiB hold";
  SetBm(0, 0);
  // The wrong direction.
  Command28(0xCA, 0, 1);
  StartBusMaster({{kData, 512}}, true);
  EXPECT_EQ(In(7), kFailed);
  EXPECT_EQ(disk_.writes() + disk_.reads(), 0u);
  EXPECT_EQ(Guest(kData, 4096), std::vector<uint8_t>(4096, 0xEE));
}

TEST_F(Ide, DiskErrorsReachHostAndLog) {
  disk_.FailWith(absl::DataLossError("memory.img: no"));
  Command28(0x20, 0, 1);
  EXPECT_EQ(In(7), kFailed);
  EXPECT_EQ(In(1), kUncorrectable);
  Command28(0x30, 0, 1);
  GiveData(Pattern(512, 0));
  EXPECT_EQ(In(1), kAborted);
  Command28(0xC8, 0, 1);
  StartBusMaster({{kData, 512}}, true);
  EXPECT_EQ(In(7), kFailed);
  Out(7, 0xE7);
  EXPECT_EQ(In(7), kFailed);
  EXPECT_EQ(errors_.size(), 4u);
}

TEST_F(Ide, ReadOnlyDiskRefusesWrites) {
  block::MemoryDisk disk(kDiskBytes, /*read_only=*/true);
  Make(&inline_, &inline_, &disk);
  for (uint8_t opcode : {0x30, 0xC5, 0xCA}) {
    Command28(opcode, 0, 1);
    EXPECT_EQ(In(7), kFailed);
    EXPECT_EQ(In(1), kAborted);
  }
}

TEST_F(Ide, EveryPortAndSizeIsHarmless) {
  for (unsigned region = 0; region < 16; ++region) {
    for (uint64_t offset : {0, 1, 2, 5, 6, 7, 8, 12, 15, 16, 100, 0x7FFFFFFF}) {
      for (unsigned size : {1u, 2u, 4u, 8u}) {
        ide_->Read(region, offset, size);
        ide_->Write(region, offset, size, ~uint64_t{0});
      }
    }
    ide_->Read(region, ~uint64_t{0}, 8);
    ide_->Write(region, ~uint64_t{0}, 8, 0);
  }
}

// The named danger: DMA of before a reset that lands in memory after it.
TEST_F(Ide, ResetWithDmaInFlight) {
  for (int how = 0; how < 3; ++how) {
    work::WorkerPool pool(2);
    dev::DeviceLock lock;
    auto first = pool.NewBackground(&lock);
    auto second = pool.NewBackground(&lock);
    lock.Run([&] {
      Make(first.get(), second.get());
      memory_->Fill(Gpa(kData), 0, 64 * 512);
    });
    disk_.Hold(true);
    lock.Run([&] {
      Command28(0xC8, 0, 64);
      StartBusMaster({{kData, 64 * 512}}, true);
      EXPECT_EQ(AltStatus(), kBusy);
    });
    disk_.AwaitWaiting(1);
    std::thread releaser([&] { disk_.Hold(false); });
    lock.Run([&] {
      if (how == 0) Control(4);
      if (how == 1) ide_->Reset();
      if (how == 2) SetBm(0, 0);
      memory_->Fill(Gpa(kData), 0xEE, 64 * 512);
      irqs_[0].TakeEdges();
    });
    releaser.join();
    pool.WaitIdle();
    lock.Run([&] {
      EXPECT_EQ(Guest(kData, 64 * 512), std::vector<uint8_t>(64 * 512, 0xEE)) << how;
      EXPECT_EQ(irqs_[0].TakeEdges(), 0u);
      Control(4);
      Control(0);
      EXPECT_EQ(In(7), kIdle);
      ide_.reset();
    });
    pool.WaitIdle();
  }
}

TEST_F(Ide, StateRoundTrip) {
  Command28(0xC4, 50, 20);
  TakeData(1000);
  channel_ = 1;
  Command28(0x30, 5, 3);
  GiveData(Pattern(600, 1));
  pci::FakeWiring wiring;
  std::unique_ptr<pci::PciDevice> other = New(&wiring, &disk_, &inline_, &inline_);
  dev::ExpectRoundTrip(*ide_, *other);
  ide_ = std::move(other);
  GiveData(Pattern(512 - 88, 4));
  EXPECT_EQ(slave_.writes(), 2u);
  channel_ = 0;
  std::vector<uint8_t> rest = TakeData(20 * 512 - 1000);
  const std::vector<uint8_t> all = Disk(50, 20);
  EXPECT_EQ(rest, std::vector<uint8_t>(all.begin() + 1000, all.end()));
}

}  // namespace
}  // namespace atl::ide
