#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The module on an emulated host with SVM, and mainline's KVM there as the oracle:
# abi on both, kvm_test, a kernel to user land under run, and run killed. $ATOLL_LAB is tests/lab/lab-svm.
# usage: lab_test.sh MODULE KVM_TEST RUN VMLINUZ BUSYBOX ABI QUIET
set -euo pipefail
files=()
for f in "$@"; do files+=("$(readlink -f "$f")"); done
lab=${ATOLL_LAB:?is not set to the path of tests/lab/lab-svm} ko=${files[0]} kvm_test=${files[1]}
run=${files[2]} vmlinuz=${files[3]} busybox=${files[4]} abi=${files[5]} quiet=${files[6]}
source tests/kmod/guest.sh

make_initrd "$busybox" "$TEST_TMPDIR/initrd.gz"
boot() { # CPUS
  echo "$run -accel kvm,device=/dev/atoll -m 128 -smp $1 -nographic -kernel $vmlinuz" \
    "-initrd $TEST_TMPDIR/initrd.gz -append 'console=ttyS0 quiet' -no-reboot </dev/null" \
    ">$TEST_TMPDIR/boot 2>&1; grep 'USERLAND $1' $TEST_TMPDIR/boot || { cat $TEST_TMPDIR/boot; false; }"
}

# kill -9 as the guest's kernel starts; then another guest.
killed() {
  echo "for i in 1 2 3; do" \
    "$run -accel kvm,device=/dev/atoll -m 128 -smp 2 -nographic -kernel $vmlinuz" \
    "-append console=ttyS0 </dev/null >$TEST_TMPDIR/killed 2>&1 & p=\$!;" \
    "until grep -q 'Linux version' $TEST_TMPDIR/killed || [ ! -e /proc/\$p ]; do sleep 0.1; done;" \
    "kill -9 \$p && ! wait \$p || exit 1; done; $(boot 1)"
}

atoll=("$lab" --module "$ko" --timeout 900)
check "abi, mainline" "$lab" --timeout 600 -- "$abi" /dev/kvm
check "abi, atoll" "${atoll[@]}" -- "$quiet" "$abi" /dev/atoll
check "kvm_test, atoll" "${atoll[@]}" -- "$quiet" "$kvm_test"
check "to user land" "${atoll[@]}" -- "$quiet" bash -c "$(boot 1)"
check "to user land on two" "${atoll[@]}" --cpus 2 -- "$quiet" bash -c "$(boot 2)"
check "kill -9" "${atoll[@]}" --cpus 2 -- "$quiet" bash -c "$(killed)"
exit $failed
