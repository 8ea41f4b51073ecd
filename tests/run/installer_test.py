#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Debian 12's installer, from a CD and by -kernel, on every console it has.
Minutes each: the pictures are among the test's outputs, to be looked at.

usage: installer_test.py RUN BIOS INSTALLERS/amd64-text/linux MEDIA/vmlinuz TEST...
"""

import collections
import os
import shutil
import subprocess
import sys
import tempfile
import unittest

from pc import Pc
from rfb import DOWN, Rfb, free_port, write_png

RUN, BIOS, LINUX, VMLINUZ = (os.path.abspath(p) for p in sys.argv[1:5])
INSTALLERS = os.path.dirname(os.path.dirname(LINUX))
MEDIA = os.path.dirname(VMLINUZ)


class Installer(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.TemporaryDirectory(dir="/tmp")  # short enough for sockets
        os.chdir(self.dir.name)
        self.pc = None

    def tearDown(self):
        if self.pc is not None and self.pc.process.poll() is None:
            self.pc.kill()
        os.chdir("/")
        self.dir.cleanup()

    def cd(self, which, kernel_line):
        """installer.iso, whose menu starts that installer."""
        os.makedirs("cd/isolinux")
        for name in ("isolinux.bin", "ldlinux.c32", "menu.c32", "libutil.c32"):
            shutil.copy(os.path.join(MEDIA, name), "cd/isolinux/")
        for name in ("linux", "initrd.gz"):
            shutil.copy(os.path.join(INSTALLERS, which, name), "cd/")
        with open("cd/isolinux/isolinux.cfg", "w") as f:
            f.write("default menu.c32\nprompt 0\ntimeout 20\nmenu title Installer\n"
                    "label install\n menu label Install\n kernel /linux\n"
                    " append initrd=/initrd.gz " + kernel_line + "\n")
        subprocess.run(["xorriso", "-as", "mkisofs", "-quiet", "-o", "installer.iso", "-b",
                        "isolinux/isolinux.bin", "-c", "isolinux/boot.cat", "-no-emul-boot",
                        "-boot-load-size", "4", "-boot-info-table", "cd"], check=True,
                       stderr=subprocess.DEVNULL)
        shutil.rmtree("cd")

    def start(self, *args):
        with open("gtes11.img", "wb") as f:
            f.truncate(4 << 30)
        self.pc = Pc(RUN, ["-bios", BIOS, "-hda", "gtes11.img", *args])
        return self.pc

    def text_on_vga(self, which, megabytes, seconds):
        # No frame buffer: the VGA stays in its text mode.
        self.cd(which, "vga=normal fb=false modprobe.blacklist=bochs")
        pc = self.start("-m", megabytes, "-cdrom", "installer.iso", "-boot", "d")
        pc.see(r"Select a language", seconds)
        pc.keys("ret")
        pc.see(r"Select your location", seconds)
        pc.picture(which)
        pc.quit()

    def test_text(self):
        self.text_on_vga("amd64-text", "1024", 400)

    def test_i386(self):
        # Interpreted: a minute of the processor's time.
        self.text_on_vga("i386-text", "1024", 800)

    def test_serial(self):
        folder = os.path.join(INSTALLERS, "amd64-text")
        pc = self.start("-m", "1024", "-kernel", folder + "/linux", "-initrd",
                        folder + "/initrd.gz", "-append", "console=ttyS0")
        pc.hear(r"Select a language", 400)
        pc.hear(r"English", 60)
        pc.quit()

    def test_frame_buffer(self):
        self.cd("amd64-text", "vga=788")
        pc = self.start("-m", "512", "-cdrom", "installer.iso", "-boot", "d")
        # Little memory: it says so first. A dialogue is grey on blue.
        def dialogue():
            width, height, pixels = pc.picture("frame_buffer")
            if (width, height) == (720, 400):
                return False
            counts = collections.Counter(pixels[i:i + 3] for i in range(0, len(pixels), 3 * 7))
            both = counts[b"\xaa\xaa\xaa"], counts[b"\x00\x00\xaa"]
            return min(both) > sum(counts.values()) // 10
        pc.wait(dialogue, 400, "dialogue")
        pc.picture("frame_buffer")  # the whole of it
        pc.quit()

    def test_gtk(self):
        self.cd("amd64-gtk", "vga=788")
        port = free_port()
        pc = self.start("-m", "1024", "-cdrom", "installer.iso", "-boot", "d", "-vnc",
                        "localhost::%d" % port)
        # Debian's banner above, a list on white with one line marked.
        def window():
            width, height, pixels = pc.picture("gtk")
            if (width, height) != (1024, 768):
                return None
            marked = [y for y in range(180, 700)
                      if pixels[3 * (1024 * y + 900):][:3] not in (b"\xff\xff\xff", b"\xff\xff\xf8")]
            white = pixels[3 * 1024 * 180:3 * 1024 * 700].count(b"\xff\xff\xff")
            return marked if white > 200000 and 8 < len(marked) < 60 else None
        first = pc.wait(window, 1800, "window with a list")
        # A viewer sees the same, and what it types arrives.
        viewer = Rfb(port)
        pc.wait(lambda: viewer.picture() == pc.picture("gtk"), 300, "the same by VNC")
        viewer.key(DOWN)
        pc.wait(lambda: window() not in (None, first), 300, "next line marked")
        pc.wait(lambda: viewer.picture() == pc.picture("gtk"), 300, "the same by VNC again")
        write_png("gtk_by_vnc.png", *viewer.picture())
        viewer.close()
        pc.quit()


if __name__ == "__main__":
    unittest.main(argv=["installer_test"] + sys.argv[5:], verbosity=2)
