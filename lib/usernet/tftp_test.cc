// SPDX-License-Identifier: Apache-2.0
#include "lib/usernet/tftp.h"

#include <sys/stat.h>
#include <unistd.h>

#include <fstream>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "lib/base/endian.h"
#include "lib/base/status_matchers.h"

namespace atl::usernet {
namespace {

constexpr uint64_t kSecond = 1'000'000'000;

class TftpTest : public testing::Test {
 protected:
  TftpTest() : folder_(testing::TempDir() + "/tftp." + std::to_string(getpid())) {
    mkdir(folder_.c_str(), 0700);
    mkdir((folder_ + "/boot").c_str(), 0700);
    content_.resize(3000);
    for (size_t i = 0; i < content_.size(); ++i) content_[i] = static_cast<char>(i * 7);
    std::ofstream(folder_ + "/boot/file", std::ios::binary) << content_;
    std::ofstream(folder_ + "/../secret") << "secret";
    (void)!symlink("boot/file", (folder_ + "/link").c_str());
    (void)!symlink("../secret", (folder_ + "/escape").c_str());
    (void)!symlink("/etc/passwd", (folder_ + "/absolute").c_str());
    auto server =
        TftpServer::Create(folder_, 1500, [this](const Endpoint&, const Endpoint&, auto b) {
          sent_.emplace_back(b.begin(), b.end());
        });
    EXPECT_OK(server.status());
    server_.emplace(*std::move(server));
  }
  // A read request: name, mode, options, as texts.
  void Ask(std::initializer_list<std::string> texts, uint16_t port = 2000) {
    std::vector<uint8_t> m = {0, 1};
    for (const std::string& t : texts) {
      m.insert(m.end(), t.begin(), t.end());
      m.push_back(0);
    }
    Say(m, port);
  }
  void Ack(uint16_t block) {
    std::vector<uint8_t> m = {0, 4, 0, 0};
    StoreBe(&m[2], block);
    Say(m);
  }
  void Say(const std::vector<uint8_t>& m, uint16_t port = 2000) {
    sent_.clear();
    server_->Receive({IpAddress::V4(15), port}, {IpAddress::V4(2), 69}, m, now_);
  }
  static std::string Text(const std::vector<uint8_t>& m) { return {m.begin(), m.end()}; }
  int ErrorOf() const { return sent_.size() == 1 && sent_[0][1] == 5 ? sent_[0][3] : -1; }

  std::string folder_, content_;
  std::vector<std::vector<uint8_t>> sent_;
  std::optional<TftpServer> server_;
  uint64_t now_ = kSecond;
};

TEST_F(TftpTest, SendsAFileInBlocks) {
  Ask({"boot/file", "octet"});
  std::string got;
  for (uint16_t block = 1; !sent_.empty(); ++block) {
    ASSERT_EQ(sent_.size(), 1u);
    EXPECT_EQ(LoadBe<uint16_t>(&sent_[0][0]), 3);
    EXPECT_EQ(LoadBe<uint16_t>(&sent_[0][2]), block);
    got.append(sent_[0].begin() + 4, sent_[0].end());
    Ack(block);
  }
  EXPECT_EQ(got, content_);
  EXPECT_EQ(server_->transfers(), 0u);
}

TEST_F(TftpTest, NegotiatesBlockSizeSizeAndWindow) {
  Ask({"/boot/file", "octet", "tsize", "0", "blksize", "1000", "windowsize", "2", "strange", "1"});
  ASSERT_EQ(sent_.size(), 1u);
  EXPECT_EQ(Text(sent_[0]),
            std::string("\0\6tsize\0003000\0blksize\0001000\0windowsize\0002\0", 39));
  Ack(0);
  ASSERT_EQ(sent_.size(), 2u);  // a window of two
  std::string got(sent_[0].begin() + 4, sent_[0].end());
  Ack(1);  // the second was lost
  ASSERT_EQ(sent_.size(), 2u);
  EXPECT_EQ(LoadBe<uint16_t>(&sent_[0][2]), 2);
  for (const auto& s : sent_) got.append(s.begin() + 4, s.end());
  Ack(3);
  // The file's size is three whole blocks: an empty one ends it.
  ASSERT_EQ(sent_.size(), 1u);
  EXPECT_EQ(sent_[0].size(), 4u);
  Ack(4);
  EXPECT_EQ(got, content_);
  EXPECT_EQ(server_->transfers(), 0u);
}

TEST_F(TftpTest, StaysInItsFolder) {
  for (const char* name : {"../secret", "/../secret", "boot/../../secret", "escape", "absolute",
                           "..\\secret", "boot", "", "/", "nosuch", "/etc/passwd"}) {
    Ask({name, "octet"});
    EXPECT_GE(ErrorOf(), 1) << name;
    EXPECT_EQ(server_->transfers(), 0u) << name;
  }
  Ask({"link", "octet"});  // within it, links are followed
  EXPECT_EQ(server_->transfers(), 1u);
  Ask({"\\boot\\file", "OCTET"});
  EXPECT_EQ(server_->transfers(), 1u);
}

TEST_F(TftpTest, RefusesWritesAndOtherModes) {
  Say({0, 2, 'x', 0, 'o', 'c', 't', 'e', 't', 0});
  EXPECT_EQ(ErrorOf(), 2);
  Ask({"boot/file", "netascii"});
  EXPECT_EQ(ErrorOf(), 4);
  Say({0, 1, 'x', 0, 'o', 'c', 't'});
  EXPECT_EQ(ErrorOf(), 4);
}

TEST_F(TftpTest, RepeatsWhatIsNotAcknowledgedAndGivesUp) {
  Ask({"boot/file", "octet"});
  const auto first = sent_[0];
  int repeats = 0;
  while (server_->transfers() != 0) {
    ASSERT_LT(repeats, 20);
    sent_.clear();
    now_ = server_->deadline();
    server_->Timeout(now_);
    if (sent_.empty()) break;
    EXPECT_EQ(sent_[0], first);
    ++repeats;
  }
  EXPECT_EQ(repeats, 8);
  // A doubled acknowledgement does not double the blocks.
  Ask({"boot/file", "octet"});
  Ack(1);
  EXPECT_EQ(sent_.size(), 1u);
  Ack(1);
  EXPECT_EQ(sent_.size(), 0u);
}

TEST_F(TftpTest, TransfersHaveABound) {
  for (uint16_t port = 1; port < 500; ++port) Ask({"boot/file", "octet"}, port);
  EXPECT_EQ(server_->transfers(), TftpServer::kMaxTransfers);
  Ask({"boot/file", "octet"}, 1);  // one of them again
  EXPECT_EQ(server_->transfers(), TftpServer::kMaxTransfers);
  EXPECT_EQ(LoadBe<uint16_t>(&sent_[0][0]), 3);
}

}  // namespace
}  // namespace atl::usernet
