"""bfloat16 is used where it was measured to be quicker."""

import pytest

from missrate.core import precision


@pytest.mark.parametrize(
    ("flags", "vendor", "wanted"),
    [
        ("avx512f avx512_bf16 amx_bf16", "GenuineIntel", True),
        ("avx512f avx512_bf16", "AuthenticAMD", True),
        ("avx512f avx512_bf16", "GenuineIntel", False),
        ("avx2", "AuthenticAMD", False),
        ("", "", False),
    ],
)
def test_auto_asks_the_processor(monkeypatch: pytest.MonkeyPatch, flags: str, vendor: str, wanted: bool) -> None:
    monkeypatch.setattr(precision, "cpu_info", {"flags": flags, "vendor_id": vendor}.__getitem__)
    assert precision.uses_bf16("auto", "cpu") is wanted
    assert precision.uses_bf16("bf16", "cpu")
    assert not precision.uses_bf16("float32", "cpu")
