#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""kill -9 at a random moment: the source stays as it was, and the target is
complete, or not there, or not an image."""

import os
import random
import signal
import subprocess
import time

from peers import IMG, M, TestCase, img, main, mixed_bytes, qemu_img, read_file, write_sparse

ROUNDS = 25


class Kill(TestCase):
    def interrupt(self, args, longest):
        """Starts img, kills it after up to `longest` seconds; whether it was still there."""
        p = subprocess.Popen([IMG, *args], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                             stderr=subprocess.DEVNULL)
        time.sleep(self.r.random() * longest)
        p.send_signal(signal.SIGKILL)
        return p.wait() == -signal.SIGKILL

    def duration(self, args):
        start = time.monotonic()
        self.ok(img(*args))
        return time.monotonic() - start

    def setUp(self):
        super().setUp()
        self.r = random.Random(1)

    def test_convert_to_a_new_file(self):
        data = mixed_bytes(24 * M, 31)
        write_sparse("src.raw", data)
        killed = 0
        for fmt, options in (("qcow2", []), ("qcow2", ["-c"]), ("qcow", []), ("raw", [])):
            args = ["convert", *options, "-f", "raw", "-O", fmt, "src.raw", "out"]
            longest = self.duration(args)
            os.unlink("out")
            for _ in range(ROUNDS):
                killed += self.interrupt(args, longest * 1.2)
                self.assertEqual(sorted(set(os.listdir(".")) - {"out"}), ["src.raw"])
                if os.path.exists("out"):
                    self.assertEqual(self.contents("out", fmt), data)
                    os.unlink("out")
            self.assertEqual(read_file("src.raw"), data)
        self.assertGreater(killed, ROUNDS // 2)

    def test_convert_over_an_old_file(self):
        data = mixed_bytes(24 * M, 32)
        write_sparse("src.raw", data)
        self.ok(qemu_img("create", "-q", "-f", "qcow2", "old", "5M"))
        old = read_file("old")
        args = ["convert", "-c", "-f", "raw", "-O", "qcow2", "src.raw", "out"]
        longest = self.duration(args)
        whole = refused = 0
        for _ in range(ROUNDS):
            with open("out", "wb") as f:
                f.write(old)
            self.interrupt(args, longest * 1.2)
            if read_file("out") == old:
                continue
            if img("info", "-f", "qcow2", "out").code != 0:
                self.assertNotEqual(qemu_img("info", "-f", "qcow2", "out").code, 0)
                refused += 1
            else:
                self.assertEqual(self.contents("out", "qcow2"), data)
                whole += 1
        self.assertGreater(refused, 0)

    def test_create(self):
        for options in ([], ["-o", "preallocation=metadata"]):
            args = ["create", "-q", "-f", "qcow2", *options, "new", "20G"]
            longest = self.duration(args)
            os.unlink("new")
            for _ in range(ROUNDS):
                self.interrupt(args, longest * 1.2)
                if os.path.exists("new"):
                    self.ok(img("check", "-q", "new"))
                    os.unlink("new")
            self.assertEqual(os.listdir("."), [])

    def test_resize(self):
        data = mixed_bytes(6 * M, 33)
        write_sparse("src.raw", data)
        sizes = [8 * M, 3 << 40, 3 * M, 7 * M]
        for _ in range(ROUNDS):
            self.ok(img("convert", "-O", "qcow2", "-o", "cluster_size=4k", "src.raw", "x"))
            size = self.r.choice(sizes)
            self.interrupt(["resize", "-q", "--shrink", "x", str(size)], 0.02)
            # Leaks waste space and nothing else.
            for tool in (img, qemu_img):
                self.assertIn(tool("check", "-q", "x").code, (0, 3))
            self.ok(img("check", "-q", "-r", "leaks", "x"))
            self.ok(qemu_img("check", "-q", "x"))
            self.ok(img("resize", "-q", "--shrink", "x", str(3 * M)))
            self.assertEqual(self.contents("x", "qcow2"), data[:3 * M])
            os.unlink("x")


if __name__ == "__main__":
    main()
