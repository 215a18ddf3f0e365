"How many Python functions a batch takes: for 64 rows of 4 kB, calls cost more than the bytes"
import cProfile, pstats, numpy as np, pytest
from types import SimpleNamespace
from tsai.data.preprocessing import TSStandardize
from memmap_ts.all import *

def calls(dl):
    "Python functions called for each batch of an epoch of `dl`, whose rows are in memory; the costs of an epoch are spread over its batches"
    for _ in range(2):
        for _ in dl: pass
    profile = cProfile.Profile()
    profile.enable()
    for _ in dl: pass
    profile.disable()
    return sum(n for (file,*_),(_,n,*_) in pstats.Stats(profile).stats.items() if file!='~')/len(dl)

@pytest.mark.parametrize('tfms,most', [(None,55), (TSStandardize(by_sample=True),290)], ids=['alone','TSStandardize'])
def test_calls(saved, monkeypatch, tfms, most):
    "Before this was counted there were 106 and 362, now 52 and 281; 230 of the latter are the transform itself and fastai's tensors"
    clock = SimpleNamespace(monotonic=lambda: 0.) # what is in memory is asked four times a second, however slow this is
    monkeypatch.setattr('memmap_ts.io.residency.time', clock)
    X = np.random.default_rng(0).normal(size=(6400,1,1024)).astype('f4')
    dls = TSDataLoaders.from_files(saved(X), np.arange(6400)%7, splits=(range(6400),), bs=64, batch_tfms=tfms)
    n = calls(dls.train)
    assert n<most, n
