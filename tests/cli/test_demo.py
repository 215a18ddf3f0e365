"The command of the README"
import os, re, pytest
from functools import partial
import shell
import memmap_ts.cli.demo as module
from memmap_ts.io.linux import Linux
from memmap_ts.io.system import system

run = partial(shell.run_new, 'demo')

@pytest.fixture(autouse=True)
def one_thread(monkeypatch):
    "Of PyTorch in a command: more wait for each other, where other tests run beside it"
    monkeypatch.setenv('OMP_NUM_THREADS', '1')

def test_real_data(tmp_path):
    r = run('--path', str(tmp_path))
    assert r.returncode==0, r.stderr
    assert 'train_loss' in r.stdout and 'samples/s' in r.stdout and 'array on disk' in r.stdout
    assert float(re.search(r'^accuracy +([\d.]+)%', r.stdout, flags=re.M)[1]) > 95
    assert '\r' not in r.stdout and '█' not in r.stdout # nothing of a bar
    assert not r.stderr # nothing that a user can't act on
    check_end(r.stdout)
    table = re.search(r'^epoch +train_loss +valid_loss +accuracy +time *\n((?:\d+ .*\n)+)', r.stdout, flags=re.M)
    assert len(table[1].splitlines())==25
    assert {len(line)-len(line.rstrip()) for line in r.stdout.splitlines()}=={0}
    assert not list(tmp_path.iterdir())

def check_end(out):
    "It ends with three commands, which there are"
    *_,title,one,two,three = out.rstrip().splitlines()
    assert title=='next'
    for line in (one,two,three):
        name,args,why = re.fullmatch(r'  (memmap_ts_\w+) (.*\S) +# (.+)', line).groups()
        assert args and why and shell.command(name.removeprefix('memmap_ts_'))[0]

def test_memory_is_of_data_or_model(capsys, monkeypatch):
    "What the data take does not shrink when a model has come and gone"
    values = iter([100e6, 140e6,150e6,145e6, 300e6,400e6,250e6])
    monkeypatch.setattr(module.system, 'anonymous_memory', lambda: next(values))
    memory = module._Memory()
    for _ in range(3): memory.look('data')
    for _ in range(3): memory.look('model')
    module._memory_lines(memory, 2e9)
    assert capsys.readouterr().out.splitlines()==[
        'memory             100 MB at first: Python, PyTorch, fastai', '  for the data     +50 MB at most, of an array of 2,000.0 MB',
        '  for the model    +250 MB at most: weights, gradients, optimizer, room to work']

def test_commands_have_their_path(tmp_path, monkeypatch):
    "Where the shell does not find them"
    for name in ('memmap_ts_demo','memmap_ts_nowhere'): (tmp_path/name).touch()
    monkeypatch.chdir(tmp_path.parent)
    monkeypatch.setattr('sys.argv', [str(tmp_path/'memmap_ts_demo')])
    assert module._command('memmap_ts_nowhere')==os.path.join(tmp_path.name, 'memmap_ts_nowhere')
    assert module._command('memmap_ts_other')=='memmap_ts_other'

@pytest.mark.parametrize('room', [True,False])
def test_next_is_what_the_disk_has_room_for(room, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(module, 'fits', lambda gb, path: room or gb<100)
    for gb in (0,1,10):
        module._what_next(gb, tmp_path)
        out = capsys.readouterr().out
        check_end(out)
        assert (f'--gb {10*gb or 1} ' in out)==(room or gb<10) and ('memmap_ts_stats X.npy' in out)==(not room and gb==10)

def on_screen(line):
    "What is seen of a line that is written over"
    seen = ''
    for part in line.split('\r'): seen = part+seen[len(part):]
    return seen.rstrip()

# The arrays are what is looked at, and the table; `test_real_data` trains the model as it is, which takes two minutes here
smaller_model = '''
from functools import partial
import tsai.learner
tsai.learner.ts_learner = partial(tsai.learner.ts_learner, nf=4)
'''

def test_synthetic(tmp_path):
    args = '--gb','0.5','--path',str(tmp_path)
    if os.name=='posix': code,out = shell.run_in_terminal('demo', *args, before=smaller_model)
    else: code,out = (r := run(*args)).returncode,r.stdout
    assert code==0, out
    if isinstance(system, Linux):
        data,model = (int(re.search(rf'for the {what} +[+](\d+) MB at most', out)[1]) for what in ('data','model'))
        assert data<100 and model>0
    told = re.findall(r'^(written|read) +([\d,]+) MB +([\d,]+) MB/s', out, flags=re.M)
    assert [o[0] for o in told]==['written']*5+['read']*5
    assert sum(int(o[1]) for o in told[:5])==pytest.approx(500, abs=5) and '█' not in out
    check_end(out)
    header, = (on_screen(line) for line in out.split('\n') if 'train_loss' in line)
    rows = re.findall(r'^\d +[\d.]+ +[\d.]+ +[\d.]+ +[\d:]+ +([\d.,]+) +\d+% +', out, flags=re.M)
    assert len(rows)==5 and all(float(o.replace(',',''))>0 for o in rows) # a line of each epoch, however slow the model is
    assert header.split()==['epoch','train_loss','valid_loss','accuracy','time','MB/s','waiting','memory'] # and no bar of the writing behind it
    assert not list(tmp_path.iterdir())

@pytest.mark.parametrize('gb', [.02,.4])
def test_too_small(gb, tmp_path):
    "What is written is what was asked for"
    with pytest.raises(SystemExit, match='--gb 0.*at least 0.41'): module.demo(gb=gb, path=str(tmp_path))
    assert not list(tmp_path.iterdir())

def test_no_room(tmp_path):
    r = run('--gb', '1e6', '--path', str(tmp_path))
    assert r.returncode==1 and 'do not fit' in r.stderr and 'Traceback' not in r.stderr

@pytest.mark.parametrize('error,code', [(KeyboardInterrupt(),130), (OSError(28, 'No space left on device'),'[Errno 28] No space left on device')])
def test_stopped(error, code, tmp_path, monkeypatch, capsys):
    def stopped(folder, *args):
        assert list(folder.iterdir())
        raise error
    monkeypatch.setattr(module, '_load_and_train', stopped)
    with pytest.raises(SystemExit) as e: module.demo(path=str(tmp_path))
    assert e.value.code==code and not list(tmp_path.iterdir())
    assert capsys.readouterr().err.strip()==('interrupted: no file is left' if code==130 else '')
