"""`leave_one_out.py`'s trainings all at once, on one GPU: `python benchmarks/side_by_side.py DATA OUT --init RUN`.

A step of two 48-cubes leaves most of a GPU idle, and launching its kernels takes longer than they do. So every training
is a CUDA graph (forward, loss, backward, Adam, mean weights) replayed on a stream of its own, all in one process; their
patches are drawn by the preset's own sampler in processes, into pinned memory that is shared. The trainings differ from
`kits-submit train` in the order of sums alone, and in that convolutions are TF32's, torch's default on a GPU; there is
no dropout. On a CPU it runs without graphs, to be tried out.

RUN is one of preset `pretraining`, such as RUN/pretraining of a run of preset `shipped`. Writes OUT/<held out>.pt, its
weights the mean ones, and `leave_one_out.py`'s OUT/leave_one_out.json; prints that table, and steps a second of all.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from multiprocessing.queues import SimpleQueue
from pathlib import Path

import torch
from leave_one_out import Found, examined, report
from torch import Tensor

from kits_submit.files.cases import Case, find_cases
from kits_submit.inference.intensity import air
from train.commands.shared import load_start
from train.compute.distributed import Workers
from train.compute.threads import numpy_on_one_thread
from train.config import TrainConfig
from train.data.cohort import IMPLANTS
from train.data.dataset import Dataset, prepare_dataset
from train.data.sampler import Sampler
from train.fit.checkpoint import Checkpoint, load_checkpoint, load_state, save_checkpoint
from train.fit.losses import combined_loss
from train.fit.schedule import cosine
from train.network.deeplab import DeepLab3D
from train.network.variants import architecture_of
from train.place import Place
from train.presets import preset
from train.records.events import Silence
from train.synthesis.augment import Augmenter

SLOTS = 6  # batches of a training that are drawn ahead
WARM_UP = 3
CUDA = torch.cuda.is_available()
DEVICE = torch.device("cuda" if CUDA else "cpu")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--init", type=Path, required=True, help="a run of preset pretraining")
    parser.add_argument("--cases", default="case_90001,case_90002,case_90003")
    parser.add_argument("--steps", type=int, help="default: the preset's")
    given = parser.parse_args()
    config = replace(preset("shipped"), pretrain=False, after="")
    config = replace(config, max_steps=given.steps or config.max_steps)
    held = given.cases.split(",")
    unknown = set(held) - ({case.case_id for case in find_cases(given.data)} - set(config.omit_cases))
    if unknown:
        parser.error(f"--cases names {', '.join(sorted(unknown))}, which the preset does not train on there")
    init = load_start(given.init)
    dataset = prepare_dataset(
        given.data, config, given.out, given.out / "cache", Place(Workers(), torch.device("cpu"), Silence())
    )
    samplers = {case_id: sampler_without(case_id, dataset, config) for case_id in held}
    with numpy_on_one_thread(), Feeder(samplers) as feeder:
        trainings = {case_id: Training(config, init) for case_id in held}
        seconds = run({name: [one] for name, one in trainings.items()}, feeder, config.max_steps or 0)
    print(f"{len(held)} trainings, {len(held) * (config.max_steps or 0) / seconds:.0f} steps/s together")
    for case_id, training in trainings.items():
        save_checkpoint(given.out / f"{case_id}.pt", training.checkpoint(config, dataset))
    report(scored(given.out, find_cases(given.data), held), given.out)


def sampler_without(held_out: str | None, dataset: Dataset, config: TrainConfig) -> Sampler:
    """Of all but a case and its copies; None: of all."""
    return Sampler(
        [dataset.cached[name] for name in sorted(dataset.cached) if name.split("+")[0] != held_out],
        patch=config.patch,
        batch=config.batch,
        patients=config.patients,
        air=air(dataset.recipe),
        background_above_air=config.background_above_air,
        centre_jitter=config.centre_jitter,
        flip_axes=config.flip_axes,
        augmenter=Augmenter(dataset.recipe, config.augmentation, config.contrast, config.fat),
        background_beside=config.background_beside,
        spacing_mm=dataset.recipe.spacing_mm,
        seed=config.seed,
    )


def scored(out: Path, cases: list[Case], held: list[str]) -> list[Found]:
    omitted = [case for case in cases if case.case_id in preset("shipped").omit_cases]
    found = []
    for case in (case for case in cases if case.case_id in held):
        state = load_checkpoint(out / f"{case.case_id}.pt")
        copies = find_cases(out / IMPLANTS / case.case_id)
        found.append(examined(case.case_id, state, case, copies))
        found += [examined(case.case_id, state, one) for one in omitted]
    return found


@dataclass
class Slots:
    """SLOTS batches of one training in shared memory, image NCZYX and label NZYX; `drawn`: steps that are there."""

    image: Tensor
    label: Tensor
    drawn: SimpleQueue[int]


class Feeder:
    """Processes that draw what is asked for; without torch, whose threads do not survive a fork."""

    def __init__(self, samplers: Mapping[str, Sampler]) -> None:
        context = multiprocessing.get_context("fork")
        self.slots = {}
        for name, sampler in samplers.items():
            image = torch.empty(SLOTS, sampler.size, 1, *sampler.patch)
            label = torch.empty(SLOTS, sampler.size, *sampler.patch, dtype=torch.uint8)
            for tensor in (image, label):
                tensor.share_memory_()  # type: ignore[no-untyped-call]
            self.slots[name] = Slots(image, label, context.SimpleQueue())
        self._asked: SimpleQueue[tuple[str, int]] = context.SimpleQueue()
        arrays = {name: (slots.image.numpy(), slots.label.numpy()) for name, slots in self.slots.items()}

        def draw() -> None:
            while True:
                name, step = self._asked.get()
                batch = samplers[name].batch(step)
                for into, drawn in zip(arrays[name], (batch.image, batch.label), strict=True):
                    into[step % SLOTS] = drawn
                self.slots[name].drawn.put(step)

        cores = len(os.sched_getaffinity(0))
        self._team = [context.Process(target=draw, daemon=True) for _ in range(max(1, cores - 2))]
        self._waiting: dict[str, set[int]] = {name: set() for name in samplers}

    def __enter__(self) -> Feeder:
        for process in self._team:
            process.start()
        for slots in self.slots.values() if CUDA else ():
            for tensor in (slots.image, slots.label):
                pin(tensor)
        for name in self.slots:
            for step in range(SLOTS):
                self.ask(name, step)
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._team:
            process.terminate()

    def ask(self, name: str, step: int) -> None:
        """Its slot is free."""
        self._asked.put((name, step))

    def get(self, name: str, step: int) -> tuple[Tensor, Tensor]:
        """Image and label of a step that was asked for."""
        waiting, slots = self._waiting[name], self.slots[name]
        while step not in waiting:
            if slots.drawn.empty():
                self._demand_all_alive()
                time.sleep(1e-4)
            else:
                waiting.add(slots.drawn.get())
        waiting.remove(step)
        return slots.image[step % SLOTS], slots.label[step % SLOTS]

    def _demand_all_alive(self) -> None:
        if not all(process.is_alive() for process in self._team):
            raise RuntimeError("a process that draws patches has died")


def pin(tensor: Tensor) -> None:
    """Let a GPU read shared memory without a copy in between."""
    runtime = torch.cuda.cudart()  # type: ignore[no-untyped-call]
    runtime.cudaHostRegister(tensor.data_ptr(), tensor.numel() * tensor.element_size(), 0)


class Training:
    """One training; its step reads and writes tensors on the device alone, the step's number and rate included."""

    def __init__(self, config: TrainConfig, init: Checkpoint) -> None:
        architecture = architecture_of(config.architecture).with_dropout(0.0)
        self.config, self.steps = config, config.max_steps or 0
        self.network = load_state(DeepLab3D(architecture), init.mean).to(DEVICE).train()
        self.mean = load_state(DeepLab3D(architecture), init.mean).to(DEVICE).requires_grad_(requires_grad=False)
        self._first = {name: value.clone() for name, value in self.network.state_dict().items()}
        self._floats = [
            [v for v in n.state_dict().values() if v.is_floating_point()] for n in (self.network, self.mean)
        ]
        self.image = torch.zeros(config.batch, 1, *config.patch, device=DEVICE)
        self.label = torch.zeros(config.batch, *config.patch, dtype=torch.uint8, device=DEVICE)
        self._step = torch.zeros(1, dtype=torch.long, device=DEVICE)
        planned = range(self.steps + WARM_UP)
        rates = [cosine(config.learning_rate, min(k / self.steps, 1.0), config.warmup) for k in planned]
        shares = [1 - min(config.ema_decay, (1 + k) / (10 + k)) for k in planned]
        self._rates, self._shares = torch.tensor(rates, device=DEVICE), torch.tensor(shares, device=DEVICE)
        self._rate = torch.zeros((), device=DEVICE)
        self._adam = torch.optim.Adam(self.network.parameters(), lr=self._rate, capturable=CUDA)
        self._stream = torch.cuda.Stream() if CUDA else None  # type: ignore[no-untyped-call]
        self._copied = torch.cuda.Event() if CUDA else None  # type: ignore[no-untyped-call]
        self._graph = self._captured()
        self._begin()

    def step(self, image: Tensor, label: Tensor) -> None:
        """Begin a step; on a GPU it goes on while others are begun."""
        with torch.cuda.stream(self._stream) if CUDA else nullcontext():
            self.image.copy_(image, non_blocking=True)
            self.label.copy_(label, non_blocking=True)
            if self._copied is not None:
                self._copied.record()
            if self._graph is None:
                self._body()
            else:
                self._graph.replay()

    def copied(self) -> None:
        """Wait until the last step's patches are on the device."""
        if self._copied is not None:
            self._copied.synchronize()

    def checkpoint(self, config: TrainConfig, dataset: Dataset) -> Checkpoint:
        """Its mean weights."""
        mean = {name: value.cpu() for name, value in self.mean.state_dict().items()}
        if not all(value.isfinite().all() for value in mean.values()):
            raise RuntimeError("the weights are no longer finite")
        return Checkpoint(self.network.architecture, config, dataset.recipe, self.steps, mean, mean, {})

    def _body(self) -> None:
        config = self.config
        self._rate.copy_(self._rates.index_select(0, self._step)[0])
        self._adam.zero_grad(set_to_none=True)
        parts = combined_loss(
            self.network(self.image),
            self.label.long(),
            alpha=config.tversky_alpha,
            beta=config.tversky_beta,
            focal_weight=config.focal_weight,
            gamma=config.focal_gamma,
            smooth=config.tversky_smooth,
            per_patch=config.tversky_over == "patch",
        )
        parts.total.backward()  # type: ignore[no-untyped-call]
        self._adam.step()
        values, means = self._floats
        with torch.no_grad():
            apart = torch._foreach_sub(values, means)
            torch._foreach_mul_(apart, self._shares.index_select(0, self._step)[0])
            torch._foreach_add_(means, apart)
            self._step += 1

    def _captured(self) -> torch.cuda.CUDAGraph | None:
        """The step as a graph, after some steps for cuDNN to choose by and Adam to make its state in."""
        if CUDA:
            torch.cuda.synchronize()
        with torch.cuda.stream(self._stream) if CUDA else nullcontext():
            for _ in range(WARM_UP):
                self._body()
        if not CUDA:
            return None
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=self._stream):
            self._body()
        return graph

    @torch.no_grad()
    def _begin(self) -> None:
        """Back to the first weights and to step 0, in place."""
        for network in (self.network, self.mean):
            for name, value in network.state_dict().items():
                value.copy_(self._first[name])
        for state in self._adam.state.values():
            for value in state.values():
                value.zero_()
        self._step.zero_()
        if CUDA:
            torch.cuda.synchronize()


def run(fed: Mapping[str, Sequence[Training]], feeder: Feeder, steps: int) -> float:
    """Every step of each, in turns, those of one sampler by its one batch; seconds."""
    started = time.monotonic()
    for step in range(steps):
        for name, trainings in fed.items():
            if step:
                for training in trainings:
                    training.copied()
                feeder.ask(name, step - 1 + SLOTS)
            image, label = feeder.get(name, step)
            for training in trainings:
                training.step(image, label)
    if CUDA:
        torch.cuda.synchronize()
    return time.monotonic() - started


if __name__ == "__main__":
    torch.backends.cudnn.benchmark = True
    main()
