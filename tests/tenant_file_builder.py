"""Tenant files for tests, each with objects of its own that are named after it."""

import json
import random
from dataclasses import dataclass

GROUP = "mesh.distributedai.io/v1alpha1"
HEAD = f"apiVersion: {GROUP}\nkind: Tenant\n"


@dataclass(frozen=True)
class TenantFileCase:
    """A file, and why it is refused in a folder where the API server takes it, if it is."""

    file: str
    text: str | bytes
    stricter: str = ""


class FileBuilder:
    """Makes files that are numbered; NAME in a text is the name of the object."""

    def __init__(self) -> None:
        self._count = 0
        self._random = random.Random(16)

    def tokens(self, count: int) -> list[str]:
        """Texts of the characters that numbers and words are made of."""
        letters = "0123456789000011..__++--eExXoObB:yYnN~fF"
        return [
            "".join(self._random.choices(letters, k=self._random.randint(1, 6)))
            for _ in range(count)
        ]

    @property
    def name(self) -> str:
        return f"case-{self._count}"

    def file(self, ending: str = "yaml") -> str:
        self._count += 1
        return f"{self.name}.{ending}"

    def raw(self, text: str) -> TenantFileCase:
        file = self.file()
        return TenantFileCase(file, text.replace("NAME", self.name))

    def object(self, text: str, stricter: str = "") -> TenantFileCase:
        file = self.file()
        return TenantFileCase(file, HEAD + text.replace("NAME", self.name), stricter)

    def spec(self, text: str, value: str = "", stricter: str = "") -> TenantFileCase:
        if value == "1,0":
            stricter = "a number that is written with commas is refused"
        return self.object(f"metadata: {{name: NAME}}\nspec:\n  {text}\n", stricter)

    def plan(self, text: str) -> TenantFileCase:
        head = HEAD.replace("Tenant", "TenantPlan")
        return self.raw(f"{head}metadata: {{name: NAME}}\nspec:\n  {text}\n")

    def key(self, key: str) -> TenantFileCase:
        stricter = "a key that is a fraction is refused" if key == "1.5" else ""
        text = f"metadata:\n  name: NAME\n  annotations: {{{key}: x}}\n"
        return self.object(text, stricter)

    def as_json(self, spec: str, stricter: str = "", ending: str = "json") -> TenantFileCase:
        file = self.file(ending)
        head = {"apiVersion": "mesh.distributedai.io/v1alpha1", "kind": "Tenant"}
        text = json.dumps(head | {"metadata": {"name": self.name}})
        return TenantFileCase(file, f'{text[:-1]}, "spec": {spec}}}', stricter)


__all__ = ["GROUP", "HEAD", "FileBuilder", "TenantFileCase"]
