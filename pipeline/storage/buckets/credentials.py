"""A client for the bucket of an address, with the credentials of the usual places.

Nothing here is an option of ours: the environment and the files that each vendor's own tools read say who we are.
"""

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, cast

from pipeline.errors import UsageError
from pipeline.storage.addresses import BUCKET_FAMILIES
from pipeline.storage.buckets.address import Address

if TYPE_CHECKING:
    from obstore.auth.google import GoogleCredentialProvider
    from obstore.store import (
        AzureConfig,
        ClientConfig,
        GCSConfig,
        ObjectStore,
        RetryConfig,
        S3Config,
        S3CredentialProvider,
    )

_VARIABLES = ("AWS_", "AZURE_", "GOOGLE_", "STORAGE_EMULATOR_HOST", "IDENTITY_", "MSI_")
_AZURE_DOMAIN = "core.windows.net"

WHAT_TO_SET = {
    "s3": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE (AWS_SKIP_SIGNATURE=true for a public bucket)",
    "azure": "AZURE_STORAGE_CONNECTION_STRING, or AZURE_STORAGE_ACCOUNT_NAME with AZURE_STORAGE_ACCOUNT_KEY or"
    " AZURE_STORAGE_SAS_TOKEN, or log in with az login (AZURE_SKIP_SIGNATURE=true for a public container)",
    "gcs": "GOOGLE_APPLICATION_CREDENTIALS, or log in with gcloud auth application-default login"
    " (GOOGLE_SKIP_SIGNATURE=true for a public bucket)",
}
"""Of each family: where it looks for credentials, in words for a person."""


def require_driver(scheme: str) -> None:
    """Make sure that this scheme's stores can be reached at all.

    Raises:
        UsageError: the library is not installed.
    """
    try:
        import obstore  # noqa: F401 (only remote archives need it)
    except ImportError:
        extra = BUCKET_FAMILIES[scheme]
        raise UsageError(f"{scheme}:// needs a driver that is not installed: pip install 'vidlake[{extra}]'") from None


def environment() -> tuple[tuple[str, str], ...]:
    """The variables that a client may depend on; a client made under others is another client."""
    return tuple(sorted((name, text) for name, text in os.environ.items() if name.startswith(_VARIABLES)))


def connect(address: Address, *, max_retries: int, read_timeout_s: float | None, timeout_s: float) -> "ObjectStore":
    """A client for the bucket of an address; nothing is asked of the store yet.

    Args:
        address: its key is ignored.
        max_retries: of one request, within seconds; more patience is the caller's part.
        read_timeout_s: the longest silence; it counts while a body is being sent, too.
        timeout_s: of one request, its body included.

    Raises:
        UsageError: the driver is not installed, or the environment lacks an account or credentials, or they are of no
            known form.
    """
    require_driver(address.scheme)
    from obstore.exceptions import BaseError

    client: ClientConfig = {"connect_timeout": timedelta(seconds=10), "timeout": timedelta(seconds=timeout_s)}
    if read_timeout_s is not None:
        client["read_timeout"] = timedelta(seconds=read_timeout_s)
    retries: RetryConfig = {
        "max_retries": max_retries,
        "retry_timeout": timedelta(seconds=5),
        "backoff": {"init_backoff": timedelta(seconds=0.1), "max_backoff": timedelta(seconds=1), "base": 3},
    }
    build = {"s3": _s3, "azure": _azure, "gcs": _gcs}[address.family]
    try:
        return build(address, client=client, retry_config=retries)
    except (BaseError, ValueError) as error:
        # Its text may quote a key.
        advice = f"check {WHAT_TO_SET[address.family]}"
        raise UsageError(f"{address.bucket_uri}: unusable settings ({type(error).__name__}): {advice}") from None


