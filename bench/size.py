#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What a guest with the full PC (VGA, IDE and virtio disks, CD, floppy, control
socket) costs under run's software CPU and QEMU's TCG, medians of interleaved runs:

  first instruction   from exec to a byte that a 64 KiB ROM writes to a port
  boot attempt        the same by SeaBIOS and the disk's boot sector
  resident            MiB beside the guest's RAM, at the boot attempt
  threads             of the process, at the same moment
  binary              the program's size without symbols, and how many shared libraries
                      it loads

usage: bench/size.py [--runs N]

Needs ./quickstart to have run once, and the package qemu-system-x86.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile

import measure

RAM = 128
# To a debug console that SeaBIOS does not look for, then for ever idle:
# mov dx, 0xe9; mov al, '!'; out dx, al; hlt; jmp
CODE = bytes.fromhex("bae900 b021 ee f4 ebfd")
MACHINES = {
    "run": [measure.RUN, "-accel", "soft"],
    "qemu": ["qemu-system-x86_64", "-accel", "tcg", "-cpu", "max", "-nic", "none", "-monitor",
             "none"],
}


def start(name, options):
    """(wall ms, processor ms, MiB beside RAM, threads) when the guest has written its byte."""
    console = measure.Console(MACHINES[name] + options + measure.DEBUG_CONSOLE[name], timeout=120)
    try:
        wall, processor = console.wait_for(b"!")
        if console.text != b"!":
            raise RuntimeError("%s: somebody else wrote: %r" % (name, console.text))
        total, ram = measure.memory(console.process.pid, RAM)
        threads = len(os.listdir("/proc/%d/task" % console.process.pid))
    finally:
        console.kill()
    return wall * 1000, processor * 1000, total - ram, threads


def program(command, work):
    """(MiB without symbols, shared libraries)."""
    path = os.path.realpath(shutil.which(command))
    subprocess.run(["strip", "-o", work + "/stripped", path], check=True)
    libraries = subprocess.check_output(["ldd", path], text=True).count("=>")
    return os.path.getsize(work + "/stripped") / 2**20, libraries


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=11)
    args = parser.parse_args()
    bios = measure.guests() + "/seabios/bios-256k.bin"
    rom_starts = {name: [] for name in MACHINES}
    bios_starts = {name: [] for name in MACHINES}
    with tempfile.TemporaryDirectory(dir="/tmp") as work:
        with open(work + "/rom", "wb") as f:
            f.write(bytes(0xFFF0) + CODE.ljust(16, b"\xf4"))
        for name, size in (("hda", 16 << 20), ("vda", 16 << 20), ("cd", 4 << 20),
                           ("fda", 1440 << 10)):
            with open(work + "/" + name, "wb") as f:
                f.write(CODE.ljust(510, b"\0") + b"\x55\xaa")
                f.truncate(size)
        pc = ["-m", str(RAM), "-display", "none", "-serial", "null", "-vga", "std",
              "-drive", "format=raw,file=%s/hda" % work, "-cdrom", work + "/cd",
              "-drive", "format=raw,if=virtio,file=%s/vda" % work,
              "-drive", "format=raw,if=floppy,file=%s/fda" % work, "-boot", "c",
              "-debugcon", "stdio", "-qmp", "unix:%s/qmp,server=on,wait=off" % work]
        for _ in range(args.runs):
            for name in MACHINES:
                rom_starts[name].append(start(name, pc + ["-bios", work + "/rom"]))
                bios_starts[name].append(start(name, pc + ["-bios", bios]))
        programs = [program(command[0], work) for command in MACHINES.values()]

    rows = []

    def row(what, form, ours, theirs):
        rows.append([what, form % ours, form % theirs, "%.2f" % (ours / theirs)])

    rom = [measure.medians(rom_starts[name]) for name in MACHINES]
    booted = [measure.medians(bios_starts[name]) for name in MACHINES]
    row("exec to first instruction, ms", "%.1f", rom[0][0], rom[1][0])
    row("the same, processor ms", "%.0f", rom[0][1], rom[1][1])
    row("exec to boot attempt, ms", "%.1f", booted[0][0], booted[1][0])
    row("the same, processor ms", "%.0f", booted[0][1], booted[1][1])
    row("SeaBIOS to boot attempt, ms", "%.1f", booted[0][0] - rom[0][0], booted[1][0] - rom[1][0])
    row("resident beside guest RAM, MiB", "%.1f", booted[0][2], booted[1][2])
    row("threads", "%d", booted[0][3], booted[1][3])
    row("binary, MiB", "%.1f", programs[0][0], programs[1][0])
    row("shared libraries", "%d", programs[0][1], programs[1][1])
    measure.table(["full PC, -m %d" % RAM, "run", "QEMU", "ratio"], rows)


sys.exit(main())
