// SPDX-License-Identifier: Apache-2.0
// Options, filters, expectations, formats and the view, on a recording.
#include <cmath>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "cmd/stat/expect.h"
#include "cmd/stat/histogram.h"
#include "cmd/stat/listen.h"
#include "cmd/stat/options.h"
#include "cmd/stat/print.h"
#include "cmd/stat/session.h"
#include "cmd/stat/view.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "lib/base/status_matchers.h"
#include "lib/stats/fields.h"
#include "lib/stats/sources/recording.h"

namespace atl::stat {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

absl::StatusOr<Options> Read(const std::vector<std::string>& words, bool terminal = true,
                             const std::vector<std::string>& command = {}) {
  absl::StatusOr<cli::ParseResult> parsed = cli::Parse(kStatCommand, words);
  if (!parsed.ok()) return parsed.status();
  return ReadOptions(parsed->args, command, terminal);
}

TEST(Options, Modes) {
  EXPECT_EQ(Read({})->mode, Mode::kView);
  EXPECT_EQ(Read({}, false)->mode, Mode::kOnce);
  EXPECT_EQ(Read({"-1"})->mode, Mode::kOnce);
  EXPECT_EQ(Read({"--batch"})->mode, Mode::kOnce);
  EXPECT_EQ(Read({"-l"})->mode, Mode::kLog);
  EXPECT_EQ(Read({"-L", "x"})->mode, Mode::kLog);
  EXPECT_EQ(Read({"-c"})->mode, Mode::kLog);
  EXPECT_EQ(Read({"-f", "help"})->mode, Mode::kListFields);
  EXPECT_EQ(Read({"--listen", "unix:x"})->mode, Mode::kServe);
  EXPECT_EQ(Read({"-F", "openmetrics", "-o", "x"})->mode, Mode::kServe);
  EXPECT_EQ(Read({}, true, {"true"})->mode, Mode::kCommand);
  EXPECT_EQ(Read({"record", "x"})->mode, Mode::kRecord);
  EXPECT_EQ(Read({"replay", "x"})->mode, Mode::kView);
  EXPECT_EQ(Read({"replay", "x"}, false)->mode, Mode::kLog);
  EXPECT_EQ(Read({"-l", "replay", "x"})->mode, Mode::kLog);
  EXPECT_EQ(Read({"-c", "replay", "x"})->mode, Mode::kLog);
  EXPECT_EQ(Read({"-1", "replay", "x"})->mode, Mode::kOnce);
  EXPECT_EQ(Read({"diff", "a", "b"})->mode, Mode::kDiff);
}

TEST(Options, Values) {
  EXPECT_EQ(Read({"-s", "0.25"})->interval_ns, 250'000'000u);
  EXPECT_THAT(Read({"--vcpu", "0,2-4"})->vcpus, ElementsAre(0, 2, 3, 4));
  EXPECT_THAT(Read({"-d", "-t"})->sources,
              ElementsAre(stats::SourceKind::kDebugfs, stats::SourceKind::kTrace));
  EXPECT_EQ(Read({})->sources.size(), 3u);
  EXPECT_EQ(*Read({"-p", "77"})->wanted.pid, 77);
}

TEST(Options, Refused) {
  const std::pair<std::vector<std::string>, const char*> kBad[] = {
      {{"-s", "0.001"}, "0.01"},
      {{"-s", "nan"}, "seconds"},
      {{"--vcpu", "3-1"}, "3-1"},
      {{"--source", "proc"}, "fd, qmp"},
      {{"-1", "-l"}, "exclude"},
      {{"--rate", "--total"}, "only one"},
      {{"-o", "x"}, "'-o'"},
      {{"what"}, "record FILE"},
      {{"diff", "a"}, "two files"},
      {{"--expect", "exits"}, "FIELD<NUMBER"},
      {{"-f", "exits("}, "position 7"},
      {{"-f", "a[z-a]"}, "position 3"},
      {{"-f", "ok", "-f", "*x"}, "'*x'"},
  };
  for (const auto& [words, text] : kBad) {
    const absl::StatusOr<Options> read = Read(words);
    EXPECT_THAT(read, StatusIs(absl::StatusCode::kInvalidArgument, text));
    EXPECT_TRUE(cli::IsUsageError(read.status()));
  }
}

TEST(Filter, BothNamesFromTheBeginning) {
  const FieldFilter f = *MakeFilter({"irq_w", "mmu.*"});
  EXPECT_TRUE(f("irq_window_exits"));
  EXPECT_TRUE(f("mmu_unsync"));
  EXPECT_FALSE(f("max_mmu_rmap_size"));
  EXPECT_FALSE(f("irq_exits"));
  EXPECT_TRUE((*MakeFilter({"largepages"}))("pages_2m"));
  EXPECT_TRUE((*MakeFilter({"a|exits"}))("exits"));
  EXPECT_FALSE((*MakeFilter({"a|exits"}))("io_exits"));  // the alternatives are one group
}

TEST(Expect, Forms) {
  EXPECT_TRUE(ParseExpectation("exits<1k/s")->Holds(999));
  EXPECT_FALSE(ParseExpectation("exits<1k/s")->Holds(1000));
  EXPECT_TRUE(ParseExpectation("exits < 1000/s")->rate);
  EXPECT_TRUE(ParseExpectation("mmu_unsync==0")->Holds(0));
  EXPECT_FALSE(ParseExpectation("mmu_unsync!=0")->Holds(0));
  EXPECT_TRUE(ParseExpectation("a>=2.5")->Holds(2.5));
  for (const char* bad : {"", "<", "exits", "exits<", "exits<x", "<5", "exits!5", "exits<inf"}) {
    EXPECT_FALSE(ParseExpectation(bad).ok()) << bad;
  }
}

TEST(Histogram, PercentilesOfPowersOfTwo) {
  stats::Descriptor d;
  d.type = stats::Type::kLogHist;
  // [0,1): 0, [1,2): 10, [2,4): 10, [4,8): 80
  const std::vector<uint64_t> b = {0, 10, 10, 80, 0};
  EXPECT_DOUBLE_EQ(Percentile(d, b, 0.1), 2);
  EXPECT_DOUBLE_EQ(Percentile(d, b, 0.2), 4);
  EXPECT_DOUBLE_EQ(Percentile(d, b, 0.6), 6);
  EXPECT_DOUBLE_EQ(Greatest(d, b), 8);
  EXPECT_DOUBLE_EQ(Percentile(d, {0, 0}, 0.5), 0);
  d.type = stats::Type::kLinearHist;
  d.bucket_size = 10;
  EXPECT_DOUBLE_EQ(Percentile(d, {0, 4}, 0.5), 15);
  EXPECT_EQ(SmallPicture(b, 8, true), "▁▁█");
  EXPECT_EQ(SmallPicture(b, 8, false), "..#");
  EXPECT_EQ(Sparkline({0, 1, 8}, 5, true), "   ▁█");
}

TEST(Show, Quantities) {
  EXPECT_EQ(ShowTime(917), "917ns");
  EXPECT_EQ(ShowTime(1234), "1.2us");
  EXPECT_EQ(ShowTime(5e9), "5.0s");
  EXPECT_EQ(ShowNumber(12345), "12345");
  EXPECT_EQ(ShowNumber(1234567), "1235k");
  EXPECT_EQ(Timestamp(1769162400123456789), "2026-01-23T10:00:00.123Z");
}

// Two VMs; one ends.
constexpr char kRecording[] = R"({"atoll-stat": 1}
{"schema": 0, "fields": [{"name": "exits", "type": "cumulative"}, {"name": "pages_2m", "type": "instant"}, {"name": "guest_ns", "type": "cumulative", "unit": 2, "exponent": -9}, {"name": "guest_hist", "type": "log-hist", "unit": 2, "exponent": -9, "size": 4}, {"name": "irq_window_exits", "type": "cumulative"}]}
{"group": 0, "schema": 0, "source": "fd", "vm": "web", "pid": 77, "vcpu": 0}
{"group": 1, "schema": 0, "source": "fd", "vm": "d\"b", "pid": 78, "vcpu": 1}
{"sample": 1769162400000000000}
{"g": 0, "v": [1000,3,500000000,1,2,3,4,0]}
{"g": 1, "v": [10,4,0,0,0,0,0,7]}
{"sample": 1769162402000000000}
{"g": 0, "v": [3000,2,1500000000,1,2,5,12,0]}
{"g": 1, "v": [10,4,0,0,0,0,0,7]}
{"gone": 1}
)";

