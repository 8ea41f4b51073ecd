// SPDX-License-Identifier: Apache-2.0
// The network device through its PCI transport, driven as a guest drives it and
// as one would that wants to break out.
#include "lib/virtio/net.h"

#include <memory>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "lib/base/endian.h"
#include "lib/base/status_matchers.h"
#include "lib/dev/testing/fakes.h"
#include "lib/dev/testing/round_trip.h"
#include "lib/mem/guest_memory.h"
#include "lib/net/testing/fake_port.h"
#include "lib/net/vnet_header.h"
#include "lib/pci/testing/fakes.h"
#include "lib/virtio/pci.h"
#include "lib/virtio/testing/driver.h"
#include "lib/work/background.h"

namespace atl::virtio {
namespace {

constexpr uint64_t kMemory = 8 << 20;
constexpr uint64_t kReceiveRing = 0x100000;
constexpr uint64_t kSendRing = 0x120000;
constexpr uint64_t kControlRing = 0x140000;
constexpr uint64_t kHeader = 0x1000;
constexpr uint64_t kData = 0x200000;
constexpr uint64_t kAnswer = 0x3000;
constexpr uint64_t kBuffers = 0x400000;
constexpr uint64_t kNoEvents = ~(uint64_t{1} << 29);
constexpr uint64_t kMerge = 1 << 15;
constexpr net::MacAddress kMac = {0x52, 0x54, 0, 1, 2, 3};

std::vector<uint8_t> FrameTo(net::MacAddress to, size_t size = 64) {
  std::vector<uint8_t> out(size);
  for (size_t i = 0; i < size; ++i) out[i] = static_cast<uint8_t>(i * 3);
  std::copy(to.begin(), to.end(), out.begin());
  return out;
}
constexpr net::MacAddress kBroadcast = {0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF};

// Work that waits until the test lets it go.
class HeldBackground : public work::Background {
 public:
  void Post(std::function<void()> work, std::function<void()> done) override {
    if (work) work();
    if (done) waiting.push_back(std::move(done));
  }
  void Cancel() override { waiting.clear(); }
  void RunAll() {
    while (!waiting.empty()) {
      auto done = std::move(waiting.front());
      waiting.erase(waiting.begin());
      done();
    }
  }
  std::vector<std::function<void()>> waiting;
};

class Net : public testing::TestWithParam<Driver::Mode> {
 protected:
  void SetUp() override {
    ASSERT_OK_AND_ASSIGN(memory_, GuestMemory::Create(kMemory));
    Make();
  }
  std::unique_ptr<pci::PciDevice> NewFunction(net::Port* port, unsigned slot) {
    PciTransportOptions transport;
    transport.on_fail = [this](const absl::Status& s) { failures_.push_back(s.ToString()); };
    return NewVirtioPci(
        wiring_.At(slot), memory_.get(),
        NewNet(memory_.get(), port, &background_, {.mac = kMac, .mtu = 1400, .clock = clock_}),
        transport);
  }
  void Make() {
    function_.reset();
    function_ = NewFunction(&port_, 4);
    function_->Reset();
    driver_ = std::make_unique<Driver>(function_.get(), memory_.get(), GetParam());
  }
  void Start(uint64_t features = kNoEvents) {
    ASSERT_TRUE(driver_->Negotiate(features));
    receive_ = driver_->SetUpQueue(0, kReceiveRing);
    send_ = driver_->SetUpQueue(1, kSendRing);
    control_ = driver_->SetUpQueue(2, kControlRing);
    driver_->Start();
    header_ = GetParam() == Driver::kModern || (features & kMerge) != 0 ? 12 : 10;
  }
  // Lays a header and a frame into memory, at kHeader and kData.
  void LayFrame(const std::vector<uint8_t>& frame, const net::VnetHeader& header = {}) {
    memory_->Store(Gpa(kHeader), header);
    ASSERT_TRUE(memory_->Write(Gpa(kData), frame));
  }
  void SendFrame(const std::vector<uint8_t>& frame, const net::VnetHeader& header = {},
                 uint16_t at = 0) {
    LayFrame(frame, header);
    const std::vector<Segment> segments = {{kHeader, header_},
                                           {kData, static_cast<uint32_t>(frame.size())}};
    send_.Add(segments, at);
    driver_->Kick(1);
  }
  void AddBuffers(unsigned count, uint32_t size, uint16_t first = 0) {
    for (unsigned i = 0; i < count; ++i) {
      const std::vector<Segment> segments = {{kBuffers + (first + i) * 0x2000u, size, true}};
      receive_.Add(segments, static_cast<uint16_t>(first + i));
    }
    driver_->Kick(0);
  }
  std::vector<uint8_t> Guest(uint64_t at, uint64_t n) {
    std::vector<uint8_t> out(n);
    EXPECT_TRUE(memory_->Read(Gpa(at), out));
    return out;
  }
  uint8_t Control(const std::vector<uint8_t>& request) {
    EXPECT_TRUE(memory_->Write(Gpa(kData), request));
    memory_->Store<uint8_t>(Gpa(kAnswer), 0xEE);
    const std::vector<Segment> segments = {{kData, static_cast<uint32_t>(request.size())},
                                           {kAnswer, 1, true}};
    control_.Add(segments);
    driver_->Kick(2);
    EXPECT_TRUE(control_.TakeUsed().has_value());
    return *memory_->Load<uint8_t>(Gpa(kAnswer));
  }
  bool Gets(const net::MacAddress& to) {
    AddBuffers(1, 2048);
    EXPECT_TRUE(port_.Deliver(FrameTo(to)));
    const bool got = receive_.TakeUsed().has_value();
    // The buffer that was not used stays: the next frame takes it away.
    if (!got) {
      EXPECT_EQ(Control({0, 0, 1}), 0);
      EXPECT_TRUE(port_.Deliver(FrameTo(to)));
      EXPECT_TRUE(receive_.TakeUsed().has_value());
      EXPECT_EQ(Control({0, 0, 0}), 0);
    }
    return got;
  }

