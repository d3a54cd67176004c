# Loads an image with podman and runs it: podman.sh ARCHIVE NAME [ARGUMENT...]
#
# In namespaces of its own, as root, like docker.sh.
set -euo pipefail
archive=$1 name=$2
shift 2
mount -t tmpfs none /run
. "$(dirname "$0")/libraries.sh"
export HOME=$DIRECTORY
mkdir -p "$HOME/.config/containers"
echo '{"default": [{"type": "insecureAcceptAnything"}]}' >"$HOME/.config/containers/policy.json"
engine=(podman --root "$DIRECTORY/data" --runroot "$DIRECTORY/run" --storage-driver vfs --cgroup-manager cgroupfs
  --events-backend none --runtime "$(command -v runc)" --conmon "$(command -v conmon)")
"${engine[@]}" load --input "$archive" >&2
"${engine[@]}" image inspect "$name" >"$DIRECTORY/inspected"
"${engine[@]}" run --rm --network none --read-only --cap-drop ALL --security-opt no-new-privileges "$name" "$@"
