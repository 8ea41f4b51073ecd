# SPDX-License-Identifier: Apache-2.0
"""The unmodified guests of the tests, as files that they depend on.

  @guests//:vmlinuz  @guests//:busybox  @guests//:seabios  @guests//:modules
  @guest_nics//:vmlinuz  @guest_nics//:modules  a full kernel, drivers of network cards
  @guest_media//:grub-rescue-cdrom.iso and others: CDs, floppies
  @guest_installers//:amd64-text/linux, .../initrd.gz, and amd64-gtk, i386-text: Debian's installer
  @guest_debian//:root.ext4  :vmlinuz  :initrd.img: a Debian system

tools/guests, tools/guest-media and so on find, fetch or make them; without them the tests that need
them do not build. The last two are for manual tests only, which no pattern builds.
"""

def _guests_impl(rctx):
    r = rctx.execute([rctx.path(Label("//tools:guests"))], timeout = 600)
    if r.return_code != 0:
        fail(r.stderr)
    dir = rctx.path(r.stdout.strip())
    for name in ["vmlinuz", "busybox", "seabios", "modules"]:
        rctx.symlink(dir.get_child(name), name)
    rctx.file("BUILD", """
package(default_visibility = ["//visibility:public"])

exports_files([
    "busybox",
    "seabios/bios-256k.bin",
    "vmlinuz",
])

filegroup(
    name = "seabios",
    srcs = glob(["seabios/*.bin"]),
)

filegroup(
    name = "modules",
    srcs = glob(["modules/**"]),
)
""", executable = False)

guests = repository_rule(
    implementation = _guests_impl,
    environ = ["ATOLL_CACHE", "HOME", "XDG_CACHE_HOME"],
    local = True,
)

def _guest_media_impl(rctx):
    r = rctx.execute([rctx.path(Label("//tools:guest-media"))], timeout = 600)
    if r.return_code != 0:
        fail(r.stderr)
    dir = rctx.path(r.stdout.strip())
    names = [
        "floppy.ko",
        "grub-rescue-cdrom.iso",
        "grub-rescue-floppy.img",
        "isolinux.bin",
        "ldlinux.c32",
        "libutil.c32",
        "memtest86+x64.iso",
        "menu.c32",
        "vmlinuz",
        "xen",
    ]
    for name in names:
        rctx.symlink(dir.get_child(name), name)
    rctx.file("BUILD", "exports_files(%r, visibility = [\"//visibility:public\"])\n" % names, executable = False)

guest_media = repository_rule(
    implementation = _guest_media_impl,
    environ = ["ATOLL_CACHE", "HOME", "XDG_CACHE_HOME"],
    local = True,
)

def _guest_installers_impl(rctx):
    r = rctx.execute([rctx.path(Label("//tools:guest-installers"))], timeout = 1200)
    if r.return_code != 0:
        fail(r.stderr)
    dir = rctx.path(r.stdout.strip())
    names = []
    for which in ["amd64-gtk", "amd64-text", "i386-text"]:
        for name in ["initrd.gz", "linux"]:
            names.append(which + "/" + name)
            rctx.symlink(dir.get_child(which).get_child(name), which + "/" + name)
    rctx.file("BUILD", "exports_files(%r, visibility = [\"//visibility:public\"])\n" % names, executable = False)

guest_installers = repository_rule(
    implementation = _guest_installers_impl,
    environ = ["ATOLL_CACHE", "HOME", "XDG_CACHE_HOME"],
    local = True,
)

def _guest_debian_impl(rctx):
    r = rctx.execute([rctx.path(Label("//tools:guest-debian"))], timeout = 3600)
    if r.return_code != 0:
        fail(r.stderr)
    dir = rctx.path(r.stdout.strip())
    names = ["initrd.img", "root.ext4", "vmlinuz"]
    for name in names:
        rctx.symlink(dir.get_child(name), name)
    rctx.file("BUILD", "exports_files(%r, visibility = [\"//visibility:public\"])\n" % names, executable = False)

guest_debian = repository_rule(
    implementation = _guest_debian_impl,
    environ = ["ATOLL_CACHE", "HOME", "XDG_CACHE_HOME"],
    local = True,
)

def _guest_nics_impl(rctx):
    r = rctx.execute([rctx.path(Label("//tools:guest-nics"))], timeout = 600)
    if r.return_code != 0:
        fail(r.stderr)
    dir = rctx.path(r.stdout.strip())
    for name in ["vmlinuz", "modules"]:
        rctx.symlink(dir.get_child(name), name)
    rctx.file("BUILD", """
package(default_visibility = ["//visibility:public"])

exports_files(["vmlinuz"])

filegroup(
    name = "modules",
    srcs = glob(["modules/**"]),
)
""", executable = False)

guest_nics = repository_rule(
    implementation = _guest_nics_impl,
    environ = ["ATOLL_CACHE", "HOME", "XDG_CACHE_HOME"],
    local = True,
)
