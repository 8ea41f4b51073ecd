// SPDX-License-Identifier: Apache-2.0
// A CD drive as a driver sees it: packets by PIO and bus master, sense data,
// media that change.
#include <array>
#include <initializer_list>
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
#include "lib/ide/cd_drive.h"
#include "lib/ide/channel.h"
#include "lib/ide/piix_ide.h"
#include "lib/mem/guest_memory.h"
#include "lib/pci/testing/fakes.h"
#include "lib/work/background.h"
#include "lib/work/worker_pool.h"

namespace atl::ide {
namespace {

using Bytes = std::vector<uint8_t>;

constexpr uint64_t kMemory = 16 << 20;
constexpr uint32_t kSectors = 1000;
constexpr uint64_t kTable = 0x10000;
constexpr uint64_t kData = 0x100000;

constexpr uint8_t kIdle = kReady | kSeekDone;
constexpr uint8_t kWants = kReady | kSeekDone | kDataRequest;
constexpr uint8_t kFailed = kReady | kSeekDone | kErrorBit;

std::shared_ptr<block::MemoryDisk> NewMedium(uint64_t bytes, uint32_t seed) {
  auto disk = std::make_shared<block::MemoryDisk>(bytes, /*read_only=*/true);
  for (size_t i = 0; i < disk->bytes().size(); ++i) {
    disk->bytes()[i] = static_cast<uint8_t>((i + seed) * 2654435761u >> 24);
  }
  return disk;
}

class Atapi : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_OK_AND_ASSIGN(memory_, GuestMemory::Create(kMemory));
    Make(&inline_);
    cd_->Load(medium_);
    // What is told after power-on.
    Send({0x00});
    EXPECT_EQ(Sense(), "6 29 00");
  }
  void Make(work::Background* background) {
    ide_.reset();
    cd_ = std::make_unique<CdDrive>();
    ide_ = New(&wiring_, *cd_, background);
    ide_->Reset();
    ide_->WriteConfig(pci::kCommand, 2, 5);
  }
  std::unique_ptr<pci::PciDevice> New(pci::FakeWiring* wiring, CdDrive& cd,
                                      work::Background* background) {
    const auto on_error = [this](const absl::Status& s) { errors_.push_back(s.ToString()); };
    return NewPiix3Ide(wiring->At(1, 1),
                       {ChannelWiring{&other_irq_, memory_.get(), &inline_, nullptr},
                        ChannelWiring{&irq_, memory_.get(), background, on_error}},
                       {DriveOptions{}, DriveOptions{}, DriveOptions{.cd = &cd, .serial = "CD1"},
                        DriveOptions{.disk = &disk_}});
  }

  uint8_t In(unsigned port) {
    return static_cast<uint8_t>(ide_->Read(kLegacyPorts[2].region, port, 1));
  }
  void Out(unsigned port, uint8_t v) { ide_->Write(kLegacyPorts[2].region, port, 1, v); }
  uint8_t AltStatus() { return static_cast<uint8_t>(ide_->Read(kLegacyPorts[3].region, 0, 1)); }
  void Control(uint8_t v) { ide_->Write(kLegacyPorts[3].region, 0, 1, v); }
  uint8_t Bm(unsigned port) { return static_cast<uint8_t>(ide_->Read(kBusMasterBar, 8 + port, 1)); }
  void SetBm(unsigned port, uint8_t v) { ide_->Write(kBusMasterBar, 8 + port, 1, v); }
  unsigned Limit() { return In(4) | In(5) << 8; }

