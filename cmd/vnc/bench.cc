// SPDX-License-Identifier: Apache-2.0
#include <dirent.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <chrono>
#include <fstream>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "cmd/vnc/commands.h"
#include "cmd/vnc/endpoint.h"
#include "lib/base/status_macros.h"
#include "lib/base/unique_fd.h"
#include "lib/cli/main.h"
#include "lib/cli/option.h"
#include "lib/cli/table.h"
#include "lib/host/socket.h"
#include "lib/rfb/skimmer.h"

namespace atl::vnc {
namespace {

using Clock = std::chrono::steady_clock;

constexpr cli::Option kOptions[] = {
    {.name = "--count",
     .arg = "N",
     .kind = cli::Kind::kUnsigned,
     .help = "updates to measure, each of the whole picture",
     .default_text = "20",
     .min = 1,
     .max = 100000},
    {.name = "--encoding",
     .arg = "NAME",
     .kind = cli::Kind::kEnum,
     .help = "measure this one: -qN is Tight with JPEG of quality N",
     .default_text = "tight, tight-q8, zrle and hextile",
     .repeat = cli::Repeat::kEach,
     .choices = "raw rre hextile zlib zrle tight tight-q1 tight-q4 tight-q6 tight-q8 tight-q9"},
};

// What a server is asked for, by its name in the options; -32 is quality 0.
struct Case {
  absl::string_view name;
  std::vector<int32_t> encodings;
};
std::vector<Case> AllCases() {
  return {{"raw", {0}},           {"rre", {2}},           {"hextile", {5}},
          {"zlib", {6}},          {"zrle", {16}},         {"tight", {7}},
          {"tight-q1", {7, -31}}, {"tight-q4", {7, -28}}, {"tight-q6", {7, -26}},
          {"tight-q8", {7, -24}}, {"tight-q9", {7, -23}}};
}
constexpr absl::string_view kDefaultCases[] = {"tight", "tight-q8", "zrle", "hextile"};

// A socket that gives up on a server that says nothing.
class Socket final : public rfb::ByteStream {
 public:
  static constexpr int kPatienceMs = 30'000;

  explicit Socket(UniqueFd fd) : fd_(std::move(fd)) {}

  absl::Status Read(std::span<uint8_t> bytes) override {
    while (!bytes.empty()) {
      if (from_ == to_) {
        pollfd p{fd_.get(), POLLIN, 0};
        const int ready = poll(&p, 1, kPatienceMs);
        if (ready == 0) return absl::DeadlineExceededError("the server says nothing");
        const ssize_t n = recv(fd_.get(), buffer_, sizeof buffer_, 0);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return ErrnoError(errno, "connection");
        if (n == 0) return absl::UnavailableError("the server has closed the connection");
        from_ = 0;
        to_ = static_cast<size_t>(n);
      }
      const size_t n = std::min(bytes.size(), to_ - from_);
      std::copy_n(buffer_ + from_, n, bytes.begin());
      from_ += n;
      bytes = bytes.subspan(n);
    }
    return absl::OkStatus();
  }
  absl::Status Write(std::span<const uint8_t> bytes) override {
    // A few bytes each time: they fit.
    if (send(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL) !=
        static_cast<ssize_t>(bytes.size())) {
      return ErrnoError(errno, "connection");
    }
    return absl::OkStatus();
  }

 private:
  const UniqueFd fd_;
  size_t from_ = 0, to_ = 0;
  uint8_t buffer_[256 * 1024];
};

absl::StatusOr<UniqueFd> ConnectTcp(const std::string& host, uint16_t port) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICSERV;
  addrinfo* list = nullptr;
  const int code = getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &list);
  if (code != 0) return absl::NotFoundError(gai_strerror(code));
  const std::unique_ptr<addrinfo, void (*)(addrinfo*)> owner(list, freeaddrinfo);
  int error = ENOENT;
  for (const addrinfo* a = list; a != nullptr; a = a->ai_next) {
    UniqueFd fd(socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC, 0));
    if (fd.valid() && connect(fd.get(), a->ai_addr, a->ai_addrlen) == 0) {
      const int on = 1;
      setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
      return fd;
    }
    error = errno;
  }
  return ErrnoError(error, "connect");
}

// One of the servers that are compared.
struct Target {
  std::string text;
  Endpoint endpoint;
  std::optional<uint64_t> pid;
};

absl::StatusOr<Target> ParseTarget(const std::string& text) {
  Target out;
  out.text = text.substr(0, text.find(','));
  ASSIGN_OR_RETURN(out.endpoint, ParseEndpoint(out.text));
  if (out.text.size() == text.size()) return out;
  uint64_t pid = 0;
  const std::string rest = text.substr(out.text.size());
  if (rest.substr(0, 5) != ",pid=" || !absl::SimpleAtoi(rest.substr(5), &pid)) {
    return cli::UsageError(absl::StrCat("'", text, "': behind the endpoint only ,pid=N may stand"));
  }
  out.pid = pid;
  return out;
}

