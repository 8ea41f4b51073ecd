// SPDX-License-Identifier: Apache-2.0
// The block device through its PCI transport, driven as a guest drives it,
// through the modern and the legacy registers.
#include "lib/virtio/blk.h"

#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "gtest/gtest.h"
#include "lib/base/endian.h"
#include "lib/base/status_matchers.h"
#include "lib/block/testing/memory_disk.h"
#include "lib/dev/device_lock.h"
#include "lib/dev/testing/round_trip.h"
#include "lib/mem/guest_memory.h"
#include "lib/pci/testing/fakes.h"
#include "lib/virtio/pci.h"
#include "lib/virtio/testing/driver.h"
#include "lib/work/background.h"
#include "lib/work/worker_pool.h"

namespace atl::virtio {
namespace {

constexpr uint64_t kMemory = 8 << 20;
constexpr uint64_t kDiskBytes = 1 << 20;
constexpr uint64_t kQueueBase = 0x100000;
constexpr uint64_t kHeader = 0x1000;
constexpr uint64_t kStatus = 0x2000;
constexpr uint64_t kData = 0x200000;
constexpr uint64_t kAll = ~uint64_t{0};

constexpr uint64_t kReadOnly = 1 << 5;
constexpr uint64_t kFlush = 1 << 9;
constexpr uint64_t kConfigWce = 1 << 11;

enum : uint32_t { kIn = 0, kOut = 1, kFlushType = 4, kGetId = 8, kDiscard = 11, kZeroes = 13 };

class Blk : public testing::TestWithParam<Driver::Mode> {
 protected:
  void SetUp() override {
    ASSERT_OK_AND_ASSIGN(memory_, GuestMemory::Create(kMemory));
    for (size_t i = 0; i < disk_.bytes().size(); ++i) {
      disk_.bytes()[i] = static_cast<uint8_t>(i / 512 + i);
    }
    Make({.serial = "serial-0123456789abcdef"}, &inline_);
  }
  void Make(BlkOptions options, work::Background* background, block::Disk* disk = nullptr) {
    options.on_error = [this](const absl::Status& s) { errors_.push_back(s.ToString()); };
    PciTransportOptions transport;
    transport.on_fail = [this](const absl::Status& s) { failures_.push_back(s.ToString()); };
    function_ = NewVirtioPci(
        wiring_.At(4), memory_.get(),
        NewBlk(memory_.get(), disk != nullptr ? disk : &disk_, background, std::move(options)),
        transport);
    function_->Reset();
    driver_ = std::make_unique<Driver>(function_.get(), memory_.get(), GetParam());
  }
  void Start(uint64_t features = kAll & ~(uint64_t{1} << 29)) {
    ASSERT_TRUE(driver_->Negotiate(features & 0xFFFFFFFF));
    queue_ = driver_->SetUpQueue(0, kQueueBase);
    driver_->Start();
  }
  void SetHeader(uint32_t type, uint64_t sector, uint64_t at = kHeader) {
    memory_->Store<uint32_t>(Gpa(at), type);
    memory_->Store<uint32_t>(Gpa(at + 4), 0);
    memory_->Store<uint64_t>(Gpa(at + 8), sector);
  }
  // One request with its data in `segments`; the status, or 0xEE for none.
  uint8_t Request(uint32_t type, uint64_t sector, std::vector<Segment> segments,
                  uint32_t* length = nullptr) {
    SetHeader(type, sector);
    memory_->Store<uint8_t>(Gpa(kStatus), 0xEE);
    segments.insert(segments.begin(), Segment{kHeader, 16, false});
    segments.push_back({kStatus, 1, true});
    queue_.Add(segments);
    driver_->Kick(0);
    const std::optional<Used> used = queue_.TakeUsed();
    if (used.has_value() && length != nullptr) *length = used->length;
    return *memory_->Load<uint8_t>(Gpa(kStatus));
  }
  std::vector<uint8_t> Guest(uint64_t at, uint64_t n) {
    std::vector<uint8_t> out(n);
    EXPECT_TRUE(memory_->Read(Gpa(at), out));
    return out;
  }
  std::vector<uint8_t> Disk(uint64_t at, uint64_t n) {
    return {disk_.bytes().begin() + static_cast<long>(at),
            disk_.bytes().begin() + static_cast<long>(at + n)};
  }

