// SPDX-License-Identifier: Apache-2.0
#include "lib/work/guest_io.h"

#include <algorithm>
#include <cstring>

#include "lib/base/status_macros.h"

namespace atl::work {
namespace {

// Below this average a copy costs less than the calls.
constexpr uint64_t kInPlaceBytes = 64 << 10;
constexpr uint64_t kGatherBytes = 1 << 20;

}  // namespace

bool GuestPieces::Append(GuestMemory& memory, Gpa at, uint64_t size) {
  if (size == 0) return true;
  const std::span<uint8_t> host = memory.Span(at, size);
  if (host.empty()) return false;
  bytes_ += size;
  if (!pieces_.empty()) {
    Piece& last = pieces_.back();
    if (last.at + last.host.size() == at && last.host.data() + last.host.size() == host.data()) {
      last.host = {last.host.data(), last.host.size() + size};
      return true;
    }
  }
  pieces_.push_back({at, host});
  return true;
}

std::vector<iovec> GuestPieces::vectors() const {
  std::vector<iovec> out;
  out.reserve(pieces_.size());
  for (const Piece& p : pieces_) out.push_back({p.host.data(), p.host.size()});
  return out;
}

void GuestPieces::MarkWritten(GuestMemory& memory) const {
  for (const Piece& p : pieces_) memory.MarkWritten(p.at, p.host.size());
}

bool GuestPieces::InPlace() const {
  return pieces_.size() <= 1 || bytes_ / pieces_.size() >= kInPlaceBytes;
}

absl::Status GuestPieces::ReadAll(block::Disk& disk, uint64_t offset) const {
  if (InPlace()) {
    for (const Piece& p : pieces_) {
      RETURN_IF_ERROR(disk.Read(offset, p.host));
      offset += p.host.size();
    }
    return absl::OkStatus();
  }
  std::vector<uint8_t> gathered(std::min(bytes_, kGatherBytes));
  uint64_t at = 0;     // next byte in `gathered`
  uint64_t ready = 0;  // bytes there
  uint64_t left = bytes_;
  for (const Piece& p : pieces_) {
    for (uint64_t done = 0; done < p.host.size();) {
      if (at == ready) {
        ready = std::min<uint64_t>(gathered.size(), left);
        RETURN_IF_ERROR(disk.Read(offset, std::span(gathered).first(ready)));
        offset += ready;
        left -= ready;
        at = 0;
      }
      const uint64_t n = std::min(p.host.size() - done, ready - at);
      std::memcpy(p.host.data() + done, gathered.data() + at, n);
      done += n;
      at += n;
    }
  }
  return absl::OkStatus();
}

absl::Status GuestPieces::ReadFrom(block::Disk& disk, uint64_t offset, GuestMemory& memory) const {
  const absl::Status read = ReadAll(disk, offset);
  MarkWritten(memory);
  return read;
}

absl::Status GuestPieces::WriteTo(block::Disk& disk, uint64_t offset) const {
  if (InPlace()) {
    for (const Piece& p : pieces_) {
      RETURN_IF_ERROR(disk.Write(offset, p.host));
      offset += p.host.size();
    }
    return absl::OkStatus();
  }
  std::vector<uint8_t> gathered(std::min(bytes_, kGatherBytes));
  uint64_t used = 0;
  uint64_t left = bytes_;
  for (const Piece& p : pieces_) {
    for (uint64_t done = 0; done < p.host.size();) {
      const uint64_t n = std::min<uint64_t>(p.host.size() - done, gathered.size() - used);
      std::memcpy(gathered.data() + used, p.host.data() + done, n);
      done += n;
      used += n;
      left -= n;
      if (used < gathered.size() && left != 0) continue;
      RETURN_IF_ERROR(disk.Write(offset, std::span(gathered).first(used)));
      offset += used;
      used = 0;
    }
  }
  return absl::OkStatus();
}

}  // namespace atl::work
