#!/usr/bin/env bash
# Kills, stops, cuts off and starves a real sweep at random, starts again what died, as a service manager would, and does
# nothing else. Then every count must equal that of a quiet run.
#
#   tests/fault/chaos.sh BIN [MINUTES [SEED]]      BIN holds the programs, with capsweep-trainer
#
# Every worker has a network namespace of its own; needs root, or user namespaces for everybody, and iproute2.
set -euo pipefail

bin=$(cd "$1" && pwd)
minutes=${2:-10}
seed=${3:-$RANDOM}
workers=3
port=17171

if [ -z "${CAPSWEEP_CHAOS:-}" ]; then
  for program in ip unshare nsenter sqlite3; do
    command -v "$program" >/dev/null || { echo "chaos: $program is missing: apt-get install iproute2 util-linux sqlite3" >&2; exit 2; }
  done
  as=()
  [ "$(id -u)" = 0 ] || as=(--user --map-root-user)
  if ! unshare "${as[@]}" --net true 2>/dev/null; then
    echo "chaos: no network namespaces here: run as root, or allow user namespaces (sysctl kernel.unprivileged_userns_clone=1)" >&2
    exit 2
  fi
  CAPSWEEP_CHAOS=chaos-$$-$RANDOM exec unshare "${as[@]}" --net "$0" "$@"
fi

RANDOM=$seed
folder=$(mktemp -d "${TMPDIR:-/tmp}/capsweep-chaos-XXXXXX")
export HOME=$folder
unset CAPSWEEP_DB CAPSWEEP_COORDINATOR
echo "chaos: seed $seed, $minutes minutes, folder $folder"

# Processes of this run: all inherit its mark.
ours() {
  local environment pid
  for environment in /proc/[0-9]*/environ; do
    pid=${environment#/proc/}
    pid=${pid%/environ}
    [ "$pid" != $$ ] || continue
    if grep -qz "^CAPSWEEP_CHAOS=$CAPSWEEP_CHAOS\$" "$environment" 2>/dev/null; then
      case $(tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null) in
        *"$1"*) echo "$pid" ;;
      esac
    fi
  done
}

# shellcheck disable=SC2317  # called by the trap
clean_up() {
  local pid
  for pid in $(ours capsweep-) "${holders[@]}"; do kill -KILL "$pid" 2>/dev/null || true; done
}
holders=()
trap clean_up EXIT

ip link set lo up

# ---- a sweep that keeps the workers busy for as long as the chaos lasts
cat >"$folder/chaos.yaml" <<END
sweep: chaos
task: {mode: label, vocab: 16, seq_len: [4, 8]}
model: {family: xt, heads: [1, 2], head_dim: 8, width: [8, 16]}
data: {dataset_size: 400}
train: {lr: 3.0e-3, batch_size: 50, steps: 6000, patience: 0}
repeats: ${CAPSWEEP_CHAOS_REPEATS:-$((minutes * 25))}
limits: {attempts: 1000, max_failures: 1000000}
END
begun=$SECONDS
"$bin/capsweep" run "$folder/chaos.yaml" --db "$folder/quiet.db" --no-plot --no-fit --quiet >"$folder/quiet.log" 2>&1
echo "quiet run: $((SECONDS - begun)) s"

# ---- networks: worker i is 10.77.i.2 and calls 10.77.i.1
for ((i = 1; i <= workers; i++)); do
  unshare --net sleep 1000000 &
  holders[i]=$!
  while [ "$(readlink "/proc/${holders[i]}/ns/net" || true)" = "$(readlink /proc/self/ns/net)" ]; do sleep 0.05; done
  ip link add "c$i" type veth peer name "w$i"
  ip link set "w$i" netns "${holders[i]}"
  ip addr add "10.77.$i.1/30" dev "c$i"
  ip link set "c$i" up
  nsenter -t "${holders[i]}" -n sh -c "ip link set lo up; ip addr add 10.77.$i.2/30 dev w$i; ip link set w$i up"
done

declare -A pids starts
start() {
  case $1 in
    coordinator)
      "$bin/capsweep-coordinator" --db "$folder/chaos.db" --listen "0.0.0.0:$port" --i-know-this-is-insecure \
        --lease-seconds 3 --log-level warning >>"$folder/coordinator.log" 2>&1 &
      ;;
    *)
      nsenter -t "${holders[$1]}" -n "$bin/capsweep-worker" --coordinator "10.77.$1.1:$port" --i-know-this-is-insecure \
        --devices cpu:1 --id "worker-$1" --spool "$folder/spool-$1" --log-level warning >>"$folder/worker-$1.log" 2>&1 &
      ;;
  esac
  pids[$1]=$!
  starts[$1]=$((${starts[$1]:-0} + 1))
}
# What a service manager does.
tend() {
  local name
  for name in coordinator $(seq $workers); do
    if [ -z "${pids[$name]:-}" ] || ! kill -0 "${pids[$name]}" 2>/dev/null; then start "$name"; fi
  done
}

calls="127.0.0.1:$port"
done_points() { "$bin/capsweep" status chaos --coordinator "$calls" --format json 2>/dev/null | sed -n 's/.*"done": *\([0-9]*\).*/\1/p' | head -1; }

tend
for ((i = 0; i < 100; i++)); do
  "$bin/capsweep" submit "$folder/chaos.yaml" --coordinator "$calls" >"$folder/submit.log" 2>&1 && break
  tend
  sleep 0.2
done

