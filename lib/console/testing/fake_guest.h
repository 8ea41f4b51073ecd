// SPDX-License-Identifier: Apache-2.0
// A screen and an input without a machine.
#ifndef LIB_CONSOLE_TESTING_FAKE_GUEST_H_
#define LIB_CONSOLE_TESTING_FAKE_GUEST_H_

#include <atomic>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "lib/base/mutex.h"
#include "lib/ui/screen.h"

namespace atl::console {

// Thread rule: any thread.
class FakeScreen final : public ui::Screen {
 public:
  FakeScreen(unsigned width, unsigned height, bool tells = true) : tells_(tells) {
    picture_.Resize(width, height);
  }

  // From the test: draws, and wakes who waits.
  void Fill(const ui::Rect& r, uint32_t color) {
    MutexLock lock(&mu_);
    for (unsigned y = r.y; y < r.y + r.height; ++y) {
      for (unsigned x = r.x; x < r.x + r.width; ++x) picture_.Row(y)[x] = color;
    }
    Changed();
  }
  void Resize(unsigned width, unsigned height) {
    MutexLock lock(&mu_);
    picture_.Resize(width, height);
    Changed();
  }
  void SetText(std::optional<ui::TextScreen> text) {
    MutexLock lock(&mu_);
    text_ = std::move(text);
    Changed();
  }
  unsigned looks() const { return looks_; }

  ui::ScreenKind kind() override {
    MutexLock lock(&mu_);
    return text_ ? ui::ScreenKind::kText : ui::ScreenKind::kGraphics;
  }
  ui::Surface Capture() override {
    MutexLock lock(&mu_);
    return picture_;
  }
  ui::Damage Refresh(ui::Surface& surface) override {
    MutexLock lock(&mu_);
    ++looks_;
    ui::Damage damage = ui::UpdateSurface(surface, picture_);
    surface.token = version_;
    return damage;
  }
  std::optional<ui::TextScreen> Text() override {
    MutexLock lock(&mu_);
    return text_;
  }
  bool OnNextChange(const ui::Surface& seen, std::function<void()> changed) override {
    MutexLock lock(&mu_);
    if (!tells_) return false;
    changed_ = std::move(changed);
    if (changed_ && seen.token != version_) std::exchange(changed_, nullptr)();
    return true;
  }

 private:
  void Changed() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    ++version_;
    if (changed_) std::exchange(changed_, nullptr)();
  }

  const bool tells_;
  Mutex mu_;
  ui::Surface picture_ ABSL_GUARDED_BY(mu_);
  std::optional<ui::TextScreen> text_ ABSL_GUARDED_BY(mu_);
  uint64_t version_ ABSL_GUARDED_BY(mu_) = 1;
  std::function<void()> changed_ ABSL_GUARDED_BY(mu_);
  std::atomic<unsigned> looks_{0};
};

class FakeInput final : public ui::Input {
 public:
  void Key(uint8_t code, bool down) override {
    Note(absl::StrCat(down ? "+" : "-", absl::Hex(code, absl::kZeroPad2)));
  }
  void Move(int dx, int dy, int wheel, uint8_t buttons) override {
    Note(absl::StrCat("move(", dx, ",", dy, ",", wheel, ",", buttons, ")"));
  }
  bool absolute() override { return takes_positions; }
  void MoveTo(const ui::Position& at, int wheel, uint8_t buttons) override {
    Note(absl::StrCat("at(", at.x, ",", at.y, ",", at.width, ",", at.height, ",", wheel, ",",
                      buttons, ")"));
  }
  uint8_t leds() override { return lamps; }
  bool keys_taken() override { return takes_keys; }

  // What came, separated by blanks.
  std::string log() {
    MutexLock lock(&mu_);
    return log_;
  }

  std::atomic<bool> takes_positions{false};
  std::atomic<bool> takes_keys{true};
  std::atomic<uint8_t> lamps{0};

 private:
  void Note(absl::string_view what) {
    MutexLock lock(&mu_);
    constexpr size_t kMax = 1 << 20;
    if (log_.size() < kMax) absl::StrAppend(&log_, log_.empty() ? "" : " ", what);
  }

  Mutex mu_;
  std::string log_ ABSL_GUARDED_BY(mu_);
};

}  // namespace atl::console

#endif  // LIB_CONSOLE_TESTING_FAKE_GUEST_H_
