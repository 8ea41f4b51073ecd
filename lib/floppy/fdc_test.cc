// SPDX-License-Identifier: Apache-2.0
// The controller as a driver sees it, with the DMA controller beside it.
#include "lib/floppy/fdc.h"

#include <initializer_list>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "gtest/gtest.h"
#include "lib/base/status_matchers.h"
#include "lib/block/testing/memory_disk.h"
#include "lib/dev/device_lock.h"
#include "lib/dev/i8237.h"
#include "lib/dev/testing/fakes.h"
#include "lib/dev/testing/round_trip.h"
#include "lib/floppy/geometry.h"
#include "lib/mem/guest_memory.h"
#include "lib/work/background.h"
#include "lib/work/worker_pool.h"

namespace atl::floppy {
namespace {

using Bytes = std::vector<uint8_t>;
constexpr uint64_t kData = 0x10000;

std::shared_ptr<block::MemoryDisk> NewDisk(uint64_t bytes, bool read_only = false) {
  auto disk = std::make_shared<block::MemoryDisk>(bytes, read_only);
  for (size_t i = 0; i < bytes; ++i) {
    disk->bytes()[i] = static_cast<uint8_t>(i * 2654435761u >> 24);
  }
  return disk;
}

class Floppy : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_OK_AND_ASSIGN(memory_, GuestMemory::Create(2 << 20));
    dma_ = std::make_unique<dev::I8237>(*memory_);
    Make(&inline_);
  }
  void Make(work::Background* background) {
    fdc_.reset();
    fdc_ = New(*dma_, background);
    fdc_->Insert(0, disk_);
    Start();
  }
  std::unique_ptr<Fdc> New(dev::I8237& dma, work::Background* background) {
    FdcWiring wiring;
    wiring.irq = &irq_;
    wiring.dma = &dma;
    wiring.background = background;
    wiring.on_error = [this](const absl::Status& s) { errors_.push_back(s.ToString()); };
    return std::make_unique<Fdc>(wiring);
  }
  // A reset by the output register, its interrupt, and the settings.
  void Start(bool dma = true) {
    Out(2, 0x08);
    EXPECT_EQ(In(4), 0);
    EXPECT_FALSE(irq_.level());
    irq_.TakeEdges();
    Out(2, 0x1C);
    EXPECT_EQ(irq_.TakeEdges(), 1u);
    EXPECT_TRUE(irq_.level());
    for (uint8_t i = 0; i < 4; ++i) EXPECT_EQ(Ask({0x08})[0], 0xC0 | i);
    EXPECT_FALSE(irq_.level());
    Send({0x03, 0xDF, dma ? 2 : 3});
    fdc_->Write(Fdc::kInput, 0, 1, 0);
  }

  uint8_t In(unsigned port) { return static_cast<uint8_t>(fdc_->Read(Fdc::kRegisters, port, 1)); }
  void Out(unsigned port, uint8_t v) { fdc_->Write(Fdc::kRegisters, port, 1, v); }
  bool Changed() { return (fdc_->Read(Fdc::kInput, 0, 1) & 0x80) != 0; }
  void Send(std::initializer_list<int> bytes) {
    for (int b : bytes) {
      EXPECT_EQ(In(4) & 0xC0, 0x80) << "ready for a byte";
      Out(5, static_cast<uint8_t>(b));
    }
  }
  Bytes Result() {
    Bytes out;
    while ((In(4) & 0xD0) == 0xD0 && out.size() < 20) out.push_back(In(5));
    EXPECT_EQ(In(4), 0x80);
    return out;
  }
  Bytes Ask(std::initializer_list<int> bytes) {
    Send(bytes);
    return Result();
  }
  // Channel 2 over `bytes` of guest memory.
  void SetDma(size_t bytes, bool to_memory) {
    const uint16_t count = static_cast<uint16_t>(bytes - 1);
    auto low = [&](unsigned reg, unsigned v) { dma_->Write(dev::I8237::kBytes, reg, 1, v); };
    low(10, 6);
    low(12, 0);
    low(4, 0);
    low(4, 0);
    dma_->Write(dev::I8237::kPages, 1, 1, kData >> 16);
    low(5, count & 0xFF);
    low(5, count >> 8);
    low(11, to_memory ? 0x46 : 0x4A);
    low(10, 2);
  }
  void Seek(uint8_t track, uint8_t drive = 0) {
    Send({0x0F, drive, track});
    EXPECT_TRUE(irq_.level());
    EXPECT_EQ(Ask({0x08}), (Bytes{uint8_t(0x20 | drive), track}));
  }
  Bytes Disk(uint64_t sector, uint64_t n) {
    const auto begin = disk_->bytes().begin() + static_cast<long>(sector * 512);
    return {begin, begin + static_cast<long>(n * 512)};
  }
  Bytes Guest(size_t n) {
    Bytes out(n);
    EXPECT_TRUE(memory_->Read(Gpa(kData), out));
    return out;
  }