  // PACKET and the packet, no data yet.
  void Send(std::initializer_list<int> packet, unsigned limit = 0xFFFE, bool dma = false) {
    Out(6, 0xA0);
    Out(1, dma ? 1 : 0);
    Out(4, static_cast<uint8_t>(limit));
    Out(5, static_cast<uint8_t>(limit >> 8));
    Out(7, 0xA0);
    EXPECT_EQ(AltStatus(), kWants);
    EXPECT_EQ(In(2), 1) << "a command is expected";
    Bytes bytes(12);
    std::copy(packet.begin(), packet.end(), bytes.begin());
    for (size_t i = 0; i < 12; i += 2) {
      ide_->Write(kLegacyPorts[2].region, 0, 2, bytes[i] | bytes[i + 1] << 8);
    }
  }
  Bytes Take(size_t bytes) {
    Bytes out;
    while (out.size() < bytes) {
      const uint64_t v = ide_->Read(kLegacyPorts[2].region, 0, 2);
      out.push_back(static_cast<uint8_t>(v));
      if (out.size() < bytes) out.push_back(static_cast<uint8_t>(v >> 8));
    }
    return out;
  }
  // All of a command's data, block by block as the drive offers it.
  Bytes Data() {
    Bytes out;
    while (In(7) == kWants) {
      EXPECT_EQ(In(2), 2) << "data to the host";
      const unsigned n = Limit();
      if (n == 0) {
        ADD_FAILURE() << "an empty block";
        break;
      }
      const Bytes block = Take(n);
      out.insert(out.end(), block.begin(), block.end());
    }
    EXPECT_EQ(In(2), 3) << "finished";
    return out;
  }
  Bytes Ask(std::initializer_list<int> packet) {
    Send(packet);
    return Data();
  }
  // "2 3A 01" of the last command.
  std::string Sense() {
    const uint8_t error = In(1);
    EXPECT_EQ(In(7), kFailed);
    Send({0x03, 0, 0, 0, 18});
    const Bytes s = Data();
    if (s.size() != 18) return "no sense data";
    EXPECT_EQ(error, s[2] << 4 | kAborted);
    char text[16];
    snprintf(text, sizeof text, "%X %02X %02X", s[2], s[12], s[13]);
    return text;
  }
  std::string Refused(std::initializer_list<int> packet) {
    Send(packet);
    return Sense();
  }
  void StartBusMaster(uint32_t bytes) {
    memory_->Store<uint32_t>(Gpa(kTable), kData);
    memory_->Store<uint32_t>(Gpa(kTable + 4), (bytes & 0xFFFF) | 0x80000000);
    ide_->Write(kBusMasterBar, 8 + 4, 4, kTable);
    SetBm(2, 6);
    SetBm(0, 8);
    SetBm(0, 9);
  }
  Bytes Medium(uint32_t sector, uint32_t n) {
    const auto begin = medium_->bytes().begin() + sector * 2048;
    return {begin, begin + n * 2048};
  }
  Bytes Guest(uint64_t n) {
    Bytes out(n);
    EXPECT_TRUE(memory_->Read(Gpa(kData), out));
    return out;
  }

  std::unique_ptr<GuestMemory> memory_;
  std::shared_ptr<block::MemoryDisk> medium_ = NewMedium(kSectors * 2048 + 512, 0);
  block::MemoryDisk disk_{1 << 20};
  work::InlineBackground inline_;
  pci::FakeWiring wiring_;
  dev::FakeIrqLine irq_, other_irq_;
  std::unique_ptr<CdDrive> cd_;
  std::unique_ptr<pci::PciDevice> ide_;
  std::vector<std::string> errors_;
};

TEST_F(Atapi, SignatureTellsItFromADisk) {
  ide_->Reset();
  EXPECT_EQ(In(7), 0) << "not ready before a command";
  EXPECT_EQ(In(2), 1);
  EXPECT_EQ(In(3), 1);
  EXPECT_EQ(Limit(), 0xEB14u);
  Out(6, 0xB0);
  EXPECT_EQ(Limit(), 0u) << "the disk beside it";
  Out(6, 0xA0);
  Out(4, 0);
  Out(7, 0xEC);
  EXPECT_EQ(In(7), kFailed);
  EXPECT_EQ(In(1), kAborted);
  EXPECT_EQ(Limit(), 0xEB14u);
  Out(4, 0);
  Out(7, 0x08);
  EXPECT_EQ(In(7), 0);
  EXPECT_EQ(Limit(), 0xEB14u);
  Control(4);
  Control(0);
  EXPECT_EQ(Limit(), 0xEB14u);
  for (int opcode : {0x21, 0x24, 0x30, 0xC8, 0xCA, 0xB0, 0xC6}) {
    Out(7, static_cast<uint8_t>(opcode));
    EXPECT_EQ(In(7), kFailed) << opcode;
    EXPECT_EQ(In(1), kAborted);
  }
}

