// SPDX-License-Identifier: Apache-2.0
// Descriptors in the binary stats format: run hands its own out over its control
// socket; those that another VMM keeps open are copied with pidfd_getfd(), where
// we may (an ioctl on its vCPU's descriptor would give EIO).
#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <set>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "lib/base/status_macros.h"
#include "lib/host/runtime_dir.h"
#include "lib/stats/sources/proc.h"
#include "lib/stats/sources/qmp_client.h"
#include "lib/stats/sources/source.h"

namespace atl::stats {
namespace {

// A busy host may let a guest's process wait.
constexpr uint64_t kPatienceNs = 2'000'000'000;
constexpr char kVmLink[] = "anon_inode:kvm-vm-stats";
constexpr char kVcpuLink[] = "anon_inode:kvm-vcpu-stats:";
constexpr char kOurLink[] = "/memfd:atoll-stats";

// The head of a file in the format.
absl::StatusOr<Layout> ReadLayout(int fd) {
  Header h;
  if (pread(fd, &h, sizeof h, 0) != static_cast<ssize_t>(sizeof h)) {
    return absl::InvalidArgumentError("binary stats: no header");
  }
  ASSIGN_OR_RETURN(uint32_t bytes, LayoutBytes(h));
  std::vector<uint8_t> head(bytes);
  if (pread(fd, head.data(), head.size(), 0) != static_cast<ssize_t>(head.size())) {
    return absl::InvalidArgumentError("binary stats: ends before its descriptors");
  }
  return ParseLayout(head);
}

class FdSource final : public Source {
 public:
  explicit FdSource(const SourceOptions& options) : options_(options) {}
  SourceKind kind() const override { return SourceKind::kFd; }

  absl::Status Discover() override {
    seen_.clear();
    for (Vm& vm : vms_) {
      if (!vm.alive) continue;
      vm.ended = HasEnded(vm.process);
    }
    std::vector<host::VmEntry> running = host::ListVms(options_.runtime_root);
    for (const host::VmEntry& e : running) {
      seen_.push_back(e.name);
      if (options_.wanted.Matches(e.name, e.pid) && !Has(e.pid)) AskRun(e);
    }
    // A VMM that is named is looked into; for all processes that would cost more
    // than the answer is worth.
    if (options_.wanted.pid && !Has(*options_.wanted.pid)) LookInto(*options_.wanted.pid);
    first_ = false;
    if (!vms_.empty()) return absl::OkStatus();
    if (!refused_.ok()) return refused_;
    return absl::NotFoundError(options_.runtime_root.empty()
                                   ? "there is no runtime directory"
                                   : absl::StrCat("no VM in ", options_.runtime_root));
  }

  void Read() override {
    for (Vm& vm : vms_) {
      if (!vm.alive) continue;
      for (File& f : vm.files) {
        std::vector<uint64_t>& to = f.group->values;
        const ssize_t bytes = static_cast<ssize_t>(to.size() * sizeof to[0]);
        if (pread(f.fd.get(), to.data(), to.size() * sizeof to[0], f.data_offset) == bytes) {
          f.group->fresh = false;
        } else {
          f.group->alive = false;
        }
        // The last values of a VM that has ended can still be read.
        if (vm.ended) f.group->alive = false;
      }
      vm.alive = !vm.ended;
    }
  }

 private:
  struct File {
    UniqueFd fd;
    off_t data_offset = 0;
    Group* group = nullptr;
  };
  struct Vm {
    pid_t pid = 0;
    UniqueFd process;
    bool ended = false;
    bool alive = true;
    std::vector<File> files;
  };

  bool Has(pid_t pid) const {
    return std::any_of(vms_.begin(), vms_.end(),
                       [pid](const Vm& v) { return v.alive && v.pid == pid; });
  }

  // vCPUs and VMs alike have the same descriptors.
  std::shared_ptr<const Schema> SchemaOf(Layout& layout) {
    for (const std::shared_ptr<const Schema>& s : schemas_) {
      if (s->words == layout.words &&
          std::equal(s->fields.begin(), s->fields.end(), layout.descriptors.begin(),
                     layout.descriptors.end(), [](const Descriptor& a, const Descriptor& b) {
                       return a.name == b.name && a.offset == b.offset && a.type == b.type &&
                              a.size == b.size;
                     })) {
        return s;
      }
    }
    auto made = std::make_shared<Schema>();
    made->fields = std::move(layout.descriptors);
    made->words = layout.words;
    schemas_.push_back(made);
    return made;
  }

  absl::Status AddFile(Vm& vm, const std::string& name, int vcpu, UniqueFd fd) {
    ASSIGN_OR_RETURN(Layout layout, ReadLayout(fd.get()));
    const off_t at = layout.data_offset;
    Group* group = Add(
        {.vm = name, .pid = vm.pid, .vcpu = vcpu, .schema = SchemaOf(layout), .whole = !first_});
    vm.files.push_back({std::move(fd), at, group});
    return absl::OkStatus();
  }

