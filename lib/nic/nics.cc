// SPDX-License-Identifier: Apache-2.0
#include "lib/nic/nic.h"

namespace atl::nic {

extern const NicModel kE1000;
extern const NicModel kNe2kPci;
extern const NicModel kRtl8139;
extern const NicModel kRtl8139c;
extern const NicModel kVirtioNet;

namespace {

constexpr const NicModel* kModels[] = {&kE1000, &kNe2kPci, &kRtl8139, &kRtl8139c, &kVirtioNet};

}  // namespace

std::span<const NicModel* const> NicModels() { return kModels; }

const NicModel* FindNicModel(absl::string_view name) {
  for (const NicModel* m : kModels) {
    if (m->name == name) return m;
  }
  return nullptr;
}

}  // namespace atl::nic
