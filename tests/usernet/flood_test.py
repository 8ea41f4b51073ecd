#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""net user under floods: one guest sends as much as the socket takes of everything that
would have it keep something, another goes on pinging the gateway. Memory, descriptors and
the work for a frame have bounds, and the other guest is answered.

usage: flood_test.py NET [FRAMES]

In a user and network namespace of its own; the guests speak frames, no taps are needed.
"""

import os
import random
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time

SLOWNESS = int(os.environ.get("ATOLL_TEST_SLOWNESS", "1"))
GATEWAY_MAC = bytes.fromhex("52550a000202")
GATEWAY, NAMES, WORLD = bytes([10, 0, 2, 2]), bytes([10, 0, 2, 3]), bytes([192, 0, 2, 1])
TCP, UDP, ICMP, ICMP6 = 6, 17, 1, 58
FIN, SYN, RST, ACK = 1, 2, 4, 16
PORT = 7000

# What it may come to in all: the rings' budget of 64 MiB, two small rings of each connection,
# and the program; and what the same floods once more may add.
MOST_MEMORY_KIB = 192 << 10
MOST_GROWTH_KIB = 4 << 10
MOST_DESCRIPTORS = 4096 + 64
MOST_CPU_PER_FRAME = 200e-6 * SLOWNESS
MOST_SECONDS_TO_ANSWER = 10.0 * SLOWNESS


def check(condition, *words):
    if not condition:
        raise AssertionError(" ".join(str(w) for w in words))


def checksum(data):
    if len(data) & 1:
        data += b"\0"
    total = sum(struct.unpack(">%dH" % (len(data) // 2), data))
    total = (total & 0xFFFF) + (total >> 16)
    return ~(total + (total >> 16)) & 0xFFFF


def ipv4(mac, source, to, protocol, payload, fragment=0, number=0):
    head = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + len(payload), number, fragment, 64, protocol, 0,
                       source, to)
    head = head[:10] + struct.pack(">H", checksum(head)) + head[12:]
    target = b"\xff" * 6 if to == b"\xff" * 4 else GATEWAY_MAC
    return target + mac + b"\x08\0" + head + payload


def tcp(source, to, port, to_port, sequence, acknowledgement, flags, data=b""):
    head = struct.pack(">HHIIBBHHH", port, to_port, sequence, acknowledgement, 0x50, flags, 65535, 0, 0)
    pseudo = source + to + struct.pack(">HH", TCP, len(head) + len(data))
    return head[:16] + struct.pack(">H", checksum(pseudo + head + data)) + head[18:] + data


def udp(port, to_port, data):
    return struct.pack(">HHHH", port, to_port, 8 + len(data), 0) + data


def echo(number, size=32):
    message = struct.pack(">BBHHH", 8, 0, 0, 77, number) + b"p" * size
    return message[:2] + struct.pack(">H", checksum(message)) + message[4:]


def arp(mac, source, to):
    return b"\xff" * 6 + mac + b"\x08\x06" + struct.pack(">HHBBH6s4s6s4s", 1, 0x800, 6, 4, 1, mac, source,
                                                         bytes(6), to)


def icmp6(mac, source, to, message):
    pseudo = source + to + struct.pack(">IHH", len(message), 0, ICMP6)
    message = message[:2] + struct.pack(">H", checksum(pseudo + message)) + message[4:]
    return (b"\x33\x33" + to[12:] + mac + b"\x86\xdd" +
            struct.pack(">IHBB", 6 << 28, len(message), ICMP6, 255) + source + to + message)


def question(number):
    return struct.pack(">HHHHHH", number & 0xFFFF, 0x100, 1, 0, 0, 0) + b"\1x\0\0\1\0\1"


class Guest:
    def __init__(self, path, last):
        self.mac = bytes([0x52, 0x54, 0, 0, 0, last])
        self.address = bytes([10, 0, 2, last])
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(path)

    def send(self, frames):
        self.socket.sendall(b"".join(struct.pack(">I", len(f)) + f for f in frames))

    def received(self):
        try:
            return self.socket.recv(1 << 18)
        except ConnectionResetError:
            return b""

    def frames(self):
        """What comes, one by one."""
        data = b""
        while more := self.received():
            data += more
            at = 0
            while len(data) - at >= 4:
                size, = struct.unpack_from(">I", data, at)
                if len(data) - at - 4 < size:
                    break
                yield data[at + 4:at + 4 + size]
                at += 4 + size
            data = data[at:]


class Victim(Guest):
    """Pings the gateway, fifty times a second."""

    def __init__(self, path):
        super().__init__(path, 200)
        self.sent, self.longest, self.answers = {}, 0.0, 0
        self.over = False
        self.send([arp(self.mac, self.address, GATEWAY)])
        self.hearer = threading.Thread(target=self.hear, daemon=True)
        self.hearer.start()
        threading.Thread(target=self.ping, daemon=True).start()

    def ping(self):
        number = 0
        while not self.over:
            number = number % 60000 + 1
            self.sent[number] = time.monotonic()
            self.send([ipv4(self.mac, self.address, GATEWAY, ICMP, echo(number))])
            time.sleep(0.02)

    def hear(self):
        for f in self.frames():
            if f[12:14] == b"\x08\0" and f[23] == ICMP and f[34] == 0:
                begun = self.sent.pop(struct.unpack(">H", f[40:42])[0], None)
                if begun is not None:
                    self.answers += 1
                    self.longest = max(self.longest, time.monotonic() - begun)
            elif f[12:14] == b"\x08\x06" and f[21] == 1 and f[38:42] == self.address:
                self.send([GATEWAY_MAC + self.mac + b"\x08\x06" + struct.pack(
                    ">HHBBH6s4s6s4s", 1, 0x800, 6, 4, 2, self.mac, self.address, f[22:28], f[28:32])])


class Flooder(Guest):
    def __init__(self, path):
        super().__init__(path, 15)
        self.reads = True
        self.floods = 0
        self.pinged = 0  # the number of the last short ping that was answered
        self.random = random.Random(6)
        self.answered = {}  # a connection's port: the far end's number
        self.begun = {}     # and what the next byte's number is here
        threading.Thread(target=self.hear, daemon=True).start()

    def hear(self):
        for f in self.frames():
            if f[12:14] == b"\x08\0" and f[23] == TCP and f[47] & (SYN | ACK) == SYN | ACK:
                self.answered[struct.unpack(">H", f[36:38])[0]] = struct.unpack(">I", f[38:42])[0]
            elif f[12:14] == b"\x08\0" and f[23] == ICMP and f[34] == 0 and len(f) < 100:
                self.pinged = struct.unpack(">H", f[40:42])[0]
            while not self.reads:
                time.sleep(0.01)

    def mac_of(self, i):
        return b"\x52\x66" + struct.pack(">I", i)

    def arps(self, i):
        return arp(self.mac_of(i), bytes([10, 0, 2, i % 250 + 2]), GATEWAY)

    def syns_to_nobody(self, i):
        return ipv4(self.mac, self.address, GATEWAY, TCP,
                    tcp(self.address, GATEWAY, i % 60000 + 1, 9, i, 0, SYN))

    def syns_to_a_server(self, i):
        self.begun[i % 60000 + 1] = i + 1
        return ipv4(self.mac, self.address, GATEWAY, TCP,
                    tcp(self.address, GATEWAY, i % 60000 + 1, PORT, i, 0, SYN))

    def syns_to_the_world(self, i):
        to = bytes([203, 0, 113, i % 250 + 1])
        return ipv4(self.mac, self.address, to, TCP, tcp(self.address, to, i % 60000 + 1, 80, i, 0, SYN))

    def data_ahead_of_its_turn(self, i):
        """On connections that are open: bytes behind a gap that is never filled."""
        if not self.answered:
            return self.syns_to_a_server(i)
        ports = self.ports
        port = ports[i % len(ports)]
        return ipv4(self.mac, self.address, GATEWAY, TCP,
                    tcp(self.address, GATEWAY, port, PORT, self.begun[port] + self.random.randrange(1, 60) * 1000,
                        self.answered[port] + 1, ACK, b"d" * 900))

    def datagrams(self, i):
        to = bytes([192, 0, 2, 1])
        return ipv4(self.mac, self.address, to, UDP, udp(i % 60000 + 1, i % 100 + 1, b"x" * 20))

    def questions(self, i):
        return ipv4(self.mac, self.address, NAMES, UDP, udp(i % 60000 + 1, 53, question(i)))

    def discovers(self, i):
        message = struct.pack(">BBBBIHH16s6s202xIBBBB", 1, 1, 6, 0, i, 0, 0, bytes(16), self.mac_of(i),
                              0x63825363, 53, 1, 1, 255)
        return ipv4(self.mac_of(i), bytes(4), b"\xff" * 4, UDP, udp(68, 67, message))

    def fragments(self, i):
        return ipv4(self.mac, self.address, GATEWAY, UDP, b"f" * 1000, 0x2000 | i % 8 * 125, i & 0xFFFF)

    def solicitations(self, i):
        source = bytes.fromhex("fec00000000000000000000000") + struct.pack(">I", i)[1:]
        message = struct.pack(">BBHI16sBB6s", 135, 0, 0, 0, bytes.fromhex("fe80000000000000") + bytes(7) + b"\2",
                              1, 1, self.mac_of(i))
        return icmp6(self.mac_of(i), source, bytes.fromhex("ff0200000000000000000001ff000002"), message)

    def pings_unread(self, i):
        return ipv4(self.mac, self.address, GATEWAY, ICMP, echo(i & 0xFFFF, 1400))

    def broadcasts_unread(self, i):
        return b"\xff" * 6 + self.mac_of(i) + b"\x88\xb5" + bytes(1000)

    def wait_until_done(self):
        """A ping behind the flood is answered: all of it is worked through."""
        self.reads = True
        self.floods += 1
        first = self.floods * 2000
        for number in range(first, first + 300):
            self.send([ipv4(self.mac, self.address, GATEWAY, ICMP, echo(number))])
            time.sleep(0.05 * SLOWNESS)
            if self.pinged >= first:
                return
        check(False, "no answer to the flooder")

    def flood(self, kind, count):
        self.ports = list(self.answered)
        for at in range(0, count, 256):
            self.send([kind(i) for i in range(at, min(at + 256, count))])


class Watched:
    """The process under flood."""

    def __init__(self, pid):
        self.pid = pid

    def status(self, name):
        with open(f"/proc/{self.pid}/status") as f:
            return next(int(line.split()[1]) for line in f if line.startswith(name + ":"))

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def cpu(self):
        with open(f"/proc/{self.pid}/stat") as f:
            words = f.read().rsplit(")", 1)[1].split()
        return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def wait_for(what, condition):
    end = time.monotonic() + 60 * SLOWNESS
    while not condition():
        check(time.monotonic() < end, "no", what)
        time.sleep(0.02)


def one(process, watched, victim, flooder, kind, frames):
    name = kind.__name__
    flooder.reads = not name.endswith("unread")
    answers, victim.longest, cpu = victim.answers, 0.0, watched.cpu()
    flooder.flood(kind, frames)
    descriptors = watched.descriptors()
    flooder.wait_until_done()
    wait_for(f"answer to the other guest, {name}", lambda: victim.answers > answers)
    answers = victim.answers - answers
    cpu = (watched.cpu() - cpu) / frames
    memory = watched.status("VmHWM")
    print("%-24s %8.1f %12.1f %10d %9d %9.2f" % (name, cpu * 1e6, memory / 1024, descriptors, answers,
                                                 victim.longest), flush=True)
    check(process.poll() is None, name, "ended it")
    check(cpu < MOST_CPU_PER_FRAME, name, "costs", cpu, "s of CPU for a frame")
    check(memory < MOST_MEMORY_KIB, name, "takes", memory, "KiB")
    check(descriptors < MOST_DESCRIPTORS, name, "has", descriptors, "descriptors open")
    check(victim.longest < MOST_SECONDS_TO_ANSWER, name, "has the other guest wait", victim.longest)


def main(net, frames):
    folder = tempfile.mkdtemp(dir="/tmp")
    path = folder + "/net"
    # Accepts, and never reads.
    server = socket.create_server(("127.0.0.1", PORT), backlog=1000)
    held = []

    def accept():
        while True:
            held.append(server.accept()[0])
            if len(held) > 2000:
                held.pop(0).close()

    threading.Thread(target=accept, daemon=True).start()
    resolver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    resolver.bind(("127.0.0.1", 53))  # answers nothing
    process = subprocess.Popen([net, "user", "--resolver", "127.0.0.1", path])
    try:
        for _ in range(100 * SLOWNESS):
            if os.path.exists(path):
                break
            check(process.poll() is None, "net user has ended")
            time.sleep(0.05)
        watched = Watched(process.pid)
        victim, flooder = Victim(path), Flooder(path)
        print("%-24s %8s %12s %10s %9s %9s" % ("flood", "us/frame", "peak MiB", "fds", "answers",
                                               "longest s"), flush=True)
        kinds = (flooder.arps, flooder.syns_to_nobody, flooder.syns_to_the_world,
                 flooder.syns_to_a_server, flooder.data_ahead_of_its_turn, flooder.datagrams,
                 flooder.questions, flooder.discovers, flooder.fragments, flooder.solicitations,
                 flooder.pings_unread, flooder.broadcasts_unread)
        for kind in kinds:
            one(process, watched, victim, flooder, kind, frames)
        # The same once more takes no more; but of bytes ahead of their turn more may be kept.
        for kind in kinds:
            before = watched.status("VmHWM")
            one(process, watched, victim, flooder, kind, frames)
            grown = watched.status("VmHWM") - before
            check(grown < MOST_GROWTH_KIB or kind == flooder.data_ahead_of_its_turn, kind.__name__,
                  "takes", grown, "KiB more at each time")
        check(len(flooder.answered) > 100, "no connections were open:", len(flooder.answered))
        victim.over = True
    finally:
        process.kill()
        process.wait()
        # The guardian of a killed net takes the socket's name away, perhaps meanwhile.
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    if sys.argv[1] != "--inside":
        sys.exit(subprocess.run(["unshare", "-Urn", sys.executable, os.path.abspath(__file__), "--inside",
                                 *sys.argv[1:]]).returncode)
    for words in ("link set lo up", "addr add 192.0.2.1/32 dev lo", "route add 203.0.113.0/24 dev lo"):
        subprocess.run(["ip", *words.split()], check=True)
    main(os.path.abspath(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 8000)
