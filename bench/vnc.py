#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""vnc.py VNC PATTERN_SERVER [COUNT]: what an update costs, beside other servers.

TigerVNC's Xvnc and QEMU show the same pictures of 1920x1080; "vnc bench" asks each
for all of it COUNT times in each encoding. Processor time is the server's, by the
scheduler. Then the time from a change of the picture to the update's first byte.

Xvnc is of the package tigervnc-standalone-server, QEMU of qemu-system-x86.
"""

import base64
import glob
import os
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time

WIDTH, HEIGHT = 1920, 1080
CASES = (
    ("text", "Tight, lossless", "tight"),
    ("text", "Tight, quality 8", "tight-q8"),
    ("text", "ZRLE", "zrle"),
    ("photo", "Tight, quality 8", "tight-q8"),
    ("photo", "Tight, lossless", "tight"),
    ("photo", "ZRLE", "zrle"),
    ("desk", "Tight, quality 8", "tight-q8"),
    ("desk", "ZRLE", "zrle"),
    ("desk", "Hextile", "hextile"),
)


class Client:
    """Raw pixels, for the time at which they come."""

    def __init__(self, port):
        for _ in range(200):
            try:
                self.socket = socket.create_connection(("127.0.0.1", port))
                break
            except OSError:
                time.sleep(0.05)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.file = self.socket.makefile("rb")
        self.file.read(12)
        self.socket.sendall(b"RFB 003.008\n")
        self.file.read(self.file.read(1)[0])
        self.socket.sendall(b"\1")
        self.file.read(4)
        self.socket.sendall(b"\1")
        self.file.read(20)
        self.file.read(struct.unpack(">I", self.file.read(4))[0])
        self.socket.sendall(struct.pack(">BxHi", 2, 1, 0))

    def ask(self, incremental=False, width=WIDTH, height=HEIGHT):
        self.socket.sendall(struct.pack(">BBHHHH", 3, incremental, 0, 0, width, height))

    def update(self):
        """Reads one update; the time of its first byte."""
        kind = self.file.read(1)
        first = time.monotonic()
        assert kind == b"\0", kind
        self.file.read(1)
        for _ in range(struct.unpack(">H", self.file.read(2))[0]):
            _, _, w, h, encoding = struct.unpack(">HHHHi", self.file.read(12))
            assert encoding == 0, encoding
            self.file.read(w * h * 4)
        return first


def cpu(pid):
    """Seconds of all threads."""
    total = 0
    for path in glob.glob(f"/proc/{pid}/task/*/schedstat"):
        with open(path) as f:
            total += int(f.read().split()[0])
    return total / 1e9


class Ours:
    def __init__(self, program):
        self.process = subprocess.Popen([program, str(WIDTH), str(HEIGHT)], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                                        text=True)
        self.port = int(self.process.stdout.readline().split()[1])
        self.pid = self.process.pid

    def do(self, command):
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        if self.process.stdout.readline() != "ok\n":
            raise RuntimeError(command)

    def show(self, path):
        pass  # it has drawn it

    def dot(self, n):
        self.do(f"dot {n}")

    def end(self):
        self.process.kill()
        self.process.wait()


class Xvnc:
    """Shows a picture on its root window, by X11's core protocol."""

    def __init__(self, number=97):
        self.port = 5900 + number
        self.process = subprocess.Popen(
            ["Xvnc", f":{number}", "-geometry", f"{WIDTH}x{HEIGHT}", "-depth", "24",
             "-SecurityTypes", "None", "-ac", "-localhost", "-noreset", "-AlwaysShared",
             "-nolisten", "tcp"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.pid = self.process.pid
        time.sleep(0.5)  # one that cannot have its display ends
        if self.process.poll() is not None:
            raise RuntimeError(f"Xvnc :{number} does not start")
        path = f"/tmp/.X11-unix/X{number}"
        for _ in range(400):
            try:
                self.x = socket.socket(socket.AF_UNIX)
                self.x.connect(path)
                break
            except OSError:
                time.sleep(0.05)
        self.x.sendall(struct.pack("<BxHHHH2x", ord("l"), 11, 0, 0, 0))
        head = self.x.recv(8, socket.MSG_WAITALL)
        body = self.x.recv(struct.unpack("<H", head[6:8])[0] * 4, socket.MSG_WAITALL)
        base = struct.unpack("<I", body[4:8])[0]
        vendor, = struct.unpack("<H", body[16:18])
        formats = body[21]
        self.root = struct.unpack("<I", body[32 + (vendor + 3) // 4 * 4 + 8 * formats:][:4])[0]
        self.gc = base
        self.x.sendall(struct.pack("<BxHIII", 55, 4, self.gc, self.root, 0))

    def show(self, path):
        pixels = read_pixels(path)
        rows = 32
        for y in range(0, HEIGHT, rows):
            part = pixels[y * WIDTH * 4:(y + rows) * WIDTH * 4]
            h = len(part) // (WIDTH * 4)
            self.x.sendall(struct.pack("<BBHIIHHhhBB2x", 72, 2, 6 + len(part) // 4, self.root,
                                       self.gc, WIDTH, h, 0, y, 0, 24) + bytes(part))
        self.round_trip()

    def round_trip(self):
        """GetInputFocus."""
        self.x.sendall(struct.pack("<BxH", 43, 1))
        self.x.recv(32, socket.MSG_WAITALL)

    def dot(self, n):
        self.x.sendall(struct.pack("<BBHIIHHhhBB2xI", 72, 2, 7, self.root, self.gc, 1, 1,
                                   n % WIDTH, n % HEIGHT, 0, 24, n * 77 + 1))

    def end(self):
        self.process.terminate()
        self.process.wait()


class Qemu:
    """A machine that runs nothing: its VGA is driven by the test protocol."""

    BAR = 0xE0000000

    def __init__(self, folder, number=98):
        self.port = 5900 + number
        path = folder + "/qtest"
        self.process = subprocess.Popen(
            ["qemu-system-x86_64", "-nodefaults", "-machine", "pc", "-S", "-accel", "tcg", "-vga",
             "std", "-display", "none", "-vnc",
             f"127.0.0.1:{number},lossy=on,share=force-shared", "-qtest",
             f"unix:{path},server=on,wait=off"], stderr=subprocess.DEVNULL)
        self.pid = self.process.pid
        for _ in range(200):
            try:
                self.q = socket.socket(socket.AF_UNIX)
                self.q.connect(path)
                break
            except OSError:
                time.sleep(0.05)
        self.answers = self.q.makefile("r")
        config = 0x80001000  # slot 2
        self.do(f"outl 0xcf8 {config | 0x10:#x}", f"outl 0xcfc {self.BAR:#x}",
                f"outl 0xcf8 {config | 4:#x}", "outw 0xcfc 0x3", "outb 0x3c2 0x63", "inb 0x3da",
                "outb 0x3c0 0x20")
        for index, value in ((4, 0), (1, WIDTH), (2, HEIGHT), (3, 32), (4, 0x41)):
            self.do(f"outw 0x1ce {index:#x}", f"outw 0x1cf {value:#x}")

    def do(self, *lines):
        for line in lines:
            self.q.sendall(line.encode() + b"\n")
            answer = self.answers.readline()
            assert answer.startswith("OK"), (line[:60], answer)

    def write(self, at, data):
        self.do(f"b64write {self.BAR + at:#x} {len(data):#x} {base64.b64encode(data).decode()}")

    def show(self, path):
        pixels = read_pixels(path)
        step = 1 << 16
        for at in range(0, len(pixels), step):
            self.write(at, pixels[at:at + step])
        time.sleep(0.3)

    def dot(self, n):
        self.write(4 * (n % HEIGHT * WIDTH + n % WIDTH), struct.pack("<I", n * 77 + 1))

    def end(self):
        self.process.kill()
        self.process.wait()


def read_pixels(path):
    """B G R x."""
    with open(path, "rb") as f:
        rgb = f.read()[-3 * WIDTH * HEIGHT:]
    pixels = bytearray(4 * WIDTH * HEIGHT)
    pixels[0::4], pixels[1::4], pixels[2::4] = rgb[2::3], rgb[1::3], rgb[0::3]
    return bytes(pixels)


def latency(server, count=200):
    """From before a command that draws to the update's first byte."""
    client = Client(server.port)
    client.ask()
    client.update()
    out = []
    for i in range(count):
        client.ask(True)
        time.sleep(0.01)
        begin = time.monotonic()
        server.dot(i)
        out.append((client.update() - begin) * 1e3)
    client.socket.close()
    out.sort()
    return statistics.median(out), out[int(count * 0.99)]


def switches(pid):
    return sum(int(line.split()[1]) for path in glob.glob(f"/proc/{pid}/task/*/status")
               for line in open(path) if "ctxt_switches" in line)


def main():
    vnc, pattern = (os.path.abspath(p) for p in sys.argv[1:3])
    count = sys.argv[3] if len(sys.argv) > 3 else "20"
    with tempfile.TemporaryDirectory() as folder:
        servers = {}
        try:
            servers["vnc"] = Ours(pattern)
            servers["Xvnc"] = Xvnc()
            servers["QEMU"] = Qemu(folder)
            names = list(servers)
            print("| picture | encoding | ms CPU: " + " | ".join(names) + " | kB: " +
                  " | ".join(names) + " | CPU, of Xvnc's | kB, of Xvnc's |")
            print("|---" * (2 + 2 * len(names) + 2) + "|")
            last = None
            for picture, name, encoding in CASES:
                if picture != last:
                    servers["vnc"].do(f"draw {picture} 1")
                    servers["vnc"].do(f"save {folder}/p.ppm")
                    for server in servers.values():
                        server.show(f"{folder}/p.ppm")
                    last = picture
                told = subprocess.run(
                    [vnc, "bench", "--count", count, "--encoding", encoding] +
                    [f"localhost::{s.port},pid={s.pid}" for s in servers.values()],
                    check=True, capture_output=True, text=True).stdout
                rows = [line.split() for line in told.splitlines()[1:]]
                assert all(row[2] == f"{WIDTH}x{HEIGHT}" for row in rows), told
                ms, kb = [float(row[3]) for row in rows], [float(row[5]) for row in rows]
                print(f"| {picture} | {name} | " + " | ".join(f"{v:.1f}" for v in ms) + " | " +
                      " | ".join(f"{v:.0f}" for v in kb) +
                      f" | {ms[0] / ms[1]:.2f} | {kb[0] / kb[1]:.2f} |", flush=True)
            print("\nfrom a change to the update's first byte:")
            for name, server in servers.items():
                p50, p99 = latency(server)
                print(f"{name}: {p50:.2f} ms, p99 {p99:.2f} ms")
            ours = servers["vnc"]
            client = Client(ours.port)
            client.ask()
            client.update()
            client.ask(True)
            time.sleep(1)
            before, idle = switches(ours.pid), cpu(ours.pid)
            time.sleep(5)
            print(f"idle with a viewer: {(cpu(ours.pid) - idle) * 1e3:.2f} ms CPU and "
                  f"{switches(ours.pid) - before} switches in 5 s")
        finally:
            for server in servers.values():
                server.end()


if __name__ == "__main__":
    main()
