// SPDX-License-Identifier: Apache-2.0
#include "lib/net/hub.h"

#include <deque>
#include <utility>

#include "absl/strings/str_cat.h"
#include "lib/base/status_macros.h"

namespace atl::net {
namespace {

// Frames that the loop hands to one member before others have their turn.
constexpr unsigned kTurn = 64;

}  // namespace

class Hub::Member final : public Port {
 public:
  Member(Hub& hub, dev::DeviceLock* lock, std::unique_ptr<Backend> backend, std::string name)
      : hub_(hub),
        lock_(lock),
        backend_(std::move(backend)),
        any_thread_(backend_ != nullptr && backend_->threads() == Threads::kAny),
        name_(std::move(name)) {}

  void Connect(Client* client) override { client_ = client; }
  bool Send(const Frame& frame) override { return hub_.Send(*this, frame); }
  void ReceiveReady() override {
    MutexLock lock(&hub_.mu_);
    ++readies_;
    blocked_ = false;
    hub_.ScheduleLocked();
  }
  void SetAccepts(const Offloads& offloads) override {
    MutexLock lock(&hub_.mu_);
    if (accepts_ == offloads) return;
    accepts_ = offloads;
    for (const std::unique_ptr<Member>& m : hub_.members_) {
      if (m.get() != this) m->offloads_changed_ = true;
    }
    hub_.ScheduleLocked();
  }
  Offloads peer_accepts() const override {
    MutexLock lock(&hub_.mu_);
    Offloads all{true, true, true, true, true, true};
    bool somebody = false;
    for (const std::unique_ptr<Member>& m : hub_.members_) {
      if (m.get() == this) continue;
      all = Common(all, m->accepts_);
      somebody = true;
    }
    return somebody ? all : Offloads{};
  }
  bool link_up() const override {
    MutexLock lock(&hub_.mu_);
    if (hub_.members_.size() < 2) return false;
    if (!hub_.pair()) return true;
    return hub_.members_[hub_.members_[0].get() == this ? 1 : 0]->link_;
  }
  void SetLink(bool up) override {
    MutexLock lock(&hub_.mu_);
    if (link_ == up) return;
    link_ = up;
    if (!hub_.pair()) return;
    hub_.members_[hub_.members_[0].get() == this ? 1 : 0]->link_changed_ = true;
    hub_.ScheduleLocked();
  }
  KernelPath* kernel_path() override {
    if (!hub_.pair()) return nullptr;
    const Member& other = *hub_.members_[hub_.members_[0].get() == this ? 1 : 0];
    return other.backend_ != nullptr ? other.backend_->kernel_path() : nullptr;
  }
  void BeginBurst() override {
    MutexLock lock(&hub_.mu_);
    bursting_ = true;
  }
  void EndBurst() override {
    {
      MutexLock lock(&hub_.mu_);
      bursting_ = false;
    }
    for (const std::unique_ptr<Member>& m : hub_.members_) {
      if (m.get() != this) m->EndOfBurst();
    }
  }

  // Calls the client, a card's with its lock held, which the caller does not hold.
  template <typename Call>
  auto WithClient(Call call) {
    if (lock_ == nullptr) return call(*client_);
    return lock_->Run([&] { return call(*client_); });
  }
  void EndOfBurst() {
    {
      MutexLock lock(&hub_.mu_);
      if (!burst_open_) return;
      burst_open_ = false;
    }
    if (client_ == nullptr) return;
    WithClient([](Client& c) { c.BurstEnd(); });
  }

  struct Queued {
    std::vector<uint8_t> bytes;
    net::Work work;
  };

  bool EnqueueLocked(const Frame& frame) {
    if (queue_.size() >= kQueueFrames || queued_bytes_ >= kQueueBytes) return false;
    queue_.push_back({{frame.bytes.begin(), frame.bytes.end()}, frame.work});
    queued_bytes_ += frame.bytes.size();
    return true;
  }
  bool HasRoomLocked() const {
    return !blocked_ && queue_.size() <= kQueueFrames / 2 && queued_bytes_ <= kQueueBytes / 2;
  }

  Hub& hub_;
  dev::DeviceLock* const lock_;  // null for a backend
  const std::unique_ptr<Backend> backend_;
  const bool any_thread_;
  const std::string name_;
  Client* client_ = nullptr;

