"""The key file: hashes only, private, and refused when it is not."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from luthier.errors import SetupError, UsageError
from luthier.rest import new_key, read_keys, remove_key


def test_a_key_is_kept_as_a_hash_in_a_private_file(tmp_path: Path) -> None:
    path = tmp_path / "below" / "keys.json"
    tokens = [new_key(path, ["predict"], name="shop"), new_key(path, ["operate", "feedback", "operate"])]
    text = path.read_text()
    assert path.stat().st_mode & 0o777 == 0o600
    assert not any(token in text for token in tokens)
    assert len(set(tokens)) == 2
    assert min(map(len, tokens)) >= 43  # 256 random bits
    keys = read_keys(path)
    assert [key.scopes for key in keys] == [("predict",), ("feedback", "operate")]
    assert keys[0].name == "shop"
    assert [key.hash for key in keys] == [hashlib.sha256(token.encode()).hexdigest() for token in tokens]
    remove_key(path, "shop")
    assert len(read_keys(path)) == 1


def test_wrong_scopes_and_names_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    new_key(path, ["predict"], name="shop")
    for scopes, name, why in (
        ([], "a", "at least one of predict, feedback, operate"),
        (["admin"], "a", "at least one of"),
        (["predict"], "shop", "already"),
        (["predict"], "../x", "starts with a lower-case"),
    ):
        with pytest.raises(UsageError, match=why):
            new_key(path, scopes, name=name)
    with pytest.raises(UsageError, match="there is no key 'x'"):
        remove_key(path, "x")
    assert len(read_keys(path)) == 1


def test_a_file_that_others_can_read_or_that_is_broken_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    with pytest.raises(SetupError, match="cannot be read"):
        read_keys(path)
    new_key(path, ["predict"])
    path.chmod(0o644)
    with pytest.raises(SetupError, match="mode 644 lets others read"):
        read_keys(path)
    path.chmod(0o600)
    for content in ("{", "[]", '{"keys": [{"name": "x"}]}', '{"keys": 3}', '{"keys": ["x"]}'):
        path.write_text(content)
        with pytest.raises(SetupError, match="not a key file"):
            read_keys(path)
    path.write_text(json.dumps({"keys": [{"name": "x", "hash": "", "scopes": ["predict"]}]}))
    with pytest.raises(SetupError, match="no SHA-256"):
        read_keys(path)
