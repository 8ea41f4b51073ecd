#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Linux's driver of VMware's mouse follows a viewer's pointer.

usage: vmmouse_test.py RUN BUSYBOX MEDIA/vmlinuz

Beside the last stand psmouse.ko and evdev.ko of the same kernel.
"""

import os
import re
import struct
import sys
import tempfile
import time
import unittest

import linux
from viewer import Viewer

RUN, BUSYBOX, KERNEL = (os.path.abspath(p) for p in sys.argv[1:4])
MODULES = [os.path.join(os.path.dirname(KERNEL), m + ".ko") for m in ("psmouse", "evdev")]


class VmMouse(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.TemporaryDirectory(dir="/tmp")  # a socket's path is short
        os.chdir(self.dir.name)
        os.environ["ATOLL_RUNTIME_DIR"] = self.dir.name

    def tearDown(self):
        os.chdir("/")
        self.dir.cleanup()

    def mouse(self, c):
        """The event device of a mouse that is there, as soon as the driver is."""
        for _ in range(100):
            devices = c.command("cat /proc/bus/input/devices").split("\n\n")
            for d in devices:
                # Of the driver's two the one with places (ABS).
                if "VMMouse" in d and "B: ABS=" in d:
                    return next(w for w in d.split() if w.startswith("event"))
            time.sleep(0.2)
        self.fail("no mouse:\n" + c.text[-3000:])

    def test_linux_follows_the_pointer(self):
        c = linux.boot(RUN, KERNEL, BUSYBOX, MODULES, ["-name", "mouse"])
        event = self.mouse(c)
        c.type("busybox dd if=/dev/input/%s bs=24 count=12 2>/dev/null | "
               "busybox xxd -c 24 -p | busybox cut -c33-" % event)
        c.expect("\n")
        viewer = Viewer("mouse/console")
        time.sleep(1)
        # That the guest takes places is told when the screen is looked at.
        viewer.send(2, struct.pack("<I", 1))
        viewer.until(lambda: viewer.absolute)
        width, height = viewer.mode[1:3]

        def scaled(value, size):
            return (value * 0xFFFF + (size - 1) // 2) // (size - 1)

        expected = []
        for x, y, buttons, events in (
                (width - 1, 100, 0, [(3, 0, 0xFFFF), (3, 1, scaled(100, height))]),
                (500, height - 1, 1,
                 [(3, 0, scaled(500, width)), (3, 1, 0xFFFF), (1, 0x110, 1)]),
                (0, 0, 0, [(3, 0, 0), (3, 1, 0), (1, 0x110, 0)]),
                (7, 0, 0, [(3, 0, scaled(7, width))])):
            viewer.point(x, y, buttons)
            time.sleep(0.3)
            expected += [struct.pack("<HHi", *e).hex() for e in events + [(0, 0, 0)]]
        # xxd prints what dd has when it ends.
        self.assertEqual(len(expected), 13)
        got = re.findall(r"^[0-9a-f]{16}(?=\r*$)", c.expect(linux.PROMPT), re.MULTILINE)
        self.assertEqual(got, expected[:12])
        c.type("poweroff -f")
        self.assertEqual(c.wait(), 0)
        viewer.close()


if __name__ == "__main__":
    unittest.main(argv=["vmmouse_test"], verbosity=2)
