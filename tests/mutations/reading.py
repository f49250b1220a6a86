"""Mistakes in reading: paths, patterns, addresses, cookies, return addresses, rules."""

from tests.mutations.mutation import plant

_PATHS = plant(
    "paths.py",
    "test_paths.py",
    {
        "an empty segment is canonical": ('        and "//" not in path\n', ""),
        "only two dots are a dot segment": ('segment in {".", ".."}', 'segment == ".."'),
        "only one dot is a dot segment": ('segment in {".", ".."}', 'segment == "."'),
        "control bytes are canonical": ("_REFUSED_CHARACTERS.isdisjoint(path)", '"\\0" not in path'),
        "what is not UTF-8 is replaced": ('raw.decode("utf-8", "surrogateescape")', 'raw.decode("utf-8", "replace")'),
        "a target is plain when it begins so": ("_HARMLESS.fullmatch(target)", "_HARMLESS.match(target)"),
        "a semicolon is plain": ('"\\\\", ";", "%2f"', '"\\\\", "%2f"'),
        "capitals in an encoding mean something": (
            "lowered = path.lower()\n    if path[:1]",
            "lowered = path\n    if path[:1]",
        ),
        "a slash that is encoded twice is plain": (
            "not any(mark in decoded for mark in _AMBIGUOUS_DECODED) and not",
            "not",
        ),
        "an encoded dot segment is plain": (' and not _has_dot_segment(decoded.decode("latin-1"))', ""),
    },
)

_PATTERNS = plant(
    "patterns.py",
    "test_patterns.py test_vectors.py::test_pattern_covers test_vectors.py::test_pattern_does_not_cover",
    {
        "a star stands for nothing at the end": ("len(segment) - len(last) > position", "len(segment) >= position"),
        "a star stands for nothing between": ("segment.find(part, position + 1)", "segment.find(part, position)"),
        "an expression matches the beginning": ("self.compiled.fullmatch(path)", "self.compiled.match(path)"),
        "an expression matches anywhere": ("self.compiled.fullmatch(path)", "self.compiled.search(path)"),
    },
)

_INDEX = plant(
    "policy/index.py",
    "test_vectors.py::test_pattern_covers test_vectors.py::test_pattern_does_not_cover test_engine.py",
    {
        "a segment matches what begins with it": (
            "child = node.literals.get(segment)",
            "child = next((node.literals[text] for text in node.literals if text and segment.startswith(text)), None)",
        ),
        "capitals are like small letters": ("node.literals.get(segment)", "node.literals.get(segment.lower())"),
        "a capture stands for nothing": (
            "                if segment:\n",
            "                if True:\n",
        ),
        "a path covers what is below it": (
            "runs += [node.subtree for node in nodes if node.subtree]",
            "runs += [entries for node in nodes for entries in (node.subtree, node.ends) if entries]",
        ),
    },
)

_NETWORKS = plant(
    "networks.py",
    "test_networks.py",
    {
        "an IPv4-mapped address is IPv6": ("return address.ipv4_mapped or address", "return address"),
        "an address with a scope is one": ("    if address.scope_id is not None:\n        return None\n", ""),
        "networks of both versions are alike": (
            "if version == of_version and value >> shift in prefixes:",
            "if value >> shift in prefixes:",
        ),
        "every hop is believed": (
            "address is not None and address in trusted and hops",
            "address is not None and hops",
        ),
        "the first hop counts": (
            "parse_address(_without_port(hops.pop()))",
            "parse_address(_without_port(hops.pop(0)))",
        ),
        "a host keeps its capitals": ('text.lower().partition("]")', 'text.partition("]")'),
    },
)

_COOKIES = plant(
    "cookies.py",
    "test_cookies.py",
    {
        "space that browsers keep is dropped": ('key.strip(" \\t") == name', "key.strip() == name"),
        "capitals in a name mean nothing": ('key.strip(" \\t") == name', "key.strip().lower() == name.lower()"),
        "a name that ends so is that name": ('key.strip(" \\t") == name', 'key.strip(" \\t").endswith(name)'),
        "a cookie after a comma counts": ('parts.append(part.partition(";")[0])', "pass"),
    },
)

