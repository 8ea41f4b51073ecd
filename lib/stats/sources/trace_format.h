// SPDX-License-Identifier: Apache-2.0
// A tracepoint's `format` file (Documentation/trace/events.rst): where its fields
// lie in a record, and the names that its print format has for codes. So an exit
// reason has the name that this kernel gives it.
#ifndef LIB_STATS_SOURCES_TRACE_FORMAT_H_
#define LIB_STATS_SOURCES_TRACE_FORMAT_H_

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace atl::stats {

struct TraceField {
  std::string name;
  uint32_t offset = 0;  // bytes from the record's beginning
  uint32_t size = 0;
  bool is_signed = false;
};

// One __print_symbolic(): names of what `field` has, after `mask`.
struct TraceNames {
  std::string field;
  uint64_t mask = ~uint64_t{0};
  std::map<uint64_t, std::string> names;
};

struct TraceFormat {
  std::string name;
  uint64_t id = 0;
  std::vector<TraceField> fields;
  std::vector<TraceNames> names;  // in the order of the print format

  const TraceField* Find(absl::string_view field) const;
  // The field's value in a record; 0 where the record is too short.
  static uint64_t Value(const TraceField& field, std::span<const uint8_t> record);
};

inline constexpr size_t kMaxTraceFormat = 256 * 1024;

// InvalidArgument says what is missing.
absl::StatusOr<TraceFormat> ParseTraceFormat(absl::string_view text);

// The reason of a record of kvm_exit or kvm_userspace_exit in words: of several
// lists of names the one for the record's `isa` (1 VMX, 2 SVM). A code without a
// name is a number.
class ReasonNames {
 public:
  // `field`: "exit_reason", "reason".
  ReasonNames(const TraceFormat& format, absl::string_view field);
  bool valid() const { return field_ != nullptr; }
  // The code by which names are told apart; for Name().
  uint64_t Code(std::span<const uint8_t> record) const;
  std::string Name(uint64_t code) const;

 private:
  const TraceField* field_ = nullptr;
  const TraceField* isa_ = nullptr;
  std::vector<const TraceNames*> lists_;
};

}  // namespace atl::stats

#endif  // LIB_STATS_SOURCES_TRACE_FORMAT_H_
