"""Fields of the admin's forms: how a word of a definition is asked for."""

from __future__ import annotations

from enum import StrEnum

from django import forms
from unfold import widgets


def text(label: str, initial: str = "", *, help_text: str = "") -> forms.CharField:
    return forms.CharField(
        label=label,
        initial=initial,
        required=False,
        help_text=help_text,
        widget=widgets.UnfoldAdminTextInputWidget(),
    )


def number(label: str, help_text: str = "") -> forms.IntegerField:
    return forms.IntegerField(
        label=label,
        required=False,
        help_text=help_text,
        widget=widgets.UnfoldAdminIntegerFieldWidget(),
    )


def json_field(label: str, help_text: str) -> forms.JSONField:
    return forms.JSONField(
        label=label,
        required=False,
        help_text=help_text,
        widget=widgets.UnfoldAdminTextareaWidget(),
    )


def instant(label: str) -> forms.SplitDateTimeField:
    return forms.SplitDateTimeField(
        label=label,
        required=False,
        widget=widgets.UnfoldAdminSplitDateTimeWidget(),
        help_text="UTC",
    )


def one_of(label: str, values: type[StrEnum], initial: StrEnum) -> forms.ChoiceField:
    return forms.ChoiceField(
        label=label,
        choices=[(one.value, one.value) for one in values],
        initial=initial.value,
        required=False,
        widget=widgets.UnfoldAdminSelectWidget(),
    )
