# SPDX-License-Identifier: Apache-2.0
"""The version that --version prints."""

ATOLL_VERSION = "0.1"