  std::unique_ptr<GuestMemory> memory_;
  std::shared_ptr<block::MemoryDisk> disk_ = NewDisk(1440 * 1024);
  work::InlineBackground inline_;
  dev::FakeIrqLine irq_;
  std::unique_ptr<dev::I8237> dma_;
  std::unique_ptr<Fdc> fdc_;
  std::vector<std::string> errors_;
};

TEST(Geometry, BySize) {
  const struct {
    unsigned kib;
    uint8_t tracks, heads, sectors;
    DriveType drive;
  } cases[] = {
      {160, 40, 1, 8, DriveType::k360K},    {360, 40, 2, 9, DriveType::k360K},
      {720, 80, 2, 9, DriveType::k1440K},   {1200, 80, 2, 15, DriveType::k1200K},
      {1440, 80, 2, 18, DriveType::k1440K}, {1680, 80, 2, 21, DriveType::k1440K},
      {2880, 80, 2, 36, DriveType::k2880K}, {1266, 80, 2, 18, DriveType::k1440K},
      {2000, 80, 2, 36, DriveType::k2880K},
  };
  for (const auto& c : cases) {
    const std::optional<Geometry> g = GeometryOf(c.kib * 1024);
    ASSERT_TRUE(g.has_value()) << c.kib;
    EXPECT_EQ(g->tracks, c.tracks) << c.kib;
    EXPECT_EQ(g->heads, c.heads) << c.kib;
    EXPECT_EQ(g->sectors, c.sectors) << c.kib;
    EXPECT_EQ(DriveFor(*g), c.drive) << c.kib;
    EXPECT_TRUE(Takes(c.drive, *g));
  }
  EXPECT_FALSE(GeometryOf(0).has_value());
  EXPECT_FALSE(GeometryOf(2881 * 1024).has_value());
  EXPECT_FALSE(Takes(DriveType::k1440K, *GeometryOf(360 * 1024)));
  EXPECT_FALSE(Takes(DriveType::k1440K, *GeometryOf(2880 * 1024)));
  EXPECT_TRUE(Takes(DriveType::k1200K, *GeometryOf(360 * 1024)));
}

TEST_F(Floppy, WhatItIs) {
  EXPECT_EQ(Ask({0x10}), Bytes{0x90});
  EXPECT_EQ(Ask({0x18}), Bytes{0x80}) << "no part number";
  EXPECT_EQ(Ask({0x94}), Bytes{0x10});
  EXPECT_EQ(Ask({0x14}), Bytes{0x00});
  Send({0x13, 0, 0x57, 9});
  Send({0x12, 0x84});
  EXPECT_EQ(Ask({0x0E}), (Bytes{0, 0, 0, 0, 0xDF, 2, 0, 4, 0x57, 9}));
  EXPECT_EQ(Ask({0x08}), Bytes{0x80}) << "nothing to tell";
  for (int code : {0x00, 0x01, 0x11, 0x1F, 0x2E, 0x33, 0x4E, 0x8E, 0xFF}) {
    EXPECT_EQ(Ask({code}), Bytes{0x80}) << code;
  }
}

