"""Mistakes in deciding: `decide`, terms and atoms, the PDP, handlers."""

from tests.mutations.mutation import plant

_ENGINE = plant(
    "engine.py",
    "test_engine.py test_vectors.py::test_outcome",
    {
        "a path with two readings is decided about": ("if not is_canonical(request.path):", "if not request.path:"),
        "a host that is no site is decided about": (
            "if request.host not in policy.hosts:",
            "if request.host in policy.hosts and not policy.rules:",
        ),
        "who asks is guessed": (
            "                return NEED_IDENTITY\n            identity = facts.identity\n",
            "                identity = NOBODY\n            identity = facts.identity or NOBODY\n",
        ),
        "a guard is skipped": (
            "    for term in rule.deny:\n",
            "    for term in rule.deny if rule.allow is not None else ():\n",
        ),
        "allow is looked at before deny": (
            "        if denied is True:\n",
            "        if denied is True and not any(term.holds(asked) is True for term in rule.allow or ()):\n",
        ),
        "a guard that has nothing against it admits": (
            "    if admitting is None:\n        return None\n",
            "    if admitting is None:\n        return Decision(Outcome.ALLOW, Reason.ALLOWED, rule.name)\n",
        ),
        "a rule that does not admit passes on": (
            "    return use or _refuse(_why_not_admitted(rule, asked), rule, asked)\n",
            "    return use\n",
        ),
        "what no rule matches is allowed": (
            "Decision(Outcome.REFUSE, Reason.NO_RULE, identity=identity)",
            "Decision(Outcome.ALLOW, Reason.NO_RULE, identity=identity)",
        ),
        "a handler's refusal in allow passes on": (
            "        elif admitted is not False:\n",
            "        elif isinstance(admitted, Need):\n",
        ),
        "a link is used up though another term admits": (
            "            use = admitted\n",
            "            return admitted\n",
        ),
        "a refusal does not name the link": (
            "    if not rule.asks_link or asked.link is None:\n",
            "    if not rule.asks_link or asked.link is not None:\n",
        ),
        "a handler's refusal in deny passes on": (
            "        if denied is not False:\n",
            "        if isinstance(denied, Need):\n",
        ),
        "a login is offered that would not help": (
            "any(term.holds_for_somebody(asked) for term in admitting)",
            "True",
        ),
        "a guard that will refuse offers a login": (
            "    if any(not term.asks_identity and term.refuses(asked) is True for term in rule.deny):\n",
            "    if not asked.request.path:\n",
        ),
        "a store that is away asks for a login": (
            "outcome = Outcome.REFUSE if identity.failure in _NOT_THE_CLIENTS else Outcome.LOGIN",
            "outcome = Outcome.LOGIN",
        ),
        "a bad credential is like none": (
            "    failed = _failed(identity, rule.name, asked.captures)\n",
            "    failed = None\n",
        ),
    },
)

_TERMS = plant(
    "policy/terms.py",
    "test_vectors.py::test_term test_vectors.py::test_term_as_it_is_written test_vectors.py::test_outcome test_pdp.py "
    "test_engine.py",
    {
        "what is not unknown is true": (
            "return not truth if self.negated and (truth is True or truth is False) else truth",
            "return not truth if self.negated and (truth is None or isinstance(truth, bool)) else truth",
        ),
        "unknown admits": ("            if truth is True:\n", "            if truth is True or truth is None:\n"),
        "unknown does not refuse": (
            "            if truth is False:\n",
            "            if truth is False or truth is None:\n",
        ),
        "one part of a term is enough": (
            "            if truth is True:\n                continue\n",
            "            if truth is True:\n                return True\n",
        ),
        "one false part of a term is not enough": (
            "            if truth is False or truth is None:\n                return False\n",
            "            if truth is None:\n                return False\n            if not truth: continue\n",
        ),
        "a link is used up before the term holds": (
            "                use = truth\n",
            "                return truth\n",
        ),
        "a link that is used up refuses": (
            "        asked = asked if asked.use is None else asked._replace(use=None)\n",
            "",
        ),
        "the first handler of a term decides it": (
            "            elif isinstance(truth, Need) or not truth.allowed:\n                return truth\n",
            (
                "            else:\n"
                "                return truth if isinstance(truth, Need) or not truth.allowed else True\n"
            ),
        ),
    },
)

_STRANGERS = plant(
    "policy/terms.py",
    "policy/test_rules.py",
    {
        "identity that is only negated admits no strangers": (
            "return bool(identity) and all(part.negated for part in identity)",
            "return False",
        ),
    },
)