  std::unique_ptr<GuestMemory> memory_;
  block::MemoryDisk disk_{kDiskBytes};
  work::InlineBackground inline_;
  pci::FakeWiring wiring_;
  std::unique_ptr<pci::PciDevice> function_;
  std::unique_ptr<Driver> driver_;
  DriverQueue queue_;
  std::vector<std::string> errors_;
  std::vector<std::string> failures_;
};

INSTANTIATE_TEST_SUITE_P(Drivers, Blk, testing::Values(Driver::kModern, Driver::kLegacy),
                         [](const auto& i) {
                           return i.param == Driver::kModern ? "Modern" : "Legacy";
                         });

TEST_P(Blk, IdentifiesItself) {
  EXPECT_EQ(function_->ReadConfig(0, 4), 0x10011AF4u);
  EXPECT_EQ(function_->ReadConfig(pci::kRevision, 1), 0u);
  EXPECT_EQ(function_->ReadConfig(0x2E, 2), 2u);
  auto modern = NewVirtioPci(wiring_.At(5), memory_.get(), NewBlk(memory_.get(), &disk_, &inline_),
                             {.legacy = false});
  EXPECT_EQ(modern->ReadConfig(0, 4), 0x10421AF4u);
  EXPECT_EQ(modern->ReadConfig(pci::kRevision, 1), 1u);
  EXPECT_EQ(modern->ReadConfig(pci::kBar0, 4), 0u);
}

TEST_P(Blk, ReadsAndWrites) {
  Start();
  uint32_t length = 0;
  EXPECT_EQ(Request(kIn, 3, {{kData, 1024, true}}, &length), 0);
  EXPECT_EQ(length, 1025u);
  EXPECT_EQ(Guest(kData, 1024), Disk(3 * 512, 1024));
  memory_->Fill(Gpa(kData), 0x5A, 512);
  EXPECT_EQ(Request(kOut, 7, {{kData, 512}}, &length), 0);
  EXPECT_EQ(length, 1u);
  EXPECT_EQ(Disk(7 * 512, 512), std::vector<uint8_t>(512, 0x5A));
  EXPECT_TRUE(failures_.empty());
}

TEST_P(Blk, ManySmallBuffersAreGathered) {
  Start();
  std::vector<Segment> segments;
  for (unsigned i = 0; i < 100; ++i) segments.push_back({kData + 8192 * (99 - i), 512, true});
  EXPECT_EQ(Request(kIn, 0, segments), 0);
  for (unsigned i = 0; i < 100; ++i) {
    ASSERT_EQ(Guest(kData + 8192 * (99 - i), 512), Disk(512 * i, 512)) << i;
  }
  EXPECT_EQ(disk_.reads(), 1u);
  for (Segment& s : segments) s.writable = false;
  EXPECT_EQ(Request(kOut, 500, segments), 0);
  EXPECT_EQ(Disk(500 * 512, 100 * 512), Disk(0, 100 * 512));
  EXPECT_EQ(disk_.writes(), 1u);
}

TEST_P(Blk, NeighbouringBuffersAreOne) {
  Start();
  std::vector<Segment> segments;
  for (unsigned i = 0; i < 64; ++i) segments.push_back({kData + 4096 * i, 4096, true});
  EXPECT_EQ(Request(kIn, 0, segments), 0);
  EXPECT_EQ(Guest(kData, 64 * 4096), Disk(0, 64 * 4096));
  EXPECT_EQ(disk_.reads(), 1u);
}

// VIRTIO 1.2, 2.7.4: the driver frames messages as it likes.
TEST_P(Blk, AnyFramingOfHeaderDataAndStatus) {
  Start();
  SetHeader(kIn, 5, kData);
  queue_.Add(std::vector<Segment>{
      {kData, 3}, {kData + 3, 13}, {kData + 100, 500, true}, {kData + 700, 13, true}});
  driver_->Kick(0);
  ASSERT_TRUE(queue_.TakeUsed().has_value());
  std::vector<uint8_t> got = Guest(kData + 100, 500);
  for (uint8_t b : Guest(kData + 700, 12)) got.push_back(b);
  EXPECT_EQ(got, Disk(5 * 512, 512));
  EXPECT_EQ(Guest(kData + 712, 1)[0], 0);
}

TEST_P(Blk, IndirectAndEventIndex) {
  Start(kAll);
  for (uint16_t i = 0; i < 600; ++i) {
    queue_.SetUsedEvent(i);
    SetHeader(kIn, i);
    queue_.AddIndirect(std::vector<Segment>{{kHeader, 16}, {kData, 512, true}, {kStatus, 1, true}},
                       kData + 0x10000, i % queue_.size);
    driver_->Kick(0);
    ASSERT_TRUE(queue_.TakeUsed().has_value());
    ASSERT_EQ(Guest(kData, 512), Disk(512 * i, 512));
    ASSERT_TRUE(wiring_.intx.level);
    ASSERT_EQ(driver_->ReadIsr(), 1);
    ASSERT_FALSE(wiring_.intx.level);
  }
}

TEST_P(Blk, IdIsCutToItsTwentyBytes) {
  Start();
  memory_->Fill(Gpa(kData), 0xEE, 32);
  uint32_t length = 0;
  EXPECT_EQ(Request(kGetId, 0, {{kData, 20, true}}, &length), 0);
  EXPECT_EQ(length, 21u);
  const std::vector<uint8_t> id = Guest(kData, 21);
  EXPECT_EQ(std::string(id.begin(), id.begin() + 20), "serial-0123456789abc");
  EXPECT_EQ(id[20], 0xEE);
  EXPECT_EQ(Request(kGetId, 0, {{kData, 4, true}}), 0);
}

TEST_P(Blk, FlushDiscardAndWriteZeroes) {
  Start();
  EXPECT_EQ(Request(kFlushType, 0, {}), 0);
  EXPECT_EQ(disk_.flushes(), 1u);
  auto range = [&](uint64_t sector, uint32_t sectors, uint32_t flags) {
    memory_->Store<uint64_t>(Gpa(kData), sector);
    memory_->Store<uint32_t>(Gpa(kData + 8), sectors);
    memory_->Store<uint32_t>(Gpa(kData + 12), flags);
    return std::vector<Segment>{{kData, 16}};
  };
  EXPECT_EQ(Request(kDiscard, 0, range(8, 16, 0)), 0);
  EXPECT_EQ(disk_.discarded(), 16u * 512);
  EXPECT_EQ(Request(kDiscard, 0, range(8, 16, 1)), 2) << "a flag that discard has not";
  EXPECT_EQ(Request(kZeroes, 0, range(8, 2, 1)), 0);
  EXPECT_EQ(Disk(8 * 512, 1024), std::vector<uint8_t>(1024));
  EXPECT_EQ(Request(kZeroes, 0, range(8, 2, 2)), 2);
  EXPECT_EQ(Request(kZeroes, 0, range(kDiskBytes / 512, 1, 0)), 1);
  EXPECT_EQ(Request(kZeroes, 0, range(kAll, 2, 0)), 1);
  EXPECT_EQ(Request(kDiscard, 0, range(0, 0xFFFFFFFF, 0)), 1);
  EXPECT_EQ(Request(kZeroes, 0, {{kData, 17}}), 2);
  EXPECT_EQ(Request(kZeroes, 0, {}), 2);
}

TEST_P(Blk, RefusesWhatLiesPastTheEnd) {
  Start();
  const uint64_t end = kDiskBytes / 512;
  EXPECT_EQ(Request(kIn, end, {{kData, 512, true}}), 1);
  EXPECT_EQ(Request(kIn, end - 1, {{kData, 1024, true}}), 1);
  EXPECT_EQ(Request(kOut, kAll, {{kData, 512}}), 1);
  EXPECT_EQ(Request(kOut, kAll / 512 + 1, {{kData, 512}}), 1) << "sector * 512 wraps";
  EXPECT_EQ(Request(kIn, 0, {{kData, 513, true}}), 1);
  EXPECT_EQ(Request(77, 0, {{kData, 512, true}}), 2);
  EXPECT_EQ(disk_.reads() + disk_.writes(), 0u);
  EXPECT_EQ(Request(kIn, end - 1, {{kData, 512, true}}), 0);
  ASSERT_FALSE(errors_.empty());
  EXPECT_NE(errors_[0].find("memory.img: guest asked for 512 bytes at sector 2048 of 2048"),
            std::string::npos)
      << errors_[0];
}

TEST_P(Blk, BuffersOutsideMemoryFailTheRequest) {
  Start();
  EXPECT_EQ(Request(kIn, 0, {{kMemory, 512, true}}), 1);
  EXPECT_EQ(Request(kIn, 0, {{kMemory - 256, 512, true}}), 1);
  EXPECT_EQ(Request(kOut, 0, {{~uint64_t{0} - 255, 512}}), 1);
  EXPECT_EQ(disk_.reads() + disk_.writes(), 0u);
  EXPECT_TRUE(failures_.empty());
}

TEST_P(Blk, TransfersOfNothingSucceed) {
  Start();
  EXPECT_EQ(Request(kIn, 0, {}), 0);
  EXPECT_EQ(Request(kOut, 0, {}), 0);
  EXPECT_EQ(Request(kIn, kDiskBytes / 512 + 1, {}), 1);
}

TEST_P(Blk, DiskErrorsReachGuestAndLog) {
  Start();
  disk_.FailWith(absl::DataLossError("memory.img: no"));
  EXPECT_EQ(Request(kIn, 0, {{kData, 512, true}}), 1);
  EXPECT_EQ(Request(kFlushType, 0, {}), 1);
  EXPECT_EQ(errors_.size(), 2u);
  disk_.FailWith(absl::OkStatus());
  EXPECT_EQ(Request(kIn, 0, {{kData, 512, true}}), 0);
}

TEST_P(Blk, ReadOnlyDisk) {
  block::MemoryDisk disk(kDiskBytes, /*read_only=*/true);
  Make({}, &inline_, &disk);
  EXPECT_NE(driver_->OfferedFeatures() & kReadOnly, 0u);
  Start();
  EXPECT_EQ(Request(kIn, 0, {{kData, 512, true}}), 0);
  EXPECT_EQ(Request(kOut, 0, {{kData, 512}}), 1);
  EXPECT_EQ(disk.writes(), 0u);
}

TEST_P(Blk, WriteThroughUnlessTheDriverFlushes) {
  Start(0);
  EXPECT_EQ(Request(kOut, 0, {{kData, 512}}), 0);
  EXPECT_EQ(disk_.flushes(), 1u);
  Start(kFlush);
  EXPECT_EQ(Request(kOut, 0, {{kData, 512}}), 0);
  EXPECT_EQ(disk_.flushes(), 1u);
  Start(kFlush | kConfigWce);
  EXPECT_EQ(driver_->ReadDeviceConfig(32, 1), 1u);
  driver_->WriteDeviceConfig(32, 1, 0);
  EXPECT_EQ(driver_->ReadDeviceConfig(32, 1), 0u);
  EXPECT_EQ(Request(kOut, 0, {{kData, 512}}), 0);
  EXPECT_EQ(disk_.flushes(), 2u);
}

TEST_P(Blk, ConfigurationReadsAtEverySizeAndOffset) {
  std::vector<uint8_t> bytes;
  for (uint32_t i = 0; i < 72; ++i) {
    bytes.push_back(static_cast<uint8_t>(driver_->ReadDeviceConfig(i, 1)));
  }
  EXPECT_EQ(LoadLe<uint64_t>(bytes.data()), kDiskBytes / 512);
  EXPECT_EQ(LoadLe<uint32_t>(bytes.data() + 12), 254u);
  EXPECT_EQ(LoadLe<uint32_t>(bytes.data() + 20), 512u);
  for (uint32_t i = 0; i < 64; ++i) {
    EXPECT_EQ(driver_->ReadDeviceConfig(i, 2), LoadLe<uint16_t>(&bytes[i])) << i;
    EXPECT_EQ(driver_->ReadDeviceConfig(i, 4), LoadLe<uint32_t>(&bytes[i])) << i;
    EXPECT_EQ(driver_->ReadDeviceConfig(i, 8), LoadLe<uint64_t>(&bytes[i])) << i;
    driver_->WriteDeviceConfig(i, 8, kAll);
  }
  EXPECT_EQ(driver_->ReadDeviceConfig(0, 8), kDiskBytes / 512);
}

TEST_P(Blk, RequestWithoutHeaderOrStatusNeedsReset) {
  const std::vector<std::vector<Segment>> bad = {
      {{kHeader, 16}},
      {{kHeader, 15}, {kStatus, 1, true}},
      {{kStatus, 1, true}},
      {{kMemory, 16}, {kStatus, 1, true}},
  };
  for (const auto& segments : bad) {
    Start();
    failures_.clear();
    SetHeader(kFlushType, 0);
    queue_.Add(segments);
    driver_->Kick(0);
    EXPECT_EQ(driver_->status() & kStatusNeedsReset, kStatusNeedsReset);
    ASSERT_EQ(failures_.size(), 1u);
    EXPECT_NE(failures_[0].find("virtio-blk: "), std::string::npos);
    // Dead until reset, however much it is kicked.
    queue_.Add(std::vector<Segment>{{kHeader, 16}, {kStatus, 1, true}}, 4);
    driver_->Kick(0);
    EXPECT_FALSE(queue_.TakeUsed().has_value());
    EXPECT_EQ(failures_.size(), 1u);
  }
  Start();
  EXPECT_EQ(driver_->status() & kStatusNeedsReset, 0);
  EXPECT_EQ(Request(kFlushType, 0, {}), 0);
}

TEST_P(Blk, StatusOutsideMemoryNeedsReset) {
  Start();
  SetHeader(kFlushType, 0);
  queue_.Add(std::vector<Segment>{{kHeader, 16}, {kMemory, 1, true}});
  driver_->Kick(0);
  EXPECT_NE(driver_->status() & kStatusNeedsReset, 0);
}

TEST_P(Blk, BrokenRingNeedsReset) {
  Start();
  memory_->Store<uint16_t>(Gpa(queue_.driver_ring + 2), 0x4000);
  driver_->Kick(0);
  EXPECT_NE(driver_->status() & kStatusNeedsReset, 0);
  EXPECT_EQ(driver_->ReadIsr(), 2);
}

TEST_P(Blk, QueueOutsideMemoryNeedsReset) {
  ASSERT_TRUE(driver_->Negotiate(0));
  driver_->SetUpQueue(0, kMemory - 4096);
  driver_->Start();
  driver_->Kick(0);
  EXPECT_NE(driver_->status() & kStatusNeedsReset, 0);
}

TEST_P(Blk, MsixVectorsForQueueAndConfiguration) {
  driver_->EnableMsix(2);
  Start();
  EXPECT_EQ(driver_->SetQueueVector(0, 2), kNoVector) << "there are two";
  EXPECT_EQ(driver_->SetQueueVector(0, 1), 1);
  EXPECT_EQ(Request(kIn, 0, {{kData, 512, true}}), 0);
  EXPECT_EQ(wiring_.msi.TakeSent(),
            (std::vector<std::pair<uint64_t, uint32_t>>{{0xFEE00000, 0x41}}));
  EXPECT_FALSE(wiring_.intx.level);
  EXPECT_EQ(driver_->SetQueueVector(0, kNoVector), kNoVector);
  EXPECT_EQ(Request(kIn, 0, {{kData, 512, true}}), 0);
  EXPECT_TRUE(wiring_.msi.TakeSent().empty());
}

TEST_P(Blk, SeveralQueues) {
  Make({.queues = 4, .queue_size = 64}, &inline_);
  ASSERT_TRUE(driver_->Negotiate(kAll & 0xDFFFFFFF));
  std::vector<DriverQueue> queues;
  for (uint16_t i = 0; i < 4; ++i)
    queues.push_back(driver_->SetUpQueue(i, kQueueBase + 0x10000u * i));
  driver_->Start();
  EXPECT_EQ(driver_->ReadDeviceConfig(34, 2), 4u);
  for (uint16_t i = 0; i < 4; ++i) {
    SetHeader(kIn, i);
    queues[i].Add(std::vector<Segment>{{kHeader, 16}, {kData, 512, true}, {kStatus, 1, true}});
    driver_->Kick(i);
    ASSERT_TRUE(queues[i].TakeUsed().has_value());
    EXPECT_EQ(Guest(kData, 512), Disk(512 * i, 512));
  }
  driver_->Kick(4);
  driver_->Kick(0xFFFF);
}

// The named danger: a request of before the reset that completes after it, into
// memory that the guest uses for something else by then.
TEST_P(Blk, ResetWithRequestsInFlight) {
  work::WorkerPool pool(2);
  dev::DeviceLock lock;
  std::unique_ptr<work::Background> background = pool.NewBackground(&lock);
  lock.Run([&] { Make({}, background.get()); });
  lock.Run([&] { Start(); });
  disk_.Hold(true);
  lock.Run([&] {
    for (uint16_t i = 0; i < 8; ++i) {
      SetHeader(kIn, i, kHeader + 16 * i);
      queue_.Add(
          std::vector<Segment>{
              {kHeader + 16u * i, 16}, {kData + 512u * i, 512, true}, {kStatus + i, 1, true}},
          static_cast<uint16_t>(4 * i));
    }
    driver_->Kick(0);
  });
  disk_.AwaitWaiting(2);
  std::thread releaser([&] { disk_.Hold(false); });
  lock.Run([&] {
    driver_->SetStatus(0);
    // From here on no byte of the old requests' may appear.
    memory_->Fill(Gpa(kData), 0xEE, 8 * 512);
    memory_->Fill(Gpa(kStatus), 0xEE, 8);
    memory_->Fill(Gpa(kQueueBase), 0xEE, 0x4000);
    wiring_.intx.edges = 0;
  });
  releaser.join();
  pool.WaitIdle();
  EXPECT_EQ(Guest(kData, 8 * 512), std::vector<uint8_t>(8 * 512, 0xEE));
  EXPECT_EQ(Guest(kStatus, 8), std::vector<uint8_t>(8, 0xEE));
  EXPECT_EQ(Guest(kQueueBase, 0x4000), std::vector<uint8_t>(0x4000, 0xEE));
  EXPECT_EQ(wiring_.intx.edges, 0u);
  lock.Run([&] { Start(); });
  lock.Run([&] { EXPECT_EQ(driver_->status() & kStatusNeedsReset, 0); });
  lock.Run([&] { function_.reset(); });
  pool.WaitIdle();
}

TEST_P(Blk, ManyRequestsOnRealThreads) {
  work::WorkerPool pool(4);
  dev::DeviceLock lock;
  std::unique_ptr<work::Background> background = pool.NewBackground(&lock);
  lock.Run([&] {
    Make({}, background.get());
    Start();
    for (uint16_t i = 0; i < 64; ++i) {
      SetHeader(kIn, i, kHeader + 16 * i);
      queue_.Add(
          std::vector<Segment>{
              {kHeader + 16u * i, 16}, {kData + 512u * i, 512, true}, {kStatus + i, 1, true}},
          static_cast<uint16_t>(4 * i));
      driver_->Kick(0);
    }
  });
  pool.WaitIdle();
  lock.Run([&] {
    unsigned used = 0;
    while (queue_.TakeUsed().has_value()) ++used;
    EXPECT_EQ(used, 64u);
    EXPECT_EQ(Guest(kData, 64 * 512), Disk(0, 64 * 512));
    function_.reset();
  });
}

TEST_P(Blk, StateRoundTrip) {
  Start(kAll);
  driver_->WriteDeviceConfig(32, 1, 0);
  EXPECT_EQ(Request(kIn, 0, {{kData, 512, true}}), 0);
  pci::FakeWiring wiring;
  auto other = NewVirtioPci(wiring.At(4), memory_.get(), NewBlk(memory_.get(), &disk_, &inline_));
  dev::ExpectRoundTrip(*function_, *other);
  // The loaded device goes on where the saved one stopped.
  function_ = std::move(other);
  Driver loaded(function_.get(), memory_.get(), GetParam());
  SetHeader(kIn, 9);
  queue_.Add(std::vector<Segment>{{kHeader, 16}, {kData, 512, true}, {kStatus, 1, true}});
  loaded.Kick(0);
  ASSERT_TRUE(queue_.TakeUsed().has_value());
  EXPECT_EQ(Guest(kData, 512), Disk(9 * 512, 512));
}

using ModernOnly = Blk;
INSTANTIATE_TEST_SUITE_P(Drivers, ModernOnly, testing::Values(Driver::kModern));

TEST_P(ModernOnly, FeaturesThatWereNotOfferedAreRefused) {
  driver_->SetStatus(0);
  driver_->SetStatus(3);
  EXPECT_FALSE(driver_->AcceptFeatures(Driver::kVersion1Feature | uint64_t{1} << 40));
  driver_->SetStatus(0);
  driver_->SetStatus(3);
  EXPECT_FALSE(driver_->AcceptFeatures(0)) << "a 1.x driver says VERSION_1";
  EXPECT_TRUE(driver_->Negotiate(kAll & 0xFFFFFFFF));
  // Settled by now.
  driver_->WriteCommon(8, 4, 1);
  driver_->WriteCommon(0xC, 4, 0);
  EXPECT_EQ(driver_->ReadCommon(0xC, 4), 1u);
}

TEST_P(ModernOnly, CommonStructureTakesAnySizeAtAnyOffset) {
  ASSERT_TRUE(driver_->Negotiate(0));
  for (uint32_t offset = 0; offset < 0x60; ++offset) {
    if (offset <= 0x14 && offset + 8 > 0x14) continue;  // the status has effects
    for (unsigned size : {1u, 2u, 4u, 8u}) {
      driver_->ReadCommon(offset, size);
      if (offset > 0x1C || offset + size <= 0x1C) driver_->WriteCommon(offset, size, kAll);
    }
  }
  for (uint64_t offset : {uint64_t{0xFFF}, uint64_t{0x3FFF}, uint64_t{0x4000}, kAll - 7}) {
    function_->Read(4, offset, 8);
    function_->Write(4, offset, 8, kAll);
  }
  // A queue address written byte by byte is the same address.
  driver_->Negotiate(0);
  driver_->WriteCommon(0x16, 2, 0);
  for (unsigned i = 0; i < 8; ++i) driver_->WriteCommon(0x20 + i, 1, 0x11 * (i + 1));
  EXPECT_EQ(driver_->ReadCommon(0x20, 8), 0x8877665544332211u);
  EXPECT_EQ(driver_->ReadCommon(0x22, 4), 0x66554433u);
}

TEST_P(ModernOnly, NothingRunsBeforeDriverOk) {
  ASSERT_TRUE(driver_->Negotiate(0));
  queue_ = driver_->SetUpQueue(0, kQueueBase);
  EXPECT_EQ(Request(kFlushType, 0, {}), 0xEE);
  driver_->Start();
  EXPECT_EQ(*memory_->Load<uint8_t>(Gpa(kStatus)), 0) << "what waited was not seen";
}

TEST_P(ModernOnly, BarsThroughConfigurationSpace) {
  const unsigned cap = driver_->pci_cap;
  ASSERT_NE(cap, 0u);
  auto aim = [&](uint32_t bar, uint32_t offset, uint32_t length) {
    function_->WriteConfig(cap + 4, 1, bar);
    function_->WriteConfig(cap + 8, 4, offset);
    function_->WriteConfig(cap + 12, 4, length);
  };
  aim(4, kCommonOffset + 0x12, 2);
  EXPECT_EQ(function_->ReadConfig(cap + 16, 2), 1u);  // the number of queues
  aim(4, kCommonOffset + 0x14, 1);
  function_->WriteConfig(cap + 16, 1, 3);
  EXPECT_EQ(driver_->status(), 3);
  EXPECT_EQ(function_->ReadConfig(cap + 16, 1), 3u);
  // BARs that are not there, ranges that leave them, sizes that are none.
  const uint32_t aims[][3] = {{2, 0, 4},          {6, 0, 4},     {255, 0, 4},  {4, 0x4000, 4},
                              {4, 0xFFFFFFFC, 4}, {4, 0, 3},     {4, 0x14, 0}, {4, 0, 0xFFFFFFFF},
                              {4, 2, 4},          {1, 0x1000, 4}};
  for (const auto& a : aims) {
    aim(a[0], a[1], a[2]);
    function_->WriteConfig(cap + 16, 4, 0);
    function_->ReadConfig(cap + 16, 4);
  }
  EXPECT_EQ(driver_->status(), 3);
}

}  // namespace
}  // namespace atl::virtio
