"""One container as a process of this machine, in a mount namespace whose root holds what the pod says.

The programs are this machine's own (``/usr``, a little of ``/etc``), read-only as those of an image; every
other path is the container's. Where tests do not run as root, a user namespace takes the place of users.
"""

import asyncio
import contextlib
import os
import shlex
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

_HOST: Final = ("/usr", "/proc", "/dev", "/sys")
_LINKS: Final = ("/bin", "/sbin", "/lib", "/lib32", "/lib64")
_CONFIGURATION: Final = (
    "passwd", "group", "nsswitch.conf", "ld.so.cache", "ld.so.conf", "ld.so.conf.d", "localtime", "hosts",
    "resolv.conf", "ssl", "alternatives", "host.conf", "services", "protocols",
)  # fmt: skip
PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
MESSAGE_BYTES: Final = 2048
"""How much of a container's last words its pod shows, where it asks for that."""


@dataclass(frozen=True)
class Mount:
    """What of this machine is seen where."""

    source: Path
    target: str
    read_only: bool = False


@dataclass(frozen=True)
class Box:
    """What a container is run in.

    Attributes:
        folder: an empty folder that becomes the container's root.
        closed: the root cannot be written to.
        user: user and group; None leaves them as they are.
    """

    folder: Path
    mounts: Sequence[Mount]
    environment: Mapping[str, str]
    closed: bool = False
    user: tuple[int, int] | None = None
    work: str = "/"

    def script(self, command: Sequence[str]) -> str:
        """Return the shell script that lays everything out and becomes ``command``."""
        root = shlex.quote(str(self.folder))
        lines = ["set -eu", f"mount -t tmpfs -o mode=755 container {root}", f"mkdir -m 755 {root}/etc"]
        lines += [f"mkdir -m 1777 {root}/tmp"]  # noqa: S108 - the container's own
        lines += [f"cp -a /etc/{each} {root}/etc/ 2>/dev/null || :" for each in _CONFIGURATION]
        lines += [f"mkdir {root}{each} && mount --rbind {each} {root}{each}" for each in _HOST]
        lines += [f"[ ! -L {each} ] || cp -P {each} {root}{each}" for each in _LINKS]
        for mount in sorted(self.mounts, key=lambda each: each.target.count("/")):
            lines += _bound(mount, root)
        if self.closed:
            lines.append(f"mount -o remount,ro {root}")
        who = "" if self.user is None or os.geteuid() else f"--userspec={self.user[0]}:{self.user[1]} "
        words = " ".join(shlex.quote(each) for each in command)
        # What lays it out is this machine's; what runs in it is found where the image says.
        inside = f"--chdir={shlex.quote(self.work)} PATH={shlex.quote(self.environment.get('PATH', PATH))}"
        start = f"exec chroot {who}{root} /usr/bin/env -u PWD -u OLDPWD {inside} {words}"
        return "\n".join([*lines, start])


def _bound(mount: Mount, root: str) -> list[str]:
    source, target = shlex.quote(str(mount.source)), root + shlex.quote(mount.target)
    place = f"mkdir -p {target}" if mount.source.is_dir() else f"mkdir -p $(dirname {target}); : > {target}"
    lines = [place, f"mount --rbind {source} {target}"]
    return [*lines, f"mount -o remount,bind,ro {target}"] if mount.read_only else lines


@dataclass
class Container:
    """A running container."""

    box: Box
    words: Path
    process: asyncio.subprocess.Process
    frozen: bool = field(default=False)

    @classmethod
    async def start(cls, box: Box, command: Sequence[str], words: Path) -> "Container":
        """Start ``command``; what it says goes to the file ``words``."""
        box.folder.mkdir(parents=True, exist_ok=True)
        with words.open("ab") as said:
            process = await asyncio.create_subprocess_exec(
                "unshare",
                "--mount",
                *(["--map-root-user"] if os.geteuid() else []),
                "/bin/sh",
                "-c",
                box.script(command),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                env={**box.environment, "PATH": PATH},
                start_new_session=True,
            )
        return cls(box, words, process)

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def running(self) -> bool:
        return self.process.returncode is None

    @property
    def entered(self) -> bool:
        """Whether it has its own root by now, and not still this machine's."""
        try:
            return Path(f"/proc/{self.pid}/root").readlink() != Path("/")
        except OSError:
            return False

    async def execute(self, command: Sequence[str], seconds: float) -> bool:
        """Run ``command`` beside the container's own; whether it ended well and in time."""
        if not self.running or not self.entered:
            return False
        who = self.box.user
        process = await asyncio.create_subprocess_exec(
            "nsenter",
            f"--target={self.pid}",
            *(["--user", "--preserve-credentials"] if os.geteuid() else []),
            "--mount",
            f"--root=/proc/{self.pid}/root",
            f"--wd=/proc/{self.pid}/root",
            *([f"--setuid={who[0]}", f"--setgid={who[1]}"] if who is not None and not os.geteuid() else []),
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            env={"PATH": PATH, **self.box.environment},
        )
        try:
            return await asyncio.wait_for(process.wait(), seconds) == 0
        except TimeoutError:
            process.kill()
            await process.wait()
            return False

    def signal(self, number: int) -> None:
        """Send a signal to all of the container's processes."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, number)

    async def end(self, grace_seconds: float) -> None:
        """Ask it to end, and end it when the time is over."""
        if not self.running:
            return
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(self.process.wait(), max(grace_seconds, 0.01))
        except TimeoutError:
            await self.kill()

    async def kill(self) -> None:
        """End it at once."""
        self.signal(signal.SIGKILL)
        await self.process.wait()
        self.signal(signal.SIGKILL)

    def last_words(self) -> str:
        """Return the end of what it said."""
        if not self.words.exists():
            return ""
        return self.words.read_bytes()[-MESSAGE_BYTES:].decode("utf-8", "replace")
