// SPDX-License-Identifier: Apache-2.0
#include "lib/stats/fields.h"

#include <algorithm>

#include "absl/strings/match.h"

namespace atl::stats {
namespace {

constexpr Type kC = Type::kCumulative, kI = Type::kInstant, kP = Type::kPeak, kH = Type::kLogHist;
constexpr Unit kNo = Unit::kNone, kS = Unit::kSeconds, kB = Unit::kBoolean;
constexpr bool kVm = true, kVcpu = false;

// The debugfs table of Linux 2.6.29 to 4.1, the kernel's tables of 6.1, and ours.
// clang-format off
constexpr Field kFields[] = {
    {"blocking", "", kI, kB, 0, kVcpu, "the vCPU sleeps on the host now"},
    {"cr8", "", kC, kNo, 0, kVcpu, "accesses to CR8 handled, on atoll's software CPU"},
    {"dev_NAME_hist", "", kH, kS, -9, kVcpu, "times that device NAME took for an access"},
    {"dev_NAME_ns", "", kC, kS, -9, kVcpu, "time spent in device NAME"},
    {"directed_yield_attempted", "", kC, kNo, 0, kVcpu, "tries to give the processor to a preempted vCPU"},
    {"directed_yield_successful", "", kC, kNo, 0, kVcpu, "tries of these that succeeded"},
    {"efer_reload", "efer_reload", kC, kNo, 0, kVcpu, "EFER had to be switched explicitly between host and guest"},
    {"exit_NAME_hist", "", kH, kS, -9, kVcpu, "times that exits for reason NAME took to handle"},
    {"exit_NAME_ns", "", kC, kS, -9, kVcpu, "time spent handling exits for reason NAME"},
    {"exits", "", kC, kNo, 0, kVcpu, "returns from guest mode"},
    {"fpu_reload", "", kC, kNo, 0, kVcpu, "guest FPU state saved and the user's restored"},
    {"guest_hist", "", kH, kS, -9, kVcpu, "times spent in the guest between two exits"},
    {"guest_mode", "", kI, kB, 0, kVcpu, "the vCPU runs a nested guest now"},
    {"guest_ns", "", kC, kS, -9, kVcpu, "time spent in the guest"},
    {"halt_attempted_poll", "", kC, kNo, 0, kVcpu, "halts for which the host polled before it slept"},
    {"halt_exits", "", kC, kNo, 0, kVcpu, "guest HLT emulated"},
    {"halt_poll_fail_hist", "", kH, kS, -9, kVcpu, "lengths of polls that ended in sleep"},
    {"halt_poll_fail_ns", "", kC, kS, -9, kVcpu, "time spent in polls that ended in sleep"},
    {"halt_poll_invalid", "", kC, kNo, 0, kVcpu, "polls that a spurious wake-up ended"},
    {"halt_poll_success_hist", "", kH, kS, -9, kVcpu, "lengths of polls that saw the wake-up"},
    {"halt_poll_success_ns", "", kC, kS, -9, kVcpu, "time spent in polls that saw the wake-up"},
    {"halt_successful_poll", "", kC, kNo, 0, kVcpu, "polls that saw the wake-up"},
    {"halt_wait_hist", "", kH, kS, -9, kVcpu, "lengths of sleeps in HLT"},
    {"halt_wait_ns", "", kC, kS, -9, kVcpu, "time slept in HLT"},
    {"halt_wakeup", "", kC, kNo, 0, kVcpu, "another context woke this vCPU from its wait queue"},
    {"host_state_reload", "", kC, kNo, 0, kVcpu, "host segment and MSR state restored after running the guest"},
    {"hypercalls", "", kC, kNo, 0, kVcpu, "VMCALL or VMMCALL handled"},
    {"insn_emulation", "", kC, kNo, 0, kVcpu, "instructions decoded for emulation"},
    {"insn_emulation_fail", "", kC, kNo, 0, kVcpu, "instructions that could not be decoded or executed"},
    {"instructions", "", kC, kNo, 0, kVcpu, "guest instructions retired, on atoll's software CPU"},
    {"invlpg", "", kC, kNo, 0, kVcpu, "guest INVLPG or INVPCID of one address emulated"},
    {"io_exits", "", kC, kNo, 0, kVcpu, "exits for port I/O"},
    {"irq_exits", "", kC, kNo, 0, kVcpu, "exits caused by an interrupt"},
    {"irq_injections", "", kC, kNo, 0, kVcpu, "interrupts put into the guest"},
    {"irq_window_exits", "irq_window", kC, kNo, 0, kVcpu, "exits because the guest became able to take an interrupt"},
    {"kvm_entry", "", kC, kNo, 0, kVm, "tracepoint: the guest is entered"},
    {"kvm_exit", "", kC, kNo, 0, kVm, "tracepoint: the guest was left; kvm_exit(REASON) counts one reason"},
    {"kvm_mmio", "", kC, kNo, 0, kVm, "tracepoint: memory-mapped I/O emulated"},
    {"kvm_pio", "", kC, kNo, 0, kVm, "tracepoint: port I/O emulated"},
    {"kvm_userspace_exit", "", kC, kNo, 0, kVm, "tracepoint: return to user space"},
    {"l1d_flush", "", kC, kNo, 0, kVcpu, "L1 data cache flushed before entering the guest"},
    {"largepages", "largepages", kI, kNo, 0, kVm, "large leaf mappings; now pages_2m and pages_1g"},
    {"max_mmu_page_hash_collisions", "", kP, kNo, 0, kVm, "longest chain of shadow pages in a hash bucket"},
    {"max_mmu_rmap_size", "", kP, kNo, 0, kVm, "most shadow entries that mapped one page"},
    {"mmio_exits", "", kC, kNo, 0, kVcpu, "emulation ended with an access for user space"},
    {"mmu_cache_miss", "", kC, kNo, 0, kVm, "no shadow page for a table: a new one was made"},
    {"mmu_flooded", "", kC, kNo, 0, kVm, "shadow page zapped because guest writes flooded its page table"},
    {"mmu_pde_zapped", "", kC, kNo, 0, kVm, "upper-level entry zapped by a trapped guest write"},
    {"mmu_pte_updated", "mmu_pte_updated", kC, kNo, 0, kVm, "leaf entry updated from a trapped guest write; gone in 5.12"},
    {"mmu_pte_write", "", kC, kNo, 0, kVm, "trapped write that hit a write-protected guest page table"},
    {"mmu_recycled", "", kC, kNo, 0, kVm, "pages zapped because the shadow-page limit was reached"},
    {"mmu_shadow_zapped", "", kC, kNo, 0, kVm, "shadow pages zapped, for any cause"},
    {"mmu_unsync", "", kI, kNo, 0, kVm, "shadow pages that are out of sync now"},
    {"msr", "", kC, kNo, 0, kVcpu, "accesses to the LAPIC's MSRs handled, on atoll's software CPU"},
    {"nested_run", "", kC, kNo, 0, kVcpu, "nested guest entered"},
    {"nmi_injections", "", kC, kNo, 0, kVcpu, "NMIs put into the guest"},
    {"nmi_window_exits", "nmi_window", kC, kNo, 0, kVcpu, "exits because the guest became able to take an NMI"},
    {"notify_window_exits", "", kC, kNo, 0, kVcpu, "exits because the guest took no event for too long"},
    {"nx_lpage_splits", "", kI, kNo, 0, kVm, "large pages split so that no code runs from them"},
    {"pages_1g", "", kI, kNo, 0, kVm, "1 GiB mappings present now"},
    {"pages_2m", "", kI, kNo, 0, kVm, "2 MiB mappings present now"},
    {"pages_4k", "", kI, kNo, 0, kVm, "4 KiB mappings present now"},
    {"pf_emulate", "", kC, kNo, 0, kVcpu, "page faults that led to emulation"},
    {"pf_fast", "", kC, kNo, 0, kVcpu, "page faults fixed without the MMU lock"},
    {"pf_fixed", "", kC, kNo, 0, kVcpu, "page fault fixed by installing or changing a mapping"},
    {"pf_guest", "", kC, kNo, 0, kVcpu, "page faults delivered to the guest by the hypervisor"},
    {"pf_mmio_spte_created", "", kC, kNo, 0, kVcpu, "mappings made that mark memory-mapped I/O"},
    {"pf_spurious", "", kC, kNo, 0, kVcpu, "page faults that another vCPU had fixed already"},
    {"pf_taken", "", kC, kNo, 0, kVcpu, "page faults taken by the hypervisor"},
    {"preemption_other", "", kC, kNo, 0, kVcpu, "preemptions that the guest was not told of"},
    {"preemption_reported", "", kC, kNo, 0, kVcpu, "preemptions that the guest was told of"},
    {"remote_tlb_flush", "", kC, kNo, 0, kVm, "flush where another vCPU had to be reached"},
    {"remote_tlb_flush_requests", "", kC, kNo, 0, kVm, "flushes of other vCPUs that were asked for"},
    {"req_event", "", kC, kNo, 0, kVcpu, "times that events had to be looked at before entering the guest"},
    {"request_irq_exits", "request_irq", kC, kNo, 0, kVcpu, "user space asked for an interrupt window and it opened"},
    {"signal_exits", "", kC, kNo, 0, kVcpu, "left the guest loop because a signal is pending"},
    {"tlb_flush", "", kC, kNo, 0, kVcpu, "guest TLB flush executed for this vCPU"},
};
// clang-format on

// Whether `name` is what `pattern` says with NAME in it.
bool MatchesPattern(absl::string_view pattern, absl::string_view name) {
  const size_t at = pattern.find("NAME");
  if (at == absl::string_view::npos) return false;
  const absl::string_view head = pattern.substr(0, at), tail = pattern.substr(at + 4);
  return name.size() > head.size() + tail.size() && absl::StartsWith(name, head) &&
         absl::EndsWith(name, tail);
}

}  // namespace

std::span<const Field> Fields() { return kFields; }

const Field* FindField(absl::string_view name) {
  const Field* const end = std::end(kFields);
  const Field* at =
      std::lower_bound(std::begin(kFields), end, name,
                       [](const Field& f, absl::string_view n) { return f.name < n; });
  if (at != end && at->name == name) return at;
  // kvm_exit(EPT_VIOLATION)
  if (const size_t open = name.find('('); open != absl::string_view::npos && open > 0) {
    return FindField(name.substr(0, open));
  }
  at = std::find_if(std::begin(kFields), end, [name](const Field& f) {
    return (!f.old_name.empty() && f.old_name == name) || MatchesPattern(f.name, name);
  });
  return at == end ? nullptr : at;
}

absl::string_view OldName(absl::string_view name) {
  if (name == "pages_2m" || name == "pages_1g") return "largepages";
  const Field* f = FindField(name);
  return f == nullptr || f->old_name.empty() || f->name != name ? name : f->old_name;
}

}  // namespace atl::stats
