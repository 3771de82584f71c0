"""Pretrained forecasting models on PyTorch behind the runner protocol."""
