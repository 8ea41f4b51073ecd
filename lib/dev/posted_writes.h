// SPDX-License-Identifier: Apache-2.0
// Writes of vCPUs that may lie on the way to a device for a while, since nothing but
// what the guest does next with the device, and what people see, depends on them.
#ifndef LIB_DEV_POSTED_WRITES_H_
#define LIB_DEV_POSTED_WRITES_H_

namespace atl::dev {

// Thread rule: any thread that holds no device's lock.
class PostedWrites {
 public:
  virtual ~PostedWrites() = default;
  // When it is back, the device has all that was written before the call.
  virtual void Deliver() = 0;
  // False: from now on the device has each write at once. What was written before is
  // there after Deliver(). At first they may.
  virtual void MayWait(bool may) = 0;
};

}  // namespace atl::dev

#endif  // LIB_DEV_POSTED_WRITES_H_
