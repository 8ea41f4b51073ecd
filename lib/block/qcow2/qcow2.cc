// SPDX-License-Identifier: Apache-2.0
// The table entry of qcow2.
#include "lib/base/endian.h"
#include "lib/block/format.h"
#include "lib/block/formats.h"
#include "lib/block/qcow2/layer.h"

namespace atl::block {
namespace {

using Type = FormatOption::Type;

constexpr FormatOption kOptions[] = {
    {"backing_file", Type::kString, nullptr, "File name of a base image", nullptr, true},
    {"backing_fmt", Type::kString, nullptr, "Image format of the base image", nullptr, true},
    {"cluster_size", Type::kSize, "65536", "qcow2 cluster size"},
    {"compat", Type::kChoice, "1.1", "Compatibility level (v2 [0.10] or v3 [1.1])",
     "0.10|1.1|v2|v3"},
    {"compression_type", Type::kChoice, "zlib",
     "Compression method used for image cluster compression", "zlib|zstd"},
    {"extended_l2", Type::kBool, "off", "Extended L2 tables (only off)"},
    {"lazy_refcounts", Type::kBool, "off", "Postpone refcount updates", nullptr, true},
    {"preallocation", Type::kChoice, "off",
     "Preallocation mode (allowed values: off, metadata, falloc, full)",
     "off|metadata|falloc|full"},
    {"refcount_bits", Type::kNumber, "16", "Width of a reference count entry in bits"},
};

int Probe(std::span<const uint8_t> header) {
  if (header.size() < 8 || LoadBe<uint32_t>(header.data()) != qcow2::kMagic) return 0;
  return LoadBe<uint32_t>(header.data() + 4) >= 2 ? 100 : 0;
}

}  // namespace

extern const Format kQcow2 = {
    .name = "qcow2",
    .probe = Probe,
    .open = qcow2::Qcow2Layer::Open,
    .create = qcow2::Create,
    .options = kOptions,
    .supports_backing = true,
    .supports_compression = true,
};

}  // namespace atl::block
