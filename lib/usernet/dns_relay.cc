// SPDX-License-Identifier: Apache-2.0
#include "lib/usernet/dns_relay.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <algorithm>
#include <iterator>
#include <optional>
#include <span>
#include <utility>

#include "lib/base/status_macros.h"
#include "lib/host/event_loop.h"
#include "lib/usernet/dns.h"
#include "lib/usernet/host_side.h"

namespace atl::usernet {
namespace {

constexpr uint64_t kQuestionsTag = 1, kListenerTag = 2, kTimerTag = 3;
constexpr size_t kLongest = 4096;  // what EDNS clients say they take
constexpr int kAtATime = 32;       // datagrams before somebody else has a turn
constexpr int kAcceptsAtATime = 8;
constexpr int kMovesAtATime = 4;

}  // namespace

absl::Status DnsRelay::Wait(int fd, uint64_t tag, uint32_t events) {
  epoll_event event = {};
  event.events = events;
  event.data.u64 = tag;
  if (epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) != 0) return ErrnoError(errno, "epoll");
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<DnsRelay>> DnsRelay::Create(UniqueFd questions, UniqueFd listener,
                                                           std::vector<Endpoint> resolvers) {
  std::unique_ptr<DnsRelay> out(new DnsRelay());
  out->resolvers_ = std::move(resolvers);
  out->questions_socket_ = std::move(questions);
  out->listener_ = std::move(listener);
  out->epoll_.reset(epoll_create1(EPOLL_CLOEXEC));
  out->timer_.reset(timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK));
  if (!out->epoll_.valid() || !out->timer_.valid()) return ErrnoError(errno, "epoll");
  RETURN_IF_ERROR(out->Wait(out->questions_socket_.get(), kQuestionsTag, EPOLLIN));
  RETURN_IF_ERROR(out->Wait(out->listener_.get(), kListenerTag, EPOLLIN));
  RETURN_IF_ERROR(out->Wait(out->timer_.get(), kTimerTag, EPOLLIN));
  return out;
}

void DnsRelay::Serve() {
  epoll_event events[16];
  const int n = epoll_wait(epoll_.get(), events, std::size(events), 0);
  for (int i = 0; i < n; ++i) {
    // Tags are used once: what was given up in this round is not found.
    const uint64_t tag = events[i].data.u64;
    if (tag == kQuestionsTag) {
      ReadQuestions();
    } else if (tag == kListenerTag) {
      Accept();
    } else if (tag == kTimerTag) {
      Expire();
    } else {
      const auto talk = std::ranges::find_if(
          talks_, [tag](const auto& t) { return t->tag == (tag & ~uint64_t{1}); });
      if (talk != talks_.end()) {
        Serve(talk->get(), events[i].events);
      } else {
        ReadAnswer(tag);
      }
    }
  }
}

// --- Datagrams ---

void DnsRelay::ReadQuestions() {
  uint8_t bytes[kLongest];
  for (int i = 0; i < kAtATime; ++i) {
    Question question;
    SocketAddress from;
    const ssize_t n = recvfrom(questions_socket_.get(), bytes, sizeof bytes,
                               MSG_DONTWAIT | MSG_TRUNC, from.get(), &from.size);
    if (n < 0) return;
    if (static_cast<size_t>(n) > sizeof bytes) continue;
    question.from = from.storage;
    question.from_size = from.size;
    question.guest = from.endpoint();
    Ask(std::span(bytes).first(static_cast<size_t>(n)), std::move(question));
  }
}

