// SPDX-License-Identifier: Apache-2.0
// Fuzz target: the texts that others can write and this program reads: nft's
// list of rules, tags in aliases and comments, the file of allowed bridges. The first
// byte chooses.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "absl/strings/string_view.h"
#include "lib/hostnet/acl.h"
#include "lib/hostnet/check.h"
#include "lib/hostnet/nat.h"
#include "lib/hostnet/nft.h"
#include "lib/hostnet/tag.h"

namespace atl::hostnet {
namespace {

void FuzzRules(absl::string_view text) {
  Findings findings;
  findings.rules = ParseRuleset(text);
  const Ruleset& rules = findings.rules;
  netlink::Link link{.index = 2, .name = "br0", .kind = "bridge"};
  findings.state.links.push_back(link);
  findings.state.addresses.push_back({.index = 2, .prefix = netlink::Ipv4(0x0a000001, 24)});
  findings.read_switch = [](absl::string_view) { return 1; };
  (void)Check(findings, {"br0"}, "net");
  for (const FoundNat& nat : FindNats(rules)) (void)NatRemoval(nat.link, rules);
  (void)PlanNat({"br0", netlink::Ipv4(0x0a000001, 24), Tag{.kind = "nat", .kept = true}}, rules,
                nullptr);
}

void FuzzTag(absl::string_view text) {
  const std::optional<Tag> tag = Tag::Parse(text);
  if (!tag) return;
  (void)tag->Dead();
  const std::optional<Tag> again = Tag::Parse(tag->Text());
  if (!again || again->Text() != tag->Text()) abort();
}

void FuzzAcl(absl::string_view text) {
  int files = 0;
  const absl::Status status =
      CheckBridgeAllowed("main", "br0", [&](const std::string&) -> absl::StatusOr<std::string> {
        if (++files > 64) abort();
        return std::string(text);
      });
  // Nothing is allowed that no line allows.
  if (status.ok() && text.find("allow") == absl::string_view::npos) abort();
}

}  // namespace
}  // namespace atl::hostnet

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const absl::string_view text(reinterpret_cast<const char*>(data + 1), size - 1);
  switch (data[0] % 3) {
    case 0:
      atl::hostnet::FuzzRules(text);
      break;
    case 1:
      atl::hostnet::FuzzTag(text);
      break;
    default:
      atl::hostnet::FuzzAcl(text);
  }
  return 0;
}