TEST_F(Floppy, SeekAndRecalibrate) {
  EXPECT_EQ(Ask({0x04, 0x04}), Bytes{0x3C});
  Seek(40);
  EXPECT_EQ(Ask({0x04, 0x00}), Bytes{0x28}) << "not at track 0";
  Send({0x8F, 0, 3});
  EXPECT_EQ(Ask({0x08}), (Bytes{0x20, 37}));
  Send({0xCF, 0, 200});
  EXPECT_EQ(Ask({0x08})[1], 84) << "the end of the way";
  Send({0x07, 0});
  EXPECT_EQ(Ask({0x08}), (Bytes{0x20, 0}));
  Send({0x07, 1});
  EXPECT_EQ(Ask({0x08}), (Bytes{0x71, 0})) << "there is no drive B";
}

TEST_F(Floppy, ReadByDma) {
  Seek(5);
  SetDma(4 * 512, true);
  irq_.TakeEdges();
  // Sectors 17 and 18 of head 0, then 1 and 2 of head 1.
  Send({0xE6, 0x00, 5, 0, 17, 2, 18, 0x1B, 0xFF});
  EXPECT_EQ(irq_.TakeEdges(), 1u);
  EXPECT_TRUE(irq_.level());
  EXPECT_EQ(Result(), (Bytes{0x04, 0, 0, 5, 1, 3, 2}));
  EXPECT_FALSE(irq_.level());
  EXPECT_EQ(Guest(4 * 512), Disk(5 * 36 + 16, 4));
  EXPECT_EQ(disk_->reads(), 2u) << "a side at once";
  // A count that ends within a sector.
  SetDma(700, true);
  EXPECT_EQ(Ask({0x46, 0x04, 5, 1, 1, 2, 18, 0x1B, 0xFF}), (Bytes{0x04, 0, 0, 5, 1, 3, 2}));
  EXPECT_EQ(Guest(700), Bytes(disk_->bytes().begin() + (5 * 36 + 18) * 512,
                              disk_->bytes().begin() + (5 * 36 + 18) * 512 + 700));
  // The track ends before the count does.
  SetDma(3 * 512, true);
  EXPECT_EQ(Ask({0x46, 0x00, 5, 0, 17, 2, 18, 0x1B, 0xFF}), (Bytes{0x40, 0x80, 0, 6, 0, 1, 2}));
}

TEST_F(Floppy, WaitsForTheChannel) {
  dma_->Write(dev::I8237::kBytes, 10, 1, 6);
  Send({0xE6, 0x00, 0, 0, 1, 2, 18, 0x1B, 0xFF});
  EXPECT_EQ(In(4), 0x10);
  EXPECT_FALSE(irq_.level());
  SetDma(512, true);
  EXPECT_TRUE(irq_.level());
  EXPECT_EQ(Result(), (Bytes{0, 0, 0, 0, 0, 2, 2}));
  EXPECT_EQ(Guest(512), Disk(0, 1));
}

TEST_F(Floppy, WriteByDma) {
  Bytes data(36 * 512);
  for (size_t i = 0; i < data.size(); ++i) data[i] = static_cast<uint8_t>(i * 7 + i / 512);
  memory_->Write(Gpa(kData), data);
  Seek(79);
  SetDma(data.size(), false);
  EXPECT_EQ(Ask({0xC5, 0x00, 79, 0, 1, 2, 18, 0x1B, 0xFF}), (Bytes{0x04, 0, 0, 80, 0, 1, 2}));
  EXPECT_EQ(Disk(79 * 36, 36), data);
  // What a count cuts short is zeroes from there.
  SetDma(100, false);
  Ask({0xC5, 0x00, 79, 0, 1, 2, 18, 0x1B, 0xFF});
  Bytes first(data.begin(), data.begin() + 100);
  first.resize(512);
  EXPECT_EQ(Disk(79 * 36, 1), first);
}

