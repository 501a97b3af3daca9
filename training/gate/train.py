"""Train the gate: `python training/gate/train.py --data DIR --out voicefsm/aec/gate.npz`. Needs torch; some minutes on a CPU.

The network is that of voicefsm/aec/native/gate.h. The last scenes of the data judge and teach nothing. What is printed: false
triggers per hour of audio without a talker, misses and latency, for a trigger of 60 ms above a threshold.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

FEATURES, DENSE, UNITS = 160, 32, 48
SEED = 7
_JUDGING_FROM = 100000
_CHUNK = 600
_BATCH = 128
_RUN = 6
_ECHO = slice(40, 60)
_ONSET_HOPS, _ONSET_WEIGHT = 12, 3.0
_FAR_WEIGHT = 1.5
"""Hops without a talker while the assistant may be audible teach this much more: a false alarm there cuts an answer."""


def onsets(truth: torch.Tensor) -> torch.Tensor:
    """1 in the first `_ONSET_HOPS` of each stretch of speech: (batch, hops)."""
    before = torch.nn.functional.pad(truth, (_ONSET_HOPS, 0))[:, :-_ONSET_HOPS]
    return truth * (1 - before)


class Net(torch.nn.Module):
    """Dense, GRU, output."""

    def __init__(self, mean: torch.Tensor, std: torch.Tensor) -> None:
        super().__init__()
        self.mean, self.std = mean, std
        self.dense = torch.nn.Linear(FEATURES, DENSE)
        self.gru = torch.nn.GRU(DENSE, UNITS, batch_first=True)
        self.out = torch.nn.Linear(UNITS, 1)

    def forward(self, x: torch.Tensor, state: torch.Tensor | None = None) -> torch.Tensor:
        """(batch, hops, FEATURES) to logits (batch, hops)."""
        hidden, _ = self.gru(torch.relu(self.dense((x - self.mean) / self.std)), state)
        return self.out(hidden).squeeze(-1)

    def go_on_from(self, weights: np.ndarray) -> None:
        """The inverse of `exported`; what was folded stays folded."""
        self.mean, self.std = torch.zeros(FEATURES), torch.ones(FEATURES)
        parts = [self.dense.weight, self.dense.bias, self.gru.weight_ih_l0, self.gru.bias_ih_l0]
        parts += [self.gru.weight_hh_l0, self.gru.bias_hh_l0, self.out.weight, self.out.bias]
        at = 0
        with torch.no_grad():
            for part in parts:
                values = torch.from_numpy(weights[at : at + part.numel()].copy())
                part.copy_(values.reshape(part.T.shape).T if part.dim() == 2 else values)
                at += part.numel()

    def exported(self) -> np.ndarray:
        """In the order of the C struct, with the normalisation folded into the dense layer."""
        weight = self.dense.weight / self.std
        parts = [
            weight.T,
            self.dense.bias - weight @ self.mean,
            self.gru.weight_ih_l0.T,
            self.gru.bias_ih_l0,
            self.gru.weight_hh_l0.T,
            self.gru.bias_hh_l0,
            self.out.weight[0],
            self.out.bias,
        ]
        return np.concatenate([part.detach().numpy().astype(np.float32).ravel() for part in parts])


def load(directory: Path) -> tuple[torch.Tensor, torch.Tensor, int]:
    """Features (scenes, hops, FEATURES) float16, truth (scenes, hops) bool, and how many scenes teach."""
    files = sorted(directory.glob("*.npz"))
    teaching = sum(int(file.stem) < _JUDGING_FROM for file in files)
    features, truths = [], []
    for file in files:
        with np.load(file) as kept:
            features.append(kept["features"])
            truths.append(kept["truth"])
    return torch.from_numpy(np.array(features)), torch.from_numpy(np.array(truths)), teaching


def triggers(above: np.ndarray) -> np.ndarray:
    """Hops at which a run of `_RUN` is complete."""
    runs = np.convolve(above.astype(int), np.ones(_RUN, int))[: len(above)]
    return np.flatnonzero(runs == _RUN)


def judge(probability: np.ndarray, truth: np.ndarray, far: np.ndarray, threshold: float) -> str:
    """The figures at one threshold. `far`: the assistant may be audible."""
    false, hops, missed, latencies = 0, 0, 0, []
    for p, t, f in zip(probability, truth, far, strict=True):
        near = np.convolve(t, np.ones(101), "full")[: len(t)] > 0  # until a second after the talker
        quiet = ~near & f
        hops += quiet.sum()
        blocked = -1
        for at in triggers((p > threshold) & ~near):
            if at >= blocked and quiet[at]:
                false, blocked = false + 1, at + 100
        starts = np.flatnonzero(t & ~np.concatenate(([False], t[:-1])))
        for start in starts:
            if start < 30 or t[max(0, start - 100) : start].any():
                continue
            found = triggers((p > threshold)[start : start + 150])
            missed += not len(found)
            latencies += [10 * (int(found[0]) + 1)] if len(found) else []
    count = missed + len(latencies)
    p50, p95 = np.percentile(latencies, [50, 95]) if latencies else (0, 0)
    rate = false / max(hops, 1) * 360000
    misses = f"missed {100 * missed / max(count, 1):.1f} % of {count}"
    return f"{threshold:.2f}: {rate:6.1f} false/h (n {false}), {misses}, {p50:.0f}/{p95:.0f} ms"


def main() -> None:
    """Train, judge, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=18)
    parser.add_argument("--begin-with", type=Path, help="weights of an earlier run, to go on from")
    arguments = parser.parse_args()
    torch.manual_seed(SEED)
    features, truth, teaching = load(arguments.data)
    sample = features[: min(teaching, 200)].float().reshape(-1, FEATURES)
    net = Net(sample.mean(0), sample.std(0) + 0.05)
    if arguments.begin_with:
        net.go_on_from(np.load(arguments.begin_with)["weights"])
    steps = arguments.epochs * teaching * features.shape[1] // (_BATCH * _CHUNK)
    rate = 2e-3 if arguments.begin_with else 4e-3
    optimiser = torch.optim.AdamW(net.parameters(), lr=rate, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=rate, total_steps=steps + 1)
    random = np.random.default_rng(SEED)
    mean_loss = 0.0
    for step in range(steps):
        scenes = random.integers(teaching, size=_BATCH)
        starts = random.integers(features.shape[1] - _CHUNK + 1, size=_BATCH)
        starts[random.random(_BATCH) < 0.4] = 0  # the beginning of a session, with a state of zeros, is worth more than its share
        x = torch.stack([features[i, s : s + _CHUNK] for i, s in zip(scenes, starts, strict=True)]).float()
        y = torch.stack([truth[i, s : s + _CHUNK] for i, s in zip(scenes, starts, strict=True)]).float()
        weight = 1 + (_FAR_WEIGHT - 1) * ((x[..., _ECHO].mean(-1) > -1.5) & (y == 0))
        weight += (_ONSET_WEIGHT - 1) * onsets(y)
        weight[starts > 0, :40] = 0
        loss = torch.nn.functional.binary_cross_entropy_with_logits(net(x), y, weight)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        mean_loss += (loss.item() - mean_loss) * 0.05
        if step % 50 == 0:
            print(f"step {step}/{steps} loss {mean_loss:.4f}", flush=True)
        if step % 200 == 199:
            np.savez_compressed(arguments.out, weights=net.exported())
    np.savez_compressed(arguments.out, weights=net.exported())
    with torch.no_grad():
        probability = torch.sigmoid(torch.cat([net(x[None].float()) for x in features[teaching:]])).numpy()
    far = features[teaching:, :, _ECHO].float().mean(-1).numpy() > -1.5
    for threshold in (0.3, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98):
        print(judge(probability, truth[teaching:].numpy(), far, threshold))


if __name__ == "__main__":
    main()
