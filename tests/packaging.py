#!/usr/bin/env python3
"""Reads replies for packagers with other implementations than ours.

    packaging.py reply SEED < XML > JSON       pycpix: the keys by KID; PSSH boxes, PlayReady Objects, checksums and keys of the seed must be its own
    packaging.py delivery KEY_PEM < XML > JSON  Python's cryptography: the keys by KID; every MAC must verify
"""
import json
import sys
import uuid
import warnings
from base64 import b64decode

CPIX = "{urn:dashif:org:cpix}"
PSKC = "{urn:ietf:params:xml:ns:keyprov:pskc}"
ENC = "{http://www.w3.org/2001/04/xmlenc#}"
WIDEVINE = "edef8ba9-79d6-4ace-a3c8-27dcd51d21ed"
PLAYREADY = "9a04f079-9840-4286-ab92-e65be0885f95"


def reply(text, seed):
    warnings.simplefilter("ignore")  # it still asks for pkg_resources
    from lxml import etree

    import cpix
    from cpix.drm import playready, widevine

    root = etree.fromstring(text)
    schemes = {key.get("kid"): key.get("commonEncryptionScheme") for key in root.iter(CPIX + "ContentKey")}
    # It knows CPIX 2.2, whose documents have neither a content id nor the playlist "multiVariant".
    document = cpix.parse(text)
    keys = {}
    for key in document.content_keys:
        keys[str(key.kid)] = b64decode(key.cek).hex()
        derived = playready.generate_content_key(str(key.kid), seed)
        assert derived.decode().lower() == keys[str(key.kid)], "the key of the seed"
    checked = 0
    for system in root.iter(CPIX + "DRMSystem"):
        kid, system_id = uuid.UUID(system.get("kid")), system.get("systemId")
        scheme, key = schemes[str(kid)], keys[str(kid)]
        pssh = system.findtext(CPIX + "PSSH")
        if system_id == WIDEVINE:
            own = widevine.generate_pssh([str(kid)], version=0, protection_scheme=scheme)
            assert b64decode(pssh) == own, "the PSSH box of Widevine"
            checked += 1
        if system_id == PLAYREADY:
            pro = b64decode(system.findtext(CPIX + "SmoothStreamingProtectionHeaderData"))
            header = pro[10:].decode("utf-16-le")
            if scheme == "cenc":
                checksum = playready.checksum(kid, key.upper()).decode()
                assert f"<CHECKSUM>{checksum}</CHECKSUM>" in header, "the checksum"
            else:
                own = playready.generate_wrmheader(
                    [{"key_id": kid, "key": bytes.fromhex(key)}], "", "AESCBC", use_checksum=False
                )
                own = own.decode("utf-16-le").replace("<LA_URL></LA_URL>", "").replace("<LA_URL/>", "")
                assert header == own, f"the header of PlayReady: {header} {own}"
            assert playready.generate_playready_object(header.encode("utf-16-le")) == pro
            assert pro in b64decode(pssh), "the box has the object"
            checked += 1
    return {"keys": keys, "checked": checked}


def delivery(text, pem):
    import hmac
    from xml.etree import ElementTree

    from cryptography.hazmat.primitives import hashes, padding, serialization
    from cryptography.hazmat.primitives.asymmetric import padding as rsa_padding
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

    with open(pem, "rb") as file:
        private = serialization.load_pem_private_key(file.read(), None)
    oaep = rsa_padding.OAEP(rsa_padding.MGF1(hashes.SHA1()), hashes.SHA1(), None)
    root = ElementTree.fromstring(text)

    def value(element):
        return b64decode(element.find(f"{PSKC}EncryptedValue/{ENC}CipherData/{ENC}CipherValue").text)

    data = root.find(f"{CPIX}DeliveryDataList/{CPIX}DeliveryData")
    secret = data.find(f"{CPIX}DocumentKey/{CPIX}Data/{PSKC}Secret")
    method = data.find(f"{CPIX}MACMethod")
    assert method.get("Algorithm") == "http://www.w3.org/2001/04/xmldsig-more#hmac-sha512"
    document_key = private.decrypt(value(secret), oaep)
    mac_key = private.decrypt(value(method.find(CPIX + "Key")), oaep)
    assert len(document_key) == 32 and len(mac_key) == 64

    def checked(element):
        ciphertext = value(element)
        mac = b64decode(element.findtext(PSKC + "ValueMAC"))
        assert mac == hmac.digest(mac_key, ciphertext, "sha512"), "the MAC"
        return ciphertext

    checked(secret)
    checked(method.find(CPIX + "Key"))
    keys = {}
    for key in root.iter(CPIX + "ContentKey"):
        assert key.find(f".//{PSKC}PlainValue") is None
        ciphertext = checked(key.find(f"{CPIX}Data/{PSKC}Secret"))
        decryptor = Cipher(algorithms.AES(document_key), modes.CBC(ciphertext[:16])).decryptor()
        padded = decryptor.update(ciphertext[16:]) + decryptor.finalize()
        unpadder = padding.PKCS7(128).unpadder()
        keys[key.get("kid")] = (unpadder.update(padded) + unpadder.finalize()).hex()
    return {"keys": keys, "checked": len(keys)}


if __name__ == "__main__":
    action, argument = sys.argv[1:]
    json.dump({"reply": reply, "delivery": delivery}[action](sys.stdin.buffer.read(), argument), sys.stdout)
