// SPDX-License-Identifier: Apache-2.0
#include "cmd/stat/print.h"

#include <time.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "cmd/stat/histogram.h"
#include "lib/cli/json.h"
#include "lib/cli/table.h"
#include "lib/stats/fields.h"

namespace atl::stat {
namespace {

double PerSecond(double delta, uint64_t interval_ns) {
  return interval_ns == 0 ? 0 : delta * 1e9 / static_cast<double>(interval_ns);
}

std::string Integer(double value) { return absl::StrFormat("%.0f", std::floor(value)); }

// A line's value in a log.
std::string Shown(const Line& line, Show show, uint64_t interval_ns) {
  if (!line.accumulates || show == Show::kTotal) return Integer(line.total);
  if (show == Show::kDelta) return Integer(line.delta);
  const double rate = PerSecond(line.delta, interval_ns);
  return rate < 10 && rate != std::floor(rate) ? absl::StrFormat("%.2f", rate) : Integer(rate);
}

const Line* FindLine(const std::vector<Line>& lines, const std::string& name) {
  const auto at = std::lower_bound(lines.begin(), lines.end(), name,
                                   [](const Line& l, const std::string& n) { return l.name < n; });
  return at != lines.end() && at->name == name ? &*at : nullptr;
}

// Columns as vmstat has them. They are those that have counted something, unless
// they were asked for by name; the heading comes anew when there are others.
class TextLog final : public Log {
 public:
  TextLog(const Options& options, unsigned lines_at_once)
      : options_(options), lines_at_once_(lines_at_once) {}

  std::string Sample(const stats::Collector& sample) override {
    const std::vector<Line> lines = ShortLines(sample.rows(), options_.compat, false);
    bool changed = false;
    for (const Line& l : lines) {
      if (l.total == 0 && options_.patterns.empty()) continue;
      if (std::find(columns_.begin(), columns_.end(), l.name) != columns_.end()) continue;
      columns_.push_back(l.name);
      changed = true;
    }
    if (changed) std::sort(columns_.begin(), columns_.end());
    std::string body;
    if (!options_.compat) body = absl::StrFormat("%-24s", Timestamp(sample.time().wall_ns));
    bool any = false;
    for (const std::string& name : columns_) {
      const Line* line = FindLine(lines, name);
      const std::string value =
          line == nullptr ? "-" : Shown(*line, options_.show, sample.time().interval_ns);
      any |= value != "0" && value != "-";
      if (options_.compat) {
        absl::StrAppendFormat(&body, " %9s ", value);
      } else {
        absl::StrAppendFormat(&body, " %*s", Width(name), value);
      }
    }
    if (options_.skip_zero && !any) return "";
    while (!body.empty() && body.back() == ' ') body.pop_back();
    std::string out;
    if (changed || printed_ % lines_at_once_ == 0) {
      out = Heading();
      printed_ = 0;
    }
    ++printed_;
    return absl::StrCat(out, body, "\n");
  }

 private:
  static int Width(const std::string& name) {
    return static_cast<int>(std::max<size_t>(name.size(), 10));
  }
  std::string Heading() const {
    std::string out;
    if (!options_.compat) out = absl::StrFormat("%-24s", "time");
    for (const std::string& name : columns_) {
      if (options_.compat) {
        absl::StrAppendFormat(&out, "%10s ", name.substr(0, 9));
      } else {
        absl::StrAppendFormat(&out, " %*s", Width(name), name);
      }
    }
    while (!out.empty() && out.back() == ' ') out.pop_back();
    return out + "\n";
  }

  const Options& options_;
  const unsigned lines_at_once_;
  std::vector<std::string> columns_;
  unsigned printed_ = 0;
};

// The columns are those of the first sample: a table has one heading.
class CsvLog final : public Log {
 public:
  CsvLog(const Options& options, char separator) : options_(options), separator_(separator) {}

