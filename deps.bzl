# SPDX-License-Identifier: Apache-2.0
"""Repository rules that give Bazel Debian's packages, with no network.

  debian_rules_cc  rules_cc of the package bazel-rules-cc, made to load in the
                   Bazel of the package bazel-bootstrap
  system_library   pkg-config modules, each as a cc_library
  system_absl      the Abseil of the package libabsl-dev, under the labels that
                   Abseil's own BUILD files use
"""

def _existing(rctx, path, package):
    p = rctx.path(path)
    if not p.exists:
        fail("%s is missing: apt-get install %s" % (path, package))
    return p

# rules_cc 0.0.4 loads use_cpp_toolchain, which came with Bazel 5.
_LOAD_BOTH = "\"find_cpp_toolchain\", \"use_cpp_toolchain\")\n"
_LOAD_ONE = "\"find_cpp_toolchain\")\n"
_CALL = "use_cpp_toolchain()"
_VALUE = "[\"@bazel_tools//tools/cpp:toolchain_type\"]"

def _debian_rules_cc_impl(rctx):
    root = _existing(rctx, rctx.attr.path, "bazel-rules-cc")
    cc = root.get_child("cc")
    impl = cc.get_child("private").get_child("rules_impl")
    rctx.file("WORKSPACE", "workspace(name = \"rules_cc\")\n")
    rctx.file("BUILD", "")
    for f in cc.readdir():
        if f.basename != "private":
            rctx.symlink(f, "cc/" + f.basename)
    rctx.symlink(cc.get_child("private").get_child("toolchain"), "cc/private/toolchain")
    for f in impl.readdir():
        name = "cc/private/rules_impl/" + f.basename
        if f.basename in ["cc_flags_supplier.bzl", "compiler_flag.bzl"]:
            text = rctx.read(f)
            if _LOAD_BOTH not in text or _CALL not in text:
                fail("%s is not the file that %s patches" % (f, rctx.name))
            text = text.replace(_LOAD_BOTH, _LOAD_ONE).replace(_CALL, _VALUE)
            rctx.file(name, text, executable = False)
        else:
            rctx.symlink(f, name)

debian_rules_cc = repository_rule(
    implementation = _debian_rules_cc_impl,
    attrs = {"path": attr.string(default = "/usr/share/bazel/rules/cc")},
    local = True,
)

def _pkg_config(rctx, module, package, option):
    """The words that `pkg-config option module` prints."""
    tool = rctx.which("pkg-config")
    if not tool:
        fail("pkg-config is missing: apt-get install pkg-config")
    r = rctx.execute([tool, option, module])
    if r.return_code != 0:
        fail("%s is missing: apt-get install %s\n%s" % (module, package, r.stderr))
    return [w for w in r.stdout.replace("\n", " ").split(" ") if w]

def _archive(flag):
    """Names a library's archive, so that programs run where it is not installed."""
    return "-l:lib%s.a" % flag[2:] if flag.startswith("-labsl_") or flag == "-lre2" else flag

def _cc_library(rctx, name, module, package):
    """A cc_library that stands for one pkg-config module.

    Its headers need no mention: they lie in /usr/include, which the C++
    toolchain knows as built in.
    """
    if module.startswith("-l"):
        copts, libs = [], [module]
    else:
        copts = _pkg_config(rctx, module, package, "--cflags")
        libs = _pkg_config(rctx, module, package, "--libs")
    defines = [w[2:] for w in copts if w.startswith("-D")]
    includes = [w[2:] for w in copts if w.startswith("-I") and w != "-I/usr/include"]
    incs = []
    for dir in includes:
        # An absolute path cannot stand in `includes`: reach it by a link.
        link = "include/" + dir.strip("/").replace("/", "_")
        if not rctx.path(link).exists:
            rctx.symlink(dir, link)
        incs.append(link)
    hdrs = "glob([%s])" % ", ".join(["\"%s/**\"" % i for i in incs]) if incs else "[]"
    return """
cc_library(
    name = {name},
    hdrs = {hdrs},
    defines = {defines},
    includes = {includes},
    linkopts = {linkopts},
)
""".format(
        name = repr(name),
        hdrs = hdrs,
        defines = repr(defines),
        includes = repr(incs),
        linkopts = repr(["-Wl,--push-state,--as-needed"] + [_archive(w) for w in libs] + ["-Wl,--pop-state"]),
    )

_HEAD = """load("@rules_cc//cc:defs.bzl", "cc_library")

package(default_visibility = ["//visibility:public"])
"""

def _system_library_impl(rctx):
    text = _HEAD
    for name, module in rctx.attr.modules.items():
        text += _cc_library(rctx, name, module, rctx.attr.package)
    rctx.file("BUILD", text, executable = False)

system_library = repository_rule(
    implementation = _system_library_impl,
    attrs = {
        "modules": attr.string_dict(doc = "target name to pkg-config module, or to -l flag"),
        "package": attr.string(doc = "the Debian package that has them"),
    },
    local = True,
)

def _system_absl_impl(rctx):
    texts = {}
    for label, module in rctx.attr.modules.items():
        dir, name = label.split(":")
        texts[dir] = texts.get(dir, _HEAD) + _cc_library(rctx, name, module, "libabsl-dev")
    rctx.file("WORKSPACE", "workspace(name = \"com_google_absl\")\n")
    for dir, text in texts.items():
        rctx.file(dir + "/BUILD", text, executable = False)

system_absl = repository_rule(
    implementation = _system_absl_impl,
    attrs = {"modules": attr.string_dict(doc = "Abseil's label to pkg-config module")},
    local = True,
)
