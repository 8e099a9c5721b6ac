"""Which bucket an address means, and where accounts and credentials come from."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from stores import ObjectStore, only_variables

from pipeline.errors import StorageError, UsageError
from pipeline.inputs.input_words import Inputs
from pipeline.storage.buckets.address import Address
from pipeline.storage.buckets.credentials import azure_settings
from pipeline.storage.retry import RetryPolicy

QUICK = RetryPolicy(attempts=2, patience_s=0.0, wait_initial_s=0.01, wait_max_s=0.01, jitter_s=0.0)
SECRET = "c2VjcmV0"
BLOB = "blob.core.windows.net"


@pytest.fixture(autouse=True)
def nobody(tmp_path: Path) -> Iterator[None]:
    """A home without credentials, on a machine that has none either."""
    with only_variables({"HOME": str(tmp_path), "AWS_EC2_METADATA_DISABLED": "true"}):
        yield


@pytest.mark.parametrize(
    ("uri", "family", "bucket_uri", "key"),
    [
        pytest.param("s3://b/a/b.mp4", "s3", "s3://b", "a/b.mp4", id="s3"),
        pytest.param("s3://b", "s3", "s3://b", "", id="a-bucket-alone"),
        pytest.param("GS://b/a%20b/", "gcs", "gs://b", "a%20b/", id="google"),
        pytest.param("az://box/a.mp4", "azure", "az://box", "a.mp4", id="azure"),
        pytest.param("abfs://box/a.mp4", "azure", "abfs://box", "a.mp4", id="azure-data-lake"),
        pytest.param(
            "abfss://box@me.dfs.core.windows.net/a", "azure", "abfss://box@me.dfs.core.windows.net", "a", id="account"
        ),
    ],
)
def test_address_is_taken_apart(uri: str, family: str, bucket_uri: str, key: str) -> None:
    address = Address.parse(uri)
    assert (address.family, address.bucket_uri, address.key) == (family, bucket_uri, key)


@pytest.mark.parametrize(
    ("uri", "bucket", "expected"),
    [
        ("s3://b/out/x", "s3://b", True),
        ("s3://b/out/x", "s3://c", False),
        ("gs://b/out/x", "s3://b", False),
        ("az://b/out", "abfss://b@me.dfs.core.windows.net", True),
        ("abfss://b@you.dfs.core.windows.net/out", "abfss://b@me.dfs.core.windows.net", False),
    ],
)
def test_one_bucket_may_have_several_addresses(uri: str, bucket: str, expected: bool) -> None:
    assert Address.parse(uri).is_in(Address.parse(bucket)) is expected


MINE = {"account_name": "me", "account_key": "k==", "endpoint": f"https://me.{BLOB}"}


@pytest.mark.parametrize(
    ("uri", "text", "settings"),
    [
        pytest.param("az://b", "AccountName=me;AccountKey=k==;EndpointSuffix=core.windows.net", MINE, id="key"),
        pytest.param("az://b", "DefaultEndpointsProtocol=https; accountname=me;AccountKey=k==;", MINE, id="any-case"),
        pytest.param(
            "az://b",
            f"BlobEndpoint=https://me.{BLOB}/;SharedAccessSignature=sv=1&sig=x%3D",
            {"account_name": "me", "sas_key": "sv=1&sig=x%3D", "endpoint": f"https://me.{BLOB}"},
            id="signature",
        ),
        pytest.param(
            "az://b",
            "AccountName=dev;AccountKey=k;BlobEndpoint=http://127.0.0.1:1000/dev",
            {"account_name": "dev", "account_key": "k", "endpoint": "http://127.0.0.1:1000/dev"},
            id="emulator",
        ),
        pytest.param("az://b", "UseDevelopmentStorage=true", {"use_emulator": True}, id="emulator-by-name"),
        pytest.param("abfss://b@me.dfs.core.windows.net", "AccountName=me;AccountKey=k==", MINE, id="account-twice"),
        pytest.param(
            "abfss://b@you.dfs.core.windows.net",
            "AccountName=me;AccountKey=k==",
            {"account_name": "you", "endpoint": f"https://you.{BLOB}"},
            id="the-key-of-another-account-is-left-alone",
        ),
    ],
)
def test_connection_string_is_read(uri: str, text: str, settings: dict[str, object]) -> None:
    assert azure_settings(Address.parse(uri), {"AZURE_STORAGE_CONNECTION_STRING": text}) == settings


def test_account_is_found_by_the_names_of_azures_own_tools() -> None:
    address = Address.parse("az://b")
    ours = {"AZURE_STORAGE_ACCOUNT_NAME": "me", "AZURE_STORAGE_ACCOUNT_KEY": "k"}
    assert azure_settings(address, ours) == {"account_name": "me", "account_key": "k"}
    theirs = {"AZURE_STORAGE_ACCOUNT": "me", "AZURE_STORAGE_SAS_TOKEN": "sv=1&sig=x"}
    assert azure_settings(address, theirs) == {"account_name": "me", "sas_key": "sv=1&sig=x"}


@pytest.mark.parametrize(
    ("uri", "variables", "message"),
    [
        pytest.param("s3://b/a", {}, "no credentials: set AWS_ACCESS_KEY_ID", id="s3-nothing"),
        pytest.param("s3://b/a", {"AWS_PROFILE": "absent"}, "no credentials .*: set AWS_", id="s3-profile"),
        pytest.param("az://b/a", {}, "no account: set AZURE_STORAGE_CONNECTION_STRING", id="azure-nothing"),
        pytest.param(
            "az://b/a",
            {"AZURE_STORAGE_CONNECTION_STRING": f"AccountName=me;AccountKey={SECRET}@"},
            "unusable settings .*: check AZURE_STORAGE_CONNECTION_STRING",
            id="azure-key-of-no-form",
        ),
        pytest.param("gs://b/a", {"GOOGLE_APPLICATION_CREDENTIALS": "/absent.json"}, "no credentials", id="google"),
    ],
)
def test_missing_credentials_are_one_line_that_says_what_to_set(
    uri: str, variables: dict[str, str], message: str
) -> None:
    with only_variables(variables), pytest.raises(UsageError, match=message) as caught:
        Inputs([uri], retry=QUICK)
    assert SECRET not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_profile_with_keys_region_and_endpoint_suffices(s3_store: ObjectStore, tmp_path: Path) -> None:
    with only_variables(s3_store.environment()):
        place = s3_store.new_bucket()
        s3_store.put(f"{place}/a.mp4", b"1")
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws" / "config").write_text(f"[profile me]\nregion = eu-west-1\nendpoint_url = {s3_store.url}\n")
    (tmp_path / ".aws" / "credentials").write_text("[me]\naws_access_key_id = a\naws_secret_access_key = b\n")
    with only_variables({"AWS_PROFILE": "me"}):
        assert [source.uri for source in Inputs([place])] == [f"{place}/a.mp4"]


def test_another_environment_is_another_client(s3_store: ObjectStore) -> None:
    with only_variables(s3_store.environment()):
        place = s3_store.new_bucket()
        s3_store.put(f"{place}/a.mp4", b"1")
        assert len(list(Inputs([place]))) == 1
    with only_variables(s3_store.environment(url="http://127.0.0.1:9")), pytest.raises(StorageError):
        Inputs([place], retry=QUICK)
