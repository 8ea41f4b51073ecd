#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Writes compile_commands.json, for clangd and clang-tidy, from Bazel's actions.

Run in the workspace: tests/tools/compdb.py [TARGET...]
"""

import json
import os
import subprocess
import sys

# What g++ takes and clang does not.
GCC_ONLY = {
    "-fno-canonical-system-headers",
    "-Wno-free-nonheap-object",
    "-Wunused-but-set-parameter",
}


def main():
    targets = sys.argv[1:] or ["//..."]
    root = subprocess.check_output(["bazel", "info", "workspace"], text=True).strip()
    base = subprocess.check_output(["bazel", "info", "output_base"], text=True).strip()
    query = 'mnemonic("CppCompile", %s)' % " + ".join(targets)
    out = subprocess.check_output(["bazel", "aquery", query, "--output=jsonproto"], cwd=root)
    entries = {}
    for action in json.loads(out).get("actions", []):
        args = action["arguments"]
        source = args[args.index("-c") + 1]
        if source.startswith("external/"):
            continue
        words = []
        skip = False
        for arg in args:
            if skip:
                skip = False
            elif arg in ("-MF", "-MD"):
                skip = arg == "-MF"
            elif arg.startswith("-frandom-seed=") or arg in GCC_ONLY:
                pass
            elif arg.startswith("external/"):
                words.append(base + "/" + arg)
            else:
                words.append(arg)
        words[0] = "/usr/bin/g++" if source.endswith(".cc") else "/usr/bin/gcc"
        entries.setdefault(source, {"directory": root, "file": source, "arguments": words})
    path = root + "/compile_commands.json"
    with open(path + ".tmp", "w") as f:
        json.dump(sorted(entries.values(), key=lambda e: e["file"]), f, indent=1)
        f.write("\n")
    os.rename(path + ".tmp", path)
    print("%s: %d files" % (path, len(entries)))


main()
