// SPDX-License-Identifier: Apache-2.0
// Tracepoints of KVM through perf: counters for those that are only counted, and
// for kvm_exit and kvm_userspace_exit a ring of records for each processor, from
// which each exit's reason and process are taken. Few are opened: closing one
// costs the kernel a grace period.
#include <errno.h>
#include <fcntl.h>
#include <linux/perf_event.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <optional>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "lib/base/status_macros.h"
#include "lib/base/unique_fd.h"
#include "lib/stats/sources/proc.h"
#include "lib/stats/sources/source.h"
#include "lib/stats/sources/trace_format.h"

namespace atl::stats {
namespace {

constexpr const char* kRoots[] = {"/sys/kernel/tracing", "/sys/kernel/debug/tracing"};
struct Point {
  const char* name;
  const char* reason;  // the field of the reason, or null: only counted
};
constexpr Point kPoints[] = {{"kvm_entry", nullptr},
                             {"kvm_exit", "exit_reason"},
                             {"kvm_mmio", nullptr},
                             {"kvm_pio", nullptr},
                             {"kvm_userspace_exit", "reason"}};
constexpr size_t kRingPages = 128;
constexpr size_t kMaxRows = 2048;  // reasons seen, of all points

// Processors that are on: "0-3,8".
std::vector<int> OnlineProcessors(const std::string& sysroot) {
  std::vector<int> out;
  const std::string text = ReadText(absl::StrCat(sysroot, "/sys/devices/system/cpu/online"), 4096);
  for (absl::string_view range : absl::StrSplit(absl::StripAsciiWhitespace(text), ',')) {
    const std::vector<absl::string_view> ends = absl::StrSplit(range, '-');
    int first, last;
    if (!absl::SimpleAtoi(ends.front(), &first) || !absl::SimpleAtoi(ends.back(), &last)) continue;
    for (int i = first; i <= last && out.size() < 4096; ++i) out.push_back(i);
  }
  return out;
}

// One perf event on one processor, with its ring where records are wanted.
class Event {
 public:
  Event() = default;
  Event(Event&& o) noexcept
      : fd_(std::move(o.fd_)), ring_(std::exchange(o.ring_, nullptr)), size_(o.size_) {}
  Event& operator=(Event&&) = delete;
  ~Event() {
    if (ring_ != nullptr) munmap(ring_, size_);
  }

  absl::Status Open(uint64_t id, int cpu, bool records) {
    perf_event_attr attr{};
    attr.type = PERF_TYPE_TRACEPOINT;
    attr.size = sizeof attr;
    attr.config = id;
    attr.disabled = 0;
    if (records) {
      attr.sample_period = 1;
      attr.sample_type = PERF_SAMPLE_TID | PERF_SAMPLE_RAW;
      attr.watermark = 1;
      attr.wakeup_watermark = ~0u;  // nobody waits: the ring is read at each sample
    }
    fd_.reset(
        static_cast<int>(syscall(SYS_perf_event_open, &attr, -1, cpu, -1, PERF_FLAG_FD_CLOEXEC)));
    if (!fd_.valid()) return ErrnoError(errno, "perf_event_open");
    if (!records) return absl::OkStatus();
    size_ = (1 + kRingPages) * 4096;
    void* const ring = mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_SHARED, fd_.get(), 0);
    if (ring == MAP_FAILED) return ErrnoError(errno, "perf ring");
    ring_ = static_cast<uint8_t*>(ring);
    return absl::OkStatus();
  }

  uint64_t Count() const {
    uint64_t count = 0;
    return read(fd_.get(), &count, sizeof count) == static_cast<ssize_t>(sizeof count) ? count : 0;
  }

