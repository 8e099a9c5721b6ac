"""What an object store's error counts as: about one object, about a whole bucket or who asks, or about the moment.

The driver's messages may quote a signed address or the store's answer. None of that leaves this module: messages are
made of the error's class, its HTTP status and the store's code for it.
"""

import http.client
import re

from pipeline.errors import Changed, InputError, StorageError, Unreadable
from pipeline.storage.buckets.credentials import WHAT_TO_SET
from pipeline.storage.reader import Gone
from pipeline.storage.retry import Transient

_STATUS = re.compile(r"status code: (\d{3})")
_CODE = re.compile(r"<Code>(\w{1,80})</Code>")
_KIND = re.compile(r"\bkind: (\w+)")
_KINDS = {
    "Connect": "connection failed",
    "Timeout": "timed out",
    "Interrupted": "the connection broke off",
    "Request": "the connection broke off",
    "Decode": "the answer broke off",
    "Body": "the answer broke off",
}
_NO_BUCKET = frozenset({"NoSuchBucket", "ContainerNotFound", "ContainerBeingDeleted", "FilesystemNotFound"})
_ARCHIVED = frozenset({"InvalidObjectState", "BlobArchived", "BlobBeingRehydrated"})
# A refusal with one of these is about who asks, whichever the object.
_ABOUT_US = frozenset(
    {"InvalidAccessKeyId", "SignatureDoesNotMatch", "AuthorizationHeaderMalformed", "ExpiredToken", "InvalidToken"}
    | {"TokenRefreshRequired", "RequestTimeTooSkewed", "AccountProblem", "AllAccessDisabled", "InvalidSecurity"}
    | {"NotSignedUp", "AuthenticationFailed", "AuthorizationFailure", "InvalidAuthenticationInfo"}
    | {"NoAuthenticationInformation", "InsufficientAccountPermissions", "AccountIsDisabled", "AuthenticationRequired"}
)
# Client errors by their number that pass, or are about the store: it is busy, or what we sent did not arrive whole.
_MAY_PASS = frozenset(
    {
        "RequestTimeout",
        "IncompleteBody",
        "BadDigest",
        "SlowDown",
        "Throttling",
        "ThrottlingException",
        "OperationAborted",
    }
    | {"ConditionalRequestConflict", "OperationTimedOut", "Md5Mismatch"}
)
_MAY_PASS_STATUS = frozenset(
    {
        http.client.PROXY_AUTHENTICATION_REQUIRED,
        http.client.REQUEST_TIMEOUT,
        http.client.MISDIRECTED_REQUEST,
        http.client.TOO_EARLY,
        http.client.TOO_MANY_REQUESTS,
    }
)


class BucketRefused(StorageError):
    """The store's final answer about a whole bucket, or about who asks: none such, not with these credentials."""


class CredentialsRefused(BucketRefused):
    """The store does not accept the credentials, or no longer."""


def is_without_words(error: Exception) -> bool:
    """Whether it is a refusal whose answer, as that to a HEAD, does not say what is refused."""
    status = _status(error)
    is_refusal = isinstance(error, FileNotFoundError) or (status is not None and status // 100 == 4)
    return is_refusal and _code(error) is None


def is_no_bucket(error: Exception) -> bool:
    """Whether it is the bucket that is not there."""
    return _code(error) in _NO_BUCKET


def verdict(
    error: Exception, *, uri: str, bucket_uri: str, family: str, is_listing: bool
) -> InputError | StorageError | Transient:
    """Judge an error of the driver.

    Args:
        error: one of ``obstore.exceptions``, or ``FileNotFoundError``.
        uri: what was asked for, canonical.
        bucket_uri: where it lies, canonical.
        family: of the store, as in ``WHAT_TO_SET``.
        is_listing: whether a folder was asked for, not an object.
    """
    from obstore.exceptions import InvalidPathError, PreconditionError

    if isinstance(error, InvalidPathError):
        return BucketRefused(
            f"{uri}: holds an object whose name has an empty, . or .. part, which the driver cannot list:"
            " rename it, or name the others in a manifest"
        )
    if isinstance(error, PreconditionError):
        return Changed(uri, "replaced or modified since it was listed")
    refused = _refused(error, uri=uri, bucket_uri=bucket_uri, what_to_set=WHAT_TO_SET[family], is_listing=is_listing)
    about_the_object = None if is_listing else _about_the_object(error, uri=uri)
    return refused or about_the_object or Transient(_description(error))


def _refused(
    error: Exception, *, uri: str, bucket_uri: str, what_to_set: str, is_listing: bool
) -> BucketRefused | None:
    status = _status(error)
    if is_no_bucket(error) or (is_listing and status == http.client.NOT_FOUND):
        return BucketRefused(f"{bucket_uri}: there is no such bucket; check its name and the account")
    if _is_about_us(error):
        return CredentialsRefused(f"{bucket_uri}: the credentials are not accepted; set {what_to_set}")
    if is_listing and status == http.client.FORBIDDEN:
        return BucketRefused(f"{uri}: may not be listed with these credentials; set {what_to_set}")
    if status is not None and status // 100 == 3:
        return BucketRefused(f"{bucket_uri}: lies in another region; set AWS_REGION to the bucket's")
    return None


def _is_about_us(error: Exception) -> bool:
    from obstore.exceptions import UnauthenticatedError

    status = _status(error)
    if "performing token request" in str(error):
        return status is not None and status // 100 == 4
    is_unknown = status == http.client.UNAUTHORIZED or isinstance(error, UnauthenticatedError)
    return is_unknown or _code(error) in _ABOUT_US


def _about_the_object(error: Exception, *, uri: str) -> Unreadable | None:
    if isinstance(error, FileNotFoundError):
        return Gone(uri, "does not exist")
    if _code(error) in _ARCHIVED:
        return Unreadable(uri, "archived: bring it back from the archive tier first")
    status = _status(error)
    if status == http.client.FORBIDDEN:
        return Unreadable(uri, "permission denied")
    if status is None or status // 100 != 4 or status in _MAY_PASS_STATUS or _code(error) in _MAY_PASS:
        return None
    return (Gone if status in (http.client.NOT_FOUND, http.client.GONE) else Unreadable)(uri, _description(error))


def _status(error: Exception) -> int | None:
    match = _STATUS.search(str(error))
    return int(match[1]) if match else None


def _code(error: Exception) -> str | None:
    match = _CODE.search(str(error))
    return match[1] if match else None


def _description(error: Exception) -> str:
    status, kind = _status(error), _KIND.search(str(error))
    if status is not None:
        return f"HTTP {status} {http.client.responses.get(status, '')}".rstrip()
    return _KINDS.get(kind[1] if kind else "", f"request failed: {type(error).__name__}")
