#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The module on an emulated host with VMX, and mainline's KVM there as the oracle: abi on
# both, both modules at once, what the host does with guest memory, kvm_test, then a kernel to user land under run.
# $ATOLL_LAB is tests/lab/lab-vmx.
# usage: vmx_test.sh MODULE KVM_TEST RUN VMLINUZ BUSYBOX ABI MEMORY
set -euo pipefail
lab=${ATOLL_LAB:?is not set to the path of tests/lab/lab-vmx}
source tests/kmod/guest.sh

# Stripped, for the CD is read at an emulator's pace; the module keeps its symbols.
cd=$TEST_TMPDIR/cd
mkdir -p "$cd"
strip --strip-debug -o "$TEST_TMPDIR/atoll.ko" "$1"
for f in "$2:kvm_test" "$3:run" "$6:abi" "$7:memory"; do strip -o "$cd/${f#*:}" "${f%:*}"; done
cp -L "$4" "$cd/vmlinuz"
make_initrd "$5" "$cd/initrd.gz"

atoll() { # SECONDS COMMAND: the kernel's log and the module's end are part of it
  "$lab" --module "$TEST_TMPDIR/atoll.ko" --file "$cd" --timeout "$1" -- sh -c "dmesg -c >/dev/null;
    $2 && ! dmesg | grep -E 'BUG:|WARNING:|Oops|lockup|stall|does not enter' && rmmod atoll"
}
# Guests know that a second is 50 million instructions there.
append='console=ttyS0 quiet mitigations=off tsc_early_khz=50000 lpj=200000 no_timer_check nokaslr'
boot() { # CPUS
  echo "./run -accel kvm,device=/dev/atoll -m 128 -smp $1 -nographic -kernel vmlinuz" \
    "-initrd initrd.gz -append '$append' -no-reboot </dev/null | tee /dev/stderr |" \
    "grep 'USERLAND $1' >/dev/null"
}

check "abi, mainline" "$lab" --param nested=0 --file "$cd" --timeout 600 -- ./abi /dev/kvm
check "abi, atoll" atoll 600 "./abi /dev/atoll"
modules='for m in $(cat /modules/kvm-intel.order); do insmod /modules/$m 2>/dev/null; done'
check "abi, both" atoll 600 "{ $modules; ./abi /dev/atoll /dev/kvm; }"
# There is nothing to swap to.
check "memory, atoll" atoll 900 "./memory /dev/atoll move merge fork large log"
# Not those with a guest that never has its interrupts on: Bochs does not leave it.
check "kvm_test, atoll" atoll 600 "./kvm_test --gtest_filter=KvmTest.*-*Kick*:*SelfTest*"
check "to user land" atoll 1800 "$(boot 1)"
check "to user land on two" atoll 2400 "$(boot 2)"
exit $failed
