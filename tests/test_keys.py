import base64
import json
from collections.abc import Mapping
from functools import cache

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from hypothesis import given
from hypothesis import strategies as st
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from authgate.credentials.keyring import make_key
from authgate.errors import ConfigError
from authgate.keys import ALGORITHMS, COOKIE, Key, State, parse_key_file, parse_key_set, read_key_set
from authgate.keys.strict import decode_base64url, encode_base64url, parse_json

MESSAGE = b"eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhbGljZSJ9"

PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey | ed25519.Ed25519PublicKey | ed448.Ed448PublicKey


def b64(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


@cache
def rsa_key(bits: int = 2048, exponent: int = 65537) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(exponent, bits)


@cache
def ec_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


@cache
def ed_key() -> ed25519.Ed25519PrivateKey:
    return ed25519.Ed25519PrivateKey.generate()


def jwk(algorithm: str, *, private: bool = False, **changes: object) -> dict[str, object]:
    """Return a key as somebody else's library writes it; a change to None takes the member away."""
    members: Mapping[str, object]
    if algorithm == "HS256":
        members = {"kty": "oct", "k": b64(bytes(range(32)))}
    elif algorithm == "ES256":
        members = ECAlgorithm.to_jwk(ec_key() if private else ec_key().public_key(), as_dict=True)
    elif algorithm == "EdDSA":
        members = OKPAlgorithm.to_jwk(ed_key() if private else ed_key().public_key(), as_dict=True)
    else:
        members = RSAAlgorithm.to_jwk(rsa_key() if private else rsa_key().public_key(), as_dict=True)
    merged = {"kid": "k1", "alg": algorithm, **members, **changes}
    return {name: value for name, value in merged.items() if value is not None}


def key_set(*keys: object) -> bytes:
    return json.dumps({"keys": list(keys)}).encode()


def only(*keys: object, algorithm: str = "", secret: bool = False) -> Key:
    (found,) = parse_key_set(key_set(*keys), "set", algorithm, COOKIE, secret=secret)
    return found


def refusal(content: bytes, algorithm: str = "", *, secret: bool = False) -> str:
    with pytest.raises(ConfigError) as caught:
        parse_key_set(content, "set", algorithm, COOKIE, secret=secret)
    return str(caught.value)


def numbers(modulus: int, exponent: int) -> dict[str, object]:
    parts = {"n": modulus, "e": exponent}
    return {name: b64(value.to_bytes(max(1, (value.bit_length() + 7) // 8))) for name, value in parts.items()}


# Signatures


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_new_key_signs_and_its_public_part_verifies(algorithm: str) -> None:
    made = make_key(algorithm, COOKIE, State.CURRENT, 1_800_000_000.0)
    public = {name: value for name, value in made.members.items() if name not in {"d", "p", "q", "dp", "dq", "qi"}}

    key = only(public, secret=algorithm == "HS256")

    signature = made.key.sign(MESSAGE)
    assert key.verifies(MESSAGE, signature)
    assert not key.verifies(MESSAGE + b"x", signature)
    assert not key.verifies(MESSAGE, signature + b"\0")
    assert not key.verifies(MESSAGE, signature[:-1])
    assert not key.verifies(MESSAGE, b"")
    for position in (0, len(signature) // 2, len(signature) - 1):
        flipped = bytearray(signature)
        flipped[position] ^= 1
        assert not key.verifies(MESSAGE, bytes(flipped)), position
    assert (key.id, key.algorithm, key.purpose, key.state) == (made.key.id, algorithm, COOKIE, State.CURRENT)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_key_verifies_what_pyjwt_signs(algorithm: str) -> None:
    key = jwk(algorithm, private=True)
    token = jwt.encode({"sub": "alice"}, jwt.PyJWK(key).key, algorithm=algorithm)
    message, _, signature = token.rpartition(".")

    found = only(jwk(algorithm), secret=algorithm == "HS256")

    decoded = decode_base64url(signature)
    assert decoded is not None
    assert found.verifies(message.encode(), decoded)


@given(signature=st.binary(max_size=80), message=st.binary(max_size=10))
def test_no_signature_makes_verification_raise(signature: bytes, message: bytes) -> None:
    for algorithm in ALGORITHMS:
        key = only(jwk(algorithm), secret=algorithm == "HS256")
        assert not key.verifies(message, signature)
        assert not key.verifies(message, signature.ljust(256, b"\xff")[:256])
        assert not key.verifies(message, signature.ljust(64, b"\xff")[:64])


def test_zero_signature_of_ecdsa_proves_nothing() -> None:
    """CVE-2022-21449: r = s = 0 satisfied the equation for every message and key."""
    key = only(jwk("ES256"))

    assert not key.verifies(MESSAGE, bytes(64))
    assert not key.verifies(MESSAGE, bytes(63) + b"\1")
    assert not key.verifies(MESSAGE, b"\xff" * 64)


def test_signature_in_der_proves_nothing() -> None:
    """RFC 7518 section 3.4: r and s one after the other; a second form of the same would be malleable."""
    assert not only(jwk("ES256")).verifies(MESSAGE, ec_key().sign(MESSAGE, ec.ECDSA(SHA256())))


def test_public_key_cannot_sign() -> None:
    key = only(jwk("ES256"))

    assert not key.is_secret
    with pytest.raises(ConfigError, match="cannot sign"):
        key.sign(MESSAGE)


def test_secret_of_another_key_cannot_sign() -> None:
    other = ec.generate_private_key(ec.SECP256R1()).private_numbers().private_value
    members = jwk("ES256", private=True, d=b64(other.to_bytes(32)), purpose=COOKIE, state="current")

    with pytest.raises(ConfigError, match="cannot sign"):
        only(members, secret=True).sign(MESSAGE)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_nothing_secret_is_shown(algorithm: str) -> None:
    made = make_key(algorithm, COOKIE, State.CURRENT, 0.0)
    secret = str(made.members["k" if algorithm == "HS256" else "d"])

    assert secret not in repr(made)
    assert secret not in repr(made.key)
    assert "material" not in repr(made.key)
    assert "private" not in repr(made.key)


# Sets


@pytest.mark.parametrize("algorithm", ["ES256", "EdDSA"])
def test_curve_implies_the_algorithm(algorithm: str) -> None:
    assert only(jwk(algorithm, alg=None)).algorithm == algorithm


@pytest.mark.parametrize("algorithm", ["RS256", "PS256", "HS256"])
def test_kind_that_several_algorithms_use_has_to_say_which(algorithm: str) -> None:
    secret = algorithm == "HS256"

    assert "does not say its algorithm" in refusal(key_set(jwk(algorithm, alg=None)), secret=secret)
    assert only(jwk(algorithm, alg=None), algorithm=algorithm, secret=secret).algorithm == algorithm


def test_configured_algorithm_is_the_only_one_that_counts() -> None:
    keys = key_set(jwk("RS256", kid="r"), jwk("PS256", kid="p"), jwk("ES256", kid="e"), jwk("RS256", kid="x", alg=None))

    assert [key.id for key in parse_key_set(keys, "set", "RS256")] == ["r", "x"]
    assert [key.id for key in parse_key_set(keys, "set", "ES256")] == ["e"]


LEFT_OUT = [
    jwk("ES256", use="enc"),
    jwk("ES256", use=["sig"]),
    jwk("ES256", key_ops=["encrypt"]),
    jwk("ES256", key_ops=[]),
    jwk("ES256", key_ops="verify"),
    jwk("ES256", key_ops=[["verify"]]),
    jwk("ES256", kid=7),
    jwk("ES256", kid="x" * 257),
    jwk("ES256", kid="a\nb"),
    jwk("ES256", kid="\ud800"),
    jwk("ES256", kty="XX"),
    jwk("ES256", kty=None),
    jwk("ES256", kty=["EC"]),
    jwk("ES256", alg="ES512"),
    jwk("ES256", alg="none"),
    jwk("ES256", alg="es256"),
    jwk("ES256", alg=["ES256"]),
    jwk("ES256", alg=""),
    jwk("ES256", alg="RS256"),
    jwk("ES256", alg="EdDSA"),
    jwk("ES256", crv="P-384"),
    jwk("ES256", crv=["P-256"]),
    jwk("ES256", crv=None),
    jwk("ES256", x=None),
    jwk("ES256", x=b64(bytes(31))),
    jwk("ES256", x=b64(bytes(33))),
    jwk("ES256", x=b64(b"\1" * 32)),  # not on the curve
    jwk("ES256", x=b64(b"\xff" * 32), y=b64(b"\xff" * 32)),
    jwk("ES256", x=b64(bytes(32)), y=b64(bytes(32))),
    jwk("ES256", x="!" * 43),
    jwk("ES256", x=str(jwk("ES256")["x"]) + "="),
    jwk("ES256", x=" " + str(jwk("ES256")["x"])),
    jwk("ES256", purpose=COOKIE, state="future"),
    jwk("ES256", purpose=COOKIE, state=["next"]),
    jwk("ES256", purpose=["cookie"]),
    jwk("ES256", purpose="link", state="current"),
    jwk("EdDSA", crv="Ed448"),
    jwk("EdDSA", crv="X25519"),
    jwk("EdDSA", x=b64(bytes(31))),
    jwk("RS256", alg="RS384"),
    jwk("RS256", alg="RSA-OAEP"),
    jwk("RS256", crv="P-256"),
    jwk("RS256", n=None),
    jwk("RS256") | numbers(2**1023 + 1, 65537),
    jwk("RS256") | numbers(2**2046 + 1, 65537),
    jwk("RS256") | numbers(2**8192 + 1, 65537),
    jwk("RS256") | numbers(2**2047, 65537),
    jwk("RS256") | numbers(2**2047 + 1, 65538),
    jwk("RS256", e=b64(b"\1")),
    jwk("RS256", e=b64(b"\3")),
    jwk("RS256", e=b64(b"\1\0\0")),
    jwk("RS256", e=b64((2**64 + 1).to_bytes(9))),
    jwk("RS256", e=b64(b"\0\1\0\1")),
]


@pytest.mark.parametrize("members", LEFT_OUT, ids=range(len(LEFT_OUT)))
def test_key_that_cannot_be_used_is_left_out_and_the_others_stay(members: dict[str, object]) -> None:
    """RFC 7517 section 5; and alone it is no set of keys."""
    good = jwk("EdDSA", kid="good")

    found = read_key_set(key_set(members, good), "set", "", COOKIE)

    assert [key.id for key in found.keys] == ["good"]
    (problem,) = found.left_out
    assert problem.place == "set: keys[0]"
    assert refusal(key_set(members)) == str(problem)


def test_algorithms_of_others_do_not_count() -> None:
    keys = [jwk("RS256", alg="RSA-OAEP", use="enc"), jwk("RS256", alg="RS512"), {"kty": "AKP"}, {}, jwk("ES256")]

    assert only(*keys).algorithm == "ES256"


def test_certificates_and_addresses_in_a_key_are_not_looked_at() -> None:
    """RFC 7517 section 4.6: whoever can write a key can name another one there."""
    key = only(jwk("ES256", x5c=["!"], x5u="https://evil.example", jku=7, x5t="x", key_ops=["verify"], use="sig"))

    assert key == only(jwk("ES256"))


PRIVATE = [
    *(jwk(name, private=True) for name in ("ES256", "EdDSA", "RS256")),
    jwk("ES256", d="x"),
    jwk("RS256", oth=[]),
]


@pytest.mark.parametrize("members", [*PRIVATE, *({**key, "use": "enc"} for key in PRIVATE)])
@pytest.mark.parametrize("secret", [False, True])
def test_private_key_of_somebody_else_refuses_the_set(members: dict[str, object], secret: bool) -> None:
    said = refusal(key_set(jwk("EdDSA", kid="good"), members), secret=secret)

    assert "private" in said
    assert str(members.get("d", "no d")) not in said or members.get("d") == "x"


def test_secret_is_taken_only_from_where_secrets_may_be() -> None:
    assert "secret key where it must not be" in refusal(key_set(jwk("HS256"), jwk("ES256", kid="good")))
    assert only(jwk("HS256"), secret=True).material == bytes(range(32))


def test_ring_of_authgates_own_keeps_its_private_parts_where_secrets_may_be() -> None:
    made = make_key("ES256", COOKIE, State.OLD, 0.0)

    assert only(made.members, secret=True).state is State.OLD
    assert "private" in refusal(key_set(made.members))


def test_keys_for_another_purpose_are_left_out() -> None:
    keys = key_set(make_key("ES256", "link", State.CURRENT, 0.0).members, jwk("ES256"))

    assert [key.id for key in parse_key_set(keys, "set", "", COOKIE, secret=True)] == ["k1"]
    assert [key.id for key in parse_key_set(keys, "set", "", "", secret=True)] == ["k1"]
    assert len(parse_key_set(keys, "set", "", "link", secret=True)) == 2


@pytest.mark.parametrize(
    "secret",
    [b"x" * 31, b"", b"x" * 1025, b"ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAgQC7", json.dumps(jwk("RS256")).encode()],
)
def test_bad_secret_is_left_out(secret: bytes) -> None:
    assert refusal(key_set(jwk("HS256", k=b64(secret))), secret=True)


def test_public_key_as_a_secret_is_refused() -> None:
    """RFC 8725 section 2.1: whoever knows the public key could sign with HS256."""
    for form, encoding in ((PublicFormat.SubjectPublicKeyInfo, Encoding.PEM), (PublicFormat.PKCS1, Encoding.PEM)):
        pem = rsa_key().public_key().public_bytes(encoding, form)
        assert "no secret" in refusal(key_set(jwk("HS256", k=b64(pem))), secret=True)
        with pytest.raises(ConfigError, match="PEM"):
            parse_key_file(pem, "file", "HS256", "")
    der = rsa_key().public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert "no secret" in refusal(key_set(jwk("HS256", k=b64(der))), secret=True)


@pytest.mark.parametrize(("kind", "algorithm"), [("RSA", "HS256"), ("oct", "RS256")])
def test_key_of_two_kinds_is_left_out(kind: str, algorithm: str) -> None:
    members = jwk("RS256") | jwk("HS256") | {"kty": kind, "alg": algorithm}

    assert "does not fit" in refusal(key_set(members), secret=True)


def test_own_key_with_more_than_two_primes_is_left_out() -> None:
    members = jwk("RS256", private=True, purpose=COOKIE, state="current", key_ops=None)

    assert only(members, secret=True).is_secret
    assert "two primes" in refusal(key_set({**members, "oth": []}), secret=True)


def test_two_keys_of_one_id_and_algorithm_are_refused() -> None:
    other = ECAlgorithm.to_jwk(ec.generate_private_key(ec.SECP256R1()).public_key(), as_dict=True)

    assert 'a second key "k1" for ES256' in refusal(key_set(jwk("ES256"), {**other, "kid": "k1"}))
    # One id in two algorithms is two keys; and without an id each is tried.
    assert len(parse_key_set(key_set(jwk("RS256"), jwk("PS256")), "set")) == 2
    assert len(parse_key_set(key_set(jwk("ES256", kid=None), {**other, "kid": ""}), "set")) == 2


NO_SETS = [
    b"",
    b"{",
    b"[]",
    b"{}",
    b"null",
    b'{"keys": {}}',
    b'{"keys": []}',
    b'{"keys": [7]}',
    b'{"keys": null}',
    b'\xef\xbb\xbf{"keys": []}',
    key_set(jwk("ES256")).decode().encode("utf-16"),
    key_set(jwk("ES256")).decode().encode("utf-32-le"),
    key_set(jwk("ES256")) + b"\0",
    key_set(jwk("ES256")).replace(b'"kid"', b'"kid": "x", "kid"'),
    key_set(jwk("ES256")).replace(b'{"keys"', b'{"keys": [], "keys"'),
    key_set(jwk("ES256")).replace(b'"k1"', b"NaN"),
    key_set(jwk("ES256")).replace(b'"k1"', b"-Infinity"),
    key_set(jwk("ES256")).replace(b'"k1"', b"9" * 5000),
    key_set(jwk("ES256")).replace(b'"k1"', b'"\xff"'),
    b"[" * 100_000,
    b'{"keys": ' + b"[" * 100_000,
    key_set(*(jwk("ES256", kid=f"k{number}") for number in range(101))),
    key_set(jwk("ES256")) + b" " * 256 * 1024,
]


@pytest.mark.parametrize("content", NO_SETS, ids=range(len(NO_SETS)))
def test_what_is_no_set_is_refused(content: bytes) -> None:
    assert refusal(content).startswith("set: ")


@given(st.binary(max_size=200))
def test_no_bytes_are_anything_but_a_set_or_refused(content: bytes) -> None:
    assert refusal(content)


_VALUES = st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.lists(st.text(max_size=3), max_size=2)


@given(name=st.sampled_from(sorted(jwk("ES256") | jwk("RS256") | {"use": 1, "key_ops": 1, "state": 1})), value=_VALUES)
def test_no_member_makes_it_raise_anything_else(name: str, value: object) -> None:
    for algorithm in ("ES256", "RS256", "EdDSA", "HS256"):
        found = read_key_set(key_set({**jwk(algorithm), name: value}), "set", "", COOKIE, secret=True)
        assert len(found.keys) + len(found.left_out) == 1


def test_hundred_keys_are_read() -> None:
    assert len(parse_key_set(key_set(*(jwk("ES256", kid=f"k{n}") for n in range(100))), "set")) == 100


# Files


def pem(key: PublicKey) -> bytes:
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


@pytest.mark.parametrize("algorithm", ["ES256", "EdDSA", "RS256", "PS256"])
def test_public_key_in_pem(algorithm: str) -> None:
    keys: Mapping[str, PublicKey] = {"ES256": ec_key().public_key(), "EdDSA": ed_key().public_key()}
    content = pem(keys.get(algorithm, rsa_key().public_key()))

    for text in (content, b"a comment\n" + content, content.replace(b"\n", b"\r\n"), content.rstrip()):
        key = parse_key_file(text, "file", algorithm, "k1")

        assert key == only(jwk(algorithm))
    for other in {"ES256", "EdDSA", "RS256"} - {algorithm, {"PS256": "RS256"}.get(algorithm)}:
        with pytest.raises(ConfigError, match=f"not a key for {other}"):
            parse_key_file(content, "file", other, "")


def private_pem(form: PrivateFormat) -> bytes:
    return ec_key().private_bytes(Encoding.PEM, form, NoEncryption())


NO_PEM = [
    (private_pem(PrivateFormat.PKCS8), "ES256", "a private key"),
    (private_pem(PrivateFormat.TraditionalOpenSSL), "ES256", "a private key"),
    (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "ES256", "a certificate is no key"),
    (rsa_key().public_key().public_bytes(Encoding.PEM, PublicFormat.PKCS1), "RS256", "an old form"),
    (pem(ec_key().public_key()) * 2, "ES256", "more than one key"),
    (pem(ec_key().public_key()) + b"more", "ES256", "no public key in PEM"),
    (pem(ec_key().public_key())[:-10], "ES256", "no public key in PEM"),
    (b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "ES256", "cannot be read"),
    (b"-----BEGIN DH PARAMETERS-----\n", "ES256", "not a public key"),
    (pem(ec.generate_private_key(ec.SECP384R1()).public_key()), "ES256", "not a key for ES256"),
    (pem(ec.generate_private_key(ec.SECP256K1()).public_key()), "ES256", "not a key for ES256"),
    (pem(ed448.Ed448PrivateKey.generate().public_key()), "EdDSA", "not a key for EdDSA"),
    (pem(rsa_key(1024).public_key()), "RS256", "2,048 to 8,192 bits"),
    (pem(rsa_key(2048, 3).public_key()), "RS256", "exponent"),
    (b"", "ES256", "no public key in PEM"),
    (b"\xff\0", "ES256", "no public key in PEM"),
]


@pytest.mark.parametrize(("content", "algorithm", "said"), NO_PEM, ids=[said for _, _, said in NO_PEM])
def test_other_files_are_refused(content: bytes, algorithm: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        parse_key_file(content, "file", algorithm, "")


def test_secret_in_a_file_is_its_line() -> None:
    key = parse_key_file(b"s3cret " * 5 + b"x\n", "file", "HS256", "k1")

    assert (key.material, key.id, key.is_secret) == (b"s3cret " * 5 + b"x", "k1", True)
    assert key.verifies(MESSAGE, jwt.get_algorithm_by_name("HS256").sign(MESSAGE, b"s3cret " * 5 + b"x"))


@pytest.mark.parametrize(
    "content",
    [b"", b"\n", b"x" * 31 + b"\n", b"x" * 1025, b"x" * 40 + b"\n\n", b"x" * 40 + b"\r\n", b" " + b"x" * 40,
     b"x" * 40 + b"\0", b"\xff" * 40, b"x" * 40 + b"\n" + b"y" * 40, b'{"kty":"oct","k":"AAAAAAAAAAAAAAAAAAAAAAA"}'],
)  # fmt: skip
def test_other_secrets_are_refused(content: bytes) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_key_file(content, "file", "HS256", "")
    assert "x" * 31 not in str(caught.value)


# Strictness


@pytest.mark.parametrize(
    "text", ["", "A", "AAAAA", "AB", "AA=", "AA==", "A A", "AA\n", "+A", "/w", "ÄÄ", 7, None, ["AA"]]
)
def test_base64url_has_one_form(text: object) -> None:
    assert decode_base64url(text) is None


@given(st.binary(min_size=1))
def test_base64url_is_read_as_it_is_written(content: bytes) -> None:
    assert decode_base64url(encode_base64url(content)) == content


@pytest.mark.parametrize("text", ['{"a": {"b": 1, "b": 1}}', '[{"a": 1, "\\u0061": 2}]', "NaN", "[Infinity]", "'a'"])
def test_json_has_one_meaning(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        parse_json(text.encode())