  std::string Sample(const stats::Collector& sample) override {
    const std::vector<Line> lines = ShortLines(sample.rows(), options_.compat, false);
    std::string out;
    if (columns_.empty()) {
      out = "time";
      for (const Line& l : lines) {
        columns_.push_back(l.name);
        absl::StrAppend(&out, std::string(1, separator_), Quoted(l.name));
      }
      out += "\n";
    }
    std::string body = Timestamp(sample.time().wall_ns);
    bool any = false;
    for (const std::string& name : columns_) {
      const Line* line = FindLine(lines, name);
      const std::string value =
          line == nullptr ? "" : Shown(*line, options_.show, sample.time().interval_ns);
      any |= value != "0" && !value.empty();
      absl::StrAppend(&body, std::string(1, separator_), value);
    }
    if (options_.skip_zero && !any) return out;
    return absl::StrCat(out, body, "\n");
  }

 private:
  // RFC 4180.
  std::string Quoted(const std::string& name) const {
    if (name.find_first_of("\",\t") == std::string::npos) return name;
    std::string out = "\"";
    for (char c : name) out.append(c == '"' ? 2 : 1, c);
    return out + "\"";
  }

  const Options& options_;
  const char separator_;
  std::vector<std::string> columns_;
};

class JsonLog final : public Log {
 public:
  explicit JsonLog(const Options& options) : options_(options) {}

  std::string Sample(const stats::Collector& sample) override {
    cli::JsonWriter json(0);
    const uint64_t interval = sample.time().interval_ns;
    json.BeginObject().Key("time").String(Timestamp(sample.time().wall_ns));
    json.Key("interval_ns").Number(interval);
    json.Key("vms").BeginArray();
    for (const std::string& name : sample.VmNames()) json.String(name);
    json.EndArray().Key("fields").BeginObject();
    bool any = false;
    for (const stats::Row& row : sample.rows()) {
      const uint64_t total = row.Sum(row.total), delta = row.Sum(row.delta);
      if (options_.skip_zero && total == 0 && delta == 0) continue;
      any = true;
      json.Key(options_.compat ? std::string(stats::OldName(row.name)) : row.name).BeginObject();
      json.Key("type").String(stats::TypeName(row.info.type));
      const std::string unit = stats::UnitName(row.info.unit, row.info.base, row.info.exponent);
      if (!unit.empty()) json.Key("unit").String(unit);
      if (row.info.histogram()) {
        json.Key("count").Number(total).Key("buckets").BeginArray();
        for (uint64_t b : row.total) json.Number(b);
        json.EndArray().Key("delta_buckets").BeginArray();
        for (uint64_t b : row.delta) json.Number(b);
        json.EndArray();
        const std::pair<absl::string_view, double> kShares[] = {
            {"p50", 0.5}, {"p90", 0.9}, {"p99", 0.99}};
        for (const auto& [key, share] : kShares) {
          json.Key(key).Number(static_cast<uint64_t>(Percentile(row.info, row.total, share)));
        }
      } else {
        json.Key("total").Number(row.total[0]);
        if (row.info.accumulates()) {
          json.Key("delta").Number(row.delta[0]);
          json.Key("rate").Number(static_cast<uint64_t>(
              std::llround(PerSecond(static_cast<double>(row.delta[0]), interval))));
        }
      }
      json.Key("sources").BeginArray();
      for (unsigned i = 0; i < stats::kSourceKinds; ++i) {
        if (row.sources >> i & 1) json.String(stats::SourceName(static_cast<stats::SourceKind>(i)));
      }
      json.EndArray();
      if (!row.alive) json.Key("ended").Bool(true);
      json.EndObject();
    }
    json.EndObject().EndObject();
    return options_.skip_zero && !any ? "" : json.text() + "\n";
  }

