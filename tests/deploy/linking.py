"""What tests of links have in common: a ring, links signed with it, and a folder of videos."""

import time
from collections.abc import Mapping
from pathlib import Path

from authgate.credentials.keyring import make_key
from authgate.credentials.link_format import make_id, sign_link
from authgate.keys import LINK, Key, State
from authgate.keys.ring import Ring, render
from tests.deploy.house import HTTP_HOST, OPEN, SECRET

RING = "links.jwks"

SECTION = f'\n[links]\nkeys = "{RING}"\n'

RULES = """
[[rules]]
name = "videos"
paths = ["/videos/**"]
allow = ["link"]

[[rules]]
name = "shared"
paths = ["/shared/**"]
allow = ["link", "group:staff"]
"""

SEGMENTS = ("one.ts", "two.ts", "three.ts")
PLAYLIST = ("#EXTM3U\n" + "".join(f"#EXTINF:4,\n{name}\n" for name in SEGMENTS) + "#EXT-X-ENDLIST\n").encode()
FILES: Mapping[str, bytes] = {
    "videos/42/index.m3u8": PLAYLIST,
    **{f"videos/42/{name}": SECRET + name.encode() for name in SEGMENTS},
    "videos/42/film.bin": SECRET + bytes(range(256)) * 40,
    "videos/42/page/index.html": OPEN,
    "videos/43/other.ts": SECRET,
    "shared/plan.txt": SECRET,
}


def furnish(folder: Path, files: Path) -> Key:
    """Write the ring and the videos; return the key that signs."""
    entry = make_key("HS256", LINK, State.CURRENT, time.time())
    ring = folder / RING
    ring.touch(0o600)
    ring.write_bytes(render(Ring((entry,))))
    for name, content in FILES.items():
        path = files / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return entry.key


def link(key: Key, path: str = "/videos/42/**", host: str = HTTP_HOST, seconds: float = 600, **claims: object) -> str:
    """Return a link that counts for some minutes."""
    return sign_link(key, {"id": make_id(), "host": host, "path": path, "exp": int(time.time() + seconds), **claims})
