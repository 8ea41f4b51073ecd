// SPDX-License-Identifier: Apache-2.0
#include "lib/cpu/soft/translate_area.h"

#include <sys/random.h>

#include <algorithm>
#include <cstring>

namespace atl::cpu::soft {

uint64_t TranslateArea::SecretPage() {
  uint64_t random = 0;
  if (getrandom(&random, sizeof random, 0) != sizeof random) random = 0x5C19E2D4B7A35C19;
  // Bits 63 and 62 differ: not canonical.
  return ((random & ~uint64_t{0xFFF}) & ~(uint64_t{3} << 62)) | uint64_t{1} << 62;
}

// The two pages differ in bit 46.
void TranslateArea::Init() {
  go_on.store(1, std::memory_order_relaxed);
  host_mxcsr = 0x1F80;
  const uint64_t page = SecretPage() & ~(uint64_t{1} << 46);
  const uint64_t host = reinterpret_cast<uint64_t>(nothing);
  empty = {page, 0};
  empty.addend = host - empty.tag;
  stale = {empty.tag | uint64_t{1} << 46, 0};
  stale.addend = host - stale.tag;
}

void TranslateArea::Prepare() {
  used = 1;
  ForgetKeys(0);
  ForgetKeys(1);
  std::fill(slots, slots + 2 * kShared, stale);
  DropOwn();
}

void TranslateArea::DropOwn() {
  ForgetSites(0);
  ForgetSites(1);
  std::fill(slots + 2 * kShared, slots + kSlots, empty);
}

void TranslateArea::ForgetKeys(unsigned table) {
  std::fill(std::begin(exec_key[table]), std::end(exec_key[table]), kNoKey);
}

void TranslateArea::ForgetSites(unsigned table) {
  std::fill_n(slots + table * kShared, kShared, stale);
  for (unsigned i = 0; i < filled_count[table]; ++i) slots[filled[table][i]] = empty;
  filled_count[table] = 0;
  std::memset(seen[table], 0, sizeof seen[table]);
}

void TranslateArea::ForgetAll() {
  if (used == 0) return;
  for (unsigned t = 0; t < 2; ++t) {
    ForgetSites(t);
    ForgetKeys(t);
  }
  kernel_local = 0;
}

void TranslateArea::ForgetLocal() {
  if (used == 0) return;
  ForgetSites(1);
  ForgetKeys(1);
  if (kernel_local == 0) return;
  ForgetSites(0);
  ForgetKeys(0);
  kernel_local = 0;
}

void TranslateArea::ForgetPage(uint64_t page, bool large) {
  if (used == 0) return;
  for (unsigned t = 0; t < 2; ++t) {
    if (large) {
      ForgetSites(t);
      ForgetKeys(t);
      continue;
    }
    uint64_t& key = exec_key[t][ExecSlot(page)];
    if (key != kNoKey && key >> 28 == ExecKey(page, 0) >> 28) key = kNoKey;
    if (seen[t][SeenSlot(page)] == 0) continue;
    // Sites went on to other pages since: what they hold now is found out on the way.
    std::memset(seen[t], 0, sizeof seen[t]);
    ForEach(t, [&](SiteSlot& s) {
      if (s.tag == page) s = stale;
      seen[t][SeenSlot(s.tag)] = 1;
    });
  }
}

void TranslateArea::ForgetHostRange(uint64_t first, uint64_t size) {
  if (used == 0) return;
  for (unsigned t = 0; t < 2; ++t) {
    ForEach(t, [&](SiteSlot& s) {
      if (s.tag + s.addend - first < size) s = stale;
    });
  }
}

}  // namespace atl::cpu::soft
