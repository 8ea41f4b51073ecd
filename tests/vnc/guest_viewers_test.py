#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""guest_viewers_test.py RUN VNC VMLINUZ GUEST/initrd.gz PICTURE_DISTANCE

Viewers of others at a real guest: each picture is what "vnc shot" shows, pixel by
pixel; what they type reaches its shell, by key (TigerVNC) and by character (noVNC),
in an American and a German layout; the pointer is where they put it. By hand, for
it needs what desktop_viewers_test.py needs, and minutes.
"""

import os
import socket
import struct
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../run"))

from desktop_viewers_test import Told, browse, fnv, make_certificate, make_page, xwd_pixels
from keymap import german_keymap

SLOWNESS = int(os.environ.get("ATOLL_TEST_SLOWNESS", "1"))
RUN, VNC, VMLINUZ, INITRD, DISTANCE = (os.path.abspath(p) for p in sys.argv[1:6])
ROOT = os.path.join(os.path.dirname(INITRD), "root.raw")
DISPLAY = 95
# evdev's numbers, as X has them 8 higher.
KEYS = {c: 8 + code for first, row in ((2, "1234567890-="), (16, "qwertyuiop"), (30, "asdfghjkl;'"),
                                       (44, "zxcvbnm,./"), (57, " "), (28, "\n"))
        for code, c in enumerate(row, first)}


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Guest:
    def __init__(self, *options):
        self.port = free_port()
        self.run = subprocess.Popen(
            [RUN, "-accel", "soft", "-m", "256", "-serial", "file:serial", "-name", "screen",
             "-kernel", VMLINUZ, "-initrd", INITRD, "-append", "console=tty0 root=/dev/vda",
             "-drive", "if=virtio,format=raw,snapshot=on,file=" + ROOT,
             "-device", "virtio-tablet-pci", "-vnc", f"localhost::{self.port},share=force-shared",
             *options], stdin=subprocess.DEVNULL)
        self.servers = []
        deadline = time.monotonic() + 60 * SLOWNESS
        while not os.path.exists("screen/console"):
            assert self.run.poll() is None and time.monotonic() < deadline
            time.sleep(0.05)
        self.see("^guest# *$", 120)

    def vnc(self, *words):
        subprocess.run([VNC, *words], check=True, timeout=600 * SLOWNESS)

    def see(self, pattern, seconds=60):
        self.vnc("wait", "screen", "--text", pattern, "--timeout", str(seconds * SLOWNESS))

    def type(self, text):
        self.vnc("type", "screen", "-n", text)

    def words(self):
        self.vnc("shot", "screen", "words.txt")
        with open("words.txt") as f:
            return f.read()

    def serve(self, *options):
        """Another server of the same console; its port for browsers, which nobody who
        is silent for a while takes for a viewer."""
        display = 60 + len(self.servers)
        self.servers.append(subprocess.Popen([VNC, "screen", "-l", f"localhost:{display}",
                                              *options]))
        for _ in range(200 * SLOWNESS):
            try:
                socket.create_connection(("127.0.0.1", 5700 + display)).close()
                return 5700 + display
            except OSError:
                time.sleep(0.05)
        raise AssertionError("vnc does not listen")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.run.terminate()
        self.run.wait()
        for server in self.servers:
            server.wait()


class Xvfb:
    """A screen of that size, and hands: XTEST of X11's protocol."""

    def __init__(self, folder, width, height):
        self.folder = folder
        self.process = subprocess.Popen(
            ["Xvfb", f":{DISPLAY}", "-screen", "0", f"{width}x{height}x24", "-fbdir", folder,
             "-nolisten", "tcp"], stderr=subprocess.DEVNULL)
        self.size = (width, height)
        for _ in range(200):
            try:
                self.x = socket.socket(socket.AF_UNIX)
                self.x.connect(f"/tmp/.X11-unix/X{DISPLAY}")
                break
            except OSError:
                time.sleep(0.1)
        self.x.sendall(struct.pack("<BxHHHH2x", ord("l"), 11, 0, 0, 0))
        head = self.x.recv(8, socket.MSG_WAITALL)
        self.x.recv(struct.unpack("<H", head[6:8])[0] * 4, socket.MSG_WAITALL)
        self.x.sendall(struct.pack("<BxHH2x8s", 98, 4, 5, b"XTEST"))
        answer = self.x.recv(32, socket.MSG_WAITALL)
        assert answer[8] == 1, "no XTEST"
        self.xtest = answer[9]

    def fake(self, kind, detail, x=0, y=0):
        self.x.sendall(struct.pack("<BBHBB2xII8xhh8x", self.xtest, 2, 9, kind, detail, 0, 0, x, y))
        time.sleep(0.05)

    def type(self, text):
        for c in text:
            self.fake(2, KEYS[c])
            self.fake(3, KEYS[c])

    def move(self, x, y):
        self.fake(6, 0, x, y)

    def pixels(self):
        return xwd_pixels(self.folder + "/Xvfb_screen0", self.size)[0]

    def viewer(self, port, *options):
        return subprocess.Popen(
            ["xtigervncviewer", "-FullScreen", "-AutoSelect=0", "-FullColor", "-NoJPEG",
             "-MenuKey=", "-RemoteResize=0", *options, f"localhost::{port}"],
            env={**os.environ, "DISPLAY": f":{DISPLAY}", "HOME": self.folder},
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()


def shot(guest, name):
    guest.vnc("shot", "screen", name)
    if not name.endswith(".ppm"):
        return None
    with open(name, "rb") as f:
        _, size, _, pixels = f.read().split(b"\n", 3)
    width, height = map(int, size.split())
    return width, height, pixels


def distance(a, b):
    return float(subprocess.run([DISTANCE, a, b], capture_output=True, text=True,
                                check=True).stdout)


def until(what, done, seconds=60):
    deadline = time.monotonic() + seconds * SLOWNESS
    while not (value := done()):
        assert time.monotonic() < deadline, "no " + what
        time.sleep(0.5)
    return value


def pictures(guest, folder):
    guest.type("printf '\\033[?25l'; clear; seq 1 20; echo done")
    guest.vnc("wait", "screen", "--stable", "2s", "--timeout", str(60 * SLOWNESS))
    shot(guest, "expected.png")
    width, height, pixels = shot(guest, "expected.ppm")
    assert len(set(pixels)) > 1
    address = f"localhost:{guest.port - 5900}"
    subprocess.run(["gvnccapture", address, "seen.png"], check=True, stdout=subprocess.DEVNULL,
                   timeout=60 * SLOWNESS)
    d = distance("expected.png", "seen.png")
    print(f"gvnccapture: {d}", flush=True)
    assert d == 0
    for encoding in ("raw", "rre", "hextile", "zlib", "tight"):
        # Its files are JPEG: the others are compared with what it saw in Raw.
        subprocess.run(["vncsnapshot", "-quiet", "-encodings", encoding + " copyrect", "-quality",
                        "100", address, encoding + ".jpg"], check=True, stdin=subprocess.DEVNULL,
                       env={**os.environ, "HOME": folder}, timeout=60 * SLOWNESS)
        d, off = distance("raw.jpg", encoding + ".jpg"), distance("expected.png", encoding + ".jpg")
        print(f"vncsnapshot, {encoding}: {d} from raw, {off} from vnc shot", flush=True)
        assert d == 0 and off < 200
    # What a black screen lacks is more than what the pointer of X may hide.
    hidden = 3 * 256
    assert len(pixels) - pixels.count(0) > 2 * hidden
    for encoding in ("Raw", "Hextile", "ZRLE", "Tight"):
        # A new screen each time, or what the one before showed would be seen.
        with Xvfb(folder, width, height) as x:
            viewer = x.viewer(guest.port, "-PreferredEncoding=" + encoding)

            def wrong():
                return sum(a != b for a, b in zip(pixels, x.pixels()))

            until(f"TigerVNC's picture in {encoding}", lambda: wrong() <= hidden)
            time.sleep(1)
            print(f"TigerVNC, {encoding}: {wrong()} bytes differ", flush=True)
            assert wrong() <= hidden
            viewer.terminate()
            viewer.wait()
    expected = f"{width}x{height}-{fnv(pixels)}"
    for secure in (False, True):
        with tempfile.TemporaryDirectory() as page, Told() as told:
            options = ["--ws", "--web", make_page(page, told)]
            if secure:
                cert, key = make_certificate(page)
                options += ["--tls", "--tls-cert", cert, "--tls-key", key]
            port = guest.serve(*options)
            browse(page, port, secure, lambda: expected in told.paths, "", 60 * SLOWNESS)
            print(f"noVNC, {'wss' if secure else 'ws'}: {told.paths[-1:]}", flush=True)
            assert expected in told.paths, (expected, told.paths)


def american(guest, folder):
    """Keys by TigerVNC; and where its pointer is."""
    guest.type("clear")
    with Xvfb(folder, 720, 400) as x:
        viewer = x.viewer(guest.port)
        until("picture", lambda: len(set(x.pixels())) > 1)
        x.move(360, 200)
        x.type("echo zy-us='qwerty;,./'\n")
        guest.see("^zy-us=qwerty;,./$")
        print("TigerVNC types: zy-us=qwerty;,./", flush=True)
        guest.type("clear; cd /sys/class/input; for e in event*; do "
                   "grep -q tablet $e/device/name && d=/dev/input/$e; done; echo $d")
        guest.see("^/dev/input/event[0-9]")
        guest.type("clear; dd if=$d bs=24 count=6 2>/dev/null | xxd -c 24 -p | cut -c33-")
        time.sleep(2 * SLOWNESS)
        places = ((100, 50), (600, 300))
        for place in places:
            x.move(*place)
            time.sleep(0.5)

        def scaled(value, size):
            return (value * 0x7FFF + (size - 1) // 2) // (size - 1)

        for px, py in places:
            for axis, value in ((0, scaled(px, 720)), (1, scaled(py, 400))):
                guest.see("^" + struct.pack("<HHi", 3, axis, value).hex())
        print(f"TigerVNC points at {places}", flush=True)
        viewer.terminate()
        viewer.wait()


def german(guest):
    """Characters by noVNC, whose keys' places are unknown."""
    # "busybox loadkmap </dev/vdb", as one types it who believes in an American keyboard.
    guest.type("buszbox loadkmap ;-dev-vdb")
    guest.see("busybox loadkmap </dev/vdb")
    guest.type("cat")  # the shell itself knows no letters beyond ASCII
    text = "zy \u00fc\u00e4\u00f6\u00df \u00dc @{[]}\\|~<>#+*-_"
    with tempfile.TemporaryDirectory() as page, Told() as told:
        port = guest.serve("--ws", "--web", make_page(page, told))
        browse(page, port, False, lambda: guest.words().count(text) == 2, text + "\n",
               60 * SLOWNESS)
    assert guest.words().count(text) == 2, guest.words()
    print("noVNC types: " + text, flush=True)


def main():
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        os.chdir(folder)
        os.environ["ATOLL_RUNTIME_DIR"] = folder
        with Guest() as guest:
            pictures(guest, folder)
            american(guest, folder)
        with open("de.kmap", "wb") as f:
            f.write(german_keymap().ljust(4096, b"\0"))
        with Guest("-k", "de", "-drive", "if=virtio,format=raw,file=de.kmap") as guest:
            german(guest)
        os.chdir("/")


if __name__ == "__main__":
    main()
