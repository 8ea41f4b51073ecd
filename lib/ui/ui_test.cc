// SPDX-License-Identifier: Apache-2.0
#include <png.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <set>
#include <string>

#include "gtest/gtest.h"
#include "lib/base/status_matchers.h"
#include "lib/ui/keys.h"
#include "lib/ui/picture.h"
#include "lib/ui/screen.h"
#include "lib/ui/surface.h"

namespace atl::ui {
namespace {

TEST(Keys, SortedUniqueAndFound) {
  const auto names = KeyNames();
  EXPECT_GT(names.size(), 130u);
  for (size_t i = 1; i < names.size(); ++i) EXPECT_LT(names[i - 1].name, names[i].name);
  for (const KeyName& k : names) EXPECT_EQ(FindKey(k.name), k.code);
  EXPECT_EQ(FindKey("ret"), 0x1C);
  EXPECT_EQ(FindKey("ctrl_r"), 0x9D);
  EXPECT_EQ(FindKey("delete"), 0xD3);
  EXPECT_EQ(FindKey("print"), 0xB7);
  EXPECT_EQ(FindKey("f12"), 0x58);
  EXPECT_EQ(FindKey("kp_5"), 0x4C);
  EXPECT_EQ(FindKey("nonesuch"), std::nullopt);
  EXPECT_EQ(FindKey(""), std::nullopt);
  EXPECT_EQ(NameOfKey(0x01), "esc");
  EXPECT_EQ(NameOfKey(0x00), "");
}

TEST(Keys, EveryPrintableCharacterHasOne) {
  std::set<std::pair<int, bool>> seen;
  for (char c = ' '; c < 127; ++c) {
    const auto key = KeyOfCharacter(c);
    ASSERT_TRUE(key.has_value()) << c;
    EXPECT_TRUE(seen.emplace(key->code, key->shift).second) << c;
    EXPECT_FALSE(NameOfKey(key->code).empty()) << c;
  }
  EXPECT_EQ(NameOfKey(KeyOfCharacter('a')->code), "a");
  EXPECT_TRUE(KeyOfCharacter('A')->shift);
  EXPECT_EQ(NameOfKey(KeyOfCharacter('|')->code), "backslash");
  EXPECT_EQ(NameOfKey(KeyOfCharacter('?')->code), "slash");
  EXPECT_EQ(NameOfKey(KeyOfCharacter('\r')->code), "ret");
  EXPECT_EQ(NameOfKey(KeyOfCharacter('\x7F')->code), "backspace");
  EXPECT_FALSE(KeyOfCharacter('\0').has_value());
  EXPECT_FALSE(KeyOfCharacter('\x01').has_value());
  EXPECT_FALSE(KeyOfCharacter('\xFF').has_value());
}

TEST(Text, RowsAsUtf8) {
  TextScreen text;
  text.columns = 4;
  text.rows = 2;
  text.cells.resize(8);
  text.cells[0].code = 'A';
  text.cells[2].code = 0xC4;
  text.cells[4].code = 0x01;
  text.cells[5].code = 0x9B;
  EXPECT_EQ(TextOf(text), "A ─\n☺¢\n");
}

TEST(Damage, NamesTheTilesThatChanged) {
  Surface old, now;
  now.Resize(100, 50);
  Damage d = UpdateSurface(old, now);
  EXPECT_TRUE(d.resized);
  EXPECT_EQ(d.rects, (std::vector<Rect>{{0, 0, 100, 50}}));
  d = UpdateSurface(old, now);
  EXPECT_TRUE(d.empty());
  EXPECT_FALSE(d.resized);
  now.Row(0)[15] = 1;
  now.Row(15)[16] = 2;
  now.Row(49)[99] = 3;
  d = UpdateSurface(old, now);
  EXPECT_EQ(d.rects, (std::vector<Rect>{{0, 0, 32, 16}, {96, 48, 4, 2}}));
  EXPECT_EQ(old.pixels, now.pixels);
}

Surface Pattern() {
  Surface s;
  s.Resize(33, 7);
  for (unsigned i = 0; i < s.pixels.size(); ++i) s.pixels[i] = i * 0x010305 & 0xFFFFFF;
  return s;
}

TEST(Picture, PngReadsBack) {
  const Surface s = Pattern();
  ASSERT_OK_AND_ASSIGN(const std::string png, EncodePicture(s, PictureFormat::kPng));
  png_image image = {};
  image.version = PNG_IMAGE_VERSION;
  ASSERT_NE(png_image_begin_read_from_memory(&image, png.data(), png.size()), 0);
  image.format = PNG_FORMAT_BGRA;
  ASSERT_EQ(image.width, s.width);
  ASSERT_EQ(image.height, s.height);
  std::vector<uint32_t> pixels(s.pixels.size());
  ASSERT_NE(png_image_finish_read(&image, nullptr, pixels.data(), 0, nullptr), 0);
  for (uint32_t& p : pixels) p &= 0xFFFFFF;
  EXPECT_EQ(pixels, s.pixels);
}

TEST(Picture, FilesAreWholeOrNotThere) {
  char dir[] = "/tmp/atoll-ui-XXXXXX";
  ASSERT_NE(mkdtemp(dir), nullptr);
  const std::string path = std::string(dir) + "/screen.PPM";
  EXPECT_EQ(PictureFormatOf(path), PictureFormat::kPpm);
  EXPECT_EQ(PictureFormatOf("a.png"), PictureFormat::kPng);
  const Surface s = Pattern();
  EXPECT_OK(WritePicture(s, PictureFormatOf(path), path));
  std::ifstream in(path, std::ios::binary);
  const std::string bytes((std::istreambuf_iterator<char>(in)), {});
  EXPECT_EQ(bytes.substr(0, 12), "P6\n33 7\n255\n");
  EXPECT_EQ(bytes.size(), 12u + 33 * 7 * 3);
  EXPECT_EQ(static_cast<uint8_t>(bytes[12 + 3]), 0x01);
  EXPECT_EQ(static_cast<uint8_t>(bytes[12 + 4]), 0x03);
  const absl::Status missing = WritePicture(s, PictureFormat::kPng, std::string(dir) + "/no/a.png");
  EXPECT_EQ(missing.code(), absl::StatusCode::kNotFound);
  EXPECT_FALSE(EncodePicture(Surface(), PictureFormat::kPng).ok());
  unlink(path.c_str());
  EXPECT_EQ(rmdir(dir), 0);  // no half-written file is left
}

}  // namespace
}  // namespace atl::ui
