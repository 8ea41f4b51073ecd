#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""net helper in the place of qemu-bridge-helper: its protocol, who is let in, and
QEMU itself as the caller."""

import array
import os
import socket
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import lab  # noqa: E402
from lab import check, links, net, run  # noqa: E402


def allow(text):
    path = os.path.join(os.environ["TEST_TMPDIR"], f"bridge.conf.{os.getpid()}")
    with open(path, "w") as f:
        f.write(text)
    return path


def call(*args, verb=("helper",)):
    """The helper's result, and the descriptor that it sent."""
    ours, theirs = socket.socketpair()
    p = subprocess.run([lab.NET, *verb, f"--fd={theirs.fileno()}", *args], capture_output=True,
                       text=True, pass_fds=[theirs.fileno()])
    theirs.close()
    data, control, _, _ = ours.recvmsg(16, socket.CMSG_SPACE(64))
    fds = array.array("i")
    for level, kind, payload in control:
        check((level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS), level, kind)
        fds.frombytes(payload)
    return p, data, list(fds)


def test_a_tap_comes():
    net("bridge", "up", "br0", "--mtu", "1400")
    acl = allow("allow br0\n")
    # With the verb, and as QEMU calls it.
    for verb in (("helper",), ()):
        p, data, fds = call("--use-vnet", "--br=br0", f"--acl={acl}", verb=verb)
        check(p.returncode == 0 and p.stdout == "", p)
        check(data == b"\0" and len(fds) == 1, data, fds)
        info = open(f"/proc/self/fdinfo/{fds[0]}").read()
        name = info.split("iff:")[1].split()[0]
        tap = links()[name]
        check(tap["master"] == "br0" and tap["mtu"] == 1400 and "UP" in tap["flags"], tap)
        check(tap["address"].startswith("fe:"), tap)
        data = tap["linkinfo"]["info_data"]
        check(data["vnet_hdr"] and not data["persist"], data)
        os.close(fds[0])
        check(name not in links(), "the tap has outlived its descriptor")
    p, _, fds = call("--br=br0", f"--acl={acl}")
    name = open(f"/proc/self/fdinfo/{fds[0]}").read().split("iff:")[1].split()[0]
    check(not links()[name]["linkinfo"]["info_data"]["vnet_hdr"])


def test_who_is_let_in():
    net("bridge", "up", "br0")
    before = lab.everything()
    extra = allow("deny br0\n") + ".extra"
    os.rename(extra.removesuffix(".extra"), extra)
    for text in ("", "allow br1\n", "allow all\ndeny br0\n", "deny all\nallow br0\n",
                 f"allow br0\ninclude {extra}\n", "allow br0\ninclude /no/such\n",
                 "allow br0\nalow br1\n"):
        p, data, fds = call("--br=br0", f"--acl={allow(text)}")
        check(p.returncode == 1 and data == b"" and fds == [], text, p)
        check("br0" in p.stderr or "bridge.conf" in p.stderr, p.stderr)
    for args in (["--br=lo"], ["--br=nonesuch"]):
        p, data, fds = call(*args, f"--acl={allow('allow all')}")
        check(p.returncode == 1 and fds == [], p)
    check(net("helper", "--br=br0", ok=2).stderr)
    check("no unix socket" in net("helper", "--br=br0", "--fd=0", ok=2).stderr)
    check("no unix socket" in net("helper", "--br=br0", "--fd=99", ok=2).stderr)
    p, _, _ = call("--br=a;reboot", f"--acl={allow('allow all')}")
    check(p.returncode == 2, p)
    check(lab.everything() == before, "something was changed")


def test_qemu_takes_it():
    net("bridge", "up", "br0")
    acl = allow("allow br0\n")
    # The helper's words are QEMU's; the file is where this test may write.
    helper = os.path.join(os.environ["TEST_TMPDIR"], "helper")
    with open(helper, "w") as f:
        f.write(f'#!/bin/sh\nexec {lab.NET} "$@" --acl={acl}\n')
    os.chmod(helper, 0o755)
    qemu = subprocess.Popen(
        ["qemu-system-x86_64", "-M", "pc,accel=tcg", "-m", "16", "-S", "-display", "none",
         "-nodefaults", "-netdev", f"tap,id=n0,br=br0,helper={helper}", "-device",
         "virtio-net-pci,netdev=n0,romfile=", "-monitor", "stdio"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    taps = lambda: [n for n, l in links().items() if l.get("master") == "br0"]  # noqa: E731
    try:
        lab.wait_for("QEMU's tap", lambda: taps() or qemu.poll() is not None, 30)
        check(len(taps()) == 1, "no tap:", qemu.communicate()[0] if qemu.poll() is not None else "")
        data = links()[taps()[0]]["linkinfo"]["info_data"]
        check(data["vnet_hdr"], "without --use-vnet")
        out, _ = qemu.communicate("info network\nquit\n", timeout=60 * lab.SLOWNESS)
        check(f"helper={helper}" in out, out)
    finally:
        qemu.kill()
        qemu.wait()
    check(taps() == [], "the tap has outlived QEMU")


if __name__ == "__main__":
    lab.main(globals())
