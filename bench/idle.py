#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What an idle Linux guest at its shell costs under run's software CPU and
QEMU's TCG: processor seconds over some wall seconds, and resident memory beside
the guest's RAM.

usage: bench/idle.py [--runs N] [--smp N] [--seconds S] [--regions]

--regions lists run's largest regions. Needs ./quickstart to have run once, and
the package qemu-system-x86.
"""

import argparse
import subprocess
import sys
import tempfile
import time

import measure

RAM_MIB = 256


def regions(pid):
    """The resident regions, largest first: (MiB, what)."""
    out = {}
    name = ""
    with open("/proc/%d/smaps" % pid) as f:
        for line in f:
            fields = line.split()
            if not fields[0].endswith(":"):
                name = fields[5] if len(fields) > 5 else "anonymous of %d KiB" % (
                    (int(fields[0].split("-")[1], 16) - int(fields[0].split("-")[0], 16)) >> 10)
            elif fields[0] == "Pss:":
                out[name] = out.get(name, 0) + int(fields[1]) / 1024
    return sorted(((v, k) for k, v in out.items() if v >= 0.1), reverse=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--smp", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=15)
    parser.add_argument("--regions", action="store_true")
    args = parser.parse_args()
    guests = measure.guests()
    with tempfile.TemporaryDirectory() as work:
        subprocess.run([measure.TOP + "/tools/make-guest", guests, work], check=True)
        subprocess.run([measure.IMG, "convert", "-f", "raw", "-O", "qcow2", work + "/root.raw",
                        work + "/disk.qcow2"], check=True)

        def idle(name, command):
            console = measure.Console(
                command + ["-m", str(RAM_MIB), "-smp", str(args.smp), "-serial", "stdio",
                           "-no-reboot", "-kernel", guests + "/vmlinuz", "-initrd",
                           work + "/initrd.gz", "-append", "console=ttyS0 root=/dev/vda",
                           "-drive", "file=%s/disk.qcow2,if=virtio,format=qcow2" % work])
            pid = console.process.pid
            console.wait_for(b"guest# ")
            time.sleep(5)  # what the kernel still had to do
            before = measure.processor_seconds(pid)
            time.sleep(args.seconds)
            spent = measure.processor_seconds(pid) - before
            total, ram = measure.memory(pid, RAM_MIB)
            if args.regions and name == "run":
                for size, what in regions(pid)[:25]:
                    print("%8.2f MiB  %s" % (size, what))
            console.kill()
            return spent, total, ram, total - ram
        samples = measure.interleaved(args.runs, idle)
    run, qemu = measure.medians(samples["run"]), measure.medians(samples["qemu"])
    names = ["processor s over %g s" % args.seconds, "resident, MiB", "of that guest RAM, MiB",
             "beside guest RAM, MiB"]
    measure.table(["idle guest, -smp %d" % args.smp, "run", "QEMU"],
                  [[n, "%.2f" % r, "%.2f" % q] for n, r, q in zip(names, run, qemu)])


sys.exit(main())
