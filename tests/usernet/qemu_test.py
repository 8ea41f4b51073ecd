#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""QEMU as a guest of net user: iPXE gets an address, a script by TFTP, and what that asks for.

usage: qemu_test.py NET
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

SLOWNESS = int(os.environ.get("ATOLL_TEST_SLOWNESS", "1"))
SECONDS = 120 * SLOWNESS


def main():
    folder = tempfile.mkdtemp(dir="/tmp")
    sock, pcap = folder + "/net", folder + "/pcap"
    os.mkdir(folder + "/tftp")
    with open(folder + "/tftp/first", "w") as f:
        f.write("#!ipxe\nchain tftp://10.0.2.2/second\n")
    with open(folder + "/tftp/second", "w") as f:
        f.write("#!ipxe\necho this is the second\nshell\n")
    net = subprocess.Popen([sys.argv[1], "user", "-t", folder + "/tftp", "-b", "first", "-p", pcap,
                            sock])
    qemu = None
    try:
        while not os.path.exists(sock):
            if net.poll() is not None:
                return "net user has ended"
            time.sleep(0.05)
        qemu = subprocess.Popen(
            ["qemu-system-x86_64", "-M", "pc", "-accel", "tcg", "-m", "64", "-display", "none",
             "-boot", "n", "-netdev",
             "stream,id=n0,server=off,addr.type=unix,addr.path=" + sock,
             "-device", "virtio-net-pci,netdev=n0"])
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            with open(pcap, "rb") as f:
                if b"this is the second" in f.read():
                    net.send_signal(signal.SIGTERM)
                    return None if net.wait(10) == 0 else "net user ended badly"
            if qemu.poll() is not None:
                return "qemu has ended"
            time.sleep(0.5)
        return "the second script was not loaded"
    finally:
        for p in (qemu, net):
            if p is not None:
                p.kill()
                p.wait()
        # The guardian of a killed net takes the socket's name away, perhaps meanwhile.
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
