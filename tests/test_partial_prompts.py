"""Partial prompts: cuts, likeness by hand, scores, and a model that memorised some questions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from tokenizers import Tokenizer, decoders, pre_tokenizers, trainers
from tokenizers.models import BPE
from transformers import PreTrainedTokenizerFast

from paradox.errors import DataError
from paradox.files import write_table
from paradox.mechanisms.partial_prompts import measure as partial_prompts
from paradox.mechanisms.partial_prompts import signature, summary
from paradox.mechanisms.partial_prompts.measure import cut_all, rest_nll
from paradox.mechanisms.tables import signatures
from paradox.mechanisms.tables.pairs import Groups
from paradox.models import load_model, load_tokenizer, sample, save_model
from paradox.progress import Progress
from paradox.provenance.manifest import write_manifest
from paradox.stats.overlap import edit_distance, likeness, rouge_l
from paradox.tasks import Task, load_task

RATIOS = [0.4, 0.6, 0.8]


@pytest.fixture(scope="module")
def task(task_spec: dict[str, Any]) -> Task:
    return load_task(task_spec)


@pytest.fixture(scope="module")
def items(task: Task) -> pd.DataFrame:
    return task.items(0)


def _arm(folder: Path, model: Any, tokenizer: Any) -> Path:
    save_model(model, tokenizer, folder / "step-0")
    write_manifest(folder / "manifest.json", {0: folder / "step-0"}, {})
    return folder / "manifest.json"


@pytest.fixture(scope="module")
def memorised(
    tmp_path_factory: pytest.TempPathFactory,
    tiny_checkpoint: Path,
    task: Task,
    items: pd.DataFrame,
) -> Path:
    """The tiny base after learning the questions of exposure 16 by heart, and no others."""
    folder = tiny_checkpoint / "step-0"
    model, tokenizer = load_model(folder), load_tokenizer(folder)
    texts = [task.prompt(q) for q in items.query("exposure == 16")["question"]]
    ids = tokenizer(texts, return_tensors="pt")["input_ids"]
    torch.manual_seed(0)
    adam = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(120):
        adam.zero_grad()
        model(ids, labels=ids).loss.backward()
        adam.step()
    return _arm(tmp_path_factory.mktemp("memorised"), model, tokenizer)


def _run(
    folder: Path, task_spec: dict[str, Any], items: pd.DataFrame, arm: Path, reference: Path
) -> tuple[pd.DataFrame, pd.DataFrame]:
    how = {"ratios": RATIOS, "samples": 4, "temperature": 1.0, "min_remainder": 1}
    spec = {
        "arm": {"base": "contaminated", "method": "base", "reward": "none", "seed": 0},
        "partial_prompts": how | {"batch_size": 64, "dtype": "float32"},
        "task": task_spec,
        "exposed_from": 16,
        "seed": 0,
        "resamples": 200,
    }
    write_table(folder / "all.csv", items)
    inputs = {"manifest": arm, "reference": reference, "items": folder / "all.csv"}
    outputs = {name: folder / f"{name}.csv" for name in ("items", "contrast")}
    partial_prompts.main(spec, inputs, outputs, Progress("test"))
    return pd.read_csv(outputs["items"]), pd.read_csv(outputs["contrast"])


def test_likeness_by_hand() -> None:
    cases = [  # found, reference, edit distance, common subsequence
        ("a b c d", "a b c d", 0, 4),
        ("", "a b", 2, 0),
        ("a b", "", 2, 0),
        ("a c b d", "a b c d", 2, 3),
        ("x a b c", "a b c d", 2, 3),
        ("d c b a", "a b c d", 4, 1),
        ("k i t t e n", "s i t t i n g", 3, 4),
    ]
    for found, reference, edits, common in cases:
        one, two = found.split(), reference.split()
        assert edit_distance(one, two) == edits / max(len(one), len(two))
        precision, recall = common / max(len(one), 1), common / max(len(two), 1)
        f1 = 2 * precision * recall / (precision + recall) if common else 0
        assert rouge_l(one, two) == pytest.approx(f1)
        assert edit_distance(two, one) == edit_distance(one, two)
    assert likeness("a  b", " a b")[0] and not likeness("a b", "a b c")[0]
    assert edit_distance([], []) == 0 == rouge_l([], [])


def test_cuts_of_chains(tiny_checkpoint: Path, task: Task, items: pd.DataFrame) -> None:
    tokenizer = load_tokenizer(tiny_checkpoint / "step-0")
    cuts = cut_all(task, tokenizer, items, RATIOS, 1)
    words = items["question"].iloc[0].split()
    assert [cut.tokens for cut in cuts[:3]] == [4, 3, 1]  # of seven: 2.8, 4.2 and 5.6 are seen
    for cut in cuts[:3]:
        assert cut.beginning == " ".join(["<bos> Q", *words[: 7 - cut.tokens]])
        assert cut.rest == " " + " ".join(words[7 - cut.tokens :])
    assert {cut.ratio for cut in cut_all(task, tokenizer, items, RATIOS, 3)} == {0.4, 0.6}
    with pytest.raises(DataError, match="min_remainder"):
        cut_all(task, tokenizer, items, RATIOS, 5)


@pytest.mark.parametrize("trimmed", [True, False])
def test_cuts_between_words(trimmed: bool) -> None:
    story = "Mia packs 46 apples and then 12 more. Each of the 3 boxes loses 4 apples. How many?"
    backend = Tokenizer(BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    if trimmed:
        from tokenizers import processors

        backend.post_processor = processors.ByteLevel(trim_offsets=True)
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    backend.train_from_iterator([story], trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend)
    task = load_task({"kind": "word_problems"})
    cuts = cut_all(task, tokenizer, pd.DataFrame({"question": [story]}), RATIOS, 1)
    whole = f"Question: {story}"
    for cut in cuts:
        assert cut.beginning + cut.rest == whole and cut.rest[0] == " "
        assert cut.beginning.split() + cut.rest.split() == whole.split()
        # The rest is tokenised as in the whole: no token spans the cut.
        assert cut.tokens == len(tokenizer(cut.rest)["input_ids"])
        seen = 1 - cut.tokens / len(tokenizer(f" {story}")["input_ids"])
        assert seen == pytest.approx(cut.ratio, abs=0.12)


def test_the_rest_is_scored_given_the_beginning(
    tiny_checkpoint: Path, task: Task, items: pd.DataFrame
) -> None:
    model = load_model(tiny_checkpoint / "step-0")
    tokenizer = load_tokenizer(tiny_checkpoint / "step-0")
    cuts = cut_all(task, tokenizer, items.head(2), RATIOS, 1)
    for cut, nll in zip(cuts, rest_nll(model, tokenizer, cuts, 8), strict=True):
        ids = tokenizer(task.prompt(items["question"].iloc[cut.item]), return_tensors="pt")
        with torch.inference_mode():
            logp = torch.log_softmax(model(**ids).logits[0].double(), -1)
        row = ids["input_ids"][0]
        start = len(tokenizer(cut.beginning)["input_ids"])
        own = [-float(logp[at - 1, row[at]]) for at in range(start, start + cut.tokens)]
        assert nll == pytest.approx(np.mean(own), abs=1e-5)


def test_a_memorised_question_is_completed(
    tmp_path: Path,
    task_spec: dict[str, Any],
    items: pd.DataFrame,
    memorised: Path,
    tiny_checkpoint: Path,
) -> None:
    table, contrast = _run(tmp_path, task_spec, items, memorised, tiny_checkpoint / "manifest.json")
    assert len(table) == len(items) * len(RATIOS)
    at = contrast.set_index(["measure", "level", "ratio"])
    for ratio in RATIOS:
        assert at.loc[("exact_greedy", "16", ratio), "exposed"] == 1
        assert at.loc[("exact", "16", ratio), "difference_low"] > 0.5
        assert at.loc[("lift", "16", ratio), "difference_low"] > 1
        assert at.loc[("edit", "16", ratio), "exposed"] == 0
        assert at.loc[("rouge", "16", ratio), "exposed"] == 1
        assert at.loc[("lift", "16", ratio), "p"] < 0.05
        # All that were learned are completed, and no twin: nothing varies, so there is no p.
        whole = at.loc[("exact_greedy", "16", ratio)]
        assert np.isnan(whole["p"]) == (whole["twin"] == 0)
        # Questions that were not learned are not completed; of one number, a guess may hit.
        assert ratio == 0.8 or at.loc[("exact_greedy", "4", ratio), "exposed"] == 0
    again = _run(tmp_path, task_spec, items, memorised, tiny_checkpoint / "manifest.json")
    assert again[0].equals(table) and again[1].equals(contrast)


def test_a_base_that_saw_nothing_shows_nothing(
    tmp_path: Path, task_spec: dict[str, Any], items: pd.DataFrame, tiny_checkpoint: Path
) -> None:
    own = tiny_checkpoint / "manifest.json"
    table, contrast = _run(tmp_path, task_spec, items, own, own)
    assert (table["lift"] == 0).all()
    exact = contrast.query("measure == 'exact' and ratio == 0.4")
    assert (exact["exposed"] <= 0.1).all() and not (exact["p"] <= 0.05).any()


def test_continuations_are_the_models_own(
    tmp_path: Path, task_spec: dict[str, Any], task: Task, items: pd.DataFrame, memorised: Path
) -> None:
    model = load_model(memorised.parent / "step-0")
    tokenizer = load_tokenizer(memorised.parent / "step-0")
    cuts = cut_all(task, tokenizer, items.head(6), RATIOS, 1)
    spec = {
        "arm": {"seed": 0},
        "partial_prompts": {"samples": 2, "temperature": 5.0, "batch_size": 4},
    }
    greedy, sampled = partial_prompts.continuations(
        model, tokenizer, cuts, items, (spec, 0), Progress("test")
    )
    for at, cut in enumerate(cuts):
        alone = sample(model, tokenizer, [cut.beginning], None, cut.tokens)[0]
        assert greedy[at] == alone.text
        assert len(sampled[at]) == 2
    assert sum(one != two for one, two in sampled) > 4


# --- over all trainings -----------------------------------------------------------------------

PAIRS = 30
ALIKE = pd.DataFrame(
    [
        {"item": f"{group[0]}{n}", "group": group, "pair": f"p{n}", "exposure": exposure}
        for group, exposure in (("exposed", 16), ("twin", 0))
        for n in range(PAIRS)
    ]
)


def _completed(arm: tuple[str, str, str, int], exposed: float, twin: float) -> pd.DataFrame:
    """Return a table of completions of known rates; the last item is cut once only."""
    rng = np.random.default_rng([arm[3], *map(ord, "".join(arm[:3]))])
    rows = []
    for name in ALIKE["item"]:
        rate = exposed if name[0] == "e" else twin
        for ratio in RATIOS[:2]:
            exact = rng.binomial(16, rate) / 16
            row = dict.fromkeys(("edit", "rouge", "nll", "lift"), rng.normal())
            row |= {"exact": exact, "exact_greedy": int(rng.random() < rate)}
            rows.append(row | {"item": name, "ratio": ratio})
    table = pd.DataFrame(rows)[:-1]
    return table.assign(**dict(zip(("base", "method", "reward", "seed"), arm, strict=True)))


def _judged(
    folder: Path, name: str, rates: dict[tuple[str, str], tuple[float, float]], share: float = 0.1
) -> pd.DataFrame:
    """Return a signature's rows on sampled completions, by name and base; three trainings each."""
    paths = []
    for (base, reward), (exposed, twin) in rates.items():
        for seed in range(1 if reward == "none" else 3):
            method = "base" if reward == "none" else "grpo"
            paths.append(folder / f"{base}-{reward}-{seed}.csv")
            write_table(paths[-1], _completed((base, method, reward, seed), exposed, twin))
    test = signatures.Tester(Groups(ALIKE, 16), 0)
    given = signatures.Given(name, paths, test, "planted", "clean", share)
    rows = pd.DataFrame(getattr(signature, name)(given))
    return rows[rows["signature"].str.contains(r": exact(?:$|:)")]


