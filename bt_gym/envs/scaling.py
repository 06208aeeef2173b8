"""Frozen statistics of features, fitted on training days only: `fit_scaling`."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from bt_gym.data.dataset import DEFAULT, default_tapes, digest_of
from bt_gym.envs.vector_env import BtVectorEnv
from bt_gym.errors import ConfigError

NUM_ENVS = 64
LEAST_SCALE = 1e-6  # what varies less is a constant: its mean is taken away, no more


def fit_scaling(
    env: Any,
    file: Path | str | None = None,
    split: str = "train",
    policy: Callable[[Any], np.ndarray] | None = None,
    rows: int = 100_000,
    seed: int = 0,
) -> dict[str, Any]:
    """Mean and standard deviation of each feature over the windows of the training days.

        >>> bt_gym.fit_scaling(gym.make("bt_gym/MarketMaking-v0"), "scaling.json")  # doctest: +SKIP
        >>> env = gym.make("bt_gym/MarketMaking-v0", observation={"scaling": "scaling.json"})  # doctest: +SKIP

    Args:
        env: an environment of bt_gym, single or vector, whose features, data and clock are used; it isn't stepped.
        file: where the statistics are written, as JSON; None: nowhere.
        split: `train`; statistics of other days would tell an agent about days that it is to be judged by.
        policy: from observations (N, F), unscaled, to actions (N, D); None: random actions.
        rows: observations to take; rounded up to a multiple of 64.
        seed: of windows and actions.

    Returns:
        What is written: `features`, `mean`, `scale` in the features' order, `rows`, `seed`, `actions`, `split`, `days`,
        and `data`, the digest of the files that the tapes were compiled from.

    Raises:
        ConfigError: the days aren't training days, or the environment sees images.
    """
    inner = env.unwrapped
    config, tapes = inner.config, inner._batch.markets.tapes
    if config.observation.form == "image":
        raise ConfigError("observation.form is image: it has no features to scale")
    if split != "train":
        raise ConfigError(f"split is {split!r}: scaling is fitted on the training days only, give train")
    is_held_out = config.data.split != "train"
    if any(tape.path.parent.name == DEFAULT.name for tape in tapes):
        is_held_out |= bool({tape.key for tape in tapes} & {tape.key for tape in default_tapes("test")})
    if is_held_out:
        raise ConfigError(
            "data.split is not train: scaling is fitted on the training days only, make the env with train"
        )

    sections = {name: getattr(config, name) for name in ("execution", "risk", "decision", "action", "reward", "order")}
    data = {**config.data.model_dump(exclude={"files", "symbol", "days", "catalogue"}), "tapes": tapes}
    features = {"features": inner.feature_names}
    envs = BtVectorEnv(NUM_ENVS, task=inner._batch.task, data=data, observation=features, **sections)
    envs.action_space.seed(seed)
    observations, _ = envs.reset(seed=seed)
    sums = np.zeros((2, len(inner.feature_names)))
    steps = -(-rows // NUM_ENVS)
    for _ in range(steps):
        values = observations.astype(np.float64)
        sums += values.sum(0), (values * values).sum(0)
        actions = envs.action_space.sample() if policy is None else policy(observations)
        observations = envs.step(actions)[0]
    envs.close()
    mean = sums[0] / (steps * NUM_ENVS)
    scale = np.sqrt(np.maximum(sums[1] / (steps * NUM_ENVS) - mean * mean, 0))
    scale[scale < LEAST_SCALE] = 1.0
    fitted = {
        "features": list(inner.feature_names),
        "mean": mean.tolist(),
        "scale": scale.tolist(),
        "rows": steps * NUM_ENVS,
        "seed": seed,
        "actions": "random" if policy is None else getattr(policy, "__name__", type(policy).__name__),
        "split": split,
        "days": inner._batch.markets.days.tolist(),
        "data": digest_of(tapes),
    }
    if file is not None:
        part = Path(file).with_name(f".{Path(file).name}.part")
        part.write_text(json.dumps(fitted, indent=2) + "\n", encoding="utf-8")
        part.replace(file)
    return fitted
