// SPDX-License-Identifier: Apache-2.0
// What can be said of a histogram: percentiles, the greatest, a small picture.
#ifndef CMD_STAT_HISTOGRAM_H_
#define CMD_STAT_HISTOGRAM_H_

#include <cstdint>
#include <string>
#include <vector>

#include "lib/stats/format.h"

namespace atl::stat {

// The value below which `share` of 1 lie, evenly spread within a bucket; 0 where
// the histogram is empty.
double Percentile(const stats::Descriptor& info, const std::vector<uint64_t>& buckets,
                  double share);
// Where the bucket begins, and ends (the last one at twice its beginning).
double BucketBegin(const stats::Descriptor& info, size_t bucket);
double BucketEnd(const stats::Descriptor& info, size_t bucket);
// The end of the highest bucket that is not empty.
double Greatest(const stats::Descriptor& info, const std::vector<uint64_t>& buckets);

// "▁▂▅█", a character for so many neighbouring buckets that `width` hold those
// that are not empty; without `unicode` ".:=#".
std::string SmallPicture(const std::vector<uint64_t>& buckets, size_t width, bool unicode);
// A line of values in time, each by the greatest of them.
std::string Sparkline(const std::vector<double>& values, size_t width, bool unicode);

// "1.2us" of nanoseconds.
std::string ShowTime(double ns);
// "12.3k": at most six characters.
std::string ShowNumber(double value);

}  // namespace atl::stat

#endif  // CMD_STAT_HISTOGRAM_H_
