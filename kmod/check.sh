#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# sparse over the sources, with Debian's headers of Linux 6.1 and W=1: nothing may be said. With
# the path of tools/kernel-source first, checkpatch instead, from Debian's source of Linux.
# usage: check.sh [KERNEL-SOURCE] SOURCE...
set -euo pipefail
if [[ $1 == *kernel-source ]]; then
  linux=$("$1")
  shift
  # What this tree does otherwise: names of the kernel's own headers, macros whose arguments are
  # names, and lists of these; registers set to one value together; a line that ends in '(' where
  # clang-format puts it. What a lock guards is in atoll.h's legend. Names of
  # instructions are not those of functions.
  ignore=CAMELCASE,MACRO_ARG_REUSE,COMPLEX_MACRO,TRAILING_SEMICOLON,MULTIPLE_ASSIGNMENTS
  ignore+=,OPEN_ENDED_LINE,PREFER_KERNEL_TYPES,EMBEDDED_FILENAME,PARENTHESIS_ALIGNMENT,UNCOMMENTED_DEFINITION,EMBEDDED_FUNCTION_NAME
  cd "$(mktemp -d)" # it leaves a file
  files=()
  for f in "$@"; do files+=("$OLDPWD/$f"); done
  exec perl "$linux/scripts/checkpatch.pl" --no-tree --root="$linux" --strict --terse --show-types \
    --no-summary --max-line-length=100 --ignore "$ignore" -f "${files[@]}"
fi
kdir=$(find /usr/src -maxdepth 1 -name 'linux-headers-6.1.*-amd64' ! -name '*-cloud-*' ! -name '*-rt-*' | sort -V | tail -n 1)
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cp -L "$@" "$dir"
make -C "$kdir" M="$dir" W=1 C=2 KCFLAGS=-Werror modules >"$dir/log" 2>&1 || {
  cat "$dir/log"
  exit 1
}
[[ $(grep -c '^  CHECK ' "$dir/log") -ge $(find "$dir" -name '*.c' ! -name '*.mod.c' | wc -l) ]] || {
  echo "check: sparse did not see every file"
  exit 1
}
! grep -E 'warning:|error:' "$dir/log"
