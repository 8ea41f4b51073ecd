// SPDX-License-Identifier: Apache-2.0
#include "lib/dev/uart.h"

#include <deque>
#include <string>

#include "gtest/gtest.h"
#include "lib/dev/testing/fake_stream.h"
#include "lib/dev/testing/fakes.h"
#include "lib/dev/testing/round_trip.h"

namespace atl::dev {
namespace {

enum : uint64_t { kData, kIer, kIir, kLcr, kMcr, kLsr, kMsr, kScratch };

class UartTest : public testing::Test {
 protected:
  uint8_t In(uint64_t offset) { return static_cast<uint8_t>(uart_.Read(0, offset, 1)); }
  void Out(uint64_t offset, uint8_t value) { uart_.Write(0, offset, 1, value); }
  void Type(const std::string& text) {
    stream_.input += text;
    uart_.InputReady();
  }

  FakeIrqLine irq_;
  FakeStream stream_;
  Uart uart_{irq_, stream_};
};

TEST_F(UartTest, SendsAtOnce) {
  EXPECT_EQ(In(kLsr), 0x60);
  for (char c : std::string("ok")) Out(kData, static_cast<uint8_t>(c));
  EXPECT_EQ(stream_.output, "ok");
  EXPECT_FALSE(irq_.level());
}

// What Linux' 8250 driver looks at: the interrupt comes again when it is
// enabled again.
TEST_F(UartTest, TransmitterInterrupt) {
  Out(kIer, 0x02);
  EXPECT_TRUE(irq_.level());
  EXPECT_EQ(In(kIir), 0x02);
  EXPECT_FALSE(irq_.level());
  EXPECT_EQ(In(kIir), 0x01);
  Out(kIer, 0);
  Out(kIer, 0x02);
  EXPECT_EQ(In(kIir), 0x02);
  Out(kData, 'x');
  EXPECT_TRUE(irq_.level());
  Out(kIer, 0);
  EXPECT_FALSE(irq_.level());
}

TEST_F(UartTest, DivisorLatchHidesDataAndIer) {
  Out(kIer, 0x05);
  Out(kLcr, 0x83);
  Out(kData, 0x34);
  Out(kIer, 0x12);
  EXPECT_EQ(In(kData), 0x34);
  EXPECT_EQ(In(kIer), 0x12);
  Out(kLcr, 0x03);
  EXPECT_EQ(In(kIer), 0x05);
  EXPECT_EQ(stream_.output, "");
  Out(kScratch, 0xA5);
  EXPECT_EQ(In(kScratch), 0xA5);
}

TEST_F(UartTest, ReceivesWithoutFifo) {
  Out(kIer, 0x01);
  EXPECT_EQ(In(kIir), 0x01);
  Type("ab");
  EXPECT_EQ(stream_.input, "b");  // waits outside
  EXPECT_TRUE(irq_.level());
  EXPECT_EQ(In(kIir), 0x04);
  EXPECT_EQ(In(kLsr), 0x61);
  EXPECT_EQ(In(kData), 'a');
  EXPECT_EQ(In(kData), 'b');
  EXPECT_FALSE(irq_.level());
  EXPECT_EQ(In(kLsr), 0x60);
}

TEST_F(UartTest, FifoTriggerTimeoutAndNoOverrun) {
  Out(kIer, 0x01);
  Out(kIir, 0xC1);  // 14 bytes
  EXPECT_EQ(In(kIir), 0xC1);
  Type("abc");
  EXPECT_EQ(In(kIir), 0xCC);
  Type("defghijklmnopqrstuvwxyz");
  EXPECT_EQ(In(kIir), 0xC4);
  EXPECT_EQ(stream_.input, "qrstuvwxyz");
  std::string got;
  while (In(kLsr) & 1) got += static_cast<char>(In(kData));
  EXPECT_EQ(got, "abcdefghijklmnopqrstuvwxyz");
  Type("x");
  Out(kIir, 0x03);  // clears the receiver
  EXPECT_EQ(In(kLsr), 0x60);
  EXPECT_EQ(In(kData), 0);
}

TEST_F(UartTest, Loopback) {
  In(kMsr);
  EXPECT_EQ(In(kMsr), 0xB0);
  Out(kMcr, 0x1A);  // RTS, OUT2
  EXPECT_EQ(In(kMsr) & 0xF0, 0x90);
  Out(kData, 'x');
  Out(kData, 'y');  // no room: overrun
  EXPECT_EQ(stream_.output, "");
  EXPECT_EQ(In(kLsr), 0x63);
  EXPECT_EQ(In(kData), 'x');
  In(kMsr);
  Out(kIer, 0x08);
  Out(kMcr, 0x10);
  EXPECT_EQ(In(kIir), 0x00);
  EXPECT_EQ(In(kMsr), 0x09);  // CTS and DCD changed
  EXPECT_EQ(In(kIir), 0x01);
}

TEST_F(UartTest, Break) {
  Out(kIer, 0x05);
  uart_.InputBreak();
  EXPECT_EQ(In(kIir), 0x06);
  EXPECT_EQ(In(kLsr), 0x71);
  EXPECT_EQ(In(kIir), 0x04);
  EXPECT_EQ(In(kData), 0);
}

TEST_F(UartTest, StateRoundTrip) {
  Out(kIer, 0x0F);
  Out(kIir, 0x81);
  Type("hello");
  In(kData);
  FakeIrqLine irq;
  FakeStream stream;
  Uart other(irq, stream);
  ExpectRoundTrip(uart_, other);
  EXPECT_TRUE(irq.level());
  EXPECT_EQ(other.Read(0, kData, 1), 'e');
}

}  // namespace
}  // namespace atl::dev
