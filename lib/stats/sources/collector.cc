// SPDX-License-Identifier: Apache-2.0
#include "lib/stats/sources/collector.h"

#include <algorithm>
#include <tuple>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace atl::stats {

uint64_t Row::Sum(const std::vector<uint64_t>& words) const {
  uint64_t sum = 0;
  for (uint64_t w : words) sum += w;
  return sum;
}

Collector::Collector(std::vector<std::unique_ptr<Source>> sources, Filter filter, bool since_start)
    : sources_(std::move(sources)),
      states_(sources_.size()),
      filter_(std::move(filter)),
      since_start_(since_start) {}

bool Collector::Accepts(const std::string& name) {
  if (!filter_.fields) return true;
  const auto [at, made] = accepted_.try_emplace(name, false);
  if (made) at->second = filter_.fields(name);
  return at->second;
}

void Collector::SetFilter(Filter filter) {
  filter_ = std::move(filter);
  accepted_.clear();
  rows_.clear();
  built_ = 0;
  uses_.clear();
  Rebuild();
  Fill();
}

// Which field of which group goes to which row.
void Collector::Rebuild() {
  // The best source of each counter of each process.
  std::map<std::pair<pid_t, std::string>, SourceKind> best;
  std::map<std::string, const Descriptor*> names;
  const std::vector<const Group*> all = groups();
  const auto wanted_vcpu = [this](const Group& g) {
    return filter_.vcpus.empty() ||
           std::find(filter_.vcpus.begin(), filter_.vcpus.end(), g.vcpu) != filter_.vcpus.end();
  };
  std::set<std::tuple<const Schema*, pid_t, SourceKind>> looked;
  for (const Group* g : all) {
    if (!wanted_vcpu(*g) || !looked.emplace(g->schema.get(), g->pid, g->source).second) continue;
    for (const Descriptor& d : g->schema->fields) {
      if (!Accepts(d.name)) continue;
      const auto [at, made] = best.try_emplace({g->pid, d.name}, g->source);
      if (!made) at->second = std::min(at->second, g->source);
      const Descriptor*& known = names[d.name];
      if (known == nullptr || d.size > known->size) known = &d;
    }
  }
  std::vector<Row> rows;
  for (const auto& [name, d] : names) {
    Row row;
    row.name = name;
    row.info = *d;
    row.total.resize(d->size);
    row.delta.resize(d->size);
    rows.push_back(std::move(row));
  }
  // Rows of VMs that are forgotten stay.
  for (Row& old : rows_) {
    if (names.count(old.name) == 0) rows.push_back(std::move(old));
  }
  std::sort(rows.begin(), rows.end(), [](const Row& a, const Row& b) { return a.name < b.name; });
  rows_ = std::move(rows);
  uses_.clear();
  for (const Group* g : all) {
    Use use;
    use.schema = g->schema.get();
    for (const Descriptor& d : g->schema->fields) {
      int index = -1;
      if (wanted_vcpu(*g)) {
        const auto at = best.find({g->pid, d.name});
        if (at != best.end() && at->second == g->source) {
          index = static_cast<int>(
              std::lower_bound(rows_.begin(), rows_.end(), d.name,
                               [](const Row& r, const std::string& n) { return r.name < n; }) -
              rows_.begin());
        }
      }
      use.row.push_back(index);
    }
    uses_.emplace(g, std::move(use));
  }
}

uint64_t Collector::Growth(const Group& group, const Descriptor& field, unsigned word) {
  if (!field.accumulates()) return 0;
  const size_t at = field.offset / 8 + word;
  const uint64_t before = at < group.previous.size() ? group.previous[at] : 0;
  const uint64_t now = group.values[at];
  // A counter that was set back counts from there.
  return now >= before ? now - before : now;
}

bool Collector::Uses(const Group& group, size_t field) const {
  const auto at = uses_.find(&group);
  return at != uses_.end() && field < at->second.row.size() && at->second.row[field] >= 0;
}

