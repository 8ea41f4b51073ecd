#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""stat on a host with KVM, as root: the sources agree with each other and with
the kernel's own files, to the last exit.

usage: lab_host.py RUN STAT BIOS

Run by lab_test.sh inside an emulated host, or by hand on a real one. Guests stand
still while two things are compared: counters are read one after the other.
"""

import datetime
import glob
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import unittest

import kvm_machine
import monitor

RUN, STAT, BIOS = (os.path.abspath(p) for p in sys.argv[1:4])


def kernel(pid):
    """What the kernel's files say of a process' VM: the oracle. Of histograms, how much is in
    them."""
    out = {}
    folder, = glob.glob("/sys/kernel/debug/kvm/%d-*" % pid)
    for name in os.listdir(folder):
        path = os.path.join(folder, name)
        if os.path.isfile(path):
            with open(path) as f:
                text = f.read()
            if re.fullmatch(r"[\d\s]+", text):
                out[name] = sum(map(int, text.split()))
    return out


def stat(*args):
    p = subprocess.run([STAT, *args], capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert p.returncode == 0, p.stderr
    return p.stdout


def sample(*args):
    return json.loads(stat("-1", "-F", "jsonl", *args).splitlines()[-1])["fields"]


class Watch:
    """stat beside a guest; what it says of how much everything has grown."""

    def __init__(self, *args):
        self.errors = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen([STAT, "-F", "jsonl", "-s", "0.1", *args], text=True,
                                        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                        stderr=self.errors)
        assert self.process.stdout.readline(), "stat has ended"  # it has looked twice

    def grown(self):
        """Since it began, with a look that began after this call."""
        now = datetime.datetime.now(datetime.timezone.utc)
        out = {}
        for line in self.process.stdout:
            s = json.loads(line)
            for name, field in s["fields"].items():
                out[name] = out.get(name, 0) + field.get("delta", 0)
            # Its times are cut to milliseconds.
            if datetime.datetime.fromisoformat(s["time"].replace("Z", "+00:00")) > now:
                break
        self.process.terminate()
        self.process.communicate()
        self.errors.seek(0)
        return out, self.errors.read()


class Sources(unittest.TestCase):
    """The kernel's counters of a process that is not ours."""

    @classmethod
    def setUpClass(cls):
        os.environ["ATOLL_RUNTIME_DIR"] = "/nowhere"
        cls.guest = kvm_machine.Guest()
        cls.guest.run(300)

    @classmethod
    def tearDownClass(cls):
        cls.guest.end()

    def test_every_counter_is_the_kernels(self):
        pid = str(self.guest.pid)
        truth = kernel(self.guest.pid)
        self.assertGreaterEqual(truth["exits"], 600)
        self.assertGreaterEqual(truth["io_exits"], 300)
        for source in ("fd", "debugfs"):
            fields = sample("-s", "0.05", "--source", source, "-p", pid)
            compared = 0
            for name, value in truth.items():
                if name in fields:
                    shown = next(fields[name][k] for k in ("total", "count")
                                 if k in fields[name])
                    self.assertEqual(shown, value, "%s: %s" % (source, name))
                    compared += 1
            print("%s: %d of the kernel's %d values, and all equal" % (source, compared, len(truth)))
            self.assertGreater(compared, 45)
        self.assertEqual(kernel(self.guest.pid), truth)  # it did stand still

    def test_the_best_source_wins(self):
        self.assertEqual(
            sample("-s", "0.05", "-p", str(self.guest.pid))["exits"]["sources"], ["fd"])

    def test_all_sources_count_the_same_exits(self):
        rounds = 700
        pid = str(self.guest.pid)
        # A tracepoint does not know of a VM before it fires; there is no other here.
        watches = {"fd": Watch("--source", "fd", "-p", pid),
                   "debugfs": Watch("--source", "debugfs", "-p", pid),
                   "trace": Watch("--source", "trace")}
        before = kernel(self.guest.pid)
        self.guest.run(rounds)
        after = kernel(self.guest.pid)
        grown = {}
        for source, watch in watches.items():
            grown[source], errors = watch.grown()
            self.assertNotIn("lost", errors)
        exits = after["exits"] - before["exits"]
        traced = grown["trace"]
        reasons = {n: d for n, d in traced.items() if n.startswith("kvm_exit(")}
        print("exits of %d rounds: the kernel's file %d, debugfs %d, fd %d, tracepoints %d: %s" % (
            rounds, exits, grown["debugfs"]["exits"], grown["fd"]["exits"], traced["kvm_exit"],
            reasons))
        self.assertGreaterEqual(exits, 2 * rounds)
        for name, seen in (("debugfs", grown["debugfs"]["exits"]), ("fd", grown["fd"]["exits"]),
                           ("kvm_exit", traced["kvm_exit"]), ("reasons", sum(reasons.values()))):
            self.assertEqual(seen, exits, name)
        # What the guest did, by name.
        for either in (("kvm_exit(io)", "kvm_exit(IO_INSTRUCTION)"),
                       ("kvm_exit(hlt)", "kvm_exit(HLT)"), ("kvm_userspace_exit(KVM_EXIT_IO)",),
                       ("kvm_userspace_exit(KVM_EXIT_HLT)",)):
            self.assertEqual(sum(traced.get(n, 0) for n in either), rounds, either)
        self.assertFalse([n for n in reasons if "(0x" in n])
        for source in ("debugfs", "fd"):
            self.assertEqual(grown[source]["io_exits"], rounds)
            self.assertEqual(grown[source]["halt_exits"], rounds)


