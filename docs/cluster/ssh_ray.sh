#!/usr/bin/env bash
# A Ray cluster of this machine and others that ssh reaches without a password, each with the checkout at the same path:
#     HOSTS="one two three" docs/cluster/ssh_ray.sh
# HEAD is the name or address by which the others reach this machine (default: its host name).
set -euo pipefail
cd "${PROJECT:-$(dirname "$0")/../..}"
: "${HOSTS:?names the other machines, as HOSTS=\"one two\"}"
bin="${VENV:-$PWD/.venv}/bin"
address="${HEAD:-$(hostname)}:6379"

stop() {
  for host in $HOSTS; do
    # shellcheck disable=SC2029 # the paths are this machine's
    ssh "$host" "$(printf '%q stop' "$bin/ray")" || true
  done
  "$bin/ray" stop
}
trap stop EXIT

"$bin/ray" start --head --port=6379 --disable-usage-stats
for host in $HOSTS; do
  # shellcheck disable=SC2029
  ssh "$host" "$(printf 'cd %q && %q start --address=%q' "$PWD" "$bin/ray" "$address")"
done
"$bin/python" -m benchmarks.launch --engine ray --address "$address" "$@"
