"""Agents to start from: each a file that reads from top to bottom, and the evaluation that they are judged by."""