  // What a peer that is ours says is still foreign.
  void AskRun(const host::VmEntry& e) {
    absl::Status status = TryRun(e);
    if (status.ok()) return;
    refused_ = Annotate(status, e.name);
    // One that is about to start or to end does not answer: it is asked again.
    if (!absl::IsUnavailable(status) && !absl::IsNotFound(status) &&
        !absl::IsDeadlineExceeded(status) && complained_.insert(e.pid).second) {
      Note(std::string(refused_.message()));
    }
  }

  absl::Status TryRun(const host::VmEntry& e) {
    ASSIGN_OR_RETURN(std::unique_ptr<QmpClient> client,
                     QmpClient::Connect(absl::StrCat(e.folder, "/control"), kPatienceNs));
    Vm vm;
    vm.pid = e.pid;
    vm.process = OpenPid(e.pid);
    if (!vm.process.valid()) return ErrnoError(errno, "its process");
    std::vector<std::pair<int, UniqueFd>> files;
    for (uint64_t total = 1; files.size() < total;) {
      ASSIGN_OR_RETURN(
          qmp::JsonValue reply,
          client->Call("atoll-stats-fds", absl::StrCat("{\"first\": ", files.size(), "}")));
      const qmp::JsonValue* count = reply.Find("total");
      const qmp::JsonValue* list = reply.Find("fds");
      std::vector<UniqueFd> fds = client->TakeFds();
      if (count == nullptr || count->integer() == nullptr || *count->integer() < 0 ||
          *count->integer() > 4096 || list == nullptr || list->array() == nullptr ||
          list->array()->size() != fds.size() || fds.empty()) {
        return absl::InvalidArgumentError("its control socket gives no counters");
      }
      total = static_cast<uint64_t>(*count->integer());
      for (size_t i = 0; i < fds.size(); ++i) {
        const int64_t* vcpu = (*list->array())[i].integer();
        if (vcpu == nullptr || *vcpu < -1 || *vcpu > 4096) {
          return absl::InvalidArgumentError("its control socket gives no counters");
        }
        files.emplace_back(static_cast<int>(*vcpu), std::move(fds[i]));
      }
    }
    for (auto& [vcpu, fd] : files) RETURN_IF_ERROR(AddFile(vm, e.name, vcpu, std::move(fd)));
    vms_.push_back(std::move(vm));
    return absl::OkStatus();
  }

  void LookInto(pid_t pid) {
    Vm vm;
    vm.pid = pid;
    vm.process = OpenPid(pid);
    if (!vm.process.valid()) return;
    const std::string name = GuestName(options_.sysroot, pid);
    int next_of_ours = 0;
    const auto take = [&](int vcpu, int fd) {
      UniqueFd copy = CopyDescriptor(vm.process, fd);
      if (!copy.valid()) {
        refused_ = ErrnoError(errno, absl::StrCat("descriptors of process ", pid));
        return;
      }
      absl::Status added = AddFile(vm, name, vcpu, std::move(copy));
      if (!added.ok()) refused_ = added;
    };
    for (const auto& [fd, link] : DescriptorsOf(pid, kVmLink)) take(-1, fd);
    for (const auto& [fd, link] : DescriptorsOf(pid, kVcpuLink)) {
      int vcpu;
      if (absl::SimpleAtoi(absl::string_view(link).substr(sizeof kVcpuLink - 1), &vcpu)) {
        take(vcpu, fd);
      }
    }
    // run makes them in the order VM, vCPUs.
    for (const auto& [fd, link] : DescriptorsOf(pid, kOurLink)) {
      UniqueFd copy = CopyDescriptor(vm.process, fd);
      if (!copy.valid()) continue;
      absl::StatusOr<Layout> layout = ReadLayout(copy.get());
      if (!layout.ok()) continue;
      const size_t at = layout->id.rfind("/vcpu-");
      int vcpu = -1;
      if (at != std::string::npos && !absl::SimpleAtoi(layout->id.substr(at + 6), &vcpu)) {
        vcpu = next_of_ours++;
      }
      (void)AddFile(vm, name, vcpu, std::move(copy));
    }
    if (!vm.files.empty()) vms_.push_back(std::move(vm));
  }

  const SourceOptions options_;
  bool first_ = true;
  std::vector<Vm> vms_;
  std::vector<std::shared_ptr<const Schema>> schemas_;
  std::set<pid_t> complained_;
  absl::Status refused_;
};

}  // namespace

std::unique_ptr<Source> NewFdSource(const SourceOptions& options) {
  return std::make_unique<FdSource>(options);
}

}  // namespace atl::stats
