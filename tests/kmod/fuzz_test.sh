#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A fuzzer on an emulated host with atoll.ko, for $FUZZ_SECONDS (60) from seed $FUZZ_SEED (1).
# $ATOLL_LAB is the path of tests/lab/lab-svm; what is in $ATOLL_LAB_OPTIONS goes to it.
# usage: fuzz_test.sh MODULE QUIET FUZZER
set -euo pipefail
seconds=${FUZZ_SECONDS:-60}
read -ra options <<<"${ATOLL_LAB_OPTIONS:-}"
exec "${ATOLL_LAB:?is not set to the path of tests/lab/lab-svm}" "${options[@]}" --console \
  --module "$(readlink -f "$1")" --timeout $((2 * seconds + 300)) -- "$(readlink -f "$2")" \
  "$(readlink -f "$3")" /dev/atoll "${FUZZ_SEED:-1}" "$seconds"
