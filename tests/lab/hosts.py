# SPDX-License-Identifier: Apache-2.0
"""What lab-svm and lab-vmx share: Debian's kernel unpacked from its package, the
first file system of a host, the cache of what is prepared once.

The cache is $ATOLL_CACHE/lab; ATOLL_CACHE is ~/.cache/atoll by default.
"""

import contextlib
import fcntl
import glob
import hashlib
import lzma
import os
import pwd
import re
import shlex
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.realpath(__file__))
FAILED = 125  # exit status: the lab failed, not the command
TIMEOUT = 124

# Of the kernel's package: KVM, what it and guests' networks and files need.
WANTED = ["./boot/vmlinuz-*", "*/modules.order", "*/modules.builtin*", "*/kernel/arch/x86/*",
          "*/kernel/virt/*", "*/kernel/lib/*", "*/kernel/crypto/*", "*/kernel/drivers/crypto/ccp/*",
          "*/kernel/drivers/ata/*", "*/kernel/drivers/scsi/*.ko*", "*/kernel/drivers/cdrom/*",
          "*/kernel/drivers/block/*", "*/kernel/drivers/char/*", "*/kernel/drivers/md/*",
          "*/kernel/drivers/virtio/*", "*/kernel/drivers/vhost/*", "*/kernel/drivers/net/*.ko*",
          "*/kernel/net/*", "*/kernel/fs/*"]


class LabError(Exception):
    pass


def cache():
    home = os.environ.get("HOME") or pwd.getpwuid(os.getuid()).pw_dir
    if "TEST_TMPDIR" in os.environ:  # where a test's home may be made up
        home = pwd.getpwuid(os.getuid()).pw_dir
    base = os.environ.get("ATOLL_CACHE") or os.path.join(
        os.environ.get("XDG_CACHE_HOME") or os.path.join(home, ".cache"), "atoll")
    path = os.path.join(base, "lab")
    os.makedirs(path, exist_ok=True)
    return path


@contextlib.contextmanager
def locked(name):
    """One at a time prepares; the others wait and then find it there."""
    with open(os.path.join(cache(), name + ".lock"), "w") as f:
        fcntl.flock(f, fcntl.LOCK_EX)
        yield


def output(*command, **kwargs):
    p = subprocess.run(command, capture_output=True, **kwargs)
    if p.returncode:
        raise LabError("%s: %s" % (" ".join(command), p.stderr.decode(errors="replace").strip()))
    return p.stdout.decode()


def say(text):
    print("lab: " + text, file=sys.stderr, flush=True)


def _fetch(folder):
    """Debian's kernel and busybox into a new folder."""
    depends = output("apt-cache", "depends", "linux-image-amd64")
    package = re.search(r"Depends: (linux-image-[0-9]\S*)", depends)
    if not package:
        raise LabError("apt does not know linux-image-amd64: run apt-get update")
    say("fetching %s and busybox-static into %s" % (package[1], folder))
    # apt's own user, whom root's downloads run as, may not write here.
    options = ["-o", "APT::Sandbox::User=root"] if os.geteuid() == 0 else []
    new = tempfile.mkdtemp(prefix="kernel.", dir=cache())
    try:
        output("apt-get", "download", "-q", *options, package[1], "busybox-static", cwd=new)
        for deb, wanted in (("linux-image-*.deb", WANTED), ("busybox-*.deb", ["*/busybox"])):
            path, = glob.glob(os.path.join(new, deb))
            output("sh", "-c", 'dpkg --fsys-tarfile "$0" | tar -x --wildcards "$@"', path, *wanted,
                   cwd=new)
            os.remove(path)
        output("depmod", "-b", new, os.path.basename(glob.glob(new + "/lib/modules/*")[0]))
        shutil.move(os.path.join(new, "bin/busybox"), os.path.join(new, "busybox"))
        os.chmod(new, 0o755)
        os.rename(new, folder)
    finally:
        shutil.rmtree(new, ignore_errors=True)


class Kernel:
    """A folder with boot/vmlinuz-VERSION and lib/modules/VERSION: Debian's, or one's own."""

    def __init__(self, folder=None):
        debian = os.path.join(cache(), "kernel")
        with locked("kernel"):
            if not os.path.exists(debian):
                _fetch(debian)
        self.busybox = os.path.join(debian, "busybox")
        self.root = os.path.abspath(folder) if folder else debian
        images = glob.glob(os.path.join(self.root, "boot/vmlinuz-*"))
        if len(images) != 1:
            raise LabError("%s: %d files boot/vmlinuz-*, not one" % (self.root, len(images)))
        self.image = images[0]
        self.version = os.path.basename(self.image)[len("vmlinuz-"):]
        self.modules = os.path.join(self.root, "lib/modules", self.version)
        if not os.path.isdir(self.modules):
            raise LabError("%s: no such folder" % self.modules)
        if not os.path.exists(os.path.join(self.modules, "modules.dep")):
            output("depmod", "-b", self.root, self.version)

    def files(self, *names):
        """The modules' files and those of what they need, in the order to load them."""
        out = []
        for name in names:
            # Its own configuration would add what the caller's host has installed.
            text = output("modprobe", "-C", "/dev/null", "-d", self.root, "-S", self.version,
                          "--show-depends", name)
            for line in text.splitlines():
                if line.startswith("insmod ") and line.split()[1] not in out:
                    out.append(line.split()[1])
        return out


def plain_module(path):
    with open(path, "rb") as f:
        data = f.read()
    return lzma.decompress(data) if path.endswith(".xz") else data


def make_initrd(kernel, init, folders, loaded, carried, into):
    """An initial ram disk of busybox, `init`, the modules that it loads (their order in
    /modules/order) and those that it only carries (/modules/NAME.order of each)."""
    with tempfile.TemporaryDirectory(dir=cache()) as root:
        for f in ["bin", "dev", "proc", "sys", "modules", *folders]:
            os.makedirs(os.path.join(root, f))
        shutil.copy(kernel.busybox, root + "/bin/busybox")
        shutil.copy(os.path.join(HERE, init), root + "/init")
        os.chmod(root + "/init", 0o755)
        lists = {"order": kernel.files(*loaded)}
        lists.update({name + ".order": kernel.files(name) for name in carried})
        for name, paths in lists.items():
            names = []
            for path in paths:
                names.append(re.sub(r"\.xz$", "", os.path.basename(path)))
                with open("%s/modules/%s" % (root, names[-1]), "wb") as f:
                    f.write(plain_module(path))
            with open("%s/modules/%s" % (root, name), "w") as f:
                f.write("".join(n + "\n" for n in names))
        output("sh", "-c", 'cd "$0" && find . | cpio -o -H newc --quiet -R 0:0 | gzip -1 >"$1"',
               root, into)


def key(*parts):
    """Of what a prepared thing depends on: text, and files by their content."""
    h = hashlib.sha256()
    for p in parts:
        if isinstance(p, bytes):
            h.update(p)
        elif isinstance(p, str) and p.startswith("/") and os.path.isfile(p):
            with open(p, "rb") as f:
                h.update(hashlib.file_digest(f, "sha256").digest()
                         if hasattr(hashlib, "file_digest") else hashlib.sha256(f.read()).digest())
        else:
            h.update(repr(p).encode())
        h.update(b"\0")
    return h.hexdigest()[:16]


def words(arguments):
    return " ".join(shlex.quote(a) for a in arguments)
