"""The network that a training begins with, and the dataset of what it takes."""

from dataclasses import dataclass
from typing import Self

from pipeline.errors import UsageError
from pipeline.lake.config import DatasetConfig
from pipeline.lake.dataset import DatasetInfo
from pipeline.models.registry import LoadedModel, has_default_weights, load_model
from pipeline.training.finetune.request import FinetuneRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """A network, loaded."""

    model: LoadedModel
    head_name: str
    """What its last layer is called in a weights file."""
    weights: str
    """Where its numbers are from."""
    inputs: DatasetInfo
    """How the dataset of its inputs is made."""

    @classmethod
    def of(cls, request: FinetuneRequest) -> Self:
        """Load the network; one without default weights begins with random ones of the seed.

        Raises:
            UsageError: there is no such model, or no weights file can hold another last layer of it.
            WeightsError: the library's weights could not be downloaded.
        """
        weights = request.weights
        if weights == "default" and not has_default_weights(request.model):
            weights = f"random:{request.learning.seed}"
        model = load_model(request.model, weights=weights)
        if model.info.preprocessing.window is not None:
            raise UsageError(f"--model {request.model}: it takes clips, and pictures are what is trained on")
        if model.head_name is None:
            raise UsageError(
                f"--model {request.model}: its last layer is not a linear one that another could take the place of; "
                "choose another model"
            )
        config = DatasetConfig(
            model=model.info, sample=str(request.rule), precision="fp32", dtype="float32", content="inputs"
        )
        inputs = DatasetInfo(config=config, weights=weights)
        return cls(model=model, head_name=model.head_name, weights=weights, inputs=inputs)
