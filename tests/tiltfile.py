"""A Starlark interpreter that executes our Tiltfile, with Tilt's functions taking note.

Each note is checked against what is really there: a path, a port, a build argument, a make target
or a resource that does not exist fails, as it would under Tilt, but without a cluster.
"""

import re
import subprocess
from pathlib import Path
from typing import Any

import starlark
import yaml

from chart_tools import tool

ROOT = Path(__file__).parents[1]
WORKLOADS = {"Deployment", "StatefulSet", "DaemonSet", "Job"}


class Wrong(Exception):
    """The Tiltfile names something that is not there."""


class Tilt:
    """What a Tiltfile has asked for."""

    def __init__(self, umbrella: Path, environment: dict[str, str]) -> None:
        """Take charts/event-mesh with its parts in it from `umbrella`."""
        self.umbrella = umbrella
        self.environment = environment
        self.contexts: list[str] = []
        self.images: dict[str, dict[str, Any]] = {}
        self.objects: list[dict[str, Any]] = []
        self.resources: dict[str, list[str]] = {}

    @property
    def workloads(self) -> dict[str, dict[str, Any]]:
        """The workloads that the cluster is given, by name."""
        return {o["metadata"]["name"]: o for o in self.objects if o["kind"] in WORKLOADS}

    def execute(self, source: str) -> None:
        """Execute a Tiltfile. Raises Wrong, or StarlarkError for what is no Starlark."""
        dialect = starlark.Dialect.standard()
        dialect.enable_top_level_stmt = True
        dialect.enable_lambda = True
        extensions = [starlark.LibraryExtension.StructType]
        module = starlark.Module()
        module["TRIGGER_MODE_MANUAL"] = "manual"
        for name in dir(self):
            if name.startswith("tilt_"):
                module.add_callable(name.removeprefix("tilt_"), getattr(self, name))
        prelude = "os = struct(getenv=getenv)\n"
        parsed = starlark.parse("Tiltfile", prelude + source, dialect=dialect)
        starlark.eval(module, parsed, starlark.Globals.extended_by(extensions))
        self._finish()

    def tilt_getenv(self, name: str, default: str | None = None) -> str | None:
        return self.environment.get(name, default)

    def tilt_allow_k8s_contexts(self, context: str) -> None:
        self.contexts.append(context)

    def tilt_local(self, command: str, quiet: bool = False) -> str:
        _check_command(command)
        return ""

    def tilt_watch_file(self, path: str) -> None:
        _existing(path)

    def tilt_read_file(self, path: str) -> str:
        return _existing(path).read_text()

    def tilt_sync(self, source: str, target: str) -> dict[str, str]:
        _existing(source)
        return {"sync": source, "to": target}

    def tilt_fall_back_on(self, paths: list[str]) -> dict[str, list[str]]:
        for path in paths:
            _existing(path)
        return {"fall_back_on": paths}

    def tilt_docker_build(
        self,
        ref: str,
        context: str,
        dockerfile: str,
        build_args: dict[str, str],
        network: str,
        only: list[str],
        live_update: list[dict[str, Any]],
    ) -> None:
        recipe = _existing(dockerfile, context).read_text()
        for argument in build_args:
            if not re.search(rf"^ARG {argument}\b", recipe, re.MULTILINE):
                raise Wrong(f"{dockerfile} takes no {argument}")
        for path in only:
            _existing(path)
        for copied in re.findall(r"^COPY (?!--from)(.+) \S+$", recipe, re.MULTILINE):
            for path in copied.split():
                if not any(path.rstrip("/") in (p, str(Path(p).parent)) for p in only):
                    raise Wrong(f"{dockerfile} copies {path}, which `only` leaves out")
        if not any("sync" in step for step in live_update):
            raise Wrong(f"{ref} is never updated live")
        self.images[ref] = {"recipe": recipe, "build_args": build_args}

    def tilt_helm(
        self, chart: str, name: str, namespace: str, values: list[str], set: list[str]
    ) -> str:
        if _existing(chart) != ROOT / "charts/event-mesh":
            raise Wrong(f"{chart} is not the umbrella chart")
        command = [
            str(tool("helm3")),
            "template",
            name,
            str(self.umbrella),
            "--namespace",
            namespace,
        ]
        for path in values:
            _existing(path)
            command += ["--values", path]
        for value in set:
            command += ["--set", value]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        if done.returncode:
            raise Wrong(done.stderr)
        return done.stdout

    def tilt_decode_yaml_stream(self, text: str) -> list[Any]:
        return [one for one in yaml.safe_load_all(text) if one is not None]

    def tilt_encode_yaml_stream(self, documents: list[Any]) -> dict[str, Any]:
        return {"blob": documents}

    def tilt_k8s_yaml(self, given: str | dict[str, Any]) -> None:
        if isinstance(given, str):
            self.objects += yaml.safe_load_all(_existing(given).read_text())
        else:
            self.objects += given["blob"]

    def tilt_k8s_resource(
        self,
        name: str,
        labels: list[str],
        port_forwards: list[str] | None = None,
        trigger_mode: str = "auto",
    ) -> None:
        if name not in self.workloads:
            raise Wrong(f"there is no workload {name}, but {sorted(self.workloads)}")
        pod = self.workloads[name]["spec"]["template"]["spec"]
        ports = {p["containerPort"] for c in pod["containers"] for p in c.get("ports", [])}
        for forward in port_forwards or []:
            if int(forward.split(":")[1]) not in ports:
                raise Wrong(f"{name} has the ports {sorted(ports)}, and no {forward}")
        self.resources[name] = []

    def tilt_local_resource(
        self,
        name: str,
        command: str,
        labels: list[str],
        resource_deps: list[str],
        deps: list[str] | None = None,
        auto_init: bool = True,
        trigger_mode: str = "auto",
    ) -> None:
        for path in deps or []:
            _existing(path)
        _check_command(command)
        self.resources[name] = resource_deps

    def _finish(self) -> None:
        for name, needed in self.resources.items():
            if unknown := set(needed) - set(self.resources):
                raise Wrong(f"{name} waits for {unknown}, which nobody makes")
        used = set()
        for workload in self.workloads.values():
            for container in workload["spec"]["template"]["spec"]["containers"]:
                used.add(container["image"].rpartition(":")[0])
        ours = {image for image in used if image.startswith("event-mesh/")}
        if ours != set(self.images):
            raise Wrong(f"built are {sorted(self.images)}, the chart runs {sorted(ours)}")


def _existing(path: str, folder: str = ".") -> Path:
    found = ROOT / folder / path
    if not found.exists():
        raise Wrong(f"there is no {path}")
    return found


def _check_command(command: str) -> None:
    """Check the make targets, scripts and paths of a command line."""
    targets = re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    for part in command.split(" && "):
        program, *arguments = part.split()
        if program == "make" and arguments[-1] not in targets:
            raise Wrong(f"there is no target {arguments[-1]}")
        if "/" in program:
            _existing(program)
        if "-f" in arguments:
            _existing(arguments[arguments.index("-f") + 1])
