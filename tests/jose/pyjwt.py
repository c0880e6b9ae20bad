"""Mints tokens with PyJWT, sound ones and others, for tests/suite/jose.rs.

    pip install -r tests/jose/requirements.txt
    python tests/jose/pyjwt.py          # writes fixtures/jose/pyjwt.json

Private keys are made, used and forgotten: a rerun writes other keys, and with them other tokens. Only the
secrets of HMAC, which protect nothing, stay the same, and the tokens made with them.
"""

import hashlib
import importlib.metadata
import json
import pathlib

import jwt
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa, utils
from jwt.utils import base64url_decode, base64url_encode

OUTPUT = pathlib.Path(__file__).parents[2] / "fixtures/jose/pyjwt.json"
COMMENT = (
    "Tokens by PyJWT {} and cryptography {}, and what a server with these keys, the issuer https://login.example and "
    "the audience keylet answers to them. Written by tests/jose/pyjwt.py; a rerun makes new RSA, EC and Ed25519 keys, "
    "and so other tokens."
).format(importlib.metadata.version("PyJWT"), importlib.metadata.version("cryptography"))

PAST, FUTURE, FAR = 1_500_000_000, 4_000_000_000, 4_102_444_800
CLAIMS = {
    "iss": "https://login.example",
    "aud": "keylet",
    "iat": PAST,
    "exp": FAR,
    "entitlements": [{"keys": ["movie-1"]}],
}
P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
ED25519_ORDER = 2**252 + 27742317777372353535851937790883648493


def rsa_key():
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def secret(name, size):
    return hashlib.shake_256(f"keylet tests/jose pyjwt {name}".encode()).digest(size)


