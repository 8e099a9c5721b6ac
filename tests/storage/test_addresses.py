"""Canonical URIs: one form for one video, and no secret in it."""

from pathlib import Path

import pytest

from pipeline.errors import UsageError
from pipeline.storage.addresses import canonical_uri, has_secret

SECRET = "s3cr3t"


@pytest.mark.parametrize(
    ("text", "uri"),
    [
        pytest.param("/a/../b/x y.mp4", "/b/x y.mp4", id="local-path-is-absolute-and-tidy"),
        pytest.param("file:///a/x%20y%23.mp4", "/a/x y#.mp4", id="file-uri-is-percent-decoded"),
        pytest.param("file:/a/x.mp4", "/a/x.mp4", id="file-uri-of-one-slash"),
        pytest.param("file://localhost/a.mp4", "/a.mp4", id="file-uri-of-localhost"),
        pytest.param("/a/50%25.mp4", "/a/50%25.mp4", id="plain-path-is-not-percent-decoded"),
        pytest.param("https://me:pw@Host:443/a.mp4#t=3", "https://host/a.mp4", id="user-info-and-fragment-are-dropped"),
        pytest.param("http://h:8080/a?cam=3&st=1&se=2", "http://h:8080/a?cam=3&st=1&se=2", id="other-parameters-stay"),
        pytest.param("https://h/a?X-Amz-Signature=k&b=2&x-amz-date=1&a=1", "https://h/a?b=2&a=1", id="amazon-v4"),
        pytest.param("https://h/a?AWSAccessKeyId=i&Signature=k&Expires=9", "https://h/a", id="amazon-v2"),
        pytest.param("https://h/a?Policy=p&Signature=k&Key-Pair-Id=i&v=1", "https://h/a?v=1", id="cloudfront"),
        pytest.param("https://h/a?X-Goog-Signature=k&generation=5", "https://h/a?generation=5", id="google"),
        pytest.param("https://h/a?sv=1&st=2&se=3&sr=b&sp=r&sig=k&snapshot=7", "https://h/a?snapshot=7", id="azure-sas"),
        pytest.param("https://h/a?access_token=k&TOKEN=k&q=", "https://h/a?q=", id="tokens"),
        pytest.param("abfs://box@account/a.mp4", "abfs://box@account/a.mp4", id="azure-container-is-no-user"),
        pytest.param("AZ://box:pw@account/a.mp4", "az://box@account/a.mp4", id="a-password-beside-it-is-dropped"),
        pytest.param("s3://me:pw@b/a.mp4", "s3://b/a.mp4", id="bucket-without-user-info"),
        pytest.param("s3://b/50%25 a#1?[2]&&.mp4", "s3://b/50%25 a#1?[2]&&.mp4", id="key-stays-as-written"),
        pytest.param("az://b/a.mp4?sv=1&sig=k", "az://b/a.mp4", id="signature-behind-a-key"),
    ],
)
def test_canonical_uri_is_stable_and_holds_no_secret(text: str, uri: str) -> None:
    assert canonical_uri(text) == uri


def test_canonical_uri_keeps_symlinks_as_given(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    assert canonical_uri(str(tmp_path / "link" / "a.mp4")) == str(tmp_path / "link" / "a.mp4")


@pytest.mark.parametrize("text", ["file://elsewhere/a.mp4", f"http://u:{SECRET}@[bad/a", f"http://u:{SECRET}@h:x/a"])
def test_impossible_addresses_are_usage_errors_without_secrets(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        canonical_uri(text)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "is_secret"),
    [
        pytest.param("/a?sig=k", False, id="a-file-whose-name-looks-like-it"),
        pytest.param("https://h/a?cam=3&&st=1", False, id="plain-parameters"),
        pytest.param("https://h/a?sv=1&sig=k", True, id="a-signature"),
        pytest.param("https://me:pw@h/a", True, id="user-info"),
        pytest.param("s3://key:pw@bucket/a", True, id="a-key-before-a-bucket"),
        pytest.param("abfs://box@account/a.mp4", False, id="azure-container-is-no-user"),
        pytest.param("http://[bad/a", False, id="no-address-at-all"),
    ],
)
def test_secrets_in_addresses_are_found(text: str, is_secret: bool) -> None:
    assert has_secret(text) is is_secret
