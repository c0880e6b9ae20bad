#!/usr/bin/env python3
"""Writes fixtures/dialects/nagra.json: Nagra content authorisations and what they must come to.

It shares no code with the server and needs Python's own library only. Secrets are fixed and public:
they are for tests only.
"""

import base64
import datetime
import hashlib
import hmac
import json

from vectors import MALFORMED, NOW, SESSION, UNSUPPORTED, ok, refused, write

KID = "263953"
SECRET = hashlib.sha256(b"nagra fixture signing key").digest()
MOVIE_KID = "339c45b5-fb6d-4bd9-994c-eabd9d41c95b"  # that of the fixture key movie-1


def at(seconds, hours):
    """The time so many seconds from NOW, as text of a zone and without its offset from UTC."""
    zone = datetime.timezone(datetime.timedelta(hours=hours))
    return datetime.datetime.fromtimestamp(NOW + seconds, zone).strftime("%Y-%m-%dT%H:%M:%S")


def b64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def jwt(claims, kid=KID, key=SECRET):
    header = {"typ": "JWT", "alg": "HS256", "kid": kid}
    signed = ".".join(
        b64url(json.dumps(part, separators=(",", ":")).encode()) for part in (header, claims)
    )
    return signed + "." + b64url(hmac.new(key, signed.encode(), hashlib.sha256).digest())


def token(*rights, **changes):
    claims = {
        "ver": "1.0",
        "typ": "ContentAuthZ",
        "exp": NOW + 3600,
        "device": {"accountId": "account-1"},
        "contentRights": list(rights),
    }
    claims.update(changes)
    return {name: value for name, value in claims.items() if value is not None}


def right(**members):
    """A right to movie-1 under the profile without rules of its own."""
    whole = {"contentId": "movie-1", "usageRulesProfileId": "Test"}
    whole.update(members)
    return {name: value for name, value in whole.items() if value is not None}


CASES = []


def case(name, claims, expect, comment="", grant=None, **signed):
    entry = {"name": name}
    if comment:
        entry["comment"] = comment
    entry["header"] = "nv-authorizations"
    entry.update(token=jwt(claims, **signed), asset="movie-1", expect=expect)
    if grant is not None:
        entry["grant"] = grant
    CASES.append(entry)


def terms(keys=("movie-1",), **terms):
    return {
        "entitlements": [{"keys": list(keys), "persist": False, **terms}],
        "subject": "account-1",
    }


