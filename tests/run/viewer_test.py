#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Debian's kernel on the VGA's text screen, seen and typed to through the
console socket.

usage: viewer_test.py RUN VNC VMLINUZ GUEST/initrd.gz TEST...

Beside the initrd stands root.raw, both as tools/make-guest makes them.
"""

import json
import os
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import unittest

from keymap import german_keymap
from viewer import SLOWNESS, Ended, Viewer

RUN, VNC, VMLINUZ, INITRD = (os.path.abspath(p) for p in sys.argv[1:5])
ROOT = os.path.join(os.path.dirname(INITRD), "root.raw")


def at_the_prompt(lines):
    return [line for line in lines if line][-1:] == ["guest#"]


class Screen(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.TemporaryDirectory(dir="/tmp")  # a socket's path is short
        os.chdir(self.dir.name)
        self.run = None

    def tearDown(self):
        if self.run is not None and self.run.poll() is None:
            self.run.kill()
            self.run.wait()
        if os.path.exists("log"):
            with open("log") as f:
                print("run: " + f.read())
        os.chdir("/")
        self.dir.cleanup()

    def start(self, *options, vga="console=tty0"):
        self.log = open("log", "w")
        self.addCleanup(self.log.close)
        self.run = subprocess.Popen(
            [RUN, "-accel", "soft", "-m", "256", "-serial", "file:serial", "-name", "screen",
             "-kernel", VMLINUZ, "-initrd", INITRD, "-append", vga + " root=/dev/vda",
             "-drive", "if=virtio,format=raw,snapshot=on,file=" + ROOT,
             "--timeout", str(300 * SLOWNESS), *options],
            stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log,
            env=self.environment())

    def environment(self):
        return {**os.environ, "ATOLL_RUNTIME_DIR": self.dir.name}

    def viewer(self, path="screen/console", **more):
        deadline = time.monotonic() + 30 * SLOWNESS
        while not os.path.exists(path):
            self.assertIsNone(self.run.poll())
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.02)
        viewer = Viewer(path, **more)
        self.addCleanup(viewer.close)
        return viewer

    def ended(self):
        return self.run.wait(60 * SLOWNESS)

    def qmp(self, **command):
        with socket.socket(socket.AF_UNIX) as s:
            s.connect("screen/control")
            f = s.makefile("rw")
            f.readline()
            for c in ({"execute": "qmp_capabilities"}, command):
                f.write(json.dumps(c) + "\n")
                f.flush()
                while "event" in (answer := json.loads(f.readline())):
                    pass
            return answer

    def test_keys_reach_a_shell(self):
        self.start("-sandbox", "on,dir=" + self.dir.name)
        v = self.viewer()
        self.assertEqual(v.name, "screen")
        v.wait_for("guest#")
        v.type("echo 'The Answer: '$((6*7)) | tr A-Z a-z\n")
        v.wait_for("the answer: 42")
        self.assertIn("guest# echo 'The Answer: '$((6*7)) | tr A-Z a-z", v.screen())
        # By place: Ctrl-C, and the lamps that the guest lights.
        v.type("sleep 1000\n")
        for code, down in ((0x1D, True), (0x2E, True), (0x2E, False), (0x1D, False)):
            v.key(down, code=code)
        v.sync()
        v.type("echo $((128+2))\n")
        v.wait_for("130")
        self.assertEqual(v.leds, 0)
        v.key(True, code=0x3A)
        v.key(False, code=0x3A)
        v.until(lambda: v.leds == 4)
        v.key(True, code=0x3A)
        v.key(False, code=0x3A)
        v.until(lambda: v.leds == 0)
        # The picture is the one that a screen dump shows.
        v.type("printf '\\033[?25l'; clear; seq 1 30; echo ok\n")
        v.wait(lambda lines: "ok" in lines and at_the_prompt(lines))
        answer = self.qmp(execute="screendump", arguments={"filename": self.dir.name + "/s.ppm"})
        self.assertEqual(answer, {"return": {}})
        with open("s.ppm", "rb") as f:
            magic, size, depth, pixels = f.read().split(b"\n", 3)
        v.send(2, struct.pack("<I", 1))
        before = len(v.damage)
        v.until(lambda: len(v.damage) > before)
        width, height, picture = v.picture()
        self.assertEqual(size.decode(), "%d %d" % (width, height))
        self.assertTrue(picture == pixels, "the pictures differ")
        # Where something changes is told, and nothing else.
        v.send(2, struct.pack("<I", 0))
        v.type("x")
        v.until(lambda: len(v.damage) > before + 1)
        self.assertLess(len(v.damage[-1]), 10)
        v.type("\b")
        v.type("poweroff\n")
        with self.assertRaisesRegex(Ended, "shut down"):
            v.until(lambda: False)
        self.assertEqual(self.ended(), 0)
        self.assertFalse(os.path.exists("screen"))

    def test_a_german_keyboard(self):
        with open("de.kmap", "wb") as f:
            f.write(german_keymap().ljust(4096, b"\0"))
        self.start("-k", "de", "-drive", "if=virtio,format=raw,file=de.kmap")
        v = self.viewer()
        v.wait_for("guest#")
        # The guest believes in an American keyboard still, but has the keys' places.
        v.type("echo zy\n")
        v.wait_for("echo yz")
        # "busybox loadkmap </dev/vdb", as an American would find it on that keyboard.
        v.type("buszbox loadkmap ;-dev-vdb\n")
        v.wait_for("busybox loadkmap </dev/vdb")
        v.wait(at_the_prompt)
        v.type("cat\n")  # the shell itself knows no letters beyond ASCII
        v.type("zy \u00fc\u00e4\u00f6\u00df \u00dc @{[]}\\|~<>#+*-_\n")
        v.wait_for("zy \u00fc\u00e4\u00f6\u00df \u00dc @{[]}\\|~<>#+*-_")
        for down in (True, False):
            v.key(down, code=0x1D)
            v.key(down, code=0x20)
        # A viewer with an American keyboard, which holds Shift for an @.
        v.key(True, keysym=0xFFE1)
        v.type("A@")
        v.key(False, keysym=0xFFE1)
        v.type("z\n")
        v.wait_for("A@z: not found")
        self.qmp(execute="quit")

    def test_viewers_come_and_go(self):
        self.start()
        first = self.viewer()
        first.wait_for("guest#")
        watcher = self.viewer(view_only=True)
        watcher.type("echo not typed\n")
        dead = self.viewer()
        for _ in range(1000):
            dead.send(2, struct.pack("<I", 1))
        shift = self.viewer()
        shift.key(True, code=0x2A)
        shift.close()  # and the key with it
        first.type("for i in 1 2 3 4 5 6 7 8 9; do seq 1 200; done; echo last $i\n")
        first.wait_for("last 9")
        self.assertFalse([line for line in first.screen() if "not typed" in line])
        with self.assertRaises(Ended):
            watcher.send(99)
            watcher.until(lambda: False)
        # Nobody else has noticed.
        first.type("echo still $((40+2))\n")
        first.wait_for("still 42")
        os.kill(self.run.pid, signal.SIGTERM)
        self.assertEqual(self.ended(), 128 + signal.SIGTERM)

    def vnc(self, *words):
        return subprocess.run([VNC, *words], env=self.environment(), capture_output=True,
                              text=True, timeout=120 * SLOWNESS)

    def test_commands_of_vnc(self):
        self.start("-sandbox", "on,dir=" + self.dir.name)
        self.viewer().close()

        def do(*words):
            result = self.vnc(*words)
            self.assertEqual((result.returncode, result.stderr), (0, ""), words)

        do("wait", "screen", "--text", "^guest# *$")
        do("type", "screen", "-n", "echo \"It is: \"$((6*7)) | tr A-Z a-z")
        do("wait", "screen", "--text", "^it is: 4[0-9]$")
        do("type", "screen", "sleep 1000\n")
        do("key", "screen", "ctrl-c")
        do("type", "screen", "-n", "echo $((128+2))")
        do("wait", "screen", "--text", "^130$")
        do("key", "screen", "shift-a", "b", "spc", "enter")
        do("wait", "screen", "--text", "Ab: not found")
        do("type", "screen", "-n", "printf '\\033[?25l'; clear; seq 1 30")
        do("wait", "screen", "--stable", "1s")
        # What shot shows is what run itself dumps.
        do("shot", "screen", "shot.ppm")
        do("shot", "screen", "shot.txt")
        do("shot", "screen", "shot.png")
        for kind in ("ppm", "png"):
            self.qmp(execute="screendump", arguments={
                "filename": self.dir.name + "/dump." + kind, "format": kind})
        for a, b in (("shot.ppm", "dump.ppm"), ("shot.png", "dump.png")):
            with open(a, "rb") as f, open(b, "rb") as g:
                self.assertTrue(f.read() == g.read(), a)
        with open("shot.txt") as f:
            self.assertIn("\n29\n30\nguest#\n", f.read())
        # What goes wrong is said.
        for status, message, words in (
                (1, "vnc: screen: the screen does not show that in time\n",
                 ("wait", "screen", "--text", "nowhere", "--timeout", "300ms")),
                (1, "vnc: other: no guest of that name runs; there is screen\n",
                 ("shot", "other", "x.png")),
                (2, "vnc: there is no key 'entr': did you mean 'enter'?\n",
                 ("key", "screen", "entr")),
                (2, None, ("wait", "screen", "--text", "(")),
                (2, None, ("wait", "screen"))):
            result = self.vnc(*words)
            self.assertEqual(result.returncode, status, words)
            if message:
                self.assertEqual(result.stderr.splitlines(True)[0], message)
        do("type", "screen", "-n", "poweroff")
        self.assertEqual(self.ended(), 0)

    def test_a_tablet_and_a_keyboard(self):
        self.start("-device", "virtio-tablet-pci", "-device", "virtio-keyboard",
                   "-device", "virtio-rng", "-device", "virtio-balloon",
                   "-device", "virtio-console,dev=file:hvc")
        v = self.viewer()
        v.wait_for("guest#")
        v.type("dd if=/dev/hwrng bs=4 count=1 2>/dev/null | wc -c\n")
        v.wait(lambda lines: "4" in lines, "random bytes")
        v.type("cat /sys/class/misc/hw_random/rng_current\n")
        v.wait_for("virtio_rng")
        v.type("echo spoken >/dev/hvc0; sync\n")
        deadline = time.monotonic() + 30 * SLOWNESS
        while not os.path.exists("hvc") or os.path.getsize("hvc") == 0:
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.1)
        with open("hvc") as f:
            self.assertEqual(f.read().strip(), "spoken")
        # Memory that the guest can do without.
        ram = 256 << 20
        self.assertEqual(self.qmp(execute="query-balloon"), {"return": {"actual": ram}})
        self.qmp(execute="balloon", arguments={"value": ram - (64 << 20)})
        deadline = time.monotonic() + 30 * SLOWNESS
        while self.qmp(execute="query-balloon")["return"]["actual"] != ram - (64 << 20):
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.1)
        self.qmp(execute="balloon", arguments={"value": ram})
        v.type("clear; cd /dev/input; grep -A 4 'atoll' /proc/bus/input/devices | grep ndlers\n")
        v.wait(lambda lines: len([x for x in lines if "Handlers" in x]) == 2, "two devices")
        handlers = [x for x in v.screen() if "Handlers" in x]
        keyboard, = (x for x in handlers if "kbd" in x and "sysrq" in x)
        tablet, = (x for x in handlers if x != keyboard)
        event = next(w for w in tablet.split("=")[1].split() if w.startswith("event"))
        v.type("clear; dd if=%s bs=24 count=10 2>/dev/null | xxd -c 24 -p | cut -c33-\n" % event)
        v.until(lambda: True)
        # That the guest takes places is told when the screen is looked at.
        v.send(2, struct.pack("<I", 1))
        v.until(lambda: v.absolute)
        width, height = v.mode[1:3]
        time.sleep(1)
        for x, y, buttons, wheel in ((0, 0, 0, 0), (width - 1, 100, 1, 0), (500, height - 1, 0, 1)):
            v.point(x, y, buttons, wheel)

        def wanted(*events):
            return [struct.pack("<HHi", *e).hex() for e in events]

        def scaled(value, size):
            return (value * 0x7FFF + (size - 1) // 2) // (size - 1)

        # What is 0 already is no event to Linux.
        expected = wanted((3, 0, 0x7FFF), (3, 1, scaled(100, height)), (1, 0x110, 1), (0, 0, 0),
                          (3, 0, scaled(500, width)), (3, 1, 0x7FFF), (1, 0x110, 0), (2, 8, -1),
                          (0, 0, 0))
        v.point(10, 10)
        v.point(20, 20)
        v.wait(lambda lines: [x for x in lines if len(x) == 16][:9] == expected, str(expected))
        # The keyboard's lamps come from the guest.
        v.key(True, code=0x3A)
        v.key(False, code=0x3A)
        v.until(lambda: v.leds == 4)
        self.qmp(execute="quit")

    def test_a_panic_is_told(self):
        self.start("-device", "pvpanic", "--events", "json,file=events")
        v = self.viewer()
        v.wait_for("guest#")
        with self.assertRaisesRegex(Ended, "panicked"):
            v.type("echo c >/proc/sysrq-trigger\n")
            v.until(lambda: False)
        self.assertEqual(self.ended(), 3)
        with open("events") as f:
            self.assertIn("panic", [json.loads(line)["event"] for line in f])

    def test_vnc_of_run(self):
        self.start("-vnc", "unix:" + self.dir.name + "/rfb,view-only=on")
        first = self.viewer()
        deadline = time.monotonic() + 30 * SLOWNESS
        while not os.path.exists("rfb"):
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.02)
        with socket.socket(socket.AF_UNIX) as s:
            s.connect("rfb")
            self.assertEqual(s.recv(12), b"RFB 003.008\n")
            first.wait_for("guest#")
            first.type("poweroff\n")
            self.assertEqual(self.ended(), 0)
            while s.recv(4096):  # vnc ends with its guest
                pass

    def test_vnc_that_cannot_start(self):
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            self.start("-vnc", "localhost::%d" % taken.getsockname()[1])
            self.assertEqual(self.ended(), 1)
        with open("log") as f:
            log = f.read()
        self.assertIn("-vnc: vnc could not start", log)
        self.assertFalse(os.path.exists("screen"))


if __name__ == "__main__":
    unittest.main(argv=["viewer_test"] + sys.argv[5:], verbosity=2)
