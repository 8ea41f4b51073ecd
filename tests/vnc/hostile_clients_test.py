#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""hostile_clients_test.py PATTERN_SERVER: clients that mean no good, on real sockets.

They vanish, and talk nonsense, at each step of each security type, over RFB, TLS
and WebSocket; others stop reading, flood, ask for sizes that cannot be. Meanwhile
a viewer watches: it sees every change, and the server's memory is bounded.
"""

import crypt
import os
import select
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import time

from pattern import PatternServer

SLOWNESS = int(os.environ.get("ATOLL_TEST_SLOWNESS", "1"))
WIDTH, HEIGHT = 800, 600
# What a server may grow by; a sanitizer's keeps what was freed for a while.
MOST_BYTES = (24 if SLOWNESS == 1 else 160) << 20
VERSION = b"RFB 003.008\n"
NONE, VNC, VENCRYPT = 1, 2, 19
TLS_NONE, TLS_VNC, TLS_PLAIN, X509_NONE, X509_VNC, X509_PLAIN = range(257, 263)


def tls_context():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_ciphers("ALL:aNULL:@SECLEVEL=0")
    context.maximum_version = ssl.TLSVersion.TLSv1_2  # where there is anonymity
    return context


class Peer:
    count = 0

    def __init__(self, port):
        # Each from an address of its own: after some failures one has to wait.
        Peer.count += 1
        source = f"127.{1 + Peer.count // 62500}.{Peer.count // 250 % 250}.{1 + Peer.count % 250}"
        self.port = port
        self.socket = socket.create_connection(("127.0.0.1", port), 30 * SLOWNESS, (source, 0))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, data):
        self.socket.sendall(data)

    def read(self, size):
        data = b""
        while len(data) < size:
            part = self.socket.recv(size - len(data))
            if not part:
                raise EOFError
            data += part
        return data

    def vanish(self, how):
        s = self.socket
        try:
            if how == "reset":
                s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            elif how == "half":
                s.shutdown(socket.SHUT_WR)
            elif how == "garbage":
                # Not what is waited for, whatever that is.
                s.settimeout(1)
                s.sendall(bytes((i * 89 + 201) & 255 for i in range(4000)))
        except OSError:
            pass  # it was sent away already
        s.close()


def common_end(p, result=True):
    """From the result of the security type to the first update, by pieces."""
    if result:
        assert p.read(4) == bytes(4)
    yield
    p.send(b"\1")
    yield
    p.read(24)
    yield
    p.send(struct.pack(">BxH", 2, 3) + bytes(4))
    yield
    p.send(bytes(8) + b"\3\0\0")
    yield
    p.send(struct.pack(">HHHH", 0, 0, WIDTH, 0)[:7])
    yield
    p.send(struct.pack(">BBHHHH", 3, 0, 0, 0, WIDTH, HEIGHT))
    yield
    p.read(100)
    yield


def greeting(p, kind):
    yield
    assert p.read(12) == VERSION
    yield
    p.send(VERSION[:6])
    yield
    p.send(VERSION[6:])
    yield
    assert kind in p.read(p.read(1)[0])
    yield
    p.send(bytes((kind,)))
    yield


def vnc_auth(p):
    p.read(16)
    yield
    p.send(bytes(7))
    yield
    p.send(bytes(9))  # the wrong answer
    yield


def security_none(p):
    yield from greeting(p, NONE)
    yield from common_end(p)


def security_vnc(p):
    yield from greeting(p, VNC)
    yield from vnc_auth(p)


def vencrypt(subtype):
    def steps(p):
        yield from greeting(p, VENCRYPT)
        assert p.read(2) == b"\0\2"
        yield
        p.send(b"\0")
        yield
        p.send(b"\2")
        yield
        assert p.read(1) == b"\0"
        count = p.read(1)[0]
        assert subtype in struct.unpack(f">{count}I", p.read(4 * count))
        yield
        p.send(struct.pack(">I", subtype)[:3])
        yield
        p.send(struct.pack(">I", subtype)[3:])
        yield
        assert p.read(1) == b"\1"
        yield
        # TLS that ends in the middle of its first words.
        hello = ssl.MemoryBIO()
        ends = tls_context().wrap_bio(ssl.MemoryBIO(), hello)
        try:
            ends.do_handshake()
        except ssl.SSLWantReadError:
            pass
        part = Peer(p.port)
        yield from tls_after(p, part, hello.read(), subtype)

    return steps


def tls_after(p, part, hello, subtype):
    # The other connection goes as far as this one, and sends half of a hello.
    for step, _ in enumerate(greeting(part, VENCRYPT)):
        pass
    part.read(2)
    part.send(b"\0\2")
    part.read(1)
    part.read(4 * part.read(1)[0])
    part.send(struct.pack(">I", subtype))
    part.read(1)
    part.send(hello[:len(hello) // 2])
    part.vanish("reset")
    p.socket = tls_context().wrap_socket(p.socket)
    yield
    if subtype in (TLS_NONE, X509_NONE):
        yield from common_end(p)
    elif subtype in (TLS_VNC, X509_VNC):
        yield from vnc_auth(p)
    else:
        p.send(struct.pack(">II", 5, 5)[:5])
        yield
        p.send(struct.pack(">II", 5, 5)[5:])
        yield
        p.send(b"alice")
        yield
        p.send(b"wrong")
        yield


def websocket(secure):
    def steps(p):
        yield
        if secure:
            p.socket = tls_context().wrap_socket(p.socket)
            yield
        head = (b"GET /websockify HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
                b"Connection: Upgrade\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
                b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: binary\r\n\r\n")
        p.send(head[:40])
        yield
        p.send(head[40:])
        yield
        data = b""
        while b"\r\n\r\n" not in data:
            data += p.read(1)
        assert data.startswith(b"HTTP/1.1 101"), data
        yield
        assert p.read(14)[2:] == VERSION
        yield
        p.send(b"\x82\x8c")
        yield
        p.send(bytes(4) + VERSION)
        yield
        p.read(4)
        p.send(b"\x82\xff" + struct.pack(">Q", 1 << 62))
        yield

    return steps


class Watcher:
    """Sees what changes, in raw pixels."""

    def __init__(self, server, steps):
        self.server = server
        self.peer = p = Peer(server.port)
        steps(p)
        p.send(struct.pack(">BxHi", 2, 1, 0))
        p.send(struct.pack(">BBHHHH", 3, 0, 0, 0, WIDTH, HEIGHT))
        self.update()

    def update(self):
        assert self.peer.read(2) == b"\0\0"
        for _ in range(struct.unpack(">H", self.peer.read(2))[0]):
            _, _, w, h, encoding = struct.unpack(">HHHHi", self.peer.read(12))
            assert encoding == 0
            self.peer.read(4 * w * h)

    def look(self, n):
        self.peer.send(struct.pack(">BBHHHH", 3, 1, 0, 0, WIDTH, HEIGHT))
        self.server.do(f"dot {n}")
        begin = time.monotonic()
        self.update()
        took = time.monotonic() - begin
        assert took < 5 * SLOWNESS, f"the viewer waited {took:.1f} s"


def enter(password=None, subtype=None):
    """The honest way in."""

    def steps(p):
        assert p.read(12) == VERSION
        p.send(VERSION)
        p.read(p.read(1)[0])
        if subtype is None:
            p.send(bytes((VNC if password else NONE,)))
        else:
            p.send(bytes((VENCRYPT,)))
            p.read(2)
            p.send(b"\0\2")
            p.read(1)
            p.read(4 * p.read(1)[0])
            p.send(struct.pack(">I", subtype))
            assert p.read(1) == b"\1"
            p.socket = tls_context().wrap_socket(p.socket)
        if subtype in (TLS_PLAIN, X509_PLAIN):
            p.send(struct.pack(">II", 5, len(password)) + b"alice" + password.encode())
        elif password:
            key = bytes(int(f"{c:08b}"[::-1], 2) for c in password.encode().ljust(8, b"\0"))
            p.send(subprocess.run(
                ["openssl", "enc", "-des-ede3-ecb", "-nopad", "-K", (key * 3).hex()],
                input=p.read(16), capture_output=True, check=True).stdout)
        assert p.read(4) == bytes(4)
        p.send(b"\1")
        p.read(20)
        p.read(struct.unpack(">I", p.read(4))[0])

    return steps


def memory(server):
    with open(f"/proc/{server.process.pid}/statm") as f:
        return int(f.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def vanish_everywhere(server, steps, port, watcher):
    """At each step in each way; how many steps there were."""
    n = 0
    for how in ("close", "reset", "half", "garbage"):
        at = 0
        more = True
        while more:
            p = Peer(port)
            more = False
            try:
                for i, _ in enumerate(steps(p)):
                    if i == at:
                        more = True
                        break
            except (EOFError, ConnectionError, ssl.SSLError):
                raise AssertionError(f"{how}, step {at}: the server did not go along")
            p.vanish(how)
            at += 1
            n += 1
        watcher.look(n)
    return n


def misuse(server, watcher):
    """By those who are in."""

    def attach():
        p = Peer(server.port)
        enter()(p)
        p.socket.settimeout(2)
        return p

    def flood(p, data, times, most=4.0):
        """As much as the server takes in that time, without reading."""
        p.socket.setblocking(False)
        end = time.monotonic() + most
        sent = 0
        while sent < len(data) * times and time.monotonic() < end:
            if not select.select([], [p.socket], [], 0.2)[1]:
                break  # it reads no more
            try:
                sent += p.socket.send(data[sent % len(data):])
            except BlockingIOError:
                pass
            except OSError:
                break
        return sent

    request = struct.pack(">BBHHHH", 3, 0, 0, 0, WIDTH, HEIGHT)
    encodings = struct.pack(">BxHiiii", 2, 4, 0, -308, -312, -313)
    fence = struct.pack(">B3xIB", 248, 0x80000000, 64) + bytes(64)
    cut = struct.pack(">B3xI", 6, 1 << 18) + b"x" * (1 << 18)
    pointer = b"".join(struct.pack(">BBHH", 5, i & 1, i % WIDTH, i % HEIGHT) for i in range(1000))
    keys = b"".join(struct.pack(">BBxxI", 4, 1, 0x20 + i) for i in range(1000))
    for name, data, times in (
            ("requests of one that does not read", request * 50, 2000),
            ("fences of one that does not read", encodings + fence * 500, 100),
            ("pointers", pointer, 200),
            ("keys that are held", keys, 50),
            ("clipboards", cut, 20),
            ("encodings", struct.pack(">BxH", 2, 1024) + bytes(4096), 2000)):
        p = attach()
        if name.endswith("read"):
            p.send(encodings)
        sent = flood(p, data, times)
        watcher.look(len(name))
        print(f"  {name}: {sent} bytes, {memory(server) >> 20} MiB", flush=True)
        p.vanish("reset")
    # What cannot be is answered or is the end, and says why.
    p = attach()
    p.send(encodings)
    p.send(struct.pack(">BxHHBx", 251, 65535, 65535, 1) + bytes(16))
    p.send(struct.pack(">BBHHHH", 3, 1, 0, 0, WIDTH, HEIGHT))
    data = b""
    while struct.pack(">HHHHi", 1, 3, WIDTH, HEIGHT, -308) not in data:
        data += p.read(1)
    p.vanish("close")
    for nonsense in (b"\x7f", struct.pack(">BxH", 2, 65535), struct.pack(">B3xI", 6, 0x7FFFFFFF),
                     struct.pack(">B3xi", 6, -2147483648), struct.pack(">BxHHB", 251, 1, 1, 255),
                     b"\0\0\0\0" + bytes(16), struct.pack(">B3xIB", 248, 0, 255)):
        p = attach()
        p.send(nonsense + bytes(64))
        try:
            while p.socket.recv(65536):
                pass
        except ConnectionResetError:
            pass
        p.vanish("close")
        watcher.look(len(nonsense))


def main():
    program = os.path.abspath(sys.argv[1])
    # AddressSanitizer keeps what was freed, 256 MiB of it: memory that grows would
    # not be told from that.
    os.environ["ASAN_OPTIONS"] = os.environ.get("ASAN_OPTIONS", "") + ":quarantine_size_mb=8"
    os.chdir(tempfile.mkdtemp(dir=os.environ.get("TEST_TMPDIR")))
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj",
                    "/CN=localhost", "-days", "2", "-keyout", "key", "-out", "cert"], check=True,
                   stderr=subprocess.DEVNULL)
    cert = ["cert", "cert", "key"]
    salt = crypt.mksalt(crypt.METHOD_SHA256, rounds=1000)
    users = ["users", "alice:" + crypt.crypt("secret", salt)]
    secret = ["vnc", "secret"]
    cases = (
        ("None", [], enter(), security_none, False),
        ("VncAuth", secret, enter("secret"), security_vnc, False),
        ("TLSNone", ["anontls"], enter(None, TLS_NONE), vencrypt(TLS_NONE), False),
        ("TLSVnc", [*secret, "anontls"], enter("secret", TLS_VNC), vencrypt(TLS_VNC), False),
        ("TLSPlain", [*users, "anontls"], enter("secret", TLS_PLAIN), vencrypt(TLS_PLAIN), False),
        ("X509None", cert, enter(None, X509_NONE), vencrypt(X509_NONE), False),
        ("X509Vnc", [*secret, *cert], enter("secret", X509_VNC), vencrypt(X509_VNC), False),
        ("X509Plain", [*users, *cert], enter("secret", X509_PLAIN), vencrypt(X509_PLAIN), False),
        ("ws", ["ws"], enter(), websocket(False), True),
        ("wss", ["ws", *cert], enter(None, X509_NONE), websocket(True), True),
    )
    for name, options, way_in, steps, web in cases:
        with PatternServer(program, WIDTH, HEIGHT, *options) as server:
            watcher = Watcher(server, way_in)
            port = server.web_port if web else server.port
            vanish_everywhere(server, steps, port, watcher)
            before = memory(server)
            n = vanish_everywhere(server, steps, port, watcher)
            grown = memory(server) - before
            print(f"{name}: vanished {n} times, {grown >> 10} KiB more", flush=True)
            assert grown < MOST_BYTES / 8, f"{name}: {grown} bytes more"
            assert server.process.poll() is None
        assert server.process.returncode == 0, (name, server.process.returncode, server.log[-50:])
    with PatternServer(program, WIDTH, HEIGHT) as server:
        watcher = Watcher(server, enter())
        before = memory(server)
        misuse(server, watcher)
        grown = memory(server) - before
        print(f"misuse: {grown >> 10} KiB more", flush=True)
        assert grown < MOST_BYTES, f"{grown} bytes more"
    assert server.process.returncode == 0, (server.process.returncode, server.log[-50:])


if __name__ == "__main__":
    main()
