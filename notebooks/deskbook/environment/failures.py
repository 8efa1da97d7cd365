"""Turn what pip and uv print when they fail into one sentence for the person who ran make."""

from __future__ import annotations

_NO_NETWORK = (
    "name resolution",
    "nodename nor servname",
    "dns error",
    "network is unreachable",
    "connection refused",
    "connection error",
    "failed to establish a new connection",
    "error sending request",
    "could not connect",
    "timed out",
    "tcp connect error",
    "proxy",
)
_BAD_CERTIFICATE = ("certificate verify failed", "invalid peer certificate", "unknownissuer")
_DISK_FULL = ("no space left", "os error 28", "errno 28", "disk quota exceeded")
_BAD_HASH = ("hash mismatch", "do not match the hashes")


def is_worth_another_try(output: str) -> bool:
    """Say whether another installer may succeed: not where the disk is full or pip met no index either.

    uv may fail to reach an index that pip reaches, since it knows no pip.conf; so only pip's own word counts.
    """
    text = output.lower()
    if any(sign in text for sign in _DISK_FULL):
        return False
    return not ("no matching distribution found for uv" in text and any(sign in text for sign in _NO_NETWORK))


def explain(output: str, log_name: str) -> str:
    """Return what happened and what to do next.

    Args:
        output: Everything the installer printed.
        log_name: File, relative to the checkout, that holds the output.
    """
    text = output.lower()
    if any(sign in text for sign in _DISK_FULL):
        return "The disk is full: the environment needs about 1.2 GB. Free some space and run make again."
    if any(sign in text for sign in _BAD_CERTIFICATE):
        return (
            "The certificate of the package index is not trusted here, as behind a company proxy. "
            "Point SSL_CERT_FILE at the proxy's certificate bundle and run make again."
        )
    if any(sign in text for sign in _BAD_HASH):
        return (
            "A downloaded package does not have the hash in requirements.lock, so it was not installed. "
            f"Run make again; if it stays, a proxy alters downloads. Details: {log_name}"
        )
    if any(sign in text for sign in _NO_NETWORK):
        return (
            "The package index cannot be reached. Packages are fetched once, when the environment is made: "
            "connect to the network (or set PIP_INDEX_URL to your mirror) and run make again. "
            f"Details: {log_name}"
        )
    return f"Installing the packages failed. The installer's own words are in {log_name}."