_ATOMS = plant(
    "policy/atoms.py",
    "policy/test_atoms.py policy/test_terms.py test_engine.py test_vectors.py::test_outcome",
    {
        "a name is compared as a beginning": (
            "subject.id == self.name.fill(asked.captures)",
            "subject.id.startswith(self.name.fill(asked.captures))",
        ),
        "capitals in a name of a person mean nothing": (
            "subject.id == self.name.fill(asked.captures)",
            "subject.id.lower() == self.name.fill(asked.captures).lower()",
        ),
        "an empty name is anonymous": (
            "not subject.is_anonymous and subject.id == self.name.fill",
            "subject.id == self.name.fill",
        ),
        "a name of another source is the local one": (
            "subject.id == self.name.fill(asked.captures)",
            "subject.name == self.name.fill(asked.captures)",
        ),
        "a group of another source is the local one": (
            "if subject.is_anonymous or subject.source != source:",
            "if subject.is_anonymous:",
        ),
        "whose groups are unknown is in none": (
            "return None if subject.groups is None else name in subject.groups",
            "return name in (subject.groups or ())",
        ),
        "an address that is unreadable is in no network": (
            "return None if address is None else address in self.networks",
            "return address is not None and address in self.networks",
        ),
        "the last minute is part of a time": (
            "return self.begin <= clock < self.end and",
            "return self.begin <= clock <= self.end and",
        ),
        "after midnight the new day counts": ("(weekday - 1) % 7 in self.days", "weekday in self.days"),
        "a handler without opinion admits": (
            "return asked.answers[call] or False",
            "return True if asked.answers[call] is None else asked.answers[call]",
        ),
        "a handler is asked about somebody who is unknown": (
            "        if asked.identity.subject is None:\n            return None\n        call =",
            "        call =",
        ),
        "any credential is the kind that is asked for": (
            "asked.identity.credential is self.kind",
            "asked.identity.credential is not CredentialKind.NONE",
        ),
        "any login is one with a second factor": (
            "not subject.is_anonymous and asked.identity.second_factor",
            "not subject.is_anonymous",
        ),
        "any value of a claim will do": (
            "(self.name, self.value.fill(asked.captures)) in subject.claims",
            "any(name == self.name for name, _ in subject.claims)",
        ),
    },
)

_PDP = plant(
    "pdp.py",
    "test_pdp.py",
    {
        "an error allows": (
            "_FAILED = Decision(Outcome.REFUSE, Reason.HANDLER_ERROR)",
            "_FAILED = Decision(Outcome.ALLOW, Reason.HANDLER_ERROR)",
        ),
        "what takes too long is allowed": (
            "decision = decision or Decision(Outcome.REFUSE, late)",
            "decision = decision or Decision(Outcome.ALLOW, late)",
        ),
        "a handler is not told who asks": ("request._replace(subject=subject, session=identity.session)", "request"),
        "refusals are not written down": (
            "(decision.outcome is not Outcome.ALLOW or self._audit.allows)",
            "self._audit.allows",
        ),
        "an application is not told who asks": (
            "                decision = decision._replace(identity=facts.identity)\n",
            "                decision = decision._replace(identity=NOBODY)\n",
        ),
    },
)

_HANDLERS = plant(
    "handlers/asking.py",
    "handlers/test_asking.py",
    {
        "a handler that takes too long allows": (
            '_failed(reference, f"took over {DEADLINE:g} s")',
            "allow()",
        ),
        "a handler that takes too long has no opinion": (
            '_failed(reference, f"took over {DEADLINE:g} s")',
            "None",
        ),
        "a handler that raises has no opinion": ("return _failure(said.traceback)", "return None"),
        "a handler that is not loaded has no opinion": ('return _failed(reference, "is not loaded")', "return None"),
        "a handler that is not asked has no opinion": (
            '_failed(reference, f"was not asked: {THREADS} handlers are running")',
            "None",
        ),
        "whatever is true allows": (
            '    return _failed(reference, f"returned {type(said).__name__}, not',
            '    if said:\n        return allow()\n    return _failed(reference, f"returned {type(said).__name__}, not',
        ),
        "what a handler made by hand counts as it is": (
            "        if said.outcome is Outcome.ALLOW:\n            return allow()\n",
            "        if said.outcome is Outcome.ALLOW:\n            return said\n",
        ),
    },
)

DECIDING = (*_ENGINE, *_TERMS, *_STRANGERS, *_ATOMS, *_PDP, *_HANDLERS)
