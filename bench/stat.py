#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What stat costs: how soon there is a first sample, how long -1, -f help and
quitting take, its memory, its processor time for a thousand vCPUs, and what
counting costs the guest.

The thousand vCPUs are a process of Python that hands out descriptors as run does.

usage: bench/stat.py [--runs N] [--seconds N] [--before RUN] [--kvm-stat FILE]

--before: a run without counters, to compare an exit's cost with.
--kvm-stat: only what stat and that kvm_stat (tools/kvm/kvm_stat of the kernel's source) do
beside each other, as root on a host with KVM, such as tests/lab/lab-svm enters.
Needs ./quickstart to have run once.
"""

import argparse
import array
import json
import fcntl
import os
import pty
import re
import resource
import select
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import threading
import time

import measure

STAT = measure.TOP + "/bazel-bin/cmd/stat/stat"


def layout(name, fields):
    """A file in the binary stats format: (name, type, words) each."""
    name_size = 40
    descriptors, offset = b"", 0
    for field, kind, words in fields:
        flags = kind | (2 << 4 if field.endswith(("_ns", "_hist")) else 0)
        descriptors += struct.pack("<IhHII", flags, -9 if flags & 0x20 else 0, words, offset, 0)
        descriptors += field.encode().ljust(name_size, b"\0")
        offset += 8 * words
    data = 24 + name_size + len(descriptors)
    head = struct.pack("<6I", 0, name_size, len(fields), 24, 24 + name_size, data)
    return head + name.encode().ljust(name_size, b"\0") + descriptors + b"\1" * offset


class Fake:
    """What run is to stat: a folder with a control socket."""

    def __init__(self, root, vcpus, like):
        self.folder = os.path.join(root, "many")
        os.mkdir(self.folder, 0o700)
        self.lock = open(self.folder + "/pid", "w")
        fcntl.flock(self.lock, fcntl.LOCK_EX)
        self.lock.write("%d\n" % os.getpid())
        self.lock.flush()
        self.fds = []
        for i in range(vcpus):
            fd = os.memfd_create("atoll-stats")
            os.write(fd, layout("atoll-1/vcpu-%d" % i, like))
            self.fds.append(fd)
        self.server = socket.socket(socket.AF_UNIX)
        self.server.bind(self.folder + "/control")
        self.server.listen()
        threading.Thread(target=self.serve, daemon=True).start()
        self.changing = True
        threading.Thread(target=self.change, daemon=True).start()

    def change(self):
        while self.changing:
            for fd in self.fds:
                size = os.fstat(fd).st_size
                os.pwrite(fd, struct.pack("<Q", time.monotonic_ns()), size - 8)
            time.sleep(1)

    def serve(self):
        while True:
            try:
                c, _ = self.server.accept()
            except OSError:  # closed
                return
            threading.Thread(target=self.talk, args=(c,), daemon=True).start()

    def talk(self, c):
        c.sendall(b'{"QMP": {"version": {}, "capabilities": []}}\r\n')
        while data := c.recv(4096):
            request = json.loads(data)
            if request["execute"] != "atoll-stats-fds":
                c.sendall(b'{"return": {}}\r\n')
                continue
            first = request.get("arguments", {}).get("first", 0)
            part = self.fds[first:first + 64]
            reply = {"return": {"total": len(self.fds), "fds": list(range(first, first + len(part)))}}
            c.sendmsg([json.dumps(reply).encode() + b"\r\n"],
                      [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", part))])


def wall(*command):
    began = time.monotonic()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - began


def view(*command):
    """Seconds to the first sample on the screen, and from q to the end; MiB resident."""
    began = time.monotonic()
    pid, fd = pty.fork()
    if pid == 0:
        os.environ["TERM"] = "xterm"
        os.execv(command[0], command)
    fcntl.ioctl(fd, 0x5414, struct.pack("HHHH", 24, 80, 0, 0))  # TIOCSWINSZ
    text = b""
    while not re.search(rb"exits|kvm_exit", text):
        select.select([fd], [], [])
        text += os.read(fd, 65536)
    first = time.monotonic() - began
    time.sleep(1.5)
    while select.select([fd], [], [], 0)[0]:
        os.read(fd, 65536)
    with open("/proc/%d/status" % pid) as f:
        kib = next(int(l.split()[1]) for l in f if l.startswith("VmRSS"))
    began = time.monotonic()
    os.write(fd, b"q")
    try:
        while os.read(fd, 65536):
            pass
    except OSError:
        pass
    os.waitpid(pid, 0)
    quit_time = time.monotonic() - began
    os.close(fd)
    return first, quit_time, kib / 1024


# 4,000,000 times a read of a port, in a boot sector, then the end.
EXITS = 4_000_000
CODE = (bytes.fromhex("fa66b9") + struct.pack("<I", EXITS) + bytes.fromhex("ba6100") +
        bytes.fromhex("ec6649 75fb baf400 b000 ee f4"))


def exits(run, folder):
    """Nanoseconds of processor time for a port access, with the boot taken off."""
    out = []
    for code in (CODE, bytes.fromhex("baf400 b000 ee f4")):
        disk = folder + "/disk"
        with open(disk, "wb") as f:
            f.write(code.ljust(510, b"\0") + b"\x55\xaa")
            f.truncate(1440 * 1024)
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        p = subprocess.run([run, "-accel", "soft", "-m", "32", "-nographic", "-bios",
                            measure.guests() + "/seabios/bios-256k.bin", "-serial", "null",
                            "-monitor", "none", "-fda", disk, "-boot", "a", "-device",
                            "isa-debug-exit,iobase=0xf4"], stdin=subprocess.DEVNULL,
                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        assert p.returncode == 1, p.returncode
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        out.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return (out[0] - out[1]) / EXITS * 1e9


def beside(kvm_stat, runs):
    """A table of stat and kvm_stat, in turns, with a guest of this host's KVM."""
    sys.path.insert(0, measure.TOP + "/tests/stat")
    import kvm_machine
    os.environ["ATOLL_RUNTIME_DIR"] = "/nowhere"
    guest = kvm_machine.Guest()

    done = threading.Event()

    def work():
        while not done.wait(0.02):
            guest.run(20)

    worker = threading.Thread(target=work)
    worker.start()
    theirs = ["/usr/bin/python3", kvm_stat]
    tools = [STAT], theirs, [*theirs, "-d"]  # which by itself takes tracepoints
    views = [[view(*tool) for tool in tools] for _ in range(runs)]
    once = [[wall(*tool, "-1") for tool in tools] for _ in range(runs)]
    names = [[wall(*tool, "-f", "help") for tool in tools] for _ in range(runs)]
    print("| | stat | kvm_stat | kvm_stat -d | goal |\n|---|---|---|---|---|")
    for name, samples, form, goal in (
            ("first sample on the screen, s", [[v[0] for v in vs] for vs in views], "%.2f", "0.03"),
            ("quitting, s", [[v[1] for v in vs] for vs in views], "%.2f", "0.05"),
            ("live view, resident MiB", [[v[2] for v in vs] for vs in views], "%.1f", "12"),
            ("-1, s", once, "%.2f", "1.05"), ("-f help, s", names, "%.2f", "0.03")):
        cells = [form % statistics.median(s[i] for s in samples) for i in range(len(tools))]
        print("| %s | %s |" % (name, " | ".join(cells + [goal])))
    done.set()
    worker.join()
    guest.end()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--seconds", type=int, default=20)
    parser.add_argument("--before")
    parser.add_argument("--kvm-stat", metavar="FILE")
    args = parser.parse_args()
    if args.kvm_stat:
        return beside(args.kvm_stat, args.runs)
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    rows = []
    with tempfile.TemporaryDirectory(dir="/tmp") as root:
        os.environ["ATOLL_RUNTIME_DIR"] = root + "/rt"
        os.mkdir(root + "/rt", 0o700)
        guest = subprocess.Popen(
            [measure.RUN, "-accel", "soft", "-m", "64", "-nographic", "-name", "web", "-bios",
             measure.guests() + "/seabios/bios-256k.bin", "-serial", "none", "-monitor", "none"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        time.sleep(2)
        views = [view(STAT) for _ in range(args.runs)]
        rows.append(("first sample on the screen, ms",
                     "%.1f" % (1e3 * statistics.median(v[0] for v in views)), "30"))
        rows.append(("quitting, ms", "%.1f" % (1e3 * statistics.median(v[1] for v in views)), "50"))
        rows.append(("live view, resident MiB", "%.1f" % max(v[2] for v in views), "12"))
        rows.append(("-1, s", "%.3f" % statistics.median(wall(STAT, "-1") for _ in range(3)), "1.05"))
        rows.append(("-f help, ms", "%.1f" % (1e3 * statistics.median(
            wall(STAT, "-f", "help") for _ in range(args.runs))), "30"))
        guest.terminate()
        guest.wait()

        # Counters as the kernel has them for a vCPU (47), and as run does.
        kernel = [("counter_%d" % i, 0, 1) for i in range(44)] + [
            ("halt_%s_hist" % n, 4, 32) for n in ("success", "fail", "wait")]
        ours = [("guest_ns", 0, 1), ("guest_hist", 4, 40)]
        for i in range(25):
            ours += [("dev_%d_ns" % i, 0, 1), ("dev_%d_hist" % i, 4, 40)]
        ours += [("counter_%d" % i, 0, 1) for i in range(18)]
        for name, like in (("47 values of the kernel", kernel), ("run's, with histograms", ours)):
            fake = Fake(root + "/rt", 1000, like)
            p = subprocess.Popen([STAT, "-l"], stdout=subprocess.DEVNULL)
            time.sleep(3)
            before = measure.processor_seconds(p.pid)
            began = time.monotonic()
            time.sleep(args.seconds)
            used = measure.processor_seconds(p.pid) - before
            share = 100 * used / (time.monotonic() - began)
            p.terminate()
            p.wait()
            rows.append(("1000 vCPUs at 1 Hz, %s, %% of a processor" % name, "%.2f" % share, "1"))
            fake.changing = False
            fake.server.close()
            fake.lock.close()
            for f in fake.fds:
                os.close(f)
            for f in ("pid", "control"):
                os.unlink(fake.folder + "/" + f)
            os.rmdir(fake.folder)
        cost = min(exits(measure.RUN, root) for _ in range(args.runs))
        if args.before:
            rows.append(("a port access of the software CPU, ns", "%.1f" % cost, "%.1f without" % min(
                exits(args.before, root) for _ in range(args.runs))))
        else:
            rows.append(("a port access of the software CPU, ns", "%.1f" % cost, ""))
    print("| | stat | goal |\n|---|---|---|")
    for row in rows:
        print("| %s | %s | %s |" % row)


if __name__ == "__main__":
    main()
