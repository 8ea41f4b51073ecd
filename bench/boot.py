#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Boots the same Debian guest under run's software CPU and QEMU's TCG, side by
side, to a shell and off again, and prints medians and ratios.

usage: bench/boot.py [--runs N] [--smp N]

Needs ./quickstart to have run once, and the package qemu-system-x86.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
RUN = TOP + "/bazel-bin/cmd/run/run"
IMG = TOP + "/bazel-bin/cmd/img/img"


def boot(command):
    """Wall and processor seconds from exec to the guest's end."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.monotonic()
    subprocess.run([TOP + "/tools/guest-shell", "--command", "poweroff", "--", *command],
                   check=True, stdout=subprocess.DEVNULL)
    wall = time.monotonic() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return wall, cpu


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--smp", type=int, default=1)
    args = parser.parse_args()
    guests = subprocess.check_output([TOP + "/tools/guests"], text=True).strip()
    with tempfile.TemporaryDirectory() as work:
        subprocess.run([TOP + "/tools/make-guest", guests, work], check=True)
        subprocess.run([IMG, "convert", "-f", "raw", "-O", "qcow2", work + "/root.raw",
                        work + "/disk.qcow2"], check=True)
        common = ["-m", "256", "-smp", str(args.smp), "-nographic", "-no-reboot",
                  "-kernel", guests + "/vmlinuz", "-initrd", work + "/initrd.gz",
                  "-append", "console=ttyS0 root=/dev/vda",
                  "-drive", "file=%s/disk.qcow2,if=virtio,format=qcow2" % work]
        machines = {
            "run": [RUN, "-accel", "soft", *common],
            "qemu": ["qemu-system-x86_64", "-accel", "tcg", "-cpu", "max", "-nic", "none", *common],
        }
        samples = {name: [] for name in machines}
        for _ in range(args.runs):  # interleaved, so that both see the same machine
            for name, command in machines.items():
                samples[name].append(boot(command))
    median = {name: [statistics.median(column) for column in zip(*s)] for name, s in samples.items()}
    print("%-6s %8s %8s" % ("", "wall s", "cpu s"))
    for name, (wall, cpu) in median.items():
        print("%-6s %8.2f %8.2f" % (name, wall, cpu))
    print("%-6s %8.2f %8.2f   run / qemu" % (
        "ratio", median["run"][0] / median["qemu"][0], median["run"][1] / median["qemu"][1]))


sys.exit(main())
