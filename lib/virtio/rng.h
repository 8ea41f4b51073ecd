// SPDX-License-Identifier: Apache-2.0
// The virtio entropy device (VIRTIO 1.2, 5.4).
#ifndef LIB_VIRTIO_RNG_H_
#define LIB_VIRTIO_RNG_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <span>

#include "lib/mem/guest_memory.h"
#include "lib/virtio/device.h"
#include "lib/work/background.h"

namespace atl::virtio {

// Fills all of `to` with random bytes, or is false and gives none. Called with
// the device's lock held, for at most kRngBytes: it must not block for long.
using Entropy = std::function<bool(std::span<uint8_t> to)>;

// A request gets no more than this, however large its buffers: a guest cannot
// have the host's generator work for it at length.
inline constexpr uint32_t kRngBytes = 4096;

// `memory` and `background` outlive the device.
std::unique_ptr<VirtioDevice> NewRng(GuestMemory* memory, work::Background* background,
                                     Entropy entropy);

}  // namespace atl::virtio

#endif  // LIB_VIRTIO_RNG_H_
