// SPDX-License-Identifier: Apache-2.0
#include "lib/ide/drive.h"

#include <algorithm>
#include <utility>

namespace atl::ide {
namespace {

constexpr uint64_t kChsHeads = 16;
constexpr uint64_t kChsSectors = 63;
constexpr uint64_t kChsCylinders = 16383;

}  // namespace

Drive::Drive(DriveOptions o) : options(std::move(o)) {
  if (options.disk != nullptr) {
    heads = kChsHeads;
    track_sectors = kChsSectors;
    const uint64_t all = sectors() / (kChsHeads * kChsSectors);
    cylinders = static_cast<uint16_t>(std::clamp<uint64_t>(all, 1, kChsCylinders));
  }
  PowerOn();
}

void Drive::PowerOn() {
  multiple = kMaxMultiple;
  current_heads = heads;
  current_track_sectors = track_sectors;
  write_cache = smart = true;
  transfer_mode = 0x42;
  feature = 0;
  SetSignature();
}

void Drive::SetSignature() {
  if (kind() == DriveKind::kNone) return;
  count = lba_low = {1, 0};
  lba_mid = lba_high = {0, 0};
  device = 0;
  error = 1;  // diagnostics passed
  status = kReady | kSeekDone;
}

void Drive::VisitState(dev::StateVisitor& v) {
  v.Field("feature", feature);
  const std::pair<const char*, Doubled*> doubled[] = {
      {"count", &count}, {"lba_low", &lba_low}, {"lba_mid", &lba_mid}, {"lba_high", &lba_high}};
  for (const auto& [name, d] : doubled) {
    v.Begin(name);
    v.Field("now", d->now);
    v.Field("before", d->before);
    v.End();
  }
  v.Field("device", device);
  v.Field("status", status);
  v.Field("error", error);
  v.Bounded("multiple", multiple, kMaxMultiple);
  v.Bounded("current_heads", current_heads, kChsHeads);
  v.Field("current_track_sectors", current_track_sectors);
  v.Field("write_cache", write_cache);
  v.Field("smart", smart);
  v.Field("transfer_mode", transfer_mode);
}

}  // namespace atl::ide
