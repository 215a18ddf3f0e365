import subprocess, sys, pytest
from memmap_ts.versions import check_versions

@pytest.mark.parametrize('fastai,fastcore', [('2.8.7','2.2.39'),('2.8.7','2.1.20'),('2.8.10','2.2.22'),('2.7.19','2.0.0')])
def test_bad_pair(fastai, fastcore):
    with pytest.raises(ImportError, match=rf'fastai {fastai} with fastcore {fastcore}.*pip install'): check_versions(fastai, fastcore)

@pytest.mark.parametrize('fastai,fastcore', [('2.8.7','1.13.2'),('2.8.12','2.2.39'),('2.9.0','3.0'),('2.8.12rc1','2.2.39')])
def test_good_pair(fastai, fastcore): assert check_versions(fastai, fastcore) is None

def test_refused_at_import():
    code = "import importlib.metadata as m; v = m.version; m.version = lambda p: {'fastai':'2.8.7','fastcore':'2.2.39'}.get(p) or v(p)\nimport memmap_ts"
    r = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert r.returncode and 'ImportError: fastai 2.8.7 with fastcore 2.2.39' in r.stderr

def test_import_leaves_warnings_alone():
    code = "import warnings; import fastai.basics; before = list(warnings.filters)\nimport memmap_ts.all\nassert warnings.filters==before, warnings.filters"
    subprocess.run([sys.executable, '-c', code], check=True)