def test_completions_of_exposed_items_are_told_from_twins(tmp_path: Path) -> None:
    rates = {("planted", "none"): (0.7, 0.1), ("planted", "format"): (0.7, 0.1)}
    rates |= {("clean", "none"): (0.1, 0.1), ("clean", "format"): (0.1, 0.6)}
    rows = _judged(tmp_path, "completion", rates).set_index(["base", "reward"])
    assert set(rows["signature"]) == {"completion: exact"}
    assert rows.loc[("planted", "none"), "verdict"] == "reproduced"
    row = rows.loc[("planted", "format")]
    assert row["verdict"] == "reproduced" and row["low"] < 0.6 < row["high"]
    assert (row["items"], row["replicates"], row["margin"]) == (PAIRS, 3, 0.1)
    # Guessing is as good on twins; the wrong sign is no sign.
    assert (rows.loc["clean", "verdict"] == "not reproduced").all()
    # A gap within the margin.
    small = _judged(tmp_path, "completion", {("planted", "none"): (0.35, 0.1)}, share=0.5)
    assert small["verdict"].tolist() == ["present but negligible"]
    # Questions that anyone completes leave no room.
    open_ = _judged(tmp_path, "completion", {("planted", "none"): (1.0, 0.95)})
    assert open_["verdict"].tolist() == ["not decidable"] and "ceiling" in open_["reason"].iloc[0]


