"""Mistakes about who asks: credentials, sessions, passwords, brakes, and the stores behind them."""

from tests.mutations.mutation import plant

_ORDER = plant(
    "credentials/__init__.py",
    "credentials/test_credentials.py",
    {
        "a session cookie that is sent twice is the first": (
            "return self._sessions.peek(found[0], site) if len(found) == 1 else BAD",
            "return self._sessions.peek(found[0], site)",
        ),
        "a session cookie that is sent twice is asked for": (
            "return await self._sessions.verify(found[0], site) if len(found) == 1 else BAD",
            "return await self._sessions.verify(found[0], site)",
        ),
        "after a bad password the cookie is looked at": (
            "return await basic.verify(presented.authorization, presented.address) if basic else BAD_BASIC",
            (
                "proved = await basic.verify(presented.authorization, presented.address) if basic else BAD_BASIC\n"
                "                if not proved.failure:\n"
                "                    return proved"
            ),
        ),
        "a password where none is looked at is like none": (
            "self._basic.peek(presented.authorization, presented.address) if self._basic else BAD_BASIC",
            "self._basic.peek(presented.authorization, presented.address) if self._basic else NOBODY",
        ),
        "a password comes before the server's own login": (
            "is not None:\n            return self._server.peek",
            "is not None and not presented.authorization:\n            return self._server.peek",
        ),
    },
)

_SESSION = plant(
    "credentials/session.py",
    "credentials/test_session.py",
    {
        "a session is good at every site": ("        if data.scope != site.scope:\n", "        if not data.scope:\n"),
        "a session outlives its password": (
            "elif account is None or account.fingerprint != data.fingerprint:",
            "elif account is None:",
        ),
        "an unused session does not end": (" and now < data.seen + self._idle_timeout\n", "\n"),
        "a used session does not end": (
            "return data.created <= now < self._ends(data) and now <",
            "return data.created <= now and now <",
        ),
        "a session from the future is good": (
            "return data.created <= now < self._ends(data) and",
            "return now < self._ends(data) and",
        ),
        "a session of nobody is the site's": (
            "identity = self._identify_other(data) if account is None and not data.source else REVOKED",
            "identity = self._identify_other(data)",
        ),
        "the store knows the cookie": ("return hashlib.sha256(value.encode()).hexdigest()", "return value"),
        "a logout leaves the record": ("ended = await self._store.delete(KIND, key)", "ended = bool(key)"),
        "a logout leaves what is in memory": (
            "        self._records.drop(key)\n        return ended\n",
            "        return ended\n",
        ),
        "a session that ends while the site is asked goes on": (
            "            if await self._records.get(key) is None:\n                return BAD\n",
            "",
        ),
        "a use brings an ended session back": (
            "if await self._store.touch(KIND, self._record(key, data)):",
            "if await self._store.put(KIND, self._record(key, data)) is None:",
        ),
        "somebody who is gone keeps the record": (
            "            await self._store.delete(KIND, key)\n        except",
            "            await self._store.get(KIND, key)\n        except",
        ),
        "a form's token is everybody's": ("hmac.new(value.encode(), ", 'hmac.new(b"authgate", '),
    },
)

_BASIC = plant(
    "credentials/basic.py",
    "credentials/test_basic.py",
    {
        "a proof outlives its password": (
            'parts = (name, password, self._users.find(name) or "")',
            "parts = (name, password)",
        ),
        "a header that was read outlives its password": (
            'if read is None or read.line != (self._users.find(read.name) or ""):',
            "if read is None:",
        ),
        "two pairs of name and password are one": ('len(part).to_bytes(4, "big") + part', "part"),
        "any password of a name that is proved will do": (
            'parts = (name, password, self._users.find(name) or "")',
            'parts = (name, self._users.find(name) or "")',
        ),
        "what the site verified counts for ever": (
            "not 0 <= self._clock() - at < FRESH or",
            "not 0 <= self._clock() - at or",
        ),
        "what the site verified is somebody of the htpasswd file": (
            " < FRESH or self._users.find(subject.name) is not None:",
            " < FRESH:",
        ),
        "whoever shares an answer shares a brake": (
            "task = self._running.get((digest, address))",
            "task = next((running for (key, _), running in self._running.items() if key == digest), None)",
        ),
    },
)

_HTPASSWD = plant(
    "credentials/htpasswd.py",
    "credentials/test_htpasswd.py",
    {
        "the last of two lines of a name counts": ("elif name in lines:", "elif name in {}:"),
        "a local name may look like another source's": ('if "/" in name:', 'if "//" in name:'),
        "a bad line of the htpasswd file is skipped": (
            "    if problems:\n        raise ConfigError(problems)\n    return lines\n",
            "    return lines\n",
        ),
        "a bad line of the group file is skipped": (
            "    if problems:\n        raise ConfigError(problems)\n    return {user:",
            "    return {user:",
        ),
    },
)

