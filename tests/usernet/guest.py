#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A guest without a machine: the kernel's own network stack in a namespace.

A tap carries its frames to the stream socket of `net user` and back, with frames
lost, doubled and reordered on the way where the test wants that. In the namespace
(`unshare -n`), as its root.
"""

import fcntl
import os
import random
import selectors
import socket
import struct
import subprocess
import threading

TUNSETIFF = 0x400454CA
IFF_TAP, IFF_NO_PI = 0x0002, 0x1000


def ip(*words):
    subprocess.run(["ip", *words], check=True)


class Guest:
    def __init__(self, path, mtu=1500, loss=0.0, reorder=0.0, double=0.0, seed=1, mac="52:54:00:00:00:01"):
        self.random = random.Random(seed)
        self.loss, self.reorder, self.double = loss, reorder, double
        self.tap = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        fcntl.ioctl(self.tap, TUNSETIFF, struct.pack("16sH22x", b"eth0", IFF_TAP | IFF_NO_PI))
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.connect(path)
        with open("/proc/sys/net/ipv6/conf/eth0/accept_dad", "w") as f:
            f.write("0")
        for family in ("ipv4", "ipv6"):
            # Three questions for an address in a row may well be lost; ten are not.
            with open("/proc/sys/net/%s/neigh/eth0/mcast_solicit" % family, "w") as f:
                f.write("10")
        ip("link", "set", "lo", "up")
        ip("link", "set", "eth0", "address", mac, "mtu", str(mtu), "up")
        self.held = {}
        threading.Thread(target=self.bridge, daemon=True).start()

    def address(self, v4="10.0.2.15/24", v6="fec0::15/64"):
        if v4:
            ip("addr", "add", v4, "dev", "eth0")
            ip("route", "add", "default", "via", "10.0.2.2")
        if v6:
            ip("-6", "addr", "add", v6, "dev", "eth0", "nodad")
            ip("-6", "route", "replace", "default", "via", "fec0::2")

    def fate(self, way, frame):
        """What becomes of a frame: the frames that go on, in order."""
        out = []
        if self.random.random() >= self.loss:
            out = [frame, frame] if self.random.random() < self.double else [frame]
        if out and way not in self.held and self.random.random() < self.reorder:
            self.held[way] = out
            return []
        return out + self.held.pop(way, []) if out else out

    def bridge(self):
        select = selectors.DefaultSelector()
        select.register(self.tap, selectors.EVENT_READ)
        select.register(self.sock, selectors.EVENT_READ)
        buffer = bytearray()
        while True:
            for key, _ in select.select():
                if key.fd == self.tap:
                    out = bytearray()
                    try:
                        while len(out) < 200000:
                            for frame in self.fate("out", os.read(self.tap, 70000)):
                                out += struct.pack(">I", len(frame)) + frame
                    except BlockingIOError:
                        pass
                    self.sock.sendall(out)
                    continue
                data = self.sock.recv(1 << 20)
                if not data:
                    return
                buffer += data
                at = 0
                while len(buffer) - at >= 4:
                    size = struct.unpack_from(">I", buffer, at)[0]
                    if len(buffer) - at - 4 < size:
                        break
                    for frame in self.fate("in", bytes(buffer[at + 4:at + 4 + size])):
                        os.write(self.tap, frame)
                    at += 4 + size
                del buffer[:at]
