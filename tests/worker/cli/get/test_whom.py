"""Whom a read names: files of addresses."""

from __future__ import annotations


def test_a_file_of_addresses_that_is_no_text_is_bad_input(typed, tmp_path):
    (tmp_path / "addresses").write_bytes(b"ada@lovelace.dev\n\xff@shop.io\n")
    code, _out, err = typed("profiles", "--emails-from", str(tmp_path / "addresses"))
    assert code == 2
    assert "line 2:" in err
