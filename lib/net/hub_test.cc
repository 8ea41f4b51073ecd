// SPDX-License-Identifier: Apache-2.0
#include "lib/net/hub.h"

#include <gtest/gtest.h>

#include <atomic>
#include <deque>
#include <memory>
#include <thread>
#include <vector>

#include "lib/base/status_matchers.h"
#include "lib/dev/device_lock.h"

namespace atl::net {
namespace {

std::vector<uint8_t> FrameOf(unsigned number, size_t size = 64) {
  std::vector<uint8_t> bytes(size, 0);
  for (int i = 0; i < 4; ++i) bytes[i] = static_cast<uint8_t>(number >> (8 * i));
  return bytes;
}
unsigned NumberOf(std::span<const uint8_t> bytes) {
  unsigned n = 0;
  for (int i = 0; i < 4; ++i) n |= unsigned{bytes[i]} << (8 * i);
  return n;
}

// A card that keeps what it gets, and checks that it is called as port.h says.
class Card final : public Client {
 public:
  Card(Hub& hub, dev::DeviceLock& lock) : lock_(lock), port_(hub.AddCard(lock, "card")) {
    port_.Connect(this);
  }
  ~Card() override { port_.Connect(nullptr); }
  bool Receive(const Frame& frame) override {
    EXPECT_TRUE(lock_.HeldByThisThread());
    EXPECT_FALSE(sending_) << "entered from within Send()";
    if (room == 0) return false;
    --room;
    got.push_back(NumberOf(frame.bytes));
    return true;
  }
  void BurstEnd() override {
    EXPECT_TRUE(lock_.HeldByThisThread());
    bursts.push_back(got.size());
  }
  void SendReady() override {
    EXPECT_TRUE(lock_.HeldByThisThread());
    ++send_ready;
    SendAll();
  }
  void LinkChanged(bool up) override { links.push_back(up); }
  void OffloadsChanged() override { ++offload_changes; }
  bool Send(unsigned number, const Work& work = {}) {
    return lock_.Run([&] {
      sending_ = true;
      const std::vector<uint8_t> bytes = FrameOf(number);
      const bool taken = port_.Send({bytes, work});
      sending_ = false;
      return taken;
    });
  }
  // Sends next .. end - 1, as far as it is taken; goes on with SendReady().
  void SendAll() {
    while (next < end && Send(next)) ++next;
  }
  void MakeRoom(unsigned frames) {
    lock_.Run([&] {
      room = frames;
      port_.ReceiveReady();
    });
  }
  Port& port() { return port_; }

  std::atomic<unsigned> room = ~0u;
  std::vector<unsigned> got;
  std::vector<size_t> bursts;  // how much was there at each BurstEnd()
  std::vector<bool> links;
  unsigned send_ready = 0, offload_changes = 0;
  unsigned next = 0, end = 0;

 private:
  dev::DeviceLock& lock_;
  Port& port_;
  bool sending_ = false;
};

class FakeBackend final : public Backend {
 public:
  explicit FakeBackend(Threads threads) : threads_(threads) {}
  std::string description() const override { return "fake"; }
  Threads threads() const override { return threads_; }
  absl::Status Start(host::EventLoop& loop, Port& port,
                     std::function<void(absl::string_view)>) override {
    this->loop = &loop;
    this->port = &port;
    return absl::OkStatus();
  }
  bool Receive(const Frame& frame) override {
    EXPECT_TRUE(threads_ == Threads::kAny || loop->InLoop());
    MutexLock lock(&mu);
    if (room == 0) return false;
    --room;
    got.push_back(NumberOf(frame.bytes));
    return true;
  }
  void SendReady() override {
    EXPECT_TRUE(loop->InLoop());
    ++send_ready;
  }
  void OffloadsChanged() override { ++offload_changes; }
  size_t count() {
    MutexLock lock(&mu);
    return got.size();
  }

  host::EventLoop* loop = nullptr;
  Port* port = nullptr;
  Mutex mu;
  unsigned room = ~0u;
  std::vector<unsigned> got;
  unsigned send_ready = 0, offload_changes = 0;

