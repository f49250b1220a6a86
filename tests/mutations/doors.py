"""Mistakes at the doors: /check, FastCGI, rewritemap, delivery, forms. Some of them only a real server shows."""

from tests.mutations.mutation import plant

_CHECK = plant(
    "protocols/subrequest.py",
    "protocols/test_subrequest.py",
    {
        "the check location is decided about": ('if raw_path == fields.get(b"x-authgate-self"):', "if not raw_path:"),
        "the last of two fields counts": ("    if _DOUBLED in fields:\n", "    if not fields:\n"),
        "the raw target is not looked at": (
            'elif target is not None and not is_plain_target(target.decode("latin-1")):',
            'elif target == b"":',
        ),
        "without a path the start page is asked for": (
            "        return Reason.MISSING_PATH\n",
            '        raw_path = b"/"\n',
        ),
        "without a host the first site is asked for": (
            "        return Reason.UNKNOWN_HOST\n",
            '        host = b"files.example.com"\n',
        ),
        "any scheme will do": ('scheme not in {b"https", b"http"} or ', ""),
        "every cross-origin request is a preflight": (
            'bool(fields.get(b"origin") and fields.get(b"access-control-request-method"))',
            'bool(fields.get(b"origin"))',
        ),
        "a refusal is 200": ('"status": given.decision.outcome, "headers"', '"status": 200, "headers"'),
        "a name is sent as it is": (
            '(b"remote-user", quote(subject.id, _SAFE_IN_HEADERS).encode())',
            '(b"remote-user", subject.id.encode())',
        ),
        "a refusal has the identity of an allow": (
            "    if decision.outcome is Outcome.ALLOW:\n        headers += identity_headers",
            "    if decision.outcome is not Outcome.LOGIN:\n        headers += identity_headers",
        ),
        "groups that are too many are cut off": (
            'b"" if overflow else written.encode()',
            "written[:_MAX_GROUPS].encode()",
        ),
        "an application is told of groups that no rule names": (
            "sorted(named_groups.intersection(prefix + group for group in subject.groups or ()))",
            "sorted(prefix + group for group in subject.groups or ())",
        ),
        "everything but /check is a check": (
            '        if scope["path"] != "/check":\n',
            '        if not scope["path"]:\n',
        ),
    },
)

_CHECK_FIELDS = plant(
    "protocols/subrequest.py",
    "protocols/test_subrequest.py::test_handlers_find_none_of_the_web_servers_own_fields",
    {
        "handlers see every field": (
            "        if raw not in CLIENTS_FIELDS:\n",
            "        if raw not in self._fields:\n",
        ),
    },
)

_BEHIND_NGINX = (
    *plant(
        "protocols/subrequest.py",
        "deploy/test_applications.py",
        {"behind nginx, an allow without Remote-User": ('(b"remote-user", ', '(b"remote-login", ')},
    ),
    *plant(
        "protocols/subrequest.py",
        "deploy/test_server_level.py::test_refusal_stays_one",
        {
            "behind nginx, a login is a redirect": (
                '"status": given.decision.outcome, "headers"',
                '"status": 302 if given.decision.outcome is Outcome.LOGIN else given.decision.outcome, "headers"',
            )
        },
    ),
    *plant(
        "delivery/headers.py",
        "delivery/test_through_servers.py::test_odd_names_are_the_files_they_name",
        {
            "behind nginx, a place is decoded that was not encoded": (
                "place = quote(delivery.internal.encode() + inside[1:]).encode()",
                "place = delivery.internal.encode() + inside[1:]",
            )
        },
    ),
)

_BEHIND_APACHE = (
    *plant(
        "protocols/authorizer.py",
        "server/test_fastcgi_apache.py::test_apache_hands_on_a_refusal",
        {
            "behind Apache, a refusal is 200": (
                "HTTPStatus(status or (403 if wait is None else 503))",
                "HTTPStatus(status or (200 if wait is None else 503))",
            )
        },
    ),
    *plant(
        "protocols/rewritemap.py",
        "deploy_apache/test_rewritemap.py::test_a_session_opens_what_its_user_may_see",
        {
            "behind Apache, an answer is to another question": (
                "nonce, *values = found.groups()",
                "nonce, *values = (found[1][::-1], *found.groups()[1:])",
            )
        },
    ),
)

