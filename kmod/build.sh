#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# Builds atoll.ko of the given sources with Debian's headers of Linux 6.1, or with what is in $KDIR.
# usage: build.sh OUTPUT SOURCE...
set -euo pipefail
out=$(realpath -m "$1")
shift
kdir=${KDIR:-$(find /usr/src -maxdepth 1 -name 'linux-headers-6.1.*-amd64' ! -name '*-cloud-*' ! -name '*-rt-*' | sort -V | tail -n 1)}
if [[ -z $kdir ]]; then
  echo "kmod: no headers of Linux 6.1 in /usr/src: ./setup installs linux-headers-amd64" >&2
  exit 1
fi
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cp -L "$@" "$dir"
if ! make -C "$kdir" M="$dir" W=1 KCFLAGS=-Werror modules >"$dir/log" 2>&1; then
  cat "$dir/log" >&2
  exit 1
fi
cp "$dir/atoll.ko" "$out"