 private:
  const Threads threads_;
};

class HubTest : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_OK_AND_ASSIGN(loop_, host::EventLoop::Create());
    hub_ = std::make_unique<Hub>(*loop_);
  }
  void TearDown() override {
    cards_.clear();
    hub_.reset();
  }
  FakeBackend& AddBackend(Threads threads) {
    auto backend = std::make_unique<FakeBackend>(threads);
    FakeBackend& out = *backend;
    hub_->AddBackend(std::move(backend));
    return out;
  }
  Card& AddCard() {
    locks_.push_back(std::make_unique<dev::DeviceLock>());
    cards_.push_back(std::make_unique<Card>(*hub_, *locks_.back()));
    return *cards_.back();
  }
  void Start() { ASSERT_OK(hub_->Start(nullptr)); }
  // Runs all that is posted, and what that posts, a few times over.
  void RunLoop(int rounds = 20) {
    for (int i = 0; i < rounds; ++i) {
      loop_->Post([this] { loop_->Quit(); });
      loop_->Run();
    }
  }
  // Runs `work` on the loop thread.
  void InLoop(std::function<void()> work) {
    loop_->Post(std::move(work));
    RunLoop(1);
  }

  std::unique_ptr<host::EventLoop> loop_;
  std::deque<std::unique_ptr<dev::DeviceLock>> locks_;
  std::unique_ptr<Hub> hub_;
  std::vector<std::unique_ptr<Card>> cards_;
};

TEST_F(HubTest, ABackendForAnyThreadIsCalledAtOnce) {
  FakeBackend& backend = AddBackend(Threads::kAny);
  Card& card = AddCard();
  Start();
  EXPECT_TRUE(card.Send(7));
  EXPECT_EQ(backend.got, std::vector<unsigned>{7});
}

TEST_F(HubTest, ABackendForTheLoopIsCalledThere) {
  FakeBackend& backend = AddBackend(Threads::kLoop);
  Card& card = AddCard();
  Start();
  for (unsigned i = 0; i < 200; ++i) EXPECT_TRUE(card.Send(i));
  EXPECT_EQ(backend.count(), 0u);
  RunLoop();
  ASSERT_EQ(backend.count(), 200u);
  for (unsigned i = 0; i < 200; ++i) EXPECT_EQ(backend.got[i], i);
}

TEST_F(HubTest, TheQueueIsBoundedAndNothingIsLostByTwo) {
  FakeBackend& backend = AddBackend(Threads::kLoop);
  Card& card = AddCard();
  Start();
  card.end = 5000;
  card.SendAll();
  EXPECT_EQ(card.next, Hub::kQueueFrames);
  RunLoop(500);
  EXPECT_EQ(card.next, 5000u);
  ASSERT_EQ(backend.count(), 5000u);
  for (unsigned i = 0; i < 5000; ++i) ASSERT_EQ(backend.got[i], i);
}

TEST_F(HubTest, ACardWithoutRoomStopsItsBackend) {
  FakeBackend& backend = AddBackend(Threads::kAny);
  Card& card = AddCard();
  Start();
  card.room = 2;
  unsigned taken = 0;
  InLoop([&] {
    while (taken < 10 && backend.port->Send({FrameOf(taken), {}})) ++taken;
  });
  EXPECT_EQ(taken, 2u);
  EXPECT_EQ(backend.send_ready, 0u);
  RunLoop();
  EXPECT_EQ(backend.send_ready, 0u) << "not before there is room";
  card.MakeRoom(100);
  RunLoop();
  EXPECT_EQ(backend.send_ready, 1u);
  InLoop([&] { EXPECT_TRUE(backend.port->Send({FrameOf(2), {}})); });
  EXPECT_EQ(card.got, (std::vector<unsigned>{0, 1, 2}));
}

TEST_F(HubTest, ABurstHasOneEnd) {
  FakeBackend& backend = AddBackend(Threads::kAny);
  Card& card = AddCard();
  Start();
  InLoop([&] {
    const Burst burst(*backend.port);
    for (unsigned i = 0; i < 5; ++i) EXPECT_TRUE(backend.port->Send({FrameOf(i), {}}));
  });
  InLoop([&] { EXPECT_TRUE(backend.port->Send({FrameOf(5), {}})); });
  EXPECT_EQ(card.bursts, (std::vector<size_t>{5, 6}));
}