TEST_F(Atapi, IdentifyPacketDevice) {
  irq_.TakeEdges();
  Out(7, 0xA1);
  EXPECT_EQ(irq_.TakeEdges(), 1u);
  EXPECT_EQ(In(7), kWants);
  const Bytes id = Take(512);
  EXPECT_EQ(In(7), kIdle);
  EXPECT_EQ(irq_.TakeEdges(), 0u) << "the end of PIO data is no event";
  EXPECT_EQ(LoadLe<uint16_t>(&id[0]), 0x85C0);
  EXPECT_EQ(LoadLe<uint16_t>(&id[2 * 82]), 0x4210);
  EXPECT_EQ(id[2 * 27], 'T');
  EXPECT_EQ(id[2 * 27 + 1], 'A');
}

TEST_F(Atapi, InquiryIsCutToTheAllocationLength) {
  const Bytes all = Ask({0x12, 0, 0, 0, 96});
  ASSERT_EQ(all.size(), 36u);
  EXPECT_EQ(all[0], 5);
  EXPECT_EQ(all[1], 0x80);
  EXPECT_EQ(std::string(all.begin() + 8, all.begin() + 13), "ATOLL");
  EXPECT_EQ(Ask({0x12, 0, 0, 0, 5}), Bytes(all.begin(), all.begin() + 5));
  Send({0x12, 0, 0, 0, 0});
  EXPECT_EQ(In(7), kIdle);
  EXPECT_EQ(Ask({0x12, 1, 0, 0, 96}), (Bytes{5, 0, 0, 2, 0, 0x83}));
  EXPECT_EQ(Refused({0x12, 1, 0x99, 0, 96}), "5 24 00");
}

TEST_F(Atapi, ReadByPioInBlocksOfTheHostsLimit) {
  EXPECT_EQ(Ask({0x25}), (Bytes{0, 0, (kSectors - 1) >> 8, (kSectors - 1) & 255, 0, 0, 8, 0}));
  for (unsigned limit : {2048u, 2049u, 512u, 2u, 3000u, 4096u, 0xFFFEu, 0xFFFFu, 65534u, 6144u}) {
    Send({0x28, 0, 0, 0, 0, 77, 0, 0, 5}, limit);
    const unsigned first = Limit();
    EXPECT_LE(first, limit);
    if (limit == 2048) {
      EXPECT_EQ(first, 2048u) << "whole sectors where they fit";
    }
    ASSERT_EQ(Data(), Medium(77, 5)) << limit;
  }
  EXPECT_EQ(Ask({0xA8, 0, 0, 0, 3, 0xE7, 0, 0, 0, 1}), Medium(999, 1));
  // One interrupt a block and one at the end.
  irq_.TakeEdges();
  Send({0x28, 0, 0, 0, 0, 0, 0, 0, 3}, 2048);
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(irq_.TakeEdges(), 1u);
    EXPECT_EQ(In(7), kWants);
    Take(2048);
  }
  EXPECT_EQ(irq_.TakeEdges(), 1u);
  EXPECT_EQ(In(7), kIdle);
}

TEST_F(Atapi, AHostWithNoRoomGetsNothing) {
  for (unsigned limit : {0u, 1u}) {
    Send({0x28, 0, 0, 0, 0, 0, 0, 0, 1}, limit);
    EXPECT_EQ(Sense(), "5 24 00");
    Send({0x00}, limit);
    EXPECT_EQ(In(7), kIdle) << "a command without data needs none";
  }
  EXPECT_EQ(medium_->reads(), 0u);
}

TEST_F(Atapi, AddressesPastTheEnd) {
  for (int opcode : {0x28, 0xA8, 0xBE}) {
    EXPECT_EQ(Refused({opcode, 0, 0, 0, 3, 0xE8, 0, 0, 1, 1, 0}), "5 21 00") << opcode;
    EXPECT_EQ(Refused({opcode, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xF8, 0}), "5 21 00");
  }
  EXPECT_EQ(Refused({0x2B, 0, 0, 0, 3, 0xE8}), "5 21 00");
  Send({0x28, 0, 0, 0, 3, 0xE8, 0, 0, 0});
  EXPECT_EQ(In(7), kIdle) << "no sectors at the very end";
  EXPECT_EQ(medium_->reads(), 0u);
}

