// SPDX-License-Identifier: Apache-2.0
// What all viewers of a server see.
#ifndef LIB_RFB_DESKTOP_H_
#define LIB_RFB_DESKTOP_H_

#include <cstdint>
#include <memory>
#include <string>

#include "lib/rfb/guest.h"
#include "lib/rfb/shadow.h"

namespace atl::rfb {

struct Desktop {
  // Of the picture; the shadow may be larger, for viewers that cannot follow.
  unsigned width = 0, height = 0;
  std::unique_ptr<Shadow> shadow;
  std::string name;
  uint8_t leds = 0;
  bool pointer_absolute = false;
  bool has_cursor = false;  // the guest has said which
  Cursor cursor;
  std::string clipboard;  // UTF-8
};

}  // namespace atl::rfb

#endif  // LIB_RFB_DESKTOP_H_