TEST_F(HubTest, OnAHubOfThreeEverybodyHearsAndTheSlowestIsNotWaitedFor) {
  FakeBackend& slow = AddBackend(Threads::kAny);
  Card& a = AddCard();
  Card& b = AddCard();
  Start();
  slow.room = 0;
  for (unsigned i = 0; i < 3000; ++i) {
    ASSERT_TRUE(a.Send(i));
    if (i % 100 == 0) RunLoop();
  }
  RunLoop(100);
  EXPECT_EQ(b.got.size(), 3000u);
  EXPECT_TRUE(a.got.empty()) << "nobody hears himself";
  slow.room = ~0u;
  InLoop([&] { slow.port->ReceiveReady(); });
  RunLoop(100);
  EXPECT_EQ(slow.count(), Hub::kQueueFrames) << "what the queue kept";
}

TEST_F(HubTest, CardsThatSendToEachOtherFromTwoThreads) {
  Card& a = AddCard();
  Card& b = AddCard();
  Start();
  constexpr unsigned kFrames = 20000;
  std::atomic<int> running = 2;
  const auto pump = [&](Card& card, dev::DeviceLock& lock) {
    lock.Run([&] { card.end = kFrames; });
    for (bool done = false; !done;) {
      done = lock.Run([&] {
        card.SendAll();
        return card.next == kFrames;
      });
      std::this_thread::yield();
    }
    --running;
  };
  std::thread one([&] { pump(a, *locks_[0]); });
  std::thread two([&] { pump(b, *locks_[1]); });
  while (running > 0) RunLoop(1);
  RunLoop(1000);
  one.join();
  two.join();
  for (Card* card : {&a, &b}) {
    ASSERT_EQ(card->got.size(), kFrames);
    for (unsigned i = 0; i < kFrames; ++i) ASSERT_EQ(card->got[i], i);
  }
}

TEST_F(HubTest, OnlyAcceptedWorkArrives) {
  FakeBackend& backend = AddBackend(Threads::kAny);
  Card& card = AddCard();
  Start();
  Work work;
  work.needs_checksum = true;
  work.checksum_start = 34;
  work.checksum_offset = 16;
  EXPECT_TRUE(card.Send(1, work)) << "lost, not refused";
  EXPECT_EQ(backend.count(), 0u);
  InLoop([&] { backend.port->SetAccepts({.checksum = true}); });
  RunLoop();
  EXPECT_EQ(card.offload_changes, 1u);
  EXPECT_EQ(card.port().peer_accepts(), Offloads{.checksum = true});
  EXPECT_TRUE(card.Send(2, work));
  EXPECT_EQ(backend.got, std::vector<unsigned>{2});
  work.checksum_start = 63;
  EXPECT_TRUE(card.Send(3, work)) << "malformed: dropped";
  EXPECT_EQ(backend.count(), 1u);
}

TEST_F(HubTest, TheLinkIsTheOtherEnds) {
  Card& card = AddCard();
  EXPECT_FALSE(card.port().link_up()) << "a cable into nothing";
  FakeBackend& backend = AddBackend(Threads::kAny);
  Start();
  EXPECT_TRUE(card.port().link_up());
  InLoop([&] { backend.port->SetLink(false); });
  RunLoop();
  EXPECT_EQ(card.links, std::vector<bool>{false});
  EXPECT_FALSE(card.port().link_up());
  EXPECT_TRUE(card.Send(1)) << "a card without cable loses its frames";
}

TEST_F(HubTest, WorkPostedForAHubThatIsGoneDoesNothing) {
  AddBackend(Threads::kLoop);
  Card& card = AddCard();
  Start();
  EXPECT_TRUE(card.Send(1));
  cards_.clear();
  hub_.reset();
  RunLoop();
}

}  // namespace
}  // namespace atl::net
