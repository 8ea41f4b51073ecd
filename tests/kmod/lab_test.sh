#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The module on an emulated host with SVM, and mainline's KVM there as the oracle:
# abi and what the host does with guest memory on both, kvm_test, a kernel to user land under run,
# and run killed. $ATOLL_LAB is tests/lab/lab-svm.
# usage: lab_test.sh MODULE KVM_TEST RUN VMLINUZ BUSYBOX ABI QUIET MEMORY
set -euo pipefail
files=()
for f in "$@"; do files+=("$(readlink -f "$f")"); done
lab=${ATOLL_LAB:?is not set to the path of tests/lab/lab-svm} ko=${files[0]} kvm_test=${files[1]}
run=${files[2]} vmlinuz=${files[3]} busybox=${files[4]} abi=${files[5]} quiet=${files[6]} memory=${files[7]}
source tests/kmod/guest.sh

make_initrd "$busybox" "$TEST_TMPDIR/initrd.gz"
# With a disk in memory to swap to.
memory() { # NODE
  echo "modprobe brd rd_nr=1 rd_size=65536 && mkswap /dev/ram0 >/dev/null && swapon /dev/ram0 && $memory $1"
}

atoll=("$lab" --module "$ko" --timeout 900)
check "abi, mainline" "$lab" --timeout 600 -- "$abi" /dev/kvm
check "abi, atoll" "${atoll[@]}" -- "$quiet" "$abi" /dev/atoll
check "memory, mainline" "$lab" --timeout 600 -- bash -c "$(memory /dev/kvm)"
check "memory, atoll" "${atoll[@]}" -- "$quiet" bash -c "$(memory /dev/atoll)"
check "kvm_test, atoll" "${atoll[@]}" -- "$quiet" "$kvm_test"
check "to user land" "${atoll[@]}" -- "$quiet" bash -c "$(boot 1)"
check "to user land on two" "${atoll[@]}" --cpus 2 -- "$quiet" bash -c "$(boot 2)"
check "kill -9" "${atoll[@]}" --cpus 2 -- "$quiet" bash -c "$(killed)"
exit $failed
