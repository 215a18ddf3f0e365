import gc, hashlib, random, signal, subprocess, sys, numpy as np, pytest, torch
from pathlib import Path

# A shell starts what runs in its background deaf to Ctrl-C, and what that starts
signal.signal(signal.SIGINT, signal.default_int_handler)
HANDLERS = {n:signal.getsignal(n) for n in (signal.SIGINT,signal.SIGTERM)}

torch.set_num_threads(1) # models here are small: threads would only wait for each other

# What takes longest begins first: at the end one processor would wait for the other
LONG = '940_several_gpus', '900_tutorial', '692_distributed', 'test_killed[', 'test_launches', 'test_synthetic', 'test_2GB[shape'

def pytest_ignore_collect(collection_path, config):
    "`-m alone` need not import the files that have no such test"
    if config.option.markexpr!='alone' or collection_path.suffix!='.py': return None
    return 'mark.alone' not in collection_path.read_text('utf-8') or None

def pytest_collection_modifyitems(items): items.sort(key=lambda item: not any(name in item.nodeid for name in LONG))

def pytest_collection_finish():
    "What is there before the first test, all imports, is not looked through again: neither here nor in what tests fork"
    gc.collect()
    gc.freeze()

def pytest_runtest_setup():
    "Signals and random numbers are those of the test, whatever ran before it; a fit that ended in an error leaves its handlers"
    for n,handler in HANDLERS.items(): signal.signal(n, handler)
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)

@pytest.fixture
def saved(tmp_path):
    "Save an array; its path"
    def _save(a, name='X.npy'):
        np.save(tmp_path/name, a)
        return tmp_path/name
    return _save

@pytest.fixture
def data(saved):
    "X (200,3,20) and three classes, as paths"
    rng = np.random.default_rng(0)
    y = np.array(['cat','dog','eel'])[np.arange(200)%3]
    X = rng.normal(size=(200,3,20)).astype('float32')
    X[np.arange(200),np.arange(200)%3] += 2
    return saved(X), saved(y, 'y.npy')

@pytest.fixture
def sha():
    return lambda fn: hashlib.sha256(Path(fn).read_bytes()).hexdigest()

@pytest.fixture
def start():
    "Starts processes of a launch, as `Rank` does, and ends them after the test"
    from siblings import Rank
    started = []
    def start(*args, **kwargs):
        started.append(Rank(*args, **kwargs))
        return started[-1]
    yield start
    for r in started: r.kill()

@pytest.fixture
def closed_figures():
    "Figures are closed after the test"
    from matplotlib import pyplot as plt
    yield
    plt.close('all')

@pytest.fixture
def on_a_disk(tmp_path):
    "Statistics are kept where files lie: not where they are in memory only"
    from memmap_ts.io.system import system
    if not system.time_tells(tmp_path.stat()): pytest.skip('files are in memory only: `pytest --basetemp` a folder on a disk')

@pytest.fixture
def small_disk(tmp_path):
    "A tmpfs of 4 MB"
    d = tmp_path/'small'
    d.mkdir()
    r = subprocess.run(['mount','-t','tmpfs','-o','size=4m','tmpfs',d], capture_output=True, text=True) if sys.platform.startswith('linux') else None
    if r is None or r.returncode: pytest.skip(f"can't mount a tmpfs, which needs root on Linux: {r and r.stderr.strip()}")
    yield d
    subprocess.run(['umount',d], check=True)
