"""vidlake's batch side, and everything that batch and live share."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipeline.explore.reader import LakeReader

__version__ = "0.1.0"


def read(
    uri: str,
    *,
    where: "str | Mapping[str, str | int | float | bool | None] | None" = None,
    since: str | None = None,
    until: str | None = None,
) -> "LakeReader":
    """The dataset at ``uri``, or a part of it, for pandas, Arrow, torch and Hugging Face: see ``LakeReader.at``."""
    from pipeline.explore.reader import LakeReader

    return LakeReader.at(uri, where=where, since=since, until=until)
