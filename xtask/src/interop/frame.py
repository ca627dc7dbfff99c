"""Cases, seeded inputs, and how both sides are run."""

import contextlib
import io
import json
import os
import random
import subprocess
import sys
import traceback


class Different(Exception):
    """The two sides do not agree."""


class Area:
    """One group of cases, with a folder and random numbers of its own: cases of one area do not move those of another."""

    def __init__(self, name, airseal, folder, seed):
        self.name = name
        self.airseal = airseal
        self.random = random.Random(f"{seed}/{name}")
        self.folder = os.path.join(folder, name)
        self.cases = 0
        self.failures = []
        self.tools = set()
        os.makedirs(self.folder, exist_ok=True)

    @contextlib.contextmanager
    def case(self, what, tool):
        """One case: what is done, and against which tool. Whatever is raised inside is its failure."""
        self.cases += 1
        self.tools.add(tool)
        try:
            yield
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # the tools leave by SystemExit too
            place = traceback.extract_tb(error.__traceback__)[-1]
            self.failures.append(f"{self.name}: {what}: {type(error).__name__}: {error} ({os.path.basename(place.filename)}:{place.lineno})")

    def path(self, name):
        return os.path.join(self.folder, name)

    def write(self, name, data):
        """A file with these bytes; its path."""
        with open(self.path(name), "wb") as file:
            file.write(data)
        return self.path(name)

    def read(self, name):
        with open(self.path(name), "rb") as file:
            return file.read()

    def noise(self, length):
        """Random bytes that no format begins with."""
        return (b"\0" + self.random.randbytes(length - 1)) if length else b""

    def ours(self, *arguments):
        """Runs our command; its standard output."""
        finished = self._run(arguments)
        if finished.returncode != 0:
            raise Different(f"airseal ended with {finished.returncode}: {finished.stderr.strip()}")
        return finished.stdout

    def ours_json(self, *arguments):
        return json.loads(self.ours(*arguments, "--json").splitlines()[-1])

    def ours_report(self, *arguments):
        """What our command printed as JSON, be its verdict good or bad."""
        finished = self._run([*arguments, "--json"])
        if finished.returncode not in (0, 1) or not finished.stdout:
            raise Different(f"airseal ended with {finished.returncode}: {finished.stderr.strip()}")
        return json.loads(finished.stdout.splitlines()[0])

    def ours_refuses(self, *arguments):
        """Runs our command, which must refuse; its message."""
        finished = self._run(arguments)
        if finished.returncode != 1:
            raise Different(f"airseal ended with {finished.returncode}, 1 was expected")
        return finished.stderr + finished.stdout

    def _run(self, arguments):
        command = [self.airseal, *map(str, arguments)]
        return subprocess.run(command, cwd=self.folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)


def equal(ours, theirs, what="bytes"):
    if ours != theirs:
        raise Different(f"{what} differ")


def refuses(tool, *arguments):
    """The tool must end with an error."""
    try:
        tool(*arguments)
    except (Exception, SystemExit):
        return
    raise Different("the tool accepted it")


def quiet(call, *arguments, **options):
    """Calls a tool without showing what it prints; gives that back."""
    text = io.StringIO()
    with contextlib.redirect_stdout(text), contextlib.redirect_stderr(text):
        call(*arguments, **options)
    return text.getvalue()


def openssl(*arguments, **options):
    finished = subprocess.run(["openssl", *map(str, arguments)], stdin=subprocess.DEVNULL, capture_output=True, check=False, **options)
    if finished.returncode != 0:
        raise Different(f"openssl: {finished.stderr.decode(errors='replace').strip()}")
    return finished.stdout


def progress(text):
    print(text, file=sys.__stdout__, flush=True)
