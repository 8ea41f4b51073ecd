// SPDX-License-Identifier: Apache-2.0
// A client that says anything, in pieces of any size, to both protocols. Each
// line that comes back from the control protocol is JSON again.
#include <fcntl.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "lib/base/unique_fd.h"
#include "lib/qmp/command.h"
#include "lib/qmp/json_value.h"
#include "lib/qmp/session.h"
#include "lib/qmp/testing/fake_machine.h"

namespace atl::qmp {
namespace {

void Converse(Protocol protocol, absl::string_view input, size_t step) {
  FakeMachine machine;
  Context context;
  context.machine = &machine;
  context.version = "fuzz";
  context.send_keys = [](Chord) { return absl::OkStatus(); };
  // Two descriptors that the client has sent.
  std::vector<UniqueFd> received;
  for (const int flags : {O_RDONLY, O_RDWR}) received.emplace_back(open("/dev/null", flags));
  context.received = &received;
  std::string out;
  auto session = NewSession(protocol, context, "\n", [&out](absl::string_view text) {
    out.append(text.data(), text.size());
  });
  session->Begin();
  if (protocol == Protocol::kControl) session->Feed("{\"execute\": \"qmp_capabilities\"}");
  while (!input.empty()) {
    session->Feed(input.substr(0, step));
    input.remove_prefix(std::min(step, input.size()));
    while (session->Step()) {
      if (protocol == Protocol::kHuman) {
        out.clear();
        continue;
      }
      for (size_t end; (end = out.find('\n')) != std::string::npos; out.erase(0, end + 1)) {
        if (end > kMaxJsonBytes) continue;
        if (!ParseJson(absl::string_view(out).substr(0, end)).ok()) abort();
      }
    }
  }
}

}  // namespace
}  // namespace atl::qmp

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2) return 0;
  const absl::string_view input(reinterpret_cast<const char*>(data) + 2, size - 2);
  const size_t step = 1 + data[1];
  atl::qmp::Converse(data[0] & 1 ? atl::qmp::Protocol::kControl : atl::qmp::Protocol::kHuman, input,
                     step);
  return 0;
}
