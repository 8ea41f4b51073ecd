// SPDX-License-Identifier: Apache-2.0
// One description of a device's state serves saving, loading, comparing and
// showing it: VisitState() names each field once, in a fixed order, and a
// visitor does what it is for with each.
#ifndef LIB_DEV_STATE_H_
#define LIB_DEV_STATE_H_

#include <cstdint>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace atl::dev {

class StateVisitor {
 public:
  virtual ~StateVisitor() = default;

  // An integer, bool or enum of 1 to 8 bytes. A loader refuses (see status())
  // a value that the width cannot hold.
  template <typename T>
  void Field(absl::string_view name, T& v) {
    static_assert(std::is_integral_v<T> || std::is_enum_v<T>);
    uint64_t wide = static_cast<uint64_t>(v);
    Integer(name, wide, sizeof(T));
    v = static_cast<T>(wide);
  }
  // The same with the greatest value that is valid: hostile state is refused
  // here, before the device uses it as an index.
  template <typename T>
  void Bounded(absl::string_view name, T& v, uint64_t max) {
    Field(name, v);
    CheckMax(name, static_cast<uint64_t>(v), max);
  }
  template <typename T, size_t N>
  void Array(absl::string_view name, T (&v)[N]) {
    static_assert(std::is_integral_v<T>);
    Bytes(name, {reinterpret_cast<uint8_t*>(v), sizeof v});
  }
  // A byte string of a length that changes, at most `max` bytes.
  virtual void Blob(absl::string_view name, std::vector<uint8_t>& v, uint64_t max) = 0;
  virtual void Bytes(absl::string_view name, std::span<uint8_t> v) = 0;

  // Fields between Begin and End belong to a part of the device.
  virtual void Begin(absl::string_view part) = 0;
  virtual void End() = 0;

  // Whether values flow into the device: a device then rebuilds what it derives
  // from them (timers, IRQ lines) at the end of its VisitState().
  virtual bool loading() const = 0;
  // The first error so far; a loader leaves the remaining fields unchanged.
  virtual absl::Status status() const = 0;

 protected:
  virtual void Integer(absl::string_view name, uint64_t& v, unsigned size) = 0;
  virtual void CheckMax(absl::string_view name, uint64_t v, uint64_t max) = 0;
};

class Device;

// Versioned tag-length-value; loading accepts any bytes and refuses wrong ones
// with an error that names the field. A refused load may leave the device half
// loaded: reset or drop it.
std::vector<uint8_t> SaveState(Device& device);
absl::Status LoadState(Device& device, std::span<const uint8_t> bytes);
// "field = value" lines, for people and for comparing two devices.
std::string ShowState(Device& device);

}  // namespace atl::dev

#endif  // LIB_DEV_STATE_H_