TEST_F(Floppy, ThroughTheFifo) {
  Start(/*dma=*/false);
  Seek(2);
  Send({0x46, 0x00, 2, 0, 3, 2, 4, 0x1B, 0xFF});
  Bytes got;
  while (In(4) == 0xF0) got.push_back(In(5));
  EXPECT_EQ(got, Disk(2 * 36 + 2, 2));
  EXPECT_EQ(Result(), (Bytes{0x40, 0x80, 0, 3, 0, 1, 2})) << "there is no terminal count";
  Send({0x45, 0x04, 2, 1, 18, 2, 18, 0x1B, 0xFF});
  for (int i = 0; i < 512; ++i) {
    ASSERT_EQ(In(4), 0xB0);
    Out(5, static_cast<uint8_t>(i * 3));
  }
  Result();
  Bytes wanted(512);
  for (int i = 0; i < 512; ++i) wanted[static_cast<size_t>(i)] = static_cast<uint8_t>(i * 3);
  EXPECT_EQ(Disk(2 * 36 + 35, 1), wanted);
}

TEST_F(Floppy, FormatATrack) {
  Seek(7);
  Bytes ids;
  for (uint8_t r = 1; r <= 18; ++r) ids.insert(ids.end(), {7, 1, r, 2});
  memory_->Write(Gpa(kData), ids);
  SetDma(ids.size(), false);
  EXPECT_EQ(Ask({0x4D, 0x04, 2, 18, 0x50, 0xF6})[0], 0x04);
  EXPECT_EQ(Disk(7 * 36 + 18, 18), Bytes(18 * 512, 0xF6));
  ids[2] = 19;
  memory_->Write(Gpa(kData), ids);
  SetDma(ids.size(), false);
  EXPECT_EQ(Ask({0x4D, 0x04, 2, 18, 0x50, 0x00})[0], 0x44);
  EXPECT_EQ(Ask({0x4D, 0x04, 3, 18, 0x50, 0x00})[0], 0x44) << "larger sectors";
  EXPECT_EQ(Ask({0x4D, 0x04, 2, 255, 0x50, 0x00})[0], 0x44);
  EXPECT_EQ(Disk(7 * 36 + 18, 18), Bytes(18 * 512, 0xF6));
}

TEST_F(Floppy, WhatIsNotOnTheDisk) {
  SetDma(512, true);
  Seek(3);
  EXPECT_EQ(Ask({0x46, 0, 4, 0, 1, 2, 18, 0x1B, 0xFF}), (Bytes{0x40, 0x04, 0x10, 4, 0, 1, 2}));
  EXPECT_EQ(Ask({0x46, 0, 3, 1, 1, 2, 18, 0x1B, 0xFF})[1], 0x04) << "head";
  EXPECT_EQ(Ask({0x46, 0, 3, 0, 0, 2, 18, 0x1B, 0xFF})[1], 0x04) << "sector 0";
  EXPECT_EQ(Ask({0x46, 0, 3, 0, 19, 2, 18, 0x1B, 0xFF})[1], 0x04);
  EXPECT_EQ(Ask({0x46, 0, 3, 0, 1, 3, 18, 0x1B, 0xFF})[1], 0x04) << "size";
  EXPECT_EQ(Ask({0x46, 1, 3, 0, 1, 2, 18, 0x1B, 0xFF})[1], 0x01) << "drive";
  Seek(80);
  EXPECT_EQ(Ask({0x46, 0, 80, 0, 1, 2, 18, 0x1B, 0xFF})[1], 0x01) << "past the last track";
  // Sectors run out in the middle.
  Seek(3);
  SetDma(3 * 512, true);
  EXPECT_EQ(Ask({0x46, 0, 3, 0, 17, 2, 30, 0x1B, 0xFF}), (Bytes{0x40, 0x04, 0, 3, 0, 19, 2}));
  // With implied seeks the head goes where the command says.
  Send({0x13, 0, 0x57, 0});
  SetDma(512, true);
  EXPECT_EQ(Ask({0x46, 0, 9, 0, 1, 2, 18, 0x1B, 0xFF})[0], 0);
  EXPECT_EQ(Guest(512), Disk(9 * 36, 1));
}

