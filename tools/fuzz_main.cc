// SPDX-License-Identifier: Apache-2.0
// Runs a fuzz target without libFuzzer: over each seed file named, then over
// pseudo-random inputs and mutations of the seeds from a fixed start value, so
// that a run can be repeated. usage: x_fuzz [--max_len=N] [--runs=N] [SEED...]
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);
extern "C" int LLVMFuzzerInitialize(int* argc, char*** argv) __attribute__((weak));

int main(int argc, char** argv) {
  size_t max_len = 4096;
  size_t runs = 2000;
  std::vector<std::vector<uint8_t>> seeds;
  if (LLVMFuzzerInitialize != nullptr) LLVMFuzzerInitialize(&argc, &argv);
  for (int i = 1; i < argc; ++i) {
    if (std::strncmp(argv[i], "--max_len=", 10) == 0) {
      max_len = std::strtoul(argv[i] + 10, nullptr, 10);
    } else if (std::strncmp(argv[i], "--runs=", 7) == 0) {
      runs = std::strtoul(argv[i] + 7, nullptr, 10);
    } else {
      std::ifstream in(argv[i], std::ios::binary);
      if (!in) {
        std::fprintf(stderr, "cannot read seed %s\n", argv[i]);
        return 1;
      }
      seeds.emplace_back(std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>());
    }
  }
  LLVMFuzzerTestOneInput(nullptr, 0);
  for (const std::vector<uint8_t>& seed : seeds) LLVMFuzzerTestOneInput(seed.data(), seed.size());

  std::mt19937_64 random(20261123);
  for (size_t run = 0; run < runs; ++run) {
    std::vector<uint8_t> input;
    if (!seeds.empty() && run % 4 != 0) {
      input = seeds[random() % seeds.size()];
      for (size_t n = 1 + random() % 8; n > 0 && !input.empty(); --n) {
        input[random() % input.size()] = static_cast<uint8_t>(random());
      }
      if (random() % 8 == 0) input.resize(random() % (input.size() + 1));
    } else {
      input.resize(random() % (max_len + 1));
      for (uint8_t& b : input) b = static_cast<uint8_t>(random() % 4 == 0 ? 0 : random());
    }
    LLVMFuzzerTestOneInput(input.data(), input.size());
  }
  std::printf("%zu seeds, %zu inputs\n", seeds.size(), runs);
  return 0;
}