  // record(pid, bytes) for each; the number of those that were lost.
  template <typename Record>
  uint64_t Drain(Record&& record) {
    auto* const page = reinterpret_cast<perf_event_mmap_page*>(ring_);
    const uint64_t head = __atomic_load_n(&page->data_head, __ATOMIC_ACQUIRE);
    uint64_t tail = page->data_tail;
    const uint64_t mask = kRingPages * 4096 - 1;
    const uint8_t* const data = ring_ + 4096;
    uint64_t lost = 0;
    std::vector<uint8_t> bytes;
    while (tail + sizeof(perf_event_header) <= head) {
      perf_event_header h;
      const auto copy = [&](uint64_t from, void* to, size_t size) {
        for (size_t i = 0; i < size; ++i) {
          static_cast<uint8_t*>(to)[i] = data[(from + i) & mask];
        }
      };
      copy(tail, &h, sizeof h);
      if (h.size < sizeof h || tail + h.size > head) break;
      bytes.resize(h.size - sizeof h);
      copy(tail + sizeof h, bytes.data(), bytes.size());
      tail += h.size;
      if (h.type == PERF_RECORD_LOST && bytes.size() >= 16) {
        uint64_t n;
        memcpy(&n, bytes.data() + 8, sizeof n);
        lost += n;
      } else if (h.type == PERF_RECORD_SAMPLE && bytes.size() >= 12) {
        uint32_t pid, size;
        memcpy(&pid, bytes.data(), sizeof pid);
        memcpy(&size, bytes.data() + 8, sizeof size);
        const size_t there = std::min<size_t>(size, bytes.size() - 12);
        record(static_cast<pid_t>(pid), std::span<const uint8_t>(bytes.data() + 12, there));
      }
    }
    __atomic_store_n(&page->data_tail, tail, __ATOMIC_RELEASE);
    return lost;
  }

 private:
  UniqueFd fd_;
  uint8_t* ring_ = nullptr;
  size_t size_ = 0;
};

class TraceSource final : public Source {
 public:
  explicit TraceSource(const SourceOptions& options) : options_(options) {}
  SourceKind kind() const override { return SourceKind::kTrace; }

  absl::Status Discover() override {
    if (!opened_) {
      opened_ = true;
      status_ = Open();
    }
    for (auto& [pid, vm] : vms_) {
      if (pid != 0 && vm.alive && vm.process.valid()) vm.alive = !HasEnded(vm.process);
      if (vm.group != nullptr) vm.group->alive = vm.alive;
    }
    return status_;
  }

  void Read() override {
    if (!status_.ok()) return;
    uint64_t lost = 0;
    for (Tracepoint& p : points_) {
      if (!p.reasons) {
        uint64_t sum = 0;
        for (const Event& e : p.events) sum += e.Count();
        p.fired |= sum != 0;
        // Of all processes: told of where all are wanted.
        if (options_.wanted.any()) Of(0).counts[p.format->name] = sum;
        continue;
      }
      for (Event& e : p.events) {
        lost += e.Drain([&](pid_t pid, std::span<const uint8_t> record) {
          p.fired = true;
          Vm& vm = Of(pid);
          if (!vm.wanted) return;
          ++vm.counts[p.format->name];
          if (vm.by_code.size() < kMaxRows) ++vm.by_code[{&p, p.reasons->Code(record)}];
        });
      }
    }
    if (lost != 0) {
      lost_ += lost;
      if (!said_lost_) Note("trace: records were lost: counts of kvm_exit are too low");
      said_lost_ = true;
    }
    for (auto& [pid, vm] : vms_) Publish(pid, vm);
    if (++reads_ == 2) {
      for (const Tracepoint& p : points_) {
        if (!p.fired) Note(absl::StrCat("trace: ", p.format->name, " is there but has not fired"));
      }
    }
  }

 private:
  struct Tracepoint {
    std::unique_ptr<TraceFormat> format;
    std::optional<ReasonNames> reasons;
    std::vector<Event> events;
    bool fired = false;
  };
  struct Vm {
    UniqueFd process;
    std::string name;
    bool alive = true;
    bool wanted = true;
    std::map<std::string, uint64_t> counts;
    std::map<std::pair<const Tracepoint*, uint64_t>, uint64_t> by_code;
    size_t rows = 0;
    Group* group = nullptr;
  };

  absl::Status Open() {
    absl::Status why = absl::NotFoundError("no tracepoints of KVM (tracefs is not mounted)");
    for (const char* root : kRoots) {
      const std::string events = absl::StrCat(options_.sysroot, root, "/events/kvm");
      int error = 0;
      if (FolderNames(events, &error).empty()) {
        if (error == EACCES || error == EPERM) why = ErrnoError(error, events);
        continue;
      }
      return OpenIn(events);
    }
    return why;
  }

