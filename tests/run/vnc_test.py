#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A guest through run -vnc: seen pixel by pixel by gvnccapture and by a viewer of
our own, which also types; with one viewer dead and another that reads nothing.

usage: vnc_test.py RUN VNC VMLINUZ GUEST/initrd.gz

Beside the initrd stands root.raw, both as tools/make-guest makes them. Of the
programs, run finds vnc itself.
"""

import os
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import time

from viewer import SLOWNESS, Viewer

RUN, VNC, VMLINUZ, INITRD = (os.path.abspath(p) for p in sys.argv[1:5])
ROOT = os.path.join(os.path.dirname(INITRD), "root.raw")
KEYSYMS = {"\n": 0xFF0D, "\b": 0xFF08}


class Rfb:
    """Version 3.8, no security, Raw."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.settimeout(60 * SLOWNESS)
        self.file = self.socket.makefile("rb")
        assert self.file.read(12) == b"RFB 003.008\n"
        self.socket.sendall(b"RFB 003.008\n\1\1")
        assert self.file.read(2) == b"\1\1"
        assert self.file.read(4) == bytes(4)
        self.width, self.height = struct.unpack(">HH", self.file.read(4))
        self.file.read(16)
        self.name = self.file.read(struct.unpack(">I", self.file.read(4))[0]).decode()
        self.pixels = bytearray(3 * self.width * self.height)
        self.socket.sendall(struct.pack(">BxHii", 2, 2, 0, -223))

    def type(self, text):
        for c in text:
            keysym = KEYSYMS.get(c) or ord(c)
            for down in (1, 0):
                self.socket.sendall(struct.pack(">BBxxI", 4, down, keysym))

    def ask(self, incremental):
        self.socket.sendall(struct.pack(">BBHHHH", 3, incremental, 0, 0, self.width, self.height))

    def update(self):
        head = self.file.read(4)
        assert head[0] == 0, head
        for _ in range(struct.unpack(">H", head[2:])[0]):
            x, y, w, h, encoding = struct.unpack(">HHHHi", self.file.read(12))
            if encoding == -223:
                self.width, self.height = w, h
                self.pixels = bytearray(3 * w * h)
                continue
            assert encoding == 0, encoding
            data = self.file.read(4 * w * h)
            for row in range(h):
                part = data[row * 4 * w:(row + 1) * 4 * w]
                rgb = bytearray(3 * w)
                rgb[0::3], rgb[1::3], rgb[2::3] = part[2::4], part[1::4], part[0::4]
                at = 3 * ((y + row) * self.width + x)
                self.pixels[at:at + 3 * w] = rgb


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def main():
    folder = tempfile.mkdtemp(dir="/tmp")
    os.chdir(folder)
    port = free_port()
    with open("log", "w") as log:
        run = subprocess.Popen(
            [RUN, "-accel", "soft", "-m", "256", "-serial", "file:serial", "-name", "screen",
             "-kernel", VMLINUZ, "-initrd", INITRD, "-append", "console=tty0 root=/dev/vda",
             "-drive", "if=virtio,format=raw,snapshot=on,file=" + ROOT,
             "--timeout", str(300 * SLOWNESS), "-vnc", f"localhost::{port},share=force-shared"],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            env={**os.environ, "ATOLL_RUNTIME_DIR": folder})
    try:
        deadline = time.monotonic() + 30 * SLOWNESS
        while not os.path.exists("screen/console"):
            assert run.poll() is None and time.monotonic() < deadline
            time.sleep(0.02)
        inside = Viewer("screen/console")
        inside.wait_for("guest#")
        # run is there before vnc greets, and vnc before the guest starts.
        dead = Rfb(port)
        dead.ask(0)
        dead.file.close()
        dead.socket.close()
        stuck = Rfb(port)
        viewer = Rfb(port)
        assert viewer.name == "screen", viewer.name
        viewer.type("echo $((6*7))x | tr x y\n")
        inside.wait_for("42y")
        for _ in range(100):
            stuck.ask(0)
        # No cursor that blinks, and nothing that changes.
        viewer.type("printf '\\033[?25l'; clear; seq 1 20; echo done\n")
        inside.wait(lambda lines: "done" in lines and [l for l in lines if l][-1] == "guest#")
        time.sleep(0.5)
        inside.send(2, struct.pack("<I", 1))
        before = len(inside.damage)
        inside.until(lambda: len(inside.damage) > before)
        width, height, picture = inside.picture()
        viewer.ask(0)
        viewer.update()
        if (viewer.width, viewer.height) != (width, height):
            viewer.ask(0)
            viewer.update()
        assert (viewer.width, viewer.height) == (width, height)
        assert viewer.pixels == picture, "the pictures differ"
        # What somebody else's viewer sees now, and what changes for ours.
        subprocess.run(["gvnccapture", f"localhost:{port - 5900}", "seen.png"], check=True,
                       timeout=60 * SLOWNESS)
        assert os.path.getsize("seen.png") > 500
        viewer.ask(1)
        viewer.type("x")
        viewer.update()
        assert viewer.pixels != picture, "nothing was typed"
        viewer.type("\bpoweroff\n")
        assert run.wait(60 * SLOWNESS) == 0
        # vnc ends with its guest.
        for _ in range(100):
            try:
                socket.create_connection(("127.0.0.1", port)).close()
            except OSError:
                break
            time.sleep(0.1 * SLOWNESS)
        else:
            raise AssertionError("vnc outlives its guest")
    finally:
        if run.poll() is None:
            run.kill()
            run.wait()
        with open("log") as f:
            print(f.read())
        os.chdir("/")
        shutil.rmtree(folder, ignore_errors=True)


main()
