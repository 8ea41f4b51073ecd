# SPDX-License-Identifier: Apache-2.0
"""A viewer of the console socket, written from atoll-console(5) alone."""

import mmap
import os
import select
import socket
import struct
import time

HELLO, UPDATE, KEY, POINTER, ASK_TEXT, SYNC, POWER, CLIPBOARD = range(1, 9)
(WELCOME, MODE, DAMAGE, CURSOR, POINTER_MODE, LEDS, NAME, TEXT, SYNCED, COPIED, BYE) = range(65, 76)
SLOWNESS = int(os.environ.get("ATOLL_TEST_SLOWNESS", "1"))


class Ended(Exception):
    pass


class Viewer:
    def __init__(self, path, view_only=False):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.socket.connect(path)
        self.mode = self.text = self.name = None
        self.absolute = self.leds = None
        self.damage = []  # sets of tiles
        self.synced = None
        self.send(HELLO, b"ATCN" + struct.pack("<HHB3x", 1, 1, view_only))
        self.until(lambda: self.leds is not None, 10)

    def close(self):
        self.socket.close()
        self.memory.close()

    def send(self, kind, body=b""):
        self.socket.send(struct.pack("<HHI", kind, 0, len(body)) + body)

    def receive(self, seconds):
        if not select.select([self.socket], [], [], seconds)[0]:
            return
        packet, fds, _, _ = socket.recv_fds(self.socket, 1 << 17, 1)
        if not packet:
            raise Ended("closed")
        kind, zero, size = struct.unpack_from("<HHI", packet)
        body = packet[8:]
        assert zero == 0 and size == len(body), packet[:8]
        if kind == WELCOME:
            magic, version, _, _, size = struct.unpack("<4sHBBQ", body)
            assert (magic, version) == (b"ATCN", 1)
            self.memory = mmap.mmap(fds[0], size, mmap.MAP_SHARED, mmap.PROT_READ)
            os.close(fds[0])
        elif kind == MODE:
            self.mode = struct.unpack("<IIIIQ", body)
        elif kind == DAMAGE:
            columns, first, rows, _ = struct.unpack_from("<HHHH", body)
            pitch = (columns + 7) // 8
            self.damage.append({(x, first + y) for y in range(rows) for x in range(columns)
                                if body[8 + y * pitch + x // 8] >> x % 8 & 1})
        elif kind == POINTER_MODE:
            self.absolute = body[0] == 1
        elif kind == LEDS:
            self.leds = body[0]
        elif kind == NAME:
            self.name = body.decode()
        elif kind == TEXT:
            columns, rows, cursor = struct.unpack_from("<HHI", body)
            cells = body[76:76 + 2 * columns * rows:2]
            self.text = [cells[i:i + columns].decode("cp437").replace("\0", " ").rstrip()
                         for i in range(0, len(cells), columns or 1)]
        elif kind == SYNCED:
            self.synced, = struct.unpack("<I", body)
        elif kind == BYE:
            raise Ended(body.decode())

    def until(self, done, seconds=60):
        deadline = time.monotonic() + seconds * SLOWNESS
        while not done():
            left = deadline - time.monotonic()
            if left <= 0:
                raise AssertionError("not in %d s; the screen:\n%s" %
                                     (seconds * SLOWNESS, "\n".join(self.text or [])))
            self.receive(min(left, 1))

    # The whole of what the screen shows now, as rows of red, green, blue.
    def picture(self):
        _, width, height, stride, offset = self.mode
        out = bytearray()
        for y in range(height):
            row = self.memory[offset + y * stride:offset + y * stride + 4 * width]
            rgb = bytearray(3 * width)
            rgb[0::3], rgb[1::3], rgb[2::3] = row[2::4], row[1::4], row[0::4]
            out += rgb
        return width, height, bytes(out)

    def screen(self):
        self.text = None
        self.send(ASK_TEXT)
        self.until(lambda: self.text is not None)
        return self.text

    # Until the screen's lines are so.
    def wait(self, good, what="other screen", seconds=60):
        deadline = time.monotonic() + seconds * SLOWNESS
        while not good(self.screen()):
            if time.monotonic() > deadline:
                raise AssertionError("no %s in %d s, but:\n%s" %
                                     (what, seconds * SLOWNESS, "\n".join(self.text)))
            self.receive(0.2)

    def wait_for(self, words, seconds=60):
        self.wait(lambda lines: any(words in line for line in lines), repr(words), seconds)

    def key(self, down, code=0, keysym=0):
        self.send(KEY, struct.pack("<BBHI", down, code, 0, keysym))

    # When the guest has got them.
    def sync(self):
        number = (self.synced or 0) + 1
        self.send(SYNC, struct.pack("<I", number))
        self.until(lambda: self.synced == number)

    def type(self, text):
        for c in text:
            keysym = {"\n": 0xFF0D, "\t": 0xFF09, "\b": 0xFF08}.get(c) or ord(c)
            if keysym > 0xFF and keysym < 0xFF00:
                keysym |= 0x01000000
            self.key(True, keysym=keysym)
            self.key(False, keysym=keysym)
        self.sync()

    def point(self, x, y, buttons=0, wheel=0):
        _, width, height, _, _ = self.mode
        self.send(POINTER, struct.pack("<BBbbhhHH", 1, buttons, wheel, 0, x, y, width, height))
