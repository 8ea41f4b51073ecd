// SPDX-License-Identifier: Apache-2.0
// The numbers of RFB: RFC 6143 and the community's rfbproto.
#ifndef LIB_RFB_PROTOCOL_H_
#define LIB_RFB_PROTOCOL_H_

#include <cstddef>
#include <cstdint>

namespace atl::rfb {

// Security types, and VeNCrypt's subtypes.
inline constexpr uint8_t kSecurityNone = 1;
inline constexpr uint8_t kSecurityVnc = 2;
inline constexpr uint8_t kSecurityVeNCrypt = 19;
inline constexpr uint32_t kPlain = 256;
inline constexpr uint32_t kTlsNone = 257;
inline constexpr uint32_t kTlsVnc = 258;
inline constexpr uint32_t kTlsPlain = 259;
inline constexpr uint32_t kX509None = 260;
inline constexpr uint32_t kX509Vnc = 261;
inline constexpr uint32_t kX509Plain = 262;

// Encodings.
inline constexpr int32_t kEncodingRaw = 0;
inline constexpr int32_t kEncodingCopyRect = 1;
inline constexpr int32_t kEncodingRre = 2;
inline constexpr int32_t kEncodingHextile = 5;
inline constexpr int32_t kEncodingZlib = 6;
inline constexpr int32_t kEncodingTight = 7;
inline constexpr int32_t kEncodingZrle = 16;
inline constexpr int32_t kEncodingTightPng = -260;

// Pseudo-encodings.
inline constexpr int32_t kPseudoQualityLow = -32, kPseudoQualityHigh = -23;
inline constexpr int32_t kPseudoDesktopSize = -223;
inline constexpr int32_t kPseudoLastRect = -224;
inline constexpr int32_t kPseudoCursor = -239;
inline constexpr int32_t kPseudoCompressLow = -256, kPseudoCompressHigh = -247;
inline constexpr int32_t kPseudoQemuPointerMotion = -257;
inline constexpr int32_t kPseudoQemuExtendedKey = -258;
inline constexpr int32_t kPseudoQemuLedState = -261;
inline constexpr int32_t kPseudoDesktopName = -307;
inline constexpr int32_t kPseudoExtendedDesktopSize = -308;
inline constexpr int32_t kPseudoXvp = -309;
inline constexpr int32_t kPseudoFence = -312;
inline constexpr int32_t kPseudoContinuousUpdates = -313;
inline constexpr int32_t kPseudoCursorWithAlpha = -314;
inline constexpr int32_t kPseudoFineQualityLow = -512, kPseudoFineQualityHigh = -412;
inline constexpr int32_t kPseudoSubsamplingLow = -768, kPseudoSubsamplingHigh = -763;
inline constexpr int32_t kPseudoVmwareLedState = 0x574D5668;
inline constexpr int32_t kPseudoExtendedClipboard = static_cast<int32_t>(0xC0A1E5CE);

// Messages of the server.
inline constexpr uint8_t kFramebufferUpdate = 0;
inline constexpr uint8_t kSetColourMapEntries = 1;
inline constexpr uint8_t kServerCutText = 3;
inline constexpr uint8_t kEndOfContinuousUpdates = 150;
inline constexpr uint8_t kServerFence = 248;
inline constexpr uint8_t kServerXvp = 250;

// The flags of a fence.
inline constexpr uint32_t kFenceBlockBefore = 1;
inline constexpr uint32_t kFenceBlockAfter = 2;
inline constexpr uint32_t kFenceSyncNext = 4;
inline constexpr uint32_t kFenceRequest = 0x80000000;

// Bounds of what a viewer sends.
inline constexpr size_t kMaxCutText = 256 * 1024;
inline constexpr size_t kMaxEncodings = 1024;
inline constexpr size_t kMaxFencePayload = 64;
inline constexpr size_t kMaxScreens = 16;
inline constexpr size_t kMaxCredential = 1024;

}  // namespace atl::rfb

#endif  // LIB_RFB_PROTOCOL_H_
