#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Runs the text cases: files of commands with what they must print.

  # a comment
  $ img create -q x 1M
  $ img info nosuch
  img: Could not open 'nosuch': No such file or directory
  [1]

Each file runs in an empty folder of its own, in one bash, with img on the PATH;
standard output and standard error together must be the lines that follow, and
the exit code, where it is not 0, the number in brackets. A line that ends in
" (re)" is a regular expression.
"""

import os
import re
import subprocess
import sys
import tempfile

IMG = os.path.abspath("cmd/img/img")
# How many times slower than an optimised build the programs are; see .bazelrc.
SLOWNESS = int(os.environ.get("ATOLL_TEST_SLOWNESS", "1"))


def parse(path):
    steps = []
    with open(path) as f:
        for line in f.read().splitlines():
            if line.startswith("$ "):
                steps.append((line[2:], []))
            elif steps and not line.startswith("# ") and line != "#":
                steps[-1][1].append(line)
    for _, expected in steps:
        while expected and expected[-1] == "":
            expected.pop()
    return steps


def same(expected, got):
    if len(expected) != len(got):
        return False
    return all(re.fullmatch(e[:-5], g) if e.endswith(" (re)") else e == g
               for e, g in zip(expected, got))


def run(path):
    failures = 0
    with tempfile.TemporaryDirectory(dir=os.environ.get("TEST_TMPDIR")) as folder:
        bin_folder = os.path.join(folder, "bin")
        work = os.path.join(folder, "work")
        os.mkdir(bin_folder)
        os.mkdir(work)
        for name in ("img", "qemu-img"):
            os.symlink(IMG, os.path.join(bin_folder, name))
        env = {"PATH": f"{bin_folder}:/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}
        for command, expected in parse(path):
            p = subprocess.run(["/bin/bash", "-c", command], cwd=work, env=env,
                               timeout=60 * SLOWNESS, stdin=subprocess.DEVNULL,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            got = p.stdout.decode("utf-8", "replace").splitlines()
            while got and got[-1] == "":
                got.pop()
            if p.returncode != 0:
                got.append(f"[{p.returncode}]")
            if not same(expected, got):
                failures += 1
                print(f"{path}: $ {command}\n--- expected", *expected, "--- got", *got, sep="\n")
    return failures


def main():
    files = sys.argv[1:]
    if not files:
        sys.exit("no cases given")
    failures = sum(run(f) for f in files)
    print(f"{len(files)} files, {sum(len(parse(f)) for f in files)} commands, {failures} failures")
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
