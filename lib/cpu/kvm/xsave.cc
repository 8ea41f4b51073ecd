// SPDX-License-Identifier: Apache-2.0
#include "lib/cpu/kvm/xsave.h"

#include <errno.h>
#include <linux/kvm.h>
#include <sys/ioctl.h>

#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "lib/base/status_macros.h"

namespace atl::cpu::kvm {
namespace {

// struct kvm_xsave, and the ioctls, as they are in C (see vm.h).
constexpr size_t kSmallest = 4096;
constexpr unsigned long kGetXsave = _IOC(_IOC_READ, KVMIO, 0xA4, kSmallest),
                        kSetXsave = _IOC(_IOC_WRITE, KVMIO, 0xA5, kSmallest),
                        kGetXsave2 = _IOC(_IOC_READ, KVMIO, 0xCF, kSmallest);
// More than any processor has components for: AMX has 8 KiB of tiles.
constexpr int kMost = 64 << 10;
constexpr uint16_t kFcw = 0x40;  // so after power-on; FNINIT makes it 0x37F
constexpr uint32_t kMxcsr = 0x1F80;
constexpr size_t kMxcsrAt = 24, kHeaderAt = 512;
constexpr uint64_t kX87 = 1, kSse = 2;

}  // namespace

size_t XsaveBytes(int vm) {
  if (ioctl(vm, KVM_CHECK_EXTENSION, KVM_CAP_XSAVE) <= 0) return 0;
  const int large = ioctl(vm, KVM_CHECK_EXTENSION, KVM_CAP_XSAVE2);
  return static_cast<size_t>(std::clamp(large, static_cast<int>(kSmallest), kMost));
}

// KVM_GET_XSAVE where that is all, since a module may lack the other.
absl::StatusOr<std::vector<uint8_t>> GetXsave(int vcpu, size_t bytes) {
  if (bytes < kSmallest) return absl::UnimplementedError("this KVM has no KVM_CAP_XSAVE");
  std::vector<uint8_t> area(bytes);
  const unsigned long request = bytes > kSmallest ? kGetXsave2 : kGetXsave;
  if (ioctl(vcpu, request, area.data()) != 0) return ErrnoError(errno, "KVM_GET_XSAVE");
  return area;
}

// KVM reads as much as XsaveBytes() said.
absl::Status SetXsave(int vcpu, std::span<const uint8_t> area) {
  if (area.size() < kSmallest) {
    return absl::InvalidArgumentError(absl::StrCat("an XSAVE area of ", area.size(), " bytes"));
  }
  if (ioctl(vcpu, kSetXsave, area.data()) != 0) return ErrnoError(errno, "KVM_SET_XSAVE");
  return absl::OkStatus();
}

absl::Status ResetXsave(int vcpu, size_t bytes) {
  if (bytes == 0) {
    kvm_fpu fpu{};
    fpu.fcw = kFcw;
    fpu.mxcsr = kMxcsr;
    if (ioctl(vcpu, KVM_SET_FPU, &fpu) != 0) return ErrnoError(errno, "KVM_SET_FPU");
    return absl::OkStatus();
  }
  // What XSTATE_BV does not name is in its first state. It names those two for MXCSR's
  // sake, which KVM takes only with one of them.
  constexpr uint64_t kInArea = kX87 | kSse;
  std::vector<uint8_t> area(bytes);
  std::memcpy(area.data(), &kFcw, sizeof kFcw);
  std::memcpy(area.data() + kMxcsrAt, &kMxcsr, sizeof kMxcsr);
  std::memcpy(area.data() + kHeaderAt, &kInArea, sizeof kInArea);
  return SetXsave(vcpu, area);
}

}  // namespace atl::cpu::kvm
