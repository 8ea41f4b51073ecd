// SPDX-License-Identifier: Apache-2.0
// Names and MAC addresses of interfaces.
#ifndef LIB_HOSTNET_NAMES_H_
#define LIB_HOSTNET_NAMES_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "lib/netlink/address.h"

namespace atl::hostnet {

// Whether an interface may be called so: 1 to 15 characters (the kernel's
// IFNAMSIZ) of letters, digits, '.', '_' and '-', the first a letter, digit or
// '_'. The kernel takes more; such names could not stand in scripts and nft
// tables without quoting. InvalidArgument says what is wrong.
absl::Status CheckName(absl::string_view name);
// The same, with one "%d" allowed: the kernel puts the first free number there.
absl::Status CheckNamePattern(absl::string_view name);

// The MAC address of a guest's card: locally administered, no group, the same
// for the same machine and card on every host, and another for another (46 bits
// of a hash). Its first byte is never fe.
netlink::MacAddress GuestMac(absl::string_view vm, uint32_t index);

// The MAC address of the host's end of a tap, from what tells it apart. fe: is
// above every other, so that a bridge without an address of its own does not
// take it.
netlink::MacAddress TapMac(absl::string_view identity);
// The MAC address of a bridge of this host.
netlink::MacAddress BridgeMac(absl::string_view identity);

// What tells this host from others: /etc/machine-id, or the host's name.
std::string HostIdentity();

// `word` for a shell: quoted where it has to be.
std::string ShellWord(absl::string_view word);

}  // namespace atl::hostnet

#endif  // LIB_HOSTNET_NAMES_H_
