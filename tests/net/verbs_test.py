#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The verbs of net that change this host: what they make, that a second time
changes nothing, that --dry-run says what is done, and that failures are undone."""

import json
import os
import re
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import lab  # noqa: E402
from lab import check, everything, links, net, run, sh  # noqa: E402


def ensured(*args, word):
    """The verb changes something, then nothing; JSON agrees."""
    dry = net(*args, "--dry-run").stdout
    before = everything()
    check(dry.strip(), args, "--dry-run prints nothing")
    check(everything() == before, args, "--dry-run changed something")
    first = net(*args).stdout
    check(f": {word}" in first, args, "said", first)
    after = everything()
    second = net(*args).stdout
    check(": unchanged" in second, args, "said the second time:", second)
    third = json.loads(net(*args, "--json").stdout)
    check(third["changed"] is False and third["steps"] == [], args, third)
    check("unchanged" in net(*args, "--dry-run").stdout, args, "--dry-run, a second time")
    check(everything() == after, args, "the second time changed something")
    return dry


def test_tap():
    net("bridge", "up", "br0", "--mtu", "1400")
    ensured("tap", "up", "vt0", "--bridge", "br0", word="up")
    tap = links()["vt0"]
    check(tap["master"] == "br0" and tap["mtu"] == 1400, tap)
    check(tap["address"].startswith("fe:"), tap["address"])
    check(tap["ifalias"] == "atoll:tap,kept", tap)
    check("UP" in tap["flags"], tap)
    ensured("tap", "up", "vt0", "--bridge", "br0", "--mtu", "1300", word="up")
    check(links()["vt0"]["mtu"] == 1300, links()["vt0"])
    ensured("tap", "up", "vt0", "--owner", "0", word="up")
    e = net("tap", "up", "vt0", "--multi-queue", ok=1).stderr
    check("--multi-queue" in e and "EINVAL" in e, e)
    ensured("tap", "down", "vt0", word="down")
    check("vt0" not in links(), links())
    ensured("tap", "up", "vt1", "--multi-queue", "--vnet-hdr", "--mac", "fe:00:00:00:00:01",
            word="up")
    check(links()["vt1"]["linkinfo"]["info_data"]["multi_queue"], links()["vt1"])


def test_what_dry_run_says_is_what_is_done():
    """The lines, run by a shell in an empty host, give the same host."""
    dry = net("bridge", "up", "br0", "--subnet", "10.9.0.1/24", "-n").stdout
    sh(dry)
    by_hand = everything()
    sh("ip link del br0; nft flush ruleset; sysctl -qw net.ipv4.ip_forward=0")
    net("bridge", "up", "br0", "--subnet", "10.9.0.1/24")
    mine = everything()
    check(by_hand == mine, set(by_hand.splitlines()) ^ set(mine.splitlines()))


def test_bridge():
    dry = ensured("bridge", "up", "br0", "--subnet", "auto", word="up")
    check("ip link add name br0" in dry and "masquerade" in dry, dry)
    bridge = links()["br0"]
    data = bridge["linkinfo"]["info_data"]
    check(data["forward_delay"] == 0 and data["nf_call_iptables"] == 0, data)
    check(re.match(r"[0-7][26ae]:", bridge["address"]), bridge["address"])
    check(bridge["group"] == "default", bridge)
    subnet = lab.addresses("br0")
    check(len(subnet) == 1 and re.match(r"10\.\d+\.\d+\.1/24$", subnet[0]), subnet)
    check(open("/proc/sys/net/ipv4/ip_forward").read() == "1\n")
    check("masquerade" in lab.ruleset(), lab.ruleset())
    # A lower MAC among its ports does not become the bridge's.
    run("ip", "link", "add", "va", "address", "00:00:00:00:00:05", "type", "veth")
    run("ip", "link", "set", "va", "master", "br0")
    check(links()["br0"]["address"] == bridge["address"], links()["br0"])
    # Another bridge gets another subnet.
    net("bridge", "up", "br1", "--subnet", "auto")
    check(lab.addresses("br1") != subnet, lab.addresses("br1"))
    e = net("bridge", "up", "br2", "--subnet", subnet[0], ok=1).stderr
    check("br0 has" in e and "br2" not in links(), e)
    # Its subnet changes, and the translation with it.
    ensured("bridge", "up", "br0", "--subnet", "10.44.0.1/16", word="up")
    check(lab.addresses("br0") == ["10.44.0.1/16"], lab.addresses("br0"))
    check("10.44.0.0/16" in lab.ruleset() and subnet[0][:-4] not in lab.ruleset(), lab.ruleset())
    ensured("nat", "down", "br0", word="down")
    ensured("nat", "up", "br0", word="up")
    ensured("bridge", "down", "br0", word="down")
    net("bridge", "down", "br1")
    check(lab.ruleset() == "" and "br0" not in links(), lab.ruleset())


def test_nat_of_a_tap():
    net("tap", "up", "vt0")
    ensured("nat", "up", "vt0", word="up")
    check(len(lab.addresses("vt0")) == 1, lab.addresses("vt0"))
    ensured("nat", "down", "vt0", word="down")
    check(lab.addresses("vt0") == [], lab.addresses("vt0"))
    check(links()["vt0"]["ifalias"] == "atoll:tap,kept", links()["vt0"])


def test_what_is_not_ours_is_left_alone():
    run("ip", "link", "add", "br0", "type", "bridge")
    run("ip", "link", "set", "br0", "up")
    before = everything()
    check("unchanged" in net("bridge", "up", "br0").stdout)
    for args in (["bridge", "up", "br0", "--subnet", "10.1.1.1/24"], ["bridge", "down", "br0"],
                 ["nat", "up", "br0"], ["bridge", "up", "lo"], ["tap", "up", "br0"],
                 ["tap", "down", "br0"]):
        e = net(*args, ok=1).stderr
        check(everything() == before, args, "changed something:", e)
    check("unchanged" in net("gc").stdout)
    run("ip", "address", "add", "10.2.2.1/24", "dev", "br0")
    net("nat", "up", "br0")
    check("10.2.2.0/24" in lab.ruleset(), lab.ruleset())
    net("nat", "down", "br0")
    check(lab.addresses("br0") == ["10.2.2.1/24"], lab.addresses("br0"))
    net("bridge", "down", "br0", "--force")
    check("br0" not in links())


def test_failures_are_undone_with_the_kernels_words():
    run("ip", "link", "add", "ve", "type", "veth")
    before = everything()
    # nft fails at its end: a stand-in that lists but does not change.
    folder = os.path.join(os.environ["TEST_TMPDIR"], "bin")
    os.makedirs(folder, exist_ok=True)
    with open(f"{folder}/nft", "w") as f:
        f.write('#!/bin/sh\ncase "$*" in *list*) exec /usr/sbin/nft "$@";; esac\n'
                'echo "Error: no space for tables" >&2; exit 1\n')
    os.chmod(f"{folder}/nft", 0o755)
    env = {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"}
    sh("sysctl -qw net.ipv4.ip_forward=0")
    e = net("bridge", "up", "br0", "--subnet", "10.1.1.1/24", ok=1, env=env).stderr
    check("no space for tables" in e, e)
    check(everything() == before, "not undone:", everything())
    net("bridge", "up", "br0")
    before = everything()
    net("bridge", "up", "br0", "--subnet", "10.1.1.1/24", "--mtu", "1300", ok=1, env=env)
    check(everything() == before, "not undone:", everything())
    # Text of the kernel, by NETLINK_EXT_ACK.
    run("ip", "link", "add", "br9", "type", "bridge")
    run("ip", "link", "set", "br9", "up")
    run("ip", "link", "set", "ve", "master", "br9")
    e = net("ifup", "br9", "--bridge", "br0", ok=1).stderr
    check("kernel says: " in e, e)


def test_names_and_macs():
    for name in ("abcdefghijklmnop", "a b", "a/b", "-x", "", "a%d", "a;b"):
        for verb in ("bridge", "tap", "nat"):
            check(net(verb, "up", "--", name, ok=False).returncode in (1, 2), verb, name)
    e = net("tap", "up", "abcdefghijklmnop", ok=1).stderr
    check("16 characters" in e and "15" in e, e)
    e = net("bridge", "up", "br0", "--mac", "01:00:00:00:00:00", ok=2).stderr
    check("group" in e, e)
    macs = set()
    for vm in ("a", "b"):
        for index in ("0", "1"):
            macs.add(net("tap", "--vm", vm, "--index", index, "--", "echo", "{mac}").stdout.strip())
    check(len(macs) == 4, macs)
    for mac in macs:
        check(int(mac[:2], 16) & 3 == 2 and not mac.startswith("fe"), mac)
    again = net("tap", "--vm", "a", "--", "echo", "{mac}").stdout.strip()
    check(again in macs, again)


def test_tap_for_a_command():
    net("bridge", "up", "br0")
    p = net("tap", "--bridge", "br0", "--queues", "2", "--name", "vm%d", "--vnet-hdr", "--offload",
            "--", "sh", "-c", "echo {} {name}; ip -j link show {name}; ls /proc/$$/fd; exit 7", ok=7)
    first, rest = p.stdout.split("\n", 1)
    fds, name = first.split()
    check(fds == "3:4" and name == "vm0", first)
    tap = json.loads(rest.split("\n")[0])[0]
    check(tap["master"] == "br0" and tap["ifalias"].startswith("atoll:tap,by="), tap)
    check(set(rest.split("\n", 1)[1].split()) >= {"0", "1", "2", "3", "4"}, rest)
    check("vm0" not in links(), "the tap is still there")
    check(net("tap", "--", "/no/such/program", ok=127).stderr.startswith("net: /no/such"))
    check(net("tap", "--", "/etc/passwd", ok=126))
    check(net("tap", "--", "sh", "-c", "kill -9 $$", ok=-9))
    check(list(links()) == ["lo", "br0"], links())
    # Its frames are what the descriptor gives.
    p = net("tap", "--name", "vt0", "--", "python3", "-c",
            "import os,socket,subprocess\n"
            "subprocess.run(['ip','address','add','10.3.3.1/24','dev','vt0'],check=True)\n"
            "socket.socket(2,2).sendto(b'x',('10.3.3.2',9))\n"
            "while True:\n"
            "  frame=os.read({},2000)\n"
            "  if frame[12:14]==b'\\x08\\x06': print(frame[38:42].hex()); break\n")
    check(p.stdout == "0a030302\n", p.stdout)


def test_scripts():
    folder = os.environ["TEST_TMPDIR"]
    script = f"{folder}/ifup"
    with open(script, "w") as f:
        f.write(net("script", "--address", "10.0.1.1/24").stdout)
    net("tap", "up", "vt0")
    check("chmod" in net("ifup", "vt0", script, ok=1).stderr)
    os.chmod(script, 0o755)
    net("ifup", "vt0", script)
    check(lab.addresses("vt0") == ["10.0.1.1/24"], lab.addresses("vt0"))
    net("ifup", "vt0", script)
    with open(f"{folder}/ifdown", "w") as f:
        f.write(net("script", "--down", "--address", "10.0.1.1/24").stdout)
    os.chmod(f"{folder}/ifdown", 0o755)
    net("ifdown", "vt0", f"{folder}/ifdown")
    check(lab.addresses("vt0") == [] and "UP" not in links()["vt0"]["flags"], links()["vt0"])
    with open(script, "w") as f:
        f.write("#!/bin/sh\necho no luck with $1; exit 3\n")
    e = net("ifup", "vt0", script, ok=1).stderr
    check("exit status 3: no luck with vt0" in e, e)
    old = net("script", "--ifconfig", "--address", "10.0.1.1/24").stdout
    check('ifconfig "$1" 10.0.1.1 netmask 255.255.255.0\n' in old, old)
    net("bridge", "up", "br0")
    ensured("ifup", "vt0", "--bridge", "br0", word="up")
    check(links()["vt0"]["master"] == "br0")
    ensured("ifdown", "vt0", word="down")
    check("master" not in links()["vt0"])


def test_list():
    net("bridge", "up", "br0", "--subnet", "10.0.1.1/24")
    run("ip", "tuntap", "add", "foreign0", "mode", "tap")
    p = net("tap", "--name", "vt0", "--bridge", "br0", "--", lab.NET, "list", "--json")
    items = {(i["name"], i["kind"]): i for i in json.loads(p.stdout)}
    check(items["br0", "bridge"]["owner"] == "kept", items)
    check(items["br0", "nat"]["address"] == "10.0.1.0/24", items)
    check(items["foreign0", "tap"]["owner"] == "-", items)
    tap = items["vt0", "tap"]
    check(tap["owner"].startswith("process ") and tap["bridge"] == "br0", tap)
    check(tap["users"] == [f"{tap['owner'].split()[1]} net"], tap)
    check("br0" in net("list").stdout)


if __name__ == "__main__":
    lab.main(globals())
