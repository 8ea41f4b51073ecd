#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A guest that draws past its VGA, much and little, at once and after a pause, while
a viewer looks: the viewer's picture, which is made where the guest is known to have
written, is in the end what a dump of the whole memory shows. And when nothing is
drawn nobody works.

usage: drawing_test.py RUN BIOS drawing.bin
"""

import json
import os
import random
import socket
import struct
import subprocess
import sys
import tempfile
import time

from viewer import SLOWNESS, UPDATE, Viewer

RUN, BIOS, DISK = (os.path.abspath(p) for p in sys.argv[1:4])


class Qmp:
    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(path)
        self.file = self.socket.makefile("rw")
        self.file.readline()
        self.do("qmp_capabilities")

    def do(self, command, **arguments):
        self.file.write(json.dumps({"execute": command, "arguments": arguments}) + "\n")
        self.file.flush()
        while "event" in (answer := json.loads(self.file.readline())):
            pass
        assert "return" in answer, answer

    def dump(self):
        path = os.path.abspath("dump.ppm")
        self.do("screendump", filename=path)
        with open(path, "rb") as f:
            _, size, _, pixels = f.read().split(b"\n", 3)
        return (*map(int, size.split()), pixels)


def look(viewer, seconds):
    """Takes and asks for what is new for so long; how often there was some."""
    until = time.monotonic() + seconds
    told = 0
    while (left := until - time.monotonic()) > 0:
        before = len(viewer.damage)
        viewer.receive(left)
        if len(viewer.damage) > before:
            told += 1
            viewer.send(UPDATE, struct.pack("<I", 0))
    return told


def draw(run, viewer, count):
    run.stdin.write(bytes((count,)))
    os.set_blocking(run.stdout.fileno(), False)
    deadline = time.monotonic() + 60 * SLOWNESS
    while (said := run.stdout.read(1)) is None:
        assert time.monotonic() < deadline, "the guest does not answer"
        look(viewer, 0.001)
    assert said == bytes((count,)), said


def check(run):
    # Behind the firmware's words, which go there too.
    while (said := run.stdout.read(1)) != b"\6":
        assert said, "the guest does not start"
    viewer, qmp = Viewer("draws/console"), Qmp("draws/control")
    viewer.send(UPDATE, struct.pack("<I", 1))
    look(viewer, 0.5)
    rng = random.Random(5)
    for i in range(60):
        for _ in range(rng.choice((1, 1, 3))):
            draw(run, viewer, rng.choice((0, 1, 3, 255)))
            if rng.random() < 0.5:
                look(viewer, rng.choice((0.001, 0.004, 0.15)))
        expected = qmp.dump()
        deadline = time.monotonic() + 20 * SLOWNESS
        while viewer.picture() != expected:
            assert time.monotonic() < deadline, f"burst {i} is not seen whole"
            look(viewer, 0.01)
    # Nothing is drawn: nothing is told.
    look(viewer, 0.5)
    assert look(viewer, 2) == 0, "told of nothing"
    # The last change is told although nobody has looked for long.
    before = len(viewer.damage)
    draw(run, viewer, 0)
    look(viewer, 2 * SLOWNESS)
    assert len(viewer.damage) > before, "a change is not told"
    viewer.close()


def main():
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        os.chdir(folder)
        run = subprocess.Popen(
            [RUN, "-accel", "soft", "-m", "64", "-bios", BIOS, "-net", "none", "-name", "draws",
             "-serial", "stdio", "-sandbox", "on,dir=" + folder, "-drive",
             f"file={DISK},format=raw,if=ide,snapshot=on",
             "--timeout", str(300 * SLOWNESS)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0,
            env={**os.environ, "ATOLL_RUNTIME_DIR": folder})
        try:
            check(run)
        finally:
            run.kill()
            run.wait()
            os.chdir("/")


main()