# ---- the chaos
declare -A count
between() { echo $(($1 + RANDOM % ($2 - $1 + 1))); }
later() { # seconds, command…
  local seconds=$1
  shift
  (sleep "$seconds"; "$@" 2>/dev/null || true) &
}
hurt() {
  local i what pid
  i=$(between 1 $workers)
  what=$1
  count[$what]=$((${count[$what]:-0} + 1))
  case $what in
    kill-coordinator) kill -KILL "${pids[coordinator]}" 2>/dev/null || true ;;
    kill-worker) kill -KILL "${pids[$i]}" 2>/dev/null || true ;;
    kill-trainer)
      pid=$(ours capsweep-trainer | shuf -n 1 --random-source=<(yes "$RANDOM")) || true
      [ -z "$pid" ] || kill -KILL "$pid" 2>/dev/null || true
      ;;
    kill-all) for pid in "${pids[@]}"; do kill -KILL "$pid" 2>/dev/null || true; done ;;
    stop-coordinator)
      kill -STOP "${pids[coordinator]}" 2>/dev/null || true
      later "$(between 1 6)" kill -CONT "${pids[coordinator]}"
      ;;
    stop-worker)
      kill -STOP "${pids[$i]}" 2>/dev/null || true
      later "$(between 1 12)" kill -CONT "${pids[$i]}"
      ;;
    cut-both)
      ip link set "c$i" down
      later "$(between 1 15)" ip link set "c$i" up
      ;;
    cut-to-worker)
      ip route replace blackhole "10.77.$i.2/32"
      later "$(between 1 15)" ip route del blackhole "10.77.$i.2/32"
      ;;
    cut-to-coordinator)
      nsenter -t "${holders[i]}" -n ip route replace blackhole "10.77.$i.1/32"
      later "$(between 1 15)" nsenter -t "${holders[i]}" -n ip route del blackhole "10.77.$i.1/32"
      ;;
    starve) for _ in 1 2 3 4; do timeout "$(between 2 8)" sh -c 'while :; do :; done' & done ;;
    term-worker) kill -TERM "${pids[$i]}" 2>/dev/null || true ;;
  esac
}
kinds=(kill-coordinator kill-worker kill-trainer kill-all stop-coordinator stop-worker cut-both cut-to-worker
  cut-to-coordinator starve term-worker)
end=$((SECONDS + minutes * 60))
while [ $SECONDS -lt $end ]; do
  hurt "${kinds[RANDOM % ${#kinds[@]}]}"
  for ((i = $(between 1 12); i > 0; i--)); do
    sleep 0.25
    tend
  done
done 2>>"$folder/shell.log" # the shell's own notes of who was killed
during=$(done_points || true)

# ---- quiet again: everything heals by itself, only the service manager goes on
total=$("$bin/capsweep" query 'SELECT COUNT(*) AS n FROM results' --db "$folder/quiet.db" --format csv | tail -1)
echo "chaos over: $(for k in "${!count[@]}"; do printf '%s %s, ' "$k" "${count[$k]}"; done)done so far: ${during:-?} of $total"
limit=$((SECONDS + 900))
while [ "$(done_points || true)" != "$total" ]; do
  tend
  sleep 0.5
  [ $SECONDS -lt $limit ] || { echo "FAILED: not finished: $(done_points || true) of $total; see $folder" >&2; exit 1; }
done
wait_for=()
for name in $(seq $workers) coordinator; do kill -TERM "${pids[$name]}" 2>/dev/null || true; wait_for+=("${pids[$name]}"); done
for pid in "${wait_for[@]}"; do wait "$pid" 2>/dev/null || true; done

# ---- the same counts, nothing lost, nothing doubled, nothing left
failed=0
expect() { # what, found, wanted
  if [ "$2" = "$3" ]; then echo "ok: $1: $2"; else echo "FAILED: $1: $2, not $3" >&2; failed=1; fi
}
ask() { "$bin/capsweep" query "$2" --db "$folder/$1.db" --format csv | tail -n +2; }
measures="SELECT point_key, items_mem, items_mem_best, tokens_mem, nll_bits, items_corr, steps, epochs, stop_reason
  FROM v_results ORDER BY sweep, point_key"
expect "results" "$(ask chaos 'SELECT COUNT(*) FROM results')" "$total"
expect "points done" "$(ask chaos "SELECT COUNT(*) FROM points WHERE state = 'done'")" "$total"
expect "accepted attempts" "$(ask chaos "SELECT COUNT(*) FROM attempts WHERE outcome = 'accepted'")" "$total"
expect "attempts still open" "$(ask chaos 'SELECT COUNT(*) FROM attempts WHERE ended_ms IS NULL')" 0
expect "counts that differ from the quiet run" "$(diff <(ask quiet "$measures") <(ask chaos "$measures") | grep -c '^[<>]' || true)" 0
expect "doctor" "$("$bin/capsweep" doctor "$folder/chaos.db" | tail -1)" healthy
expect "PRAGMA integrity_check" "$(sqlite3 "$folder/chaos.db" 'PRAGMA integrity_check')" ok
for ((i = 0; i < 100; i++)); do [ -n "$(ours capsweep-trainer)" ] || break; sleep 0.1; done
expect "trainers left running" "$(ours capsweep-trainer | wc -l)" 0
echo "attempts: $(ask chaos "SELECT outcome || ' ' || COUNT(*) FROM attempts GROUP BY outcome" | tr '\n' ' ')"
echo "starts: $(for k in "${!starts[@]}"; do printf '%s %s  ' "$k" "${starts[$k]}"; done)"
if [ $failed = 0 ]; then
  rm -rf "$folder"
  echo "chaos: all counts as in the quiet run"
fi
exit $failed
