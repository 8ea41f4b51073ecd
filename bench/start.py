#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""How soon a guest starts under run's software CPU and QEMU's TCG, side by side:

  first instruction   a 64 KiB ROM whose first instructions write to a port
  boot attempt        SeaBIOS, until a disk's boot sector writes to a port
  init                Debian's kernel with -kernel, until its init writes a line

from exec to the byte's arrival here. Medians of interleaved runs.

usage: bench/start.py [--runs N] [--smp N] [--only ROW]...

Needs ./quickstart to have run once, and the package qemu-system-x86.
"""

import argparse
import sys
import tempfile

import measure

# The byte goes to a debug console that SeaBIOS does not look for, then the
# machine ends: mov dx, 0xe9; mov al, '!'; out dx, al; mov dx, 0xf4; out dx, al; hlt
CODE = bytes.fromhex("bae900 b021 ee baf400 ee f4")
PORTS = ["-m", "128", "-serial", "null", "-debugcon", "stdio", "-device",
         "isa-debug-exit,iobase=0xf4,iosize=4"]


def to_first_byte(command):
    console = measure.Console(command, timeout=60)
    _, processor = console.finish()
    if console.text != b"!":
        raise RuntimeError("%r: the guest did not run: %r" % (command, console.text))
    return console.first, processor


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=11)
    parser.add_argument("--smp", type=int, default=1)
    parser.add_argument("--only", action="append", choices=["rom", "bios", "init"])
    args = parser.parse_args()
    wanted = args.only or ["rom", "bios", "init"]
    smp = ["-smp", str(args.smp)]
    rows = []
    with tempfile.TemporaryDirectory() as work:
        with open(work + "/rom", "wb") as f:
            f.write(bytes(0xFFF0) + CODE.ljust(16, b"\xf4"))
        with open(work + "/disk", "wb") as f:
            f.write(CODE.ljust(510, b"\0") + b"\x55\xaa")
            f.truncate(16 << 20)
        if "rom" in wanted:
            samples = measure.interleaved(args.runs, lambda name, command: to_first_byte(
                command + smp + PORTS + measure.DEBUG_CONSOLE[name] + ["-bios", work + "/rom"]))
            rows += measure.compare("first instruction, ms", samples, 1000, "%.1f")
        if "bios" in wanted:
            bios = measure.guests() + "/seabios/bios-256k.bin"
            disk = "file=%s/disk,format=raw,if=ide" % work
            samples = measure.interleaved(args.runs, lambda name, command: to_first_byte(
                command + smp + PORTS + measure.DEBUG_CONSOLE[name] +
                ["-bios", bios, "-drive", disk]))
            rows += measure.compare("boot attempt, ms", samples, 1000, "%.1f")
        if "init" in wanted:
            measure.initrd(work + "/initrd", "echo INIT-REACHED\nexec sleep 1000\n")

            def to_init(_, command):
                console = measure.Console(
                    command + smp + ["-m", "256", "-serial", "stdio", "-no-reboot", "-kernel",
                                     measure.guests() + "/vmlinuz", "-initrd", work + "/initrd",
                                     "-append", "console=ttyS0"])
                times = console.wait_for(b"INIT-REACHED")
                console.kill()
                return times
            samples = measure.interleaved(min(args.runs, 3), to_init)
            rows += measure.compare("init, s", samples)
    measure.table(["exec to", "run", "QEMU", "run / QEMU"], rows)


sys.exit(main())
