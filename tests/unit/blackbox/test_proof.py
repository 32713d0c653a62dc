"""The .tlog-proof file: what is written is read, and only what fits is believed."""

import pytest

from davy.blackbox.merkle import inclusion_proof, leaf_hash, root_of
from davy.blackbox.note import Checkpoint, Cosigner, Signer, sign_note
from davy.blackbox.proof import InclusionProof
from davy.errors import Corrupt, Inconsistent

HASHES = [leaf_hash(bytes([i])) for i in range(11)]
LOG = Signer.generate("zs/kiln/box1")
MIRROR = Cosigner.generate("centre.zs")
TEXT = Checkpoint("zs/kiln/box1", len(HASHES), root_of(HASHES)).text()
NOTE = sign_note(TEXT, [LOG]) + MIRROR.cosign(TEXT, 1_800_000_000)


def proof(index: int, extra: bytes = b"") -> InclusionProof:
    path = inclusion_proof(index, len(HASHES), lambda level, i: root_of(HASHES[i << level : (i + 1) << level]))
    return InclusionProof(index, tuple(path), NOTE, extra)


@pytest.mark.feature("F31", "F34")
@pytest.mark.parametrize("extra", [b"", b"zs/kiln/box1 17"])
def test_a_proof_file_is_read_back_and_verified(extra: bytes):
    read = InclusionProof.parse(proof(6, extra).text())
    assert read == proof(6, extra)
    assert read.verify(HASHES[6], [LOG.verifier, MIRROR.verifier]).text == TEXT


def test_the_only_leaf_of_a_log_needs_no_hashes():
    text = Checkpoint("o", 1, HASHES[0]).text()
    alone = InclusionProof(0, (), sign_note(text, [LOG]))
    assert InclusionProof.parse(alone.text()) == alone
    alone.verify(HASHES[0], [LOG.verifier])


def test_another_leaf_or_another_log_is_not_believed():
    with pytest.raises(Inconsistent):
        proof(6).verify(HASHES[7], [LOG.verifier])
    with pytest.raises(Inconsistent):
        proof(6).verify(HASHES[6], [Signer.generate("zs/kiln/box1").verifier])


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"c2sp.org/tlog-proof@v1", b"c2sp.org/tlog-proof@v2"),
        (b"index 6", b"index 06"),
        (b"index 6", b"index six"),
        (b"index 6\n", b""),
        (b"index 6", b"extra ????\nindex 6"),
        (b"=\n", b"\n"),
        (b"tlog", b"\xff"),
        (b"\n\n", b"\n"),
    ],
)
def test_a_file_that_does_not_follow_the_format_is_refused(old: bytes, new: bytes):
    with pytest.raises(Corrupt):
        InclusionProof.parse(proof(6).text().replace(old, new))
