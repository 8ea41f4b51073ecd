// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "lib/base/status_matchers.h"
#include "lib/qmp/json_value.h"
#include "lib/stats/sources/collector.h"
#include "lib/stats/sources/qmp_reply.h"
#include "lib/stats/sources/recording.h"
#include "lib/stats/sources/source.h"
#include "lib/stats/sources/trace_format.h"

namespace atl::stats {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

std::string FileText(const std::string& path) {
  std::ifstream in(path);
  return {std::istreambuf_iterator<char>(in), {}};
}

// A system of files.
class SysrootTest : public testing::Test {
 protected:
  void SetUp() override {
    mkdir(root_.c_str(), 0755);
    options_.sysroot = root_;
  }
  void Put(const std::string& path, const std::string& text) {
    std::string folder = root_;
    for (size_t at = path.find('/', 1); at != std::string::npos; at = path.find('/', at + 1)) {
      mkdir((root_ + path.substr(0, at)).c_str(), 0755);
    }
    std::ofstream(root_ + path) << text;
  }
  std::string root_ = absl::StrCat(testing::TempDir(), "/sys-",
                                   testing::UnitTest::GetInstance()->current_test_info()->name());
  SourceOptions options_;
};

std::unique_ptr<Collector> Collect(std::unique_ptr<Source> a, std::unique_ptr<Source> b = nullptr) {
  std::vector<std::unique_ptr<Source>> sources;
  sources.push_back(std::move(a));
  if (b != nullptr) sources.push_back(std::move(b));
  return std::make_unique<Collector>(std::move(sources), Collector::Filter{}, false);
}

const Row* Find(const Collector& c, const std::string& name) {
  for (const Row& r : c.rows()) {
    if (r.name == name) return &r;
  }
  return nullptr;
}

TEST_F(SysrootTest, DebugfsOfVmsThatComeAndGo) {
  const std::string kvm = "/sys/kernel/debug/kvm/";
  Put(kvm + "exits", "1000\n");
  Put("/proc/70/cmdline", std::string("qemu\0-name\0guest=web,debug-threads=on\0", 38));
  auto c = Collect(NewDebugfsSource(options_));
  // No VM has a folder: the sums are all there is.
  ASSERT_OK(c->Sample({}));
  EXPECT_EQ(Find(*c, "exits")->total[0], 1000u);
  EXPECT_EQ(Find(*c, "exits")->delta[0], 0u);
  Put(kvm + "70-11/exits", "40\n");
  Put(kvm + "70-11/pages_2m", "7\n");
  Put(kvm + "70-11/vcpu0/guest_mode", "1\n");
  ASSERT_OK(c->Sample({}));
  const Row* exits = Find(*c, "exits");
  EXPECT_EQ(exits->delta[0], 40u);  // the VM began while we looked
  Put(kvm + "70-11/exits", "65\n");
  ASSERT_OK(c->Sample({}));
  exits = Find(*c, "exits");
  EXPECT_EQ(exits->delta[0], 25u);
  EXPECT_EQ(Find(*c, "pages_2m")->total[0], 7u);
  EXPECT_EQ(Find(*c, "pages_2m")->delta[0], 0u);
  EXPECT_THAT(c->VmNames(), testing::Contains("web"));
  // It ends: what was counted stays, what is now is nothing, nothing is negative.
  for (const char* f : {"exits", "pages_2m", "vcpu0/guest_mode"}) {
    unlink((root_ + kvm + "70-11/" + f).c_str());
  }
  rmdir((root_ + kvm + "70-11/vcpu0").c_str());
  rmdir((root_ + kvm + "70-11").c_str());
  ASSERT_OK(c->Sample({}));
  exits = Find(*c, "exits");
  EXPECT_EQ(exits->delta[0], 0u);
  EXPECT_EQ(exits->total[0], 1065u);
  EXPECT_FALSE(exits->alive);
  EXPECT_EQ(Find(*c, "pages_2m")->total[0], 0u);
}

TEST_F(SysrootTest, LockdownIsSaidAndNothingIsZero) {
  Put("/sys/kernel/debug/kvm/70-11/exits", "5\n");
  int tries = 0;
  auto c = Collect(NewDebugfsSource(options_, [&tries](const char*) {
    ++tries;
    errno = EPERM;
    return -1;
  }));
  for (int i = 0; i < 3; ++i) {
    EXPECT_THAT(c->Sample({}),
                StatusIs(absl::StatusCode::kUnavailable, "unreadable (kernel lockdown)"));
  }
  EXPECT_EQ(tries, 1);  // each further one would be in the kernel's log
  EXPECT_TRUE(c->rows().empty());
}

TEST_F(SysrootTest, FilesAreReadAsTheKernelsCanBe) {
  const std::string file = "/sys/kernel/debug/kvm/70-11/exits";
  Put(file, "5\n");
  Put("/sys/kernel/debug/kvm/70-11/halt_wait_hist", "3\n");
  // Like them, a pipe has no positions and is read once.
  auto c = Collect(NewDebugfsSource(options_, [](const char* path) {
    int ends[2];
    if (pipe(ends) != 0) return -1;
    const std::string text = FileText(path);
    EXPECT_EQ(write(ends[1], text.data(), text.size()), static_cast<ssize_t>(text.size()));
    close(ends[1]);
    return ends[0];
  }));
  ASSERT_OK(c->Sample({}));
  Put(file, "12\n");
  ASSERT_OK(c->Sample({}));
  EXPECT_EQ(Find(*c, "exits")->total[0], 12u);
  EXPECT_EQ(Find(*c, "exits")->delta[0], 7u);
  EXPECT_EQ(Find(*c, "halt_wait_hist"), nullptr);
}

TEST_F(SysrootTest, NothingThere) {
  auto c = Collect(NewDebugfsSource(options_), NewTraceSource(options_));
  absl::Status status = c->Sample({});
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kUnavailable, "debugfs: "));
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kUnavailable, "trace: no tracepoints"));
}

