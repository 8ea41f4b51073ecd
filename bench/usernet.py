#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""iperf3 through net user, passt and libslirp (slirp4netns), one after the other.

usage: bench/usernet.py NET BRIDGE [SECONDS]

NET is the program net, BRIDGE the program of //tests/usernet:bridge. Everything runs in
namespaces of its own: the guest is the kernel's stack behind a tap; the server is at
the host's loopback, reached by the gateway's address. Packages: iperf3 passt slirp4netns.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time


def ip(*words):
    subprocess.run(["ip", *words], check=True)


def iperf(guest, address, seconds, *options):
    p = subprocess.run(["nsenter", "-t", str(guest), "-n", "iperf3", "-J", "-c", address,
                        "-t", str(seconds), *options], capture_output=True, text=True)
    if p.returncode:
        return None
    return json.loads(p.stdout)["end"]["sum_received"]


def cpu_seconds(pid):
    with open(f"/proc/{pid}/stat") as f:
        fields = f.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure(peer, seconds, *options):
    """"Gbit/s (CPU seconds of the network's process for a GB)"."""
    before = cpu_seconds(peer.network.pid)
    got = iperf(peer.guest, peer.gateway, seconds, *options)
    if not got or got["bytes"] < 1e6:
        return "failed"
    cost = (cpu_seconds(peer.network.pid) - before) / (got["bytes"] / 1e9)
    return f"{got['bits_per_second'] / 1e9:.2f} ({cost:.2f})"


def wait_for(path):
    for _ in range(200):
        if os.path.exists(path):
            return
        time.sleep(0.05)
    sys.exit(path + " does not come")


class Peer:
    """One network with one guest; a context that ends both."""

    def __init__(self, folder, kind, mtu):
        self.kind, self.mtu = kind, mtu
        self.socket = f"{folder}/{kind}.{mtu}"
        self.processes = []

    def start(self, *command, **how):
        p = subprocess.Popen(command, stderr=subprocess.DEVNULL, **how)
        self.processes.append(p)
        return p

    def __enter__(self):
        guest = self.start("unshare", "-n", "sleep", "1000")
        while True:  # until it has a namespace of its own
            if os.readlink(f"/proc/{guest.pid}/ns/net") != os.readlink("/proc/self/ns/net"):
                break
            time.sleep(0.01)
        self.guest = guest.pid
        inside = ["nsenter", "-t", str(guest.pid), "-n"]
        subprocess.run([*inside, "ip", "link", "set", "lo", "up"], check=True)
        if self.kind == "slirp":
            self.network = self.start("slirp4netns", "-c", "-m", str(self.mtu), str(guest.pid), "tap0",
                                      stdout=subprocess.DEVNULL)
            time.sleep(2)
            self.gateway = "10.0.2.2"
            return self
        if self.kind == "net":
            self.network = self.start(NET, "user", "-m", str(self.mtu), self.socket)
            address, self.gateway = "10.0.2.15/24", "10.0.2.2"
        else:
            self.network = self.start("passt", "-f", "-s", self.socket, "-i", "outside", "-a", "10.9.0.2", "-n",
                       "24", "-g", "10.9.0.1", "-m", str(self.mtu), "-t", "none", "-u", "none",
                       stdout=subprocess.DEVNULL)
            address, self.gateway = "10.9.0.2/24", "10.9.0.1"
        wait_for(self.socket)
        bridge = self.start(*inside, BRIDGE, "tap0", self.socket, stdout=subprocess.PIPE)
        bridge.stdout.readline()
        for words in (["link", "set", "tap0", "mtu", str(self.mtu), "up"],
                      ["addr", "add", address, "dev", "tap0"]):
            subprocess.run([*inside, "ip", *words], check=True)
        time.sleep(1)
        return self

    def __exit__(self, *_):
        for p in self.processes:
            p.kill()
            p.wait()


def main():
    seconds = int(sys.argv[4]) if len(sys.argv) > 4 else 5
    ip("link", "set", "lo", "up")
    # passt takes its configuration from an interface.
    ip("tuntap", "add", "outside", "mode", "tap")
    ip("addr", "add", "10.9.0.2/24", "dev", "outside")
    ip("link", "set", "outside", "up")
    ip("route", "add", "default", "via", "10.9.0.1", "dev", "outside")
    server = subprocess.Popen(["iperf3", "-s"], stdout=subprocess.DEVNULL)
    folder = tempfile.mkdtemp(dir="/tmp")
    os.chmod(folder, 0o777)
    print("| network | MTU | guest to host, Gbit/s (CPU s/GB) | host to guest, Gbit/s (CPU s/GB) |")
    print("|---|---|---|---|")
    try:
        for mtu in (65520, 1500):
            for kind in ("net", "passt", "slirp"):
                with Peer(folder, kind, mtu) as peer:
                    print(f"| {kind} | {mtu} | {measure(peer, seconds)} | "
                          f"{measure(peer, seconds, '-R')} |", flush=True)
    finally:
        server.kill()
        shutil.rmtree(folder)


if __name__ == "__main__":
    if sys.argv[1] != "--inside":
        sys.exit(subprocess.run(["unshare", "-Urn", sys.executable, os.path.abspath(__file__),
                                 "--inside", *sys.argv[1:]]).returncode)
    NET, BRIDGE = (os.path.abspath(p) for p in sys.argv[2:4])
    main()