TEST_F(Atapi, UnknownPackets) {
  for (int opcode : {0x01, 0x04, 0x2A, 0x55, 0xA1, 0xAA, 0xFF}) {
    EXPECT_EQ(Refused({opcode}), "5 20 00") << opcode;
  }
}

TEST_F(Atapi, ReadCdGivesWhatIsAskedFor) {
  EXPECT_EQ(Ask({0xBE, 0, 0, 0, 0, 9, 0, 0, 2, 0x10}), Medium(9, 2));
  const Bytes raw = Ask({0xBE, 0x08, 0, 0, 0, 9, 0, 0, 2, 0xF8});
  ASSERT_EQ(raw.size(), 2u * 2352);
  EXPECT_EQ(Bytes(raw.begin(), raw.begin() + 16),
            (Bytes{0, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 0, 0x00, 0x02, 0x09, 1}));
  EXPECT_EQ(Bytes(raw.begin() + 2352 + 16, raw.begin() + 2352 + 16 + 2048), Medium(10, 1));
  // Minutes, seconds and frames: 0:2:9 to 0:2:11.
  EXPECT_EQ(Ask({0xB9, 0, 0, 0, 2, 9, 0, 2, 11, 0x10}), Medium(9, 2));
  EXPECT_EQ(Refused({0xB9, 0, 0, 0, 0, 9, 0, 2, 11, 0x10}), "5 24 00");
  Send({0xBE, 0, 0, 0, 0, 9, 0, 0, 2, 0x00});
  EXPECT_EQ(In(7), kIdle);
  EXPECT_EQ(Refused({0xBE, 4, 0, 0, 0, 9, 0, 0, 2, 0xF8}), "5 64 00") << "audio";
  EXPECT_EQ(Refused({0xBE, 0, 0, 0, 0, 9, 0, 0, 2, 0x58}), "5 24 00");
}

TEST_F(Atapi, Toc) {
  EXPECT_EQ(Ask({0x43, 0, 0, 0, 0, 0, 0, 0, 255}),
            (Bytes{0, 18, 1, 1, 0, 0x14, 1, 0, 0, 0, 0, 0, 0, 0x14, 0xAA, 0, 0, 0, 3, 0xE8}));
  // 1150 frames are 15 seconds and 25.
  EXPECT_EQ(Ask({0x43, 2, 0, 0, 0, 0, 0xAA, 0, 255}),
            (Bytes{0, 10, 1, 1, 0, 0x14, 0xAA, 0, 0, 0, 15, 25}));
  EXPECT_EQ(Ask({0x43, 0, 0, 0, 0, 0, 0, 0, 255, 0x40}).size(), 12u) << "the old form of format 1";
  EXPECT_EQ(Ask({0x43, 0, 2, 0, 0, 0, 0, 0, 255}).size(), 48u);
  EXPECT_EQ(Refused({0x43, 0, 0, 0, 0, 0, 2, 0, 255}), "5 24 00");
  EXPECT_EQ(Refused({0x43, 0, 5, 0, 0, 0, 0, 0, 255}), "5 24 00");
}

