// SPDX-License-Identifier: Apache-2.0
// What is read of DNS messages that are passed on: whose they are (RFC 1035, 4.1).
#ifndef LIB_USERNET_DNS_H_
#define LIB_USERNET_DNS_H_

#include <cstdint>
#include <optional>
#include <span>

namespace atl::usernet {

struct DnsMessage {
  // The largest question: a name of 255 bytes, type and class.
  static constexpr size_t kMaxQuestion = 259;

  uint16_t id = 0;
  bool answer = false;
  uint8_t code = 0;  // of an answer, 0 where all is well
  // Name, type and class within the message; empty where it asks nothing.
  std::span<const uint8_t> question;

  // Nothing where `bytes` are no message, or ask more than one question, which nobody
  // answers (RFC 9619). What follows the question is not looked at.
  static std::optional<DnsMessage> Parse(std::span<const uint8_t> bytes);

  // Whether this is an answer to the question that has this number. Resolvers may write
  // names in letters of another case, and refuse without saying what.
  bool Answers(uint16_t asked_id, std::span<const uint8_t> asked) const;
};

}  // namespace atl::usernet

#endif  // LIB_USERNET_DNS_H_
