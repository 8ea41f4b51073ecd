// SPDX-License-Identifier: Apache-2.0
#include "lib/stats/sources/recording.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "lib/base/status_macros.h"
#include "lib/cli/json.h"
#include "lib/qmp/json_value.h"

namespace atl::stats {
namespace {

using qmp::JsonValue;

constexpr size_t kMaxGroups = 64 * 1024;
constexpr size_t kMaxSchemas = 4096;
constexpr Type kTypes[] = {Type::kCumulative, Type::kInstant, Type::kPeak, Type::kLinearHist,
                           Type::kLogHist};

const int64_t* Int(const JsonValue& of, absl::string_view name) {
  const JsonValue* v = of.Find(name);
  return v == nullptr ? nullptr : v->integer();
}

std::string Text(const JsonValue& of, absl::string_view name) {
  const JsonValue* v = of.Find(name);
  return v == nullptr || v->string() == nullptr ? "" : *v->string();
}

// JSON's integers are signed here; what is larger comes back by the same cast.
void Signed(std::string* out, uint64_t word) { absl::StrAppend(out, static_cast<int64_t>(word)); }

absl::Status Bad(absl::string_view what) { return absl::InvalidArgumentError(what); }

absl::StatusOr<std::shared_ptr<const Schema>> ParseFields(const JsonValue& line) {
  const JsonValue* list = line.Find("fields");
  if (list == nullptr || list->array() == nullptr || list->array()->size() > kMaxDescriptors) {
    return Bad("a schema without fields");
  }
  auto out = std::make_shared<Schema>();
  for (const JsonValue& f : *list->array()) {
    Descriptor d;
    d.name = Text(f, "name");
    const std::string type = Text(f, "type");
    const auto* known = std::find_if(std::begin(kTypes), std::end(kTypes),
                                     [&type](Type t) { return TypeName(t) == type; });
    const int64_t* unit = Int(f, "unit");
    const int64_t* base = Int(f, "base");
    const int64_t* exponent = Int(f, "exponent");
    const int64_t* size = Int(f, "size");
    const int64_t* bucket = Int(f, "bucket");
    if (d.name.empty() || d.name.size() >= kMaxNameSize || known == std::end(kTypes) ||
        !std::all_of(d.name.begin(), d.name.end(),
                     [](unsigned char c) { return absl::ascii_isgraph(c); })) {
      return Bad("a field without a name or a type");
    }
    d.type = *known;
    if (unit != nullptr && *unit >= 0 && *unit <= static_cast<int64_t>(Unit::kBoolean)) {
      d.unit = static_cast<Unit>(*unit);
    }
    d.base = base != nullptr && *base == 2 ? Base::kPow2 : Base::kPow10;
    if (exponent != nullptr && *exponent >= -300 && *exponent <= 300) {
      d.exponent = static_cast<int16_t>(*exponent);
    }
    if (size != nullptr) {
      if (*size < 1 || *size > 4096) return Bad(absl::StrCat(d.name, ": ", *size, " words"));
      d.size = static_cast<uint16_t>(*size);
    }
    if (bucket != nullptr && *bucket >= 0 && *bucket <= 1 << 30) {
      d.bucket_size = static_cast<uint32_t>(*bucket);
    }
    d.offset = out->words * 8;
    out->words += d.size;
    if (out->words > kMaxWords) return Bad("too many words");
    out->fields.push_back(std::move(d));
  }
  return std::shared_ptr<const Schema>(std::move(out));
}

// Goes through the text once; a line is parsed when its sample is read, so that a
// long recording takes no more memory than its text.
class Replayer final : public Replay {
 public:
  Replayer(std::string text, Wanted wanted) : text_(std::move(text)), wanted_(std::move(wanted)) {}

  absl::Status Check() {
    // Everything once, as it will be read.
    while (at_ < text_.size()) RETURN_IF_ERROR(Line());
    if (line_ == 0 || !header_) return Bad("this is no recording of stat");
    samples_ = seen_samples_;
    Rewind();
    RETURN_IF_ERROR(ToNextSample());
    return absl::OkStatus();
  }

