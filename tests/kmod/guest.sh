#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# What the tests of the module on SVM and on VMX share: sourced. Sets `failed`.
failed=0
check() { # NAME COMMAND...
  echo "== $1"
  shift
  "$@" || {
    echo "FAILED ($?)"
    failed=1
  }
}

# An initrd that says USERLAND and the number of processors, and powers off.
make_initrd() { # BUSYBOX FILE
  local root=$TEST_TMPDIR/initrd
  mkdir -p "$root/"{bin,dev,proc}
  cp -L "$1" "$root/bin/busybox"
  cat >"$root/init" <<'INIT'
#!/bin/busybox sh
/bin/busybox mount -t proc proc /proc
echo "USERLAND $(/bin/busybox grep -c ^processor /proc/cpuinfo)"
/bin/busybox poweroff -f
INIT
  chmod +x "$root/init"
  (cd "$root" && find . | cpio -o -H newc --quiet | gzip -1) >"$2"
}