TEST_F(SysrootTest, WantedVms) {
  Put("/sys/kernel/debug/kvm/70-11/exits", "5\n");
  Put("/sys/kernel/debug/kvm/71-12/exits", "9\n");
  options_.wanted.pid = 71;
  auto c = Collect(NewDebugfsSource(options_));
  ASSERT_OK(c->Sample({}));
  EXPECT_EQ(Find(*c, "exits")->total[0], 9u);
  options_.wanted = {};
  options_.wanted.name = "70-11";
  c = Collect(NewDebugfsSource(options_));
  ASSERT_OK(c->Sample({}));
  EXPECT_EQ(Find(*c, "exits")->total[0], 5u);
}

// Values that a test sets.
class Fake final : public Source {
 public:
  explicit Fake(SourceKind kind) : kind_(kind) {}
  SourceKind kind() const override { return kind_; }
  absl::Status Discover() override { return absl::OkStatus(); }
  void Read() override {
    for (auto& g : groups_) g->fresh = false;
    for (auto& [g, values] : next) g->values = values;
  }
  std::map<Group*, std::vector<uint64_t>> next;  // by the next Read()
  Group* New(pid_t pid, int vcpu, std::vector<Descriptor> fields) {
    auto schema = std::make_shared<Schema>();
    for (Descriptor& d : fields) {
      d.offset = schema->words * 8;
      schema->words += d.size;
    }
    schema->fields = std::move(fields);
    return Add({.vm = absl::StrCat(pid), .pid = pid, .vcpu = vcpu, .schema = std::move(schema)});
  }

 private:
  const SourceKind kind_;
};

