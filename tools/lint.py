#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The rules of the house that a machine can check, over what git tracks.

usage: tools/lint.py [WORKSPACE]

  format  clang-format agrees
  spdx    every source begins with its licence line
  names   no file is called util or common
  size    no source is longer than 800 lines
  layers  a folder includes only what its line in LAYERS allows
  tried   SECURITY.md's tests and fuzz targets exist, and each device has one
"""

import os
import re
import subprocess
import sys

# What each folder may include beside itself: the map of ARCHITECTURE.md. Tests,
# fuzz targets and testing/ folders may use more.
LAYERS = {
    "lib/base": "",
    "lib/host": "lib/base",
    "lib/cli": "lib/base",
    "lib/stats": "lib/base",
    "lib/stats/sources": "lib/base lib/cli lib/host lib/qmp lib/stats",
    "lib/mem": "lib/base",
    "lib/netlink": "lib/base",
    "lib/hostnet": "lib/base lib/cli lib/host lib/netlink",
    "lib/block": "lib/base",
    "lib/char": "lib/base",
    "lib/ui": "lib/base",
    "lib/dev": "lib/base lib/char lib/mem",
    "lib/work": "lib/base lib/block lib/dev lib/mem",
    "lib/pci": "lib/base lib/dev lib/mem",
    "lib/net": "lib/base lib/dev lib/host",
    "lib/virtio": "lib/base lib/block lib/char lib/dev lib/mem lib/net lib/pci lib/work",
    "lib/nic": "lib/base lib/dev lib/mem lib/net lib/pci lib/virtio lib/work",
    "lib/ide": "lib/base lib/block lib/dev lib/mem lib/pci lib/work",
    "lib/floppy": "lib/base lib/block lib/dev lib/work",
    "lib/vga": "lib/base lib/dev lib/mem lib/pci lib/ui",
    "lib/cpu": "lib/base lib/mem",
    "lib/cpu/kvm": "lib/base lib/cpu lib/mem",
    "lib/cpu/soft": "lib/base lib/cpu lib/mem",
    "lib/boot": "lib/base lib/cpu lib/host lib/mem",
    "lib/vm": "lib/base lib/block lib/boot lib/char lib/cpu lib/dev lib/floppy lib/host lib/ide lib/mem "
              "lib/net lib/nic lib/pci lib/stats lib/ui lib/usernet lib/vga lib/virtio lib/work",
    "lib/console": "lib/base lib/cli lib/host lib/ui",
    "lib/rfb": "lib/base lib/host lib/ui",
    "lib/qmp": "lib/base lib/cli lib/cpu lib/host lib/ui lib/vm",
    "lib/usernet": "lib/base lib/host",
    "cmd/img": "lib/base lib/block lib/cli",
    "cmd/net": "lib/base lib/cli lib/host lib/hostnet lib/netlink lib/usernet",
    "cmd/run": "lib/base lib/block lib/boot lib/char lib/cli lib/console lib/cpu lib/dev lib/host lib/mem "
               "lib/net lib/nic lib/qmp lib/ui lib/usernet lib/vm",
    "cmd/vnc": "lib/base lib/cli lib/console lib/host lib/rfb lib/ui",
    "cmd/stat": "lib/base lib/cli lib/host lib/stats lib/stats/sources",
    "tests/cpu": "lib/base lib/cpu lib/cpu/soft lib/mem",
    "tests/lab": "",
    "bench": "",
    "kmod": "",
    "tests/kmod": "",
    "tests/net": "",
    "tests/run": "",
    "tests/usernet": "",
    "tests/vnc": "",
    "tools": "",
}
MAX_LINES = 800
# Files that cannot have a comment, or are no source.
NO_SPDX = re.compile(r"(^LICENSE$|\.md$|^\.gitignore$|/testdata/|/cases/|/seeds/)")


def folder(path):
    parts = path.split("/")
    deep = "/".join(parts[:3])
    return deep if deep in LAYERS and len(parts) > 3 else "/".join(parts[:2])


def layer_errors(path, text):
    if re.search(r"(_test|_fuzz)\.(cc|h)$|/testing/", path):
        return
    here = folder(path) if "/" in path and path.count("/") > 1 else path.split("/")[0]
    if here not in LAYERS:
        yield "%s: its folder has no line in tools/lint.py's LAYERS" % path
        return
    for number, line in enumerate(text.splitlines(), 1):
        m = re.match(r'#include "((?:lib|cmd|tests|tools)/[^"]+)"', line)
        if m and folder(m[1]) != here and folder(m[1]) not in LAYERS[here].split():
            yield "%s:%d: %s may not include %s" % (path, number, here, m[1])


def read(path):
    with open(path, errors="replace") as f:
        return f.read()


def tried_errors():
    text = read("SECURITY.md")
    rules = {}
    for line in text.splitlines():
        for place, name in re.findall(r"`//([\w/]+):(\w+)`", line):
            if place not in rules:
                rules[place] = read(place + "/BUILD") if os.path.exists(place + "/BUILD") else ""
            if '    name = "%s",' % name not in rules[place]:
                yield "SECURITY.md: there is no //%s:%s" % (place, name)
        # A way's tests: a target and names in it, up to the next semicolon.
        for place, name, tests in re.findall(r"`//([\w/]+):(\w+_test)` ([\w, ]+)", line):
            source = "%s/%s.cc" % (place, name)
            known = re.findall(r"^TEST(?:_[FP])?\(\w+, (\w+)\)", read(source), re.M) \
                if os.path.exists(source) else []
            for test in tests.split(", and ")[0].split(", "):
                if test.strip() not in known:
                    yield "SECURITY.md: %s has no test %s" % (source, test.strip())
    fuzzed = set()
    for line in re.findall(r"^\| `//[^|]*_fuzz` \| ([^|]+) \|$", text, re.M):
        fuzzed.update(line.split())
    devices = set(re.findall(r'^    {"([\w-]+)", Attachment::', read("lib/dev/types.cc"), re.M))
    for name in sorted(devices ^ fuzzed):
        yield "SECURITY.md: %s has %s" % (name, "no fuzz target" if name in devices
                                          else "a fuzz target, and is no device")


def main():
    os.chdir(sys.argv[1] if len(sys.argv) > 1 else ".")
    files = subprocess.check_output(["git", "ls-files", "-z"], text=True).split("\0")[:-1]
    files = [f for f in files if os.path.isfile(f)]
    errors = []
    for path in files:
        if re.search(r"(^|/)(util|utils|common)(\.|$|/)", path):
            errors.append("%s: a name that says nothing" % path)
        if NO_SPDX.search(path):
            continue
        with open(path, errors="replace") as f:
            text = f.read()
        if "SPDX-License-Identifier: " not in "\n".join(text.splitlines()[:2]):
            errors.append("%s: no SPDX line at its head" % path)
        if path.endswith((".cc", ".h")):
            errors += layer_errors(path, text)
            if text.count("\n") > MAX_LINES:
                errors.append("%s: longer than %d lines" % (path, MAX_LINES))
    errors += tried_errors()
    sources = [f for f in files if f.endswith((".cc", ".h"))]
    # Two at a time, as many as a small machine has processors.
    jobs = [subprocess.Popen(["clang-format", "--dry-run", "-Werror", *sources[i::2]],
                             stderr=subprocess.PIPE, text=True) for i in range(2)]
    for job in jobs:
        errors += [l for l in job.communicate()[1].splitlines() if "error:" in l]
    for e in errors:
        print(e)
    print("%d files, %d errors" % (len(files), len(errors)))
    return 1 if errors else 0


sys.exit(main())
