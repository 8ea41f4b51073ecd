#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The command line that people have had for a PC in a window far away, word for
word: a disk, an installer's CD, a card on a tap that a script sets up, VNC. In
namespaces of its own, as root, where seabios is installed. Minutes; the pictures
are among the test's outputs.

usage: classic_test.py RUN INSTALLERS/amd64-text/linux MEDIA/vmlinuz
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

from rfb import RETURN, SLOWNESS, Rfb, write_png

LINE = ("-m 512 -k en-us -M pc -hda gtes11.img -cdrom installer.iso "
        "-net nic,vlan=1,model=rtl8139,macaddr=00:00:00:00:99:01 "
        "-net tap,vlan=1,ifname=tap0,script=/etc/qemu-ifup -vnc localhost:1 -boot d")
MAC = "00:00:00:00:99:01"


def make_cd(installer, media):
    os.makedirs("cd/isolinux")
    for name in ("isolinux.bin", "ldlinux.c32", "menu.c32", "libutil.c32"):
        shutil.copy(os.path.join(media, name), "cd/isolinux/")
    for name in ("linux", "initrd.gz"):
        shutil.copy(os.path.join(installer, name), "cd/")
    with open("cd/isolinux/isolinux.cfg", "w") as f:
        f.write("default menu.c32\nprompt 0\ntimeout 20\nlabel install\n menu label Install\n"
                " kernel /linux\n append initrd=/initrd.gz vga=788\n")
    subprocess.run(["xorriso", "-as", "mkisofs", "-quiet", "-o", "installer.iso", "-b",
                    "isolinux/isolinux.bin", "-c", "isolinux/boot.cat", "-no-emul-boot",
                    "-boot-load-size", "4", "-boot-info-table", "cd"], check=True,
                   stderr=subprocess.DEVNULL)


def wait_for(what, condition, seconds):
    deadline = time.monotonic() + seconds * SLOWNESS
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError("no " + what)
        time.sleep(1)


def check(run, installer, media):
    os.makedirs("upper")
    os.makedirs("work")
    with open("upper/qemu-ifup", "w") as f:
        f.write("#!/bin/sh\nip link set \"$1\" up\necho \"$1\" >>%s/ifup\n" % os.getcwd())
    os.chmod("upper/qemu-ifup", 0o755)
    subprocess.run(["mount", "-t", "overlay", "overlay", "-o",
                    "lowerdir=/etc,upperdir=upper,workdir=work", "/etc"], check=True)
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    make_cd(installer, media)
    with open("gtes11.img", "wb") as f:
        f.truncate(4 << 30)
    process = subprocess.Popen([run] + LINE.split(), stdin=subprocess.DEVNULL)
    try:
        viewer = Rfb(5901)
        pictures = []
        step = "first"

        def dialogue():
            """Grey and blue, each more than a tenth: the installer's."""
            assert process.poll() is None, process.returncode
            width, height, pixels = viewer.picture()
            pictures.append(pixels)
            write_png(f"classic-{step}.png", width, height, pixels)
            colors = [pixels[i:i + 3] for i in range(0, len(pixels), 3 * 7)]
            grey, blue = colors.count(b"\xaa\xaa\xaa"), colors.count(b"\0\0\xaa")
            return (width, height) != (720, 400) and min(grey, blue) > len(colors) // 10

        wait_for("dialogue", dialogue, 600)
        with open("ifup") as f:
            assert f.read() == "tap0\n"
        before = pictures[-1]
        step = "next"
        viewer.key(RETURN)
        wait_for("next dialogue", lambda: dialogue() and pictures[-1] != before, 300)
        step = "network"
        # The installer's kernel has found the card: its frames come out of the tap.
        tap = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        tap.bind(("tap0", 0))
        tap.settimeout(5)

        def frame():
            viewer.key(RETURN)
            dialogue()
            try:
                return tap.recv(2000)[6:12].hex(":") == MAC
            except TimeoutError:
                return False

        wait_for("frame of the card's", frame, 600)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)
        subprocess.run(["umount", "/etc"], check=True)


def main():
    if os.environ.get("CLASSIC_INSIDE") != "1":
        os.environ["CLASSIC_INSIDE"] = "1"
        os.execvp("unshare", ["unshare", "--net", "--mount", sys.executable, *sys.argv])
    run, linux, vmlinuz = (os.path.abspath(p) for p in sys.argv[1:4])
    with tempfile.TemporaryDirectory(dir=os.environ.get("TEST_TMPDIR", "/var/tmp")) as folder:
        os.chdir(folder)
        check(run, os.path.dirname(linux), os.path.dirname(vmlinuz))
        os.chdir("/")


main()
