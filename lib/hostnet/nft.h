// SPDX-License-Identifier: Apache-2.0
// The packet filter through the nft(8) program, read and changed in nft's own
// language, so that what --dry-run shows is what is done. (Linking libnftables
// would make the tool GPL-2. nft's JSON of Debian 12 cannot make a table with an
// owner, and where there is one its list of rules breaks off in the middle.)
#ifndef LIB_HOSTNET_NFT_H_
#define LIB_HOSTNET_NFT_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "lib/host/filter.h"
#include "lib/netlink/address.h"

namespace atl::hostnet {

struct NftTable {
  std::string family;  // "ip", "ip6", "inet", "bridge", ...
  std::string name;
  bool owned = false;  // by a process; no other may change it
};

struct NftChain {
  std::string family;
  std::string table;
  std::string name;
  std::string hook;    // "forward"; empty where it is only jumped to
  std::string type;    // "filter", "nat"
  bool drops = false;  // its policy
};

// What this program has to know of a rule.
struct NftRule {
  std::string family;
  std::string table;
  std::string chain;
  uint64_t handle = 0;
  std::string comment;
  std::string in;                           // iifname == this; empty where the rule does not ask
  std::string out;                          // oifname == this
  std::optional<netlink::IpPrefix> source;  // ip saddr == this
  bool other_matches = false;               // it asks for something else too
  // "accept", "drop", "reject", "return", "masquerade", "jump", "goto"; or empty.
  std::string verdict;
  std::string target;  // of a jump or goto
};

struct Ruleset {
  std::vector<NftTable> tables;
  std::vector<NftChain> chains;
  std::vector<NftRule> rules;

  const NftTable* FindTable(absl::string_view family, absl::string_view name) const;
  const NftChain* FindChain(absl::string_view family, absl::string_view table,
                            absl::string_view name) const;
};

// Of `nft -a -s list ruleset`. Takes any text; what it does not know it leaves
// out, and a word of a rule that it does not know counts as a condition.
Ruleset ParseRuleset(absl::string_view text);

// NotFound where nft is not installed; PermissionDenied without CAP_NET_ADMIN.
absl::StatusOr<Ruleset> ReadRuleset();

// Runs the commands as one transaction: all or none. The error has nft's text.
absl::Status RunNft(const std::vector<std::string>& commands);

// An nft that stays, and owns the tables it makes: the kernel removes them when
// it ends, and it ends when this object, or the process that has it, is gone.
class NftOwner {
 public:
  static absl::StatusOr<NftOwner> Start();
  // One transaction, after which `table` ("ip atoll-br0") is there.
  absl::Status Run(const std::vector<std::string>& commands, absl::string_view table);
  // Readable when it has ended, which nobody wants.
  int ended_fd() const { return program_.ended_fd(); }

 private:
  explicit NftOwner(host::Coprocess program) : program_(std::move(program)) {}
  host::Coprocess program_;
};

}  // namespace atl::hostnet

#endif  // LIB_HOSTNET_NFT_H_
