#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Two guests on one bridge of net's, each by a tap that `script=net ifup` puts there:
they ping each other by IPv4 and IPv6, send each other data, and reach, translated, a
server in a namespace of its own. All in a user and network namespace of the test's.

usage: bridge_test.py RUN NET VMLINUZ INITRD [TEST...]

INITRD is one of tools/make-net-guest, VMLINUZ the kernel of its modules.
"""

import os
import subprocess
import sys
import tempfile
import time
import unittest

from console import PROMPT, Console

RUN, NET, VMLINUZ, INITRD, *TESTS = sys.argv[1:]
MIB = 8
SERVER = """
import hashlib, random, socket
s = socket.create_server(("", 7777))
print("ready", flush=True)
data = random.Random(1).randbytes(%d << 20)
while True:
    c, a = s.accept()
    c.sendall(data if c.makefile().readline() == "d\\n" else a[0].encode())
    c.close()
""" % MIB


def sh(line):
    subprocess.run(line, shell=True, check=True)


class Bridge(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.TemporaryDirectory(dir="/tmp")
        os.chdir(self.dir.name)
        self.guests = []

    def tearDown(self):
        for guest in self.guests:
            if guest.status is None:
                guest.kill()
        os.chdir("/")
        self.dir.cleanup()

    def world(self):
        """A server in the world, at 203.0.113.9; this host is .1."""
        there = subprocess.Popen(["unshare", "-n", "sleep", "10000"])
        self.addCleanup(lambda: (there.kill(), there.wait()))
        while os.readlink("/proc/%d/ns/net" % there.pid) == os.readlink("/proc/self/ns/net"):
            time.sleep(0.01)
        inside = "nsenter -t %d -n " % there.pid
        sh("ip link add up0 type veth peer name eth0 netns %d" % there.pid)
        sh("ip addr add 203.0.113.1/24 dev up0 && ip link set up0 up")
        sh(inside + "ip addr add 203.0.113.9/24 dev eth0")
        sh(inside + "ip link set eth0 up")
        server = subprocess.Popen([*inside.split(), sys.executable, "-c", SERVER],
                                  stdout=subprocess.PIPE, text=True)
        self.addCleanup(lambda: (server.kill(), server.wait(), server.stdout.close()))
        self.assertEqual(server.stdout.readline(), "ready\n")

    def boot(self, number, model, driver):
        guest = Console(RUN, [
            "-accel", "soft", "-m", "160", "-nographic", "-kernel", VMLINUZ, "-initrd", INITRD,
            "-append", "console=ttyS0 quiet nic=%s ip=10.0.1.%d/24" % (driver, 10 + number),
            "-net", "nic,model=" + model, "-net",
            "tap,ifname=vm%d,script=%s,downscript=%s" % (number, self.up, self.down)])
        self.guests.append(guest)
        return guest

    def script(self, name, text):
        with open(name, "w") as f:
            f.write("#!/bin/sh\n" + text + "\n")
        os.chmod(name, 0o755)
        return os.path.abspath(name)

    def test_two_guests_and_the_world(self):
        self.world()
        self.up = self.script("up", "exec %s ifup $1 --bridge br0" % NET)
        self.down = self.script("down", "exec %s ifdown $1" % NET)
        sh(NET + " bridge up br0 --subnet 10.0.1.1/24")
        # Both boot at once.
        a, b = self.boot(0, "virtio", "virtio_net"), self.boot(1, "e1000", "e1000")
        for number, guest in enumerate((a, b)):
            guest.expect(PROMPT)
            guest.command("ip route add default via 10.0.1.1")
            guest.command("ip -6 addr add fd00::%d/64 dev eth0" % (10 + number))
        for guest, other in ((a, "11"), (b, "10")):
            self.reached(guest, "ping -c 3 10.0.1." + other)
            self.reached(guest, "ping -6 -c 3 fd00::" + other)
            # The server sees the host's address, not the guest's.
            self.assertIn("203.0.113.1", guest.command("echo w | nc 203.0.113.9 7777"))
        # From the world to the one guest, from there to the other.
        sums = []
        a.command("(echo d | nc 203.0.113.9 7777) >blob", 300)
        sums += [a.command("md5sum blob").split()[0], a.command("wc -c blob").split()[0]]
        b.type("nc -l -p 5000 >blob")
        b.expect("\n")
        for _ in range(50):  # until it listens
            if a.command("nc 10.0.1.11 5000 <blob && echo sent", 300).strip() == "sent":
                break
        b.expect(PROMPT)
        sums += [b.command("md5sum blob").split()[0]]
        self.assertEqual(sums[1], str(MIB << 20))
        self.assertEqual(sums[0], sums[2])
        for guest in (a, b):
            guest.type("poweroff")
            self.assertEqual(guest.wait(), 0, guest.text[-2000:])
        links = subprocess.run(["ip", "link"], capture_output=True, text=True).stdout
        self.assertNotIn("vm0", links)
        self.assertNotIn("vm1", links)

    def reached(self, guest, command):
        """What is there answers in the end: an address of IPv6 is tried first."""
        for _ in range(10):
            said = guest.command(command)
            if " 0% packet loss" in said:
                return
            time.sleep(0.5)
        self.fail(command + ": " + said)


if __name__ == "__main__":
    if os.environ.get("ATOLL_NET_TEST") != "inside":
        paths = [os.path.abspath(p) for p in (RUN, NET, VMLINUZ, INITRD)]
        os.environ["ATOLL_NET_TEST"] = "inside"
        os.execvp("unshare", ["unshare", "-Urn", sys.executable, os.path.abspath(__file__), *paths,
                              *TESTS])
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    unittest.main(argv=[sys.argv[0], *TESTS], verbosity=2)
