// SPDX-License-Identifier: Apache-2.0
// A 16550A serial port (National Semiconductor PC16550D). Bytes leave at once
// whatever the baud rate; input waits in the stream until the FIFO has room, so
// nothing overruns. The interrupt does not depend on OUT2, for small systems
// that never set it.
#ifndef LIB_DEV_UART_H_
#define LIB_DEV_UART_H_

#include <cstdint>

#include "lib/char/stream.h"
#include "lib/dev/device.h"
#include "lib/dev/irq.h"

namespace atl::dev {

// Region 0: 8 ports, max_access 1.
class Uart final : public Device {
 public:
  Uart(IrqLine& irq, chr::Stream& stream);

  // The stream has bytes to read; with the device's lock held.
  void InputReady();
  // The line is held low for longer than a character.
  void InputBreak();

  absl::string_view name() const override { return "ns16550"; }
  void Reset() override;
  uint64_t Read(unsigned region, uint64_t offset, unsigned size) override;
  void Write(unsigned region, uint64_t offset, unsigned size, uint64_t value) override;
  void VisitState(StateVisitor& v) override;

 private:
  static constexpr unsigned kFifoSize = 16;

  bool fifo_enabled() const { return fcr_ & 0x01; }
  unsigned capacity() const { return fifo_enabled() ? kFifoSize : 1; }
  unsigned trigger() const;
  void Push(uint8_t byte);
  uint8_t Pop();
  void Fill();  // from the stream
  void WriteFifoControl(uint8_t value);
  void WriteModemControl(uint8_t value);
  uint8_t ModemInputs() const;
  uint8_t LineStatus() const;
  uint8_t InterruptId() const;
  void Update();

  IrqLine& irq_;
  chr::Stream& stream_;

  uint8_t ier_ = 0;
  uint8_t fcr_ = 0;
  uint8_t lcr_ = 0;
  uint8_t mcr_ = 0;
  uint8_t errors_ = 0;        // LSR bits 1 to 4, until LSR is read
  uint8_t modem_deltas_ = 0;  // MSR bits 0 to 3, until MSR is read
  uint8_t scratch_ = 0;
  uint16_t divisor_ = 0;
  bool sent_ = false;  // the transmitter's interrupt is due
  uint8_t fifo_[kFifoSize] = {};
  uint8_t head_ = 0;
  uint8_t count_ = 0;
};

}  // namespace atl::dev

#endif  // LIB_DEV_UART_H_