TEST(Collector, TheBestSourceOfEachCounterOfEachVm) {
  auto fd = std::make_unique<Fake>(SourceKind::kFd);
  auto debugfs = std::make_unique<Fake>(SourceKind::kDebugfs);
  fd->next[fd->New(1, 0, {{.name = "exits"}})] = {10};
  fd->next[fd->New(1, 1, {{.name = "exits"}})] = {20};
  Fake& second = *debugfs;
  debugfs->next[debugfs->New(1, -1, {{.name = "exits"}, {.name = "tlb_flush"}})] = {31, 4};
  Group* other = debugfs->New(2, -1, {{.name = "exits"}});
  second.next[other] = {500};
  auto c = Collect(std::move(fd), std::move(debugfs));
  ASSERT_OK(c->Sample({}));
  EXPECT_EQ(Find(*c, "exits")->total[0], 530u);
  EXPECT_EQ(Find(*c, "exits")->sources, 0b101u);
  EXPECT_EQ(Find(*c, "tlb_flush")->total[0], 4u);
  second.next[other] = {480};  // set back by somebody
  ASSERT_OK(c->Sample({}));
  EXPECT_EQ(Find(*c, "exits")->delta[0], 480u);
}

TEST(Collector, KindsOfValues) {
  auto fd = std::make_unique<Fake>(SourceKind::kFd);
  const std::vector<Descriptor> fields = {
      {.name = "peak", .type = Type::kPeak},
      {.name = "now", .type = Type::kInstant},
      {.name = "hist", .type = Type::kLogHist, .size = 2},
      {.name = "flag", .type = Type::kCumulative, .unit = Unit::kBoolean}};
  Group* a = fd->New(1, 0, fields);
  Group* b = fd->New(1, 1, fields);
  Fake& source = *fd;
  source.next[a] = {5, 1, 1, 2, 1};
  source.next[b] = {9, 2, 3, 4, 0};
  auto c = Collect(std::move(fd));
  ASSERT_OK(c->Sample({}));
  source.next[a] = {6, 0, 2, 2, 0};
  ASSERT_OK(c->Sample({}));
  EXPECT_THAT(Find(*c, "peak")->total, ElementsAre(9));
  EXPECT_THAT(Find(*c, "now")->total, ElementsAre(2));
  EXPECT_THAT(Find(*c, "now")->delta, ElementsAre(0));
  EXPECT_THAT(Find(*c, "hist")->total, ElementsAre(5, 6));
  EXPECT_THAT(Find(*c, "hist")->delta, ElementsAre(1, 0));
  EXPECT_THAT(Find(*c, "flag")->delta, ElementsAre(0));
}

TEST(Collector, FiltersFieldsAndVcpus) {
  auto fd = std::make_unique<Fake>(SourceKind::kFd);
  fd->next[fd->New(1, 0, {{.name = "exits"}, {.name = "invlpg"}})] = {10, 1};
  fd->next[fd->New(1, 1, {{.name = "exits"}, {.name = "invlpg"}})] = {20, 2};
  std::vector<std::unique_ptr<Source>> sources;
  sources.push_back(std::move(fd));
  Collector c(std::move(sources), {[](const std::string& name) { return name == "exits"; }, {1}},
              true);
  ASSERT_OK(c.Sample({}));
  ASSERT_EQ(c.rows().size(), 1u);
  EXPECT_EQ(c.rows()[0].total[0], 20u);
  EXPECT_EQ(c.rows()[0].delta[0], 20u);  // since the start
  // The same sample, by another filter.
  c.SetFilter({});
  ASSERT_EQ(c.rows().size(), 2u);
  EXPECT_EQ(c.rows()[0].total[0], 30u);
  EXPECT_EQ(c.rows()[1].total[0], 3u);
  EXPECT_EQ(c.rows()[1].delta[0], 3u);
  ASSERT_OK(c.Sample({}));
  EXPECT_EQ(c.rows().size(), 2u);
}