def _s3(address: Address, *, client: "ClientConfig", retry_config: "RetryConfig") -> "ObjectStore":
    from obstore.store import S3Store

    settings: S3Config = {}
    provider = None
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    has_keys = "AWS_ACCESS_KEY_ID" in os.environ and "AWS_PROFILE" not in os.environ
    if not has_keys and not _is_true("AWS_SKIP_SIGNATURE"):
        session = _BotoSession.of(address)
        if session is not None:
            provider = session.provider
            endpoint = endpoint or session.endpoint
            if session.region and not os.environ.keys() & {"AWS_REGION", "AWS_DEFAULT_REGION"}:
                settings["region"] = session.region
    if endpoint:
        settings["endpoint"] = endpoint
        client["allow_http"] = endpoint.startswith("http://")
    return S3Store(
        address.container,
        config=settings,
        client_options=client,
        retry_config=retry_config,
        credential_provider=provider,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _BotoSession:
    """What AWS's own library finds: profiles, single sign-on, roles, containers, instances."""

    provider: "S3CredentialProvider"
    region: str | None
    endpoint: str | None

    @classmethod
    def of(cls, address: Address) -> "_BotoSession | None":
        try:
            import botocore.session
            from botocore.exceptions import BotoCoreError
            from obstore.auth.boto3 import Boto3CredentialProvider
        except ImportError:
            return None  # the driver looks at the environment and the instance by itself
        try:
            session = botocore.session.Session()
            if session.get_credentials() is None:
                raise UsageError(f"{address.bucket_uri}: no credentials: set {WHAT_TO_SET['s3']}")
            return cls(
                provider=Boto3CredentialProvider(session),
                region=session.get_config_variable("region"),
                endpoint=session.get_scoped_config().get("endpoint_url"),
            )
        except BotoCoreError as error:
            raise UsageError(
                f"{address.bucket_uri}: no credentials ({type(error).__name__}): set {WHAT_TO_SET['s3']}"
            ) from None


def _azure(address: Address, *, client: "ClientConfig", retry_config: "RetryConfig") -> "ObjectStore":
    from obstore.store import AzureStore

    settings = azure_settings(address, os.environ)
    provider = None
    is_signed = settings.keys() & {"account_key", "sas_key", "use_emulator"} or _is_true("AZURE_SKIP_SIGNATURE")
    if not is_signed and "AZURE_STORAGE_TOKEN" not in os.environ:
        try:
            from obstore.auth.azure import AzureCredentialProvider

            # It tells at length of each place where it found nothing; what to set is ours to say.
            logging.getLogger("azure.identity").setLevel(logging.CRITICAL)
            provider = AzureCredentialProvider()
        except ImportError:
            pass  # the driver looks at the environment and the instance by itself
    client["allow_http"] = _is_plain_http(settings) or "use_emulator" in settings
    return AzureStore(
        address.container,
        config=settings,
        client_options=client,
        retry_config=retry_config,
        credential_provider=provider,
    )


def azure_settings(address: Address, variables: Mapping[str, str]) -> "AzureConfig":
    """What the driver must know, by its own names for it.

    Account and endpoint; and the key or signature, where they are those of the account that the address names.

    Raises:
        UsageError: neither address nor variables name an account.
    """
    account, _, domain = address.host.partition(".")
    text = variables.get("AZURE_STORAGE_CONNECTION_STRING")
    settings = _connection(text) if text else _named(variables)
    if settings.get("use_emulator"):
        return settings
    if account and account != settings.get("account_name"):
        settings = {"account_name": account}
    if domain and not _is_plain_http(settings):
        settings["endpoint"] = f"https://{account}.{domain.replace('dfs.', 'blob.', 1)}"
    if "account_name" not in settings:
        raise UsageError(
            f"{address.bucket_uri}: no account: set AZURE_STORAGE_CONNECTION_STRING or AZURE_STORAGE_ACCOUNT_NAME, or"
            f" write abfss://{address.container}@ACCOUNT.dfs.{_AZURE_DOMAIN}/..."
        )
    return settings


def _is_plain_http(settings: "AzureConfig") -> bool:
    return str(settings.get("endpoint", "")).startswith("http://")


def _named(variables: Mapping[str, str]) -> "AzureConfig":
    """Settings by the names that the vendor's library and its command line use."""
    names = {
        "account_name": ("AZURE_STORAGE_ACCOUNT_NAME", "AZURE_STORAGE_ACCOUNT"),
        "account_key": ("AZURE_STORAGE_ACCOUNT_KEY", "AZURE_STORAGE_KEY"),
        "sas_key": ("AZURE_STORAGE_SAS_TOKEN", "AZURE_STORAGE_SAS_KEY"),
        "endpoint": ("AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT"),
    }
    texts = {key: next(filter(None, map(variables.get, among)), None) for key, among in names.items()}
    return cast("AzureConfig", {key: text for key, text in texts.items() if text})


def _connection(text: str) -> "AzureConfig":
    """Settings of a connection string, such as ``AccountName=...;AccountKey=...;EndpointSuffix=core.windows.net``."""
    parts = [part.partition("=") for part in text.split(";")]
    fields = {name.strip().lower(): value.strip() for name, _, value in parts}
    if fields.get("usedevelopmentstorage", "").lower() == "true":
        return {"use_emulator": True}
    endpoint = fields.get("blobendpoint", "").rstrip("/")
    name = fields.get("accountname") or endpoint.partition("://")[2].partition(".")[0]
    if name and not endpoint:
        protocol = fields.get("defaultendpointsprotocol", "https")
        endpoint = f"{protocol}://{name}.blob.{fields.get('endpointsuffix', _AZURE_DOMAIN)}"
    texts = {
        "account_name": name,
        "account_key": fields.get("accountkey"),
        "sas_key": fields.get("sharedaccesssignature"),
        "endpoint": endpoint,
    }
    return cast("AzureConfig", {key: text for key, text in texts.items() if text})


def _gcs(address: Address, *, client: "ClientConfig", retry_config: "RetryConfig") -> "ObjectStore":
    from obstore.store import GCSStore

    settings: GCSConfig = {}
    provider = None
    emulator = os.environ.get("STORAGE_EMULATOR_HOST")
    if emulator:
        base_url = emulator if "://" in emulator else f"http://{emulator}"
        settings["base_url"] = base_url
        settings["bearer_token"] = "emulator"  # it takes any; without one the driver would not write
        client["allow_http"] = base_url.startswith("http://")
    own = ("GOOGLE_SERVICE_ACCOUNT", "GOOGLE_SERVICE_ACCOUNT_PATH", "GOOGLE_SERVICE_ACCOUNT_KEY", "GOOGLE_BEARER_TOKEN")
    if not emulator and not os.environ.keys() & set(own) and not _is_true("GOOGLE_SKIP_SIGNATURE"):
        provider = _google_provider(address)
    return GCSStore(
        address.container,
        config=settings,
        client_options=client,
        retry_config=retry_config,
        credential_provider=provider,
    )


def _google_provider(address: Address) -> "GoogleCredentialProvider | None":
    try:
        from google.auth.exceptions import GoogleAuthError
        from obstore.auth.google import GoogleCredentialProvider
    except ImportError:
        return None  # the driver looks at the environment and the instance by itself
    try:
        return GoogleCredentialProvider()
    except GoogleAuthError as error:
        advice = f"set {WHAT_TO_SET['gcs']}"
        raise UsageError(f"{address.bucket_uri}: no credentials ({type(error).__name__}): {advice}") from None


def _is_true(name: str) -> bool:
    return os.environ.get(name, "").lower() in ("1", "true", "on", "yes")
