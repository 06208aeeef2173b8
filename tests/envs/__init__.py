"""Tests of bt_gym.envs."""
