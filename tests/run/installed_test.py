#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A Debian system on a qcow2 disk: GRUB is installed on it by the system itself,
then it starts by SeaBIOS and GRUB, restarts, is switched off, and keeps what it
had written when run is killed. Minutes.

usage: installed_test.py RUN IMG BIOS DEBIAN/root.ext4 TEST...
"""

import os
import struct
import subprocess
import sys
import tempfile
import unittest

from console import ACCEL, Console

RUN, IMG, BIOS, ROOT = (os.path.abspath(p) for p in sys.argv[1:5])
DEBIAN = os.path.dirname(ROOT)
PROMPT = "guest# "


class Installed(unittest.TestCase):
    def setUp(self):
        # Gigabytes.
        self.dir = tempfile.TemporaryDirectory(dir=os.environ.get("TEST_TMPDIR", "/var/tmp"))
        os.chdir(self.dir.name)

    def tearDown(self):
        os.chdir("/")
        self.dir.cleanup()

    def make_disk(self):
        """disk.qcow2: one partition with the system, no boot loader."""
        with open("disk.raw", "wb") as f:
            f.truncate(2 << 30)
            # An MBR: one bootable Linux partition from 1 MiB to the end.
            f.seek(446)
            f.write(struct.pack("<B3sB3sII", 0x80, b"\xfe\xff\xff", 0x83, b"\xfe\xff\xff", 2048,
                                (2 << 30) // 512 - 2048))
            f.seek(510)
            f.write(b"\x55\xaa")
        subprocess.run(["dd", "if=" + ROOT, "of=disk.raw", "bs=1M", "seek=1", "conv=notrunc,sparse",
                        "status=none"], check=True)
        subprocess.run([IMG, "convert", "-O", "qcow2", "disk.raw", "disk.qcow2"], check=True)
        os.unlink("disk.raw")

    def boot(self, *args):
        return Console(RUN, ["-accel", ACCEL, "-m", "512", "-smp", "2", "-nographic", "-bios",
                             BIOS, "-hda", "disk.qcow2", *args])

    def login(self, c):
        c.expect("guest login:", 900)
        c.type("root")
        c.expect("Password:", 60)
        c.type("atoll")
        c.expect(PROMPT, 120)

    def command(self, c, line, seconds=600):
        """What the command prints; it succeeded."""
        c.type(line + "; echo status $?")
        c.expect("\n")
        out = c.expect(PROMPT, seconds).replace("\r", "")
        self.assertIn("status 0\n", out, line)
        return out

    def test_installed_debian(self):
        self.make_disk()
        c = self.boot("-kernel", os.path.join(DEBIAN, "vmlinuz"), "-initrd",
                      os.path.join(DEBIAN, "initrd.img"), "-append",
                      "root=LABEL=root console=ttyS0")
        self.login(c)
        self.assertIn("No error reported", self.command(c, "grub-install /dev/sda"))
        self.command(c, "update-grub")
        c.type("poweroff")
        self.assertEqual(c.wait(600), 0)

        # By the firmware.
        c = self.boot()
        c.expect("GRUB", 120)
        self.login(c)
        self.assertIn("2", self.command(c, "nproc"))
        self.assertIn("/dev/sda1 on / type ext4 (rw", self.command(c, "mount"))
        c.type("reboot")
        c.expect("GRUB", 600)
        self.login(c)
        self.command(c, "dd if=/dev/urandom of=/root/blob bs=1M count=20 conv=fsync; sync")
        wanted = self.command(c, "sha256sum /root/blob").split()[0]
        # What comes after the sync may be there or not.
        c.type("dd if=/dev/zero of=/root/late bs=1M count=500")
        c.pump(2)
        c.kill()
        subprocess.run([IMG, "check", "disk.qcow2"], check=True)

        c = self.boot()
        self.login(c)
        self.assertIn(wanted, self.command(c, "sha256sum /root/blob"))
        self.assertNotRegex(self.command(c, "dmesg | grep ata"), "(?i)error|exception|reset")
        c.type("poweroff")
        self.assertEqual(c.wait(600), 0)
        subprocess.run([IMG, "check", "disk.qcow2"], check=True)


if __name__ == "__main__":
    unittest.main(argv=["installed_test"] + sys.argv[5:], verbosity=2)
