#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The module on a kernel with KASAN, UBSAN and lockdep (tests/lab/debug-kernel): 100 guests that
# come and go, what the host does with their memory, Linux to user land under run, run killed,
# hostile guests and hostile user space. The kernel says nothing of all that. $ATOLL_LAB is the path
# of tests/lab/lab-svm; $FUZZ_SECONDS (120) and $FUZZ_SEED (1) are the two fuzzers'.
# usage: debug_test.sh BUILD QUIET ABI MEMORY GUEST-FUZZ IOCTL-FUZZ RUN VMLINUZ BUSYBOX SOURCE...
set -euo pipefail
files=()
for f in "${@:1:9}"; do files+=("$(readlink -f "$f")"); done
lab=${ATOLL_LAB:?is not set to the path of tests/lab/lab-svm}
kernel=$("$(dirname "$lab")/debug-kernel")
quiet=${files[1]} abi=${files[2]} memory=${files[3]} guests=${files[4]} ioctls=${files[5]}
# That kernel has no seccomp.
run="${files[6]} -sandbox off" vmlinuz=${files[7]} busybox=${files[8]}
source tests/kmod/guest.sh
KDIR=$kernel/build "${files[0]}" "$TEST_TMPDIR/atoll.ko" "${@:10}"
make_initrd "$busybox" "$TEST_TMPDIR/initrd.gz"
seconds=${FUZZ_SECONDS:-120} seed=${FUZZ_SEED:-1}

atoll=("$lab" --kernel "$kernel" --module "$TEST_TMPDIR/atoll.ko" --timeout $((2 * seconds + 900)) --)
check "abi" "${atoll[@]}" "$quiet" "$abi" /dev/atoll
check "memory" "${atoll[@]}" "$quiet" "$memory" /dev/atoll fork large log
check "to user land" "${atoll[@]}" "$quiet" bash -c "$(boot 1)"
check "kill -9" "${atoll[@]}" "$quiet" bash -c "$(killed 1)"
check "hostile guests" "${atoll[@]}" "$quiet" "$guests" /dev/atoll "$seed" "$seconds"
check "hostile user space" "${atoll[@]}" "$quiet" "$ioctls" /dev/atoll "$seed" "$seconds"
exit $failed
