"""Folders that experiments write to."""

from pathlib import Path


def writable(folder: Path) -> Path:
    """Makes the output folder, or raises ValueError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".writable"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise ValueError(f"cannot write to {folder}: {error.strerror}; choose --out") from None
    return folder
