"""Recommendations from what `srt export` wrote, with numpy and onnxruntime alone."""

import json
from pathlib import Path

import numpy as np
import onnxruntime


class Server:
    def __init__(self, folder: Path) -> None:
        self.ids = json.loads((folder / "item_ids.json").read_text(encoding="utf-8"))
        self.place = {item: number for number, item in enumerate(self.ids)}
        self.vectors = np.load(folder / "item_vectors.npy")
        self.max_len = json.loads((folder / "manifest.json").read_text())["max_len"]
        self.tower = onnxruntime.InferenceSession(folder / "user_tower.onnx")

    def query(self, history: list[str]) -> np.ndarray:
        recent = [self.place[item] for item in history[-self.max_len :]]
        return self.tower.run(None, {"history": self.vectors[recent][None], "lengths": np.array([len(recent)])})[0][0]

    def recommend(self, history: list[str], k: int) -> list[str]:
        scores = self.vectors @ self.query(history)
        scores[[self.place[item] for item in history]] = -np.inf
        return [self.ids[number] for number in np.argsort(-scores)[:k]]
