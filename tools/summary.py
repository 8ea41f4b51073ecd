#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Counts the test cases of `bazel test` runs: "N passed, N failed, N skipped".

usage: bazel test //... --build_event_json_file=FILE; summary.py FILE...

A target that did not build, crashed or timed out counts as one failed case.
Before the count the end of each failed target's log is printed once more: what
stands further up may be cut out of where this output is kept.
"""

import json
import sys
import urllib.parse
import xml.etree.ElementTree as xml


LOG_LINES = 40


def output_of(result, name):
    """The path of a file that the test left, or None."""
    for output in result.get("testActionOutput", []):
        if output["name"] == name:
            return urllib.parse.unquote(urllib.parse.urlparse(output["uri"]).path)
    return None


def cases_of(result):
    """The test cases that the target's test.xml lists."""
    try:
        return list(xml.parse(output_of(result, "test.xml") or "").iter("testcase"))
    except (OSError, xml.ParseError):
        return []


def print_log(label, result):
    """The last lines of the test's log."""
    try:
        with open(output_of(result, "test.log") or "", errors="replace") as f:
            lines = f.read().splitlines()
    except OSError:
        return
    print("==== %s, the end of its log:" % label)
    print("\n".join(lines[-LOG_LINES:]))
    print("====")


def count(path):
    passed = failed = skipped = 0
    bad = []
    reported = set()
    with open(path) as f:
        events = [json.loads(line) for line in f]
    for event in events:
        summary = event.get("testSummary")
        if summary and summary["overallStatus"] not in ("PASSED", "FLAKY"):
            bad.append((event["id"]["testSummary"]["label"], summary["overallStatus"]))
        label = event.get("id", {}).get("testResult", {}).get("label")
        if not label or "testResult" not in event:
            continue  # of another kind, or of a test that was not run to its end
        result = event["testResult"]
        reported.add(label)
        wrong = 0
        for case in cases_of(result):
            if case.find("failure") is not None or case.find("error") is not None:
                wrong += 1
            elif (case.get("result") in ("skipped", "suppressed")
                  or case.find("skipped") is not None):
                skipped += 1
            else:
                passed += 1
        if result["status"] not in ("PASSED", "FLAKY"):
            wrong = max(wrong, 1)
            print_log(label, result)
        failed += wrong
    for label, status in bad:
        print("%s: %s" % (label, status))
        if label not in reported:
            failed += 1
    return passed, failed, skipped


def main():
    total = [sum(n) for n in zip(*(count(path) for path in sys.argv[1:]))]
    print("%d passed, %d failed, %d skipped" % tuple(total))
    return 1 if total[1] or not total[0] else 0


sys.exit(main())
