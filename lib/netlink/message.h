// SPDX-License-Identifier: Apache-2.0
// Netlink messages as bytes: building requests, taking answers apart
// (Linux' include/uapi/linux/netlink.h, Documentation/userspace-api/netlink).
// Answers are parsed as foreign bytes: nothing is read that the lengths in them
// do not cover, and what they claim is checked against what was received.
#ifndef LIB_NETLINK_MESSAGE_H_
#define LIB_NETLINK_MESSAGE_H_

#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace atl::netlink {

// Room for a request: nlmsghdr, the family's header, attributes.
class MessageBuilder {
 public:
  MessageBuilder(uint16_t type, uint16_t flags);

  // The family's header (ifinfomsg, ifaddrmsg, ...) comes first.
  template <typename T>
  MessageBuilder& Header(const T& header) {
    static_assert(std::is_trivially_copyable_v<T>);
    Append(&header, sizeof header);
    return *this;
  }
  MessageBuilder& Bytes(uint16_t type, std::span<const uint8_t> value);
  MessageBuilder& Text(uint16_t type, absl::string_view value);  // with its NUL
  template <typename T>
  MessageBuilder& Number(uint16_t type, T value) {
    static_assert(std::is_integral_v<T>);
    uint8_t bytes[sizeof value];
    std::memcpy(bytes, &value, sizeof value);
    return Bytes(type, bytes);
  }
  // What is added between the two stands in the attribute; they nest.
  MessageBuilder& BeginNested(uint16_t type);
  MessageBuilder& EndNested();

  uint16_t type() const { return type_; }
  // The message, its length filled in.
  std::vector<uint8_t> Finish(uint32_t sequence) const;

 private:
  void Append(const void* data, size_t size);  // and padding to 4

  uint16_t type_;
  uint16_t flags_;
  std::vector<uint8_t> body_;
  std::vector<size_t> open_;  // where the nested attributes begin
};

// A message of a datagram that was received; points into it.
struct Message {
  uint16_t type = 0;
  uint16_t flags = 0;
  uint32_t sequence = 0;
  std::span<const uint8_t> payload;
};

// The messages of a datagram, or an error where a length in it is wrong.
absl::StatusOr<std::vector<Message>> SplitMessages(std::span<const uint8_t> datagram);

// A run of attributes; points into the datagram. What stands behind an attribute
// with a wrong length is not there. Lookups take the first of a type.
class Attributes {
 public:
  explicit Attributes(std::span<const uint8_t> bytes) : bytes_(bytes) {}

  std::optional<std::span<const uint8_t>> Find(uint16_t type) const;
  // nullopt where it is not there or not of this size.
  template <typename T>
  std::optional<T> Number(uint16_t type) const {
    static_assert(std::is_integral_v<T>);
    const std::optional<std::span<const uint8_t>> bytes = Find(type);
    if (!bytes || bytes->size() != sizeof(T)) return std::nullopt;
    T value;
    std::memcpy(&value, bytes->data(), sizeof value);
    return value;
  }
  // Up to its NUL or its end.
  std::optional<std::string> Text(uint16_t type) const;
  std::optional<Attributes> Nested(uint16_t type) const;

 private:
  std::span<const uint8_t> bytes_;
};

// The attributes behind a family's header of `header` bytes; none where the
// payload is shorter.
Attributes AttributesBehind(std::span<const uint8_t> payload, size_t header);

// What an NLMSG_ERROR says: OK for an acknowledgement, else `what`, the error
// number's text and, where the kernel sent one (NETLINK_EXT_ACK), its own words:
// "br0: Operation not supported: kernel says: Unknown device type".
absl::Status AckStatus(const Message& message, absl::string_view what);

}  // namespace atl::netlink

#endif  // LIB_NETLINK_MESSAGE_H_
