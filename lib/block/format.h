// SPDX-License-Identifier: Apache-2.0
// An image format: an entry of the table kFormats (formats.cc), which is the
// whole list. Adding one means one .cc, its test and one line there.
#ifndef LIB_BLOCK_FORMAT_H_
#define LIB_BLOCK_FORMAT_H_

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "lib/block/layer.h"
#include "lib/block/storage.h"

namespace atl::block {

// An option of `-o`, as data: parsing, help and man page check come from it.
struct FormatOption {
  enum class Type { kString, kSize, kNumber, kBool, kChoice };
  const char* name;
  Type type;
  const char* default_value;  // as text; null: none
  const char* help;
  // kChoice: the values, separated by '|'.
  const char* choices = nullptr;
  bool amendable = false;
};

// name=value pairs in the order given; a later one wins.
using FormatOptions = std::vector<std::pair<std::string, std::string>>;

struct LayerOptions {
  bool writable = false;
  // Only Describe() will be called: images whose data cannot be read here
  // (encrypted, external data file) open too.
  bool describe_only = false;
  // Open for Check(): what Check() can repair is no reason to refuse, and
  // nothing is repaired by opening.
  bool for_check = false;
  // Flush() writes metadata in order but does not wait for the medium.
  bool no_flush = false;
  // The format was guessed from the contents (raw: see raw.cc).
  bool probed = false;
};

struct Format {
  const char* name;
  // How sure the first bytes (up to 2048; all, if the file is shorter) are this
  // format's: 0 no, 1 raw, 100 by a magic number.
  int (*probe)(std::span<const uint8_t> header);
  absl::StatusOr<std::unique_ptr<Layer>> (*open)(std::unique_ptr<Storage> storage,
                                                 const LayerOptions& options);
  // Makes an image of `size` guest bytes in `storage`, which is empty. Options
  // have been checked against `options` and made complete by the defaults.
  absl::Status (*create)(Storage& storage, uint64_t size, const FormatOptions& options);
  std::span<const FormatOption> options;  // `size` is none of them
  bool supports_backing = false;
  bool supports_compression = false;
};

// All formats, raw first.
std::span<const Format* const> Formats();
// Null: no such format.
const Format* FindFormat(absl::string_view name);
// The most certain format of these first bytes; raw where no other is.
const Format& ProbeFormat(std::span<const uint8_t> header);

// The value of `name`, or empty where it is not in `options`.
absl::string_view OptionValue(const FormatOptions& options, absl::string_view name);
// Values of options that CompleteOptions() has seen.
bool BoolOption(const FormatOptions& options, absl::string_view name);
uint64_t SizeOption(const FormatOptions& options, absl::string_view name);  // 0: not given
Preallocation PreallocationOption(const FormatOptions& options);
// Checks names and values against the format's table (InvalidArgument names the
// option, says what is valid) and appends the defaults of those not given.
absl::StatusOr<FormatOptions> CompleteOptions(const Format& format, const FormatOptions& given);

}  // namespace atl::block

#endif  // LIB_BLOCK_FORMAT_H_
