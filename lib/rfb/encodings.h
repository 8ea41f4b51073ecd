// SPDX-License-Identifier: Apache-2.0
// The encodings that there are. CopyRect is none of them: it sends no pixels.
#ifndef LIB_RFB_ENCODINGS_H_
#define LIB_RFB_ENCODINGS_H_

#include "lib/rfb/encoder.h"

namespace atl::rfb {

extern const Encoding kRaw;
extern const Encoding kRre;
extern const Encoding kHextile;
extern const Encoding kZlib;
extern const Encoding kZrle;
extern const Encoding kTight;
extern const Encoding kTightPng;

}  // namespace atl::rfb

#endif  // LIB_RFB_ENCODINGS_H_
