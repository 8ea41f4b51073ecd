#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""run and QEMU on KVM, side by side in one host: from exec to init, exits of a boot, of a
4k read and of a packet there and back, and memory. The same kernel, initrd and disk.

usage: bench/kvm.py [--runs N] [--smp N] [--why] [--vhost]

As root on a host with KVM, such as tests/lab/lab-svm enters:

    tests/lab/lab-svm --timeout 3000 bench/kvm.py

With --vhost the kernel serves the network card (vhost_net). With --why also what the kernel counts in a packet there and back. Times are that host's. Exits are what its kernel counts of each VM, in debugfs. Needs
//cmd/run and //cmd/img built, tools/guests to have run, and qemu-system-x86.
"""

import argparse
import glob
import os
import re
import shutil
import socket
import struct
import subprocess
import tempfile
import time

import measure

RAM_MIB = 256
READS, PINGS = 1000, 1000
HOST, GUEST = "10.77.0.1", "10.77.0.2"
DRIVERS = ["virtio_pci", "virtio_blk", "virtio_net"]
# Without what only one of the two has.
MACHINES = {
    "run": [measure.RUN, "-accel", "kvm"],
    "qemu": ["/usr/bin/qemu-system-x86_64", "-accel", "kvm", "-cpu", "host", "-monitor", "none"],
}
INIT = """/bin/busybox mount -t proc proc /proc
read -r clock rest </proc/uptime
/bin/busybox echo "init-begins $clock s"
/bin/busybox mount -t devtmpfs dev /dev
for m in $(/bin/busybox cat /order); do /bin/busybox insmod /$m; done
/bin/busybox ip addr add %s/24 dev eth0
/bin/busybox ip link set eth0 up
/bin/busybox echo guest-is-ready
while read -r line; do eval "$line"; /bin/busybox echo done-with-it; done
""" % GUEST


def make_initrd(path):
    """measure.initrd()'s and drivers behind it; returns the kernel."""
    guests = measure.guests()
    measure.initrd(path, INIT)
    modules = os.path.realpath(guests + "/modules")
    version = os.path.basename(modules)
    with tempfile.TemporaryDirectory() as tree:
        shutil.copytree(modules, tree + "/lib/modules/" + version)
        subprocess.run(["/sbin/depmod", "-b", tree, version], check=True)
        names = []
        with tempfile.TemporaryDirectory() as more:
            for driver in DRIVERS:
                text = subprocess.run(
                    ["/sbin/modprobe", "-C", "/dev/null", "-d", tree, "-S", version,
                     "--show-depends", driver], check=True, text=True, stdout=subprocess.PIPE).stdout
                for word, file in (line.split()[:2] for line in text.splitlines()):
                    name = os.path.basename(file)
                    if word == "insmod" and name not in names:
                        names.append(name)
                        shutil.copy(file, more)
            with open(more + "/order", "w") as f:
                f.write("\n".join(names))
            with open(path, "ab") as f:
                subprocess.run("find . | cpio -o -H newc --quiet", shell=True, cwd=more, stdout=f,
                               check=True)
    return guests + "/vmlinuz"


class Guest(measure.Console):
    def folder(self):
        folder, = glob.glob("/sys/kernel/debug/kvm/%d-*" % self.process.pid)
        return folder

    def exits(self):
        with open(self.folder() + "/exits") as f:
            return int(f.read())

    def counts(self):
        out = {}
        for entry in os.scandir(self.folder()):
            if entry.is_file():
                with open(entry) as f:
                    text = f.read().strip()
                if text.isdigit():
                    out[entry.name] = int(text)
        return out

    def do(self, line):
        """Exits while the guest does that."""
        before = self.exits()
        self.text = b""
        self.process.stdin.write(line.encode() + b"\n")
        self.process.stdin.flush()
        self.wait_for(b"done-with-it")
        return self.exits() - before

    def read(self, count):
        return self.do("/bin/busybox dd if=/dev/vda of=/dev/null bs=4k count=%d iflag=direct "
                       "2>/dev/null" % count)


