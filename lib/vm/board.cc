// SPDX-License-Identifier: Apache-2.0
// The wiring of the PC. Read Build() from top to bottom: what is there, where it
// lies, whom it interrupts.
#include "lib/vm/board.h"

#include <sys/mman.h>
#include <sys/random.h>

#include <array>
#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "lib/base/status_macros.h"
#include "lib/base/units.h"
#include "lib/char/stream.h"
#include "lib/dev/acpi_pm.h"
#include "lib/dev/debug_port.h"
#include "lib/dev/device_lock.h"
#include "lib/dev/hpet.h"
#include "lib/dev/i8042.h"
#include "lib/dev/i8237.h"
#include "lib/dev/pc_testdev.h"
#include "lib/dev/pit.h"
#include "lib/dev/reset_port.h"
#include "lib/dev/rtc.h"
#include "lib/dev/uart.h"
#include "lib/dev/vmmouse.h"
#include "lib/floppy/fdc.h"
#include "lib/floppy/geometry.h"
#include "lib/ide/cd_drive.h"
#include "lib/ide/piix_ide.h"
#include "lib/nic/nic.h"
#include "lib/pci/bus.h"
#include "lib/pci/bus_mapper.h"
#include "lib/pci/i440fx.h"
#include "lib/pci/piix.h"
#include "lib/pci/pirq.h"
#include "lib/pci/resources.h"
#include "lib/ui/screen.h"
#include "lib/vga/std_vga.h"
#include "lib/virtio/balloon.h"
#include "lib/virtio/blk.h"
#include "lib/virtio/console.h"
#include "lib/virtio/input.h"
#include "lib/virtio/pci.h"
#include "lib/virtio/rng.h"
#include "lib/vm/console.h"
#include "lib/vm/display.h"
#include "lib/vm/drives.h"
#include "lib/vm/input.h"
#include "lib/vm/medium_ports.h"
#include "lib/vm/networks.h"
#include "lib/vm/removable.h"
#include "lib/vm/rom_windows.h"
#include "lib/vm/shadow.h"
#include "lib/work/ring.h"
#include "lib/work/worker_pool.h"

namespace atl::vm {
namespace {

using dev::Bus;
using dev::DeviceLock;
using dev::Space;

// Disk requests that can be under way at once; more wait in the queues.
constexpr unsigned kDiskThreads = 4;
// Of a virtio disk by io_uring; more go to those threads.
constexpr unsigned kRingEntries = 128;

// COM1 to COM4.
struct SerialPlace {
  uint16_t port;
  unsigned irq;
};
constexpr SerialPlace kSerials[] = {{0x3F8, 4}, {0x2F8, 3}, {0x3E8, 4}, {0x2E8, 3}};

// PCI slots: the chipset's are where firmware and old systems look for it.
constexpr unsigned kHostBridgeSlot = 0;
constexpr unsigned kPiixSlot = 1;
constexpr unsigned kVgaSlot = 2;
constexpr unsigned kFirstNicSlot = 3;
constexpr unsigned kFirstFreeSlot = 4;
constexpr unsigned kFirstExtraSlot = 24;  // of what -device adds

// The page's memory goes back to the host; the guest finds zeros there.
void Discard(GuestMemory& memory, Gpa page) {
  const std::span<uint8_t> bytes = memory.Span(page, kPageSize);
  if (bytes.empty()) return;
  madvise(bytes.data(), bytes.size(), MADV_DONTNEED);
  memory.MarkWritten(page, kPageSize);
}

// The first port's terminal. The port writes under its device's lock, and so
// does the monitor.
class SharedTerminal final : public MuxedConsole {
 public:
  SharedTerminal(chr::Stream& stream, DeviceLock& lock) : stream_(stream), lock_(lock) {}
  void Attach(std::function<void(bool)> front,
              std::function<void(absl::string_view)> input) override {
    stream_.SetMonitor(std::move(front), std::move(input));
  }
  void Write(absl::string_view text) override {
    lock_.Run([&] { stream_.Write({reinterpret_cast<const uint8_t*>(text.data()), text.size()}); });
  }

 private:
  chr::Stream& stream_;
  DeviceLock& lock_;
};

class PcBoard final : public Board {
 public:
  explicit PcBoard(const BoardContext& context)
      : context_(context),
        irqs_({.vcpus = context.config->vcpus}, *context.clock),
        fw_cfg_(*context.memory),
        bars_(&bus_),
        roms_(bars_, *context.memory, context.at_standstill),
        shadow_(*context.memory, context.at_standstill),
        removable_(*context.config->fd_sets),
        workers_(kDiskThreads) {}

  ~PcBoard() override {
    pumps_.clear();
    LastToFirst(functions_);
    LastToFirst(devices_);
  }

