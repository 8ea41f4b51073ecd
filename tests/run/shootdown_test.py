#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Two vCPUs change mappings under each other's feet (shootdown.c as a Linux
guest's init), on the software CPU.

usage: shootdown_test.py RUN VMLINUZ INIT
"""

import os
import re
import subprocess
import sys
import tempfile
import unittest

RUN, VMLINUZ, INIT = (os.path.abspath(p) for p in sys.argv[1:4])
SLOWNESS = int(os.environ.get("ATOLL_TEST_SLOWNESS", "1"))


def newc(name, mode, data):
    """A file as cpio's "new" format has it."""
    fields = [0, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0]
    head = b"070701" + b"".join(b"%08X" % f for f in fields) + name.encode() + b"\0"
    pad = lambda b: b + bytes(-len(b) % 4)
    return pad(head) + pad(data)


class Shootdown(unittest.TestCase):
    def test_two_cpus(self):
        with open(INIT, "rb") as f:
            init = f.read()
        with tempfile.NamedTemporaryFile() as initrd:
            initrd.write(newc("init", 0o100755, init) + newc("TRAILER!!!", 0, b""))
            initrd.flush()
            result = subprocess.run(
                [RUN, "-accel", "soft", "-m", "256", "-smp", "2", "-nographic",
                 "-kernel", VMLINUZ, "-initrd", initrd.name,
                 "-append", "console=ttyS0 quiet panic=-1"],
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                timeout=600 * SLOWNESS)
        text = result.stdout.decode(errors="replace")
        done = re.search(r"SHOOTDOWN ok (\d+)", text)
        self.assertTrue(done, text[-3000:])
        self.assertGreater(int(done.group(1)), 1000, text)
        self.assertEqual(result.returncode, 0, text)


if __name__ == "__main__":
    unittest.main(argv=["shootdown_test"] + sys.argv[4:], verbosity=2)