_BRAKES = plant(
    "credentials/brakes.py",
    "credentials/test_brakes.py",
    {
        "wrong passwords for a name are not counted": ("await self._limiter.hit(*client_and_name)", "pass"),
        "wrong passwords of a client are not counted": ("await self._limiter.hit(*client)\n", "pass\n"),
        "anybody can lock out anybody": ('_digest(f"{client}\\0{spelling}")', "_digest(spelling)"),
        "each address of an IPv6 network is a client": ('f"{int(address) >> _IPV6_HOST_BITS:x}"', "str(address)"),
        "a hundred at once are all the first": ("[self._trying[key] for key in keys]", "[1 for _ in keys]"),
        "a success clears what the client guessed": (
            "await self._limiter.clear(*client_and_name)",
            "await self._limiter.clear(*client_and_name)\n                    await self._limiter.clear(*client)",
        ),
        "each spelling of a name has its own count": ("spelling = name.strip().casefold()", "spelling = name"),
    },
)

_SERVER = plant(
    "credentials/server.py",
    "credentials/test_server.py",
    {
        "a lookup makes anybody a person of the htpasswd file": (
            "if subject is None or self._users.find(subject.name) is not None:",
            "if subject is None:",
        ),
        "any text is a name": ("return name if is_name(name) else None", "return name"),
    },
)

_CACHE = plant(
    "stores/cache.py",
    "stores/test_cache.py",
    {
        "what was read before a revocation is kept": ("if key not in self._spoiled:", "if key:"),
        "a revocation elsewhere is not obeyed": (
            "        if kind == self._kind:\n            self.drop(key)\n",
            "        if kind != self._kind:\n            self.drop(key)\n",
        ),
        "a revocation during a read is not noticed": (
            "        if key in self._reads:\n            self._spoiled.add(key)\n",
            "",
        ),
        "a loss during a read is not noticed": ("        self._spoiled.update(self._reads)\n", ""),
        "a lost channel leaves memory as it was": ("        self._values.clear()\n", ""),
        "memory is kept while nobody follows": ("        elif self._following:\n", "        else:\n"),
        "a use brings a dropped record back to memory": (
            "        if key in self._values:\n            self._values[key] = value\n",
            "        self._values[key] = value\n",
        ),
    },
)

_SQLITE = plant(
    "stores/sqlite.py",
    "stores/test_conformance.py",
    {
        "a deletion is not announced": ("                if count:\n", "                if not count:\n"),
        "the deletion of an owner's records is not announced": (
            "                connection.execute(change, (at, *whose))\n",
            "",
        ),
        "a counter stays at one": ("ends <= :fresh THEN number + 1 ELSE", "ends <= :fresh THEN 1 ELSE"),
        "a counter never ends": (
            "number = CASE WHEN ends > :now AND ends <= :fresh THEN",
            "number = CASE WHEN ends <= :fresh THEN",
        ),
        "a use writes the record anew": (
            "        row = (record.value, record.owner, record.expires, kind, record.key)\n",
            (
                "        row = (record.value, record.owner, record.expires, kind, record.key)\n"
                "        await self.put(kind, record)\n"
            ),
        ),
    },
)

_SQLITE_FILE = plant(
    "stores/sqlite.py",
    "stores/test_sqlite.py::test_a_follower_that_missed_trimmed_changes_says_so"
    " stores/test_sqlite.py::test_a_follower_notices_that_a_backup_was_written_into_the_file"
    " stores/test_sqlite.py::test_a_replaced_file_is_a_lost_channel_and_its_records_are_the_ones_found"
    " stores/test_sqlite.py::test_a_file_replaced_again_and_again_is_followed_each_time",
    {
        "a gap in the changes is not noticed": (
            "        if trimmed or tail < self._seen:\n",
            "        if tail < self._seen:\n",
        ),
        "a file that went back in time is not noticed": (
            "        if trimmed or tail < self._seen:\n",
            "        if trimmed:\n",
        ),
        "another file is no lost channel": (
            "                self._start(connection)\n                return None\n",
            "                self._start(connection)\n                return []\n",
        ),
    },
)

_JWT = plant(
    "credentials/jwt.py",
    "credentials/test_jwt.py",
    {
        "a removed key's tokens go on to count": (
            "if proof is not None and proof.keys is proof.issuer.keys:",
            "if proof is not None:",
        ),
        "nobody asks whether a token is revoked": ("return REVOKED if revoked else", "return"),
        "any issuer's token counts in the cookie": ("issuer is wanted\n", "issuer is not None\n"),
        "a remembered token does not end": (
            "failure = claims.failure(self._clock())\n        if failure is not None:",
            "failure = None\n        if failure is not None:",
        ),
    },
)