_FORWARD = plant(
    "protocols/forward.py",
    "protocols/test_forward.py",
    {
        "anybody may forward": ("if peers.may_forward(scope):", "if scope:"),
        "a forwarded target with two readings is decided about": ("elif not _is_plain(fields):", "elif not fields:"),
        "a forwarded target is decoded twice": (
            "wanted = from_wire(decoded)",
            "wanted = from_wire(unquote_to_bytes(decoded))",
        ),
        "a request is named in both families": (
            "if known in fields or (known is None and name.startswith(PREFIX) and name != SECRET_FIELD):",
            "if known in fields:",
        ),
        "the last of two forwarded fields counts": ("if known in fields or (known is None", "if (known is None"),
        "a path that was rewritten is decided about": (
            "if unquote_to_bytes(original) != decoded:",
            "if not decoded:",
        ),
        "a broken escape is plain": (' and _BROKEN_ESCAPE.search(target.partition("?")[0]) is None', ""),
    },
)

_PEERS = plant(
    "protocols/peers.py",
    "protocols/test_forward.py",
    {
        "every peer is trusted": (
            "return peer is not None and peer in self.trusted and",
            "return peer is not None and",
        ),
        "a trusted peer needs no secret": ("(not self.secret or self.know_the_secret(scope))", "bool(peer)"),
        "no secret of a listener is the empty one": ("return bool(self.secret) and len", "return len"),
        "one of two secrets of a peer is right": ("len(sent) == 1 and", "bool(sent) and"),
    },
)

_FASTCGI = plant(
    "protocols/fastcgi.py",
    "protocols/test_fastcgi.py",
    {
        "lengths need not add up": (
            "return Selected(values, doubled) if at == end else None",
            "return Selected(values, doubled)",
        ),
        "two parameters of one name are one": (
            "                    doubled.add(found)\n",
            "                    pass\n",
        ),
        "a request has the parameters of the one before": (
            "        self.active = 0\n        self._parameters = []\n        self._size = 0\n",
            "        self.active = 0\n        self._size = 0\n",
        ),
        "parameters after their end are taken": ("        if self._complete:\n", "        if self._broken:\n"),
        "parameters of another request are this one's": (
            "if kind == _PARAMS and number == self.active and number:",
            "if kind == _PARAMS and self.active and number:",
        ),
    },
)

_AUTHORIZER = plant(
    "protocols/authorizer.py",
    "protocols/test_authorizer.py",
    {
        "the secret is not looked at": (
            "if selected is None or not self._is_trusted(selected):",
            "if selected is None or self._is_trusted(selected) is None:",
        ),
        "the beginning of the secret will do": (
            "compare_digest(secret, self._secret)",
            "self._secret.startswith(secret)",
        ),
        "no secret is the empty one": ("return bool(self._secret) and _SECRET", "return _SECRET"),
        "the last of two parameters counts": ("if selected.doubled or ", "if "),
        "a user that only says so is believed": (
            'user = fields.get(_USER, b"") if behind_a_login else b""',
            'user = fields.get(_USER, b"")',
        ),
        "the default user is somebody": ('"" if user == _NOBODY else user.decode("latin-1")', 'user.decode("latin-1")'),
        "the client names the site": ('b"SERVER_NAME": b"x-authgate-host"', 'b"HTTP_HOST": b"x-authgate-host"'),
        "the target is the path": ('b"AG_PATH": b"x-authgate-path"', 'b"REQUEST_URI": b"x-authgate-path"'),
        "a cookie that Apache joined is read as sent": (
            'split_joined(fields.get(b"cookie", b"").decode("latin-1")),',
            'fields.get(b"cookie", b"").decode("latin-1"),',
        ),
        "the secret is told to what is behind": ('            b"AG_SECRET": b"",\n', ""),
        "a refusal is an allow": (
            "        decision = given.decision\n        if decision.allowed:\n",
            "        decision = given.decision\n        if decision.outcome is not Outcome.LOGIN:\n",
        ),
    },
)

