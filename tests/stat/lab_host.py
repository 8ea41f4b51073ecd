#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""stat on a host with KVM, as root: the sources agree with each other and with
the kernel's own files.

usage: lab_host.py RUN STAT BIOS [KVM_STAT]

Run by lab_test.sh inside an emulated host, or by hand on a real one.
"""

import glob
import json
import os
import subprocess
import sys
import tempfile
import time
import unittest

RUN, STAT, BIOS = (os.path.abspath(p) for p in sys.argv[1:4])
KVM_STAT = sys.argv[4] if len(sys.argv) > 4 else None


def seconds(*command):
    began = time.monotonic()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                   stdin=subprocess.DEVNULL)
    return time.monotonic() - began


class Host(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.dir = tempfile.mkdtemp(dir="/tmp")
        os.environ["ATOLL_RUNTIME_DIR"] = cls.dir + "/rt"
        cls.guest = subprocess.Popen(
            [RUN, "-accel", "kvm", "-m", "64", "-nographic", "-name", "web", "-bios", BIOS,
             "-serial", "none", "-monitor", "none"], stdin=subprocess.DEVNULL,
            stdout=open(cls.dir + "/log", "w"), stderr=subprocess.STDOUT)
        deadline = time.monotonic() + 60
        while subprocess.run([STAT, "-1", "-s", "0.01", "--source", "fd"],
                             capture_output=True).returncode:
            assert cls.guest.poll() is None, open(cls.dir + "/log").read()
            assert time.monotonic() < deadline
            time.sleep(0.2)
        time.sleep(5)  # firmware to its loop of boot attempts

    @classmethod
    def tearDownClass(cls):
        cls.guest.terminate()
        cls.guest.wait()

    def stat(self, *args):
        p = subprocess.run([STAT, *args], capture_output=True, text=True, stdin=subprocess.DEVNULL)
        self.assertEqual(p.returncode, 0, p.stderr)
        self.errors = p.stderr
        return p.stdout

    def sample(self, *args):
        return json.loads(self.stat("-1", "-F", "jsonl", *args).splitlines()[-1])["fields"]

    def kernel(self):
        """What the kernel's files say: the oracle."""
        out = {}
        folder, = glob.glob("/sys/kernel/debug/kvm/%d-*" % self.guest.pid)
        for name in os.listdir(folder):
            path = os.path.join(folder, name)
            if os.path.isfile(path):
                out[name] = int(open(path).read())
        return out

    def test_sources_agree(self):
        for source in ("fd", "debugfs"):
            before = self.kernel()
            fields = self.sample("-s", "0.05", "--source", source)
            after = self.kernel()
            compared = 0
            for name, value in before.items():
                if name not in fields or "total" not in fields[name]:
                    self.assertEqual(source, "fd", name)
                    continue
                low, high = sorted((value, after[name]))
                self.assertTrue(low <= fields[name]["total"] <= high,
                                "%s: %s: %d, %s, %d" % (source, name, value, fields[name], after[name]))
                compared += 1
            print("%s: %d counters agree with the kernel's files" % (source, compared))
            self.assertGreater(compared, 40)
        self.assertGreater(after["exits"], 1000)

    def test_run_hands_out_the_kernels(self):
        fields = self.sample("-s", "0.05", "--source", "fd")
        for name in ("exits", "halt_wait_hist", "guest_hist", "exit_io_hist", "dev_i8042_hist"):
            self.assertIn(name, fields)
        # Both count port accesses: the kernel exits, run accesses.
        self.assertGreater(fields["exit_io_hist"]["count"], 1000)

    def test_the_best_source_wins(self):
        fields = self.sample("-s", "0.05")
        self.assertEqual(fields["exits"]["sources"], ["fd"])

    def test_tracepoints(self):
        before = self.kernel()["exits"]
        began = time.monotonic()
        fields = self.sample("-s", "3", "-t", "-d")
        passed = time.monotonic() - began
        exits = self.kernel()["exits"] - before
        traced = fields["kvm_exit"]["delta"]
        reasons = {n: f["delta"] for n, f in fields.items() if n.startswith("kvm_exit(")}
        print("traced %d of %d exits in %.1f s: %s" % (traced, exits, passed, reasons))
        self.assertEqual(sum(reasons.values()), traced)
        # The reasons have names, not numbers.
        self.assertFalse([n for n in reasons if "(0x" in n])
        self.assertTrue({"kvm_exit(io)", "kvm_exit(IO_INSTRUCTION)"} & set(reasons))
        self.assertGreater(traced, 0.5 * exits * 3 / passed)
        self.assertLessEqual(traced, exits)
        self.assertIn("kvm_userspace_exit(KVM_EXIT_IO)", fields)
        self.assertEqual(fields["exits"]["sources"], ["debugfs"])

    def test_another_process(self):
        fields = self.sample("-s", "0.05", "-p", str(self.guest.pid), "--source", "fd")
        self.assertGreater(fields["exits"]["total"], 1000)

    def test_beside_kvm_stat(self):
        rows = [("-1, s", seconds(STAT, "-1"), KVM_STAT and seconds(KVM_STAT, "-1")),
                ("-f help, s", seconds(STAT, "-f", "help"),
                 KVM_STAT and seconds(KVM_STAT, "-f", "help"))]
        for name, ours, theirs in rows:
            print("| %s | %.3f | %s |" % (name, ours, theirs and "%.3f" % theirs))
            if theirs:
                self.assertLess(ours, theirs)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2, warnings="ignore")
