"A pair of fastai and fastcore that gives wrong data is refused"
import pickle, subprocess, sys, pytest
from memmap_ts.versions import check_versions

def python(code): return subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)

@pytest.mark.parametrize('fastai,fastcore',
    [('2.8.7','2.2.39'), ('2.8.7','2.1.20'), ('2.8.10','2.2.22'), ('2.7.19','2.0.0')])
def test_bad_pair(fastai, fastcore):
    said = rf'fastai {fastai} with fastcore {fastcore}.*pip install'
    with pytest.raises(ImportError, match=said): check_versions(fastai, fastcore)

@pytest.mark.parametrize('fastai,fastcore',
    [('2.8.7','1.13.2'), ('2.8.12','2.2.39'), ('2.9.0','3.0'), ('2.8.12rc1','2.2.39')])
def test_good_pair(fastai, fastcore): assert check_versions(fastai, fastcore) is None

def test_refused_at_import():
    r = python('''
import importlib.metadata as m
version = m.version
m.version = lambda p: {'fastai':'2.8.7', 'fastcore':'2.2.39'}.get(p) or version(p)
import memmap_ts''')
    assert r.returncode and 'ImportError: fastai 2.8.7 with fastcore 2.2.39' in r.stderr

def test_import_leaves_warnings_alone():
    r = python('''
import warnings, fastai.basics
before = list(warnings.filters)
import memmap_ts.all
assert warnings.filters==before, warnings.filters''')
    assert r.returncode==0, r.stderr

def test_pickled_by_an_earlier_version():
    "A loader of before asks for a module that has moved: the error says how to keep the weights"
    with pytest.raises(RuntimeError, match=r"exported by an earlier memmap_ts.*learn\.save.*learn\.load"):
        pickle.loads(b'cmemmap_ts.ahead\n_Ring\n.')
