#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Ganeti's QMP client, as Ganeti uses it with QEMU, at a guest's monitor.

usage: ganeti_test.py RUN BIOS PYTHON/ganeti/hypervisor/hv_kvm/monitor.py
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
import unittest

RUN, BIOS, CLIENT = (os.path.abspath(p) for p in sys.argv[1:4])
sys.dont_write_bytecode = True
sys.path.insert(0, CLIENT.split("/ganeti/hypervisor/")[0])
from ganeti import errors  # noqa: E402
from ganeti.hypervisor.hv_kvm import monitor  # noqa: E402


class Ganeti(unittest.TestCase):
    def setUp(self):
        # Names of sockets have no more than 107 bytes.
        self.dir = tempfile.mkdtemp(prefix="ganeti", dir="/tmp")
        os.chdir(self.dir)
        with open("disk", "wb") as f:
            f.truncate(1 << 20)
        self.run = subprocess.Popen(
            [RUN, "-accel", "soft", "-m", "32", "-display", "none", "-serial", "null", "-bios",
             BIOS, "-hda", "disk", "-name", "ganeti", "-qmp", "unix:qmp,server=on,wait=off"],
            stdin=subprocess.DEVNULL)
        while not os.path.exists("qmp"):
            self.assertIsNone(self.run.poll())
            time.sleep(0.05)

    def tearDown(self):
        self.run.kill()
        self.run.wait()
        os.chdir("/")
        shutil.rmtree(self.dir)

    def test_client(self):
        qmp = monitor.QmpConnection("qmp")
        with qmp:
            self.assertEqual(qmp.version, (7, 2, 0))
            self.assertIn("atoll", qmp.package)
            self.assertIn("query-status", qmp.supported_commands)
            self.assertTrue(qmp.Execute("query-status")["running"])
            qmp.Execute("stop")
            self.assertEqual(qmp.Execute("query-status")["status"], "paused")
            qmp.Execute("cont")
            # Events come in between, which it passes over.
            self.assertTrue(qmp.Execute("query-status")["running"])
            self.assertTrue(qmp._HasBlockDevice("ide0-hd0"))
            self.assertFalse(qmp._HasBlockDevice("disk-1"))
            with self.assertRaises(monitor.QmpCommandNotSupported):
                qmp.Execute("migrate")
            with self.assertRaises(errors.HypervisorError) as refused:
                qmp.Execute("eject", {"id": "nodrive"})
            self.assertIn("DeviceNotFound", str(refused.exception))
            # A descriptor in a message of its own, before the command.
            with open("disk", "rb+") as f:
                fdset = qmp._AddFd(f.fileno())
            self.assertEqual([s["fdset-id"] for s in qmp.Execute("query-fdsets")], [fdset])
            qmp._RemoveFdset(fdset)
            self.assertEqual(qmp.Execute("query-fdsets"), [])
            self.assertEqual(
                qmp.Execute("human-monitor-command", {"command-line": "info name"}),
                "ganeti\r\n")
        # A connection for each call, as its wrappers make them.
        qmp = monitor.QmpConnection("qmp")
        qmp.StopGuestEmulation()
        qmp.ContinueGuestEmulation()
        self.assertFalse(qmp.HasDynamicAutoReadOnly())
        self.assertFalse(qmp.is_connected())
        with qmp:
            qmp.Execute("system_powerdown")
            qmp.Execute("quit")
        self.assertEqual(self.run.wait(timeout=60), 0)


if __name__ == "__main__":
    unittest.main(argv=["ganeti_test"], verbosity=2)
