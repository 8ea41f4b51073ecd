#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Counts the test cases of `bazel test` runs: "N passed, N failed, N skipped".

usage: bazel test //... --build_event_json_file=FILE; summary.py FILE...

A target that did not build, crashed or timed out counts as one failed case.
"""

import json
import sys
import urllib.parse
import xml.etree.ElementTree as xml


def cases_of(result):
    """The test cases that the target's test.xml lists."""
    for output in result.get("testActionOutput", []):
        if output["name"] == "test.xml":
            path = urllib.parse.unquote(urllib.parse.urlparse(output["uri"]).path)
            try:
                return list(xml.parse(path).iter("testcase"))
            except (OSError, xml.ParseError):
                return []
    return []


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
        if not label:
            continue
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
        if result["status"] not in ("PASSED", "FLAKY") and wrong == 0:
            wrong = 1
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
