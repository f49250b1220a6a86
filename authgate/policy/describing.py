"""What an atom found, in words: ``alice is in admin, staff; not in finance``."""

from datetime import datetime

from authgate.model import AccessRequest, HandlerCall, Outcome, Reason, Subject, Use
from authgate.policy.atoms import (
    Anyone,
    Atom,
    Authenticated,
    Claim,
    ClientAddress,
    Group,
    Handler,
    Link,
    LocalTime,
    Question,
    SecondFactor,
    User,
    Via,
)  # fmt: skip
from authgate.policy.terms import Part

# How many networks are named: more would hide the address.
_FEW = 4
# Not strftime, which would follow the locale.
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


def describe(part: Part, asked: Question) -> str:
    """Say in words what the atom found; of a negated one, what it turned round."""
    atom = part.atom
    subject = asked.identity.subject
    if subject is None and (atom.asks_identity or atom.asks_handler):
        return f"who asks is not known ({asked.identity.failure or 'nobody has looked'})"
    if subject is not None and atom.asks_identity:
        return "nobody is logged in" if subject.is_anonymous else _describe_identity(atom, asked, subject)
    match atom:
        case Anyone():
            return "everybody"
        case ClientAddress():
            return _say_address(atom, part.text.partition(":")[2], asked.request)
        case LocalTime():
            local = datetime.fromtimestamp(asked.request.instant, atom.zone)
            return f"it is {_DAYS[local.weekday()]} {local:%H:%M} in {atom.zone.key}"
        case Handler():
            return _say_handler(atom, asked)
        case Link():
            return _say_link(asked)
        case _:
            return ""


def _describe_identity(atom: Atom, asked: Question, subject: Subject) -> str:
    match atom:
        case Authenticated():
            return f"{subject.id} is logged in"
        case User():
            name = atom.name.fill(asked.captures)
            return f"it is {name}" if subject.id == name else f"{subject.id} is not {name}"
        case Group():
            return _say_group(atom.name.fill(asked.captures), subject)
        case Claim():
            return _say_claim(atom.name, atom.value.fill(asked.captures), subject)
        case Via():
            kind = asked.identity.credential
            return f"{subject.id} came by {kind}" + ("" if kind is atom.kind else f", not by {atom.kind}")
        case SecondFactor():
            return f"{subject.id} used {'a' if asked.identity.second_factor else 'no'} second factor"
        case _:
            return ""


def _say_group(group: str, subject: Subject) -> str:
    source, slash, name = group.partition("/")
    if not slash:
        source, name = "", group
    if subject.source != source:
        whose = f"of {source}" if slash else "of local users"
        return f"{subject.id} is no {'local user' if not slash else 'user of ' + source}, and {name} is a group {whose}"
    if subject.groups is None:
        what = f"{source} says nothing about groups" if source else "the group file is not configured"
        return f"{what}, so nobody knows whether {subject.id} is in {name}"
    if name in subject.groups:
        return f"{subject.id} is in {name}"
    others = ", ".join(sorted(subject.groups))
    return f"{subject.id} is in {others}; not in {name}" if others else f"{subject.id} is in no group"


def _say_claim(name: str, wanted: str, subject: Subject) -> str:
    values = sorted(value for other, value in subject.claims if other == name)
    if wanted in values:
        return f"{subject.id} has {name}={wanted}"
    if not values:
        return f"{subject.id} has no claim {name}"
    return f"{subject.id} has {name}={', '.join(values)}; not {wanted}"


def _say_address(atom: ClientAddress, name: str, request: AccessRequest) -> str:
    if request.address is None:
        return "the client's address is not known"
    networks = [str(network) for network in atom.networks]
    if networks != [name]:
        networks[_FEW:] = ["..."] if len(networks) > _FEW else []
        name = f"{name} ({', '.join(networks) or 'empty'})"
    return f"{request.address} is {'' if request.address in atom.networks else 'not '}in {name}"


def _say_link(asked: Question) -> str:
    link = asked.link
    if link is None:
        return "the request carries no link"
    name = f"link {link.id}" if link.id else "the link"
    if link.failure is not None:
        return f"{name} does not cover it: {link.failure}"
    if link.uses is None:
        return f"{name} covers it"
    used = {None: "none was needed", Use.GRANTED: "this is one", Use.USED_UP: "all are used up"}
    uses = f"{link.uses} uses" if link.uses != 1 else "one use"
    return f"{name} covers it and has {uses}: {used.get(asked.use, 'whether one is left is not known')}"


def _say_handler(atom: Handler, asked: Question) -> str:
    call = HandlerCall(atom.reference, asked.rule)
    if call not in asked.answers:
        return "the decision did not depend on it"
    said = asked.answers[call]
    if said is None:
        return "it returned None: no opinion"
    if said.reason is Reason.HANDLER_ERROR:
        # A traceback begins on a line of its own.
        return ("it failed:\n" if "\n" in said.detail else "it failed: ") + said.detail.rstrip()
    name = {Outcome.ALLOW: "allow()", Outcome.LOGIN: "login()", Outcome.REFUSE: "deny()"}[said.outcome]
    return f"it returned {name}" + (f": {said.detail}" if said.detail else "")
