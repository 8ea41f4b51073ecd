#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""kill -9 at random moments: the foreground forms leave nothing at all, the verbs
for what stays leave nothing that gc does not remove, and gc touches nothing else.
ATOLL_KILLS says how often each is killed."""

import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import lab  # noqa: E402
from lab import check, everything, links, net, run, sh  # noqa: E402

KILLS = int(os.environ.get("ATOLL_KILLS", "6"))
SEED = int(os.environ.get("ATOLL_SEED", "1"))


def bystanders():
    """Things of others and things that are kept, none of which may be touched."""
    sh("iptables-nft -P FORWARD DROP; sysctl -qw net.ipv4.ip_forward=1; "
       "ip link add foreign0 type bridge; ip tuntap add foreign1 mode tap; "
       "ip link set foreign0 alias 'atoll: not ours'")
    net("bridge", "up", "kept0", "--subnet", "10.200.0.1/24")
    net("tap", "up", "kept1", "--bridge", "kept0")
    return everything()


def kill_at(moment, *args, group=False):
    """Starts net and kills it after so many seconds; whether it had ended before."""
    p = subprocess.Popen([lab.NET, *args], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                         start_new_session=group)
    time.sleep(moment)
    (os.killpg if group else os.kill)(p.pid, signal.SIGKILL)
    return p.wait() != -signal.SIGKILL


def duration(*args):
    started = time.monotonic()
    net(*args)
    return time.monotonic() - started


def killed(what, before, moments, *args, foreground, after=None):
    """`after` undoes what was finished before it could be killed."""
    left = finished = 0
    for i in range(KILLS):
        finished += kill_at(moments(), *args, group=not foreground)
        if foreground:
            lab.wait_for(f"{what}: nothing left after kill {i}", lambda: everything() == before)
            continue
        now = everything()
        net("gc")
        clean = everything()
        if clean != before:
            # It was done, and is kept.
            check(after is not None, what, f"kill {i}: gc leaves",
                  set(clean.splitlines()) ^ set(before.splitlines()))
            after()
            clean = everything()
        check(clean == before, what, f"kill {i}: left",
              set(clean.splitlines()) ^ set(before.splitlines()))
        check("unchanged" in net("gc").stdout, "gc, a second time")
        left += now != clean
    print(f"{what}: {KILLS} kills, {finished} too late, {left} left something", flush=True)


def test_tap_for_a_command():
    before = bystanders()
    random.seed(SEED)
    killed("tap -- CMD", before, lambda: random.uniform(0, 0.02),
           "tap", "--bridge", "kept0", "--queues", "2", "--", "sleep", "100", foreground=True)


def test_bridge_in_the_foreground():
    before = bystanders()
    random.seed(SEED)
    killed("bridge -f", before, lambda: random.uniform(0, 0.08),
           "bridge", "up", "br0", "--subnet", "10.0.1.1/24", "-f", foreground=True)


def test_nat_in_the_foreground():
    bystanders()
    net("bridge", "up", "br1", "--subnet", "10.0.2.1/24", "--no-nat")
    before = everything()
    random.seed(SEED)
    killed("nat -f", before, lambda: random.uniform(0, 0.08), "nat", "up", "br1", "-f",
           foreground=True)


def test_nft_that_outlives_the_foreground():
    """A rule that is put in after the process is dead."""
    before = bystanders()
    folder = os.path.join(os.environ["TEST_TMPDIR"], "slow")
    os.makedirs(folder)
    real = shutil.which("nft")
    with open(f"{folder}/nft", "w") as f:
        f.write(f"#!/bin/sh\n[ \"$1\" != -f ] || {{ touch {folder}/now; sleep 1; }}\nexec {real} \"$@\"\n")
    os.chmod(f"{folder}/nft", 0o755)
    p = subprocess.Popen([lab.NET, "bridge", "up", "br0", "--subnet", "10.0.1.1/24", "-f"],
                         stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                         env={**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"})
    lab.wait_for("nft", lambda: os.path.exists(f"{folder}/now"))
    p.kill()
    p.wait()
    time.sleep(1.2)  # until it has put the rule in
    lab.wait_for("nothing left", lambda: everything() == before)


def test_helpers_of_the_foreground():
    """Its guardian and its nft are killed, alone, at any moment."""
    before = bystanders()
    random.seed(SEED)
    for i in range(KILLS):
        p = subprocess.Popen([lab.NET, "bridge", "up", "br0", "--subnet", "10.0.1.1/24", "-f"],
                             stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(random.uniform(0, 0.08))
        children = open(f"/proc/{p.pid}/task/{p.pid}/children").read().split()
        if children:
            os.kill(int(random.choice(children)), signal.SIGKILL)
            # What is short-lived may have been hit instead of a helper.
            time.sleep(0.1)
        p.send_signal(signal.SIGTERM)
        p.wait(timeout=30)
        lab.wait_for(f"nothing left after kill {i}", lambda: everything() == before)


def test_bridge_that_stays():
    before = bystanders()
    span = duration("bridge", "up", "br0", "--subnet", "10.0.1.1/24")
    net("bridge", "down", "br0")
    random.seed(SEED)
    killed("bridge up", before, lambda: random.uniform(0, span * 1.2),
           "bridge", "up", "br0", "--subnet", "10.0.1.1/24", foreground=False,
           after=lambda: net("bridge", "down", "br0"))


def test_bridge_down():
    before = bystanders()
    random.seed(SEED)
    for i in range(KILLS):
        net("bridge", "up", "br0", "--subnet", "10.0.1.1/24")
        kill_at(random.uniform(0, 0.03), "bridge", "down", "br0", group=True)
        net("gc")
        # Either it was not begun, or gc has finished it.
        if "br0" in links():
            check("unchanged" in net("bridge", "up", "br0", "--subnet", "10.0.1.1/24").stdout,
                  f"kill {i}: half a bridge")
            net("bridge", "down", "br0")
        check(everything() == before, f"kill {i}:",
              set(everything().splitlines()) ^ set(before.splitlines()))


def test_nat_that_stays():
    bystanders()
    net("tap", "up", "vt0")
    before = everything()
    span = duration("nat", "up", "vt0", "--subnet", "10.0.3.1/24")
    net("nat", "down", "vt0")
    random.seed(SEED)
    killed("nat up", before, lambda: random.uniform(0, span * 1.2), "nat", "up", "vt0", "--subnet",
           "10.0.3.1/24", foreground=False, after=lambda: net("nat", "down", "vt0"))


def test_tap_that_stays():
    before = bystanders()
    random.seed(SEED)
    killed("tap up", before, lambda: random.uniform(0, 0.02), "tap", "up", "vt0", "--bridge",
           "kept0", foreground=False, after=lambda: net("tap", "down", "vt0"))


def test_user_network():
    """Its sockets, and whoever guards them."""
    before = bystanders()
    random.seed(SEED)
    folder = tempfile.mkdtemp(dir="/tmp")

    def everything_and_sockets():
        return everything() + str(os.listdir(folder))

    args = ["user", "-c", f"{folder}/control", f"{folder}/net"]
    finished = 0
    for i in range(KILLS):
        finished += kill_at(random.uniform(0, 0.03), *args)
        lab.wait_for(f"user: nothing left after kill {i}", lambda: everything_and_sockets() == before + "[]")
    print(f"user: {KILLS} kills, {finished} too late", flush=True)
    for i in range(KILLS):
        p = subprocess.Popen([lab.NET, *args], stderr=subprocess.PIPE, text=True)
        lab.wait_for("sockets", lambda: len(os.listdir(folder)) == 2)
        guardian, = open(f"/proc/{p.pid}/task/{p.pid}/children").read().split()
        os.kill(int(guardian), signal.SIGKILL)
        said = p.communicate(timeout=30)[1]
        check(p.returncode == 1 and "guardian" in said, p.returncode, said)
        check(os.listdir(folder) == [], os.listdir(folder))
    # Somebody else's socket stays, whoever is killed that wanted its name.
    p = subprocess.Popen([lab.NET, *args])
    lab.wait_for("sockets", lambda: len(os.listdir(folder)) == 2)
    for i in range(KILLS):
        kill_at(random.uniform(0, 0.03), *args)
    time.sleep(0.2)
    check(sorted(os.listdir(folder)) == ["control", "net"], os.listdir(folder))
    p.terminate()
    check(p.wait(timeout=30) == 0)
    os.rmdir(folder)


if __name__ == "__main__":
    lab.main(globals())
