# SPDX-License-Identifier: Apache-2.0
"""fuzz_target: one source, two lives.

With --config=fuzz (clang, libFuzzer, ASan, UBSan) it is a fuzzer that
run_fuzzer.sh runs from its seeds, for a minute or, in CI, for a fixed number of
runs; in every other build it is a test that runs the same entry point over
its seeds and a fixed number of mutations of them, so that it always compiles
and old findings stay fixed.
"""

load("@rules_cc//cc:defs.bzl", "cc_test")

def fuzz_target(name, srcs, deps = [], corpus = [], fixed_runs = 100000, max_len = 4096, **kwargs):
    """Declares the fuzz target `name`.

    Args:
      name: ends in _fuzz.
      srcs: the file that defines LLVMFuzzerTestOneInput.
      deps: as of a cc_test.
      corpus: seed files; findings that were fixed are added here.
      fixed_runs: inputs tried by a run that can be repeated; ten seconds' worth.
      max_len: the longest input in bytes.
      **kwargs: for cc_test.
    """
    seeds = ["$(locations %s)" % c for c in corpus]
    cc_test(
        name = name,
        size = kwargs.pop("size", "medium"),
        srcs = srcs + select({
            "//tools:fuzzing": [],
            "//conditions:default": ["//tools:fuzz_main.cc"],
        }),
        args = select({
            "//tools:fuzzing": [
                "--fixed_runs=%d" % fixed_runs,
                "-max_len=%d" % max_len,
                "-rss_limit_mb=2048",
                "-timeout=20",
                "-print_final_stats=1",
            ],
            "//conditions:default": ["--max_len=%d" % max_len],
        }) + seeds,
        data = corpus,
        linkopts = select({
            "//tools:fuzzing": ["-fsanitize=fuzzer"],
            "//conditions:default": [],
        }),
        tags = kwargs.pop("tags", []) + ["fuzz"],
        deps = deps,
        **kwargs
    )
