"""A module of handlers that is installed rather than beside the configuration."""

from authgate import AccessRequest, Decision, deny


def f(request: AccessRequest) -> Decision:
    """Refuse, and say where this stands."""
    return deny("installed")
