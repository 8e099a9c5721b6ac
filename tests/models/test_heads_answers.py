"""Heads at work: their answers are those of torch and scikit-learn, alone and among any neighbours."""

import time
from collections.abc import Callable

import numpy as np
import pytest
import torch
from heads import backbone, head_info, network_arrays, samples
from torch.nn import functional

from pipeline.models.heads.head import Head
from pipeline.models.heads.pooling import pool
from pipeline.models.heads.steps import Delta
from pipeline.records.heads import HeadInfo

RNG = np.random.default_rng(1)
X = RNG.normal(size=(40, 6)).astype(np.float32)


def head(info: HeadInfo, **options: int) -> Head:
    return Head(info, network_arrays(info, **options), digest="d")


def tensors(info: HeadInfo) -> dict[str, torch.Tensor]:
    return {name.removeprefix("network."): torch.from_numpy(a) for name, a in network_arrays(info).items()}


def test_linear_and_mlp_are_those_of_torch() -> None:
    info = head_info("linear", temperature=2.0)
    t = tensors(info)
    expected = torch.softmax(functional.linear(torch.from_numpy(X), t["weight"], t["bias"]) / 2.0, dim=1)
    assert head(info).frames(X) == pytest.approx(expected.numpy(), abs=1e-6)

    info = head_info("mlp:7", is_multi_label=True)
    t = tensors(info)
    hidden = torch.relu(functional.linear(torch.from_numpy(X), t["hidden.weight"], t["hidden.bias"]))
    expected = torch.sigmoid(functional.linear(hidden, t["output.weight"], t["output.bias"]))
    assert head(info).frames(X) == pytest.approx(expected.numpy(), abs=1e-6)


def test_gru_reads_the_samples_of_a_unit_in_order_whatever_their_number() -> None:
    info = head_info("gru:5", unit="window:2/1")
    t = tensors(info)
    cell = torch.nn.GRUCell(6, 5)
    cell.load_state_dict(
        {n.removeprefix("recurrent.").removesuffix("_l0"): v for n, v in t.items() if "recurrent" in n}
    )
    answers = head(info).answer(X, samples(40, epochs=(23,)))
    assert {int(n) for n in answers.units.end - answers.units.begin} > {10, 3}
    expected = []
    for begin, end in zip(answers.units.begin, answers.units.end, strict=True):
        state = torch.zeros(1, 5)
        for at in range(begin, end):
            state = cell(torch.from_numpy(X[at : at + 1]), state)
        expected.append(torch.softmax(functional.linear(state, t["output.weight"], t["output.bias"]), dim=1)[0])
    assert answers.probabilities == pytest.approx(torch.stack(expected).detach().numpy(), abs=1e-6)


def test_windows_are_pooled_after_the_steps_which_do_not_look_back_over_an_epoch() -> None:
    info = head_info("linear", unit="window:2", steps=("delta", "standardize"), pool=("mean", "std"))
    arrays, video = network_arrays(info), samples(40, epochs=(23,))
    answers = head(info).answer(X, video)
    steps = (Delta().apply(X, runs=video.epochs) - arrays["step1.mean"]) / arrays["step1.scale"]
    vectors = pool(steps, answers.units.begin, answers.units.end, ["mean", "std"])
    logits = vectors @ arrays["network.weight"].T + arrays["network.bias"]
    assert answers.probabilities == pytest.approx(torch.softmax(torch.from_numpy(logits), 1).numpy(), abs=1e-6)
    assert answers.units.time_s.tolist() == [0, 2, 4, 4, 6]


KINDS = [
    pytest.param(head_info("linear", steps=("l2", "standardize")), id="linear"),
    pytest.param(head_info("mlp", steps=("pca:4",)), id="mlp"),
    pytest.param(head_info("gru", unit="window:3/0.5"), id="gru"),
    pytest.param(head_info("gru"), id="gru-on-frames"),
    pytest.param(head_info("linear", unit="window:1/0.4", pool=("std", "max")), id="windows"),
]


@pytest.mark.parametrize("info", KINDS)
def test_an_answer_does_not_depend_on_its_neighbours(info: HeadInfo) -> None:
    one = head(info)
    whole = one.answer(X, samples(40))
    for at in range(0, len(whole.units), 5):
        begin, end = int(whole.units.begin[at]), int(whole.units.end[at])
        alone = head_info(unit="video")
        answer = one.of_units(X[begin:end], alone.unit.of(samples(end - begin)), runs=np.zeros(end - begin, np.int64))
        assert np.abs(answer[0] - whole.probabilities[at]).max() <= 1e-6


def test_frames_of_any_videos_are_answered_together_where_each_is_alone() -> None:
    assert np.array_equal(head(head_info()).frames(X), head(head_info()).answer(X, samples(40)).probabilities)
    assert head(head_info()).frames(X[:0]).shape == (0, 3)
    for info in (head_info(steps=("delta",)), head_info(unit="video")):
        with pytest.raises(ValueError, match="together"):
            head(info).frames(X)
    assert head(head_info(unit="window:1")).answer(X[:0], samples(0)).probabilities.shape == (0, 3)


def test_features_are_rounded_to_the_stored_type_of_their_own_backbone() -> None:
    both = (backbone(name="a", dim=2, dtype="float16"), backbone(name="b", dim=4))
    info = head_info(backbones=both)
    rounded = np.concatenate([X[:, :2].astype(np.float16).astype(np.float32), X[:, 2:]], axis=1)
    assert np.array_equal(head(info).frames(X), head(info).frames(rounded))
    assert not np.array_equal(head(info).frames(X), head(head_info()).frames(X))
    alone = head_info(backbones=(backbone(dtype="float16"),))
    assert np.array_equal(head(alone).frames(X), head(head_info()).frames(X.astype(np.float16).astype(np.float32)))
    with pytest.raises(ValueError, match=r"not \[N, 6\]"):
        head(info).frames(X[:, :5])


def test_labels_are_the_most_probable_or_those_above_thresholds() -> None:
    probabilities = np.array([[0.2, 0.5, 0.3], [0.6, 0.7, 0.1]], np.float32)
    said = head(head_info()).labels_of(probabilities)
    assert (said.best.tolist(), said.holds.tolist()) == ([1, 1], [[False, True, False]] * 2)
    said = head(head_info(is_multi_label=True)).labels_of(probabilities)
    assert (said.best.tolist(), said.holds.tolist()) == ([1, 1], [[False, False, False], [True, True, False]])


def fastest_s(call: Callable[[], object], *, num: int = 200) -> float:
    times = []
    for _ in range(num):
        began = time.perf_counter()
        call()
        times.append(time.perf_counter() - began)
    return min(times)


@pytest.mark.parametrize("kind", ["linear", "mlp"])
def test_a_small_network_answers_a_picture_in_half_a_millisecond(kind: str) -> None:
    info = head_info(kind, backbones=(backbone(dim=1280),))
    one, row = head(info), RNG.normal(size=(1, 1280)).astype(np.float32)
    assert fastest_s(lambda: one.frames(row)) < 0.0005


@pytest.mark.slow
def test_a_thread_answers_two_hundred_thousand_frames_a_second() -> None:
    info = head_info(backbones=(backbone(dim=512),))
    one, rows = head(info), RNG.normal(size=(50_000, 512)).astype(np.float32)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        assert fastest_s(lambda: one.frames(rows), num=5) < 0.25
    finally:
        torch.set_num_threads(threads)
