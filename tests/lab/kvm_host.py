#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""run on a host with KVM, as root: an emulated one (lab-svm) or a real one.

usage: kvm_host.py RUN [TEST...]
"""

import json
import os
import re
import subprocess
import sys
import unittest

RUN = os.path.abspath(sys.argv[1])


class Verdicts(unittest.TestCase):
    """run --check says of this host what is true of it, whatever that is."""

    def verdict(self):
        p = subprocess.run([RUN, "-accel", "kvm", "--check", "--json"], text=True,
                           stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        backends = {b["name"]: b for b in json.loads(p.stdout)["backends"]}
        print(backends["kvm"])
        self.assertEqual(p.returncode, 0 if backends["kvm"]["usable"] else 1)
        return backends["kvm"]["usable"], backends["kvm"]["reason"]

    def test_this_host(self):
        usable, reason = self.verdict()
        with open("/proc/cpuinfo") as f:
            flags = set(re.search(r"flags\s*:(.*)", f.read())[1].split())
        if not os.path.exists("/dev/kvm"):
            self.assertFalse(usable)
            self.assertIn("/dev/kvm does not exist", reason)
        elif flags & {"vmx", "svm"}:
            self.assertTrue(usable, reason)
            self.assertIn("AMD SVM" if "svm" in flags else "Intel VT-x", reason)
        elif not os.access("/dev/kvm", os.R_OK | os.W_OK):
            self.assertFalse(usable)
            self.assertIn("permission denied", reason)
        else:
            # A build of KVM that emulates what the processor does not do.
            self.assertFalse(usable)
            self.assertIn("neither VT-x nor SVM", reason)


if __name__ == "__main__":
    unittest.main(argv=["kvm_host"] + sys.argv[2:], verbosity=2, warnings="ignore")
