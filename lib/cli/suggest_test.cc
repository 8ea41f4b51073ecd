// SPDX-License-Identifier: Apache-2.0
#include "lib/cli/suggest.h"

#include <string>

#include "gtest/gtest.h"

namespace atl::cli {
namespace {

TEST(EditDistance, CountsLettersToChange) {
  EXPECT_EQ(EditDistance("", ""), 0u);
  EXPECT_EQ(EditDistance("abc", ""), 3u);
  EXPECT_EQ(EditDistance("kitten", "sitting"), 3u);
  EXPECT_EQ(EditDistance("covnert", "convert"), 1u);  // swapped neighbours
  EXPECT_EQ(EditDistance("a", "b"), 1u);
}

TEST(EditDistance, HasABound) {
  EXPECT_GT(EditDistance(std::string(1000, 'a'), std::string(1000, 'a')), 1000u);
  EXPECT_EQ(EditDistance(std::string(64, 'a'), std::string(64, 'b')), 64u);
}

TEST(Nearest, FindsTypingErrors) {
  EXPECT_EQ(Nearest("-hdaa", {"-hdb", "-hda", "-m"}), "-hda");
  EXPECT_EQ(Nearest("--ouptut", {"-f", "--output"}), "--output");
  EXPECT_EQ(Nearest("QCOW2", {"raw", "qcow2"}), "qcow2");
  EXPECT_EQ(Nearest("virtio", {"e1000", "virtio-net-pci"}), "virtio-net-pci");
}

TEST(Nearest, SaysNothingWhereNothingIsNear) {
  EXPECT_EQ(Nearest("elephant", {"raw", "qcow", "qcow2"}), "");
  EXPECT_EQ(Nearest("-z", {"-f", "-m"}), "");
  EXPECT_EQ(Nearest("", {"raw"}), "");
  EXPECT_EQ(Nearest("x", {}), "");
}

TEST(DidYouMean, IsATail) {
  EXPECT_EQ(DidYouMean("qcwo2", {"raw", "qcow2"}), ": did you mean 'qcow2'?");
  EXPECT_EQ(DidYouMean("elephant", {"raw"}), "");
}

}  // namespace
}  // namespace atl::cli