  absl::Status Build();

  dev::Bus& bus() override { return bus_; }
  dev::IrqChips& irqs() override { return irqs_; }
  dev::FwCfg& fw_cfg() override { return fw_cfg_; }
  Mouse vmmouse() override { return vmmouse_; }
  void UsePosted(dev::PostedWrites* posted) override {
    if (display_ != nullptr) display_->UsePosted(posted);
  }
  ui::Screen* screen() override { return display_ == nullptr ? nullptr : &display_->screen(); }
  ui::Input& input() override { return input_; }
  MuxedConsole* muxed_console() override { return terminal_.get(); }
  void SetBios(std::span<uint8_t> image) override { shadow_.SetBios(image); }

  absl::Status Start() override {
    for (const std::unique_ptr<ConsolePump>& p : pumps_) RETURN_IF_ERROR(p->Start());
    GuestRuns(true);
    return context_.networks->Start();
  }

  void Reset() override {
    // All vCPUs stand still, so that what changes here changes at once.
    GuestRuns(false);
    for (const Part& p : parts_) {
      p.lock->Run([&p] { p.device->Reset(); });
    }
    irqs_.lock().Run([this] { irqs_.Reset(); });
    const BootConfig& boot = context_.config->boot;
    rtc_->SetBootOrder(!started_ && !boot.once.empty() ? boot.once : boot.order);
    // The FADT names no port that would turn ACPI on: it is.
    pm_->EnableAcpi();
    context_.control->SetA20(true);
    GuestRuns(started_);
    started_ = true;
  }

  absl::Status AssignResources() override {
    pci::ResourceWindows windows;
    RETURN_IF_ERROR(pci::AssignResources(*pci_, windows));
    // PCI interrupts are level-triggered, which the ELCR must say.
    for (const uint8_t irq : windows.pirq) {
      if (context_.kernel_chips) {
        irqs_.SetLevelTriggered(irq);
        continue;
      }
      const uint64_t port = irq < 8 ? 0x4D0 : 0x4D1;
      const uint64_t old = bus_.Read(Space::kPort, port, 1);
      bus_.Write(Space::kPort, port, 1, old | (1u << (irq & 7)));
    }
    return absl::OkStatus();
  }

  void PressPowerButton() override {
    pm_lock_->Run([this] { pm_->PressPowerButton(); });
  }
  void PressSleepButton() override {
    pm_lock_->Run([this] { pm_->PressSleepButton(); });
  }
  absl::StatusOr<uint64_t> balloon() override {
    if (balloon_ == nullptr) return MachineControl::NoBalloon();
    const uint64_t without = balloon_lock_->Run(
        [this] { return balloon_->actual() * virtio::BalloonDevice::kPageBytes; });
    const uint64_t all = context_.memory->ram_bytes();
    return all - std::min(all, without);
  }
  absl::Status SetBalloon(uint64_t bytes) override {
    if (balloon_ == nullptr) return MachineControl::NoBalloon();
    const uint64_t all = context_.memory->ram_bytes();
    const uint64_t pages = (all - std::min(all, bytes)) / virtio::BalloonDevice::kPageBytes;
    balloon_lock_->Run(
        [&] { balloon_->SetTarget(static_cast<uint32_t>(std::min<uint64_t>(pages, UINT32_MAX))); });
    return absl::OkStatus();
  }
  std::vector<DriveState> drives() override { return drives_.States(); }
  Media& media() override { return removable_; }
  std::vector<std::string> BootDevices(char letter) override;

  bool SetTextMode() override { return display_ != nullptr && display_->SetTextMode(); }

  absl::Status Close() override {
    for (const DiskRing& r : rings_) {
      r.lock->Run([&r] { r.ring->Cancel(); });
    }
    workers_.WaitIdle();
    absl::Status first = drives_.Close();
    first.Update(context_.networks->Close());
    first.Update(removable_.Close());
    return first;
  }

 private:
  struct DiskRing {
    std::unique_ptr<work::Ring> ring;
    DeviceLock* lock;
  };
  // A device and its lock, for Reset().
  struct Part {
    dev::Device* device;
    DeviceLock* lock;
  };

