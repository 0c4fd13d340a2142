"""The same through an index of FAISS, whatever kind of index that is."""

from pathlib import Path

import faiss
from serve import Server


class FaissServer(Server):
    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.index = faiss.IndexFlatIP(self.vectors.shape[1])
        self.index.add(self.vectors)

    def recommend(self, history: list[str], k: int) -> list[str]:
        _, found = self.index.search(self.query(history)[None], k + len(history))
        return [self.ids[n] for n in found[0] if n >= 0 and self.ids[n] not in history][:k]
