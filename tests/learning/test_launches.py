"Processes started in the ways of the guide, and what becomes of the others if one of them ends"
import ast, json, os, re, runpy, signal, socket, subprocess, sys, time
import numpy as np, pytest, torch
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path
from torch import nn
from fastai.callback.core import Callback
from fastai.learner import Learner
from fastai.losses import CrossEntropyLossFlat
from fastai.metrics import accuracy
from fastai.torch_core import set_seed
from memmap_ts.all import ResumeCallback, TSDataLoaders, distributed, preds_to_memmap
from ranks import Failed, on_ranks
from training import fit

guide = Path(__file__).parents[2]/'nbs'/'940_several_gpus.ipynb'
torchrun = [sys.executable, '-m', 'torch.distributed.run']

pytestmark = pytest.mark.skipif(os.name!='posix', reason="signals, and a shell")

def guide_cells(kind):
    cells = json.loads(guide.read_text(encoding='utf-8'))['cells']
    return [''.join(c['source']) for c in cells if c['cell_type']==kind]

def guide_script(name):
    "A script as the guide has it: what its readers copy is what is tested"
    source, = (s for s in guide_cells('code') if s.startswith(f"{name} = '''"))
    return ast.literal_eval(ast.parse(source).body[0].value)

def save_data(folder, n=1010):
    rng = np.random.default_rng(0)
    y = np.arange(n)%2
    X = rng.normal(size=(n,3,50))+.1*y[:,None,None]
    np.save(folder/'X.npy', X.astype('float32'))
    np.save(folder/'y.npy', y)

def environment(**kwargs):
    "Of a launch on CPUs, as if no process had been launched before"
    env = {k:v for k,v in os.environ.items() if k not in ('RANK','LOCAL_RANK','WORLD_SIZE','MASTER_ADDR','MASTER_PORT')}
    return env|dict(CUDA_VISIBLE_DEVICES='', OMP_NUM_THREADS='1', PYTHONWARNINGS='ignore', MPLBACKEND='agg',
                    PYTHONPATH=os.pathsep.join(filter(None, sys.path)))|kwargs

def end(p):
    "End a launcher with all that it has launched, if it runs"
    p.terminate()
    try: p.wait(20)
    except subprocess.TimeoutExpired: p.kill()
    p.stdout.close()

@contextmanager
def started(command, folder, **env):
    p = subprocess.Popen([str(o) for o in command], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                         text=True, env=environment(**env))
    try: yield p
    finally: end(p)

def printed_by(*processes):
    "What processes that run at once print"
    res = [p.communicate(timeout=200)[0] for p in processes]
    assert not any(p.returncode for p in processes), '\n'.join(res)
    return ''.join(res)

def losses(printed):
    "Losses and metrics of all epochs, from the table that fastai prints"
    return [float(o) for line in re.findall(r"^\d+ +([\d. ]*) \d+:\d+ *$", printed, re.M) for o in line.split()]

def weights(folder):
    return torch.load(folder/'models'/'trained.pth', weights_only=False)['model']

@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    "A folder with the scripts of the guide and their data"
    res = tmp_path_factory.mktemp('guide')
    save_data(res)
    (res/'train.py').write_text(guide_script('script'))
    (res/'loop.py').write_text(guide_script('loop'))
    return res

without_accelerate = """
import runpy, sys
sys.modules['accelerate'] = None
runpy.run_path('train.py', run_name='__main__')
"""

@pytest.fixture(scope='module')
def expected(folder):
    "Losses and weights of one process, which has no accelerate and needs none"
    with started([sys.executable, '-c', without_accelerate], folder) as p: res = losses(printed_by(p))
    assert len(res)==6
    return res,weights(folder)

@pytest.fixture
def check(folder, expected):
    "Checks that a launch has the losses and the weights of one process; its arguments are commands that run at once"
    (folder/'models'/'trained.pth').unlink(missing_ok=True)
    def _check(*commands, n_fits=1, env=({},{})):
        with ExitStack() as stack:
            ps = [stack.enter_context(started(c, folder, **e)) for c,e in zip(commands, env)]
            got = losses(printed_by(*ps))
        np.testing.assert_allclose(got, expected[0]*n_fits, rtol=1e-5)
        for k,v in weights(folder).items(): torch.testing.assert_close(v, expected[1][k], rtol=1e-4, atol=1e-6)
    return _check

def free_port():
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        return str(s.getsockname()[1])

def test_one_machine(check):
    check([*torchrun, '--standalone', '--nproc-per-node', 2, 'train.py'])

def test_two_machines(check):
    agent = [*torchrun, '--nnodes', 2, '--nproc-per-node', 1, '--rdzv-backend', 'c10d', '--rdzv-id', 'test',
             '--rdzv-endpoint', f'127.0.0.1:{free_port()}', 'train.py']
    check(agent, agent)

