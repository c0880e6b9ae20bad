#!/usr/bin/env python3
"""Writes fixtures/dialects/drmtoday.json: upfront tokens of castLabs DRMtoday, and what each is answered with.

An encoder of its own: it shares no code with the server. The secrets are made for these vectors.
"""

import base64
import hashlib
import hmac
import json

from vectors import NOW, write

HASHES = {"HS256": hashlib.sha256, "HS384": hashlib.sha384, "HS512": hashlib.sha512}
KEYS = {
    "HS256": ("00000000-1111-2222-3333-444444444444", bytes(range(32))),
    "HS384": ("11111111-1111-2222-3333-444444444444", bytes(range(48))),
    "HS512": ("22222222-1111-2222-3333-444444444444", bytes(range(64))),
}
PURCHASE = {"type": "purchase"}
CUSTOMER = {"merchant": "merchant-1", "userId": "viewer-1"}


def url64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def jwt(claims, alg="HS256", kid=None, key=None):
    own_kid, own_key = KEYS[alg]
    header = {"alg": alg, "typ": "JWT", "kid": kid or own_kid}
    if not isinstance(claims, str):
        claims = json.dumps(claims)
    signed = url64(json.dumps(header).encode()) + "." + url64(claims.encode())
    tag = hmac.new(key or own_key, signed.encode(), HASHES[alg]).digest()
    return signed + "." + url64(tag)


def claims(crt, customer=CUSTOMER, **changes):
    """Claims with JSON in strings; a change to None takes a claim away."""
    members = {
        "jti": "89d42398-e156-4bd6-887f-b79993e50e2c",
        "iat": NOW - 30,
        "exp": NOW + 60,
        "optData": customer if isinstance(customer, str) else json.dumps(customer),
        "crt": crt if isinstance(crt, str) else json.dumps(crt),
        **changes,
    }
    return {name: value for name, value in members.items() if value is not None}


def crt(**members):
    members = {"assetId": "movie-1", "profile": PURCHASE, "storeLicense": False, **members}
    return {name: value for name, value in members.items() if value is not None}


CASES = []


def case(name, comment, token, expect):
    CASES.append(
        {
            "name": name,
            "comment": comment,
            "header": "x-dt-auth-token",
            "token": token,
            "asset": "movie-1",
            "expect": expect,
        }
    )


def granted(name, comment, rights, terms, entry, **changes):
    """A token that grants: `terms` as the audit record has them, `entry` beside `keys` and `persist`."""
    entry = {"keys": ["movie-1"], "persist": False, **entry}
    expect = {"status": 200, "granted": terms, "entitlements": [entry]}
    case(name, comment, jwt(claims(rights, **changes)), expect)


def refused(name, comment, rights, code, status=None, entitlements=None, **changes):
    status = status or {"token": 401, "term_": 403, "not_e": 403}[code[:5]]
    expect = {"status": status, "code": code}
    if entitlements is not None:
        expect["entitlements"] = entitlements
    case(name, comment, jwt(claims(rights, **changes)), expect)


