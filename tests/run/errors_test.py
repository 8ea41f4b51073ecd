#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What run says to wrong options and bad files, as its user sees it.

usage: errors_test.py RUN IMG VMLINUZ
"""

import hashlib
import os
import subprocess
import sys
import tempfile
import unittest

RUN, IMG, VMLINUZ = (os.path.abspath(p) for p in sys.argv[1:4])
# How many times slower than an optimised build the programs are; see .bazelrc.
SLOWNESS = int(os.environ.get("ATOLL_TEST_SLOWNESS", "1"))


class Errors(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.TemporaryDirectory()
        os.chdir(self.dir.name)

    def tearDown(self):
        os.chdir("/")
        self.dir.cleanup()

    def run_tool(self, *args):
        return subprocess.run([RUN, *args], stdin=subprocess.DEVNULL, capture_output=True,
                              text=True, errors="replace", timeout=60 * SLOWNESS)

    def expect(self, status, words, *args):
        """Ends with `status`, says all `words` on one line of stderr, changes no file."""
        before = self.files()
        result = self.run_tool(*args)
        said = "%r said: %s%s" % (args, result.stdout, result.stderr)
        self.assertEqual(result.returncode, status, said)
        self.assertTrue(any(all(w in line for w in words) for line in result.stderr.splitlines()),
                        "no line has %s\n%s" % (words, said))
        self.assertEqual(before, self.files(), "files were changed by %r" % (args,))

    def files(self):
        out = {}
        for name in sorted(os.listdir(".")):
            with open(name, "rb") as f:
                out[name] = hashlib.sha256(f.read()).hexdigest()
        return out

    def image(self, name="disk.qcow2", fmt="qcow2"):
        subprocess.run([IMG, "create", "-q", "-f", fmt, name, "16M"], check=True,
                       stdout=subprocess.DEVNULL)
        return name

    def patch(self, name, offset, data):
        with open(name, "r+b") as f:
            f.seek(offset)
            f.write(data)

    # Options.

    def test_unknown_option_gets_a_suggestion(self):
        self.expect(2, ["run:", "-hdaa", "-hda"], "-hdaa", "x")

    def test_unknown_device_gets_a_list(self):
        self.expect(2, ["isa-debug-exitt", "did you mean", "isa-debug-exit"],
                    "-device", "isa-debug-exitt")

    def test_unknown_device_property(self):
        self.expect(2, ["isa-debug-exit", "iobas", "iobase"], "-device", "isa-debug-exit,iobas=1")

    def test_unknown_drive_key(self):
        self.expect(2, ["-drive", "fil", "file"], "-drive", "fil=x")

    def test_unknown_drive_format(self):
        self.expect(2, ["-drive", "qcow3", "qcow2"], "-drive", "file=x,format=qcow3")

    def test_processor_models(self):
        self.expect(2, ["-cpu", "qemu64", "base"], "-cpu", "qemu64")
        self.expect(2, ["-cpu", "-accel soft"], "-cpu", "base")
        self.expect(2, ["-cpu", "-accel soft"], "-accel", "kvm", "-cpu", "base")

    def test_unknown_accelerator(self):
        self.expect(2, ["-accel", "tcg", "soft"], "-accel", "tcg")

    def test_no_memory(self):
        self.expect(2, ["-m", "0", "1 MiB", "1 TiB"], "-m", "0")

    def test_memory_that_is_no_size(self):
        self.expect(2, ["-m", "lots"], "-m", "lots")

    def test_no_cpus(self):
        self.expect(2, ["-smp", "0", "1", "64"], "-smp", "0")

    def test_too_many_cpus(self):
        self.expect(2, ["-smp", "65", "64"], "-smp", "65")

    def test_more_memory_than_the_host_has(self):
        self.expect(1, ["1048576M", "the host has"], "-accel", "soft", "-m", "1T", "-kernel", VMLINUZ)

    def test_initrd_without_kernel(self):
        self.expect(2, ["-initrd", "-kernel"], "-initrd", "x")

    def test_two_disks_in_one_place(self):
        self.expect(2, ["IDE place 0", "a.img", "b.img"], "-hda", "a.img",
                    "-drive", "file=b.img,index=0")

    def test_stdio_twice(self):
        self.expect(2, ["stdio", "-serial"], "-serial", "stdio", "-serial", "stdio")

    def test_unknown_character_device(self):
        self.expect(2, ["-serial", "stdout", "stdio"], "-serial", "stdout")

    # Backends.

    def test_missing_kvm_node(self):
        self.expect(1, ["kvm", "/nonexistent/kvm"], "-accel", "kvm,device=/nonexistent/kvm",
                    "-kernel", VMLINUZ)

    def test_kvm_node_without_permission(self):
        with open("node", "w"):
            pass
        os.chmod("node", 0)
        if os.geteuid() == 0:
            # Root opens anything, so somebody else tries.
            os.chmod(".", 0o755)
            node = os.path.abspath("node")
            result = subprocess.run(
                ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", RUN, "-accel",
                 "kvm,device=" + node, "--check"],
                capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60 * SLOWNESS)
            if "setpriv: " in result.stderr:
                # In a sandbox that maps one user only, root without its privileges.
                result = subprocess.run(
                    ["setpriv", "--bounding-set=-all", "--inh-caps=-all", RUN, "-accel",
                     "kvm,device=" + node, "--check"],
                    capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60 * SLOWNESS)
        else:
            result = self.run_tool("-accel", "kvm,device=node", "--check")
        self.assertEqual(result.returncode, 1, result.stderr)
        self.assertIn("node", result.stdout)
        self.assertIn("ermission", result.stdout)

    # Files.

    def test_missing_kernel(self):
        self.expect(1, ["nokernel", "No such file"], "-accel", "soft", "-kernel", "nokernel")

    def test_kernel_that_is_none(self):
        with open("text", "w") as f:
            f.write("no kernel\n" * 1000)
        self.expect(1, ["text", "bzImage", "ELF"], "-accel", "soft", "-kernel", "text")

    def test_truncated_kernel(self):
        with open(VMLINUZ, "rb") as f, open("short", "wb") as out:
            out.write(f.read(100000))
        self.expect(1, ["short"], "-accel", "soft", "-kernel", "short")

    def test_initrd_larger_than_memory(self):
        with open("big", "wb") as f:
            f.truncate(200 << 20)
        self.expect(1, ["big", "initrd"], "-accel", "soft", "-m", "128", "-kernel", VMLINUZ,
                    "-initrd", "big")

    def test_missing_disk(self):
        self.expect(1, ["nodisk", "No such file"], "-accel", "soft", "-kernel", VMLINUZ, "-hda", "nodisk")

    def test_disk_with_bad_l1(self):
        name = self.image()
        self.patch(name, 40, (1 << 60).to_bytes(8, "big"))  # l1_table_offset
        self.expect(1, [name, "L1 table"], "-accel", "soft", "-kernel", VMLINUZ, "-hda", name)

    def test_disk_with_bad_refcount_table(self):
        name = self.image()
        self.patch(name, 48, (1 << 60).to_bytes(8, "big"))  # refcount_table_offset
        self.expect(1, [name, "efcount table"], "-accel", "soft", "-kernel", VMLINUZ, "-hda", name)

    def test_backing_loop(self):
        subprocess.run([IMG, "create", "-q", "-f", "qcow2", "-u", "-b", "b.qcow2", "-F", "qcow2",
                        "a.qcow2", "16M"], check=True, stdout=subprocess.DEVNULL)
        subprocess.run([IMG, "create", "-q", "-f", "qcow2", "-u", "-b", "a.qcow2", "-F", "qcow2",
                        "b.qcow2", "16M"], check=True, stdout=subprocess.DEVNULL)
        self.expect(1, ["a.qcow2", "b.qcow2", "loop"], "-accel", "soft", "-kernel", VMLINUZ,
                    "-hda", "a.qcow2")

    # What starts nothing.

    def test_check_names_every_backend(self):
        result = self.run_tool("--check")
        self.assertIn("backend kvm", result.stdout)
        self.assertRegex(result.stdout, r"ok +backend soft")
        self.assertEqual(result.returncode, 0, result.stderr)

    def test_check_looks_at_files(self):
        result = self.run_tool("--check", "--json", "-kernel", VMLINUZ, "-hda", "nodisk")
        self.assertEqual(result.returncode, 1)
        import json
        verdict = json.loads(result.stdout)
        self.assertFalse(verdict["usable"])
        self.assertEqual([f["usable"] for f in verdict["files"]], [True, False])

    def test_completion_completes_run(self):
        script = self.run_tool("--completion", "bash").stdout
        # As an interactive bash would ask for the words behind "run -hd".
        ask = script + """
            COMP_WORDS=(run -hd) COMP_CWORD=1 COMP_LINE="run -hd" COMP_POINT=7
            read -r _ function _ < <(complete -p run | sed 's/.*-F //; s/^/x /')
            "$function" run -hd run
            printf '%s\\n' "${COMPREPLY[@]}"
        """
        result = subprocess.run(["bash", "-c", ask], capture_output=True, text=True, timeout=60)
        self.assertEqual({w.strip() for w in result.stdout.split()},
                         {"-hda", "-hdb", "-hdc", "-hdd"}, result.stderr)

    def test_dry_run_opens_nothing(self):
        result = self.run_tool("--dry-run", "--json", "-m", "512", "-hda", "nodisk")
        self.assertEqual(result.returncode, 0, result.stderr)
        import json
        self.assertEqual(json.loads(result.stdout)["memory"], 512 << 20)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)
