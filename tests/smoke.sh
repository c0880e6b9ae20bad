#!/usr/bin/env bash
# Smoke test of a running server with the fixture variables, by curl alone:
#   set -a; . fixtures/variables.env; set +a
#   spin up            (or: keylet serve)
#   tests/smoke.sh http://127.0.0.1:3000
set -euo pipefail

url=${1:?usage: tests/smoke.sh URL}
fixtures=$(cd "$(dirname "$0")/../fixtures" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
passed=0
failed=0

# token NAME: a token of tokens.json.
token() {
    sed -n "s/^  \"$1\": \"\(.*\)\",\{0,1\}\$/\1/p" "$fixtures/tokens.json"
}

# expect WHAT WANTED FOUND
expect() {
    if [ "$2" = "$3" ]; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        printf 'FAILED %s: expected %s, found %s\n' "$1" "$2" "$3"
    fi
}

# call ARGUMENTS: curl; the status is printed, headers and body are kept.
call() {
    curl -sS -o "$work/body" -D "$work/headers" -w '%{http_code}' "$@"
}

# header NAME: of the last answer.
header() {
    tr -d '\r' <"$work/headers" | sed -n "s/^$1: //Ip"
}

# spc NAME TOKEN: posts an SPC of the fixtures.
spc() {
    call -H "authorization: Bearer $(token "$2")" -H 'content-type: application/octet-stream' \
        --data-binary "@$fixtures/spc/$1.bin" "$url/fairplay"
}

# ckc_version: the first eight bytes of the last body.
ckc_version() {
    od -An -tx1 -N8 "$work/body" | tr -d ' \n'
}

expect 'service document' 200 "$(call "$url/")"
expect 'health' 200 "$(call "$url/healthz")"
expect 'certificate' 200 "$(call "$url/fairplay/certificate")"
cmp -s "$work/body" "$fixtures/credentials/sdk4.cer"
expect 'certificate bytes' 0 $?

for name in v1 v2 v3 bundle-v1 bundle-old-system id-utf16; do
    expect "$name" 200 "$(spc "$name" hs256)"
    expect "$name, a CKC" 0000000100000000 "$(ckc_version)"
done
for algorithm in hs384 hs512 rs256 rs384 rs512 ps256 es256 eddsa; do
    expect "token $algorithm" 200 "$(spc v1 "$algorithm")"
done
for terms in lease rental persist-playback-v2 persist-storage; do
    expect "terms $terms" 200 "$(spc "terms-$terms" "${terms%-v2}")"
done
expect 'an output that is allowed' 200 "$(spc policy-local no-airplay)"
expect 'a level that is reached' 200 "$(spc policy-level level-main)"
expect 'a device of a kind' 200 "$(spc policy-class mobile)"
expect 'stopped' 204 "$(spc stopped hs256)"

expect 'form' 200 "$(call -H "authorization: Bearer $(token hs256)" \
    --data-binary "@$fixtures/spc/form.txt" "$url/fairplay")"
expect 'form, <ckc>' '<ckc>' "$(head -c 5 "$work/body")"
expect 'JSON' 200 "$(call -H "authorization: Bearer $(token hs256)" -H 'content-type: application/json' \
    --data-binary "@$fixtures/spc/json.txt" "$url/fairplay")"
expect 'JSON, ckc' '"ckc":"AAAA' "$(grep -o '"ckc":"AAAA' "$work/body")"

expect 'a form that is asked for' 200 "$(call -H "authorization: Bearer $(token hs256)" \
    --data-binary "@$fixtures/spc/v1.bin" "$url/fairplay?format=ckc-xml")"
expect 'a form that is asked for, <ckc>' '<ckc>' "$(head -c 5 "$work/body")"
expect 'any key system' 200 "$(call -H "x-axdrm-message: $(token hs256)" \
    --data-binary "@$fixtures/spc/v1.bin" "$url/license?keySystem=com.apple.fps")"
expect 'a certificate in place of an SPC' 400 "$(call -H "authorization: Bearer $(token hs256)" \
    --data-binary "@$fixtures/credentials/sdk4.cer" "$url/fairplay")"
expect 'a certificate in place of an SPC, code' spc_is_certificate "$(header x-keylet-code)"
expect 'OpenAPI' 200 "$(call "$url/openapi.json")"

# refused STATUS CODE SPC TOKEN
refused() {
    expect "$3 with token $4" "$1" "$(spc "$3" "$4")"
    expect "$3 with token $4, code" "$2" "$(header x-keylet-code)"
}
refused 401 token_expired v1 expired
refused 401 token_signature v1 unknown-signer
refused 401 token_algorithm v1 none
refused 403 not_entitled v1 other-key
refused 403 device_hdcp_unsupported refused-hdcp-type1 hdcp-type1
refused 403 output_not_allowed policy-airplay no-airplay
refused 403 device_security_level policy-no-level level-main
refused 403 place_unknown policy-no-place place
refused 404 key_not_found refused-no-key hs256
refused 400 spc_certificate_unknown bad-certificate hs256
refused 400 spc_integrity bad-v3-tag hs256
refused 400 spc_length bad-length-huge hs256
refused 400 spc_missing_tag missing-r2 hs256
refused 501 ask_missing no-ask hs256

# What needs a store is given where there is one, and refused by name where there is none.
challenge() {
    call -X POST -H "authorization: Bearer $(token hs256)" "$url/fairplay/check-in/challenge"
}
call "$url/healthz?store" >/dev/null
case $(sed -n 's/.*"store":"\([a-z]*\)".*/\1/p' "$work/body") in
available)
    expect 'a licence that is counted' 200 "$(spc v1 million-uses)"
    expect 'a challenge' 200 "$(challenge)"
    ;;
unsupported)
    refused 503 store_unsupported v1 million-uses
    expect 'a challenge, without a store' 503 "$(challenge)"
    ;;
*)
    expect 'the store' 'available or unsupported' "$(cat "$work/body")"
    ;;
esac

expect 'preflight' 204 "$(call -X OPTIONS -H 'origin: https://player.example' \
    -H 'access-control-request-method: POST' "$url/fairplay")"
expect 'another method' 405 "$(call "$url/fairplay")"
expect 'another path' 404 "$(call "$url/nothing")"

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
