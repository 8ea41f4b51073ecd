// SPDX-License-Identifier: Apache-2.0
// Several viewers on real sockets.
#include "lib/rfb/server.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstring>
#include <fstream>
#include <functional>
#include <future>
#include <iterator>
#include <string>
#include <thread>
#include <vector>

#include "gtest/gtest.h"
#include "lib/base/endian.h"
#include "lib/base/mutex.h"
#include "lib/base/status_matchers.h"
#include "lib/rfb/protocol.h"
#include "lib/rfb/testing/client.h"
#include "lib/rfb/testing/frames.h"

namespace atl::rfb {
namespace {

using testing::ClientInit;
using testing::ContinuousMessage;
using testing::RequestMessage;
using testing::SetEncodingsMessage;

class CountingGuest final : public Guest {
 public:
  void Key(bool, uint8_t, uint32_t) override { ++keys; }
  void PointAt(unsigned, unsigned, Wheel, uint8_t) override {}
  void Move(int, int, Wheel, uint8_t) override {}
  void SetClipboard(absl::string_view) override {}
  bool Power(PowerAction) override { return false; }
  bool Resize(unsigned, unsigned) override { return false; }
  void Ask(bool all) override {
    ++asked;
    if (all) {
      ++asked_all;
      if (answer) answer();
    }
  }
  std::atomic<int> keys = 0, asked = 0, asked_all = 0;
  std::function<void()> answer;
};

// A viewer's end. Reads wait ten seconds at the most.
class Peer {
 public:
  explicit Peer(UniqueFd fd) : fd_(std::move(fd)) {}
  void Write(const std::string& bytes) {
    ASSERT_EQ(send(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(bytes.size()));
  }
  // What there is, at least a byte; empty: closed, or nothing in time.
  std::string Some(int timeout_ms = 10000) {
    pollfd p{fd_.get(), POLLIN, 0};
    if (poll(&p, 1, timeout_ms) != 1) return "";
    std::string out(1 << 20, '\0');
    const ssize_t n = recv(fd_.get(), out.data(), out.size(), 0);
    out.resize(n > 0 ? static_cast<size_t>(n) : 0);
    return out;
  }
  std::string Exactly(size_t n) {
    while (kept_.size() < n) {
      const std::string more = Some();
      if (more.empty()) break;
      kept_ += more;
    }
    std::string out = kept_.substr(0, n);
    kept_.erase(0, n);
    return out;
  }
  bool Closed() {
    for (std::string s = Some(); !s.empty(); s = Some()) {
    }
    pollfd p{fd_.get(), POLLIN, 0};
    char c;
    return poll(&p, 1, 0) == 1 && recv(fd_.get(), &c, 1, 0) <= 0;
  }
  void Enter(bool shared = true) {
    EXPECT_EQ(Exactly(12), "RFB 003.008\n");
    Write("RFB 003.008\n");
    EXPECT_EQ(Exactly(2), "\1\1");
    Write("\1" + ClientInit(shared));
    const std::string init = Exactly(4 + 24 + 5);
    EXPECT_EQ(init.size(), 33u);
  }
  int fd() const { return fd_.get(); }

 private:
  UniqueFd fd_;
  std::string kept_;
};

class ServerTest : public ::testing::Test {
 protected:
  void Start(ServerOptions options = {}) {
    frame_.Resize(320, 240);
    Draw(testing::FrameKind::kDesk, 1, &frame_);
    ASSERT_OK_AND_ASSIGN(loop_, host::EventLoop::Create());
    options.name = "guest";
    options.log = [this](absl::string_view line) {
      MutexLock lock(&mu_);
      log_.emplace_back(line);
    };
    UniqueFd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    // In the abstract: the name is the kernel's choice.
    sockaddr_un any{};
    any.sun_family = AF_UNIX;
    ASSERT_EQ(bind(fd.get(), reinterpret_cast<sockaddr*>(&any), sizeof any.sun_family), 0);
    size_ = sizeof address_;
    ASSERT_EQ(getsockname(fd.get(), reinterpret_cast<sockaddr*>(&address_), &size_), 0);
    ASSERT_EQ(listen(fd.get(), 64), 0);
    std::vector<Listener> listeners;
    listeners.push_back({.fd = std::move(fd), .name = "test", .websocket = web_});
    ASSERT_OK_AND_ASSIGN(
        server_, Server::Create(loop_.get(), &guest_, std::move(options), std::move(listeners)));
    server_->SetPicture(testing::PictureOf(frame_));
    thread_ = std::thread([this] { loop_->Run(); });
  }
  void TearDown() override {
    if (loop_ == nullptr) return;
    loop_->Quit();
    thread_.join();
    server_.reset();
  }
  Peer Connect() {
    UniqueFd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    EXPECT_EQ(connect(fd.get(), reinterpret_cast<sockaddr*>(&address_), size_), 0);
    return Peer(std::move(fd));
  }
  // On the loop's thread, to its end.
  void On(std::function<void()> fn) {
    std::promise<void> done;
    loop_->Post([&] {
      fn();
      done.set_value();
    });
    done.get_future().wait();
  }
  size_t clients() {
    size_t out = 0;
    On([&] { out = server_->clients(); });
    return out;
  }
  bool Logged(absl::string_view text) {
    for (int i = 0; i < 100; ++i) {
      {
        MutexLock lock(&mu_);
        for (const std::string& line : log_) {
          if (line.find(std::string(text)) != std::string::npos) return true;
        }
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
    return false;
  }
  void Dot(unsigned n) {
    On([&] {
      frame_.Row(n % 240)[n % 320] ^= 0xFFFFFF;
      const ui::Rect r{n % 320, n % 240, 1, 1};
      server_->Changed(std::span(&r, 1));
    });
  }

  bool web_ = false;
  ui::Surface frame_;
  CountingGuest guest_;
  std::unique_ptr<host::EventLoop> loop_;
  std::unique_ptr<Server> server_;
  std::thread thread_;
  sockaddr_un address_{};
  socklen_t size_ = 0;
  Mutex mu_;
  std::vector<std::string> log_;
};

TEST_F(ServerTest, SeveralViewersSeeTheSame) {
  Start();
  std::vector<Peer> peers;
  for (int i = 0; i < 5; ++i) {
    peers.push_back(Connect());
    peers.back().Enter();
  }
  for (Peer& p : peers) {
    p.Write(RequestMessage(false, {0, 0, 320, 240}));
    const std::string update = p.Exactly(4 + 12 + 320 * 240 * 4);
    EXPECT_EQ(memcmp(update.data() + 16, frame_.pixels.data(), 320 * 240 * 4), 0);
  }
  EXPECT_EQ(clients(), 5u);
  EXPECT_TRUE(Logged("attach unix: RFB, security None"));
}

TEST_F(ServerTest, WhoWantsTheGuestForItselfGetsIt) {
  Start();
  Peer first = Connect();
  first.Enter();
  Peer second = Connect();
  second.Enter(false);
  EXPECT_TRUE(first.Closed());
  EXPECT_TRUE(Logged("another viewer wanted the guest for itself"));
  EXPECT_EQ(clients(), 1u);
}

TEST_F(ServerTest, OrDoesNot) {
  ServerOptions options;
  options.sharing = Sharing::kForceShared;
  Start(std::move(options));
  Peer first = Connect();
  first.Enter();
  Peer second = Connect();
  second.Enter(false);
  first.Write(RequestMessage(false, {0, 0, 16, 16}));
  EXPECT_EQ(first.Exactly(4 + 12 + 1024).size(), 1040u);
}

TEST_F(ServerTest, OneTooManyIsDenied) {
  ServerOptions options;
  options.max_clients = 2;
  Start(std::move(options));
  Peer a = Connect(), b = Connect();
  a.Enter();
  b.Enter();
  Peer c = Connect();
  EXPECT_TRUE(c.Closed());
  EXPECT_TRUE(Logged("2 viewers are there already"));
}

TEST_F(ServerTest, StrangersWhoSitThereKeepNobodyOut) {
  ServerOptions options;
  options.max_clients = 3;
  Start(std::move(options));
  Peer in = Connect();
  in.Enter();
  std::vector<Peer> idle;
  for (int i = 0; i < 10; ++i) {
    idle.push_back(Connect());
    EXPECT_EQ(idle.back().Exactly(12), "RFB 003.008\n");
  }
  EXPECT_EQ(clients(), 3u);
  Peer late = Connect();
  late.Enter();
  in.Write(RequestMessage(false, {0, 0, 16, 16}));
  EXPECT_EQ(in.Exactly(4 + 12 + 1024).size(), 1040u);
}

// What the guest showed, as a viewer of the recording sees it at its end.
TEST_F(ServerTest, ARecordingShowsWhatWasShown) {
  const std::string path = ::testing::TempDir() + "/recording.fbs";
  ServerOptions options;
  options.record.reset(open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  ASSERT_TRUE(options.record.valid());
  options.record_name = "recording.fbs";
  Start(std::move(options));
  for (unsigned n = 0; n < 5; ++n) {
    Dot(100 + n);
    std::this_thread::sleep_for(std::chrono::milliseconds(60));
  }
  EXPECT_GT(guest_.asked, 3);
  ui::Surface larger;
  larger.Resize(400, 300);
  Draw(testing::FrameKind::kText, 2, &larger);
  On([&] { server_->SetPicture(testing::PictureOf(larger)); });
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  // The last change counts, however soon the end comes.
  On([&] {
    larger.Row(7)[7] ^= 0xFFFFFF;
    const ui::Rect r{7, 7, 1, 1};
    server_->Changed(std::span(&r, 1));
    server_->DisconnectAll("it was enough");
  });
  EXPECT_TRUE(Logged("to recording.fbs: it was enough"));

  std::ifstream in(path, std::ios::binary);
  const std::string file((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
  ASSERT_EQ(file.substr(0, 12), "FBS 001.000\n");
  const auto number = [&](size_t at) {
    return LoadBe<uint32_t>(reinterpret_cast<const uint8_t*>(file.data()) + at);
  };
  std::string stream;
  uint32_t last_ms = 0;
  unsigned blocks = 0;
  for (size_t at = 12; at < file.size(); ++blocks) {
    const size_t size = number(at);
    const size_t padded = (size + 3) / 4 * 4;
    ASSERT_LE(at + 4 + padded + 4, file.size());
    stream += file.substr(at + 4, size);
    const uint32_t ms = number(at + 4 + padded);
    EXPECT_GE(ms, last_ms);
    last_ms = ms;
    at += 4 + padded + 4;
  }
  EXPECT_GE(blocks, 6u);
  EXPECT_GE(last_ms, 300u);
  EXPECT_EQ(stream.substr(0, 16), std::string("RFB 003.003\n\0\0\0\1", 16));
  testing::Client view(320, 240);
  stream.erase(0, 16 + 24 + 5);  // and ServerInit, with the name "guest"
  ASSERT_OK(view.Take(std::span(reinterpret_cast<const uint8_t*>(stream.data()), stream.size())));
  EXPECT_EQ(view.picture().width, 400u);
  EXPECT_EQ(view.picture().pixels, larger.pixels);
}

// Somebody who reads nothing any more is no one else's trouble.
TEST_F(ServerTest, AViewerThatStopsReadingStopsNobodyElse) {
  Start();
  Peer stuck = Connect();
  stuck.Enter();
  const int32_t encodings[] = {kEncodingRaw, kPseudoContinuousUpdates};
  stuck.Write(SetEncodingsMessage(encodings) + ContinuousMessage(true, {0, 0, 320, 240}));
  Peer good = Connect();
  good.Enter();
  good.Write(RequestMessage(false, {0, 0, 320, 240}));
  good.Exactly(16 + 320 * 240 * 4);
  for (uint32_t i = 0; i < 50; ++i) {
    good.Write(RequestMessage(true, {0, 0, 320, 240}));
    On([&] {
      Draw(testing::FrameKind::kNoise, i, &frame_);
      const ui::Rect all{0, 0, 320, 240};
      server_->Changed(std::span(&all, 1));
    });
    ASSERT_EQ(good.Exactly(16 + 320 * 240 * 4).size(), 16u + 320 * 240 * 4) << i;
  }
}

// Nothing changes: nothing runs.
TEST_F(ServerTest, IdleIsSilent) {
  Start();
  Peer p = Connect();
  p.Enter();
  p.Write(RequestMessage(false, {0, 0, 320, 240}));
  p.Exactly(16 + 320 * 240 * 4);
  p.Write(RequestMessage(true, {0, 0, 320, 240}));
  std::this_thread::sleep_for(std::chrono::milliseconds(500));
  const auto cpu = [&] {
    timespec t{};
    clockid_t clock;
    pthread_getcpuclockid(thread_.native_handle(), &clock);
    clock_gettime(clock, &t);
    return t.tv_sec * 1'000'000'000 + t.tv_nsec;
  };
  const int asked = guest_.asked;
  EXPECT_GE(asked, 1);  // for what changes
  const auto before = cpu();
  std::this_thread::sleep_for(std::chrono::seconds(1));
  // Not even a wake-up: one would take some microseconds.
  EXPECT_EQ(cpu(), before);
  EXPECT_EQ(guest_.asked, asked);
  Dot(1);
  EXPECT_EQ(p.Exactly(16 + 16 * 16 * 4).size(), 16u + 1024);
}

// Nobody looked for a while, and nobody was told of changes: the first who comes
// sees how it is now.
TEST_F(ServerTest, ThePictureIsNotAnOldOne) {
  Start();
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  On([&] {
    Draw(testing::FrameKind::kNoise, 9, &frame_);
    guest_.answer = [&] {
      loop_->Post([&] {
        const ui::Rect all{0, 0, 320, 240};
        server_->Changed(std::span(&all, 1));
      });
    };
  });
  Peer p = Connect();
  p.Enter();
  p.Write(RequestMessage(false, {0, 0, 320, 240}));
  const std::string update = p.Exactly(16 + 320 * 240 * 4);
  ASSERT_EQ(update.size(), 16u + 320 * 240 * 4);
  EXPECT_EQ(memcmp(update.data() + 16, frame_.pixels.data(), 320 * 240 * 4), 0);
  EXPECT_EQ(guest_.asked_all, 1);
}

TEST_F(ServerTest, RfbOnAPortOfBrowsersComesToItsTurn) {
  web_ = true;
  Start();
  Peer silent = Connect();
  silent.Enter();
  Peer browser = Connect();
  browser.Write("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
  EXPECT_EQ(browser.Exactly(12), "HTTP/1.1 404");
  EXPECT_TRUE(browser.Closed());
}

TEST_F(ServerTest, GarbageIsDeniedAndSaid) {
  Start();
  Peer p = Connect();
  p.Exactly(12);
  p.Write("\x16\3\1 and more of TLS");
  EXPECT_TRUE(p.Closed());
  EXPECT_TRUE(Logged("denied unix: it speaks no RFB"));
}

TEST_F(ServerTest, ThoseWhoVanishAreForgotten) {
  Start();
  const std::string all = "RFB 003.008\n\1\1";
  for (size_t n = 0; n <= all.size(); ++n) {
    Peer p = Connect();
    p.Write(all.substr(0, n));
  }
  Peer last = Connect();
  last.Enter();
  for (int i = 0; i < 100 && clients() > 1; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  EXPECT_EQ(clients(), 1u);
}

}  // namespace
}  // namespace atl::rfb
