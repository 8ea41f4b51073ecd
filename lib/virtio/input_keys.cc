// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <iterator>

#include "lib/virtio/input.h"

namespace atl::virtio {
namespace {

// Up to here Linux's numbers are the scancodes of set 1.
constexpr uint8_t kLastEqual = 0x53;

struct Pair {
  uint8_t code;
  uint8_t linux_key;
};
// Sorted by code.
constexpr Pair kOthers[] = {
    {0x54, 99},  {0x56, 86},  {0x57, 87},  {0x58, 88},  {0x59, 117}, {0x5B, 101}, {0x64, 134},
    {0x65, 135}, {0x70, 93},  {0x71, 123}, {0x72, 122}, {0x73, 89},  {0x77, 91},  {0x78, 90},
    {0x79, 92},  {0x7B, 94},  {0x7D, 124}, {0x7E, 121}, {0x85, 129}, {0x86, 130}, {0x87, 131},
    {0x8C, 132}, {0x90, 165}, {0x99, 163}, {0x9C, 96},  {0x9D, 97},  {0x9E, 139}, {0xA0, 113},
    {0xA1, 140}, {0xA2, 164}, {0xA4, 166}, {0xAE, 114}, {0xB0, 115}, {0xB2, 172}, {0xB5, 98},
    {0xB7, 99},  {0xB8, 100}, {0xBC, 137}, {0xC1, 136}, {0xC6, 119}, {0xC7, 102}, {0xC8, 103},
    {0xC9, 104}, {0xCB, 105}, {0xCD, 106}, {0xCF, 107}, {0xD0, 108}, {0xD1, 109}, {0xD2, 110},
    {0xD3, 111}, {0xDB, 125}, {0xDC, 126}, {0xDD, 127}, {0xDE, 116}, {0xDF, 142}, {0xE3, 143},
    {0xE6, 156}, {0xE7, 173}, {0xE8, 128}, {0xE9, 159}, {0xEA, 158}, {0xEB, 157}, {0xEC, 155},
    {0xED, 226}, {0xF5, 138}, {0xF8, 133},
};

}  // namespace

uint16_t LinuxKey(uint8_t code) {
  if (code <= kLastEqual) return code;
  const auto* it = std::lower_bound(std::begin(kOthers), std::end(kOthers), code,
                                    [](const Pair& p, uint8_t c) { return p.code < c; });
  return it == std::end(kOthers) || it->code != code ? 0 : it->linux_key;
}

}  // namespace atl::virtio
