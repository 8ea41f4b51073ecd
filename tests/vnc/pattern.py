# SPDX-License-Identifier: Apache-2.0
"""The server of lib/rfb over pictures that a test draws."""

import queue
import subprocess
import threading


class PatternServer:
    def __init__(self, program, width, height, *options):
        self.process = subprocess.Popen([program, str(width), str(height), *options],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, text=True)
        _, port, web_port = self.process.stdout.readline().split()
        self.port, self.web_port = int(port), int(web_port)
        self.said = []
        self.log = []
        # A pipe that nobody reads would stop the server.
        threading.Thread(target=lambda: self.log.extend(self.process.stderr), daemon=True).start()
        self.lines = queue.Queue()
        threading.Thread(target=self.listen, daemon=True).start()

    def listen(self):
        for line in self.process.stdout:
            self.lines.put(line)
        self.lines.put(None)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()

    def do(self, command):
        """Gives a command; what viewers did up to its answer is kept."""
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        while (line := self.lines.get()) is not None:
            if line == "ok\n":
                return
            self.said.append(line.strip())
        raise RuntimeError("the server has ended:\n" + "".join(self.log))

    @property
    def display(self):
        """As viewers want it: the port counted from 5900."""
        return f"localhost:{self.port - 5900}"


def distance(program, a, b):
    """The mean square error of two pictures."""
    return float(subprocess.run([program, a, b], capture_output=True, text=True,
                                check=True).stdout)
