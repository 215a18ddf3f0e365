"Run every notebook as `nbdev_test` does, one case each, against the installed package"
import pytest
from nbdev.config import get_config
from nbdev.doclinks import nbglob
from nbdev.test import test_nb as run_nb
cfg = get_config()

@pytest.mark.parametrize('nb', sorted(nbglob(cfg.nbs_path, as_path=True)), ids=lambda p: p.stem)
def test_notebook(nb, monkeypatch):
    monkeypatch.setenv('IN_TEST','1')
    monkeypatch.setenv('MPLBACKEND','agg')
    ok,_ = run_nb(nb.absolute(), skip_flags=cfg.tst_flags.split())
    assert ok
