# SPDX-License-Identifier: Apache-2.0
"""The unmodified guests of the tests, as files that they depend on.

  @guests//:vmlinuz  @guests//:busybox  @guests//:seabios  @guests//:modules
  @guest_media//:grub-rescue-cdrom.iso and others: CDs, floppies

tools/guests and tools/guest-media find or fetch them; without them the tests that need them do not
build.
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
        "memtest86+x64.iso",
        "vmlinuz",
    ]
    for name in names:
        rctx.symlink(dir.get_child(name), name)
    rctx.file("BUILD", "exports_files(%r, visibility = [\"//visibility:public\"])\n" % names, executable = False)

guest_media = repository_rule(
    implementation = _guest_media_impl,
    environ = ["ATOLL_CACHE", "HOME", "XDG_CACHE_HOME"],
    local = True,
)
