#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""stat on a host with KVM, as root: the sources agree with each other and with
the kernel's own files.

usage: lab_host.py RUN STAT BIOS [KVM_STAT]

Run by lab_test.sh inside an emulated host, or by hand on a real one.
"""

import ctypes
import fcntl
import glob
import json
import mmap
import os
import signal
import struct
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


class Machine:
    """The smallest VMM that keeps its descriptors of counters open: a guest that writes to
    a port and halts, for ever."""

    CODE = bytes.fromhex("ee f4 ebfc")  # out dx, al; hlt; back

    def __init__(self):
        kvm = os.open("/dev/kvm", os.O_RDWR | os.O_CLOEXEC)
        self.vm = fcntl.ioctl(kvm, 0xAE01, 0)
        self.memory = mmap.mmap(-1, 0x10000)
        self.memory[0x1000:0x1000 + len(self.CODE)] = self.CODE
        address = ctypes.addressof(ctypes.c_char.from_buffer(self.memory))
        fcntl.ioctl(self.vm, 0x4020AE46, struct.pack("<IIQQQ", 0, 0, 0, 0x10000, address))
        self.vcpu = fcntl.ioctl(self.vm, 0xAE41, 0)
        self.shared = mmap.mmap(self.vcpu, fcntl.ioctl(kvm, 0xAE04, 0))
        sregs = bytearray(312)
        fcntl.ioctl(self.vcpu, 0x8138AE83, sregs)
        sregs[0:8] = bytes(8)  # cs: base and selector 0
        sregs[12:14] = bytes(2)
        fcntl.ioctl(self.vcpu, 0x4138AE84, sregs)
        regs = bytearray(144)
        regs[24:32] = struct.pack("<Q", 0x10)  # rdx
        regs[128:144] = struct.pack("<QQ", 0x1000, 2)  # rip, rflags
        fcntl.ioctl(self.vcpu, 0x4090AE82, regs)
        self.stats = [fcntl.ioctl(self.vm, 0xAECE, 0), fcntl.ioctl(self.vcpu, 0xAECE, 0)]

    def run(self):
        while True:
            fcntl.ioctl(self.vcpu, 0xAE80, 0)
            reason = struct.unpack_from("<I", self.shared, 8)[0]
            assert reason in (2, 5), reason  # IO, HLT
            time.sleep(0.001)


class Sources(unittest.TestCase):
    """The kernel's counters of a process that is not ours."""

    @classmethod
    def setUpClass(cls):
        os.environ["ATOLL_RUNTIME_DIR"] = "/nowhere"
        cls.pid = os.fork()
        if cls.pid == 0:
            try:
                Machine().run()
            finally:
                os._exit(1)
        time.sleep(2)

    @classmethod
    def tearDownClass(cls):
        os.kill(cls.pid, signal.SIGKILL)
        os.waitpid(cls.pid, 0)

    def stat(self, *args):
        p = subprocess.run([STAT, *args], capture_output=True, text=True, stdin=subprocess.DEVNULL)
        self.assertEqual(p.returncode, 0, p.stderr)
        return p.stdout

    def sample(self, *args):
        return json.loads(self.stat("-1", "-F", "jsonl", "-p", str(self.pid), *args)
                          .splitlines()[-1])["fields"]

    def kernel(self):
        """What the kernel's files say: the oracle."""
        out = {}
        folder, = glob.glob("/sys/kernel/debug/kvm/%d-*" % self.pid)
        for name in os.listdir(folder):
            path = os.path.join(folder, name)
            if os.path.isfile(path):
                with open(path) as f:
                    text = f.read()
                if text.strip().isdigit():
                    out[name] = int(text)
        return out

    def test_sources_agree(self):
        for source in ("fd", "debugfs"):
            before = self.kernel()
            fields = self.sample("-s", "0.05", "--source", source)
            after = self.kernel()
            compared = 0
            for name, value in before.items():
                if name not in fields or "total" not in fields[name]:
                    continue
                low, high = sorted((value, after[name]))
                self.assertTrue(low <= fields[name]["total"] <= high, "%s: %s: %d, %s, %d" % (
                    source, name, value, fields[name], after[name]))
                compared += 1
            print("%s: %d counters lie between two looks at the kernel's files" % (source, compared))
            self.assertGreater(compared, 40)
        self.assertGreater(after["exits"], 100)
        self.assertGreater(after["io_exits"], 50)

    def test_the_best_source_wins(self):
        self.assertEqual(self.sample("-s", "0.05")["exits"]["sources"], ["fd"])

    def test_tracepoints(self):
        before = self.kernel()["exits"]
        fields = self.sample("-s", "2", "-t", "-d")
        exits = self.kernel()["exits"] - before
        traced = fields["kvm_exit"]["delta"]
        reasons = {n: f["delta"] for n, f in fields.items() if n.startswith("kvm_exit(")}
        print("traced %d of %d exits that debugfs counts in %d: %s" % (
            traced, fields["exits"]["delta"], exits, reasons))
        self.assertEqual(sum(reasons.values()), traced)
        # The reasons have names, not numbers.
        self.assertFalse([n for n in reasons if "(0x" in n])
        self.assertTrue({"kvm_exit(io)", "kvm_exit(IO_INSTRUCTION)"} & set(reasons))
        self.assertTrue({"kvm_exit(hlt)", "kvm_exit(HLT)"} & set(reasons))
        self.assertLess(abs(traced - fields["exits"]["delta"]), 0.1 * traced + 20)
        self.assertIn("kvm_userspace_exit(KVM_EXIT_IO)", fields)
        self.assertIn("kvm_userspace_exit(KVM_EXIT_HLT)", fields)
        self.assertEqual(fields["exits"]["sources"], ["debugfs"])

    def test_beside_kvm_stat(self):
        pid = str(self.pid)
        rows = [("-1, s", seconds(STAT, "-1", "-p", pid), KVM_STAT and seconds("/usr/bin/python3", KVM_STAT, "-1")),
                ("-f help, s", seconds(STAT, "-f", "help"),
                 KVM_STAT and seconds("/usr/bin/python3", KVM_STAT, "-f", "help"))]
        for name, ours, theirs in rows:
            print("| %s | %.3f | %s |" % (name, ours, theirs and "%.3f" % theirs))
            if theirs:
                self.assertLess(ours, theirs)


class Run(unittest.TestCase):
    """A guest of run on KVM: the kernel's counters and run's times together."""

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

    def test_run_hands_out_the_kernels(self):
        out = subprocess.run([STAT, "-1", "-F", "jsonl", "-s", "0.05", "--source", "fd"],
                             capture_output=True, check=True, stdin=subprocess.DEVNULL).stdout
        fields = json.loads(out)["fields"]
        for name in ("exits", "halt_wait_hist", "guest_hist", "exit_io_hist", "dev_i8042_hist"):
            self.assertIn(name, fields)
        self.assertGreater(fields["exits"]["total"], 1000)
        self.assertGreater(fields["exit_io_hist"]["count"], 1000)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2, warnings="ignore")
