// SPDX-License-Identifier: Apache-2.0
// Any bytes as an image: described, checked, repaired, mapped, read, written to.
// After a repair that says nothing is left, a second check finds nothing.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "lib/block/image.h"

namespace {

using atl::block::Borrow;
using atl::block::CheckRepair;
using atl::block::Image;
using atl::block::Storage;

std::unique_ptr<Storage> Input(const uint8_t* data, size_t size) {
  return atl::block::NewMemoryStorage("fuzz", {data, size});
}

// Bytes read in all; a disk may claim to be exabytes.
constexpr uint64_t kBudget = 4 << 20;

void ReadSome(Image& image) {
  std::vector<uint8_t> buffer(65536);
  uint64_t left = std::min(image.size(), kBudget);
  for (uint64_t at = 0; left > 0;) {
    uint64_t n = std::min<uint64_t>(left, buffer.size());
    image.Read(at, std::span(buffer).first(n)).IgnoreError();
    at += n;
    left -= n;
  }
  int extents = 0;
  for (uint64_t at = 0; at < image.size() && extents < 1000; ++extents) {
    auto e = image.MapAt(at, 1 << 30);
    if (!e.ok()) break;
    if (e->length == 0) abort();
    at += e->length;
  }
}

// `sound`: no two clusters of the disk share a place, so what is written is read.
void WriteSome(Image& image, bool sound) {
  std::vector<uint8_t> data(5000, 0xab), back(5000);
  for (uint64_t at :
       {uint64_t{0}, image.size() / 2, image.size() - std::min<uint64_t>(image.size(), 5000)}) {
    if (at + data.size() > image.size()) continue;
    if (!image.Write(at, data).ok()) continue;
    if (!image.Read(at, back).ok()) continue;
    if (sound && back != data) abort();
  }
  image.WriteZeroes(0, std::min<uint64_t>(image.size(), 1 << 20), true).IgnoreError();
  image.Discard(0, std::min<uint64_t>(image.size(), 1 << 20)).IgnoreError();
  image.Flush().IgnoreError();
  image.Write(0, std::span(data).first(std::min<uint64_t>(image.size(), 512))).IgnoreError();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  auto describe = Image::Open(Input(data, size), {.describe_only = true});
  if (!describe.ok()) return 0;
  (*describe)->Info().IgnoreError();
  const std::string format = (*describe)->format().name;
  if (format == "raw") return 0;

  auto reading = Image::Open(Input(data, size), {.format = format, .no_backing = true});
  if (reading.ok()) ReadSome(**reading);
  auto writing =
      Image::Open(Input(data, size), {.format = format, .writable = true, .no_backing = true});
  auto check = Image::Open(Input(data, size), {.format = format, .for_check = true});
  bool sound = false;
  if (check.ok()) {
    auto result = (*check)->Check(CheckRepair::kNone);
    sound = result.ok() && result->corruptions + result->check_errors == 0;
  }
  if (writing.ok()) WriteSome(**writing, sound);

  auto storage = Input(data, size);
  auto repair =
      Image::Open(Borrow(storage.get()), {.format = format, .writable = true, .for_check = true});
  if (!repair.ok()) return 0;
  auto result = (*repair)->Check(CheckRepair::kAll);
  if (!result.ok() || result->corruptions + result->check_errors + result->leaks != 0) return 0;
  auto again = (*repair)->Check(CheckRepair::kNone);
  if (!again.ok() || again->corruptions + again->check_errors + again->leaks != 0) abort();
  return 0;
}
