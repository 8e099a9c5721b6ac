"""LitServe, set up as its documentation advises, over vidlake's own decoding and model."""

import sys
from typing import Any

import litserve as ls
import numpy as np
from fastapi import Request, Response
from numpy.typing import NDArray

from pipeline.media.still_picture import StillPicture, paint
from pipeline.models.embedder import Embedder
from pipeline.models.preprocess import prepare
from pipeline.models.registry import load_model
from serve.web.replies import to_json


class Features(ls.LitAPI):  # type: ignore[misc]  # it ships no types
    """JPEG in, feature out, in batches."""

    def __init__(self, model: str, weights: str) -> None:
        super().__init__(max_batch_size=32, batch_timeout=0.005)
        self._name = model
        self._weights = weights

    def setup(self, device: str) -> None:
        self._embedder = Embedder(load_model(self._name, weights=self._weights), batch_size=32)
        self._embedder.warm_up()

    def decode_request(self, request: Request) -> bytes:
        body: bytes = request["file"].file.read()  # LitServe hands on JSON or forms, not bodies of other types
        return body

    def batch(self, inputs: list[bytes]) -> Any:
        preprocessing = self._embedder.info.preprocessing
        return np.stack([prepare(_decoded(body), preprocessing=preprocessing) for body in inputs])

    def predict(self, x: Any) -> Any:
        return self._embedder.embed([x])

    def unbatch(self, output: Any) -> list[Any]:
        return list(output)

    def encode_response(self, output: Any) -> Response:
        return Response(to_json({"feature": output}), media_type="application/json")


def _decoded(body: bytes) -> NDArray[np.uint8]:
    still = StillPicture(body, uri="", max_pixels=10**9)
    pixels = np.empty((*still.size_px, 3), np.uint8)
    paint(still.part_of(()), into=pixels)
    return pixels


if __name__ == "__main__":
    name, weights, port = sys.argv[1:]
    ls.LitServer(Features(name, weights), accelerator="cpu").run(port=int(port), generate_client_file=False)
