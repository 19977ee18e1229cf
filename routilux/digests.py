"""The hash of texts that stand in identities and in files: BLAKE2b, as hashlib has it."""

# hashlib takes its BLAKE2b from there too, but loads OpenSSL on the way, for hashes that nobody asks for here: 3 ms, an
# eighth of what this library adds to the start of a process.
try:
    from _blake2 import blake2b
except ImportError:  # the name is Python's own affair; hashlib's is documented
    from hashlib import blake2b

__all__ = ["blake2b"]
