#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Monitors of running guests: QMP and the one for people, over every carrier.

usage: qmp_test.py RUN IMG BIOS VMLINUZ GUEST/initrd.gz TEST...
"""

import json
import os
import pty
import select
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
import unittest

RUN, IMG, BIOS, VMLINUZ, INITRD = (os.path.abspath(p) for p in sys.argv[1:6])
# How many times slower than an optimised build the programs are; see .bazelrc.
SLOWNESS = int(os.environ.get("ATOLL_TEST_SLOWNESS", "1"))
TIMEOUT = 60 * SLOWNESS


class Client:
    """A QMP client by hand."""

    def __init__(self, sock, negotiate=True):
        self.sock = sock
        self.sock.settimeout(TIMEOUT)
        self.buffer = b""
        self.events = []
        self.greeting = self.message()
        if negotiate:
            self.ok("qmp_capabilities")

    def message(self):
        while b"\n" not in self.buffer:
            data = self.sock.recv(65536)
            if not data:
                return None
            self.buffer += data
        line, self.buffer = self.buffer.split(b"\n", 1)
        return json.loads(line)

    def send(self, raw):
        self.sock.sendall(raw if isinstance(raw, bytes) else raw.encode())

    def answer(self):
        while True:
            m = self.message()
            if m is None or "event" not in m:
                return m
            self.events.append(m)

    def call(self, name, **arguments):
        message = {"execute": name, "id": name}
        if arguments:
            message["arguments"] = {k.replace("_", "-"): v for k, v in arguments.items()}
        self.send(json.dumps(message) + "\n")
        answer = self.answer()
        assert answer is None or answer["id"] == name, answer
        return answer

    def ok(self, name, **arguments):
        answer = self.call(name, **arguments)
        assert answer is not None and "return" in answer, (name, answer)
        return answer["return"]

    def error(self, name, **arguments):
        answer = self.call(name, **arguments)
        assert "error" in answer, (name, answer)
        return answer["error"]

    def wait_event(self, name):
        while True:
            for i, e in enumerate(self.events):
                if e["event"] == name:
                    del self.events[:i + 1]
                    return e
            m = self.message()
            assert m is not None, "the end came before " + name
            self.events.append(m)

    def hmp(self, line):
        return self.ok("human-monitor-command", command_line=line)


class Base(unittest.TestCase):
    def setUp(self):
        # Names of sockets have no more than 107 bytes.
        self.dir = tempfile.mkdtemp(prefix="qmp", dir="/tmp")
        os.chdir(self.dir)
        self.processes = []
        self.sockets = []

    def tearDown(self):
        for p in self.processes:
            if p.poll() is None:
                p.kill()
            p.communicate()
        for s in self.sockets:
            s.close()
        os.chdir("/")
        shutil.rmtree(self.dir)

    def start(self, *args, **kwargs):
        kwargs.setdefault("stdin", subprocess.DEVNULL)
        p = subprocess.Popen([RUN, "-accel", "soft", "-m", "32", "-display", "none", *args],
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE, **kwargs)
        self.processes.append(p)
        return p

    def bios(self, *args, **kwargs):
        return self.start("-bios", BIOS, "-serial", "null", *args, **kwargs)

    def end(self, p, status=0):
        out, err = p.communicate(timeout=TIMEOUT)
        self.assertEqual(p.returncode, status, err.decode(errors="replace"))
        return out, err

    def connect(self, path="q"):
        deadline = time.monotonic() + TIMEOUT
        while True:
            s = socket.socket(socket.AF_UNIX)
            try:
                s.connect(path)
                self.sockets.append(s)
                return s
            except OSError:
                s.close()
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)

    def client(self, path="q", **kwargs):
        return Client(self.connect(path), **kwargs)


QMP = ("-qmp", "unix:q,server=on,wait=off")


class Firmware(Base):
    """Guests that SeaBIOS alone runs: they start at once."""

    def test_socket_is_the_users_alone(self):
        p = self.bios(*QMP)
        c = self.client()
        mode = os.lstat("q").st_mode
        self.assertTrue(stat.S_ISSOCK(mode))
        self.assertEqual(stat.S_IMODE(mode), 0o600)
        self.assertIn("atoll", c.greeting["QMP"]["version"]["package"])
        c.ok("quit")
        self.assertEqual(c.wait_event("SHUTDOWN")["data"],
                         {"guest": False, "reason": "host-qmp-quit"})
        self.assertIsNone(c.message())
        self.end(p)

    def test_every_query(self):
        subprocess.run([IMG, "create", "-q", "-f", "qcow2", "disk.qcow2", "8M"], check=True)
        p = self.bios("-hda", "disk.qcow2", "-smp", "2", "-name", "tester", "-device",
                      "virtio-balloon", *QMP)
        c = self.client()
        names = [x["name"] for x in c.ok("query-commands")]
        for name in names:
            if name.startswith("query-"):
                c.ok(name)
        self.assertEqual(c.ok("query-name"), {"name": "tester"})
        self.assertEqual(c.ok("query-status")["status"], "running")
        self.assertEqual(c.ok("query-kvm")["enabled"], False)
        self.assertEqual(c.ok("query-memory-size-summary")["base-memory"], 32 << 20)
        cpus = c.ok("query-cpus-fast")
        self.assertEqual([x["cpu-index"] for x in cpus], [0, 1])
        for cpu in cpus:
            self.assertTrue(os.path.exists("/proc/%d/task/%d" % (p.pid, cpu["thread-id"])))
        block = {b["device"]: b for b in c.ok("query-block")}["ide0-hd0"]
        self.assertEqual(block["inserted"]["drv"], "qcow2")
        self.assertEqual(block["inserted"]["image"]["virtual-size"], 8 << 20)
        # SeaBIOS reads its first sector before long.
        deadline = time.monotonic() + TIMEOUT
        while True:
            stats = {b["device"]: b for b in c.ok("query-blockstats")}["ide0-hd0"]["stats"]
            if stats["rd_bytes"] >= 512:
                break
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.1)
        schema = {e["name"] for e in c.ok("query-qmp-schema")}
        self.assertLessEqual(set(names) - {"qmp_capabilities"}, schema)
        self.assertEqual(c.ok("query-chardev")[0]["frontend-open"], True)
        self.assertEqual(c.error("system_wakeup")["class"], "GenericError")
        self.assertEqual(c.error("nonsense")["class"], "CommandNotFound")
        self.assertEqual(c.error("eject", id="nodrive")["class"], "DeviceNotFound")
        self.assertEqual(c.error("eject", id="ide0-hd0")["class"], "GenericError")
        c.ok("inject-nmi")
        c.ok("send-key", keys=[{"type": "qcode", "data": "esc"}])
        c.ok("quit")
        self.end(p)

    def test_stop_and_cont(self):
        p = self.bios(*QMP)
        c = self.client()
        c.ok("stop")
        c.wait_event("STOP")
        self.assertEqual(c.ok("query-status"),
                         {"running": False, "singlestep": False, "status": "paused"})
        before = c.hmp("info registers")
        time.sleep(0.3)
        self.assertEqual(before, c.hmp("info registers"))
        c.ok("stop")
        c.ok("cont")
        c.wait_event("RESUME")
        self.assertEqual(c.ok("query-status")["status"], "running")
        self.assertEqual(c.events, [])
        c.ok("quit")
        self.end(p)

    def test_a_stopped_guest_uses_no_time(self):
        p = self.bios(*QMP)
        c = self.client()
        c.ok("stop")
        time.sleep(0.2)

        def ticks():
            with open("/proc/%d/stat" % p.pid) as f:
                fields = f.read().rsplit(")", 1)[1].split()
            return int(fields[11]) + int(fields[12])

        before = ticks()
        time.sleep(1)
        self.assertLessEqual(ticks() - before, 5)
        c.ok("quit")
        self.end(p)

    def test_start_paused(self):
        p = self.bios("-S", *QMP)
        c = self.client()
        self.assertEqual(c.ok("query-status")["status"], "prelaunch")
        self.assertIn("RIP=000000000000fff0", c.hmp("info registers"))
        c.ok("cont")
        self.assertEqual(c.ok("query-status")["status"], "running")
        deadline = time.monotonic() + TIMEOUT
        while "RIP=000000000000fff0" in c.hmp("info registers"):
            self.assertLess(time.monotonic(), deadline)
        c.ok("quit")
        self.end(p)

    def test_reset(self):
        p = self.bios(*QMP)
        c = self.client()
        c.ok("stop")
        c.ok("system_reset")
        self.assertEqual(c.wait_event("RESET")["data"],
                         {"guest": False, "reason": "host-qmp-system-reset"})
        self.assertIn("RIP=000000000000fff0", c.hmp("info registers"))
        self.assertEqual(c.ok("query-status")["status"], "paused")
        c.ok("quit")
        self.end(p)

    def test_reset_ends_with_no_reboot(self):
        p = self.bios("-action", "reboot=shutdown", *QMP)
        c = self.client()
        c.ok("system_reset")
        c.wait_event("SHUTDOWN")
        self.end(p)

    def test_waits_for_a_client(self):
        p = self.bios("-qmp", "unix:q,server", "-debugcon", "file:log")
        deadline = time.monotonic() + TIMEOUT
        while not os.path.exists("q"):
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.05)
        time.sleep(0.5)
        self.assertEqual(os.path.getsize("log"), 0)
        c = self.client()
        self.assertEqual(c.ok("query-status")["status"], "running")
        while os.path.getsize("log") == 0:
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.05)
        c.ok("quit")
        self.end(p)

    def test_two_sockets_and_many_clients(self):
        p = self.bios(*QMP, "-qmp", "unix:r,server=on,wait=off")
        clients = [self.client("q") for _ in range(5)] + [self.client("r") for _ in range(5)]
        clients[0].ok("stop")
        for c in clients:
            c.wait_event("STOP")
            self.assertEqual(c.ok("query-status")["status"], "paused")
        for c in clients[1:9]:
            c.sock.close()
        clients[9].ok("cont")
        clients[0].wait_event("RESUME")
        clients[0].ok("quit")
        clients[9].wait_event("SHUTDOWN")
        self.end(p)

    def test_no_more_than_sixteen_clients(self):
        p = self.bios(*QMP)
        clients = [self.client() for _ in range(16)]
        extra = self.connect()
        extra.settimeout(TIMEOUT)
        self.assertEqual(extra.recv(100), b"")
        clients[3].sock.close()
        deadline = time.monotonic() + TIMEOUT
        while True:  # its place is free again, soon
            try:
                self.client()
                break
            except (AssertionError, TypeError, OSError):
                self.assertLess(time.monotonic(), deadline)
        clients[0].ok("quit")
        self.end(p)

    def test_garbage_and_half_messages(self):
        p = self.bios(*QMP)
        c = self.client()
        for raw in (b"\x00\xff\xfe garbage\n", b"]\n", b"{\"execute\": \"stop\n",
                    b"{\"execute\": }\n", b"[" * 1000 + b"\n", b"'single'\n", b"123\n",
                    b"{" + b" " * 300000 + b"\n"):
            c.send(raw)
            self.assertEqual(c.answer()["error"]["class"], "GenericError", raw[:30])
        for byte in b"{\"execute\": \"query-name\", \"id\": 7}":
            c.send(bytes([byte]))
        self.assertEqual(c.answer()["id"], 7)
        # Two in one piece; one with line breaks in it.
        c.send(b"{\"execute\":\"query-name\",\"id\":1}{\"execute\":\"query-name\",\"id\":2}")
        self.assertEqual([c.answer()["id"], c.answer()["id"]], [1, 2])
        c.send(b"{\n\"execute\"\n:\r\n\"query-name\"\n,\"id\"\n:3\n}\n")
        self.assertEqual(c.answer()["id"], 3)
        # Half a message and gone.
        other = self.client()
        other.send(b"{\"execute\": \"sto")
        other.sock.close()
        self.assertEqual(c.ok("query-status")["status"], "running")
        c.ok("quit")
        self.end(p)

    def test_a_client_that_never_reads(self):
        p = self.bios(*QMP)
        flood = self.client()
        flood.sock.setblocking(False)
        message = b"{\"execute\": \"query-qmp-schema\"}\n" * 100
        sent = 0
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline and sent < 64 << 20:
            try:
                sent += flood.sock.send(message)
            except BlockingIOError:
                break
        # It is not read from any more; others are served, and memory is bounded.
        self.assertLess(sent, 8 << 20)
        c = self.client()
        with open("/proc/%d/status" % p.pid) as f:
            rss = [int(l.split()[1]) for l in f if l.startswith("VmRSS")][0]
        # Events gather for it until it is cut off.
        for _ in range(30000):
            c.send(b"{\"execute\": \"stop\"}{\"execute\": \"cont\"}\n")
            c.answer(), c.answer()
            c.events.clear()
        with open("/proc/%d/status" % p.pid) as f:
            after = [int(l.split()[1]) for l in f if l.startswith("VmRSS")][0]
        self.assertLess(after - rss, 32 << 10)
        c.ok("quit")
        self.end(p)

    def test_stale_socket_is_replaced_and_a_live_one_is_not(self):
        p = self.bios(*QMP)
        self.client()
        p.kill()
        p.wait()
        self.assertTrue(os.path.exists("q"))
        p = self.bios(*QMP)
        c = self.client()
        second = self.bios(*QMP)
        _, err = self.end(second, 1)
        self.assertIn(b"somebody listens", err)
        c.ok("query-status")
        with open("file", "w") as f:
            f.write("precious")
        _, err = self.end(self.bios("-qmp", "unix:file,server=on,wait=off"), 1)
        self.assertIn(b"is no socket", err)
        with open("file") as f:
            self.assertEqual(f.read(), "precious")
        c.ok("quit")
        self.end(p)

    def test_tcp_on_the_loopback_only(self):
        probe = socket.socket()
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.close()
        for host in ("0.0.0.0", "", "192.0.2.1", "example.com"):
            _, err = self.end(self.bios("-qmp", "tcp:%s:%d,server=on,wait=off" % (host, port)), 1)
            self.assertIn(b"this host alone", err)
        p = self.bios("-qmp", "tcp:localhost:%d,server=on,wait=off" % port)
        deadline = time.monotonic() + TIMEOUT
        while True:
            try:
                c = Client(socket.create_connection(("127.0.0.1", port)))
                break
            except OSError:
                self.assertLess(time.monotonic(), deadline)
                time.sleep(0.05)
        c.ok("quit")
        self.end(p)

    def test_qmp_on_stdio(self):
        p = self.bios("-qmp", "stdio", stdin=subprocess.PIPE)
        out, _ = p.communicate(b"{\"execute\": \"qmp_capabilities\"}\n"
                               b"{\"execute\": \"query-status\"}\n{\"execute\": \"quit\"}\n",
                               timeout=TIMEOUT)
        lines = [json.loads(l) for l in out.splitlines()]
        self.assertIn("QMP", lines[0])
        self.assertEqual(lines[1], {"return": {}})
        self.assertEqual(lines[2]["return"]["status"], "running")
        self.assertEqual(p.returncode, 0)

    def test_commands_from_a_file(self):
        with open("commands", "w") as f:
            f.write("info status\nquit\n")
        with open("commands") as f:
            p = self.bios("-monitor", "stdio", stdin=f)
            out, _ = self.end(p)
        self.assertIn(b"VM status: running", out)

    def test_management_programs_form(self):
        ours, theirs = socket.socketpair()
        p = self.bios("-name", "guest=mgmt,debug-threads=on", "-chardev",
                      "socket,id=charmonitor,fd=%d" % theirs.fileno(), "-mon",
                      "chardev=charmonitor,id=monitor,mode=control",
                      "-chardev", "socket,id=hmp,path=h,server=on,wait=off", "-mon", "hmp",
                      pass_fds=[theirs.fileno()])
        theirs.close()
        c = Client(ours)
        self.assertEqual(c.ok("query-name"), {"name": "mgmt"})
        h = self.connect("h")
        h.sendall(b"info name\n")
        text = b""
        while b"mgmt" not in text:
            text += h.recv(1000)
        c.ok("quit")
        self.end(p)

    def test_connects_to_one_that_listens(self):
        listener = socket.socket(socket.AF_UNIX)
        listener.bind("l")
        listener.listen()
        listener.settimeout(TIMEOUT)
        p = self.bios("-qmp", "unix:l")
        c = Client(listener.accept()[0])
        c.ok("quit")
        self.end(p)

    def test_human_monitor_over_a_socket(self):
        p = self.bios("-monitor", "unix:m,server,nowait")
        s = self.connect("m")
        f = s.makefile("rwb")

        def until_prompt():
            out = b""
            while not out.endswith(b"(run) "):
                out += f.read1(4096)
            return out

        def ask(line):
            f.write(line + b"\n")
            f.flush()
            return until_prompt()

        self.assertIn(b"monitor", until_prompt())
        self.assertIn(b"system_reset", ask(b"help"))
        self.assertIn(b"VM status: running", ask(b"info status"))
        ask(b"stop")
        self.assertIn(b"VM status: paused", ask(b"info status"))
        # The reset vector: a far jump, in ROM and in its shadow.
        self.assertRegex(ask(b"xp/1xb 0xfffffff0"), rb"fffffff0: 0xea")
        self.assertIn(b"no memory at physical address", ask(b"xp/1xb 0xf0000000"))
        self.assertIn(b"thread_id=", ask(b"info cpus"))
        f.write(b"quit\n")
        f.flush()
        self.end(p)

    def test_pidfile(self):
        p = self.bios("-pidfile", "pid", *QMP)
        c = self.client()
        with open("pid") as f:
            self.assertEqual(int(f.read()), p.pid)
        _, err = self.end(self.bios("-pidfile", "pid"), 1)
        self.assertIn(b"pid: another process holds", err)
        c.ok("quit")
        self.end(p)

    def test_daemonize(self):
        p = self.bios("-daemonize", "-pidfile", "pid", *QMP)
        self.end(p)
        c = self.client()  # it listens by now
        with open("pid") as f:
            pid = int(f.read())
        self.assertNotEqual(pid, p.pid)
        self.assertEqual(os.getsid(pid), pid)
        self.assertEqual(os.readlink("/proc/%d/fd/0" % pid), "/dev/null")
        c.ok("quit")
        self.assertIsNone(c.answer())
        # A failure is the one of the command.
        _, err = self.end(self.bios("-daemonize", "-hda", "nothing"), 1)
        self.assertIn(b"nothing", err)

    def test_usage(self):
        for args, words in [
                (["-qmp", "pipe:x"], b"unix:PATH"), (["-qmp", "unix:"], b"path"),
                (["-qmp", "unix:x,server=maybe"], b"on nor off"),
                (["-qmp", "unix:x,wait=on"], b"server=on"), (["-mon", "x"], b"-chardev"),
                (["-chardev", "socket,id=x,path=y"], b"no -mon"),
                (["-chardev", "udp,id=x"], b"socket, stdio and null"),
                (["-monitor", "stdio", "-qmp", "stdio"], b"stdio"),
                (["-daemonize", "-monitor", "stdio"], b"terminal")]:
            _, err = self.end(self.bios(*args), 2)
            self.assertIn(words, err)

    def test_terminal_is_shared(self):
        pid, fd = pty.fork()
        if pid == 0:
            os.execv(RUN, [RUN, "-accel", "soft", "-m", "32", "-nographic", "-bios", BIOS])
        text = b""

        def expect(words):
            nonlocal text
            deadline = time.monotonic() + TIMEOUT
            while words not in text:
                self.assertLess(time.monotonic(), deadline, text)
                if select.select([fd], [], [], 1)[0]:
                    text += os.read(fd, 4096)
            text = text[text.index(words) + len(words):]

        try:
            time.sleep(1)
            os.write(fd, b"\x01c")
            expect(b"(run) ")
            os.write(fd, b"info statux\x7fs\r")  # a typing error, mended
            expect(b"VM status: running")
            expect(b"(run) ")
            os.write(fd, b"\x01c")  # back to the guest
            os.write(fd, b"info status\r")
            os.write(fd, b"\x01c")
            expect(b"(run) ")
            self.assertNotIn(b"VM status", text)
            os.write(fd, b"quit\r")
            _, status = os.waitpid(pid, 0)
            self.assertEqual(os.waitstatus_to_exitcode(status), 0)
        except BaseException:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            raise
        finally:
            os.close(fd)

    def test_a_client_nobody_here_wrote(self):
        p = self.bios(*QMP)
        self.client()
        script = ("(printf '%s' '{\"execute\":\"qmp_capabilities\"}'; sleep 0.3;"
                  " printf '%s\\n' '{\"execute\":\"query-version\",\"id\":5}'; sleep 0.3;"
                  " printf '%s\\n' '{\"execute\":\"quit\"}'; sleep 0.5) |"
                  " socat -t5 - UNIX-CONNECT:q")
        out = subprocess.run(["sh", "-c", script], check=True, stdout=subprocess.PIPE).stdout
        answers = [json.loads(line) for line in out.splitlines()]
        self.assertEqual([a["return"]["qemu"]["major"] for a in answers if a.get("id") == 5], [7])
        self.end(p)

    def test_pictures(self):
        p = self.bios("-sandbox", "dir=.", *QMP)
        c = self.client()
        if c.call("screendump", filename="a.png", format="png").get("error"):
            self.fail("no picture")
        with open("a.png", "rb") as f:
            self.assertEqual(f.read(8), b"\x89PNG\r\n\x1a\n")
        c.hmp("screendump b.ppm")
        with open("b.ppm", "rb") as f:
            self.assertEqual(f.read(2), b"P6")
        self.assertIn("nowhere", c.error("screendump", filename="nowhere/x")["desc"])
        c.ok("quit")
        self.end(p)


    def tasks(self, p, words):
        out = []
        for task in os.listdir("/proc/%d/task" % p.pid):
            with open("/proc/%d/task/%s/status" % (p.pid, task)) as f:
                out.append([l.split()[1] for l in f if l.split(":")[0] in words])
        return out

    def test_sandbox(self):
        subprocess.run([IMG, "create", "-q", "-f", "raw", "disk.raw", "8M"], check=True)
        p = self.bios("-smp", "2", "-hda", "disk.raw", *QMP)
        c = self.client()
        # Every thread: main, CPUs, and the disks' once there is work.
        tasks = self.tasks(p, ("NoNewPrivs", "Seccomp"))
        self.assertGreaterEqual(len(tasks), 3)
        self.assertEqual(tasks, [["1", "2"]] * len(tasks))
        with open("/proc/%d/limits" % p.pid) as f:
            core = [l for l in f if l.startswith("Max core file size")]
        self.assertEqual(core[0].split()[4:6], ["0", "0"])
        self.assertIn("-sandbox dir=", c.error("screendump", filename="a.ppm")["desc"])
        self.assertFalse(os.path.exists("a.ppm"))
        c.ok("system_reset")
        c.ok("quit")
        self.end(p)

    def test_sandbox_off(self):
        p = self.bios("-sandbox", "off", *QMP)
        c = self.client()
        self.assertEqual({t[0] for t in self.tasks(p, ("NoNewPrivs",))}, {"0"})
        c.ok("screendump", filename="a.ppm")
        c.ok("quit")
        self.end(p)

    def test_sandbox_options(self):
        p = self.bios("-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,"
                      "resourcecontrol=deny,dir=.,dir=/tmp", *QMP)
        c = self.client()
        c.ok("screendump", filename=os.path.join(self.dir, "b.ppm"))
        c.ok("quit")
        self.end(p)
        _, err = self.end(self.bios("-sandbox", "dir=nowhere"), 1)
        self.assertIn(b"nowhere", err)

    def test_media_from_a_folder(self):
        os.mkdir("media")
        os.mkdir("other")
        for name in ("first.iso", "media/second.iso", "other/third.iso"):
            with open(name, "wb") as f:
                f.truncate(1 << 20)
        p = self.bios("-cdrom", "first.iso", "-sandbox", "dir=media", *QMP)
        c = self.client()
        device = [b["device"] for b in c.ok("query-block") if b["removable"]][0]
        c.ok("blockdev-change-medium", id=device, filename="media/second.iso")
        self.assertTrue(c.wait_event("DEVICE_TRAY_MOVED")["data"]["tray-open"])
        inserted = [b for b in c.ok("query-block") if b["device"] == device][0]["inserted"]
        self.assertEqual(inserted["file"], "media/second.iso")
        e = c.error("blockdev-change-medium", id=device, filename="other/third.iso")
        self.assertIn("-sandbox dir=", e["desc"])
        inserted = [b for b in c.ok("query-block") if b["device"] == device][0]["inserted"]
        self.assertEqual(inserted["file"], "media/second.iso")
        c.ok("eject", id=device)
        self.assertNotIn("inserted",
                         [b for b in c.ok("query-block") if b["device"] == device][0])
        self.assertIn("[not inserted]", c.hmp("info block"))
        c.hmp("change %s media/second.iso" % device)
        self.assertIn("second.iso", c.hmp("info block"))
        c.ok("quit")
        self.end(p)

    # mov dx, 0xe9; mov al, '!'; out dx, al; hlt
    BOOT_SECTOR = bytes.fromhex("bae900 b021 ee f4").ljust(510, b"\0") + b"\x55\xaa"
    CONSOLE = ("-debugcon", "stdio", "-device", "isa-debugcon,iobase=0xe9")

    def image(self, name, size):
        with open(name, "wb") as f:
            f.write(self.BOOT_SECTOR)
            f.truncate(size)

    def test_media_by_descriptor(self):
        os.mkdir("media")
        self.image("media/floppy", 1440 << 10)
        p = self.bios("-drive", "if=floppy,index=0", "-boot", "order=a,strict=on", "-S",
                      "-sandbox", "on", *self.CONSOLE, *QMP)
        sock = self.connect()
        c = Client(sock)

        def add(flags, **arguments):
            fd = os.open("media/floppy", flags)
            socket.send_fds(sock, [b" "], [fd])
            os.close(fd)
            return c.ok("add-fd", **arguments)

        # Nothing can be opened by its name any more.
        change = dict(id="floppy0", format="raw")
        self.assertIn("-sandbox", c.error("blockdev-change-medium", filename="media/floppy",
                                          **change)["desc"])
        added = add(os.O_RDONLY, opaque="a disk")
        self.assertEqual(c.ok("query-fdsets"),
                         [{"fdset-id": added["fdset-id"],
                           "fds": [{"fd": added["fd"], "opaque": "a disk"}]}])
        path = "/dev/fdset/%d" % added["fdset-id"]
        self.assertIn("reading and writing", c.error(
            "blockdev-change-medium", filename=path, read_only_mode="read-write",
            **change)["desc"])
        self.assertEqual(add(os.O_RDWR, fdset_id=added["fdset-id"])["fdset-id"],
                         added["fdset-id"])
        c.ok("blockdev-change-medium", filename=path, read_only_mode="read-write", **change)
        inserted = [b for b in c.ok("query-block") if b["device"] == "floppy0"][0]["inserted"]
        self.assertEqual((inserted["file"], inserted["ro"]), (path, False))
        # What is open stays so.
        c.ok("remove-fd", fdset_id=added["fdset-id"])
        self.assertEqual(c.ok("query-fdsets"), [])
        self.assertEqual(c.error("remove-fd", fdset_id=added["fdset-id"])["class"],
                         "GenericError")
        self.assertIn("no descriptor set", c.error("blockdev-change-medium", filename=path,
                                                   **change)["desc"])
        c.ok("cont")
        self.assertEqual(p.stdout.read(1), b"!")
        c.ok("quit")
        self.end(p)

    def test_descriptors_that_no_command_takes(self):
        p = self.bios(*QMP)
        sock = self.connect()
        c = Client(sock)
        folder = "/proc/%d/fd" % p.pid
        before = len(os.listdir(folder))
        for _ in range(60):
            socket.send_fds(sock, [b" "], [0] * 16)
            c.ok("query-status")
        self.assertLessEqual(len(os.listdir(folder)), before + 16)
        for i in range(256):
            socket.send_fds(sock, [b" "], [0])
            c.ok("add-fd", fdset_id=i % 3)
        socket.send_fds(sock, [b" "], [0])
        self.assertIn("256", c.error("add-fd")["desc"])
        for i in range(3):
            c.ok("remove-fd", fdset_id=i)
        self.assertLessEqual(len(os.listdir(folder)), before + 16)
        c.ok("quit")
        self.end(p)

    def test_inherited_disk(self):
        self.image("disk", 1 << 20)
        fd = os.open("disk", os.O_RDWR)
        added = "fd=%d,set=3,opaque=hda" % fd
        p = self.bios("-add-fd", added, "-drive", "file=/dev/fdset/3,format=raw", *self.CONSOLE,
                      *QMP, pass_fds=[fd])
        self.assertEqual(p.stdout.read(1), b"!")
        c = self.client()
        self.assertEqual(c.ok("query-fdsets"),
                         [{"fdset-id": 3, "fds": [{"fd": fd, "opaque": "hda"}]}])
        c.ok("quit")
        self.end(p)
        os.close(fd)
        reading = os.open("disk", os.O_RDONLY)
        for options, status, words in (
                (("-add-fd", "fd=%d,set=3" % reading, "-drive", "file=/dev/fdset/3"), 1,
                 b"no descriptor of the set is open for reading and writing"),
                (("-drive", "file=/dev/fdset/3"), 1, b"there is no descriptor set 3"),
                (("-add-fd", "fd=%d,set=3" % reading, "-add-fd", "fd=%d,set=4" % reading), 2,
                 b"in set 3 already"),
                (("-add-fd", "fd=333,set=3"), 2, b"fd=333 is not open"),
                (("-add-fd", "fd=2,set=3"), 2, b"fd")):
            _, err = self.end(self.bios(*options, pass_fds=[reading]), status)
            self.assertIn(words, err)
        p = self.bios("-add-fd", "fd=%d,set=3" % reading, "-drive",
                      "file=/dev/fdset/3,readonly=on", "--check", "--json", pass_fds=[reading])
        out, err = p.communicate(timeout=TIMEOUT)
        self.assertEqual([(f["file"], f["usable"]) for f in json.loads(out)["files"]],
                         [("/dev/fdset/3", True)], err)
        os.close(reading)


class Linux(Base):
    """Debian's kernel, which hears the power button and the keyboard."""

    def linux(self, *args):
        subprocess.run([IMG, "convert", "-f", "raw", "-O", "qcow2",
                        os.path.join(os.path.dirname(INITRD), "root.raw"), "disk.qcow2"],
                       check=True)
        p = self.start("-m", "256", "-kernel", VMLINUZ, "-initrd", INITRD, "-append",
                       "console=ttyS0 root=/dev/vda", "-drive", "if=virtio,file=disk.qcow2",
                       "-serial", "stdio", "-monitor", "none", *QMP, *args,
                       stdin=subprocess.PIPE)
        self.text = b""
        self.expect(p, b"guest# ", 300 * SLOWNESS)
        return p

    def expect(self, p, words, seconds=TIMEOUT):
        deadline = time.monotonic() + seconds
        while words not in self.text:
            self.assertLess(time.monotonic(), deadline, self.text[-3000:])
            if select.select([p.stdout], [], [], 1)[0]:
                data = os.read(p.stdout.fileno(), 65536)
                self.assertTrue(data, self.text[-3000:])
                self.text += data
        at = self.text.index(words)
        self.seen = self.text[:at]  # what came before them
        self.text = self.text[at + len(words):]

    def say(self, p, line):
        p.stdin.write(line + b"\n")
        p.stdin.flush()

    def test_power_button(self):
        p = self.linux()
        c = self.client()
        c.ok("system_powerdown")
        c.wait_event("POWERDOWN")
        self.expect(p, b"power button")
        self.assertEqual(c.wait_event("SHUTDOWN")["data"],
                         {"guest": True, "reason": "guest-shutdown"})
        self.end(p)

    def uptime(self, p):
        self.say(p, b"echo up $(cat /proc/uptime) end")
        self.expect(p, b"\nup ")
        self.expect(p, b" end")
        return float(self.seen.split()[0])

    def test_stopped_time_is_not_missed(self):
        p = self.linux()
        c = self.client()
        before = self.uptime(p)
        c.ok("stop")
        stopped = time.monotonic()
        time.sleep(5)
        c.ok("cont")
        standing = time.monotonic() - stopped
        began = time.monotonic()
        after = self.uptime(p)
        self.assertLess(after - before, standing + time.monotonic() - began - 3)
        c.ok("quit")
        self.end(p)

    def test_no_shutdown_and_reset(self):
        p = self.linux("-no-shutdown")
        c = self.client()
        self.say(p, b"poweroff")
        self.assertTrue(c.wait_event("SHUTDOWN")["data"]["guest"])
        c.wait_event("STOP")
        self.assertEqual(c.ok("query-status")["status"], "shutdown")
        self.assertIn("required", c.error("cont")["desc"])
        c.ok("system_reset")
        self.assertFalse(c.wait_event("RESET")["data"]["guest"])
        self.assertEqual(c.ok("query-status")["status"], "paused")
        c.ok("cont")
        self.expect(p, b"guest# ", 300 * SLOWNESS)
        # The guest resets itself.
        self.say(p, b"reboot")
        self.assertEqual(c.wait_event("RESET")["data"], {"guest": True, "reason": "guest-reset"})
        self.expect(p, b"guest# ", 300 * SLOWNESS)
        self.assertIn("ffff", c.hmp("info mem"))
        self.assertNotIn("Cannot", c.hmp("x/4xg $rsp"))
        c.ok("quit")
        self.end(p)

    def test_panic(self):
        p = self.linux("-no-reboot", "-append",
                       "console=ttyS0 root=/dev/vda panic=-1 reboot=t")
        c = self.client()
        self.say(p, b"echo c > /proc/sysrq-trigger")
        self.assertEqual(c.wait_event("GUEST_PANICKED")["data"], {"action": "poweroff"})
        self.assertEqual(c.wait_event("SHUTDOWN")["data"]["reason"], "guest-panic")
        self.end(p, 3)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1] + sys.argv[6:], verbosity=2)
