"""Tenant files in all the ways in which people write YAML and JSON, generated.

Each file has objects of its own, named after it, unless the name is what it is about.
"""

from collections.abc import Iterator

from tenant_file_builder import GROUP, HEAD, FileBuilder, TenantFileCase
from tenant_spellings import KEYS, NUMBERS, TEXTS, WORDS


def cases() -> list[TenantFileCase]:
    """All files."""
    return [*_Files().all()]


class _Files(FileBuilder):
    def all(self) -> Iterator[TenantFileCase]:
        for number in NUMBERS + self.tokens(60):
            yield self.spec(f"rateLimits: [{{name: users.write, requests: {number}}}]", number)
            yield self.spec(f"rateLimits:\n  - name: users.write\n    requests: {number}")
        for number in NUMBERS:
            yield self.spec(f"quotas:\n  - name: storedUsers\n    limit: {number}")
            yield self.spec(f"weight: {number}")
            yield self.spec(
                f"rateLimits:\n  - name: users.write\n    requests: 100\n    burst: {number}"
            )
        for word in WORDS:
            yield self.spec(f"suspended: {word}")
            yield self.spec(f"quotas:\n  - name: storedUsers\n    unlimited: {word}")
        for text in TEXTS + self.tokens(60):
            yield self.spec(f"displayName: {text}")
        for text in TEXTS:
            yield self.object(f"metadata:\n  name: NAME\n  annotations:\n    a: {text}\n")
            yield self.object(f"metadata:\n  name: NAME\n  labels:\n    a: {text}\n")
            yield self.object(f"metadata:\n  name: NAME\n  annotations: {{a: {text}}}\n")
        for key in KEYS:
            yield self.key(key)
        yield from self._names()
        yield from self._nulls()
        yield from self._unknown()
        yield from self._merges()
        yield from self._twice()
        yield from self._lists()
        yield from self._json()
        yield from self._layouts()

    def _names(self) -> Iterator[TenantFileCase]:
        for name in ("2026-01-01", "12:30", "yes", "1e3", "0x1f", "0o17x", "1-2", "'007'", "007"):
            yield TenantFileCase(self.file(), f"{HEAD}metadata: {{name: {name}}}\n")

    def _nulls(self) -> Iterator[TenantFileCase]:
        fields = (
            "displayName plan suspended enforcement deletionPolicy weight rateLimits quotas llm"
        )
        for field in (*fields.split(), "adoptUid"):
            for null in ("", " ~", " null", "\n  # - one\n"):
                yield self.spec(f"{field}:{null}")
        for text in ("spec:", "spec: ~", "spec: {}", "spec: []", "spec: x", "status:", "status: ~"):
            yield self.object(f"metadata: {{name: NAME}}\n{text}\n")
        for field in ("annotations", "labels", "finalizers", "namespace", "creationTimestamp"):
            yield self.object(f"metadata:\n  name: NAME\n  {field}:\n")
        for text in (
            "rateLimits: [~]",
            "rateLimits: [{name: users.write, requests: 5, burst: ~}]",
            "rateLimits: [{name: users.write, requests: ~}]",
            "rateLimits: [{name: ~, requests: 5}]",
            "rateLimits: [{name: users.write, requests: ~, unlimited: true}]",
            "llm: {models: ~, defaultModel: ~}",
            "llm: {models: [~]}",
        ):
            yield self.spec(text)
        yield self.plan("defaults:\n  ceilings: ~")
        yield self.plan("ceilings: {weight: ~, rateLimits: ~, quotas: [], llm: ~}")

    def _unknown(self) -> Iterator[TenantFileCase]:
        for text in ("foo: 1", "display_name: x", "rate_limits: []", "Weight: 5", "llm: {x: 1}"):
            yield self.spec(text)
        yield self.spec("rateLimits: [{name: users.write, requests: 5, window_seconds: 2}]")
        yield self.spec("llm: {default_model: builtin/extractive}")
        yield self.plan("defaults: {rate_limits: []}")
        yield self.object("metadata: {name: NAME}\nfoo: 1\n")
        yield self.object("metadata: {name: NAME, foo: 1}\n")
        yield self.object("metadata: {name: NAME}\nstatus: {foo: 1}\n")
        yield self.object("metadata: {name: NAME}\nstatus: {conditions: [{foo: 1}]}\n")
        yield self.object("metadata: {name: NAME}\nstatus: {usage: {storedUsers: 5}}\n")
        yield TenantFileCase(
            self.file(),
            "api_version: mesh.distributedai.io/v1alpha1\nkind: Tenant\n"
            f"metadata: {{name: {self.name}}}\n",
        )
        why = "a field that is not known is refused also where it has no value"
        yield self.spec("foo: ~", stricter=why)
        yield self.object("metadata: {name: NAME}\nfoo:\n", stricter=why)
        yield self.spec("quotas: [{name: storedUsers, limit: 1,000}]", stricter=why)

    def _merges(self) -> Iterator[TenantFileCase]:
        base = "rateLimits:\n  - &base {name: users.write, requests: 5, windowSeconds: 2}\n"
        other = "  - {<<: *base, name: users.search}\n"
        yield self.spec(base + other)
        yield self.spec(base + "  - {<<: *base, name: ai.requests, windowSeconds: 7}\n")
        yield self.spec(base + "  - {name: users.search, <<: {requests: 9}}\n")
        yield self.spec(base + "  - {<<: [*base, {requests: 9, burst: 3}], name: users.search}\n")
        yield self.spec(base + "  - {<<: [{requests: 9, burst: 3}, *base], name: users.search}\n")
        yield self.spec(base + "  - {<<: 5, name: users.search}\n")
        yield self.spec(base + "  - {'<<': *base, name: users.search}\n")
        yield self.spec(base + "  - {<<: [5], name: users.search}\n")
        yield self.spec("displayName: &a x\n  adoptUid: *a\n")
        yield self.spec("displayName: *a\n")
        yield self.spec("<<: {weight: 5}\n  displayName: x\n")
        yield self.spec(
            base + "  - {requests: 9, <<: *base, name: users.search}\n",
            stricter="<< stands before the keys that it shares with what is merged",
        )

    def _twice(self) -> Iterator[TenantFileCase]:
        why = "a key that is given twice is refused"
        yield self.spec("weight: 1\n  weight: 2\n", stricter=why)
        yield self.object("metadata: {name: NAME, annotations: {a: x, a: z}}\n", stricter=why)
        yield self.spec("rateLimits: []\n  'rateLimits': []\n", stricter=why)
        one = "  - {name: users.write, requests: 1}\n"
        yield self.spec("rateLimits:\n" + one + one)

    def _lists(self) -> Iterator[TenantFileCase]:
        group = "apiVersion: mesh.distributedai.io/v1alpha1\n"
        item = "- {metadata: {name: NAME}, spec: {weight: 3}}\n"
        full = (
            "- {apiVersion: mesh.distributedai.io/v1alpha1, kind: Tenant, metadata: {name: NAME}}\n"
        )
        yield self.raw("apiVersion: v1\nkind: List\nitems:\n" + full)
        yield self.raw("apiVersion: v1\nkind: List\nmetadata: {}\nitems:\n" + full)
        yield self.raw("apiVersion: v1\nkind: List\nitems: []\n")
        yield self.raw(f"{group}kind: TenantList\nitems:\n{item}")
        yield self.raw(f"{group}kind: TenantList\nitems:\n{full}")
        yield self.raw(f"{group}kind: TenantPlanList\nitems:\n- {{metadata: {{name: NAME}}}}\n")
        yield self.raw(f"apiVersion: v1\nkind: List\nitems:\n{item}")
        yield self.raw("apiVersion: v1\nkind: List\nitems: [5]\n")

    def _json(self) -> Iterator[TenantFileCase]:
        for number in ("5", "5.0", "5.5", "1e1", "1E+1", "0.5e1", "-0", "1e400", '"5"', "null"):
            yield self.as_json(f'{{"weight": {number}}}')
        for text in ('"\\ud83d\\ude00"', '"\\u00e9"', '"a\\/b"', '"\\u0007"', "true", '"花"'):
            yield self.as_json(f'{{"displayName": {text}}}')
        yield self.as_json('{"suspended": true, "quotas": null}')
        yield self.as_json('{"displayName": "x",}')
        yield self.as_json('{\n\t"displayName":\t"x"\n\t}')
        yield self.as_json("{displayName: x}")
        yield self.as_json('{"displayName": NaN}')
        broken = "half of a surrogate pair is refused"
        yield self.as_json('{"displayName": "\\ud83d"}', stricter=broken)
        yield self.as_json(
            '{"weight": 1, "weight": 2}', stricter="a key that is given twice is refused"
        )
        # What is in a file decides, not its name.
        yield TenantFileCase(self.file("json"), HEAD + f"metadata: {{name: {self.name}}}\n")
        one = self.as_json("{}", ending="yaml")
        two = self.as_json("{}")
        yield TenantFileCase(one.file, f"{one.text!s}\n{two.text!s}\n")
        three, four = self.as_json("{}"), self.as_json('{"weight": 2}')
        yield TenantFileCase(three.file, f"{three.text!s}\n---\n{four.text!s}\n")

    def _layouts(self) -> Iterator[TenantFileCase]:
        one = self.object("metadata: {name: NAME}\n")
        two = self.object("metadata: {name: NAME}\n")
        assert isinstance(one.text, str)
        assert isinstance(two.text, str)
        for between in (
            "---\n",
            "--- \n",
            "--- # next\n",
            "---\n---\n",
            "# x\n---\n# y\n",
            "---\t\n",
        ):
            one, two = (self.object("metadata: {name: NAME}\n") for _ in range(2))
            yield TenantFileCase(one.file, f"{one.text!s}{between}{two.text!s}")
        one = self.object("metadata: {name: NAME}\n")
        yield TenantFileCase(one.file, f"# head\n---\n{one.text!s}...\n")
        one = self.object("metadata: {name: NAME}\n")
        yield TenantFileCase(one.file, f"%YAML 1.2\n---\n{one.text!s}")
        one = self.object("metadata: {name: NAME}\n")
        yield TenantFileCase(one.file, str(one.text).replace("\n", "\r\n"))
        one = self.object("metadata: {name: NAME}\n")
        yield TenantFileCase(one.file, b"\xef\xbb\xbf" + str(one.text).encode())
        for style in (
            "|-\n    two words",
            ">-\n    two\n    words",
            "|\n    line",
            '"a\n    b"',
            "a\n    b",
        ):
            yield self.spec(f"displayName: {style}\n")
        yield self.spec("\tweight: 5")
        tag = "a tag other than those of JSON's types is refused"
        yield self.spec("displayName: !custom x", stricter=tag)
        yield self.spec("displayName: !!binary aGVsbG8=", stricter=tag)
        yield self.object("metadata: {name: NAME}\nspec: !!set {weight: 5}\n", stricter=tag)
        one = self.object("metadata: {name: NAME}\n")
        text = "{apiVersion: v1, kind: Service, metadata: {name: x}}"
        yield TenantFileCase(one.file, f"{one.text!s}--- {text}\n")
        file = self.file()
        text = f"{{apiVersion: {GROUP}, kind: Tenant, metadata: {{name: {self.name}}}}}"
        yield TenantFileCase(file, f"--- {text}\n")
        file = self.file()
        yield TenantFileCase(file, f"# x\n--- {text}\n")
        one = self.object("metadata: {name: NAME}\n")
        yield TenantFileCase(
            one.file, f"{one.text!s}...\n{text}\n", stricter="kubectl reads nothing after ..."
        )


__all__ = ["TenantFileCase", "cases"]
