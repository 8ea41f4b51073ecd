// SPDX-License-Identifier: Apache-2.0
#include "lib/nic/rtl8139_registers.h"

#include <iterator>

namespace atl::nic::rtl8139 {
namespace {

constexpr uint32_t kAll = 0xFFFFFFFF;

constexpr RegisterSpec kTable[] = {
    {0x00, 4, 0, kAll},         // IDR0
    {0x04, 2, 0, 0xFFFF},       // IDR4
    {0x08, 4, 0, kAll},         // MAR0
    {0x0C, 4, 0, kAll},         // MAR4
    {0x10, 4, kTsdOwn, kAll},   // TSD0
    {0x14, 4, kTsdOwn, kAll},   // TSD1
    {0x18, 4, kTsdOwn, kAll},   // TSD2
    {0x1C, 4, kTsdOwn, kAll},   // TSD3
    {0x20, 4, 0, kAll},         // TSAD0
    {0x24, 4, 0, kAll},         // TSAD1
    {0x28, 4, 0, kAll},         // TSAD2
    {0x2C, 4, 0, kAll},         // TSAD3
    {0x30, 4, 0, kAll},         // RBSTART
    {0x34, 2, 0},               // ERBCR: early receive is not done
    {0x36, 1, 0},               // ERSR
    {0x37, 1, 0, 0x0C},         // CR
    {0x38, 2, 0xFFF0, 0xFFFF},  // CAPR
    {0x3A, 2, 0},               // CBR
    {0x3C, 2, 0, kCauses},      // IMR
    {0x3E, 2, 0, 0, kCauses},   // ISR
    {0x40, 4, 0, 0x030607F0},   // TCR; the version is made
    {0x44, 4, 0, 0x0F03FFBF},   // RCR
    {0x48, 4, 0},               // TCTR: made from the clock
    {0x4C, 4, 0, 0},            // MPC: a write clears it
    {0x50, 1, 0, 0xCE},         // 9346CR
    {0x51, 1, 0, 0},            // CONFIG0
    {0x52, 1, 0x0C, 0xF3},      // CONFIG1: ports and memory mapped
    {0x54, 4, 0, kAll},         // TimerInt
    {0x58, 1, 0x10, 0xC0},      // MSR: auxiliary power; link is made
    {0x59, 1, 0x00, 0x3C},      // CONFIG3
    {0x5A, 1, 0x00, 0xFF},      // CONFIG4
    {0x5C, 2, 0, 0xFFFF},       // MULINT
    {0x5E, 1, 0x10},            // RERID
    {0x60, 2, 0},               // TSAD: made from TSD0 to TSD3
    {0x62, 2, 0x3100, 0x3100},  // BMCR: negotiated, 100 Mb/s, full duplex
    {0x64, 2, 0x7809},          // BMSR: 100 and 10 Mb/s, both duplexes; link is made
    {0x66, 2, 0x05E1, 0x2DE0},  // ANAR
    {0x68, 2, 0x45E1},          // ANLPAR
    {0x6A, 2, 0x0001},          // ANER
    {0x6C, 2, 0},               // DIS
    {0x6E, 2, 0},               // FCSC
    {0x70, 2, 0, 0x0081},       // NWAYTR
    {0x72, 2, 0},               // REC
    {0x74, 2, 0x0008, 0x8FFF},  // CSCR
    {0x78, 4, 0, kAll},         // PHY1_PARM
    {0x7C, 4, 0, kAll},         // TW_PARM
    {0x80, 1, 0, 0xFF},         // PHY2_PARM
    {0xD8, 1, 0, 0xFF},         // CONFIG5
    {0xD9, 1, 0},               // TPPoll: bits that are done at once
    {0xE0, 2, 0, 0x007B},       // C+CR
    {0xE4, 4, 0, 0xFFFFFF00},   // RDSAR
    {0xE8, 4, 0, kAll},
    {0xEC, 1, 0, 0x3F},  // ETThR
};
static_assert(std::size(kTable) == kRegisters);

}  // namespace

std::span<const RegisterSpec> Table() { return kTable; }

}  // namespace atl::nic::rtl8139