  void GuestRuns(bool runs) {
    shadow_.GuestRuns(runs);
    roms_.GuestRuns(runs);
    if (display_ != nullptr) display_->framebuffer().GuestRuns(runs);
  }
  // A vector's own end is first to last: what is wired to an earlier one goes before it here.
  template <typename T>
  static void LastToFirst(std::vector<T>& parts) {
    while (!parts.empty()) parts.pop_back();
  }
  DeviceLock& NewLock() {
    locks_.push_back(std::make_unique<DeviceLock>(context_.clock));
    return *locks_.back();
  }
  template <typename Device, typename... Args>
  Device& New(DeviceLock& lock, Args&&... args) {
    auto device = std::make_unique<Device>(std::forward<Args>(args)...);
    Device& out = *device;
    parts_.push_back({&out, &lock});
    devices_.push_back(std::move(device));
    return out;
  }
  // With a thread of their own, which is there from the first that hangs.
  dev::Bells& NewBells(DeviceLock& lock, const std::string& name) {
    io_threads_.push_back(std::make_unique<IoThread>(absl::StrCat("io ", name).substr(0, 15)));
    bells_.push_back(vm::NewBells(*context_.event_fds, *io_threads_.back(), lock));
    return *bells_.back();
  }
  // A line to an ISA interrupt of its own, so that sharers do not fight.
  dev::IrqLine& NewIrq(unsigned irq) {
    lines_.push_back(irqs_.NewIsaSource(irq));
    return *lines_.back();
  }
  absl::Status Ports(DeviceLock& lock, dev::Device& device, unsigned region, uint64_t base,
                     uint64_t size, const dev::MapOptions& options = {.max_access = 1}) {
    return bus_.Map(Space::kPort, lock, device, region, base, size, options).status();
  }
  void AttachFunction(DeviceLock& lock, std::unique_ptr<pci::PciDevice> function) {
    bars_.AddDevice(*function, lock);
    pci_->Attach(function.get(), &lock);
    parts_.push_back({function.get(), &lock});
    functions_.push_back(std::move(function));
  }

  absl::StatusOr<unsigned> TakeSlot() {
    if (next_slot_ == kFirstExtraSlot) {
      return absl::ResourceExhaustedError("no PCI slot is left for another card or disk");
    }
    return next_slot_++;
  }

  absl::Status BuildInterrupts();
  absl::Status BuildTimers();
  absl::Status BuildKeyboard();
  absl::Status BuildSerials();
  absl::Status BuildPorts();
  absl::Status BuildPci();
  absl::Status BuildDisplay();
  absl::Status BuildDisks();
  absl::Status BuildNics();
  absl::Status BuildFloppies();
  absl::Status BuildExtras();

