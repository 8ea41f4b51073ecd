// SPDX-License-Identifier: Apache-2.0
#include "lib/boot/pvh.h"

#include <cstring>
#include <vector>

#include "absl/status/status.h"
#include "lib/base/endian.h"
#include "lib/base/status_macros.h"
#include "lib/boot/e820.h"

namespace atl::boot {
namespace {

struct StartInfo {  // struct hvm_start_info, version 1
  le32 magic;
  le32 version;
  le32 flags;
  le32 module_count;
  le64 modules;
  le64 command_line;
  le64 rsdp;
  le64 memory_map;
  le32 memory_map_entries;
  le32 reserved;
};
static_assert(sizeof(StartInfo) == 56);

struct Module {  // struct hvm_modlist_entry
  le64 address;
  le64 size;
  le64 command_line;
  le64 reserved;
};
static_assert(sizeof(Module) == 32);

struct MapEntry {  // struct hvm_memmap_table_entry
  le64 address;
  le64 size;
  le32 type;  // as in E820
  le32 reserved;
};
static_assert(sizeof(MapEntry) == 24);

constexpr uint32_t kMagic = 0x336EC578;
constexpr Gpa kModulesAt = kPvhInfoAt + sizeof(StartInfo);
constexpr Gpa kMapAt = kModulesAt + sizeof(Module);

}  // namespace

absl::StatusOr<EntryState> EnterPvh(GuestMemory& memory, uint32_t entry, const PvhInfo& info) {
  ASSIGN_OR_RETURN(EntryState out, EnterProtectedMode(memory, entry));
  std::vector<MapEntry> map;
  for (const E820Entry& e : MakeE820(memory)) map.push_back({e.base, e.size, e.type, 0});

  StartInfo start{};
  start.magic = kMagic;
  start.version = 1;
  start.command_line = info.command_line.value;
  start.rsdp = info.rsdp.value;
  start.memory_map = kMapAt.value;
  start.memory_map_entries = static_cast<uint32_t>(map.size());
  if (info.initrd_size != 0) {
    start.module_count = 1;
    start.modules = kModulesAt.value;
    const Module module = {info.initrd.value, info.initrd_size, 0, 0};
    memory.Store(kModulesAt, module);
  }
  const bool ok = memory.Store(kPvhInfoAt, start) &&
                  memory.Write(kMapAt, {reinterpret_cast<const uint8_t*>(map.data()),
                                        map.size() * sizeof(MapEntry)});
  if (!ok) return absl::FailedPreconditionError("the machine has no memory for PVH's start_info");
  out.regs.gpr[cpu::kRbx] = kPvhInfoAt.value;
  return out;
}

}  // namespace atl::boot
