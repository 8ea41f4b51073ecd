#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# What `make install` puts where: on an emulated host modprobe finds the module by its name, the node
# is there, and an ABI test of a second passes. $ATOLL_LAB is the path of tests/lab/lab-svm.
# usage: install_test.sh ABI SOURCE...
set -euo pipefail
abi=$(readlink -f "$1")
shift
kdir=$(find /usr/src -maxdepth 1 -name 'linux-headers-6.1.*-amd64' ! -name '*-cloud-*' ! -name '*-rt-*' | sort -V | tail -n 1)
mkdir -p "$TEST_TMPDIR/source" "$TEST_TMPDIR/root"
cp -L "$@" "$TEST_TMPDIR/source"
make -C "$TEST_TMPDIR/source" KDIR="$kdir" >"$TEST_TMPDIR/log" 2>&1 &&
  make -C "$TEST_TMPDIR/source" KDIR="$kdir" DESTDIR="$TEST_TMPDIR/root" install >>"$TEST_TMPDIR/log" 2>&1 || {
  cat "$TEST_TMPDIR/log"
  exit 1
}
root=$TEST_TMPDIR/root
cd "$root"
find . -type f ! -name 'modules.*' | sort
[[ $(cat usr/lib/modules-load.d/atoll.conf) == atoll ]]
grep -q 'KERNEL=="atoll", GROUP="kvm", MODE="0660"' lib/udev/rules.d/99-atoll.rules
"${ATOLL_LAB:?is not set to the path of tests/lab/lab-svm}" --kvm none -- bash -ec "
  mkdir -p /lib/modules/\$(uname -r)/updates
  cp \$(find $root/lib/modules -name atoll.ko) /lib/modules/\$(uname -r)/updates
  depmod
  [ ! -e /dev/atoll ]
  for m in \$(cat $root/usr/lib/modules-load.d/atoll.conf); do modprobe \$m; done
  stat -c '%n %F %a' /dev/atoll | grep 'special file 660'
  modinfo -F description atoll
  $abi /dev/atoll | tail -n 1
  modprobe -r atoll
  [ ! -e /dev/atoll ]"
