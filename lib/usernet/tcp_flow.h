// SPDX-License-Identifier: Apache-2.0
// One TCP connection: an endpoint of our own toward the guest, a socket of the
// host behind it.
//
// Theory of operation. The guest speaks TCP with us, the far end with the host's
// kernel; bytes are carried over, so loss, windows and segment sizes of the one side
// never show on the other, and what is acknowledged to the guest is in the host's
// socket or in `to_host_`, in order.
//
// Toward the guest: bytes are read from the socket into the ring `to_guest_`, whose
// first byte is at sequence number `una_`; segments are sent from the ring in place;
// what the guest acknowledges leaves it. The ring is the retransmission queue: at a
// timeout everything from `una_` on is sent again, slowly at first (`congestion_`); at a
// third duplicate acknowledgement the first segment is (RFC 5681, 6582).
//
// From the guest: segments of one batch (a read of the guest's link) that continue the
// stream are gathered in place; Service() then gives them to the socket by one
// writev, and only what it does not take is copied to `to_host_`. The window offered
// is what that ring may still hold. Segments out of order are put where they belong in
// that ring (`ahead_` lists up to kMaxAhead pieces, those beyond are dropped), and answered
// with a duplicate acknowledgement that says which (RFC 2018). A guest that is not told
// sends all of its window again, and measures no round trip on what it sends twice (RFC
// 6298, 3): each further loss then doubles its patience, to a minute and more.
//
// The order within Service() is: write, read, send, acknowledge. Nothing in it waits,
// and a turn is bounded by kTurnBytes, so that connections share the loop.
//
// Bounds: two rings of at most kMaxRing, both from one MemoryBudget; kMaxGather pieces;
// retransmissions kMaxRetries. No memory is proportional to what a guest sends.
#ifndef LIB_USERNET_TCP_FLOW_H_
#define LIB_USERNET_TCP_FLOW_H_

#include <sys/uio.h>

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>

#include "lib/base/unique_fd.h"
#include "lib/host/event_loop.h"
#include "lib/usernet/address.h"
#include "lib/usernet/ring.h"
#include "lib/usernet/wire.h"

namespace atl::usernet {

// A segment as it came from a guest.
struct Segment {
  uint32_t sequence = 0;
  uint32_t acknowledgement = 0;
  uint16_t window = 0;
  uint8_t flags = 0;
  std::span<const uint8_t> payload;
  // Options of a SYN.
  std::optional<uint16_t> mss;
  std::optional<uint8_t> window_scale;
  bool selective = false;  // is told which pieces have come

  // Nothing where it is malformed; without a look at the checksum.
  static std::optional<Segment> Parse(std::span<const uint8_t> bytes, uint16_t* from, uint16_t* to);
};

// What a segment that belongs to no connection is answered with.
void SendReset(Wire* wire, const Endpoint& guest, const Endpoint& remote, const Segment& cause);

class TcpFlow {
 public:
  static constexpr size_t kMaxRing = 1024 * 1024;
  static constexpr size_t kFirstRing = 64 * 1024;
  static constexpr uint32_t kWindow = 1024 * 1024;  // the most that is offered
  static constexpr size_t kTurnBytes = 1024 * 1024;
  static constexpr size_t kMaxGather = 128;
  static constexpr size_t kMaxAhead = 64;
  static constexpr size_t kMaxTold = 4;  // pieces that the options have room for
  static constexpr int kMaxRetries = 15;

  // As the guest sees it: `remote` is the far end.
  TcpFlow(Wire* wire, MemoryBudget* budget, const Endpoint& guest, const Endpoint& remote,
          uint32_t mtu, uint32_t initial_sequence);

  // The guest's SYN; the socket is connecting.
  void StartFromGuest(const Segment& syn, UniqueFd socket);
  // A connection that the host has accepted.
  void StartFromHost(UniqueFd socket);

  // A segment from the guest; `stays` until Service(). Service() must follow.
  void Receive(const Segment& segment, bool stays);
  // The socket's epoll bits; Service() must follow.
  void SocketReady(uint32_t events);

  enum class Result {
    kIdle,     // something must happen first
    kAgain,    // its turn is over, there is more to do
    kBlocked,  // waits for Wire::Full() to end
    kDone,     // to be destroyed after Wire::Flush()
  };
  Result Service(uint64_t now);
  // When to call Timeout(), 0: never. Service() follows it.
  uint64_t deadline() const { return deadline_; }
  void Timeout(uint64_t now);
  // Frees rings that an idle connection keeps; after Wire::Flush().
  void Trim(uint64_t now);

  // Both sides are told.
  void Abort();

