#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""vnc.py PATTERN_SERVER [COUNT]: what an update costs, beside TigerVNC's Xvnc.

Both show the same pictures of 1920x1080; the client here asks for all of it
COUNT times in each encoding. Processor time is the server's, by the scheduler.
Then the time from a change of the picture to the update's first byte.

Xvnc is of the package tigervnc-standalone-server.
"""

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
RAW, TIGHT, ZRLE, HEXTILE = 0, 7, 16, 5
CASES = (
    ("text", "Tight, lossless", [TIGHT]),
    ("text", "Tight, quality 8", [TIGHT, -32 + 8]),
    ("text", "ZRLE", [ZRLE]),
    ("photo", "Tight, quality 8", [TIGHT, -32 + 8]),
    ("photo", "Tight, lossless", [TIGHT]),
    ("photo", "ZRLE", [ZRLE]),
    ("desk", "Tight, quality 8", [TIGHT, -32 + 8]),
    ("desk", "ZRLE", [ZRLE]),
    ("desk", "Hextile", [HEXTILE]),
)


class Client:
    """Reads updates without decoding what is in them."""

    def __init__(self, port):
        for _ in range(200):
            try:
                self.socket = socket.create_connection(("127.0.0.1", port))
                break
            except OSError:
                time.sleep(0.05)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""
        self.bytes = 0
        self.read(12)
        self.socket.sendall(b"RFB 003.008\n")
        self.read(self.u(1))
        self.socket.sendall(b"\1")
        self.read(4)
        self.socket.sendall(b"\1")
        self.read(20)
        self.read(self.u(4))
        # 32 bits, little-endian, as both draw.
        self.socket.sendall(struct.pack(">B3xBBBBHHHBBB3x", 0, 32, 24, 0, 1, 255, 255, 255, 16, 8,
                                        0))

    def read(self, n):
        parts, have = [self.buffer], len(self.buffer)
        while have < n:
            part = self.socket.recv(1 << 20)
            if not part:
                raise EOFError
            parts.append(part)
            have += len(part)
        data = b"".join(parts) if len(parts) > 1 else self.buffer
        self.buffer = data[n:]
        self.bytes += n
        return data[:n]

    def u(self, n):
        return int.from_bytes(self.read(n), "big")

    def encodings(self, numbers):
        self.socket.sendall(struct.pack(">BxH", 2, len(numbers)) +
                            b"".join(struct.pack(">i", n) for n in numbers))

    def ask(self, incremental=False, width=WIDTH, height=HEIGHT):
        self.socket.sendall(struct.pack(">BBHHHH", 3, incremental, 0, 0, width, height))

    def update(self):
        """Reads one update; the time of its first byte."""
        while True:
            kind = self.u(1)
            first = time.monotonic()
            if kind == 0:
                break
            if kind == 3:
                self.read(3)
                self.read(self.u(4))
            elif kind != 2:
                raise ValueError(f"message {kind}")
        self.read(1)
        for _ in range(self.u(2)):
            x, y, w, h, encoding = struct.unpack(">HHHHi", self.read(12))
            if encoding == RAW:
                self.read(w * h * 4)
            elif encoding == ZRLE:
                self.read(self.u(4))
            elif encoding == TIGHT:
                self.tight(w, h)
            elif encoding == HEXTILE:
                self.hextile(w, h)
            else:
                raise ValueError(f"encoding {encoding}")
        return first

    def tight(self, w, h):
        control = self.u(1) >> 4
        if control == 8:
            self.read(3)
            return
        size = 0
        if control < 8:
            size = w * h * 3
            if control & 4 and self.u(1) == 1:
                colours = self.u(1) + 1
                self.read(3 * colours)
                size = (w + 7) // 8 * h if colours == 2 else w * h
            if size < 12:
                self.read(size)
                return
        length = 0
        for shift in (0, 7, 14):
            b = self.u(1)
            length |= (b if shift == 14 else b & 127) << shift
            if b < 128:
                break
        self.read(length)

    def hextile(self, w, h):
        for ty in range(0, h, 16):
            for tx in range(0, w, 16):
                what = self.u(1)
                if what & 1:
                    self.read(min(16, w - tx) * min(16, h - ty) * 4)
                    continue
                self.read(4 * bool(what & 2) + 4 * bool(what & 4))
                if what & 8:
                    self.read(self.u(1) * (6 if what & 16 else 2))


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
        path = f"/tmp/.X11-unix/X{number}"
        for _ in range(200):
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
        with open(path, "rb") as f:
            data = f.read()
        rgb = data[-3 * WIDTH * HEIGHT:]
        pixels = bytearray(4 * WIDTH * HEIGHT)
        pixels[0::4], pixels[1::4], pixels[2::4] = rgb[2::3], rgb[1::3], rgb[0::3]
        rows = 32
        for y in range(0, HEIGHT, rows):
            part = pixels[y * WIDTH * 4:(y + rows) * WIDTH * 4]
            h = len(part) // (WIDTH * 4)
            self.x.sendall(struct.pack("<BBHIIHHhhBB2x", 72, 2, 6 + len(part) // 4, self.root,
                                       self.gc, WIDTH, h, 0, y, 0, 24) + bytes(part))
        # A round trip: GetInputFocus.
        self.x.sendall(struct.pack("<BxH", 43, 1))
        self.x.recv(32, socket.MSG_WAITALL)

    def end(self):
        self.process.terminate()
        self.process.wait()


def measure(server, encodings, count):
    client = Client(server.port)
    client.encodings(encodings)
    client.ask()
    client.update()
    before, start, clock = cpu(server.pid), client.bytes, time.monotonic()
    for _ in range(count):
        client.ask()
        client.update()
    wall = time.monotonic() - clock
    used = cpu(server.pid) - before
    size = (client.bytes - start) / count
    client.socket.close()
    return used / count * 1e3, size / 1e3, wall / count * 1e3


def latency(server, count=200):
    """From a command that draws to the update, less what the drawing takes."""
    client = Client(server.port)
    client.encodings([TIGHT])
    client.ask()
    client.update()
    out = []
    for i in range(count):
        client.ask(True)
        time.sleep(0.01)
        begin = time.monotonic()
        server.do(f"dot {i}")
        out.append((client.update() - begin) * 1e3)
    client.socket.close()
    out.sort()
    return statistics.median(out), out[int(count * 0.99)]


def main():
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 20
    ours = Ours(sys.argv[1])
    theirs = Xvnc()
    try:
        with tempfile.TemporaryDirectory() as folder:
            print("| picture | encoding | vnc, ms CPU | Xvnc | ratio | vnc, kB | Xvnc | ratio |")
            print("|---|---|---|---|---|---|---|---|")
            last = None
            for picture, name, encodings in CASES:
                if picture != last:
                    ours.do(f"draw {picture} 1")
                    ours.do(f"save {folder}/p.ppm")
                    theirs.show(f"{folder}/p.ppm")
                    last = picture
                a, b = measure(ours, encodings, count), measure(theirs, encodings, count)
                print(f"| {picture} | {name} | {a[0]:.1f} | {b[0]:.1f} | {a[0] / b[0]:.2f} | "
                      f"{a[1]:.0f} | {b[1]:.0f} | {a[1] / b[1]:.2f} |", flush=True)
        p50, p99 = latency(ours)
        print(f"\nfrom a change to the update's first byte: {p50:.2f} ms, p99 {p99:.2f} ms")
        idle = cpu(ours.pid)
        client = Client(ours.port)
        client.encodings([TIGHT])
        client.ask()
        client.update()
        client.ask(True)
        time.sleep(1)
        switches = sum(int(line.split()[1]) for line in open(f"/proc/{ours.pid}/status")
                       if "ctxt_switches" in line)
        idle = cpu(ours.pid)
        time.sleep(5)
        more = sum(int(line.split()[1]) for line in open(f"/proc/{ours.pid}/status")
                   if "ctxt_switches" in line) - switches
        print(f"idle with a viewer: {(cpu(ours.pid) - idle) * 1e3:.2f} ms CPU and {more} switches "
              "in 5 s")
    finally:
        ours.end()
        theirs.end()


if __name__ == "__main__":
    main()