KEYS = {
    "HS256": secret("HS256", 32),
    "HS384": secret("HS384", 48),
    "HS512": secret("HS512", 64),
    "RS256": rsa_key(),
    "RS384": rsa_key(),
    "RS512": rsa_key(),
    "PS256": rsa_key(),
    "PS384": rsa_key(),
    "PS512": rsa_key(),
    "ES256": ec.generate_private_key(ec.SECP256R1()),
    "ES384": ec.generate_private_key(ec.SECP384R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate(),
}
NEXT = rsa_key()
ATTACKER = rsa_key()
# What no server verifies with; their keys stand between the others.
UNVERIFIED = {
    "ES512": ec.generate_private_key(ec.SECP521R1()),
    "ES256K": ec.generate_private_key(ec.SECP256K1()),
}
WITHOUT_ALG = {"HS256", "RS256", "ES256", "ES384", "EdDSA"}


def jwk(key, members=None, *, like):
    """A JWK as PyJWT exports it, which leaves `kid`, `alg` and `use` to the provider."""
    public = key if isinstance(key, bytes) else key.public_key()
    return jwt.get_algorithm_by_name(like).to_jwk(public, as_dict=True) | (members or {})


def sign(alg, signed, key=None):
    """A signature without the checks that PyJWT makes of keys."""
    return jwt.get_algorithm_by_name(alg).sign(signed, key or KEYS[alg])


def token(alg="HS256", claims=CLAIMS, key=None, **header):
    """A token as PyJWT makes it; of claims that are bytes, their bytes are signed."""
    headers = {name: value for name, value in ({"kid": alg.lower()} | header).items() if value is not None}
    if "typ" in header:
        headers["typ"] = header["typ"]
    encode = jwt.PyJWS().encode if isinstance(claims, bytes) else jwt.encode
    return encode(claims, key or KEYS[alg], alg, headers)


def raw(header, claims=None, alg="HS256", key=None):
    """A token over a header that PyJWT would not write."""
    claims = json.dumps(CLAIMS).encode() if claims is None else claims
    signed = b".".join(map(base64url_encode, (header.encode(), claims)))
    return with_signature(signed.decode(), sign(alg, signed, key))


def with_signature(signed, signature):
    return f"{signed}.{base64url_encode(signature).decode()}"


def parts(of):
    """What is signed, and the signature."""
    signed, signature = of.rsplit(".", 1)
    return signed, base64url_decode(signature)


def of_size(size):
    """A token of so many bytes. Base64url has no length of 4n + 1: the header makes up for that."""
    made = (
        token(claims=CLAIMS | {"padding": "x" * length}, padding="x" * more)
        for length in range(size * 3 // 4 - 400, size * 3 // 4)
        for more in range(2)
    )
    return next(made for made in made if len(made) == size)


cases = []


def case(name, comment, of, code=None):
    expected = {"status": 401, "code": code} if code else {"status": 200}
    assert name not in {case["name"] for case in cases}, name
    cases.append({"name": name, "comment": comment, "token": of} | expected)


# --- Accepted -------------------------------------------------------------------------------------------------

for alg in KEYS:
    for kid in (alg.lower(), None):
        for audience in ("keylet", ["https://other.example", "keylet"]):
            case(
                f"{alg.lower()}{'' if kid else '-no-kid'}{'-aud-list' if isinstance(audience, list) else ''}",
                f"{alg}, {'with' if kid else 'without'} kid, aud {audience}",
                token(alg, CLAIMS | {"aud": audience}, kid=kid),
            )
case("rotation", "the second of two keys of one algorithm, by its kid", token("RS256", key=NEXT, kid="rs256-next"))
case("rotation-no-kid", "the second of two keys of one algorithm, without kid", token("RS256", key=NEXT, kid=None))
for name, typ in (("none", None), ("lower", "jwt"), ("access-token", "at+jwt"), ("media-type", "application/jwt")):
    case(f"typ-{name}", f"typ {typ}", token(typ=typ))
case("exp-last-date", "exp at the end of the year 9999", token(claims=CLAIMS | {"exp": 253_402_300_799}))
case("nbf-past", "nbf passed, times as PyJWT writes them", token(claims=CLAIMS | {"nbf": PAST}))
case("other-claims", "claims of no meaning here", token(claims=CLAIMS | {"azp": 1.5, "ext": {"a": [None, "ü", {}]}}))
case(
    "key-hints",
    "jku, x5u, x5c, x5t and x5t#S256 are passed over",
    token(
        "RS256",
        jku="https://attacker.example/jwks",
        x5u="https://attacker.example/certificate",
        x5c=["AAAA"],
        x5t=base64url_encode(hashlib.sha1(b"").digest()).decode(),
        **{"x5t#S256": base64url_encode(hashlib.sha256(b"").digest()).decode()},
    ),
)
case("zip-plain", "zip means nothing in a JWS; the claims are not compressed", token(zip="DEF"))
case("largest", "8192 bytes", of_size(8192))
case("white-space-around", "white space around the token", f"  {token()} ")

signed, signature = parts(token("ES256"))
r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
for name, other in (("low", min(s, P256_ORDER - s)), ("high", max(s, P256_ORDER - s))):
    sound = signature[:32] + other.to_bytes(32, "big")
    case(f"es256-{name}-s", f"the {name}er of the two valid values of s", with_signature(signed, sound))

# --- Signatures -----------------------------------------------------------------------------------------------

case("es256-der", "the signature in DER", with_signature(signed, utils.encode_dss_signature(r, s)), "token_signature")
case("es256-zero", "r and s are zero", with_signature(signed, bytes(64)), "token_signature")
case("es256-swapped", "s before r", with_signature(signed, signature[32:] + signature[:32]), "token_signature")
case("es256-longer", "a zero byte after s", with_signature(signed, signature + b"\0"), "token_signature")

signed, signature = parts(token("ES384"))
r, s = int.from_bytes(signature[:48], "big"), int.from_bytes(signature[48:], "big")
case("es384-der", "the signature in DER", with_signature(signed, utils.encode_dss_signature(r, s)), "token_signature")
case("es384-zero", "r and s are zero", with_signature(signed, bytes(96)), "token_signature")
case("es384-swapped", "s before r", with_signature(signed, signature[48:] + signature[:48]), "token_signature")
case("es384-longer", "a zero byte after s", with_signature(signed, signature + b"\0"), "token_signature")

signed, signature = parts(token("EdDSA"))
malleable = int.from_bytes(signature[32:], "little") + ED25519_ORDER
case(
    "eddsa-malleable",
    "the order of the group added to S (RFC 8032 section 8.4)",
    with_signature(signed, signature[:32] + malleable.to_bytes(32, "little")),
    "token_signature",
)

signed, _ = parts(token("PS256"))
for name, salt in (("no-salt", 0), ("longest-salt", padding.PSS.MAX_LENGTH)):
    pss = padding.PSS(padding.MGF1(hashes.SHA256()), salt)
    case(
        f"ps256-{name}",
        "a salt that is not as long as the hash (RFC 7518 section 3.5)",
        with_signature(signed, KEYS["PS256"].sign(signed.encode(), pss, hashes.SHA256())),
        "token_signature",
    )
for alg, other in (("PS384", hashes.SHA256()), ("PS512", hashes.SHA384())):
    signed, _ = parts(token(alg))
    pss = padding.PSS(padding.MGF1(other), other.digest_size)
    case(
        f"{alg.lower()}-{other.name}",
        f"a signature with {other.name}",
        with_signature(signed, KEYS[alg].sign(signed.encode(), pss, other)),
        "token_signature",
    )
signed, _ = parts(token("PS512"))
mixed = padding.PSS(padding.MGF1(hashes.SHA256()), 64)
case(
    "ps512-mgf1",
    "another hash in MGF1 (RFC 7518 section 3.5)",
    with_signature(signed, KEYS["PS512"].sign(signed.encode(), mixed, hashes.SHA512())),
    "token_signature",
)
signed, _ = parts(token("PS256"))
pkcs1 = KEYS["PS256"].sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256())
case("ps256-pkcs1", "a signature of RS256", with_signature(signed, pkcs1), "token_signature")
signed, signature = parts(token("RS256"))
pss = sign("PS256", signed.encode(), KEYS["RS256"])
case("rs256-pss", "a signature of PS256", with_signature(signed, pss), "token_signature")
sha512 = sign("RS512", signed.encode(), KEYS["RS256"])
case("rs256-sha512", "a signature of RS512", with_signature(signed, sha512), "token_signature")
case("rs256-longer", "a zero byte before the signature", with_signature(signed, b"\0" + signature), "token_signature")

for alg in KEYS:
    signed, signature = parts(token(alg))
    flipped = bytes([signature[0] ^ 1]) + signature[1:]
    case(f"{alg.lower()}-bit", "one bit of the signature changed", with_signature(signed, flipped), "token_signature")
    case(f"{alg.lower()}-empty", "an empty signature", f"{signed}.", "token_signature")
    case(f"{alg.lower()}-half", "half of the signature", with_signature(signed, signature[:16]), "token_signature")
signed, signature = parts(token())
header, _ = signed.split(".")
claims = base64url_encode(json.dumps(CLAIMS | {"entitlements": [{"keys": ["*"]}]}).encode()).decode()
case(
    "claims-changed",
    "other claims below the signature",
    with_signature(f"{header}.{claims}", signature),
    "token_signature",
)

# --- Algorithms and keys --------------------------------------------------------------------------------------

claims = json.dumps(CLAIMS).encode()
case("none", "alg none, as PyJWT makes it", jwt.encode(CLAIMS, None, "none"), "token_algorithm")
for name in ("None", "NONE", "nOnE", "hs256", ""):
    of = raw(json.dumps({"alg": name, "kid": "hs256"}))
    case(f"alg-{name or 'empty'}", f"alg {name!r}, with a signature of HS256", of, "token_algorithm")
case("none-signed", "alg none, with a signature of HS256", raw('{"alg":"none","kid":"hs256"}'), "token_algorithm")
for alg, key in UNVERIFIED.items():
    for kid in (alg.lower(), None):
        case(
            f"alg-{alg.lower()}{'' if kid else '-no-kid'}",
            f"{alg}, which is not verified",
            token(alg, key=key, kid=kid),
            "token_algorithm",
        )
case("alg-missing", "no alg", raw('{"typ":"JWT","kid":"hs256"}'), "token_malformed")
case("alg-number", "alg is a number", raw('{"alg":256,"kid":"hs256"}'), "token_malformed")

numbers = KEYS["RS256"].public_key().public_numbers()
modulus = numbers.n.to_bytes(256, "big")
spki = serialization.PublicFormat.SubjectPublicKeyInfo
pem = KEYS["RS256"].public_key().public_bytes(serialization.Encoding.PEM, spki)
der = KEYS["RS256"].public_key().public_bytes(serialization.Encoding.DER, spki)
for name, key in (("pem", pem), ("pem-stripped", pem.strip()), ("der", der), ("modulus", modulus)):
    for kid, code in (("rs256", "token_key_unknown"), (None, "token_signature")):
        case(
            f"hs256-by-rsa-{name}{'' if kid else '-no-kid'}",
            f"HS256 with the {name} of an RSA public key, {'its kid' if kid else 'without kid'}",
            raw(json.dumps({"alg": "HS256"} | ({"kid": kid} if kid else {})), claims, key=key),
            code,
        )
case("kid-unknown", "a kid that no key has", token(kid="other"), "token_key_unknown")
case("kid-case", "the kid in upper case", token(kid="HS256"), "token_key_unknown")
case("kid-path", "a kid that is a path", token(kid="../../dev/null"), "token_key_unknown")
case("kid-of-another-type", "ES256 with the kid of an RSA key", token("ES256", kid="rs256"), "token_key_unknown")
case(
    "kid-of-another-key", "the kid of another key of the algorithm", token("RS256", kid="rs256-next"), "token_signature"
)
case("kid-number", "kid is a number", raw('{"alg":"HS256","kid":1}'), "token_malformed")
case("rs256-for-rs512", "RS256 by a key for RS512", token("RS256", key=KEYS["RS512"], kid="rs512"), "token_key_unknown")
case(
    "ps256-for-rs256",
    "PS256 by a key without alg: RS256",
    token("PS256", key=KEYS["RS256"], kid="rs256"),
    "token_key_unknown",
)
for alg in ("PS384", "PS512"):
    case(
        f"{alg.lower()}-for-ps256",
        f"{alg} by a key for PS256",
        token(alg, key=KEYS["PS256"], kid="ps256"),
        "token_key_unknown",
    )
case(
    "hs512-for-hs256",
    "HS512 by a key without alg: HS256",
    raw('{"alg":"HS512","kid":"hs256"}', alg="HS512", key=KEYS["HS256"]),
    "token_key_unknown",
)

embedded = {
    "jwk": jwk(ATTACKER, like="RS256"),
    "jku": "https://attacker.example/jwks",
    "x5u": "https://attacker.example/c",
}
for name, value in embedded.items():
    for kid, code in (("rs256", "token_signature"), (None, "token_signature"), ("attacker", "token_key_unknown")):
        case(
            f"embedded-{name}-kid-{kid or 'none'}",
            f"by a stranger's key, to be found by {name}; kid {kid}",
            token("RS256", key=ATTACKER, kid=kid, **{name: value}),
            code,
        )
embedded = {"jwk": jwk(b"x" * 32, like="HS256")}
case("embedded-secret", "by a secret in jwk", token(key=b"x" * 32, **embedded), "token_signature")

# --- Headers --------------------------------------------------------------------------------------------------

critical = "token_critical_header"
case("crit", "crit names a member that is there", raw('{"alg":"HS256","crit":["exp"],"exp":1}'), critical)
case("crit-empty", "an empty crit", raw('{"alg":"HS256","crit":[]}'), critical)
case("crit-null", "crit is null", raw('{"alg":"HS256","crit":null}'), critical)
case("b64-detached", "b64 false, as PyJWT makes it: the claims are left out", token(b64=False), critical)
case(
    "b64-attached",
    "b64 false and crit, the claims in base64url",
    raw('{"alg":"HS256","b64":false,"crit":["b64"]}'),
    critical,
)
case("header-twice", "alg twice", raw('{"alg":"none","alg":"HS256","kid":"hs256"}'), "token_malformed")
case("header-twice-kid", "kid twice", raw('{"alg":"HS256","kid":"rs256","kid":"hs256"}'), "token_malformed")
case(
    "header-twice-escaped",
    "kid twice, once with an escape",
    raw(r'{"alg":"HS256","kid":"x","\u006bid":"hs256"}'),
    "token_malformed",
)
case("header-twice-nested", "a member of jwk twice", raw('{"alg":"HS256","jwk":{"k":1,"k":2}}'), "token_malformed")
case(
    "header-nested",
    "500 arrays in one another",
    raw(f'{{"alg":"HS256","x":{"[" * 500}{"]" * 500}}}'),
    "token_malformed",
)
case("header-list", "the header is a list", raw('["HS256"]'), "token_malformed")
case("header-no-json", "the header is no JSON", raw("HS256"), "token_malformed")
case("header-empty", "the header is empty", raw(""), "token_malformed")
case("typ-number", "typ is a number", raw('{"alg":"HS256","typ":1}'), "token_malformed")

# --- Claims ---------------------------------------------------------------------------------------------------


def changed(name, comment, code, **claims):
    case(name, comment, token(claims=json.dumps(CLAIMS | claims).encode()), code)


def without(claim):
    return token(claims={name: value for name, value in CLAIMS.items() if name != claim})


def of_text(name, comment, old, new):
    text = json.dumps(CLAIMS)
    assert old in text
    case(name, comment, token(claims=text.replace(old, new).encode()), "token_claims")


for claim in ("exp", "nbf", "iat"):
    for name, value in (
        ("text", "1700000000"),
        ("null", None),
        ("negative", -1),
        ("list", [FAR]),
        ("true", True),
    ):
        changed(f"{claim}-{name}", f"{claim} is {json.dumps(value)}", "token_claims", **{claim: value})
    # RFC 7519 section 2: a date may have a fraction. 1_700_000_000 is before the tests' time.
    fraction = 1_700_000_000.5
    code = "token_expired" if claim == "exp" else None
    changed(f"{claim}-fraction", f"{claim} is {fraction}", code, **{claim: fraction})
of_text("exp-exponent", "exp is 1e400", str(FAR), "1e400")
of_text("exp-beyond", "exp is 2^64", str(FAR), str(2**64))
case("exp-missing", "no exp", without("exp"), "token_claims")
changed("exp-passed", "exp has passed", "token_expired", exp=PAST)
changed("exp-zero", "exp is 0", "token_expired", exp=0)
changed("nbf-future", "nbf is to come", "token_not_yet_valid", nbf=FUTURE)
changed("iat-future", "iat is to come", "token_not_yet_valid", iat=FUTURE)
changed("iss-other", "another issuer", "token_issuer", iss="https://other.example")
changed("iss-slash", "the issuer with a slash", "token_issuer", iss="https://login.example/")
changed("iss-list", "iss is a list", "token_claims", iss=["https://login.example"])
changed("iss-null", "iss is null", "token_claims", iss=None)
case("iss-missing", "no iss", without("iss"), "token_issuer")
changed("aud-other", "another audience", "token_audience", aud="other")
changed("aud-others", "other audiences", "token_audience", aud=["other", "keylet.example"])
changed("aud-case", "the audience in upper case", "token_audience", aud="KEYLET")
changed("aud-empty", "aud is an empty list", "token_audience", aud=[])
changed("aud-number", "a number in aud", "token_claims", aud=["keylet", 1])
changed("aud-object", "aud is an object", "token_claims", aud={"keylet": True})
case("aud-missing", "no aud", without("aud"), "token_audience")

of_text("twice-exp", "exp twice", '"exp"', '"exp": 1, "exp"')
of_text("twice-entitlements", "entitlements twice", '"entitlements"', '"entitlements": [], "entitlements"')
of_text("twice-escaped", "aud twice, once with an escape", '"aud"', r'"a\u0075d": "other", "aud"')
of_text("twice-nested", "keys twice in an entitlement", '{"keys"', '{"keys": ["other"], "keys"')
of_text("twice-elsewhere", "a member twice in a claim of no meaning here", '"exp"', '"x": [{"a": 1, "a": 1}], "exp"')
of_text("nested", "500 arrays in one another", '"exp"', f'"x": {"[" * 500}{"]" * 500}, "exp"')
of_text("nested-objects", "500 objects in one another", '"exp"', '"x": ' + '{"a":' * 500 + "1" + "}" * 500 + ', "exp"')
for name, claims in {
    "list": b"[]",
    "string": b'"claims"',
    "null": b"null",
    "empty": b"",
    "text": b"It\xe2\x80\x99s a dangerous business, Frodo",
    "cut": json.dumps(CLAIMS).encode()[:-1],
    "followed": json.dumps(CLAIMS).encode() + b"{}",
    "latin-1": json.dumps(CLAIMS | {"sub": "ü"}, ensure_ascii=False).encode("latin-1"),
    "utf-16": json.dumps(CLAIMS).encode("utf-16"),
    "bom": json.dumps(CLAIMS).encode("utf-8-sig"),
}.items():
    case(f"claims-{name}", f"signed, but no claims set: {name}", token(claims=claims), "token_claims")
    unsound = with_signature(token(claims=claims).rsplit(".", 1)[0], bytes(32))
    case(f"claims-{name}-unsound", "no claims set, and the signature does not verify", unsound, "token_signature")
changed_times = CLAIMS | {"exp": None, "nbf": "tomorrow"}
case(
    "claims-stranger",
    "wrong claims by a stranger's key",
    token("RS256", changed_times, key=ATTACKER),
    "token_signature",
)
case(
    "rotation-claims",
    "by the first of two keys, without kid: exp is text",
    token("RS256", CLAIMS | {"exp": "1"}, kid=None),
    "token_claims",
)

# --- Form -----------------------------------------------------------------------------------------------------

header, claims, signature = token(claims=CLAIMS | {"sub": "~~~???"}).split(".")
malformed = {
    "two-parts": ("header and claims", f"{header}.{claims}"),
    "one-part": ("a header", header),
    "no-parts": ("two dots", ".."),
    "four-parts": ("a fourth part", f"{header}.{claims}.{signature}.{signature}"),
    "five-parts": ("the form of a JWE", f"{header}.{claims}.{signature}.{claims}.{signature}"),
    "dot-at-end": ("a dot at the end", f"{header}.{claims}.{signature}."),
    "dot-at-start": ("a dot at the start", f".{header}.{claims}.{signature}"),
    "padded": (
        "padding in every part",
        ".".join(part + "=" * (-len(part) % 4) for part in (header, claims, signature)),
    ),
    "padded-signature": ("padding of the signature", f"{header}.{claims}.{signature}="),
    "space-inside": ("a space in the claims", f"{header}.{claims[:9]} {claims[9:]}.{signature}"),
    "space-at-dot": ("a space after a dot", f"{header}. {claims}.{signature}"),
    "tab-inside": ("a tab in the signature", f"{header}.{claims}.{signature[:9]}\t{signature[9:]}"),
    "no-base64": ("a character of no base64", f"{header}.{claims}.{signature[:-1]}!"),
}
for name, (comment, of) in malformed.items():
    case(name, comment, of, "token_malformed")
signed, signature = parts(token("RS256"))
standard = base64url_encode(signature).decode().replace("-", "+").replace("_", "/")
case("standard-alphabet", "a signature in the alphabet with + and /", f"{signed}.{standard}", "token_malformed")
last = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
text = base64url_encode(signature).decode()
spare = text[:-1] + last[last.index(text[-1]) + 1]
case("spare-bits", "a bit set beyond the last byte of the signature", f"{signed}.{spare}", "token_malformed")
case("too-large", "8193 bytes", of_size(8193), "token_too_large")
case("far-too-large", "40 KB that are no token", "a" * 40_000, "token_too_large")


keys = [
    jwk(key, {"kid": alg.lower()} | ({} if alg in WITHOUT_ALG else {"alg": alg}), like=alg) for alg, key in KEYS.items()
]
keys[3:3] = [jwk(key, {"kid": alg.lower(), "alg": alg}, like=alg) for alg, key in UNVERIFIED.items()]
keys.append(jwk(NEXT, {"kid": "rs256-next", "alg": "RS256", "use": "sig"}, like="RS256"))
document = {"comment": COMMENT, "keys": {"keys": keys}, "cases": cases}
OUTPUT.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n")
print(f"{len(cases)} cases in {OUTPUT}")
