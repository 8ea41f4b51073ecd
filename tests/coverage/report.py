#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Adds up the lcov files of all tests.

It stands for @remote_coverage_tools//:coverage_report_generator, which
`bazel coverage --combined_report=lcov` runs once at the end.
"""

import sys


def main():
    options = dict(a.lstrip("-").partition("=")[::2] for a in sys.argv[1:])
    with open(options["reports_file"]) as f:
        reports = f.read().split()

    files = {}  # file -> ("DA" | "FN", key) -> count
    lines_of = {}  # file -> function -> line
    for report in reports:
        name = None
        with open(report) as f:
            for line in f:
                kind, _, rest = line.strip().partition(":")
                if kind == "SF":
                    name = rest
                    files.setdefault(name, {})
                    lines_of.setdefault(name, {})
                elif kind == "FN":
                    n, fn = rest.split(",", 1)
                    lines_of[name][fn] = int(n)
                elif kind == "FNDA":
                    n, fn = rest.split(",", 1)
                    files[name]["FN", fn] = files[name].get(("FN", fn), 0) + int(n)
                elif kind == "DA":
                    n, count = map(int, rest.split(",")[:2])
                    files[name]["DA", n] = files[name].get(("DA", n), 0) + count

    with open(options["output_file"], "w") as out:
        for name in sorted(files):
            fns = {k: v for (t, k), v in files[name].items() if t == "FN"}
            das = {k: v for (t, k), v in files[name].items() if t == "DA"}
            print("SF:" + name, file=out)
            for fn, count in sorted(fns.items()):
                print("FN:%d,%s" % (lines_of[name][fn], fn), file=out)
                print("FNDA:%d,%s" % (count, fn), file=out)
            print("FNF:%d\nFNH:%d" % (len(fns), sum(c > 0 for c in fns.values())), file=out)
            for n, count in sorted(das.items()):
                print("DA:%d,%d" % (n, count), file=out)
            print("LH:%d\nLF:%d" % (sum(c > 0 for c in das.values()), len(das)), file=out)
            print("end_of_record", file=out)


main()
