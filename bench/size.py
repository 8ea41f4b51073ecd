#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What a guest costs beside its own memory, with the full PC (VGA, IDE and virtio
disks, CD, floppy, control socket), under run's software CPU and QEMU's TCG:

  resident   MiB over the guest's RAM, once SeaBIOS has started the boot sector
  binary     the program's size, and how many shared libraries it loads
  threads    of the process, at the same moment

usage: bench/size.py [--runs N]

Needs ./quickstart to have run once, and the package qemu-system-x86.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile

import measure

RAM = 128
# To the debug console, then for ever idle: mov dx, 0x402; mov al, '!'; out dx, al; hlt; jmp
CODE = bytes.fromhex("ba0204 b021 ee f4 ebfd")
MACHINES = {
    "run": [measure.RUN, "-accel", "soft"],
    "qemu": ["qemu-system-x86_64", "-accel", "tcg", "-cpu", "max", "-nic", "none", "-monitor",
             "none"],
}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=5)
    args = parser.parse_args()
    bios = measure.guests() + "/seabios/bios-256k.bin"
    samples = {name: [] for name in MACHINES}
    with tempfile.TemporaryDirectory(dir="/tmp") as work:
        for name, size in (("hda", 16 << 20), ("vda", 16 << 20), ("cd", 4 << 20),
                           ("fda", 1440 << 10)):
            with open(work + "/" + name, "wb") as f:
                f.write(CODE.ljust(510, b"\0") + b"\x55\xaa")
                f.truncate(size)
        pc = ["-m", str(RAM), "-display", "none", "-serial", "null", "-vga", "std", "-bios", bios,
              "-drive", "format=raw,file=%s/hda" % work, "-cdrom", work + "/cd",
              "-drive", "format=raw,if=virtio,file=%s/vda" % work,
              "-drive", "format=raw,if=floppy,file=%s/fda" % work, "-boot", "c",
              "-debugcon", "stdio"]
        for turn in range(args.runs):
            for name, command in MACHINES.items():
                socket = "%s/%s%d" % (work, name, turn)
                console = measure.Console(command + pc + [
                    "-qmp", "unix:%s,server=on,wait=off" % socket], timeout=120)
                console.wait_for(b"!")
                total, ram = measure.memory(console.process.pid, RAM)
                threads = len(os.listdir("/proc/%d/task" % console.process.pid))
                samples[name].append((total - ram, threads))
                console.kill()
    rows = []
    for column, what in ((0, "resident over guest RAM, MiB"), (1, "threads")):
        ours, theirs = (statistics.median(s[column] for s in samples[n]) for n in MACHINES)
        rows.append([what, "%.1f" % ours, "%.1f" % theirs, "%.2f" % (ours / theirs)])
    sizes, libraries = [], []
    for command in MACHINES.values():
        path = os.path.realpath(shutil.which(command[0]))
        sizes.append(os.path.getsize(path) / 2**20)
        said = subprocess.check_output(["ldd", path], text=True)
        libraries.append(sum("=>" in line for line in said.splitlines()))
    rows.append(["binary, MiB", "%.1f" % sizes[0], "%.1f" % sizes[1],
                 "%.2f" % (sizes[0] / sizes[1])])
    rows.append(["shared libraries", str(libraries[0]), str(libraries[1]),
                 "%.2f" % (libraries[0] / libraries[1])])
    measure.table(["full PC, -m %d" % RAM, "run", "QEMU", "run / QEMU"], rows)


sys.exit(main())
