#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""100 MB through each way to a disk, in and out, with checksums of both ends.

usage: transfer_test.py RUN VMLINUZ TEST...

Beside VMLINUZ stand the other files of tools/guests.
"""

import hashlib
import os
import sys
import tempfile
import time
import unittest

import linux

RUN, VMLINUZ = (os.path.abspath(p) for p in sys.argv[1:3])
GUESTS = os.path.dirname(VMLINUZ)


class Transfer(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.TemporaryDirectory(dir=os.environ.get("TEST_TMPDIR", "/var/tmp"))
        os.chdir(self.dir.name)

    def tearDown(self):
        os.chdir("/")
        self.dir.cleanup()

    def command(self, c, line, seconds=300):
        c.type(line)
        c.expect("\n")
        return c.expect(linux.PROMPT, seconds).replace("\r", "")

    def digest(self, name):
        md5 = hashlib.md5()
        with open(name, "rb") as f:
            while data := f.read(1 << 20):
                md5.update(data)
        return md5.hexdigest()

    def moved(self, dma, size, ways):
        """Reads each device and copies it to another: [(from, to), ...]."""
        sources = {}
        for name in ("hda", "cd", "vda"):
            with open(name, "wb") as f:
                for _ in range(size >> 20):
                    f.write(os.urandom(1 << 20))
            sources[name] = self.digest(name)
        for name in ("hdb", "vdb"):
            with open(name, "wb") as f:
                f.truncate(size)
        os.makedirs("root/lib")
        with open("root/lib/libata.args", "w") as f:
            f.write("dma=%d" % dma)
        drive = "format=raw,if=virtio,file="
        c = linux.boot(RUN, VMLINUZ, os.path.join(GUESTS, "busybox"),
                       [os.path.join(GUESTS, "modules/kernel", m + ".ko")
                        for m in linux.DISK_MODULES],
                       ["-drive", "format=raw,file=hda", "-drive", "format=raw,file=hdb",
                        "-cdrom", "cd", "-drive", drive + "vda", "-drive", drive + "vdb"])
        nodes = {"hda": "/dev/sda", "hdb": "/dev/sdb", "cd": "/dev/sr0", "vda": "/dev/vda",
                 "vdb": "/dev/vdb"}
        for node in nodes.values():
            self.command(c, "while [ ! -b %s ]; do sleep 0.2; done" % node)
        # Linux looks at both IDE disks at once: either may be the first that it names.
        for name, address in (("hda", "0:0:0:0"), ("hdb", "0:0:1:0")):
            path = self.command(c, "echo /sys/bus/scsi/devices/%s/block/sd?" % address)
            nodes[name] = "/dev/" + path.strip().rsplit("/", 1)[1]
        self.assertEqual({nodes["hda"], nodes["hdb"]}, {"/dev/sda", "/dev/sdb"})
        written = {}
        for source, target in ways:
            began = time.monotonic()
            self.assertIn(sources[source], self.command(c, "md5sum " + nodes[source]))
            middle = time.monotonic()
            self.command(c, "dd if=%s of=%s bs=1M conv=fsync && echo 3 > /proc/sys/vm/drop_caches" %
                         (nodes[source], nodes[target]))
            end = time.monotonic()
            self.assertIn(sources[source], self.command(c, "md5sum " + nodes[target]))
            written[target] = sources[source]
            print("%s read and summed %.1f s, copied to %s %.1f s" %
                  (source, middle - began, target, end - middle))
        errors = self.command(c, "dmesg | grep -i 'error\\|exception\\|hard resetting'")
        self.assertEqual(errors, "")
        c.type("poweroff -f")
        self.assertEqual(c.wait(), 0, c.text[-2000:])
        for target, wanted in written.items():
            self.assertEqual(self.digest(target), wanted, target)

    def test_dma_and_virtio(self):
        self.moved(7, 100 << 20, [("hda", "vdb"), ("vda", "hdb"), ("cd", "vdb")])

    def test_pio(self):
        # Word by word: a part of it does.
        self.moved(0, 8 << 20, [("hda", "hdb"), ("cd", "hdb")])


if __name__ == "__main__":
    unittest.main(argv=["transfer_test"] + sys.argv[3:], verbosity=2)
