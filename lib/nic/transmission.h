// SPDX-License-Identifier: Apache-2.0
// A frame on its way out of a card that inserts checksums and cuts TCP segments:
// what the driver's descriptors asked for, done to the bytes that they gave.
//
// What the port's other side can do itself (Port::peer_accepts()) is left to it.
// Where the other side has no room, the frame waits here and Continue() goes on;
// the card fetches no further descriptors until then.
//
// All places come from the guest: what lies outside the frame is not done.
#ifndef LIB_NIC_TRANSMISSION_H_
#define LIB_NIC_TRANSMISSION_H_

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "lib/dev/state.h"
#include "lib/net/frame.h"

namespace atl::nic {

class Transmission {
 public:
  // A checksum over [start, end) that is stored at `at`, all counted from the
  // frame's first byte; `end` 0 is the frame's end.
  struct Checksum {
    bool on = false;
    uint16_t start = 0;
    uint16_t at = 0;
    uint32_t end = 0;
  };
  struct Plan {
    Checksum ip;
    // With segmentation the field holds the sum of the pseudo header without the
    // length; without, that with it.
    Checksum payload;
    // Bytes of payload in each segment; 0: the frame is sent as it is.
    uint16_t segment = 0;
    uint16_t headers = 0;  // bytes before the payload
    bool ipv6 = false;
    bool udp = false;
    // A tag to put behind the addresses; places above are those without it.
    bool tagged = false;
    uint16_t tag = 0;
  };

  // Fewer payload bytes than this in a segment are no protocol's and a way to
  // make 65536 frames of one: such a frame is dropped.
  static constexpr uint16_t kMinSegment = 48;
  // Of the bytes that Add() takes; a longer frame is dropped.
  static constexpr size_t kMaxBytes = net::kMaxFrame - 4;

  // `emit`: sends a frame, false where there is no room for it. `offloads`: what
  // it takes besides plain ones.
  Transmission(std::function<bool(const net::Frame&)> emit,
               std::function<net::Offloads()> offloads);

  // Bytes of the next frame. Not while busy().
  std::span<uint8_t> Add(size_t n);  // zeroed; empty where the frame gets too long
  size_t size() const { return bytes_.size(); }
  std::span<uint8_t> bytes() { return bytes_; }  // what was added, to be changed before Send()
  bool too_long() const { return too_long_; }
  // What Add() gave goes, as does what waits.
  void Clear();
  // Sends what was added and forgets it; true: all is gone.
  bool Send(const Plan& plan);
  bool busy() const { return sending_; }
  bool Continue();

  // Frames sent since the last call.
  unsigned TakeCount();

  void VisitState(dev::StateVisitor& v);

 private:
  bool Emit(std::span<const uint8_t> bytes, net::Work work);
  bool EmitSegments();
  void MakeSegment(size_t from, size_t payload, bool last);
  enum class Stage : uint8_t { kFresh, kWhole, kLeft };
  // What the other side would have to do with the bytes, if that is possible.
  bool WorkToLeave(net::Work& work) const;
  void PrepareToLeave();

  std::function<bool(const net::Frame&)> emit_;
  std::function<net::Offloads()> offloads_;
  std::vector<uint8_t> bytes_;
  bool too_long_ = false;
  bool sending_ = false;
  Stage stage_ = Stage::kFresh;  // checksums are in the bytes, or left to others
  Plan plan_;
  uint32_t done_ = 0;  // payload bytes that have been sent in segments
  unsigned count_ = 0;
  std::vector<uint8_t> segment_;  // scratch
  std::vector<uint8_t> tagged_;   // scratch
};

}  // namespace atl::nic

#endif  // LIB_NIC_TRANSMISSION_H_