def checksum(data):
    total = sum(struct.unpack("!%dH" % (len(data) // 2), data))
    total = (total & 0xFFFF) + (total >> 16)
    return ~(total + (total >> 16)) & 0xFFFF


def ping(count):
    """That many packets to the guest and back, each when the last has come."""
    port = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    port.settimeout(5)
    port.bind((HOST, 0))
    body = b"x" * 56
    for i in range(count):
        head = struct.pack("!BBHHH", 8, 0, 0, os.getpid() & 0xFFFF, i)
        head = struct.pack("!BBHHH", 8, 0, checksum(head + body), os.getpid() & 0xFFFF, i)
        port.sendto(head + body, (GUEST, 0))
        while True:
            answer = port.recv(2048)[20:]
            if answer[0] == 0 and answer[4:8] == head[4:8]:
                break


def sample(command, why=False):
    guest = Guest(command)
    out = {"exec to init, s": guest.wait_for(b"init-begins")[0]}
    guest.wait_for(b"guest-is-ready")
    if any("vhost=on" in word for word in command):
        # The kernel's thread is called by the one that asked for it.
        threads = "|".join("vhost-" + t for t in os.listdir("/proc/%d/task" % guest.process.pid))
        subprocess.run(["pgrep", "-x", threads], check=True, stdout=subprocess.DEVNULL)
    clock = float(re.search(rb"init-begins (\S+) s", guest.text)[1])
    out["of that before the kernel's clock, s"] = out["exec to init, s"] - clock
    out["exits, exec to drivers loaded"] = guest.exits()
    guest.read(100)
    begin = time.monotonic()
    few = guest.read(100)
    begin, few_s = time.monotonic(), time.monotonic() - begin
    many = guest.read(100 + READS)
    out["a 4k read, ms"] = (time.monotonic() - begin - few_s) * 1000 / READS
    out["exits of a read"] = (many - few) / READS
    ping(20)
    counts, before, begin = guest.counts(), guest.exits(), time.monotonic()
    ping(PINGS)
    packet_s = time.monotonic() - begin
    out["a packet there and back, ms"] = packet_s * 1000 / PINGS
    out["exits of a packet there and back"] = (guest.exits() - before) / PINGS
    if why:
        now = guest.counts()
        print("# " + ", ".join("%s %.2f" % (n, (now[n] - counts[n]) / PINGS) for n in sorted(now)
                               if now[n] - counts[n] >= PINGS / 50), flush=True)
    total, ram = measure.memory(guest.process.pid, RAM_MIB)
    out["resident, MiB"], out["resident beside guest RAM, MiB"] = total, total - ram
    guest.kill()
    return out


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--smp", type=int, default=1)
    parser.add_argument("--why", action="store_true")
    parser.add_argument("--vhost", action="store_true")
    args = parser.parse_args()
    work = tempfile.TemporaryDirectory()
    os.chdir(work.name)
    cache = os.environ.get("ATOLL_CACHE") or os.path.expanduser("~/.cache/atoll")
    os.environ["ATOLL_GUESTS"] = cache + "/guests"
    os.environ["ATOLL_RUNTIME_DIR"] = work.name + "/rt"
    os.environ["ATOLL_CACHE"] = work.name + "/cache"
    # None of it over a network file system, as a lab's host has the rest.
    kernel = shutil.copy(make_initrd("initrd"), "vmlinuz")
    with open("disk.raw", "wb") as f:
        f.write(os.urandom(16 << 20))
    subprocess.run([measure.IMG, "convert", "-f", "raw", "-O", "qcow2", "disk.raw", "disk.qcow2"],
                   check=True)
    subprocess.run("modprobe -a tun vhost_net; ip tuntap add vm0 mode tap vnet_hdr && ip addr add %s/24 dev vm0 "
                   "&& ip link set vm0 up" % HOST, shell=True, check=True)
    vhost = ",vhost=on" if args.vhost else ""
    common = ["-m", str(RAM_MIB), "-smp", str(args.smp), "-vga", "none", "-display", "none",
              "-serial", "stdio", "-kernel", kernel, "-initrd", "initrd", "-append",
              "console=ttyS0 quiet", "-drive", "if=virtio,file=disk.qcow2,format=qcow2",
              "-netdev", "tap,id=n,ifname=vm0,script=no,downscript=no" + vhost,
              "-device", "virtio-net-pci,netdev=n,mac=52:54:00:12:34:56"]
    for command in MACHINES.values():  # caches of files and kernels
        sample(command + common)
    samples = {name: [] for name in MACHINES}
    for _ in range(args.runs):
        for name, command in MACHINES.items():
            samples[name].append(sample(command + common, args.why))
            print("# %s: %s" % (name, {k: round(v, 2) for k, v in samples[name][-1].items()}),
                  flush=True)
    names = list(samples["run"][0])
    run, qemu = (measure.medians([[s[n] for n in names] for s in samples[m]])
                 for m in ("run", "qemu"))
    measure.table(["", "run", "QEMU", "ratio"],
                  [[n, "%.2f" % r if r < 10 else "%.0f" % r, "%.2f" % q if q < 10 else "%.0f" % q, "%.2f" % (r / q)]
                   for n, r, q in zip(names, run, qemu)])


main()
