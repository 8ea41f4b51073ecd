# SPDX-License-Identifier: Apache-2.0
"""A Linux with busybox and some modules, at a shell's prompt on the serial port."""

import os
import shutil
import subprocess

from console import ACCEL, PROMPT, Console

INIT = """#!/bin/sh
mount -t devtmpfs dev /dev
mount -t proc proc /proc
mount -t sysfs sys /sys
for m in %s; do insmod /lib/$m.ko $(cat /lib/$m.args 2>/dev/null); done
export PS1='guest# '
setsid cttyhack sh -i
poweroff -f
"""
APPLETS = ["sh", "mount", "insmod", "md5sum", "dd", "dmesg", "poweroff", "echo", "cat", "sync",
           "setsid", "cttyhack", "grep", "sleep", "blockdev", "true", "cmp", "ls"]
# Of the cloud kernel's tree.
CD_MODULES = ["drivers/scsi/scsi_common", "drivers/scsi/scsi_mod", "drivers/ata/libata",
              "drivers/ata/ata_piix", "drivers/cdrom/cdrom", "drivers/scsi/sr_mod",
              "fs/isofs/isofs"]
DISK_MODULES = CD_MODULES + ["drivers/scsi/sd_mod", "drivers/virtio/virtio_ring",
                             "drivers/virtio/virtio", "drivers/virtio/virtio_pci_modern_dev",
                             "drivers/virtio/virtio_pci_legacy_dev", "drivers/virtio/virtio_pci",
                             "drivers/block/virtio_blk"]


def boot(run, kernel, busybox, modules, args, programs=()):
    """In the working directory, which gets initrd and root/; what root/lib/NAME.args
    has are a module's arguments."""
    os.makedirs("root/bin", exist_ok=True)
    for name in ("dev", "proc", "sys", "lib"):
        os.makedirs("root/" + name, exist_ok=True)
    shutil.copy(busybox, "root/bin/busybox")
    for a in APPLETS:
        if not os.path.lexists("root/bin/" + a):
            os.symlink("busybox", "root/bin/" + a)
    for p in programs:
        shutil.copy(p, "root/bin/")
    for m in modules:
        shutil.copy(m, "root/lib/")
    with open("root/init", "w") as f:
        f.write(INIT % " ".join(os.path.basename(m)[:-3] for m in modules))
    os.chmod("root/init", 0o755)
    subprocess.run("cd root && find . | cpio -o -H newc --quiet -R 0:0 | gzip -1 > ../initrd",
                   shell=True, check=True)
    c = Console(run, ["-accel", ACCEL, "-m", "256", "-nographic", "-kernel", kernel, "-initrd",
                      "initrd", "-append", "console=ttyS0 quiet", *args])
    c.expect(PROMPT)
    return c
