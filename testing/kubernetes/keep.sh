#!/usr/bin/env bash
# Keeps one node until standard input ends, which the kernel sees to when the test that holds the other end dies. Then takes
# everything away: the processes, the cgroups, the directory. `init` in the directory is the node's first process.
set -euo pipefail

prefix=bindu-kubernetes-
export CGROUP="$prefix$$"

roots() {
  if [ -e /sys/fs/cgroup/cgroup.controllers ]; then
    echo /sys/fs/cgroup
  else
    local root
    for root in /sys/fs/cgroup/*/cgroup.procs; do
      echo "${root%/cgroup.procs}"
    done
  fi
}

# Deepest first; a process that is on its way out still holds its own.
remove_cgroups() { # NAME
  local tries root left
  for ((tries = 0; tries < 100; tries++)); do
    left=
    for root in $(roots); do
      [ -d "$root/$1" ] || continue
      find "$root/$1" -depth -type d -exec rmdir {} \; 2> /dev/null || true
      if [ -d "$root/$1" ]; then left=1; fi
    done
    [ -n "$left" ] || return 0
    sleep 0.1
  done
}

# Of a keeper that was killed itself.
remove_leftovers() {
  local root left
  for root in $(roots); do
    for left in "$root/$prefix"*; do
      [ -d "$left" ] || continue
      [ -d "/proc/${left##*"$prefix"}" ] || remove_cgroups "${left##*/}"
    done
  done
}

remove_leftovers
for root in $(roots); do
  mkdir "$root/$CGROUP"
  if [ -e "$root/cpuset.cpus" ] && [ -e "$root/$CGROUP/cpuset.cpus" ]; then
    cat "$root/cpuset.cpus" > "$root/$CGROUP/cpuset.cpus"
    cat "$root/cpuset.mems" > "$root/$CGROUP/cpuset.mems"
  fi
done

# Its own input is not ours: it must not take what says that the test is alive.
script="$(dirname "$0")/node.sh"
unshare --fork --pid --kill-child --mount --mount-proc --net --uts --ipc --propagation private \
  bash "$script" < /dev/null &
node=$!
trap 'kill -9 $node || true; wait $node || true; remove_cgroups "$CGROUP"; rm -rf "$DIRECTORY" || true' EXIT

until init=$(cat "/proc/$node/task/$node/children") && [ -n "$init" ]; do
  kill -0 $node
  sleep 0.02
done
echo "${init% }" > "$DIRECTORY/init.new"
mv "$DIRECTORY/init.new" "$DIRECTORY/init"
read -r _ || true
