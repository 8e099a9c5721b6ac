"""Which bucket an address means, in which kind of store, and the key in it."""

from dataclasses import dataclass

from pipeline.errors import UsageError
from pipeline.storage.addresses import BUCKET_FAMILIES, canonical_uri, scheme_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where an object lies, or what has its name as a folder.

    ``host`` is what stands behind Azure's ``container@``: an account, or its host name; else empty. ``key`` is as
    written, never percent-decoded, and empty for a whole bucket.
    """

    scheme: str
    container: str
    host: str
    key: str

    @classmethod
    def parse(cls, uri: str) -> "Address":
        """Read ``s3://BUCKET/KEY``, ``gs://BUCKET/KEY``, ``az://CONTAINER/KEY`` or ``abfss://CONTAINER@HOST/KEY``.

        Raises:
            UsageError: it names no bucket.
        """
        scheme = scheme_of(uri)
        place, _, key = canonical_uri(uri).partition("://")[2].partition("/")
        container, _, host = place.partition("@")
        if not container:
            raise UsageError(f"{scheme}:// without a bucket's name: write {scheme}://BUCKET/...")
        return cls(scheme=scheme, container=container, host=host, key=key)

    def is_in(self, bucket: "Address") -> bool:
        """Whether it lies in the bucket of another address; where one names no Azure host, hosts are not compared."""
        is_same_host = not (self.host and bucket.host) or self.host == bucket.host
        return is_same_host and (self.family, self.container) == (bucket.family, bucket.container)

    @property
    def family(self) -> str:
        """``s3``, ``azure`` or ``gcs``: also the name of the extra that installs its driver."""
        return BUCKET_FAMILIES[self.scheme]

    @property
    def bucket_uri(self) -> str:
        """The canonical URI of the bucket alone."""
        return f"{self.scheme}://{self.container}" + (f"@{self.host}" if self.host else "")
