// SPDX-License-Identifier: Apache-2.0
#include "lib/stats/sources/qmp_reply.h"

#include <algorithm>
#include <limits>
#include <string>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"

namespace atl::stats {
namespace {

using qmp::JsonValue;

constexpr uint16_t kBuckets = 32;
constexpr size_t kMaxObjects = 4096;

absl::Status Bad(absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat("query-stats: ", what));
}

const std::string* Text(const JsonValue& of, absl::string_view name) {
  const JsonValue* v = of.Find(name);
  return v == nullptr ? nullptr : v->string();
}

bool ToType(absl::string_view text, Type* to) {
  static constexpr Type kAll[] = {Type::kCumulative, Type::kInstant, Type::kPeak, Type::kLinearHist,
                                  Type::kLogHist};
  static constexpr absl::string_view kNames[] = {"cumulative", "instant", "peak",
                                                 "linear-histogram", "log2-histogram"};
  for (size_t i = 0; i < std::size(kAll); ++i) {
    if (text != kNames[i]) continue;
    *to = kAll[i];
    return true;
  }
  return false;
}

Unit ToUnit(const std::string* text) {
  if (text == nullptr) return Unit::kNone;
  if (*text == "bytes") return Unit::kBytes;
  if (*text == "seconds") return Unit::kSeconds;
  if (*text == "cycles") return Unit::kCycles;
  return *text == "boolean" ? Unit::kBoolean : Unit::kNone;
}

absl::StatusOr<std::shared_ptr<const Schema>> ParseSchema(const JsonValue& of) {
  const JsonValue* list = of.Find("stats");
  if (list == nullptr || list->array() == nullptr) return Bad("a schema without its stats");
  if (list->array()->size() > kMaxDescriptors) return Bad("too many stats");
  auto out = std::make_shared<Schema>();
  for (const JsonValue& v : *list->array()) {
    const std::string* name = Text(v, "name");
    const std::string* type = Text(v, "type");
    Descriptor d;
    if (name == nullptr || type == nullptr) return Bad("a stat without a name or a type");
    if (name->empty() || name->size() >= kMaxNameSize ||
        !std::all_of(name->begin(), name->end(),
                     [](unsigned char c) { return absl::ascii_isgraph(c); })) {
      return Bad("a stat's name is none");
    }
    if (!ToType(*type, &d.type)) continue;  // of the future
    d.name = *name;
    d.unit = ToUnit(Text(v, "unit"));
    if (const JsonValue* base = v.Find("base"); base != nullptr && base->integer() != nullptr) {
      d.base = *base->integer() == 2 ? Base::kPow2 : Base::kPow10;
    }
    if (const JsonValue* e = v.Find("exponent"); e != nullptr && e->integer() != nullptr) {
      d.exponent = static_cast<int16_t>(std::clamp<int64_t>(*e->integer(), -300, 300));
    }
    if (const JsonValue* b = v.Find("bucket-size"); b != nullptr && b->integer() != nullptr) {
      d.bucket_size = static_cast<uint32_t>(std::clamp<int64_t>(*b->integer(), 0, 1 << 30));
    }
    d.size = d.histogram() ? kBuckets : uint16_t{1};
    d.offset = out->words * 8;
    out->words += d.size;
    if (out->words > kMaxWords) return Bad("too many stats");
    out->fields.push_back(std::move(d));
  }
  return std::shared_ptr<const Schema>(std::move(out));
}

// A count, also where it is larger than int64_t (then a real), or a boolean.
bool ToCount(const JsonValue& v, uint64_t* to) {
  if (const int64_t* i = v.integer()) {
    *to = static_cast<uint64_t>(*i);
  } else if (const double* r = v.real()) {
    *to = *r >= 0 && *r < 18446744073709551615.0 ? static_cast<uint64_t>(*r) : 0;
  } else if (const bool* b = v.boolean()) {
    *to = *b;
  } else {
    return false;
  }
  return true;
}

}  // namespace

absl::StatusOr<QmpSchemas> ParseQmpSchemas(const JsonValue& reply) {
  if (reply.array() == nullptr) return Bad("the schemas are no list");
  QmpSchemas out;
  for (const JsonValue& v : *reply.array()) {
    const std::string* provider = Text(v, "provider");
    const std::string* target = Text(v, "target");
    if (provider == nullptr || target == nullptr || *provider != "kvm") continue;
    absl::StatusOr<std::shared_ptr<const Schema>> schema = ParseSchema(v);
    if (!schema.ok()) return schema.status();
    if (*target == "vm") out.vm = *schema;
    if (*target == "vcpu") out.vcpu = *schema;
  }
  return out;
}

absl::StatusOr<std::vector<std::vector<uint64_t>>> ParseQmpStats(const JsonValue& reply,
                                                                 const Schema& schema) {
  if (reply.array() == nullptr) return Bad("the reply is no list");
  if (reply.array()->size() > kMaxObjects) return Bad("too many vCPUs");
  std::vector<std::vector<uint64_t>> out;
  for (const JsonValue& object : *reply.array()) {
    const std::string* provider = Text(object, "provider");
    if (provider != nullptr && *provider != "kvm") continue;
    const JsonValue* list = object.Find("stats");
    if (list == nullptr || list->array() == nullptr) return Bad("an object without its stats");
    std::vector<uint64_t> values(schema.words);
    size_t hint = 0;  // both lists are in one order, mostly
    for (const JsonValue& v : *list->array()) {
      const std::string* name = Text(v, "name");
      const JsonValue* value = v.Find("value");
      if (name == nullptr || value == nullptr) return Bad("a stat without a name or a value");
      size_t at = hint;
      const size_t n = schema.fields.size();
      size_t tries = 0;
      while (tries < n && schema.fields[at % n].name != *name) ++at, ++tries;
      if (tries == n) continue;
      hint = at % n + 1;
      const Descriptor& d = schema.fields[at % n];
      uint64_t* to = values.data() + d.offset / 8;
      if (const JsonValue::Array* buckets = value->array()) {
        for (size_t i = 0; i < buckets->size(); ++i) {
          uint64_t count;
          if (!ToCount((*buckets)[i], &count)) return Bad(absl::StrCat(*name, " is no number"));
          to[std::min<size_t>(i, d.size - 1)] += count;
        }
      } else if (!ToCount(*value, to)) {
        return Bad(absl::StrCat(*name, " is no number"));
      }
    }
    out.push_back(std::move(values));
  }
  return out;
}

}  // namespace atl::stats
