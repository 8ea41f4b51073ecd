#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""What is written of the module against its sources: atoll(4) has each ioctl that is there, in the
five-field form, and each capability that is claimed; ARCHITECTURE.md has each file with its lines,
and their sum; README.md has each file.

usage: docs_test.py KVM-H MAN ARCHITECTURE README SOURCE..."""

import os
import re
import sys

FIELDS = ["capability", "type", "parameters", "returns", "errors"]


def read(path):
    with open(path) as f:
        return f.read()


def functions(text):
    """Comments say of others' ioctls."""
    return re.sub(r"/\*.*?\*/", "", text, flags=re.S)


def ioctl_errors(known, man, code):
    there = {n for n in re.findall(r"\b(?:case|==) (KVM_\w+)", code) if n in known}
    if len(there) < 60:
        yield "only %d ioctls found in the sources" % len(there)
    entries = re.findall(r"^\.It Dv (KVM_[\w ,]+)\n(.*?)^\.El$", man, flags=re.S | re.M)
    written = set()
    for names, body in entries:
        names = names.split(" , ")
        written.update(names)
        fields = re.findall(r"^\.It (\w+) Ta (.+)$", body, flags=re.M)
        if [f for f, _ in fields] != FIELDS:
            yield "atoll.4: %s: fields %s" % (names[0], [f for f, _ in fields])
    for name in sorted(there - written):
        yield "atoll.4 lacks %s" % name
    for name in sorted(written - there):
        yield "atoll.4 has %s, which the sources have not" % name
    # What KVM's header says of the direction is what is said of the parameters.
    for names, body in entries:
        parameter = re.search(r"^\.It parameters Ta (.+)$", body, flags=re.M)
        for name in names.split(" , "):
            struct = re.search(r"struct (kvm_\w+)", known.get(name, ""))
            if struct and parameter and "struct " + struct[1] not in parameter[1]:
                yield "atoll.4: %s: its parameters are not struct %s" % (name, struct[1])


def capability_errors(man, code):
    body = re.search(r"^int atl_check_extension\(.*?^}", code, flags=re.S | re.M)[0]
    claimed = set(re.findall(r"\bcase (KVM_CAP_\w+):", body))
    if len(claimed) < 50:
        yield "only %d capabilities found in the sources" % len(claimed)
    written = set(re.findall(r"\bKVM_CAP_\w+", man))
    for name in sorted(claimed - written):
        yield "atoll.4 lacks %s" % name
    for name in sorted(written - claimed):
        yield "atoll.4 has %s, which is not claimed" % name


def line_errors(architecture, readme, sources):
    table = dict(re.findall(r"^\| (\w+\.[chS]) \| (\d+) \|", architecture, flags=re.M))
    lines = {os.path.basename(p): read(p).count("\n") for p in sources if p[-2:] in (".c", ".h", ".S")}
    for name, n in sorted(lines.items()):
        if table.get(name) != str(n):
            yield "ARCHITECTURE.md: %s has %d lines, not %s" % (name, n, table.get(name))
        if not re.search(r"\b%s\b" % re.escape(name), readme):
            yield "kmod/README.md lacks %s" % name
    for name in sorted(set(table) - set(lines)):
        yield "ARCHITECTURE.md has %s, which is not there" % name
    if "| | %d | |" % sum(lines.values()) not in architecture:
        yield "ARCHITECTURE.md: all files have %d lines" % sum(lines.values())


def main():
    header, man, architecture, readme = map(read, sys.argv[1:5])
    sources = sys.argv[5:]
    code = functions("".join(read(p) for p in sources if p.endswith(".c")))
    known = dict(re.findall(r"^#define (KVM_\w+)\s+(_IO[WR]*\(KVMIO.*)$", header.replace("\\\n", " "), flags=re.M))
    errors = [*ioctl_errors(known, man.split(".Ss Capabilities")[0], code), *capability_errors(man, code),
              *line_errors(architecture, readme, sources)]
    print("\n".join(errors))
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
