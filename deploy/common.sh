# shellcheck shell=bash
# Shared by quickstart.sh and test.sh: finds what is missing, installs it, builds the release preset.
# Every failure ends in one sentence that says what to do.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
log=$root/build/setup.log

say() { printf '==> %s\n' "$*"; }

die() {
  printf '\ncapsweep: %s\n' "$*" >&2
  exit 1
}

# Runs quietly; on failure shows the end of the log and the given advice.
quietly() {
  local advice=$1
  shift
  if ! "$@" >>"$log" 2>&1; then
    tail -n 25 "$log" >&2
    die "$advice (whole log: $log)"
  fi
}

as_root() {
  if [ "$(id -u)" = 0 ]; then
    env DEBIAN_FRONTEND=noninteractive "$@"
  else
    sudo -n env DEBIAN_FRONTEND=noninteractive "$@"
  fi
}

wanted_packages() { sed -e 's/#.*//' -e '/^[[:space:]]*$/d' "$@"; }

missing_packages() {
  local package
  for package in $(wanted_packages "$@"); do
    dpkg-query -W -f='${db:Status-Status}\n' "$package" 2>/dev/null | grep -qx installed || echo "$package"
  done
}

# install_packages FILE...: installs what the lists name and the machine lacks; asks for nothing.
install_packages() {
  local missing
  if ! command -v apt-get >/dev/null || ! command -v dpkg-query >/dev/null; then
    die "this script installs with apt and was made for Debian 12; on another system install the counterparts of deploy/packages.txt and run './dev build --preset release'."
  fi
  mapfile -t missing < <(missing_packages "$@")
  if [ ${#missing[@]} = 0 ]; then
    return
  fi
  if [ "$(id -u)" != 0 ] && ! sudo -n true 2>/dev/null; then
    die "packages are missing and this user cannot use sudo without a password; run 'sudo apt-get install -y ${missing[*]}' and then this script again."
  fi
  say "installing ${#missing[@]} packages: ${missing[*]}"
  quietly "apt-get update failed; check the network and the package sources, then run this again" \
    as_root apt-get -o DPkg::Lock::Timeout=300 update -qq
  quietly "apt-get install failed; mend what it says above, then run this again" \
    as_root apt-get -o DPkg::Lock::Timeout=300 install -y -qq --no-install-recommends "${missing[@]}"
}

# LibTorch of Debian takes whatever libblas.so.3 points at; ATLAS, which may come along, is several times slower.
prefer_openblas() {
  local name wanted current
  name=libblas.so.3-$(dpkg-architecture -qDEB_HOST_MULTIARCH 2>/dev/null || echo x86_64-linux-gnu)
  wanted=$(update-alternatives --list "$name" 2>/dev/null | grep openblas-pthread | head -n 1) || true
  current=$(update-alternatives --query "$name" 2>/dev/null | sed -n 's/^Value: //p') || true
  if [ -n "$wanted" ] && [[ "$current" != *openblas* ]]; then
    say "choosing OpenBLAS as the system's BLAS (was $current)"
    as_root update-alternatives --set "$name" "$wanted" >>"$log" 2>&1 ||
      say "could not choose OpenBLAS; training will be slower"
  fi
}

# One compiler per core, fewer where memory is short: a LibTorch source takes 1.1 GB to compile.
build_jobs() {
  local cores memory
  cores=$(nproc)
  memory=$(awk '/MemAvailable/{print int($2 / 1300000)}' /proc/meminfo)
  [ "$memory" -ge 1 ] || memory=1
  echo $((cores < memory ? cores : memory))
}

# shellcheck disable=SC2120
# build_release [TARGET...]: configures and builds; a broken build folder is made anew.
build_release() {
  local jobs
  jobs=$(build_jobs)
  if ! (cd "$root" && cmake --preset release) >>"$log" 2>&1; then
    say "configuring failed; starting again with an empty build folder"
    rm -rf "$root/build/release"
    quietly "configuring failed; see the message above" env -C "$root" cmake --preset release
  fi
  say "building with $jobs jobs (the first time takes some minutes)"
  quietly "building failed; see the message above" env -C "$root" cmake --build build/release -j "$jobs" ${1:+--target "$@"}
}

# After the build: why a GPU of this host will stay idle, if it will.
advise_on_gpu() {
  if [ -e /dev/nvidia0 ] && grep -q 'CUDA kernels: none' <(cd "$root" && cmake --preset release 2>/dev/null); then
    say "this host has a GPU but no usable nvcc, so the CPU trains; './dev build --preset cuda' fetches one (no root needed), then run this again"
  fi
}

prepare_log() {
  if ! mkdir -p "$root/build" 2>/dev/null || ! : 2>/dev/null >>"$log"; then
    die "cannot write to $root/build; run as the user who owns it, or remove that folder."
  fi
  printf '\n---- %s %s\n' "$(date -u +%FT%TZ)" "$0" >>"$log"
}
