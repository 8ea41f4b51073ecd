# SPDX-License-Identifier: Apache-2.0
"""Guests that run, and stat beside them."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
import unittest

# How many times slower than an optimised build the programs are; see .bazelrc.
SLOWNESS = int(os.environ.get("ATOLL_TEST_SLOWNESS", "1"))
TIMEOUT = 60 * SLOWNESS


class GuestTest(unittest.TestCase):
    """`run`, `stat`, `bios` are set by the file that is executed."""

    run_program = stat_program = bios = None

    def setUp(self):
        # Sockets need short paths.
        self.dir = tempfile.mkdtemp(dir="/tmp")
        self.addCleanup(shutil.rmtree, self.dir, True)
        self.runtime = os.path.join(self.dir, "rt")
        os.environ["ATOLL_RUNTIME_DIR"] = self.runtime
        os.environ["LC_ALL"] = "C.UTF-8"
        os.chdir(self.dir)

    def firmware(self, name, *more):
        """A guest that is in SeaBIOS' loop of boot attempts."""
        p = self.start(name, "-bios", self.bios, "-serial", "none", *more)
        # It has done something.
        deadline = time.monotonic() + TIMEOUT
        while True:
            self.assertLess(time.monotonic(), deadline)
            out = subprocess.run(
                [self.stat_program, "-1", "-s", "0.01", "-p", str(p.pid), "-f", "exits$"],
                capture_output=True, text=True, stdin=subprocess.DEVNULL).stdout.split()
            if len(out) == 3 and int(out[1]) > 2000:
                return p
            time.sleep(0.02)

    def start(self, name, *args):
        log = os.path.join(self.dir, name + ".log")
        with open(log, "w") as f:
            p = subprocess.Popen(
                [self.run_program, "-accel", "soft", "-m", "64", "-nographic", "-name", name,
                 "-monitor", "none", *args], stdin=subprocess.DEVNULL, stdout=f, stderr=f)
        self.addCleanup(self.end, p)
        folder = os.path.join(self.runtime, name)
        deadline = time.monotonic() + TIMEOUT
        while not (os.path.exists(folder + "/control") and self.owner(folder) == p.pid):
            with open(log) as f:
                self.assertIsNone(p.poll(), f.read())
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.02)
        return p

    def owner(self, folder):
        """Whose folder it is: a killed guest's is there until another comes."""
        try:
            with open(folder + "/pid") as f:
                return int(f.read() or 0)
        except OSError:
            return 0

    def end(self, p):
        if p.poll() is None:
            p.send_signal(signal.SIGTERM)
            p.wait(TIMEOUT)

    def stat(self, *args, code=0, **kwargs):
        p = subprocess.run([self.stat_program, *args], capture_output=True, text=True,
                           timeout=TIMEOUT, stdin=subprocess.DEVNULL, **kwargs)
        self.assertEqual(p.returncode, code, p.stdout + p.stderr)
        self.errors = p.stderr
        return p.stdout

    def once(self, *args):
        """stat -1 as a dictionary: name → (total, delta)."""
        out = {}
        for line in self.stat("-1", *args).splitlines():
            name, total, delta = line.split()
            out[name] = (int(total), int(delta))
        return out
