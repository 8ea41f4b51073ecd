# SPDX-License-Identifier: Apache-2.0
"""What the tests of img share: running img and qemu-img, and making images."""

import os
import random
import subprocess
import sys
import tempfile
import unittest

IMG = os.path.abspath("cmd/img/img")
QEMU_IMG = "/usr/bin/qemu-img"
QEMU_IO = "/usr/bin/qemu-io"
K = 1024
M = 1024 * K
# How many times slower than an optimised build the programs are; see .bazelrc.
SLOWNESS = int(os.environ.get("ATOLL_TEST_SLOWNESS", "1"))


class Result:
    def __init__(self, code, out, err):
        self.code, self.out, self.err = code, out, err

    def __repr__(self):
        return f"exit {self.code}\n--- stdout\n{self.out}--- stderr\n{self.err}"


def run(*argv, timeout=120):
    p = subprocess.run([str(a) for a in argv], stdin=subprocess.DEVNULL, capture_output=True,
                       timeout=timeout * SLOWNESS,
                       env={"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"})
    return Result(p.returncode, p.stdout.decode("utf-8", "replace"),
                  p.stderr.decode("utf-8", "replace"))


def img(*args):
    return run(IMG, *args)


def qemu_img(*args):
    return run(QEMU_IMG, *args)


def mixed_bytes(size, seed, grain=64 * K):
    """Random, text-like, zero and repeated pieces, in any order."""
    r = random.Random(seed)
    out = bytearray()
    while len(out) < size:
        n = min(r.choice([512, 4096, grain, 3 * grain, 10 * grain]), size - len(out))
        kind = r.randrange(5)
        if kind == 0:
            out += r.randbytes(n)
        elif kind == 1:
            out += (b"the quick brown fox %d\n" % r.randrange(100) * (n // 20 + 1))[:n]
        elif kind == 2:
            out += bytes([r.randrange(1, 256)]) * n
        else:
            out += bytes(n)
    return bytes(out)


def write_sparse(path, data):
    with open(path, "wb") as f:
        f.truncate(len(data))
        for at in range(0, len(data), 4096):
            piece = data[at:at + 4096]
            if piece.count(0) != len(piece):
                f.seek(at)
                f.write(piece)


def read_file(path):
    with open(path, "rb") as f:
        return f.read()


class TestCase(unittest.TestCase):
    """Each test in an empty folder of its own."""

    maxDiff = None

    def setUp(self):
        self._folder = tempfile.TemporaryDirectory(dir=os.environ.get("TEST_TMPDIR"))
        self._before = os.getcwd()
        os.chdir(self._folder.name)

    def tearDown(self):
        os.chdir(self._before)
        self._folder.cleanup()

    def ok(self, result):
        self.assertEqual(result.code, 0, result)
        return result

    def contents(self, path, fmt, tool=qemu_img):
        """The guest's bytes, as `tool` reads them."""
        self.ok(tool("convert", "-f", fmt, "-O", "raw", path, "contents.tmp"))
        data = read_file("contents.tmp")
        os.unlink("contents.tmp")
        return data


def main():
    for program in (IMG, QEMU_IMG, QEMU_IO):
        if not os.access(program, os.X_OK):
            sys.exit(f"{program} is missing (qemu-img and qemu-io: apt-get install qemu-utils)")
    unittest.main(verbosity=2)
