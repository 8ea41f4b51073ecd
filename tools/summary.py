#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Counts the test cases of the last `bazel test`: "N passed, N failed".

Usage: bazel test //... --build_event_json_file=FILE; summary.py FILE
"""

import json
import sys
import urllib.parse
import xml.etree.ElementTree as xml


def main():
    passed = failed = skipped = 0
    bad = []
    reported = set()
    with open(sys.argv[1]) as f:
        for line in f:
            event = json.loads(line)
            label = event.get("id", {}).get("testResult", {}).get("label")
            if not label:
                summary = event.get("testSummary")
                if summary and summary["overallStatus"] not in ("PASSED", "FLAKY"):
                    bad.append((event["id"]["testSummary"]["label"], summary["overallStatus"]))
                continue
            result = event["testResult"]
            reported.add(label)
            path = None
            for output in result.get("testActionOutput", []):
                if output["name"] == "test.xml":
                    path = urllib.parse.unquote(urllib.parse.urlparse(output["uri"]).path)
            cases = []
            try:
                cases = list(xml.parse(path).iter("testcase")) if path else []
            except (OSError, xml.ParseError):
                pass
            wrong = 0
            for case in cases:
                if case.find("failure") is not None or case.find("error") is not None:
                    wrong += 1
                elif case.get("result") in ("skipped", "suppressed") or case.find("skipped") is not None:
                    skipped += 1
                else:
                    passed += 1
            if result["status"] not in ("PASSED", "FLAKY") and wrong == 0:
                wrong = 1  # it crashed or timed out
            failed += wrong
    for label, status in bad:
        print("%s: %s" % (label, status))
        if label not in reported:
            failed += 1
    print("%d passed, %d failed, %d skipped" % (passed, failed, skipped))
    return 1 if failed or not passed else 0


sys.exit(main())
