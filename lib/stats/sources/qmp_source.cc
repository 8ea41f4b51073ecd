// SPDX-License-Identifier: Apache-2.0
// QEMU's query-stats (7.1 and later; qapi/stats.json). Sockets are found on the
// command lines of QEMU processes, or named.
#include <algorithm>
#include <set>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "lib/base/status_macros.h"
#include "lib/stats/sources/proc.h"
#include "lib/stats/sources/qmp_client.h"
#include "lib/stats/sources/qmp_reply.h"
#include "lib/stats/sources/source.h"

namespace atl::stats {
namespace {

// For the greeting of a socket that was found by the way, and of one that was named.
constexpr uint64_t kFoundNs = 150'000'000, kNamedNs = 2'000'000'000;

// Paths of the QMP sockets that a QEMU command line makes.
std::vector<std::string> SocketsOf(const std::vector<std::string>& words) {
  std::vector<std::string> out;
  std::set<std::string> control;  // ids of -chardev that a -mon in control mode names
  for (size_t i = 0; i + 1 < words.size(); ++i) {
    if (words[i] != "-mon" || !absl::StrContains(words[i + 1], "mode=control")) continue;
    for (absl::string_view item : absl::StrSplit(words[i + 1], ',')) {
      if (absl::ConsumePrefix(&item, "chardev=")) control.insert(std::string(item));
    }
  }
  for (size_t i = 0; i + 1 < words.size(); ++i) {
    absl::string_view value = words[i + 1];
    if ((words[i] == "-qmp" || words[i] == "--qmp" || words[i] == "-qmp-pretty") &&
        absl::ConsumePrefix(&value, "unix:")) {
      out.emplace_back(value.substr(0, value.find(',')));
    } else if (words[i] == "-chardev" && absl::StartsWith(value, "socket,")) {
      std::string id, path;
      for (absl::string_view item : absl::StrSplit(value, ',')) {
        if (absl::ConsumePrefix(&item, "id=")) {
          id = std::string(item);
        } else if (absl::ConsumePrefix(&item, "path=")) {
          path = std::string(item);
        }
      }
      if (!path.empty() && control.count(id) != 0) out.push_back(path);
    }
  }
  return out;
}

class QmpSource final : public Source {
 public:
  explicit QmpSource(const SourceOptions& options) : options_(options) {}
  SourceKind kind() const override { return SourceKind::kQmp; }

  absl::Status Discover() override {
    if (absl::StrContains(options_.wanted.name, '/')) {
      if (vms_.empty()) Try(options_.wanted.name, options_.wanted.name);
    } else if (rounds_++ % 10 == 0) {  // looking at every process costs
      seen_.clear();
      for (pid_t pid : QemuProcesses(options_.sysroot)) {
        const std::string name = GuestName(options_.sysroot, pid);
        seen_.push_back(name);
        if (!options_.wanted.Matches(name, pid) || tried_.count(pid) != 0) continue;
        tried_.insert(pid);
        for (const std::string& path : SocketsOf(CommandLine(options_.sysroot, pid))) {
          // A relative path is relative to the process' folder.
          if (Try(path[0] == '/' ? path : absl::StrCat("/proc/", pid, "/cwd/", path), name)) break;
        }
      }
    }
    if (!vms_.empty()) return absl::OkStatus();
    return refused_.ok() ? absl::NotFoundError("no QMP socket of a QEMU process") : refused_;
  }

  void Read() override {
    for (Vm& vm : vms_) {
      if (!vm.alive) continue;
      absl::Status status = ReadVm(vm);
      if (status.ok()) continue;
      vm.alive = false;
      for (Group* g : vm.groups) g->alive = false;
    }
  }

 private:
  struct Vm {
    std::unique_ptr<QmpClient> client;
    std::string name;
    bool alive = true;
    QmpSchemas schemas;
    std::vector<Group*> groups;
  };

  bool Try(const std::string& path, const std::string& name) {
    Vm vm;
    vm.name = name;
    absl::Status status = Open(path, path == name ? kNamedNs : kFoundNs, vm);
    if (status.ok()) status = ReadVm(vm);
    if (!status.ok()) {
      refused_ = Annotate(status, path);
      return false;
    }
    if (vm.groups.empty()) {
      refused_ = absl::NotFoundError(absl::StrCat(path, ": this QEMU counts nothing (no KVM)"));
      return false;
    }
    vms_.push_back(std::move(vm));
    return true;
  }

  static absl::Status Open(const std::string& path, uint64_t patience_ns, Vm& vm) {
    ASSIGN_OR_RETURN(vm.client, QmpClient::Connect(path, patience_ns));
    ASSIGN_OR_RETURN(qmp::JsonValue schemas, vm.client->Call("query-stats-schemas"));
    ASSIGN_OR_RETURN(vm.schemas, ParseQmpSchemas(schemas));
    return absl::OkStatus();
  }

  absl::Status ReadVm(Vm& vm) {
    size_t next = 0;
    for (const char* target : {"vm", "vcpu"}) {
      const std::shared_ptr<const Schema>& schema =
          target[1] == 'm' ? vm.schemas.vm : vm.schemas.vcpu;
      if (schema == nullptr) continue;
      ASSIGN_OR_RETURN(
          qmp::JsonValue reply,
          vm.client->Call("query-stats", absl::StrCat("{\"target\": \"", target, "\"}")));
      ASSIGN_OR_RETURN(std::vector<std::vector<uint64_t>> all, ParseQmpStats(reply, *schema));
      for (size_t i = 0; i < all.size(); ++i, ++next) {
        if (next == vm.groups.size()) {
          vm.groups.push_back(Add({.vm = vm.name,
                                   .pid = vm.client->pid(),
                                   .vcpu = target[1] == 'm' ? -1 : static_cast<int>(i),
                                   .schema = schema,
                                   .whole = rounds_ > 1}));
        }
        Group& g = *vm.groups[next];
        if (g.schema != schema) continue;  // a vCPU came or went: its place is another's
        g.values = std::move(all[i]);
        g.fresh = false;
      }
    }
    return absl::OkStatus();
  }

  const SourceOptions options_;
  unsigned rounds_ = 0;
  std::vector<Vm> vms_;
  std::set<pid_t> tried_;
  absl::Status refused_;
};

}  // namespace

std::unique_ptr<Source> NewQmpSource(const SourceOptions& options) {
  return std::make_unique<QmpSource>(options);
}

}  // namespace atl::stats