  const Endpoint& guest() const { return guest_; }
  const Endpoint& remote() const { return remote_; }
  int fd() const { return socket_.get(); }
  bool done() const { return state_ == State::kDone; }
  // Has not been answered by both sides yet, or is over but for late segments.
  bool expendable() const {
    return state_ == State::kConnecting || state_ == State::kSynSent ||
           state_ == State::kSynReceived || state_ == State::kTimeWait;
  }
  bool time_wait() const { return state_ == State::kTimeWait; }
  // Whether a SYN of this number may take the place of a connection in time_wait().
  bool NewerThanLast(uint32_t sequence) const {
    return static_cast<int32_t>(sequence - receive_next_) > 0;
  }
  uint64_t last_active() const { return last_active_; }
  const char* state_name() const;
  uint64_t bytes_to_guest() const { return bytes_to_guest_; }
  uint64_t bytes_to_host() const { return bytes_to_host_; }

  // The owner's marks: in which of its queues this stands.
  bool queued = false;
  bool blocked = false;
  std::unique_ptr<host::FdWatch> watch;

 private:
  enum class State {
    kConnecting,   // by the guest: the host's socket is not connected yet
    kSynReceived,  // by the guest: answered
    kSynSent,      // by the host: the guest has not answered
    kOpen,
    kTimeWait,
    kDone,
  };

  void ReceiveOpening(const Segment& s);
  bool ReceiveReset(const Segment& s);
  void ReceiveAcknowledgement(const Segment& s, bool pure);
  void ReceiveData(const Segment& s, bool stays);
  void ReceiveAhead(uint32_t sequence, std::span<const uint8_t> data);
  void TakeAhead();
  size_t PutPieces(uint8_t* out) const;
  void TakeSynOptions(const Segment& s);
  bool CheckConnected();
  void WriteToHost();
  void ReadFromHost();
  enum class Stop { kNothingLeft, kTurnOver, kFull };
  Stop SendToGuest();
  void SetDeadline(uint64_t now);
  // Sends `length` bytes of the ring from sequence `from` on, and/or flags.
  Wire::Sent SendSegment(uint32_t from, size_t length, uint8_t flags);
  void SendSyn(uint8_t flags);
  void FinishIfOver(uint64_t now);
  void Done();
  void HostFailed();

  // Of the ring's bytes, those that have not been sent (again).
  size_t unsent() const {
    const size_t sent = next_ - una_;
    return sent < to_guest_.used() ? to_guest_.used() - sent : 0;
  }
  uint32_t FreeWindow() const;
  uint64_t RetransmitNs() const;

  Wire* const wire_;
  const Endpoint guest_;
  const Endpoint remote_;
  const uint32_t mtu_;
  UniqueFd socket_;
  State state_ = State::kConnecting;

  // To the guest. Numbers are sequence numbers, all arithmetic modulo 2^32.
  Ring to_guest_;
  uint32_t initial_;
  uint32_t una_;
  uint32_t next_;     // to be sent next
  uint32_t highest_;  // has been sent, plus 1
  uint32_t guest_window_ = 0;
  uint32_t largest_window_ = 0;
  uint8_t guest_scale_ = 0;
  uint32_t mss_;
  uint32_t congestion_ = ~uint32_t{0};
  uint32_t recover_ = 0;
  bool recovering_ = false;
  int duplicates_ = 0;
  int retries_ = 0;
  bool host_eof_ = false;
  bool fin_sent_ = false;
  bool fin_acknowledged_ = false;
  bool resend_ = false;         // the first segment is missing
  bool restart_timer_ = false;  // the guest has acknowledged something
  bool waiting_ = false;        // the deadline is for an answer of the guest
  bool no_neighbour_ = false;
  bool filled_ = false;  // the last read took all there was room for

  // From the guest.
  Ring to_host_;
  uint32_t receive_next_ = 0;
  uint32_t window_edge_ = 0;  // what has been offered ends here
  uint8_t our_scale_ = 0;
  bool scaling_ = false;
  bool acknowledge_ = false;
  struct Range {
    uint32_t begin, end;
  };
  // What came before its turn, in order, apart from each other.
  std::array<Range, kMaxAhead> ahead_;
  size_t ahead_count_ = 0;
  // A number within each of the pieces that changed last, the last one first.
  std::array<uint32_t, kMaxTold> told_{};
  size_t told_count_ = 0;
  bool selective_ = false;
  bool guest_fin_ = false;
  bool shut_ = false;  // the socket has been told
  std::array<iovec, kMaxGather> gather_;
  size_t gather_count_ = 0;
  size_t gathered_ = 0;

  bool readable_ = false;
  bool ending_ = false;  // an end or error is to be read: there will be no further edge
  bool writable_ = false;
  bool heard_ = false;  // the guest has said something
  size_t turn_left_ = 0;
  int frames_left_ = 0;
  uint64_t begun_ = 0;
  uint64_t deadline_ = 0;
  uint64_t last_active_ = 0;
  uint64_t bytes_to_guest_ = 0;
  uint64_t bytes_to_host_ = 0;
};

}  // namespace atl::usernet

#endif  // LIB_USERNET_TCP_FLOW_H_
