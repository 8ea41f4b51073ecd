#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""SeaBIOS starts in real mode, finds the disks and runs a boot sector from each.

usage: bios_test.py RUN IMG BIOS
"""

import os
import subprocess
import sys
import tempfile
import unittest

RUN, IMG, BIOS = (os.path.abspath(p) for p in sys.argv[1:4])

# mov dx, 0x402; mov al, 'O'; out dx, al; mov al, 'K'; out dx, al;
# mov dx, 0x501; mov al, 21; out dx, al; hlt
BOOT_SECTOR = bytes.fromhex("ba0204 b04f ee b04b ee ba0105 b015 ee f4")
EXIT_STATUS = 21 << 1 | 1
# Of lab tests also kvm.
ACCEL = os.environ.get("ATOLL_ACCEL", "soft")
# How many times slower than an optimised build the programs are; see .bazelrc.
SLOWNESS = int(os.environ.get("ATOLL_TEST_SLOWNESS", "1"))


class Bios(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.TemporaryDirectory()
        os.chdir(self.dir.name)
        sector = BOOT_SECTOR.ljust(510, b"\0") + b"\x55\xaa"
        with open("disk.raw", "wb") as f:
            f.write(sector)
            f.truncate(16 << 20)
        subprocess.run([IMG, "convert", "-f", "raw", "-O", "qcow2", "disk.raw", "disk.qcow2"],
                       check=True)

    def tearDown(self):
        os.chdir("/")
        self.dir.cleanup()

    def boot(self, *disk):
        if os.path.exists("log"):
            os.unlink("log")
        result = subprocess.run(
            [RUN, "-accel", ACCEL, "-m", "64", "-nographic", "-no-reboot", "-serial", "null",
             "-bios", BIOS, "-debugcon", "file:log", "-device", "isa-debug-exit", "--timeout",
             str(60 * SLOWNESS), *disk],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120 * SLOWNESS)
        with open("log", errors="replace") as f:
            log = f.read()
        self.assertIn("SeaBIOS", log)
        self.assertEqual(result.returncode, EXIT_STATUS, result.stderr + log[-2000:])
        self.assertTrue(log.endswith("OK"), log[-200:])
        return log

    def test_ide_disk(self):
        self.assertIn("ATA-", self.boot("-hda", "disk.qcow2"))

    def test_second_channel(self):
        self.boot("-hdc", "disk.qcow2")

    def test_virtio_disk(self):
        self.boot("-drive", "file=disk.qcow2,if=virtio")

    def test_two_cpus(self):
        # Often: shadowing the BIOS stops both CPUs, and one access of the guest
        # asks for it several times.
        for _ in range(20):
            log = self.boot("-smp", "2", "-hda", "disk.qcow2")
            self.assertIn("Found 2 cpu(s)", log)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)
