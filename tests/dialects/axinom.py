#!/usr/bin/env python3
"""Writes fixtures/dialects/axinom.json: Axinom entitlement messages and what they must come to.

It shares no code with the server. It needs the package `cryptography` for AES; everything else is
Python's own library. Secrets are fixed and public: they are for tests only.
"""

import base64
import datetime
import hashlib
import hmac
import json
import uuid

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from vectors import MALFORMED, NOW, SESSION, UNSUPPORTED, ok, refused, write

COM_KEY_ID = "7b6c5f0e-2d41-4c0a-9a3e-5d1f00c0ffee"
OTHER_KEY_ID = "0b5d2a34-6c1e-4f7b-8d90-aa55bb66cc77"
LONG_KEY_ID = "5e0f27b1-93c8-4b1d-b0de-001122334455"
COM_KEY = hashlib.sha256(b"axinom fixture communication key").digest()
OTHER_KEY = hashlib.sha256(b"axinom fixture other key").digest()
LONG_KEY = COM_KEY + b"8 more: "  # 40 bytes are no key of AES-256

KID = "339c45b5-fb6d-4bd9-994c-eabd9d41c95b"  # that of the fixture key movie-1
SENT_KID = "8e413433-1e91-47d4-b548-5abbf4f6564e"
SENT_KEY = bytes.fromhex("a0a1a2a3a4a5a6a7a8a9aaabacadaeaf")
SENT_IV = bytes.fromhex("b0b1b2b3b4b5b6b7b8b9babbbcbdbebf")


def at(seconds, hours=0, fraction=""):
    """The time so many seconds from NOW, as text with its offset from UTC."""
    zone = datetime.timezone(datetime.timedelta(hours=hours))
    return datetime.datetime.fromtimestamp(NOW + seconds, zone).strftime(
        "%Y-%m-%dT%H:%M:%S" + fraction + ("Z" if hours == 0 else "+%02d:00" % hours)
    )


def b64(data):
    return base64.b64encode(data).decode()


def b64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def jwt(claims, key=COM_KEY):
    """An HS256 token without `kid`, as the vendor's samples make it."""
    parts = [
        b64url(json.dumps(part, separators=(",", ":")).encode())
        for part in ({"alg": "HS256", "typ": "JWT"}, claims)
    ]
    signed = ".".join(parts)
    return signed + "." + b64url(hmac.new(key, signed.encode(), hashlib.sha256).digest())


def encrypted(kid, key, com_key=COM_KEY):
    """AES-256-CBC of one block, without padding; the IV is the key id, big-endian."""
    cipher = Cipher(algorithms.AES(com_key[:32]), modes.CBC(uuid.UUID(kid).bytes))
    encryptor = cipher.encryptor()
    return b64(encryptor.update(key) + encryptor.finalize())


def sent(**changes):
    key = {
        "id": SENT_KID,
        "encrypted_key": encrypted(SENT_KID, SENT_KEY),
        "iv": b64(SENT_IV),
        "usage_policy": "P",
    }
    key.update(changes)
    return {name: value for name, value in key.items() if value is not None}


def message(license=None, fairplay=None, keys=None, policy=None, access=None, **more):
    """An entitlement message for the key of movie-1 with the policy `P`."""
    license = dict(license or {})
    if fairplay is not None:
        license["fairplay"] = fairplay
    body = {
        "type": "entitlement_message",
        "version": 2,
        "license": license,
        "content_keys_source": {"inline": keys or [{"id": KID, "usage_policy": "P"}]},
        "content_key_usage_policies": [
            {
                "name": "P",
                "fairplay": policy or {},
                "widevine": {"device_security_level": "SW_SECURE_CRYPTO"},
                "playready": {"min_device_security_level": 150},
            }
        ],
    }
    if access is not None:
        body["license_server"] = {"return_license_request_info": True, "access_control": access}
    body.update(more)
    return {name: value for name, value in body.items() if value is not None}


def outer(message, **changes):
    claims = {
        "version": 1,
        "com_key_id": COM_KEY_ID,
        "begin_date": at(-3600),
        "expiration_date": at(3600, 3, ".1234567"),
        "message": message,
    }
    claims.update(changes)
    return {name: value for name, value in claims.items() if value is not None}


CASES = []


def case(name, claims, expect, comment="", grant=None, key=COM_KEY, place="header", asset="movie-1"):
    entry = {"name": name}
    if comment:
        entry["comment"] = comment
    if place == "header":
        entry["header"] = "x-axdrm-message"
    else:
        entry["query"] = place
    entry.update(token=jwt(claims, key), asset=asset, expect=expect)
    if grant is not None:
        entry["grant"] = grant
    CASES.append(entry)


