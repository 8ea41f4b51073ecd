// SPDX-License-Identifier: Apache-2.0
// MSI-X (PCI Local Bus 3.0, 6.8.2): a table of vectors and an array of pending
// bits, both in a BAR. The guest reaches them by any access of 1 to 8 bytes;
// accesses are taken apart into bytes and checked against the tables' ends, so
// that no size or offset leaves them (the class of CVE-2020-13754).
#ifndef LIB_PCI_MSIX_H_
#define LIB_PCI_MSIX_H_

#include <cstdint>
#include <optional>
#include <vector>

#include "lib/dev/irq.h"
#include "lib/dev/state.h"

namespace atl::pci {

class Msix {
 public:
  static constexpr unsigned kEntryBytes = 16;
  static constexpr unsigned kMaxVectors = 2048;

  // `vectors`: 1 to kMaxVectors.
  Msix(unsigned vectors, dev::MsiSink* sink);

  unsigned vectors() const { return vectors_; }
  uint64_t table_bytes() const { return table_.size(); }
  uint64_t pba_bytes() const { return (vectors_ + 63) / 64 * 8; }

  void Reset();
  // From the capability's control word and the command register. A vector that
  // became pending meanwhile is sent when nothing masks it any more.
  void SetControl(bool enabled, bool function_masked, bool bus_master);
  bool enabled() const { return enabled_; }
  // What the vector sends now, for who sends it past Trigger(); nothing where it is off,
  // masked, or no vector.
  struct Message {
    uint64_t address = 0;
    uint32_t data = 0;
  };
  std::optional<Message> MessageOf(unsigned vector) const;

  // Bytes outside the tables read as zero and ignore writes.
  uint64_t ReadTable(uint64_t offset, unsigned size) const;
  void WriteTable(uint64_t offset, unsigned size, uint64_t value);
  uint64_t ReadPba(uint64_t offset, unsigned size) const;

  // Sends the vector, or makes it pending where masked. False and nothing done
  // where there is no such vector or MSI-X is off.
  bool Trigger(unsigned vector);

  void VisitState(dev::StateVisitor& v);

 private:
  bool Masked(unsigned vector) const;
  void SendIfPending(unsigned vector);

  unsigned vectors_;
  dev::MsiSink* sink_;
  std::vector<uint8_t> table_;
  std::vector<uint8_t> pending_;
  bool enabled_ = false;
  bool function_masked_ = false;
  bool bus_master_ = false;
};

}  // namespace atl::pci

#endif  // LIB_PCI_MSIX_H_
