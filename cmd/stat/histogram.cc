// SPDX-License-Identifier: Apache-2.0
#include "cmd/stat/histogram.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_format.h"
#include "absl/strings/string_view.h"

namespace atl::stat {
namespace {

constexpr absl::string_view kBlocks[] = {"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
constexpr absl::string_view kLetters[] = {".", ".", ":", ":", "=", "=", "#", "#"};

void AppendLevel(std::string* out, double level, bool unicode) {
  const int step = std::clamp(static_cast<int>(std::ceil(level * 8)) - 1, 0, 7);
  const absl::string_view text = unicode ? kBlocks[step] : kLetters[step];
  out->append(text.data(), text.size());
}

}  // namespace

double BucketBegin(const stats::Descriptor& info, size_t bucket) {
  if (info.type == stats::Type::kLinearHist) return static_cast<double>(bucket * info.bucket_size);
  return bucket == 0 ? 0 : std::ldexp(1.0, static_cast<int>(bucket) - 1);
}

double BucketEnd(const stats::Descriptor& info, size_t bucket) {
  if (info.type == stats::Type::kLinearHist) {
    return static_cast<double>((bucket + 1) * info.bucket_size);
  }
  return std::ldexp(1.0, static_cast<int>(bucket));
}

double Percentile(const stats::Descriptor& info, const std::vector<uint64_t>& buckets,
                  double share) {
  double sum = 0;
  for (uint64_t b : buckets) sum += static_cast<double>(b);
  if (sum == 0) return 0;
  double left = share * sum;
  for (size_t i = 0; i < buckets.size(); ++i) {
    const double here = static_cast<double>(buckets[i]);
    if (here > 0 && left <= here) {
      const double begin = BucketBegin(info, i), end = BucketEnd(info, i);
      return begin + (end - begin) * left / here;
    }
    left -= here;
  }
  return Greatest(info, buckets);
}

double Greatest(const stats::Descriptor& info, const std::vector<uint64_t>& buckets) {
  for (size_t i = buckets.size(); i > 0; --i) {
    if (buckets[i - 1] != 0) return BucketEnd(info, i - 1);
  }
  return 0;
}

std::string SmallPicture(const std::vector<uint64_t>& buckets, size_t width, bool unicode) {
  size_t first = 0, last = buckets.size();
  while (first < last && buckets[first] == 0) ++first;
  while (last > first && buckets[last - 1] == 0) --last;
  if (first == last || width == 0) return "";
  const size_t each = (last - first + width - 1) / width;
  std::vector<double> levels;
  for (size_t i = first; i < last; i += each) {
    double sum = 0;
    for (size_t j = i; j < std::min(last, i + each); ++j) sum += static_cast<double>(buckets[j]);
    levels.push_back(sum);
  }
  const double most = *std::max_element(levels.begin(), levels.end());
  std::string out;
  for (double level : levels) {
    if (level == 0) {
      out += ' ';
    } else {
      AppendLevel(&out, level / most, unicode);
    }
  }
  return out;
}

std::string Sparkline(const std::vector<double>& values, size_t width, bool unicode) {
  const size_t n = std::min(values.size(), width);
  double most = 0;
  for (size_t i = values.size() - n; i < values.size(); ++i) most = std::max(most, values[i]);
  std::string out(width - n, ' ');
  for (size_t i = values.size() - n; i < values.size(); ++i) {
    if (values[i] <= 0) {
      out += ' ';
    } else {
      AppendLevel(&out, values[i] / most, unicode);
    }
  }
  return out;
}

std::string ShowTime(double ns) {
  static constexpr absl::string_view kUnits[] = {"ns", "us", "ms", "s"};
  size_t unit = 0;
  while (unit < 3 && ns >= 1000) {
    ns /= 1000;
    ++unit;
  }
  return absl::StrFormat("%.*f%s", ns < 10 && unit > 0 ? 1 : 0, ns, kUnits[unit]);
}

std::string ShowNumber(double value) {
  static constexpr absl::string_view kUnits[] = {"", "k", "M", "G", "T", "P", "E"};
  size_t unit = 0;
  if (value < 100000 && value == std::floor(value)) return absl::StrFormat("%.0f", value);
  while (unit < 6 && value >= 9999.5) {
    value /= 1000;
    ++unit;
  }
  return absl::StrFormat("%.*f%s", value < 100 ? 1 : 0, value, kUnits[unit]);
}

}  // namespace atl::stat
