#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""SeaBIOS boots from CDs and floppies and reads every byte of them; where -boot
sends it; what -snapshot keeps away from images.

usage: media_test.py RUN IMG BIOS media.bin rewrite.bin TEST...
"""

import hashlib
import os
import random
import struct
import subprocess
import sys
import tempfile
import unittest

RUN, IMG, BIOS, MEDIA, REWRITE = (os.path.abspath(p) for p in sys.argv[1:6])
EXIT_STATUS = 21 << 1 | 1
# Of lab tests also kvm.
ACCEL = os.environ.get("ATOLL_ACCEL", "soft")
# How many times slower than an optimised build the programs are; see .bazelrc.
SLOWNESS = int(os.environ.get("ATOLL_TEST_SLOWNESS", "1"))
# mov dx, 0x402; mov al, LETTER; out dx, al; then isa-debug-exit as bios_test.py
LETTER = "ba0204 b0%02x ee ba0105 b015 ee f4"
# The same, and then a reset by port 0xCF9.
RESETTING = "ba0204 b0%02x ee baf90c b006 ee f4"
HEAD = 21  # sectors of an image before what boots


def sector(code):
    return bytes.fromhex(code).ljust(510, b"\0") + b"\x55\xaa"


def checksum(data):
    total = 0
    for byte in data:
        total = ((total << 1 | total >> 31) + byte) & 0xFFFFFFFF
    return "%08X" % total


def iso(boot, data=b"", emulation=0, sectors=4):
    """An ISO 9660 image with an empty folder, an El Torito boot entry at sector
    HEAD, where `boot` lies, and `data` behind it."""
    def both(value, size):
        return value.to_bytes(size, "little") + value.to_bytes(size, "big")

    def pad(block):
        return block + bytes(-len(block) % 2048)

    boot, data = pad(boot), pad(data)
    total = HEAD + (len(boot) + len(data)) // 2048

    def folder(name):
        return struct.pack("<BB", 34, 0) + both(20, 4) + both(2048, 4) + bytes(7) + \
            b"\x02\0\0" + both(1, 2) + b"\x01" + name

    primary = (b"\x01CD001\x01\0" + b" " * 32 + b"ATOLL".ljust(32) + bytes(8) + both(total, 4) +
               bytes(32) + both(1, 2) + both(1, 2) + both(2048, 2) + both(10, 4) + bytes(16) +
               folder(b"\0"))
    record = b"\0CD001\x01EL TORITO SPECIFICATION".ljust(71, b"\0") + struct.pack("<L", 19)
    validation = bytearray(b"\x01\0\0\0" + b"atoll".ljust(24, b"\0") + b"\0\0\x55\xaa")
    struct.pack_into("<H", validation, 28, -sum(struct.unpack("<16H", validation)) & 0xFFFF)
    catalog = bytes(validation) + struct.pack("<BBHBBHL", 0x88, emulation, 0, 0, 0, sectors, HEAD)
    blocks = [primary, record, b"\xffCD001\x01", catalog, folder(b"\0") + folder(b"\x01")]
    return bytes(16 * 2048) + b"".join(map(pad, blocks)) + boot + data


class Media(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.TemporaryDirectory()
        os.chdir(self.dir.name)
        self.random = random.Random(4)

    def tearDown(self):
        os.chdir("/")
        self.dir.cleanup()

    def write(self, name, data):
        with open(name, "wb") as f:
            f.write(data)
        return name

    def digest(self, name):
        with open(name, "rb") as f:
            return hashlib.sha256(f.read()).hexdigest()

    def boot(self, *args, status=EXIT_STATUS, timeout=60):
        """What the guest wrote to the debug console after SeaBIOS had done so."""
        if os.path.exists("log"):
            os.unlink("log")
        result = subprocess.run(
            [RUN, "-accel", ACCEL, "-m", "64", "-nographic", "-vga", "none", "-serial", "null",
             "-bios", BIOS, "-debugcon", "file:log", "-device", "isa-debug-exit", "--timeout",
             str(timeout * SLOWNESS), *args],
            stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=timeout * 2 * SLOWNESS)
        with open("log", errors="replace") as f:
            log = f.read()
        self.assertEqual(result.returncode, status, result.stderr + log[-3000:])
        return log

    def program(self, tracks=80, heads=2, per_track=18, sectors=0):
        with open(MEDIA, "rb") as f:
            code = f.read()
        return code[:0x1E0] + struct.pack("<HBBL", tracks, heads, per_track, sectors) + \
            code[0x1E8:]

    def test_cd_is_read_to_its_end(self):
        data = self.random.randbytes(1500 * 2048)
        image = iso(self.program(sectors=HEAD + 1 + 1500), data)
        self.assertEqual(len(image), (HEAD + 1 + 1500) * 2048)
        self.write("cd.iso", image)
        log = self.boot("-cdrom", "cd.iso", "-boot", "d")
        self.assertTrue(log.endswith(checksum(image)), log[-500:])
        # At another place, and as QEMU's administrators write it.
        log = self.boot("-drive", "file=cd.iso,media=cdrom,index=1", "-boot", "d")
        self.assertTrue(log.endswith(checksum(image)), log[-500:])

    def test_cd_that_emulates_a_floppy(self):
        image = self.program() + self.random.randbytes(1440 * 1024 - 512)
        self.write("cd.iso", iso(image, emulation=2, sectors=1))
        log = self.boot("-cdrom", "cd.iso", "-boot", "d", timeout=120)
        self.assertTrue(log.endswith(checksum(image)), log[-500:])

    def test_floppies_are_read_to_their_end(self):
        for kib, shape in [(360, (40, 2, 9)), (1200, (80, 2, 15)), (1440, (80, 2, 18)),
                           (2880, (80, 2, 36))]:
            with self.subTest(kib=kib):
                image = self.program(*shape) + self.random.randbytes(kib * 1024 - 512)
                self.write("a.img", image)
                log = self.boot("-fda", "a.img", "-boot", "a", timeout=120)
                self.assertTrue(log.endswith(checksum(image)), log[-500:])
                self.assertEqual(self.digest("a.img"), hashlib.sha256(image).hexdigest())

    def letters(self):
        for name, letter in (("a", "A"), ("c", "C")):
            self.write(name + ".img",
                       sector(LETTER % ord(letter)).ljust(1440 * 1024, b"\0"))
        self.write("d.iso", iso(sector(LETTER % ord("D"))))
        return ["-fda", "a.img", "-hda", "c.img", "-cdrom", "d.iso"]

    def test_order(self):
        drives = self.letters()
        for boot, letter in [("a", "A"), ("c", "C"), ("d", "D"), ("dca", "D"), ("order=ad", "A"),
                             ("order=c,menu=off", "C"), ("once=d", "D"), ("nd", "D"),
                             ("order=a,strict=on", "A"), ("order=d,strict=on", "D")]:
            with self.subTest(boot=boot):
                log = self.boot(*drives, "-boot", boot)
                self.assertTrue(log.endswith(letter), log[-300:])
        self.assertTrue(self.boot(*drives).endswith("C"), "the default: the disk first")
        # What is not there is passed over.
        self.assertTrue(self.boot("-cdrom", "d.iso", "-boot", "ac").endswith("D"))

    def test_strict_boots_nothing_else(self):
        self.letters()
        log = self.boot("-hda", "c.img", "-boot", "order=d,strict=on", "--timeout",
                        str(10 * SLOWNESS), status=124)
        self.assertIn("No bootable device", log)
        self.assertTrue(self.boot("-hda", "c.img", "-boot", "d").endswith("C"))

    def test_once_is_until_the_first_reset(self):
        self.letters()
        # The CD resets the machine; then the disk's turn has come.
        self.write("d.iso", iso(sector(RESETTING % ord("D"))))
        log = self.boot("-hda", "c.img", "-cdrom", "d.iso", "-boot", "order=c,once=d")
        self.assertEqual(log.count("Booting from DVD/CD"), 1)
        self.assertTrue(log.endswith("C"), log[-300:])

    def test_menu(self):
        drives = self.letters()
        log = self.boot(*drives, "-boot", "menu=on,splash-time=500")
        self.assertIn("boot menu", log)
        self.assertNotIn("boot menu", self.boot(*drives))

    def test_trying_again(self):
        log = self.boot("-boot", "reboot-timeout=1000", "--timeout", str(15 * SLOWNESS),
                        status=124)
        self.assertGreater(log.count("No bootable device"), 1)
        log = self.boot("--timeout", str(5 * SLOWNESS), status=124)
        self.assertEqual(log.count("No bootable device"), 1)

    def test_snapshot_keeps_images_as_they_are(self):
        with open(REWRITE, "rb") as f:
            code = f.read()
        self.write("disk.img", code.ljust(4 << 20, b"\0"))
        subprocess.run([IMG, "convert", "-q", "-f", "raw", "-O", "qcow2", "disk.img",
                        "disk.qcow2"], check=True)
        self.write("floppy.img", code.ljust(1440 * 1024, b"\0"))
        before = {n: self.digest(n) for n in os.listdir(".")}
        tmp = tempfile.mkdtemp(dir=".")
        os.environ["TMPDIR"] = os.path.abspath(tmp)
        try:
            for args in (["-hda", "disk.img", "-snapshot"], ["-hda", "disk.qcow2", "-snapshot"],
                         ["-drive", "file=disk.qcow2,if=virtio,snapshot=on"],
                         ["-fda", "floppy.img", "-boot", "a", "-snapshot"]):
                with self.subTest(args=args):
                    self.assertTrue(self.boot(*args).endswith("K"), "the guest sees its writes")
                    self.assertEqual(before, {n: self.digest(n) for n in before})
                    self.assertEqual(os.listdir(tmp), [])
        finally:
            del os.environ["TMPDIR"]
        self.assertTrue(self.boot("-hda", "disk.qcow2").endswith("K"))
        self.assertNotEqual(before["disk.qcow2"], self.digest("disk.qcow2"))

    def test_read_only(self):
        self.write("floppy.img", sector(LETTER % ord("A")).ljust(1440 * 1024, b"\0"))
        os.chmod("floppy.img", 0o444)
        log = self.boot("-drive", "file=floppy.img,if=floppy,readonly=on", "-boot", "a")
        self.assertTrue(log.endswith("A"))


if __name__ == "__main__":
    unittest.main(argv=["media_test"] + sys.argv[6:], verbosity=2)
