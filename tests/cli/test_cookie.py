import json
import time
from dataclasses import dataclass
from pathlib import Path

import jwt
import pytest
from click.testing import CliRunner, Result

from authgate.cli.cookie import cookie
from authgate.config import load
from authgate.credentials.claims import read_claims
from authgate.credentials.keyring import make_key, read_source
from authgate.keys import COOKIE, State
from authgate.keys.ring import Ring, render, render_public

ISSUER = """\
[[sites]]
origin = "https://files.example.com"
[[issuers]]
source = "shop"
issuer = "https://shop.example.com"
audience = "files"
keys = [{ jwks = "shop.jwks" }]
groups = "realm.roles"
"""


@dataclass
class Site:
    """A folder with an issuer and its ring, and the command run in it."""

    folder: Path

    @property
    def config(self) -> Path:
        return self.folder / "authgate.toml"

    @property
    def ring(self) -> Path:
        return self.folder / "shop.jwks"

    def sign(self, *arguments: str, subject: str = "alice") -> Result:
        given = ["sign", "--issuer", "shop", "--subject", subject, *arguments, "--config", str(self.config)]
        result = CliRunner().invoke(cookie, given)
        assert result.exception is None or isinstance(result.exception, SystemExit)
        return result

    def claims(self, *arguments: str, subject: str = "alice") -> dict[str, object]:
        """Sign, verify with the ring's current key by PyJWT, and return the claims."""
        result = self.sign(*arguments, subject=subject)
        assert (result.exit_code, result.stderr) == (0, "")
        current = next(one for one in json.loads(self.ring.read_bytes())["keys"] if one["state"] == "current")
        token = result.stdout.removesuffix("\n")
        assert jwt.get_unverified_header(token) == {"alg": current["alg"], "kid": current["kid"], "typ": "JWT"}
        public = {name: value for name, value in current.items() if name not in {"d", "p", "q", "dp", "dq", "qi"}}
        key = jwt.PyJWK(current if current["kty"] == "oct" else public)
        found: dict[str, object] = jwt.decode(token, key.key, algorithms=[current["alg"]], audience="files")
        return found


@pytest.fixture
def site(tmp_path: Path) -> Site:
    made = Site(tmp_path)
    made.config.write_text(ISSUER)
    write(made)
    return made


def write(site: Site, algorithm: str = "ES256") -> Ring:
    states = (State.OLD, State.NEXT, State.CURRENT)
    ring = Ring(tuple(make_key(algorithm, COOKIE, state, 1_700_000_000.0) for state in states))
    site.ring.write_bytes(render(ring))
    site.ring.chmod(0o600)
    return ring


@pytest.mark.parametrize("algorithm", ["ES256", "HS256", "RS256", "PS256", "EdDSA"])
def test_token_is_signed_with_the_current_key(site: Site, algorithm: str) -> None:
    write(site, algorithm)
    before = int(time.time())

    claims = site.claims("--group", "staff", "--group", "new ones", "--for", "2h", "--claim", "name=Alice Ä=")

    assert isinstance(claims["iat"], int)
    assert before <= claims["iat"] <= time.time()
    assert claims["exp"] == claims["iat"] + 7200
    assert len(str(claims.pop("jti"))) >= 20
    del claims["iat"], claims["exp"]
    assert claims == {
        "iss": "https://shop.example.com",
        "aud": "files",
        "sub": "alice",
        "realm": {"roles": ["staff", "new ones"]},
        "name": "Alice Ä=",
    }


def test_authgate_reads_in_it_what_was_said(site: Site) -> None:
    (issuer,) = load(site.config).sources.issuers
    claims = read_claims(site.claims("--group", "a/b", subject="x/y"), issuer)

    assert claims is not None
    assert (claims.subject.id, claims.subject.groups) == ("shop/x/y", frozenset({"a/b"}))


def test_each_token_has_an_id_of_its_own_and_an_hour(site: Site) -> None:
    first, second = site.claims(), site.claims()

    assert first["jti"] != second["jti"]
    assert isinstance(first["iat"], int)
    assert first["exp"] == first["iat"] + 3600
    assert "realm" not in first


def test_no_groups_is_not_unknown_groups(site: Site) -> None:
    assert site.claims("--group", "")["realm"] == {"roles": []}


def test_name_stands_where_the_issuer_has_it(site: Site) -> None:
    site.config.write_text(ISSUER + 'user = "realm.login"\n')

    claims = site.claims("--group", "staff", "--claim", "sub=17")

    assert claims["realm"] == {"login": "alice", "roles": ["staff"]}
    assert claims["sub"] == "17"


