"""The hash is hashlib's, wherever it is taken from: identities in files have to stay the same."""

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

from routilux.digests import blake2b
from routilux.flow.identity import as_text, identity_of

ROOT = Path(__file__).parents[2]


def in_child(program: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program], check=False, capture_output=True, text=True, timeout=50, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("size", [8, 12])
def test_the_hash_is_the_one_of_hashlib(size):
    assert blake2b(b"a text", digest_size=size).digest() == hashlib.blake2b(b"a text", digest_size=size).digest()


def test_a_python_without_the_module_that_has_it_takes_it_from_hashlib():
    program = (
        "import hashlib, sys; sys.modules['_blake2'] = None\n"
        "from routilux.digests import blake2b; from routilux.flow.identity import as_text, identity_of\n"
        "assert blake2b is hashlib.blake2b; print(as_text(identity_of('a text')))"
    )
    assert in_child(program) == as_text(identity_of("a text"))


def test_importing_the_package_does_not_load_openssl():
    assert in_child("import sys, routilux; print({'_hashlib', '_ssl'} & set(sys.modules))") == "set()"