class Recorded : public testing::Test {
 protected:
  void SetUp() override {
    std::vector<std::unique_ptr<stats::Source>> sources;
    sources.push_back(stats::Replay::Parse(kRecording).value());
    collector_ =
        std::make_unique<stats::Collector>(std::move(sources), stats::Collector::Filter{}, false);
    ASSERT_OK(collector_->Sample({1769162400000000000, 0}));
    ASSERT_OK(collector_->Sample({1769162402000000000, 2'000'000'000}));
  }
  std::unique_ptr<stats::Collector> collector_;
};

TEST_F(Recorded, OnceAsKvmStatPrintsIt) {
  const std::string now = OnceText(ShortLines(collector_->rows(), false, false), false);
  EXPECT_THAT(now, HasSubstr("exits                                           3010      2000\n"));
  EXPECT_THAT(now, HasSubstr("guest_hist                                        20        10\n"));
  EXPECT_THAT(now, HasSubstr("pages_2m                                           2         0\n"));
  const std::string old = OnceText(ShortLines(collector_->rows(), true, false), true);
  EXPECT_THAT(old, HasSubstr("irq_window                     7         0\n"));
  EXPECT_THAT(old, HasSubstr("largepages                     2         0\n"));
  EXPECT_THAT(OnceText(ShortLines(collector_->rows(), false, true), false), HasSubstr("irq_w"));
}

TEST_F(Recorded, Logs) {
  Options o;
  o.patterns = {"x"};  // columns that count nothing too
  EXPECT_EQ(
      NewLog(o, 20)->Sample(*collector_),
      "time                          exits guest_hist   guest_ns irq_window_exits   pages_2m\n"
      "2026-01-23T10:00:02.000Z       2000         10 1000000000                0          2\n");
  o.show = Show::kRate;
  o.compat = true;
  EXPECT_EQ(NewLog(o, 20)->Sample(*collector_),
            "     exits  guest_his   guest_ns  irq_windo  largepage\n"
            "      1000          5  500000000          0          2\n");
  o = {};
  o.format = Format::kCsv;
  std::unique_ptr<Log> csv = NewLog(o, 20);
  EXPECT_EQ(csv->Sample(*collector_),
            "time,exits,guest_hist,guest_ns,irq_window_exits,pages_2m\n"
            "2026-01-23T10:00:02.000Z,2000,10,1000000000,0,2\n");
  EXPECT_THAT(csv->Sample(*collector_), Not(HasSubstr("time")));
  o.format = Format::kTsv;
  o.show = Show::kTotal;
  EXPECT_THAT(NewLog(o, 20)->Sample(*collector_), HasSubstr("Z\t3010\t20\t"));
  o.format = Format::kJsonl;
  const std::string json = NewLog(o, 20)->Sample(*collector_);
  EXPECT_THAT(json, HasSubstr(R"("vms": ["d\"b", "web"])"));
  EXPECT_THAT(json, HasSubstr(R"("delta": 2000, "rate": 1000)"));
  EXPECT_THAT(json, HasSubstr(R"("buckets": [1, 2, 5, 12])"));
}

TEST_F(Recorded, OpenMetricsFamilies) {
  const std::string text = OpenMetrics(*collector_);
  EXPECT_THAT(text, HasSubstr("# TYPE atoll_exits counter\n"));
  EXPECT_THAT(text, HasSubstr("atoll_exits_total{vm=\"web\",vcpu=\"0\"} 3000\n"));
  EXPECT_THAT(text, HasSubstr("atoll_exits_total{vm=\"d\\\"b\",vcpu=\"1\"} 10\n"));
  EXPECT_THAT(text, HasSubstr("# TYPE atoll_guest_seconds histogram\n"));
  EXPECT_THAT(text,
              HasSubstr("atoll_guest_seconds_bucket{vm=\"web\",vcpu=\"0\",le=\"4e-09\"} 8\n"));
  EXPECT_THAT(text,
              HasSubstr("atoll_guest_seconds_bucket{vm=\"web\",vcpu=\"0\",le=\"+Inf\"} 20\n"));
  EXPECT_THAT(text, HasSubstr("atoll_guest_seconds_sum{vm=\"web\",vcpu=\"0\"} 1.500000000\n"));
  EXPECT_THAT(text, Not(HasSubstr("guest_seconds_total")));
  EXPECT_TRUE(absl::EndsWith(text, "# EOF\n"));
}

TEST_F(Recorded, Expectations) {
  const auto check = [&](const char* text) {
    return CheckExpectations({*ParseExpectation(text)}, collector_->rows(), 2'000'000'000);
  };
  EXPECT_EQ(check("exits<1001/s"), 0);
  EXPECT_EQ(check("exits<1000/s"), kExitExpectation);
  EXPECT_EQ(check("exits>3000"), 0);
  EXPECT_EQ(check("irq_window==7"), 0);  // the old name
  EXPECT_EQ(check("nothing<1"), kExitExpectation);
}

// The screen as text.
std::string Screen(View& view, const stats::Collector& sample, int rows = 24, int columns = 80) {
  std::string out;
  for (const ScreenLine& l : view.Draw(sample, rows, columns)) absl::StrAppend(&out, l.text, "\n");
  return out;
}

TEST_F(Recorded, ViewsFitTheScreen) {
  View view({}, true);
  view.Sampled(*collector_);
  for (const char* name : {"events", "VMs", "vCPUs", "reasons"}) {
    for (const auto& [rows, columns] :
         {std::pair(24, 80), std::pair(3, 20), std::pair(1, 1), std::pair(60, 300)}) {
      const std::vector<ScreenLine> lines = view.Draw(*collector_, rows, columns);
      EXPECT_EQ(lines.size(), static_cast<size_t>(rows));
      for (const ScreenLine& l : lines) EXPECT_EQ(l.text, Fit(l.text, columns, false));
    }
    EXPECT_THAT(Screen(view, *collector_), HasSubstr(absl::StrCat("stat - ", name, "  1 VM")));
    view.Press('v', *collector_);
  }
  EXPECT_THAT(Screen(view, *collector_), HasSubstr("stat - events"));
}

TEST_F(Recorded, ViewOfVmsGreysTheOneThatEnded) {
  View view({}, true);
  view.Press('b', *collector_);
  Style style = Style::kNormal;
  for (const ScreenLine& l : view.Draw(*collector_, 24, 80)) {
    if (absl::StartsWith(l.text, "web")) {
      EXPECT_THAT(l.text, HasSubstr("1000"));
    }
    if (absl::StartsWith(l.text, "d\"b")) {
      style = l.style;
      EXPECT_THAT(l.text, HasSubstr("ended"));
      EXPECT_THAT(l.text, Not(HasSubstr("-")));
    }
  }
  // The first line is the selected one.
  view.Press(kKeyDown, *collector_);
  for (const ScreenLine& l : view.Draw(*collector_, 24, 80)) {
    if (absl::StartsWith(l.text, "d\"b")) style = l.style;
  }
  EXPECT_EQ(style, Style::kEnded);
}

TEST_F(Recorded, ReasonsAndTheirHistogram) {
  View view({}, false);
  for (int i = 0; i < 3; ++i) view.Press('v', *collector_);
  const std::string reasons = Screen(view, *collector_);
  EXPECT_THAT(reasons, HasSubstr("guest                      20       5  50.0"));
  view.Press(kKeyEnter, *collector_);
  const std::string hist = Screen(view, *collector_);
  EXPECT_THAT(hist, HasSubstr("guest_hist: 20  p50"));
  EXPECT_THAT(hist, HasSubstr("4ns - 8ns               12  60.0% ####"));
  EXPECT_EQ(view.Press('q', *collector_), View::Wish::kNothing);
  EXPECT_THAT(Screen(view, *collector_), HasSubstr("stat - reasons"));
  EXPECT_EQ(view.Press('q', *collector_), View::Wish::kQuit);
}

TEST_F(Recorded, KeysAndPrompts) {
  View view({}, true);
  const auto type = [&](const std::string& text) {
    View::Wish wish = View::Wish::kNothing;
    for (char c : text) wish = view.Press(c == '\n' ? int{kKeyEnter} : c, *collector_);
    return wish;
  };
  EXPECT_EQ(type("fexi"), View::Wish::kNothing);
  EXPECT_THAT(Screen(view, *collector_), HasSubstr("Counters (regular expression): exi_"));
  EXPECT_EQ(type("\n"), View::Wish::kFilter);
  EXPECT_TRUE(view.options().fields("exits"));
  EXPECT_EQ(type("f(\n"), View::Wish::kNothing);
  EXPECT_THAT(Screen(view, *collector_), HasSubstr("position 2"));
  EXPECT_THAT(view.options().patterns, ElementsAre("exi"));  // the good one stays
  EXPECT_EQ(type("s0.5\n"), View::Wish::kInterval);
  EXPECT_EQ(view.options().interval_ns, 500'000'000u);
  EXPECT_EQ(type("s0\n"), View::Wish::kNothing);
  EXPECT_EQ(type("gweb\n"), View::Wish::kRestart);
  EXPECT_EQ(view.options().wanted.name, "web");
  EXPECT_EQ(type("p77\n"), View::Wish::kRestart);
  EXPECT_EQ(*view.options().wanted.pid, 77);
  EXPECT_EQ(type("px\n"), View::Wish::kNothing);
  EXPECT_EQ(type("c"), View::Wish::kRestart);
  EXPECT_TRUE(view.options().wanted.any());
  EXPECT_EQ(type("/pages\n"), View::Wish::kNothing);
  EXPECT_THAT(Screen(view, *collector_), Not(HasSubstr("\nexits")));
  EXPECT_THAT(Screen(view, *collector_), HasSubstr("pages_2m"));
  type("/\n");
  EXPECT_EQ(type("w"), View::Wish::kWrite);
  EXPECT_THAT(view.Snapshot(*collector_), HasSubstr("exits\t3010\t"));
  type(" ");
  EXPECT_TRUE(view.paused());
  type("r");
  EXPECT_THAT(Screen(view, *collector_), HasSubstr("exits                                    0"));
  type("h");
  EXPECT_THAT(Screen(view, *collector_), HasSubstr("Keys"));
}

TEST(Http, Replies) {
  const std::function<std::string()> text = [] { return std::string("body\n"); };
  EXPECT_FALSE(HttpReply("GET / HTTP/1.1\r\nHost: x\r\n", text));
  const std::string reply = *HttpReply("GET /metrics HTTP/1.1\r\n\r\n", text);
  EXPECT_THAT(reply, HasSubstr("200 OK"));
  EXPECT_THAT(reply, HasSubstr("Content-Length: 5\r\n"));
  EXPECT_TRUE(absl::EndsWith(reply, "\r\n\r\nbody\n"));
  EXPECT_TRUE(absl::EndsWith(*HttpReply("HEAD / HTTP/1.0\r\n\r\n", text), "\r\n\r\n"));
  EXPECT_THAT(*HttpReply("POST / HTTP/1.1\r\n\r\n", text), HasSubstr("405"));
  EXPECT_THAT(*HttpReply(std::string(9000, 'x'), text), HasSubstr("431"));
}

}  // namespace
}  // namespace atl::stat
