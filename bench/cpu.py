#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Runs a guest CPU benchmark natively, under run's software CPU and under QEMU's
TCG, with one and two vCPUs, in turns, and prints the ratios as markdown.

usage: bench/cpu.py --gbench DIR [--runs N] [--smp N]... [--list a,b|all]
                    [--metric cpu|wall] [--timeout S] [--out FILE]

DIR holds gbench: mkinitrd.sh makes its initramfs, run-gbench.sh runs it and
writes out/LABEL.json. It is copied, not written to. Metric cpu, the default, is the
processor time of a workload (for native: the time that it took); wall is its time
in the guest. Both ratios are printed; the metric is what the milliseconds are.
Ends with 1 where a checksum is not native's. Needs ./quickstart to have run once,
and the packages qemu-system-x86, gcc and cpio.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time

import measure

RAM_MIB = 512


class Watch:
    """Samples the resident memory of a process' child until it is gone."""

    def __init__(self, pid):
        self.pid = pid
        self.last = None  # (all, guest RAM) in MiB
        self.peak_beside = 0
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        while os.path.exists("/proc/%d" % self.pid):
            try:
                with open("/proc/%d/task/%d/children" % (self.pid, self.pid)) as f:
                    for child in f.read().split():
                        total, ram = measure.memory(int(child), RAM_MIB)
                        if ram:
                            self.last = total, ram
                            self.peak_beside = max(self.peak_beside, total - ram)
            except OSError:
                pass
            time.sleep(1)


def gbench(folder, label, args, command):
    """One turn: ({workload: its JSON}, Watch)."""
    words = [folder + "/run-gbench.sh", "--reps", "1", "--list", args.list, "--label", label,
             "--mem", str(RAM_MIB), "--timeout", str(args.timeout), *command]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    watch = Watch(process.pid)
    said, _ = process.communicate()
    watch.thread.join()
    if process.returncode != 0 or b"TIMEOUT" in said:
        print("cpu.py: %s did not finish: %s" % (label, said[-500:].decode(errors="replace")),
              file=sys.stderr)
    try:
        with open("%s/out/%s.json" % (folder, label)) as f:
            return json.load(f)["bench"], watch
    except OSError:
        return {}, watch


def median(turns, test, key):
    values = [t[test][key] for t in turns if test in t]
    return statistics.median(values) if values else None


def ratio_of(a, b):
    return a / b if a is not None and b else None


def show(value, form):
    return form % value if value is not None else "-"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--gbench", required=True)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--smp", type=int, action="append")
    parser.add_argument("--list", default="all")
    parser.add_argument("--metric", choices=["cpu", "wall"], default="cpu")
    parser.add_argument("--timeout", type=int, default=600)
    parser.add_argument("--out", help="all samples, as JSON")
    args = parser.parse_args()
    smps = args.smp or [1, 2]
    key = {"cpu": "cpu", "wall": "med"}[args.metric]
    differ = 0
    with tempfile.TemporaryDirectory() as work:
        folder = work + "/gbench"
        shutil.copytree(args.gbench, folder)
        subprocess.run([folder + "/mkinitrd.sh"], check=True, stdout=subprocess.DEVNULL)
        os.makedirs(folder + "/out", exist_ok=True)
        kernel = measure.guests() + "/vmlinuz"
        turns = {}
        watches = {}
        for turn in range(args.runs):  # all machines once, then again
            bench, _ = gbench(folder, "native", args, ["native"])
            turns.setdefault("native", []).append(bench)
            for smp in smps:
                for name, command in measure.MACHINES.items():
                    label = "%s.%d" % (name, smp)
                    bench, watch = gbench(
                        folder, label, args,
                        ["--smp", str(smp), "--kernel", kernel, "--noextra", *command,
                         "-no-reboot", "-serial", "stdio"])
                    turns.setdefault(label, []).append(bench)
                    watches.setdefault(label, []).append(watch)
            print("cpu.py: turn %d of %d is done" % (turn + 1, args.runs), file=sys.stderr)
    if args.out:
        with open(args.out, "w") as f:
            json.dump(turns, f, indent=1)

    tests = list(dict.fromkeys(t for bench in turns["native"] for t in bench))
    for smp in smps:
        run, qemu = turns["run.%d" % smp], turns["qemu.%d" % smp]
        rows, ratios = [], {"med": [], "cpu": []}
        for test in tests:
            sums = {b[test]["chk"] for side in (turns["native"], run, qemu) for b in side
                    if test in b}
            differ += len(sums) > 1
            native = median(turns["native"], test, "med")
            # Its processor time natively is what it took: nothing else ran in it.
            r, q = median(run, test, key), median(qemu, test, key)
            both = {k: ratio_of(median(run, test, k), median(qemu, test, k)) for k in ratios}
            for k, v in both.items():
                if v:
                    ratios[k].append(v)
            rows.append([test, show(native, "%.1f"), show(q, "%.1f"), show(r, "%.1f"),
                         show(both["cpu"], "%.2f"), show(both["med"], "%.2f"),
                         show(ratio_of(r, native), "%.2f"), "equal" if len(sums) == 1 else "DIFFER"])
        mean = {k: statistics.geometric_mean(v) if v else None for k, v in ratios.items()}
        worst = {k: max(v) if v else None for k, v in ratios.items()}
        for what, of in (("geometric mean", mean), ("worst", worst)):
            rows.append([what, "", "", "", show(of["cpu"], "%.2f"), show(of["med"], "%.2f"), "", ""])
        measure.table(["-smp %d, ms (%s)" % (smp, args.metric), "native", "QEMU", "run",
                       "run / QEMU, cpu", "run / QEMU, wall", "run / native", "checksums"], rows)
        for name in ("run", "qemu"):
            of = [w for w in watches["%s.%d" % (name, smp)] if w.last]
            if of:
                print("%s: beside guest RAM at the end %.1f MiB, at most %.1f MiB" % (
                    name, statistics.median(w.last[0] - w.last[1] for w in of),
                    max(w.peak_beside for w in of)))
        print()
    return 1 if differ else 0


sys.exit(main())