  // All below under hub_.mu_, and what ends in Locked with it held. Not annotated:
  // the analysis does not know that the hubs of two members are one.
  Offloads accepts_;
  bool link_ = true;
  std::deque<Queued> queue_;  // to be received
  size_t queued_bytes_ = 0;
  // Receive() was false, and no ReceiveReady() has come since.
  bool blocked_ = false;
  uint64_t readies_ = 0;  // ReceiveReady() calls
  // A queued frame is being handed over: later ones queue behind it.
  bool draining_ = false;
  bool waiting_ = false;     // its Send() was false
  bool bursting_ = false;    // as a sender
  bool burst_open_ = false;  // as a receiver: BurstEnd() is due
  bool offloads_changed_ = false;
  bool link_changed_ = false;
  uint64_t received_ = 0;
  uint64_t lost_ = 0;
};

Hub::Hub(host::EventLoop& loop) : loop_(loop) {}

Hub::~Hub() {
  // A backend goes before any port: it may say something at its end.
  for (const std::unique_ptr<Member>& m : members_) m->Connect(nullptr);
}

Port& Hub::AddCard(dev::DeviceLock& lock, absl::string_view name) {
  members_.push_back(std::make_unique<Member>(*this, &lock, nullptr, std::string(name)));
  return *members_.back();
}

Port& Hub::AddBackend(std::unique_ptr<Backend> backend) {
  Backend& client = *backend;
  std::string name = client.description();
  members_.push_back(std::make_unique<Member>(*this, nullptr, std::move(backend), std::move(name)));
  members_.back()->Connect(&client);
  members_.back()->SetAccepts(client.offloads());
  return *members_.back();
}

absl::Status Hub::Start(const std::function<void(absl::string_view)>& warn) {
  for (const std::unique_ptr<Member>& m : members_) {
    if (m->backend_ != nullptr) RETURN_IF_ERROR(m->backend_->Start(loop_, *m, warn));
  }
  return absl::OkStatus();
}

absl::Status Hub::Close() {
  absl::Status first;
  for (const std::unique_ptr<Member>& m : members_) {
    if (m->backend_ != nullptr) first.Update(m->backend_->Close());
  }
  return first;
}

std::string Hub::Describe() const {
  MutexLock lock(&mu_);
  std::string out;
  for (const std::unique_ptr<Member>& m : members_) {
    absl::StrAppend(&out, m->name_, ": ", m->received_, " frames to it");
    if (m->lost_ != 0) absl::StrAppend(&out, ", ", m->lost_, " lost");
    if (!m->link_) absl::StrAppend(&out, ", down");
    out += "\n";
  }
  return out;
}

bool Hub::Send(Member& from, const Frame& frame) {
  if (!WellFormed(frame)) return true;
  bool refused = false;
  for (const std::unique_ptr<Member>& m : members_) {
    if (m.get() == &from || m->client_ == nullptr) continue;
    refused |= OfferTo(*m, from, frame) == Offer::kRefused;
  }
  return !refused;
}

Hub::Offer Hub::OfferTo(Member& to, Member& from, const Frame& frame) {
  const bool at_once = to.any_thread_ || from.lock_ == nullptr;
  for (;;) {
    uint64_t readies = 0;
    bool end_of_burst = false;
    {
      MutexLock lock(&mu_);
      if (!Allows(to.accepts_, frame.work)) {
        ++to.lost_;
        return Offer::kLost;
      }
      if (!at_once || to.blocked_ || to.draining_ || !to.queue_.empty()) {
        const bool queue = !at_once || !pair() || (to.draining_ && !to.blocked_);
        if (queue && to.EnqueueLocked(frame)) {
          if (!to.blocked_) ScheduleLocked();
          return Offer::kTaken;
        }
        if (pair()) {
          from.waiting_ = true;
          return Offer::kRefused;
        }
        ++to.lost_;
        return Offer::kLost;
      }
      readies = to.readies_;
    }
    if (to.WithClient([&frame](Client& c) { return c.Receive(frame); })) {
      {
        MutexLock lock(&mu_);
        ++to.received_;
        to.burst_open_ = true;
        end_of_burst = !from.bursting_;
      }
      if (end_of_burst) to.EndOfBurst();
      return Offer::kTaken;
    }
    MutexLock lock(&mu_);
    // Room came in between: once more.
    if (to.readies_ != readies) continue;
    to.blocked_ = true;
    if (pair()) {
      from.waiting_ = true;
      return Offer::kRefused;
    }
    if (to.EnqueueLocked(frame)) return Offer::kTaken;
    ++to.lost_;
    return Offer::kLost;
  }
}

void Hub::ScheduleLocked() {
  if (scheduled_) return;
  scheduled_ = true;
  loop_.Post([this, alive = std::weak_ptr<char>(alive_)] {
    if (!alive.expired()) Work();
  });
}

void Hub::Work() {
  {
    MutexLock lock(&mu_);
    scheduled_ = false;
  }
  for (const std::unique_ptr<Member>& m : members_) Drain(*m);
  for (const std::unique_ptr<Member>& m : members_) {
    bool send_ready = false, offloads = false, link = false, up = false;
    {
      MutexLock lock(&mu_);
      offloads = std::exchange(m->offloads_changed_, false);
      link = std::exchange(m->link_changed_, false);
      if (m->waiting_ && pair()) {
        const Member& other = *members_[m == members_[0] ? 1 : 0];
        send_ready = other.HasRoomLocked();
        if (send_ready) m->waiting_ = false;
      }
    }
    if (m->client_ == nullptr) continue;
    if (link) up = m->link_up();
    if (offloads) m->WithClient([](Client& c) { c.OffloadsChanged(); });
    if (link) m->WithClient([up](Client& c) { c.LinkChanged(up); });
    if (send_ready) m->WithClient([](Client& c) { c.SendReady(); });
  }
}

void Hub::Drain(Member& to) {
  for (unsigned turn = 0; turn < kTurn; ++turn) {
    Member::Queued frame;
    uint64_t readies = 0;
    bool accepted = false;
    {
      MutexLock lock(&mu_);
      to.draining_ = !to.blocked_ && !to.queue_.empty();
      if (!to.draining_) break;
      frame = std::move(to.queue_.front());
      to.queue_.pop_front();
      to.queued_bytes_ -= frame.bytes.size();
      readies = to.readies_;
      accepted = to.client_ != nullptr && Allows(to.accepts_, frame.work);
    }
    const bool taken = !accepted || to.WithClient([&frame](Client& c) {
      return c.Receive({frame.bytes, frame.work});
    });
    MutexLock lock(&mu_);
    if (taken) {
      ++(accepted ? to.received_ : to.lost_);
      to.burst_open_ |= accepted;
      continue;
    }
    to.queued_bytes_ += frame.bytes.size();
    to.queue_.push_front(std::move(frame));
    if (to.readies_ == readies) to.blocked_ = true;
  }
  {
    MutexLock lock(&mu_);
    to.draining_ = false;
    if (!to.blocked_ && !to.queue_.empty()) ScheduleLocked();
  }
  to.EndOfBurst();
}

}  // namespace atl::net
