#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# KVM's own selftests, built from Debian's source of Linux (tools/kernel-source), on an emulated
# host: on mainline's module, the oracle, and on atoll.ko with its node bound over /dev/kvm. Each
# ends here as it does there where mainline's has no nested virtualization either (nested=0), and
# passes there where it has; one that is skipped for lack of it is shown as skipped by both.
# $ATOLL_LAB is the path of tests/lab/lab-svm.
# usage: selftests.sh MODULE SOURCE [TEST...]
set -euo pipefail
ko=$(readlink -f "$1") source=$("$2")
shift 2
lab=${ATOLL_LAB:?is not set to the path of tests/lab/lab-svm}
tests=(
  kvm_binary_stats_test kvm_create_max_vcpus steal_time
  system_counter_offset_test x86_64/cpuid_test x86_64/cr4_cpuid_sync_test
  x86_64/fix_hypercall_test x86_64/get_msr_index_features x86_64/kvm_clock_test
  x86_64/kvm_pv_test x86_64/max_vcpuid_cap_test x86_64/platform_info_test
  x86_64/set_boot_cpu_id x86_64/set_sregs_test x86_64/state_test x86_64/sync_regs_test
  x86_64/triple_fault_event_test x86_64/tsc_msrs_test x86_64/userspace_io_test
  x86_64/userspace_msr_exit_test x86_64/xapic_ipi_test x86_64/xapic_state_test
)
[[ $# -eq 0 ]] || tests=("$@")

kvm=$source/tools/testing/selftests/kvm
dir=$TEST_TMPDIR/selftests
mkdir -p "$dir"
# Some sources miss what their own copy of the headers included.
flags=(-w -O1 -std=gnu99 -include /usr/include/linux/stddef.h -U_FORTIFY_SOURCE -fno-stack-protector -fno-PIE "-I$source/tools/include"
  "-I$source/tools/arch/x86/include" "-I$kvm/include" "-I$kvm/include/x86_64" "-I$kvm/../rseq"
  "-I$kvm/.." "-I$kvm")
for f in assert elf guest_modes io kvm_util perf_test_util rbtree sparsebit test_util \
  string_override x86_64/{apic,perf_test_util,processor,svm,ucall,vmx}; do
  own=()
  [[ $f != string_override ]] || own=(-ffreestanding -fno-tree-loop-distribute-patterns)
  gcc "${flags[@]}" "${own[@]}" -c "$kvm/lib/$f.c" -o "$dir/lib_${f//\//_}.o"
done
gcc "${flags[@]}" -c "$kvm/lib/x86_64/handlers.S" -o "$dir/lib_handlers.o"
ar rcs "$dir/libkvm.a" "$dir"/lib_*.o
names=()
for t in "${tests[@]}"; do
  gcc "${flags[@]}" "-I$kvm/x86_64" "$kvm/$t.c" "$dir/libkvm.a" -static -no-pie -pthread -ldl \
    -o "$dir/${t##*/}"
  names+=("${t##*/}")
done

# Status 4 is "skipped": what the test is of is not there; it says what.
all="cd $dir; [ ! -e /dev/atoll ] || { touch /dev/kvm; mount --bind /dev/atoll /dev/kvm; }
for t in ${names[*]}; do
  s=\$(date +%s%N); timeout 120 ./\$t >\$t.out 2>&1; rc=\$?
  echo \"\$t \$rc \$(((\$(date +%s%N) - s) / 1000000)) \$([ \$rc = 0 ] || tail -n 1 \$t.out)\"
  [ \$rc = 0 ] || [ \$rc = 4 ] || tail -n 6 \$t.out >&2
done
umount /dev/kvm 2>/dev/null; dmesg | grep -E 'BUG|WARNING|Oops|Call Trace|lockup' && exit 1; true"
host() { # FILE OPTION...
  "$lab" --timeout 1200 --cpus 2 "${@:2}" -- bash -c "$all" >"$dir/$1"
}
declare -A mainline plain why
host mainline
host plain --param nested=0
host atoll --module "$ko"
while read -r t rc _; do mainline[$t]=$rc; done <"$dir/mainline"
while read -r t rc _ reason; do plain[$t]=$rc why[$t]=$reason; done <"$dir/plain"
failed=0 passes=0 skips=0
word() { case $1 in 0) echo passes ;; 4) echo skipped ;; *) echo "fails ($1)" ;; esac; }
printf '%-28s %-10s %-10s %-10s %6s\n' test mainline nested=0 atoll ms
while read -r t rc ms reason; do
  printf '%-28s %-10s %-10s %-10s %6s %s\n' "$t" "$(word "${mainline[$t]}")" \
    "$(word "${plain[$t]}")" "$(word "$rc")" "$ms" "$reason"
  [[ ${mainline[$t]} == 0 && $rc == "${plain[$t]}" && $reason == "${why[$t]}" ]] || failed=1
  case $rc in 0) passes=$((passes + 1)) ;; 4) skips=$((skips + 1)) ;; *) failed=1 ;; esac
done <"$dir/atoll"
echo "$passes pass, $skips skipped as on mainline with nested=0"
[[ $((passes + skips)) == "${#tests[@]}" ]] || failed=1
exit $failed
