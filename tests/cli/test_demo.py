"The command of the README"
import os, re, pytest
from functools import partial
import shell
import memmap_ts.cli.demo as module
from memmap_ts.io.linux import Linux
from memmap_ts.io.system import system

run = partial(shell.run, 'demo')

def test_real_data(tmp_path):
    r = run('--path', str(tmp_path))
    assert r.returncode==0, r.stderr
    assert 'train_loss' in r.stdout and 'samples/s' in r.stdout and 'array on disk' in r.stdout
    assert float(re.search(r'^accuracy +([\d.]+)%', r.stdout, flags=re.M)[1]) > 95
    assert '\r' not in r.stdout and '█' not in r.stdout # nothing of a bar
    table = re.search(r'^epoch +train_loss +valid_loss +accuracy +time *\n((?:\d+ .*\n)+)', r.stdout, flags=re.M)
    assert len(table[1].splitlines())==25
    assert not list(tmp_path.iterdir())

def on_screen(line):
    "What is seen of a line that is written over"
    seen = ''
    for part in line.split('\r'): seen = part+seen[len(part):]
    return seen.rstrip()

def test_synthetic(tmp_path):
    if os.name=='posix': code,out = shell.run_in_terminal('demo', '--gb', '0.5', '--path', str(tmp_path))
    else: code,out = (r := run('--gb', '0.5', '--path', str(tmp_path))).returncode,r.stdout
    assert code==0, out
    if isinstance(system, Linux): assert int(re.search(r'\+(-?\d+) MB for the loaders', out)[1]) < 100
    header, = (on_screen(line) for line in out.split('\n') if 'train_loss' in line)
    assert header.split()==['epoch','train_loss','valid_loss','accuracy','time'] # and no bar of the writing behind it
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
