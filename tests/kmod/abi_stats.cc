// SPDX-License-Identifier: Apache-2.0
// Of abi: atoll.ko's own counters, which mainline has not: descriptors, files of debugfs and
// tracepoints tell the same of a guest whose exits are known.
#include <map>
#include <string>
#include <vector>

#include "tests/kmod/abi.h"

namespace {

constexpr const char* kOfVcpu[] = {
    "pf_fixed",       "pf_guest",       "tlb_flush",           "invlpg",
    "exits",          "io_exits",       "mmio_exits",          "signal_exits",
    "irq_window",     "nmi_window",     "halt_exits",          "halt_wakeup",
    "request_irq",    "irq_exits",      "host_state_reload",   "efer_reload",
    "fpu_reload",     "insn_emulation", "insn_emulation_fail", "hypercalls",
    "irq_injections", "nmi_injections"};
constexpr const char* kOfVm[] = {
    "mmu_shadow_zapped", "mmu_pte_write",  "mmu_pte_updated", "mmu_pde_zapped",   "mmu_flooded",
    "mmu_recycled",      "mmu_cache_miss", "mmu_unsync",      "remote_tlb_flush", "largepages"};

std::string Contents(const std::string& path) {
  std::string all;
  char b[4096];
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  for (ssize_t n; fd >= 0 && (n = read(fd, b, sizeof b)) > 0;)
    all.append(b, static_cast<size_t>(n));
  close(fd);
  return all;
}

void Put(const std::string& path, const char* text) {
  const int fd = open(path.c_str(), O_WRONLY | O_CLOEXEC);
  Check(path.c_str(), write(fd, text, strlen(text)), static_cast<long>(strlen(text)));
  close(fd);
}

// Without the name, an array of no size, that C++ gives one.
constexpr size_t kDesc = 16;

struct Value {
  uint32_t flags;
  int exponent;
  std::vector<uint64_t> data;
};

std::map<std::string, Value> Read(int from) {
  const int fd = static_cast<int>(Ioctl(from, KVM_GET_STATS_FD, 0ul));
  std::string all(1 << 20, 0);
  const ssize_t n = pread(fd, all.data(), all.size(), 0);
  close(fd);
  std::map<std::string, Value> values;
  kvm_stats_header h{};
  Check("a stats descriptor", n > static_cast<ssize_t>(sizeof h), 1);
  if (n <= static_cast<ssize_t>(sizeof h)) return values;
  memcpy(&h, all.data(), sizeof h);
  for (uint32_t i = 0; i < h.num_desc; ++i) {
    kvm_stats_desc d;
    const char* at = all.data() + h.desc_offset + i * (kDesc + h.name_size);
    memcpy(&d, at, kDesc);
    Value& v = values[at + kDesc];
    v.flags = d.flags;
    v.exponent = d.exponent;
    v.data.resize(d.size);
    memcpy(v.data.data(), all.data() + h.data_offset + d.offset, 8ul * d.size);
  }
  Check("no name twice", static_cast<long>(values.size()), h.num_desc);
  return values;
}

uint64_t Sum(const Value& v) {
  uint64_t sum = 0;
  for (uint64_t x : v.data) sum += x;
  return sum;
}

}  // namespace

