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

# Commands for a host that sees this one's files; of $run, $vmlinuz and make_initrd's file.
boot() { # CPUS
  echo "$run -accel kvm,device=/dev/atoll -m 128 -smp $1 -nographic -kernel $vmlinuz" \
    "-initrd $TEST_TMPDIR/initrd.gz -append 'console=ttyS0 quiet' -no-reboot </dev/null" \
    ">$TEST_TMPDIR/boot 2>&1; grep 'USERLAND $1' $TEST_TMPDIR/boot || { cat $TEST_TMPDIR/boot; false; }"
}

# kill -9 as the guest's kernel starts; then another guest.
killed() {
  echo "for i in 1 2 3; do" \
    "$run -accel kvm,device=/dev/atoll -m 128 -smp ${1:-2} -nographic -kernel $vmlinuz" \
    "-append console=ttyS0 </dev/null >$TEST_TMPDIR/killed 2>&1 & p=\$!;" \
    "until grep -q 'Linux version' $TEST_TMPDIR/killed || [ ! -e /proc/\$p ]; do sleep 0.1; done;" \
    "kill -9 \$p && ! wait \$p || exit 1; done; $(boot 1)"
}
