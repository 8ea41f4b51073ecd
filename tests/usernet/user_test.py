#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""net user between a host and guests that are all namespaces of this test.

usage: user_test.py NET [CASE...]

The test runs again as root of a user and network namespace, which is the host; each
guest is a process in a network namespace below it. A function guest_X runs there, and
what it returns is compared here.
"""

import hashlib
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from guest import Guest, ip  # noqa: E402

SLOWNESS = int(os.environ.get("ATOLL_TEST_SLOWNESS", "1"))
TIMEOUT = 60 * SLOWNESS
PATTERN = bytes(i * 7 & 255 for i in range(65521))


def pattern(size):
    return (PATTERN * (size // len(PATTERN) + 1))[:size]


# --- In the guest ---


def fetch(host, size):
    with socket.create_connection((host, 9000), timeout=TIMEOUT) as s:
        s.sendall(b"get %d\n" % size)
        digest = hashlib.sha256()
        while True:
            data = s.recv(1 << 20)
            if not data:
                return digest.hexdigest()
            digest.update(data)


def push(host, size):
    with socket.create_connection((host, 9000), timeout=TIMEOUT) as s:
        s.sendall(b"put\n")
        s.sendall(pattern(size))
        s.shutdown(socket.SHUT_WR)
        return s.makefile().read()


def guest_transfer(guest, hosts, size):
    guest.address()
    return [[fetch(h, size), push(h, size)] for h in hosts]


def guest_many(guest, host, count, size):
    """As many connections at once."""
    guest.address()
    results = []
    threads = [threading.Thread(target=lambda: results.append(fetch(host, size)))
               for _ in range(count)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    return results


def attempt(function):
    try:
        return function()
    except OSError as e:
        return type(e).__name__


def udp(host, port, data):
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as s:
        s.settimeout(5 * SLOWNESS)
        s.connect((host, port))
        s.send(data)
        return s.recv(65536) == data[::-1]


def checksum(data):
    total = sum(struct.unpack(">%dH" % (len(data) // 2), data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def ping(host, size=56):
    v6 = ":" in host
    message = struct.pack(">BBHHH", 128 if v6 else 8, 0, 0, 77, 1) + b"p" * size
    if not v6:
        message = message[:2] + struct.pack(">H", checksum(message)) + message[4:]
    with socket.socket(socket.AF_INET6 if v6 else socket.AF_INET, socket.SOCK_RAW,
                       socket.IPPROTO_ICMPV6 if v6 else socket.IPPROTO_ICMP) as s:
        s.settimeout(3 * SLOWNESS)
        s.sendto(message, (host, 0))
        while True:
            reply = s.recv(65536)
            reply = reply if v6 else reply[(reply[0] & 15) * 4:]
            if reply[0] == (129 if v6 else 0):
                return struct.unpack(">H", reply[4:6])[0] == 77 and reply[8:] == message[8:]
            if reply[0] in (1, 3):
                return "unreachable %d" % reply[1]


def guest_services(guest):
    guest.address()
    out = {}
    out["refused"] = attempt(lambda: socket.create_connection(("10.0.2.2", 9), timeout=10))
    out["udp"] = [udp(h, 9001, b"hello") for h in ("10.0.2.2", "fec0::2")]
    out["udp in fragments"] = [udp(h, 9001, pattern(9000)) for h in ("10.0.2.2", "fec0::2")]
    out["udp refused"] = attempt(lambda: udp("10.0.2.2", 9, b"x"))
    out["names"] = [udp(h, 53, b"a question") for h in ("10.0.2.3", "fec0::3")]
    out["ping"] = [ping("10.0.2.2"), ping("fec0::2"), ping("10.0.2.2", 4000)]
    out["ping beyond"] = [ping("192.0.2.1"), ping("2001:db8::1")]
    out["tcp beyond"] = fetch("192.0.2.1", 1000)
    out["loopback is not reached"] = attempt(
        lambda: socket.create_connection(("10.0.2.77", 9000), timeout=2))
    # Requests for a file of the TFTP folder, and for one outside.
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.settimeout(5 * SLOWNESS)
        s.sendto(b"\0\1file\0octet\0", ("10.0.2.2", 69))
        data, where = s.recvfrom(600)
        out["tftp"] = [data[4:].decode(), list(where)]
        s.sendto(b"\0\1../user_test\0octet\0", ("10.0.2.2", 69))
        out["tftp outside"] = s.recv(600)[1]
    return out


def guest_autoconfigured(guest):
    for _ in range(100 * SLOWNESS):
        shown = subprocess.run(["ip", "-6", "-o", "addr", "show", "dev", "eth0", "scope", "site"],
                               capture_output=True, text=True).stdout
        if "fec0::" in shown and "tentative" not in shown:
            break
        time.sleep(0.1)
    route = subprocess.run(["ip", "-6", "route", "show", "default"], capture_output=True,
                           text=True).stdout
    return {"address": "fec0::" in shown, "router": "via fe80::2" in route,
            "fetched": fetch("fec0::2", 100000)}


def serve_tcp(family, address, port=9000):
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((address, port))
    listener.listen(300)

    def one(connection):
        with connection, connection.makefile("rb") as f:
            try:
                words = f.readline().split()
                if words[:1] == [b"get"]:
                    connection.sendall(pattern(int(words[1])))
                elif words[:1] == [b"put"]:
                    digest = hashlib.sha256()
                    while data := f.read1(1 << 20):
                        digest.update(data)
                    connection.sendall(digest.hexdigest().encode())
            except OSError:
                pass

    def serve():
        while True:
            threading.Thread(target=one, args=(listener.accept()[0],), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()


def serve_udp(family, address, port):
    s = socket.socket(family, socket.SOCK_DGRAM)
    s.bind((address, port))

    def serve():
        while True:
            data, peer = s.recvfrom(65536)
            s.sendto(data[::-1], peer)

    threading.Thread(target=serve, daemon=True).start()


def guest_server(guest, ready):
    """Serves on the guest's side until the test is over."""
    guest.address()
    for family, any_address in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
        if family == socket.AF_INET:
            serve_tcp(family, any_address)
            serve_udp(family, any_address, 9001)
    serve_tcp(socket.AF_INET6, "fec0::15")
    open(ready, "w").close()
    time.sleep(TIMEOUT)


