#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Every mode of the VGA BIOS, set and drawn into by a boot sector, and the
picture of it compared with what was drawn.

usage: screen_test.py RUN BIOS SCREEN.BIN TEST...
"""

import math
import os
import struct
import subprocess
import sys
import tempfile
import unittest

RUN, BIOS, PROGRAM = (os.path.abspath(p) for p in sys.argv[1:4])
# Of lab tests also kvm.
ACCEL = os.environ.get("ATOLL_ACCEL", "soft")
# How many times slower than an optimised build the programs are; see .bazelrc.
SLOWNESS = int(os.environ.get("ATOLL_TEST_SLOWNESS", "1"))

LIST, LINEAR, BANKED, CLASSIC = range(4)
EXIT_DONE = 1 << 1 | 1
PLANAR, PACKED, DIRECT = 3, 4, 6


def read_ppm(path):
    with open(path, "rb") as f:
        data = f.read()
    magic, size, top, pixels = data.split(b"\n", 3)
    assert (magic, top) == (b"P6", b"255"), data[:20]
    width, height = map(int, size.split())
    return width, height, pixels


def spread(value, bits):
    return value << (8 - bits) | value >> (2 * bits - 8)


PALETTE = [bytes(spread(v & 63, 6) for v in (i, i >> 1, 63 - i)) for i in range(256)]


def direct_pixel(data, bpp):
    v = int.from_bytes(data, "little")
    if bpp == 15:
        return bytes((spread(v >> 10 & 31, 5), spread(v >> 5 & 31, 5), spread(v & 31, 5)))
    if bpp == 16:
        return bytes((spread(v >> 11, 5), spread(v >> 5 & 63, 6), spread(v & 31, 5)))
    return bytes(((v >> 16) & 255, (v >> 8) & 255, v & 255))


def linear_picture(width, height, bpp):
    """What screen.S draws into linear modes, as RGB."""
    size = (bpp + 7) // 8
    pixels = math.lcm(256, size) // size  # until it repeats
    rows = {}
    for y in range(min(height, 256)):
        row = bytes((7 * i + 11 * y) & 255 for i in range(pixels * size))
        if size == 1:
            rgb = b"".join(PALETTE[b] for b in row)
        else:
            rgb = b"".join(direct_pixel(row[i:i + size], bpp) for i in range(0, len(row), size))
        rows[y] = (rgb * (width // pixels + 1))[:3 * width]
    return b"".join(rows[y & 255] for y in range(height))


def planar_picture(width, height, colors, planes=4):
    """The same of four planes; bytes past 64 KiB are blank."""
    pitch = width // 8
    blocks = []  # of eight pixels, by the byte of plane 0
    for first in range(256):
        pixels = []
        for bit in range(7, -1, -1):
            index = sum(((first + 64 * p & 255) >> bit & 1) << p for p in range(planes))
            pixels.append(colors[index])
        blocks.append(b"".join(pixels))
    black = colors[0] * 8
    return b"".join(blocks[7 * i & 255] if i < 65536 else black for i in range(pitch * height))


class Screen(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.TemporaryDirectory()
        os.chdir(self.dir.name)
        with open(PROGRAM, "rb") as f:
            self.program = f.read()

    def tearDown(self):
        os.chdir("/")
        self.dir.cleanup()

    def run_mode(self, mode, action, *options):
        image = self.program[:4] + struct.pack("<HH", mode, action) + self.program[8:]
        with open("disk.raw", "wb") as f:
            f.write(image)
            f.truncate(1 << 20)
        result = subprocess.run(
            [RUN, "-accel", ACCEL, "-m", "64", "-nographic", "-no-reboot", "-serial", "null",
             "-bios", BIOS, "-device", "isa-debug-exit", "--timeout", str(60 * SLOWNESS),
             "-drive", "file=disk.raw,format=raw", *options],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120 * SLOWNESS)
        self.assertEqual(result.returncode, EXIT_DONE, "mode 0x%x: %s" % (mode, result.stderr))

    def picture(self, mode, action):
        self.run_mode(mode, action, "-screendump", "screen.ppm")
        return read_ppm("screen.ppm")

    def modes(self):
        """(number, width, height, bits, model, pitch) of each VBE mode."""
        if os.path.exists("list"):
            os.unlink("list")
        self.run_mode(0, LIST, "-device", "isa-debugcon,iobase=0x404", "-debugcon", "file:list")
        with open("list", "rb") as f:
            data = f.read()
        found = []
        while True:
            number, = struct.unpack_from("<H", data)
            if number == 0xFFFF:
                return found
            info = data[2:258]
            attributes, = struct.unpack_from("<H", info)
            pitch, width, height = struct.unpack_from("<HHH", info, 16)
            if attributes & 1 and attributes & 0x10:  # supported, graphics
                found.append((number, width, height, info[25], info[27], pitch))
            data = data[258:]

    def same(self, mode, got, want):
        self.assertEqual(got[:2], want[:2], "mode 0x%x" % mode)
        if got[2] != want[2]:
            at = next(i for i, (a, b) in enumerate(zip(got[2], want[2])) if a != b) // 3
            self.fail("mode 0x%x: pixel %d of row %d is %s, not %s" %
                      (mode, at % want[0], at // want[0], got[2][3 * at:3 * at + 3].hex(),
                       want[2][3 * at:3 * at + 3].hex()))

    def test_vbe_linear(self):
        modes = self.modes()
        self.assertGreater(len(modes), 50)
        self.assertIn((0x118, 1024, 768), [m[:3] for m in modes])
        for number, width, height, bits, model, pitch in modes:
            if number < 0x100:
                continue  # modes of function 0
            if model == PLANAR:
                colors = [PALETTE[self.ega_color(i)] for i in range(16)]
                want = planar_picture(width, height, colors)
            else:
                self.assertIn(model, (PACKED, DIRECT))
                self.assertEqual(pitch, width * ((bits + 7) // 8))
                want = linear_picture(width, height, bits)
            self.same(number, self.picture(number, LINEAR), (width, height, want))

    def test_vbe_banked(self):
        for number, width, height, bits in [(0x101, 640, 480, 8), (0x111, 640, 480, 16)]:
            want = linear_picture(width, height, bits)
            self.same(number, self.picture(number, BANKED), (width, height, want))

    @staticmethod
    def ega_color(i):
        """The palette register that the BIOS gives colour i of 16."""
        return (i if i != 6 else 0x14) if i < 8 else 0x38 + i - 8

    def test_planar(self):
        colors = [bytes.fromhex(c) for c in (
            "000000 0000aa 00aa00 00aaaa aa0000 aa00aa aa5500 aaaaaa "
            "555555 5555ff 55ff55 55ffff ff5555 ff55ff ffff55 ffffff").split()]
        for mode, width, height in [(0x0D, 320, 200), (0x0E, 640, 200), (0x10, 640, 350),
                                    (0x12, 640, 480)]:
            want = planar_picture(width, height, colors)
            # As a monitor shows it: no fewer than 350 lines of 640 dots.
            rows = [want[3 * width * y:3 * width * (y + 1)] for y in range(height)]
            if width == 320:
                rows = [b"".join(r[i:i + 3] * 2 for i in range(0, len(r), 3)) for r in rows]
            if height == 200:
                rows = [r for r in rows for _ in range(2)]
            self.same(mode, self.picture(mode, CLASSIC), (640, len(rows), b"".join(rows)))

    def test_text(self):
        self.run_mode(0, LIST, "-screendump", "screen.txt")
        with open("screen.txt") as f:
            lines = f.read().split("\n")
        self.assertRegex(lines[0], r"^SeaBIOS \(version .*\)$")
        self.assertIn("Booting from Hard Disk...", lines)
        self.assertEqual(len(lines), 26)
        self.run_mode(3, CLASSIC, "-screendump", "screen.txt")
        with open("screen.txt") as f:
            lines = f.read().split("\n")
        pictures = " ☺☻♥♦♣♠•◘○◙♂♀♪♫☼►◄↕‼¶§▬↨↑↓→←∟↔▲▼"
        codes = bytes(range(32, 127)).decode("cp437") + "⌂" + bytes(range(128, 255)).decode("cp437")
        font = pictures + codes + " "
        for y in range(25):
            want = "".join(font[80 * y + x & 255] for x in range(80))
            self.assertEqual(lines[y], want.rstrip(" "))
        # A picture has no words to write.
        with self.assertRaisesRegex(AssertionError, "screen.txt: the guest's screen shows no text"):
            self.run_mode(0x13, CLASSIC, "-screendump", "screen.txt")

    def test_mode_13(self):
        width, height, got = self.picture(0x13, CLASSIC)
        rows = []
        for y in range(200):
            row = b"".join(PALETTE[7 * (320 * y + x) & 255] * 2 for x in range(320))
            rows += [row, row]
        self.same(0x13, (width, height, got), (640, 400, b"".join(rows)))


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0]] + sys.argv[4:], verbosity=2)
