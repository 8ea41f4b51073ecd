#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""vnc_guest.py RUN [COUNT [soft|kvm]]: from a guest's write to its screen to a viewer.

A guest of 1920x1080 in 32 bits waits for bytes on its serial port, and turns a pixel
over for each, past the chip, in the linear memory. Measured is the time from the byte
to the update's first byte: of our run and vnc and of QEMU, one after the other, each on its
software CPU or, with kvm (as in tests/lab/lab-svm), on KVM;
so it holds the serial port's time too, which "from the guest" shows alone: the guest
says the byte back before it draws. Then what an idle picture costs with a viewer.

QEMU is of the package qemu-system-x86.
"""

import glob
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time

from vnc import HEIGHT, WIDTH, Client, cpu, switches

SOURCE = """
        .include "linear_mode.inc"
        LINEAR_MODE {width}, {height}
        mov     dx, 0x3F8
        mov     al, '!'
        out     dx, al
next:   pause
        mov     dx, 0x3FD
        in      al, dx
        test    al, 1
        jz      next
        mov     dx, 0x3F8
        in      al, dx
        out     dx, al
        movzx   ecx, al
        imul    ecx, ecx, 4 * ({width} + 1)
        not     dword ptr [ebx + ecx]
        jmp     next
        .org    510
        .byte   0x55, 0xAA
"""


def make_disk(path):
    with open(path + ".S", "w") as f:
        f.write(SOURCE.format(width=WIDTH, height=HEIGHT))
    includes = os.path.join(os.path.dirname(__file__), "../tests/run")
    subprocess.run(["as", "--32", "-I", includes, "-o", path + ".o", path + ".S"], check=True)
    subprocess.run(["ld", "-m", "elf_i386", "-Ttext=0x7C00", "-e", "0x7C00", "--oformat", "binary",
                    "-o", path, path + ".o"], check=True)
    with open(path, "ab") as f:
        f.truncate(1 << 20)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Guest:
    def __init__(self, command, port):
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.DEVNULL, bufsize=0)
        self.port = port
        while (said := self.process.stdout.read(1)) != b"!":
            assert said, "it has ended"

    def children(self):
        pids = [self.process.pid]
        for path in glob.glob(f"/proc/{self.process.pid}/task/*/children"):
            with open(path) as f:
                pids += map(int, f.read().split())
        return pids

    def end(self):
        self.process.kill()
        self.process.wait()


def threads(pid):
    """Milliseconds and switches of each."""
    out = {}
    for task in glob.glob(f"/proc/{pid}/task/*"):
        with open(task + "/schedstat") as f:
            ms = int(f.read().split()[0]) / 1e6
        with open(task + "/status") as f:
            out[os.path.basename(task)] = ms, sum(int(line.split()[1]) for line in f
                                                  if "ctxt_switches" in line)
    return out


def quantiles(values):
    values = sorted(values)
    return (f"p50 {statistics.median(values) * 1e3:.2f} ms, "
            f"p99 {values[len(values) * 99 // 100] * 1e3:.2f} ms")


def measure(name, guest, count):
    client = Client(guest.port)
    client.ask()
    client.update()
    whole, drawn = [], []
    for i in range(count):
        client.ask(True)
        # Sometimes it has been quiet for long.
        time.sleep(0.3 if i % 10 == 0 else 0.02)
        begin = time.monotonic()
        guest.process.stdin.write(bytes((i % 256,)))
        guest.process.stdout.read(1)
        said = time.monotonic()
        first = client.update()
        whole.append(first - begin)
        drawn.append(first - said)
    print(f"{name}: {quantiles(whole)}; from the guest: {quantiles(drawn)}", flush=True)
    client.ask(True)
    time.sleep(1)
    pids = guest.children()
    for pid in pids[1:]:
        before, idle = switches(pid), cpu(pid)
        time.sleep(5)
        print(f"{name}'s child, idle with a viewer: {(cpu(pid) - idle) * 1e3:.2f} ms CPU and "
              f"{switches(pid) - before} switches in 5 s")
    # The vCPU waits by polling; the other threads are a timer's, which the BIOS left on
    # 18 times a second, and what a viewer costs.
    before = threads(pids[0])
    time.sleep(5)
    for thread, (ms, wakes) in sorted(threads(pids[0]).items()):
        ms, wakes = ms - before[thread][0], wakes - before[thread][1]
        if wakes > 0 and ms < 1000:
            print(f"{name}'s thread {thread}, idle with a viewer: {ms:.2f} ms CPU and {wakes} "
                  "switches in 5 s", flush=True)
    client.socket.close()


def main():
    run = os.path.abspath(sys.argv[1])
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 200
    accel = sys.argv[3] if len(sys.argv) > 3 else "soft"
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        disk = folder + "/disk"
        make_disk(disk)
        os.environ["ATOLL_RUNTIME_DIR"] = folder
        common = ["-m", "64", "-M", "pc", "-serial", "stdio",
                  "-drive", f"file={disk},format=raw,if=ide,snapshot=on"]
        for name, command in (
                ("run and vnc", [run, "-accel", accel, "-net", "none", "-vnc"]),
                ("QEMU", ["qemu-system-x86_64", "-accel", "tcg" if accel == "soft" else accel,
                          "-vga", "std", "-net", "none", "-display", "none", "-monitor",
                          "none", "-vnc"])):
            port = free_port()
            where = f"localhost::{port}" if name != "QEMU" else f"localhost:{port - 5900}"
            guest = Guest([*command, where, *common], port)
            try:
                measure(name, guest, count)
            finally:
                guest.end()


if __name__ == "__main__":
    main()
