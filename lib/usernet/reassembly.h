// SPDX-License-Identifier: Apache-2.0
// Fragments of IP packets, put together again. As much memory as kSlots packets
// take; the oldest gives way.
#ifndef LIB_USERNET_REASSEMBLY_H_
#define LIB_USERNET_REASSEMBLY_H_

#include <algorithm>
#include <array>
#include <bitset>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>

#include "lib/usernet/address.h"

namespace atl::usernet {

class Reassembly {
 public:
  static constexpr size_t kSlots = 8;
  static constexpr size_t kLargest = 65535;
  static constexpr uint64_t kPatienceNs = 15'000'000'000;

  struct Key {
    IpAddress from, to;
    uint32_t id = 0;
    uint8_t protocol = 0;
    bool operator==(const Key&) const = default;
  };

  // The whole payload where this fragment was the last one missing; it stays until
  // the next call. `offset` in bytes, a multiple of 8.
  std::span<const uint8_t> Add(const Key& key, size_t offset, bool more,
                               std::span<const uint8_t> bytes, uint64_t now) {
    if (bytes.empty() || offset % 8 != 0 || offset + bytes.size() > kLargest) return {};
    if (more && bytes.size() % 8 != 0) return {};
    Slot& slot = Find(key, now);
    const size_t end = offset + bytes.size();
    // One packet has one end: whoever says otherwise attacks.
    if (slot.size != 0 && (more ? end >= slot.size : end != slot.size)) return Drop(slot);
    if (!more) {
      if (slot.highest > end) return Drop(slot);
      slot.size = end;
    }
    slot.highest = std::max(slot.highest, end);
    memcpy(slot.data->data() + offset, bytes.data(), bytes.size());
    for (size_t unit = offset / 8; unit * 8 < end; ++unit) slot.have[unit] = true;
    if (slot.size == 0 || slot.have.count() != (slot.size + 7) / 8) return {};
    slot.busy = false;
    return std::span(slot.data->data(), slot.size);
  }

 private:
  struct Slot {
    bool busy = false;
    Key key;
    uint64_t begun = 0;
    size_t size = 0;     // 0: the end is not known yet
    size_t highest = 0;  // of the bytes seen
    std::bitset<8192> have;
    std::unique_ptr<std::array<uint8_t, kLargest>> data;
  };

  Slot& Find(const Key& key, uint64_t now) {
    Slot* best = &slots_[0];
    for (Slot& s : slots_) {
      if (s.busy && s.key == key && now - s.begun < kPatienceNs) return s;
      if (!s.busy ? best->busy : best->busy && s.begun < best->begun) best = &s;
    }
    best->busy = true;
    best->key = key;
    best->begun = now;
    best->size = best->highest = 0;
    best->have.reset();
    if (best->data == nullptr) best->data = std::make_unique<std::array<uint8_t, kLargest>>();
    return *best;
  }
  static std::span<const uint8_t> Drop(Slot& slot) {
    slot.busy = false;
    return {};
  }

  std::array<Slot, kSlots> slots_;
};

}  // namespace atl::usernet

#endif  // LIB_USERNET_REASSEMBLY_H_
