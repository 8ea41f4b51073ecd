// SPDX-License-Identifier: Apache-2.0
#ifndef CMD_IMG_SNAPSHOT_LIST_H_
#define CMD_IMG_SNAPSHOT_LIST_H_

#include <string>
#include <vector>

#include "lib/block/layer.h"

namespace atl::img {

// The table of internal snapshots as `info` and `snapshot -l` show it, with its
// heading; "" for none.
std::string SnapshotTable(const std::vector<block::SnapshotInfo>& snapshots);

}  // namespace atl::img

#endif  // CMD_IMG_SNAPSHOT_LIST_H_