  const BoardContext context_;
  // Destroyed last to first: devices before what they are wired to.
  Bus bus_;
  std::vector<std::unique_ptr<DeviceLock>> locks_;
  dev::IrqChips irqs_;
  std::vector<std::unique_ptr<dev::IrqLine>> lines_;
  dev::FwCfg fw_cfg_;
  pci::BusMapper bars_;
  RomWindows roms_;
  Shadow shadow_;
  std::unique_ptr<Display> display_;  // null with -vga none
  Drives drives_;
  std::vector<std::unique_ptr<ide::CdDrive>> cds_;
  RemovableDrives removable_;
  work::WorkerPool workers_;
  std::vector<std::unique_ptr<work::Background>> backgrounds_;
  std::vector<DiskRing> rings_;
  std::vector<std::unique_ptr<IoThread>> io_threads_;
  std::vector<std::unique_ptr<dev::Bells>> bells_;
  std::vector<std::unique_ptr<chr::Stream>> streams_;
  std::unique_ptr<pci::PirqRouter> pirq_;
  std::unique_ptr<pci::PciBus> pci_;
  std::vector<std::unique_ptr<dev::Device>> devices_;
  std::vector<std::unique_ptr<pci::PciDevice>> functions_;
  std::vector<Part> parts_;
  std::vector<std::unique_ptr<ConsolePump>> pumps_;
  std::unique_ptr<SharedTerminal> terminal_;
  dev::AcpiPm* pm_ = nullptr;
  dev::Rtc* rtc_ = nullptr;
  MachineInput input_;
  Mouse vmmouse_;
  virtio::BalloonDevice* balloon_ = nullptr;
  DeviceLock* balloon_lock_ = nullptr;
  DeviceLock* pm_lock_ = nullptr;
  std::vector<unsigned> virtio_slots_;
  std::vector<unsigned> nic_slots_;
  unsigned next_slot_ = kFirstFreeSlot;
  bool started_ = false;
};

absl::Status PcBoard::Build() {
  RETURN_IF_ERROR(BuildInterrupts());
  RETURN_IF_ERROR(BuildTimers());
  RETURN_IF_ERROR(BuildKeyboard());
  RETURN_IF_ERROR(BuildSerials());
  RETURN_IF_ERROR(BuildPorts());
  RETURN_IF_ERROR(BuildPci());
  RETURN_IF_ERROR(BuildDisplay());
  RETURN_IF_ERROR(BuildDisks());
  RETURN_IF_ERROR(BuildNics());
  RETURN_IF_ERROR(BuildExtras());
  return BuildFloppies();
}

absl::Status PcBoard::BuildInterrupts() {
  if (context_.kernel_chips) return absl::OkStatus();
  using dev::IrqChips;
  DeviceLock& lock = irqs_.lock();
  RETURN_IF_ERROR(Ports(lock, irqs_, IrqChips::kPicMaster, 0x20, 2));
  RETURN_IF_ERROR(Ports(lock, irqs_, IrqChips::kPicSlave, 0xA0, 2));
  RETURN_IF_ERROR(Ports(lock, irqs_, IrqChips::kElcr, 0x4D0, 2));
  return bus_
      .Map(Space::kMmio, lock, irqs_, IrqChips::kIoapic, IrqChips::kIoapicBase, kPageSize,
           {.min_access = 4, .max_access = 4})
      .status();
}

absl::Status PcBoard::BuildTimers() {
  // The HPET stands between the two old timers and their interrupts, which it
  // can take over.
  dev::Hpet::Wiring wiring;
  wiring.irq0 = &NewIrq(0);
  wiring.irq8 = &NewIrq(8);
  for (unsigned i = 0; i < dev::Hpet::kPins; ++i) {
    lines_.push_back(irqs_.NewPinSource(dev::Hpet::kFirstPin + i));
    wiring.pins[i] = lines_.back().get();
  }
  wiring.msi = &irqs_;
  if (context_.kernel_chips) {
    wiring.on_replaced = [this](bool replaced) { irqs_.ReplaceTimer(replaced); };
  }
  DeviceLock& hpet_lock = NewLock();
  dev::Hpet& hpet = New<dev::Hpet>(hpet_lock, wiring, hpet_lock.clock());
  RETURN_IF_ERROR(bus_.Map(Space::kMmio, hpet_lock, hpet, 0, dev::Hpet::kBase, dev::Hpet::kSize,
                           {.min_access = 4, .max_access = 8})
                      .status());

  if (!context_.kernel_chips) {
    DeviceLock& pit_lock = NewLock();
    dev::Pit& pit = New<dev::Pit>(pit_lock, hpet.irq0_input(), pit_lock.clock());
    RETURN_IF_ERROR(Ports(pit_lock, pit, dev::Pit::kCounters, 0x40, 4));
    RETURN_IF_ERROR(Ports(pit_lock, pit, dev::Pit::kPortB, 0x61, 1));
  }

  DeviceLock& rtc_lock = NewLock();
  dev::Rtc& rtc = New<dev::Rtc>(rtc_lock, hpet.irq8_input(), rtc_lock.clock());
  rtc.SetMemorySize(context_.memory->low_ram_bytes(), context_.memory->high_ram_bytes());
  rtc.SetCpuCount(context_.config->vcpus);
  rtc_ = &rtc;
  return Ports(rtc_lock, rtc, 0, 0x70, 2);
}

absl::Status PcBoard::BuildKeyboard() {
  DeviceLock& lock = NewLock();
  dev::I8042& controller = New<dev::I8042>(lock, NewIrq(1), NewIrq(12), *context_.control);
  input_.Connect(controller, lock);
  DeviceLock& mouse_lock = NewLock();
  vmmouse_ = {&New<dev::VmMouse>(mouse_lock), &mouse_lock};
  input_.Connect(*vmmouse_.device, mouse_lock);
  RETURN_IF_ERROR(Ports(lock, controller, dev::I8042::kData, 0x60, 1));
  RETURN_IF_ERROR(Ports(lock, controller, dev::I8042::kCommand, 0x64, 1));
  return Ports(lock, controller, dev::I8042::kPortA, 0x92, 1);
}

absl::Status PcBoard::BuildSerials() {
  for (size_t i = 0; i < context_.config->serials.size(); ++i) {
    const SerialConfig& config = context_.config->serials[i];
    if (config.kind == SerialKind::kNone) continue;
    ASSIGN_OR_RETURN(std::unique_ptr<chr::Stream> stream, OpenStream(config));
    DeviceLock& lock = NewLock();
    dev::Uart& uart = New<dev::Uart>(lock, NewIrq(kSerials[i].irq), *stream);
    RETURN_IF_ERROR(Ports(lock, uart, 0, kSerials[i].port, 8));
    stream->SetEscapeHandler([this, &lock, &uart](chr::Stream::Escape escape) {
      if (escape == chr::Stream::Escape::kQuit) context_.quit();
      if (escape == chr::Stream::Escape::kBreak) lock.Run([&uart] { uart.InputBreak(); });
    });
    pumps_.push_back(std::make_unique<ConsolePump>(
        *context_.loop, *stream, [&lock, &uart] { lock.Run([&uart] { uart.InputReady(); }); }));
    if (config.monitor) terminal_ = std::make_unique<SharedTerminal>(*stream, lock);
    streams_.push_back(std::move(stream));
  }
  return absl::OkStatus();
}

absl::Status PcBoard::BuildPorts() {
  {
    DeviceLock& lock = NewLock();
    parts_.push_back({&fw_cfg_, &lock});
    RETURN_IF_ERROR(Ports(lock, fw_cfg_, dev::FwCfg::kPorts, dev::FwCfg::kPortBase, 2,
                          {.max_access = 2, .unaligned = true}));
    RETURN_IF_ERROR(
        Ports(lock, fw_cfg_, dev::FwCfg::kDma, dev::FwCfg::kDmaBase, 8, {.max_access = 4}));
  }
  {
    DeviceLock& lock = NewLock();
    dev::ResetPort& reset = New<dev::ResetPort>(lock, *context_.control);
    RETURN_IF_ERROR(
        Ports(lock, reset, 0, dev::ResetPort::kPort, 1, {.max_access = 1, .priority = 1}));
  }
  if (const std::optional<DebugExitConfig>& exit = context_.config->debug_exit) {
    DeviceLock& lock = NewLock();
    dev::DebugExit& device = New<dev::DebugExit>(lock, *context_.control);
    RETURN_IF_ERROR(Ports(lock, device, 0, exit->iobase, exit->iosize, {.max_access = 4}));
  }
  if (context_.config->test_device) {
    using dev::PcTestdev;
    PcTestdev::Lines lines{};
    for (unsigned i = 0; i < lines.size(); ++i) {
      lines_.push_back(i < pci::kIsaIrqs ? irqs_.NewIsaSource(i) : irqs_.NewPinSource(i));
      lines[i] = lines_.back().get();
    }
    DeviceLock& lock = NewLock();
    PcTestdev& device = New<PcTestdev>(lock, lines);
    const dev::MapOptions wide = {.max_access = 4};
    RETURN_IF_ERROR(Ports(lock, device, PcTestdev::kData, PcTestdev::kDataPort, 4, wide));
    RETURN_IF_ERROR(Ports(lock, device, PcTestdev::kFlush, PcTestdev::kFlushPort, 4, wide));
    RETURN_IF_ERROR(Ports(lock, device, PcTestdev::kBytes, PcTestdev::kBytePort, 4));
    RETURN_IF_ERROR(
        Ports(lock, device, PcTestdev::kLines, PcTestdev::kLinePort, PcTestdev::kLineCount, wide));
    RETURN_IF_ERROR(bus_.Map(Space::kMmio, lock, device, PcTestdev::kMemory, PcTestdev::kMemoryBase,
                             PcTestdev::kMemorySize, {.max_access = 8})
                        .status());
  }
  if (const std::optional<DebugconConfig>& config = context_.config->debugcon) {
    ASSIGN_OR_RETURN(std::unique_ptr<chr::Stream> stream, OpenStream(config->out));
    DeviceLock& lock = NewLock();
    dev::DebugConsole& device = New<dev::DebugConsole>(lock, *stream);
    streams_.push_back(std::move(stream));
    RETURN_IF_ERROR(Ports(lock, device, 0, config->iobase, 1));
  }
  return absl::OkStatus();
}

absl::Status PcBoard::BuildPci() {
  std::array<dev::IrqLine*, pci::kIsaIrqs> isa{};
  // Those that PCI may be routed to; the others belong to the board itself.
  for (unsigned irq : {3, 4, 5, 6, 7, 9, 10, 11, 12, 14, 15}) isa[irq] = &NewIrq(irq);
  pirq_ = std::make_unique<pci::PirqRouter>(isa);
  pci_ = std::make_unique<pci::PciBus>(&roms_, pirq_.get(), &irqs_);

  DeviceLock& config_lock = NewLock();
  pci::ConfigPorts& ports = New<pci::ConfigPorts>(config_lock, pci_.get());
  RETURN_IF_ERROR(Ports(config_lock, ports, 0, pci::ConfigPorts::kPort, pci::ConfigPorts::kPorts,
                        {.max_access = 4}));

  DeviceLock& bridge = NewLock();
  AttachFunction(bridge, pci::NewI440fx(pci_->Wire(pci::DevFn(kHostBridgeSlot, 0)), &shadow_));
  DeviceLock& isa_bridge = NewLock();
  AttachFunction(isa_bridge, pci::NewPiix3Isa(pci_->Wire(pci::DevFn(kPiixSlot, 0)), pirq_.get()));

  // Power management: the function places the PM block's ports.
  DeviceLock& pm_lock = NewLock();
  pm_ =
      &New<dev::AcpiPm>(pm_lock, NewIrq(dev::AcpiPm::kSciIrq), pm_lock.clock(), *context_.control);
  pm_lock_ = &pm_lock;
  bars_.AddDevice(*pm_, pm_lock);
  RETURN_IF_ERROR(
      Ports(pm_lock, *pm_, dev::AcpiPm::kGpe0, dev::AcpiPm::kGpe0Port, 4, {.max_access = 4}));
  RETURN_IF_ERROR(Ports(pm_lock, *pm_, dev::AcpiPm::kApm, dev::AcpiPm::kSmiCommandPort, 2));
  DeviceLock& pm_function = NewLock();
  AttachFunction(pm_function, pci::NewPiix4Pm(pci_->Wire(pci::DevFn(kPiixSlot, 3)),
                                              {pm_, dev::AcpiPm::kPm}, {}));
  return absl::OkStatus();
}

absl::Status PcBoard::BuildDisplay() {
  // No RAM shows between 640 KiB and the VGA's ROM.
  context_.memory->SetSlot(Gpa(vga::Vga::kWindowBase), vga::Vga::kWindowSize, nullptr,
                           SlotKind::kRam);
  if (context_.config->vga == VgaKind::kNone) return absl::OkStatus();
  DeviceLock& lock = NewLock();
  ASSIGN_OR_RETURN(display_, Display::Create(*context_.config, *context_.memory, roms_, lock,
                                             context_.at_standstill));
  std::unique_ptr<pci::PciDevice> function =
      display_->NewFunction(pci_->Wire(pci::DevFn(kVgaSlot, 0)));
  pci::PciDevice& vga = *function;
  const dev::MapOptions memory = {.max_access = 8, .unaligned = true};
  bars_.AddDevice(vga, lock, memory);
  RETURN_IF_ERROR(bus_.Map(Space::kMmio, lock, vga, vga::kWindowRegion, vga::Vga::kWindowBase,
                           vga::Vga::kWindowSize, memory)
                      .status());
  RETURN_IF_ERROR(
      Ports(lock, vga, vga::kDispiRegion, 0x1CE, 3, {.max_access = 2, .unaligned = true}));
  RETURN_IF_ERROR(Ports(lock, vga, vga::kMonoPorts, 0x3B4, 7));
  RETURN_IF_ERROR(Ports(lock, vga, vga::kVgaPorts, 0x3C0, 16));
  RETURN_IF_ERROR(Ports(lock, vga, vga::kColorPorts, 0x3D4, 7));
  pci_->Attach(&vga, &lock);
  parts_.push_back({&vga, &lock});
  functions_.push_back(std::move(function));
  return absl::OkStatus();
}

absl::Status PcBoard::BuildDisks() {
  ASSIGN_OR_RETURN(drives_, Drives::Open(*context_.config));
  drives_.SetErrorHandler(context_.on_disk_error);

  // IDE: both channels are there, whether or not drives are.
  DeviceLock& ide_lock = NewLock();
  std::array<ide::ChannelWiring, 2> channels;
  for (size_t i = 0; i < channels.size(); ++i) {
    backgrounds_.push_back(workers_.NewBackground(&ide_lock));
    channels[i].irq = &NewIrq(ide::kChannelIrqs[i]);
    channels[i].memory = context_.memory;
    channels[i].background = backgrounds_.back().get();
  }
  ASSIGN_OR_RETURN(IdePlaces places, PlaceIdeDrives(*context_.config));
  std::array<ide::DriveOptions, 4> drives;
  for (size_t i = 0; i < drives.size(); ++i) {
    if (drives_.ide[i] != nullptr) {
      drives[i].disk = drives_.ide[i]->disk.get();
      drives[i].serial = drives_.ide[i]->serial;
    } else if (places[i] != nullptr) {
      cds_.push_back(std::make_unique<ide::CdDrive>());
      drives[i].cd = cds_.back().get();
      drives[i].serial = SerialOf(*places[i], i + 1);
      RETURN_IF_ERROR(removable_.Add(DriveName(*places[i], i), *places[i], ide_lock,
                                     std::make_unique<CdPort>(*cds_.back())));
    }
  }
  std::unique_ptr<pci::PciDevice> ide_function =
      ide::NewPiix3Ide(pci_->Wire(pci::DevFn(kPiixSlot, 1)), channels, drives);
  for (const ide::LegacyPorts& p : ide::kLegacyPorts) {
    RETURN_IF_ERROR(Ports(ide_lock, *ide_function, p.region, p.base, p.size, {.max_access = 4}));
  }
  AttachFunction(ide_lock, std::move(ide_function));

  for (const std::unique_ptr<Drive>& drive : drives_.virtio) {
    ASSIGN_OR_RETURN(const unsigned slot, TakeSlot());
    virtio_slots_.push_back(slot);
    DeviceLock& lock = NewLock();
    backgrounds_.push_back(workers_.NewBackground(&lock));
    // A queue a vCPU, so that each finds its own requests where it left them.
    virtio::BlkOptions options;
    options.serial = drive->serial;
    options.queues = static_cast<uint16_t>(context_.config->vcpus);
    virtio::PciTransportOptions transport;
    transport.bells = options.bells = &NewBells(lock, drive->name);
    if (context_.rings) {
      if (std::unique_ptr<work::Ring> ring = work::Ring::Create(kRingEntries)) {
        options.ring = ring.get();
        rings_.push_back({std::move(ring), &lock});
      }
    }
    AttachFunction(
        lock, virtio::NewVirtioPci(pci_->Wire(pci::DevFn(slot, 0)), context_.memory,
                                   virtio::NewBlk(context_.memory, drive->disk.get(),
                                                  backgrounds_.back().get(), std::move(options)),
                                   std::move(transport)));
  }
  return absl::OkStatus();
}

absl::Status PcBoard::BuildExtras() {
  unsigned slot = kFirstExtraSlot;
  const auto virtio = [&](DeviceLock& lock, std::unique_ptr<virtio::VirtioDevice> device,
                          bool legacy) {
    virtio::PciTransportOptions options;
    options.legacy = legacy;
    AttachFunction(lock, virtio::NewVirtioPci(pci_->Wire(pci::DevFn(slot++, 0)), context_.memory,
                                              std::move(device), std::move(options)));
  };
  const auto input = [&](virtio::InputKind kind) {
    DeviceLock& lock = NewLock();
    std::unique_ptr<virtio::InputDevice> device = virtio::NewInput(context_.memory, kind);
    input_.Connect(kind, *device, lock);
    virtio(lock, std::move(device), /*legacy=*/false);
  };
  for (const ExtraDevice extra : context_.config->devices) {
    switch (extra) {
      case ExtraDevice::kVirtioKeyboard:
        input(virtio::InputKind::kKeyboard);
        break;
      case ExtraDevice::kVirtioMouse:
        input(virtio::InputKind::kMouse);
        break;
      case ExtraDevice::kVirtioTablet:
        input(virtio::InputKind::kTablet);
        break;
      case ExtraDevice::kVirtioRng: {
        DeviceLock& lock = NewLock();
        backgrounds_.push_back(workers_.NewBackground(&lock));
        virtio(lock,
               virtio::NewRng(context_.memory, backgrounds_.back().get(),
                              [](std::span<uint8_t> to) {
                                return getrandom(to.data(), to.size(), GRND_NONBLOCK) ==
                                       static_cast<ssize_t>(to.size());
                              }),
               /*legacy=*/true);
        break;
      }
      case ExtraDevice::kVirtioBalloon: {
        DeviceLock& lock = NewLock();
        backgrounds_.push_back(workers_.NewBackground(&lock));
        std::unique_ptr<virtio::BalloonDevice> device =
            virtio::NewBalloon(context_.memory, backgrounds_.back().get(),
                               [memory = context_.memory](Gpa page) { Discard(*memory, page); });
        balloon_ = device.get();
        balloon_lock_ = &lock;
        virtio(lock, std::move(device), /*legacy=*/true);
        break;
      }
      case ExtraDevice::kPvpanic: {
        DeviceLock& lock = NewLock();
        AttachFunction(lock, pci::NewPvpanic(pci_->Wire(pci::DevFn(slot++, 0)), context_.on_panic));
        break;
      }
    }
  }
  if (const std::optional<SerialConfig>& config = context_.config->virtio_console) {
    ASSIGN_OR_RETURN(std::unique_ptr<chr::Stream> stream, OpenStream(*config));
    DeviceLock& lock = NewLock();
    backgrounds_.push_back(workers_.NewBackground(&lock));
    std::unique_ptr<virtio::ConsoleDevice> device =
        virtio::NewConsole(context_.memory, backgrounds_.back().get(), stream.get());
    stream->SetEscapeHandler([this](chr::Stream::Escape escape) {
      if (escape == chr::Stream::Escape::kQuit) context_.quit();
    });
    pumps_.push_back(std::make_unique<ConsolePump>(
        *context_.loop, *stream,
        [&lock, console = device.get()] { lock.Run([console] { console->InputReady(); }); }));
    streams_.push_back(std::move(stream));
    virtio(lock, std::move(device), /*legacy=*/true);
  }
  return absl::OkStatus();
}

// The first card where old systems expect it, further ones after the disks.
absl::Status PcBoard::BuildNics() {
  for (const NicConfig& config : context_.config->nics) {
    const nic::NicModel* model = nic::FindNicModel(config.model);
    if (model == nullptr) {
      return absl::NotFoundError(
          absl::StrCat("option '", config.option, "': no model '", config.model, "'"));
    }
    unsigned slot = kFirstNicSlot;
    if (!nic_slots_.empty()) {
      ASSIGN_OR_RETURN(slot, TakeSlot());
    }
    nic_slots_.push_back(slot);
    DeviceLock& lock = NewLock();
    backgrounds_.push_back(workers_.NewBackground(&lock));
    nic::NicParts parts;
    parts.wiring = pci_->Wire(pci::DevFn(slot, 0));
    parts.memory = context_.memory;
    parts.clock = &lock.clock();
    parts.port = &context_.networks->AddCard(config, lock);
    parts.background = backgrounds_.back().get();
    if (parts.port->kernel_path() != nullptr) {
      parts.bells = &NewBells(lock, absl::StrCat("nic", nic_slots_.size() - 1));
    }
    parts.mac = config.mac;
    ASSIGN_OR_RETURN(parts.rom, ReadNicRom(*context_.config, config, *model));
    AttachFunction(lock, model->create(std::move(parts)));
  }
  return absl::OkStatus();
}

// The controller is always there, as on a real board; drives where asked for.
absl::Status PcBoard::BuildFloppies() {
  DeviceLock& lock = NewLock();
  dev::I8237& dma = New<dev::I8237>(lock, *context_.memory);
  RETURN_IF_ERROR(Ports(lock, dma, dev::I8237::kBytes, 0x00, 16));
  RETURN_IF_ERROR(Ports(lock, dma, dev::I8237::kPages, 0x80, 16));
  RETURN_IF_ERROR(Ports(lock, dma, dev::I8237::kWords, 0xC0, 32));

  backgrounds_.push_back(workers_.NewBackground(&lock));
  floppy::FdcWiring wiring;
  wiring.irq = &NewIrq(floppy::Fdc::kIrq);
  wiring.dma = &dma;
  wiring.background = backgrounds_.back().get();
  floppy::Fdc& fdc = New<floppy::Fdc>(lock, wiring);
  RETURN_IF_ERROR(Ports(lock, fdc, floppy::Fdc::kRegisters, 0x3F0, 6));
  RETURN_IF_ERROR(Ports(lock, fdc, floppy::Fdc::kInput, 0x3F7, 1));

  ASSIGN_OR_RETURN(FloppyPlaces places, PlaceFloppyDrives(*context_.config));
  uint8_t types = 0;
  unsigned drives = 0;
  for (unsigned i = 0; i < places.size(); ++i) {
    types = static_cast<uint8_t>(types << 4);
    if (places[i] == nullptr) continue;
    RETURN_IF_ERROR(removable_.Add(DriveName(*places[i], i), *places[i], lock,
                                   std::make_unique<FloppyPort>(fdc, i)));
    if (fdc.type(i) == floppy::DriveType::kNone) fdc.SetType(i, floppy::DriveType::k1440K);
    types |= static_cast<uint8_t>(fdc.type(i));
    ++drives;
  }
  rtc_->SetFloppies(types, drives);
  return absl::OkStatus();
}

// Open Firmware's paths, as SeaBIOS writes them.
std::vector<std::string> PcBoard::BootDevices(char letter) {
  std::vector<std::string> out;
  const auto ide_places = PlaceIdeDrives(*context_.config);
  for (size_t i = 0; ide_places.ok() && i < ide_places->size(); ++i) {
    if ((*ide_places)[i] == nullptr) continue;
    if (((*ide_places)[i]->media == Medium::kCdrom ? 'd' : 'c') != letter) continue;
    out.push_back(absl::StrCat("/pci@i0cf8/ide@", kPiixSlot, ",1/drive@", i / 2, "/disk@", i % 2));
  }
  if (letter == 'c') {
    for (unsigned slot : virtio_slots_) {
      out.push_back(absl::StrCat("/pci@i0cf8/scsi@", absl::Hex(slot), "/disk@0,0"));
    }
  }
  if (letter == 'n') {
    for (unsigned slot : nic_slots_) {
      out.push_back(absl::StrCat("/pci@i0cf8/ethernet@", absl::Hex(slot), "/ethernet-phy@0"));
    }
  }
  if (letter == 'a') {
    for (int i = 0; i < 2; ++i) {
      out.push_back(absl::StrCat("/pci@i0cf8/isa@", kPiixSlot, "/fdc@03f0/floppy@", i));
    }
  }
  return out;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Board>> Board::Create(const BoardContext& context) {
  auto board = std::make_unique<PcBoard>(context);
  RETURN_IF_ERROR(board->Build());
  return board;
}

}  // namespace atl::vm
