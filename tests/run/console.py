# SPDX-License-Identifier: Apache-2.0
"""A guest's console as its user has it: run on a pseudo-terminal."""

import os
import pty
import select
import signal
import time

PROMPT = "guest# "
# Of lab tests also kvm.
ACCEL = os.environ.get("ATOLL_ACCEL", "soft")
# How many times slower than an optimised build the programs are; see .bazelrc.
SLOWNESS = int(os.environ.get("ATOLL_TEST_SLOWNESS", "1"))


class Console:
    """run on a pseudo-terminal."""

    def __init__(self, run, args):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.execv(run, [run] + args)
        self.text = ""
        self.seen = 0  # what expect() has consumed
        self.status = None

    def pump(self, seconds):
        """Reads what comes within that time; False when the other end is gone."""
        ready, _, _ = select.select([self.fd], [], [], seconds)
        if not ready:
            return True
        try:
            data = os.read(self.fd, 65536)
        except OSError:
            return False
        self.text += data.decode(errors="replace")
        return bool(data)

    def expect(self, words, seconds=300):
        deadline = time.monotonic() + seconds * SLOWNESS
        while True:
            at = self.text.find(words, self.seen)
            if at >= 0:
                out = self.text[self.seen:at]
                self.seen = at + len(words)
                return out
            if time.monotonic() > deadline:
                raise AssertionError("no %r in %d s:\n%s" %
                                     (words, seconds * SLOWNESS, self.text[-3000:]))
            if not self.pump(1):
                raise AssertionError("ended before %r:\n%s" % (words, self.text[-3000:]))

    def type(self, line):
        os.write(self.fd, line.encode() + b"\r")

    def command(self, line, seconds=120):
        self.type(line)
        self.expect("\n")
        return self.expect(PROMPT, seconds).replace("\r", "")

    def wait(self, seconds=120):
        deadline = time.monotonic() + seconds * SLOWNESS
        while self.pump(1):
            if time.monotonic() > deadline:
                self.kill()
                raise AssertionError("did not end:\n" + self.text[-3000:])
        _, status = os.waitpid(self.pid, 0)
        self.status = os.waitstatus_to_exitcode(status)
        return self.status

    def kill(self):
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
