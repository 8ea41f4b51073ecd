# SPDX-License-Identifier: Apache-2.0
"""The unmodified guests of the tests, as files that they depend on.

  @guests//:vmlinuz  @guests//:busybox  @guests//:seabios  @guests//:modules
  @guest_nics//:vmlinuz  @guest_nics//:modules  a full kernel, drivers of network cards
  @guest_media//:grub-rescue-cdrom.iso and others: CDs, floppies
  @guest_installers//:amd64-text/linux, .../initrd.gz, and amd64-gtk, i386-text: Debian's installer
  @guest_debian//:root.ext4  :vmlinuz  :initrd.img: a Debian system
  @monitor_clients//:python: not guests, but who speaks to their monitors

tools/guests, tools/guest-media and so on find, fetch or make them; without them the tests that need
them do not build. The last three are for manual tests only, which no pattern builds.
"""

# Where tools/guest* keep what they made.
_CACHE_ENVIRON = ["ATOLL_CACHE", "HOME", "XDG_CACHE_HOME"]

def _run_tool(rctx, tool, timeout = 600):
    """The folder that tools/`tool` finds or makes, in seconds at most `timeout`."""
    r = rctx.execute([rctx.path(Label("//tools:" + tool))], timeout = timeout)
    if r.return_code != 0:
        fail(r.stderr)
    return rctx.path(r.stdout.strip())

def _export(rctx, dir, names):
    """Makes the files `names` of `dir` targets."""
    for name in names:
        path = dir
        for part in name.split("/"):
            path = path.get_child(part)
        rctx.symlink(path, name)
    rctx.file("BUILD", "exports_files(%r, visibility = [\"//visibility:public\"])\n" % names, executable = False)

def _guests_impl(rctx):
    dir = _run_tool(rctx, "guests")
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
    environ = _CACHE_ENVIRON,
    local = True,
)

def _guest_nics_impl(rctx):
    dir = _run_tool(rctx, "guest-nics")
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

def _monitor_clients_impl(rctx):
    rctx.symlink(_run_tool(rctx, "monitor-clients").get_child("python"), "python")
    rctx.file("BUILD", """
package(default_visibility = ["//visibility:public"])

exports_files(["python/ganeti/hypervisor/hv_kvm/monitor.py"])

filegroup(
    name = "python",
    srcs = glob(["python/**"]),
)
""", executable = False)

monitor_clients = repository_rule(
    implementation = _monitor_clients_impl,
    environ = _CACHE_ENVIRON,
    local = True,
)

guest_nics = repository_rule(
    implementation = _guest_nics_impl,
    environ = _CACHE_ENVIRON,
    local = True,
)

def _guest_media_impl(rctx):
    _export(rctx, _run_tool(rctx, "guest-media"), [
        "evdev.ko",
        "floppy.ko",
        "grub-rescue-cdrom.iso",
        "grub-rescue-floppy.img",
        "ipxe.iso",
        "isolinux.bin",
        "ldlinux.c32",
        "libutil.c32",
        "memtest86+x64.iso",
        "menu.c32",
        "psmouse.ko",
        "vmlinuz",
        "xen",
    ])

guest_media = repository_rule(
    implementation = _guest_media_impl,
    environ = _CACHE_ENVIRON,
    local = True,
)

def _guest_installers_impl(rctx):
    _export(rctx, _run_tool(rctx, "guest-installers", timeout = 1200), [
        which + "/" + name
        for which in ["amd64-gtk", "amd64-text", "i386-text"]
        for name in ["initrd.gz", "linux"]
    ])

guest_installers = repository_rule(
    implementation = _guest_installers_impl,
    environ = _CACHE_ENVIRON,
    local = True,
)

def _guest_debian_impl(rctx):
    _export(rctx, _run_tool(rctx, "guest-debian", timeout = 3600), ["initrd.img", "root.ext4", "vmlinuz"])

guest_debian = repository_rule(
    implementation = _guest_debian_impl,
    environ = _CACHE_ENVIRON,
    local = True,
)
