"""The data directory: private to its owner, used by one process at a time, home of the admin key."""

import fcntl
import os
import secrets
import stat
import tempfile
from pathlib import Path
from typing import Final

ADMIN_KEY_FILE: Final = "admin.key"
LOCK_FILE: Final = "lock"
SHELL_SOCKET: Final = "shell.sock"
LEDGER_FILE: Final = "ledger.db"

_SOCKET_PATH_BYTES: Final = 100
"""`sun_path` holds 108 on Linux; a few are left for the names of temporary siblings."""


class DataDirError(Exception):
    """The directory cannot be used; the text says what to do."""


class DataDir:
    """An opened and locked data directory. `close` gives it free."""

    def __init__(self, path: Path) -> None:
        """Makes it if needed. Raises DataDirError: not ours, not writable, or in use."""
        self.path = path
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            status = path.stat()
            if not stat.S_ISDIR(status.st_mode):
                raise DataDirError(f"{path} is not a directory")
            if status.st_mode & 0o077:
                if status.st_uid != os.geteuid():
                    raise DataDirError(f"{path} belongs to another user and is open to others; chmod 700 it")
                path.chmod(0o700)
            self._lock = os.open(path / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise DataDirError(f"cannot use {path}: {error.strerror}") from None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._lock)
            raise DataDirError(f"another AILink process uses {path}; give each its own `data_dir`") from None
        self._socket_dir: Path | None = None

    def admin_key(self) -> str:
        """The generated admin key; made, with mode 0600, at the first call. Raises DataDirError."""
        path = self.path / ADMIN_KEY_FILE
        if not path.exists():
            part = path.with_name(f"{ADMIN_KEY_FILE}.{secrets.token_hex(8)}")
            handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                os.write(handle, f"sk-{secrets.token_urlsafe(32)}\n".encode())
                os.fsync(handle)
            finally:
                os.close(handle)
            part.rename(path)
        return read_admin_key(self.path)

    def shell_socket(self) -> Path:
        """Where the shell listens; in another private directory when the path is too long for a socket."""
        path = self.path / SHELL_SOCKET
        if len(os.fsencode(path)) > _SOCKET_PATH_BYTES:
            if self._socket_dir is None:
                runtime = os.environ.get("XDG_RUNTIME_DIR")
                parent = runtime if runtime and len(runtime) < _SOCKET_PATH_BYTES // 2 else None
                self._socket_dir = Path(tempfile.mkdtemp(prefix="ailink-", dir=parent))
            path = self._socket_dir / SHELL_SOCKET
        path.unlink(missing_ok=True)
        return path

    def close(self) -> None:
        """Gives the lock free and removes the socket."""
        socket_dir = self._socket_dir or self.path
        (socket_dir / SHELL_SOCKET).unlink(missing_ok=True)
        if self._socket_dir is not None:
            self._socket_dir.rmdir()
        os.close(self._lock)


def read_admin_key(data_dir: Path) -> str:
    """The generated admin key of a data directory. Raises DataDirError."""
    path = data_dir / ADMIN_KEY_FILE
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        key = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise DataDirError(f"cannot read the admin key {path}: {error}") from None
    if mode & 0o077:
        raise DataDirError(f"{path} can be read by others (mode {mode:04o}): run `chmod 600 {path}`")
    if not key:
        raise DataDirError(f"{path} is empty: remove it, and a new one is made at the next start")
    return key
