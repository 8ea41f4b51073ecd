#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""FIELDS of the man page is the catalogue.

usage: fields_test.py STAT PAGE
"""

import re
import subprocess
import sys

out = subprocess.run([sys.argv[1], "-f", "help"], capture_output=True, text=True,
                     check=True).stdout.splitlines()
starts = [out[0].index(c) for c in ("FIELD", "UNTIL 4.1", "TYPE", "UNIT", "MEANING")] + [None]
catalogue = {}
for line in out[1:]:
    name, old, kind, unit, meaning = (line[a:b].strip() for a, b in zip(starts, starts[1:]))
    catalogue[name] = (old, kind, unit, meaning)

page = {}
text = open(sys.argv[2]).read()
section = text[text.index(".Sh FIELDS"):text.index(".Sh ENVIRONMENT")]
for name, note, meaning in re.findall(r"^\.It Cm (\S+) Pq (.*)\n(.*)\.$", section, re.M):
    old = re.search(r"until 4\.1 (\S+)$", note)
    words = note.split(", ")
    unit = words[1] if len(words) > 1 and not words[1].startswith(("until", "as")) else ""
    page[name] = (old[1] if old else name if note.endswith("as of old") else "", words[0], unit,
                  meaning[0].lower() + meaning[1:])

errors = ["%s: only in the %s" % (n, "page" if n in page else "catalogue")
          for n in sorted(set(page) ^ set(catalogue))]
for n in sorted(set(page) & set(catalogue)):
    # Names begin with capitals.
    if page[n][:3] != catalogue[n][:3] or page[n][3].lower() != catalogue[n][3].lower():
        errors.append("%s: the page has %s, the catalogue %s" % (n, page[n], catalogue[n]))
for e in errors:
    print(e)
print("%d fields" % len(catalogue))
sys.exit(1 if errors or len(catalogue) < 70 else 0)
