#!/usr/bin/env bash
# Fuzzes a running server with the fixture variables and a `server_secret` by its own OpenAPI document,
# with schemathesis (PyPI): no answer may be a server's error or one that is not documented.
#   tests/openapi.sh http://127.0.0.1:3000 [EXAMPLES]
# EXAMPLES is how many requests are made up for each operation, beside the systematic ones.
set -euo pipefail

url=${1:?usage: tests/openapi.sh URL [EXAMPLES]}
examples=${2:-100}
fixtures=$(cd "$(dirname "$0")/../fixtures" && pwd)
token=$(sed -n 's/^  "hs256": "\(.*\)",\{0,1\}$/\1/p' "$fixtures/tokens.json")

checks=not_a_server_error,status_code_conformance,content_type_conformance
checks=$checks,response_headers_conformance,response_schema_conformance
checks=$checks,unsupported_method,allow_header_conformance,ignored_auth
cd "$(mktemp -d)"
schemathesis run "$url/openapi.json" --header "Authorization: Bearer $token" --checks "$checks" \
    --max-examples "$examples" --seed 1 --continue-on-failure