_CLAIMS = plant(
    "credentials/claims.py",
    "credentials/test_claims.py",
    {
        "a token for somebody else counts": (" or settings.audience not in audiences:", ":"),
        "a token of another issuer counts": ('if claims.get("iss") != settings.issuer:', 'if "iss" not in claims:'),
        "a token need not end": ("if expires is None:", "if expires is None and issued is not None:"),
        "true is a moment": ("if isinstance(value, bool) or not", "if not"),
        "an old token is young": ("ends = min(ends, issued + settings.max_age)", "ends = ends or issued"),
    },
)

_ISSUERS = plant(
    "credentials/issuers.py",
    "credentials/test_issuers.py credentials/test_jwt.py",
    {"a key verifies by any algorithm": ("if key.algorithm == algorithm)", "if algorithm)")},
)

_REVOCATIONS = plant(
    "credentials/revocations.py",
    "credentials/test_revocations.py",
    {
        "tokens without a date are young": (
            "before is None or issued is None or issued",
            "before is None or issued is not None and issued",
        ),
        "what cannot be read revokes nothing": (
            '        raise StoreUnavailable(f"the revocation',
            '        return Revocation("")\n        raise StoreUnavailable(f"the revocation',
        ),
    },
)

_CERTIFICATE = plant(
    "credentials/certificate.py",
    "credentials/test_certificate.py",
    {
        "any certificate proves": ('if certificate.verified != "SUCCESS":', 'if certificate.verified == "NONE":'),
        "an ended certificate proves": ("if now > holder.ends:", "if now > holder.ends + 86400 * 400:"),
        "the first of two names counts": ("if len(names) != 1 or not", "if not names or not"),
    },
)

_APPLICATIONS = plant(
    "credentials/applications.py",
    "credentials/test_applications.py",
    {
        "an old session of an application counts": (
            "if begins <= now <= ends else NOBODY",
            "if begins <= now else NOBODY",
        ),
        "a session from the future counts": ("if begins <= now <= ends else NOBODY", "if now <= ends else NOBODY"),
        "a replaced secret goes on to count": (
            "            self._open = factory(",
            "            self._open = self._open or factory(",
        ),
    },
)

_LINKS = plant(
    "credentials/links.py",
    "credentials/test_links.py",
    {
        "a link does not end": ("if not terms.begins <= now < terms.ends:", "if not terms.begins <= now:"),
        "a revoked link covers": (
            'if self._revocations.hits(SOURCE, "", terms.id, None) else None',
            "if not now else None",
        ),
        "a link covers whatever it is sent with": ("if not terms.scope.covers(request):", "if not terms.scope:"),
        "the first of two links counts": ('return "" if _WITH_VALUE in f"&{others}" else value', "return value"),
        "HEAD uses a link up": ('if request.method == "HEAD":', 'if request.method == "TRACE":'),
        "a key for cookies signs links": ("if key.purpose != LINK or key.algorithm", "if key.algorithm"),
    },
)

_SCOPES = plant(
    "scopes.py",
    "test_scopes.py",
    {
        "a folder reaches its neighbour": (' and path[len(self.path)] == "/")', ")"),
        "an unknown address is in each network": ("(request.address is not None and", "(request.address is None or"),
    },
)

_TOKENS = plant(
    "credentials/tokens.py",
    "credentials/test_tokens.py",
    {
        "a token does not end": ("if not now < token.expires:", "if not now:"),
        "any secret of the right token counts": (
            "right = stored is not None and hmac.compare_digest(stored.digest, digest)",
            "right = stored is not None",
        ),
        "a token reaches everything": ("None, False, _NO_SESSION, token.scope)", "None, False, _NO_SESSION, None)"),
        "a token outlives its owner": (
            "return self._is_used(token, account.subject, now) if account is not None else REVOKED",
            'return self._is_used(token, account.subject if account else Subject("", token.name), now)',
        ),
    },
)

CREDENTIALS = (
    *_ORDER, *_SESSION, *_BASIC, *_HTPASSWD, *_BRAKES, *_SERVER, *_CACHE, *_SQLITE, *_SQLITE_FILE,
    *_JWT, *_CLAIMS, *_ISSUERS, *_REVOCATIONS, *_CERTIFICATE, *_APPLICATIONS,
    *_LINKS, *_SCOPES, *_TOKENS,
)  # fmt: skip
