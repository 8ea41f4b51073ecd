// SPDX-License-Identifier: Apache-2.0
// What runs a guest's instructions: KVM's ioctl interface, or our own software
// CPU. One leaf each, listed in backends.cc.
//
// Roles. The machine (lib/vm) owns a Vm and its Vcpus and gives each vCPU a
// thread that calls Run() in a loop. Interrupt controllers are devices of the
// machine: they signal a vCPU by Vcpu's signals and are asked through VcpuBus when
// the vCPU takes an interrupt. A Vm may have the LAPICs itself (has_lapics()); then
// the machine's IOAPIC and devices send it messages, its 8259 still signals vCPU 0.
#ifndef LIB_CPU_BACKEND_H_
#define LIB_CPU_BACKEND_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "lib/cpu/counters.h"
#include "lib/cpu/exit.h"
#include "lib/cpu/regs.h"
#include "lib/mem/guest_memory.h"

namespace atl::cpu {

struct SavedVcpu;  // saved.h
struct SavedVm;
enum class StatePart : uint8_t;

// What a vCPU sees around it. Called on the vCPU's thread, by the backend.
class VcpuBus {
 public:
  virtual ~VcpuBus() = default;

  // `size` is 1, 2 or 4. Reads of nothing are all ones.
  virtual uint32_t PortIn(uint16_t port, unsigned size) = 0;
  virtual void PortOut(uint16_t port, unsigned size, uint32_t value) = 0;
  // Addresses outside memory; `size` is 1, 2, 4 or 8, never across a page.
  virtual uint64_t MmioRead(Gpa at, unsigned size) = 0;
  virtual void MmioWrite(Gpa at, unsigned size, uint64_t value) = 0;

  // The vector of the interrupt that this vCPU takes now, acknowledged (LAPIC
  // first, then an ExtINT from the 8259), or -1 where none is deliverable.
  virtual int AcknowledgeInterrupt(unsigned vcpu) = 0;
  // Whether AcknowledgeInterrupt() would give one. Cheap.
  virtual bool InterruptPending(unsigned vcpu) = 0;

  // The LAPIC's part of the register file: CR8 (task priority, 4 bits), the
  // IA32_APIC_BASE MSR, TSC deadline and the x2APIC MSRs 0x800 to 0x8FF.
  // False: the access raises #GP(0).
  virtual uint64_t ReadCr8(unsigned vcpu) = 0;
  virtual void WriteCr8(unsigned vcpu, uint64_t value) = 0;
  virtual bool ReadApicMsr(unsigned vcpu, uint32_t msr, uint64_t* value) = 0;
  virtual bool WriteApicMsr(unsigned vcpu, uint32_t msr, uint64_t value) = 0;

  // Where the Vm has the LAPICs: one of them ended a level-triggered interrupt of
  // those that SetLevelMessages() named.
  virtual void EndOfInterrupt(uint8_t) {}

  // Nanoseconds of the machine's clock; the TSC is derived from it so that it
  // agrees on all vCPUs and with the timers.
  virtual uint64_t NowNs() = 0;
};

struct VcpuConfig {
  unsigned index = 0;  // also its initial APIC id
  unsigned count = 1;  // of vCPUs in the VM
  VcpuBus* bus = nullptr;
  // Where the vCPU counts; outlives it. Null: for itself.
  VcpuCounters* counters = nullptr;
};

class Vcpu {
 public:
  virtual ~Vcpu() = default;

  // Executes until there is a reason to come back. Only on the vCPU's thread.
  virtual absl::StatusOr<Exit> Run() = 0;

  // After kHalted: sleeps until a signal below arrives. On the vCPU's thread.
  virtual void WaitForWork() = 0;

  // Signals: from any thread, never blocking, wake a halted vCPU.
  virtual void Kick() = 0;                       // Run() returns kKicked soon
  virtual void SetInterruptLine(bool high) = 0;  // InterruptPending() may be true
  virtual void RaiseNmi() = 0;
  virtual void SendInit() = 0;                // to wait-for-SIPI, where not the BSP
  virtual void SendSipi(uint8_t vector) = 0;  // ignored unless waiting for it

  // State: only while Run() is not executing, from one thread.
  virtual void Reset() = 0;  // power-on; vCPUs but the first wait for SIPI
  virtual absl::StatusOr<Regs> GetRegs() = 0;
  virtual absl::Status SetRegs(const Regs& regs) = 0;
  virtual absl::StatusOr<SystemRegs> GetSystemRegs() = 0;
  virtual absl::Status SetSystemRegs(const SystemRegs& regs) = 0;
  virtual absl::StatusOr<uint64_t> GetMsr(uint32_t msr) = 0;
  virtual absl::Status SetMsr(uint32_t msr, uint64_t value) = 0;

  // The whole state, for a snapshot (saved.h). Also after Run() came back for kKicked or
  // kHalted only, and after Vm::Save() and Vm::Load(). Load() goes into memory as it was
  // saved; where it fails, Reset() or drop the vCPU.
  virtual absl::Status Save(SavedVcpu*) {
    return absl::UnimplementedError("this backend's vCPUs cannot be saved");
  }
  virtual absl::Status Load(const SavedVcpu&, StatePart) {
    return absl::UnimplementedError("this backend's vCPUs cannot be loaded");
  }

