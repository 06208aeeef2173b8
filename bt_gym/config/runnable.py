"""What loads but can't run yet, refused by name before a run."""

from bt_gym.config.backtest import BacktestConfig
from bt_gym.config.strategy import MlEnhancedMomentumConfig, StrategyConfig
from bt_gym.errors import NotBuiltError


def unbuilt(config: BacktestConfig | StrategyConfig) -> list[str]:
    """The settings that load but can't run yet, one message each: its key, its value and what to use instead."""
    found: list[tuple[str, str, str]] = []
    if isinstance(config, BacktestConfig) and config.backtest.output.detailed_log:
        found.append(("backtest.output.detailed_log", "true", "false"))
    problems = [
        f"{key}: {value} isn't built yet; use {instead} (--set {key}={instead})" for key, value, instead in found
    ]
    strategy = config.strategy if isinstance(config, BacktestConfig) else config
    if isinstance(strategy, MlEnhancedMomentumConfig) and strategy.parameters.runs_model:
        problems.append(
            f"strategy.parameters.ml_model_path: running {strategy.parameters.ml_model_path} isn't built yet; "
            "run the rule alone with model: none (--set strategy.parameters.model=none)"
        )
    return problems


def check_runnable(config: BacktestConfig | StrategyConfig) -> None:
    """Refuses what is documented but not built yet.

    Raises:
        NotBuiltError: one line for each such setting.
    """
    problems = unbuilt(config)
    if problems:
        raise NotBuiltError("\n".join(problems))
