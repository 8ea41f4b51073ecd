#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Systems not written by us at the CD and floppy drives: GRUB and Linux.

usage: removable_test.py RUN VMLINUZ MEDIA-VMLINUZ TRAY TEST...

Beside VMLINUZ stand the other files of tools/guests, beside MEDIA-VMLINUZ those
of tools/guest-media. TRAY is tray.cc for the guest.
"""

import hashlib
import json
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import unittest

import linux
from console import PROMPT, SLOWNESS, Console

RUN = os.path.abspath(sys.argv[1])
GUESTS, MEDIA = (os.path.dirname(os.path.abspath(p)) for p in sys.argv[2:4])
TRAY = os.path.abspath(sys.argv[4])
BIOS = os.path.join(GUESTS, "seabios/bios-256k.bin")


class Removable(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.TemporaryDirectory(dir="/tmp")  # short enough for sockets
        os.chdir(self.dir.name)
        self.random = random.Random(7)

    def tearDown(self):
        os.chdir("/")
        self.dir.cleanup()

    def write(self, name, data):
        with open(name, "wb") as f:
            f.write(data)
        return hashlib.md5(data).hexdigest()

    def digest(self, name):
        with open(name, "rb") as f:
            return hashlib.md5(f.read()).hexdigest()

    # What SeaBIOS shows on a machine without a screen goes to the serial port,
    # and what is typed there is the keyboard's.
    def firmware(self, *args):
        return Console(RUN, ["-accel", "soft", "-m", "128", "-nographic", "-vga", "none", "-bios",
                             BIOS, "--timeout", str(280 * SLOWNESS), *args])

    def linux(self, kernel, modules, *args):
        return linux.boot(RUN, kernel, os.path.join(GUESTS, "busybox"), modules, args, [TRAY])

    def cd_linux(self, *args, dma=7):
        os.makedirs("root/lib", exist_ok=True)
        with open("root/lib/libata.args", "w") as f:
            f.write("dma=%d" % dma)
        modules = [os.path.join(GUESTS, "modules/kernel", m + ".ko") for m in linux.CD_MODULES]
        c = self.linux(os.path.join(GUESTS, "vmlinuz"), modules, *args)
        self.wait_for(c, "/dev/sr0")
        return c

    def wait_for(self, c, node):
        self.command(c, "while [ ! -b %s ]; do sleep 0.2; done" % node)

    def command(self, c, line, seconds=200):
        c.type(line)
        c.expect("\n")
        return c.expect(PROMPT, seconds).replace("\r", "")

    def finish(self, c):
        c.type("poweroff -f")
        self.assertEqual(c.wait(), 0, c.text[-2000:])

    def type_slowly(self, c, text):
        """A BIOS keeps 16 keys: each is waited for."""
        for letter in text:
            os.write(c.fd, letter.encode())
            if letter != "\r":
                c.expect(letter)

    def grub(self, *args):
        """GRUB's prompt, a disk with one file beside it."""
        self.write("note.txt", b"atoll was here\n")
        with open("disk.img", "wb") as f:
            f.truncate(8 << 20)
        env = dict(os.environ, PATH=os.environ.get("PATH", "") + ":/sbin:/usr/sbin")
        os.makedirs("files")
        os.rename("note.txt", "files/note.txt")
        subprocess.run(["mke2fs", "-q", "-t", "ext2", "-d", "files", "disk.img"], check=True,
                       env=env)
        c = self.firmware("-hda", "disk.img", *args)
        c.expect("GNU GRUB")
        os.write(c.fd, b"c")
        c.expect("grub>")
        self.type_slowly(c, "ls (hd0)/\r")
        c.expect("note.txt")
        c.expect("grub>")
        self.type_slowly(c, "cat (hd0)/note.txt\r")
        c.expect("atoll was here")
        os.write(c.fd, b"\x01x")
        self.assertEqual(c.wait(), 0, c.text[-2000:])

    def test_grub_from_cd(self):
        self.grub("-cdrom", os.path.join(MEDIA, "grub-rescue-cdrom.iso"), "-boot", "d")

    def test_grub_from_floppy(self):
        self.grub("-drive", "readonly=on,if=floppy,file=" +
                  os.path.join(MEDIA, "grub-rescue-floppy.img"), "-boot", "a")

    def test_linux_reads_a_cd(self):
        wanted = self.write("cd.iso", self.random.randbytes(20 << 20))
        for dma in (7, 0):
            with self.subTest(dma=dma):
                c = self.cd_linux("-cdrom", "cd.iso", dma=dma)
                mode = self.command(c, "cat /sys/class/ata_device/dev2.0/xfer_mode")
                self.assertIn("DMA" if dma else "PIO", mode)
                self.assertIn(wanted, self.command(c, "md5sum /dev/sr0"))
                self.assertIn("20971520", self.command(c, "blockdev --getsize64 /dev/sr0"))
                errors = self.command(c, "dmesg | grep -i 'error\\|exception\\|reset' | grep sr")
                self.assertEqual(errors, "")
                self.finish(c)

    def test_linux_opens_and_closes_the_tray(self):
        wanted = self.write("cd.iso", self.random.randbytes(1 << 20))
        c = self.cd_linux("-cdrom", "cd.iso", "--events", "json,file=events")

        def trays():
            with open("events") as f:
                return [e for e in map(json.loads, f) if e["event"] == "tray"]

        self.assertIn(wanted, self.command(c, "md5sum /dev/sr0"))
        self.assertEqual(trays(), [])
        self.command(c, "tray open /dev/sr0")
        self.assertEqual(len(trays()), 1)
        self.assertIn("tray open", self.command(c, "tray status /dev/sr0"))
        self.command(c, "tray close /dev/sr0")
        self.assertEqual(len(trays()), 2)
        self.assertIn(wanted, self.command(c, "md5sum /dev/sr0"))
        # Linux closes an open tray when somebody wants to read.
        self.command(c, "tray open /dev/sr0")
        self.assertIn(wanted, self.command(c, "md5sum /dev/sr0"))
        self.assertEqual(len(trays()), 4)
        self.finish(c)

    def test_linux_sees_another_cd(self):
        first = self.write("first.iso", self.random.randbytes(3 << 20))
        second = self.write("second.iso", self.random.randbytes(2 << 20))
        c = self.cd_linux("-cdrom", "first.iso", "-qmp", "unix:qmp,server=on,wait=off",
                          "-sandbox", "dir=.")
        with socket.socket(socket.AF_UNIX) as s:
            s.connect("qmp")
            stream = s.makefile("rw")
            stream.readline()

            def ask(command, **arguments):
                json.dump({"execute": command, "arguments": arguments}, stream)
                stream.write("\n")
                stream.flush()
                while True:
                    reply = json.loads(stream.readline())
                    if "event" not in reply:
                        return reply

            ask("qmp_capabilities")
            self.assertIn(first, self.command(c, "md5sum /dev/sr0"))
            reply = ask("blockdev-change-medium", device="ide1-cd0", filename="second.iso")
            self.assertIn("return", reply)
            self.assertIn(second, self.command(c, "md5sum /dev/sr0"))
            self.assertIn("return", ask("eject", device="ide1-cd0"))
            self.assertIn("No medium", self.command(c, "dd if=/dev/sr0 of=/dev/null bs=2048"))
            reply = ask("blockdev-change-medium", device="ide1-cd0", filename="missing.iso")
            self.assertIn("missing.iso", reply["error"]["desc"])
            reply = ask("blockdev-change-medium", device="ide1-cd0", filename="first.iso")
            self.assertIn("return", reply)
            self.assertIn(first, self.command(c, "md5sum /dev/sr0"))
        self.finish(c)

    def test_linux_reads_and_writes_floppies(self):
        wanted = self.write("a.img", self.random.randbytes(1440 << 10))
        other = self.write("b.img", self.random.randbytes(720 << 10))
        c = self.linux(os.path.join(MEDIA, "vmlinuz"), [os.path.join(MEDIA, "floppy.ko")],
                       "-fda", "a.img", "-fdb", "b.img")
        self.assertIn(wanted, self.command(c, "md5sum /dev/fd0"))
        self.assertIn(other, self.command(c, "md5sum /dev/fd1"))
        self.command(c, "dd if=/dev/urandom of=/blob bs=1k count=1000; "
                        "dd if=/blob of=/dev/fd0 bs=512 seek=99; sync")
        seen = self.command(c, "md5sum /dev/fd0").split()[0]
        self.assertNotEqual(seen, wanted)
        self.assertIn(other, self.command(c, "md5sum /dev/fd1"))
        self.finish(c)
        self.assertEqual(self.digest("a.img"), seen)
        self.assertEqual(self.digest("b.img"), other)


if __name__ == "__main__":
    unittest.main(argv=["removable_test"] + sys.argv[5:], verbosity=2)
