"""What a token costs: the same file by a session and by tokens, and tokens that are each seen for the first time."""

import json
import time
from contextlib import ExitStack
from pathlib import Path

import jwt
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1
from cryptography.hazmat.primitives.asymmetric.ec import generate_private_key as generate_ec
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key as generate_rsa

from benchmarks.pairs import median_ratio, requests_per_second
from benchmarks.site import measured_site
from tests import servers

SECONDS = 5
ISSUER, AUDIENCE = "https://partner.example.com", "files"
EC = generate_ec(SECP256R1())
RSA = generate_rsa(65537, 2048)
# Each seen once in a run.
COLD = 60_000

_CONFIG = f"""
[[issuers]]
source = "partner"
issuer = "{ISSUER}"
audience = "{AUDIENCE}"
groups = "groups"
keys = [{{ jwks = "%s" }}]
[[rules]]
name = "partner"
paths = ["/d1/**"]
allow = ["group:partner/staff", "group:g1"]
"""

# wrk has no other way to send each token once; a run that uses them up fails, for the file is then at its end.
_EACH_ONCE = """
local tokens = io.lines("FILE")
function request()
  wrk.headers["Authorization"] = "Bearer " .. tokens()
  return wrk.format("GET", "/d1/file.txt")
end
"""


def main() -> None:
    """Print the figures."""
    with ExitStack() as stack:
        folder = stack.enter_context(servers.open_folder())
        keys = folder / "keys.json"
        keys.write_bytes(key_set())
        # These people are in none of the groups of the site's own rules: their rule has to come first.
        site = stack.enter_context(measured_site(_CONFIG % keys))
        url = site.url("authgate", "/d1/file.txt")

        def by(header: str) -> float:
            return requests_per_second(url, seconds=SECONDS, headers=[header])

        for algorithm in ("ES256", "RS256"):
            header = f"Authorization: Bearer {token(algorithm, 0)}"
            print(f"{algorithm} warm / session: {median_ratio(lambda: by(header), lambda: by(site.cookie))}")  # noqa: B023
        print(f"ES256 cold, one worker: {_cold(folder, url):,.0f} decisions/s")


def key_set() -> bytes:
    """Return the public keys."""
    ec = jwt.algorithms.ECAlgorithm.to_jwk(EC.public_key(), as_dict=True)
    rsa = jwt.algorithms.RSAAlgorithm.to_jwk(RSA.public_key(), as_dict=True)
    keys = [{**ec, "kid": "ES256", "alg": "ES256"}, {**rsa, "kid": "RS256", "alg": "RS256"}]
    return json.dumps({"keys": keys}).encode()


def token(algorithm: str, number: int) -> str:
    """Return a token that counts for an hour."""
    now = int(time.time())
    claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": f"alice{number}", "iat": now, "exp": now + 3600}
    headers = {"kid": algorithm}
    return jwt.encode({**claims, "groups": ["staff"]}, EC if algorithm == "ES256" else RSA, algorithm, headers=headers)


def _cold(folder: Path, url: str) -> float:
    tokens, script = folder / "tokens", folder / "tokens.lua"
    tokens.write_text("\n".join(token("ES256", number) for number in range(COLD)))
    script.write_text(_EACH_ONCE.replace("FILE", str(tokens)))
    return requests_per_second(url, seconds=SECONDS, script=script)


if __name__ == "__main__":
    main()
