#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The lint over the checkout that this test was built from.
set -eu
workspace=$(dirname "$(readlink -f WORKSPACE)")
# A sandbox' user may not be the owner of the checkout.
export GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0=safe.directory GIT_CONFIG_VALUE_0='*'
exec tools/lint.py "$workspace"