  SourceKind kind() const override { return SourceKind::kFd; }
  absl::Status Discover() override { return absl::OkStatus(); }
  void Read() override {
    if (!next_) return;
    next_.reset();
    (void)ToNextSample();
  }
  std::optional<int64_t> NextTime() const override { return next_; }
  size_t samples() const override { return samples_; }

 private:
  void Rewind() {
    at_ = line_ = 0;
    header_ = false;
    schemas_.clear();
    order_.clear();
    groups_.clear();
    unwanted_.clear();
    seen_.clear();
    next_.reset();
    last_.reset();
    seen_samples_ = 0;
  }

  // Up to the line that begins the sample after this one.
  absl::Status ToNextSample() {
    while (at_ < text_.size() && !next_) RETURN_IF_ERROR(Line());
    return absl::OkStatus();
  }

  absl::Status Line() {
    const size_t end = std::min(text_.find('\n', at_), text_.size());
    const absl::string_view line = absl::string_view(text_).substr(at_, end - at_);
    at_ = end + 1;
    ++line_;
    if (line.empty()) return absl::OkStatus();
    absl::StatusOr<JsonValue> value = qmp::ParseJson(line);
    absl::Status status = value.status();
    if (status.ok()) status = Take(*value);
    return Annotate(status, absl::StrCat("line ", line_));
  }

  absl::StatusOr<Group*> GroupOf(const int64_t* number) {
    if (number == nullptr || *number < 0 || *number >= static_cast<int64_t>(order_.size())) {
      return Bad("no such group");
    }
    return order_[static_cast<size_t>(*number)];
  }

  absl::Status Take(const JsonValue& v) {
    if (v.object() == nullptr || v.object()->empty()) return Bad("no object");
    const std::string& first = v.object()->front().first;
    if (!header_) {
      const int64_t* version = Int(v, "atoll-stat");
      if (version == nullptr) return Bad("this is no recording of stat");
      if (*version != 1) return Bad(absl::StrCat("a recording of version ", *version));
      header_ = true;
      return absl::OkStatus();
    }
    if (first == "schema") {
      ASSIGN_OR_RETURN(std::shared_ptr<const Schema> schema, ParseFields(v));
      if (schemas_.size() >= kMaxSchemas) return Bad("too many schemas");
      schemas_.push_back(std::move(schema));
      return absl::OkStatus();
    }
    if (first == "group") return NewGroup(v);
    if (first == "sample") {
      const int64_t* time = Int(v, "sample");
      if (time == nullptr) return Bad("a sample without time");
      if (last_ && *time < *last_) return Bad("a sample from before the one before it");
      next_ = last_ = *time;
      ++seen_samples_;
      return absl::OkStatus();
    }
    if (first == "gone") {
      ASSIGN_OR_RETURN(Group * g, GroupOf(Int(v, "gone")));
      g->alive = false;
      return absl::OkStatus();
    }
    if (first == "g") {
      ASSIGN_OR_RETURN(Group * g, GroupOf(Int(v, "g")));
      const JsonValue* words = v.Find("v");
      if (words == nullptr || words->array() == nullptr ||
          words->array()->size() != g->values.size()) {
        return Bad("values that are not as many as the schema has words");
      }
      for (size_t i = 0; i < g->values.size(); ++i) {
        const int64_t* word = (*words->array())[i].integer();
        if (word == nullptr) return Bad("a value that is no number");
        g->values[i] = static_cast<uint64_t>(*word);
      }
      g->fresh = false;
      return absl::OkStatus();
    }
    return absl::OkStatus();  // of a later version
  }

