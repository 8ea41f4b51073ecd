#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""QEMU with a node of the module in place of /dev/kvm: a Debian kernel to a shell on a
disk, with the interrupt controllers in the kernel, split, and in user space.

On a host where the module is loaded, as root: QEMU opens no other path.
usage: qemu_test.py DEVICE VMLINUZ INITRD DISK [TEST...]
"""

import os
import subprocess
import sys
import unittest

from console import PROMPT, Console

QEMU = "/usr/bin/qemu-system-x86_64"
DEVICE = sys.argv[1]
VMLINUZ, INITRD, DISK = (os.path.abspath(p) for p in sys.argv[2:5])


def setUpModule():
    if DEVICE == "/dev/kvm":
        return
    if not os.path.exists("/dev/kvm"):
        open("/dev/kvm", "w").close()
    subprocess.run(["mount", "--bind", DEVICE, "/dev/kvm"], check=True)


class Qemu(unittest.TestCase):
    def boot(self, machine, cpus, *more):
        """To the prompt, with as many processors as it was given."""
        c = Console(QEMU, [
            "-accel", "kvm", "-M", machine, "-smp", str(cpus), "-m", "192", "-nodefaults",
            "-nographic", "-serial", "stdio", "-kernel", VMLINUZ, "-initrd", INITRD,
            "-append", "console=ttyS0 quiet root=/dev/vda",
            "-drive", "if=virtio,format=raw,snapshot=on,file=" + DISK, *more])
        self.addCleanup(lambda: c.status is None and c.kill())
        c.expect(PROMPT)
        self.assertIn("%d\n" % cpus, c.command("nproc"))
        return c

    def off(self, c):
        c.type("poweroff")
        self.assertEqual(c.wait(), 0, c.text[-2000:])

    def work(self, c, cpus):
        """On all processors at once, with reads of the disk and sleeps between."""
        line = "dd if=/dev/vda bs=64k count=64 2>/dev/null | md5sum"
        out = c.command(" & ".join([line] * cpus) + "; sleep 0.2; wait")
        digests = [w for w in out.split() if len(w) == 32]
        self.assertEqual(len(digests), cpus, out)
        self.assertEqual(len(set(digests)), 1, out)

    def test_one_cpu(self):
        c = self.boot("pc", 1)
        self.work(c, 1)
        # Its time is kvmclock, whose page it reads itself.
        self.assertIn("kvm-clock", c.command(
            "cat /sys/devices/system/clocksource/clocksource0/current_clocksource"))
        self.assertIn("IO-APIC", c.command("cat /proc/interrupts"))
        self.off(c)

    def test_two_cpus(self):
        c = self.boot("q35", 2)
        self.work(c, 2)
        out = c.command("cat /proc/interrupts")
        for name in ("LOC:", "RES:"):  # timers and IPIs of both
            counts = out.split(name)[1].split()[:2]
            self.assertTrue(all(int(n) > 0 for n in counts), out)
        self.off(c)

    def test_split(self):
        c = self.boot("q35,kernel-irqchip=split", 2)
        self.work(c, 2)
        self.off(c)

    def test_user_space(self):
        c = self.boot("pc,kernel-irqchip=off", 1)
        self.work(c, 1)
        self.off(c)

    def test_reboot(self):
        c = self.boot("pc", 2)
        c.type("reboot")
        c.expect(PROMPT)
        self.work(c, 2)
        self.off(c)

    def test_killed(self):
        c = self.boot("pc", 2)
        c.kill()
        c.status = -9


if __name__ == "__main__":
    unittest.main(argv=["qemu_test"] + sys.argv[5:], verbosity=2, warnings="ignore")
