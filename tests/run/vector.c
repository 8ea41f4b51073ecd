// SPDX-License-Identifier: Apache-2.0
// Integer and floating point loops that the compiler makes AVX2 and FMA of, while
// timer signals whose handler uses the same registers interrupt them: the sums are
// the same on every machine that runs it right.
#include <immintrin.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/time.h>

enum { kCount = 4096, kRounds = 60 };

static float a[kCount], b[kCount], c[kCount];
static double d[kCount];
static uint32_t u[kCount];
static volatile sig_atomic_t signals;
static float noise[64];

static void OnTimer(int number) {
  (void)number;
  signals = signals + 1;
  for (int i = 0; i < 64; i++) noise[i] = noise[i] * 1.5f + (float)i;
}

static uint64_t Sum(const void* p, size_t size) {
  const uint8_t* bytes = p;
  uint64_t h = 0xCBF29CE484222325;
  for (size_t i = 0; i < size; i++) h = (h ^ bytes[i]) * 0x100000001B3;
  return h;
}

static void Fill(void) {
  uint32_t x = 12345;
  for (int i = 0; i < kCount; i++) {
    x = x * 1664525 + 1013904223;
    u[i] = x;
    a[i] = (float)(x >> 8) / (1 << 24);
    b[i] = (float)(x & 0xFFFF) / 65536 - 0.5f;
    c[i] = 0;
    d[i] = a[i] * 3.0 - 1.0;
  }
}

int main(void) {
  struct sigaction action;
  memset(&action, 0, sizeof action);
  action.sa_handler = OnTimer;
  sigaction(SIGALRM, &action, NULL);
  const struct itimerval every = {{0, 2000}, {0, 2000}};
  setitimer(ITIMER_REAL, &every, NULL);

  Fill();
  for (int round = 0; round < kRounds || signals < 20; round++) {
    if (round >= kRounds) continue;  // waits for the signals
    for (int i = 0; i < kCount; i++) c[i] = a[i] * b[i] + c[i] * 0.75f;
    for (int i = 0; i < kCount; i++) d[i] = d[i] * 0.5 + (double)c[i] * 0.25;
    for (int i = 0; i < kCount; i++) u[i] = (u[i] << 3 ^ u[i] >> 5) * 2654435761u + (uint32_t)i;
    for (int i = 0; i < kCount; i++) a[i] = b[u[i] % kCount] * 0.5f + a[i] * 0.5f;
  }
  uint64_t bits = 0;
  for (int i = 0; i < kCount; i++)
    bits += _pext_u64(u[i] * 0x100000001ull, 0x0F0F33335555FFFF) ^ _lzcnt_u32(u[i]) ^
            _andn_u64(bits, u[i]);
  printf("fma %016llx double %016llx integer %016llx bits %016llx\n",
         (unsigned long long)Sum(c, sizeof c), (unsigned long long)Sum(d, sizeof d),
         (unsigned long long)Sum(u, sizeof u), (unsigned long long)bits);
  return 0;
}
