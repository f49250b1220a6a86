"""Keys that verify and sign: text to value. Pure.

Whatever stands in a file or comes from an address is vetted here, once, so that no library has to be careful later: a
key that is too weak, for something else, or of another algorithm than it says never becomes a `Key`.
"""

from authgate.keys.key import ALGORITHMS, COOKIE, LINK, Key, State
from authgate.keys.pem import parse_key_file
from authgate.keys.sets import KeySet, parse_key_set, read_key_set

__all__ = ["ALGORITHMS", "COOKIE", "LINK", "Key", "KeySet", "State", "parse_key_file", "parse_key_set", "read_key_set"]
