#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""check_page.py PAGE [TOOL [NAME]]: whether a man page is right.

Lint has no warning. With TOOL: the options in the page's lists and in its
synopsis are those of the tool's --help, for every command, and the commands
under EXAMPLES, which are the lines that begin with "$ NAME", run in an empty
folder, in order, and succeed.
"""

import os
import re
import subprocess
import sys
import tempfile


def lint(page):
    p = subprocess.run(["mandoc", "-T", "lint", "-W", "warning", page], capture_output=True,
                       text=True)
    return p.stdout.splitlines() + ([f"mandoc ended with {p.returncode}"] if p.returncode else [])


def helped(text):
    """The options that a --help lists."""
    return set().union(*option_lines(text))


def option_lines(text):
    """The names of each option that a --help lists."""
    for line in text.splitlines():
        m = re.match(r"  (-\S.*)", line)
        if m:
            head = re.split(r"\s{2,}", m.group(1))[0]
            yield {re.split(r"[ =]", word)[0] for word in head.split(", ")}


def flags(words):
    """The options that the macros of one mdoc line name."""
    found = set()
    in_flag = False
    for word in words:
        if word == "Fl":
            in_flag = True
        elif word in ("Ar", "Cm", "Ns", "Op", "No", "Xo", ",", "Pf"):
            in_flag = False
        elif in_flag and word not in ("|", "="):
            found.add("-" + word.replace("\\&", ""))
    return found


class Page:
    def __init__(self, path):
        self.lists = {"": set()}     # by .Ss: what its .It lines name
        self.synopsis = {"": set()}  # by command
        self.named_in_synopsis = set()
        self.examples = []
        section = sub = command = ""
        for line in open(path):
            words = line.split()
            if not words:
                continue
            macros = [words[0].lstrip("."), *words[1:]]
            if words[0] == ".Sh":
                section, sub = " ".join(words[1:]), ""
            elif words[0] == ".Ss":
                sub = words[1]
                self.lists[sub] = set()
            elif words[0] == ".Nm":
                command = ""
            elif section == "SYNOPSIS" and "Cm" in macros and not command and "Fl" not in macros:
                command = macros[macros.index("Cm") + 1]
                self.synopsis.setdefault(command, set())
            elif section == "SYNOPSIS":
                self.named_in_synopsis |= flags(macros)
                for flag in flags(macros):
                    single = flag[1:]
                    # ".Op Fl qU" are two; "-output" is one.
                    split = not flag.startswith("--") and words[:2] == [".Op", "Fl"] and \
                        len(words) == 3
                    self.synopsis.setdefault(command, set()).update(
                        {"-" + c for c in single} if split else {flag})
            elif words[0] == ".It" and words[1:2] == ["Fl"]:
                self.lists[sub] |= flags(words[1:])
            elif section == "EXAMPLES" and line.startswith("$ "):
                self.examples.append(line[2:].strip())


def compare(what, page, tool):
    return [f"{what}: only in the page: {o}" for o in sorted(page - tool)] + \
           [f"{what}: only in --help: {o}" for o in sorted(tool - page)]


def run_help(tool, *command):
    return subprocess.run([tool, *command, "--help"], capture_output=True, text=True,
                          check=True).stdout


def check_options(page, tool):
    text = run_help(tool)
    commands = re.findall(r"^  ([a-z]\S*)  ", text.partition("Commands:\n")[2], re.M)
    if not commands:
        # One command: its options stand in groups.
        options = helped(text)
        errors = compare("options", set().union(*page.lists.values()), options)
        named = page.named_in_synopsis
        errors += [f"SYNOPSIS has {o}, --help has not" for o in sorted(named - options)]
        for names in option_lines(text):
            if not names & named:
                errors.append(f"not in SYNOPSIS: {' '.join(sorted(names))}")
        return errors
    errors = compare("options", page.lists[""], helped(text))
    for c in commands:
        if c not in page.lists:
            errors.append(f"{c}: no .Ss in the page")
            continue
        options = helped(run_help(tool, c))
        errors += compare(c, page.lists[c], options)
        # A second name of an option need not be in the synopsis.
        names = {o for o in page.synopsis.get(c, set())}
        errors += [f"{c}: SYNOPSIS has {o}, --help has not" for o in sorted(names - options)]
        for alternatives in option_lines(run_help(tool, c)):
            if not alternatives & names:
                errors.append(f"{c}: not in SYNOPSIS: {' '.join(sorted(alternatives))}")
    for sub in page.lists:
        if sub and page.lists[sub] and sub not in commands:
            errors.append(f"{sub}: in the page, but no command")
    return errors


def check_examples(page, tool, name):
    errors = []
    with tempfile.TemporaryDirectory(dir=os.environ.get("TEST_TMPDIR")) as folder:
        os.mkdir(f"{folder}/bin")
        os.mkdir(f"{folder}/work")
        os.symlink(os.path.abspath(tool), f"{folder}/bin/{name}")
        env = {"PATH": f"{folder}/bin:/usr/bin:/bin", "LC_ALL": "C"}
        ours = [e for e in page.examples if e.split()[0] == name]
        if not ours:
            errors.append("EXAMPLES: no command of the tool")
        for command in ours:
            p = subprocess.run(["/bin/bash", "-c", command], cwd=f"{folder}/work", env=env,
                               capture_output=True, text=True, stdin=subprocess.DEVNULL)
            if p.returncode != 0:
                errors.append(f"EXAMPLES: {command}: exit {p.returncode}: {p.stderr}")
    return errors


def main():
    path, *rest = sys.argv[1:]
    errors = lint(path)
    if rest:
        page = Page(path)
        errors += check_options(page, rest[0])
        if len(rest) > 1:
            errors += check_examples(page, rest[0], rest[1])
    for e in errors:
        print(f"{path}: {e}")
    sys.exit(1 if errors else 0)


if __name__ == "__main__":
    main()
