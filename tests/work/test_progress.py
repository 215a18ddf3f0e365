"Bars are where somebody sees them, and nothing of them is anywhere else"
import io, numpy as np, pytest
from contextlib import redirect_stdout
from fastprogress import fastprogress
from memmap_ts.work.progress import Teller, bar
from memmap_ts.write import to_memmap

class Terminal(io.StringIO):
    "Takes what is printed, as a terminal does"
    def isatty(self): return True

def printed(f, out):
    with redirect_stdout(out): f()
    return out.getvalue()

def chunks(n=5): return (np.ones((100,2,3)) for _ in range(n))

works = [lambda d: list(bar(range(3))), lambda d: Teller(5)(5), lambda d: to_memmap(chunks(), d/'X.npy'), lambda d: to_memmap(np.ones((5,2)), d/'X.npy')]

@pytest.mark.parametrize('work', works)
def test_nothing_in_a_file(work, tmp_path, monkeypatch):
    monkeypatch.delenv('PYCHARM_HOSTED', raising=False)
    assert printed(lambda: work(tmp_path), io.StringIO())==''

@pytest.mark.parametrize('work', works)
def test_nothing_where_bars_are_off(work, tmp_path, monkeypatch):
    monkeypatch.setattr(fastprogress, 'NO_BAR', True)
    assert printed(lambda: work(tmp_path), Terminal())==''

@pytest.mark.parametrize('work', works)
def test_a_bar_in_a_terminal(work, tmp_path): assert '100.00% [' in printed(lambda: work(tmp_path), Terminal())

def test_dask_in_a_file(tmp_path):
    da = pytest.importorskip('dask.array', reason='dask is optional, and not installed')
    assert printed(lambda: to_memmap(da.ones((5,2)), tmp_path/'X.npy'), io.StringIO())==''

def test_the_end_of_a_generator(tmp_path):
    "Nobody knew how many rows there would be; at the end it is said"
    out = printed(lambda: to_memmap(chunks(), tmp_path/'X.npy'), Terminal())
    assert '/?' in out and out.rsplit('|', 1)[1].startswith(' 100.00% [500/500 ')

def test_the_end_of_tables(tmp_path):
    pd = pytest.importorskip('pandas')
    out = printed(lambda: to_memmap((pd.DataFrame({'a':[1.,2.]}) for _ in range(3)), tmp_path/'X.npy'), Terminal())
    assert '100.00% [6/6 ' in out

def test_finish():
    def run(total, *done):
        tell = Teller(total)
        for n in done: tell(n)
        tell.finish(); tell.finish()
    assert '[5/5 ' in printed(lambda: run(5, 2), Terminal())
    assert '[7/7 ' in printed(lambda: run(None, 3, 7), Terminal())
    for total in (0,None): printed(lambda t=total: run(t), Terminal()) # nothing done: no error, and no warning