 private:
  const Options& options_;
};

class MetricsLog final : public Log {
 public:
  std::string Sample(const stats::Collector& sample) override { return OpenMetrics(sample); }
};

// ---- OpenMetrics (github.com/OpenObservability/OpenMetrics, 1.0) ----

std::string MetricName(absl::string_view name) {
  std::string out = "atoll_";
  for (char c : name) {
    const bool good = absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '_';
    out += good ? c : '_';
  }
  return out;
}

std::string Escaped(absl::string_view text) {
  std::string out;
  for (char c : text) {
    if (c == '\\' || c == '"') out += '\\';
    if (c == '\n') {
      out += "\\n";
    } else {
      out += c;
    }
  }
  return out;
}

double Scaled(uint64_t value, const stats::Descriptor& d) {
  return static_cast<double>(value) *
         std::pow(d.base == stats::Base::kPow2 ? 2.0 : 10.0, d.exponent);
}

absl::string_view BaseUnit(stats::Unit unit) {
  switch (unit) {
    case stats::Unit::kBytes:
      return "bytes";
    case stats::Unit::kSeconds:
      return "seconds";
    default:
      return "";
  }
}

// What one family has to say: its values by labels.
struct Family {
  std::string help;
  std::string type;
  std::string unit;
  std::string points;
};

// "guest_ns" and "guest_hist" are one histogram with a sum.
std::string Stem(const std::string& name, absl::string_view suffix) {
  if (name.size() > suffix.size() &&
      absl::string_view(name).substr(name.size() - suffix.size()) == suffix) {
    return name.substr(0, name.size() - suffix.size());
  }
  return "";
}

}  // namespace

std::string Timestamp(int64_t wall_ns) {
  const time_t seconds = static_cast<time_t>(wall_ns / 1'000'000'000);
  tm t;
  gmtime_r(&seconds, &t);
  return absl::StrFormat("%04d-%02d-%02dT%02d:%02d:%02d.%03dZ", t.tm_year + 1900, t.tm_mon + 1,
                         t.tm_mday, t.tm_hour, t.tm_min, t.tm_sec,
                         wall_ns % 1'000'000'000 / 1'000'000);
}

std::vector<Line> ShortLines(const std::vector<stats::Row>& rows, bool compat, bool skip_zero) {
  std::map<std::string, Line> by_name;
  for (const stats::Row& row : rows) {
    const std::string name = compat ? std::string(stats::OldName(row.name)) : row.name;
    Line& line = by_name[name];
    line.name = name;
    line.total += static_cast<double>(row.Sum(row.total));
    line.delta += static_cast<double>(row.Sum(row.delta));
    line.accumulates = row.info.accumulates();
    line.alive = row.alive;
    line.unit = row.info.histogram()
                    ? ""
                    : stats::UnitName(row.info.unit, row.info.base, row.info.exponent);
  }
  std::vector<Line> out;
  for (auto& [name, line] : by_name) {
    if (!skip_zero || line.total != 0 || line.delta != 0) out.push_back(std::move(line));
  }
  return out;
}

std::string OnceText(const std::vector<Line>& lines, bool compat) {
  std::string out;
  // kvm_stat's columns; numbers that fill theirs still have a blank before them.
  const auto column = [](double value) {
    const std::string text = absl::StrFormat("%.0f", value);
    return absl::StrCat(std::string(text.size() < 10 ? 10 - text.size() : 1, ' '), text);
  };
  for (const Line& l : lines) {
    std::string name = l.name;
    name.resize(std::max<size_t>(name.size(), compat ? 22 : 42), ' ');
    absl::StrAppend(&out, name, column(l.total), column(l.delta), "\n");
  }
  return out;
}

std::unique_ptr<Log> NewLog(const Options& options, unsigned lines_at_once) {
  switch (options.format) {
    case Format::kText:
      return std::make_unique<TextLog>(options, std::max(lines_at_once, 1u));
    case Format::kCsv:
      return std::make_unique<CsvLog>(options, ',');
    case Format::kTsv:
      return std::make_unique<CsvLog>(options, '\t');
    case Format::kJsonl:
      return std::make_unique<JsonLog>(options);
    case Format::kOpenMetrics:
      break;
  }
  return std::make_unique<MetricsLog>();
}

std::string OpenMetrics(const stats::Collector& sample) {
  std::map<std::string, Family> families;
  for (const stats::Group* g : sample.groups()) {
    if (g->fresh) continue;
    std::string labels = absl::StrCat("vm=\"", Escaped(g->vm), "\"");
    if (g->vcpu >= 0) absl::StrAppend(&labels, ",vcpu=\"", g->vcpu, "\"");
    // Sums that belong to a histogram of the same group.
    std::map<std::string, size_t> sums;
    const std::vector<stats::Descriptor>& fields = g->schema->fields;
    for (size_t i = 0; i < fields.size(); ++i) {
      if (sample.Uses(*g, i)) sums[fields[i].name] = i;
    }
    for (size_t i = 0; i < fields.size(); ++i) {
      const stats::Descriptor& d = fields[i];
      if (!sample.Uses(*g, i)) continue;
      const uint64_t* words = g->values.data() + d.offset / 8;
      const stats::Field* known = stats::FindField(d.name);
      const std::string unit(BaseUnit(d.unit));
      std::string reason, name = d.name;
      if (const size_t open = name.find('('); open != std::string::npos) {
        reason = absl::StrCat(",reason=\"", Escaped(name.substr(open + 1, name.size() - open - 2)),
                              "\"");
        name = absl::StrCat(name.substr(0, open), "_by_reason");
      }
      if (d.histogram()) {
        const std::string stem = Stem(name, "_hist");
        std::string full = MetricName(stem.empty() ? name : stem);
        if (!unit.empty()) absl::StrAppend(&full, "_", unit);
        Family& f = families[full];
        f.type = "histogram";
        f.unit = unit;
        if (known != nullptr) f.help = std::string(known->meaning);
        uint64_t count = 0;
        for (unsigned w = 0; w < d.size; ++w) {
          count += words[w];
          const std::string le =
              w + 1 == d.size ? "+Inf" : absl::StrFormat("%.9g", BucketEnd(d, w) * Scaled(1, d));
          absl::StrAppend(&f.points, full, "_bucket{", labels, ",le=\"", le, "\"} ", count, "\n");
        }
        const auto sum = sums.find(stem + "_ns");
        if (!stem.empty() && sum != sums.end()) {
          const stats::Descriptor& s = fields[sum->second];
          absl::StrAppend(&f.points, full, "_count{", labels, "} ", count, "\n", full, "_sum{",
                          labels, "} ", absl::StrFormat("%.9f", Scaled(g->values[s.offset / 8], s)),
                          "\n");
        }
        continue;
      }
      const std::string stem = Stem(name, "_ns");
      if (!stem.empty() && sums.count(stem + "_hist") != 0) continue;  // its sum
      const bool counter = d.accumulates();
      std::string full = MetricName(stem.empty() ? name : stem);
      if (!unit.empty()) absl::StrAppend(&full, "_", unit);
      Family& f = families[full];
      f.type = counter ? "counter" : "gauge";
      f.unit = unit;
      if (known != nullptr) f.help = std::string(known->meaning);
      const std::string value = unit.empty() && d.exponent == 0
                                    ? absl::StrCat(words[0])
                                    : absl::StrFormat("%.9f", Scaled(words[0], d));
      absl::StrAppend(&f.points, full, counter ? "_total" : "", "{", labels, reason, "} ", value,
                      "\n");
    }
  }
  std::string out;
  for (const auto& [name, f] : families) {
    absl::StrAppend(&out, "# TYPE ", name, " ", f.type, "\n");
    if (!f.unit.empty()) absl::StrAppend(&out, "# UNIT ", name, " ", f.unit, "\n");
    if (!f.help.empty()) absl::StrAppend(&out, "# HELP ", name, " ", Escaped(f.help), "\n");
    absl::StrAppend(&out, f.points);
  }
  absl::StrAppend(&out, "# EOF\n");
  return out;
}

std::string FieldList() {
  cli::TextTable table;
  table.AddColumn("FIELD");
  table.AddColumn("UNTIL 4.1");
  table.AddColumn("TYPE");
  table.AddColumn("UNIT");
  table.AddColumn("MEANING");
  for (const stats::Field& f : stats::Fields()) {
    table.AddRow(
        {std::string(f.name), std::string(f.old_name), std::string(stats::TypeName(f.type)),
         stats::UnitName(f.unit, stats::Base::kPow10, f.exponent), std::string(f.meaning)});
  }
  return table.ToString();
}

}  // namespace atl::stat
