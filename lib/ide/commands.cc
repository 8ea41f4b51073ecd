// SPDX-License-Identifier: Apache-2.0
#include "lib/ide/commands.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>
#include <string>

#include "lib/base/checked.h"
#include "lib/base/endian.h"

namespace atl::ide {
namespace {

constexpr uint8_t kLbaMode = 0x40;  // device register
constexpr uint64_t kMaxLba28 = 0x0FFFFFFF;

}  // namespace

struct Commands::Disk {
  // The sectors that the task file names, or nothing where the disk lacks them.
  static std::optional<Channel::Transfer> Resolve(const Drive& d, bool ext) {
    Channel::Transfer t;
    const bool lba = (d.device & kLbaMode) != 0;
    if (ext) {
      if (!lba) return std::nullopt;
      t.sector = d.lba_low.now | uint64_t{d.lba_mid.now} << 8 | uint64_t{d.lba_high.now} << 16 |
                 uint64_t{d.lba_low.before} << 24 | uint64_t{d.lba_mid.before} << 32 |
                 uint64_t{d.lba_high.before} << 40;
      t.sectors = d.count.now | uint32_t{d.count.before} << 8;
      if (t.sectors == 0) t.sectors = 65536;
    } else {
      t.sectors = d.count.now == 0 ? 256 : d.count.now;
      const uint32_t head = d.device & 0x0F;
      if (lba) {
        t.sector = d.lba_low.now | uint32_t{d.lba_mid.now} << 8 | uint32_t{d.lba_high.now} << 16 |
                   head << 24;
      } else {
        const uint32_t cylinder = d.lba_mid.now | uint32_t{d.lba_high.now} << 8;
        const uint32_t sector = d.lba_low.now;  // from 1
        if (sector == 0 || sector > d.current_track_sectors || head >= d.current_heads) {
          return std::nullopt;
        }
        t.sector =
            (uint64_t{cylinder} * d.current_heads + head) * d.current_track_sectors + (sector - 1);
      }
    }
    if (!RangeFits(t.sector, t.sectors, d.sectors())) return std::nullopt;
    return t;
  }

  static void Pio(Channel& c, bool ext, bool write, bool multiple) {
    if (multiple && c.drive().multiple == 0) return c.Fail(kAborted);
    if (write && c.drive().options.disk->read_only()) return c.Fail(kAborted);
    std::optional<Channel::Transfer> t = Resolve(c.drive(), ext);
    if (!t.has_value()) return c.Fail(kIdNotFound);
    t->write = write;
    t->block = multiple ? c.drive().multiple : 1;
    c.StartPio(*t);
  }
  static void Read(Channel& c, uint8_t) { Pio(c, false, false, false); }
  static void ReadExt(Channel& c, uint8_t) { Pio(c, true, false, false); }
  static void ReadMultiple(Channel& c, uint8_t) { Pio(c, false, false, true); }
  static void ReadMultipleExt(Channel& c, uint8_t) { Pio(c, true, false, true); }
  static void Write(Channel& c, uint8_t) { Pio(c, false, true, false); }
  static void WriteExt(Channel& c, uint8_t) { Pio(c, true, true, false); }
  static void WriteMultiple(Channel& c, uint8_t) { Pio(c, false, true, true); }
  static void WriteMultipleExt(Channel& c, uint8_t) { Pio(c, true, true, true); }

  static void Dma(Channel& c, bool ext, bool write) {
    if (write && c.drive().options.disk->read_only()) return c.Fail(kAborted);
    std::optional<Channel::Transfer> t = Resolve(c.drive(), ext);
    if (!t.has_value()) return c.Fail(kIdNotFound);
    t->write = write;
    c.StartDma(*t);
  }
  static void ReadDma(Channel& c, uint8_t) { Dma(c, false, false); }
  static void ReadDmaExt(Channel& c, uint8_t) { Dma(c, true, false); }
  static void WriteDma(Channel& c, uint8_t) { Dma(c, false, true); }
  static void WriteDmaExt(Channel& c, uint8_t) { Dma(c, true, true); }

  static void Verify(Channel& c, uint8_t opcode) {
    Resolve(c.drive(), opcode == 0x42).has_value() ? c.Succeed() : c.Fail(kIdNotFound);
  }
  static void Nothing(Channel& c, uint8_t) { c.Succeed(); }
  static void Nop(Channel& c, uint8_t) { c.Fail(kAborted); }  // that is its purpose

