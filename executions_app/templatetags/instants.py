"""Shows instants and states on pages as people read them; the words are those of `wording`."""

from __future__ import annotations

from datetime import datetime

from django import template
from django.template import Context
from django.utils.html import format_html
from django.utils.safestring import SafeString

from executions_app import wording

register = template.Library()


@register.simple_tag(takes_context=True)
def instant(context: Context, moment: datetime | None) -> SafeString | str:
    """`3 min ago`, with ISO and zone on hover; the page's script keeps the words current."""
    if moment is None:
        return ""
    return format_html(
        '<time datetime="{0}" title="{0} (UTC)" data-relative>{1}</time>',
        wording.iso(moment),
        _relative(moment, context["now"]),
    )


def _relative(moment: datetime, now: datetime) -> str:
    words = wording.relative(moment, now=now)
    # Twenty lines that count seconds are restless; of the past its largest unit is enough.
    return f"{' '.join(words.split()[:2])} ago" if words.endswith(" ago") else words
