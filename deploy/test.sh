#!/usr/bin/env bash
# Installs what is missing, builds, and runs all tests; the last lines are ctest's summary.
# `deploy/test.sh --slow` adds the statistical checks of the science (docs/science.md), about 15 minutes.
set -euo pipefail
# shellcheck source=deploy/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

select=(-LE slow)
for argument in "$@"; do
  case $argument in
    --slow) select=() ;;
    *) die "unknown option '$argument'; use --slow or nothing." ;;
  esac
done
prepare_log
install_packages "$root/deploy/packages.txt"
prefer_openblas
# shellcheck disable=SC2119
build_release
say "running the tests"
exec ctest --test-dir "$root/build/release" --output-on-failure -j "$(nproc)" "${select[@]}"
