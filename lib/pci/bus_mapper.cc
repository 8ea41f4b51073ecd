// SPDX-License-Identifier: Apache-2.0
#include "lib/pci/bus_mapper.h"

#include "absl/status/statusor.h"

namespace atl::pci {

void BusMapper::AddDevice(dev::Device& device, dev::DeviceLock& lock,
                          const dev::MapOptions& options) {
  MutexLock hold(&mutex_);
  owners_.insert_or_assign(&device, Owner{&lock, options});
}

void BusMapper::Map(dev::Device& device, unsigned region, Space space, uint64_t base,
                    uint64_t size) {
  MutexLock hold(&mutex_);
  auto it = mappings_.find({&device, region});
  if (it == mappings_.end()) {
    auto owner = owners_.find(&device);
    if (owner == owners_.end()) return;
    absl::StatusOr<dev::Bus::MappingId> id =
        bus_->Add(space, *owner->second.lock, device, region, size, owner->second.options);
    if (!id.ok()) return;
    it = mappings_.emplace(std::make_pair(&device, region), *id).first;
  }
  // Where the guest asks for more ranges than the bus has, it gets holes.
  (void)bus_->Move(it->second, base);
}

void BusMapper::Unmap(dev::Device& device, unsigned region) {
  MutexLock hold(&mutex_);
  auto it = mappings_.find({&device, region});
  if (it != mappings_.end()) bus_->Unmap(it->second);
}

}  // namespace atl::pci
