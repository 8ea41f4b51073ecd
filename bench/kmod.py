#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""atoll.ko beside mainline's kvm-amd on one emulated host, by turns: what an exit of each kind
costs, and a Linux kernel to user land under run: seconds, exits.

  tests/lab/lab-svm --kvm none bench/kmod.py MODULE EXITS RUN VMLINUZ INITRD [TURNS [ROUNDS]]

EXITS is //bench:exits; INITRD says USERLAND when it is there. Medians of the rounds.
"""

import glob
import os
import statistics
import subprocess
import sys
import time

MODULE, EXITS, RUN, VMLINUZ, INITRD = sys.argv[1:6]
TURNS = sys.argv[6] if len(sys.argv) > 6 else "1000"
ROUNDS = int(sys.argv[7]) if len(sys.argv) > 7 else 3
LOAD = {"kvm": ["modprobe", "kvm-amd"], "atoll": ["insmod", MODULE]}
UNLOAD = {"kvm": ["modprobe", "-r", "kvm-amd"], "atoll": ["rmmod", "atoll"]}


def exits_of(name):
    total = 0
    for path in glob.glob("/sys/kernel/debug/%s/*-*/exits" % name) or [
            "/sys/kernel/debug/%s/exits" % name]:
        with open(path) as f:
            total += int(f.read())
    return total


def boot(name):
    """Seconds until user land, and exits until then."""
    start = time.monotonic()
    p = subprocess.Popen(
        [RUN, "-accel", "kvm,device=/dev/" + name, "-m", "128", "-nographic", "-kernel", VMLINUZ,
         "-initrd", INITRD, "-append", "console=ttyS0 quiet", "-no-reboot"],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    said = b""
    while b"USERLAND" not in said:
        data = os.read(p.stdout.fileno(), 4096)
        if not data:
            sys.exit("%s: no user land: %r" % (name, said[-2000:]))
        said += data
    seconds = time.monotonic() - start
    count = exits_of(name)
    p.kill()
    p.wait()
    return seconds, count


def main():
    cost, number, boots = {}, {}, {}
    for _ in range(ROUNDS):
        for name in ("kvm", "atoll"):
            subprocess.run(["modprobe", "irqbypass"], check=True)
            subprocess.run(LOAD[name], check=True)
            out = subprocess.run([EXITS, "/dev/" + name, TURNS], check=True, text=True,
                                 stdout=subprocess.PIPE, timeout=600).stdout
            for line in out.splitlines():
                kind, ns, exits = line.split()
                cost.setdefault(kind, {}).setdefault(name, []).append(float(ns))
                number.setdefault(kind, {})[name] = exits
            boots.setdefault(name, []).append(boot(name))
            time.sleep(0.5)
            subprocess.run(UNLOAD[name], check=True)
    print("| %d rounds of %s turns | mainline | atoll | ratio | exits, mainline | exits, atoll |"
          % (ROUNDS, TURNS))
    print("|---|---|---|---|---|---|")
    for kind, of in cost.items():
        k, a = (statistics.median(of[n]) / 1000 for n in ("kvm", "atoll"))
        print("| %s, us | %.1f | %.1f | %.2f | %s | %s |" % (
            kind, k, a, a / k, number[kind]["kvm"], number[kind]["atoll"]))
    k, a = (statistics.median(b[0] for b in boots[n]) for n in ("kvm", "atoll"))
    print("| to user land, s | %.2f | %.2f | %.2f | %d | %d |" % (
        k, a, a / k, *(statistics.median(b[1] for b in boots[n]) for n in ("kvm", "atoll"))))


if __name__ == "__main__":
    main()
