# SPDX-License-Identifier: Apache-2.0
"""What the benchmarks share: the two machines, a guest's console with times, a
process' processor time and memory, and tables.

Each measurement is of wall time and of processor time. On a busy machine only the
latter can be compared.
"""

import os
import select
import statistics
import subprocess
import tempfile
import time

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
RUN = TOP + "/bazel-bin/cmd/run/run"
IMG = TOP + "/bazel-bin/cmd/img/img"

# Without what only one of the two has.
MACHINES = {
    "run": [RUN, "-accel", "soft", "-vga", "none", "-display", "none"],
    "qemu": ["qemu-system-x86_64", "-accel", "tcg", "-cpu", "max", "-nic", "none", "-vga", "none",
             "-display", "none", "-monitor", "none"],
}

# Beside -debugcon: a port that SeaBIOS does not write to, 0xe9.
DEBUG_CONSOLE = {"run": ["-device", "isa-debugcon,iobase=0xe9"],
                 "qemu": ["-global", "isa-debugcon.iobase=0xe9"]}


def guests():
    """The folder with Debian's kernel, busybox and SeaBIOS; $ATOLL_GUESTS where no network is
    to be asked for newer ones."""
    return os.environ.get("ATOLL_GUESTS") or subprocess.check_output([TOP + "/tools/guests"], text=True).strip()


def processor_seconds(pid):
    """Of the process so far, with threads that have ended."""
    # The clock that clock_getcpuclockid(3) names.
    return time.clock_gettime(~pid << 3 | 2)


def memory(pid, ram_mib):
    """(all, guest RAM) of what is resident, in MiB. The RAM is the mapping of its size."""
    total = ram = size = 0
    with open("/proc/%d/smaps" % pid) as f:
        for line in f:
            word, _, rest = line.partition(":")
            if word == "Size":
                size = int(rest.split()[0]) / 1024
            elif word == "Pss":
                rss = int(rest.split()[0]) / 1024
                total += rss
                if ram_mib <= size < ram_mib + 4:
                    ram += rss
    return total, ram


class Console:
    """A machine whose console is its standard output. Times count from exec."""

    def __init__(self, command, timeout=600):
        self.begin = time.monotonic()
        self.deadline = self.begin + timeout
        self.text = b""
        self.first = None  # seconds to the first byte
        # Standard input stays open: a shell there waits.
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE)
        os.set_blocking(self.process.stderr.fileno(), False)

    def _read(self):
        """Whether more has come, until the console's end."""
        left = self.deadline - time.monotonic()
        ready = left > 0 and select.select([self.process.stdout], [], [], left)[0]
        if not ready:
            self.kill()
            raise TimeoutError("no end in time; the console's last: %r" % self.text[-500:])
        data = os.read(self.process.stdout.fileno(), 65536)
        if data and self.first is None:
            self.first = time.monotonic() - self.begin
        self.text += data
        return bool(data)

    def wait_for(self, mark):
        """(wall, processor) seconds from exec to that text on the console."""
        while mark not in self.text:
            if not self._read():
                said = self.process.stderr.read() or b""
                raise RuntimeError("ended without %r: %r %r" % (mark, self.text[-500:], said))
        return time.monotonic() - self.begin, processor_seconds(self.process.pid)

    def finish(self):
        """(wall, processor) seconds of the whole process."""
        while self._read():
            pass
        _, _, usage = os.wait4(self.process.pid, 0)
        self.process.returncode = 0
        return time.monotonic() - self.begin, usage.ru_utime + usage.ru_stime

    def kill(self):
        self.process.kill()
        self.process.wait()


def initrd(path, init):
    """An initrd with busybox whose /init is that shell script."""
    with tempfile.TemporaryDirectory() as tree:
        for name in ("bin", "dev", "proc", "sys"):
            os.mkdir(tree + "/" + name)
        subprocess.run(["cp", "-L", guests() + "/busybox", tree + "/bin/busybox"], check=True)
        with open(tree + "/init", "w") as f:
            f.write("#!/bin/busybox sh\n" + init)
        os.chmod(tree + "/init", 0o755)
        with open(path, "wb") as f:
            subprocess.run("find . | cpio -o -H newc --quiet", shell=True, cwd=tree, stdout=f,
                           check=True)


def interleaved(runs, measure):
    """{machine: [what `measure` gave for its command, ...]}: turn by turn, so that
    all see the same neighbours."""
    out = {name: [] for name in MACHINES}
    for _ in range(runs):
        for name, command in MACHINES.items():
            out[name].append(measure(name, command))
    return out


def medians(samples):
    return [statistics.median(column) for column in zip(*samples)]


def table(head, rows):
    """Prints markdown."""
    print("| " + " | ".join(head) + " |")
    print("|" + "---|" * len(head))
    for row in rows:
        print("| " + " | ".join(row) + " |")


def compare(what, samples, unit=1, form="%.2f"):
    """Rows of a table: medians of (wall, processor) for both, and run's ratio."""
    run, qemu = medians(samples["run"]), medians(samples["qemu"])
    rows = []
    for name, r, q in zip(("wall", "processor"), run, qemu):
        rows.append([what + ", " + name, form % (r * unit), form % (q * unit),
                     "%.2f" % (r / q) if q else "-"])
    return rows
