// SPDX-License-Identifier: Apache-2.0
// A guest's question and what comes back for it: the first byte says where the one ends
// and the other begins.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <optional>
#include <span>
#include <vector>

#include "lib/usernet/dns.h"

namespace atl::usernet {
namespace {

void Run(std::span<const uint8_t> asked, std::span<const uint8_t> answered) {
  const std::optional<DnsMessage> question = DnsMessage::Parse(asked);
  const std::optional<DnsMessage> answer = DnsMessage::Parse(answered);
  if (!question) return;
  const std::span<const uint8_t> words = question->question;
  if (words.size() > DnsMessage::kMaxQuestion) abort();
  if (!words.empty() &&
      (words.data() < asked.data() || words.data() + words.size() > asked.data() + asked.size())) {
    abort();
  }
  if (answer && answer->Answers(question->id, words)) {
    if (!answer->answer || answer->id != question->id) abort();
    if (!answer->question.empty() && answer->question.size() != words.size()) abort();
  }
  // The question sent back is its own answer; with another number it is nobody's.
  std::vector<uint8_t> echo(asked.begin(), asked.end());
  echo[2] |= 0x80;
  const std::optional<DnsMessage> echoed = DnsMessage::Parse(echo);
  if (!echoed) abort();
  if (echoed->Answers(question->id, words) != (!words.empty() || echoed->code != 0)) abort();
  if (echoed->Answers(question->id ^ 1, words)) abort();
  // What is missing of it makes it none, or one that asks nothing.
  if (words.empty()) return;
  for (size_t size = 0; size < 12 + words.size(); ++size) {
    if (DnsMessage::Parse(asked.first(size))) abort();
  }
}

}  // namespace
}  // namespace atl::usernet

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::span<const uint8_t> bytes(data + 1, size - 1);
  const size_t cut = data[0] < bytes.size() ? data[0] : bytes.size();
  atl::usernet::Run(bytes.first(cut), bytes.subspan(cut));
  return 0;
}
