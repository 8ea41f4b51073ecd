// SPDX-License-Identifier: Apache-2.0
#include "lib/usernet/dns.h"

#include <algorithm>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "lib/base/endian.h"

namespace atl::usernet {
namespace {

using Bytes = std::vector<uint8_t>;

Bytes Message(uint16_t id, uint16_t flags, const Bytes& question, uint8_t questions = 1) {
  Bytes out(12 + question.size());
  StoreBe(&out[0], id);
  StoreBe(&out[2], flags);
  out[5] = questions;
  std::copy(question.begin(), question.end(), out.begin() + 12);
  return out;
}

Bytes Question(const std::string& label, uint8_t type = 1) {
  Bytes out(label.size() + 6);
  out[0] = static_cast<uint8_t>(label.size());
  std::copy(label.begin(), label.end(), out.begin() + 1);
  out[out.size() - 3] = type;
  out[out.size() - 1] = 1;
  return out;
}

constexpr uint16_t kAsked = 0x0100, kAnswered = 0x8180;

TEST(DnsTest, ReadsAQuestionAndWhatFollowsIt) {
  Bytes bytes = Message(0x1234, kAsked, Question("atoll"));
  bytes.push_back(0xC0);  // of a further section
  const auto m = DnsMessage::Parse(bytes);
  ASSERT_TRUE(m);
  EXPECT_EQ(m->id, 0x1234);
  EXPECT_FALSE(m->answer);
  EXPECT_EQ(Bytes(m->question.begin(), m->question.end()), Question("atoll"));
}

TEST(DnsTest, RefusesWhatIsNoMessage) {
  const Bytes whole = Message(1, kAsked, Question("atoll"));
  for (size_t size = 0; size < whole.size(); ++size) {
    EXPECT_FALSE(DnsMessage::Parse(std::span(whole).first(size))) << size;
  }
  EXPECT_FALSE(DnsMessage::Parse(Message(1, kAsked, Question("atoll"), 2)));
  // A pointer, to itself or anywhere.
  EXPECT_FALSE(DnsMessage::Parse(Message(1, kAsked, {0xC0, 0x0C, 0, 1, 0, 1})));
  EXPECT_FALSE(DnsMessage::Parse(Message(1, kAsked, {0x40, 'x', 0, 0, 1, 0, 1})));
}

TEST(DnsTest, ANameHas255BytesAtMost) {
  Bytes name;
  for (const size_t label : {63, 63, 63, 61}) {
    name.push_back(static_cast<uint8_t>(label));
    name.insert(name.end(), label, 'a');
  }
  Bytes longest = name;
  longest.insert(longest.end(), {0, 0, 1, 0, 1});
  const Bytes longest_message = Message(1, kAsked, longest);
  const auto m = DnsMessage::Parse(longest_message);
  ASSERT_TRUE(m);
  EXPECT_EQ(m->question.size(), DnsMessage::kMaxQuestion);
  Bytes longer = name;
  longer.insert(longer.end(), {1, 'a', 0, 0, 1, 0, 1});
  EXPECT_FALSE(DnsMessage::Parse(Message(1, kAsked, longer)));
}

TEST(DnsTest, KnowsWhoseAnAnswerIs) {
  const Bytes asked = Question("atoll");
  const auto answers = [&asked](const Bytes& bytes) {
    const auto m = DnsMessage::Parse(bytes);
    return m && m->Answers(7, asked);
  };
  EXPECT_TRUE(answers(Message(7, kAnswered, Question("atoll"))));
  EXPECT_TRUE(answers(Message(7, kAnswered, Question("AtOLL"))));
  EXPECT_FALSE(answers(Message(7, kAsked, Question("atoll"))));
  EXPECT_FALSE(answers(Message(8, kAnswered, Question("atoll"))));
  EXPECT_FALSE(answers(Message(7, kAnswered, Question("atolL", 28))));
  EXPECT_FALSE(answers(Message(7, kAnswered, Question("other"))));
  EXPECT_FALSE(answers(Message(7, kAnswered, Question("at.ll"))));
  // A refusal (RFC 1035, 4.1.1: FORMERR) may leave the question out; good news may not.
  EXPECT_TRUE(answers(Message(7, kAnswered | 1, {}, 0)));
  EXPECT_FALSE(answers(Message(7, kAnswered, {}, 0)));
}

}  // namespace
}  // namespace atl::usernet
