// SPDX-License-Identifier: Apache-2.0
// The files of /sys/kernel/debug/kvm (and of atoll's own module beside it): a
// folder "PID-FD" for each VM; the files above them are sums over all VMs, used
// where there is no such folder.
//
// A kernel under lockdown refuses to open those that can be written with EPERM,
// also to root, and logs each attempt: then nothing is tried again, and there is
// no value, which is not a 0.
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <map>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "lib/base/status_macros.h"
#include "lib/stats/fields.h"
#include "lib/stats/sources/proc.h"
#include "lib/stats/sources/source.h"

namespace atl::stats {
namespace {

constexpr const char* kRoots[] = {"/sys/kernel/debug/kvm", "/sys/kernel/debug/atoll"};

// "1234-11"
bool IsVmFolder(absl::string_view name, pid_t* pid) {
  const std::vector<absl::string_view> parts = absl::StrSplit(name, '-');
  int fd;
  return parts.size() == 2 && absl::SimpleAtoi(parts[0], pid) && *pid > 0 &&
         absl::SimpleAtoi(parts[1], &fd);
}

class DebugfsSource final : public Source {
 public:
  DebugfsSource(const SourceOptions& options, std::function<int(const char*)> open)
      : options_(options), open_(std::move(open)) {
    if (!open_) open_ = [](const char* path) { return ::open(path, O_RDONLY | O_CLOEXEC); };
  }
  SourceKind kind() const override { return SourceKind::kDebugfs; }

  absl::Status Discover() override {
    if (!refused_.ok()) return refused_;
    seen_.clear();
    bool there = false;
    absl::Status why = absl::NotFoundError(absl::StrCat(
        options_.sysroot, kRoots[0], ": is not there (no KVM module, or debugfs is not mounted)"));
    for (const char* root : kRoots) {
      const std::string path = absl::StrCat(options_.sysroot, root);
      int error = 0;
      const std::vector<std::string> names = FolderNames(path, &error);
      if (error == EACCES || error == EPERM) why = ErrnoError(error, path);
      if (error != 0) continue;
      there = true;
      RETURN_IF_ERROR(DiscoverIn(path, names));
    }
    first_ = false;
    return there ? absl::OkStatus() : why;
  }

  void Read() override {
    for (auto& [path, vm] : vms_) {
      if (!vm.group->alive) continue;
      for (size_t i = 0; i < vm.files.size(); ++i) {
        uint64_t value = 0;
        if (ReadValue(vm.files[i], &value) != 0) {
          // The VM's last values stay.
          vm.group->alive = false;
          break;
        }
        vm.group->values[i] = value;
      }
      if (vm.group->alive) vm.group->fresh = false;
    }
  }

 private:
  struct Vm {
    std::vector<std::string> files;
    Group* group = nullptr;
  };

  // 0, an errno, or EINVAL for what is no number. These files can be read once
  // for each time that they are opened: they are not seekable.
  int ReadValue(const std::string& file, uint64_t* value) const {
    const UniqueFd fd(open_(file.c_str()));
    if (!fd.valid()) return errno;
    char text[32];
    const ssize_t n = read(fd.get(), text, sizeof text);
    if (n < 0) return errno;
    return absl::SimpleAtoi(absl::string_view(text, static_cast<size_t>(n)), value) ? 0 : EINVAL;
  }

  absl::Status DiscoverIn(const std::string& root, const std::vector<std::string>& names) {
    bool folders = false;
    for (const std::string& name : names) {
      pid_t pid;
      if (!IsVmFolder(name, &pid)) continue;
      folders = true;
      const std::string guest = GuestName(options_.sysroot, pid);
      seen_.push_back(guest);
      const std::string path = absl::StrCat(root, "/", name);
      if (vms_.count(path) != 0 || !options_.wanted.Matches(guest, pid, name)) continue;
      RETURN_IF_ERROR(Open(path, guest, pid));
    }
    for (auto& [path, vm] : vms_) {
      struct stat st;
      if (vm.group->alive && stat(path.c_str(), &st) != 0) vm.group->alive = false;
    }
    // The sums, while there is nothing better.
    const auto sums = vms_.find(root);
    if (folders && sums != vms_.end()) {
      sums->second.group->alive = false;
    } else if (!folders && sums == vms_.end() && options_.wanted.any()) {
      RETURN_IF_ERROR(Open(root, "", 0));
    }
    return absl::OkStatus();
  }

  absl::Status Open(const std::string& path, const std::string& guest, pid_t pid) {
    auto schema = std::make_shared<Schema>();
    Vm vm;
    for (const std::string& name : FolderNames(path)) {
      struct stat st;
      const std::string file = absl::StrCat(path, "/", name);
      if (stat(file.c_str(), &st) != 0 || !S_ISREG(st.st_mode)) continue;
      uint64_t value = 0;
      const int error = ReadValue(file, &value);
      if (error == ENOENT || error == EINVAL || error == ENODEV) continue;  // gone, or no counter
      if (error != 0) {
        refused_ =
            error == EPERM
                ? absl::PermissionDeniedError(absl::StrCat(path, ": unreadable (kernel lockdown)"))
                : ErrnoError(error, file);
        // What was read before is gone too: half of it would be a false picture.
        for (auto& [other, open] : vms_) open.group->alive = false;
        return refused_;
      }
      Descriptor d;
      d.name = name;
      if (const Field* f = FindField(name)) {
        // Of a histogram there is nothing but the first bucket here.
        if (f->type == Type::kLogHist || f->type == Type::kLinearHist) continue;
        d.type = f->type;
        d.unit = f->unit;
        d.exponent = f->exponent;
      } else if ((st.st_mode & 0222) == 0) {
        d.type = Type::kInstant;  // those that cannot be set to 0
      }
      d.offset = schema->words * 8;
      ++schema->words;
      schema->fields.push_back(std::move(d));
      vm.files.push_back(file);
      if (vm.files.size() == kMaxDescriptors) break;
    }
    if (vm.files.empty()) return absl::OkStatus();
    vm.group = Add({.vm = guest, .pid = pid, .schema = std::move(schema), .whole = !first_});
    vms_.emplace(path, std::move(vm));
    return absl::OkStatus();
  }

  const SourceOptions options_;
  std::function<int(const char*)> open_;
  bool first_ = true;
  std::map<std::string, Vm> vms_;  // by folder
  absl::Status refused_;
};

}  // namespace

std::unique_ptr<Source> NewDebugfsSource(const SourceOptions& options,
                                         std::function<int(const char*)> open) {
  return std::make_unique<DebugfsSource>(options, std::move(open));
}

}  // namespace atl::stats
