#!/bin/sh
# Imports many keys into the file store and into Redis, and says how long each took; then again, where all are there.
# usage: benches/import.sh [KEYLET] [RECORDS]
set -eu
keylet=${1:-keylet}
records=${2:-1000000}
directory=$(mktemp -d)
redis=
trap '[ -z "$redis" ] || kill "$redis"; rm -rf "$directory"' EXIT
cd "$directory"
"$keylet" keys init 2>/dev/null
awk -v n="$records" 'BEGIN { for (i = 0; i < n; i++) printf \
    "{\"id\":\"film-%07d\",\"kid\":\"339c45b5-fb6d-4bd9-994c-%012x\",\"key\":\"%032x\",\"iv\":\"0f0e0d0c0b0a09080706050403020100\"}\n", \
    i, i, i }' >keys.jsonl
import() {
    for pass in first again; do
        printf '%s, %s: ' "$1" "$pass"
        "$keylet" keys import keys.jsonl --store "$2" 2>&1 | tr '\n' ' '
        echo
    done
}
import file store.redb
if command -v redis-server >/dev/null; then
    redis-server --port 6390 --bind 127.0.0.1 --save '' --appendonly no >/dev/null &
    redis=$!
    until redis-cli -p 6390 ping >/dev/null 2>&1; do sleep 0.1; done
    import Redis redis://127.0.0.1:6390
fi
