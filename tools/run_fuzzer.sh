#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# What --config=fuzz runs tests under: gives a libFuzzer target its seeds as the
# folder that it wants, and says little where all is well. Where it is not, the
# end of the fuzzer's log and each finding, so that they stand in the test's log.
# Other tests are run as they are.
#
# usage: run_fuzzer.sh X_fuzz --fixed_runs=N [-LIBFUZZER_FLAG | SEED_FILE]...
#
# For a minute with a random seed; with ATOLL_FUZZ=fixed so many runs (or half a
# minute) with a seed that is always the same, and no address randomisation, so
# that one commit has one verdict.
set -euo pipefail

program=$1
if [[ $program != *_fuzz ]]; then
  exec "$@"
fi
shift

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/corpus" "$work/findings"
# What it adds to the folder it need not read again, at times that vary.
flags=(-artifact_prefix="$work/findings/" -reload=0)
runs=-1
for arg in "$@"; do
  case $arg in
    --fixed_runs=*) runs=${arg#*=} ;;
    -*) flags+=("$arg") ;;
    *) cp "$arg" "$work/corpus/" ;;
  esac
done

command=("$program" "${flags[@]}")
if [[ ${ATOLL_FUZZ:-} == fixed ]]; then
  command+=(-seed=1 -runs="$runs" -max_total_time=30)
  # Containers may forbid it; then tables that hash addresses differ.
  if setarch -R true 2>/dev/null; then
    command=(setarch -R "${command[@]}")
  fi
else
  command+=(-max_total_time=60)
fi
# Freed memory that ASan keeps from use counts against -rss_limit_mb.
export ASAN_OPTIONS=${ASAN_OPTIONS:+$ASAN_OPTIONS:}quarantine_size_mb=64

code=0
"${command[@]}" "$work/corpus" >"$work/log" 2>&1 || code=$?
if [[ $code -eq 0 ]]; then
  grep -a '^INFO: Seed' "$work/log"
  tail -n 10 "$work/log" | cut -c 1-400
  exit 0
fi
tail -n 100 "$work/log" | cut -c 1-400
echo
grep -a '^INFO: Seed' "$work/log" || true
echo "${program##*/} ended with status $code"
for finding in "$work"/findings/*; do
  [[ -f $finding ]] || continue
  echo "$(basename "$finding"), to be had with: base64 -d <<<'TEXT' | gunzip >FILE"
  gzip -9 -n <"$finding" | base64 -w 0
  echo
done
exit "$code"
