// SPDX-License-Identifier: Apache-2.0
#include "lib/boot/kernel_cache.h"

#include <algorithm>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "lib/base/checked.h"
#include "lib/base/endian.h"
#include "lib/mem/address.h"

namespace atl::boot {
namespace {

// An entry: this, the steps, the setup code, the bytes of the steps in their order.
struct EntryHead {
  le64 entry;
  le32 is64;
  le32 setup_bytes;
  le32 steps;
  le32 reserved;
};
static_assert(sizeof(EntryHead) == 24);

struct EntryStep {
  le64 address;
  le64 size;
  le64 zero;
};
static_assert(sizeof(EntryStep) == 24);

// More runs of pages than 512 MiB of kernel can have.
constexpr uint32_t kMaxSteps = 1 << 17;
constexpr uint32_t kMaxSetup = 256 << 10;  // 255 sectors and the first

template <typename T>
std::span<uint8_t> BytesOf(T& v) {
  return {reinterpret_cast<uint8_t*>(&v), sizeof v};
}
template <typename T>
std::span<uint8_t> BytesOf(std::vector<T>& v) {
  return {reinterpret_cast<uint8_t*>(v.data()), v.size() * sizeof(T)};
}

}  // namespace

KernelCache::KernelCache(const std::string& folder, const host::File& image)
    : files_(absl::StrCat(folder, "/kernels"), kMaxBytes) {
  if (folder.empty()) return;
  const std::string identity = image.Identity();
  if (!identity.empty()) name_ = absl::StrCat("steps-", identity);
}

std::optional<UnpackedKernel> KernelCache::Load(GuestMemory& memory) const {
  if (name_.empty()) return std::nullopt;
  absl::StatusOr<host::CachedFile> file = files_.Open(name_);
  EntryHead head;
  if (!file.ok() || !file->Read(BytesOf(head)).ok()) return std::nullopt;
  // The checksum is known at the end: until then each number may be wrong.
  if (head.steps > kMaxSteps || head.setup_bytes > kMaxSetup ||
      head.steps * sizeof(EntryStep) + head.setup_bytes > file->left()) {
    return std::nullopt;
  }
  UnpackedKernel out;
  out.is64 = head.is64 != 0;
  out.entry = head.entry;
  std::vector<EntryStep> steps(head.steps);
  out.setup.resize(head.setup_bytes);
  if (!file->Read(BytesOf(steps)).ok() || !file->Read(out.setup).ok()) return std::nullopt;
  const absl::StatusOr<SetupHeader> header = ParseSetupHeader(out.setup);
  if (!header.ok()) return std::nullopt;
  out.header = *header;
  for (const EntryStep& s : steps) {
    if (memory.Span(Gpa(s.address), s.size).empty()) return std::nullopt;
    out.end = std::max(out.end, s.address + s.size);
  }
  for (const EntryStep& s : steps) {
    if (s.zero != 0) {
      memory.Zero(Gpa(s.address), s.size);
      continue;
    }
    if (!file->Read(memory.Span(Gpa(s.address), s.size)).ok()) return std::nullopt;
    memory.MarkWritten(Gpa(s.address), s.size);
  }
  if (!file->Finish().ok()) return std::nullopt;
  return out;
}

void KernelCache::Keep(std::span<const uint8_t> setup, const ElfKernel& kernel,
                       std::span<const uint8_t> elf) const {
  if (name_.empty() || setup.size() > kMaxSetup) return;
  std::vector<EntryStep> steps;
  std::vector<std::span<const uint8_t>> parts(3);
  for (const LoadStep& s : LoadSteps(kernel, elf)) {
    steps.push_back({le64(s.address), le64(s.size), le64(s.zero)});
    if (!s.zero) parts.push_back(elf.subspan(s.offset, s.size));
  }
  if (steps.size() > kMaxSteps) return;
  EntryHead head{};
  head.entry = kernel.entry;
  head.is64 = kernel.is64;
  head.setup_bytes = static_cast<uint32_t>(setup.size());
  head.steps = static_cast<uint32_t>(steps.size());
  parts[0] = BytesOf(head);
  parts[1] = BytesOf(steps);
  parts[2] = setup;
  // Without it the next start takes longer, that is all.
  files_.Store(name_, parts).IgnoreError();
}

}  // namespace atl::boot
