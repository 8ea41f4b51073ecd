# SPDX-License-Identifier: Apache-2.0
"""Hosts in namespaces, for the tests of net.

    if __name__ == "__main__":
        lab.main(globals())

runs the functions named test_*, each in a user and a network namespace of its
own, in which it is root: nothing of the machine's network is touched. It takes
unprivileged user namespaces, or root, and /dev/net/tun for the user. Where that
is not to be had the tests fail.
"""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import traceback

NET = os.path.abspath(os.environ.get("NET_BINARY", "cmd/net/net"))
SLOWNESS = float(os.environ.get("ATOLL_TEST_SLOWNESS", "1"))


class Failed(Exception):
    pass


def check(condition, *what):
    if not condition:
        raise Failed(" ".join(str(w) for w in what))


def run(*command, ok=True, **kwargs):
    """A program's result; its failure is the test's, unless ok is False or a code."""
    p = subprocess.run([str(c) for c in command], capture_output=True, text=True,
                       stdin=subprocess.DEVNULL, timeout=60 * SLOWNESS, **kwargs)
    wanted = 0 if ok is True else ok
    if ok is not False and p.returncode != wanted:
        raise Failed(f"{' '.join(map(str, command))}: exit {p.returncode}, not {wanted}: "
                     f"{p.stdout}{p.stderr}")
    return p


def sh(line, ok=True, **kwargs):
    return run("sh", "-c", line, ok=ok, **kwargs)


def net(*args, ok=True, **kwargs):
    return run(NET, *args, ok=ok, **kwargs)


def links():
    return {link["ifname"]: link for link in json.loads(run("ip", "-j", "-d", "link").stdout)}


def addresses(name):
    found = json.loads(run("ip", "-j", "-4", "address", "show", "dev", name).stdout)
    return [f"{a['local']}/{a['prefixlen']}" for link in found for a in link.get("addr_info", [])]


def ruleset():
    return run("nft", "list", "ruleset").stdout


def everything():
    """What the host's network is as far as it is configured, as text to compare."""
    lines = []
    for name, link in links().items():
        info = link.get("linkinfo", {})
        data = {k: v for k, v in info.get("info_data", {}).items()
                if not k.endswith("timer") and k not in ("bridge_id", "root_id", "root_port")}
        lines.append([name, "UP" in link["flags"], link["mtu"], link.get("address"),
                      link.get("master"), link.get("ifalias"), link.get("group"),
                      info.get("info_kind"), sorted(map(str, data.items()))])
    for line in run("ip", "-o", "address").stdout.splitlines():
        if " fe80:" not in line:  # these come by themselves
            lines.append(re.sub(r"^\d+: | proto \S+| tentative", "", line))
    lines += run("ip", "route").stdout.replace(" linkdown", "").splitlines()
    lines += re.sub(r" packets \d+ bytes \d+", "", ruleset()).splitlines()
    lines.append(open("/proc/sys/net/ipv4/ip_forward").read())
    return "\n".join(map(str, lines))


def wait_for(what, condition, seconds=10):
    end = time.monotonic() + seconds * SLOWNESS
    while time.monotonic() < end:
        if condition():
            return
        time.sleep(0.01)
    raise Failed(f"{what}: not within {seconds} seconds")


class Host:
    """Another host: a network namespace that a sleeping process holds."""

    def __init__(self):
        self.process = subprocess.Popen(["unshare", "-n", "sleep", "1000"])
        own = os.readlink("/proc/self/ns/net")
        wait_for("a namespace",
                 lambda: os.readlink(f"/proc/{self.process.pid}/ns/net") != own)

    def run(self, *command, ok=True):
        return run("nsenter", "-t", self.process.pid, "-n", *command, ok=ok)

    def start(self, *command, **kwargs):
        return subprocess.Popen(["nsenter", "-t", str(self.process.pid), "-n", *command], **kwargs)

    def cable(self, here, there, address=None, gateway=None):
        """A cable: `here` in the test's own host, `there` in this one."""
        # Addresses of IPv6 are there at once.
        self.run("sysctl", "-qw", "net.ipv6.conf.default.accept_dad=0")
        run("ip", "link", "add", here, "type", "veth", "peer", "name", there, "netns",
            self.process.pid)
        run("ip", "link", "set", here, "up")
        self.run("ip", "link", "set", "lo", "up")
        self.run("ip", "link", "set", there, "up")
        if address:
            self.run("ip", "address", "add", address, "dev", there)
        if gateway:
            self.run("ip", "route", "add", "default", "via", gateway)

    def close(self):
        self.process.kill()
        self.process.wait()


def in_namespace(script, name):
    """One test, in a namespace of its own; a process group that is ended with it."""
    p = subprocess.Popen(["unshare", "-Urn", sys.executable, script, "--inside", name],
                         start_new_session=True)
    try:
        code = p.wait(timeout=600 * SLOWNESS)
    except subprocess.TimeoutExpired:
        code = "no end"
    try:
        os.killpg(p.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    return code


def main(names):
    os.environ["PATH"] += ":/usr/local/sbin:/usr/sbin:/sbin"
    tests = {n: f for n, f in names.items() if n.startswith("test_")}
    if sys.argv[1:2] == ["--inside"]:
        os.environ["XTABLES_LOCKFILE"] = tempfile.mktemp(dir=os.environ.get("TEST_TMPDIR"))
        run("ip", "link", "set", "lo", "up")
        try:
            tests[sys.argv[2]]()
        except Failed as e:
            traceback.print_exc(limit=-2)
            print(f"{sys.argv[2]}: {e}", file=sys.stderr)
            sys.exit(1)
        return
    failed = []
    for name in tests:
        if sys.argv[1:] and name not in sys.argv[1:]:
            continue
        started = time.monotonic()
        code = in_namespace(sys.argv[0], name)
        print(f"{'ok' if code == 0 else 'FAILED'} {name} ({time.monotonic() - started:.1f} s)",
              flush=True)
        if code != 0:
            failed.append(name)
    sys.exit(1 if failed else 0)
