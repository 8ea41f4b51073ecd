// SPDX-License-Identifier: Apache-2.0
#include "lib/cli/table.h"

#include <algorithm>
#include <cstdint>

namespace atl::cli {
namespace {

// Code points, which is columns for the names people give.
size_t Width(absl::string_view text) {
  return static_cast<size_t>(std::count_if(
      text.begin(), text.end(), [](char c) { return (static_cast<uint8_t>(c) & 0xc0) != 0x80; }));
}

size_t Utf8Length(absl::string_view text) {
  const auto lead = static_cast<uint8_t>(text[0]);
  const size_t n = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
  if (lead < 0xc2 || lead > 0xf4 || text.size() < n) return 0;
  for (size_t i = 1; i < n; ++i) {
    if ((static_cast<uint8_t>(text[i]) & 0xc0) != 0x80) return 0;
  }
  // U+0080..U+009F are control characters.
  if (lead == 0xc2 && static_cast<uint8_t>(text[1]) < 0xa0) return 0;
  return n;
}

}  // namespace

std::string Printable(absl::string_view text) {
  std::string out;
  while (!text.empty()) {
    const auto c = static_cast<uint8_t>(text[0]);
    size_t n = c < 0x80 ? static_cast<size_t>(c >= 0x20 && c != 0x7f) : Utf8Length(text);
    if (n == 0) {
      out.push_back('?');
      n = 1;
    } else {
      out.append(text.data(), n);
    }
    text.remove_prefix(n);
  }
  return out;
}

void TextTable::AddColumn(absl::string_view name, Align align, size_t min_width) {
  columns_.push_back({std::string(name), align, std::max(min_width, Width(name))});
}

void TextTable::AddRow(std::vector<std::string> cells) {
  cells.resize(columns_.size());
  for (size_t i = 0; i < cells.size(); ++i) {
    columns_[i].width = std::max(columns_[i].width, Width(cells[i]));
  }
  rows_.push_back(std::move(cells));
}

std::string TextTable::ToString(size_t gap) const {
  std::string out;
  auto line = [&](auto cell_of) {
    std::string text;
    for (size_t i = 0; i < columns_.size(); ++i) {
      const std::string& cell = cell_of(i);
      const std::string pad(columns_[i].width - Width(cell), ' ');
      if (i > 0) text.append(gap, ' ');
      text += columns_[i].align == Align::kRight ? pad + cell : cell + pad;
    }
    text.erase(text.find_last_not_of(' ') + 1);
    out += text;
    out.push_back('\n');
  };
  const bool named = std::any_of(columns_.begin(), columns_.end(),
                                 [](const Column& c) { return !c.name.empty(); });
  if (named) line([&](size_t i) -> const std::string& { return columns_[i].name; });
  for (const auto& row : rows_) line([&](size_t i) -> const std::string& { return row[i]; });
  return out;
}

}  // namespace atl::cli