  absl::Status NewGroup(const JsonValue& v) {
    const int64_t* schema = Int(v, "schema");
    const int64_t* pid = Int(v, "pid");
    const int64_t* vcpu = Int(v, "vcpu");
    if (schema == nullptr || *schema < 0 || *schema >= static_cast<int64_t>(schemas_.size()) ||
        order_.size() >= kMaxGroups) {
      return Bad("a group without a schema");
    }
    Group* g = Add({.vm = Text(v, "vm"),
                    .pid = static_cast<pid_t>(pid != nullptr ? *pid : 0),
                    .vcpu = static_cast<int>(vcpu != nullptr ? *vcpu : -1),
                    .schema = schemas_[static_cast<size_t>(*schema)],
                    .whole = seen_samples_ > 1});
    if (!g->vm.empty() && std::find(seen_.begin(), seen_.end(), g->vm) == seen_.end()) {
      seen_.push_back(g->vm);
    }
    if (!wanted_.Matches(g->vm, g->pid)) {
      unwanted_.push_back(std::move(groups_.back()));
      groups_.pop_back();
    }
    const std::string source = Text(v, "source");
    for (unsigned i = 0; i < kSourceKinds; ++i) {
      if (SourceName(static_cast<SourceKind>(i)) == source) g->source = static_cast<SourceKind>(i);
    }
    order_.push_back(g);
    return absl::OkStatus();
  }

  const std::string text_;
  const Wanted wanted_;
  std::vector<std::unique_ptr<Group>> unwanted_;
  size_t at_ = 0;
  size_t line_ = 0;
  bool header_ = false;
  std::vector<std::shared_ptr<const Schema>> schemas_;
  std::vector<Group*> order_;
  std::optional<int64_t> next_, last_;
  size_t samples_ = 0;
  size_t seen_samples_ = 0;
};

}  // namespace

std::string Recorder::Sample(int64_t wall_ns, const std::vector<const Group*>& groups) {
  std::string out;
  if (!begun_) absl::StrAppend(&out, "{\"atoll-stat\": 1}\n");
  begun_ = true;
  // What the sample needs comes before it.
  for (const Group* g : groups) {
    if (groups_.count(g) != 0) continue;
    const auto [schema, made] =
        schemas_.try_emplace(g->schema.get(), static_cast<int>(schemas_.size()));
    if (made) {
      kept_.push_back(g->schema);
      cli::JsonWriter json(0);
      json.BeginObject().Key("schema").Number(static_cast<uint64_t>(schema->second));
      json.Key("fields").BeginArray();
      for (const Descriptor& d : g->schema->fields) {
        json.BeginObject().Key("name").String(d.name).Key("type").String(TypeName(d.type));
        if (d.unit != Unit::kNone) json.Key("unit").Number(static_cast<uint64_t>(d.unit));
        if (d.base == Base::kPow2) json.Key("base").Number(2);
        if (d.exponent != 0) json.Key("exponent").Signed(d.exponent);
        if (d.size != 1) json.Key("size").Number(d.size);
        if (d.bucket_size != 0) json.Key("bucket").Number(d.bucket_size);
        json.EndObject();
      }
      json.EndArray().EndObject();
      absl::StrAppend(&out, json.text(), "\n");
    }
    const int number = static_cast<int>(groups_.size());
    groups_[g] = number;
    cli::JsonWriter json(0);
    json.BeginObject().Key("group").Number(static_cast<uint64_t>(number));
    json.Key("schema").Number(static_cast<uint64_t>(schema->second));
    json.Key("source").String(SourceName(g->source)).Key("vm").String(g->vm);
    json.Key("pid").Signed(g->pid).Key("vcpu").Signed(g->vcpu).EndObject();
    absl::StrAppend(&out, json.text(), "\n");
  }
  time_ = std::max(time_, wall_ns);
  absl::StrAppend(&out, "{\"sample\": ", time_, "}\n");
  for (const Group* g : groups) {
    if (g->fresh || gone_[g]) continue;
    absl::StrAppend(&out, "{\"g\": ", groups_[g], ", \"v\": [",
                    absl::StrJoin(g->values, ",", Signed), "]}\n");
    if (!g->alive) {
      gone_[g] = true;
      absl::StrAppend(&out, "{\"gone\": ", groups_[g], "}\n");
    }
  }
  return out;
}

absl::StatusOr<std::unique_ptr<Replay>> Replay::Parse(std::string text, Wanted wanted) {
  auto out = std::make_unique<Replayer>(std::move(text), std::move(wanted));
  RETURN_IF_ERROR(out->Check());
  return std::unique_ptr<Replay>(std::move(out));
}

}  // namespace atl::stats
