"""Heads that are small networks: from vectors, or from sequences of them, to logits."""

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence
from typing_extensions import override

from pipeline.models.heads.arrays import Arrays, Shape
from pipeline.records.heads import HeadKind

DEFAULT_HIDDEN = {"mlp": 128, "gru": 64}
"""The H of a kind that was given none."""

MAX_HIDDEN = 1 << 14


class Mlp(nn.Module):
    """One hidden layer with ReLU."""

    def __init__(self, dim: int, *, num_hidden: int, num_labels: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(dim, num_hidden)
        self.output = nn.Linear(num_hidden, num_labels)

    @override
    def forward(self, vectors: Tensor) -> Tensor:
        """Map ``float32[B, D]`` to logits ``float32[B, C]``."""
        logits: Tensor = self.output(torch.relu(self.hidden(vectors)))
        return logits


class Gru(nn.Module):
    """One gated recurrent layer over sequences of any length; its last state makes the logits."""

    def __init__(self, dim: int, *, num_hidden: int, num_labels: int) -> None:
        super().__init__()
        self.recurrent = nn.GRU(dim, num_hidden, batch_first=True)
        self.output = nn.Linear(num_hidden, num_labels)

    @override
    def forward(self, sequences: Tensor, lengths: Tensor) -> Tensor:
        """Map ``float32[B, T, D]`` to logits ``float32[B, C]``.

        Args:
            sequences: padded at their ends with anything.
            lengths: ``int64[B]`` on the CPU, at least 1 each.
        """
        if bool((lengths == sequences.shape[1]).all()):
            _, last = self.recurrent(sequences)
        else:
            packed = pack_padded_sequence(sequences, lengths, batch_first=True, enforce_sorted=False)
            _, last = self.recurrent(packed)
        logits: Tensor = self.output(last[0])
        return logits


def network_of(kind: HeadKind, *, dim: int, num_labels: int) -> nn.Module:
    """A network with the numbers that torch gives it at its making.

    Raises:
        ValueError: the kind is no network, or its hidden layer has no possible size.
    """
    if kind.name == "linear":
        return nn.Linear(dim, num_labels)
    num_hidden = DEFAULT_HIDDEN.get(kind.name, 0) if kind.hidden is None else kind.hidden
    if not 1 <= num_hidden <= MAX_HIDDEN:
        raise ValueError(f"a hidden layer has 1 to {MAX_HIDDEN} units, not {num_hidden}")
    network = {"mlp": Mlp, "gru": Gru}.get(kind.name)
    if network is None:
        raise ValueError(f"{kind.name} is no network")
    return network(dim, num_hidden=num_hidden, num_labels=num_labels)


def network_shapes(kind: HeadKind, *, dim: int, num_labels: int) -> dict[str, Shape]:
    """The arrays of a network, by their names in its state dict; takes no memory for them. Raises as ``network_of``."""
    with torch.device("meta"):
        state = network_of(kind, dim=dim, num_labels=num_labels).state_dict()
    return {name: Shape(dtype="float32", sizes=tuple(tensor.shape)) for name, tensor in state.items()}


def network_from(kind: HeadKind, arrays: Arrays, *, dim: int, num_labels: int) -> nn.Module:
    """A network for inference, over arrays that ``network_shapes`` describes."""
    with torch.device("meta"):
        network = network_of(kind, dim=dim, num_labels=num_labels)
    state = {name: torch.from_numpy(array.copy()) for name, array in arrays.items()}
    network.load_state_dict(state, assign=True)
    return network.eval().requires_grad_(False)
