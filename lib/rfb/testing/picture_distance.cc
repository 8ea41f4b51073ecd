// SPDX-License-Identifier: Apache-2.0
// picture_distance A B: the mean square error of two pictures' colours (0 to
// 65025), each a PNG or a JPEG; exits with 1 where their sizes differ.
#include <png.h>
#include <turbojpeg.h>

#include <cstdint>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <iterator>
#include <vector>

namespace {

struct Image {
  int width = 0, height = 0;
  std::vector<uint8_t> rgb;
};

bool Load(const char* path, Image* out) {
  std::ifstream in(path, std::ios::binary);
  std::vector<uint8_t> file((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
  if (file.size() > 2 && file[0] == 0xFF) {
    tjhandle tj = tjInitDecompress();
    int samp = 0, space = 0;
    bool ok = tjDecompressHeader3(tj, file.data(), file.size(), &out->width, &out->height, &samp,
                                  &space) == 0;
    if (ok) {
      out->rgb.resize(size_t{3} * static_cast<size_t>(out->width) *
                      static_cast<size_t>(out->height));
      ok = tjDecompress2(tj, file.data(), file.size(), out->rgb.data(), out->width, 0, out->height,
                         TJPF_RGB, 0) == 0;
    }
    tjDestroy(tj);
    return ok;
  }
  png_image image{};
  image.version = PNG_IMAGE_VERSION;
  if (png_image_begin_read_from_memory(&image, file.data(), file.size()) == 0) return false;
  image.format = PNG_FORMAT_RGB;
  out->width = static_cast<int>(image.width);
  out->height = static_cast<int>(image.height);
  out->rgb.resize(PNG_IMAGE_SIZE(image));
  return png_image_finish_read(&image, nullptr, out->rgb.data(), 0, nullptr) != 0;
}

}  // namespace

int main(int argc, char** argv) {
  Image a, b;
  if (argc != 3 || !Load(argv[1], &a) || !Load(argv[2], &b)) {
    std::fprintf(stderr, "picture_distance: two pictures are needed\n");
    return 2;
  }
  if (a.width != b.width || a.height != b.height) {
    std::fprintf(stderr, "%dx%d and %dx%d\n", a.width, a.height, b.width, b.height);
    return 1;
  }
  uint64_t sum = 0;
  for (size_t i = 0; i < a.rgb.size(); ++i) {
    const int d = a.rgb[i] - b.rgb[i];
    sum += static_cast<uint64_t>(d * d);
  }
  std::printf("%.3f\n", static_cast<double>(sum) / static_cast<double>(a.rgb.size()));
  return 0;
}
