"""The same files through the command line: exit code 0, 1 or 2, one sentence, no traceback."""

import io
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout

from missrate.cli import main
from missrate.core.errors import InputError
from tests.fuzz.attempt import Fault


def command(*words: object) -> Callable[[], None]:
    """What runs ``missrate WORDS`` in this process; a refusal is raised as the sentence that was printed."""

    def run() -> None:
        before, said = sys.argv, io.StringIO()
        sys.argv = ["missrate", *map(str, words)]
        try:
            with redirect_stdout(io.StringIO()), redirect_stderr(said):
                main()
        except SystemExit as error:
            text = said.getvalue()
            if error.code not in (0, 1, 2, None) or "Traceback" in text:
                raise Fault(f"exit code {error.code}: {text[:300]}") from error
            if error.code == 2:
                if not text.startswith("missrate: "):
                    raise Fault(f"exit code 2 without a sentence: {text[:300]}") from error
                raise InputError(text.removeprefix("missrate: ").rstrip("\n")) from error
        finally:
            sys.argv = before

    return run