def test_a_task_for_each_process(check):
    text = ''.join(guide_cells('markdown'))
    line = re.search(r"'(RANK=\$SLURM_PROCID .*) python train.py'", text)[1]
    command = ['bash', '-c', f'{line} exec "$0" train.py', sys.executable]
    env = dict(SLURM_NTASKS='2', SLURM_STEP_NUM_TASKS='2', MASTER_ADDR='127.0.0.1', MASTER_PORT=free_port())
    check(command, command, env=[env|dict(SLURM_PROCID=i, SLURM_LOCALID=i) for i in '01'])

notebook = '''
import runpy
from accelerate import debug_launcher, notebook_launcher
main = runpy.run_path('train.py')['main']
notebook_launcher(main, num_processes=2, use_port={port!r})
debug_launcher(main, num_processes=2)
'''
def test_from_a_notebook(check):
    check([sys.executable, '-c', notebook.format(port=free_port())], n_fits=2)

# --- alone

def make_learn(folder, dropout=.5, **kwargs):
    set_seed(0)
    dls = TSDataLoaders.from_files(folder/'X.npy', folder/'y.npy', seed=0, bs=64, path=folder, device='cpu')
    model = nn.Sequential(nn.Flatten(), nn.Linear(150, 8), nn.Dropout(dropout), nn.Linear(8, 2))
    return Learner(dls, model, loss_func=CrossEntropyLossFlat(), metrics=accuracy, **kwargs)

@pytest.mark.parametrize('size', [None,'1'])
def test_alone_nothing_changes(folder, monkeypatch, size):
    if size: monkeypatch.setenv('WORLD_SIZE', size)
    monkeypatch.setenv('SLURM_STEP_NUM_TASKS', size or '1')
    monkeypatch.setitem(sys.modules, 'accelerate', None)
    plain,learn = make_learn(folder),make_learn(folder)
    set_seed(1)
    values = fit(plain, 2)
    set_seed(1)
    with distributed(learn): got = fit(learn, 2)
    assert got==values
    assert all(torch.equal(a, b) for a,b in zip(plain.model.parameters(), learn.model.parameters()))
    assert [type(cb) for cb in learn.cbs]==[type(cb) for cb in plain.cbs]

def test_not_connected(folder, monkeypatch):
    monkeypatch.setenv('SLURM_STEP_NUM_TASKS', '2')
    learn = make_learn(folder)
    with pytest.warns(RuntimeWarning, match='SLURM_STEP_NUM_TASKS=2: 2 processes were launched') as w:
        with distributed(learn): pass
    assert w[0].filename==__file__

def test_accelerate_is_missing(folder, monkeypatch):
    monkeypatch.setenv('WORLD_SIZE', '2')
    monkeypatch.setitem(sys.modules, 'accelerate', None)
    with pytest.raises(ImportError, match=r'pip install memmap_ts\[distributed\]'):
        with distributed(make_learn(folder)): pass

def _own_group(folder):
    torch.distributed.init_process_group('gloo')
    for name in ('RANK','LOCAL_RANK','WORLD_SIZE'): del os.environ[name]
    with distributed(make_learn(folder)): pass

def test_accelerate_does_not_know(folder):
    with pytest.raises(Failed, match='2 processes, but accelerate knows of 1') as e: on_ranks(2, _own_group, folder)
    assert all(e.value.errors)

# --- a loop of one's own

def _at_exit(folder):
    "What is registered for the end of Python"
    import atexit
    functions = []
    atexit.register = lambda f, *args: functions.append(f.__name__)
    for _ in range(2):
        with distributed(make_learn(folder)): pass
    return functions

def test_threads_of_the_group_may_finish_before_python_ends(folder):
    "Else one process in some hundred is aborted"
    assert [fs.count('_let_threads_finish') for fs in on_ranks(2, _at_exit, folder)]==[1,1]

def _loop(folder):
    os.chdir(folder)
    return runpy.run_path('loop.py')['main']()

def test_plain_pytorch(tmp_path):
    save_data(tmp_path, 129) # the last batch has one sample
    (tmp_path/'loop.py').write_text(guide_script('loop'))
    one, = on_ranks(1, _loop, tmp_path)
    assert len(one)==6
    for n_ranks in (2,3):
        for got in on_ranks(n_ranks, _loop, tmp_path): np.testing.assert_allclose(got, one, rtol=1e-5)

# --- one of several ends

class InTrouble(Callback):
    "Something happens to one process in the middle of an epoch"
    def __init__(self, how): self.how = how
    def after_batch(self):
        if self.train_iter!=5 or os.environ['RANK']=='0': return
        if self.how=='killed': os.kill(os.getpid(), signal.SIGKILL)
        if self.how=='error': raise ValueError('it is broken')
        if self.how=='hangs': signal.pause()

