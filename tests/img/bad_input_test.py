#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Images that are broken, hostile or not images: an error that names the file,
nothing written, no crash, and no long wait."""

import os
import random
import struct
import time

from peers import K, M, TestCase, img, main, mixed_bytes, qemu_img, read_file, run, write_sparse
from peers import IMG, SLOWNESS

READERS = [["info"], ["info", "--output=json"], ["check"], ["map"], ["map", "--output=json"],
           ["snapshot", "-l"], ["measure"], ["compare", "zero"], ["convert", "-O", "qcow2"]]


class BadInput(TestCase):
    def refuse(self, *args, codes=(1,), says=()):
        result = img(*args)
        self.assertIn(result.code, codes, result)
        self.assertTrue(result.err.startswith("img: "), result)
        for text in says:
            self.assertIn(text, result.err)
        return result

    def images(self):
        write_sparse("src", mixed_bytes(3 * M, 40))
        self.ok(qemu_img("convert", "-O", "qcow2", "src", "v3"))
        self.ok(qemu_img("convert", "-O", "qcow2", "-o", "compat=0.10,cluster_size=4k", "src", "v2"))
        self.ok(qemu_img("convert", "-c", "-O", "qcow2", "src", "packed"))
        self.ok(qemu_img("convert", "-O", "qcow", "src", "qcow"))
        return ["v3", "v2", "packed", "qcow"]

    def survive(self, path):
        """Every command on `path`: an answer or an error, never a signal or a long wait."""
        before = read_file(path)
        write_sparse("zero", bytes(M))
        for args in READERS:
            out = ["out"] if args[0] == "convert" else []
            start = time.monotonic()
            result = img(args[0], *args[1:], path, *out)
            self.assertIn(result.code, (0, 1, 2, 3, 4, 63), f"{args} {result}")
            self.assertNotIn("Sanitizer", result.err)
            self.assertNotIn("runtime error", result.err)
            self.assertLess(time.monotonic() - start, 30 * SLOWNESS)
            if result.code == 1 and args[0] != "compare":
                self.assertTrue(result.err.startswith("img: "), f"{args} {result}")
            if result.code != 0:
                self.assertFalse(os.path.exists("out"), args)
            elif out:
                os.unlink("out")
        self.assertEqual(read_file(path), before)

    def test_missing_file(self):
        for args in READERS:
            out = ["out"] if args[0] == "convert" else []
            self.refuse(args[0], *args[1:], "no-such.img", *out, codes=(1, 2),
                        says=["no-such.img", "No such file or directory"]
                        if args[0] != "compare" else ["No such file or directory"])
        self.assertEqual(os.listdir("."), [])

    def test_not_a_file(self):
        os.mkdir("folder")
        os.mkfifo("pipe")
        for name in ("folder", "pipe"):
            self.refuse("info", name, says=[name])
            self.refuse("convert", "-O", "raw", name, "out", says=[name])

    def test_unknown_format(self):
        write_sparse("a", bytes(M))
        for args in (["create", "-f", "qcwo2", "x", "1M"], ["info", "-f", "qcwo2", "a"],
                     ["convert", "-O", "qcwo2", "a", "x"], ["convert", "-f", "qcwo2", "a", "x"],
                     ["create", "-f", "qcow2", "-b", "a", "-F", "qcwo2", "x"]):
            self.refuse(*args, says=["'qcwo2'", "did you mean 'qcow2'?",
                                     "(valid: raw, qcow, qcow2)"])
        self.assertEqual(os.listdir("."), ["a"])

    def test_unknown_option_names_the_nearest_and_all(self):
        write_sparse("a", bytes(M))
        self.refuse("info", "--outptu=json", "a", codes=(2,),
                    says=["'--outptu'", "did you mean '--output'?"])
        self.refuse("info", "-z", "a", codes=(2,), says=["'-z'", "--backing-chain"])
        self.refuse("create", "-f", "qcow2", "-o", "cluster_sise=4k", "x", "1M", codes=(2,),
                    says=["'cluster_sise'", "did you mean 'cluster_size'?", "refcount_bits"])
        self.refuse("crate", codes=(2,), says=["crate", "did you mean 'create'?", "resize"])
        self.assertEqual(os.listdir("."), ["a"])

    def test_wrong_sizes(self):
        self.ok(img("create", "-q", "-f", "qcow2", "a", "1M"))
        before = read_file("a")
        for size in ("1x", "", "-1M", "0x", "1.5.5M", "9E", "99999999999999999999", " 1M"):
            result = img("create", "-f", "qcow2", "x", size)
            self.assertEqual(result.code, 2, f"{size} {result}")
        for size in ("1x", "", "0", "-1M", "-5M", "+9E", "9E", "++1M"):
            result = img("resize", "a", size)
            self.assertIn(result.code, (1, 2), f"{size} {result}")
        self.assertEqual(read_file("a"), before)
        self.assertEqual(os.listdir("."), ["a"])

    def test_backing_loop(self):
        for args in (["loop", "loop", "loop"], ["a", "b", "a"], ["c", "./c", "c"]):
            first, second, third = args
            self.ok(img("create", "-q", "-u", "-f", "qcow2", "-b", second, "-F", "qcow2", first,
                        "1M"))
            if third != second:
                if second != "./" + first:
                    self.ok(qemu_img("create", "-q", "-u", "-f", "qcow2", "-b", third, "-F", "qcow2",
                                     second, "1M"))
            for command in (["info", "--backing-chain", first], ["map", first],
                            ["convert", "-O", "raw", first, "out"]):
                self.refuse(*command, says=[first])
            self.ok(img("info", first))
            self.assertFalse(os.path.exists("out"))

    def test_vanished_backing_file(self):
        self.ok(qemu_img("create", "-q", "-u", "-f", "qcow2", "-b", "gone", "-F", "raw", "a", "1M"))
        self.ok(img("info", "a"))
        for args in (["map", "a"], ["convert", "-O", "raw", "a", "out"],
                     ["info", "--backing-chain", "a"]):
            self.refuse(*args, says=["gone", "No such file or directory"])
        self.assertFalse(os.path.exists("out"))

    def test_source_as_target(self):
        data = mixed_bytes(M, 50)
        write_sparse("a", data)
        os.link("a", "same")
        for target in ("a", "same", "./a"):
            for more in ([], ["-U"]):
                self.refuse("convert", *more, "-f", "raw", "-O", "qcow2", "a", target,
                            says=[target])
        self.refuse("dd", "if=a", "of=same")
        self.assertEqual(read_file("a"), data)

    def test_broken_fields(self):
        self.images()
        cases = {
            "L1 past the end": ("v3", 40, ">Q", 1 << 50),
            "L1 not aligned": ("v3", 40, ">Q", 0x30001),
            "L1 too large": ("v3", 36, ">I", 0x7FFFFFFF),
            "L1 too small": ("v3", 36, ">I", 0),
            "refcount table past the end": ("v3", 48, ">Q", 1 << 50),
            "refcount table too large": ("v3", 56, ">I", 0x7FFFFFFF),
            "cluster bits 0": ("v3", 20, ">I", 0),
            "cluster bits 63": ("v3", 20, ">I", 63),
            "version 4": ("v3", 4, ">I", 4),
            "unknown feature": ("v3", 72, ">Q", 1 << 40),
            "refcount order": ("v3", 96, ">I", 7),
            "header length": ("v3", 100, ">I", 0xFFFFFFFF),
            "size": ("v3", 24, ">Q", 0xFFFFFFFFFFFFFFFF),
            "backing name": ("v3", 8, ">Q", 1 << 40),
            "snapshots": ("v3", 60, ">I", 0x7FFFFFFF),
            "qcow size": ("qcow", 24, ">Q", 0xFFFFFFFFFFFFFFFF),
            "qcow cluster bits": ("qcow", 32, "B", 63),
            "qcow L2 bits": ("qcow", 33, "B", 63),
            "qcow L1": ("qcow", 40, ">Q", 1 << 60),
        }
        for name, (base, at, form, value) in cases.items():
            with self.subTest(name=name):
                data = bytearray(read_file(base))
                struct.pack_into(form, data, at, value)
                with open("bad", "wb") as f:
                    f.write(data)
                if os.path.exists("out"):
                    os.unlink("out")
                fmt = "qcow" if base == "qcow" else "qcow2"
                # Reading needs no refcounts.
                if not name.startswith("refcount table"):
                    self.refuse("convert", "-f", fmt, "-O", "raw", "bad", "out", says=["bad"])
                    self.assertFalse(os.path.exists("out"))
                self.survive("bad")

    def test_cut_short(self):
        for name in self.images():
            data = read_file(name)
            for length in (0, 3, 4, 40, 72, 104, 500, 512, 4096, 65536, len(data) // 2,
                           len(data) - 1):
                with self.subTest(name=name, length=length):
                    with open("bad", "wb") as f:
                        f.write(data[:length])
                    self.survive("bad")

    def test_random_damage(self):
        r = random.Random(5)
        for name in self.images():
            data = read_file(name)
            for i in range(12):
                bad = bytearray(data)
                for _ in range(r.choice([1, 4, 40])):
                    # Mostly where the metadata is.
                    at = r.randrange(min(len(bad), r.choice([128, 0x50000, len(bad)])))
                    bad[at] = r.randrange(256)
                with open("bad", "wb") as f:
                    f.write(bad)
                with self.subTest(name=name, i=i):
                    self.survive("bad")

    def test_locked_by_another_process(self):
        self.ok(img("create", "-q", "-f", "qcow2", "a", "1M"))
        import subprocess
        holder = subprocess.Popen(["/usr/bin/qemu-io", "-f", "qcow2", "a"], stdin=subprocess.PIPE,
                                  stdout=subprocess.PIPE)
        try:
            holder.stdin.write(b"length\n")
            holder.stdin.flush()
            holder.stdout.readline()
            for args in (["resize", "a", "2M"], ["check", "-r", "all", "a"], ["convert", "a", "b"],
                         ["create", "-f", "qcow2", "a", "1M"]):
                self.refuse(*args, says=["lock"])
            self.ok(img("info", "-U", "a"))
            self.ok(img("convert", "-U", "a", "b"))
        finally:
            holder.stdin.close()
            holder.wait()
            holder.stdout.close()

    def test_full_disk(self):
        """A target that cannot grow (RLIMIT_FSIZE): an error that names it, and nothing left."""
        write_sparse("src", random.Random(1).randbytes(2 * M))
        for fmt in ("raw", "qcow", "qcow2"):
            result = run("/bin/bash", "-c",
                         f"trap '' XFSZ; ulimit -f 500; exec {IMG} convert -f raw -O {fmt} src out")
            self.assertEqual(result.code, 1, result)
            self.assertIn("out", result.err)
            self.assertIn("File too large", result.err)
            self.assertFalse(os.path.exists("out"))


if __name__ == "__main__":
    main()