  static void Flush(Channel& c, uint8_t) {
    c.Work([disk = c.drive().options.disk] { return disk->Flush(); },
           [&c](const absl::Status& flushed) { flushed.ok() ? c.Succeed() : c.Fail(kAborted); });
  }

  static void InitializeParameters(Channel& c, uint8_t) {
    Drive& d = c.drive();
    if (d.count.now == 0) return c.Fail(kAborted);
    d.current_track_sectors = d.count.now;
    d.current_heads = static_cast<uint8_t>((d.device & 0x0F) + 1);
    c.Succeed();
  }

  static void SetMultiple(Channel& c, uint8_t) {
    const uint8_t n = c.drive().count.now;
    if (n > kMaxMultiple || (n & (n - 1)) != 0) return c.Fail(kAborted);
    c.drive().multiple = n;
    c.Succeed();
  }

  static void ReadNativeMax(Channel& c, uint8_t opcode) {
    Drive& d = c.drive();
    const bool ext = opcode == 0x27;
    const uint64_t all = d.sectors() == 0 ? 0 : d.sectors() - 1;
    const uint64_t last = ext ? all : std::min(all, kMaxLba28);
    d.lba_low = {static_cast<uint8_t>(last), static_cast<uint8_t>(last >> 24)};
    d.lba_mid = {static_cast<uint8_t>(last >> 8), static_cast<uint8_t>(last >> 32)};
    d.lba_high = {static_cast<uint8_t>(last >> 16), static_cast<uint8_t>(last >> 40)};
    if (!ext) d.device = static_cast<uint8_t>((d.device & 0xF0) | (last >> 24 & 0x0F));
    c.Succeed();
  }

  static void CheckPower(Channel& c, uint8_t) {
    c.drive().count.now = 0xFF;  // active
    c.Succeed();
  }

  static void SetFeatures(Channel& c, uint8_t) {
    Drive& d = c.drive();
    switch (d.feature) {
      case 0x02:
        d.write_cache = true;
        return c.Succeed();
      case 0x82:
        // From here on writes are safe when they end; so must the earlier be.
        d.write_cache = false;
        return Flush(c, 0);
      case 0x03:  // transfer mode
        return d.SetTransferMode(d.count.now) ? c.Succeed() : c.Fail(kAborted);
      case 0x05:  // power management, read look-ahead, reverting to defaults
      case 0x85:
      case 0x55:
      case 0xAA:
      case 0x66:
      case 0xCC:
        return c.Succeed();
      default:
        return c.Fail(kAborted);
    }
  }

  // Enough that hosts read "healthy" and nothing more.
  static void Smart(Channel& c, uint8_t) {
    Drive& d = c.drive();
    if (d.lba_mid.now != 0x4F || d.lba_high.now != 0xC2) return c.Fail(kAborted);
    if (d.feature == 0xD8) {
      d.smart = true;
      return c.Succeed();
    }
    if (!d.smart) return c.Fail(kAborted);
    std::array<uint8_t, kSectorBytes> data{};
    switch (d.feature) {
      case 0xD9:
        d.smart = false;
        return c.Succeed();
      case 0xD2:  // attribute autosave
      case 0xDA:  // return status: the LBA registers as they are say "healthy"
        return c.Succeed();
      case 0xD0:  // data: no attributes
      case 0xD1:  // thresholds
        data[0] = 1;
        data.back() = 0xFF;  // the sum of all bytes is 0
        return c.SendData(data);
      default:
        return c.Fail(kAborted);
    }
  }

  static void Identify(Channel& c, uint8_t);