class Run(unittest.TestCase):
    """A guest of run on KVM: the kernel's counters and run's times together."""

    @classmethod
    def setUpClass(cls):
        cls.dir = tempfile.mkdtemp(dir="/tmp")
        os.environ["ATOLL_RUNTIME_DIR"] = cls.dir + "/rt"
        cls.start()
        deadline = time.monotonic() + 120
        while subprocess.run([STAT, "-1", "-s", "0.01", "--source", "fd"],
                             capture_output=True).returncode:
            assert time.monotonic() < deadline
            if cls.guest.poll() is not None:
                with open(cls.dir + "/log") as f:
                    log = f.read()
                # What an emulated host looks like while its own host runs something else.
                assert "of this processor's speed" in log, log
                cls.start()
            time.sleep(0.2)
        time.sleep(5)  # firmware to its loop of boot attempts

    @classmethod
    def start(cls):
        cls.guest = subprocess.Popen(
            [RUN, "-accel", "kvm", "-m", "64", "-nographic", "-name", "web", "-bios", BIOS,
             "-serial", "none", "-monitor", "none", "-qmp",
             "unix:%s/qmp,server=on,wait=off" % cls.dir], stdin=subprocess.DEVNULL,
            stdout=open(cls.dir + "/log", "w"), stderr=subprocess.STDOUT)

    @classmethod
    def tearDownClass(cls):
        cls.guest.terminate()
        cls.guest.wait()

    def test_run_hands_out_the_kernels(self):
        monitor.stop(self.dir + "/qmp")
        truth = kernel(self.guest.pid)
        fields = sample("-s", "0.05", "--source", "fd")
        for name in ("exits", "halt_wait_hist", "guest_hist", "exit_io_hist", "dev_i8042_hist"):
            self.assertIn(name, fields)
        self.assertGreater(fields["exits"]["total"], 1000)
        self.assertGreater(fields["exit_io_hist"]["count"], 1000)
        compared = 0
        for name, value in truth.items():
            if "total" in fields.get(name, {}):
                self.assertEqual(fields[name]["total"], value, name)
                compared += 1
        print("run: %d of the kernel's values in its descriptors, and all equal" % compared)
        self.assertGreater(compared, 40)
        self.assertEqual(kernel(self.guest.pid), truth)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2, warnings="ignore")
