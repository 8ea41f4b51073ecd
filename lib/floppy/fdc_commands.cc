// SPDX-License-Identifier: Apache-2.0
#include "lib/floppy/fdc_commands.h"

#include <array>

namespace atl::floppy {

struct Fdc::Commands::Row {
  uint8_t code;
  uint8_t mask;    // the bits of the first byte that are the code
  uint8_t length;  // bytes
  void (*run)(Fdc& f);
};

struct Fdc::Commands::Handlers {
  static constexpr uint8_t kMultiTrack = 0x80;   // first byte
  static constexpr uint8_t kImpliedSeek = 0x40;  // CONFIGURE
  static constexpr uint8_t kLock = 0x80;         // LOCK
  static constexpr uint8_t kDown = 0x40;         // RELATIVE SEEK: inwards
  static constexpr uint8_t kVersion = 0x90;      // an enhanced controller

  // The drive that the second byte names; null where there is none.
  static Drive* Named(Fdc& f) {
    const unsigned number = f.fifo_[1] & 3;
    f.transfer_ = {};
    f.transfer_.head = f.fifo_[1] >> 2 & 1;
    f.transfer_.sector = 1;
    if (number >= kDrives || f.drives_[number].type == DriveType::kNone) return nullptr;
    f.transfer_.drive = static_cast<uint8_t>(number);
    return &f.drives_[number];
  }

  static void Invalid(Fdc& f) { f.Result({kInvalid}, false); }

  static void Specify(Fdc& f) {
    f.step_rate_ = f.fifo_[1];
    f.head_load_ = f.fifo_[2] & 0xFE;
    f.no_dma_ = (f.fifo_[2] & 1) != 0;
    f.WaitForCommand();
  }

  static void SenseDrive(Fdc& f) {
    const uint8_t place = f.fifo_[1] & 7;
    const Drive* d = Named(f);
    uint8_t st3 = place | 0x08;  // two sides
    if (d != nullptr) {
      st3 |= 0x20;
      if (d->track == 0) st3 |= 0x10;
      if (d->medium != nullptr && d->medium->read_only()) st3 |= 0x40;
    }
    f.Result({st3}, false);
  }

  static void EndSeek(Fdc& f, uint8_t status) {
    f.seek_done_ = true;
    f.seek_status_ = status;
    f.WaitForCommand();
    f.SetIrq(true);
  }
  static void Recalibrate(Fdc& f) {
    const uint8_t number = f.fifo_[1] & 3;
    Drive* d = Named(f);
    if (d == nullptr) return EndSeek(f, kAbnormal | kSeekEnd | kEquipment | number);
    f.Step(*d, 0);
    EndSeek(f, kSeekEnd | number);
  }
  static void Seek(Fdc& f) {
    const uint8_t place = f.fifo_[1] & 7;
    const uint8_t track = f.fifo_[2];
    Drive* d = Named(f);
    if (d != nullptr) f.Step(*d, track);
    EndSeek(f, kSeekEnd | place);
  }
  static void RelativeSeek(Fdc& f) {
    const uint8_t place = f.fifo_[1] & 7;
    const uint8_t steps = f.fifo_[2];
    const bool inwards = (f.fifo_[0] & kDown) != 0;
    Drive* d = Named(f);
    if (d != nullptr) {
      const int to = inwards ? d->track + steps : d->track - steps;
      f.Step(*d, static_cast<uint8_t>(to < 0 ? 0 : to > kMaxTrack ? kMaxTrack : to));
    }
    EndSeek(f, kSeekEnd | place);
  }
  static void SenseInterrupt(Fdc& f) {
    uint8_t status;
    if (f.reset_senses_ > 0) {
      status = static_cast<uint8_t>(0xC0 | (4 - f.reset_senses_));
      --f.reset_senses_;
    } else if (f.seek_done_) {
      status = f.seek_status_;
      f.seek_done_ = false;
    } else {
      return Invalid(f);
    }
    const unsigned number = status & 3;
    f.SetIrq(false);
    f.Result({status, number < kDrives ? f.drives_[number].track : uint8_t{0}}, false);
  }

  static void DumpRegisters(Fdc& f) {
    f.Result({f.drives_[0].track, f.drives_[1].track, 0, 0, f.step_rate_,
              static_cast<uint8_t>(f.head_load_ | (f.no_dma_ ? 1 : 0)), f.transfer_.last,
              static_cast<uint8_t>((f.locked_ ? 0x80 : 0) | f.perpendicular_), f.configuration_,
              f.precompensation_},
             false);
  }
  static void Version(Fdc& f) { f.Result({kVersion}, false); }
  static void Perpendicular(Fdc& f) {
    const uint8_t value = f.fifo_[1];
    // Without the overwrite bit only the mode bits are taken.
    f.perpendicular_ = (value & 0x80) != 0
                           ? value & 0x3F
                           : static_cast<uint8_t>((f.perpendicular_ & 0x3C) | (value & 3));
    f.WaitForCommand();
  }
  static void Configure(Fdc& f) {
    f.configuration_ = f.fifo_[2];
    f.precompensation_ = f.fifo_[3];
    f.WaitForCommand();
  }
  static void Lock(Fdc& f) {
    f.locked_ = (f.fifo_[0] & kLock) != 0;
    f.Result({static_cast<uint8_t>(f.locked_ ? 0x10 : 0)}, false);
  }

  // What reads an address mark: a medium, in a side it has, at its rate.
  static Drive* Reachable(Fdc& f) {
    Drive* d = Named(f);
    if (d == nullptr || !f.TrackBelow(*d).has_value() || f.transfer_.head >= d->geometry.heads ||
        !f.RateFits(*d)) {
      return nullptr;
    }
    return d;
  }

