#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Boots Debian's kernel on the software CPU and uses it as a person would.

usage: boot_test.py RUN IMG QEMU_IMG VMLINUZ GUEST/initrd.gz TEST...

Beside the initrd stands root.raw, both as tools/make-guest makes them.
"""

import json
import os
import random
import subprocess
import sys
import tempfile
import time
import unittest

from console import ACCEL, PROMPT, Console

RUN, IMG, QEMU_IMG, VMLINUZ, INITRD = (os.path.abspath(p) for p in sys.argv[1:6])
ROOT = os.path.join(os.path.dirname(INITRD), "root.raw")
VECTOR_C = os.path.join(os.path.dirname(os.path.abspath(__file__)), "vector.c")


class Boot(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.TemporaryDirectory()
        os.chdir(self.dir.name)
        subprocess.run([IMG, "convert", "-f", "raw", "-O", "qcow2", ROOT,
                        "disk.qcow2"], check=True)

    def tearDown(self):
        os.chdir("/")
        self.dir.cleanup()

    def args(self, *more, disk="if=virtio,file=disk.qcow2,format=qcow2", root="/dev/vda"):
        return ["-accel", ACCEL, "-m", "256", "-nographic", "-kernel", VMLINUZ,
                "-initrd", INITRD, "-append", "console=ttyS0 root=" + root,
                "-drive", disk, "--events", "json,file=events", *more]

    def events(self):
        with open("events") as f:
            return [json.loads(line) for line in f]

    def assert_clean(self, leaks_allowed=False):
        for tool in (IMG, QEMU_IMG):
            result = subprocess.run([tool, "check", "disk.qcow2"], capture_output=True, text=True)
            self.assertIn(result.returncode, (0, 3) if leaks_allowed else (0,),
                          tool + ": " + result.stdout + result.stderr)

    def test_shell_and_poweroff(self):
        c = Console(RUN, self.args())
        c.expect(PROMPT)
        self.assertIn("Linux", c.command("uname -a"))
        self.assertIn("x86_64", c.command("uname -a"))
        self.assertIn("1\n", c.command("nproc"))
        c.command("dd if=/dev/urandom of=/blob bs=64k count=64; sync")
        digest = c.command("md5sum /blob").split()[0]
        c.type("poweroff")
        self.assertEqual(c.wait(), 0, c.text[-2000:])
        self.assertEqual(self.events()[-1]["event"], "end")
        self.assertEqual(self.events()[-1]["status"], 0)
        self.assert_clean()
        # The bytes are on the disk: another boot reads them.
        c = Console(RUN, self.args())
        c.expect(PROMPT)
        self.assertEqual(c.command("md5sum /blob").split()[0], digest)
        c.type("poweroff")
        self.assertEqual(c.wait(), 0)

    def test_verified(self):
        """Each translated block beside the interpreter, from the kernel's first."""
        c = Console(RUN, self.args("-accel", "soft,verify=on")[2:])
        c.expect(PROMPT, 1500)
        self.assertIn("Linux", c.command("uname -a"))
        c.type("poweroff")
        self.assertEqual(c.wait(600), 0, c.text[-2000:])
        self.assertEqual(self.events()[-1]["status"], 0)
        self.assert_clean()

    def test_vector_instructions(self):
        v3 = {"avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "abm"}
        with open("/proc/cpuinfo") as f:
            host = set(next(l for l in f if l.startswith("flags")).split())
        # A program and its sums. Its compiler needs no such host, but running it does.
        self.assertTrue(v3 <= host, "the host has no x86-64-v3 to compare with")
        subprocess.run(["gcc", "-static", "-O3", "-march=haswell", "-o", "vector", VECTOR_C],
                       check=True)
        expected = subprocess.run(["./vector"], stdout=subprocess.PIPE, check=True).stdout.decode()
        size = os.path.getsize("vector")
        os.truncate("vector", (size + 511) // 512 * 512)
        c = Console(RUN, self.args("-smp", "2", "-drive", "if=virtio,file=vector,format=raw"))
        c.expect(PROMPT)
        flags = set(c.command("grep -m 1 ^flags /proc/cpuinfo").split())
        self.assertEqual(flags & v3, v3 & host)
        self.assertTrue({"xsave", "xsaveopt", "xsavec", "movbe"} <= flags)
        self.assertFalse(flags & {"xsaves", "pku", "avx512f", "amx_tile", "rtm", "user_shstk"})
        c.command("cat /dev/vdb > /vector; busybox chmod 755 /vector")
        # Three on two processors: each is switched out now and then.
        out = c.command("/vector > /1 & /vector > /2 & /vector > /3; echo $?; wait; cat /1 /2 /3")
        self.assertEqual([l for l in out.splitlines() if "fma" in l], [expected.strip()] * 3, out)
        c.type("poweroff")
        self.assertEqual(c.wait(), 0, c.text[-2000:])

        c = Console(RUN, self.args("-cpu", "base"))
        c.expect(PROMPT)
        flags = set(c.command("grep -m 1 ^flags /proc/cpuinfo").split())
        self.assertFalse(flags & {"xsave", "avx", "avx2", "bmi1", "bmi2", "fma", "f16c"})
        self.assertIn("sse4_2", flags)
        c.type("poweroff")
        self.assertEqual(c.wait(), 0, c.text[-2000:])

    def test_two_cpus(self):
        c = Console(RUN, self.args("-smp", "2"))
        c.expect(PROMPT)
        self.assertIn("2\n", c.command("nproc"))
        # Both at work at once, and a pipe between them.
        out = c.command("(head -c 2000000 /dev/zero | md5sum) & head -c 2000000 /dev/zero | md5sum; wait")
        digests = [w for w in out.split() if len(w) == 32]
        self.assertEqual(len(digests), 2, out)
        self.assertEqual(digests[0], digests[1])
        c.type("poweroff")
        self.assertEqual(c.wait(), 0, c.text[-2000:])
        self.assert_clean()

    def test_reboot_restarts(self):
        c = Console(RUN, self.args())
        c.expect(PROMPT)
        c.command("echo still here > /note; sync")
        c.type("reboot")
        c.expect(PROMPT)
        self.assertIn("still here", c.command("cat /note"))
        c.type("poweroff")
        self.assertEqual(c.wait(), 0)
        self.assertIn("reset", [e["event"] for e in self.events()])

    def test_no_reboot_ends(self):
        c = Console(RUN, self.args("-no-reboot"))
        c.expect(PROMPT)
        c.type("reboot")
        self.assertEqual(c.wait(), 0)
        self.assertNotIn("reset", [e["event"] for e in self.events()])

    def test_crash_is_told(self):
        c = Console(RUN, self.args("-no-reboot", "-append", "console=ttyS0 root=/dev/vda panic=-1 reboot=t"))
        c.expect(PROMPT)
        c.type("echo c > /proc/sysrq-trigger")
        self.assertEqual(c.wait(), 3, c.text[-2000:])

    def test_ide_disk(self):
        c = Console(RUN, self.args(disk="file=disk.qcow2,format=qcow2", root="/dev/sda"))
        c.expect(PROMPT)
        c.command("dd if=/dev/urandom of=/blob bs=64k count=16; sync")
        digest = c.command("md5sum /blob").split()[0]
        self.assertIn(digest, c.command("echo 3 > /proc/sys/vm/drop_caches; md5sum /blob"))
        c.type("poweroff")
        self.assertEqual(c.wait(), 0)
        self.assert_clean()

    def test_kill_leaves_a_usable_image(self):
        c = Console(RUN, self.args())
        c.expect(PROMPT)
        c.type("while true; do dd if=/dev/urandom of=/blob bs=64k count=32; sync; rm /blob; done")
        until = time.monotonic() + random.Random(os.getpid()).uniform(2, 6)
        while time.monotonic() < until:
            c.pump(0.2)
        c.kill()
        self.assert_clean(leaks_allowed=True)

    def test_quit_from_the_terminal(self):
        c = Console(RUN, self.args())
        c.expect("Linux version")
        os.write(c.fd, b"\x01x")
        self.assertEqual(c.wait(), 0)
        self.assert_clean()

    def test_screen_and_keyboard(self):
        os.environ.update(TERM="xterm", LINES="25", COLUMNS="80", LC_ALL="C.UTF-8")
        c = Console(RUN, ["-accel", ACCEL, "-m", "256", "-display", "curses",
                          "-serial", "file:serial", "-screendump", "screen.txt",
                          "-kernel", VMLINUZ, "-initrd", INITRD,
                          "-append", "console=ttyS0 console=tty0 root=/dev/vda",
                          "-drive", "if=virtio,file=disk.qcow2,format=qcow2"])
        c.expect("guest#")
        c.type("echo 'The Answer: '$((6*7)) | tr A-Z a-z; poweroff")
        self.assertEqual(c.wait(), 0, c.text[-2000:])
        with open("screen.txt") as f:
            screen = f.read()
        self.assertIn("\nthe answer: 42\n", screen)
        self.assertIn("guest# echo 'The Answer: '$((6*7)) | tr A-Z a-z; poweroff\n", screen)
        self.assertIn("\x1b[?1049l", c.text)  # the terminal is as it was
        self.assert_clean()

    def test_timeout(self):
        c = Console(RUN, self.args("--timeout", "2"))
        self.assertEqual(c.wait(), 124)
        self.assert_clean()


if __name__ == "__main__":
    unittest.main(argv=["boot_test"] + sys.argv[6:], verbosity=2)
