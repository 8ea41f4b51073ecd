// SPDX-License-Identifier: Apache-2.0
// What a PCI function is wired to in its test: a mapper, pins and an MSI
// sink that remember. One thread.
#ifndef LIB_PCI_TESTING_FAKES_H_
#define LIB_PCI_TESTING_FAKES_H_

#include <cstdint>
#include <map>
#include <utility>
#include <vector>

#include "lib/dev/device.h"
#include "lib/dev/irq.h"
#include "lib/pci/device.h"
#include "lib/pci/wiring.h"

namespace atl::pci {

class FakeMapper : public BarMapper {
 public:
  struct Range {
    Space space;
    uint64_t base;
    uint64_t size;
    friend bool operator==(const Range&, const Range&) = default;
  };

  void Map(dev::Device& device, unsigned region, Space space, uint64_t base,
           uint64_t size) override {
    if (!ranges.emplace(Key{&device, region}, Range{space, base, size}).second) ++errors;
  }
  void Unmap(dev::Device& device, unsigned region) override {
    if (ranges.erase(Key{&device, region}) == 0) ++errors;
  }
  // Null where not mapped.
  const Range* Find(const dev::Device& device, unsigned region) const {
    auto it = ranges.find(Key{&device, region});
    return it == ranges.end() ? nullptr : &it->second;
  }

  using Key = std::pair<const dev::Device*, unsigned>;
  std::map<Key, Range> ranges;
  int errors = 0;  // mapped twice, or unmapped without being mapped
};

class FakeIntx : public IntxSink {
 public:
  void SetIntx(DevFn function, unsigned pin, bool now) override {
    last = function;
    last_pin = pin;
    if (now && !level) ++edges;
    level = now;
  }
  DevFn last;
  unsigned last_pin = 0;
  unsigned edges = 0;
  bool level = false;
};

class FakeMsi : public dev::MsiSink {
 public:
  void SendMsi(uint64_t address, uint32_t data) override { sent.emplace_back(address, data); }
  std::vector<std::pair<uint64_t, uint32_t>> TakeSent() { return std::exchange(sent, {}); }
  std::vector<std::pair<uint64_t, uint32_t>> sent;
};

struct FakeWiring {
  FakeMapper mapper;
  FakeIntx intx;
  FakeMsi msi;
  PciWiring At(unsigned slot, unsigned function = 0) {
    return {DevFn(slot, function), &mapper, &intx, &msi};
  }
};

}  // namespace atl::pci

#endif  // LIB_PCI_TESTING_FAKES_H_
