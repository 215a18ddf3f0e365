"Every notebook, one case each, from top to bottom in a shell of its own, against the installed package"
import atexit, json, os, tempfile, pytest
from contextlib import contextmanager, nullcontext
from fastprogress import fastprogress
from filelock import FileLock
from importlib.util import find_spec
from matplotlib import pyplot as plt
from pathlib import Path
from unittest import mock
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
from traitlets.config import Config
NOTEBOOKS = sorted((Path(__file__).parent.parent/'nbs').glob('*.ipynb'))
LAUNCH = '692_distributed','940_several_gpus' # processes that meet at a port, of which there is one
PORT = Path(tempfile.gettempdir())/'memmap_ts_port.lock'
MAKES_MODULES = 'nbdev.nbdev_export()' # last line of a notebook: none of a test's business

def code_to_run(source, has_nbdev):
    "The lines of a cell that a test runs; `nbdev` serves the docs alone, and isn't there on the newest line"
    lines = source.splitlines()
    if any(o.replace(' ', '').startswith(('#|eval:false','#|notest')) for o in lines): return ''
    if not has_nbdev and 'show_doc(' in source: return ''
    return '\n'.join(o for o in lines if MAKES_MODULES not in o and (has_nbdev or not o.startswith('from nbdev.')))

@contextmanager
def settings_kept():
    "What a notebook sets for its own process, others in this one do not find: bars, plots, the environment"
    with mock.patch.object(fastprogress, 'NO_BAR', fastprogress.NO_BAR), mock.patch.dict(os.environ), plt.rc_context(): yield

@pytest.fixture
def shell(closed_figures):
    "A shell that remembers nothing of others; it is the one that `display` finds"
    InteractiveShell.clear_instance()
    shell = InteractiveShell.instance(config=Config(HistoryManager=dict(enabled=False)))
    with settings_kept(): yield shell
    atexit.unregister(shell.atexit_operations) # or all that a notebook made is kept until Python ends
    InteractiveShell.clear_instance()

@pytest.fixture
def port(fn):
    "The port is one notebook's at a time, whatever runs beside it"
    with FileLock(PORT) if fn.stem in LAUNCH else nullcontext(): yield

@pytest.mark.parametrize('fn', NOTEBOOKS, ids=lambda fn: fn.stem)
def test_notebook(fn, port, shell, monkeypatch):
    monkeypatch.setenv('IN_TEST', '1')
    monkeypatch.setenv('MPLBACKEND', 'agg')
    monkeypatch.chdir(fn.parent)
    has_nbdev = find_spec('nbdev') is not None
    for cell in json.loads(fn.read_text('utf-8'))['cells']:
        if cell['cell_type']!='code': continue
        with capture_output() as said: result = shell.run_cell(code_to_run(''.join(cell['source']), has_nbdev))
        if not result.success: pytest.fail(said.stdout+said.stderr)

def test_settings_are_kept():
    def settings(): return fastprogress.NO_BAR, plt.rcParams['figure.dpi'], dict(os.environ)
    before = settings()
    with settings_kept():
        fastprogress.NO_BAR, plt.rcParams['figure.dpi'], os.environ['OMP_NUM_THREADS'] = True, 31, '31'
        assert settings()!=before
    assert settings()==before

def test_what_is_run():
    source = '#| hide\nimport shutil\nfrom nbdev.showdoc import *\nimport nbdev; nbdev.nbdev_export()'
    assert code_to_run(source, True)=='#| hide\nimport shutil\nfrom nbdev.showdoc import *'
    assert code_to_run(source, False)=='#| hide\nimport shutil'
    assert code_to_run('#| eval: false\n1/0', True)==''
    assert code_to_run('show_doc(A.b)', False)=='' and code_to_run('show_doc(A.b)', True)
