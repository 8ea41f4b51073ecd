// SPDX-License-Identifier: Apache-2.0
#include "lib/dev/fw_cfg.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "lib/base/endian.h"
#include "lib/base/status_macros.h"
#include "lib/dev/state.h"

namespace atl::dev {
namespace {

constexpr uint16_t kFirstFile = 0x20;
constexpr uint32_t kHasPorts = 1;
constexpr uint32_t kHasDma = 2;
constexpr uint64_t kDmaSignature = 0x51454D5520434647;  // "QEMU CFG"

struct DirectoryEntry {
  be32 size;
  be16 selector;
  be16 reserved;
  char name[56];
};
static_assert(sizeof(DirectoryEntry) == 64);

struct DmaRequest {
  be32 control;
  be32 length;
  be64 address;
};
static_assert(sizeof(DmaRequest) == 16);

enum DmaControl : uint32_t { kError = 1, kRead = 2, kSkip = 4, kSelect = 8, kWrite = 16 };

}  // namespace

FwCfg::FwCfg(GuestMemory& memory) : memory_(memory) {
  Add(kSignature, {'Q', 'E', 'M', 'U'});
  AddInteger(kInterface, kHasPorts | kHasDma, 4);
  WriteDirectory();
}

void FwCfg::Add(uint16_t selector, std::vector<uint8_t> bytes) {
  Item& item = items_[selector];
  item.owned = std::move(bytes);
  item.bytes = item.owned;
}

void FwCfg::AddView(uint16_t selector, std::span<const uint8_t> bytes) {
  items_[selector] = {{}, bytes};
}

void FwCfg::AddInteger(uint16_t selector, uint64_t value, unsigned size) {
  std::vector<uint8_t> bytes(sizeof value);
  StoreLe(bytes.data(), value);
  bytes.resize(std::min<size_t>(size, sizeof value));
  Add(selector, std::move(bytes));
}

absl::Status FwCfg::AddFile(absl::string_view name, std::vector<uint8_t> bytes) {
  uint16_t selector;
  RETURN_IF_ERROR(PlaceFile(name, &selector));
  Add(selector, std::move(bytes));
  WriteDirectory();
  return absl::OkStatus();
}

absl::Status FwCfg::AddFileView(absl::string_view name, std::span<const uint8_t> bytes) {
  uint16_t selector;
  RETURN_IF_ERROR(PlaceFile(name, &selector));
  AddView(selector, bytes);
  WriteDirectory();
  return absl::OkStatus();
}

absl::Status FwCfg::PlaceFile(absl::string_view name, uint16_t* selector) {
  if (name.empty() || name.size() > kMaxName) {
    return absl::InvalidArgumentError(absl::StrCat("fw_cfg: file name '", name, "': ", name.size(),
                                                   " characters, 1 to ", kMaxName, " are valid"));
  }
  auto it = files_.find(std::string(name));
  if (it == files_.end()) {
    if (files_.size() == kMaxFiles) {
      return absl::ResourceExhaustedError(
          absl::StrCat("fw_cfg: ", name, ": there are ", kMaxFiles, " files already"));
    }
    it = files_.emplace(std::string(name), static_cast<uint16_t>(kFirstFile + files_.size())).first;
  }
  *selector = it->second;
  return absl::OkStatus();
}

void FwCfg::WriteDirectory() {
  std::vector<uint8_t> out(sizeof(be32) + files_.size() * sizeof(DirectoryEntry));
  const be32 count(static_cast<uint32_t>(files_.size()));
  std::memcpy(out.data(), &count, sizeof count);
  uint8_t* at = out.data() + sizeof count;
  for (const auto& [name, selector] : files_) {
    DirectoryEntry entry{};
    auto item = items_.find(selector);
    entry.size = item == items_.end() ? 0 : static_cast<uint32_t>(item->second.bytes.size());
    entry.selector = selector;
    std::memcpy(entry.name, name.data(), name.size());
    std::memcpy(at, &entry, sizeof entry);
    at += sizeof entry;
  }
  Add(kFileDirectory, std::move(out));
}

void FwCfg::Reset() {
  selector_ = 0;
  offset_ = 0;
  dma_address_ = 0;
}

std::span<const uint8_t> FwCfg::Selected() const {
  auto it = items_.find(selector_);
  return it == items_.end() ? std::span<const uint8_t>() : it->second.bytes;
}

// Past an item's end, and in items that are not there, are zeros.
uint8_t FwCfg::NextByte() {
  const std::span<const uint8_t> item = Selected();
  return offset_ < item.size() ? item[offset_++] : 0;
}

uint64_t FwCfg::Read(unsigned region, uint64_t offset, unsigned size) {
  if (region == kDma) {
    uint64_t value = 0;
    for (unsigned i = 0; i < size && offset + i < 8; ++i)
      value |= (kDmaSignature >> (56 - 8 * (offset + i)) & 0xFF) << (8 * i);
    return value;
  }
  return offset == 1 ? NextByte() : 0;
}

void FwCfg::Write(unsigned region, uint64_t offset, unsigned size, uint64_t value) {
  if (region == kDma) {
    if (size != 4) return;
    const uint64_t half = ByteSwap(static_cast<uint32_t>(value));
    if (offset == 0) {
      dma_address_ = half << 32;
    } else if (offset == 4) {
      dma_address_ |= half;
      RunDma();
      dma_address_ = 0;
    }
    return;
  }
  if (offset == 0 && size == 2) {
    selector_ = static_cast<uint16_t>(value);
    offset_ = 0;
  }
  // Writing items through the data port is long gone from the interface.
}

// The request and the target are the guest's: each is copied through the checked
// calls, so DMA to anything but memory ends in the error bit.
void FwCfg::RunDma() {
  const Gpa at(dma_address_);
  auto request = memory_.Load<DmaRequest>(at);
  if (!request) return;  // nowhere to report to
  const uint32_t control = request->control;
  uint32_t length = request->length;
  Gpa target(request->address);
  uint32_t result = 0;

  if (control & kSelect) {
    selector_ = static_cast<uint16_t>(control >> 16);
    offset_ = 0;
  }
  const std::span<const uint8_t> item = Selected();
  const size_t start = std::min<size_t>(offset_, item.size());
  const std::span<const uint8_t> part =
      item.subspan(start, std::min<size_t>(length, item.size() - start));
  if (control & kRead) {
    // The zeros behind the item are bounded by guest memory, which Fill() asks.
    if (!memory_.Write(target, part) ||
        (length > part.size() && !memory_.Fill(target + part.size(), 0, length - part.size()))) {
      result = kError;
    }
  } else if (control & kWrite) {
    result = kError;  // no item can be written
  }
  if ((control & (kRead | kSkip)) && result == 0)
    offset_ = static_cast<uint32_t>(start + part.size());
  memory_.Store(at, be32(result));
}

void FwCfg::VisitState(StateVisitor& v) {
  v.Field("selector", selector_);
  v.Field("offset", offset_);
  v.Field("dma_address", dma_address_);
}

}  // namespace atl::dev
