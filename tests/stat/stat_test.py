#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""stat beside guests on the software CPU.

usage: stat_test.py RUN STAT BIOS VMLINUZ INITRD [TEST...]
"""

import csv
import io
import json
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
import unittest
import urllib.request

from prometheus_client.openmetrics.parser import text_string_to_metric_families

import monitor
from guest import SLOWNESS, TIMEOUT, GuestTest

GuestTest.run_program, GuestTest.stat_program, GuestTest.bios, VMLINUZ, INITRD = (
    os.path.abspath(p) for p in sys.argv[1:6])


class Formats(GuestTest):
    def setUp(self):
        super().setUp()
        self.web = self.firmware("web", "-smp", "2")

    def test_once(self):
        began = time.monotonic()
        values = self.once()
        self.assertLess(time.monotonic() - began, 1.05 + SLOWNESS * 0.5)
        self.assertGreater(values["exits"][0], 1000)
        for name in ("io_exits", "mmio_exits", "irq_injections", "halt_exits", "tlb_flush",
                     "pf_fixed", "insn_emulation"):
            self.assertGreater(values[name][0], 0, name)
        # What the parts come to.
        total = values["exits"][0]
        parts = sum(values["exit_%s_hist" % r][0]
                    for r in ("io", "mmio", "lapic", "irq", "halt", "signal", "cr8", "msr"))
        # A vCPU's last exits, while it is at it, and the two vCPUs' own moments.
        self.assertAlmostEqual(parts, total, delta=60)
        self.assertAlmostEqual(values["exit_io_hist"][0], values["io_exits"][0], delta=60)
        # Sorted, in the columns of kvm_stat.
        text = self.stat("-1", "-s", "0.01")
        names = [l.split()[0] for l in text.splitlines()]
        self.assertEqual(names, sorted(names))
        for line in text.splitlines():
            self.assertRegex(line, r"^\S+ *\d+ *\d+$")
            self.assertEqual(len(line[:42].split()), 1)
        old = self.stat("-1", "-s", "0.01", "--compat", "-f", "exits")
        self.assertRegex(old, r"^exits {17} *\d+ +\d+\n$")

    def test_log(self):
        out = self.stat("-l", "-f", "exits|io_exits|irq_.*", "-n", "25", "-s", "0.02").splitlines()
        heads = [l for l in out if l.startswith("time")]
        self.assertEqual(len(heads), 2)  # each 20 lines
        self.assertEqual(heads[0].split(),
                         ["time", "exits", "io_exits", "irq_exits", "irq_injections"])
        rows = [l.split() for l in out if not l.startswith("time")]
        self.assertEqual(len(rows), 25)
        self.assertTrue(all(len(r) == 5 for r in rows))
        self.assertTrue(all(int(v) >= 0 for r in rows for v in r[1:]))
        self.assertGreater(sum(int(r[1]) for r in rows), 0)
        # No drift: the times are multiples of the interval from each other.
        times = [float(r[0][17:23]) for r in rows]
        spans = [(b - a) % 60 for a, b in zip(times, times[1:])]
        self.assertLess(abs(sum(spans) - 0.02 * 24), 0.1 * SLOWNESS)
        self.assertEqual(self.stat("-l", "-f", "mmu.*", "-n", "1", "-s", "0.05").split()[0], "time")
        out = self.stat("-l", "--compat", "-f", "exits|io_exits", "-n", "1", "-s", "0.05")
        self.assertRegex(out, r"^ {5}exits {3}io_exits\n +\d+ +\d+\n$")

    def test_csv_and_tsv(self):
        for flag, dialect in ((["-c"], "excel"), (["-F", "tsv"], "excel-tab")):
            text = self.stat(*flag, "-n", "3", "-s", "0.1")
            rows = list(csv.DictReader(io.StringIO(text, newline=""), dialect=dialect))
            self.assertEqual(len(rows), 3)
            self.assertGreater(len(rows[0]), 40)
            self.assertNotIn(None, rows[0])
            self.assertRegex(rows[0]["time"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$")
            self.assertGreaterEqual(sum(int(r["exits"]) for r in rows), 1)
        totals = list(csv.DictReader(io.StringIO(
            self.stat("-c", "--total", "-n", "2", "-s", "0.1"), newline="")))
        self.assertGreaterEqual(int(totals[1]["exits"]), int(totals[0]["exits"]))

    def test_jsonl(self):
        lines = self.stat("-F", "jsonl", "-n", "2", "-s", "0.2").splitlines()
        samples = [json.loads(l) for l in lines]
        self.assertEqual(len(samples), 2)
        self.assertEqual(samples[0]["vms"], ["web"])
        fields = samples[1]["fields"]
        self.assertEqual(fields["exits"]["sources"], ["fd"])
        self.assertEqual(sum(fields["guest_hist"]["buckets"]), fields["guest_hist"]["count"])
        self.assertLessEqual(fields["guest_hist"]["p50"], fields["guest_hist"]["p99"])
        self.assertEqual(fields["guest_ns"]["unit"], "ns")

    def families(self, text):
        return {f.name: f for f in text_string_to_metric_families(text)}

    def test_openmetrics(self):
        found = self.families(self.stat("-1", "-s", "0.05", "-F", "openmetrics"))
        self.assertEqual(found["atoll_exits"].type, "counter")
        vcpus = {s.labels["vcpu"]: s.value for s in found["atoll_exits"].samples}
        self.assertEqual(set(vcpus), {"0", "1"})
        self.assertEqual(found["atoll_guest_seconds"].type, "histogram")
        self.assertTrue(all(s.labels["vm"] == "web" for f in found.values() for s in f.samples))

    def test_openmetrics_file_and_listener(self):
        p = subprocess.Popen([self.stat_program, "-F", "openmetrics", "-o", "metrics", "-s", "0.05",
                              "--listen", "unix:http"])
        self.addCleanup(p.wait)
        self.addCleanup(p.kill)
        deadline = time.monotonic() + TIMEOUT
        while not (os.path.exists("metrics") and os.path.exists("http")):
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.02)
        for _ in range(50):  # never a half of it
            with open("metrics") as f:
                self.assertIn("atoll_exits", self.families(f.read()))
            time.sleep(0.005)
        s = socket.socket(socket.AF_UNIX)
        s.connect("http")
        s.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        reply = b""
        while data := s.recv(65536):
            reply += data
        head, _, body = reply.partition(b"\r\n\r\n")
        self.assertIn(b"200 OK", head)
        self.assertIn(b"application/openmetrics-text", head)
        self.assertIn("atoll_exits", self.families(body.decode()))
        p.send_signal(signal.SIGTERM)
        self.assertEqual(p.wait(TIMEOUT), 0)
        self.assertFalse(os.path.exists("http"))

    def test_listener_on_a_port(self):
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            port = s.getsockname()[1]
        p = subprocess.Popen([self.stat_program, "--listen", "127.0.0.1:%d" % port])
        self.addCleanup(p.wait)
        self.addCleanup(p.kill)
        for _ in range(200):
            try:
                with urllib.request.urlopen("http://127.0.0.1:%d/metrics" % port) as f:
                    text = f.read().decode()
                break
            except OSError:
                time.sleep(0.05)
        self.assertIn("atoll_guest_seconds", self.families(text))

    def test_log_file_and_hangup(self):
        p = subprocess.Popen([self.stat_program, "-L", "log", "-f", "exits", "-s", "0.02"])
        self.addCleanup(p.wait)
        self.addCleanup(p.kill)
        deadline = time.monotonic() + TIMEOUT
        while not os.path.exists("log") or os.path.getsize("log") < 100:
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.02)
        os.rename("log", "log.1")
        p.send_signal(signal.SIGHUP)
        while not os.path.exists("log") or os.path.getsize("log") < 10:
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.02)
        p.send_signal(signal.SIGINT)
        self.assertEqual(p.wait(TIMEOUT), 0)
        self.assertIn("exits", open("log.1").read())

    def test_record_replay_diff(self):
        self.stat("record", "a", "-n", "5", "-s", "0.05")
        self.stat("record", "b", "-n", "5", "-s", "0.05")
        rows = self.stat("replay", "a", "-f", "exits").splitlines()
        self.assertEqual(len(rows), 1 + 5)
        once = self.stat("-1", "replay", "a", "-f", "exits$").split()
        self.assertEqual(int(once[2]), sum(int(r.split()[1]) for r in rows[1:]))
        diff = self.stat("diff", "a", "b", "-f", "exits|pf_fixed")
        self.assertRegex(diff, r"(?m)^exits +\d+\.\d/s +\d+\.\d/s +[+-]\d+\.\d +")
        self.assertEqual(self.stat("replay", "a", "-f", "exits", "-g", "web").splitlines(), rows)
        self.stat("-1", "replay", "a", "-g", "db", code=1)
        self.assertIn("no VM 'db': those that were recorded are web", self.errors)
        with open("a", "a") as f:
            f.write('{"g": 999, "v": []}\n')
        self.stat("replay", "a", code=1)
        self.assertRegex(self.errors, r"a: line \d+: no such group")
        self.stat("diff", "a", "nothing", code=1)

    def test_vcpus(self):
        both = self.once("-s", "0.01", "-f", "exits")["exits"][0]
        second = self.once("-s", "0.01", "--vcpu", "1", "-f", "exits")["exits"][0]
        self.assertLess(second, both)

    def test_descriptors_of_a_process(self):
        # Without its folder: by pidfd_getfd().
        os.environ["ATOLL_RUNTIME_DIR"] = "/nowhere"
        values = self.once("-p", str(self.web.pid), "-s", "0.05", "--source", "fd")
        self.assertGreater(values["exits"][0], 1000)

    def test_small_and_fast(self):
        p = subprocess.Popen([self.stat_program, "-l", "-s", "0.05"], stdout=subprocess.PIPE)
        self.addCleanup(p.stdout.close)
        for _ in range(5):
            p.stdout.readline()
        with open("/proc/%d/status" % p.pid) as f:
            kib = int(re.search(r"VmRSS:\s+(\d+)", f.read())[1])
        p.send_signal(signal.SIGTERM)
        p.wait()
        if SLOWNESS == 1:
            self.assertLess(kib, 12 * 1024)


class Ends(GuestTest):
    def test_two_guests_one_dies(self):
        web = self.firmware("web")
        db = self.firmware("db")
        log = subprocess.Popen([self.stat_program, "-F", "jsonl", "-s", "0.1"],
                               stdout=subprocess.PIPE, text=True)
        self.addCleanup(log.stdout.close)
        first = json.loads(log.stdout.readline())
        self.assertEqual(first["vms"], ["db", "web"])
        db.kill()
        db.wait()
        deadline = time.monotonic() + TIMEOUT
        seen = 0
        last = first["fields"]["exits"]["total"]
        while seen < 5:
            self.assertLess(time.monotonic(), deadline)
            sample = json.loads(log.stdout.readline())
            exits = sample["fields"]["exits"]
            # Nothing shrinks, nothing is negative.
            self.assertGreaterEqual(exits["total"], last)
            self.assertLess(exits["delta"], 1 << 40)
            last = exits["total"]
            seen += 1
        # One that comes is there, with all it counted.
        self.firmware("new")
        while "new" not in sample["vms"]:
            self.assertLess(time.monotonic(), deadline)
            sample = json.loads(log.stdout.readline())
        # All end: the log goes on.
        web.kill()
        web.wait()
        for _ in range(3):
            json.loads(log.stdout.readline())
        log.send_signal(signal.SIGTERM)
        self.assertEqual(log.wait(TIMEOUT), 0)
        self.assertEqual(self.once("-g", "new", "-s", "0.05", "-f", "exits$").keys(), {"exits"})

    def test_a_killed_guest_leaves_nothing_that_matters(self):
        web = self.firmware("web")
        web.kill()
        web.wait()
        self.assertTrue(os.path.exists(os.path.join(self.runtime, "web")))
        self.stat("-1", "--source", "fd", code=1)
        again = self.firmware("web")
        self.assertGreater(self.once("-s", "0.05")["exits"][0], 0)
        again.send_signal(signal.SIGTERM)
        again.wait()
        # In the sandbox too.
        self.assertFalse(os.path.exists(os.path.join(self.runtime, "web")))

    def test_one_name_twice(self):
        self.firmware("web")
        log = open("second", "w")
        p = subprocess.Popen([self.run_program, "-accel", "soft", "-m", "64", "-nographic", "-name",
                              "web", "-bios", self.bios, "-serial", "none", "-monitor", "none"],
                             stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.addCleanup(self.end, p)
        deadline = time.monotonic() + TIMEOUT
        while not os.path.exists(os.path.join(self.runtime, "web.%d" % p.pid, "control")):
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.02)
        self.assertIn("web.%d" % p.pid, open("second").read())
        self.assertEqual(len(self.stat("-1", "-s", "0.05", "-F", "jsonl").splitlines()), 1)

    def test_while_a_command_runs(self):
        out = self.stat("-f", "exits$|instructions", "--", self.run_program, "-accel", "soft", "-m", "64",
                        "-nographic", "-bios", self.bios, "-serial", "none", "-monitor", "none",
                        "--timeout", "2", code=124)
        values = dict((l.split()[0], l.split()[1:]) for l in out.splitlines())
        self.assertGreater(int(values["exits"][1]), 100)
        self.assertEqual(*values["exits"])  # it began with the command
        self.firmware("web")
        self.stat("--", "sh", "-c", "kill -9 $$", code=137)
        self.stat("--", "false", code=1)
        self.stat("--", "/nowhere/program", code=127)
        self.stat("-o", "table", "--", "true")
        self.assertIn("exits", open("table").read())

    def test_expectations(self):
        self.firmware("web")
        self.stat("-1", "-s", "0.1", "--expect", "exits>100", "--expect", "exits<1M/s")
        self.stat("-s", "0.1", "--expect", "exits<100", code=3)
        self.assertRegex(self.errors, r"expected exits<100: it is \d+")
        self.stat("-l", "-s", "0.1", "--expect", "nothing>0", code=3)


class Wrong(GuestTest):
    def test_usage(self):
        for args, words in [(["-f", "exits(("], "position 8"), (["-s", "0"], "0.01"),
                            (["--source", "x"], "fd, qmp, debugfs, trace"),
                            (["-1", "-l"], "exclude"), (["--nothing"], "unknown option"),
                            (["--listen", "9100"], "127.0.0.1:PORT")]:
            self.stat(*args, code=2)
            self.assertIn(words, self.errors)

    def test_no_source(self):
        os.mkdir("root")
        out = self.stat("-1", "--sysroot", "root", code=1)
        self.assertEqual(out, "")
        for source in ("fd: ", "qmp: ", "debugfs: "):
            self.assertIn(source, self.errors)
        self.stat("-1", "-t", "--sysroot", "root", code=1)
        self.assertIn("trace: ", self.errors)

    def test_unknown_vm(self):
        self.firmware("web")
        for args in (["--vm", "nobody"], ["-g", "nobody"], ["-p", "4194000"]):
            self.stat("-1", *args, code=1)
            self.assertIn("those that run are web", self.errors)
        self.assertIn("no VM 'nobody'" if "nobody" in self.errors else "process 4194000",
                      self.errors)

    def unprivileged(self):
        # Root that may not read what its mode forbids.
        if os.geteuid() != 0:
            return []
        return ["setpriv", "--bounding-set=-all", "--inh-caps=-all"]

    def test_unreadable(self):
        folder = "root/sys/kernel/debug/kvm/70-11"
        os.makedirs(folder)
        for name in ("exits", "pages_2m"):
            with open(os.path.join(folder, name), "w") as f:
                f.write("5\n")
            os.chmod(os.path.join(folder, name), 0)
        os.chmod(self.dir, 0o755)
        p = subprocess.run([*self.unprivileged(), self.stat_program, "-l", "-s", "0.02", "-n", "5",
                            "--source", "debugfs", "--sysroot", "root"],
                           capture_output=True, text=True)
        self.assertEqual(p.returncode, 1, p.stderr)
        self.assertEqual(p.stdout, "")  # no zeros
        self.assertEqual(p.stderr.count("ermission"), 1, p.stderr)

    def test_unreadable_beside_what_is_not(self):
        self.firmware("web")
        os.makedirs("root/sys/kernel/debug/kvm/70-11")
        with open("root/sys/kernel/debug/kvm/70-11/pages_2m", "w") as f:
            f.write("5\n")
        os.chmod("root/sys/kernel/debug/kvm/70-11/pages_2m", 0)
        os.chmod(self.dir, 0o755)
        p = subprocess.run([*self.unprivileged(), self.stat_program, "-l", "-s", "0.05", "-n", "4",
                            "--sysroot", "root"], capture_output=True, text=True)
        self.assertEqual(p.returncode, 0, p.stderr)
        self.assertIn("exits", p.stdout)
        self.assertNotIn("pages_2m", p.stdout)
        self.assertEqual(p.stderr.count("ermission"), 1, p.stderr)

    def test_completion(self):
        self.firmware("webserver")
        self.stat("--completion=bash")
        for line, wanted in [("stat -f mmu_un", "mmu_unsync"), ("stat -f largep", "largepages"),
                             ("stat --vm webs", "webserver"), ("stat -F open", "openmetrics")]:
            out = subprocess.run(
                ["bash", "-c", 'source <("$1" --completion=bash); COMP_LINE=$2; COMP_POINT=${#2}; '
                 '_atoll_stat; echo "${COMPREPLY[@]}"', "bash", self.stat_program, line],
                capture_output=True, text=True).stdout
            self.assertEqual(out.strip(), wanted)

    def test_closed_pipe(self):
        self.firmware("web")
        p = subprocess.Popen([self.stat_program, "-l", "-s", "0.02"], stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE)
        p.stdout.readline()
        p.stdout.close()
        self.assertEqual(p.wait(TIMEOUT), 1)
        self.assertIn(b"standard output: Broken pipe", p.stderr.read())
        p.stderr.close()
        with open("/dev/full", "w") as full:
            p = subprocess.run([self.stat_program, "-1", "-s", "0.05"], stdout=full,
                               stderr=subprocess.PIPE)
        self.assertEqual(p.returncode, 1)
        self.assertIn(b"No space left", p.stderr)

    def test_no_terminal(self):
        self.firmware("web")
        # It is as with -1.
        self.assertIn("exits", self.stat("-s", "0.05"))


class Qmp(GuestTest):
    """What QEMU 7.2 answers, from a server that says nothing else."""

    SCHEMAS = [{"provider": "kvm", "target": "vcpu", "stats": [
        {"name": "guest_mode", "unit": "boolean", "type": "instant"},
        {"name": "halt_wait_hist", "unit": "seconds", "base": 10, "exponent": -9,
         "type": "log2-histogram"},
        {"name": "exits", "exponent": 0, "type": "cumulative"}]}]

    def serve(self, greeting=True):
        listener = socket.socket(socket.AF_UNIX)
        listener.bind("qmp")
        listener.listen()
        self.addCleanup(listener.close)
        count = 0

        def talk():
            nonlocal count
            while True:
                try:
                    c, _ = listener.accept()
                except OSError:
                    return
                if greeting:
                    c.sendall(b'{"QMP": {"version": {}, "capabilities": []}}\r\n')
                while data := c.recv(4096):
                    command = json.loads(data)["execute"]
                    count += 100
                    reply = {"query-stats-schemas": self.SCHEMAS, "query-stats": [
                        {"provider": "kvm", "qom-path": "/machine/unattached/device[%d]" % i,
                         "stats": [{"name": "guest_mode", "value": False},
                                   {"name": "exits", "value": count},
                                   {"name": "halt_wait_hist", "value": [0, 1, 2] + [0] * 29}]}
                        for i in range(3)]}.get(command, {})
                    # An event comes in between.
                    c.sendall(b'{"event": "NIC_RX_FILTER_CHANGED", "timestamp": {}}\r\n')
                    c.sendall(json.dumps({"return": reply}).encode() + b"\r\n")
                c.close()

        threading.Thread(target=talk, daemon=True).start()

    def test_query_stats(self):
        self.serve()
        fields = json.loads(self.stat("-1", "-F", "jsonl", "-s", "0.1", "--vm", "./qmp"))["fields"]
        self.assertEqual(fields["exits"]["sources"], ["qmp"])
        self.assertGreater(fields["exits"]["delta"], 0)
        self.assertEqual(fields["halt_wait_hist"]["count"], 9)
        self.assertEqual(fields["halt_wait_hist"]["unit"], "ns")
        self.assertNotIn("delta", fields["guest_mode"])

    def test_nobody_answers(self):
        self.serve(greeting=False)
        self.stat("-1", "--vm", "./qmp", code=1)
        self.assertIn("no answer", self.errors)
        self.stat("-1", "--vm", "./nothing", code=1)
        self.assertIn("No such file", self.errors)


class Linux(GuestTest):
    """A guest boots while it is watched."""

    def test_boot(self):
        log = subprocess.Popen([self.stat_program, "-c", "--source", "fd", "-f",
                                "exits|io_exits|irq_.*", "-s", "0.25"], stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True)
        self.assertEqual(log.wait(TIMEOUT), 1)  # nothing runs yet
        log.stdout.close()
        log.stderr.close()
        guest = subprocess.Popen(
            [self.run_program, "-accel", "soft", "-m", "256", "-nographic", "-name", "linux", "-smp", "2",
             "-kernel", VMLINUZ, "-initrd", INITRD, "-append", "console=ttyS0 panic=-1 root=/dev/none",
             "-monitor", "none", "-no-reboot", "--timeout", str(120 * SLOWNESS), "-qmp",
             "unix:qmp,server=on,wait=off"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.addCleanup(self.end, guest)
        # It answers when its kernel is unpacked.
        deadline = time.monotonic() + TIMEOUT
        while subprocess.run([self.stat_program, "-1", "-s", "0.01"], capture_output=True).returncode:
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.05)
        values = self.once("-f", "exits|io_exits|irq_.*|dev_ns16550_hist|exit_.*|guest_.*")
        self.assertGreater(values["exits"][1], 100)
        rows = [r.split() for r in self.stat("-l", "-f", "mmu.*", "-n", "3", "-s", "0.3").splitlines()]
        self.assertEqual(rows[0], ["time", "mmu_cache_miss", "mmu_recycled", "mmu_shadow_zapped",
                                   "mmu_unsync"])
        for row in rows[1:]:
            # There is room for 64 on each of two vCPUs.
            self.assertLessEqual(int(row[4]), 128)
        while self.once("-f", "mmu_cache_miss", "-s", "0.1")["mmu_cache_miss"][0] < 1000:
            self.assertLess(time.monotonic(), deadline)
        old = self.stat("-l", "--compat", "-f", "mmu.*", "-n", "1", "-s", "0.05")
        self.assertEqual(old.split()[:4], ["mmu_cache", "mmu_recyc", "mmu_shado", "mmu_unsyn"])
        # Two vCPUs have twice the time that passes. A halt is counted when it ends, so
        # some may have been before.
        sample = json.loads(self.stat("-1", "-F", "jsonl", "-s", "2").splitlines()[0])
        spent = {name: f["delta"] for name, f in sample["fields"].items()
                 if re.match(r"(guest|exit_\w+)_ns$", name)}
        self.assertGreater(sum(spent.values()), 0.1 * sample["interval_ns"])
        del spent["exit_halt_ns"]
        self.assertLess(sum(spent.values()), 2.5 * sample["interval_ns"])
        # While it stands still: what is remembered is what came and did not go.
        monitor.stop("qmp")
        mmu = {name: v[0] for name, v in self.once("-f", "mmu.*", "-s", "0.1").items()}
        self.assertEqual(mmu["mmu_unsync"], mmu["mmu_cache_miss"] - mmu["mmu_shadow_zapped"], mmu)
        self.assertLessEqual(mmu["mmu_recycled"], mmu["mmu_shadow_zapped"], mmu)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1] + sys.argv[6:], verbosity=2, warnings="ignore")
