#!/usr/bin/env bash
# Builds the three components as they are released, into a folder that need not exist, and prints their SHA-256.
#   hosts/release.sh FOLDER
# The same sources give the same bytes wherever they lie: paths of this machine are replaced in what the compiler writes.
set -euo pipefail

folder=$(realpath -m "${1:?hosts/release.sh FOLDER}")
cd "$(dirname "$0")/.."
sources=$(pwd -P)
packages=${CARGO_HOME:-$HOME/.cargo}

# Options of the compiler that come from elsewhere make other bytes.
unset CARGO_BUILD_RUSTFLAGS CARGO_ENCODED_RUSTFLAGS CARGO_TARGET_WASM32_WASIP2_RUSTFLAGS RUSTFLAGS RUSTC_WRAPPER
for setting in $(compgen -e | grep '^CARGO_PROFILE_' || true); do
    unset "$setting"
done
CARGO_ENCODED_RUSTFLAGS=$(printf -- '--remap-path-prefix=%s=/keylet\x1f--remap-path-prefix=%s=/cargo' "$sources" "$packages")
export CARGO_ENCODED_RUSTFLAGS

# One by one, as `spin build` makes them: together they would have each other's features of what they share.
for world in wasip2 wasip3 wasi; do
    cargo build --locked --package "keylet-$world" --target wasm32-wasip2 --profile component \
        --target-dir "$folder/target"
    cp "$folder/target/wasm32-wasip2/component/keylet_$world.wasm" "$folder/"
done
cd "$folder"
sha256sum keylet_wasip2.wasm keylet_wasip3.wasm keylet_wasi.wasm
