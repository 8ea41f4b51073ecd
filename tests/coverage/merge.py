#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Turns the gcov data of one test into an lcov file.

It stands for @remote_coverage_tools//:lcov_merger, a Java program that Bazel
would download: `bazel coverage` runs it after each test, with the directory
of gcov's JSON files and the name of the file to write.
"""

import glob
import gzip
import json
import re
import sys


def main():
    options = {}
    filters = []
    for arg in sys.argv[1:]:
        name, _, value = arg.lstrip("-").partition("=")
        if name == "filter_sources":
            filters.append(re.compile(value))
        else:
            options[name] = value

    with open(options["source_file_manifest"]) as f:
        wanted = {line.strip() for line in f}

    lines = {}  # file -> line -> count
    functions = {}  # file -> name -> (line, count)
    for path in glob.glob(options["coverage_dir"] + "/**/*.gcov.json.gz", recursive=True):
        with gzip.open(path) as f:
            data = json.load(f)
        for source in data["files"]:
            name = source["file"]
            if name not in wanted or any(r.fullmatch(name) for r in filters):
                continue
            seen = lines.setdefault(name, {})
            for line in source["lines"]:
                n = line["line_number"]
                seen[n] = seen.get(n, 0) + line["count"]
            named = functions.setdefault(name, {})
            for fn in source["functions"]:
                _, count = named.get(fn["name"], (0, 0))
                named[fn["name"]] = (fn["start_line"], count + fn["execution_count"])

    with open(options["output_file"], "w") as out:
        for name in sorted(lines):
            print("SF:" + name, file=out)
            for fn, (line, count) in sorted(functions[name].items()):
                print("FN:%d,%s" % (line, fn), file=out)
                print("FNDA:%d,%s" % (count, fn), file=out)
            print("FNF:%d" % len(functions[name]), file=out)
            print("FNH:%d" % sum(c > 0 for _, c in functions[name].values()), file=out)
            for n, count in sorted(lines[name].items()):
                print("DA:%d,%d" % (n, count), file=out)
            print("LH:%d" % sum(c > 0 for c in lines[name].values()), file=out)
            print("LF:%d" % len(lines[name]), file=out)
            print("end_of_record", file=out)


main()
