#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Guests behind a bridge of net's reach each other and, translated, a server on
the other side of the host, whatever firewall the host has; and what goes with a
process goes with it."""

import os
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import lab  # noqa: E402
from lab import check, links, net, run, sh  # noqa: E402

# Answers each connection with its other end's address.
SERVER = """
import socket,sys
s=socket.create_server(('',7777), family=socket.AF_INET6, dualstack_ipv6=True)
print('ready',flush=True)
while True:
  c,a=s.accept(); c.sendall(a[0].replace('::ffff:','').encode()); c.close()
"""
CLIENT = """
import socket,sys
c=socket.create_connection((sys.argv[1],7777),timeout=float(sys.argv[2]))
print(c.recv(100).decode())
"""


def serve(host):
    p = host.start(sys.executable, "-c", SERVER, stdout=subprocess.PIPE, text=True)
    check(p.stdout.readline() == "ready\n", "the server does not run")


def asks(host, address, ok=True):
    """Who the server says it is that asks; "" where nobody is reached."""
    p = host.run(sys.executable, "-c", CLIENT, address, "5" if ok else "1", ok=False)
    check(not ok or p.returncode == 0, address, "is not reached:", p.stderr[-200:])
    return p.stdout.strip()


def world():
    """A server in the world, at 203.0.113.9; this host is .1."""
    server = lab.Host()
    server.cable("up0", "eth0", "203.0.113.9/24")
    run("ip", "address", "add", "203.0.113.1/24", "dev", "up0")
    serve(server)
    return server


def guests(bridge, gateway="10.0.1.1", count=2):
    out = []
    for i in range(count):
        guest = lab.Host()
        guest.cable(f"g{i}", "eth0", f"{gateway.rsplit('.', 1)[0]}.{i + 10}/24", gateway)
        net("ifup", f"g{i}", "--bridge", bridge)
        out.append(guest)
    return out


def test_guests_reach_the_world_and_each_other():
    server = world()
    net("bridge", "up", "br0", "--subnet", "10.0.1.1/24")
    a, b = guests("br0")
    check(asks(a, "203.0.113.9") == "203.0.113.1", "not translated")
    serve(b)
    check(asks(a, "10.0.1.11") == "10.0.1.10", "translated in the bridge")
    # IPv6 on the bridge, without any help.
    six = b.run("sh", "-c", "ip -6 -o address show dev eth0 scope link").stdout.split()
    check(asks(a, six[six.index("inet6") + 1].split("/")[0] + "%eth0").startswith("fe80"))
    # The world does not get in, though it knows the way; a port forward does.
    server.run("ip", "route", "add", "10.0.1.0/24", "via", "203.0.113.1")
    check(asks(server, "10.0.1.11", ok=False) == "", "a guest is reached from outside")
    sh("nft 'table ip forwards { chain pre { type nat hook prerouting priority -100; "
       "tcp dport 7777 iifname \"up0\" dnat to 10.0.1.11; }; }'")
    check(asks(server, "203.0.113.1") == "203.0.113.9")
    net("nat", "down", "br0")
    sh("nft flush ruleset")
    check(asks(server, "10.0.1.11") == "203.0.113.9", "the drop is still there")


def beside(stage, undo="true"):
    sh(stage)
    before = lab.everything()
    net("bridge", "up", "br0", "--subnet", "10.0.1.1/24")
    check("unchanged" in net("bridge", "up", "br0", "--subnet", "10.0.1.1/24").stdout)
    a, = guests("br0", count=1)
    check(asks(a, "203.0.113.9") == "203.0.113.1", stage)
    faults = net("check", ok=False).stdout
    check("forward-drop" not in faults and "zone" not in faults, faults)
    a.close()
    net("bridge", "down", "br0")
    sh("ip link del g0 2>/dev/null; sysctl -qw net.ipv4.ip_forward=0")
    after = lab.everything()
    check(after == before, set(after.splitlines()) ^ set(before.splitlines()))
    sh(undo)


def test_beside_iptables_and_docker():
    world()
    beside("iptables-nft -P FORWARD DROP", "nft flush ruleset")
    # Docker's chains.
    beside("iptables-nft -P FORWARD DROP; iptables-nft -N DOCKER-USER; "
           "iptables-nft -A FORWARD -j DOCKER-USER; "
           "iptables-nft -A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT;"
           "iptables-nft -A DOCKER-USER -j RETURN")
    # iptables still works on its tables with our rules in them.
    net("bridge", "up", "br0", "--subnet", "10.0.1.1/24")
    rules = sh("iptables-nft -S").stdout
    check("-A DOCKER-USER -i br0" in rules, rules)
    sh("iptables-nft -A FORWARD -i eth7 -j ACCEPT")
    # They are put back where they have been flushed.
    sh("iptables-nft -F DOCKER-USER")
    check("br0: up" in net("bridge", "up", "br0", "--subnet", "10.0.1.1/24").stdout)
    check("-A DOCKER-USER -i br0" in sh("iptables-nft -S").stdout)


def test_beside_ufw():
    world()
    beside("iptables-nft -P FORWARD DROP; iptables-nft -N ufw-before-forward; "
           "iptables-nft -N ufw-reject-forward; iptables-nft -A FORWARD -j ufw-before-forward; "
           "iptables-nft -A FORWARD -j ufw-reject-forward; "
           "iptables-nft -A ufw-before-forward -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT")


def test_beside_firewalld():
    """Its tables, and a stand-in for its command."""
    folder = os.path.join(os.environ["TEST_TMPDIR"], "firewalld")
    os.makedirs(folder)
    with open(f"{folder}/firewall-cmd", "w") as f:
        f.write("#!/bin/sh\nlink=${2#*=}\nnft flush chain inet firewalld filter_FORWARD_POLICIES\n"
                'case $2 in --change*) nft add rule inet firewalld filter_FORWARD_POLICIES '
                'iifname \\"$link\\" goto filter_FWD_trusted;; esac\n')
    os.chmod(f"{folder}/firewall-cmd", 0o755)
    os.environ["PATH"] = f"{folder}:{os.environ['PATH']}"
    world()
    beside("nft 'table inet firewalld { chain filter_FWD_trusted { accept; }; "
           "chain filter_FORWARD_POLICIES { }; chain filter_FORWARD { "
           "type filter hook forward priority 10; policy accept; ct state established accept; "
           "jump filter_FORWARD_POLICIES; reject with icmpx admin-prohibited; }; }'")


def foreground(*args):
    p = subprocess.Popen([lab.NET, *args, "--foreground"], stdout=subprocess.PIPE, text=True)
    line = p.stdout.readline()
    check(": up" in line, args, "said", line)
    return p


def test_foreground_goes_with_its_process():
    world()
    sh("iptables-nft -P FORWARD DROP; sysctl -qw net.ipv4.ip_forward=1")
    before = lab.everything()
    for end in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGKILL):
        p = foreground("bridge", "up", "br0", "--subnet", "10.0.1.1/24")
        check("flags owner" in lab.ruleset(), lab.ruleset())
        a, = guests("br0", count=1)
        check(asks(a, "203.0.113.9") == "203.0.113.1")
        # Nobody else touches what belongs to it.
        for args in (["bridge", "up", "br0"], ["bridge", "down", "br0"], ["nat", "down", "br0"]):
            said = net(*args, ok=1).stderr
            check(f"process {p.pid}" in said, args, said)
        check("unchanged" in net("gc").stdout)
        a.close()
        p.send_signal(end)
        code = p.wait()
        check(code == (-9 if end == signal.SIGKILL else 0), end, code)
        lab.wait_for("nothing left", lambda: "g0" not in links() and lab.everything() == before)
    net("bridge", "up", "br1", "--subnet", "10.0.2.1/24", "--no-nat")
    before = lab.everything()
    for end in (signal.SIGTERM, signal.SIGKILL):
        p = foreground("nat", "up", "br1")
        check("atoll-br1" in lab.ruleset())
        p.send_signal(end)
        p.wait()
        lab.wait_for("nothing left", lambda: lab.everything() == before)


DHCP_CLIENT = """
import socket,struct,sys
s=socket.socket(socket.AF_INET,socket.SOCK_DGRAM)
s.setsockopt(socket.SOL_SOCKET,socket.SO_BINDTODEVICE,b'eth0')
s.setsockopt(socket.SOL_SOCKET,socket.SO_BROADCAST,1)
s.bind(('',68)); s.settimeout(5)
mac=bytes([0x52,0,0,0,0,int(sys.argv[1])])
def ask(kind,*options):
  head=struct.pack('>BBBBIHH16s16s192sI',1,1,6,0,77,0,0,bytes(16),mac,b'',0x63825363)
  s.sendto(head+bytes([53,1,kind])+b''.join(options)+b'\\xff',('255.255.255.255',67))
  data=s.recv(2000)
  assert data[0]==2 and data[4:8]==head[4:8] and data[28:34]==mac
  found,at={},240
  while data[at]!=255:
    found[data[at]]=data[at+2:at+2+data[at+1]]; at+=2+data[at+1]
  return data[16:20],found
