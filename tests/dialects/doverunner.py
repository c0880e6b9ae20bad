#!/usr/bin/env python3
"""Writes fixtures/dialects/doverunner.json: licence tokens of DoveRunner, and what each is answered with.

An encoder of its own: it shares no code with the server. The secrets are made for these vectors.
Needs the package `cryptography`.
"""

import base64
import hashlib
import json
import time

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from vectors import NOW, SESSION, write

SITE = "ABCD"
ACCESS_KEY = "access-key-of-the-site-ABCD"
SITE_KEY = "0123456789abcdefghijklmnopqrstuv"
IV = b"0123456789abcdef"
KEY = {"key": "ffeeddccbbaa99887766554433221100", "iv": "00102030405060708090a0b0c0d0e0f0"}
KEY_IDS = ["c0ffee00c0ffee00c0ffee00c0ffee01", "c0ffee00c0ffee00c0ffee00c0ffee02"]
CASES = []


def b64(data):
    return base64.b64encode(data).decode()


def utc(seconds):
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def encrypt(padded, key=SITE_KEY):
    encryptor = Cipher(algorithms.AES(key.encode()), modes.CBC(IV)).encryptor()
    return b64(encryptor.update(padded) + encryptor.finalize())


def pad(data):
    count = 16 - len(data) % 16
    return data + bytes([count]) * count


def encode(policy, key=SITE_KEY):
    return encrypt(pad((policy if isinstance(policy, str) else json.dumps(policy)).encode()), key)


def members(policy, site_id=SITE, access_key=ACCESS_KEY, **changes):
    """A token's members; a change to None takes a member away before the hash is made."""
    one = {
        "drm_type": "FairPlay",
        "site_id": site_id,
        "user_id": "viewer-1",
        "cid": "movie-1",
        "policy": policy,
        "timestamp": utc(NOW),
        **changes,
    }
    one = {name: value for name, value in one.items() if value is not None}
    names = ["drm_type", "site_id", "user_id", "cid", "policy", "timestamp"]
    hashed = access_key + "".join(one.get(name, "") for name in names)
    digest = hashlib.sha256(hashed.encode()).digest()
    return {**one, "response_format": "original", "key_rotation": False, "hash": b64(digest)}


def case(name, comment, token, expect):
    token = token if isinstance(token, str) else json.dumps(token)
    CASES.append(
        {
            "name": name,
            "comment": comment,
            "header": "pallycon-customdata-v2",
            "token": b64(token.encode()),
            "asset": "movie-1",
            "expect": expect,
        }
    )


def policy(playback=None, security=None, external=None, **more):
    parts = {"playback_policy": playback, "security_policy": security, "external_key": external, **more}
    return {"policy_version": 2, **{name: part for name, part in parts.items() if part is not None}}


def granted(name, comment, rights, terms, entry, records=None, **changes):
    """A token that grants: `terms` as the audit record has them, `entry` beside `keys` and `persist`."""
    expect = {
        "status": 200,
        "granted": terms,
        "entitlements": [{"keys": ["movie-1"], "persist": False, **entry}],
    }
    if records:
        expect["content_keys"] = records
        if len(records) == 1:
            expect.update(KEY)
    case(name, comment, members(encode(rights), **changes), expect)


def refused(name, comment, rights, code, status=None, entry=None, records=None, **changes):
    status = status or {"token": 401, "term_": 403}[code[:5]]
    expect = {"status": status, "code": code}
    if entry is not None:
        expect["entitlements"] = [{"keys": ["movie-1"], "persist": False, **entry}]
    if records:
        expect["content_keys"] = records
    case(name, comment, members(encode(rights), **changes), expect)


def security(fairplay, track=None):
    track = {} if track is None else {"track_type": track}
    return {**track, "fairplay": fairplay, "widevine": {"security_level": 5}}