TEST_F(Atapi, ModePagesAndFeatures) {
  const Bytes page = Ask({0x5A, 0, 0x2A, 0, 0, 0, 0, 0, 255});
  EXPECT_EQ(page.size(), 8u + 22);
  EXPECT_EQ(page[1], page.size() - 2);
  EXPECT_EQ(page[2], 0x01);
  EXPECT_EQ(Ask({0x5A, 0, 0x3F, 0, 0, 0, 0, 0, 255}).size(), 8u + 8 + 16 + 22);
  EXPECT_EQ(Refused({0x5A, 0, 0x08, 0, 0, 0, 0, 0, 255}), "5 24 00");
  EXPECT_EQ(Refused({0x5A, 0, 0xEA, 0, 0, 0, 0, 0, 255}), "5 39 00");
  const Bytes all = Ask({0x46, 0, 0, 0, 0, 0, 0, 1, 0});
  EXPECT_EQ(LoadBe<uint32_t>(&all[0]), all.size() - 4);
  EXPECT_EQ(LoadBe<uint16_t>(&all[6]), 0x0008) << "a CD";
  for (size_t at = 8; at < all.size(); at += 4 + all[at + 3]) EXPECT_EQ(all[at + 3] % 4, 0);
  const Bytes one = Ask({0x46, 2, 0, 0x1E, 0, 0, 0, 1, 0});
  EXPECT_EQ(one, (Bytes{0, 0, 0, 12, 0, 0, 0, 8, 0, 0x1E, 9, 4, 0, 0, 0, 0}));
  EXPECT_EQ(Refused({0xAD, 0, 0, 0, 0, 0, 0, 0, 8, 4}), "5 30 02") << "no DVD";
  EXPECT_EQ(Ask({0x51, 0, 0, 0, 0, 0, 0, 0, 255}).size(), 34u);
  EXPECT_EQ(Ask({0xBD, 0, 0, 0, 0, 0, 0, 0, 0, 8}).size(), 8u);
}

TEST_F(Atapi, DmaReadAndReply) {
  Send({0x28, 0, 0, 0, 0, 3, 0, 0, 16}, 0, /*dma=*/true);
  EXPECT_EQ(AltStatus(), kWants);
  irq_.TakeEdges();
  StartBusMaster(16 * 2048);
  EXPECT_EQ(irq_.TakeEdges(), 1u);
  EXPECT_EQ(In(7), kIdle);
  EXPECT_EQ(In(2), 3);
  EXPECT_EQ(Bm(2), 4);
  EXPECT_EQ(Guest(16 * 2048), Medium(3, 16));
  SetBm(0, 0);
  // A reply that is shorter than the host's table.
  memory_->Fill(Gpa(kData), 0xEE, 64);
  Send({0x12, 0, 0, 0, 36}, 0, true);
  StartBusMaster(64);
  EXPECT_EQ(Bm(2), 5);
  EXPECT_EQ(Guest(40)[8], 'A');
  EXPECT_EQ(Guest(40)[36], 0xEE);
  SetBm(0, 0);
  // A table that is shorter than the data, and none.
  Send({0x28, 0, 0, 0, 0, 3, 0, 0, 16}, 0, true);
  StartBusMaster(2048);
  EXPECT_EQ(Bm(2), 6);
  EXPECT_EQ(Sense(), "B 4B 00");
  SetBm(0, 0);
  // Sectors with all their bytes.
  Send({0xBE, 0, 0, 0, 0, 3, 0, 0, 2, 0xF8}, 0, true);
  StartBusMaster(2 * 2352);
  const Bytes raw = Guest(2 * 2352);
  EXPECT_EQ(Bytes(raw.begin() + 16, raw.begin() + 16 + 2048), Medium(3, 1));
}

TEST_F(Atapi, MediumErrors) {
  medium_->FailWith(absl::DataLossError("cd.iso: no"));
  EXPECT_EQ(Refused({0x28, 0, 0, 0, 0, 0, 0, 0, 1}), "3 11 00");
  Send({0x28, 0, 0, 0, 0, 0, 0, 0, 1}, 0, true);
  StartBusMaster(2048);
  EXPECT_EQ(Sense(), "3 11 00");
  EXPECT_EQ(errors_.size(), 2u);
}

TEST_F(Atapi, TheTray) {
  std::vector<bool> moves;
  cd_->SetTrayHandler([&](bool open) { moves.push_back(open); });
  Ask({0x1E, 0, 0, 0, 1});
  EXPECT_EQ(Refused({0x1B, 0, 0, 0, 2}), "5 53 02") << "locked by the guest itself";
  Ask({0x1E, 0, 0, 0, 0});
  Ask({0x1B, 0, 0, 0, 2});
  EXPECT_TRUE(cd_->tray_open());
  EXPECT_EQ(Refused({0x00}), "2 3A 02");
  EXPECT_EQ(Refused({0x28, 0, 0, 0, 0, 0, 0, 0, 1}), "2 3A 02");
  EXPECT_EQ(Ask({0x4A, 1, 0, 0, 0x10, 0, 0, 0, 8})[5], 1) << "open, and so no medium";
  EXPECT_EQ(Ask({0xBD, 0, 0, 0, 0, 0, 0, 0, 0, 8})[1], 0x10);
  Ask({0x1B, 0, 0, 0, 3});
  EXPECT_EQ(moves, (std::vector<bool>{true, false}));
  Send({0x00});
  EXPECT_EQ(In(7), kIdle);
  EXPECT_EQ(Ask({0x28, 0, 0, 0, 0, 0, 0, 0, 1}), Medium(0, 1));
}

