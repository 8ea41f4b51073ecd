// SPDX-License-Identifier: Apache-2.0
#include "lib/dev/types.h"

#include <algorithm>

#include "absl/strings/str_format.h"

namespace atl::dev {
namespace {

constexpr DeviceType kTypes[] = {
    {"acpi-pm", Attachment::kBoard, "ACPI power management block: PM timer, power button, soft off",
     ""},
    {"e1000", Attachment::kPci, "Intel 82540EM gigabit network card", ""},
    {"fw_cfg", Attachment::kBoard, "firmware configuration, by ports and DMA", ""},
    {"hpet", Attachment::kBoard, "high precision event timer, 100 MHz, 3 comparators", ""},
    {"i440fx", Attachment::kBoard, "PCI host bridge with the shadow memory switches", ""},
    {"i8042", Attachment::kBoard, "keyboard controller, keyboard, wheel mouse, A20, port 0x92", ""},
    {"i82077", Attachment::kBoard, "floppy disk controller with drives A and B", ""},
    {"i8237", Attachment::kBoard, "DMA controllers and their page registers", ""},
    {"i8254", Attachment::kBoard, "interval timer and port 0x61", ""},
    {"irqchips", Attachment::kBoard, "8259 pair, IOAPIC, a LAPIC for each vCPU", ""},
    {"isa-debug-exit", Attachment::kIsa, "writing v ends the process with status (v << 1) | 1",
     "iobase=0x501,iosize=2"},
    {"isa-debugcon", Attachment::kIsa, "a byte written is a byte out, as SeaBIOS logs",
     "iobase=0x402"},
    {"mc146818", Attachment::kBoard, "real-time clock and CMOS memory", ""},
    {"ne2k_pci", Attachment::kPci, "RTL8029AS, an NE2000 on PCI", ""},
    {"ns16550", Attachment::kBoard, "serial port, 16550A", ""},
    {"pc-testdev", Attachment::kIsa,
     "ports and memory that keep what is written, and interrupt lines, for test kernels", ""},
    {"pci-config", Attachment::kBoard, "PCI configuration access by ports 0xCF8 and 0xCFC", ""},
    {"piix3-ide", Attachment::kBoard, "two IDE channels with bus mastering, disks hda to hdd", ""},
    {"piix3-isa", Attachment::kBoard, "ISA bridge, routes PCI interrupts", ""},
    {"piix4-pm", Attachment::kBoard, "PCI function that places the ACPI and SMBus ports", ""},
    {"pvpanic", Attachment::kExtra, "tells monitors that the guest's kernel has panicked", ""},
    {"reset-port", Attachment::kBoard, "reset by port 0xCF9", ""},
    {"rtl8139", Attachment::kPci, "RTL8139C+ network card", ""},
    {"rtl8139c", Attachment::kPci, "RTL8139C network card, without the C+ rings", ""},
    {"std-vga", Attachment::kBoard, "VGA with the Bochs display interface, 16 MiB, by -vga", ""},
    {"virtio-balloon", Attachment::kExtra, "virtio balloon: the guest gives memory back", ""},
    {"virtio-blk", Attachment::kPci, "virtio disk, modern and transitional", ""},
    {"virtio-console", Attachment::kExtra, "virtio console, Linux's hvc0", "dev=null"},
    {"virtio-keyboard", Attachment::kExtra, "virtio keyboard", ""},
    {"virtio-mouse", Attachment::kExtra, "virtio mouse with a wheel", ""},
    {"virtio-net", Attachment::kPci, "virtio network card, modern and transitional", ""},
    {"virtio-rng", Attachment::kExtra, "virtio source of random numbers, the host's", ""},
    {"virtio-tablet", Attachment::kExtra, "virtio pointer that is where the viewer puts it", ""},
    {"vmmouse", Attachment::kBoard, "VMware's port of the pointer that is where the viewer puts it",
     ""},
};

absl::string_view Place(Attachment a) {
  switch (a) {
    case Attachment::kBoard:
      return "board";
    case Attachment::kPci:
    case Attachment::kExtra:
      return "pci";
    case Attachment::kIsa:
      return "isa";
  }
  return "";
}

}  // namespace

std::span<const DeviceType> DeviceTypes() { return kTypes; }

const DeviceType* FindDeviceType(absl::string_view name) {
  const auto* it = std::find_if(std::begin(kTypes), std::end(kTypes),
                                [&](const DeviceType& t) { return t.name == name; });
  return it == std::end(kTypes) ? nullptr : it;
}

std::string DescribeDeviceTypes() {
  std::string out;
  for (const DeviceType& t : kTypes) {
    absl::StrAppendFormat(&out, "%-16s %-6s %s", t.name, Place(t.attachment), t.summary);
    if (!t.options.empty()) absl::StrAppendFormat(&out, " (%s)", t.options);
    out += "\n";
  }
  return out;
}

}  // namespace atl::dev
