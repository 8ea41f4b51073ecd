// SPDX-License-Identifier: Apache-2.0
// The entries of the table in formats.cc; everybody else uses format.h.
#ifndef LIB_BLOCK_FORMATS_H_
#define LIB_BLOCK_FORMATS_H_

#include "lib/block/format.h"

namespace atl::block {

extern const Format kRaw;
extern const Format kQcow;
extern const Format kQcow2;

}  // namespace atl::block

#endif  // LIB_BLOCK_FORMATS_H_