void Counters() {
  Vm vm;
  const std::string tracing = "/sys/kernel/tracing/";
  // The kernel of tests/lab/debug-kernel has no tracing.
  const bool traces = access((tracing + "events").c_str(), F_OK) == 0;
  if (traces) {
    Put(tracing + "trace", "\n");
    Put(tracing + "events/atoll/enable", "1");
  } else {
    printf("no tracing in this kernel: tracepoints are not looked at\n");
  }
  // cpuid twenty times, out three times, a byte where only a device is, then hlt.
  vm.Code({0xBE, 20,   0,    0x0F, 0xA2, 0x4E, 0x75, 0xFB, 0xE6, 0x80, 0xE6, 0x80,
           0xE6, 0x80, 0xB8, 0xFF, 0xFF, 0x8E, 0xC0, 0x26, 0xA2, 0x10, 0x00, 0xF4});
  for (int i = 0; i < 3; ++i) Check("out", vm.Run(), KVM_EXIT_IO);
  Check("mmio", vm.Run(), KVM_EXIT_MMIO);
  Check("hlt", vm.Run(), KVM_EXIT_HLT);
  if (traces) Put(tracing + "events/atoll/enable", "0");

  const auto vcpu = Read(vm.vcpu), whole = Read(vm.fd);
  const std::string folder =
      "/sys/kernel/debug/atoll/" + std::to_string(getpid()) + "-" + std::to_string(vm.fd) + "/";
  uint64_t reasons = 0, timed = 0;
  for (const auto& [name, v] : vcpu) {
    if (name.rfind("exit_", 0) != 0) continue;
    const bool histogram = name.size() > 3 && name.compare(name.size() - 3, 3, "_ns") == 0;
    Check(name.c_str(), v.flags & KVM_STATS_TYPE_MASK,
          histogram ? KVM_STATS_TYPE_LOG_HIST : KVM_STATS_TYPE_CUMULATIVE);
    if (!histogram) {
      reasons += v.data[0];
      continue;
    }
    timed += Sum(v);
    Check(name.c_str(), v.flags & KVM_STATS_UNIT_MASK, KVM_STATS_UNIT_SECONDS);
    Check(name.c_str(), v.exponent, -9);
    // Each that was counted was also timed, until the guest went on or user space was told.
    const auto count = vcpu.find(name.substr(0, name.size() - 3));
    Check(name.c_str(), static_cast<long>(Sum(v)),
          count == vcpu.end() ? -1 : static_cast<long>(count->second.data[0]));
  }
  const auto value = [](const std::map<std::string, Value>& of, const char* name) {
    const auto at = of.find(name);
    return at == of.end() ? -1L : static_cast<long>(at->second.data[0]);
  };
  Check("cpuid exits", value(vcpu, "exit_cpuid"), 20);
  Check("io exits", value(vcpu, "exit_io"), 3);
  Check("hlt exits", value(vcpu, "exit_hlt"), 1);
  Check("io_exits", value(vcpu, "io_exits"), 3);
  Check("mmio_exits", value(vcpu, "mmio_exits"), 1);
  Check("insn_emulation", value(vcpu, "insn_emulation"), 1);
  Check("exits by reason", static_cast<long>(reasons), value(vcpu, "exits"));
  Check("exits timed", static_cast<long>(timed), value(vcpu, "exits"));
  // The classic 32, here and in debugfs.
  for (const char* name : kOfVcpu) {
    Check(name, atol(Contents(folder + name).c_str()), value(vcpu, name));
    Check(name, vcpu.count(name) == 1, 1);
    Check(name, Contents(std::string("/sys/kernel/debug/atoll/") + name).empty(), 0);
  }
  for (const char* name : kOfVm) {
    Check(name, atol(Contents(folder + name).c_str()), value(whole, name));
    Check(name, whole.count(name) == 1, 1);
  }
  // Reasons have the same names everywhere.
  const std::string list = Contents(folder + "exit_reasons"), trace = Contents(tracing + "trace");
  const std::string format = Contents(tracing + "events/atoll/atoll_exit/format");
  Check("20 of cpuid", list.find("cpuid 20\n") != std::string::npos, 1);
  size_t names = 0;
  for (size_t at = 0; at < list.size(); at = list.find('\n', at) + 1, ++names) {
    const std::string name = list.substr(at, list.find(' ', at) - at);
    Check(name.c_str(), vcpu.count("exit_" + name) == 1, 1);
    if (!traces) continue;
    Check(name.c_str(), name == "other" || format.find("\"" + name + "\"") != std::string::npos, 1);
  }
  Check("reasons", names > 25, 1);
  if (!traces) return;
  size_t traced = 0;
  for (size_t at = 0; (at = trace.find("reason cpuid", at)) != std::string::npos; ++at) ++traced;
  Check("cpuid traced", static_cast<long>(traced), 20);
  for (const char* event : {"atoll_entry", "atoll_page_fault"})
    Check(event, trace.find(event) != std::string::npos, 1);
  Check("atoll_inject", Contents(tracing + "events/atoll/atoll_inject/format").empty(), 0);
}
