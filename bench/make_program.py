#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Writes a C program of some 10,000 lines to standard output: the same one each
time. It has what keeps a compiler busy in real programs (structures, switches,
loops over arrays, calls, strings, floating point) and prints a checksum a module.

usage: make_program.py [LINES]
"""

import random
import sys

OPERATORS = ["+", "-", "*", "^", "|", "&"]


def expression(rng, names, depth):
    if depth == 0 or rng.random() < 0.2:
        return rng.choice(names + [str(rng.randrange(1, 1000)) + "u"])
    left = expression(rng, names, depth - 1)
    right = expression(rng, names, depth - 1)
    kind = rng.randrange(8)
    if kind == 0:
        return "(%s >> (%s & 15))" % (left, right)
    if kind == 1:
        return "(%s / (%s | 1))" % (left, right)
    if kind == 2:
        return "(%s < %s ? %s : %s)" % (left, right, rng.choice(names), rng.choice(names))
    return "(%s %s %s)" % (left, rng.choice(OPERATORS), right)


def structure(rng, n):
    out = ["struct record_%d {" % n]
    out += ["  uint32_t field_%d;" % i for i in range(rng.randrange(3, 7))]
    return out + ["  double weight;", "  char name[16];", "};", ""]


def switch(rng, name):
    out = ["static uint32_t %s(uint32_t a, uint32_t b) {" % name, "  switch (a %% %du) {" % 12]
    for i in range(12):
        out.append("    case %d:" % i)
        out.append("      b = %s;" % expression(rng, ["a", "b"], 3))
        if rng.random() < 0.8:
            out.append("      break;")
    return out + ["    default:", "      b ^= a;", "  }", "  return b;", "}", ""]


def loops(rng, name, callees):
    size = rng.choice([16, 32, 64])
    out = ["static uint32_t %s(uint32_t seed) {" % name,
           "  uint32_t table[%d], sum = seed;" % size,
           "  for (unsigned i = 0; i < %d; ++i) {" % size,
           "    table[i] = %s;" % expression(rng, ["i", "seed", "sum"], 3),
           "    sum += table[i];", "  }",
           "  for (unsigned i = 0; i < %d; ++i) {" % size,
           "    for (unsigned j = 0; j < i; ++j) {",
           "      if (table[j] > table[i]) {",
           "        const uint32_t t = table[i];",
           "        table[i] = table[j];",
           "        table[j] = t;", "      }", "    }", "  }"]
    for callee in callees:
        out.append("  sum = sum * 31u + %s(table[sum %% %du], sum);" % (callee, size))
    return out + ["  return sum;", "}", ""]


def records(rng, name, n):
    return ["static uint32_t %s(uint32_t seed) {" % name,
            "  struct record_%d all[8];" % n,
            "  double weight = 0;",
            "  memset(all, 0, sizeof all);",
            "  for (unsigned i = 0; i < 8; ++i) {",
            "    all[i].field_%d = seed + i;" % rng.randrange(3),
            "    all[i].weight = (double)(seed %% 1000u) / (i + %d.5);" % rng.randrange(1, 9),
            "    snprintf(all[i].name, sizeof all[i].name, \"r%u\", (seed + i) % 10000u);",
            "    weight += all[i].weight * %d.25;" % rng.randrange(1, 9),
            "    seed = seed * 33u + (unsigned char)all[i].name[2];", "  }",
            "  return seed ^ (uint32_t)weight;", "}", ""]


def module(rng, n):
    out = ["/* module %d */" % n, ""] + structure(rng, n)
    small = ["choose_%d_%d" % (n, i) for i in range(3)]
    for name in small:
        out += switch(rng, name)
    big = []
    for i in range(3):
        big.append("work_%d_%d" % (n, i))
        out += loops(rng, big[-1], rng.sample(small, 2))
    big.append("records_%d" % n)
    out += records(rng, big[-1], n)
    out += ["static uint32_t module_%d(uint32_t seed) {" % n]
    for name in big:
        out.append("  seed = seed * 17u + %s(seed);" % name)
    return out + ["  return seed;", "}", ""]


def main():
    lines = int(sys.argv[1]) if len(sys.argv) > 1 else 10000
    rng = random.Random(20261123)
    out = ["#include <stdint.h>", "#include <stdio.h>", "#include <string.h>", ""]
    n = 0
    while len(out) < lines - 30:
        out += module(rng, n)
        n += 1
    out += ["static uint32_t (*const modules[])(uint32_t) = {"]
    out += ["    module_%d," % i for i in range(n)]
    out += ["};", "", "int main(void) {", "  uint32_t seed = 1;",
            "  for (unsigned round = 0; round < 20; ++round) {",
            "    for (unsigned i = 0; i < sizeof modules / sizeof *modules; ++i) {",
            "      seed = modules[i](seed);",
            "      if (round == 19) printf(\"%u %08x\\n\", i, seed);",
            "    }", "  }", "  return 0;", "}"]
    print("\n".join(out))


main()
