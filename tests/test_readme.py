"What the README shows works as it is copied, and again in the same folder; its shapes are right"
import re, warnings, numpy as np, pytest
from pathlib import Path
from memmap_ts.all import *

readme = Path(__file__).resolve().parents[1]/'README.md'

def cells():
    "Python that is shown, of fewer epochs"
    text = readme.read_text(encoding='utf-8')
    return [o.replace('fit_one_cycle(12', 'fit_one_cycle(1') for o in re.findall(r'^```python\n(.*?)^```', text, flags=re.M|re.S)]

def test_restart_and_run_all(tmp_path, monkeypatch):
    "Twice, with nothing but what the cells before have made"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('MPLBACKEND', 'agg')
    for _ in range(2):
        names = {'__name__':'__main__'}
        for source in cells():
            with warnings.catch_warnings(): exec(compile(source, source, 'exec'), names)
    assert (names['dls'].vars,names['dls'].len,names['dls'].c)==(6,100,4)
    assert len(names['learn'].get_X_preds('X.npy')[2])==80

def test_one_screen():
    "What it is, how to install it, ten lines, what one gets: a reader sees all of it"
    text = readme.read_text(encoding='utf-8')
    lines = text.split('\n')
    assert len(lines)<100 and max(map(len, lines))<330
    assert sum(line.startswith('- **') for line in lines)==8

@pytest.mark.parametrize('horizon', [1,3,24,[1,6]], ids=str)
@pytest.mark.parametrize('get_y', [None,0,[2,0],[1]], ids=str)
def test_forecasts_in_their_own_units(horizon, get_y, tmp_path):
    "By the formulas that the README has for each shape: of a series of as many variables as there are steps, too"
    series = np.random.default_rng(0).normal([0,5,100], [1,2,10], (400,3))
    st = memmap_stats(windows(series, 20)[0])
    mean,std = (o if get_y is None else o[get_y] for o in (st.mean,st.std))
    preds = np.array(windows((series-st.mean)/st.std, 20, horizon=horizon, get_y=get_y)[1][[0,7]])
    n_vars,n_steps = np.size(mean),np.size(horizon) if isinstance(horizon, list) else horizon
    if n_vars>1 and n_steps>1: mean,std = mean[:,None],std[:,None]
    want = windows(series, 20, horizon=horizon, get_y=get_y)[1][[0,7]]
    assert (preds*std+mean).shape==want.shape
    np.testing.assert_allclose(preds*std+mean, want)
