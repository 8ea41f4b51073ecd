#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Random sequences of operations on one disk by img, qemu-img and qemu-io,
against a model that is nothing but bytes. After each step both tools must call
the image clean and read exactly the model."""

import os
import random

from peers import K, M, QEMU_IO, TestCase, img, main, mixed_bytes, qemu_img, run, write_sparse

MAX = 12 * M
SEEDS = range(6)
STEPS = 14


class Sequence:
    def __init__(self, test, seed):
        self.test, self.r, self.log = test, random.Random(seed), []
        self.fmt = "qcow2"
        self.model = bytearray(self.r.randrange(1, 6 * M // 512) * 512)
        self.files = 0
        self.name = self.fresh()
        self.do(self.tool(), "create", "-q", "-f", self.fmt, *self.options(self.fmt), self.name,
                len(self.model))

    def tool(self):
        return self.r.choice([img, img, qemu_img])

    def fresh(self):
        self.files += 1
        return f"{self.files}.img"

    def do(self, tool, *args):
        self.log.append(f"{tool.__name__} {' '.join(map(str, args))}")
        result = tool(*args)
        self.test.assertEqual(result.code, 0, "\n".join(self.log) + f"\n{result}")

    def options(self, fmt):
        if fmt != "qcow2":
            return []
        o = [f"cluster_size={self.r.choice(['512', '4k', '64k', '64k', '2M'])}"]
        if self.r.random() < 0.3:
            o.append(self.r.choice(["compat=0.10", "compression_type=zstd", "refcount_bits=64",
                                    "refcount_bits=1", "lazy_refcounts=on",
                                    "preallocation=metadata"]))
        return ["-o", ",".join(o)]

    def write(self):
        commands = []
        for _ in range(self.r.randrange(1, 6)):
            at = self.r.randrange(len(self.model) // 512) * 512
            n = min(self.r.choice([512, 4 * K, 64 * K, 100 * K, 700 * K]), len(self.model) - at)
            kind = self.r.random()
            if kind < 0.7:
                value = self.r.randrange(1, 256)
                commands += ["-c", f"write -P {value} {at} {n}"]
                self.model[at:at + n] = bytes([value]) * n
            else:
                commands += ["-c", f"write -z {'-u ' if kind < 0.85 else ''}{at} {n}"]
                self.model[at:at + n] = bytes(n)
        self.do(lambda *a: run(QEMU_IO, *a), "-f", self.fmt, *commands, self.name)

    def convert(self):
        to = self.r.choice(["raw", "qcow", "qcow2", "qcow2", "qcow2"])
        options = self.options(to)
        if to != "raw" and self.r.random() < 0.4:
            options.append("-c")
        if self.r.random() < 0.3:
            options += ["-m", self.r.choice("1358"), "-W"]
        if self.r.random() < 0.2:
            options += ["-S", self.r.choice(["0", "512", "64k"])]
        name = self.fresh()
        self.do(self.tool(), "convert", "-f", self.fmt, "-O", to, *options, self.name, name)
        self.name, self.fmt = name, to

    def resize(self):
        if self.fmt == "qcow":
            return self.convert()
        size = self.r.randrange(1, MAX // 512) * 512
        self.do(self.tool(), "resize", "-q", "--shrink", "-f", self.fmt, self.name, size)
        if size < len(self.model):
            del self.model[size:]
        else:
            self.model += bytes(size - len(self.model))

    def overlay(self):
        name = self.fresh()
        self.do(self.tool(), "create", "-q", "-f", "qcow2", "-b", self.name, "-F", self.fmt,
                *[o for o in self.options("qcow2") if "prealloc" not in o], name)
        self.name, self.fmt = name, "qcow2"

    def verify(self):
        write_sparse("model.raw", self.model)
        for tool in (img, qemu_img):
            self.do(tool, "compare", "-f", "raw", "-F", self.fmt, "model.raw", self.name)
            if self.fmt == "qcow2":
                self.do(tool, "check", "-f", "qcow2", self.name)
        # Strict: as long as the model, not only equal up to the end.
        self.do(img, "convert", "-f", self.fmt, "-O", "raw", self.name, "out.raw")
        with open("out.raw", "rb") as f:
            self.test.assertTrue(f.read() == self.model, "\n".join(self.log))
        os.unlink("out.raw")


class Random(TestCase):
    pass


def add(seed):
    def test(self):
        s = Sequence(self, seed)
        for _ in range(STEPS):
            s.r.choice([s.write, s.write, s.write, s.convert, s.resize, s.overlay])()
            s.verify()
    setattr(Random, f"test_seed_{seed}", test)


for seed in SEEDS:
    add(seed)

if __name__ == "__main__":
    main()
