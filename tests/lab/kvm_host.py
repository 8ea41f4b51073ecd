#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""run on a host with KVM, as root: an emulated one (lab-svm) or a real one.

usage: kvm_host.py RUN STAT IMG VMLINUZ GUEST/initrd.gz BIOS TEST...

Beside the initrd stands root.raw, both as tools/make-guest makes them.
"""

import glob
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "../run"))
from console import PROMPT, Console  # noqa: E402

RUN, STAT, IMG, VMLINUZ, INITRD, BIOS = (os.path.abspath(p) for p in sys.argv[1:7])
ROOT = os.path.join(os.path.dirname(INITRD), "root.raw")
ISOLINUX = ["/usr/lib/ISOLINUX/isolinux.bin", "/usr/lib/syslinux/modules/bios/ldlinux.c32"]
KERNEL_FOLDERS = "/sys/kernel/debug/kvm/%d-*"


class Host(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.TemporaryDirectory(dir="/tmp")  # short enough for sockets
        os.chdir(self.dir.name)
        os.environ["ATOLL_RUNTIME_DIR"] = self.dir.name + "/rt"

    def tearDown(self):
        os.chdir("/")
        self.dir.cleanup()

    def start(self, *args, accel="kvm"):
        return Console(RUN, ["-accel", accel, "-m", "256", "-nographic", *args])

    def linux(self, *args, **kwargs):
        if not os.path.exists("disk.qcow2"):
            subprocess.run([IMG, "convert", "-f", "raw", "-O", "qcow2", ROOT, "disk.qcow2"],
                           check=True)
        return self.start("-kernel", VMLINUZ, "-initrd", INITRD, "-append",
                          "console=ttyS0 quiet root=/dev/vda", "-drive",
                          "if=virtio,file=disk.qcow2,format=qcow2", *args, **kwargs)

    def stat(self, *args):
        return subprocess.run([STAT, "-1", "-s", "0.05", *args], check=True, text=True,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE).stdout


class Kvm(Host):
    def test_linux_and_its_counters(self):
        began = time.monotonic()
        c = self.linux()
        c.expect(PROMPT)
        print("to the shell: %.1f s" % (time.monotonic() - began))
        self.assertIn("kvm-clock", c.command(
            "cat /sys/devices/system/clocksource/clocksource0/current_clocksource"))
        # What stat shows is the kernel's own.
        folder, = glob.glob(KERNEL_FOLDERS % c.pid)
        def kernel(name):
            with open(os.path.join(folder, name)) as f:
                return int(f.read())
        names = ("exits", "io_exits", "mmio_exits", "insn_emulation", "irq_injections")
        before = {n: kernel(n) for n in names}
        text = self.stat()
        fields = json.loads(self.stat("-F", "jsonl"))["fields"]
        after = {n: kernel(n) for n in names}
        for name in names:
            self.assertTrue(before[name] <= fields[name]["total"] <= after[name],
                            (name, before[name], fields[name], after[name]))
            self.assertRegex(text, r"(?m)^%s +\d+ +\d+$" % name)
        self.assertGreater(fields["exits"]["total"], 5000)
        print("exits to the shell: %s" % before)
        c.type("poweroff")
        self.assertEqual(c.wait(), 0, c.text[-2000:])

    def test_disk_by_firmware(self):
        """SeaBIOS, a boot loader and Linux from a qcow2."""
        os.makedirs("cd/isolinux")
        for name in ISOLINUX:
            shutil.copy(name, "cd/isolinux/")
        shutil.copy(VMLINUZ, "cd/vmlinuz")
        shutil.copy(INITRD, "cd/initrd.gz")
        with open("cd/isolinux/isolinux.cfg", "w") as f:
            f.write("serial 0\ndefault linux\nlabel linux\n kernel /vmlinuz\n"
                    " append initrd=/initrd.gz console=ttyS0 quiet root=/dev/sdb\n")
        subprocess.run(["xorriso", "-as", "mkisofs", "-quiet", "-o", "disk.iso", "-b",
                        "isolinux/isolinux.bin", "-c", "isolinux/boot.cat", "-no-emul-boot",
                        "-boot-load-size", "4", "-boot-info-table", "-isohybrid-mbr",
                        "/usr/lib/ISOLINUX/isohdpfx.bin", "cd"], check=True)
        subprocess.run([IMG, "convert", "-f", "raw", "-O", "qcow2", "disk.iso", "boot.qcow2"],
                       check=True)
        subprocess.run([IMG, "convert", "-f", "raw", "-O", "qcow2", ROOT, "root.qcow2"], check=True)
        c = self.start("-bios", BIOS, "-hda", "boot.qcow2", "-hdb", "root.qcow2")
        c.expect("ISOLINUX")
        c.expect(PROMPT)
        self.assertIn("/dev/sdb", c.command("grep ' / ' /proc/mounts"))
        c.type("poweroff")
        self.assertEqual(c.wait(), 0, c.text[-2000:])

    def test_kill(self):
        """kill -9 leaves no VM in the kernel and no process."""
        c = self.linux("-smp", "2")
        c.expect(PROMPT)
        self.assertEqual(len(glob.glob(KERNEL_FOLDERS % c.pid)), 1)
        c.type("while true; do dd if=/dev/urandom of=/blob bs=64k count=8; sync; done")
        c.pump(1)
        c.kill()
        deadline = time.monotonic() + 20
        while glob.glob(KERNEL_FOLDERS % c.pid):
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.1)
        self.assertIn(subprocess.run([IMG, "check", "disk.qcow2"]).returncode, (0, 3))
        # And another starts.
        c = self.linux()
        c.expect(PROMPT)
        c.type("poweroff")
        self.assertEqual(c.wait(), 0, c.text[-2000:])


class Irqchips(Host):
    """Where the interrupt controllers are; ATOLL_NODE is another node than /dev/kvm."""

    def boot(self, where):
        accel = "kvm,kernel-irqchip=" + where
        if "ATOLL_NODE" in os.environ:
            accel += ",device=" + os.environ["ATOLL_NODE"]
        for cpus in (1, 2):
            began = time.monotonic()
            c = self.linux("-smp", str(cpus), accel=accel)
            c.expect(PROMPT)
            print("%s, %d: %.1f s to the shell" % (where, cpus, time.monotonic() - began))
            self.assertEqual(c.command("nproc").strip().splitlines()[-1], str(cpus))
            # By interrupts of the disk, the timer and the serial port.
            c.command("dd if=/dev/urandom of=/blob bs=64k count=16; sync; sleep 0.2")
            text = c.command("cat /proc/interrupts")
            counts = {line.split()[0]: sum(int(n) for n in line.split()[1:1 + cpus])
                      for line in text.splitlines() if re.match(r" *\S+: +\d", line)}
            self.assertGreater(counts["LOC:"], 10, text)
            self.assertTrue(any("ttyS0" in line for line in text.splitlines()), text)
            c.type("poweroff")
            self.assertEqual(c.wait(), 0, c.text[-2000:])

    def test_on(self):
        self.boot("on")

    def test_split(self):
        self.boot("split")

    def test_off(self):
        self.boot("off")

    def test_reboot_on(self):
        c = self.linux("-smp", "2", accel="kvm,kernel-irqchip=on")
        c.expect(PROMPT)
        c.type("reboot -f")
        c.expect(PROMPT)
        c.type("poweroff")
        self.assertEqual(c.wait(), 0, c.text[-2000:])


class Verdicts(unittest.TestCase):
    """run --check says of this host what is true of it, whatever that is."""

    def verdict(self, *before):
        p = subprocess.run([*before, RUN, "-accel", "kvm", "--check", "--json"], text=True,
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

    def test_no_permission_and_no_device(self):
        self.assertEqual(os.geteuid(), 0)
        usable, reason = self.verdict("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
        self.assertFalse(usable)
        self.assertIn("permission denied", reason)
        self.assertIn("usermod -aG kvm", reason)
        module = "kvm_amd" if os.path.exists("/sys/module/kvm_amd") else "kvm_intel"
        subprocess.run(["rmmod", module], check=True)
        try:
            self.assertFalse(os.path.exists("/dev/kvm"))
            usable, reason = self.verdict()
        finally:
            subprocess.run(["modprobe", module], check=True)
        self.assertFalse(usable)
        self.assertIn("does not exist", reason)
        self.assertIn("modprobe", reason)
        usable, reason = self.verdict()
        self.assertTrue(usable, reason)


if __name__ == "__main__":
    unittest.main(argv=["kvm_host"] + sys.argv[7:], verbosity=2, warnings="ignore")
