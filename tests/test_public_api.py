"""What `import bt_gym` gives, and what it must not cost."""

import subprocess
import sys

import pytest

import bt_gym


@pytest.mark.parametrize("name", bt_gym.__all__)
def test_public_name__can_be_imported(name: str):
    assert getattr(bt_gym, name) is not None


def test_unknown_name__is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'Backtestre'"):
        _ = bt_gym.Backtestre


def test_import__brings_no_heavy_package():
    heavy = ["torch", "stable_baselines3", "databento", "matplotlib", "plotly", "pygame", "ray"]
    code = f"import sys, bt_gym; print([name for name in {heavy} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_all_names__bring_no_heavy_package_either():
    heavy = ["torch", "stable_baselines3", "databento", "matplotlib", "plotly", "pygame", "ray"]
    code = f"import sys\nfrom bt_gym import *\nprint([name for name in {heavy} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