_REWRITEMAP = plant(
    "protocols/rewritemap.py",
    "protocols/test_rewritemap.py",
    {
        "a question begins as one": ("_QUESTION.fullmatch(line)", "_QUESTION.match(line)"),
        "a field is decoded twice": (
            "name: unquote_to_bytes(value) if",
            "name: unquote_to_bytes(unquote_to_bytes(value)) if",
        ),
        "a line that is too long is cut off": ("begun[: MAX_LINE + 1]", "begun[:MAX_LINE]"),
        "an answer has no nonce": (
            'return b"%s OK %s %s %s\\n" % (nonce, user,',
            'return b"%s OK %s %s %s\\n" % (_NO_NONCE, user,',
        ),
        "somebody is called nobody": ('.replace(b"-", b"%2D") or _NOTHING', " or _NOTHING"),
        "a name may have spaces": ('_SAFE_IN_ANSWERS = "@+/"', '_SAFE_IN_ANSWERS = " @+/"'),
        "a doubled session behind Apache is one": (
            'split_joined(fields.get(b"cookie", b"").decode("latin-1"))',
            'fields.get(b"cookie", b"").decode("latin-1")',
        ),
    },
)

_FILES = plant(
    "delivery/files.py",
    "delivery/test_files.py",
    {
        "a link leads out of the root": (
            'if not real.startswith(real_root + b"/"):',
            "if not real:",
        ),
        "a root covers its neighbour": ('real.startswith(real_root + b"/")', "real.startswith(real_root)"),
        "a pipe is a file": (
            "if not is_folder and not stat.S_ISREG(status.st_mode):",
            "if not is_folder and not status.st_mode:",
        ),
        "a removed file is the one with its kernel's name": (
            "if real.endswith(_DELETED) and not _names(real, status):",
            "if not real:",
        ),
    },
)

_DESK = plant(
    "delivery/desk.py",
    "delivery/test_delivery.py",
    {
        "a target with two readings is delivered": (
            'if not is_plain_target(fields[b"x-authgate-uri"].decode("latin-1")):',
            'if not fields[b"x-authgate-uri"]:',
        ),
        "a refused file is delivered": (
            "        if not given.decision.allowed:\n",
            "        if given.decision.outcome is Outcome.LOGIN:\n",
        ),
        "an index page comes with its folder": (
            "        return await self.answer(request._replace(path=request.path + _INDEX), fields)\n",
            (
                "        page = _find(delivery, request.path + _INDEX)\n"
                "        return self._sent(given, delivery, page, request.path + _INDEX)\n"
            ),
        ),
        "any method is delivered": ("if request.method not in _DELIVERED:", "if not request.method:"),
        "a rule without a folder is another's": (
            "delivery = self._deliveries.get(given.decision.rule)",
            "delivery = self._deliveries.get(given.decision.rule) or next(iter(self._deliveries.values()))",
        ),
    },
)

_FORMS = plant(
    "web/forms.py",
    "web/test_forms.py",
    {
        "a login form needs no token": (
            ' or not _same(form.get("token", ""), values[0]):',
            ":",
        ),
        "any token is that of the session": (
            '        if _same(form.get("token", ""), token):\n',
            "        if token:\n",
        ),
        "the beginning of a token will do": (
            "return compare_digest(given.encode(), expected.encode())",
            "return expected.startswith(given)",
        ),
        "a form comes from anywhere": ("origins not in ([], [visit.site.origin]) or ", ""),
        "a form comes from a neighbour": (
            '([], ["same-origin"])',
            '([], ["same-origin"], ["same-site"])',
        ),
        "a browser's word for elsewhere means nothing": (' or fetch_sites not in ([], ["same-origin"])', ""),
        "the first of two form cookies counts": (
            "if len(values) != 1 or not _TOKEN.fullmatch(values[0]) or not _same",
            "if not values or not _TOKEN.fullmatch(values[0]) or not _same",
        ),
        "a form names its fields as often as it likes": ("if len(fields) != len(pairs):", "if not pairs:"),
        "a form has no bounds": ("if len(body) > MAX_BYTES:", "if len(body) > 2 * MAX_BYTES:"),
        "any content is a form": ('if kind != "application/x-www-form-urlencoded" or', "if"),
    },
)

DOORS = (
    *_CHECK, *_CHECK_FIELDS, *_FORWARD, *_PEERS, *_FASTCGI, *_AUTHORIZER, *_REWRITEMAP, *_FILES, *_DESK, *_FORMS,
    *_BEHIND_NGINX, *_BEHIND_APACHE,
)  # fmt: skip