absl::StatusOr<UniqueFd> Connect(const Endpoint& e) {
  switch (e.kind) {
    case Endpoint::Kind::kFd:
      return UniqueFd(e.fd);
    case Endpoint::Kind::kUnix:
      return host::ConnectUnix(e.path);
    case Endpoint::Kind::kTcp:
      return ConnectTcp(e.host.empty() || e.host == "*" ? "localhost" : e.host, e.port);
  }
  return absl::InvalidArgumentError("no endpoint");
}

// Nanoseconds that all threads of a process have used.
absl::StatusOr<uint64_t> CpuOf(uint64_t pid) {
  const std::string folder = absl::StrCat("/proc/", pid, "/task");
  const std::unique_ptr<DIR, int (*)(DIR*)> tasks(opendir(folder.c_str()), closedir);
  if (tasks == nullptr) return ErrnoError(errno, folder);
  uint64_t sum = 0;
  while (const dirent* entry = readdir(tasks.get())) {
    if (entry->d_name[0] == '.') continue;
    std::ifstream file(absl::StrCat(folder, "/", entry->d_name, "/schedstat"));
    uint64_t used = 0;
    if (file >> used) sum += used;  // one that has ended meanwhile has no file
  }
  return sum;
}

struct Measured {
  double wall_ms = 0, kilobytes = 0;
  std::optional<double> cpu_ms;
  unsigned width = 0, height = 0;
};

absl::StatusOr<Measured> Measure(const Target& target, const Case& c, uint64_t count) {
  ASSIGN_OR_RETURN(UniqueFd fd, Connect(target.endpoint));
  const auto socket = std::make_unique<Socket>(std::move(fd));
  rfb::Skimmer skimmer(socket.get());
  RETURN_IF_ERROR(skimmer.Enter());
  RETURN_IF_ERROR(skimmer.SetEncodings(c.encodings));
  const auto once = [&]() -> absl::Status {
    RETURN_IF_ERROR(skimmer.Ask(/*incremental=*/false));
    return skimmer.Update();
  };
  // The first makes buffers and compressors.
  RETURN_IF_ERROR(once());
  Measured out;
  const auto cpu = [&]() -> absl::StatusOr<uint64_t> {
    if (!target.pid) return 0;
    return CpuOf(*target.pid);
  };
  ASSIGN_OR_RETURN(const uint64_t cpu_before, cpu());
  const uint64_t bytes_before = skimmer.bytes();
  const Clock::time_point begin = Clock::now();
  for (uint64_t i = 0; i < count; ++i) RETURN_IF_ERROR(once());
  const std::chrono::duration<double, std::milli> wall = Clock::now() - begin;
  ASSIGN_OR_RETURN(const uint64_t cpu_after, cpu());
  const auto n = static_cast<double>(count);
  out.wall_ms = wall.count() / n;
  out.kilobytes = static_cast<double>(skimmer.bytes() - bytes_before) / n / 1e3;
  if (target.pid) out.cpu_ms = static_cast<double>(cpu_after - cpu_before) / n / 1e6;
  out.width = skimmer.width();
  out.height = skimmer.height();
  return out;
}

absl::StatusOr<int> Run(const cli::Parsed& args) {
  std::vector<Target> targets;
  for (const std::string& text : args.operands) {
    ASSIGN_OR_RETURN(Target target, ParseTarget(text));
    targets.push_back(std::move(target));
  }
  std::vector<absl::string_view> names;
  for (const cli::Given* g : args.All("--encoding")) names.push_back(g->text);
  if (names.empty()) names.assign(std::begin(kDefaultCases), std::end(kDefaultCases));
  const uint64_t count = args.NumberOr("--count", 20);
  const std::vector<Case> cases = AllCases();
  cli::TextTable table;
  table.AddColumn("ENCODING");
  table.AddColumn("SERVER");
  table.AddColumn("PICTURE");
  for (const char* const name : {"CPU ms", "ms", "kB"}) {
    table.AddColumn(name, cli::TextTable::Align::kRight);
  }
  for (const absl::string_view name : names) {
    const Case& c = *std::find_if(cases.begin(), cases.end(),
                                  [&](const Case& each) { return each.name == name; });
    // Side by side, so that what else the machine does is everybody's burden.
    for (const Target& target : targets) {
      absl::StatusOr<Measured> m = Measure(target, c, count);
      if (!m.ok()) return Annotate(m.status(), absl::StrCat(target.text, ": ", name));
      table.AddRow({std::string(name), cli::Printable(target.text),
                    absl::StrCat(m->width, "x", m->height),
                    m->cpu_ms ? absl::StrFormat("%.2f", *m->cpu_ms) : "-",
                    absl::StrFormat("%.2f", m->wall_ms), absl::StrFormat("%.1f", m->kilobytes)});
    }
  }
  cli::Print(table.ToString());
  return cli::kExitDone;
}

}  // namespace

const cli::Command kBench = {
    .name = "bench",
    .operands = "ENDPOINT[,pid=N]...",
    .summary = "measure VNC servers: time and bytes of a whole update",
    .options = kOptions,
    .min_operands = 1,
    .max_operands = 16,
    .run = Run,
    .notes =
        "ENDPOINT is HOST:DISPLAY, HOST::PORT or unix:PATH of a server without a password, ours\n"
        "or another. With the server's process number its processor time is measured, too.",
};

}  // namespace atl::vnc
