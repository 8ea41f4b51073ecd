// SPDX-License-Identifier: Apache-2.0
#include "lib/char/stream.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "lib/base/status_matchers.h"
#include "lib/base/unique_fd.h"
#include "lib/char/output_buffer.h"

namespace atl::chr {
namespace {

std::span<const uint8_t> Bytes(absl::string_view s) {
  return {reinterpret_cast<const uint8_t*>(s.data()), s.size()};
}
std::string ReadAll(Stream& s) {
  uint8_t bytes[64];
  std::string out;
  while (size_t n = s.Read(bytes)) out.append(reinterpret_cast<char*>(bytes), n);
  return out;
}

TEST(FileStream, AppendsAndNamesThePath) {
  const std::string path = testing::TempDir() + "/serial.log";
  for (int i = 0; i < 2; ++i) {
    ASSERT_OK_AND_ASSIGN(auto stream, NewFileStream(path));
    stream->Write(Bytes("boot\n"));
    EXPECT_EQ(stream->input_fd(), -1);
    EXPECT_EQ(ReadAll(*stream), "");
  }
  std::stringstream is;
  is << std::ifstream(path).rdbuf();
  EXPECT_EQ(is.str(), "boot\nboot\n");
  EXPECT_THAT(NewFileStream("/nonexistent/x").status(),
              StatusIs(absl::StatusCode::kNotFound, "/nonexistent/x: No such file"));
}

// A console that nobody reads must not stop the guest.
TEST(OutputBuffer, ReaderThatStopsDoesNotBlock) {
  int fds[2];
  ASSERT_EQ(pipe2(fds, O_CLOEXEC), 0);
  UniqueFd in(fds[0]), out(fds[1]);
  ASSERT_EQ(fcntl(in.get(), F_SETFL, O_NONBLOCK), 0);
  std::vector<uint8_t> much(1000, 'x');
  {
    OutputBuffer buffer(out.get());
    for (int i = 0; i < 1000; ++i) buffer.Write(much);  // more than pipe and buffer hold
    uint8_t drain[65536];
    size_t got = 0;
    for (int idle = 0; idle < 2; buffer.Write({})) {
      const ssize_t n = read(in.get(), drain, sizeof drain);
      idle = n > 0 ? 0 : idle + 1;
      got += n > 0 ? static_cast<size_t>(n) : 0;
    }
    EXPECT_GE(got, OutputBuffer::kCapacity);
    EXPECT_LT(got, 1000u * 1000);
    buffer.Write(Bytes("again"));
    char again[8];
    EXPECT_EQ(read(in.get(), again, sizeof again), 5);
  }
  in.reset();
  signal(SIGPIPE, SIG_IGN);
  OutputBuffer gone(out.get());
  gone.Write(much);
}

// With somebody to flush them, single bytes wait for each other.
TEST(OutputBuffer, BytesGoOutTogether) {
  int fds[2];
  ASSERT_EQ(pipe2(fds, O_CLOEXEC), 0);
  UniqueFd in(fds[0]), out(fds[1]);
  ASSERT_EQ(fcntl(in.get(), F_SETFL, O_NONBLOCK), 0);
  const auto take = [&in] {
    char bytes[5000];
    const ssize_t n = read(in.get(), bytes, sizeof bytes);
    return std::string(bytes, n > 0 ? static_cast<size_t>(n) : 0);
  };
  {
    OutputBuffer buffer(out.get());
    int asked = 0;
    buffer.SetLater([&asked] { ++asked; });
    for (const char* c : {"b", "o", "o", "t"}) buffer.Write(Bytes(c));
    EXPECT_EQ(asked, 1);
    EXPECT_EQ(take(), "");
    EXPECT_TRUE(buffer.FlushReady());
    EXPECT_EQ(take(), "boot");
    // A full batch does not wait.
    const std::string much(OutputBuffer::kBatch, 'x');
    for (const char& c : much) buffer.Write(Bytes({&c, 1}));
    EXPECT_EQ(asked, 2);
    EXPECT_EQ(take(), much);
    // What waits when there is nobody to flush any more goes out.
    buffer.Write(Bytes("a"));
    buffer.SetLater(nullptr);
    EXPECT_EQ(take(), "a");
    buffer.Write(Bytes("b"));
    EXPECT_EQ(take(), "b");
    buffer.SetLater([] {});
    buffer.Write(Bytes("end"));
  }
  EXPECT_EQ(take(), "end");
}

TEST(OutputBuffer, FlushReadyDoesNotWaitForASlowReader) {
  int fds[2];
  ASSERT_EQ(pipe2(fds, O_CLOEXEC), 0);
  UniqueFd in(fds[0]), out(fds[1]);
  ASSERT_EQ(fcntl(in.get(), F_SETFL, O_NONBLOCK), 0);
  ASSERT_EQ(fcntl(out.get(), F_SETPIPE_SZ, 4096), 4096);
  OutputBuffer buffer(out.get());
  buffer.SetLater([] {});
  std::string sent, got;
  const auto send = [&](size_t n) {
    const std::string piece(n, static_cast<char>('a' + sent.size() % 26));
    buffer.Write(Bytes(piece));
    sent += piece;
  };
  for (int i = 0; i < 4; ++i) send(1024);  // the pipe is full
  send(10);
  EXPECT_FALSE(buffer.FlushReady());
  send(10);
  EXPECT_FALSE(buffer.FlushReady());
  char bytes[8192];
  for (int i = 0; i < 3; ++i) {
    const ssize_t n = read(in.get(), bytes, sizeof bytes);
    if (n > 0) got.append(bytes, static_cast<size_t>(n));
    EXPECT_TRUE(buffer.FlushReady());
  }
  EXPECT_EQ(got, sent);
}

// Runs with a pseudo-terminal as stdin and stdout.
class StdioStreamTest : public testing::Test {
 protected:
  void SetUp() override {
    master_.reset(posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC));
    ASSERT_TRUE(master_.valid());
    ASSERT_EQ(grantpt(master_.get()), 0);
    ASSERT_EQ(unlockpt(master_.get()), 0);
    char name[64];
    ASSERT_EQ(ptsname_r(master_.get(), name, sizeof name), 0);
    slave_.reset(open(name, O_RDWR | O_NOCTTY | O_CLOEXEC));
    ASSERT_TRUE(slave_.valid());
    old_in_.reset(dup(0));
    old_out_.reset(dup(1));
    ASSERT_EQ(dup2(slave_.get(), 0), 0);
  }
  void TearDown() override {
    dup2(old_in_.get(), 0);
    dup2(old_out_.get(), 1);
  }
  void Type(absl::string_view s) {
    ASSERT_EQ(write(master_.get(), s.data(), s.size()), static_cast<ssize_t>(s.size()));
    pollfd p{0, POLLIN, 0};
    poll(&p, 1, 1000);
  }