TEST_F(Floppy, TheRateMustBeTheMediums) {
  for (uint8_t rate = 0; rate < 4; ++rate) {
    fdc_->Write(Fdc::kInput, 0, 1, rate);
    const Bytes id = Ask({0x4A, 0});
    EXPECT_EQ(id[1], rate == 0 ? 0x00 : 0x01) << int{rate};
  }
  fdc_->Insert(0, NewDisk(720 * 1024));
  fdc_->Write(Fdc::kInput, 0, 1, 0);
  EXPECT_EQ(Ask({0x4A, 0})[1], 0x01);
  fdc_->Write(Fdc::kInput, 0, 1, 2);
  for (uint8_t r = 1; r <= 10; ++r) {
    EXPECT_EQ(Ask({0x4A, 4}), (Bytes{4, 0, 0, 0, 1, uint8_t((r - 1) % 9 + 1), 2})) << "turning";
  }
}

TEST_F(Floppy, FortyTracksUnderAHeadForEighty) {
  disk_ = NewDisk(360 * 1024);
  fdc_->SetType(0, DriveType::k1200K);
  fdc_->Insert(0, disk_);
  fdc_->Write(Fdc::kInput, 0, 1, 1);
  Seek(10);
  SetDma(512, true);
  EXPECT_EQ(Ask({0x46, 0, 5, 0, 1, 2, 9, 0x1B, 0xFF})[0], 0);
  EXPECT_EQ(Guest(512), Disk(5 * 18, 1));
  Seek(11);
  EXPECT_EQ(Ask({0x4A, 0})[1], 0x01) << "between two tracks";
}

TEST_F(Floppy, TheChangeLine) {
  EXPECT_TRUE(Changed()) << "after power-on";
  Seek(1);
  EXPECT_FALSE(Changed());
  fdc_->Remove(0);
  EXPECT_TRUE(Changed());
  Seek(0);
  EXPECT_TRUE(Changed()) << "as long as there is no medium";
  SetDma(512, true);
  EXPECT_EQ(Ask({0x46, 0, 0, 0, 1, 2, 18, 0x1B, 0xFF})[1], 0x01);
  disk_ = NewDisk(1440 * 1024);
  disk_->bytes()[0] = 0x77;
  fdc_->Insert(0, disk_);
  EXPECT_TRUE(Changed());
  Seek(1);
  Seek(0);
  EXPECT_FALSE(Changed());
  Ask({0x46, 0, 0, 0, 1, 2, 18, 0x1B, 0xFF});
  EXPECT_EQ(Guest(1)[0], 0x77);
  Out(2, 0x1D);
  EXPECT_FALSE(Changed()) << "drive B is not there";
}

TEST_F(Floppy, WriteProtectAndDiskErrors) {
  disk_ = NewDisk(1440 * 1024, /*read_only=*/true);
  fdc_->Insert(0, disk_);
  EXPECT_EQ(Ask({0x04, 0x00})[0] & 0x40, 0x40);
  SetDma(512, false);
  EXPECT_EQ(Ask({0x45, 0, 0, 0, 1, 2, 18, 0x1B, 0xFF})[1], 0x02);
  EXPECT_EQ(Ask({0x4D, 0, 2, 18, 0x50, 0xF6})[1], 0x02);
  EXPECT_EQ(disk_->writes(), 0u);
  disk_->FailWith(absl::DataLossError("a.img: no"));
  SetDma(512, true);
  EXPECT_EQ(Ask({0x46, 0, 0, 0, 1, 2, 18, 0x1B, 0xFF}), (Bytes{0x40, 0x20, 0x20, 0, 0, 1, 2}));
  EXPECT_EQ(errors_.size(), 1u);
}