def main():
    plain = policy()

    # Who made it, and when.
    granted("streaming", "the defaults: streaming without any limit", plain, {}, {})
    granted("nobody", "the user id of nobody", plain, {}, {}, user_id="LICENSETOKEN")
    granted("lower-case", "the name of the DRM system in lower case", plain, {}, {}, drm_type="fairplay")
    granted("oldest", "ten minutes old", plain, {}, {}, timestamp=utc(NOW - 600))
    granted("newest", "a minute ahead", plain, {}, {}, timestamp=utc(NOW + 60))
    refused("expired", "ten minutes and a second old", plain, "token_expired", timestamp=utc(NOW - 601))
    refused("ahead", "a minute and a second ahead", plain, "token_not_yet_valid", timestamp=utc(NOW + 61))
    refused("no-timestamp", "no timestamp", plain, "token_claims", timestamp=None)
    refused("local-time", "a timestamp without a zone", plain, "token_claims", timestamp="2027-01-15T08:00:00")
    refused("zone", "a timestamp of another zone", plain, "token_claims", timestamp="2027-01-15T10:00:00+02:00")
    refused("wrong-access-key", "hashed with another access key", plain, "token_signature", access_key="another")
    refused("unknown-site", "a site whose keys are not configured", plain, "token_key_unknown", site_id="WXYZ")
    refused("no-site-key", "a site without a site key", plain, "token_key_unknown", site_id="HALF", access_key="half")
    signed = members(encode(plain))
    for name, value in {
        "policy": encode(policy({"persistent": True})),
        "cid": "movie-2",
        "user_id": "viewer-2",
        "timestamp": utc(NOW + 1),
        "drm_type": "fairplay",
        "hash": b64(bytes(32)),
    }.items():
        case(f"changed-{name.replace('_', '-')}", f"`{name}` was changed afterwards", {**signed, name: value},
             {"status": 401, "code": "token_signature"})
    text = json.loads(json.dumps(signed))
    text["hash"] = b64(hashlib.sha256(b"").hexdigest().encode())
    case("hash-of-text", "the hash is of text", text, {"status": 401, "code": "token_signature"})
    case("hash-number", "the hash is a number", {**signed, "hash": 1}, {"status": 401, "code": "token_claims"})
    twice = json.dumps(signed)[:-1] + ', "cid": "movie-1"}'
    case("twice", "a member occurs twice", twice, {"status": 401, "code": "token_claims"})
    refused("widevine", "for another DRM system", plain, "term_unsupported", drm_type="Widevine")
    refused("no-drm-type", "for no DRM system, which is PlayReady", plain, "term_unsupported", drm_type=None)

    # Which key.
    case("other-cid", "for another title", members(encode(plain), cid="movie-2"),
         {"status": 403, "code": "not_entitled", "entitlements": [{"keys": ["movie-2"], "persist": False}]})
    refused("any-cid", "`*` is no title", plain, "token_claims", cid="*")
    refused("long-cid", "an id of 201 bytes", plain, "token_claims", cid="m" * 201)

    # How the policy is hidden.
    json_of_plain = json.dumps(plain).encode()
    wrong = bytearray(pad(json_of_plain))
    wrong[-1] = 17
    for name, comment, hidden in [
        ("padding", "a padding of 17 bytes", encrypt(bytes(wrong))),
        ("padding-zero", "a padding of zeros", encrypt(json_of_plain.ljust(32, b"\0"))),
        ("half-a-block", "half a block too much", b64(base64.b64decode(encode(plain)) + bytes(8))),
        ("other-site-key", "encrypted with another site key", encode(plain, SITE_KEY[::-1])),
        ("policy-no-json", "a policy that is no JSON", encode("{")),
        ("policy-twice", "a member occurs twice in the policy",
         encode('{"policy_version":2,"playback_policy":{"persistent":false,"persistent":true}}')),
        ("policy-no-version", "a policy without a version", encode({})),
    ]:
        case(name, comment, members(hidden), {"status": 401, "code": "token_claims"})
    case("policy-version-1", "a policy of version 1", members(encode({"policy_version": 1})),
         {"status": 403, "code": "term_unsupported"})

    # For how long.
    zeros = {"persistent": False, "license_duration": 0, "rental_duration": 0, "playback_duration": 0,
             "renewal_duration": 0, "max_stream_per_user": 0, "allowed_track_types": "ALL"}
    granted("zeros", "0 is no limit", policy(zeros), {}, {})

    def stored(**terms):
        return {"persist": True, **terms}

    granted("stored", "a licence to keep", policy({"persistent": True}), stored(), stored())
    day = stored(storage_seconds=86_400)
    granted("stored-day", "a licence for a day", policy({"persistent": True, "license_duration": 86_400}), day, day)
    granted("stored-duration", "the other name of it", policy({"persistent": True, "duration": 86_400}), day, day)
    granted("stored-shorter", "two durations to the first play",
            policy({"persistent": True, "license_duration": 86_400, "rental_duration": 172_800}), day, day)
    dual = stored(storage_seconds=172_800, playback_seconds=10_800)
    granted("stored-rental", "two days to start, three hours to see",
            policy({"persistent": True, "rental_duration": 172_800, "playback_duration": 10_800}), dual, dual)
    refused("stored-two-clocks", "a whole duration and one from the first play",
            policy({"persistent": True, "license_duration": 86_400, "playback_duration": 10_800}), "term_unsupported")
    refused("stored-renewal", "what is stored is not renewed",
            policy({"persistent": True, "renewal_duration": 300}), "term_unsupported")
    lease = {"lease_seconds": 3_600}
    granted("streamed-hour", "a stream for an hour", policy({"license_duration": 3_600}), lease, lease)
    lease = {"lease_seconds": 300}
    granted("renewal", "renewed every five minutes, as text",
            policy({"license_duration": 3_600, "renewal_duration": "300"}), lease, lease)
    refused("streamed-rental", "a rental that is not stored", policy({"rental_duration": 60}), "token_claims")
    refused("streamed-playback", "a play duration that is not stored", policy({"playback_duration": 60}),
            "token_claims")
    granted("ends", "an end in a day", policy({"expire_date": utc(NOW + 86_400)}), {"lease_seconds": 86_400},
            {"not_after": NOW + 86_400})
    granted("ends-first", "an end before the duration",
            policy({"expire_date": utc(NOW + 600), "license_duration": 3_600}), {"lease_seconds": 600},
            {"not_after": NOW + 600, "lease_seconds": 3_600})
    refused("ended", "the end has passed", policy({"expire_date": utc(NOW - 1)}), "entitlement_ended", 403,
            {"not_after": NOW - 1})
    granted("streams", "one stream a user", policy({"max_stream_per_user": 1}), {"lease_seconds": SESSION},
            {"max_streams": 1})
    refused("streams-of-nobody", "one stream of nobody", policy({"max_stream_per_user": 1}), "term_unsupported",
            entry={"max_streams": 1}, user_id="LICENSETOKEN")
    refused("playback-unknown", "a term that is not known", policy({"plays": 1}), "term_unsupported")

    # Tracks and outputs. The key record is of the track `hd`.
    granted("sd-hd", "up to high definition", policy({"allowed_track_types": "SD_HD"}), {},
            {"tracks": {"uhd": False}})
    granted("sd-uhd1", "ultra high definition is one track", policy({"allowed_track_types": "SD_UHD1"}), {},
            {"tracks": {"uhd": False}})
    refused("sd-only", "standard definition only", policy({"allowed_track_types": "SD_ONLY"}), "track_not_allowed",
            403, {"tracks": {"hd": False, "uhd": False}})
    type0 = {"hdcp": "type0"}
    granted("outputs", "for every track", policy(security=[security({"hdcp_enforcement": 0})]), type0, type0)
    granted("no-hdcp", "HDCP is not required",
            policy(security=[security({"hdcp_enforcement": -1, "allow_airplay": True, "allow_av_adapter": True})]),
            {"hdcp": "none"}, {"hdcp": "none"})
    granted("local", "no AirPlay, no adapter",
            policy(security=[security({"allow_airplay": False, "allow_av_adapter": False}, "ALL")]), {},
            {"airplay": False, "av_adapter": False})
    by_track = [security({"hdcp_enforcement": 0}, "ALL_VIDEO"), security({"hdcp_enforcement": 1}, "UHD1"),
                security({"hdcp_enforcement": -1}, "SD")]
    granted("by-track", "the nearest policy", policy(security=by_track), type0,
            {"hdcp": "type1", "tracks": {
                "audio": {"hdcp": "none"}, "sd": {"hdcp": "none"}, "hd": {"hdcp": "type0"}}})
    granted("other-systems", "policies of other DRM systems",
            policy(security=[{"track_type": "ALL", "playready": {"security_level": 3000}, "wiseplay": {}}]), {}, {})
    refused("track-twice", "two policies of one track",
            policy(security=[security({"hdcp_enforcement": 1}), security({}, "ALL")]), "token_claims")
    refused("track-unknown", "a track that is not known", policy(security=[security({}, "UHD3")]),
            "term_unsupported")
    refused("outputs-unknown", "a term that is not known", policy(security=[security({"allow_mirroring": False})]),
            "term_unsupported")
    refused("policy-unknown", "a part that is not known", policy(watermark={}), "term_unsupported")

    # Keys that the token brings along.
    one = {"track_type": "ALL", **KEY}
    record = {**KEY, "id": "movie-1"}
    granted("external", "a key for every track", policy(external={"hls_aes": [one], "ncg": {"cek": "00"}}), {}, {},
            [record])
    granted("external-policy", "under the name that a sample has", policy(external_policy={"hls_aes": [one]}), {}, {},
            [record])
    by_id = {**KEY, "id": KEY_IDS[0], "kid": KEY_IDS[0], "aliases": ["movie-1"], "track": "uhd"}
    granted("external-kid", "a key with an id",
            policy(external={"hls_aes": [{**one, "track_type": "UHD2", "key_id": KEY_IDS[0].upper()}]}), {},
            {"keys": ["movie-1", KEY_IDS[0]]}, [by_id])
    cenc = {**one, "track_type": "ALL_VIDEO", "key_id": KEY_IDS[0]}
    granted("external-cenc", "a key of common encryption", policy(external={"mpeg_cenc": [cenc]}), {},
            {"keys": ["movie-1", KEY_IDS[0]]}, [{name: value for name, value in by_id.items() if name != "track"}])
    granted("external-others", "keys for the other systems",
            policy(external={"mpeg_cenc": [{**cenc, "iv": None}]}), {}, {})
    two = [{**one, "track_type": track, "key_id": key_id} for track, key_id in zip(("AUDIO", "SD"), KEY_IDS)]
    granted("external-two", "a key for each track", policy(external={"hls_aes": two}), {},
            {"keys": ["movie-1", *KEY_IDS]},
            [{**KEY, "id": key_id, "kid": key_id, "track": track} for track, key_id in zip(("audio", "sd"), KEY_IDS)])
    refused("external-streams", "streams of whoever the bearer says, for whichever title",
            policy({"max_stream_per_user": 1}, external={"hls_aes": [one]}), "term_unsupported",
            entry={"max_streams": 1}, records=[record])
    refused("external-same", "two keys with one id",
            policy(external={"hls_aes": [two[0], {**two[1], "key_id": KEY_IDS[0]}]}), "token_claims")
    refused("external-no-ids", "two keys without ids",
            policy(external={"hls_aes": [one, {**one, "track_type": "AUDIO"}]}), "term_unsupported")
    refused("external-short", "a key of 15 bytes", policy(external={"hls_aes": [{**one, "key": "00" * 15}]}),
            "token_claims")
    refused("external-no-iv", "a key without an IV",
            policy(external={"hls_aes": [{"track_type": "ALL", "key": KEY["key"]}]}), "token_claims")

    def jwk(kid, alg, key):
        return {"kty": "oct", "kid": kid, "alg": alg, "k": base64.urlsafe_b64encode(key.encode()).rstrip(b"=").decode()}

    document = {
        "comment": "Licence tokens of DoveRunner; written by tests/dialects/doverunner.py. `entitlements` and "
        "`content_keys` are the native claim and the key records that a token comes to; they are there when the "
        "dialect reads it.",
        "now": NOW,
        "variables": {
            "dialects": "doverunner",
            "token_keys": {
                "keys": [
                    jwk(SITE, "doverunner-access-key", ACCESS_KEY),
                    jwk(SITE, "doverunner-site-key", SITE_KEY),
                    jwk("HALF", "doverunner-access-key", "half"),
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
    write("doverunner", document)


if __name__ == "__main__":
    main()
