#!/usr/bin/env bash
# Installs what is missing, builds, and runs the quickstart sweep: from nothing to a fitted capacity model.
# Asks for nothing; can be run again at any time and then does only what is left.
set -euo pipefail
# shellcheck source=deploy/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

prepare_log
install_packages "$root/deploy/packages.txt"
prefer_openblas
build_release capsweep capsweep-coordinator capsweep-worker capsweep-trainer
advise_on_gpu
mkdir -p "$root/results"
say "running sweeps/quickstart.yaml"
exec "$root/build/release/bin/capsweep" run "$root/sweeps/quickstart.yaml" --db "$root/results/quickstart.db" "$@"
