#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Boots a Linux over the network by each card: SeaBIOS runs the card's iPXE, which
gets an address by DHCP, and a script, a kernel and an initrd by TFTP, from servers
in this test, in a user and network namespace of its own.

usage: netboot_test.py RUN VMLINUZ INITRD [TEST...]

INITRD is one of tools/make-net-guest, VMLINUZ the kernel of its modules.
"""

import os
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import unittest
import uuid

from console import PROMPT, Console

RUN, VMLINUZ, INITRD, *TESTS = sys.argv[1:]
IPXE = os.environ.get("IPXE", "")  # its CD
INSTALLER = os.environ.get("INSTALLER", "")  # the kernel of Debian's, beside its initrd.gz
HOST, GUEST, MASK = "10.78.0.1", "10.78.0.2", "255.255.255.0"
MAC = "52:54:00:4e:45:54"


class Dhcp(threading.Thread):
    """RFC 2131, for one client, whose address stands in `asked` afterwards."""

    def __init__(self):
        super().__init__(daemon=True)
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"vm0")
        self.socket.bind(("", 67))
        self.asked = set()
        self.start()

    def run(self):
        while True:
            packet, _ = self.socket.recvfrom(2048)
            if packet[0] != 1 or packet[236:240] != b"\x63\x82\x53\x63":
                continue
            self.asked.add(packet[28:34].hex(":"))
            options, at = {}, 240
            while at < len(packet) and packet[at] != 255:
                if packet[at] == 0:
                    at += 1
                    continue
                options[packet[at]] = packet[at + 2:at + 2 + packet[at + 1]]
                at += 2 + packet[at + 1]
            answers = {1: 2, 3: 5}  # DISCOVER: OFFER, REQUEST: ACK
            kind = options[53][0]
            if kind not in answers:
                continue
            me, you = socket.inet_aton(HOST), socket.inet_aton(GUEST)
            reply = struct.pack("!4B4sHH", 2, 1, 6, 0, packet[4:8], 0, 0x8000)
            reply += bytes(4) + you + me + bytes(4) + packet[28:44] + bytes(64)
            reply += b"boot.ipxe".ljust(128, b"\0") + b"\x63\x82\x53\x63"
            for code, value in ((53, bytes([answers[kind]])), (54, me), (51, struct.pack("!I", 3600)),
                                (1, socket.inet_aton(MASK)), (3, me), (66, HOST.encode()),
                                (67, b"boot.ipxe")):
                reply += bytes([code, len(value)]) + value
            self.socket.sendto(reply + b"\xff", ("255.255.255.255", 68))


class Tftp(threading.Thread):
    """RFC 1350, 2347 to 2349: reads of `files`, one at a time."""

    def __init__(self, files):
        super().__init__(daemon=True)
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((HOST, 69))
        self.files = files
        self.served = []
        self.start()

    def run(self):
        while True:
            packet, peer = self.socket.recvfrom(2048)
            if packet[:2] != b"\0\1":
                continue
            words = packet[2:].split(b"\0")
            name = words[0].decode().lstrip("/")
            options = {words[i].lower(): words[i + 1] for i in range(2, len(words) - 2, 2)}
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
                s.bind((HOST, 0))
                s.connect(peer)
                s.settimeout(2)
                if name not in self.files:
                    s.send(b"\0\5\0\1no such file\0")
                elif self.serve(s, self.files[name], options):
                    self.served.append(name)

    def serve(self, s, data, options):
        size = min(int(options.get(b"blksize", b"512")), 1432)
        accepted = b""
        if b"blksize" in options:
            accepted += b"blksize\0%d\0" % size
        if b"tsize" in options:
            accepted += b"tsize\0%d\0" % len(data)
        if accepted and not self.exchange(s, b"\0\6" + accepted, 0):
            return False
        for n in range(len(data) // size + 1):
            block = (n + 1) & 0xFFFF
            packet = struct.pack("!HH", 3, block) + data[n * size:(n + 1) * size]
            if not self.exchange(s, packet, block):
                return False
        return True

    def exchange(self, s, packet, block):
        for _ in range(10):
            try:
                s.send(packet)
                while True:
                    answer = s.recv(2048)
                    if answer[:2] == b"\0\5":
                        return False
                    if answer[:4] == struct.pack("!HH", 4, block):
                        return True
            except (socket.timeout, ConnectionRefusedError):
                pass
        return False


class NetBoot(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        # The tap is there before the guests, so that the servers listen in time.
        subprocess.run(["ip", "tuntap", "add", "vm0", "mode", "tap"], check=True)
        subprocess.run(["ip", "addr", "add", HOST + "/24", "dev", "vm0"], check=True)
        subprocess.run(["ip", "link", "set", "vm0", "up"], check=True)
        files = {}
        for name, path in (("vmlinuz", VMLINUZ), ("initrd", INITRD)):
            with open(path, "rb") as f:
                files[name] = f.read()
        cls.dhcp, cls.tftp = Dhcp(), Tftp(files)

    def setUp(self):
        self.guest = None
        self.dhcp.asked.clear()
        self.tftp.served.clear()

    def tearDown(self):
        if self.guest is not None and self.guest.status is None:
            self.guest.kill()

    def boot(self, model):
        mark = uuid.uuid4().hex
        self.tftp.files["boot.ipxe"] = (
            "#!ipxe\nkernel vmlinuz console=ttyS0 mark=%s\ninitrd initrd\nboot\n" % mark).encode()
        self.guest = Console(RUN, ["-accel", "soft", "-m", "256", "-nographic", "-boot", "n", "-net",
                                   "nic,model=%s,macaddr=%s" % (model, MAC), "-net",
                                   "tap,ifname=vm0"])
        self.guest.expect(PROMPT)
        self.assertIn("mark=" + mark, self.guest.command("cat /proc/cmdline"))
        self.assertEqual(self.dhcp.asked, {MAC})
        # iPXE may begin a file again; in the end each has come whole, in this order.
        self.assertEqual(list(dict.fromkeys(self.tftp.served)), ["boot.ipxe", "vmlinuz", "initrd"])
        self.guest.type("poweroff")
        self.assertEqual(self.guest.wait(), 0, self.guest.text[-2000:])

    def test_installer(self):
        """Debian's installer, by the network that needs no rights: its DHCP and TFTP."""
        with tempfile.TemporaryDirectory(dir="/tmp") as folder:
            for name in ("linux", "initrd.gz"):
                shutil.copy(os.path.join(os.path.dirname(INSTALLER), name), folder)
            with open(folder + "/boot.ipxe", "w") as f:
                f.write("#!ipxe\nkernel linux console=ttyS0\ninitrd initrd.gz\nboot\n")
            self.guest = Console(RUN, ["-accel", "soft", "-m", "1024", "-nographic", "-boot", "n",
                                       "-net", "nic,model=virtio", "-net",
                                       "user,tftp=%s,bootfile=boot.ipxe" % folder])
            for words in ("iPXE", "boot.ipxe", "initrd.gz", "Select a language", "English"):
                self.guest.expect(words, 900)

    def test_iso(self):
        """iPXE from its own CD, by its own drivers and not the card's option ROM."""
        mark = uuid.uuid4().hex
        with tempfile.TemporaryDirectory(dir="/tmp") as folder:
            shutil.copy(VMLINUZ, folder + "/vmlinuz")
            shutil.copy(INITRD, folder + "/initrd")
            with open(folder + "/boot.ipxe", "w") as f:
                f.write("#!ipxe\nkernel vmlinuz console=ttyS0 mark=%s\ninitrd initrd\nboot\n" % mark)
            self.guest = Console(RUN, ["-accel", "soft", "-m", "256", "-nographic", "-vga", "none",
                                       "-cdrom", IPXE, "-boot", "order=d,strict=on", "-net",
                                       "nic,model=rtl8139", "-net",
                                       "user,tftp=%s,bootfile=boot.ipxe" % folder])
            for words in ("iPXE ISO boot image", "Filename: boot.ipxe", "[script]", PROMPT):
                self.guest.expect(words)
            self.assertIn("mark=" + mark, self.guest.command("cat /proc/cmdline"))
            self.guest.type("poweroff")
            self.assertEqual(self.guest.wait(), 0, self.guest.text[-2000:])

    def test_e1000(self):
        self.boot("e1000")

    def test_ne2k_pci(self):
        self.boot("ne2k_pci")

    def test_rtl8139(self):
        self.boot("rtl8139")

    def test_rtl8139c(self):
        self.boot("rtl8139c")

    def test_virtio(self):
        self.boot("virtio")


if __name__ == "__main__":
    if os.environ.get("ATOLL_NET_TEST") != "inside":
        paths = [os.path.abspath(p) for p in (RUN, VMLINUZ, INITRD)]
        os.environ["ATOLL_NET_TEST"] = "inside"
        os.environ["INSTALLER"] = os.path.abspath(INSTALLER)
        os.environ["IPXE"] = os.path.abspath(IPXE)
        os.execvp("unshare", ["unshare", "-Urn", sys.executable, os.path.abspath(__file__), *paths,
                              *TESTS])
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    unittest.main(argv=[sys.argv[0], *TESTS], verbosity=2)
