"""The data directory: private, locked, with a key of its own."""

import os
import stat
import subprocess
import sys

import pytest

from ailink.config.data_dir import DataDir, DataDirError, read_admin_key


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_it_is_made_private(tmp_path):
    data = DataDir(tmp_path / "a" / "b")
    key = data.admin_key()
    assert mode(data.path) == 0o700
    assert mode(data.path / "admin.key") == 0o600
    assert key.startswith("sk-")
    assert len(key) == 46
    data.close()
    again = DataDir(data.path)
    assert again.admin_key() == key == read_admin_key(data.path)
    again.close()


def test_an_open_directory_is_closed(tmp_path):
    tmp_path.chmod(0o755)
    DataDir(tmp_path).close()
    assert mode(tmp_path) == 0o700


def test_one_process_at_a_time(tmp_path):
    data = DataDir(tmp_path)
    with pytest.raises(DataDirError, match="another AILink process uses"):
        DataDir(tmp_path)
    data.close()
    DataDir(tmp_path).close()


def test_the_lock_ends_with_the_process(tmp_path):
    code = (
        "import sys, pathlib; from ailink.config.data_dir import DataDir; DataDir(pathlib.Path(sys.argv[1]))"
    )
    subprocess.run([sys.executable, "-c", code, tmp_path], check=True)
    DataDir(tmp_path).close()


def test_what_cannot_be_a_data_directory(tmp_path):
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(DataDirError):
            DataDir(path)


@pytest.mark.parametrize(
    ("text", "permissions", "words"), [("sk-x", 0o644, "chmod 600"), ("", 0o600, "is empty")]
)
def test_an_admin_key_that_is_not_used(tmp_path, text, permissions, words):
    file = tmp_path / "admin.key"
    file.write_text(text)
    file.chmod(permissions)
    with pytest.raises(DataDirError, match=words):
        read_admin_key(tmp_path)


def test_no_admin_key(tmp_path):
    with pytest.raises(DataDirError, match="cannot read the admin key"):
        read_admin_key(tmp_path)


def test_the_socket_is_in_the_directory(tmp_path):
    data = DataDir(tmp_path / "d")
    assert data.shell_socket() == tmp_path / "d" / "shell.sock"
    data.close()


def test_a_socket_that_would_be_too_long_is_elsewhere_and_private(tmp_path, monkeypatch):
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    data = DataDir(tmp_path / ("d" * 100))
    socket = data.shell_socket()
    assert len(os.fsencode(socket)) < 100
    assert mode(socket.parent) == 0o700
    assert data.shell_socket() == socket
    socket.write_text("")
    data.close()
    assert not socket.parent.exists()
