// SPDX-License-Identifier: Apache-2.0
#include "lib/rfb/encoder_pool.h"

namespace atl::rfb {

EncoderPool::~EncoderPool() {
  {
    MutexLock lock(&mu_);
    quit_ = true;
  }
  begin_.NotifyAll();
  for (std::thread& worker : workers_) worker.join();
}

void EncoderPool::Encode(const Encoding& encoding, const View& view, const EncodeSettings& settings,
                         Encoder* own, std::span<Job> jobs) {
  while (workers_.size() < threads_) workers_.emplace_back([this] { Work(); });
  {
    MutexLock lock(&mu_);
    encoding_ = &encoding;
    view_ = view;
    settings_ = settings;
    settings_.apart = true;
    jobs_ = jobs;
    next_ = 1;
    left_ = jobs.size() - 1;
  }
  if (jobs.size() > 1) begin_.NotifyAll();
  jobs[0].done = own->Encode(view, jobs[0].rect, settings, &jobs[0].out);
  if (jobs.size() == 1) return;
  MutexLock lock(&mu_);
  TakeJobs(&encoders_);
  while (left_ > 0) end_.Wait(&mu_);
  own->Restart();
}

void EncoderPool::Work() {
  Encoders encoders;
  MutexLock lock(&mu_);
  while (!quit_) {
    TakeJobs(&encoders);
    begin_.Wait(&mu_);
  }
}

void EncoderPool::TakeJobs(Encoders* encoders) {
  while (left_ > 0 && next_ < jobs_.size()) {
    Job& job = jobs_[next_++];
    const Encoding& encoding = *encoding_;
    const View view = view_;
    const EncodeSettings settings = settings_;
    mu_.Unlock();
    std::unique_ptr<Encoder>& encoder = (*encoders)[encoding.number];
    if (encoder == nullptr) encoder = encoding.make();
    job.done = encoder->Encode(view, job.rect, settings, &job.out);
    mu_.Lock();
    if (--left_ == 0) end_.NotifyOne();
  }
}

}  // namespace atl::rfb