def terms(key=KID, **terms):
    return {"entitlements": [{"keys": [key], "persist": False, **terms}]}


def main():
    case(
        "plain",
        outer(message(session={"user_id": "viewer-1", "note": "not read"}), id="message-1"),
        ok(persist=False),
        grant=terms() | {"id": "message-1", "subject": "viewer-1"},
    )
    case("query", outer(message()), ok(persist=False), place="AxDrmMessage", grant=terms())
    case(
        "no_dates_no_policy",
        outer(
            {
                "type": "entitlement_message",
                "version": 2,
                "content_keys_source": {"inline": [{"id": KID}]},
            },
            begin_date=None,
            expiration_date=None,
        ),
        MALFORMED,
        "the vendor's smallest message: nothing but a key, and no end",
    )
    case(
        "no_dates_but_an_end",
        outer(message({"expiration_datetime": at(600)}), begin_date=None, expiration_date=None),
        ok(persist=False, lease_seconds=600),
        grant=terms(not_after=NOW + 600),
    )
    case(
        "com_key_id_upper_case",
        outer(message(), com_key_id=COM_KEY_ID.upper()),
        ok(persist=False),
        grant=terms(),
    )
    case(
        "stored_key",
        outer(message(content_keys_source={"stored": [{"id": KID.upper(), "usage_policy": "P"}]})),
        ok(persist=False),
        grant=terms(KID.upper()),
    )

    # Durations.
    case(
        "rental",
        outer(message({"duration": 3600})),
        ok(persist=False, rental_seconds=3600),
        grant=terms(rental_seconds=3600),
    )
    case(
        "lease",
        outer(message(fairplay={"duration": "200", "real_time_expiration": True})),
        ok(persist=False, lease_seconds=200),
        "numbers as text, as in the vendor's page on renewal",
        grant=terms(lease_seconds=200),
    )
    case(
        "playback_streaming",
        outer(message({"duration": 3600}, {"playback_duration": 600})),
        ok(persist=False, rental_seconds=3600, lease_seconds=600),
        grant=terms(rental_seconds=3600, lease_seconds=600),
    )
    persist = {"entitlements": [{"keys": [KID], "persist": True}]}
    case(
        "persist",
        outer(message({"allow_persistence": True})),
        ok(persist=True),
        grant=persist,
    )
    case(
        "persist_durations",
        outer(message({"duration": 86400, "allow_persistence": True}, {"playback_duration": 7200})),
        ok(persist=True, storage_seconds=86400, playback_seconds=7200),
        grant={
            "entitlements": [
                {
                    "keys": [KID],
                    "persist": True,
                    "storage_seconds": 86400,
                    "playback_seconds": 7200,
                }
            ]
        },
    )
    case(
        "fairplay_wins",
        outer(
            message(
                {"duration": 86400, "allow_persistence": True},
                {"duration": 60, "allow_persistence": "false"},
            )
        ),
        ok(persist=False, rental_seconds=60),
        grant=terms(rental_seconds=60),
    )
    case(
        "persist_real_time",
        outer(
            message({"duration": 600, "allow_persistence": True}, {"real_time_expiration": True})
        ),
        ok(persist=False, lease_seconds=600),
        "a stored key does not stop in the middle: the permission is dropped",
        grant=terms(lease_seconds=600),
    )
    case(
        "persist_real_time_endless",
        outer(message({"allow_persistence": True}, {"real_time_expiration": True})),
        ok(persist=True),
        "without an end there is nothing to stop at",
        grant=persist,
    )
    case("duration_zero", outer(message({"duration": 0})), MALFORMED)
    case("duration_fraction", outer(message({"duration": 1.5})), MALFORMED)
    case("persistence_number", outer(message({"allow_persistence": 1})), MALFORMED)
    case(
        "expiration_datetime",
        outer(message({"expiration_datetime": at(600).replace("Z", "+00:00")})),
        ok(persist=False, lease_seconds=600),
        grant=terms(not_after=NOW + 600),
    )
    case(
        "licence_ended",
        outer(message({"expiration_datetime": at(0)})),
        refused(403, "entitlement_ended"),
        grant=terms(not_after=NOW),
    )
    case(
        "start_datetime",
        outer(message({"start_datetime": at(1, 2)})),
        refused(403, "entitlement_not_yet_valid"),
        grant=terms(not_before=NOW + 1),
    )
    case("licence_date_without_offset", outer(message({"start_datetime": at(0).rstrip("Z")})), MALFORMED)
    case("licence_member_unknown", outer(message({"max_plays": 3})), UNSUPPORTED)
    case("fairplay_member_unknown", outer(message(fairplay={"min_os": "17"})), UNSUPPORTED)
    case(
        "other_drms",
        outer(message({"widevine": {"allow_playback": False}, "playready": {"duration": 1}})),
        ok(persist=False),
        grant=terms(),
    )

    # Policies.
    case(
        "hdcp_none",
        outer(message(policy={"hdcp": "NONE", "allow_airplay": True, "allow_av_adapter": True})),
        ok(persist=False, hdcp="none"),
        grant=terms(hdcp="none"),
    )
    case(
        "hdcp_type0_no_outputs",
        outer(message(policy={"hdcp": "TYPE0", "allow_airplay": False, "allow_av_adapter": False})),
        ok(persist=False, hdcp="type0"),
        grant=terms(hdcp="type0", airplay=False, av_adapter=False),
    )
    case(
        "hdcp_type1",
        outer(message(policy={"hdcp": "TYPE1"})),
        refused(403, "device_hdcp_unsupported"),
        "the SPC says nothing of HDCP type 1",
        grant=terms(hdcp="type1"),
    )
    case("hdcp_unknown", outer(message(policy={"hdcp": "TYPE2"})), UNSUPPORTED)
    case("policy_member_unknown", outer(message(policy={"min_level": 1})), UNSUPPORTED)
    case("policy_missing", outer(message(keys=[{"id": KID, "usage_policy": "Q"}])), MALFORMED)
    twice = [{"name": "P"}, {"name": "P", "fairplay": {"hdcp": "TYPE1"}}]
    case("policy_twice", outer(message(content_key_usage_policies=twice)), MALFORMED)
    unused = [{"name": "P"}, {"name": "Q", "fairplay": {"hdcp": "TYPE9", "x": 1}}]
    case(
        "policy_unused",
        outer(message(content_key_usage_policies=unused)),
        ok(persist=False),
        "policies that no key names are left out",
        grant=terms(),
    )

    # Keys.
    case(
        "another_key",
        outer(message(keys=[{"id": "11111111-0000-0000-0000-000000000000"}])),
        refused(403, "not_entitled"),
    )
    case("no_key", outer(message(content_keys_source={"inline": []})), refused(403, "not_entitled"))
    record = {
        "id": SENT_KID,
        "kid": SENT_KID,
        "key": SENT_KEY.hex(),
        "iv": SENT_IV.hex(),
    }
    case(
        "key_sent",
        outer(message(keys=[{"id": KID}, sent()], policy={"hdcp": "NONE"})),
        ok(persist=False, hdcp="none"),
        "a key that no record of the server has",
        asset=SENT_KID,
        grant={
            "entitlements": [
                {"keys": [KID], "persist": False},
                {"keys": [SENT_KID], "persist": False, "hdcp": "none"},
            ],
            "content_keys": [record],
        },
    )
    case(
        "key_without_iv",
        outer(message(keys=[sent(iv=None)])),
        refused(503, "iv_missing"),
        "FairPlay alone needs the IV, and no record of the server has one",
        asset=SENT_KID,
    )
    case("key_iv_short", outer(message(keys=[sent(iv=b64(SENT_IV[:8]))])), MALFORMED, asset=SENT_KID)
    padded = b64(base64.b64decode(encrypted(SENT_KID, SENT_KEY)) + bytes(16))
    case("key_two_blocks", outer(message(keys=[sent(encrypted_key=padded)])), MALFORMED, asset=SENT_KID)
    case("key_member_unknown", outer(message(keys=[sent(max_height=576)])), UNSUPPORTED, asset=SENT_KID)
    case(
        "communication_key_no_aes_key",
        outer(message(keys=[sent()]), com_key_id=LONG_KEY_ID),
        refused(401, "token_key_unknown"),
        "a communication key has 32 bytes",
        key=LONG_KEY,
        asset=SENT_KID,
    )
    case("key_id_no_guid", outer(message(keys=[{"id": "*"}])), MALFORMED)
    case("key_twice", outer(message(keys=[{"id": KID}, {"id": KID.upper()}])), MALFORMED)
    case("no_source", outer(message(content_keys_source=None)), MALFORMED)
    two = {"inline": [{"id": KID}], "stored": [{"id": KID}]}
    case("two_sources", outer(message(content_keys_source=two)), MALFORMED)
    from_request = {"license_request": {"seed_id": KID, "usage_policy": "P"}}
    case("keys_of_request", outer(message(content_keys_source=from_request)), UNSUPPORTED)

    # Access control.
    case(
        "reuse_prevented",
        outer(message(access={"prevent_drm_message_reuse": "true"}), id="message-2"),
        ok(persist=False),
        "needs a key-value store",
        grant=terms(max_uses=1) | {"id": "message-2"},
    )
    case("reuse_without_id", outer(message(access={"prevent_drm_message_reuse": True})), MALFORMED)
    case(
        "concurrency_none",
        outer(message(access={"concurrency_limit": 2, "concurrency_mode": "NONE"})),
        ok(persist=False),
        grant=terms(),
    )
    case(
        "concurrency_none_for_fairplay",
        outer(
            message(
                access={
                    "concurrency_limit": 2,
                    "concurrency_mode": "BLOCK_NEW_DEVICE",
                    "fairplay": {"concurrency_mode": "NONE", "use_native_session_ids": False},
                }
            )
        ),
        ok(persist=False),
        grant=terms(),
    )
    case(
        "concurrency_mode_unknown",
        outer(message(access={"concurrency_limit": 2, "concurrency_mode": "STOP_OLD_DEVICE"})),
        UNSUPPORTED,
    )
    case(
        "concurrency_without_limit",
        outer(message(access={"concurrency_mode": "BLOCK_NEW_DEVICE"})),
        MALFORMED,
    )
    case(
        "addresses",
        outer(message(access={"allowed_ip_addresses": ["10.11.12.13", "2001:db8::1"]})),
        refused(403, "place_unknown"),
        "no header of a trusted proxy is configured",
        grant=terms(ip_allow=["10.11.12.13", "2001:db8::1"]),
    )
    case("addresses_empty", outer(message(access={"allowed_ip_addresses": []})), MALFORMED)
    case("devices", outer(message(access={"fairplay": {"allowed_device_ids": [KID]}})), UNSUPPORTED)
    case("access_member_unknown", outer(message(access={"allowed_countries": ["EE"]})), UNSUPPORTED)
    case("server_member_unknown", outer(message(license_server={"deny": True})), UNSUPPORTED)

    # The envelope.
    case(
        "begins_within_leeway",
        outer(message(), begin_date=at(60)),
        ok(persist=False),
    )
    case(
        "begins_later",
        outer(message(), begin_date=at(61)),
        refused(401, "token_not_yet_valid"),
    )
    case(
        "expired_within_leeway",
        outer(message(), expiration_date=at(-59)),
        ok(persist=False),
    )
    case(
        "expired",
        outer(message(), expiration_date=at(-60, 3)),
        refused(401, "token_expired"),
    )
    case("date_not_a_date", outer(message(), expiration_date=NOW + 3600), MALFORMED)
    case("outer_version", outer(message(), version=2), UNSUPPORTED)
    case("outer_version_missing", outer(message(), version=None), MALFORMED)
    case("inner_version", outer(message(version=1)), UNSUPPORTED)
    case("message_member_unknown", outer(message(client_ip="192.0.2.1")), UNSUPPORTED)
    case(
        "communication_key_unknown",
        outer(message(), com_key_id="00000000-0000-0000-0000-000000000000"),
        refused(401, "token_key_unknown"),
    )
    case("communication_key_id_missing_text", outer(message(), com_key_id=7), MALFORMED)
    case(
        "signature",
        outer(message()),
        refused(401, "token_signature"),
        key=hashlib.sha256(b"nobody's key").digest(),
    )

    case(
        "concurrency",
        outer(
            message(
                access={"concurrency_limit": 2, "concurrency_mode": "BLOCK_NEW_DEVICE"},
                session={"user_id": "viewer-1"},
            )
        ),
        ok(persist=False, lease_seconds=SESSION),
        "a limit of streams, kept by a session of the licence's own and a lease for that",
        grant=terms(max_streams=2) | {"subject": "viewer-1"},
    )
    case(
        "concurrency_of_nobody",
        outer(message(access={"concurrency_limit": 2, "concurrency_mode": "BLOCK_NEW_DEVICE"})),
        UNSUPPORTED,
        "nobody is told whose streams to count",
        grant=terms(max_streams=2),
    )

    jwks = [
        {"kty": "oct", "alg": "HS256", "kid": kid, "k": b64url(key)}
        for kid, key in (
            (COM_KEY_ID, COM_KEY),
            (OTHER_KEY_ID, OTHER_KEY),
            (LONG_KEY_ID, LONG_KEY),
        )
    ]
    document = {
        "comment": "Axinom entitlement messages; written by tests/dialects/axinom.py. The SPC has the "
        "media playback state of a first play and no capabilities. `grant`, where it is there, is "
        "what the message comes to before it meets the server's own terms.",
        "now": NOW,
        "variables": {
            "dialects": "axinom",
            "token_keys": {"keys": jwks},
            "token_issuer": "*",
            "token_audience": "*",
        },
        "cases": CASES,
    }
    write("axinom", document)


if __name__ == "__main__":
    main()
