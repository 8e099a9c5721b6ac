"""Answers to a server that asks who one is: Basic and Digest (RFC 7617, 7616), for HTTP and RTSP alike."""

import base64
import hashlib
import re
import secrets
from collections.abc import Callable, Sequence

from pipeline.cameras.pulling.connector.task import Login

_SCHEME = re.compile(r"\s*(Basic|Digest)\b\s*(.*)", re.IGNORECASE | re.DOTALL)
_PARAMETER = re.compile(r'([A-Za-z0-9_-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))')
_HASHES: dict[str, Callable[[bytes], str]] = {
    "MD5": lambda data: hashlib.md5(data, usedforsecurity=False).hexdigest(),
    "SHA-256": lambda data: hashlib.sha256(data).hexdigest(),
}


class Challenge:
    """What a server asks for, and how often it was answered."""

    def __init__(self, scheme: str, parameters: dict[str, str]) -> None:
        self._scheme = scheme
        self._parameters = parameters
        self._num_answers = 0
        self.is_stale = parameters.get("stale", "").lower() == "true"

    @classmethod
    def best_of(cls, headers: Sequence[str]) -> "Challenge | None":
        """The safest that we can answer of the ``WWW-Authenticate`` headers of an answer."""
        challenges = []
        for header in headers:
            match = _SCHEME.match(header)
            if match is None:
                continue
            parameters = {name.lower(): quoted or plain for name, quoted, plain in _PARAMETER.findall(match[2])}
            challenge = cls(match[1].lower(), parameters)
            if challenge._strength:
                challenges.append(challenge)
        return max(challenges, key=lambda each: each._strength, default=None)

    @property
    def _strength(self) -> int:
        """0: not one that we can answer."""
        if self._scheme == "basic":
            return 1
        algorithm = self._parameters.get("algorithm", "MD5").upper().removesuffix("-SESS")
        qop = self._parameters.get("qop")
        is_known = algorithm in _HASHES and (qop is None or "auth" in re.split(r"[,\s]+", qop))
        return {"MD5": 2, "SHA-256": 3}[algorithm] if is_known and "nonce" in self._parameters else 0

    def answer(self, login: Login, *, method: str, uri: str) -> str:
        """The ``Authorization`` header of a request."""
        if self._scheme == "basic":
            return "Basic " + base64.b64encode(f"{login.user}:{login.password}".encode()).decode()
        return self._digest(login, method=method, uri=uri)

    def _digest(self, login: Login, *, method: str, uri: str) -> str:
        asked = self._parameters
        realm, nonce = asked.get("realm", ""), asked["nonce"]
        algorithm = asked.get("algorithm", "MD5")
        hashed = _HASHES[algorithm.upper().removesuffix("-SESS")]
        self._num_answers += 1
        count, own_nonce = f"{self._num_answers:08x}", secrets.token_hex(8)
        secret = hashed(f"{login.user}:{realm}:{login.password}".encode())
        if algorithm.upper().endswith("-SESS"):
            secret = hashed(f"{secret}:{nonce}:{own_nonce}".encode())
        request = hashed(f"{method}:{uri}".encode())
        middle = f"{nonce}:{count}:{own_nonce}:auth" if "qop" in asked else nonce
        answer = {
            "username": f'"{login.user}"',
            "realm": f'"{realm}"',
            "nonce": f'"{nonce}"',
            "uri": f'"{uri}"',
            "response": f'"{hashed(f"{secret}:{middle}:{request}".encode())}"',
        }
        if "algorithm" in asked:
            answer["algorithm"] = algorithm
        if "opaque" in asked:
            answer["opaque"] = f'"{asked["opaque"]}"'
        if "qop" in asked:
            answer |= {"qop": "auth", "nc": count, "cnonce": f'"{own_nonce}"'}
        return "Digest " + ", ".join(f"{name}={value}" for name, value in answer.items())
