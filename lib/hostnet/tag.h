// SPDX-License-Identifier: Apache-2.0
// Who owns an interface or a rule: a short text that the kernel keeps with it,
// in ifalias or in a rule's comment.
//
//   atoll:bridge,kept                  lives until somebody takes it down
//   atoll:tap,by=812.9917.4026531836   lives as long as the process does
//   atoll:bridge,kept,adding=10.77.1.1/24,by=812.9917.4026531836
//                                      the process is about to change it
//
// "by" is the process' id, the time it started and its pid namespace, so that a
// later process with the same id is another. What is tagged and whose process is
// dead is debris that anybody may remove. Tags are foreign text: any user with
// CAP_NET_ADMIN can write them.
#ifndef LIB_HOSTNET_TAG_H_
#define LIB_HOSTNET_TAG_H_

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>

#include "absl/strings/string_view.h"
#include "lib/netlink/address.h"

namespace atl::hostnet {

struct Process {
  pid_t pid = 0;
  uint64_t start = 0;          // clock ticks after boot, field 22 of /proc/PID/stat
  uint64_t pid_namespace = 0;  // inode of /proc/self/ns/pid

  static Process Self();
  // False where it has ended for certain; one of another pid namespace, whose
  // processes cannot be seen from here, counts as alive.
  bool Alive() const;
  static bool Running(pid_t pid);  // in this pid namespace
  std::string Text() const;        // "812.9917.4026531836"
  static std::optional<Process> Parse(absl::string_view text);
  friend bool operator==(const Process&, const Process&) = default;
};

struct Tag {
  std::string kind;  // "tap", "bridge", "nat"
  bool kept = false;
  std::optional<Process> by;
  std::optional<netlink::IpPrefix> address;  // that we gave it
  // With the address: it is the interface's own, it came with the translation and
  // goes with it, or it is about to be given or taken away.
  enum class AddressState { kOwn, kNat, kAdding } address_state = AddressState::kOwn;

  std::string Text() const;
  // nullopt for anything that is none of ours.
  static std::optional<Tag> Parse(absl::string_view text);
  // Its process is dead, and nobody asked to keep it.
  bool Dead() const { return !kept && by && !by->Alive(); }
  // Kept, but left half-changed.
  bool HalfChanged() const { return kept && by && !by->Alive(); }
};

// The mark (IFLA_GROUP) of an interface between its making and its tagging: it
// has the id of the process that makes it.
uint32_t MakingGroup(pid_t pid);
// The process where `group` is such a mark.
std::optional<pid_t> MakerOfGroup(uint32_t group);

}  // namespace atl::hostnet

#endif  // LIB_HOSTNET_TAG_H_