yours,offer=ask(1)
assert offer[53]==b'\\2',offer
yours,ack=ask(3,b'\\x32\\4'+yours,b'\\x36\\4'+offer[54])
assert ack[53]==b'\\5',ack
print(*(socket.inet_ntoa(a) for a in (yours,ack[3],ack[6],ack[1])))
"""

# Answers a question about x.y by address 1.2.3.4, the one about large. by a truncated answer, and by
# TCP with 60000 bytes.
RESOLVER = """
import socket,struct,threading
s=socket.socket(socket.AF_INET,socket.SOCK_DGRAM); s.bind(('',53))
l=socket.create_server(('',53))
def answer(q,tcp):
  end=q.index(b'\\0',12)+5
  large=b'large' in q
  flags=0x8180|(0x200 if large and not tcp else 0)
  return q[:2]+struct.pack('>HHHHH',flags,1,1,0,0)+q[12:end]+(b'L'*60000 if large and tcp else b'rest')
def talk(c):
  with c, c.makefile('rb') as f:
    while n:=f.read(2):
      a=answer(f.read(struct.unpack('>H',n)[0]),True); c.sendall(struct.pack('>H',len(a))+a)
def tcp():
  while True: threading.Thread(target=talk,args=(l.accept()[0],),daemon=True).start()
