// SPDX-License-Identifier: Apache-2.0
#include "lib/stats/sources/trace_format.h"

#include <algorithm>
#include <cstring>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"

namespace atl::stats {
namespace {

constexpr size_t kMaxFields = 256;
constexpr size_t kMaxNames = 4096;
constexpr size_t kMaxName = 64;
// Where ReasonNames keeps the ISA in a code.
constexpr unsigned kIsaShift = 56;

bool ToNumber(absl::string_view text, uint64_t* to) {
  text = absl::StripAsciiWhitespace(text);
  while (absl::ConsumeSuffix(&text, "U") || absl::ConsumeSuffix(&text, "L") ||
         absl::ConsumeSuffix(&text, "u") || absl::ConsumeSuffix(&text, "l")) {
  }
  int64_t negative;
  if (absl::StartsWith(text, "-")) {
    if (!absl::SimpleAtoi(text, &negative)) return false;
    *to = static_cast<uint64_t>(negative);
    return true;
  }
  return absl::StartsWith(text, "0x") ? absl::SimpleHexAtoi(text, to) : absl::SimpleAtoi(text, to);
}

// "	field:unsigned int exit_reason;	offset:8;	size:4;	signed:0;"
bool ParseField(absl::string_view line, TraceField* to) {
  bool offset = false, size = false;
  for (absl::string_view part : absl::StrSplit(line, ';')) {
    part = absl::StripAsciiWhitespace(part);
    uint64_t number;
    if (absl::ConsumePrefix(&part, "field:")) {
      part = part.substr(0, part.find('['));
      const size_t blank = part.find_last_of(" *");
      to->name = std::string(blank == absl::string_view::npos ? part : part.substr(blank + 1));
    } else if (absl::ConsumePrefix(&part, "offset:")) {
      offset = ToNumber(part, &number) && number < 65536;
      if (offset) to->offset = static_cast<uint32_t>(number);
    } else if (absl::ConsumePrefix(&part, "size:")) {
      size = ToNumber(part, &number) && number < 65536;
      if (size) to->size = static_cast<uint32_t>(number);
    } else if (part == "signed:1") {
      to->is_signed = true;
    }
  }
  return offset && size && !to->name.empty() && to->name.size() <= kMaxName;
}

// The expression of __print_symbolic(EXPR, ...: "REC->exit_reason & 0xffff".
void ParseExpression(absl::string_view text, TraceNames* to) {
  const size_t at = text.find("REC->");
  if (at == absl::string_view::npos) return;
  absl::string_view rest = text.substr(at + 5);
  size_t end = 0;
  while (end < rest.size() &&
         (absl::ascii_isalnum(static_cast<unsigned char>(rest[end])) || rest[end] == '_'))
    ++end;
  to->field = std::string(rest.substr(0, std::min(end, kMaxName)));
  rest.remove_prefix(end);
  const size_t mask = rest.find("& ");
  if (mask == absl::string_view::npos) return;
  rest.remove_prefix(mask + 2);
  rest = rest.substr(0, rest.find_first_of(" ),"));
  uint64_t number;
  if (ToNumber(rest, &number)) to->mask = number;
}

// "{ 0x040, "read_cr0" }, { 0, "x" })": up to the bracket that closes the call.
void ParseList(absl::string_view text, TraceNames* to) {
  while (to->names.size() < kMaxNames) {
    const size_t next = text.find_first_of("{)");
    if (next == absl::string_view::npos || text[next] == ')') return;
    text.remove_prefix(next + 1);
    const size_t comma = text.find(',');
    const size_t quote = text.find('"');
    if (comma == absl::string_view::npos || quote == absl::string_view::npos || quote < comma)
      return;
    uint64_t code;
    const bool good = ToNumber(text.substr(0, comma), &code);
    text.remove_prefix(quote);
    // Several literals one after the other are one, as in C: "KVM_EXIT_" "IO".
    std::string name;
    while (absl::ConsumePrefix(&text, "\"")) {
      const size_t end = text.find('"');
      if (end == absl::string_view::npos) return;
      name.append(text.data(), std::min(end, kMaxName - std::min(name.size(), kMaxName)));
      text.remove_prefix(end + 1);
      text = absl::StripLeadingAsciiWhitespace(text);
    }
    for (char& c : name) {
      if (!absl::ascii_isgraph(static_cast<unsigned char>(c))) c = '_';
    }
    if (good && !name.empty()) to->names.emplace(code, std::move(name));
    const size_t close = text.find('}');
    if (close == absl::string_view::npos) return;
    text.remove_prefix(close + 1);
  }
}

}  // namespace

const TraceField* TraceFormat::Find(absl::string_view field) const {
  for (const TraceField& f : fields) {
    if (f.name == field) return &f;
  }
  return nullptr;
}

uint64_t TraceFormat::Value(const TraceField& field, std::span<const uint8_t> record) {
  uint64_t value = 0;
  const size_t size = std::min<size_t>(field.size, 8);
  if (size == 0 || field.offset + size > record.size()) return 0;
  std::memcpy(&value, record.data() + field.offset, size);
  if (field.is_signed && size < 8) {
    const unsigned shift = static_cast<unsigned>(64 - 8 * size);
    value = static_cast<uint64_t>(static_cast<int64_t>(value << shift) >> shift);
  }
  return value;
}

absl::StatusOr<TraceFormat> ParseTraceFormat(absl::string_view text) {
  if (text.size() > kMaxTraceFormat) {
    return absl::InvalidArgumentError("tracepoint format: is too long");
  }
  TraceFormat out;
  bool id = false;
  const size_t print = text.find("print fmt:");
  for (absl::string_view line : absl::StrSplit(text.substr(0, print), '\n')) {
    line = absl::StripAsciiWhitespace(line);
    TraceField field;
    if (absl::ConsumePrefix(&line, "name:")) {
      out.name = std::string(absl::StripAsciiWhitespace(line).substr(0, kMaxName));
    } else if (absl::ConsumePrefix(&line, "ID:")) {
      id = ToNumber(line, &out.id);
    } else if (absl::StartsWith(line, "field:")) {
      if (!ParseField(line, &field)) {
        return absl::InvalidArgumentError(absl::StrCat("tracepoint format: field '", line, "'"));
      }
      if (out.fields.size() < kMaxFields) out.fields.push_back(std::move(field));
    }
  }
  if (!id || out.name.empty()) {
    return absl::InvalidArgumentError("tracepoint format: has no name or ID");
  }
  if (print == absl::string_view::npos) return out;
  absl::string_view rest = text.substr(print);
  for (;;) {
    static constexpr absl::string_view kCall = "__print_symbolic(";
    const size_t at = rest.find(kCall);
    if (at == absl::string_view::npos || out.names.size() >= 16) return out;
    rest.remove_prefix(at + kCall.size());
    const size_t list = rest.find('{');
    if (list == absl::string_view::npos) return out;
    TraceNames names;
    ParseExpression(rest.substr(0, list), &names);
    ParseList(rest.substr(list), &names);
    if (!names.field.empty() && !names.names.empty()) out.names.push_back(std::move(names));
  }
}

ReasonNames::ReasonNames(const TraceFormat& format, absl::string_view field)
    : field_(format.Find(field)), isa_(format.Find("isa")) {
  for (const TraceNames& n : format.names) {
    if (n.field == field) lists_.push_back(&n);
  }
}

uint64_t ReasonNames::Code(std::span<const uint8_t> record) const {
  const uint64_t isa = isa_ == nullptr ? 0 : TraceFormat::Value(*isa_, record);
  const uint64_t code = TraceFormat::Value(*field_, record);
  return (code & ((uint64_t{1} << kIsaShift) - 1)) | (isa & 0xFF) << kIsaShift;
}

std::string ReasonNames::Name(uint64_t code) const {
  const uint64_t isa = code >> kIsaShift;
  code &= (uint64_t{1} << kIsaShift) - 1;
  if (!lists_.empty()) {
    const TraceNames& list = *lists_[isa == 1 || lists_.size() == 1 ? 0 : 1];
    const auto at = list.names.find(code & list.mask);
    if (at != list.names.end()) return at->second;
  }
  return absl::StrCat("0x", absl::Hex(code));
}

}  // namespace atl::stats
