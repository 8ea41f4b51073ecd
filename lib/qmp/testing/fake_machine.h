// SPDX-License-Identifier: Apache-2.0
// A machine for the monitors' tests: it remembers what it was asked for.
#ifndef LIB_QMP_TESTING_FAKE_MACHINE_H_
#define LIB_QMP_TESTING_FAKE_MACHINE_H_

#include <algorithm>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "lib/vm/control.h"

namespace atl::qmp {

class FakeMedia final : public vm::Media {
 public:
  std::vector<vm::MediumState> List() override { return {cd}; }
  absl::Status OpenTray(absl::string_view, bool force) override {
    if (cd.locked && !force) return absl::FailedPreconditionError("Device 'ide1-cd0' is locked");
    cd.tray_open = true;
    return absl::OkStatus();
  }
  absl::Status CloseTray(absl::string_view) override {
    cd.tray_open = false;
    return absl::OkStatus();
  }
  absl::Status Remove(absl::string_view) override {
    if (!cd.tray_open) return absl::FailedPreconditionError("Tray is not open");
    cd.inserted = false;
    return absl::OkStatus();
  }
  absl::Status Insert(absl::string_view, const vm::MediumOptions& medium) override {
    cd.inserted = true;
    cd.file = medium.file;
    return absl::OkStatus();
  }
  absl::Status Eject(absl::string_view device, bool force) override {
    absl::Status opened = OpenTray(device, force);
    return opened.ok() ? Remove(device) : opened;
  }
  absl::Status Change(absl::string_view device, const vm::MediumOptions& medium,
                      bool force) override {
    // As opening a file that is not there does.
    if (medium.file == "missing") return absl::NotFoundError("missing: No such file or directory");
    absl::Status ejected = Eject(device, force);
    if (!ejected.ok()) return ejected;
    last = medium;
    cd.tray_open = false;
    return Insert(device, medium);
  }
  void SetTrayHandler(std::function<void(absl::string_view, bool)>) override {}

  vm::MediumState cd{
      .device = "ide1-cd0", .cdrom = true, .inserted = true, .file = "first.iso", .format = "raw"};
  vm::MediumOptions last;
};

class FakeMachine final : public vm::MachineControl, public ui::Input {
 public:
  absl::StatusOr<uint64_t> balloon() override { return balloon_bytes; }
  absl::Status SetBalloon(uint64_t bytes) override {
    balloon_bytes = bytes;
    return absl::OkStatus();
  }
  uint64_t balloon_bytes = 128 << 20;
  absl::StatusOr<std::string> TellUserNetwork(absl::string_view id,
                                              absl::string_view command) override {
    if (id == "other") return absl::NotFoundError("'other' is no -netdev user");
    absl::StrAppend(&asked, id, "<", command, "> ");
    return command == "info" ? "guests 1\n" : "";
  }

  FakeMachine() {
    configuration.name = "fake";
    configuration.vcpus = 2;
    memory.resize(8192);
    for (size_t i = 0; i < memory.size(); ++i) memory[i] = static_cast<uint8_t>(i);
  }

  const vm::MachineConfig& config() const override { return configuration; }
  absl::string_view backend() const override { return "soft"; }
  vm::RunState state() const override { return run_state; }
  absl::Status Stop() override {
    run_state = vm::RunState::kPaused;
    return absl::OkStatus();
  }
  absl::Status Cont() override {
    if (run_state == vm::RunState::kShutdown) {
      return absl::FailedPreconditionError("Resetting the Virtual Machine is required");
    }
    run_state = vm::RunState::kRunning;
    return absl::OkStatus();
  }
  void ResetFromOutside() override { asked += "reset "; }
  void PressPowerButton() override { asked += "power "; }
  void PressSleepButton() override { asked += "sleep "; }
  void InjectNmi() override { asked += "nmi "; }
  void Quit(absl::string_view reason) override { absl::StrAppend(&asked, reason, " "); }
  std::vector<int> vcpu_threads() const override { return {101, 102}; }
  absl::StatusOr<vm::VcpuState> ReadVcpu(unsigned index) override {
    vm::VcpuState out;
    out.regs.rip = 0x1000 + index;
    out.regs.gpr[cpu::kRsp] = 0x100;
    return out;
  }
  absl::Status ReadPhysical(uint64_t address, std::span<uint8_t> to) override {
    if (address > memory.size() || to.size() > memory.size() - address) {
      return absl::OutOfRangeError("no memory there");
    }
    std::copy_n(memory.begin() + static_cast<ptrdiff_t>(address), to.size(), to.begin());
    return absl::OkStatus();
  }
  absl::Status ReadVirtual(unsigned, uint64_t address, std::span<uint8_t> to) override {
    return ReadPhysical(address ^ 0x1000, to);
  }
  absl::StatusOr<std::vector<vm::MappedRange>> ReadMappings(unsigned) override {
    return std::vector<vm::MappedRange>{{0x1000, 0x2000, true, false}};
  }
  std::vector<vm::DriveState> drives() override {
    vm::DriveState disk;
    disk.device = "ide0-hd0";
    disk.file = "disk.qcow2";
    disk.format = "qcow2";
    disk.size = 1 << 20;
    disk.read_bytes = 512;
    return {disk};
  }
  vm::Media* media() override { return has_media ? &cd : nullptr; }
  ui::Screen* screen() override { return nullptr; }
  ui::Input& input() override { return *this; }

  // Input.
  void Key(uint8_t code, bool down) override {
    absl::StrAppend(&keys, down ? "+" : "-", static_cast<int>(code), " ");
  }
  void Move(int, int, int, uint8_t) override {}
  uint8_t leds() override { return 0; }

  vm::MachineConfig configuration;
  vm::RunState run_state = vm::RunState::kRunning;
  std::string asked;
  std::string keys;
  std::vector<uint8_t> memory;
  bool has_media = true;
  FakeMedia cd;
};

}  // namespace atl::qmp

#endif  // LIB_QMP_TESTING_FAKE_MACHINE_H_
