// SPDX-License-Identifier: Apache-2.0
#include "lib/cpu/kvm/coalesced.h"

#include <sys/ioctl.h>
#include <sys/mman.h>

#include <cstring>

#include "lib/mem/address.h"

namespace atl::cpu::kvm {

// One round of the ring at the most: what comes in meanwhile is for the next exit, and
// vCPUs that never stop writing do not keep us here.
void RingReader::DeliverAll() {
  MutexLock lock(&mu_);
  const uint32_t last = __atomic_load_n(&ring_.last, __ATOMIC_ACQUIRE);
  if (last >= CoalescedRing::kEntries) return;
  uint32_t first = first_.load(std::memory_order_relaxed);
  while (first != last) {
    const kvm_coalesced_mmio entry = ring_.entries[first];
    DeliverOne(entry);
    first = first + 1 == CoalescedRing::kEntries ? 0 : first + 1;
    if (first != 0) __atomic_store_n(&ring_.first, first, __ATOMIC_RELEASE);
    first_.store(first, std::memory_order_release);
  }
}

// An access can be of any number of bytes up to 8: what is left of one that crosses
// pages.
void RingReader::DeliverOne(const kvm_coalesced_mmio& entry) {
  const bool port = entry.pio != 0;
  if (entry.len > sizeof entry.data || (port && entry.phys_addr > 0xFFFF)) return;
  for (uint32_t done = 0; done < entry.len;) {
    uint32_t n = sizeof entry.data;
    while (n > entry.len - done) n /= 2;
    uint64_t value = 0;
    std::memcpy(&value, entry.data + done, n);
    sink_(port, entry.phys_addr + done, n, value);
    done += n;
  }
}

Coalesced::Coalesced(int vm, std::span<const PostedRange> ranges, PostedSink& sink)
    : vm_(vm), sink_(sink) {
  const bool mmio = ioctl(vm, KVM_CHECK_EXTENSION, KVM_CAP_COALESCED_MMIO) > 0;
  const bool ports = mmio && ioctl(vm, KVM_CHECK_EXTENSION, KVM_CAP_COALESCED_PIO) > 0;
  for (const PostedRange& r : ranges) {
    if (r.port ? ports : mmio) ranges_.push_back(r);
  }
}

Coalesced::~Coalesced() {
  if (ring_ != nullptr) munmap(ring_, kPageSize);
}

void Coalesced::AddVcpu(int vcpu) {
  if (ring_ != nullptr || ranges_.empty()) return;
  const int page = ioctl(vm_, KVM_CHECK_EXTENSION, KVM_CAP_COALESCED_MMIO);
  if (page <= 0) return;
  void* const at = mmap(nullptr, kPageSize, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu,
                        static_cast<off_t>(page) * static_cast<off_t>(kPageSize));
  if (at == MAP_FAILED) return;
  ring_ = at;
  reader_ = std::make_unique<RingReader>(*static_cast<CoalescedRing*>(at), sink_);
  for (const PostedRange& r : ranges_) Set(r, true);
}

void Coalesced::Set(const PostedRange& range, bool posted) {
  kvm_coalesced_mmio_zone zone{};
  zone.addr = range.base;
  zone.size = range.size;
  zone.pio = range.port;
  // Where it is refused, or not there, the writes exit: slower, not wrong.
  (void)ioctl(vm_, posted ? KVM_REGISTER_COALESCED_MMIO : KVM_UNREGISTER_COALESCED_MMIO, &zone);
}

void Coalesced::LetSeenWait(bool may) {
  if (reader_ == nullptr) return;
  MutexLock lock(&mu_);
  if (seen_wait_ == may) return;
  seen_wait_ = may;
  for (const PostedRange& r : ranges_) {
    if (r.seen) Set(r, may);
  }
}

}  // namespace atl::cpu::kvm
