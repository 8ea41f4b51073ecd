// SPDX-License-Identifier: Apache-2.0
// A table of text with aligned columns.
#ifndef LIB_CLI_TABLE_H_
#define LIB_CLI_TABLE_H_

#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace atl::cli {

// Text as a terminal can show it: control characters and bytes above ASCII
// that are no UTF-8 become '?', so that a name out of a foreign file cannot
// move the cursor.
std::string Printable(absl::string_view text);

class TextTable {
 public:
  enum class Align { kLeft, kRight };

  // When no column has a name there is no heading line.
  void AddColumn(absl::string_view name, Align align = Align::kLeft, size_t min_width = 0);
  // As many cells as columns; missing ones are empty, more are left out.
  void AddRow(std::vector<std::string> cells);

  // Columns are `gap` blanks apart, no line ends in blanks.
  std::string ToString(size_t gap = 2) const;

 private:
  struct Column {
    std::string name;
    Align align;
    size_t width;
  };
  std::vector<Column> columns_;
  std::vector<std::vector<std::string>> rows_;
};

}  // namespace atl::cli

#endif  // LIB_CLI_TABLE_H_
