#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Systems that others wrote, as somebody sees them who starts them: GRUB, Memtest86+,
ISOLINUX, Xen, Linux on a frame buffer.

usage: systems_test.py RUN BIOS BUSYBOX MEDIA/vmlinuz TEST...
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

from pc import Pc

RUN, BIOS, BUSYBOX, VMLINUZ = (os.path.abspath(p) for p in sys.argv[1:5])
MEDIA = os.path.dirname(VMLINUZ)


class Systems(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.TemporaryDirectory(dir="/tmp")  # short enough for sockets
        os.chdir(self.dir.name)
        self.pc = None

    def tearDown(self):
        if self.pc is not None and self.pc.process.poll() is None:
            self.pc.kill()
        os.chdir("/")
        self.dir.cleanup()

    def start(self, *args):
        self.pc = Pc(RUN, ["-bios", BIOS, *args])
        return self.pc

    def test_memtest_begins_its_pass(self):
        pc = self.start("-m", "32", "-smp", "2", "-cdrom", os.path.join(MEDIA, "memtest86+x64.iso"),
                        "-boot", "d")
        pc.see(r"Memtest86\+", 60)
        # Its second test is over: memory was sized, tested, and nothing found.
        pc.see(r"Test #[2-9]", 120)
        screen = pc.screen()
        self.assertRegex(screen, r"Errors: *0")
        self.assertIn("atoll software CPU", screen)
        pc.picture("memtest")
        pc.quit()

    def test_grub_draws(self):
        # On the VGA's text screen by the PC's keyboard, then in a VESA mode.
        pc = self.start("-m", "64", "-cdrom", os.path.join(MEDIA, "grub-rescue-cdrom.iso"), "-boot",
                        "d")
        pc.see(r"GNU GRUB", 60)
        pc.keys("c")
        pc.see(r"grub>", 30)
        for line, answer in (("ls", r"\(cd\)"), ("loadfont unicode", ""), ("insmod all_video", ""),
                             ("set gfxmode=800x600", "")):
            pc.enter(line)
            pc.see(re.escape(line) + r"\s+" + answer + r"[^>]*grub>", 30)
        pc.enter("terminal_output gfxterm")
        pc.wait(lambda: pc.screen() == "" and pc.picture("grub")[:2] == (800, 600), 60,
                "graphical terminal")
        before = len(pc.picture("grub")[2].rstrip(b"\0"))
        pc.type("ls\r")
        pc.wait(lambda: len(pc.picture("grub")[2].rstrip(b"\0")) > before, 30, "more lines")
        pc.quit()

    def initrd(self, path):
        """Of a Linux that says that it runs, and stays."""
        os.makedirs("root")
        shutil.copy(BUSYBOX, "root/busybox")
        with open("root/init", "w") as f:
            f.write("#!/busybox sh\necho the init is here\nexec /busybox sleep 1000\n")
        os.chmod("root/init", 0o755)
        subprocess.run("cd root && find . | cpio -o -H newc --quiet -R 0:0 | gzip -1 > ../initrd.new",
                       shell=True, check=True)
        os.rename("initrd.new", path)

    def isolinux(self, kernel_line):
        os.makedirs("cd/isolinux")
        for name in ("isolinux.bin", "ldlinux.c32", "menu.c32", "libutil.c32"):
            shutil.copy(os.path.join(MEDIA, name), "cd/isolinux/")
        shutil.copy(VMLINUZ, "cd/linux")
        self.initrd("cd/initrd.gz")
        with open("cd/isolinux/isolinux.cfg", "w") as f:
            f.write("default menu.c32\nprompt 0\nmenu title A menu\n"
                    "label first\n menu label First choice\n kernel /nothing\n"
                    "label second\n menu label Second choice\n kernel /linux\n"
                    " append initrd=/initrd.gz " + kernel_line + "\n")
        subprocess.run(["xorriso", "-as", "mkisofs", "-quiet", "-o", "cd.iso", "-b",
                        "isolinux/isolinux.bin", "-c", "isolinux/boot.cat", "-no-emul-boot",
                        "-boot-load-size", "4", "-boot-info-table", "cd"], check=True,
                       stderr=subprocess.DEVNULL)

    def test_isolinux_menu_and_linux_on_vesa(self):
        # VESA mode 0x317 by the VGA BIOS: 1024x768 in 65536 colours, which Linux
        # takes over for its frame buffer.
        self.isolinux("vga=791 console=tty0 console=ttyS0 ")
        pc = self.start("-m", "256", "-cdrom", "cd.iso", "-boot", "d")
        self.assertIn("Second choice", pc.see(r"(?s)A menu.*First choice.*Second choice", 60).group(0))
        pc.keys("down")
        pc.keys("ret")
        pc.hear(r"vesafb: mode is 1024x768x16", 240)
        pc.hear(r"Console: switching to colour frame buffer device 128x48", 60)
        pc.hear(r"the init is here", 120)
        width, height, pixels = pc.picture("vesafb")
        self.assertEqual((width, height), (1024, 768))
        # Letters of the console, grey on black.
        grey = sum(pixels[i:i + 3] == b"\xad\xaa\xad" for i in range(0, len(pixels), 3))
        self.assertGreater(grey, 1024 * 768 // 100, set(pixels[i:i + 3]
                                                        for i in range(0, len(pixels), 3)))
        pc.quit()

    def test_xen_is_a_multiboot_kernel(self):
        # With Linux as its first domain, which finds its init.
        self.initrd("initrd.gz")
        shutil.copy(VMLINUZ, "linux")
        pc = self.start("-m", "512", "-smp", "2", "-kernel", os.path.join(MEDIA, "xen"), "-initrd",
                        "linux console=hvc0 root=/dev/ram0,initrd.gz", "-append",
                        "no-real-mode com1=115200,8n1 console=com1 loglvl=all noreboot dom0_mem=320M",
                        "-no-reboot")
        pc.hear(r"Command line: no-real-mode ", 60)
        pc.hear(r"\[0000000000100000, 000000001fffffff\] \(usable\)", 60)
        pc.hear(r"Brought up 2 CPUs", 120)
        pc.hear(r"the init is here", 240)
        pc.kill()


if __name__ == "__main__":
    unittest.main(argv=["systems_test"] + sys.argv[5:], verbosity=2)
