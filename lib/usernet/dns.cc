// SPDX-License-Identifier: Apache-2.0
#include "lib/usernet/dns.h"

#include <array>

#include "absl/strings/ascii.h"
#include "lib/base/bytes_reader.h"
#include "lib/base/endian.h"

namespace atl::usernet {
namespace {

struct DnsHeader {
  be16 id;
  be16 flags;
  std::array<be16, 4> counts;  // questions, answers, authorities, additional
};
static_assert(sizeof(DnsHeader) == 12);
constexpr uint16_t kIsAnswer = 0x8000;
constexpr uint16_t kCode = 0x000F;

constexpr size_t kMaxLabel = 63;
constexpr size_t kMaxName = 255;
constexpr size_t kTypeAndClass = 4;

}  // namespace

std::optional<DnsMessage> DnsMessage::Parse(std::span<const uint8_t> bytes) {
  const std::optional<DnsHeader> header = ReadAt<DnsHeader>(bytes, 0);
  if (!header) return std::nullopt;
  DnsMessage out;
  out.id = header->id;
  out.answer = (header->flags & kIsAnswer) != 0;
  out.code = static_cast<uint8_t>(header->flags & kCode);
  if (header->counts[0] == 0) return out;
  if (header->counts[0] != 1) return std::nullopt;
  const std::span<const uint8_t> rest = bytes.subspan(sizeof *header);
  size_t at = 0;
  while (at < rest.size() && rest[at] != 0) {
    // No pointers: there is nothing before the first name that they could lead to.
    if (rest[at] > kMaxLabel) return std::nullopt;
    at += rest[at] + size_t{1};
    if (at >= kMaxName) return std::nullopt;
  }
  ++at;  // the root's
  if (at + kTypeAndClass > rest.size()) return std::nullopt;
  out.question = rest.first(at + kTypeAndClass);
  return out;
}

bool DnsMessage::Answers(uint16_t asked_id, std::span<const uint8_t> asked) const {
  if (!answer || id != asked_id) return false;
  if (question.empty()) return code != 0;
  // Lengths of labels and the root are no letters; type and class are to be the same.
  if (question.size() != asked.size()) return false;
  const size_t name = question.size() - kTypeAndClass;
  for (size_t i = 0; i < question.size(); ++i) {
    const bool same = i < name ? absl::ascii_tolower(question[i]) == absl::ascii_tolower(asked[i])
                               : question[i] == asked[i];
    if (!same) return false;
  }
  return true;
}

}  // namespace atl::usernet
