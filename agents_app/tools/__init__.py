"""What a step may do beside calling an endpoint: tools by name, each with a schema and a bound."""

from __future__ import annotations

from agents_app.tools.base import Tool as Tool
from agents_app.tools.base import ToolArguments as ToolArguments
from agents_app.tools.base import ToolContext as ToolContext
from agents_app.tools.base import ToolFailed as ToolFailed
from agents_app.tools.base import ToolRefused as ToolRefused
from agents_app.tools.base import ToolTimedOut as ToolTimedOut
from agents_app.tools.base import ToolUnknown as ToolUnknown
from agents_app.tools.base import tool as tool
from agents_app.tools.choosing import suited as suited
from agents_app.tools.registry import find as find
from agents_app.tools.registry import names as names
from agents_app.tools.running import Ran as Ran
from agents_app.tools.running import run as run
