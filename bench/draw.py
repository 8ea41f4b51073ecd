#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""draw.py [--run RUN]... [--qemu]: how often a guest that draws and reads leaves KVM for user
space.

A boot sector, with SeaBIOS: (text) 2000 characters, each with the cursor moved behind it, as
a console does; (planar) the 480 lines of mode 12h, a map mask and 80 bytes each; (idle
viewer) nothing is drawn; (ide) 100 reads of 4 KiB by the BIOS. Counted are the host kernel's
kvm_userspace_exit events, by reason; the first RUN is the one to compare with.

As root on a host with KVM and tracefs:

    tests/lab/lab-svm bench/draw.py --run OLD/run --run bazel-bin/cmd/run/run --qemu
"""

import argparse
import os
import re
import select
import subprocess
import tempfile
import time

SOURCE = """
        .intel_syntax noprefix
        .code16
        .globl  _start
_start: cli
        xor     ax, ax
        mov     ds, ax
        mov     ss, ax
        mov     sp, 0x7C00
        sti
        mov     ax, 3
        int     0x10
        call    mark

        mov     ax, 0xB800              # text
        mov     es, ax
        xor     di, di
1:      mov     ax, 0x0741
        stosw
        mov     bx, di
        shr     bx, 1
        mov     dx, 0x3D4
        mov     al, 14
        mov     ah, bh
        out     dx, ax
        mov     al, 15
        mov     ah, bl
        out     dx, ax
        cmp     di, 4000
        jb      1b
        call    mark

        mov     ax, 0x12                # the mode's own writes are not counted
        int     0x10
        call    mark
        mov     ax, 0xA000              # planar
        mov     es, ax
        xor     di, di
        mov     bx, 480
1:      mov     dx, 0x3C4
        mov     ax, 0x0502
        out     dx, ax
        mov     dx, 0x3CE
        mov     ax, 0xFF08
        out     dx, ax
        mov     cx, 80
2:      mov     byte ptr es:[di], 0x5A
        inc     di
        loop    2b
        dec     bx
        jnz     1b
        call    mark

        mov     bp, 100                 # ide
1:      mov     ah, 0x42
        mov     dl, 0x80
        mov     si, offset packet
        int     0x13
        dec     bp
        jnz     1b
        call    mark
3:      hlt
        jmp     3b

# Says that it is here, and waits for a byte, looking seldom.
mark:   mov     dx, 0x3F8
        mov     al, '!'
        out     dx, al
1:      mov     ecx, 300000
2:      dec     ecx
        jnz     2b
        mov     dx, 0x3FD
        in      al, dx
        test    al, 1
        jz      1b
        mov     dx, 0x3F8
        in      al, dx
        ret

packet: .byte   16, 0
        .word   8, 0x8000, 0
        .quad   1
        .org    510
        .byte   0x55, 0xAA
"""
TRACE = "/sys/kernel/tracing/"
EVENT = TRACE + "events/kvm/kvm_userspace_exit/"
PHASES = ["mode 3", "text", "mode 12h", "planar", "ide, 100 x 4 KiB"]


def make_disk(path):
    with open(path + ".S", "w") as f:
        f.write(SOURCE)
    subprocess.run(["as", "--32", "-o", path + ".o", path + ".S"], check=True)
    subprocess.run(["ld", "-m", "elf_i386", "-Ttext=0x7C00", "-e", "0x7C00", "--oformat", "binary",
                    "-o", path, path + ".o"], check=True)
    with open(path, "ab") as f:
        f.truncate(16 << 20)


def begin_counting():
    if not os.path.exists(TRACE + "events"):
        subprocess.run(["mount", "-t", "tracefs", "tracefs", TRACE], check=True)
    with open(EVENT + "trigger", "w") as f:
        f.write("hist:keys=reason:size=128")


def exits():
    """{reason: count} so far."""
    with open(EVENT + "hist") as f:
        return {int(r): int(n) for r, n in
                re.findall(r"\{ reason:\s*(\d+) \} hitcount:\s*(\d+)", f.read())}


def measure(command):
    """[(seconds, {reason: count})] of the phases."""
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                               stderr=subprocess.DEVNULL, bufsize=0)
    out = []
    before, begin = exits(), time.monotonic()
    try:
        for _ in PHASES:
            said = b""
            while not said.endswith(b"!"):
                if not select.select([process.stdout], [], [], 120)[0]:
                    raise TimeoutError("the guest does not come on: %r" % said)
                data = os.read(process.stdout.fileno(), 1)
                if not data:
                    raise RuntimeError("it has ended")
                said += data
            now, at = exits(), time.monotonic()
            out.append((at - begin, {r: n - before.get(r, 0) for r, n in now.items()
                                     if n > before.get(r, 0)}))
            before, begin = exits(), time.monotonic()
            process.stdin.write(b"x")
    finally:
        process.kill()
        process.wait()
    return out


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--run", action="append", default=[])
    parser.add_argument("--option", action="append", default=[], help="for run, as -accel=kvm")
    parser.add_argument("--qemu", action="store_true")
    args = parser.parse_args()
    os.environ["ATOLL_RUNTIME_DIR"] = "/tmp/draw"
    with tempfile.TemporaryDirectory() as folder:
        disk = folder + "/disk"
        make_disk(disk)
        common = ["-m", "64", "-drive", "file=%s,format=raw,if=ide" % disk, "-display", "none",
                  "-serial", "stdio"]
        machines = {run: [run, "-accel", "kvm", *args.option, *common] for run in args.run}
        if args.qemu:
            machines["qemu"] = ["/usr/bin/qemu-system-x86_64", "-accel", "kvm", "-monitor", "none",
                                "-net", "none", *common]
        begin_counting()
        for name, command in machines.items():
            for phase, (seconds, counts) in zip(PHASES, measure(command)):
                print("%s: %s: %.2f s, %d exits to user space: %s" % (
                    name, phase, seconds, sum(counts.values()), " ".join(
                        "%s %d" % ({2: "io", 5: "hlt", 6: "mmio", 10: "intr", 0: "0",
                                    26: "eoi"}.get(r, r), n) for r, n in counts.items())),
                      flush=True)


main()
