# Loads an image into a Docker engine and runs it: docker.sh ARCHIVE NAME [ARGUMENT...]
#
# In namespaces of its own, as root (crates/testkit/src/engines.rs calls it so): the engine, and all that it mounts, ends
# with this script. It has no network, and there is no registry.
set -euo pipefail
archive=$1 name=$2
shift 2
mount -t tmpfs none /run
mount -t tmpfs none /var/log
dockerd --bridge=none --iptables=false --ip6tables=false --storage-driver=vfs --host "unix://$DIRECTORY/socket" \
  --data-root "$DIRECTORY/data" --exec-root "$DIRECTORY/exec" --pidfile "$DIRECTORY/pid" 2>"$DIRECTORY/log" &
engine=$!
export DOCKER_HOST=unix://$DIRECTORY/socket HOME=$DIRECTORY
until docker version >/dev/null 2>&1; do
  kill -0 $engine || { cat "$DIRECTORY/log" >&2; exit 1; }
  sleep 0.1
done
docker load --input "$archive" >&2
docker image inspect "$name" >"$DIRECTORY/inspected"
docker run --rm --network none --read-only --cap-drop ALL --security-opt no-new-privileges "$name" "$@" ||
  { tail "$DIRECTORY/log" >&2; exit 1; }
kill $engine
wait
