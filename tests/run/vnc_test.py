#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A guest through run -vnc: seen pixel by pixel by gvnccapture and by a viewer of
our own, which also types; with one viewer dead and another that reads nothing.

usage: vnc_test.py RUN VNC VMLINUZ GUEST/initrd.gz

Beside the initrd stands root.raw, both as tools/make-guest makes them. Of the
programs, run finds vnc itself.
"""

import os
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import time

from rfb import Rfb, free_port
from viewer import SLOWNESS, Viewer

RUN, VNC, VMLINUZ, INITRD = (os.path.abspath(p) for p in sys.argv[1:5])
ROOT = os.path.join(os.path.dirname(INITRD), "root.raw")


def main():
    folder = tempfile.mkdtemp(dir="/tmp")
    os.chdir(folder)
    port = free_port()
    with open("log", "w") as log:
        run = subprocess.Popen(
            [RUN, "-accel", "soft", "-m", "256", "-serial", "file:serial", "-name", "screen",
             "-kernel", VMLINUZ, "-initrd", INITRD, "-append", "console=tty0 root=/dev/vda",
             "-drive", "if=virtio,format=raw,snapshot=on,file=" + ROOT,
             "--timeout", str(300 * SLOWNESS), "-vnc", f"localhost::{port},share=force-shared"],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            env={**os.environ, "ATOLL_RUNTIME_DIR": folder})
    try:
        deadline = time.monotonic() + 30 * SLOWNESS
        while not os.path.exists("screen/console"):
            assert run.poll() is None and time.monotonic() < deadline
            time.sleep(0.02)
        inside = Viewer("screen/console")
        inside.wait_for("guest#")
        # run is there before vnc greets, and vnc before the guest starts.
        dead = Rfb(port)
        dead.ask(0)
        dead.close()
        stuck = Rfb(port)
        viewer = Rfb(port)
        assert viewer.name == "screen", viewer.name
        viewer.type("echo $((6*7))x | tr x y\n")
        inside.wait_for("42y")
        for _ in range(100):
            stuck.ask(0)
        # No cursor that blinks, and nothing that changes.
        viewer.type("printf '\\033[?25l'; clear; seq 1 20; echo done\n")
        inside.wait(lambda lines: "done" in lines and [l for l in lines if l][-1] == "guest#")
        time.sleep(0.5)
        inside.send(2, struct.pack("<I", 1))
        before = len(inside.damage)
        inside.until(lambda: len(inside.damage) > before)
        width, height, picture = inside.picture()
        assert viewer.picture() == (width, height, picture), "the pictures differ"
        # What somebody else's viewer sees now, and what changes for ours.
        subprocess.run(["gvnccapture", f"localhost:{port - 5900}", "seen.png"], check=True,
                       timeout=60 * SLOWNESS)
        assert os.path.getsize("seen.png") > 500
        viewer.ask(1)
        viewer.type("x")
        viewer.update()
        assert viewer.pixels != picture, "nothing was typed"
        viewer.type("\bpoweroff\n")
        assert run.wait(60 * SLOWNESS) == 0
        # vnc ends with its guest.
        for _ in range(100):
            try:
                socket.create_connection(("127.0.0.1", port)).close()
            except OSError:
                break
            time.sleep(0.1 * SLOWNESS)
        else:
            raise AssertionError("vnc outlives its guest")
    finally:
        if run.poll() is None:
            run.kill()
            run.wait()
        with open("log") as f:
            print(f.read())
        os.chdir("/")
        shutil.rmtree(folder, ignore_errors=True)


main()
