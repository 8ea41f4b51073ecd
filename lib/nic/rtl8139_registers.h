// SPDX-License-Identifier: Apache-2.0
// The registers of Realtek's RTL8139C and RTL8139C+, by the names of their data
// sheets ("RTL8139C(L)", "RTL8139C+", register descriptions).
#ifndef LIB_NIC_RTL8139_REGISTERS_H_
#define LIB_NIC_RTL8139_REGISTERS_H_

#include <cstdint>
#include <span>

#include "lib/nic/register_file.h"

namespace atl::nic::rtl8139 {

// In the order of their offsets, as in the table.
enum Reg : uint8_t {
  kIdr0,  // the station's address
  kIdr4,
  kMar0,  // multicast filter
  kMar4,
  kTsd0,  // transmit status; C+: DTCCR, the tally dump, in the first two
  kTsd1,
  kTsd2,
  kTsd3,
  kTsad0,  // transmit start; C+: TNPDS and THPDS, the two rings
  kTsad1,
  kTsad2,
  kTsad3,
  kRbstart,
  kErbcr,
  kErsr,
  kCr,
  kCapr,
  kCbr,
  kImr,
  kIsr,
  kTcr,
  kRcr,
  kTctr,
  kMpc,
  k9346cr,
  kConfig0,
  kConfig1,
  kTimerInt,
  kMsr,
  kConfig3,
  kConfig4,
  kMulint,
  kRerid,
  kTsad,
  kBmcr,
  kBmsr,
  kAnar,
  kAnlpar,
  kAner,
  kDis,
  kFcsc,
  kNwaytr,
  kRec,
  kCscr,
  kPhy1Parm,
  kTwParm,
  kPhy2Parm,
  kConfig5,
  kTppoll,
  kCpcr,
  kRdsar0,
  kRdsar1,
  kEtthr,
  kRegisters,
};
std::span<const RegisterSpec> Table();
using Registers = RegisterFile<Reg>;

// TSD.
inline constexpr uint32_t kTsdSize = 0x1FFF;
inline constexpr uint32_t kTsdOwn = 1 << 13;
inline constexpr uint32_t kTsdUnderrun = 1 << 14;
inline constexpr uint32_t kTsdOk = 1 << 15;
inline constexpr uint32_t kTsdAbort = 1 << 30;
inline constexpr uint32_t kTsdWritable = 0x003F3FFF;
// CR.
inline constexpr uint32_t kCrEmpty = 1 << 0;
inline constexpr uint32_t kCrTransmit = 1 << 2;
inline constexpr uint32_t kCrReceive = 1 << 3;
inline constexpr uint32_t kCrReset = 1 << 4;
// IMR, ISR.
inline constexpr uint32_t kReceived = 1 << 0;
inline constexpr uint32_t kSent = 1 << 2;
inline constexpr uint32_t kSendError = 1 << 3;
inline constexpr uint32_t kNoDescriptor = 1 << 4;  // RXOVW; C+: no receive descriptor
inline constexpr uint32_t kLinkChanged = 1 << 5;   // PUN
inline constexpr uint32_t kAllSent = 1 << 7;       // TDU
inline constexpr uint32_t kSoftware = 1 << 8;      // SWInt
inline constexpr uint32_t kTimeout = 1 << 14;
inline constexpr uint32_t kCauses = 0xE1FF;
// TCR.
inline constexpr uint32_t kTcrLoopback = 3 << 17;
inline constexpr uint32_t kVersionC = 0x74000000;
inline constexpr uint32_t kVersionCPlus = 0x74800000;
// RCR.
inline constexpr uint32_t kRcrAll = 1 << 0;
inline constexpr uint32_t kRcrOwn = 1 << 1;
inline constexpr uint32_t kRcrMulticast = 1 << 2;
inline constexpr uint32_t kRcrBroadcast = 1 << 3;
inline constexpr uint32_t kRcrWrap = 1 << 7;
// 9346CR.
inline constexpr uint32_t kEeOut = 1 << 0;
inline constexpr uint32_t kEeIn = 1 << 1;
inline constexpr uint32_t kEeClock = 1 << 2;
inline constexpr uint32_t kEeSelect = 1 << 3;
inline constexpr uint32_t kEeMode = 3 << 6;
inline constexpr uint32_t kEeModeAutoload = 1 << 6;
inline constexpr uint32_t kEeModeProgram = 2 << 6;
inline constexpr uint32_t kEeModeConfig = 3 << 6;
// MSR.
inline constexpr uint32_t kMsrNoLink = 1 << 2;
// BMCR, BMSR.
inline constexpr uint32_t kBmcrReset = 1 << 15;
inline constexpr uint32_t kBmcrRestart = 1 << 9;
inline constexpr uint32_t kBmsrLink = 1 << 5 | 1 << 2;  // negotiated, link
// TPPoll.
inline constexpr uint32_t kPollHigh = 1 << 7;
inline constexpr uint32_t kPollNormal = 1 << 6;
inline constexpr uint32_t kPollSoftware = 1 << 0;
// C+CR.
inline constexpr uint32_t kPlusTransmit = 1 << 0;
inline constexpr uint32_t kPlusReceive = 1 << 1;
inline constexpr uint32_t kPlusChecksums = 1 << 5;
inline constexpr uint32_t kPlusUntag = 1 << 6;
// DTCCR.
inline constexpr uint32_t kDumpTally = 1 << 3;

}  // namespace atl::nic::rtl8139

#endif  // LIB_NIC_RTL8139_REGISTERS_H_
