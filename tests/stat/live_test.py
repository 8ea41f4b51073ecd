#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The live view, driven in tmux as a person would.

usage: live_test.py RUN STAT BIOS [TEST...]
"""

import os
import re
import signal
import subprocess
import sys
import time
import unittest

from guest import TIMEOUT, GuestTest

GuestTest.run_program, GuestTest.stat_program, GuestTest.bios = (
    os.path.abspath(p) for p in sys.argv[1:4])


class Live(GuestTest):
    def setUp(self):
        super().setUp()
        self.socket = os.path.join(self.dir, "tmux")
        self.addCleanup(self.tmux, "kill-server", check=False)

    def tmux(self, *args, check=True):
        p = subprocess.run(["tmux", "-f", "/dev/null", "-S", self.socket, *args],
                           capture_output=True, text=True)
        if check:
            self.assertEqual(p.returncode, 0, p.stderr)
        return p.stdout

    def shell(self, columns=100, rows=30):
        """A shell in a terminal."""
        self.tmux("new-session", "-d", "-x", str(columns), "-y", str(rows),
                  "env PS1='ready$ ' sh -i")
        self.wait("ready$")

    def keys(self, *keys):
        self.tmux("send-keys", *keys)

    def type(self, text):
        self.tmux("send-keys", "-l", text)
        self.tmux("send-keys", "Enter")

    def screen(self):
        return self.tmux("capture-pane", "-p")

    def wait(self, *words):
        deadline = time.monotonic() + TIMEOUT
        while True:
            screen = self.screen()
            if all(re.search(w, screen) if isinstance(w, re.Pattern) else w in screen
                   for w in words):
                return screen
            self.assertLess(time.monotonic(), deadline, "%r not in\n%s" % (words, screen))
            time.sleep(0.05)

    def view(self, *args):
        self.shell()
        self.type("stty -a | tail -n +2 > before; %s %s" % (
            self.stat_program, " ".join(args or ("-s 0.2",))))
        return self.wait("stat - events", "Event", "exits")

    def leave(self):
        self.keys("q")
        self.restored()

    def restored(self):
        # The shell's own screen is back, and its settings.
        self.wait("ready$", "tail -n +2 > before")
        self.assertNotIn("stat - ", self.screen())
        self.type("stty -a | tail -n +2 > after; cmp before after && echo the same")
        self.wait(re.compile("^the same", re.M))

    def test_views(self):
        self.firmware("web", "-smp", "2")
        self.firmware("db")
        screen = self.view()
        self.assertIn("2 VMs", screen)
        # Rates come, and a line of the last samples.
        self.wait(re.compile(r"^exits +\d+ +[\d.]+ +[1-9]\d* fd +[▁-█]{3}", re.M))
        self.keys("v")
        screen = self.wait("stat - VMs", re.compile(r"^web +\d+ +2 +\d+", re.M),
                           re.compile(r"^db +\d+ +1 +\d+", re.M))
        self.keys("v")
        self.wait("stat - vCPUs", re.compile(r"^web +1 ", re.M))
        self.keys("v")
        screen = self.wait("stat - reasons", "p99", re.compile(r"^exit_io +\d+", re.M), "▁")
        self.keys("Home", "Enter")
        self.wait("stat - histogram", "p50", "█", re.compile(r"\d+ns - \d+ns"))
        self.keys("q")
        self.wait("stat - reasons")
        self.keys("v")
        self.wait("stat - events")
        self.leave()

    def test_keys(self):
        web = self.firmware("web")
        self.view()
        # Filter.
        self.keys("f")
        self.wait("Counters (regular expression)")
        self.type("irq")
        screen = self.wait("fields irq", "irq_injections")
        self.assertNotIn("io_exits", screen)
        self.keys("f")
        self.type("(")
        self.wait("position 2")
        self.keys("c")
        self.wait("io_exits")
        # Sort by name, both ends, and by total.
        names = lambda: re.findall(r"^([a-z_]+) +\d", self.screen(), re.M)
        self.keys(">", ">", ">")
        self.wait("sorted by Event")
        self.assertEqual(names(), sorted(names()))
        self.keys("o")
        time.sleep(0.3)
        self.keys("o")
        time.sleep(0.3)
        totals = [int(n) for n in re.findall(r"^[a-z_]+ +(\d+) ", self.screen(), re.M)]
        self.assertEqual(totals, sorted(totals, reverse=True))
        # Search, pause, help, process, interval, snapshot.
        self.keys("/")
        self.type("wakeup")
        screen = self.wait("/wakeup", "halt_wakeup")
        self.assertNotIn("\nexits", screen)
        self.keys("/", "Enter", "Space")
        self.wait("(paused)")
        before = self.screen()
        time.sleep(0.6)
        self.assertEqual(self.screen(), before)
        self.keys("Space", "h")
        self.wait("Keys", "forget the filters")
        self.keys("End")
        self.wait("guest TLB flush executed")
        self.keys("h", "p")
        self.type(str(web.pid))
        self.wait("pid %d" % web.pid, "exits")
        self.keys("c", "g")
        self.type("nobody")
        self.wait("no VM 'nobody'")
        self.keys("c", "s")
        self.type("0.1")
        self.keys("w")
        self.wait("written to stat-1.txt")
        self.assertRegex(open("stat-1.txt").read(), r"(?m)^exits\t\d+\t")
        self.keys("r")
        self.leave()

    def test_resize(self):
        self.firmware("web")
        self.view()
        self.tmux("resize-window", "-x", "80", "-y", "24")
        self.keys("v")
        screen = self.wait("stat - VMs", "q quit")
        lines = screen.splitlines()
        self.assertLessEqual(max(map(len, lines)), 80)
        self.assertTrue(lines[0].startswith("stat - VMs"))
        self.assertIn("q quit", lines[23])
        self.assertRegex(lines[2], r"^web .* fd")
        self.tmux("resize-window", "-x", "20", "-y", "5")
        self.wait("stat - VMs")
        self.tmux("resize-window", "-x", "120", "-y", "40")
        self.wait(re.compile(r"^VM .* From", re.M))
        self.leave()

    def test_one_ends_while_shown(self):
        self.firmware("web")
        db = self.firmware("db")
        self.view()
        self.keys("b")
        self.wait("2 VMs", re.compile(r"^db +\d+", re.M))
        db.kill()
        db.wait()
        screen = self.wait("1 VM", re.compile(r"^db .* ended", re.M))
        self.assertNotRegex(screen, r"(?m)^db .*-\d")
        # Grey is an attribute.
        self.keys("Down")
        self.wait(re.compile(r"^db .* ended", re.M))
        time.sleep(0.3)
        raw = self.tmux("capture-pane", "-p", "-e")
        line = next(l for l in raw.splitlines() if "ended" in l)
        self.assertRegex(line, r"\x1b\[(\d+;)*2m")
        self.firmware("new")
        self.wait("2 VMs", re.compile(r"^new +\d+", re.M))
        self.leave()

    def test_replay(self):
        web = self.firmware("web", "-smp", "2")
        db = self.firmware("db")
        record = subprocess.Popen([self.stat_program, "record", "day", "-n", "12", "-s", "0.15"])
        time.sleep(0.6)
        self.end(db)
        self.assertEqual(record.wait(TIMEOUT), 0)
        with open("day") as f:
            last = [l for l in f if l.startswith('{"sample"')][-1]
        last = time.strftime("%H:%M:%S", time.gmtime(int(re.search(r"\d+", last[10:])[0]) // 10**9))
        self.end(web)  # no guest runs any more
        screen = self.view("replay day")
        self.assertRegex(screen, r"stat - events  2 VMs  recorded 20\d\d-\d\d-\d\dT")
        # From sample to sample, and rates with them; a key in between.
        self.wait(re.compile(r"^exits +\d+ +[\d.]+ +[1-9]\d* fd +[▁-█]{3}", re.M))
        self.keys("b")
        screen = self.wait("the recording is over", "stat - VMs  1 VM ", last,
                           re.compile(r"^db .* ended", re.M), re.compile(r"^web +\d+ +2 ", re.M))
        # That was as it was taken. Now quicker, from the beginning.
        self.keys("s")
        self.type("0.02")
        self.keys("c")
        self.wait("1 VM ", "the recording is over")
        # It stands; what it ended with can be looked at.
        self.keys("v", "v", "v", "f")
        self.type("exits")
        screen = self.wait("fields exits", re.compile(r"^exits +[1-9]\d{3}", re.M))
        self.assertNotIn("io_exits", screen)
        self.keys("c", "b", "g")
        self.type("db")
        self.wait("guest db", re.compile(r"^db .* ended", re.M), "the recording is over")
        self.assertNotRegex(self.screen(), r"(?m)^web ")
        self.keys("g")
        self.type("nobody")
        self.wait("no VM 'nobody': those that were recorded are db, web")
        self.leave()

    def test_signal_restores_the_terminal(self):
        self.firmware("web")
        self.view()
        shell = self.tmux("display-message", "-p", "#{pane_pid}").strip()
        with open("/proc/%s/task/%s/children" % (shell, shell)) as f:
            child, = f.read().split()
        self.assertEqual(os.readlink("/proc/%s/exe" % child), os.path.realpath(self.stat_program))
        os.kill(int(child), signal.SIGTERM)
        self.restored()

    def test_without_colours(self):
        self.firmware("web")
        self.shell()
        self.type("TERM=vt100 %s -s 0.2" % self.stat_program)
        self.wait("stat - events", "exits")
        self.keys("q")
        self.wait("ready$")
        self.type("clear; TERM=none-such %s" % self.stat_program)
        self.wait("(TERM)")
        self.type("echo status $?")
        self.wait("status 1")

    def test_quick(self):
        self.firmware("web")
        self.view()
        began = time.monotonic()
        self.keys("q")
        self.wait("ready$")
        self.assertLess(time.monotonic() - began, TIMEOUT / 10)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1] + sys.argv[4:], verbosity=2, warnings="ignore")
