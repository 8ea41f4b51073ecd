// SPDX-License-Identifier: Apache-2.0
// The live view without a terminal: what is on the screen for a sample and what
// keys do. terminal.h shows it.
#ifndef CMD_STAT_VIEW_H_
#define CMD_STAT_VIEW_H_

#include <cstdint>
#include <deque>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "cmd/stat/options.h"
#include "lib/stats/sources/collector.h"

namespace atl::stat {

enum class Style : uint8_t { kNormal, kTitle, kHeading, kSelected, kEnded, kError, kBusy };

struct ScreenLine {
  std::string text;  // UTF-8
  Style style = Style::kNormal;
};

// Keys that are no character.
enum Key : int {
  kKeyUp = 0x110000,
  kKeyDown,
  kKeyPageUp,
  kKeyPageDown,
  kKeyHome,
  kKeyEnd,
  kKeyEnter,
  kKeyEscape,
  kKeyBackspace,
};

class View {
 public:
  // `unicode`: the terminal shows blocks and not only ASCII.
  View(const Options& options, bool unicode) : options_(options), unicode_(unicode) {}

  // What the owner is to do after a key.
  enum class Wish : uint8_t {
    kNothing,
    kQuit,
    kRestart,   // options() say which VMs: sources anew
    kFilter,    // options() say which fields
    kInterval,  // options().interval_ns
    kWrite,     // a snapshot into snapshot_file()
  };

  void Sampled(const stats::Collector& sample);
  // `key` is a character or a Key.
  Wish Press(int key, const stats::Collector& sample);
  // `rows` lines; none is wider than `columns`.
  std::vector<ScreenLine> Draw(const stats::Collector& sample, int rows, int columns);

  const Options& options() const { return options_; }
  // For the last line, until the next key.
  void Say(std::string message, bool error = false) {
    message_ = std::move(message);
    message_is_error_ = error;
  }
  bool paused() const { return paused_; }
  // All of the shown table, as text.
  std::string Snapshot(const stats::Collector& sample);

 private:
  enum class Page : uint8_t { kEvents, kVms, kVcpus, kReasons, kHistogram, kHelp };
  struct Cell {
    std::string text;
    double value = 0;  // by which it is sorted, where it is a number
    bool number = false;
  };
  struct TableRow {
    std::vector<Cell> cells;
    bool ended = false;
    bool busy = false;
    std::string key;  // what Enter opens
  };
  struct Column {
    const char* name;
    int width;  // 0: what is left
    bool right;
  };
  struct Table {
    std::vector<Column> columns;
    std::vector<TableRow> rows;
    int spark_column = -1;  // filled in by width
  };

  Table Events(const stats::Collector& sample) const;
  Table Vms(const stats::Collector& sample) const;
  Table Vcpus(const stats::Collector& sample) const;
  Table Reasons(const stats::Collector& sample) const;
  Table Build(const stats::Collector& sample);
  void Sort(Table& table) const;
  void DrawTable(Table& table, int rows, int columns, std::vector<ScreenLine>* out);
  void DrawHistogram(const stats::Collector& sample, int rows, int columns,
                     std::vector<ScreenLine>* out) const;
  void DrawHelp(int rows, int columns, std::vector<ScreenLine>* out);
  void Open(Page page);
  Wish PressInPrompt(int key);
  Wish Apply();
  void Move(int by) { selected_ += by; }
  std::string Spark(const std::string& name, size_t width) const;

  Options options_;
  const bool unicode_;
  Page page_ = Page::kEvents;
  Page before_ = Page::kEvents;                // help and the histogram
  std::map<Page, std::pair<int, bool>> sort_;  // column, descending
  int selected_ = 0;
  int top_ = 0;
  int page_rows_ = 10;
  std::vector<std::string> shown_keys_;
  std::string opened_;  // whose histogram
  std::string search_;
  bool children_ = true;  // kvm_exit(REASON)
  bool paused_ = false;
  char prompt_ = 0;  // the key that asked
  std::string typed_;
  std::string message_;
  bool message_is_error_ = false;
  std::map<std::string, std::deque<double>> history_;  // rates, 60 samples
  std::map<std::string, double> base_;                 // totals at the last r
};

// Cut or filled to so many columns; what is no ASCII counts one a character.
std::string Fit(const std::string& text, int width, bool right);

}  // namespace atl::stat

#endif  // CMD_STAT_VIEW_H_