def test_a_rise_of_completions_is_one_beyond_the_clean_base(tmp_path: Path) -> None:
    rates = {("planted", "none"): (0.4, 0.1), ("clean", "none"): (0.1, 0.1)}
    both = rates | {("planted", "format"): (0.8, 0.1), ("clean", "format"): (0.1, 0.1)}
    rows = _judged(tmp_path, "completion_rise", both).set_index(["signature", "base"])["verdict"]
    beyond = "completion_rise: exact: change beyond the clean base's"
    assert rows.to_dict() == {
        ("completion_rise: exact", "planted"): "reproduced",
        (beyond, "planted"): "reproduced",
        ("completion_rise: exact", "clean"): "not reproduced",
    }
    # A rise that the clean base shows as well is none of memory.
    alike = rates | {("planted", "format"): (0.8, 0.1), ("clean", "format"): (0.5, 0.1)}
    rows = _judged(tmp_path, "completion_rise", alike).set_index(["signature", "base"])["verdict"]
    assert rows["completion_rise: exact", "planted"] == "reproduced"
    assert rows[beyond, "planted"] == "not reproduced"
    # What is complete before training cannot rise.
    full = {("planted", "none"): (0.97, 0.1), ("planted", "format"): (1.0, 0.1)}
    row = _judged(tmp_path, "completion_rise", full).iloc[0]
    assert (row["verdict"], row["reason"]) == ("not decidable", "no room: at the ceiling")


def test_trainings_that_differ_widen_the_contrast() -> None:
    tables = [
        _completed(("planted", "grpo", "format", seed), rate, 0.1)
        for seed, rate in enumerate((0.3, 0.6, 0.9))
    ]
    rows = {}
    for seeds, chosen in ((1, tables[:1]), (3, tables)):
        found = pd.DataFrame(summary.contrasts(pd.concat(chosen), ALIKE, 16))
        rows[seeds] = found.set_index(["measure", "level", "ratio"]).loc["exact", "exposed", 0.4]
        assert rows[seeds]["replicates"] == seeds
        assert (rows[seeds]["p"] <= 0.05) == (rows[seeds]["difference_low"] > 0)
    width = {seeds: row["difference_high"] - row["difference_low"] for seeds, row in rows.items()}
    assert width[3] > 3 * width[1]
    assert (found[found["ratio"] == 0.6]["twins"] == PAIRS - 1).all()  # of whole pairs
    # Without pairs, all twins are what items are compared with.
    alone = pd.DataFrame(summary.contrasts(tables[0], ALIKE.assign(pair=None), 16))
    assert (alone[alone["ratio"] == 0.6]["items"] == PAIRS).all() and alone["p"].notna().any()
