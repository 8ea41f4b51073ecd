#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The module on an emulated host with SVM, and mainline's KVM there as the oracle:
# abi on both, kvm_test, then a kernel to user land under run. $ATOLL_LAB is tests/lab/lab-svm.
# usage: lab_test.sh MODULE KVM_TEST RUN VMLINUZ BUSYBOX ABI
set -euo pipefail
files=()
for f in "$@"; do files+=("$(readlink -f "$f")"); done
lab=${ATOLL_LAB:?is not set to the path of tests/lab/lab-svm} ko=${files[0]} kvm_test=${files[1]}
run=${files[2]} vmlinuz=${files[3]} busybox=${files[4]} abi=${files[5]}
failed=0
check() { # NAME COMMAND...
  echo "== $1"
  shift
  "$@" || {
    echo "FAILED ($?)"
    failed=1
  }
}

mkdir -p "$TEST_TMPDIR/initrd/"{bin,dev,proc}
cp -L "$busybox" "$TEST_TMPDIR/initrd/bin/busybox"
cat >"$TEST_TMPDIR/initrd/init" <<'INIT'
#!/bin/busybox sh
/bin/busybox mount -t proc proc /proc
echo "USERLAND $(/bin/busybox grep -c ^processor /proc/cpuinfo)"
/bin/busybox poweroff -f
INIT
chmod +x "$TEST_TMPDIR/initrd/init"
(cd "$TEST_TMPDIR/initrd" && find . | cpio -o -H newc --quiet | gzip -1) >"$TEST_TMPDIR/initrd.gz"
boot() { # CPUS
  echo "$run -accel kvm,device=/dev/atoll -m 128 -smp $1 -nographic -kernel $vmlinuz" \
    "-initrd $TEST_TMPDIR/initrd.gz -append 'console=ttyS0 quiet' -no-reboot </dev/null |" \
    "tee /dev/stderr | grep -q 'USERLAND $1'"
}

# The kernel's log without a complaint, and the module unloaded, are part of it.
quiet='! dmesg | grep -E "BUG:|WARNING:|Oops|lockup|stall" && rmmod atoll'
check "abi, mainline" "$lab" --timeout 600 -- "$abi" /dev/kvm
check "abi, atoll" "$lab" --module "$ko" --timeout 600 -- sh -c "$abi /dev/atoll && $quiet"
check "kvm_test, atoll" "$lab" --module "$ko" --timeout 600 -- sh -c "$kvm_test && $quiet"
check "to user land" "$lab" --module "$ko" --timeout 600 -- bash -c "$(boot 1) && $quiet"
check "to user land on two" "$lab" --module "$ko" --cpus 2 --timeout 900 -- bash -c "$(boot 2) && $quiet"
exit $failed