void DnsRelay::Ask(std::span<const uint8_t> bytes, Question question) {
  const std::optional<DnsMessage> message = DnsMessage::Parse(bytes);
  if (!message || message->answer || message->question.empty() || resolvers_.empty()) return;
  const uint64_t now = host::MonotonicNs();
  // Too many of one guest's push out its own.
  size_t of_this_guest = 0;
  for (const Question& q : questions_) of_this_guest += q.guest.address == question.guest.address;
  if (of_this_guest >= kMaxQuestionsOfOne) {
    questions_.erase(std::ranges::find_if(questions_, [&question](const Question& q) {
      return q.guest.address == question.guest.address;
    }));
  }
  while (!questions_.empty() &&
         (questions_.front().until_ns < now || questions_.size() >= kMaxQuestions)) {
    // A resolver that does not answer gives way to the next.
    ++resolver_;
    questions_.erase(questions_.begin());
  }
  const SocketAddress to(Resolver());
  question.tag = next_tag_ += 2;
  question.socket.reset(socket(to.storage.ss_family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  // A port of its own for each, which the kernel chooses, and connected: an answer
  // from elsewhere does not get in.
  if (!question.socket.valid() || connect(question.socket.get(), to.get(), to.size) != 0 ||
      send(question.socket.get(), bytes.data(), bytes.size(), MSG_DONTWAIT) < 0 ||
      !Wait(question.socket.get(), question.tag, EPOLLIN).ok()) {
    ++resolver_;
    return;
  }
  question.id = message->id;
  question.words.assign(message->question.begin(), message->question.end());
  question.until_ns = now + kPatienceNs;
  questions_.push_back(std::move(question));
}

void DnsRelay::ReadAnswer(uint64_t tag) {
  const auto question = std::ranges::find(questions_, tag, &Question::tag);
  if (question == questions_.end()) return;
  uint8_t bytes[kLongest];
  const ssize_t n = recv(question->socket.get(), bytes, sizeof bytes, MSG_DONTWAIT | MSG_TRUNC);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (n < 0) {
    ++resolver_;  // nobody listens there
  } else {
    if (static_cast<size_t>(n) > sizeof bytes) return;
    const auto answer = std::span(bytes).first(static_cast<size_t>(n));
    const std::optional<DnsMessage> message = DnsMessage::Parse(answer);
    if (!message || !message->Answers(question->id, question->words)) return;
    (void)sendto(questions_socket_.get(), answer.data(), answer.size(), MSG_DONTWAIT,
                 reinterpret_cast<const sockaddr*>(&question->from), question->from_size);
  }
  questions_.erase(question);
}

// --- Connections ---

void DnsRelay::Accept() {
  for (int i = 0; i < kAcceptsAtATime; ++i) {
    SocketAddress from;
    UniqueFd guest(accept4(listener_.get(), from.get(), &from.size, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (guest.valid()) {
      if (!resolvers_.empty()) Begin(std::move(guest), from.endpoint().address);
      continue;
    }
    if (errno != EMFILE && errno != ENFILE) return;
    // Who waits would be told of again and again: the others make room.
    if (talks_.empty()) {
      questions_.clear();
      return;
    }
    EndTalk(talks_.front().get());
  }
}

void DnsRelay::Begin(UniqueFd guest, const IpAddress& from) {
  const auto of_this_guest = [&from](const auto& t) { return t->guest == from; };
  if (std::ranges::count_if(talks_, of_this_guest) >= static_cast<ptrdiff_t>(kMaxTalksOfOne)) {
    EndTalk(std::ranges::find_if(talks_, of_this_guest)->get());
  }
  if (talks_.size() >= kMaxTalks) EndTalk(talks_.front().get());
  auto talk = std::make_unique<Talk>();
  talk->tag = next_tag_ += 2;
  talk->guest = from;
  talk->until_ns = host::MonotonicNs() + kIdleNs;
  const SocketAddress to(Resolver());
  talk->ends[0].socket = std::move(guest);
  UniqueFd& resolver = talk->ends[1].socket;
  resolver.reset(socket(to.storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!resolver.valid() ||
      (connect(resolver.get(), to.get(), to.size) != 0 && errno != EINPROGRESS)) {
    ++resolver_;
    return;
  }
  for (size_t i = 0; i < 2; ++i) {
    talk->ends[i].waits_for = EPOLLIN;
    if (!Wait(talk->ends[i].socket.get(), talk->tag + i, EPOLLIN).ok()) return;
  }
  talks_.push_back(std::move(talk));
  ArmTimer();
}

bool DnsRelay::Move(End* from, const End& to, bool* moved) {
  Way& way = from->out;
  for (int i = 0; i < kMovesAtATime; ++i) {
    if (way.begin == way.end && !way.over) {
      const ssize_t n = recv(from->socket.get(), way.bytes.data(), kHeld, MSG_DONTWAIT);
      if (n < 0) return errno == EAGAIN || errno == EINTR;
      way.begin = 0;
      way.end = static_cast<size_t>(n);
      way.over = n == 0;
      *moved = true;
    }
    if (way.begin < way.end) {
      const ssize_t n = send(to.socket.get(), way.bytes.data() + way.begin, way.end - way.begin,
                             MSG_DONTWAIT | MSG_NOSIGNAL);
      if (n < 0) return errno == EAGAIN || errno == EINTR;
      way.begin += static_cast<size_t>(n);
      *moved = true;
      if (way.begin < way.end) return true;
    }
    if (way.over) {
      if (!way.told) shutdown(to.socket.get(), SHUT_WR);
      way.told = true;
      return true;
    }
  }
  return true;
}

bool DnsRelay::WaitForMore(Talk* talk) {
  for (size_t i = 0; i < 2; ++i) {
    End& end = talk->ends[i];
    const Way& in = talk->ends[1 - i].out;
    const uint32_t events =
        (end.out.begin == end.out.end && !end.out.over ? uint32_t{EPOLLIN} : 0u) |
        (in.begin < in.end ? uint32_t{EPOLLOUT} : 0u);
    if (events == end.waits_for) continue;
    epoll_event event = {};
    event.events = end.waits_for = events;
    event.data.u64 = talk->tag + i;
    if (epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, end.socket.get(), &event) != 0) return false;
  }
  return true;
}

void DnsRelay::Serve(Talk* talk, uint32_t events) {
  bool moved = false;
  bool open = Move(&talk->ends[0], talk->ends[1], &moved);
  if (!Move(&talk->ends[1], talk->ends[0], &moved)) {
    if (!talk->ends[1].out.over && talk->ends[1].out.end == 0) ++resolver_;  // nobody is there
    open = false;
  }
  if (talk->ends[0].out.told && talk->ends[1].out.told) open = false;
  // An end that has failed says so without end.
  if (!moved && (events & (EPOLLERR | EPOLLHUP)) != 0) open = false;
  if (!open || !WaitForMore(talk)) return EndTalk(talk);
  if (moved) talk->until_ns = host::MonotonicNs() + kIdleNs;
}

void DnsRelay::EndTalk(const Talk* talk) {
  std::erase_if(talks_, [talk](const auto& t) { return t.get() == talk; });
}

void DnsRelay::ArmTimer() {
  if (armed_ || talks_.empty()) return;
  armed_ = true;
  itimerspec spec = {};
  spec.it_value.tv_sec = 1;
  timerfd_settime(timer_.get(), 0, &spec, nullptr);
}

void DnsRelay::Expire() {
  uint64_t count;
  (void)!read(timer_.get(), &count, sizeof count);
  armed_ = false;
  const uint64_t now = host::MonotonicNs();
  std::erase_if(talks_, [now](const auto& t) { return t->until_ns < now; });
  ArmTimer();
}

}  // namespace atl::usernet
