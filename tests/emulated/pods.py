"""A pod of the bundle as a process of this machine: its argv, environment and mounts, below one folder.

What a kubelet does with the manifest, as far as a process can tell: configuration and secrets are folders
of links that are exchanged at once, a missing optional one is an empty folder, a path below a volume is
one file. Absolute paths of mounts are moved below ``root``, in arguments, environment and files alike.
"""

import base64
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Json = Mapping[str, Any]


@dataclass(frozen=True)
class Pod:
    """One container of a pod of a workload.

    Attributes:
        objects: where its ConfigMaps and Secrets are looked for.
        root: stands for ``/``.
        which: the container's name.
    """

    spec: Json
    objects: Iterable[Json]
    root: Path
    name: str = "byoc-agent-0"
    which: str = "agent"

    @property
    def container(self) -> Json:
        (found,) = (each for each in self.spec["containers"] if each["name"] == self.which)
        return found

    def path(self, inside: str) -> Path:
        """Return where a path of the pod is on this machine."""
        return self.root / inside.lstrip("/")

    @property
    def command(self) -> list[str]:
        return [self._moved(word) for word in (*self.container["command"], *self.container.get("args", ()))]

    @property
    def environment(self) -> dict[str, str]:
        fields = {"metadata.name": self.name}
        return {
            each["name"]: self._moved(each["value"])
            if "value" in each
            else fields[each["valueFrom"]["fieldRef"]["fieldPath"]]
            for each in self.container.get("env", ())
        }

    def mount(self) -> None:
        """Lay out every mount, deeper ones after those they stand in."""
        mounts = sorted(self.container["volumeMounts"], key=lambda each: each["mountPath"].count("/"))
        for each in mounts:
            target = self.path(each["mountPath"])
            held = self._held(each["name"])
            if "subPath" in each:
                assert held is not None
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(held[each["subPath"]])
            else:
                target.mkdir(parents=True, exist_ok=True)
                if held is not None:
                    publish(target, held)

    def bring(self, name: str, files: Mapping[str, bytes]) -> None:
        """Do what a kubelet does when the object behind volume ``name`` was made or changed."""
        for each in self.container["volumeMounts"]:
            if each["name"] == name and "subPath" not in each:
                publish(
                    self.path(each["mountPath"]), {key: self._text(value) for key, value in files.items()}
                )

    def _held(self, volume: str) -> dict[str, bytes] | None:
        claims = {"cell"}
        if volume in claims:
            return None
        (source,) = (each for each in self.spec["volumes"] if each["name"] == volume)
        if "emptyDir" in source or "projected" in source:
            # The account of a pod: a process of this machine has its own way to the cluster.
            return None
        kind = "ConfigMap" if "configMap" in source else "Secret"
        wanted = source.get("configMap") or source["secret"]
        named = wanted.get("name") or wanted.get("secretName")
        for each in self.objects:
            if each["kind"] == kind and each["metadata"]["name"] == named:
                plain = {key: value.encode() for key, value in (each.get("data") or {}).items()}
                decoded = plain if kind == "ConfigMap" else {k: base64.b64decode(v) for k, v in plain.items()}
                return {key: self._text(value) for key, value in decoded.items()}
        assert wanted.get("optional"), f"the pod would not start: there is no {kind} {named}"
        return {}

    def _text(self, content: bytes) -> bytes:
        return self._moved(content.decode()).encode()

    def _moved(self, text: str) -> str:
        mounts = [Path(each["mountPath"]) for each in self.container["volumeMounts"]]
        # The data folder itself is none of the mounts; the cell's folder in it is.
        known = {str(each) for each in (*mounts, *(each.parent for each in mounts)) if each != each.parent}
        names = "|".join(sorted(map(re.escape, known - {"/"}), key=len, reverse=True))
        return re.sub(rf"(?<![\w/])({names})(?![\w])", lambda found: str(self.path(found[0])), text)


def publish(folder: Path, files: Mapping[str, bytes]) -> None:
    """Show ``files`` in ``folder``, all at once."""
    current, number = folder / "..data", len(list(folder.glob("..at-*")))
    made = folder / f"..at-{number}"
    made.mkdir()
    for name, content in files.items():
        (made / name).write_bytes(content)
    link = folder / "..next"
    link.symlink_to(made.name)
    link.replace(current)
    for name in files:
        if not (folder / name).is_symlink():
            (folder / name).symlink_to(f"..data/{name}")
