#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The same command lines to img and to qemu-img: what they print, how they
end, and what they make must be the same."""

import json
import os
import re
import shutil

from peers import K, M, TestCase, img, main, mixed_bytes, qemu_img, read_file, run, write_sparse
from peers import QEMU_IO, IMG

CREATE = [
    ("raw", [], "8M"),
    ("qcow", [], "8M"),
    ("qcow", [], "20G"),
    ("qcow2", [], "8M"),
    ("qcow2", [], "20G"),
    ("qcow2", ["-o", "compat=0.10"], "8M"),
    ("qcow2", ["-o", "cluster_size=4k"], "64M"),
    ("qcow2", ["-o", "cluster_size=2M,lazy_refcounts=on"], "1G"),
    ("qcow2", ["-o", "compression_type=zstd"], "8M"),
    ("qcow2", ["-o", "refcount_bits=1"], "8M"),
    ("qcow2", ["-o", "refcount_bits=64,cluster_size=512"], "8M"),
    ("qcow2", ["-o", "preallocation=metadata"], "64M"),
    ("qcow2", [], "1000"),
    ("qcow2", [], "0"),
]


def normal_json(text, drop=()):
    def walk(v):
        if isinstance(v, dict):
            return {k: walk(x) for k, x in sorted(v.items()) if k not in drop}
        if isinstance(v, list):
            return [walk(x) for x in v]
        return v
    return walk(json.loads(text))


def without_sizes(text):
    return re.sub(r"disk size: .*\n", "", text)


class Differential(TestCase):
    def both(self, *args, ours="img", theirs="qemu-img"):
        """Runs both, in a folder for each, and gives (img's, qemu-img's)."""
        results = []
        for folder, tool in ((ours, img), (theirs, qemu_img)):
            os.makedirs(folder, exist_ok=True)
            os.chdir(folder)
            results.append(tool(*args))
            os.chdir("..")
        return results

    def same(self, *args):
        a, b = self.both(*args)
        self.assertEqual((a.code, a.out), (b.code, b.out), f"{args}\n{a}\n{b}")
        return a, b

    # --- create and info

    def test_create_prints_and_makes_the_same(self):
        for fmt, options, size in CREATE:
            with self.subTest(fmt=fmt, options=options, size=size):
                self.same("create", "-f", fmt, *options, "x.img", size)
                a, b = self.both("info", "-f", fmt, "x.img")
                self.assertEqual(without_sizes(a.out), without_sizes(b.out))
                a, b = self.both("info", "--output=json", "-f", fmt, "x.img")
                drop = ("actual-size",)
                self.assertEqual(normal_json(a.out, drop), normal_json(b.out, drop))
                for tool in (img, qemu_img):
                    if fmt == "qcow2":
                        self.ok(tool("check", "-f", fmt, "img/x.img"))
                    self.ok(tool("compare", "-f", fmt, "-F", fmt, "img/x.img", "qemu-img/x.img"))
                for folder in ("img", "qemu-img"):
                    os.unlink(f"{folder}/x.img")

    def test_info_reads_theirs_word_for_word(self):
        os.mkdir("d")
        os.chdir("d")
        for i, (fmt, options, size) in enumerate(CREATE):
            self.ok(qemu_img("create", "-q", "-f", fmt, *options, f"{i}.img", size))
        self.ok(qemu_img("create", "-q", "-f", "qcow2", "-b", "3.img", "-F", "qcow2", "top.img"))
        self.ok(qemu_img("create", "-q", "-f", "qcow", "-b", "3.img", "-F", "qcow2", "topq.img"))
        self.ok(qemu_img("create", "-q", "-f", "qcow2", "-o", "data_file=ext.raw", "ext.img", "1M"))
        for name in ("s1", "a longer name", "s\t3"):
            self.ok(qemu_img("snapshot", "-c", name, "3.img"))
        self.ok(qemu_img("bitmap", "--add", "3.img", "b0"))
        self.ok(qemu_img("bitmap", "--add", "--disable", "-g", "32k", "3.img", "b1"))
        os.chdir("..")
        files = sorted(f"d/{f}" for f in os.listdir("d") if f.endswith(".img"))
        for f in files:
            for args in (["info", f], ["info", "--output=json", f], ["info", "-U", f],
                         ["info", "--backing-chain", f],
                         ["info", "--backing-chain", "--output", "json", f],
                         ["snapshot", "-l", f]):
                if args == ["snapshot", "-l", "d/ext.img"]:
                    continue  # opens the external data file there
                with self.subTest(args=args):
                    ours, theirs = img(*args), qemu_img(*args)
                    self.assertEqual(ours.code, theirs.code, ours)
                    if "--output" in " ".join(args):
                        self.assertEqual(normal_json(ours.out), normal_json(theirs.out))
                    # Tabs in a name are shown as they are there.
                    self.assertEqual(ours.out.replace("s?3", "s\t3"), theirs.out)

    def test_create_with_backing_file(self):
        for folder in ("img", "qemu-img"):
            os.mkdir(folder)
            self.ok(qemu_img("create", "-q", "-f", "qcow2", f"{folder}/base.qcow2", "7M"))
        self.same("create", "-f", "qcow2", "-b", "base.qcow2", "-F", "qcow2", "top.qcow2")
        self.same("create", "-f", "qcow2", "-b", "base.qcow2", "-F", "qcow2", "big.qcow2", "9M")
        self.same("create", "-f", "qcow2", "-o", "backing_file=base.qcow2,backing_fmt=qcow2",
                  "o.qcow2")
        self.same("create", "-u", "-f", "qcow2", "-b", "none", "-F", "raw", "u.qcow2", "1G")
        self.same("create", "-f", "qcow", "-b", "base.qcow2", "-F", "qcow2", "top.qcow")
        for name in ("top.qcow2", "big.qcow2", "o.qcow2", "u.qcow2"):
            a, b = self.both("info", name)
            self.assertEqual(without_sizes(a.out), without_sizes(b.out))

    # --- check

    def corrupted(self):
        """Images with known damage, by name."""
        write_sparse("raw", mixed_bytes(2 * M, 7))
        self.ok(qemu_img("convert", "-O", "qcow2", "raw", "good"))
        self.ok(qemu_img("convert", "-c", "-O", "qcow2", "raw", "packed"))
        data = bytearray(read_file("good"))
        l1 = int.from_bytes(data[40:48], "big")
        l2 = int.from_bytes(data[l1:l1 + 8], "big") & 0x00FFFFFFFFFFFE00
        block = int.from_bytes(data[int.from_bytes(data[48:56], "big"):][:8], "big")
        entries = [i for i in range(32)
                   if int.from_bytes(data[l2 + 8 * i:l2 + 8 * i + 8], "big") > 1]

        def damaged(name, change):
            d = bytearray(data)
            change(d)
            with open(name, "wb") as f:
                f.write(d)

        def entry(i):
            return slice(l2 + 8 * entries[i], l2 + 8 * entries[i] + 8)

        def leak(d):
            d[block + 80:block + 82] = b"\0\1"
            d.extend(bytes(41 * 64 * K - len(d)))

        def twice(d):
            d[entry(1)] = d[entry(0)]

        def zero_count(d):
            n = (int.from_bytes(d[entry(2)], "big") & 0x00FFFFFFFFFFFE00) >> 16
            d[block + 2 * n:block + 2 * n + 2] = b"\0\0"

        def high_count(d):
            n = (int.from_bytes(d[entry(2)], "big") & 0x00FFFFFFFFFFFE00) >> 16
            d[block + 2 * n:block + 2 * n + 2] = b"\0\3"

        for name, change in (("leak", leak), ("twice", twice), ("zero-count", zero_count),
                             ("high-count", high_count)):
            damaged(name, change)
        return ["good", "packed", "leak", "twice", "zero-count", "high-count"]

    def test_check_counts_the_same(self):
        for name in self.corrupted():
            for args in (["check", name], ["check", "--output=json", name], ["check", "-q", name]):
                with self.subTest(args=args):
                    ours, theirs = img(*args), qemu_img(*args)
                    self.assertEqual((ours.code, ours.out), (theirs.code, theirs.out), ours)

    def test_check_repairs_to_the_satisfaction_of_both(self):
        for name in self.corrupted():
            for what in ("leaks", "all"):
                with self.subTest(name=name, what=what):
                    shutil.copy(name, "a")
                    shutil.copy(name, "b")
                    ours, theirs = img("check", "-r", what, "a"), qemu_img("check", "-r", what, "b")
                    # 1: theirs gives up half way.
                    if theirs.code != 1:
                        self.assertEqual(ours.code, theirs.code, f"{ours}\n{theirs}")
                    self.assertEqual(qemu_img("check", "a").code, ours.code)
                    self.assertEqual(img("check", "a").code, ours.code)
                    # Reading is the same before and after.
                    if what == "all":
                        self.ok(qemu_img("check", "a"))
                        self.ok(qemu_img("compare", "-f", "qcow2", "-F", "qcow2", "a", "b"))

    def test_check_of_formats_without_checks(self):
        for fmt in ("raw", "qcow"):
            self.ok(qemu_img("create", "-q", "-f", fmt, fmt, "1M"))
            for args in ([], ["--output=json"]):
                self.assertEqual(img("check", *args, "-f", fmt, fmt).code, 63)
                self.assertEqual(qemu_img("check", *args, "-f", fmt, fmt).code, 63)

    # --- map

    def test_map(self):
        write_sparse("m.raw", mixed_bytes(8 * M, 3))
        self.ok(qemu_img("convert", "-O", "qcow2", "m.raw", "m.qcow2"))
        self.ok(qemu_img("convert", "-O", "qcow2", "-o", "cluster_size=4k", "m.raw", "s.qcow2"))
        self.ok(qemu_img("convert", "-c", "-O", "qcow2", "m.raw", "c.qcow2"))
        self.ok(qemu_img("convert", "-O", "qcow", "m.raw", "m.qcow"))
        self.ok(qemu_img("create", "-q", "-f", "qcow2", "-b", "m.qcow2", "-F", "qcow2", "ov.qcow2"))
        self.ok(run(QEMU_IO, "-c", "write -P 3 0 64k", "-c", "write -z 4M 128k",
                    "-c", "write -z -u 5M 64k", "ov.qcow2"))
        self.ok(qemu_img("create", "-q", "-f", "qcow2", "-b", "ov.qcow2", "-F", "qcow2", "o2.qcow2",
                         "12M"))
        self.ok(run(QEMU_IO, "-c", "write -P 4 9M 300k", "-c", "write -P 5 1M 4k", "o2.qcow2"))
        for name in ("m.raw", "m.qcow2", "s.qcow2", "c.qcow2", "m.qcow", "ov.qcow2", "o2.qcow2"):
            for args in (["--output=json"], ["--output=json", "--start-offset=1M", "-l", "3M"],
                         ["--output=json", "-s", "4100k", "--max-length=70000"], []):
                if not args and name == "c.qcow2":
                    continue
                with self.subTest(name=name, args=args):
                    ours, theirs = img("map", *args, name), qemu_img("map", *args, name)
                    self.assertEqual((ours.code, ours.out), (theirs.code, theirs.out), ours)
        ours, theirs = img("map", "c.qcow2"), qemu_img("map", "c.qcow2")
        self.assertEqual((ours.code, theirs.code), (1, 1))
        self.assertIn("File contains external, encrypted or compressed clusters", ours.err)

    # --- convert

    def test_convert_every_format_to_every_format(self):
        data = mixed_bytes(5 * M + 512, 11)
        write_sparse("src.raw", data)
        targets = [("raw", []), ("qcow", []), ("qcow", ["-c"]), ("qcow2", []), ("qcow2", ["-c"]),
                   ("qcow2", ["-o", "cluster_size=4k"]), ("qcow2", ["-c", "-o", "cluster_size=512"]),
                   ("qcow2", ["-o", "cluster_size=2M"]), ("qcow2", ["-o", "compat=0.10"]),
                   ("qcow2", ["-c", "-o", "compression_type=zstd"]), ("qcow2", ["-S", "0"]),
                   ("raw", ["-S", "0"]), ("raw", ["-S", "64k"]), ("qcow2", ["-W", "-m", "8"]),
                   ("qcow2", ["-c", "-W"]), ("qcow2", ["-m", "1"]), ("raw", ["-C"]),
                   ("qcow2", ["-t", "writeback", "-T", "none", "-p"]),
                   ("qcow2", ["-o", "preallocation=metadata"]), ("qcow2", ["--salvage"])]
        for i, (fmt, options) in enumerate(targets):
            with self.subTest(fmt=fmt, options=options):
                out = f"{i}.{fmt}"
                self.ok(img("convert", *options, "-f", "raw", "-O", fmt, "src.raw", out))
                self.assertEqual(self.contents(out, fmt), data)
                self.assertEqual(self.contents(out, fmt, img), data)
                self.assertEqual(qemu_img("compare", "-f", "raw", "-F", fmt, "src.raw", out).code, 0)
                self.assertEqual(img("compare", "-f", "raw", "-F", fmt, "src.raw", out).code, 0)
                if fmt == "qcow2":
                    self.ok(qemu_img("check", "-f", fmt, out))
                    self.ok(img("check", "-f", fmt, out))
                # What they made of the same, read by us.
                if (fmt, options) == ("qcow", ["-c"]):
                    continue  # fails there where a cluster does not pack
                self.ok(qemu_img("convert", *options, "-f", "raw", "-O", fmt, "src.raw", "theirs"))
                self.assertEqual(self.contents("theirs", fmt, img), data)
                if fmt == "qcow2":
                    self.ok(img("check", "-f", fmt, "theirs"))

    def test_convert_takes_no_more_space(self):
        write_sparse("src.raw", mixed_bytes(8 * M, 5))
        for options in (["-O", "raw"], ["-O", "qcow2"], ["-O", "qcow"]):
            self.ok(img("convert", *options, "src.raw", "ours"))
            self.ok(qemu_img("convert", *options, "src.raw", "theirs"))
            ours, theirs = (os.stat(f).st_blocks for f in ("ours", "theirs"))
            self.assertLessEqual(ours, theirs * 1.02 + 256, options)

    def test_layout_does_not_depend_on_threads(self):
        write_sparse("src.raw", mixed_bytes(16 * M, 6))
        for options in ([], ["-c"], ["-c", "-o", "compression_type=zstd"]):
            images = []
            for threads in ("1", "3", "16"):
                self.ok(img("convert", *options, "-m", threads, "-O", "qcow2", "src.raw", "o"))
                images.append(read_file("o"))
                os.unlink("o")
            self.assertEqual(images[0], images[1], options)
            self.assertEqual(images[0], images[2], options)

    def test_convert_chain_and_backing(self):
        base, top = mixed_bytes(4 * M, 1), bytearray(mixed_bytes(4 * M, 1))
        write_sparse("base.raw", base)
        self.ok(qemu_img("convert", "-O", "qcow2", "base.raw", "base"))
        self.ok(qemu_img("create", "-q", "-f", "qcow2", "-b", "base", "-F", "qcow2", "top"))
        self.ok(run(QEMU_IO, "-c", "write -P 9 100k 200k", "-c", "write -z 1M 256k",
                    "-c", "write -z -u 2M 64k", "top"))
        top[100 * K:300 * K] = b"\x09" * (200 * K)
        top[1 * M:1 * M + 256 * K] = bytes(256 * K)
        top[2 * M:2 * M + 64 * K] = bytes(64 * K)
        self.ok(img("convert", "-O", "qcow2", "top", "flat"))
        self.assertEqual(self.contents("flat", "qcow2"), bytes(top))
        self.ok(img("convert", "-O", "qcow2", "-B", "base", "-F", "qcow2", "top", "thin"))
        self.assertEqual(self.contents("thin", "qcow2"), bytes(top))
        self.ok(qemu_img("check", "thin"))
        self.assertEqual(json.loads(img("info", "--output=json", "thin").out)["backing-filename"],
                         "base")
        self.assertLess(os.path.getsize("thin"), 1300 * K)

    def test_concatenation(self):
        parts = [mixed_bytes(n * K, n) for n in (100, 64, 1000)]
        for i, data in enumerate(parts):
            write_sparse(f"{i}.raw", data)
        for fmt in ("raw", "qcow2", "qcow"):
            args = ["convert", "-f", "raw", "-O", fmt, "0.raw", "1.raw", "2.raw", "all"]
            self.ok(img(*args))
            self.assertEqual(self.contents("all", fmt), b"".join(parts))

    def test_convert_into_existing(self):
        data = mixed_bytes(3 * M, 21)
        write_sparse("src.raw", data)
        for fmt in ("raw", "qcow2"):
            self.ok(qemu_img("create", "-q", "-f", fmt, "dst", "4M"))
            self.ok(run(QEMU_IO, "-f", fmt, "-c", "write -P 255 0 4M", "dst"))
            self.ok(img("convert", "-n", "-f", "raw", "-O", fmt, "src.raw", "dst"))
            self.assertEqual(self.contents("dst", fmt), data + b"\xff" * M)
            self.ok(qemu_img("create", "-q", "-f", fmt, "dst", "3M"))
            self.ok(img("convert", "-n", "--target-is-zero", "-f", "raw", "-O", fmt, "src.raw",
                        "dst"))
            self.assertEqual(self.contents("dst", fmt), data)
            self.ok(qemu_img("create", "-q", "-f", fmt, "dst", "1M"))
            r = img("convert", "-n", "-f", "raw", "-O", fmt, "src.raw", "dst")
            self.assertEqual(r.code, 1)
            self.assertIn("output file is smaller than input file", r.err)

    # --- resize, compare, measure, dd

    def test_resize(self):
        sizes = ["+1M", "12M", "+0", "-1M", "1536k", "+3G", "5G"]
        for fmt in ("raw", "qcow2"):
            for folder in ("img", "qemu-img"):
                shutil.rmtree(folder, ignore_errors=True)
            self.same("create", "-q", "-f", fmt, "x", "3M")
            for size in sizes:
                for options in ([], ["--shrink"]):
                    with self.subTest(fmt=fmt, size=size, options=options):
                        self.same("resize", "-f", fmt, *options, "x", size)
                        a, b = self.both("info", "--output=json", "-f", fmt, "x")
                        self.assertEqual(json.loads(a.out)["virtual-size"],
                                         json.loads(b.out)["virtual-size"])
                        if fmt == "qcow2":
                            self.ok(qemu_img("check", "img/x"))
            self.same("resize", "-q", "-f", fmt, "x", "6G")
        for mode in ("falloc", "full", "metadata"):
            self.ok(img("create", "-q", "-f", "qcow2", "p", "1M"))
            self.ok(img("resize", "--preallocation=" + mode, "p", "3M"))
            self.ok(qemu_img("check", "p"))
            self.ok(qemu_img("compare", "-F", "qcow2", "-f", "qcow2", "p", "p"))
            os.unlink("p")

    def test_resize_keeps_the_rest(self):
        data = mixed_bytes(3 * M, 4)
        write_sparse("src.raw", data)
        self.ok(img("convert", "-O", "qcow2", "src.raw", "x"))
        self.ok(img("resize", "--shrink", "x", "1M"))
        self.ok(img("resize", "x", "4M"))
        self.assertEqual(self.contents("x", "qcow2"), data[:M] + bytes(3 * M))
        self.ok(qemu_img("check", "x"))

    def test_compare(self):
        data = bytearray(mixed_bytes(3 * M, 8))
        write_sparse("a.raw", data)
        write_sparse("longer.raw", data + bytes(M))
        data[2 * M + 700:2 * M + 701] = bytes([data[2 * M + 700] ^ 1])
        write_sparse("b.raw", data)
        write_sparse("tail.raw", bytes(data) + bytes(512 * K) + b"x" + bytes(512 * K - 1))
        self.ok(qemu_img("convert", "-O", "qcow2", "a.raw", "a.qcow2"))
        self.ok(qemu_img("convert", "-c", "-O", "qcow2", "a.raw", "ac.qcow2"))
        self.ok(qemu_img("convert", "-O", "qcow", "a.raw", "a.qcow"))
        files = ["a.raw", "b.raw", "longer.raw", "tail.raw", "a.qcow2", "ac.qcow2", "a.qcow"]
        for x in files:
            for y in files:
                for options in ([], ["-s"], ["-q"]):
                    with self.subTest(x=x, y=y, options=options):
                        ours = img("compare", *options, x, y)
                        theirs = qemu_img("compare", *options, x, y)
                        self.assertEqual((ours.code, ours.out), (theirs.code, theirs.out))
        for args in (["none", "a.raw"], ["a.raw", "none"], ["-f", "qcow2", "a.raw", "a.raw"]):
            self.assertEqual(img("compare", *args).code, 2)
            self.assertEqual(qemu_img("compare", *args).code, 2)

    def test_measure(self):
        write_sparse("a.raw", mixed_bytes(9 * M, 2))
        self.ok(qemu_img("convert", "-O", "qcow2", "a.raw", "a.qcow2"))
        for fmt in ("raw", "qcow2"):
            for source in (["--size", "1G"], ["--size", "3T"], ["-f", "raw", "a.raw"], ["a.qcow2"]):
                for form in ("human", "json"):
                    for o in ([], ["-o", "cluster_size=4k"], ["-o", "refcount_bits=64"],
                              ["-o", "cluster_size=2M"]):
                        if fmt == "raw" and o:
                            continue
                        args = ["measure", "--output", form, "-O", fmt, *o, *source]
                        with self.subTest(args=args):
                            ours, theirs = img(*args), qemu_img(*args)
                            self.assertEqual((ours.code, ours.out), (theirs.code, theirs.out))
        self.assertEqual(img("measure", "-O", "qcow", "--size", "1G").code, 1)

    def test_dd(self):
        data = mixed_bytes(3 * M + 512, 9)
        write_sparse("a.raw", data)
        self.ok(qemu_img("convert", "-O", "qcow2", "a.raw", "a.qcow2"))
        for args in (["bs=1M"], ["bs=64k", "count=7"], ["bs=4k", "skip=100"], ["skip=5"],
                     ["bs=1M", "count=100"]):
            for fmt in ("raw", "qcow2"):
                with self.subTest(args=args, fmt=fmt):
                    self.ok(img("dd", "-O", fmt, *args, "if=a.qcow2", "of=ours"))
                    self.ok(qemu_img("dd", "-O", fmt, *args, "if=a.qcow2", "of=theirs"))
                    self.assertEqual(self.contents("ours", fmt), self.contents("theirs", fmt))

    # --- errors

    # What scripts may look for: where our words differ on purpose.
    OURS = {
        "unrecognized option '--nosuch'": "unknown option '--nosuch'",
        "missing argument for option '-f'": "option '-f' needs a value",
        "missing argument for option '-r'": "option '-r' needs a value",
        "Parameter 'version' does not": "Parameter 'compat' expects",
        "Image is not in qcow2 format": "qcow2: not a qcow2 image",
        "'file' driver requires '.' to be a regular file": "Is a directory",
    }

    def gist(self, err):
        """The first 30 characters behind "qemu-img: " and what repeats itself."""
        text = err.split("\n")[0].removeprefix("qemu-img: ")
        text = re.sub(r"^(Could not open '[^']*': )\1", r"\1", text)
        for theirs, ours in self.OURS.items():
            text = text.replace(theirs, ours)
        return text[:30]

    def test_errors_end_alike(self):
        self.ok(qemu_img("create", "-q", "-f", "qcow2", "a.qcow2", "1M"))
        write_sparse("a.raw", bytes(M))
        os.symlink(IMG, "qemu-img")
        cases = [
            [], ["nosuch"], ["create"], ["create", "-f", "nosuch", "x", "1M"],
            ["create", "-f", "qcow2", "x"], ["create", "-f", "qcow2", "x", "1x"],
            ["create", "-f", "qcow2", "x", "9E"], ["create", "-f", "qcow2", "no/x", "1M"],
            ["create", "-f", "qcow2", "-o", "nosuch=1", "x", "1M"],
            ["create", "-f", "qcow2", "-o", "cluster_size=3", "x", "1M"],
            ["create", "-f", "qcow2", "-o", "compat=2", "x", "1M"],
            ["create", "-f", "qcow2", "-o", "size=1M", "x", "1M"],
            ["create", "-f", "raw", "-b", "a.raw", "-F", "raw", "x"],
            ["create", "-f", "qcow2", "-b", "a.qcow2", "x"],
            ["create", "-f", "qcow2", "-b", "none", "-F", "raw", "x"],
            ["create", "-f", "qcow2", "-u", "-b", "none", "-F", "raw", "x"],
            ["info"], ["info", "none"], ["info", "-f", "qcow2", "a.raw"],
            ["info", "-f", "nosuch", "a.raw"], ["info", "--output=xml", "a.raw"],
            ["info", "--nosuch", "a.raw"], ["info", "."], ["info", "-f"],
            ["check", "none"], ["check", "-r", "some", "a.qcow2"], ["check"], ["check", "-r"],
            ["convert", "a.raw"], ["convert", "-O", "nosuch", "a.raw", "x"],
            ["convert", "-O", "qcow2", "none", "x"], ["convert", "-c", "-O", "raw", "a.raw", "x"],
            ["convert", "-n", "-O", "raw", "a.raw", "none"], ["convert", "-m", "0", "a.raw", "x"],
            ["convert", "-m", "17", "a.raw", "x"], ["convert", "-S", "3", "a.raw", "x"],
            ["convert", "-t", "nosuch", "a.raw", "x"], ["convert", "-T", "nosuch", "a.raw", "x"],
            ["convert", "-C", "-S", "0", "a.raw", "x"], ["convert", "-C", "-c", "a.raw", "x"],
            ["convert", "--target-is-zero", "a.raw", "x"],
            ["convert", "-B", "a.raw", "-O", "raw", "a.raw", "x"],
            ["convert", "-B", "a.raw", "-O", "qcow2", "a.raw", "x"],
            ["convert", "-O", "qcow2", "-o", "nosuch=1", "a.raw", "x"],
            ["convert", "-O", "qcow2", "a.raw", "no/x"], ["convert", "a.raw", "a.raw"],
            ["convert", "a.raw", "."],
            ["map"], ["map", "none"], ["map", "--start-offset=zz", "a.raw"],
            ["resize"], ["resize", "a.qcow2"], ["resize", "a.qcow2", "1x"],
            ["resize", "none", "1M"], ["resize", "a.qcow2", "0"], ["resize", "a.qcow2", "512k"],
            ["resize", "--preallocation=nosuch", "a.qcow2", "2M"],
            ["resize", "--preallocation=full", "--shrink", "a.qcow2", "512k"],
            ["compare", "a.raw"], ["compare", "-T", "nosuch", "a.raw", "a.raw"],
            ["compare", "a.raw", "none"],
            ["dd", "if=a.raw"], ["dd", "bs=0", "if=a.raw", "of=x"], ["dd", "nosuch=1"],
            ["dd", "if=none", "of=x"],
            ["measure"], ["snapshot", "-l", "none"],
        ]
        before = {f: read_file(f) for f in ("a.qcow2", "a.raw")}
        for args in cases:
            with self.subTest(args=args):
                ours = run("./qemu-img", *args)
                left = [f for f in os.listdir(".") if f not in (*before, "qemu-img")]
                self.assertEqual(left, [], "nothing is left behind")
                theirs = qemu_img(*args)
                if os.path.exists("x"):
                    os.unlink("x")
                # compare's -T: a usage error of ours, and 2 there.
                if args[:2] != ["compare", "-T"]:
                    self.assertEqual(ours.code, theirs.code, ours)
                self.assertTrue(ours.err.startswith("qemu-img: "), ours)
                self.assertNotEqual(ours.code, 0)
                for f, data in before.items():
                    self.assertEqual(read_file(f), data)
                if args[:1] not in (["dd"], ["resize"]):
                    self.assertIn(self.gist(theirs.err), ours.err.replace("\n", " "))


if __name__ == "__main__":
    main()