TEST_F(Atapi, AChangeFromOutside) {
  const std::initializer_list<int> event = {0x4A, 1, 0, 0, 0x10, 0, 0, 0, 8};
  EXPECT_EQ(Ask(event), (Bytes{0, 6, 4, 0x10, 0, 2, 0, 0}));
  EXPECT_EQ(Ask({0x4A, 1, 0, 0, 0x40, 0, 0, 0, 8}), (Bytes{0, 2, 0x80, 0x10}));
  EXPECT_EQ(Refused({0x4A, 0, 0, 0, 0x10, 0, 0, 0, 8}), "5 24 00");
  cd_->RequestEject();
  EXPECT_EQ(Ask(event)[4], 1);
  EXPECT_EQ(Ask(event)[4], 0) << "told once";
  cd_->OpenTray();
  cd_->Remove();
  EXPECT_EQ(Ask(event), (Bytes{0, 6, 4, 0x10, 3, 1, 0, 0}));
  EXPECT_EQ(LoadBe<uint16_t>(&Ask({0x46, 0, 0, 0, 0, 0, 0, 0, 8})[6]), 0) << "no profile";
  EXPECT_EQ(Refused({0x25}), "2 3A 02");
  cd_->CloseTray();
  EXPECT_EQ(Refused({0x25}), "2 3A 01");
  cd_->OpenTray();
  const std::shared_ptr<block::MemoryDisk> second = NewMedium(10 * 2048, 5);
  cd_->Insert(second);
  cd_->CloseTray();
  EXPECT_EQ(Ask(event), (Bytes{0, 6, 4, 0x10, 2, 2, 0, 0}));
  EXPECT_EQ(Refused({0x25}), "6 28 00");
  EXPECT_EQ(Ask({0x25})[3], 9);
  EXPECT_EQ(Ask({0x28, 0, 0, 0, 0, 0, 0, 0, 10}), second->bytes());
}

TEST_F(Atapi, MediumThatGoesInTheMiddleOfATransfer) {
  Send({0x28, 0, 0, 0, 3, 0, 0, 0, 10}, 2048);
  EXPECT_EQ(Take(2048), Medium(0x300, 1));
  cd_->OpenTray();
  cd_->Remove();
  cd_->Insert(NewMedium(16 * 2048, 1));  // shorter: the rest is not there
  cd_->CloseTray();
  // The second block was read ahead, before the change.
  EXPECT_EQ(Take(2048), Medium(0x301, 1));
  EXPECT_EQ(Sense(), "2 3A 00");
}

