// SPDX-License-Identifier: Apache-2.0
// A viewer for tests: decodes, slowly and by the letter of the specification,
// what a server sends. It shares no code with the encoders, and takes nothing
// that is not exactly right.
#ifndef LIB_RFB_TESTING_CLIENT_H_
#define LIB_RFB_TESTING_CLIENT_H_

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "lib/rfb/pixel_format.h"
#include "lib/ui/surface.h"

namespace atl::rfb::testing {

// Messages of a viewer.
std::string ClientInit(bool shared = true);
std::string SetPixelFormatMessage(const PixelFormat& format);
std::string SetEncodingsMessage(std::span<const int32_t> encodings);
std::string RequestMessage(bool incremental, const ui::Rect& rect);
std::string KeyMessage(bool down, uint32_t keysym);
std::string ExtendedKeyMessage(bool down, uint32_t keysym, uint32_t code);
std::string PointerMessage(uint8_t buttons, unsigned x, unsigned y);
std::string FenceMessage(uint32_t flags, absl::string_view payload);
std::string ContinuousMessage(bool on, const ui::Rect& rect);

class Client {
 public:
  Client(unsigned width, unsigned height);
  ~Client();

  // What holds from the next update on.
  void SetFormat(const PixelFormat& format) { format_ = format; }

  // Whole messages of the server, after ServerInit. An error says what is wrong.
  absl::Status Take(std::span<const uint8_t> bytes);

  // Pixels as 0x00RRGGBB, scaled from the format's.
  const ui::Surface& picture() const { return picture_; }
  // What `pixel` becomes on the way there and back.
  uint32_t Through(uint32_t pixel) const;

  // What has come, by number of encoding.
  std::map<int32_t, unsigned> rectangles;
  unsigned updates = 0;
  uint64_t lossy_pixels = 0;  // as JPEG
  std::vector<std::string> cut_texts;
  struct Fence {
    uint32_t flags;
    std::string payload;
  };
  std::vector<Fence> fences;
  unsigned ends_of_continuous = 0;
  std::string name;
  int leds = -1;
  int pointer_absolute = -1;
  struct {
    unsigned width = 0, height = 0, hot_x = 0, hot_y = 0;
    std::string bytes;
  } cursor;
  unsigned size_reason = ~0u, size_status = ~0u;
  std::string xvp;

 private:
  class Reader;
  struct Streams;

  absl::Status Update(Reader& in);
  absl::Status Rectangle(Reader& in);
  absl::Status Raw(Reader& in, const ui::Rect& r);
  absl::Status Copy(Reader& in, const ui::Rect& r);
  absl::Status Rre(Reader& in, const ui::Rect& r);
  absl::Status Hextile(Reader& in, const ui::Rect& r);
  absl::Status Zlib(Reader& in, const ui::Rect& r);
  absl::Status Zrle(Reader& in, const ui::Rect& r);
  absl::Status ZrleTile(Reader& in, const ui::Rect& r);
  absl::Status Tight(Reader& in, const ui::Rect& r, bool png);
  absl::Status TightBasic(Reader& in, const ui::Rect& r, unsigned control);
  absl::Status Jpeg(std::span<const uint8_t> file, const ui::Rect& r);
  absl::Status Png(std::span<const uint8_t> file, const ui::Rect& r);
  absl::StatusOr<uint32_t> Pixel(Reader& in);
  absl::StatusOr<uint32_t> CompactPixel(Reader& in);
  absl::StatusOr<uint32_t> TightPixel(Reader& in);
  uint32_t Colour(uint32_t value) const;
  absl::Status Fill(const ui::Rect& r, uint32_t pixel);
  absl::Status Put(unsigned x, unsigned y, uint32_t pixel);
  absl::StatusOr<std::vector<uint8_t>> Inflate(size_t stream, std::span<const uint8_t> bytes,
                                               size_t expected);

  PixelFormat format_;
  std::array<uint32_t, 256> map_{};
  ui::Surface picture_;
  std::unique_ptr<Streams> streams_;
};

}  // namespace atl::rfb::testing

#endif  // LIB_RFB_TESTING_CLIENT_H_
