#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Linux by run in an emulated host with VMX, to user land and off again, and what stat
says of its exits beside the kernel's own count.

usage: vmx_test.py LAB_VMX RUN STAT VMLINUZ BUSYBOX
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import unittest

LAB, RUN, STAT, VMLINUZ, BUSYBOX = (os.path.abspath(p) for p in sys.argv[1:6])

# Of the guest.
INIT = """#!/bin/busybox sh
/bin/busybox mount -t proc proc /proc
/bin/busybox echo "user land on $(/bin/busybox grep -c ^processor /proc/cpuinfo) CPU"
read line
/bin/busybox poweroff -f
"""
# Of the host, where what the guest is to read is written when all has been looked at.
HOST = """export ATOLL_RUNTIME_DIR=/tmp/rt
./run -accel kvm --check --json
echo "verdict ends"
began=$(cut -d' ' -f1 /proc/uptime)
mkfifo /tmp/in
./run -accel kvm -m 128 -vga none -nographic -kernel vmlinuz -initrd initrd \\
  -append "console=ttyS0 quiet mitigations=off init_on_alloc=0 random.trust_cpu=on" \\
  </tmp/in >/tmp/out 2>&1 &
pid=$!
exec 3>/tmp/in
while kill -0 $pid && ! grep -q "user land on" /tmp/out; do sleep 1; done
cat /tmp/out
echo "host seconds: $began to $(cut -d' ' -f1 /proc/uptime)"
echo "before: $(cat /sys/kernel/debug/kvm/$pid-*/exits)"
./stat -1 -s 0.05
echo "after: $(cat /sys/kernel/debug/kvm/$pid-*/exits)"
echo >&3
wait $pid
echo "status: $?"
"""


class Vmx(unittest.TestCase):
    def test_linux_reaches_user_land(self):
        with tempfile.TemporaryDirectory() as work:
            # Little to read for a slow host.
            for program in (RUN, STAT):
                subprocess.run(["strip", "-o", os.path.join(work, os.path.basename(program)),
                                program], check=True)
            tree = work + "/tree"
            for folder in ("bin", "proc", "dev"):
                os.makedirs(os.path.join(tree, folder))
            subprocess.run(["cp", "-L", BUSYBOX, tree + "/bin/busybox"], check=True)
            with open(tree + "/init", "w") as f:
                f.write(INIT)
            os.chmod(tree + "/init", 0o755)
            with open(work + "/initrd", "wb") as f:
                subprocess.run("find . | cpio -o -H newc --quiet -R 0:0", shell=True, cwd=tree,
                               stdout=f, check=True)
            subprocess.run(["cp", "-L", VMLINUZ, work + "/vmlinuz"], check=True)
            with open(work + "/host.sh", "w") as f:
                f.write(HOST)
            files = [x for name in ("run", "stat", "vmlinuz", "initrd", "host.sh")
                     for x in ("--file", os.path.join(work, name))]
            p = subprocess.run([LAB, "--timeout", "3300", *files, "sh", "host.sh"],
                               stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        text = p.stdout.replace("\r", "")
        print(text)
        self.assertEqual(p.returncode, 0)
        self.assertIn("user land on 1 CPU", text)

        verdicts = json.loads(text[:text.index("verdict ends")])
        kvm, = [b for b in verdicts["backends"] if b["name"] == "kvm"]
        self.assertEqual((kvm["usable"], kvm["reason"]), (True, "Intel VT-x"))

        def number(pattern):
            return int(re.search(r"(?m)^" + pattern, text)[1])
        exits = number(r"exits +(\d+)")
        self.assertTrue(number(r"before: (\d+)") <= exits <= number(r"after: (\d+)"), exits)
        # Of a boot, and none of them made up: its parts are there, too.
        self.assertGreater(exits, 5000)
        self.assertGreater(number(r"io_exits +(\d+)"), 500)
        self.assertGreater(number(r"irq_injections +(\d+)"), 10)
        self.assertEqual(number(r"status: (\d+)"), 0)


if __name__ == "__main__":
    unittest.main(argv=["vmx_test"] + sys.argv[6:], verbosity=2)