TEST_F(Atapi, ADvd) {
  // Sparse: what a DVD has and a CD has not.
  class Long final : public block::Disk {
   public:
    uint64_t size() const override { return 4'700'000'000 / 2048 * 2048; }
    bool read_only() const override { return true; }
    std::string name() const override { return "dvd.iso"; }
    absl::Status Read(uint64_t offset, std::span<uint8_t> to) override {
      std::fill(to.begin(), to.end(), static_cast<uint8_t>(offset >> 24));
      return absl::OkStatus();
    }
    absl::Status Write(uint64_t, std::span<const uint8_t>) override { return {}; }
    absl::Status Flush() override { return {}; }
    absl::Status WriteZeroes(uint64_t, uint64_t, bool) override { return {}; }
    absl::Status Discard(uint64_t, uint64_t) override { return {}; }
  };
  cd_->Load(std::make_shared<Long>());
  EXPECT_EQ(LoadBe<uint16_t>(&Ask({0x46, 0, 0, 0, 0, 0, 0, 0, 8})[6]), 0x0010);
  EXPECT_EQ(Ask({0xAD, 0, 0, 0, 0, 0, 0, 0, 8, 4}).size(), 2052u);
  EXPECT_EQ(Ask({0x28, 0, 0, 0x22, 0, 0, 0, 0, 1})[0], 0x22 * 0x10000ull * 2048 >> 24 & 0xFF);
  Ask({0x43, 2, 0, 0, 0, 0, 0, 0, 255});
}

// The named danger: a packet's lengths that lead past the drive's buffer.
TEST_F(Atapi, Cve2015_5154_HostileLengths) {
  for (int opcode = 0; opcode < 256; ++opcode) {
    for (unsigned limit : {0u, 1u, 2u, 3u, 511u, 0xFFFFu}) {
      for (int fill : {0x00, 0x7F, 0x80, 0xFF}) {
        Send({opcode, fill, fill, fill, fill, fill, fill, fill, fill, fill, fill, fill}, limit);
        for (int i = 0; i < 3000; ++i) ide_->Read(kLegacyPorts[2].region, 0, 4);
        for (int i = 0; i < 100; ++i) ide_->Write(kLegacyPorts[2].region, 0, 4, 0xFFFFFFFF);
        cd_->CloseTray();
      }
    }
  }
  EXPECT_EQ(disk_.writes(), 0u);
}

TEST_F(Atapi, ResetsWithDmaInFlight) {
  for (int how = 0; how < 4; ++how) {
    work::WorkerPool pool(1);
    dev::DeviceLock lock;
    auto background = pool.NewBackground(&lock);
    lock.Run([&] {
      Make(background.get());
      cd_->Load(medium_);
      Send({0x00});
      memory_->Fill(Gpa(kData), 0, 2048);
    });
    medium_->Hold(true);
    lock.Run([&] {
      Send({0x28, 0, 0, 0, 0, 3, 0, 0, 1}, 0, true);
      StartBusMaster(2048);
      EXPECT_EQ(AltStatus(), kBusy);
    });
    medium_->AwaitWaiting(1);
    std::thread releaser([&] { medium_->Hold(false); });
    lock.Run([&] {
      if (how == 0) Control(4);
      if (how == 1) ide_->Reset();
      if (how == 2) SetBm(0, 0);
      if (how == 3) Out(7, 0x08);
      memory_->Fill(Gpa(kData), 0xEE, 2048);
      irq_.TakeEdges();
    });
    releaser.join();
    pool.WaitIdle();
    lock.Run([&] {
      EXPECT_EQ(Guest(2048), Bytes(2048, 0xEE)) << how;
      EXPECT_EQ(irq_.TakeEdges(), 0u);
      ide_.reset();
    });
    pool.WaitIdle();
  }
}

TEST_F(Atapi, StateRoundTrip) {
  Send({0x28, 0, 0, 0, 0, 7, 0, 0, 9}, 5000);
  Bytes got = Take(1000);
  pci::FakeWiring wiring;
  CdDrive other_cd;
  other_cd.Load(medium_);
  std::unique_ptr<pci::PciDevice> other = New(&wiring, other_cd, &inline_);
  dev::ExpectRoundTrip(*ide_, *other);
  std::swap(ide_, other);
  const unsigned offered = Limit();
  const Bytes first = Take(offered - 1000);
  got.insert(got.end(), first.begin(), first.end());
  const Bytes rest = Data();
  got.insert(got.end(), rest.begin(), rest.end());
  EXPECT_EQ(got, Medium(7, 9));
  // In the middle of a packet, and waiting for the bus master with a reply.
  Out(1, 1);
  Out(7, 0xA0);
  for (int v : {0x0012, 0, 36}) ide_->Write(kLegacyPorts[2].region, 0, 2, v);
  dev::ExpectRoundTrip(*ide_, *other);
  std::swap(ide_, other);
  for (int i = 0; i < 3; ++i) ide_->Write(kLegacyPorts[2].region, 0, 2, 0);
  EXPECT_EQ(AltStatus(), kWants);
  dev::ExpectRoundTrip(*ide_, *other);
  std::swap(ide_, other);
  ide_->WriteConfig(pci::kCommand, 2, 5);
  StartBusMaster(36);
  EXPECT_EQ(Guest(36)[8], 'A');
  ide_.reset();
  other.reset();
}

}  // namespace
}  // namespace atl::ide
