// SPDX-License-Identifier: Apache-2.0
#include "lib/rfb/recorder.h"

#include <errno.h>
#include <unistd.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "lib/base/endian.h"
#include "lib/base/status_macros.h"
#include "lib/host/event_loop.h"
#include "lib/rfb/protocol.h"

namespace atl::rfb {
namespace {

constexpr absl::string_view kMagic = "FBS 001.000\n";
constexpr absl::string_view kVersion = "RFB 003.003\n";
constexpr uint64_t kFrameNs = 1'000'000'000 / Recorder::kFramesPerSecond;
constexpr int32_t kEncodings[] = {kEncodingCopyRect, kEncodingTight, kPseudoDesktopSize,
                                  kPseudoCursor, kPseudoCompressLow + 2};

// For all of whatever size there will be.
void WriteRequest(bool incremental, Output* out) {
  out->U8(3);
  out->U8(incremental ? 1 : 0);
  for (const unsigned v : {0u, 0u, 0xFFFFu, 0xFFFFu}) out->U16(v);
}

}  // namespace

class Recorder::NoGuest final : public Guest {
 public:
  void Key(bool, uint8_t, uint32_t) override {}
  void PointAt(unsigned, unsigned, Wheel, uint8_t) override {}
  void Move(int, int, Wheel, uint8_t) override {}
  void SetClipboard(absl::string_view) override {}
  bool Power(PowerAction) override { return false; }
  bool Resize(unsigned, unsigned) override { return false; }
  void Ask(bool) override {}
};

Recorder::Recorder(UniqueFd fd, std::string name)
    : fd_(std::move(fd)),
      name_(std::move(name)),
      begin_(host::MonotonicNs()),
      guest_(std::make_unique<NoGuest>()) {}

Recorder::~Recorder() = default;

absl::StatusOr<std::unique_ptr<Recorder>> Recorder::Create(UniqueFd fd, std::string name,
                                                           const Desktop* desktop,
                                                           EncoderPool* pool) {
  std::unique_ptr<Recorder> out(new Recorder(std::move(fd), std::move(name)));
  RETURN_IF_ERROR(out->Write({reinterpret_cast<const uint8_t*>(kMagic.data()), kMagic.size()}));
  out->session_ = std::make_unique<Session>(&out->access_, desktop, out->guest_.get(), &out->out_,
                                            SessionOptions{.view_only = true, .pool = pool});
  out->session_->Start();
  // A viewer of version 3.3, which is told the security type and agrees by ClientInit.
  Output hello;
  hello.Append(kVersion);
  RETURN_IF_ERROR(out->Tell(hello));
  out->out_.Clear();
  Output init;
  init.U8(1);
  RETURN_IF_ERROR(out->Tell(init));
  Output beginning;
  beginning.Append(kVersion);
  beginning.U32(kSecurityNone);
  beginning.Append(out->out_.span());
  out->out_.Clear();
  RETURN_IF_ERROR(out->WriteBlock(beginning.span()));
  Output wishes;
  wishes.U8(2);
  wishes.U8(0);
  wishes.U16(std::size(kEncodings));
  for (const int32_t e : kEncodings) wishes.S32(e);
  WriteRequest(/*incremental=*/false, &wishes);
  RETURN_IF_ERROR(out->Tell(wishes));
  return out;
}

absl::Status Recorder::Tell(const Output& message) {
  ASSIGN_OR_RETURN(const size_t taken, session_->Receive(message.span()));
  if (taken != message.size()) return absl::InternalError(absl::StrCat(name_, ": recording"));
  return absl::OkStatus();
}

absl::Status Recorder::Pump(bool last) {
  const uint64_t now = host::MonotonicNs();
  if (wake_at_ && (last || now >= *wake_at_)) {
    wake_at_.reset();
    Output request;
    WriteRequest(/*incremental=*/true, &request);
    RETURN_IF_ERROR(Tell(request));
  }
  session_->Pump(0);
  if (out_.empty()) return absl::OkStatus();
  RETURN_IF_ERROR(WriteBlock(out_.span()));
  out_.Clear();
  session_->OutputDrained();
  wake_at_ = now + kFrameNs;
  return absl::OkStatus();
}

absl::Status Recorder::WriteBlock(std::span<const uint8_t> data) {
  Output head, tail;
  head.U32(static_cast<uint32_t>(data.size()));
  tail.Zeros((4 - data.size() % 4) % 4);
  tail.U32(static_cast<uint32_t>((host::MonotonicNs() - begin_) / 1'000'000));
  RETURN_IF_ERROR(Write(head.span()));
  RETURN_IF_ERROR(Write(data));
  return Write(tail.span());
}

absl::Status Recorder::Write(std::span<const uint8_t> bytes) {
  while (!bytes.empty()) {
    const ssize_t n = write(fd_.get(), bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return ErrnoError(errno, name_);
    bytes = bytes.subspan(static_cast<size_t>(n));
    bytes_ += static_cast<uint64_t>(n);
  }
  return absl::OkStatus();
}

}  // namespace atl::rfb