REFUSED = [
    (("--issuer", "nobody"), "alice", 'there is no issuer "nobody"'),
    (("--for", "1"), "alice", '"1" is no duration'),
    (("--for", "0s"), "alice", '"0s" is no duration'),
    (("--claim", "level"), "alice", "is no claim"),
    (("--claim", "=x"), "alice", "is no claim"),
    (("--claim", "x=\udcff"), "alice", "is no claim"),
    (("--claim", "iss=x"), "alice", 'the claim "iss" is there already'),
    (("--claim", "sub=root"), "alice", 'the claim "sub" is there already'),
    (("--claim", "realm=x"), "alice", 'the claim "realm" is there already'),
    (("--claim", "a=1", "--claim", "a=2"), "alice", 'the claim "a" is there already'),
    (("--claim", f"a={'x' * 2000}"), "alice", "would refuse such a token"),
    (("--group", "a\nb"), "alice", "this group cannot be signed for"),
    ((), "", "this subject cannot be signed for"),
    ((), "a\nb", "this subject cannot be signed for"),
    ((), "\udcff", "this subject cannot be signed for"),
    ((), " alice", "this subject cannot be signed for"),
    ((), "x" * 257, "this subject cannot be signed for"),
]


@pytest.mark.parametrize(("arguments", "subject", "said"), REFUSED, ids=range(len(REFUSED)))
def test_what_authgate_would_not_accept_is_not_signed(
    site: Site, arguments: tuple[str, ...], subject: str, said: str
) -> None:
    result = site.sign(*arguments, subject=subject)

    assert (result.exit_code, result.stdout) == (2, "")
    assert said in result.stderr


def test_group_for_a_source_without_groups_is_refused(site: Site) -> None:
    site.config.write_text(ISSUER.replace('groups = "realm.roles"\n', ""))

    result = site.sign("--group", "staff")

    assert result.exit_code == 2
    hint = 'hint: write groups = "groups" for it in authgate.toml\n'
    assert result.stderr == f"authgate: shop maps no groups\n{hint}"


def test_token_older_than_the_issuer_allows_is_not_signed(site: Site) -> None:
    site.config.write_text(ISSUER + 'max_age = "30m"\n')

    assert site.sign().exit_code == 2
    assert site.sign("--for", "30m").exit_code == 0


def test_paths_that_cross_are_an_error(site: Site) -> None:
    site.config.write_text(ISSUER + 'user = "realm"\n')

    result = site.sign("--group", "staff")

    assert result.exit_code == 2
    assert '"realm.roles" leads through "realm", which is no object here' in result.stderr


@pytest.mark.parametrize("keys", ['{ jwks = "public.jwks" }', '{ url = "https://shop.example.com/keys" }',
                                  '{ file = "secret", algorithm = "HS256" }'])  # fmt: skip
def test_issuer_without_a_ring_cannot_be_signed_for(site: Site, keys: str) -> None:
    site.config.write_text(ISSUER.replace('{ jwks = "shop.jwks" }', keys))
    (site.folder / "public.jwks").write_bytes(render_public(write(site)))
    (site.folder / "secret").write_text("x" * 40)
    (site.folder / "secret").chmod(0o600)

    result = site.sign()

    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("authgate: shop has no ring with a private key here\nhint: ")
    assert "x" * 40 not in result.output


def test_ring_beside_other_keys_is_found(site: Site) -> None:
    (site.folder / "public.jwks").write_bytes(render_public(write(site)))
    site.config.write_text(ISSUER.replace("[{ jwks", '[{ jwks = "public.jwks" }, { jwks'))

    assert site.claims()["sub"] == "alice"


def test_ring_that_is_open_to_others_or_gone_is_refused(site: Site) -> None:
    site.ring.chmod(0o644)
    result = site.sign()
    assert (result.exit_code, result.stdout) == (2, "")
    assert "open to others than its owner" in result.stderr

    site.ring.unlink()
    assert site.sign().exit_code == 2


def test_key_with_the_private_part_of_another_signs_nothing(site: Site) -> None:
    ring = json.loads(site.ring.read_bytes())["keys"]
    ring[2]["d"] = ring[1]["d"]
    site.ring.write_text(json.dumps({"keys": ring}))

    result = site.sign()

    assert (result.exit_code, result.stdout) == (2, "")
    assert "cannot sign" in result.stderr


def test_public_file_that_others_can_read_is_read(site: Site) -> None:
    public = site.folder / "public.jwks"
    public.write_bytes(render_public(write(site)))
    public.chmod(0o644)
    site.config.write_text(ISSUER.replace("shop.jwks", "public.jwks"))
    (issuer,) = load(site.config).sources.issuers

    assert [key.state for key in read_source(issuer.keys[0])] == [State.OLD, State.NEXT, State.CURRENT]