  // By opcode; ATA/ATAPI-7 and the obsolete ones that old systems use.
  static constexpr std::array kRows = {
      Row{0x00, Nop},
      Row{0x10, Nothing},  // recalibrate
      Row{0x20, Read},
      Row{0x21, Read},
      Row{0x24, ReadExt},
      Row{0x25, ReadDmaExt},
      Row{0x27, ReadNativeMax},
      Row{0x29, ReadMultipleExt},
      Row{0x30, Write},
      Row{0x31, Write},
      Row{0x34, WriteExt},
      Row{0x35, WriteDmaExt},
      Row{0x39, WriteMultipleExt},
      Row{0x40, Verify},
      Row{0x41, Verify},
      Row{0x42, Verify},
      Row{0x70, Nothing},  // seek
      Row{0x91, InitializeParameters},
      Row{0x94, Nothing},  // power: 94h to 98h are the old opcodes of E0h to E5h
      Row{0x95, Nothing},
      Row{0x96, Nothing},
      Row{0x97, Nothing},
      Row{0x98, CheckPower},
      Row{0xB0, Smart},
      Row{0xC4, ReadMultiple},
      Row{0xC5, WriteMultiple},
      Row{0xC6, SetMultiple},
      Row{0xC8, ReadDma},
      Row{0xC9, ReadDma},
      Row{0xCA, WriteDma},
      Row{0xCB, WriteDma},
      Row{0xE0, Nothing},
      Row{0xE1, Nothing},
      Row{0xE2, Nothing},
      Row{0xE3, Nothing},
      Row{0xE5, CheckPower},
      Row{0xE6, Nothing},
      Row{0xE7, Flush},
      Row{0xEA, Flush},
      Row{0xEC, Identify},
      Row{0xEF, SetFeatures},
      Row{0xF8, ReadNativeMax},
  };
};

void Commands::Disk::Identify(Channel& c, uint8_t) {
  const Drive& d = c.drive();
  std::array<uint8_t, kSectorBytes> data{};
  auto word = [&data](unsigned i, uint64_t value) {
    StoreLe<uint16_t>(&data[2 * i], static_cast<uint16_t>(value));
  };
  const uint64_t lba28 = std::min(d.sectors(), kMaxLba28);
  word(0, 0x0040);  // a fixed disk
  word(1, d.cylinders);
  word(3, d.heads);
  word(6, d.track_sectors);
  d.FillIdentity(data.data());
  word(47, 0x8000 | kMaxMultiple);
  word(48, 1);       // 32-bit data accesses
  word(49, 0x0F00);  // IORDY, LBA, DMA
  word(50, 0x4000);
  word(51, 0x0200);
  word(52, 0x0200);
  word(53, 0x0007);  // words 54-58, 64-70 and 88 are valid
  const uint32_t per_cylinder = uint32_t{d.current_heads} * d.current_track_sectors;
  const uint64_t cylinders =
      per_cylinder == 0 ? 0 : std::min<uint64_t>(d.sectors() / per_cylinder, 65535);
  word(54, cylinders);
  word(55, d.current_heads);
  word(56, d.current_track_sectors);
  word(57, cylinders * per_cylinder);
  word(58, cylinders * per_cylinder >> 16);
  word(59, d.multiple != 0 ? 0x0100 | d.multiple : 0);
  word(60, lba28);
  word(61, lba28 >> 16);
  const unsigned mode = d.transfer_mode & 7;
  const bool ultra = (d.transfer_mode & 0x40) != 0;
  word(63, 0x0007 | (ultra ? 0 : 0x0100u << mode));  // multiword DMA
  word(64, 0x0003);                                  // PIO 3 and 4
  for (unsigned i = 65; i <= 68; ++i) word(i, 120);  // cycle times in ns
  word(80, 0x00F0);                                  // ATA-4 to ATA-7
  word(81, 0x0016);
  word(82, 0x4021);  // NOP, write cache, SMART
  word(83, 0x7400);  // FLUSH CACHE (EXT), 48-bit addresses
  word(84, 0x4000);
  word(85, 0x4000 | (d.write_cache ? 0x20 : 0) | (d.smart ? 1 : 0));
  word(86, 0x3400);
  word(87, 0x4000);
  word(88, 0x003F | (ultra ? 0x0100u << mode : 0));  // Ultra DMA
  word(93, 0x6001);                                  // an 80-wire cable
  for (unsigned i = 0; i < 4; ++i) word(100 + i, d.sectors() >> (16 * i));
  word(106, 0x6003);  // 8 logical sectors make a physical one
  c.SendData(data);
}

const Commands::Row* Commands::FindDiskCommand(uint8_t opcode) {
  // 1xh and 7xh are one command each.
  if ((opcode & 0xF0) == 0x10 || (opcode & 0xF0) == 0x70) opcode &= 0xF0;
  for (const Row& row : Disk::kRows) {
    if (row.opcode == opcode) return &row;
  }
  return nullptr;
}

}  // namespace atl::ide
