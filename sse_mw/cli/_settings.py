"""What to serve and how to wrap it, in a form that reaches another process."""

import dataclasses
import json
import os
from collections.abc import Mapping
from typing import Any, Self

VARIABLE = "SSE_MW_RUN"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """All that a worker process needs to build the application by itself."""

    target: str | None = None
    factory: bool = False
    reload: bool = False
    log_level: str = "warning"
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict[str, Any])
    """`SSEMiddleware`'s arguments: only those that the user gave, so that its defaults stay its own."""

    def publish(self) -> None:
        """Put them where the worker processes, started afresh, inherit them."""
        os.environ[VARIABLE] = json.dumps(dataclasses.asdict(self))

    @classmethod
    def inherited(cls) -> Self:
        """The settings that the parent process published."""
        return cls(**json.loads(os.environ[VARIABLE]))
