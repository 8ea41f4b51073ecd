#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Moves data in and out of a guest by each network card and backend, in a user and
network namespace of the test's own.

usage: net_test.py [--model=MODEL] [--mib=N] RUN VMLINUZ INITRD [TEST...]

INITRD is one of tools/make-net-guest, VMLINUZ the kernel of its modules.
"""

import fcntl
import hashlib
import os
import random
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import unittest

from console import ACCEL, PROMPT, Console

# Each card and the driver that Linux has for it.
DRIVERS = {"virtio": "virtio_net", "e1000": "e1000", "rtl8139": "8139cp", "rtl8139c": "8139too",
           "ne2k_pci": "ne2k-pci"}
OPTIONS = dict(a[2:].split("=", 1) for a in sys.argv[1:] if a.startswith("--"))
ARGUMENTS = [a for a in sys.argv[1:] if not a.startswith("--")]
# Each test runs in a folder of its own.
RUN, VMLINUZ, INITRD = (os.path.abspath(p) for p in ARGUMENTS[:3])
TESTS = ARGUMENTS[3:]
MODEL = OPTIONS.get("model", "virtio")
MIB = int(OPTIONS.get("mib", "20"))
# More than this is not kept by the guest, but sent back as it comes.
MOST_KEPT = 200
HOST, GUEST = "10.77.0.1", "10.77.0.2"
TUNSETIFF, IFF_TAP, IFF_NO_PI = 0x400454CA, 2, 0x1000


def pieces(seed):
    """MIB MiB of which none is like another."""
    block = random.Random(seed).randbytes(1 << 20)
    for i in range(MIB):
        yield struct.pack("<Q", i) + block[8:]


class Server(threading.Thread):
    """Listens on a port; gives one client what comes from `data`, or takes what it sends."""

    def __init__(self, address, port, data=None):
        super().__init__(daemon=True)
        self.listener = socket.create_server((address, port))
        self.data = data
        self.digest = hashlib.md5()
        self.seconds = 0.0
        self.start()

    def run(self):
        client, _ = self.listener.accept()
        start = time.monotonic()
        with client:
            if self.data is not None:
                for piece in self.data:
                    self.digest.update(piece)
                    client.sendall(piece)
            else:
                while piece := client.recv(1 << 18):
                    self.digest.update(piece)
        self.seconds = time.monotonic() - start
        self.listener.close()

    def result(self):
        self.join(300 + 20 * MIB)
        assert not self.is_alive(), "the connection has not ended"
        return self.digest.hexdigest()


class TapPeer(threading.Thread):
    """The other end of a stream socket: a tap of the host, frame by frame."""

    def __init__(self, path):
        super().__init__(daemon=True)
        self.tap = os.open("/dev/net/tun", os.O_RDWR)
        fcntl.ioctl(self.tap, TUNSETIFF, struct.pack("16sH22x", b"peer0", IFF_TAP | IFF_NO_PI))
        set_up("peer0")
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(path)
        self.listener.listen()
        self.start()

    def run(self):
        self.stream, _ = self.listener.accept()
        threading.Thread(target=self.out, daemon=True).start()
        data = b""
        while True:
            try:
                more = self.stream.recv(1 << 18)
            except ConnectionResetError:  # it went with a frame of ours unread
                more = b""
            # Left behind, the interface would take answers to the next test's guest.
            if not more:
                subprocess.run(["ip", "link", "del", "peer0"], check=True)
                return
            data += more
            at = 0
            while len(data) - at >= 4:
                size, = struct.unpack_from(">I", data, at)
                if len(data) - at - 4 < size:
                    break
                os.write(self.tap, data[at + 4:at + 4 + size])
                at += 4 + size
            data = data[at:]

    def out(self):
        try:
            while True:
                frame = os.read(self.tap, 1 << 16)
                self.stream.sendall(struct.pack(">I", len(frame)) + frame)
        except OSError:  # the guest has gone, and the interface with it
            os.close(self.tap)
            self.stream.close()
            self.listener.close()


def set_up(interface):
    subprocess.run(["ip", "addr", "add", HOST + "/24", "dev", interface], check=True)
    subprocess.run(["ip", "link", "set", interface, "up"], check=True)


class Net(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.TemporaryDirectory(dir="/tmp")
        os.chdir(self.dir.name)
        self.guest = None

    def tearDown(self):
        if self.guest is not None and self.guest.status is None:
            self.guest.kill()
        os.chdir("/")
        self.dir.cleanup()

    def script(self, name, text):
        with open(name, "w") as f:
            f.write("#!/bin/sh\n" + text + "\n")
        os.chmod(name, 0o755)
        return os.path.abspath(name)

    def args(self, *network, address=GUEST):
        nic = "nic,vlan=1,model=" + MODEL
        return ["-accel", ACCEL, "-m", str(128 + 2 * min(MIB, MOST_KEPT)), "-nographic", "-kernel", VMLINUZ,
                "-initrd", INITRD, "-append",
                "console=ttyS0 quiet nic=%s ip=%s/24" % (DRIVERS[MODEL], address), "-net", nic,
                *network]

    def boot(self, *network, address=GUEST):
        self.guest = Console(RUN, self.args(*network, address=address))
        self.guest.expect(PROMPT)
        return self.guest

    def transfer(self, host=HOST, listen=HOST, passt=False):
        """Both ways between the guest and who it reaches as `host`."""
        c = self.guest
        if not passt:  # which may not ping here
            self.assertIn(" 0% packet loss", c.command("ping -c 3 -s 1472 " + host))
        if MIB > MOST_KEPT:
            self.both_ways_at_once(host, listen)
        else:
            # Debian 12's passt comes to a halt when a guest that has said all is sent more.
            self.one_way_after_the_other(host, listen, "" if passt else "</dev/null")
        errors = c.command("cat /sys/class/net/eth0/statistics/[rt]x_errors").split()
        self.assertEqual(errors, ["0", "0"], "frames that the card has spoilt")
        # What TCP would have mended.
        names, counts = (line.split() for line in c.command("grep ^Tcp: /proc/net/snmp").splitlines()
                         if line.startswith("Tcp: "))
        self.assertEqual(dict(zip(names, counts))["InCsumErrors"], "0")
        c.type("poweroff")
        self.assertEqual(c.wait(), 0, c.text[-2000:])

    def both_ways_at_once(self, host, listen):
        incoming, outgoing = Server(listen, 5000, pieces(1)), Server(listen, 5001)
        self.guest.command("nc %s 5000 </dev/null | nc %s 5001" % (host, host), 300 + 20 * MIB)
        self.assertEqual(outgoing.result(), incoming.result(), "what came back from the guest")
        print("%s, %d MiB: in and out at once in %.1f s" % (MODEL, MIB, outgoing.seconds), flush=True)

    def one_way_after_the_other(self, host, listen, stdin):
        c = self.guest
        incoming = Server(listen, 5000, pieces(1))
        c.command("nc %s 5000 %s >blob" % (host, stdin), 300)
        got = c.command("md5sum blob", 120).split()[0]
        self.assertEqual(got, incoming.result(), "what came into the guest")
        outgoing = Server(listen, 5001)
        c.command("nc %s 5001 <blob" % host, 300)
        self.assertEqual(outgoing.result(), got, "what came out of the guest")
        print("%s, %d MiB: in %.1f s, out %.1f s" % (MODEL, MIB, incoming.seconds, outgoing.seconds),
              flush=True)

    def test_tap(self):
        up = self.script("up", "ip addr add %s/24 dev $1 && ip link set $1 up" % HOST)
        down = self.script("down", "echo $1 >%s/down.log" % self.dir.name)
        self.boot("-net", "tap,vlan=1,ifname=vm0,script=%s,downscript=%s" % (up, down))
        self.transfer()
        with open("down.log") as f:
            self.assertEqual(f.read(), "vm0\n")

    def test_stream(self):
        peer = TapPeer("peer.sock")
        self.boot("-net", "stream,vlan=1,path=peer.sock")
        self.transfer()
        peer.join(30)

    def test_user(self):
        self.boot("-net", "user,vlan=1,hostfwd=tcp:127.0.0.1:5022-:22", address="10.0.2.15")
        self.guest.command("ip route add default via 10.0.2.2")
        self.forward(5022, 22)
        self.assertIn("no guest's address", self.monitor("hostfwd_add tcp::5023-192.0.2.1:23"))
        self.assertEqual(self.monitor("hostfwd_add tcp:127.0.0.1:5023-:23"), "")
        self.assertIn("forward tcp:127.0.0.1:5023-10.0.2.15:23\n", self.monitor("info usernet"))
        self.forward(5023, 23)
        self.assertEqual(self.monitor("hostfwd_remove tcp:127.0.0.1:5023"), "")
        with self.assertRaises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", 5023))
        self.transfer("10.0.2.2", "127.0.0.1")

    def test_passt(self):
        """passt as the peer of a stream socket: it stands in for the interface `outside`."""
        for words in ("tuntap add outside mode tap", "addr add 10.77.1.2/24 dev outside",
                      "link set outside up", "route add default via 10.77.1.1 dev outside"):
            subprocess.run(["ip", *words.split()], check=True)
        os.chmod(".", 0o777)  # it becomes somebody else
        passt = subprocess.Popen(["passt", "-f", "-1", "-s", os.path.abspath("passt.sock"), "-i", "outside",
                                  "-a", "10.77.1.2", "-n", "24", "-g", "10.77.1.1",
                                  "-t", "none", "-u", "none"])
        try:
            for _ in range(100):
                if os.path.exists("passt.sock"):
                    break
                time.sleep(0.1)
            self.boot("-net", "stream,vlan=1,path=passt.sock", address="10.77.1.2")
            self.guest.command("ip route add default via 10.77.1.1")
            self.transfer("10.77.1.1", "127.0.0.1", passt=True)
            passt.wait(30)  # it ends with its guest
        finally:
            passt.kill()
            passt.wait()

    def monitor(self, line):
        """What the monitor at the console answers."""
        os.write(self.guest.fd, b"\x01c")
        self.guest.expect("(run) ", 30)
        self.guest.type(line)
        self.guest.expect("\n", 30)
        answer = self.guest.expect("(run) ", 30)
        os.write(self.guest.fd, b"\x01c")
        return answer.replace("\r", "")

    def forward(self, port, guest_port):
        """The host's port leads to the guest's."""
        self.guest.type("echo from the guest | nc -l -p %d" % guest_port)
        self.guest.expect("\n")
        words = b""
        for _ in range(100):
            try:
                with socket.create_connection(("127.0.0.1", port)) as s:
                    s.settimeout(10)
                    words = s.recv(100)
            except OSError:
                pass
            if words:
                break
            time.sleep(0.1)  # the guest does not listen yet
        self.assertEqual(words, b"from the guest\n")
        self.guest.expect(PROMPT)

    def test_inherited_tap(self):
        tap = os.open("/dev/net/tun", os.O_RDWR)
        fcntl.ioctl(tap, TUNSETIFF, struct.pack("16sH22x", b"given0", IFF_TAP | IFF_NO_PI))
        set_up("given0")
        os.dup2(tap, 9, inheritable=True)
        self.boot("-net", "tap,vlan=1,fd=9")
        os.close(9)
        os.close(tap)
        self.assertIn("3 packets received", self.guest.command("ping -c 3 " + HOST))
        self.guest.type("poweroff")
        self.assertEqual(self.guest.wait(), 0)

    def test_script_that_fails_stops_the_start(self):
        bad = self.script("bad", "echo no bridge for $1; exit 4")
        result = subprocess.run([RUN] + self.args("-net", "tap,vlan=1,ifname=vm1,script=" + bad),
                                capture_output=True, text=True, stdin=subprocess.DEVNULL)
        self.assertEqual(result.returncode, 1)
        self.assertIn("no bridge for vm1", result.stderr)
        self.assertIn("status 4", result.stderr)
        links = subprocess.run(["ip", "link"], capture_output=True, text=True).stdout
        self.assertNotIn("vm1", links)

    def test_script_for_the_end_runs_after_a_kill(self):
        down = self.script("down", "echo $1 >%s/killed.log" % self.dir.name)
        self.boot("-net", "tap,vlan=1,ifname=vm2,downscript=" + down)
        os.kill(self.guest.pid, signal.SIGKILL)
        os.waitpid(self.guest.pid, 0)
        self.guest = None
        for _ in range(100):
            if os.path.exists("killed.log") and os.path.getsize("killed.log"):
                break
            time.sleep(0.1)
        with open("killed.log") as f:
            self.assertEqual(f.read(), "vm2\n")
        links = subprocess.run(["ip", "link"], capture_output=True, text=True).stdout
        self.assertNotIn("vm2", links)

    def test_peer_that_goes_takes_the_carrier(self):
        listener = socket.socket(socket.AF_UNIX)
        listener.bind("peer.sock")
        listener.listen()
        self.boot("-net", "stream,vlan=1,path=peer.sock")
        peer, _ = listener.accept()
        self.assertEqual(self.guest.command("cat /sys/class/net/eth0/carrier").strip(), "1")
        peer.close()
        for _ in range(20):
            if self.guest.command("cat /sys/class/net/eth0/carrier").strip() == "0":
                break
            time.sleep(0.2)
        else:
            self.fail("the guest's cable is still in")
        self.assertIn("the peer has closed it", self.guest.text)
        listener.close()


if __name__ == "__main__":
    if os.environ.get("ATOLL_NET_TEST") != "inside":
        more = ["--%s=%s" % o for o in OPTIONS.items()]
        os.environ["ATOLL_NET_TEST"] = "inside"
        os.execvp("unshare", ["unshare", "-Urn", sys.executable, os.path.abspath(__file__), *more,
                              RUN, VMLINUZ, INITRD, *TESTS])
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    unittest.main(argv=[sys.argv[0], *TESTS], verbosity=2)