def main():
    case("plain", token(right()), ok(persist=False), grant=terms())
    case(
        "no_device",
        token(right(), device=None),
        ok(persist=False),
        grant={"entitlements": terms()["entitlements"]},
    )
    case(
        "key_ids",
        token(right(contentId="VOD-1", defaultKcIds=[MOVIE_KID, MOVIE_KID.upper(), "VOD-1"])),
        ok(persist=False),
        "the key is reached by its id; one that is there again is there once",
        grant=terms(("VOD-1", MOVIE_KID)),
    )
    case(
        "key_ids_alone",
        token(right(contentId=None, defaultKcIds=[MOVIE_KID])),
        ok(persist=False),
        grant=terms((MOVIE_KID,)),
    )
    case(
        "two_rights",
        token(right(contentId="VOD-1", duration=60), right()),
        ok(persist=False),
        grant={
            "entitlements": [
                {"keys": ["VOD-1"], "persist": False, "rental_seconds": 60},
                {"keys": ["movie-1"], "persist": False},
            ],
            "subject": "account-1",
        },
    )
    case("another_content", token(right(contentId="VOD-1")), refused(403, "not_entitled"))
    case("no_right", token(), refused(403, "not_entitled"))
    case("rights_missing", token(contentRights=None), MALFORMED)
    case("rights_no_list", token(contentRights=right()), MALFORMED)
    case("content_missing", token(right(contentId=None)), MALFORMED)
    case("content_star", token(right(contentId="*")), MALFORMED, "it is no key of the vendor's")
    case("key_id_star", token(right(defaultKcIds=["*"])), MALFORMED)
    case("content_twice", token(right(duration=60), right()), MALFORMED)
    case("right_member_unknown", token(right(maxHeight=576)), UNSUPPORTED)

    # Times.
    case(
        "storable",
        token(right(storable=True)),
        ok(persist=True),
        grant={
            "entitlements": [{"keys": ["movie-1"], "persist": True}],
            "subject": "account-1",
        },
    )
    case(
        "storable_duration",
        token(right(storable=True, duration=86400)),
        ok(persist=True, storage_seconds=86400),
        grant={
            "entitlements": [{"keys": ["movie-1"], "persist": True, "storage_seconds": 86400}],
            "subject": "account-1",
        },
    )
    case(
        "duration",
        token(right(storable=False, duration=3600)),
        ok(persist=False, rental_seconds=3600),
        grant=terms(rental_seconds=3600),
    )
    case("duration_zero", token(right(duration=0)), MALFORMED)
    case(
        "end",
        token(right(start=NOW - 60, end=NOW + 600)),
        ok(persist=False, lease_seconds=600),
        grant=terms(not_before=NOW - 60, not_after=NOW + 600),
    )
    case(
        "end_text",
        token(right(end=at(600, 2) + "+02:00")),
        ok(persist=False, lease_seconds=600),
        grant=terms(not_after=NOW + 600),
    )
    case("ended", token(right(end=NOW)), refused(403, "entitlement_ended"))
    case("starts_later", token(right(start=NOW + 1)), refused(403, "entitlement_not_yet_valid"))
    case("end_milliseconds", token(right(end=(NOW + 600) * 1000)), MALFORMED)
    case("end_without_offset", token(right(end=at(600, 0))), MALFORMED)

    # Output rules.
    case(
        "profile_missing",
        token(right(usageRulesProfileId=None)),
        ok(persist=False, hdcp="type0"),
        "the default profile applies",
        grant=terms(hdcp="type0"),
    )
    case(
        "profile_default",
        token(right(usageRulesProfileId="default")),
        ok(persist=False, hdcp="type0"),
        grant=terms(hdcp="type0"),
    )
    case(
        "profile_sd",
        token(right(usageRulesProfileId="SD")),
        ok(persist=False, hdcp="type0"),
        "the key of movie-1 is of no track",
        grant=terms(hdcp="type0", tracks={"hd": False, "uhd": False}),
    )
    case(
        "profile_hd",
        token(right(usageRulesProfileId="HD")),
        ok(persist=False, hdcp="type0"),
        grant=terms(hdcp="type0", tracks={"uhd": False}),
    )
    case(
        "profile_uhd",
        token(right(usageRulesProfileId="UHD")),
        refused(403, "device_hdcp_unsupported"),
        "the SPC says nothing of HDCP type 1",
        grant=terms(hdcp="type1"),
    )
    case("profile_unknown", token(right(usageRulesProfileId="Kids")), UNSUPPORTED)
    case(
        "generic_rules",
        token(
            right(
                defaultUsageRules={
                    "minLevel": 1,
                    "digitalOnly": False,
                    "unprotectedDigitalOutput": False,
                }
            )
        ),
        ok(persist=False, hdcp="type0"),
        grant=terms(hdcp="type0"),
    )
    case(
        "generic_rules_loose",
        token(right(defaultUsageRules={"minLevel": 0, "unprotectedDigitalOutput": True})),
        ok(persist=False),
        grant=terms(),
    )
    case("level_2", token(right(defaultUsageRules={"minLevel": 2})), UNSUPPORTED)
    case("level_text", token(right(defaultUsageRules={"minLevel": "high"})), MALFORMED)
    case("digital_only", token(right(defaultUsageRules={"digitalOnly": True})), UNSUPPORTED)
    case("rule_unknown", token(right(defaultUsageRules={"copyOnce": True})), UNSUPPORTED)

    # Sessions.
    case(
        "sessions_off",
        token(right(sessionControl={"sessionControlEnabled": False, "maxSessions": 2})),
        ok(persist=False),
        grant=terms(),
    )
    case(
        "sessions",
        token(right(sessionControl={"sessionControlEnabled": True, "maxSessions": 2})),
        ok(persist=False, lease_seconds=SESSION),
        "a limit of streams, kept by a session of the licence's own and a lease for that",
        grant=terms(max_streams=2),
    )
    case(
        "sessions_of_nobody",
        token(
            right(sessionControl={"sessionControlEnabled": True, "maxSessions": 2}), device=None
        ),
        UNSUPPORTED,
        "nobody is told whose streams to count",
        grant={"entitlements": terms(max_streams=2)["entitlements"]},
    )
    case(
        "sessions_zero",
        token(right(sessionControl={"sessionControlEnabled": True, "maxSessions": 0})),
        MALFORMED,
    )
    case(
        "sessions_without_limit",
        token(right(sessionControl={"sessionControlEnabled": True})),
        UNSUPPORTED,
    )
    case(
        "sessions_groups",
        token(
            right(sessionControl={"sessionId": "s", "groups": [{"groupId": "g", "maxSessions": 2}]})
        ),
        UNSUPPORTED,
    )

    # The token.
    case(
        "once",
        token(right(), jti="token-1"),
        ok(persist=False),
        "needs a key-value store",
        grant=terms(max_uses=1) | {"id": "token-1"},
    )
    case(
        "once_for_a_day",
        token(right(), jti="token-2", iat=NOW, exp=NOW + 86400),
        ok(persist=False),
        "needs a key-value store",
        grant=terms(max_uses=1) | {"id": "token-2"},
    )
    case("once_for_longer", token(right(), jti="token-3", exp=NOW + 86461), MALFORMED)
    case(
        "once_issued_earlier",
        token(right(), jti="token-4", iat=NOW - 3600, exp=NOW + 82801),
        MALFORMED,
    )
    case(
        "longer_without_id",
        token(right(), exp=NOW + 864000),
        ok(persist=False),
        grant=terms(),
    )
    case("device_bound", token(right(), device={"deviceUniqueId": "abc"}), UNSUPPORTED)
    case("device_named", token(right(), device={"deviceId": "abc"}), UNSUPPORTED)
    case("device_member_unknown", token(right(), device={"deviceGroup": "tv"}), UNSUPPORTED)
    case("version", token(right(), ver="2.0"), UNSUPPORTED)
    case("version_missing", token(right(), ver=None), MALFORMED)
    case("without_an_end", token(right(), exp=None), MALFORMED)
    case("expired", token(right(), exp=NOW - 60), refused(401, "token_expired"))
    case("not_yet", token(right(), nbf=NOW + 61), refused(401, "token_not_yet_valid"))
    case("unknown_kid", token(right()), refused(401, "token_key_unknown"), kid="263954")
    case("signature", token(right()), refused(401, "token_signature"), key=SECRET[::-1])

    document = {
        "comment": "Nagra content authorisations; written by tests/dialects/nagra.py. The SPC has the "
        "media playback state of a first play and no capabilities. `grant`, where it is there, is "
        "what the token comes to before it meets the server's own terms.",
        "now": NOW,
        "variables": {
            "dialects": "nagra",
            "token_keys": {
                "keys": [{"kty": "oct", "alg": "HS256", "kid": KID, "k": b64url(SECRET)}]
            },
            "token_issuer": "*",
            "token_audience": "*",
        },
        "cases": CASES,
    }
    write("nagra", document)


if __name__ == "__main__":
    main()
