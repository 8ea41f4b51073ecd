#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""iperf3 in a guest with virtio-net, by run and by QEMU (TCG), through a tap, through
`net user` and libslirp, and through passt, one after the other.

usage: bench/nic.py RUN NET [SECONDS [ROW...]]

A Linux of tools/guest-nics with iperf3 in its initrd; the server is this host's, in
a user and network namespace of its own. Packages: iperf3 passt qemu-system-x86. Processor
time is that of the emulator and of the network's process, for a GB that arrived.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../tests/run"))
from console import PROMPT, Console  # noqa: E402

QEMU = "/usr/bin/qemu-system-x86_64"
TAP, USER, PASST = "10.77.0.1", "10.0.2.2", "10.77.1.1"
NIC = ["-device", "virtio-net-pci,netdev=n,mac=52:54:00:12:34:56"]
# A name, the emulator, its -netdev, the guest's address, the host as the guest has it, and
# what is to run beside it.
ROWS = {
    "run, tap": ("run", "tap,id=n,ifname=vm0,script=./up", "10.77.0.2", TAP, None),
    "QEMU, tap": ("qemu", "tap,id=n,ifname=vm0,script=./up,downscript=no", "10.77.0.2", TAP, None),
    "run, user (net user)": ("run", "user,id=n", "10.0.2.15", USER, None),
    "QEMU, user (libslirp)": ("qemu", "user,id=n", "10.0.2.15", USER, None),
    "QEMU, stream to net user": ("qemu", "stream,id=n,server=off,addr.type=unix,addr.path=net.sock",
                                 "10.0.2.15", USER, "net"),
    "run, stream to passt": ("run", "stream,id=n,path=passt.sock", "10.77.1.2", PASST, "passt"),
    "QEMU, stream to passt": ("qemu", "stream,id=n,server=off,addr.type=unix,addr.path=passt.sock",
                              "10.77.1.2", PASST, "passt"),
}


def ip(line):
    subprocess.run(["ip", *line.split()], check=True)


def make_initrd(out):
    """The net guest's, and behind it iperf3 with its libraries."""
    cache = os.environ.get("ATOLL_CACHE", os.path.expanduser("~/.cache/atoll"))
    version, = os.listdir(cache + "/nics/modules")
    subprocess.run([HERE + "/../tools/make-net-guest", cache + "/guests/busybox",
                    f"{cache}/nics/modules/{version}", out], check=True)
    needed = subprocess.run(["ldd", "/usr/bin/iperf3"], capture_output=True, text=True).stdout
    files = ["/usr/bin/iperf3"] + [w for w in needed.split() if w.startswith("/")]
    with tempfile.TemporaryDirectory() as tree:
        for file in files:
            os.makedirs(tree + os.path.dirname(file), exist_ok=True)
            shutil.copy(file, tree + file)
        more = subprocess.run(f"cd {tree} && find . | cpio -o -H newc --quiet -R 0:0 | gzip -1",
                              shell=True, check=True, stdout=subprocess.PIPE).stdout
    with open(out, "ab") as f:
        f.write(more)
    return cache + "/nics/vmlinuz"


def cpu_seconds(pid):
    """Of a process and those it has started."""
    with open(f"/proc/{pid}/stat") as f:
        fields = f.read().rpartition(")")[2].split()
    ticks = int(fields[11]) + int(fields[12])
    with open(f"/proc/{pid}/task/{pid}/children") as f:
        return ticks / os.sysconf("SC_CLK_TCK") + sum(cpu_seconds(c) for c in f.read().split())


def beside(kind):
    if kind is None:
        return None
    command = {"net": [NET, "user", "net.sock"],
               "passt": ["passt", "-f", "-1", "-s", os.path.abspath("passt.sock"), "-i", "outside",
                         "-a", "10.77.1.2", "-n", "24", "-g", "10.77.1.1", "-t", "none", "-u",
                         "none"]}[kind]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not os.path.exists(kind + ".sock"):
        time.sleep(0.05)
    return process


def measure(guest, other, host, seconds, *options):
    def spent():
        return cpu_seconds(guest.pid) + (cpu_seconds(other.pid) if other else 0)
    before = spent()
    text = guest.command("/usr/bin/iperf3 -J -c %s -t %d %s; echo" % (host, seconds, " ".join(options)),
                         60 + 20 * seconds)
    end = json.loads(text[text.index("{"):text.rindex("}") + 1])
    if "error" in end or end["end"]["sum_received"]["bytes"] == 0:
        return "failed"
    got = end["end"]["sum_received"]
    return f"{got['bits_per_second'] / 1e9:.3f} ({(spent() - before) / (got['bytes'] / 1e9):.1f})"


def row(name, kernel, seconds):
    emulator, netdev, address, host, kind = ROWS[name]
    other = beside(kind)
    args = (["-accel", "soft"] if emulator == "run" else ["-accel", "tcg", "-cpu", "max"]) + [
        "-m", "256", "-nographic", "-kernel", kernel, "-initrd", "initrd", "-append",
        f"console=ttyS0 quiet nic=virtio_net ip={address}/24", "-netdev", netdev, *NIC]
    guest = Console(RUN if emulator == "run" else QEMU, args)
    guest.expect(PROMPT)
    guest.command("ip route add default via " + host)
    guest.command("ping -c 1 -W 2 " + host)
    out = measure(guest, other, host, seconds)
    back = measure(guest, other, host, seconds, "-R")
    print(f"| {name} | {out} | {back} |", flush=True)
    guest.kill()
    if other:
        other.kill()
        other.wait()
        if os.path.exists(kind + ".sock"):
            os.unlink(kind + ".sock")


def main():
    seconds = int(sys.argv[4]) if len(sys.argv) > 4 else 5
    names = sys.argv[5:] or list(ROWS)
    ip("link set lo up")
    # passt takes its configuration from an interface.
    for line in ("tuntap add outside mode tap", "addr add 10.77.1.2/24 dev outside",
                 "link set outside up", "route add default via 10.77.1.1 dev outside"):
        ip(line)
    server = subprocess.Popen(["iperf3", "-s"], stdout=subprocess.DEVNULL)
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        os.chdir(folder)
        os.chmod(".", 0o777)  # passt becomes somebody else
        kernel = make_initrd("initrd")
        with open("up", "w") as f:
            f.write(f"#!/bin/sh\nip addr add {TAP}/24 dev $1 && ip link set $1 up\n")
        os.chmod("up", 0o755)
        print("| network | guest to host, Gbit/s (CPU s/GB) | host to guest, Gbit/s (CPU s/GB) |")
        print("|---|---|---|")
        try:
            for name in names:
                row(name, kernel, seconds)
        finally:
            server.kill()
            os.chdir("/")


if __name__ == "__main__":
    if sys.argv[1] != "--inside":
        sys.exit(subprocess.run(["unshare", "-Urn", sys.executable, os.path.abspath(__file__),
                                 "--inside", *sys.argv[1:]]).returncode)
    RUN, NET = (os.path.abspath(p) for p in sys.argv[2:4])
    main()