TEST_F(Floppy, AShortImageIsEmptyBehindItsEnd) {
  disk_ = NewDisk(1000 * 512);
  fdc_->Insert(0, disk_);
  Seek(27);
  SetDma(18 * 512, true);
  EXPECT_EQ(Ask({0x46, 4, 27, 1, 1, 2, 18, 0x1B, 0xFF})[0], 4);
  Bytes wanted = Disk(27 * 36 + 18, 10);
  wanted.resize(18 * 512);
  EXPECT_EQ(Guest(18 * 512), wanted);
}

TEST_F(Floppy, Verify) {
  EXPECT_EQ(Ask({0xD6, 0, 0, 0, 1, 2, 18, 0x1B, 0xFF})[0] & 0xC0, 0);
  EXPECT_EQ(Ask({0x56, 0, 0, 0, 1, 2, 19, 0x1B, 0xFF})[0] & 0xC0, 0x40);
  EXPECT_EQ(disk_->reads(), 0u);
}

// VENOM: bytes past the FIFO's end.
TEST_F(Floppy, Cve2015_3456_BytesForEver) {
  for (int first = 0; first < 256; ++first) {
    Out(2, 0x08);
    Out(2, 0x0C);
    Out(5, static_cast<uint8_t>(first));
    for (int i = 0; i < 3000; ++i) Out(5, static_cast<uint8_t>(i % 7 == 0 ? first : i));
    for (int i = 0; i < 3000; ++i) In(5);
  }
}

TEST_F(Floppy, ResetInTheMiddle) {
  for (int how = 0; how < 3; ++how) {
    work::WorkerPool pool(1);
    dev::DeviceLock lock;
    auto background = pool.NewBackground(&lock);
    lock.Run([&] {
      Make(background.get());
      memory_->Fill(Gpa(kData), 0, 512);
    });
    disk_->Hold(true);
    lock.Run([&] {
      SetDma(512, true);
      Send({0x46, 0, 0, 0, 1, 2, 18, 0x1B, 0xFF});
      EXPECT_EQ(In(4), 0x10);
    });
    disk_->AwaitWaiting(1);
    std::thread releaser([&] { disk_->Hold(false); });
    lock.Run([&] {
      if (how == 0) Out(2, 0x08);
      if (how == 1) Out(4, 0x80);
      if (how == 2) fdc_->Reset();
    });
    releaser.join();
    pool.WaitIdle();
    lock.Run([&] {
      EXPECT_EQ(Guest(512), Bytes(512));
      Out(2, 0x08);
      Out(2, 0x0C);
      EXPECT_EQ(In(4), 0x80);
      fdc_.reset();
    });
  }
}

TEST_F(Floppy, StateRoundTrip) {
  Start(/*dma=*/false);
  Seek(2);
  Send({0xC6, 0x00, 2, 0, 3, 2, 18, 0x1B, 0xFF});
  Bytes got;
  for (int i = 0; i < 700; ++i) got.push_back(In(5));
  dev::I8237 other_dma(*memory_);
  std::unique_ptr<Fdc> other = New(other_dma, &inline_);
  other->Insert(0, disk_);
  dev::ExpectRoundTrip(*fdc_, *other);
  std::swap(fdc_, other);
  while (got.size() < 4 * 512) got.push_back(In(5));
  EXPECT_EQ(got, Disk(2 * 36 + 2, 4));
  // In the middle of a command, and of a result.
  Start();
  Send({0x46, 0, 2});
  dev::ExpectRoundTrip(*fdc_, *other);
  Out(2, 0x08);
  Out(2, 0x0C);
  Send({0x0E});
  In(5);
  dev::ExpectRoundTrip(*fdc_, *other);
  fdc_.reset();  // before other_dma, to which it is connected
}

}  // namespace
}  // namespace atl::floppy