  // Guest instructions retired where the backend counts them, else 0.
  virtual uint64_t instructions() const { return 0; }

  // What the kernel counts for it, in the binary stats format; -1 where nobody
  // else does. Open as long as the vCPU lives.
  virtual int stats_fd() const { return -1; }
};

// A write of `data` to `address`, 0xFEExxxxx: an interrupt (Intel SDM vol. 3, 11.11).
struct InterruptMessage {
  uint64_t address = 0;
  uint32_t data = 0;
  friend bool operator==(const InterruptMessage&, const InterruptMessage&) = default;
};

class EventFds;        // eventfds.h
class InterruptChips;  // chips.h

// Writes that a VM may keep for a while, since they have an effect on nothing but what
// the guest's later accesses find, before each of which they arrive, and on what
// people see.
struct PostedRange {
  bool port = false;
  uint64_t base = 0;
  uint32_t size = 0;
  bool seen = false;  // people see what it does
};
// Where they arrive, in order. Any thread; `size` as of VcpuBus.
using PostedSink = std::function<void(bool port, uint64_t at, unsigned size, uint64_t value)>;

class Vm {
 public:
  static constexpr unsigned kLevelMessages = 24;  // an IOAPIC's pins

  virtual ~Vm() = default;
  virtual absl::StatusOr<std::unique_ptr<Vcpu>> CreateVcpu(const VcpuConfig& config) = 0;
  virtual void SetA20(bool enabled) = 0;  // any thread; takes effect soon

  // Whether the LAPICs are the VM's own. Then a vCPU's halt, INIT and SIPI are, too:
  // Run() does not come back for them, SendInit() and SendSipi() are not for use,
  // and VcpuBus is asked for the 8259's interrupts only.
  virtual bool has_lapics() const { return false; }
  // With has_lapics(), from any thread, never blocking long: an interrupt; and those
  // that are level-triggered, at the number of their pin, with no data where it has
  // none. VcpuBus::EndOfInterrupt() hears of their end.
  virtual void SendInterrupt(const InterruptMessage&) {}
  virtual void SetLevelMessages(std::span<const InterruptMessage, kLevelMessages>) {}
  // With has_lapics(), and BackendOptions::kernel_chips: the other interrupt controllers
  // are the VM's, too. Else null.
  virtual InterruptChips* chips() { return nullptr; }
  // Null where the VM has none.
  virtual EventFds* eventfds() { return nullptr; }

  // The state of what is the VM's own, not a vCPU's; while none runs.
  virtual absl::Status Save(SavedVm*) {
    return absl::UnimplementedError("this backend's VMs cannot be saved");
  }
  virtual absl::Status Load(const SavedVm&) {
    return absl::UnimplementedError("this backend's VMs cannot be loaded");
  }

  // Before the first vCPU is made, once. False: it posts nothing.
  virtual bool PostWrites(std::span<const PostedRange>, PostedSink) { return false; }
  // What was posted before the call has arrived when it is back. Any thread that holds
  // no device's lock.
  virtual void DeliverPosted() {}
  // Whether writes that people see may be kept; at first they may. The same threads.
  virtual void LetSeenWait(bool) {}

  // Where the VM counts; outlives it. Before the first vCPU is made.
  virtual void SetCounters(VmCounters*) {}
  // As of a vCPU.
  virtual int stats_fd() const { return -1; }
};

// The outcome of a backend's self-test, for -accel auto, --check and people.
struct Verdict {
  bool usable = false;
  std::string reason;  // why not, or what it is: "AMD SVM, nested paging"
};

struct BackendOptions {
  std::string device = "/dev/kvm";  // kvm: the node that speaks KVM's ABI
  // kvm: whether the LAPICs are the kernel's, where it offers that.
  bool kernel_lapics = true;
  // kvm: whether the 8259s, the IOAPIC and the 8254 are the kernel's, and the LAPICs with
  // them; an error where it offers none.
  bool kernel_chips = false;
  // kvm: entries of each vCPU's dirty ring; 0: bitmaps tell of writes.
  uint32_t dirty_ring_entries = 0;
  // soft: whether code that runs often is translated to host code, how much of
  // that each vCPU keeps, and whether arithmetic flags that nothing reads are
  // right in what exceptions push (lib/cpu/soft/translate.h).
  bool translate = true;
  uint64_t code_bytes = uint64_t{24} << 20;
  bool precise = false;
  // False: what the processor says of itself may refuse a backend unrun. For
  // -accel auto, where the self-test of what will not do only delays the guest.
  bool thorough = true;
  std::string cpu = "max";  // soft: "max" or "base", what guests are offered
  // soft: everything translated is compared with the interpreter; one vCPU only.
  bool verify = false;
};

struct Backend {
  absl::string_view name;     // "kvm", "soft"
  absl::string_view summary;  // a line for -accel help
  // Runs a self-test; blocks for a second at the most, on a busy host for three.
  Verdict (*probe)(const BackendOptions& options);
  // `memory` outlives the Vm.
  absl::StatusOr<std::unique_ptr<Vm>> (*create_vm)(const BackendOptions& options,
                                                   GuestMemory& memory);
};

extern const Backend kKvmBackend;
extern const Backend kSoftBackend;

}  // namespace atl::cpu

#endif  // LIB_CPU_BACKEND_H_