  std::unique_ptr<GuestMemory> memory_;
  net::FakePort port_;
  dev::ManualClock manual_;
  dev::Clock* clock_ = nullptr;
  HeldBackground background_;
  pci::FakeWiring wiring_;
  std::unique_ptr<pci::PciDevice> function_;
  std::unique_ptr<Driver> driver_;
  DriverQueue receive_, send_, control_;
  uint32_t header_ = 12;
  std::vector<std::string> failures_;
};

INSTANTIATE_TEST_SUITE_P(Drivers, Net, testing::Values(Driver::kModern, Driver::kLegacy),
                         [](const auto& i) {
                           return i.param == Driver::kModern ? "Modern" : "Legacy";
                         });

TEST_P(Net, IdentifiesItself) {
  EXPECT_EQ(function_->ReadConfig(0, 4), 0x10001AF4u);
  EXPECT_EQ(function_->ReadConfig(0x2E, 2), 1u);
  Start();
  for (unsigned i = 0; i < 6; ++i) EXPECT_EQ(driver_->ReadDeviceConfig(i, 1), kMac[i]);
  EXPECT_EQ(driver_->ReadDeviceConfig(6, 2), 1u) << "link";
  EXPECT_EQ(driver_->ReadDeviceConfig(10, 2), 1400u) << "MTU";
  EXPECT_EQ(driver_->ReadDeviceConfig(12, 4), 0u) << "past the end";
  EXPECT_EQ(driver_->ReadDeviceConfig(11, 4), 1400u >> 8) << "across the end";
}

TEST_P(Net, SendsFrames) {
  Start();
  SendFrame(FrameTo(kBroadcast, 60));
  ASSERT_EQ(port_.sent.size(), 1u);
  EXPECT_EQ(port_.sent[0].bytes, FrameTo(kBroadcast, 60));
  EXPECT_TRUE(port_.sent[0].work.plain());
  const std::optional<Used> used = send_.TakeUsed();
  ASSERT_TRUE(used.has_value());
  EXPECT_EQ(used->length, 0u);
  // Header and frame in one buffer, and a frame in pieces.
  const std::vector<uint8_t> frame = FrameTo(kBroadcast, 1514);
  ASSERT_TRUE(memory_->Write(Gpa(kData + header_), frame));
  memory_->Fill(Gpa(kData), 0, header_);
  send_.Add(std::vector<Segment>{
      {kData, 5}, {kData + 5, header_ + 100 - 5}, {kData + header_ + 100, 1414}});
  driver_->Kick(1);
  ASSERT_EQ(port_.sent.size(), 2u);
  EXPECT_EQ(port_.sent[1].bytes, frame);
  EXPECT_TRUE(failures_.empty());
}

TEST_P(Net, APortWithoutRoomLeavesTheFrameInTheRing) {
  Start();
  port_.room = 0;
  SendFrame(FrameTo(kBroadcast, 60));
  EXPECT_FALSE(send_.TakeUsed().has_value());
  port_.MakeRoom(5);
  ASSERT_EQ(port_.sent.size(), 1u);
  EXPECT_EQ(port_.sent[0].bytes, FrameTo(kBroadcast, 60));
  EXPECT_TRUE(send_.TakeUsed().has_value());
}

TEST_P(Net, ResetForgetsAFrameThatWaits) {
  Start();
  port_.room = 0;
  SendFrame(FrameTo(kBroadcast, 60));
  driver_->SetStatus(0);
  port_.MakeRoom(5);
  EXPECT_TRUE(port_.sent.empty());
  Start();
  SendFrame(FrameTo(kBroadcast, 61));
  ASSERT_EQ(port_.sent.size(), 1u);
  EXPECT_EQ(port_.sent[0].bytes.size(), 61u);
}

TEST_P(Net, OfWhatWasSentItIsToldWithTheAnswer) {
  clock_ = &manual_;
  Make();
  driver_->EnableMsix(3);
  Start(~uint64_t{0} & ~kMerge);
  for (uint16_t q = 0; q < 2; ++q) ASSERT_EQ(driver_->SetQueueVector(q, q), q);
  const auto sent_interrupts = [this] {
    unsigned n = 0;
    for (const auto& message : wiring_.msi.TakeSent()) n += message.second == 0x41;
    return n;
  };
  const auto look = [&] {
    while (send_.TakeUsed().has_value()) send_.SetUsedEvent(send_.used);
  };
  // Each frame is answered, and the driver looks at both queues in the answer's interrupt.
  unsigned told = 0;
  for (unsigned i = 0; i < 100; ++i) {
    SendFrame(FrameTo(kBroadcast, 60));
    told = sent_interrupts();
    EXPECT_EQ(told, i < 16 ? 1u : 0u) << i;
    AddBuffers(1, 2048);
    manual_.Advance(50'000);
    EXPECT_TRUE(port_.Deliver(FrameTo(kMac)));
    ASSERT_TRUE(receive_.TakeUsed().has_value());
    receive_.SetUsedEvent(receive_.used);
    look();
  }
  // None comes any more: told in time.
  SendFrame(FrameTo(kBroadcast, 60));
  EXPECT_TRUE(send_.TakeUsed().has_value()) << "what was sent can be seen at once";
  EXPECT_EQ(sent_interrupts(), 0u);
  manual_.Advance(200'000);
  EXPECT_EQ(sent_interrupts(), 1u);
  // What is large is not waited with, nor is a reset survived.
  send_.SetUsedEvent(send_.used);
  SendFrame(FrameTo(kBroadcast, 5000));
  EXPECT_EQ(sent_interrupts(), 1u);
  look();
  SendFrame(FrameTo(kBroadcast, 60));
  driver_->SetStatus(0);
  manual_.Advance(10'000'000);
  EXPECT_EQ(sent_interrupts(), 0u);
  EXPECT_TRUE(failures_.empty());
}

TEST_P(Net, ReceivesFrames) {
  Start(kNoEvents & ~kMerge);
  AddBuffers(2, 2048);
  const std::vector<uint8_t> frame = FrameTo(kMac, 100);
  EXPECT_TRUE(port_.Deliver(frame));
  const std::optional<Used> used = receive_.TakeUsed();
  ASSERT_TRUE(used.has_value());
  EXPECT_EQ(used->length, header_ + 100);
  EXPECT_EQ(Guest(kBuffers + header_, 100), frame);
  EXPECT_EQ(Guest(kBuffers, 10), std::vector<uint8_t>(10, 0));
  EXPECT_TRUE(header_ == 10 || Guest(kBuffers + 10, 2) == (std::vector<uint8_t>{1, 0}));
  EXPECT_TRUE(wiring_.intx.level);
}

TEST_P(Net, AFrameIsSpreadOverMergedBuffers) {
  Start(kNoEvents);
  AddBuffers(4, 500);
  const std::vector<uint8_t> frame = FrameTo(kMac, 1400);
  EXPECT_TRUE(port_.Deliver(frame));
  std::vector<uint8_t> got;
  for (uint32_t n : {500u, 500u, 412u}) {
    const std::optional<Used> used = receive_.TakeUsed();
    ASSERT_TRUE(used.has_value());
    EXPECT_EQ(used->length, n);
    const std::vector<uint8_t> part = Guest(kBuffers + used->id * 0x2000u, n);
    got.insert(got.end(), part.begin(), part.end());
  }
  EXPECT_FALSE(receive_.TakeUsed().has_value());
  EXPECT_EQ(got[10], 3) << "buffers";
  got.erase(got.begin(), got.begin() + 12);
  EXPECT_EQ(got, frame);
  // The last buffer takes 488 bytes, no more.
  EXPECT_FALSE(port_.Deliver(FrameTo(kMac, 489)));
  EXPECT_FALSE(receive_.TakeUsed().has_value()) << "all of a frame or nothing";
  EXPECT_TRUE(port_.Deliver(FrameTo(kMac, 488)));
  EXPECT_TRUE(receive_.TakeUsed().has_value());
}

TEST_P(Net, WithoutBuffersTheFrameWaitsOutside) {
  Start(kNoEvents);
  EXPECT_FALSE(port_.Deliver(FrameTo(kMac)));
  EXPECT_EQ(port_.ready_calls, 0u);
  AddBuffers(1, 2048);
  EXPECT_EQ(port_.ready_calls, 1u);
  EXPECT_TRUE(port_.Deliver(FrameTo(kMac)));
  EXPECT_TRUE(receive_.TakeUsed().has_value());
  // A reset is room, too: what comes then is dropped.
  EXPECT_FALSE(port_.Deliver(FrameTo(kMac)));
  driver_->SetStatus(0);
  EXPECT_EQ(port_.ready_calls, 2u);
  EXPECT_TRUE(port_.Deliver(FrameTo(kMac)));
}

TEST_P(Net, ADriverThatAddsAFewBuffersIsAskedToTellOfTheRest) {
  Start(~uint64_t{0});
  AddBuffers(1, 500);
  EXPECT_FALSE(port_.Deliver(FrameTo(kMac, 1400)));
  // With event indices: told of what comes after the one that is there.
  EXPECT_EQ(receive_.available_event(), 1u);
  AddBuffers(1, 500, 1);
  EXPECT_EQ(port_.ready_calls, 1u);
  EXPECT_FALSE(port_.Deliver(FrameTo(kMac, 1400)));
  EXPECT_EQ(receive_.available_event(), 2u);
  AddBuffers(1, 500, 2);
  EXPECT_TRUE(port_.Deliver(FrameTo(kMac, 1400)));
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(receive_.TakeUsed().has_value());
}

TEST_P(Net, NothingIsReceivedBeforeTheDriverIsReady) {
  ASSERT_TRUE(driver_->Negotiate(kNoEvents));
  receive_ = driver_->SetUpQueue(0, kReceiveRing);
  receive_.Add(std::vector<Segment>{{kBuffers, 2048, true}});
  EXPECT_TRUE(port_.Deliver(FrameTo(kMac)));
  EXPECT_FALSE(receive_.TakeUsed().has_value());
  driver_->Start();
  EXPECT_TRUE(port_.Deliver(FrameTo(kMac)));
  EXPECT_TRUE(receive_.TakeUsed().has_value());
}

TEST_P(Net, TooSmallABufferWithoutMergingLosesTheFrame) {
  Start(kNoEvents & ~kMerge);
  AddBuffers(1, 100);
  EXPECT_TRUE(port_.Deliver(FrameTo(kMac, 200)));
  EXPECT_FALSE(receive_.TakeUsed().has_value());
  EXPECT_TRUE(port_.Deliver(FrameTo(kMac, 88)));
  EXPECT_TRUE(receive_.TakeUsed().has_value());
  EXPECT_TRUE(failures_.empty());
}

TEST_P(Net, FiltersAsTheDriverSays) {
  Start(kNoEvents);
  const net::MacAddress other = {0x52, 0x54, 0, 9, 9, 9};
  const net::MacAddress group = {1, 0, 0x5E, 0, 0, 1};
  EXPECT_TRUE(Gets(other)) << "promiscuous until it is told otherwise";
  EXPECT_EQ(Control({0, 0, 0}), 0);
  EXPECT_FALSE(Gets(other));
  EXPECT_FALSE(Gets(group));
  EXPECT_TRUE(Gets(kMac));
  EXPECT_TRUE(Gets(kBroadcast));
  EXPECT_EQ(Control({0, 1, 1}), 0);
  EXPECT_TRUE(Gets(group));
  EXPECT_EQ(Control({0, 1, 0}), 0);
  std::vector<uint8_t> table = {1, 0, 1, 0, 0, 0};
  table.insert(table.end(), other.begin(), other.end());
  table.insert(table.end(), {1, 0, 0, 0});
  table.insert(table.end(), group.begin(), group.end());
  EXPECT_EQ(Control(table), 0);
  EXPECT_TRUE(Gets(other));
  EXPECT_TRUE(Gets(group));
  EXPECT_EQ(Control({1, 1, 2, 2, 2, 2, 2, 2}), 0);
  EXPECT_FALSE(Gets(kMac));
  EXPECT_TRUE(Gets({2, 2, 2, 2, 2, 2}));
  EXPECT_EQ(Control({0, 5, 1}), 0);
  EXPECT_FALSE(Gets(kBroadcast));
}

TEST_P(Net, HostileControlRequests) {
  Start(kNoEvents);
  EXPECT_EQ(Control({}), 1);
  EXPECT_EQ(Control({0}), 1);
  EXPECT_EQ(Control({0, 0}), 1);
  EXPECT_EQ(Control({0, 6, 1}), 1);
  EXPECT_EQ(Control({1, 1, 2, 2}), 1);
  EXPECT_EQ(Control({9, 0, 0}), 1);
  // The class of 2014-0150: a count whose product with 6 overflows, or that goes
  // past the request's end.
  EXPECT_EQ(Control({1, 0, 0xFF, 0xFF, 0xFF, 0xFF}), 1);
  EXPECT_EQ(Control({1, 0, 0xAB, 0xAA, 0xAA, 0x2A, 1, 2, 3, 4, 5, 6}), 1);
  EXPECT_EQ(Control({1, 0, 2, 0, 0, 0, 1, 2, 3, 4, 5, 6}), 1);
  EXPECT_EQ(Control({1, 0, 0, 0, 0, 0}), 1) << "one table of two";
  // More addresses than are kept: all come through.
  std::vector<uint8_t> table(6 + 600 * 6 + 4);
  table[0] = 1;
  StoreLe<uint32_t>(table.data() + 2, 600);
  EXPECT_EQ(Control({0, 0, 0}), 0);
  EXPECT_EQ(Control(table), 0);
  EXPECT_TRUE(Gets({0x52, 0x54, 0, 9, 9, 9}));
  std::vector<uint8_t> huge(5000);
  EXPECT_EQ(Control(huge), 1);
  EXPECT_TRUE(failures_.empty());
  // No place for the answer.
  control_.Add(std::vector<Segment>{{kData, 3}});
  driver_->Kick(2);
  EXPECT_EQ(failures_.size(), 1u);
}

TEST_P(Net, ChecksumsAndSegmentsAreOfferedWhereThePeerTakesThem) {
  constexpr uint64_t kOffloads = 1 << 0 | 1 << 1 | 1 << 7 | 1 << 8 | 1 << 11 | 1 << 12;
  EXPECT_EQ(driver_->OfferedFeatures() & kOffloads, 0u);
  port_.peer_offloads = {.checksum = true, .tcp4 = true, .tcp6 = true};
  Make();
  EXPECT_EQ(driver_->OfferedFeatures() & kOffloads, kOffloads);
  EXPECT_EQ(port_.accepts, net::Offloads{});
  Start(kNoEvents);
  EXPECT_TRUE(port_.accepts.checksum && port_.accepts.tcp4 && port_.accepts.tcp6);

  net::Work work;
  work.needs_checksum = true;
  work.checksum_start = 34;
  work.checksum_offset = 16;
  work.segmentation = net::Segmentation::kTcp4;
  work.segment_size = 1448;
  work.header_size = 54;
  const std::vector<uint8_t> large = FrameTo(kBroadcast, 60000);
  SendFrame(large, net::HeaderFor(work));
  ASSERT_EQ(port_.sent.size(), 1u);
  EXPECT_EQ(port_.sent[0].bytes, large);
  EXPECT_EQ(port_.sent[0].work.segment_size, 1448);

  AddBuffers(10, 0x2000);
  EXPECT_TRUE(port_.Deliver(large, work));
  ASSERT_TRUE(receive_.TakeUsed().has_value());
  const std::vector<uint8_t> got = Guest(kBuffers, 12);
  const net::VnetHeader expected = net::HeaderFor(work);
  EXPECT_EQ(memcmp(got.data(), &expected, 10), 0);
  EXPECT_EQ(got[10], 8) << "60012 bytes in buffers of 8192";
  driver_->SetStatus(0);
  EXPECT_EQ(port_.accepts, net::Offloads{}) << "the next driver may know nothing of it";
}

TEST_P(Net, HostileFrameHeaders) {
  port_.peer_offloads = {.checksum = true, .tcp4 = true};
  Make();
  Start(kNoEvents);
  net::Work work;
  work.needs_checksum = true;
  work.checksum_start = 0xFFFF;
  work.checksum_offset = 0xFFFF;
  SendFrame(FrameTo(kBroadcast), net::HeaderFor(work));
  work.checksum_start = 34;
  work.checksum_offset = 16;
  work.segmentation = net::Segmentation::kTcp4;
  work.segment_size = 0;
  SendFrame(FrameTo(kBroadcast), net::HeaderFor(work));
  net::VnetHeader unknown{};
  unknown.segmentation = 0x7F;
  SendFrame(FrameTo(kBroadcast), unknown);
  SendFrame(std::vector<uint8_t>(net::kMaxFrame + 1));
  SendFrame(std::vector<uint8_t>(13));
  SendFrame({});
  EXPECT_TRUE(port_.sent.empty());
  for (int i = 0; i < 6; ++i) EXPECT_TRUE(send_.TakeUsed().has_value()) << i;
  EXPECT_TRUE(failures_.empty()) << "frames are lost; the device works";
  SendFrame(FrameTo(kBroadcast));
  EXPECT_EQ(port_.sent.size(), 1u);
}

TEST_P(Net, OffloadsThatWereNotNegotiatedAreNotDone) {
  port_.peer_offloads = {.checksum = true, .tcp4 = true};
  Make();
  Start(kNoEvents & ~uint64_t{1});
  net::Work work;
  work.needs_checksum = true;
  work.checksum_start = 34;
  work.checksum_offset = 16;
  SendFrame(FrameTo(kBroadcast), net::HeaderFor(work));
  EXPECT_TRUE(port_.sent.empty());
}

TEST_P(Net, HostileSendChainsBreakTheDevice) {
  const std::vector<std::vector<Segment>> chains = {
      {{kHeader, 5}},                                            // less than a header
      {{kHeader, 12, true}},                                     // nothing to read
      {{kHeader, 12}, {kMemory - 10, 100}},                      // past the end of memory
      {{kHeader, 12}, {0xFFFFFFFFFFFFFF00, 100}},                // around the end
      {{kHeader, 12}, {kData, 0xFFFFFFFF}, {kData, 0xFFFFFFFF}}  // more than 4 GiB
  };
  unsigned broken = 0;
  for (const std::vector<Segment>& chain : chains) {
    Start(kNoEvents);
    send_.Add(chain);
    driver_->Kick(1);
    EXPECT_EQ(failures_.size(), ++broken);
    EXPECT_TRUE(driver_->status() & kStatusNeedsReset);
    driver_->Kick(1);
    EXPECT_TRUE(port_.Deliver(FrameTo(kMac))) << "a broken device drops";
  }
  // A chain that loops, and a huge one that is only thrown away.
  Start(kNoEvents);
  send_.SetDescriptor(0, kHeader, 12, 1, 1);
  send_.SetDescriptor(1, kData, 100, 1, 0);
  send_.MakeAvailable(0);
  driver_->Kick(1);
  EXPECT_EQ(failures_.size(), ++broken);
  Start(kNoEvents);
  send_.Add(std::vector<Segment>{{kHeader, 12}, {kData, 0xF0000000}});
  driver_->Kick(1);
  EXPECT_EQ(failures_.size(), broken);
  EXPECT_TRUE(send_.TakeUsed().has_value());
  EXPECT_TRUE(port_.sent.empty());
}

TEST_P(Net, HostileReceiveBuffersBreakTheDevice) {
  const std::vector<std::vector<Segment>> chains = {
      {{kBuffers, 4, true}},                                     // no place for a header
      {{kBuffers, 2048}},                                        // not writable
      {{kMemory - 6, 2048, true}},                               // past the end of memory
      {{kBuffers, 12, true}, {0xFFFFFFFFFFFFFF00, 2000, true}},  // around the end
  };
  unsigned broken = 0;
  for (const std::vector<Segment>& chain : chains) {
    Start(kNoEvents);
    receive_.Add(chain);
    EXPECT_TRUE(port_.Deliver(FrameTo(kMac)));
    EXPECT_EQ(failures_.size(), ++broken);
    EXPECT_FALSE(receive_.TakeUsed().has_value());
  }
  // The class of 2021-3748: of several buffers that a frame takes a later one is
  // broken. None is used, and none is kept.
  Start(kNoEvents);
  receive_.Add(std::vector<Segment>{{kBuffers, 100, true}}, 0);
  receive_.Add(std::vector<Segment>{{kMemory, 2048, true}}, 1);
  EXPECT_TRUE(port_.Deliver(FrameTo(kMac, 500)));
  EXPECT_EQ(failures_.size(), ++broken);
  EXPECT_FALSE(receive_.TakeUsed().has_value());
  Start(kNoEvents);
  AddBuffers(1, 2048);
  EXPECT_TRUE(port_.Deliver(FrameTo(kMac, 500)));
  EXPECT_TRUE(receive_.TakeUsed().has_value());
}

TEST_P(Net, ADriverThatNeverStopsSendingHasTurns) {
  Start(kNoEvents);
  LayFrame(FrameTo(kBroadcast));
  const std::vector<Segment> segments = {{kHeader, header_}, {kData, 64}};
  for (uint16_t i = 0; i < 128; ++i) send_.Add(segments, static_cast<uint16_t>(2 * i));
  driver_->Kick(1);
  EXPECT_EQ(port_.sent.size(), 128u);
  // A second vCPU that makes the same chains available again and again: what
  // goes on in one call has a bound.
  class Endless : public net::FakePort {
   public:
    bool Send(const net::Frame&) override {
      ++frames;
      refill();
      return true;
    }
    std::function<void()> refill;
    unsigned frames = 0;
  };
  Endless endless;
  auto function = NewFunction(&endless, 5);
  function->Reset();
  Driver driver(function.get(), memory_.get(), GetParam());
  ASSERT_TRUE(driver.Negotiate(kNoEvents));
  driver.SetUpQueue(0, kReceiveRing);
  DriverQueue send = driver.SetUpQueue(1, kSendRing);
  driver.Start();
  uint16_t next = 0;
  endless.refill = [&] {
    next = static_cast<uint16_t>((next + 2) % 256);
    send.Add(segments, next);
  };
  send.Add(segments, 0);
  driver.Kick(1);
  EXPECT_LT(endless.frames, 1000u);
  EXPECT_GT(endless.frames, 100u);
  const unsigned before = endless.frames;
  ASSERT_EQ(background_.waiting.size(), 1u);
  auto rest = std::move(background_.waiting[0]);
  background_.waiting.clear();
  rest();
  EXPECT_GT(endless.frames, before) << "the rest has its turn";
  driver.SetStatus(0);
  EXPECT_TRUE(background_.waiting.empty()) << "a reset ends it";
}

TEST_P(Net, StateGoesRound) {
  Start(kNoEvents);
  EXPECT_EQ(Control({0, 0, 0}), 0);
  EXPECT_EQ(Control({1, 0, 1, 0, 0, 0, 2, 2, 2, 2, 2, 2, 0, 0, 0, 0}), 0);
  net::FakePort port;
  auto other = NewFunction(&port, 4);
  other->Reset();
  dev::ExpectRoundTrip(*function_, *other);
}

TEST_P(Net, TheLinkGoesDownAndUp) {
  Start(kNoEvents);
  EXPECT_EQ(driver_->ReadDeviceConfig(6, 2), 1u);
  driver_->ReadIsr();
  port_.ChangeLink(false);
  EXPECT_EQ(driver_->ReadDeviceConfig(6, 2), 0u);
  EXPECT_EQ(driver_->ReadIsr() & 2, 2);
}

}  // namespace
}  // namespace atl::virtio
