#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# lab_host.py on a host with KVM. $ATOLL_LAB is a command that runs its arguments
# as root on such a host, which sees this one's files; without it, this host is taken.
# usage: lab_test.sh RUN STAT BIOS HOST_PY
set -euo pipefail
files=()
for f in "$@"; do files+=("$(readlink -f "$f")"); done
read -r -a lab <<<"${ATOLL_LAB:-}"
exec "${lab[@]}" /usr/bin/python3 "${files[3]}" "${files[@]:0:3}"
