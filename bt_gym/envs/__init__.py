"""Gymnasium environments. `register` names them; what is heavy is imported when one is made."""

import gymnasium

IDS = {
    "bt_gym/MarketMaking-v0": "market_making",
    "bt_gym/Execution-v0": "execution",
    "bt_gym/Trading-v0": "trading",
}
"""Ids, and the task of each: a changed default is a new version."""


def register() -> None:
    """Registers all ids with Gymnasium, once."""
    for name, task in IDS.items():
        if name not in gymnasium.registry:
            gymnasium.register(
                name,
                entry_point="bt_gym.envs.single_env:BtEnv",
                vector_entry_point="bt_gym.envs.vector_env:BtVectorEnv",
                kwargs={"task": task},
            )
