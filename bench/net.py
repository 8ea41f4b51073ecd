#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""How long net takes, beside the commands of ip that do the same.

usage: bench/net.py [NET [TIMES]]

Each figure is the median of TIMES (200) runs, in ms, in a namespace of its own.
The runs of what is compared alternate.
"""

import os
import statistics
import subprocess
import sys
import time


def timed(command):
    started = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return (time.perf_counter() - started) * 1000


def until_it_runs(command):
    """Until the program that the last two words are, date, has begun."""
    started = time.time_ns()
    return (int(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout) - started) / 1e6


DATE = ["date", "+%s%N"]


def main():
    net = os.path.abspath(sys.argv[1] if len(sys.argv) > 1 else "bazel-bin/cmd/net/net")
    times = int(sys.argv[2]) if len(sys.argv) > 2 else 200
    if os.environ.get("NET_BENCH_INSIDE") != "1":
        os.execvpe("unshare", ["unshare", "-Urn", sys.executable, __file__, net, str(times)],
                   {**os.environ, "NET_BENCH_INSIDE": "1"})
    subprocess.run(["sysctl", "-qw", "net.bridge.bridge-nf-call-iptables=0"], check=False)
    subprocess.run([net, "bridge", "up", "br0", "--subnet", "10.0.1.1/24"], check=True,
                   stdout=subprocess.DEVNULL)
    subprocess.run([net, "tap", "up", "keep0", "--bridge", "br0"], check=True,
                   stdout=subprocess.DEVNULL)
    by_ip = ("ip tuntap add dev vt0 mode tap vnet_hdr; ip link set vt0 master br0; "
             "ip link set vt0 up")
    runs = {
        # The kernel takes its time to unmake a tap: what counts is the beginning.
        "until a program runs": DATE,
        "until it runs with a tap": [net, "tap", "--name", "vt0", "--bridge", "br0", "--vnet-hdr",
                                     "--", *DATE],
        "three calls of ip, in sh": ["sh", "-c", by_ip],
        "net check": [net, "check"],
        "net bridge up, unchanged": [net, "bridge", "up", "br0", "--subnet", "10.0.1.1/24"],
        "net list": [net, "list"],
    }
    found = {name: [] for name in runs}
    for _ in range(times):
        for name, command in runs.items():
            found[name].append((until_it_runs if command[-2:] == DATE else timed)(command))
            if "ip, in" in name:
                subprocess.run(["ip", "link", "delete", "vt0"], check=True)
    for name, values in found.items():
        values.sort()
        print(f"{name:28} median {statistics.median(values):7.2f} ms   "
              f"least {values[0]:7.2f}   9 of 10 below {values[int(times * 0.9)]:7.2f}")


main()