std::vector<const Group*> Collector::groups() const {
  std::vector<const Group*> out;
  for (const std::unique_ptr<Source>& s : sources_) {
    for (const std::unique_ptr<Group>& g : s->groups()) out.push_back(g.get());
  }
  return out;
}

absl::Status Collector::Sample(const SampleTime& time) {
  // What the last sample saw is what this one's growth is measured from.
  for (const std::unique_ptr<Source>& s : sources_) {
    for (const std::unique_ptr<Group>& g : s->groups()) {
      if (!g->fresh) g->previous = g->values;
    }
  }
  bool any = false;
  for (size_t i = 0; i < sources_.size(); ++i) {
    states_[i] = sources_[i]->Discover();
    if (!states_[i].ok()) continue;
    sources_[i]->Read();
    any |= !sources_[i]->groups().empty();
  }
  uint64_t mark = 1;
  for (const std::unique_ptr<Source>& s : sources_) {
    for (const std::unique_ptr<Group>& g : s->groups()) {
      if (!g->fresh && g->previous.empty()) {
        // Its first values: all new, or the beginning of what is measured.
        if (since_start_ || (g->whole && samples_ != 0)) {
          g->previous.assign(g->values.size(), 0);
        } else {
          g->previous = g->values;
        }
      }
      mark = mark * 1099511628211u + reinterpret_cast<uintptr_t>(g.get()) + g->values.size();
    }
  }
  if (mark != built_) {
    built_ = mark;
    Rebuild();
  }
  Fill();
  time_ = time;
  ++samples_;
  if (any) return absl::OkStatus();
  return absl::UnavailableError(
      absl::StrCat("no source could be read: ", absl::StrJoin(Refusals(), "; ")));
}

// The rows of what the groups have.
void Collector::Fill() {
  for (Row& row : rows_) {
    std::fill(row.total.begin(), row.total.end(), 0);
    std::fill(row.delta.begin(), row.delta.end(), 0);
    row.sources = 0;
    row.alive = false;
  }
  for (auto& [g, use] : uses_) {
    if (g->fresh) continue;
    for (size_t f = 0; f < use.row.size(); ++f) {
      if (use.row[f] < 0) continue;
      Row& row = rows_[static_cast<size_t>(use.row[f])];
      const Descriptor& d = use.schema->fields[f];
      row.sources |= 1u << static_cast<unsigned>(g->source);
      row.alive |= g->alive;
      const uint64_t* const words = g->values.data() + d.offset / 8;
      // What is now is nothing where the VM is gone.
      if (!d.accumulates() && !g->alive) continue;
      for (unsigned w = 0; w < d.size; ++w) {
        if (d.type == Type::kPeak) {
          row.total[w] = std::max(row.total[w], words[w]);
        } else {
          row.total[w] += words[w];
        }
        if (d.accumulates()) row.delta[w] += Growth(*g, d, w);
      }
    }
  }
}

std::vector<std::string> Collector::Refusals() const {
  std::vector<std::string> out;
  for (size_t i = 0; i < sources_.size(); ++i) {
    if (!states_[i].ok()) {
      out.push_back(absl::StrCat(SourceName(sources_[i]->kind()), ": ", states_[i].message()));
    } else if (sources_[i]->groups().empty()) {
      out.push_back(absl::StrCat(SourceName(sources_[i]->kind()), ": no VM that is wanted"));
    }
  }
  return out;
}

std::vector<std::string> Collector::TakeNotes() {
  std::vector<std::string> out;
  for (const std::unique_ptr<Source>& s : sources_) {
    for (std::string& note : s->TakeNotes()) out.push_back(std::move(note));
  }
  return out;
}

std::set<std::string> Collector::VmNames() const {
  std::set<std::string> out;
  for (const std::unique_ptr<Source>& s : sources_) {
    out.insert(s->seen().begin(), s->seen().end());
    for (const std::unique_ptr<Group>& g : s->groups()) {
      if (!g->vm.empty()) out.insert(g->vm);
    }
  }
  return out;
}

}  // namespace atl::stats