  absl::Status OpenIn(const std::string& events) {
    const std::vector<int> processors = OnlineProcessors(options_.sysroot);
    for (const Point& point : kPoints) {
      const std::string text =
          ReadText(absl::StrCat(events, "/", point.name, "/format"), kMaxTraceFormat);
      if (text.empty()) continue;
      absl::StatusOr<TraceFormat> format = ParseTraceFormat(text);
      if (!format.ok()) return Annotate(format.status(), absl::StrCat(events, "/", point.name));
      Tracepoint p;
      p.format = std::make_unique<TraceFormat>(*std::move(format));
      if (point.reason != nullptr) {
        p.reasons.emplace(*p.format, point.reason);
        if (!p.reasons->valid()) p.reasons.reset();
      }
      for (int cpu : processors) {
        Event e;
        absl::Status opened = e.Open(p.format->id, cpu, p.reasons.has_value());
        if (!opened.ok()) return Annotate(opened, point.name);
        p.events.push_back(std::move(e));
      }
      points_.push_back(std::move(p));
    }
    return points_.empty() ? absl::NotFoundError(absl::StrCat(events, ": no tracepoint known here"))
                           : absl::OkStatus();
  }

  Vm& Of(pid_t pid) {
    const auto [at, made] = vms_.try_emplace(pid);
    if (!made) return at->second;
    Vm& vm = at->second;
    if (pid != 0) {
      vm.process = OpenPid(pid);
      vm.name = GuestName(options_.sysroot, pid);
      vm.wanted = options_.wanted.Matches(vm.name, pid);
      seen_.push_back(vm.name);
    }
    return vm;
  }

  // What is counted grows: a group's schema is made anew when there is a row more.
  void Publish(pid_t pid, Vm& vm) {
    const size_t rows = vm.counts.size() + vm.by_code.size();
    if (!vm.wanted || rows == 0) return;
    if (rows != vm.rows) {
      auto schema = std::make_shared<Schema>();
      const auto add = [&schema](std::string name) {
        Descriptor d;
        d.name = std::move(name);
        d.offset = 8 * schema->words++;
        schema->fields.push_back(std::move(d));
      };
      for (const auto& [name, count] : vm.counts) add(name);
      for (const auto& [key, count] : vm.by_code) {
        add(absl::StrCat(key.first->format->name, "(", key.first->reasons->Name(key.second), ")"));
      }
      Group* old = vm.group;
      vm.group = Add({.vm = vm.name, .pid = pid, .schema = std::move(schema), .whole = true});
      // What was counted goes on where it was.
      if (old != nullptr) {
        old->alive = false;
        vm.group->previous.assign(vm.group->values.size(), 0);
        for (size_t i = 0; i < vm.group->schema->fields.size(); ++i) {
          for (size_t j = 0; j < old->schema->fields.size(); ++j) {
            if (old->schema->fields[j].name == vm.group->schema->fields[i].name) {
              vm.group->previous[i] = old->values[j];
            }
          }
        }
        groups_.erase(std::find_if(groups_.begin(), groups_.end(),
                                   [old](const auto& g) { return g.get() == old; }));
      }
      vm.rows = rows;
    }
    if (vm.group == nullptr) return;
    size_t i = 0;
    for (const auto& [name, count] : vm.counts) {
      if (i < vm.group->values.size()) vm.group->values[i++] = count;
    }
    for (const auto& [key, count] : vm.by_code) {
      if (i < vm.group->values.size()) vm.group->values[i++] = count;
    }
    vm.group->fresh = false;
  }

  const SourceOptions options_;
  bool opened_ = false;
  absl::Status status_;
  std::vector<Tracepoint> points_;
  std::map<pid_t, Vm> vms_;
  uint64_t lost_ = 0;
  bool said_lost_ = false;
  unsigned reads_ = 0;
};

}  // namespace

std::unique_ptr<Source> NewTraceSource(const SourceOptions& options) {
  return std::make_unique<TraceSource>(options);
}

}  // namespace atl::stats