threading.Thread(target=tcp,daemon=True).start()
print('ready',flush=True)
while True:
  d,a=s.recvfrom(4096); s.sendto(answer(d,False),a)
"""
QUESTION = """
import socket,struct
def question(i,name=b'x'):
  return struct.pack('>HHHHHH',i,0x100,1,0,0,0)+bytes([len(name)])+name+b'\\0\\0\\1\\0\\1'
s=socket.socket(socket.AF_INET,socket.SOCK_DGRAM); s.settimeout(5)
for i in range(300):
  q=question(i); s.sendto(q,('10.0.1.1',53))
  a=s.recv(4096)
  assert a[:2]==q[:2] and a[2]&0x80 and a[12:]==q[12:]+b'rest',(i,a)
# What is no question is answered by nobody.
s.sendto(b'short',('10.0.1.1',53)); s.sendto(question(1)[:2]+b'\\x81'+question(1)[3:],('10.0.1.1',53))
s.sendto(question(400,b'large'),('10.0.1.1',53))
assert s.recv(4096)[2]&2
with socket.create_connection(('10.0.1.1',53),timeout=5) as c, c.makefile('rb') as f:
  for i in range(20):
    q=question(i,b'large'); c.sendall(struct.pack('>H',len(q))+q)
    a=f.read(struct.unpack('>H',f.read(2))[0])
    assert a[:2]==q[:2] and a.endswith(b'L'*60000),(i,len(a))
print('all')
"""


def test_addresses_and_names_in_the_foreground():
    server = world()
    resolver = server.start(sys.executable, "-c", RESOLVER, stdout=subprocess.PIPE, text=True)
    check(resolver.stdout.readline() == "ready\n", "the resolver does not run")
    # A host that lets nothing in but answers.
    sh("iptables-nft -P INPUT DROP; iptables-nft -P FORWARD DROP; "
       "iptables-nft -A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT; "
       "iptables-nft -A INPUT -p tcp --dport 7777 -j ACCEPT")
    rules = sh("iptables-nft -S").stdout
    p = foreground("bridge", "up", "br0", "--subnet", "10.0.1.1/24", "--resolver", "203.0.113.9",
                   "--resolver", "203.0.113.10")
    for i in (0, 1):
        guest = lab.Host()
        guest.cable(f"g{i}", "eth0")
        net("ifup", f"g{i}", "--bridge", "br0")
        said = guest.run(sys.executable, "-c", DHCP_CLIENT, i + 1).stdout.split()
        check(said == [f"10.0.1.{10 + i}", "10.0.1.1", "10.0.1.1", "255.255.255.0"], said)
        # The same guest, the same address.
        check(guest.run(sys.executable, "-c", DHCP_CLIENT, i + 1).stdout.split() == said)
        guest.run("ip", "address", "add", f"{said[0]}/24", "dev", "eth0")
        guest.run("ip", "route", "add", "default", "via", said[1])
        check(asks(guest, "203.0.113.9") == "203.0.113.1")
        check(guest.run(sys.executable, "-c", QUESTION).stdout == "all\n")
    said = sh("iptables-nft -S").stdout
    for what in ("udp -m udp --dport 67", "udp -m udp --dport 53", "tcp -m tcp --dport 53"):
        check(what in said or what.replace("-m udp ", "").replace("-m tcp ", "") in said, what, said)
    # It serves this bridge alone: another may have the ports.
    q = foreground("bridge", "up", "br1", "--subnet", "10.0.2.1/24")
    for process in (p, q):
        process.terminate()
        check(process.wait() == 0)
    check(sh("iptables-nft -S").stdout == rules, sh("iptables-nft -S").stdout)
    e = net("bridge", "up", "br0", "--subnet", "10.0.1.1/24", "-f", "--resolver", "nobody", ok=2)
    check("nobody" in e.stderr and "br0" not in links(), e.stderr)


def test_foreground_ends_with_its_helpers():
    before = lab.everything()
    for name in ("nft", "net-guardian"):
        p = subprocess.Popen([lab.NET, "bridge", "up", "br0", "--subnet", "10.0.1.1/24", "-f"],
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        p.stdout.readline()
        child, = [int(c) for c in
                  open(f"/proc/{p.pid}/task/{p.pid}/children").read().split()
                  if open(f"/proc/{c}/comm").read().strip() == name]
        os.kill(child, signal.SIGKILL)
        check(p.wait() == 1 and "killed" in p.stderr.read(), name)
        sh("sysctl -qw net.ipv4.ip_forward=0")
        lab.wait_for("nothing left", lambda: lab.everything() == before)


if __name__ == "__main__":
    lab.main(globals())
