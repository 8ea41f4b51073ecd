// SPDX-License-Identifier: Apache-2.0
// The registers of Intel's 82540EM, by the names of the "PCI/PCI-X Family of
// Gigabit Ethernet Controllers Software Developer's Manual" (317453), chapter 13.
#ifndef LIB_NIC_E1000_REGISTERS_H_
#define LIB_NIC_E1000_REGISTERS_H_

#include <cstdint>

#include "lib/dev/state.h"
#include "lib/nic/register_file.h"

namespace atl::nic::e1000 {

// In the order of their offsets, as in the table.
enum Reg : uint8_t {
  kCtrl,
  kStatus,
  kEecd,
  kEerd,
  kCtrlExt,
  kFla,
  kMdic,
  kFcal,
  kFcah,
  kFct,
  kVet,
  kIcr,
  kItr,
  kIcs,
  kIms,
  kImc,
  kRctl,
  kFcttv,
  kTxcw,
  kRxcw,
  kTctl,
  kTipg,
  kAit,
  kLedctl,
  kPba,
  kFcrtl,
  kFcrth,
  kRdfh,
  kRdft,
  kRdfhs,
  kRdfts,
  kRdfpc,
  kRdbal,
  kRdbah,
  kRdlen,
  kRdh,
  kRdt,
  kRdtr,
  kRxdctl,
  kRadv,
  kRsrpd,
  kTxdmac,
  kTdfh,
  kTdft,
  kTdfhs,
  kTdfts,
  kTdfpc,
  kTdbal,
  kTdbah,
  kTdlen,
  kTdh,
  kTdt,
  kTidv,
  kTxdctl,
  kTadv,
  kTspmt,
  kRxcsum,
  kWuc,
  kWufc,
  kWus,
  kManc,
  kRegisters,
};

// CTRL, 13.4.1.
inline constexpr uint32_t kCtrlFullDuplex = 1 << 0;
inline constexpr uint32_t kCtrlSetLinkUp = 1 << 6;
inline constexpr uint32_t kCtrlReset = 1 << 26;
inline constexpr uint32_t kCtrlVlanMode = 1 << 30;
inline constexpr uint32_t kCtrlPhyReset = 1u << 31;
// STATUS, 13.4.2.
inline constexpr uint32_t kStatusLinkUp = 1 << 1;
// EECD, 13.4.3.
inline constexpr uint32_t kEecdClock = 1 << 0;
inline constexpr uint32_t kEecdSelect = 1 << 1;
inline constexpr uint32_t kEecdIn = 1 << 2;
inline constexpr uint32_t kEecdOut = 1 << 3;
inline constexpr uint32_t kEecdRequest = 1 << 6;
inline constexpr uint32_t kEecdGrant = 1 << 7;
// EERD, 13.4.4.
inline constexpr uint32_t kEerdStart = 1 << 0;
inline constexpr uint32_t kEerdDone = 1 << 4;
// CTRL_EXT, 13.4.6.
inline constexpr uint32_t kCtrlExtEepromReset = 1 << 13;
// MDIC, 13.4.8.
inline constexpr uint32_t kMdicWrite = 1 << 26;
inline constexpr uint32_t kMdicRead = 2 << 26;
inline constexpr uint32_t kMdicOperation = 3 << 26;
inline constexpr uint32_t kMdicReady = 1 << 28;
inline constexpr uint32_t kMdicInterrupt = 1 << 29;
inline constexpr uint32_t kMdicError = 1 << 30;
// ICR, 13.4.17.
inline constexpr uint32_t kIcrTxDescWritten = 1 << 0;
inline constexpr uint32_t kIcrTxQueueEmpty = 1 << 1;
inline constexpr uint32_t kIcrLinkChanged = 1 << 2;
inline constexpr uint32_t kIcrRxMinimum = 1 << 4;
inline constexpr uint32_t kIcrRxOverrun = 1 << 6;
inline constexpr uint32_t kIcrRxTimer = 1 << 7;
inline constexpr uint32_t kIcrMdioDone = 1 << 9;
inline constexpr uint32_t kIcrPhy = 1 << 12;
inline constexpr uint32_t kIcrCauses = 0x1FFFF;
// RCTL, 13.4.22.
inline constexpr uint32_t kRctlEnable = 1 << 1;
inline constexpr uint32_t kRctlUnicastAll = 1 << 3;
inline constexpr uint32_t kRctlMulticastAll = 1 << 4;
inline constexpr uint32_t kRctlLong = 1 << 5;
inline constexpr uint32_t kRctlLoopback = 3 << 6;
inline constexpr uint32_t kRctlBroadcast = 1 << 15;
inline constexpr uint32_t kRctlVlanFilter = 1 << 18;
inline constexpr uint32_t kRctlCfi = 1 << 20;
inline constexpr uint32_t kRctlCfiFilter = 1 << 19;
inline constexpr uint32_t kRctlDiscardPause = 1 << 22;
inline constexpr uint32_t kRctlSizeExtension = 1 << 25;
inline constexpr uint32_t kRctlStripCheck = 1 << 26;
// TCTL, 13.4.33.
inline constexpr uint32_t kTctlEnable = 1 << 1;
inline constexpr uint32_t kTctlPadShort = 1 << 3;
// RDTR, TIDV, 13.4.30, 13.4.44.
inline constexpr uint32_t kFlushDelay = 1u << 31;
// RXCSUM, 13.4.49.
inline constexpr uint32_t kRxcsumIp = 1 << 8;
inline constexpr uint32_t kRxcsumTcpUdp = 1 << 9;
// RAH, 13.5.3.
inline constexpr uint32_t kAddressValid = 1u << 31;

// What is not in the table: arrays.
inline constexpr uint32_t kStatisticsAt = 0x4000;
inline constexpr unsigned kStatistics = 64;
inline constexpr uint32_t kMulticastAt = 0x5200;
inline constexpr unsigned kFilterWords = 128;
inline constexpr uint32_t kAddressesAt = 0x5400;
inline constexpr unsigned kAddresses = 16;
inline constexpr uint32_t kVlanAt = 0x5600;
inline constexpr uint32_t kMemoryBytes = 0x20000;

// Places in the statistics, 13.7: (offset - 0x4000) / 4. All are cleared by a read.
enum Statistic : uint8_t {
  kMissed = 0x10 / 4,  // MPC
  kRx64 = 0x5C / 4,    // PRC64 and the five after it: up to 127, 255, ...
  kRxGood = 0x74 / 4,
  kRxBroadcast = 0x78 / 4,
  kRxMulticast = 0x7C / 4,
  kTxGood = 0x80 / 4,
  kRxGoodBytes = 0x88 / 4,  // low, high
  kTxGoodBytes = 0x90 / 4,
  kRxNoBuffer = 0xA0 / 4,
  kRxUndersize = 0xA4 / 4,
  kRxOversize = 0xAC / 4,
  kRxBytes = 0xC0 / 4,
  kTxBytes = 0xC8 / 4,
  kRxTotal = 0xD0 / 4,
  kTxTotal = 0xD4 / 4,
  kTx64 = 0xD8 / 4,
  kTxMulticast = 0xF0 / 4,
  kTxBroadcast = 0xF4 / 4,
  kTxSegmented = 0xF8 / 4,
};

// All that a reset puts back.
struct Registers {
  Registers();
  void Reset();
  void VisitState(dev::StateVisitor& v);

  // Counts a frame of `bytes` with its check sequence.
  void Count(Statistic n, uint64_t by = 1);
  void CountBytes(Statistic low, uint64_t bytes);
  void CountSize(Statistic first, uint64_t bytes);

  // The descriptor ring that starts at `low`: RDBAL or TDBAL and those behind.
  struct Ring {
    uint64_t base;
    uint32_t count;  // descriptors, at most 65528
    uint32_t head;
    uint32_t tail;
    // Whether head and tail are descriptors of it; the guest may have said
    // anything.
    bool sound() const { return count != 0 && head < count && tail < count; }
    uint32_t owned() const { return (tail + count - head) % count; }  // by the card
  };
  Ring ring(Reg low) const;

  RegisterFile<Reg> file;
  uint32_t statistics[kStatistics] = {};
  uint32_t multicast[kFilterWords] = {};
  uint32_t vlan[kFilterWords] = {};
  uint32_t addresses[2 * kAddresses] = {};  // RAL, RAH
};

inline constexpr unsigned kDescriptorBytes = 16;

}  // namespace atl::nic::e1000

#endif  // LIB_NIC_E1000_REGISTERS_H_
