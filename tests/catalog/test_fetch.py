import asyncio
import hashlib
import os

import pytest

from tierwise.catalog.errors import AccessError, CheckpointError
from tierwise.catalog.fetch import Address, fetch

FILE = os.urandom(100_000)
HASH = hashlib.sha256(FILE).hexdigest()


@pytest.fixture
def bring(shelf, tmp_path):
    """Fetch /m.bin into one folder, again and again; returns what then lies there."""
    shelf.files["/m.bin"] = FILE
    target = tmp_path / "m.bin"

    def bring(*, sha256=None, url=None):
        address = Address(url=url or f"{shelf.url}/m.bin", what="m.bin", sha256=sha256)
        digest = asyncio.run(fetch(address, target, lambda done, total: None, waits=(0, 0, 0)))
        assert digest.hexdigest() == hashlib.sha256(target.read_bytes()).hexdigest()
        return target.read_bytes()

    bring.target = target
    return bring


def asked(shelf):
    return [request.range for request in shelf.requests]


def test_a_cut_connection_is_taken_up_where_it_was_cut(shelf, bring, fault):
    shelf.faults.extend([fault(dies_after=30_000), fault(dies_after=50_000)])
    assert bring() == FILE
    assert asked(shelf) == [None, "bytes=30000-", "bytes=80000-"]


def test_what_an_earlier_run_left_is_not_fetched_again(shelf, bring, fault):
    shelf.faults.extend([fault(dies_after=30_000)] + [fault(status=503)] * 4)
    with pytest.raises(CheckpointError, match=r"stopped answering.*0\.0 MB are downloaded: pull again"):
        bring()
    shelf.requests.clear()
    assert bring() == FILE
    assert asked(shelf) == ["bytes=30000-"]


def test_a_file_that_is_all_there_is_recognised_by_its_hash_without_asking(shelf, bring):
    bring.target.write_bytes(FILE)
    assert bring(sha256=HASH) == FILE
    assert asked(shelf) == []


def test_a_file_that_is_all_there_is_recognised_by_its_tag(shelf, bring, fault):
    shelf.faults.extend([fault(claims=len(FILE) + 1)] + [fault(status=503)] * 4)
    with pytest.raises(CheckpointError):
        bring()
    assert bring() == FILE
    assert asked(shelf)[-1] == "bytes=100000-"


def test_a_server_without_ranges_is_asked_from_the_start(shelf, bring, fault):
    shelf.ranges = False
    shelf.faults.append(fault(dies_after=30_000))
    assert bring() == FILE


def test_a_server_that_always_dies_early_is_given_up(shelf, bring, fault):
    shelf.ranges = False
    shelf.faults.extend([fault(dies_after=30_000)] * 20)
    with pytest.raises(CheckpointError, match="stopped answering"):
        bring()
    assert len(shelf.requests) == 5


def test_a_file_that_changed_between_two_runs_is_fetched_anew(shelf, bring, fault):
    shelf.faults.extend([fault(dies_after=30_000)] + [fault(status=503)] * 4)
    with pytest.raises(CheckpointError):
        bring()
    shelf.files["/m.bin"] = other = os.urandom(90_000)
    assert bring() == other


def test_bytes_that_nothing_identifies_are_not_continued(shelf, bring, fault):
    bring.target.write_bytes(b"of another file")
    assert bring() == FILE


def test_wrong_bytes_are_thrown_away_and_both_hashes_named(shelf, bring, fault):
    shelf.faults.append(fault(garbles=True))
    garbled = hashlib.sha256(bytes(byte ^ 1 for byte in FILE)).hexdigest()
    with pytest.raises(CheckpointError, match=f"is {garbled}, expected {HASH}"):
        bring(sha256=HASH)
    assert bring.target.read_bytes() == b""
    assert bring(sha256=HASH) == FILE


def test_wrong_bytes_of_an_earlier_run_cost_one_more_download_not_an_error(shelf, bring):
    bring.target.write_bytes(b"x" * 50_000)
    bring.target.with_name("m.bin.identity").write_text(HASH)
    assert bring(sha256=HASH) == FILE
    assert asked(shelf) == ["bytes=50000-", None]


def test_a_body_without_a_length_ends_where_the_connection_does(shelf, bring, fault):
    shelf.faults.append(fault(nameless=True))
    assert bring() == FILE


def test_a_file_too_large_for_the_disk_is_refused_before_it_is_written(shelf, bring, fault):
    shelf.faults.append(fault(claims=10**18))
    with pytest.raises(CheckpointError, match=r"needs 1000000000\.0 GB more .* are free; free some space"):
        bring()
    assert bring.target.read_bytes() == b""


def test_an_absent_file_is_said_at_once(shelf, bring):
    with pytest.raises(CheckpointError, match="answered 404"):
        bring(url=f"{shelf.url}/other.bin")
    assert len(shelf.requests) == 1


@pytest.mark.parametrize("status", [401, 403, 407])
def test_a_closed_door_is_its_own_kind_of_error(shelf, bring, fault, status):
    shelf.faults.append(fault(status=status))
    with pytest.raises(AccessError, match=str(status)):
        bring()


def test_a_server_that_is_not_there_is_said_with_its_name(bring):
    with pytest.raises(CheckpointError, match=r"127\.0\.0\.1 cannot be reached .* check the network"):
        bring(url="http://127.0.0.1:9/m.bin")


def test_a_variable_that_names_no_certificates_is_named(bring, monkeypatch, tmp_path):
    (tmp_path / "ca.pem").write_text("no certificate")
    monkeypatch.setenv("PIP_CERT", str(tmp_path / "ca.pem"))
    with pytest.raises(CheckpointError, match="PIP_CERT names"):
        bring()


def test_a_password_in_the_address_is_used_and_kept_out_of_messages(shelf, bring):
    shelf.password = "bWU6c2VjcmV0"  # me:secret
    assert bring(url=shelf.url.replace("//", "//me:secret@") + "/m.bin") == FILE
    with pytest.raises(AccessError) as raised:
        bring(url=shelf.url.replace("//", "//me:wrong@") + "/other.bin")
    assert "wrong" not in str(raised.value)
