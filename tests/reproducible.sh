#!/usr/bin/env bash
# Builds the components of what is committed from two clones at different paths, with different folders of cargo, and
# compares them byte by byte. Takes minutes.
set -euo pipefail
cd "$(dirname "$0")/.."

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cargo=$(realpath "${CARGO_HOME:-$HOME/.cargo}")

build() {
    local clone=$1 home=$2
    mkdir -p "$(dirname "$clone")" "$home/registry"
    git clone -q . "$clone"
    # The same downloads, at another path.
    cp "$cargo"/config* "$home/" 2>/dev/null || true
    cp -a "$cargo/registry/cache" "$cargo/registry/index" "$home/registry/"
    (cd "$clone" && CARGO_HOME=$home PATH=$cargo/bin:$PATH hosts/release.sh "$clone.built")
}

build "$folder/one" "$folder/home"
build "$folder/deeper/folder/of another" "$folder/deeper/cargo"
status=0
for world in wasip2 wasip3 wasi; do
    if cmp "$folder/one.built/keylet_$world.wasm" "$folder/deeper/folder/of another.built/keylet_$world.wasm"; then
        echo "keylet_$world.wasm: the same bytes"
    else
        status=1
    fi
done
exit $status
