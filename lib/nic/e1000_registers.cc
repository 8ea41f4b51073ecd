// SPDX-License-Identifier: Apache-2.0
#include "lib/nic/e1000_registers.h"

#include <iterator>

namespace atl::nic::e1000 {
namespace {

constexpr uint32_t kAll = 0xFFFFFFFF;

constexpr RegisterSpec kTable[] = {
    // CTRL: full duplex, auto speed detection, set link up, speed 1000.
    {0x0000, 4, 0x00000261, kAll & ~kCtrlReset & ~kCtrlPhyReset},
    {0x0008, 4, 0x00000681},  // STATUS: full duplex, 1000 Mb/s; link up is made
    {0x0010, 4, 0x00000100, kEecdClock | kEecdSelect | kEecdIn | 0x30 | kEecdRequest},  // EECD
    {0x0014, 4, 0, kAll & ~kEerdDone},                                                  // EERD
    {0x0018, 4, 0, 0x007FFFFF & ~kCtrlExtEepromReset},                                  // CTRL_EXT
    {0x001C, 4, 0},                       // FLA: there is no flash
    {0x0020, 4, kMdicReady, 0x2FFFFFFF},  // MDIC
    {0x0028, 4, 0, kAll},                 // FCAL
    {0x002C, 4, 0, 0xFFFF},               // FCAH
    {0x0030, 4, 0, 0xFFFF},               // FCT
    {0x0038, 4, 0x8100, 0xFFFF},          // VET
    {0x00C0, 4, 0, 0, kIcrCauses},        // ICR
    {0x00C4, 4, 0, 0xFFFF},               // ITR
    {0x00C8, 4, 0},                       // ICS
    {0x00D0, 4, 0},                       // IMS: the mask
    {0x00D8, 4, 0},                       // IMC
    {0x0100, 4, 0, 0x07FFFFFE},           // RCTL
    {0x0170, 4, 0, 0xFFFF},               // FCTTV
    {0x0178, 4, 0, 0xC000FFFF},           // TXCW
    {0x0180, 4, 0},                       // RXCW
    {0x0400, 4, 0, 0x03FFFFFA},           // TCTL
    {0x0410, 4, 0x00602008, 0x3FFFFFFF},  // TIPG
    {0x0458, 4, 0, 0xFFFF},               // AIT
    {0x0E00, 4, 0x07068302, kAll},        // LEDCTL
    {0x1000, 4, 0x00100030, 0xFFFF},      // PBA: 48 KiB, 16 KiB
    {0x2160, 4, 0, 0x8000FFF8},           // FCRTL
    {0x2168, 4, 0, 0x8000FFF8},           // FCRTH
    {0x2410, 4, 0, 0x1FFF},               // RDFH
    {0x2418, 4, 0, 0x1FFF},               // RDFT
    {0x2420, 4, 0, 0x1FFF},               // RDFHS
    {0x2428, 4, 0, 0x1FFF},               // RDFTS
    {0x2430, 4, 0, 0x1FFF},               // RDFPC
    {0x2800, 4, 0, 0xFFFFFFF0},           // RDBAL
    {0x2804, 4, 0, kAll},                 // RDBAH
    {0x2808, 4, 0, 0x000FFF80},           // RDLEN
    {0x2810, 4, 0, 0xFFFF},               // RDH
    {0x2818, 4, 0, 0xFFFF},               // RDT
    {0x2820, 4, 0, 0xFFFF},               // RDTR
    {0x2828, 4, 0x01010000, 0x013F3F3F},  // RXDCTL
    {0x282C, 4, 0, 0xFFFF},               // RADV
    {0x2C00, 4, 0, 0x0FFF},               // RSRPD
    {0x3000, 4, 0, 0x1},                  // TXDMAC
    {0x3410, 4, 0x600, 0x07FF},           // TDFH
    {0x3418, 4, 0x600, 0x07FF},           // TDFT
    {0x3420, 4, 0x600, 0x1FFF},           // TDFHS
    {0x3428, 4, 0x600, 0x1FFF},           // TDFTS
    {0x3430, 4, 0, 0x1FFF},               // TDFPC
    {0x3800, 4, 0, 0xFFFFFFF0},           // TDBAL
    {0x3804, 4, 0, kAll},                 // TDBAH
    {0x3808, 4, 0, 0x000FFF80},           // TDLEN
    {0x3810, 4, 0, 0xFFFF},               // TDH
    {0x3818, 4, 0, 0xFFFF},               // TDT
    {0x3820, 4, 0, 0xFFFF},               // TIDV
    {0x3828, 4, 0, 0xFF3F3F3F},           // TXDCTL
    {0x382C, 4, 0, 0xFFFF},               // TADV
    {0x3830, 4, 0x01000400, kAll},        // TSPMT
    {0x5000, 4, 0, 0x07FF},               // RXCSUM
    {0x5800, 4, 0, 0x000F},               // WUC
    {0x5808, 4, 0, 0x000F80FF},           // WUFC
    {0x5810, 4, 0, 0, kAll},              // WUS
    {0x5820, 4, 0, kAll},                 // MANC
};
static_assert(std::size(kTable) == kRegisters);

}  // namespace

Registers::Registers() : file(kTable) {}

void Registers::Reset() {
  file.Reset();
  for (uint32_t& s : statistics) s = 0;
  for (uint32_t& m : multicast) m = 0;
  for (uint32_t& w : vlan) w = 0;
  for (uint32_t& a : addresses) a = 0;
}

void Registers::VisitState(dev::StateVisitor& v) {
  file.VisitState(v);
  v.Array("statistics", statistics);
  v.Array("multicast", multicast);
  v.Array("vlan", vlan);
  v.Array("addresses", addresses);
}

// Counters of 32 bits stay at their greatest value.
void Registers::Count(Statistic n, uint64_t by) {
  const uint64_t sum = statistics[n] + by;
  statistics[n] = sum > kAll ? kAll : static_cast<uint32_t>(sum);
}

void Registers::CountBytes(Statistic low, uint64_t bytes) {
  const uint64_t old = uint64_t{statistics[low + 1]} << 32 | statistics[low];
  const uint64_t sum = old + bytes < old ? ~uint64_t{0} : old + bytes;
  statistics[low] = static_cast<uint32_t>(sum);
  statistics[low + 1] = static_cast<uint32_t>(sum >> 32);
}

void Registers::CountSize(Statistic first, uint64_t bytes) {
  constexpr uint64_t kLimits[] = {64, 127, 255, 511, 1023};
  unsigned i = 0;
  while (i < std::size(kLimits) && bytes > kLimits[i]) ++i;
  Count(static_cast<Statistic>(first + i));
}

Registers::Ring Registers::ring(Reg low) const {
  static_assert(kRdt == kRdbal + 4 && kTdt == kTdbal + 4);
  const auto at = [&](unsigned i) { return file[static_cast<Reg>(low + i)]; };
  return {uint64_t{at(1)} << 32 | at(0), at(2) / kDescriptorBytes, at(3), at(4)};
}

}  // namespace atl::nic::e1000
