# SPDX-License-Identifier: Apache-2.0
"""A guest as somebody has it who looks at its screen and types: run with a
control socket."""

import json
import os
import re
import socket
import subprocess
import time

# Of lab tests also kvm.
ACCEL = os.environ.get("ATOLL_ACCEL", "soft")
# How many times slower than an optimised build the programs are; see .bazelrc.
SLOWNESS = int(os.environ.get("ATOLL_TEST_SLOWNESS", "1"))

NAMES = {" ": ["spc"], "\r": ["ret"], "/": ["slash"], ".": ["dot"], "-": ["minus"],
         "=": ["equal"], ",": ["comma"], ";": ["semicolon"], "'": ["apostrophe"],
         "(": ["shift", "9"], ")": ["shift", "0"], "_": ["shift", "minus"],
         ":": ["shift", "semicolon"], "|": ["shift", "backslash"], ">": ["shift", "dot"],
         "*": ["shift", "8"], "\"": ["shift", "apostrophe"], "$": ["shift", "4"]}


class Pc:
    """Made in an empty working directory of a short name, which it fills."""

    def __init__(self, run, args):
        args = [run, "-accel", ACCEL, "-display", "none", "-qmp", "unix:qmp,server=on,wait=off",
                "-sandbox", "dir=.", *args]
        if "-serial" not in args:
            args += ["-serial", "file:serial"]
        self.errors = open("errors", "ab")
        self.process = subprocess.Popen(args, stdin=subprocess.DEVNULL,
                                        stdout=subprocess.DEVNULL, stderr=self.errors)
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(60 * SLOWNESS)
        deadline = time.monotonic() + 60 * SLOWNESS
        while True:
            try:
                self.socket.connect("qmp")
                break
            except OSError:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    self.kill()
                    raise AssertionError("run did not start: " + self.said())
                time.sleep(0.05)
        self.stream = self.socket.makefile("rw")
        self.stream.readline()
        self.ask("qmp_capabilities")

    def said(self):
        with open("errors", "rb") as f:
            return f.read()[-2000:].decode(errors="replace")

    def ask(self, command, **arguments):
        json.dump({"execute": command, "arguments": arguments}, self.stream)
        self.stream.write("\n")
        self.stream.flush()
        while True:
            line = self.stream.readline()
            if not line:
                raise AssertionError("run is gone: " + self.said())
            reply = json.loads(line)
            if "error" in reply:
                raise AssertionError("%s: %s" % (command, reply["error"]["desc"]))
            if "return" in reply:
                return reply["return"]

    def keys(self, *names):
        self.ask("send-key", keys=[{"type": "qcode", "data": n} for n in names], **{"hold-time": 20})

    def type(self, text):
        for letter in text:
            if letter in NAMES:
                self.keys(*NAMES[letter])
            elif letter.isupper():
                self.keys("shift", letter.lower())
            else:
                self.keys(letter)
            time.sleep(0.05)

    def enter(self, line):
        """Types it at a prompt that shows what is typed: the BIOS keeps 16 keys."""
        for at in range(0, len(line), 8):
            self.type(line[at:at + 8])
            self.see(re.escape(line[:at + 8].rstrip()), 60)  # no blanks at a line's end
        self.keys("ret")

    def screen(self):
        """Its words; empty where it shows a picture."""
        try:
            self.ask("screendump", filename="screen.txt", format="txt")
        except AssertionError as e:
            if "shows no text" in str(e):
                return ""
            raise
        with open("screen.txt") as f:
            return f.read()

    def picture(self, name):
        """A PNG into the test's outputs, and the same as (width, height, RGB)."""
        outputs = os.environ.get("TEST_UNDECLARED_OUTPUTS_DIR", ".")
        self.ask("screendump", filename="picture.png", format="png")
        with open("picture.png", "rb") as f, open(os.path.join(outputs, name + ".png"), "wb") as t:
            t.write(f.read())
        self.ask("screendump", filename="picture.ppm", format="ppm")
        with open("picture.ppm", "rb") as f:
            _, size, _, pixels = f.read().split(b"\n", 3)
        width, height = map(int, size.split())
        return width, height, pixels

    def serial(self):
        with open("serial", "rb") as f:
            return f.read().decode(errors="replace")

    def processor_seconds(self):
        # The clock that clock_getcpuclockid(3) names.
        try:
            return time.clock_gettime(~self.process.pid << 3 | 2)
        except OSError:  # it has ended
            return 0

    def wait(self, condition, seconds, what):
        """Until the condition holds. A guest that got little of the processor has up to
        four times as long."""
        begin, had = time.monotonic(), self.processor_seconds()
        while True:
            value = condition()
            if value:
                return value
            if self.process.poll() is not None:
                raise AssertionError("ended before %s: %s" % (what, self.said()))
            waited, used = time.monotonic() - begin, self.processor_seconds() - had
            if waited > seconds * SLOWNESS * (4 if used < seconds / 8 else 1):
                try:
                    self.picture("late")
                except AssertionError:
                    pass
                serial = self.serial()[-2000:] if os.path.exists("serial") else ""
                raise AssertionError("no %s in %d s, %d of the processor; screen:\n%s\nserial:\n%s\n%s" %
                                     (what, waited, used, self.screen(), serial, self.said()))
            time.sleep(0.5)

    def see(self, pattern, seconds=120):
        """Waits until the text screen has it."""
        return self.wait(lambda: re.search(pattern, self.screen()), seconds, "%r" % pattern)

    def hear(self, pattern, seconds=120):
        """Waits until the serial port has said it."""
        return self.wait(lambda: re.search(pattern, self.serial()), seconds, "%r" % pattern)

    def quit(self):
        self.ask("quit")
        status = self.process.wait(60 * SLOWNESS)
        self.socket.close()
        self.errors.close()
        assert status == 0, (status, self.said())

    def kill(self):
        self.process.kill()
        self.process.wait()
