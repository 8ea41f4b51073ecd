// SPDX-License-Identifier: Apache-2.0
#include "cmd/stat/view.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "cmd/stat/histogram.h"
#include "cmd/stat/print.h"
#include "lib/stats/fields.h"

namespace atl::stat {
namespace {

constexpr size_t kHistory = 60;

constexpr const char* kHelp[] = {
    "Keys",
    "  b        VMs (counters by guest)      c        forget the filters",
    "  f        counters: regular expression g        VM by name",
    "  h        this help                    o        sort by total or by rate",
    "  p        VM by process id             q        quit",
    "  r        count from now on            s        interval in seconds",
    "  v        next view                    x        show or hide reasons of kvm_exit",
    "  /        search                       space    stand still",
    "  < >      sort by another column       w        write what is shown to a file",
    "  up down  PgUp PgDn Home End           Enter    histogram of the line",
    "",
    "Counters",
};

double Rate(double delta, uint64_t interval_ns) {
  return interval_ns == 0 ? 0 : delta * 1e9 / static_cast<double>(interval_ns);
}

std::string Sources(unsigned bits) {
  std::string out;
  for (unsigned i = 0; i < stats::kSourceKinds; ++i) {
    if (bits >> i & 1) {
      absl::StrAppend(&out, out.empty() ? "" : ",",
                      stats::SourceName(static_cast<stats::SourceKind>(i)));
    }
  }
  return out;
}

// What a VM or a vCPU did in the last interval, by name.
struct Doings {
  std::string vm;
  int pid = 0;
  int vcpu = -1;
  std::set<int> vcpus;
  bool alive = false;
  unsigned sources = 0;
  std::map<std::string, double> delta, total;
};

std::map<std::string, Doings> Collected(const stats::Collector& sample, bool by_vcpu) {
  std::map<std::string, Doings> out;
  for (const stats::Group* g : sample.groups()) {
    if (g->fresh || (by_vcpu && g->vcpu < 0)) continue;
    std::string key = absl::StrCat(g->vm, "\n", g->pid);
    if (by_vcpu) key = absl::StrFormat("%s\n%05d", key, g->vcpu);
    Doings& d = out[key];
    d.vm = g->vm.empty() ? "(host)" : g->vm;
    d.pid = g->pid;
    d.vcpu = g->vcpu;
    if (g->vcpu >= 0) d.vcpus.insert(g->vcpu);
    d.alive |= g->alive;
    d.sources |= 1u << static_cast<unsigned>(g->source);
    for (size_t i = 0; i < g->schema->fields.size(); ++i) {
      const stats::Descriptor& f = g->schema->fields[i];
      if (f.histogram() || !sample.Uses(*g, i)) continue;
      if (g->alive) {
        d.delta[f.name] += static_cast<double>(stats::Collector::Growth(*g, f, 0));
      }
      d.total[f.name] += static_cast<double>(g->values[f.offset / 8]);
    }
  }
  return out;
}

double Of(const std::map<std::string, double>& values, const std::string& name) {
  const auto at = values.find(name);
  return at == values.end() ? 0 : at->second;
}

// Times and counts do not add up, and instructions would hide the rest.
bool IsEvent(const stats::Row& row) {
  return row.info.accumulates() && row.info.unit == stats::Unit::kNone &&
         row.name != "instructions";
}

// The sum of a histogram: the reasons' view has both.
bool TimedElsewhere(const std::string& name, const stats::Collector& sample) {
  if (!absl::EndsWith(name, "_ns")) return false;
  const std::string hist = absl::StrCat(name.substr(0, name.size() - 3), "_hist");
  const std::vector<stats::Row>& rows = sample.rows();
  const auto at =
      std::lower_bound(rows.begin(), rows.end(), hist,
                       [](const stats::Row& r, const std::string& n) { return r.name < n; });
  return at != rows.end() && at->name == hist;
}

bool Shown(const std::string& name, const std::string& search) {
  return search.empty() || absl::StrContains(name, search);
}

}  // namespace

std::string Fit(const std::string& text, int width, bool right) {
  std::string out;
  int used = 0;
  size_t i = 0;
  for (; i < text.size() && used < width; ++used) {
    size_t end = i + 1;
    while (end < text.size() && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) ++end;
    out.append(text, i, end - i);
    i = end;
  }
  const std::string pad(static_cast<size_t>(std::max(width - used, 0)), ' ');
  return right ? pad + out : out + pad;
}

void View::Sampled(const stats::Collector& sample) {
  if (sample.time().interval_ns == 0) return;
  for (const stats::Row& row : sample.rows()) {
    std::deque<double>& h = history_[row.name];
    const double value = row.info.accumulates() ? Rate(static_cast<double>(row.Sum(row.delta)),
                                                       sample.time().interval_ns)
                                                : static_cast<double>(row.total[0]);
    h.push_back(value);
    if (h.size() > kHistory) h.pop_front();
  }
}

std::string View::Spark(const std::string& name, size_t width) const {
  const auto at = history_.find(name);
  if (at == history_.end()) return "";
  return Sparkline({at->second.begin(), at->second.end()}, std::min(width, kHistory), unicode_);
}

View::Table View::Events(const stats::Collector& sample) const {
  Table t;
  t.columns = {{"Event", 30, false},   {"Total", 11, true}, {"%Total", 7, true},
               {"CurAvg/s", 10, true}, {"From", 7, false},  {"Last 60", 0, false}};
  t.spark_column = 5;
  double all = 0;
  std::vector<std::pair<const stats::Row*, double>> rows;
  for (const stats::Row& row : sample.rows()) {
    if (row.info.histogram() || TimedElsewhere(row.name, sample)) continue;
    if (!children_ && absl::StrContains(row.name, "(")) continue;
    if (!Shown(row.name, search_)) continue;
    double total = static_cast<double>(row.total[0]);
    if (row.info.accumulates()) {
      total -= Of(base_, row.name);
      if (IsEvent(row)) all += total;
    }
    rows.emplace_back(&row, total);
  }
  for (const auto& [row, total] : rows) {
    const bool count = row->info.accumulates();
    const bool ns = row->info.unit == stats::Unit::kSeconds && row->info.exponent == -9;
    const double rate = Rate(static_cast<double>(row->Sum(row->delta)), sample.time().interval_ns);
    const double share = all > 0 && IsEvent(*row) ? 100 * total / all : 0;
    TableRow r;
    r.key = row->name;
    r.ended = !row->alive;
    r.busy = rate > 0;
    r.cells = {{row->name},
               {ns ? ShowTime(total) : absl::StrFormat("%.0f", total), total, true},
               {share > 0 ? absl::StrFormat("%.1f", share) : "", share, true},
               {!count ? ""
                : ns   ? ShowTime(rate)
                       : absl::StrFormat("%.0f", rate),
                count ? rate : -1, true},
               {Sources(row->sources)},
               {""}};
    t.rows.push_back(std::move(r));
  }
  return t;
}

View::Table View::Vms(const stats::Collector& sample) const {
  Table t;
  t.columns = {{"VM", 14, false},   {"Pid", 7, true},     {"vCPUs", 5, true},
               {"Exits", 11, true}, {"Exits/s", 7, true}, {"I/O/s", 6, true},
               {"IRQ/s", 6, true},  {"%Guest", 6, true},  {"From", 0, false}};
  const uint64_t interval = sample.time().interval_ns;
  for (const auto& entry : Collected(sample, false)) {
    const Doings& d = entry.second;
    if (!Shown(d.vm, search_)) continue;
    const double exits = Of(d.total, "exits");
    const auto rate = [&](const char* name) { return Rate(Of(d.delta, name), interval); };
    const auto number = [](double v) { return Cell{ShowNumber(std::round(v)), v, true}; };
    const double guest =
        rate("guest_ns") / 1e7 / std::max<double>(1, static_cast<double>(d.vcpus.size()));
    TableRow r;
    r.key = d.vm;
    r.ended = !d.alive;
    r.busy = rate("exits") > 0;
    r.cells = {{d.vm},
               {d.pid == 0 ? "" : absl::StrCat(d.pid), static_cast<double>(d.pid), true},
               {absl::StrCat(d.vcpus.size()), static_cast<double>(d.vcpus.size()), true},
               {absl::StrFormat("%.0f", exits), exits, true},
               number(rate("exits")),
               number(rate("io_exits")),
               number(rate("irq_injections")),
               {absl::StrFormat("%.1f", guest), guest, true},
               {absl::StrCat(Sources(d.sources), d.alive ? "" : " ended")}};
    t.rows.push_back(std::move(r));
  }
  return t;
}

View::Table View::Vcpus(const stats::Collector& sample) const {
  Table t;
  t.columns = {{"VM", 14, false},    {"vCPU", 5, true},      {"Exits", 11, true},
               {"Exits/s", 8, true}, {"%Guest", 7, true},    {"%Halt", 7, true},
               {"%Exits", 7, true},  {"Most time", 0, false}};
  const uint64_t interval = sample.time().interval_ns;
  for (const auto& entry : Collected(sample, true)) {
    const Doings& d = entry.second;
    if (!Shown(d.vm, search_)) continue;
    const auto share = [&](const std::string& name) {
      return interval == 0 ? 0 : 100 * Of(d.delta, name) / static_cast<double>(interval);
    };
    double handling = 0, most = 0;
    std::string reason;
    for (const auto& [name, delta] : d.delta) {
      if (!absl::StartsWith(name, "exit_") || !absl::EndsWith(name, "_ns") ||
          name == "exit_halt_ns") {
        continue;
      }
      handling += share(name);
      if (delta > most) {
        most = delta;
        reason = name.substr(5, name.size() - 8);
      }
    }
    const double exits = Of(d.total, "exits"), rate = Rate(Of(d.delta, "exits"), interval);
    const auto percent = [](double v) { return Cell{absl::StrFormat("%.1f", v), v, true}; };
    TableRow r;
    r.key = d.vm;
    r.ended = !d.alive;
    r.busy = rate > 0;
    r.cells = {{d.vm},
               {absl::StrCat(d.vcpu), static_cast<double>(d.vcpu), true},
               {absl::StrFormat("%.0f", exits), exits, true},
               {ShowNumber(std::round(rate)), rate, true},
               percent(share("guest_ns")),
               percent(share("exit_halt_ns")),
               percent(handling),
               {reason}};
    t.rows.push_back(std::move(r));
  }
  return t;
}

View::Table View::Reasons(const stats::Collector& sample) const {
  Table t;
  t.columns = {{"Reason", 19, false}, {"Count", 9, true}, {"Count/s", 7, true},
               {"%Time", 5, true},    {"p50", 5, true},   {"p90", 5, true},
               {"p99", 5, true},      {"Max", 5, true},   {"Histogram", 0, false}};
  size_t vcpus = 0;
  for (const stats::Group* g : sample.groups()) vcpus += g->alive && g->vcpu >= 0;
  const double interval = static_cast<double>(sample.time().interval_ns) *
                          static_cast<double>(std::max<size_t>(vcpus, 1));
  std::map<std::string, const stats::Row*> by_name;
  for (const stats::Row& row : sample.rows()) by_name[row.name] = &row;
  for (const stats::Row& row : sample.rows()) {
    const bool traced = absl::StrContains(row.name, "(");
    if ((!row.info.histogram() && !traced) || !Shown(row.name, search_)) continue;
    std::string name = row.name;
    if (absl::EndsWith(name, "_hist")) name.resize(name.size() - 5);
    const double count = static_cast<double>(row.Sum(row.total));
    if (count == 0) continue;
    const double rate = Rate(static_cast<double>(row.Sum(row.delta)), sample.time().interval_ns);
    const auto sum = by_name.find(name + "_ns");
    const double share = sum == by_name.end() || interval == 0
                             ? -1
                             : 100 * static_cast<double>(sum->second->delta[0]) / interval;
    const bool ns = row.info.unit == stats::Unit::kSeconds && row.info.exponent == -9;
    const auto quantity = [&](double v) {
      return Cell{traced ? "" : ns ? ShowTime(v) : ShowNumber(v), v, true};
    };
    TableRow r;
    r.key = row.name;
    r.ended = !row.alive;
    r.busy = rate > 0;
    r.cells = {{name},
               {absl::StrFormat("%.0f", count), count, true},
               {ShowNumber(std::round(rate)), rate, true},
               {share < 0 ? "" : absl::StrFormat("%.1f", share), share, true},
               quantity(Percentile(row.info, row.total, 0.5)),
               quantity(Percentile(row.info, row.total, 0.9)),
               quantity(Percentile(row.info, row.total, 0.99)),
               quantity(Greatest(row.info, row.total)),
               {traced ? "" : SmallPicture(row.total, 20, unicode_)}};
    t.rows.push_back(std::move(r));
  }
  return t;
}

View::Table View::Build(const stats::Collector& sample) {
  Table t;
  switch (page_) {
    case Page::kVms:
      t = Vms(sample);
      break;
    case Page::kVcpus:
      t = Vcpus(sample);
      break;
    case Page::kReasons:
      t = Reasons(sample);
      break;
    default:
      t = Events(sample);
      break;
  }
  Sort(t);
  return t;
}

void View::Sort(Table& table) const {
  // By rate at first, as kvm_stat does; vCPUs by name.
  std::pair<int, bool> by = {page_ == Page::kEvents    ? 3
                             : page_ == Page::kReasons ? 1
                                                       : 0,
                             page_ == Page::kEvents || page_ == Page::kReasons};
  if (const auto at = sort_.find(page_); at != sort_.end()) by = at->second;
  const size_t column = static_cast<size_t>(by.first);
  std::stable_sort(table.rows.begin(), table.rows.end(),
                   [column, down = by.second](const TableRow& a, const TableRow& b) {
                     const Cell &x = a.cells[column], &y = b.cells[column];
                     if (x.number) return down ? x.value > y.value : x.value < y.value;
                     return down ? x.text > y.text : x.text < y.text;
                   });
}

void View::DrawTable(Table& table, int rows, int columns, std::vector<ScreenLine>* out) {
  int fixed = 0;
  for (const Column& c : table.columns) fixed += c.width == 0 ? 0 : c.width + 1;
  const auto width = [&](const Column& c) {
    return c.width != 0 ? c.width : std::max(columns - fixed, 4);
  };
  std::string heading;
  for (const Column& c : table.columns) {
    absl::StrAppend(&heading, Fit(c.name, width(c), c.right), " ");
  }
  out->push_back({heading, Style::kHeading});
  const int room = std::max(rows - 1, 1);
  page_rows_ = room;
  const int count = static_cast<int>(table.rows.size());
  selected_ = std::clamp(selected_, 0, std::max(count - 1, 0));
  top_ = std::clamp(top_, std::max(selected_ - room + 1, 0), selected_);
  shown_keys_.clear();
  for (const TableRow& r : table.rows) shown_keys_.push_back(r.key);
  for (int i = top_; i < std::min(count, top_ + room); ++i) {
    const TableRow& r = table.rows[static_cast<size_t>(i)];
    std::string line;
    for (size_t c = 0; c < table.columns.size(); ++c) {
      const int w = width(table.columns[c]);
      std::string text = r.cells[c].text;
      if (static_cast<int>(c) == table.spark_column) text = Spark(r.key, static_cast<size_t>(w));
      absl::StrAppend(&line, Fit(text, w, table.columns[c].right), " ");
    }
    out->push_back({line, i == selected_ ? Style::kSelected
                          : r.ended      ? Style::kEnded
                          : r.busy       ? Style::kBusy
                                         : Style::kNormal});
  }
}

void View::DrawHistogram(const stats::Collector& sample, int rows, int columns,
                         std::vector<ScreenLine>* out) const {
  const stats::Row* row = nullptr;
  for (const stats::Row& r : sample.rows()) {
    if (r.name == opened_) row = &r;
  }
  if (row == nullptr) return;
  const bool ns = row->info.unit == stats::Unit::kSeconds && row->info.exponent == -9;
  const auto show = [ns](double v) { return ns ? ShowTime(v) : ShowNumber(v); };
  const double sum = static_cast<double>(row->Sum(row->total));
  out->push_back({absl::StrFormat("%s: %.0f  p50 %s  p90 %s  p99 %s  max %s", row->name, sum,
                                  show(Percentile(row->info, row->total, 0.5)),
                                  show(Percentile(row->info, row->total, 0.9)),
                                  show(Percentile(row->info, row->total, 0.99)),
                                  show(Greatest(row->info, row->total))),
                  Style::kHeading});
  size_t first = 0, last = row->total.size();
  while (first < last && row->total[first] == 0) ++first;
  while (last > first && row->total[last - 1] == 0) --last;
  const uint64_t most = *std::max_element(row->total.begin(), row->total.end());
  const int bar = std::max(columns - 38, 1);
  for (size_t i = first; i < last && static_cast<int>(out->size()) <= rows; ++i) {
    const double count = static_cast<double>(row->total[i]);
    const int length =
        most == 0 ? 0 : static_cast<int>(std::ceil(count * bar / static_cast<double>(most)));
    std::string line =
        absl::StrFormat("%8s - %-8s %11.0f %5.1f%% ", show(BucketBegin(row->info, i)),
                        show(BucketEnd(row->info, i)), count, sum == 0 ? 0 : 100 * count / sum);
    for (int n = 0; n < length; ++n) line += unicode_ ? "█" : "#";
    out->push_back({line, row->delta[i] != 0 ? Style::kBusy : Style::kNormal});
  }
}

void View::DrawHelp(int rows, int columns, std::vector<ScreenLine>* out) {
  std::vector<std::string> all(std::begin(kHelp), std::end(kHelp));
  for (const stats::Field& f : stats::Fields()) {
    all.push_back(absl::StrFormat("  %-24s %s", f.name, f.meaning));
  }
  page_rows_ = rows;
  const int last = std::max(static_cast<int>(all.size()) - rows, 0);
  selected_ = std::clamp(selected_, 0, last);
  (void)columns;
  for (int i = selected_; i < std::min<int>(selected_ + rows, static_cast<int>(all.size())); ++i) {
    const std::string& line = all[static_cast<size_t>(i)];
    const bool title = !line.empty() && line[0] != ' ';
    out->push_back({line, title ? Style::kHeading : Style::kNormal});
  }
}

std::vector<ScreenLine> View::Draw(const stats::Collector& sample, int rows, int columns) {
  static constexpr const char* kNames[] = {"events",  "VMs",       "vCPUs",
                                           "reasons", "histogram", "help"};
  std::vector<ScreenLine> out;
  if (rows < 1 || columns < 1) return out;
  std::string title = absl::StrCat("stat - ", kNames[static_cast<int>(page_)]);
  size_t vms = 0;
  for (const auto& [key, d] : Collected(sample, false)) vms += d.alive;
  absl::StrAppend(&title, "  ", vms, vms == 1 ? " VM" : " VMs");
  if (options_.wanted.pid) absl::StrAppend(&title, "  pid ", *options_.wanted.pid);
  if (!options_.wanted.name.empty()) absl::StrAppend(&title, "  guest ", options_.wanted.name);
  if (!options_.patterns.empty()) {
    absl::StrAppend(&title, "  fields ", absl::StrJoin(options_.patterns, "|"));
  }
  if (!search_.empty()) absl::StrAppend(&title, "  /", search_);
  if (!options_.recording.empty()) {
    absl::StrAppend(&title, "  recorded ", Timestamp(sample.time().wall_ns));
  }
  if (paused_) absl::StrAppend(&title, "  (paused)");
  out.push_back({title, Style::kTitle});
  const int body = std::max(rows - 2, 1);
  if (page_ == Page::kHistogram) {
    DrawHistogram(sample, body, columns, &out);
  } else if (page_ == Page::kHelp) {
    DrawHelp(body, columns, &out);
  } else {
    Table table = Build(sample);
    DrawTable(table, body, columns, &out);
  }
  out.resize(static_cast<size_t>(std::max(rows - 1, 1)));
  if (rows > 1) {
    ScreenLine last;
    if (prompt_ != 0) {
      static constexpr std::pair<char, const char*> kPrompts[] = {
          {'f', "Counters (regular expression): "},
          {'g', "Guest name (empty: all): "},
          {'p', "Process id (empty: all): "},
          {'s', "Interval in seconds: "},
          {'/', "Search: "}};
      for (const auto& [key, text] : kPrompts) {
        if (key == prompt_) last.text = absl::StrCat(text, typed_, "_");
      }
    } else if (!message_.empty()) {
      last = {message_, message_is_error_ ? Style::kError : Style::kNormal};
    } else {
      last.text = "q quit  h help  v view  f filter  / search  o sort  p pid  g guest  s interval";
    }
    out.push_back(last);
  }
  for (ScreenLine& line : out) line.text = Fit(line.text, columns, false);
  return out;
}

void View::Open(Page page) {
  page_ = page;
  selected_ = top_ = 0;
}

View::Wish View::Press(int key, const stats::Collector& sample) {
  message_.clear();
  if (prompt_ != 0) return PressInPrompt(key);
  switch (key) {
    case 'q':
      if (page_ != Page::kHelp && page_ != Page::kHistogram) return Wish::kQuit;
      Open(before_);
      break;
    case kKeyEscape:
      if (page_ == Page::kHelp || page_ == Page::kHistogram) Open(before_);
      break;
    case 3:  // Ctrl-C
      return Wish::kQuit;
    case 'b':
      Open(page_ == Page::kVms ? Page::kEvents : Page::kVms);
      break;
    case 'c':
      options_.patterns.clear();
      options_.fields = nullptr;
      options_.wanted = {};
      search_.clear();
      return Wish::kRestart;
    case 'h':
    case '?':
      if (page_ != Page::kHelp && page_ != Page::kHistogram) before_ = page_;
      Open(page_ == Page::kHelp ? before_ : Page::kHelp);
      break;
    case 'v':
      switch (page_) {
        case Page::kEvents:
          Open(Page::kVms);
          break;
        case Page::kVms:
          Open(Page::kVcpus);
          break;
        case Page::kVcpus:
          Open(Page::kReasons);
          break;
        default:
          Open(Page::kEvents);
          break;
      }
      break;
    case 'o': {
      std::pair<int, bool>& by = sort_.try_emplace(page_, 3, true).first->second;
      by = {by.first == 3 ? 1 : 3, true};
      break;
    }
    case '<':
    case '>': {
      Table table = Build(sample);
      const int count = static_cast<int>(table.columns.size());
      int start = page_ == Page::kEvents ? 3 : page_ == Page::kReasons ? 1 : 0;
      if (const auto at = sort_.find(page_); at != sort_.end()) start = at->second.first;
      const int column = (start + (key == '<' ? count - 1 : 1)) % count;
      const bool number =
          !table.rows.empty() && table.rows[0].cells[static_cast<size_t>(column)].number;
      sort_[page_] = {column, number};
      Say(absl::StrCat("sorted by ", table.columns[static_cast<size_t>(column)].name));
      break;
    }
    case 'r':
      for (const stats::Row& row : sample.rows())
        base_[row.name] = static_cast<double>(row.total[0]);
      history_.clear();
      break;
    case 'x':
      children_ = !children_;
      break;
    case ' ':
      paused_ = !paused_;
      break;
    case 'w':
      return Wish::kWrite;
    case 'f':
    case 'g':
    case 'p':
    case 's':
    case '/':
      prompt_ = static_cast<char>(key);
      typed_.clear();
      break;
    case kKeyUp:
      Move(-1);
      break;
    case kKeyDown:
      Move(1);
      break;
    case kKeyPageUp:
      Move(-page_rows_);
      break;
    case kKeyPageDown:
      Move(page_rows_);
      break;
    case kKeyHome:
      selected_ = 0;
      break;
    case kKeyEnd:
      selected_ = 1 << 20;
      break;
    case kKeyEnter: {
      if (page_ != Page::kReasons || selected_ >= static_cast<int>(shown_keys_.size())) break;
      opened_ = shown_keys_[static_cast<size_t>(std::max(selected_, 0))];
      if (absl::StrContains(opened_, "(")) break;
      before_ = page_;
      Open(Page::kHistogram);
      break;
    }
    default:
      break;
  }
  return Wish::kNothing;
}

View::Wish View::PressInPrompt(int key) {
  constexpr size_t kLongest = 200;
  if (key == kKeyEscape || key == 3) {
    prompt_ = 0;
  } else if (key == kKeyBackspace) {
    if (!typed_.empty()) typed_.pop_back();
  } else if (key == kKeyEnter) {
    return Apply();
  } else if (key >= ' ' && key < 0x7F && typed_.size() < kLongest) {
    typed_ += static_cast<char>(key);
  }
  return Wish::kNothing;
}

View::Wish View::Apply() {
  const char asked = std::exchange(prompt_, 0);
  switch (asked) {
    case 'f': {
      std::vector<std::string> patterns;
      if (!typed_.empty()) patterns.push_back(typed_);
      absl::StatusOr<FieldFilter> filter = MakeFilter(patterns);
      if (!filter.ok()) {
        Say(std::string(filter.status().message()), true);
        return Wish::kNothing;
      }
      options_.patterns = patterns;
      options_.fields = *std::move(filter);
      return Wish::kFilter;
    }
    case 'g':
      options_.wanted = {};
      options_.wanted.name = typed_;
      return Wish::kRestart;
    case 'p': {
      pid_t pid = 0;
      if (!typed_.empty() && (!absl::SimpleAtoi(typed_, &pid) || pid < 0)) {
        Say(absl::StrCat("'", typed_, "' is no process id"), true);
        return Wish::kNothing;
      }
      options_.wanted = {};
      if (pid > 0) options_.wanted.pid = pid;
      return Wish::kRestart;
    }
    case 's': {
      absl::StatusOr<uint64_t> interval = ParseInterval(typed_);
      if (!interval.ok()) {
        Say(std::string(interval.status().message()), true);
        return Wish::kNothing;
      }
      options_.interval_ns = *interval;
      return Wish::kInterval;
    }
    default:
      search_ = typed_;
      return Wish::kNothing;
  }
}

std::string View::Snapshot(const stats::Collector& sample) {
  Table table = Build(sample);
  std::string out = absl::StrCat(Timestamp(sample.time().wall_ns), "\n");
  std::vector<std::string> names;
  for (const Column& c : table.columns) names.push_back(c.name);
  absl::StrAppend(&out, absl::StrJoin(names, "\t"), "\n");
  for (const TableRow& r : table.rows) {
    std::vector<std::string> cells;
    for (const Cell& c : r.cells) cells.push_back(c.text);
    absl::StrAppend(&out, absl::StrJoin(cells, "\t"), "\n");
  }
  return out;
}

}  // namespace atl::stat