def main():
    # Who signs, and when.
    plain = {"keys": ["movie-1"], "persist": False}
    for alg in KEYS:
        case(
            f"purchase-{alg.lower()}",
            f"streaming without any limit, {alg}",
            jwt(claims(crt()), alg),
            {"status": 200, "granted": {}, "entitlements": [plain]},
        )
    case(
        "wrong-key",
        "signed with another secret",
        jwt(claims(crt()), key=b"another secret of 32 bytes......"),
        {"status": 401, "code": "token_signature"},
    )
    case(
        "unknown-kid",
        "no secret has this key id",
        jwt(claims(crt()), kid="99999999-1111-2222-3333-444444444444"),
        {"status": 401, "code": "token_key_unknown"},
    )
    changed = jwt(claims(crt())).split(".")
    changed[1] = jwt(claims(crt(storeLicense=True))).split(".")[1]
    case(
        "changed",
        "rights that were changed after signing",
        ".".join(changed),
        {"status": 401, "code": "token_signature"},
    )
    granted("no-exp", "without `exp`, ten minutes from `iat` on", crt(), {}, {}, exp=None, iat=NOW - 600)
    refused("no-exp-over", "eleven minutes after `iat`", crt(), "token_expired", exp=None, iat=NOW - 660)
    refused("no-exp-ahead", "issued in two minutes", crt(), "token_not_yet_valid", exp=None, iat=NOW + 120)
    granted("no-iat", "`exp` alone", crt(), {}, {}, iat=None)
    refused("expired", "`exp` is over", crt(), "token_expired", iat=NOW - 3_600, exp=NOW - 61)
    refused("no-times", "neither `exp` nor `iat`", crt(), "token_claims", exp=None, iat=None)
    refused("no-jti", "`jti` is required", crt(), "token_claims", jti=None)

    # The two documents.
    granted("list-of-one", "`crt` is a list", [crt(accountingId="7", message="access granted")], {}, {})
    entries = [{"keys": ["movie-2"], "persist": False, "lease_seconds": 60}, plain]
    other = crt(assetId="movie-2", profile={"type": "rental", "playDuration": 60_000})
    case(
        "list-of-two",
        "`crt` is a list for two assets, of which one is asked for",
        jwt(claims([other, crt()])),
        {"status": 200, "granted": {}, "entitlements": entries},
    )
    refused("list-of-the-same", "two answers for one asset", [crt(), crt(storeLicense=True)], "token_claims")
    refused("list-empty", "`crt` is an empty list", [], "token_claims")
    refused("crt-no-json", "`crt` is not JSON", "{", "token_claims")
    twice = '{"assetId":"movie-1","profile":{"purchase":{}},"storeLicense":true,"storeLicense":false}'
    refused("crt-twice", "a member occurs twice in `crt`", twice, "token_claims")
    refused("no-user", "`optData` without `userId`", crt(), "token_claims", customer={"merchant": "m"})
    refused("customer-twice", "a member occurs twice in `optData`", crt(), "token_claims",
            customer='{"merchant":"m","userId":"a","userId":"b"}')

    # Which key.
    refused("other-asset", "rights for another asset", crt(assetId="movie-2"), "not_entitled",
            entitlements=[{"keys": ["movie-2"], "persist": False}])
    refused("variant", "rights for a variant of the asset", crt(variantId="v1"), "not_entitled",
            entitlements=[{"keys": ["movie-1|v1"], "persist": False}])
    refused("any-asset", "`*` is no asset", crt(assetId="*"), "token_claims")
    refused("no-asset", "no token is for every asset", crt(assetId=None), "token_claims")
    refused("template", "a template, which the service keeps", crt(ref=[":template-1"]), "term_unsupported")
    refused("streams", "concurrency, which the service counts", crt(csl={"limit": 1}), "term_unsupported")

    # For how long.
    stored = {"persist": True}
    granted("store", "a purchase to keep", crt(storeLicense=True), stored, stored)
    granted("store-unsaid", "without `storeLicense` it may be stored", crt(storeLicense=None), stored, stored)
    granted("purchase-older", "the older form of a profile", crt(profile={"purchase": {}}), {}, {})
    refused("no-profile", "a profile is required", crt(profile=None), "token_claims")
    refused("profile-unknown", "a profile that is not known", crt(profile={"type": "gift"}), "term_unsupported")
    rental = {"type": "rental", "relativeExpiration": "P2D", "playDuration": "PT3H"}
    offline = {"persist": True, "storage_seconds": 172_800, "playback_seconds": 10_800}
    streamed = {"rental_seconds": 172_800, "lease_seconds": 10_800}
    granted("rental-stored", "two days to start, three hours to see", crt(profile=rental, storeLicense=True),
            offline, offline)
    granted("rental-streamed", "the same for a stream", crt(profile=rental), streamed, streamed)
    older = {"rental": {"relativeExpiration": "PT48H", "playDuration": 10_800_999}}
    granted("rental-older", "the older form, in milliseconds", crt(profile=older, storeLicense=True), offline, offline)
    ends = {"type": "rental", "absoluteExpiration": "2027-01-16T08:00:00.672Z"}
    granted("ends-streamed", "an end in a day", crt(profile=ends),
            {"lease_seconds": 86_400}, {"not_after": NOW + 86_400})
    ends_offline = {"persist": True, "not_after": NOW + 86_400, "playback_seconds": 172_800}
    granted("ends-stored", "an end that clips the play duration",
            crt(profile={**ends, "playDuration": "P2D"}, storeLicense=True),
            {"persist": True, "storage_seconds": 86_400, "playback_seconds": 86_400}, ends_offline)
    refused("ended", "the end has passed",
            crt(profile={"type": "rental", "absoluteExpiration": "2027-01-15T07:59:59+00:00"}),
            "entitlement_ended", 403, [{"keys": ["movie-1"], "persist": False, "not_after": NOW - 1}])
    refused("rental-endless", "a rental without an end", crt(profile={"rental": {}}), "token_claims")
    refused("month", "a month has no length", crt(profile={**rental, "relativeExpiration": "P1M"}), "token_claims")
    refused("zero", "a duration of nothing", crt(profile={**rental, "playDuration": 0}), "token_claims")
    refused("rental-unknown", "a term that is not known", crt(profile={**rental, "plays": 1}), "term_unsupported")

    # Output protection. The key record is of the track `hd`.
    def protection(digital, analogue, enforce):
        return {"digital": digital, "analogue": analogue, "enforce": enforce}

    type0 = {"hdcp": "type0"}
    granted("unprotected", "protection that is not asked for", crt(outputProtection=protection(False, False, False)),
            {}, {})
    granted("digital", "digital outputs", crt(outputProtection=protection(True, False, False)), type0, type0)
    granted("analogue", "an analogue output has no HDCP", crt(outputProtection=protection(False, True, False)),
            type0, type0)
    granted("enforce", "hard output protection", crt(outputProtection={"enforce": True}), type0, type0)
    refused("protection-unknown", "a member that is not known", crt(outputProtection={"resolution": 1}),
            "term_unsupported")

    def op(**versions):
        return {"config": {track: {"FairPlayM": {"requireHDCP": version}} for track, version in versions.items()}}

    by_track = {"hdcp": "type1", "tracks": {
        "audio": {"hdcp": "none"}, "sd": {"hdcp": "none"}, "hd": {"hdcp": "type0"}}}
    versions = op(UHD="HDCP_V2", HD="HDCP_V1", SD="HDCP_NONE", AUDIO="HDCP_NONE")
    granted("by-track", "HDCP by track", crt(op=versions), type0, by_track)
    type1 = {"hdcp": "type1"}
    granted("hd-type1", "HDCP 2 for one track only", crt(op=op(HD="HDCP_v22")), type1,
            {"hdcp": "type1", "tracks": {name: {"hdcp": "none"} for name in ("audio", "sd", "uhd")}})
    granted("op-instead", "`op` stands in place of soft protection",
            crt(op=op(UHD="HDCP_NONE", HD="HDCP_NONE", SD="HDCP_NONE", AUDIO="HDCP_NONE"),
                outputProtection=protection(True, True, False)), {"hdcp": "none"}, {"hdcp": "none"})
    granted("op-beside", "enforced protection holds beside `op`",
            crt(op=op(UHD="HDCP_NONE", HD="HDCP_NONE", SD="HDCP_NONE", AUDIO="HDCP_NONE"),
                outputProtection=protection(True, True, True)), type0, type0)
    others = {"config": {"HD": {"WidevineM": {"requireHDCP": "HDCP_V2", "minSL": 5}}}}
    granted("op-others", "what other DRM systems have to do", crt(op=others), {}, {})
    refused("track-denied", "no licence for a track", crt(op={"config": {"HD": {"*": {"deny": True}}}}),
            "track_not_allowed", 403, [{"keys": ["movie-1"], "persist": False, "tracks": {"hd": False}}])
    refused("op-unknown", "a member that is not known", crt(op={"config": {"HD": {"FairPlayM": {"minSL": 3}}}}),
            "term_unsupported")
    refused("op-version", "a version that is not known", crt(op=op(HD="HDCP_NO_DIGITAL_OUTPUT")),
            "term_unsupported")
    refused("op-track", "a track that is not known", crt(op=op(EIGHT_K="HDCP_NONE")), "term_unsupported")

    document = {
        "comment": "Upfront tokens of castLabs DRMtoday; written by tests/dialects/drmtoday.py. "
        "`entitlements` is the native claim that a token comes to; it is there when the dialect reads it.",
        "now": NOW,
        "variables": {
            "dialects": "drmtoday",
            "token_keys": {
                "keys": [
                    {"kty": "oct", "kid": kid, "alg": alg, "k": url64(key)} for alg, (kid, key) in KEYS.items()
                ]
            },
            "token_issuer": "*",
            "token_audience": "*",
            "content_keys": [
                {
                    "id": "movie-1",
                    "kid": "339c45b5-fb6d-4bd9-994c-eabd9d41c95b",
                    "key": "00112233445566778899aabbccddeeff",
                    "iv": "0f0e0d0c0b0a09080706050403020100",
                    "track": "hd",
                }
            ],
        },
        "cases": CASES,
    }
    write("drmtoday", document)


if __name__ == "__main__":
    main()