  static void ReadId(Fdc& f) {
    Drive* d = Reachable(f);
    if (d == nullptr) return f.Fail(kAbnormal, kNoAddressMark, 0);
    f.transfer_.cylinder = *f.TrackBelow(*d);
    d->next_id = static_cast<uint8_t>(d->next_id % d->geometry.sectors + 1);
    f.transfer_.sector = d->next_id;
    f.Result({static_cast<uint8_t>(f.transfer_.head << 2 | f.transfer_.drive), 0, 0,
              f.transfer_.cylinder, f.transfer_.head, f.transfer_.sector, 2},
             true);
  }

  // The sectors that a command of nine bytes names.
  static bool Begin(Fdc& f, Job job) {
    Drive* d = nullptr;
    const uint8_t cylinder = f.fifo_[2];
    if ((f.configuration_ & kImpliedSeek) != 0 && (d = Named(f)) != nullptr) f.Step(*d, cylinder);
    d = Reachable(f);
    Transfer& t = f.transfer_;
    t.job = job;
    t.cylinder = cylinder;
    t.sector = f.fifo_[4];
    t.last = f.fifo_[6] < t.sector ? t.sector : f.fifo_[6];
    t.both_heads = (f.fifo_[0] & kMultiTrack) != 0;
    if (d == nullptr) {
      f.Fail(kAbnormal, kNoAddressMark, 0);
      return false;
    }
    if (cylinder != *f.TrackBelow(*d)) {
      f.Fail(kAbnormal, kNoData, kWrongCylinder);
      return false;
    }
    if (f.fifo_[3] != t.head || t.sector == 0 || t.sector > d->geometry.sectors ||
        f.fifo_[5] != 2) {
      f.Fail(kAbnormal, kNoData, 0);
      return false;
    }
    if (job == Job::kWrite && d->medium->read_only()) {
      f.Fail(kAbnormal, kNotWritable, 0);
      return false;
    }
    return true;
  }
  static void Start(Fdc& f) {
    f.BeginData(0);
    f.Pump();
  }
  static void Read(Fdc& f) {
    if (Begin(f, Job::kRead)) Start(f);
  }
  static void ReadTrack(Fdc& f) {
    f.fifo_[0] &= static_cast<uint8_t>(~kMultiTrack);
    f.fifo_[4] = 1;
    Read(f);
  }
  static void Write(Fdc& f) {
    if (Begin(f, Job::kWrite)) Start(f);
  }
  // Nothing is moved: the sectors are there and whole.
  static void Verify(Fdc& f) {
    if (!Begin(f, Job::kVerify)) return;
    Transfer& t = f.transfer_;
    if (t.last > f.selected().geometry.sectors) return f.Fail(kAbnormal, kNoData, 0);
    if (t.both_heads) t.head = static_cast<uint8_t>(f.selected().geometry.heads - 1);
    t.ended = true;
    f.Finish();
  }
  static void Format(Fdc& f) {
    const uint8_t size = f.fifo_[2];
    const uint8_t count = f.fifo_[3];
    const uint8_t filler = f.fifo_[5];
    Drive* d = Reachable(f);
    Transfer& t = f.transfer_;
    t.job = Job::kFormat;
    t.filler = filler;
    if (d == nullptr) return f.Fail(kAbnormal, kNoAddressMark, 0);
    t.cylinder = *f.TrackBelow(*d);
    if (d->medium->read_only()) return f.Fail(kAbnormal, kNotWritable, 0);
    // An image keeps the format that it has.
    if (size != 2 || count == 0 || count > d->geometry.sectors) {
      return f.Fail(kAbnormal, kNoData, 0);
    }
    f.BeginData(size_t{count} * 4);
    f.Pump();
  }

  static constexpr std::array kRows = {
      Row{0x02, 0x1F, 9, ReadTrack},
      Row{0x03, 0xFF, 3, Specify},
      Row{0x04, 0xFF, 2, SenseDrive},
      Row{0x05, 0x1F, 9, Write},
      Row{0x06, 0x1F, 9, Read},
      Row{0x07, 0xFF, 2, Recalibrate},
      Row{0x08, 0xFF, 1, SenseInterrupt},
      Row{0x09, 0x1F, 9, Write},  // with deleted marks, which an image has not
      Row{0x0A, 0x1F, 2, ReadId},
      Row{0x0C, 0x1F, 9, Read},
      Row{0x0D, 0x1F, 6, Format},
      Row{0x0E, 0xFF, 1, DumpRegisters},
      Row{0x0F, 0xFF, 3, Seek},
      Row{0x10, 0xFF, 1, Version},
      Row{0x12, 0xFF, 2, Perpendicular},
      Row{0x13, 0xFF, 4, Configure},
      Row{0x14, 0x7F, 1, Lock},
      Row{0x16, 0x1F, 9, Verify},
      Row{0x8F, 0xBF, 3, RelativeSeek},
  };
  static constexpr Row kInvalidRow = {0, 0, 1, Invalid};
};

const Fdc::Commands::Row& Fdc::Commands::Find(uint8_t first) {
  for (const Row& row : Handlers::kRows) {
    if ((first & row.mask) == row.code) return row;
  }
  return Handlers::kInvalidRow;
}

uint8_t Fdc::Commands::Length(uint8_t first) { return Find(first).length; }

void Fdc::Commands::Run(Fdc& fdc) {
  const Row& row = Find(fdc.fifo_[0]);
  row.run(fdc);
}

}  // namespace atl::floppy
