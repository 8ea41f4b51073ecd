// SPDX-License-Identifier: Apache-2.0
#include "lib/dev/fw_cfg.h"

#include <memory>
#include <numeric>
#include <string>

#include "gtest/gtest.h"
#include "lib/base/endian.h"
#include "lib/base/status_matchers.h"
#include "lib/dev/testing/round_trip.h"

namespace atl::dev {
namespace {

constexpr uint32_t kError = 1, kRead = 2, kSkip = 4, kSelect = 8, kWrite = 16;

class FwCfgTest : public testing::Test {
 protected:
  FwCfgTest() : memory_(GuestMemory::Create(1 << 20).value()), fw_(*memory_) {}

  void Select(uint16_t key) { fw_.Write(FwCfg::kPorts, 0, 2, key); }
  uint8_t Byte() { return static_cast<uint8_t>(fw_.Read(FwCfg::kPorts, 1, 1)); }
  std::string Text(size_t n) {
    std::string s;
    while (s.size() < n) s += static_cast<char>(Byte());
    return s;
  }
  uint32_t Be32() {
    std::string s = Text(4);
    return LoadBe<uint32_t>(s.data());
  }
  // Gives the control field as the device left it.
  uint32_t Dma(uint32_t control, uint32_t length, uint64_t address, uint64_t at = 0x1000) {
    memory_->Store(Gpa(at), be32(control));
    memory_->Store(Gpa(at + 4), be32(length));
    memory_->Store(Gpa(at + 8), be64(address));
    fw_.Write(FwCfg::kDma, 0, 4, ByteSwap(static_cast<uint32_t>(at >> 32)));
    fw_.Write(FwCfg::kDma, 4, 4, ByteSwap(static_cast<uint32_t>(at)));
    return memory_->Load<be32>(Gpa(at)).value_or(be32(0xDEAD));
  }

  std::unique_ptr<GuestMemory> memory_;
  FwCfg fw_;
};

TEST_F(FwCfgTest, SignatureInterfaceAndNothing) {
  Select(FwCfg::kSignature);
  EXPECT_EQ(Text(6), std::string("QEMU\0\0", 6));
  Select(FwCfg::kInterface);
  EXPECT_EQ(Text(4), std::string("\3\0\0\0", 4));
  Select(0x7777);
  EXPECT_EQ(Byte(), 0);
  EXPECT_EQ(fw_.Read(FwCfg::kDma, 0, 4), 0x554D4551u);  // "QEMU" in memory order
  EXPECT_EQ(fw_.Read(FwCfg::kDma, 4, 4), 0x47464320u);
}

TEST_F(FwCfgTest, Directory) {
  EXPECT_OK(fw_.AddFile("etc/system-states", {1, 2, 3}));
  EXPECT_OK(fw_.AddFile("bootorder", {9}));
  EXPECT_OK(fw_.AddFile("etc/system-states", {4, 5}));  // replaces
  Select(FwCfg::kFileDirectory);
  EXPECT_EQ(Be32(), 2u);
  EXPECT_EQ(Be32(), 1u);
  Text(4);
  EXPECT_EQ(Text(56), std::string("bootorder") + std::string(47, '\0'));
  EXPECT_EQ(Be32(), 2u);
  const uint16_t key = static_cast<uint16_t>(Be32() >> 16);
  EXPECT_EQ(key, 0x20);
  Select(key);
  EXPECT_EQ(Text(3), std::string("\4\5\0", 3));
  EXPECT_THAT(fw_.AddFile(std::string(56, 'x'), {}),
              StatusIs(absl::StatusCode::kInvalidArgument, "56 characters"));
  for (unsigned i = 2; i < FwCfg::kMaxFiles; ++i)
    EXPECT_OK(fw_.AddFile("f" + std::to_string(i), {}));
  EXPECT_THAT(fw_.AddFile("more", {}), StatusIs(absl::StatusCode::kResourceExhausted, "more"));
}

TEST_F(FwCfgTest, DmaReadsSkipsAndZeroFills) {
  std::vector<uint8_t> bytes(100);
  std::iota(bytes.begin(), bytes.end(), 1);
  fw_.AddView(0x55, bytes);
  memory_->Fill(Gpa(0x2000), 0xEE, 200);
  EXPECT_EQ(Dma(0x55u << 16 | kSelect | kRead, 10, 0x2000), 0u);
  EXPECT_EQ(memory_->Load<uint8_t>(Gpa(0x2009)), 10);
  EXPECT_EQ(memory_->Load<uint8_t>(Gpa(0x200A)), 0xEE);
  EXPECT_EQ(Dma(kSkip, 80, 0), 0u);
  EXPECT_EQ(Dma(kRead, 50, 0x2000), 0u);
  EXPECT_EQ(memory_->Load<uint8_t>(Gpa(0x2000)), 91);
  EXPECT_EQ(memory_->Load<uint8_t>(Gpa(0x200A)), 0);
  EXPECT_EQ(memory_->Load<uint8_t>(Gpa(0x2031)), 0);
  EXPECT_EQ(memory_->Load<uint8_t>(Gpa(0x2032)), 0xEE);
}

// fw_cfg DMA to anywhere: targets, lengths and the request itself outside of
// memory, on its edge, or wrapping round.
TEST_F(FwCfgTest, DmaToAnywhere) {
  fw_.Add(0x55, std::vector<uint8_t>(4096, 0x55));
  const uint64_t end = memory_->ram_bytes();
  const uint32_t select_read = 0x55u << 16 | kSelect | kRead;
  EXPECT_EQ(Dma(select_read, 4096, end - 4095), kError);
  EXPECT_EQ(Dma(select_read, 4096, end - 4096), 0u);
  EXPECT_EQ(Dma(select_read, 4096, ~uint64_t{0}), kError);
  EXPECT_EQ(Dma(select_read, 4096, 0xFEE00000), kError);
  EXPECT_EQ(Dma(select_read, 0xFFFFFFFF, 0x2000), kError);
  EXPECT_EQ(Dma(select_read, 0, 0), 0u);
  EXPECT_EQ(Dma(0x55u << 16 | kSelect | kWrite, 8, 0x2000), kError);
  Dma(select_read, 16, 0x3000, end - 8);
  Dma(select_read, 16, 0x3000, ~uint64_t{7});
  EXPECT_EQ(memory_->Load<uint8_t>(Gpa(0x3000)), 0);
  // The request overwritten by its own data.
  EXPECT_EQ(Dma(select_read, 64, 0x1000), 0u);
}

TEST_F(FwCfgTest, StateRoundTrip) {
  fw_.Add(0x55, {1, 2, 3});
  Select(0x55);
  Byte();
  FwCfg other(*memory_);
  other.Add(0x55, {1, 2, 3});
  ExpectRoundTrip(fw_, other);
  EXPECT_EQ(other.Read(FwCfg::kPorts, 1, 1), 2u);
}

}  // namespace
}  // namespace atl::dev
