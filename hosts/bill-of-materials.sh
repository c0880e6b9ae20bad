#!/usr/bin/env bash
# Writes what the components and the command line are built of, in CycloneDX, into a folder that need not exist.
#   hosts/bill-of-materials.sh FOLDER
set -euo pipefail

folder=$(realpath -m "${1:?hosts/bill-of-materials.sh FOLDER}")
cd "$(dirname "$0")/.."
mkdir -p "$folder"

# cargo-cyclonedx writes beside each manifest of the workspace; one is taken, and the others removed.
write() {
    local manifest=$1 name=$2 target=$3
    cargo cyclonedx --quiet --format json --spec-version 1.5 --target "$target" \
        --manifest-path "$manifest/Cargo.toml" --override-filename keylet-bill-of-materials
    mv "$manifest/keylet-bill-of-materials.json" "$folder/$name.cdx.json"
    find . -name keylet-bill-of-materials.json -not -path './target/*' -delete
}

for world in wasip2 wasip3 wasi; do
    write "hosts/$world" "keylet_$world" wasm32-wasip2
done
write cli keylet "$(rustc -vV | sed -n 's/^host: //p')"
ls -l "$folder"/*.cdx.json
