// SPDX-License-Identifier: Apache-2.0
// Guests' questions about names, passed on to the host's resolvers and the answers back:
// datagrams one by one, connections byte by byte.
//
// Guests are hostile: questions on their way, connections, and bytes held of each are
// bounded, a part of them for each guest's address, and the oldest give way. Resolvers and whoever
// pretends to be one are, too: an answer gets in from the resolver that was asked alone, at a
// port that the kernel chose, with the number and the words of the question.
//
// One thread. Nothing blocks, and a turn is bounded.
#ifndef LIB_USERNET_DNS_RELAY_H_
#define LIB_USERNET_DNS_RELAY_H_

#include <sys/socket.h>

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "lib/base/unique_fd.h"
#include "lib/usernet/address.h"

namespace atl::usernet {

class DnsRelay {
 public:
  static constexpr size_t kMaxQuestions = 128;
  static constexpr size_t kMaxQuestionsOfOne = 64;
  static constexpr size_t kMaxTalks = 32;
  static constexpr size_t kMaxTalksOfOne = 8;
  static constexpr size_t kHeld = 4096;  // bytes of a connection, each way
  static constexpr uint64_t kPatienceNs = 5'000'000'000;
  static constexpr uint64_t kIdleNs = 10'000'000'000;  // of a connection

  // Guests ask at `questions`, a bound datagram socket, and `listener`, a TCP socket that
  // listens; both nonblocking. Without resolvers nobody is answered.
  static absl::StatusOr<std::unique_ptr<DnsRelay>> Create(UniqueFd questions, UniqueFd listener,
                                                          std::vector<Endpoint> resolvers);

  // Readable when Serve() has something to do.
  int fd() const { return epoll_.get(); }
  void Serve();

  size_t questions() const { return questions_.size(); }
  size_t talks() const { return talks_.size(); }

 private:
  struct Question {
    uint64_t tag = 0;
    UniqueFd socket;  // connected to a resolver
    sockaddr_storage from = {};
    socklen_t from_size = 0;
    Endpoint guest;
    uint16_t id = 0;
    std::vector<uint8_t> words;
    uint64_t until_ns = 0;
  };
  // Bytes on their way from one end of a connection to the other.
  struct Way {
    std::array<uint8_t, kHeld> bytes;
    size_t begin = 0, end = 0;
    bool over = false;  // nothing follows
    bool told = false;  // and the other end knows
  };
  struct End {
    UniqueFd socket;
    Way out;  // from here to the other end
    uint32_t waits_for = 0;
  };
  struct Talk {
    uint64_t tag = 0;  // and 1 more of the resolver's end
    IpAddress guest;
    std::array<End, 2> ends;  // guest, resolver
    uint64_t until_ns = 0;
  };

  DnsRelay() = default;
  absl::Status Wait(int fd, uint64_t tag, uint32_t events);
  const Endpoint& Resolver() const { return resolvers_[resolver_ % resolvers_.size()]; }
  void ReadQuestions();
  void Ask(std::span<const uint8_t> bytes, Question question);
  void ReadAnswer(uint64_t tag);
  void Accept();
  void Begin(UniqueFd guest, const IpAddress& from);
  void Serve(Talk* talk, uint32_t events);
  // False: the connection is over. `moved` where anything went.
  static bool Move(End* from, const End& to, bool* moved);
  bool WaitForMore(Talk* talk);
  void EndTalk(const Talk* talk);
  void Expire();
  void ArmTimer();

  std::vector<Endpoint> resolvers_;
  size_t resolver_ = 0;  // the next question goes to this one
  uint64_t next_tag_ = 16;
  std::vector<Question> questions_;           // the oldest first
  std::vector<std::unique_ptr<Talk>> talks_;  // the oldest first
  UniqueFd epoll_;
  UniqueFd questions_socket_;
  UniqueFd listener_;
  UniqueFd timer_;
  bool armed_ = false;
};

}  // namespace atl::usernet

#endif  // LIB_USERNET_DNS_RELAY_H_