_REDIRECTS = plant(
    "redirects.py",
    "test_redirects.py",
    {
        "any return address is a path": ("return text if _ESCAPED.fullmatch(path) and", "return text if path or"),
        "a return address is not looked at": ("path = return_path(raw_target)", "path = raw_target"),
        "a return address begins plainly": ("not _PLAIN.fullmatch(text)", "not _PLAIN.match(text)"),
        "a scheme is a path": (' or "\\\\" in path or _SCHEME.fullmatch(path):', ' or "\\\\" in path:'),
        "a backslash is a path": (' or "\\\\" in path or', " or"),
        "a slash that is encoded twice is a path": ('"%2f" not in lowered and "%5c" not in lowered and ', ""),
    },
)

_RULES = plant(
    "policy/rules.py",
    "policy/test_rules.py test_engine.py",
    {
        "GET covers POST": ('{"HEAD"} if "GET" in texts', '{"HEAD", "POST"} if "GET" in texts'),
        "GET does not cover HEAD": (
            'frozenset(texts) | ({"HEAD"} if "GET" in texts else frozenset())',
            "frozenset(texts)",
        ),
        "a wildcard stands for any number of labels": (
            "return bool(label) and rest == pattern[2:]",
            "return bool(label) and host.endswith(pattern[1:])",
        ),
        "a host that is no site is passed over": ("        if not found:\n", "        if not text:\n"),
        "every OPTIONS is a preflight": (
            "if self.preflight and request.preflight else",
            'if self.preflight and request.method == "OPTIONS" else',
        ),
        "a preflight passes every rule": (
            "if self.preflight and request.preflight else",
            "if request.preflight else",
        ),
        "a name or a header's value begins as one": (
            "or pattern.fullmatch(value) is None:\n            self.problem",
            "or pattern.match(value) is None:\n            self.problem",
        ),
        "a path may lack what a term asks for": ("sorted(wanted - pattern.captures)", "sorted(wanted - wanted)"),
        "a term may admit strangers": ("        if term.admits_strangers:\n", "        if not term.text:\n"),
    },
)

_METHODS = plant(
    "scopes.py",
    "policy/test_rules.py test_scopes.py",
    {"a method begins as one": ("_METHOD.fullmatch(text)", "_METHOD.match(text)")},
)

_POLICY = plant(
    "policy/__init__.py",
    "policy/test_rules.py test_engine.py",
    {
        "the last rule decides": (
            "sorted(entry for run in runs for entry in run)",
            "sorted((entry for run in runs for entry in run), reverse=True)",
        ),
        "the more general rule decides": (
            "sorted(entry for run in runs for entry in run)",
            "[entry for run in runs for entry in run]",
        ),
        "the method of a rule that is alone means nothing": (
            "if rule.methods is not None and method not in rule.methods and",
            "if rule.methods is not None and not rule.methods and",
        ),
        "the method of one rule among several means nothing": (
            "wanted = rule.methods is None or method in rule.methods or",
            "wanted = bool(method) or",
        ),
        "rules of one host hold for all": (
            "for order, rule in enumerate(rules) if rule.hosts is None)",
            "for order, rule in enumerate(rules))",
        ),
        "two rules may have one name": ("        if first != rule.place:\n", "        if not first:\n"),
    },
)

_PARSING = plant(
    "policy/parsing.py",
    "policy/test_atoms.py policy/test_terms.py",
    {
        "a handler may be negated": ("    if isinstance(part.atom, Handler):\n", "    if part.atom is None:\n"),
        "a time begins as one": ('_TIME.fullmatch(value or "")', '_TIME.match(value or "")'),
        "a handler's name begins as one": ("_HANDLER.fullmatch(value)", "_HANDLER.match(value)"),
    },
)

READING = (
    *_PATHS, *_PATTERNS, *_INDEX, *_NETWORKS, *_COOKIES, *_REDIRECTS, *_RULES, *_METHODS, *_POLICY, *_PARSING,
)  # fmt: skip
