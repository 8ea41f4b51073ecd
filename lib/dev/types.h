// SPDX-License-Identifier: Apache-2.0
// All device types of the machine, for -device help, the man page's check and
// "did you mean". A new device has its line here.
#ifndef LIB_DEV_TYPES_H_
#define LIB_DEV_TYPES_H_

#include <cstdint>
#include <span>
#include <string>

#include "absl/strings/string_view.h"

namespace atl::dev {

enum class Attachment : uint8_t {
  kBoard,  // part of every machine
  kPci,    // in a slot; by -drive, -net or -device
  kIsa,    // at ports that an option names
  kExtra,  // in a PCI slot; by -device alone
};

struct DeviceType {
  absl::string_view name;  // Device::name() of it
  Attachment attachment;
  absl::string_view summary;
  absl::string_view options;  // for -device NAME,…: "iobase=0x501,iosize=2" with defaults
};

// Sorted by name.
std::span<const DeviceType> DeviceTypes();
// Null where there is none of that name.
const DeviceType* FindDeviceType(absl::string_view name);
// A line a device: name, where it attaches, what it is.
std::string DescribeDeviceTypes();

}  // namespace atl::dev

#endif  // LIB_DEV_TYPES_H_
