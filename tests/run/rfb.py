# SPDX-License-Identifier: Apache-2.0
"""A VNC viewer of the simplest kind: version 3.8, no security, raw pixels of 32
bits (RFC 6143)."""

import os
import socket
import struct
import time
import zlib

SLOWNESS = int(os.environ.get("ATOLL_TEST_SLOWNESS", "1"))
KEYSYMS = {"\n": 0xFF0D, "\b": 0xFF08}
RETURN, DOWN = 0xFF0D, 0xFF54


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def write_png(name, width, height, pixels):
    """Among the test's outputs."""
    def chunk(kind, data):
        return (struct.pack(">I", len(data)) + kind + data +
                struct.pack(">I", zlib.crc32(kind + data)))

    rows = b"".join(b"\0" + pixels[at:at + 3 * width] for at in range(0, len(pixels), 3 * width))
    with open(os.path.join(os.environ.get("TEST_UNDECLARED_OUTPUTS_DIR", "."), name), "wb") as f:
        f.write(b"\x89PNG\r\n\x1a\n" +
                chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)) +
                chunk(b"IDAT", zlib.compress(rows, 1)) + chunk(b"IEND", b""))


class Rfb:
    def __init__(self, port):
        deadline = time.monotonic() + 60 * SLOWNESS
        while True:
            try:
                self.socket = socket.create_connection(("127.0.0.1", port), 60 * SLOWNESS)
                break
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)
        self.file = self.socket.makefile("rb")
        assert self.read(12) == b"RFB 003.008\n"
        self.socket.sendall(b"RFB 003.008\n\1\1")
        assert self.read(2) == b"\1\1"
        assert self.read(4) == bytes(4)
        self.width, self.height = struct.unpack(">HH", self.read(4))
        self.read(16)
        self.name = self.read(struct.unpack(">I", self.read(4))[0]).decode()
        self.pixels = bytearray(3 * self.width * self.height)
        # Little-endian, red in bits 16 to 23; and the size when it changes.
        self.socket.sendall(struct.pack(">B3xBBBBHHHBBB3x", 0, 32, 24, 0, 1, 255, 255, 255, 16, 8,
                                        0))
        self.socket.sendall(struct.pack(">BxHii", 2, 2, 0, -223))

    def read(self, size):
        data = self.file.read(size)
        assert len(data) == size, "the server is gone"
        return data

    def close(self):
        self.file.close()
        self.socket.close()

    def key(self, keysym):
        for down in (1, 0):
            self.socket.sendall(struct.pack(">BBxxI", 4, down, keysym))

    def type(self, text):
        for c in text:
            self.key(KEYSYMS.get(c) or ord(c))

    def point(self, x, y, buttons=0):
        self.socket.sendall(struct.pack(">BBHH", 5, buttons, x, y))

    def ask(self, incremental):
        self.socket.sendall(struct.pack(">BBHHHH", 3, incremental, 0, 0, self.width, self.height))

    def update(self):
        """Takes one update; how many pixels it had."""
        while (kind := self.read(1)[0]) != 0:
            assert kind in (2, 3), kind
            if kind == 3:
                self.read(3)
                self.read(struct.unpack(">I", self.read(4))[0])
        count = 0
        for _ in range(struct.unpack(">xH", self.read(3))[0]):
            x, y, w, h, encoding = struct.unpack(">HHHHi", self.read(12))
            if encoding == -223:
                self.width, self.height = w, h
                self.pixels = bytearray(3 * w * h)
                continue
            assert encoding == 0, encoding
            data = self.read(4 * w * h)
            count += w * h
            for row in range(h):
                part = data[row * 4 * w:(row + 1) * 4 * w]
                rgb = bytearray(3 * w)
                rgb[0::3], rgb[1::3], rgb[2::3] = part[2::4], part[1::4], part[0::4]
                at = 3 * ((y + row) * self.width + x)
                self.pixels[at:at + 3 * w] = rgb
        return count

    def picture(self):
        """All of it as it is now: (width, height, RGB)."""
        while True:
            self.ask(0)
            if self.update() == self.width * self.height:
                return self.width, self.height, bytes(self.pixels)
