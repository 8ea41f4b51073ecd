// SPDX-License-Identifier: Apache-2.0
// The BarMapper over the machine's bus.
#ifndef LIB_PCI_BUS_MAPPER_H_
#define LIB_PCI_BUS_MAPPER_H_

#include <cstdint>
#include <map>
#include <utility>

#include "lib/base/mutex.h"
#include "lib/dev/bus.h"
#include "lib/dev/device.h"
#include "lib/dev/device_lock.h"
#include "lib/pci/wiring.h"

namespace atl::pci {

class BusMapper : public BarMapper {
 public:
  explicit BusMapper(dev::Bus* bus) : bus_(bus) {}

  // Before the device's first Map(). A device that was not added is mapped
  // nowhere. `options` hold for all its regions.
  void AddDevice(dev::Device& device, dev::DeviceLock& lock, const dev::MapOptions& options = {});

  void Map(dev::Device& device, unsigned region, Space space, uint64_t base,
           uint64_t size) override;
  void Unmap(dev::Device& device, unsigned region) override;

 private:
  struct Owner {
    dev::DeviceLock* lock;
    dev::MapOptions options;
  };

  dev::Bus* bus_;
  Mutex mutex_;
  std::map<const dev::Device*, Owner> owners_ ABSL_GUARDED_BY(mutex_);
  std::map<std::pair<const dev::Device*, unsigned>, dev::Bus::MappingId> mappings_
      ABSL_GUARDED_BY(mutex_);
};

}  // namespace atl::pci

#endif  // LIB_PCI_BUS_MAPPER_H_
