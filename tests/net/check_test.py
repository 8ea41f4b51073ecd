#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""net check: each fault is staged, found, mended by the line that is printed, and
then found no more. A host without faults has none reported."""

import json
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import lab  # noqa: E402
from lab import check, links, net, run, sh  # noqa: E402


def faults(*args):
    p = net("check", "--json", *args, ok=False)
    found = json.loads(p.stdout)
    check(found["not-seen"] == [], found["not-seen"])
    check(p.returncode == (3 if found["faults"] else 0), p.returncode, found)
    return found["faults"]


def healthy():
    """A bridge with a tap and a subnet, and nothing wrong with it."""
    # The kernel's default in a new namespace, where br_netfilter is loaded.
    sh("sysctl -qw net.bridge.bridge-nf-call-iptables=0 || true")
    sh("sysctl -qw net.ipv4.conf.all.rp_filter=0")
    net("bridge", "up", "br0", "--subnet", "10.0.1.1/24")
    net("tap", "up", "vt0", "--bridge", "br0")
    check(faults() == [], faults())
    check(net("check").stdout == "no faults\n")


def bin_folder():
    """A folder at the head of PATH, with `net` in it."""
    folder = os.path.join(os.environ["TEST_TMPDIR"], "bin-" + str(os.getpid()))
    os.makedirs(folder)
    os.symlink(lab.NET, f"{folder}/net")
    os.environ["PATH"] = f"{folder}:{os.environ['PATH']}"
    return folder


def program(folder, name, text):
    with open(f"{folder}/{name}", "w") as f:
        f.write("#!/bin/sh\n" + text)
    os.chmod(f"{folder}/{name}", 0o755)


def staged(name, stage, about="br0", times=1):
    """`stage` makes the fault and no other; what is printed mends it. Mending may
    take several lines, `times` at the most."""
    sh(stage)
    for i in range(times):
        found = faults()
        check([f["name"] for f in found] == [name] * len(found) and found, stage, "found:", found)
        check(about in found[0]["what"], found)
        text = net("check", ok=3).stdout.splitlines()
        check(text[0].startswith(f"{name}: {about}") and text[1].startswith("  fix: "), text)
        check(len(text) == 2 * len(found), text)
        for line in text[1::2]:
            sh(line.removeprefix("  fix: "))
        if not faults():
            return
    check(faults() == [], "after the fix:", faults())


def test_forwarding():
    healthy()
    staged("forwarding", "sysctl -qw net.ipv4.ip_forward=0")
    staged("forwarding", "sysctl -qw net.ipv4.conf.br0.forwarding=0")
    # Without an address of the host's on it a bridge forwards nothing.
    net("bridge", "down", "br0")
    net("bridge", "up", "br0")
    sh("sysctl -qw net.ipv4.ip_forward=0")
    check(faults() == [], faults())


def test_forward_drop():
    healthy()
    staged("forward-drop", "iptables-nft -P FORWARD DROP")
    check("-A FORWARD -i br0 -j ACCEPT" in sh("iptables-nft -S FORWARD").stdout)
    sh("nft flush ruleset")
    staged("forward-drop", "iptables-nft -P FORWARD DROP; iptables-nft -N DOCKER-USER; "
           "iptables-nft -A FORWARD -j DOCKER-USER")
    check("-A DOCKER-USER -i br0 -j ACCEPT" in sh("iptables-nft -S DOCKER-USER").stdout)
    sh("nft flush ruleset")
    staged("forward-drop", "nft 'table inet mine { chain way { type filter hook forward priority "
           "0; policy drop; ct state established accept; iifname \"eth9\" accept; }; }'")
    sh("nft flush ruleset")
    staged("forward-drop", "nft 'table inet mine { chain way { type filter hook forward priority "
           "0; iifname \"eth9\" accept; counter reject; }; }'")
    sh("nft flush ruleset")
    # Rules that let guests through by other words are no fault.
    sh("nft 'table inet mine { chain way { type filter hook forward priority 0; policy drop; "
       "ct state established,related accept; iifname \"br0\" accept; }; }'")
    check(faults() == [], faults())


def test_forward_drop_of_the_old_iptables():
    healthy()
    staged("forward-drop", "iptables-legacy -P FORWARD DROP")


def test_bridge_filter():
    healthy()
    staged("bridge-nf", "sysctl -qw net.bridge.bridge-nf-call-iptables=1")
    staged("bridge-nf", "ip link set dev br0 type bridge nf_call_iptables 1")


def test_firewalld_zone():
    """firewalld has its rules in nftables; a stand-in for firewall-cmd does to them
    what it would."""
    healthy()
    folder = bin_folder()
    program(folder, "firewall-cmd",
            'nft flush chain inet firewalld filter_FORWARD_POLICIES\n'
            'link=${2#--change-interface=}\nzone=${1#--zone=}\n'
            'nft add chain inet firewalld filter_FWD_$zone\n'
            'nft add rule inet firewalld filter_FORWARD_POLICIES iifname \\"$link\\" '
            'goto filter_FWD_$zone\n')
    table = ("table inet firewalld { chain filter_FWD_public { }; chain filter_FORWARD_POLICIES { "
             "%s }; chain filter_FORWARD { type filter hook forward priority 10; policy accept; "
             "ct state established accept; jump filter_FORWARD_POLICIES; "
             "reject with icmpx admin-prohibited; }; }")
    staged("firewalld-zone", f"nft '{table % ''}'")
    sh("nft delete table inet firewalld")
    staged("firewalld-zone",
           "nft '%s'" % (table % 'iifname "br0" goto filter_FWD_public;'))


def test_rp_filter():
    healthy()
    host = lab.Host()
    other = lab.Host()
    host.cable("up0", "eth0", "192.0.2.2/24")
    other.cable("up1", "eth0", "198.51.100.2/24")
    sh("ip address add 192.0.2.1/24 dev up0; ip address add 198.51.100.1/24 dev up1; "
       "ip route add default via 192.0.2.2; ip route add default via 198.51.100.2 metric 100")
    check(faults() == [], faults())
    staged("rp-filter", "sysctl -qw net.ipv4.conf.up1.rp_filter=1", about="up1")
    staged("rp-filter", "sysctl -qw net.ipv4.conf.up1.rp_filter=0 net.ipv4.conf.all.rp_filter=1",
           about="up1")
    # The first way out may be strict.
    check(open("/proc/sys/net/ipv4/conf/up0/rp_filter").read() == "0\n")


def test_duplicate_subnet():
    healthy()
    bin_folder()
    run("ip", "link", "add", "va", "type", "veth", "peer", "name", "vb")
    staged("duplicate-subnet", "ip address add 10.0.0.7/16 dev va")
    check(lab.addresses("br0") != ["10.0.1.1/24"] and "10.0.1.0" not in lab.ruleset())
    # One that somebody else has made gets another address, and no more.
    net("bridge", "down", "br0")
    sh("ip link add br7 type bridge; ip link set br7 up; ip link set vt0 master br7; "
       "ip address add 10.3.0.1/24 dev br7")
    staged("duplicate-subnet", "ip address add 10.3.0.9/24 dev vb", about="br7")


def test_stale_route():
    healthy()
    sh("ip link add va type veth peer name vb; ip link set va up; ip link set vb up; "
       "ip address add 10.8.0.1/24 dev va")
    staged("stale-route", "ip route add 10.0.1.128/25 dev va")
    staged("stale-route", "ip route add 10.0.1.64/26 via 10.8.0.2 metric 7")
    # Routes to elsewhere are none of its business.
    sh("ip route add 10.0.0.0/16 dev va; ip route add 10.9.0.0/24 via 10.8.0.2")
    check(faults() == [], faults())


def test_mac_clash():
    healthy()
    mac = links()["vt0"]["address"]
    sh("ip link add va type veth peer name vb; ip link set va master br0")
    staged("mac-clash", f"ip link set va address {mac}")
    # A guest that has the address of its tap.
    mac = links()["vt0"]["address"]
    staged("mac-clash", f"ip neighbour add 10.0.1.9 lladdr {mac} dev br0 nud permanent")


def test_mtu_mismatch():
    healthy()
    sh("ip link add va type veth peer name vb; ip link set va up; ip link set va master br0")
    check(faults() == [], faults())
    staged("mtu-mismatch", "ip link set vt0 mtu 1400", times=2)
    staged("mtu-mismatch", "ip link set va mtu 9000")


def test_modules():
    """/dev/net is hidden in a mount namespace of the test's own."""
    healthy()
    folder = bin_folder()
    program(folder, "modprobe", 'test "$1" = tun && umount /dev/net\n')
    inside = os.path.join(os.environ["TEST_TMPDIR"], "modules.sh")
    with open(inside, "w") as f:
        f.write("set -e\nmount -t tmpfs none /dev/net\n"
                "net check > out && exit 9\ncat out\n"
                "sed -n 's/^  fix: //p' out | sh -e\nnet check\nls -l /dev/net/tun\n")
    p = run("unshare", "-m", "sh", inside, cwd=os.environ["TEST_TMPDIR"])
    check("no-tun: /dev/net/tun" in p.stdout and "no faults" in p.stdout, p.stdout)


def test_names_and_rights():
    healthy()
    check("no such interface" in net("check", "nonesuch", ok=1).stderr)
    sh("sysctl -qw net.ipv4.ip_forward=0")
    check(faults("vt0") == [], faults("vt0"))
    check([f["name"] for f in faults("br0", "vt0")] == ["forwarding"], faults("br0", "vt0"))
    # A user without rights sees what can be seen, and is told what cannot.
    p = run("setpriv", "--bounding-set=-all", "--inh-caps=-all", lab.NET, "check", "br0", ok=3)
    check("forwarding" in p.stdout, p.stdout)
    check("not looked at: packet filters" in p.stderr, p.stderr)


if __name__ == "__main__":
    lab.main(globals())
