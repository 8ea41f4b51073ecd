// SPDX-License-Identifier: Apache-2.0
#include "lib/ide/drive.h"

#include <algorithm>
#include <utility>

namespace atl::ide {
namespace {

constexpr uint8_t kCdSignatureMid = 0x14;
constexpr uint8_t kCdSignatureHigh = 0xEB;
constexpr uint64_t kChsHeads = 16;
constexpr uint64_t kChsSectors = 63;
constexpr uint64_t kChsCylinders = 16383;

// ATA strings: padded with blanks, the bytes of each word swapped.
void PutString(uint8_t* to, size_t bytes, const std::string& s) {
  for (size_t i = 0; i < bytes; ++i) {
    to[i ^ 1] = i < s.size() ? static_cast<uint8_t>(s[i]) : ' ';
  }
}

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
  if (kind() == DriveKind::kCd) options.cd->PowerOn();
  feature = 0;
  SetSignature();
}

void Drive::SetSignature() {
  if (kind() == DriveKind::kNone) return;
  count = lba_low = {1, 0};
  const bool cd = kind() == DriveKind::kCd;
  lba_mid = {cd ? kCdSignatureMid : uint8_t{0}, 0};
  lba_high = {cd ? kCdSignatureHigh : uint8_t{0}, 0};
  device = 0;
  error = 1;  // diagnostics passed
  // A packet drive is not ready before its first command: so it is told apart.
  status = cd ? 0 : kReady | kSeekDone;
}

bool Drive::SetTransferMode(uint8_t wanted) {
  const uint8_t kind_of_mode = wanted & 0xF8;
  const uint8_t mode = wanted & 7;
  const bool known = kind_of_mode == 0x00 || (kind_of_mode == 0x08 && mode <= 4) ||
                     (kind_of_mode == 0x20 && mode <= 2) || (kind_of_mode == 0x40 && mode <= 5);
  if (known && kind_of_mode >= 0x20) transfer_mode = wanted;
  return known;
}

void Drive::FillIdentity(uint8_t* words) const {
  const std::string& name = options.model;
  PutString(words + 2 * 10, 20, options.serial);
  PutString(words + 2 * 23, 8, options.firmware);
  PutString(words + 2 * 27, 40,
            !name.empty()              ? name
            : kind() == DriveKind::kCd ? "ATOLL DVD-ROM"
                                       : "ATOLL HARDDISK");
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
  if (kind() == DriveKind::kCd) options.cd->VisitState(v);
}

}  // namespace atl::ide
