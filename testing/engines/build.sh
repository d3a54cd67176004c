# Builds an image from the project's Dockerfile with buildah: build.sh TREE NAME ARCHIVE
#
# In namespaces of its own, as root, but with the machine's network: the Dockerfile asks Debian, rustup and crates.io. The two
# images that it is made from are made here, of Debian's packages and this machine's Rust: there is no registry.
set -euo pipefail
tree=$1 name=$2 archive=$3
mount -t tmpfs none /run
. "$(dirname "$0")/libraries.sh"
export HOME=$DIRECTORY TMPDIR=$DIRECTORY/tmp
mkdir -p "$TMPDIR" "$HOME/.config/containers"
echo '{"default": [{"type": "insecureAcceptAnything"}]}' >"$HOME/.config/containers/policy.json"
builder=(buildah --root "$DIRECTORY/data" --runroot "$DIRECTORY/run" --storage-driver overlay)

# base ROOT NAME [CONFIGURATION...]: an image of one layer.
base() {
  local root=$1 name=$2 container
  shift 2
  container=$("${builder[@]}" from scratch)
  "${builder[@]}" add --quiet "$container" "$root" / >/dev/null
  "${builder[@]}" config "$@" "$container"
  "${builder[@]}" commit --quiet --rm "$container" "$name" >/dev/null
  rm -rf "$root"
}

version=$(sed -n 's/^ARG RUST_VERSION=//p' "$tree/deploy/docker/Dockerfile")
root=$DIRECTORY/rust
debootstrap --variant=minbase --include=gcc,libc6-dev,ca-certificates bookworm "$root" >"$DIRECTORY/debootstrap.log"
# What this machine trusts, the builder trusts: there may be a proxy in between.
cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/ca-certificates.crt"
mkdir -p "$root/usr/local/cargo/bin" "$root/usr/local/rustup/toolchains"
cp "$RUSTUP" "$root/usr/local/cargo/bin/rustup"
for program in cargo rustc; do ln -s rustup "$root/usr/local/cargo/bin/$program"; done
# The toolchain itself is lent at the build: it has 2 GB.
toolchain=/usr/local/rustup/toolchains/$version-$(uname -m)-unknown-linux-gnu
mkdir -p "$root$toolchain"
echo 'version = "12"' >"$root/usr/local/rustup/settings.toml"
base "$root" "docker.io/library/rust:$version-slim-bookworm" --env RUSTUP_HOME=/usr/local/rustup --env CARGO_HOME=/usr/local/cargo \
  --env PATH=/usr/local/cargo/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

root=$DIRECTORY/static
mkdir -p "$root/etc/ssl/certs" "$root/tmp"
cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"
printf 'root:x:0:0:root:/root:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/home/nonroot:/sbin/nologin\n' >"$root/etc/passwd"
printf 'root:x:0:\nnonroot:x:65532:\n' >"$root/etc/group"
chmod 1777 "$root/tmp"
base "$root" gcr.io/distroless/static-debian12:nonroot --user 65532 --env SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt

# BuildKit says it by itself.
case $(uname -m) in x86_64) kind=amd64 ;; aarch64) kind=arm64 ;; esac
cd "$tree"
"${builder[@]}" bud --isolation chroot --pull=never --layers=false --volume "$TOOLCHAIN:$toolchain:ro" --build-arg "TARGETARCH=$kind" --build-arg "REVISION=$REVISION" \
  --ignorefile deploy/docker/Dockerfile.dockerignore --file deploy/docker/Dockerfile --tag "$name" .
"${builder[@]}" push --quiet "$name" "docker-archive:$archive:$name"
