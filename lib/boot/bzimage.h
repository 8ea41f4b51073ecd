// SPDX-License-Identifier: Apache-2.0
// The Linux/x86 boot protocol (Documentation/x86/boot.rst, zero-page.rst).
#ifndef LIB_BOOT_BZIMAGE_H_
#define LIB_BOOT_BZIMAGE_H_

#include <cstdint>
#include <span>

#include "absl/status/statusor.h"
#include "lib/base/endian.h"
#include "lib/boot/e820.h"

namespace atl::boot {

// struct setup_header: at 0x1F1 of a bzImage and of boot_params.
struct SetupHeader {
  uint8_t setup_sects;
  le16 root_flags;
  le32 syssize;  // of the protected-mode part, in 16 bytes
  le16 ram_size;
  le16 vid_mode;
  le16 root_dev;
  le16 boot_flag;
  le16 jump;
  le32 header;
  le16 version;
  le32 realmode_swtch;
  le16 start_sys_seg;
  le16 kernel_version;
  uint8_t type_of_loader;
  uint8_t loadflags;
  le16 setup_move_size;
  le32 code32_start;
  le32 ramdisk_image;
  le32 ramdisk_size;
  le32 bootsect_kludge;
  le16 heap_end_ptr;
  uint8_t ext_loader_ver;
  uint8_t ext_loader_type;
  le32 cmd_line_ptr;
  le32 initrd_addr_max;  // the highest address of an initrd's last byte
  le32 kernel_alignment;
  uint8_t relocatable_kernel;
  uint8_t min_alignment;
  le16 xloadflags;
  le32 cmdline_size;  // without the final zero
  le32 hardware_subarch;
  le64 hardware_subarch_data;
  le32 payload_offset;  // from the protected-mode part
  le32 payload_length;
  le64 setup_data;
  le64 pref_address;
  le32 init_size;  // memory that the kernel needs from its load address on
  le32 handover_offset;
  le32 kernel_info_offset;
};
static_assert(offsetof(SetupHeader, boot_flag) == 0x1FE - 0x1F1);
static_assert(offsetof(SetupHeader, header) == 0x202 - 0x1F1);
static_assert(offsetof(SetupHeader, cmd_line_ptr) == 0x228 - 0x1F1);
static_assert(offsetof(SetupHeader, payload_offset) == 0x248 - 0x1F1);
static_assert(sizeof(SetupHeader) == 0x26C - 0x1F1);

inline constexpr uint64_t kSetupHeaderAt = 0x1F1;
inline constexpr uint16_t kBootFlag = 0xAA55;
inline constexpr uint32_t kHeaderMagic = 0x53726448;  // "HdrS"
inline constexpr uint8_t kLoadedHigh = 1;             // loadflags
inline constexpr uint16_t kXlfKernel64 = 1;           // xloadflags
inline constexpr uint8_t kOtherLoader = 0xFF;         // type_of_loader

// struct boot_params, the zero page.
struct BootParams {
  uint8_t unused0[6];
  uint8_t orig_video_mode;  // zero, and the rest: no display is described
  uint8_t orig_video_cols;
  uint8_t unused1[6];
  uint8_t orig_video_lines;
  uint8_t orig_video_is_vga;
  le16 orig_video_points;
  uint8_t screen_info[0x2E];  // its rest, for linear modes
  uint8_t unused2[0x30];
  le64 acpi_rsdp_addr;  // 0x070
  uint8_t unused3[0x48];
  le32 ext_ramdisk_image;  // 0x0C0: upper halves
  le32 ext_ramdisk_size;
  le32 ext_cmd_line_ptr;
  uint8_t unused4[0x11C];
  uint8_t e820_entries;  // 0x1E8
  uint8_t unused5[8];
  SetupHeader hdr;  // 0x1F1
  uint8_t unused6[0x64];
  E820Entry e820_table[128];  // 0x2D0
  uint8_t unused7[0x330];
};
static_assert(offsetof(BootParams, orig_video_points) == 0x010);
static_assert(offsetof(BootParams, acpi_rsdp_addr) == 0x070);
static_assert(offsetof(BootParams, ext_ramdisk_image) == 0x0C0);
static_assert(offsetof(BootParams, e820_entries) == 0x1E8);
static_assert(offsetof(BootParams, hdr) == 0x1F1);
static_assert(offsetof(BootParams, e820_table) == 0x2D0);
static_assert(sizeof(BootParams) == 4096);

struct BzImage {
  SetupHeader header;                       // fields that the version lacks are zero
  std::span<const uint8_t> protected_mode;  // the part that is loaded high
  std::span<const uint8_t> payload;         // compressed kernel; may be empty
};

// True where the file claims to be a Linux boot image: only then errors of
// ParseBzImage() say more than "another kind of file".
bool LooksLikeBzImage(std::span<const uint8_t> file);

// The header alone: `file` may end where the setup code does. Fields that the
// version lacks are zero. Errors as below.
absl::StatusOr<SetupHeader> ParseSetupHeader(std::span<const uint8_t> file);

// Bytes of boot sector and setup code, which stand before the kernel.
uint64_t SetupBytes(const SetupHeader& header);

// Boot protocol 2.06 (Linux 2.6.22) and later, loaded high.
absl::StatusOr<BzImage> ParseBzImage(std::span<const uint8_t> file);

}  // namespace atl::boot

#endif  // LIB_BOOT_BZIMAGE_H_