def guest_restricted(guest):
    guest.address()
    return {"gateway": attempt(lambda: fetch("10.0.2.2", 10)),
            "world": attempt(lambda: fetch("192.0.2.1", 10)),
            "names": attempt(lambda: udp("10.0.2.3", 53, b"x")),
            "ping": ping("10.0.2.2")}


def guest_neighbour(guest, size):
    """The second guest, which fetches from the first."""
    guest.address("10.0.2.16/24", "fec0::16/64")
    return {"v4": fetch("10.0.2.15", size), "v6": fetch("fec0::15", size),
            "ping": ping("10.0.2.15"), "host": fetch("10.0.2.2", size)}


# --- On the host ---


class User(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp(dir="/tmp")
        self.socket = self.folder + "/net"
        self.control = self.folder + "/control"
        self.processes = []

    def tearDown(self):
        for p in self.processes:
            p.kill()
            p.wait()
            if p.stdout:
                p.stdout.close()
        # The guardian of a killed net takes the socket's name away, perhaps meanwhile.
        shutil.rmtree(self.folder, ignore_errors=True)

    def net(self, *options):
        net = subprocess.Popen([NET, "user", "-c", self.control, *options, self.socket])
        self.processes.append(net)
        for _ in range(100 * SLOWNESS):
            if os.path.exists(self.socket):
                return net
            self.assertIsNone(net.poll(), "net user has ended")
            time.sleep(0.05)
        self.fail("no socket")

    def guest(self, name, args=(), **how):
        guest = subprocess.Popen(
            ["unshare", "-n", sys.executable, __file__, "--guest", name,
             json.dumps([self.socket, how, list(args)])], stdout=subprocess.PIPE, text=True)
        self.processes.append(guest)
        return guest

    def result(self, guest):
        text, _ = guest.communicate(timeout=2 * TIMEOUT)
        self.assertEqual(guest.returncode, 0)
        return json.loads(text)

    def tell(self, line):
        with socket.socket(socket.AF_UNIX) as s:
            s.connect(self.control)
            s.sendall(line.encode() + b"\n")
            answer = b""
            while not (answer.endswith(b"ok\n") or b"error: " in answer):
                data = s.recv(65536)
                self.assertTrue(data, answer)
                answer += data
            return answer.decode()

    def digest(self, size):
        return hashlib.sha256(pattern(size)).hexdigest()

    def ends(self, net):
        net.send_signal(signal.SIGTERM)
        self.assertEqual(net.wait(10), 0)
        self.assertEqual(os.listdir(self.folder), [])

    def test_tcp(self):
        net = self.net("-p", self.folder + "/pcap")
        size = 20_000_000
        d = self.digest(size)
        self.assertEqual(self.result(self.guest("transfer", (["10.0.2.2", "fec0::2"], size))),
                         [[d, d]] * 2)
        with open(self.folder + "/pcap", "rb") as f:
            self.assertEqual(f.read(4), b"\x4d\x3c\xb2\xa1")
        self.assertGreater(os.path.getsize(self.folder + "/pcap"), 4 * size)
        os.unlink(self.folder + "/pcap")
        d = self.digest(100_000)
        self.assertEqual(self.result(self.guest("many", ("10.0.2.2", 200, 100_000))), [d] * 200)
        self.assertIn("guests 0\n", self.tell("info"))
        self.ends(net)

    def test_loss_and_reordering(self):
        self.net()
        size = 3_000_000
        d = self.digest(size)
        guest = self.guest("transfer", (["10.0.2.2", "fec0::2"], size), loss=0.02, reorder=0.02,
                           double=0.01)
        self.assertEqual(self.result(guest), [[d, d]] * 2)

    def test_large_packets(self):
        self.net("-m", "65520")
        size = 100_000_000
        d = self.digest(size)
        self.assertEqual(self.result(self.guest("transfer", (["10.0.2.2"], size), mtu=65520)),
                         [[d, d]])

    def test_services(self):
        for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
            serve_udp(family, address, 9001)
        serve_udp(socket.AF_INET, "127.0.0.1", 53)
        os.mkdir(self.folder + "/tftp")
        with open(self.folder + "/tftp/file", "w") as f:
            f.write("content")
        net = self.net("--resolver", "127.0.0.1", "-t", self.folder + "/tftp", "-b", "file")
        got = self.result(self.guest("services"))
        self.assertEqual(got.pop("refused"), "ConnectionRefusedError")
        self.assertEqual(got.pop("udp refused"), "ConnectionRefusedError")
        self.assertEqual(got.pop("tcp beyond"), self.digest(1000))
        self.assertIn(got.pop("loopback is not reached"), ("TimeoutError", "OSError"))
        self.assertEqual(got.pop("tftp"), ["content", ["10.0.2.2", 69]])
        self.assertEqual(got.pop("tftp outside"), 5)
        for what, results in got.items():
            self.assertEqual(results, [True] * len(results), what)
        got = self.result(self.guest("autoconfigured"))
        self.assertEqual(got, {"address": True, "router": True, "fetched": self.digest(100000)})
        shutil.rmtree(self.folder + "/tftp")
        self.ends(net)

    def test_forwards(self):
        self.net("-f", "tcp:127.0.0.1:8000-:9000", "-f", "udp::8001-:9001")
        ready = self.folder + "/ready"
        self.guest("server", (ready,))
        d = self.digest(300_000)
        # Before the guest is there, a connection waits for it.
        self.assertEqual(fetch_at(("127.0.0.1", 8000), 300_000), d)
        self.assertTrue(os.path.exists(ready))
        self.assertTrue(udp("127.0.0.1", 8001, b"to the guest"))
        with self.assertRaises(ConnectionRefusedError):
            fetch_at(("127.0.0.1", 8002), 10)
        self.assertEqual(self.tell("hostfwd_add tcp:127.0.0.1:8002-:9000"), "ok\n")
        self.assertEqual(self.tell("hostfwd_add tcp:[::1]:8003-[fec0::15]:9000"), "ok\n")
        self.assertEqual(fetch_at(("127.0.0.1", 8002), 300_000), d)
        self.assertEqual(fetch_at(("::1", 8003), 300_000), d)
        self.assertIn("error: ", self.tell("hostfwd_add tcp:127.0.0.1:8002-:9000"))
        self.assertIn("forward tcp:127.0.0.1:8002-10.0.2.15:9000\n", self.tell("info"))
        self.assertEqual(self.tell("hostfwd_remove tcp:127.0.0.1:8002"), "ok\n")
        with self.assertRaises(ConnectionRefusedError):
            fetch_at(("127.0.0.1", 8002), 10)
        self.assertIn("error: nothing", self.tell("hostfwd_remove tcp:127.0.0.1:8002"))
        self.assertIn("error: commands are", self.tell("bogus"))

    def test_restrict(self):
        self.net("-r", "-f", "tcp:127.0.0.1:8000-:9000")
        got = self.result(self.guest("restricted"))
        self.assertEqual(got, {"gateway": "ConnectionRefusedError",
                               "world": "ConnectionRefusedError",
                               "names": "OSError", "ping": True})
        ready = self.folder + "/ready"
        self.guest("server", (ready,))
        self.assertEqual(fetch_at(("127.0.0.1", 8000), 300_000), self.digest(300_000))

    def test_two_guests(self):
        self.net()
        ready = self.folder + "/ready"
        self.guest("server", (ready,), mac="52:54:00:00:00:0a")
        for _ in range(100 * SLOWNESS):
            if os.path.exists(ready):
                break
            time.sleep(0.1)
        d = self.digest(5_000_000)
        got = self.result(self.guest("neighbour", (5_000_000,), mac="52:54:00:00:00:0b"))
        self.assertEqual(got, {"v4": d, "v6": d, "ping": True, "host": d})


def fetch_at(address, size):
    with socket.create_connection(address, timeout=TIMEOUT) as s:
        s.sendall(b"get %d\n" % size)
        digest = hashlib.sha256()
        while data := s.recv(1 << 20):
            digest.update(data)
        return digest.hexdigest()


def be_guest(name, text):
    path, how, args = json.loads(text)
    print(json.dumps(globals()["guest_" + name](Guest(path, **how), *args)))
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    if sys.argv[1] == "--guest":
        be_guest(*sys.argv[2:])
    if sys.argv[1] != "--inside":
        sys.exit(subprocess.run(["unshare", "-Urn", sys.executable, os.path.abspath(__file__),
                                 "--inside", *sys.argv[1:]]).returncode)
    NET = os.path.abspath(sys.argv[2])
    ip("link", "set", "lo", "up")
    ip("addr", "add", "192.0.2.1/32", "dev", "lo")
    ip("-6", "addr", "add", "2001:db8::1/128", "dev", "lo", "nodad")
    with open("/proc/sys/net/ipv4/ping_group_range", "w") as f:
        f.write("0 0")
    for address in ("127.0.0.1", "192.0.2.1", "::1"):
        serve_tcp(socket.AF_INET6 if ":" in address else socket.AF_INET, address)
    unittest.main(argv=[sys.argv[0], *sys.argv[3:]], verbosity=2)
