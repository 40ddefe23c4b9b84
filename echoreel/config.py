"""Settings: frozen pydantic models that refuse unknown keys."""

from pydantic import BaseModel, ConfigDict


class Settings(BaseModel):
    """Base of every settings class: frozen, and a misspelt key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")