TEST(TraceFormat, NamesByTheProcessorsKind) {
  ASSERT_OK_AND_ASSIGN(TraceFormat f,
                       ParseTraceFormat(FileText("lib/stats/sources/seeds/trace/kvm_exit")));
  EXPECT_EQ(f.name, "kvm_exit");
  EXPECT_EQ(f.id, 1534u);
  ASSERT_EQ(f.names.size(), 2u);
  EXPECT_EQ(f.names[0].mask, 0xFFFFu);
  std::vector<uint8_t> record(60);
  const auto set = [&record](size_t at, uint32_t v) { memcpy(record.data() + at, &v, 4); };
  const ReasonNames reasons(f, "exit_reason");
  ASSERT_TRUE(reasons.valid());
  set(8, 0x80000000 + 30);
  set(24, 1);
  EXPECT_EQ(reasons.Name(reasons.Code(record)), "IO_INSTRUCTION");
  set(8, 0x7B);
  set(24, 2);
  EXPECT_EQ(reasons.Name(reasons.Code(record)), "io");
  set(8, 0x999);
  EXPECT_EQ(reasons.Name(reasons.Code(record)), "0x999");  // never dropped
  record.resize(9);
  EXPECT_EQ(reasons.Name(reasons.Code(record)), "read_cr0");  // of zeros
}

TEST(TraceFormat, LiteralsInPieces) {
  ASSERT_OK_AND_ASSIGN(
      TraceFormat f,
      ParseTraceFormat(FileText("lib/stats/sources/seeds/trace/kvm_userspace_exit")));
  const ReasonNames reasons(f, "reason");
  EXPECT_EQ(reasons.Name(2), "KVM_EXIT_IO");
  EXPECT_EQ(reasons.Name(77), "0x4d");
  EXPECT_FALSE(ReasonNames(f, "exit_reason").valid());
}

TEST(TraceFormat, Errors) {
  EXPECT_THAT(ParseTraceFormat("nothing"), StatusIs(absl::StatusCode::kInvalidArgument, "ID"));
  EXPECT_THAT(ParseTraceFormat("name: a\nID: 1\nfield:int x;"),
              StatusIs(absl::StatusCode::kInvalidArgument, "int x"));
}

TEST(QmpReply, OfQemuSeven) {
  const std::string text = FileText("lib/stats/sources/seeds/qmp/seven");
  const size_t end = text.find('\n');
  ASSERT_OK_AND_ASSIGN(QmpSchemas schemas,
                       ParseQmpSchemas(qmp::ParseJson(text.substr(0, end)).value()));
  ASSERT_NE(schemas.vcpu, nullptr);
  ASSERT_NE(schemas.vm, nullptr);
  ASSERT_EQ(schemas.vcpu->fields.size(), 4u);
  const Descriptor& hist = schemas.vcpu->fields[1];
  EXPECT_EQ(hist.type, Type::kLogHist);
  EXPECT_EQ(hist.exponent, -9);
  ASSERT_OK_AND_ASSIGN(auto values,
                       ParseQmpStats(qmp::ParseJson(text.substr(end + 1)).value(), *schemas.vcpu));
  ASSERT_EQ(values.size(), 1u);
  EXPECT_EQ(values[0][hist.offset / 8 + 2], 2u);
  EXPECT_EQ(values[0][schemas.vcpu->fields[2].offset / 8], 123u);
}

TEST(RecordingTest, TimesDoNotFall) {
  Recorder recorder;
  std::string text = recorder.Sample(5, {});
  text += recorder.Sample(3, {});
  auto replay = Replay::Parse(text);
  ASSERT_TRUE(replay.ok()) << replay.status();
  EXPECT_EQ((*replay)->samples(), 2u);
  EXPECT_EQ((*replay)->NextTime(), 5);
  (*replay)->Read();
  EXPECT_EQ((*replay)->NextTime(), 5);
  const auto bad = Replay::Parse("{\"atoll-stat\": 1}\n{\"sample\": 5}\n{\"sample\": 3}\n");
  EXPECT_EQ(bad.status().message(), "line 3: a sample from before the one before it");
}

}  // namespace
}  // namespace atl::stats
