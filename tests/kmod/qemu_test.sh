#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# QEMU on the module, and then on mainline's KVM, on an emulated host with two processors.
# $ATOLL_LAB is tests/lab/lab-svm.
# usage: qemu_test.sh MODULE QUIET VMLINUZ INITRD DISK QEMU_TEST.PY CONSOLE.PY
set -euo pipefail
files=()
for f in "$@"; do files+=("$(readlink -f "$f")"); done
lab=${ATOLL_LAB:?is not set to the path of tests/lab/lab-svm} ko=${files[0]} guest=("${files[@]:2:3}")
test=${files[5]}
PYTHONPATH=$(dirname "${files[6]}")
export PYTHONPATH
"$lab" --module "$ko" --cpus 2 --timeout 600 -- \
  "${files[1]}" python3 "$test" /dev/atoll "${guest[@]}"
"$lab" --cpus 2 --timeout 300 -- \
  python3 "$test" /dev/kvm "${guest[@]}" Qemu.test_one_cpu Qemu.test_two_cpus
