"What a process is told by what has started it"
import os, pytest, socket
from memmap_ts.disk.launch import launch

@pytest.fixture
def env(monkeypatch):
    for k in ('RANK','WORLD_SIZE','MASTER_ADDR','MASTER_PORT','TORCHELASTIC_RUN_ID','SLURM_JOB_ID','SLURM_STEP_ID'): monkeypatch.delenv(k, False)
    def launched(**said):
        with monkeypatch.context() as m:
            for k,v in said.items(): m.setenv(k, v)
            return launch()
    return launched

def test_alone(env):
    for said in ({}, dict(WORLD_SIZE='4'), dict(RANK='0'), dict(RANK='0', WORLD_SIZE='1'), dict(RANK='0', WORLD_SIZE='')):
        assert env(**said) is None

def test_which(env):
    "All ranks say the same, those of another launch something else"
    torchrun = dict(WORLD_SIZE='4', MASTER_ADDR='node1', MASTER_PORT='29500', TORCHELASTIC_RUN_ID='none')
    ours = env(RANK='0', **torchrun)
    assert ours==env(RANK='3', **torchrun)
    for other in (dict(MASTER_PORT='29501'), dict(MASTER_ADDR='node2'), dict(TORCHELASTIC_RUN_ID='b'), dict(SLURM_JOB_ID='7')):
        assert env(RANK='0', **{**torchrun, **other})!=ours
    assert os.getppid() in env(RANK='0', WORLD_SIZE='2') # a shell script that sets the least

def test_two_machines(env, monkeypatch):
    "Each has a launch of its own, which is told no more than that the port is one of this machine"
    for address,same in (('localhost',False), ('127.0.0.1',False), ('node1',True)):
        ours = env(RANK='0', WORLD_SIZE='2', MASTER_ADDR=address, MASTER_PORT='29500')
        with monkeypatch.context() as m:
            m.setattr(socket, 'gethostname', lambda: 'another')
            assert (env(RANK='1', WORLD_SIZE='2', MASTER_ADDR=address, MASTER_PORT='29500')==ours)==same
