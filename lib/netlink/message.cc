// SPDX-License-Identifier: Apache-2.0
#include "lib/netlink/message.h"

#include <linux/netlink.h>

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "lib/base/bytes_reader.h"
#include "lib/base/status_macros.h"

namespace atl::netlink {
namespace {

constexpr size_t Aligned(size_t n) { return (n + 3) & ~size_t{3}; }

// The kernel's text, made fit for a terminal and a line.
std::string KernelWords(const std::string& text) {
  std::string out = text.substr(0, 300);
  for (char& c : out) {
    if (!absl::ascii_isprint(static_cast<unsigned char>(c))) c = '?';
  }
  return out;
}

}  // namespace

MessageBuilder::MessageBuilder(uint16_t type, uint16_t flags) : type_(type), flags_(flags) {}

void MessageBuilder::Append(const void* data, size_t size) {
  const size_t at = body_.size();
  body_.resize(at + Aligned(size));
  if (size != 0) std::memcpy(body_.data() + at, data, size);
}

MessageBuilder& MessageBuilder::Bytes(uint16_t type, std::span<const uint8_t> value) {
  const nlattr head = {.nla_len = static_cast<uint16_t>(NLA_HDRLEN + value.size()),
                       .nla_type = type};
  Append(&head, sizeof head);
  Append(value.data(), value.size());
  return *this;
}

MessageBuilder& MessageBuilder::Text(uint16_t type, absl::string_view value) {
  std::vector<uint8_t> bytes(value.begin(), value.end());
  bytes.push_back(0);
  return Bytes(type, bytes);
}

MessageBuilder& MessageBuilder::BeginNested(uint16_t type) {
  open_.push_back(body_.size());
  return Bytes(static_cast<uint16_t>(type | NLA_F_NESTED), {});
}

MessageBuilder& MessageBuilder::EndNested() {
  const size_t at = open_.back();
  open_.pop_back();
  const auto length = static_cast<uint16_t>(body_.size() - at);
  std::memcpy(body_.data() + at, &length, sizeof length);
  return *this;
}

std::vector<uint8_t> MessageBuilder::Finish(uint32_t sequence) const {
  const nlmsghdr head = {
      .nlmsg_len = static_cast<uint32_t>(NLMSG_HDRLEN + body_.size()),
      .nlmsg_type = type_,
      .nlmsg_flags = flags_,
      .nlmsg_seq = sequence,
      .nlmsg_pid = 0,
  };
  std::vector<uint8_t> out(sizeof head + body_.size());
  std::memcpy(out.data(), &head, sizeof head);
  std::copy(body_.begin(), body_.end(), out.begin() + sizeof head);
  return out;
}

absl::StatusOr<std::vector<Message>> SplitMessages(std::span<const uint8_t> datagram) {
  std::vector<Message> out;
  size_t at = 0;
  while (at < datagram.size()) {
    const std::optional<nlmsghdr> head = ReadAt<nlmsghdr>(datagram, at);
    if (!head || head->nlmsg_len < NLMSG_HDRLEN || head->nlmsg_len > datagram.size() - at) {
      return absl::DataLossError(absl::StrCat("netlink: the message at byte ", at,
                                              " of an answer of ", datagram.size(),
                                              " has a wrong length"));
    }
    out.push_back({.type = head->nlmsg_type,
                   .flags = head->nlmsg_flags,
                   .sequence = head->nlmsg_seq,
                   .payload = datagram.subspan(at + NLMSG_HDRLEN, head->nlmsg_len - NLMSG_HDRLEN)});
    at += std::min(Aligned(head->nlmsg_len), datagram.size() - at);
  }
  return out;
}

std::optional<std::span<const uint8_t>> Attributes::Find(uint16_t type) const {
  size_t at = 0;
  while (at < bytes_.size()) {
    const std::optional<nlattr> head = ReadAt<nlattr>(bytes_, at);
    if (!head || head->nla_len < NLA_HDRLEN || head->nla_len > bytes_.size() - at) break;
    if ((head->nla_type & NLA_TYPE_MASK) == type) {
      return bytes_.subspan(at + NLA_HDRLEN, head->nla_len - NLA_HDRLEN);
    }
    at += std::min(Aligned(head->nla_len), bytes_.size() - at);
  }
  return std::nullopt;
}

std::optional<std::string> Attributes::Text(uint16_t type) const {
  const std::optional<std::span<const uint8_t>> bytes = Find(type);
  if (!bytes) return std::nullopt;
  return std::string(bytes->begin(), std::find(bytes->begin(), bytes->end(), 0));
}

std::optional<Attributes> Attributes::Nested(uint16_t type) const {
  const std::optional<std::span<const uint8_t>> bytes = Find(type);
  if (!bytes) return std::nullopt;
  return Attributes(*bytes);
}

Attributes AttributesBehind(std::span<const uint8_t> payload, size_t header) {
  if (payload.size() < Aligned(header)) return Attributes({});
  return Attributes(payload.subspan(Aligned(header)));
}

absl::Status AckStatus(const Message& message, absl::string_view what) {
  const std::optional<nlmsgerr> error = ReadAt<nlmsgerr>(message.payload, 0);
  if (message.type != NLMSG_ERROR || !error) {
    return absl::DataLossError(absl::StrCat(what, ": netlink: an answer that is none"));
  }
  if (error->error == 0) return absl::OkStatus();
  // INT_MIN has no negative.
  const absl::Status status = ErrnoError(error->error < -4095 || error->error > 0 ? 5 /* EIO */
                                                                                  : -error->error,
                                         what);
  if ((message.flags & NLM_F_ACK_TLVS) == 0) return status;
  // Behind the error stands the request, its header only where NETLINK_CAP_ACK is on.
  size_t behind = sizeof(nlmsgerr);
  if ((message.flags & NLM_F_CAPPED) == 0) {
    if (error->msg.nlmsg_len < NLMSG_HDRLEN || error->msg.nlmsg_len > message.payload.size()) {
      return status;
    }
    behind += error->msg.nlmsg_len - NLMSG_HDRLEN;
  }
  const std::optional<std::string> words =
      AttributesBehind(message.payload, behind).Text(NLMSGERR_ATTR_MSG);
  if (!words || words->empty()) return status;
  return absl::Status(status.code(),
                      absl::StrCat(status.message(), ": kernel says: ", KernelWords(*words)));
}

}  // namespace atl::netlink