  UniqueFd master_, slave_, old_in_, old_out_;
};

TEST_F(StdioStreamTest, EscapesAndText) {
  // The tty is not this process' own, so it stays as it is: switch it by hand.
  termios raw;
  ASSERT_EQ(tcgetattr(0, &raw), 0);
  cfmakeraw(&raw);
  ASSERT_EQ(tcsetattr(0, TCSANOW, &raw), 0);
  auto stream = NewStdioStream(false);
  std::vector<Stream::Escape> asked;
  stream->SetEscapeHandler([&](Stream::Escape e) { asked.push_back(e); });
  EXPECT_EQ(stream->input_fd(), 0);
  EXPECT_FALSE(stream->OnReadable());  // nothing there: does not block
  Type(
      "ab\x01\x01"
      "c\x01x\x01q\x01");
  EXPECT_TRUE(stream->OnReadable());
  EXPECT_EQ(ReadAll(*stream),
            "ab\x01"
            "c");
  Type("bz");
  EXPECT_TRUE(stream->OnReadable());
  EXPECT_EQ(ReadAll(*stream), "z");
  EXPECT_EQ(asked, (std::vector{Stream::Escape::kQuit, Stream::Escape::kBreak}));
}

TEST_F(StdioStreamTest, StopsReadingWhenFullAndSaysWhenThereIsRoom) {
  int fds[2];
  ASSERT_EQ(pipe2(fds, O_CLOEXEC), 0);
  UniqueFd in(fds[0]), out(fds[1]);
  ASSERT_EQ(dup2(in.get(), 0), 0);
  auto stream = NewStdioStream(false);
  int room = 0;
  stream->SetRoomHandler([&] { ++room; });
  std::vector<uint8_t> much(5000, 1);  // Ctrl-A is plain where stdin is no terminal
  ASSERT_EQ(write(out.get(), much.data(), much.size()), 5000);
  while (stream->WantsInput()) EXPECT_TRUE(stream->OnReadable());
  EXPECT_FALSE(stream->OnReadable());
  uint8_t byte[1];
  EXPECT_EQ(stream->Read(byte), 1u);
  EXPECT_EQ(room, 1);
  EXPECT_TRUE(stream->WantsInput());
  EXPECT_EQ(stream->Read(byte), 1u);
  EXPECT_EQ(room, 1);
  size_t left = 0;
  do {
    left += ReadAll(*stream).size();
  } while (stream->OnReadable());
  EXPECT_EQ(left, 4998u);
  out.reset();
  EXPECT_FALSE(stream->OnReadable());
  EXPECT_FALSE(stream->WantsInput());  // the end of the file is not polled for ever
}

}  // namespace
}  // namespace atl::chr
