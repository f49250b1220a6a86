"""What `authgate link create` is told, as text to value; ends the command with 2 where it can mean nothing."""

from collections.abc import Sequence

from pydantic import TypeAdapter, ValidationError

from authgate.cli.output import fail
from authgate.config import Settings
from authgate.config.schema import Duration
from authgate.credentials.link_format import MAX_LABEL
from authgate.model import Site
from authgate.networks import parse_host, parse_network
from authgate.scopes import Reach, is_method, parse_reach

_DURATION: TypeAdapter[int] = TypeAdapter(Duration)


def read_site(settings: Settings, host: str | None) -> Site:
    """Return the site that is meant."""
    if host is None:
        if len(settings.sites) == 1:
            return settings.sites[0]
        fail("say at which site: --host", f"there are {', '.join(site.host for site in settings.sites)}", code=2)
    site = settings.site(parse_host(host))
    if site is None:
        known = ", ".join(site.host for site in settings.sites)
        fail(f'there is no site "{host}"', f"there is {known}", code=2)
    return site


def read_reach(path: str) -> Reach:
    """Return what a path reaches."""
    try:
        return parse_reach(path)
    except ValueError as error:
        fail(f'"{path}" is no path: {error}', "write /videos/42/film.mp4, or /videos/42/** with all below", code=2)


def read_seconds(duration: str) -> int:
    """Return a duration."""
    try:
        return _DURATION.validate_python(duration)
    except ValidationError:
        fail(f'"{duration}" is no duration', "write a number and s, m, h or d, such as 2h", code=2)


def read_methods(methods: Sequence[str]) -> list[str]:
    """Return methods, each once."""
    for method in methods:
        if not is_method(method):
            fail(f'"{method}" is no method', "write it in capitals, such as GET", code=2)
    return sorted(set(methods))


def read_networks(texts: Sequence[str], settings: Settings) -> list[str]:
    """Return networks as a link writes them; those of the configuration by name."""
    found: list[str] = []
    for text in texts:
        if text in settings.networks:
            found += map(str, settings.networks[text])
            continue
        try:
            found.append(str(parse_network(text)))
        except ValueError:
            known = ", ".join(settings.networks)
            hint = f"there is {known}, or write 192.0.2.0/24" if known else "write 192.0.2.0/24"
            fail(f'there is no network "{text}"', hint, code=2)
    return found


def read_label(label: str) -> str:
    """Return a text for people."""
    if not label.isprintable() or len(label) > MAX_LABEL:
        fail(f"a label is at most {MAX_LABEL} printable characters", code=2)
    return label
