// SPDX-License-Identifier: Apache-2.0
// Encodes the parts of a large update on several threads at once. What comes out does
// not depend on how many there are: each part but the first is encoded apart, as if
// nothing had been before it.
//
// Thread rule: one thread calls; it works, too, and waits until all is done. The others
// are started at the first use and sleep between.
#ifndef LIB_RFB_ENCODER_POOL_H_
#define LIB_RFB_ENCODER_POOL_H_

#include <cstddef>
#include <map>
#include <memory>
#include <span>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "lib/base/mutex.h"
#include "lib/rfb/encoder.h"
#include "lib/rfb/output.h"

namespace atl::rfb {

class EncoderPool {
 public:
  struct Job {
    ui::Rect rect;
    Output out;
    Encoded done;
  };

  // `threads` beside the caller's.
  explicit EncoderPool(unsigned threads) : threads_(threads) {}
  ~EncoderPool();
  EncoderPool(const EncoderPool&) = delete;
  EncoderPool& operator=(const EncoderPool&) = delete;

  // `jobs`: in the order in which the viewer gets them, at least one. `own`, the
  // viewer's encoder, does the first.
  void Encode(const Encoding& encoding, const View& view, const EncodeSettings& settings,
              Encoder* own, std::span<Job> jobs);

 private:
  using Encoders = std::map<int32_t, std::unique_ptr<Encoder>>;

  void Work();
  // Takes jobs as long as there are some.
  void TakeJobs(Encoders* encoders) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const unsigned threads_;
  Encoders encoders_;  // the caller's
  std::vector<std::thread> workers_;

  Mutex mu_;
  CondVar begin_, end_;
  bool quit_ ABSL_GUARDED_BY(mu_) = false;
  // Of the update that is being encoded; constant while it is.
  const Encoding* encoding_ ABSL_GUARDED_BY(mu_) = nullptr;
  View view_ ABSL_GUARDED_BY(mu_);
  EncodeSettings settings_ ABSL_GUARDED_BY(mu_);
  std::span<Job> jobs_ ABSL_GUARDED_BY(mu_);
  size_t next_ ABSL_GUARDED_BY(mu_) = 0;
  size_t left_ ABSL_GUARDED_BY(mu_) = 0;  // taken or not, that are not done
};

}  // namespace atl::rfb

#endif  // LIB_RFB_ENCODER_POOL_H_
