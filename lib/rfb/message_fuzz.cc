// SPDX-License-Identifier: Apache-2.0
// The messages of a viewer that is in, one after the other; what is parsed is
// within its bounds.
#include <cstddef>
#include <cstdint>
#include <span>
#include <variant>

#include "lib/rfb/clipboard.h"
#include "lib/rfb/messages.h"
#include "lib/rfb/protocol.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace atl::rfb;  // NOLINT: a fuzz target is this function alone
  if (size < 1) return 0;
  std::span<const uint8_t> rest(data + 1, size - 1);
  while (true) {
    const absl::StatusOr<ParsedMessage> parsed = ParseClientMessage(rest, (data[0] & 1) != 0);
    if (!parsed.ok() || parsed->consumed == 0) return 0;
    if (parsed->consumed > rest.size()) __builtin_trap();
    if (const auto* m = std::get_if<ExtendedClipboard>(&parsed->message)) {
      const auto text = ReadClipboardText(m->flags, m->data);
      if (text.ok() && *text && (*text)->size() > kMaxCutText) __builtin_trap();
    } else if (const auto* cut = std::get_if<CutText>(&parsed->message)) {
      if (Utf8ToLatin1(Latin1ToUtf8(cut->latin1)).size() > cut->latin1.size()) __builtin_trap();
    }
    rest = rest.subspan(parsed->consumed);
  }
}
