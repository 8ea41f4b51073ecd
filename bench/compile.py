#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""gcc in a Debian 12 guest compiles, links and runs a C program of some 10,000 lines,
under run's software CPU and QEMU's TCG, side by side. What comes out must be the
same to the byte as from the same gcc in a chroot on this host.

usage: bench/compile.py [--runs N] [--smp N]

Needs ./quickstart to have run once, the package qemu-system-x86, and, the first
time, root for bench/make-debian, which makes the guest.
"""

import argparse
import subprocess
import sys
import tempfile

import measure


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--smp", type=int, default=1)
    parser.add_argument("--timeout", type=float, default=1800)
    args = parser.parse_args()
    guest = subprocess.check_output([measure.TOP + "/bench/make-debian"], text=True).strip()
    with open(guest + "/native.txt") as f:
        lines = f.read().splitlines()
    expected = [line.split()[0] for line in lines if not line.startswith("seconds")]
    native = float(lines[-1].split()[1])
    wrong = []
    with tempfile.TemporaryDirectory() as work:
        def compiled(name, command):
            # Each run begins with the disk as it was made.
            disk = work + "/%s.qcow2" % name
            subprocess.run([measure.IMG, "create", "-q", "-f", "qcow2", "-b",
                            guest + "/disk.qcow2", "-F", "qcow2", disk], check=True,
                           stdout=subprocess.DEVNULL)
            console = measure.Console(
                command + ["-m", "1024", "-smp", str(args.smp), "-serial", "stdio", "-no-reboot",
                           "-kernel", measure.guests() + "/vmlinuz", "-initrd",
                           guest + "/initrd.gz", "-append", "console=ttyS0 quiet root=/dev/vda",
                           "-drive", "file=%s,if=virtio,format=qcow2" % disk],
                timeout=args.timeout)
            begin = console.wait_for(b"COMPILE-BEGIN")
            end = console.wait_for(b"COMPILE-END")
            console.kill()
            said = console.text.decode(errors="replace")
            wrong.extend("%s: %s is not in what it printed: %s" % (name, word, said[-1000:])
                         for word in expected if word not in said)
            return [e - b for b, e in zip(begin, end)]
        samples = measure.interleaved(args.runs, compiled)
    measure.table(["compile, -smp %d" % args.smp, "run", "QEMU", "run / QEMU"],
                  measure.compare("s", samples))
    print("\nnative, in a chroot when the guest was made: %.2f s" % native)
    print("\n".join(wrong) if wrong else "all outputs equal native's")
    return 1 if wrong else 0


sys.exit(main())