def _in_trouble(folder, how):
    from accelerate import InitProcessGroupKwargs
    limit = InitProcessGroupKwargs(timeout=timedelta(seconds=3))
    learn = make_learn(folder, cbs=InTrouble(how))
    with distributed(learn, kwargs_handlers=[limit]): fit(learn, 2)

@pytest.mark.parametrize('how,message', [
    ('killed', 'ended with status -9'), ('error', 'it is broken'), ('hangs', 'no answer')])
def test_trouble(folder, how, message):
    began = time.monotonic()
    with pytest.raises(Failed) as e: on_ranks(2, _in_trouble, folder, how, grace=15 if how!='hangs' else 1)
    other,own = e.value.errors
    assert 'RuntimeError: process 0 waited in vain' in other and message in own
    assert time.monotonic()-began<90 # before `on_ranks` gives up; the first test to need it waits for its server

def _fit(folder, how):
    learn = make_learn(folder, dropout=0., cbs=[ResumeCallback(every=2), InTrouble(how)])
    with distributed(learn): return fit(learn, 2)

def test_killed_and_gone_on_with(folder):
    with pytest.raises(Failed, match='process 0 waited in vain'): on_ranks(2, _fit, folder, 'killed')
    assert (folder/'models'/'resume.pth').exists()
    expected = fit(make_learn(folder, dropout=0.), 2)
    for got in on_ranks(2, _fit, folder, 'nothing'): np.testing.assert_allclose(got, expected, rtol=1e-4)

def _predict(folder):
    "Process 1 is killed before the fifth batch"
    learn,seen = make_learn(folder),[]
    def count(model, xb):
        seen.append(1)
        if len(seen)==5 and os.environ['RANK']=='1': os.kill(os.getpid(), signal.SIGKILL)
    learn.model.register_forward_pre_hook(count)
    with distributed(learn): preds_to_memmap(learn, folder/'X.npy', folder/'preds.npy')

def test_no_file_is_half_written(folder):
    with pytest.raises(Failed, match='process 0 waited in vain'): on_ranks(2, _predict, folder)
    assert not (folder/'preds.npy').exists()
    assert [*folder.glob('preds.npy*')] # it had been begun
    learn = make_learn(folder)
    preds = preds_to_memmap(learn, folder/'X.npy', folder/'preds.npy')
    np.testing.assert_array_equal(preds, learn.get_preds(dl=learn.dls.test_dl(folder/'X.npy'))[0])

trouble = '''
import os, sys
from fastai.basics import *
from memmap_ts.all import *

class Trouble(Callback):
    def after_batch(self):
        if self.train_iter==1: os.write(1, f'process {os.getpid()}\\n'.encode()) # as a whole: two processes write
        if self.train_iter==5 and sys.argv[1]=='error' and os.environ['RANK']=='1': raise ValueError('it is broken')

dls = TSDataLoaders.from_files('X.npy', 'y.npy', seed=0, bs=64)
learn = Learner(dls, nn.Sequential(nn.Flatten(), nn.Linear(150, 2)), loss_func=CrossEntropyLossFlat(), cbs=Trouble())
with distributed(learn), learn.no_bar(), learn.no_logging(): learn.fit(10**6)
'''
def is_there(pid):
    try: os.kill(pid, 0)
    except ProcessLookupError: return False
    return True

def test_error_under_accelerate(folder):
    (folder/'trouble.py').write_text(trouble)
    command = [sys.executable, '-m', 'accelerate.commands.launch', '--multi_gpu', '--num_processes', 2,
               '--num_machines', 1, '--mixed_precision', 'no', '--dynamo_backend', 'no',
               '--main_process_port', free_port(), 'trouble.py', 'error']
    with started(command, folder) as p:
        printed,_ = p.communicate(timeout=100)
        assert p.returncode
    assert 'it is broken' in printed
    assert 'process 0 waited in vain' in printed or 'closing signal' in printed # whoever notices first: it, or the launcher
    pids = [int(o) for o in re.findall(r'process (\d+)\n', printed)]
    assert len(pids)==2 and not any(map(is_there, pids))

def test_ctrl_c(folder):
    (folder/'trouble.py').write_text(trouble)
    with started([*torchrun, '--standalone', '--nproc-per-node', 2, 'trouble.py', 'none'], folder) as p:
        pids = []
        for line in p.stdout:
            if found := re.search(r'process (\d+)\n', line): pids.append(int(found[1]))
            if len(pids)==2: break
        p.send_signal(signal.SIGINT)
        printed,_ = p.communicate(timeout=100)
        assert p.returncode
    assert 'KeyboardInterrupt' in printed
    assert len(pids)==2 and not any(map(is_there, pids))
