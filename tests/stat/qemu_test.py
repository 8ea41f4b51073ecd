#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""stat beside QEMU 7.2 on KVM: its QMP socket, found and named.

usage: qemu_test.py RUN STAT BIOS

Needs the package qemu-system-x86 and a /dev/kvm that opens, however slow.
"""

import json
import os
import socket
import subprocess
import sys
import time
import unittest

from guest import TIMEOUT, GuestTest

GuestTest.run_program, GuestTest.stat_program, GuestTest.bios = (
    os.path.abspath(p) for p in sys.argv[1:4])


class Qemu(GuestTest):
    def qemu(self, *args, accel="kvm"):
        p = subprocess.Popen(["qemu-system-x86_64", "-accel", accel, "-smp", "2", "-m", "64", "-display",
                              "none", "-nodefaults", "-name", "guest=qq,debug-threads=on", *args],
                             stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.addCleanup(self.end, p)
        deadline = time.monotonic() + TIMEOUT
        while not os.path.exists("qmp"):
            self.assertIsNone(p.poll())
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.05)
        return p

    def monitor(self):
        s = socket.socket(socket.AF_UNIX)
        s.connect("qmp")
        f = s.makefile("rw")
        f.readline()
        def call(command, **arguments):
            f.write(json.dumps({"execute": command, "arguments": arguments}) + "\n")
            f.flush()
            while True:
                reply = json.loads(f.readline())
                if "return" in reply:
                    return reply["return"]
        call("qmp_capabilities")
        self.addCleanup(s.close)
        return s, f, call

    def values(self, call):
        """What QEMU says, added up."""
        out = {}
        for target in ("vm", "vcpu"):
            for entry in call("query-stats", target=target):
                for stat in entry["stats"]:
                    v = stat["value"]
                    out[stat["name"]] = out.get(stat["name"], 0) + (sum(v) if isinstance(v, list) else v)
        return out

    def test_counters(self):
        self.qemu("-qmp", "unix:qmp,server=on,wait=off")
        time.sleep(3)
        s, f, call = self.monitor()
        call("stop")  # so that nothing changes
        truth = self.values(call)
        f.close()
        s.close()
        for args in (["--vm", "./qmp"], ["-g", "qq"], []):
            sample = json.loads(self.stat("-1", "-F", "jsonl", "-s", "0.05", "--source", "qmp", *args))
            fields = sample["fields"]
            self.assertEqual(fields["exits"]["sources"], ["qmp"])
            self.assertGreater(len(fields), 50)
            for name, value in truth.items():
                if fields[name]["type"] == "peak":
                    continue
                shown = fields[name].get("total", fields[name].get("count"))
                # Asking makes a vCPU leave the guest.
                self.assertLessEqual(abs(shown - value), 20, name)
            self.assertEqual(fields["halt_wait_hist"]["type"], "log-hist")
            self.assertEqual(len(fields["halt_wait_hist"]["buckets"]), 32)

    def test_a_monitor_that_is_taken(self):
        self.qemu("-chardev", "socket,id=m,path=qmp,server=on,wait=off", "-mon",
                  "chardev=m,mode=control")
        keep = self.monitor()
        self.stat("-1", "--source", "qmp", code=1)
        self.assertIn("does another client talk to it?", self.errors)
        keep[1].close()

    def test_nothing_without_kvm(self):
        self.qemu("-qmp", "unix:qmp,server=on,wait=off", accel="tcg")
        self.stat("-1", "--source", "qmp", code=1)
        self.assertIn("counts nothing (no KVM)", self.errors)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1] + sys.argv[4:], verbosity=2, warnings="ignore")
