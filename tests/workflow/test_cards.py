"""Cards are read as documented; what speaks against an executor is one sentence, with the line,
before anything is made."""

import importlib.util
import os
import stat

import pytest
from schedulers_for_tests import put_on_path

from causal_meta.conf.clusters import CardConfig, JobNeeds, LocalCard, SlurmCard
from causal_meta.conf.registry import tags
from causal_meta.conf.setting import ConfigError
from causal_meta.workflow import carry_out
from causal_meta.workflow.cards import card_names, check_plan, executor_of, slurm_words

STUDY = "targets:\n  - {target: tasks, name: a, %}\nruns:\n  - {run: empty, of: a}\n"


@pytest.fixture
def card(tmp_path):
    """The file of a card with such lines."""

    def write(text):
        file = tmp_path / "card.yaml"
        file.write_text(text)
        return str(file)

    return write


def with_schedulers(tmp_path, monkeypatch):
    for kind in ("slurm", "htcondor"):
        (tmp_path / kind).mkdir()
        kept = put_on_path(kind, tmp_path / kind, monkeypatch)
    return kept


@pytest.mark.parametrize("name", card_names())
def test_cards_of_the_package_are_read_and_every_scheduler_has_one(name, tmp_path, monkeypatch):
    with_schedulers(tmp_path, monkeypatch)
    if name == "kubernetes":
        pytest.importorskip("kubernetes")
    executor = executor_of(name, 2)
    assert isinstance(executor.card, CardConfig)
    assert executor.card.encrypted
    assert {"laptop": "local", "slurm_gpu": "slurm"}.get(name, name) == executor.card.kind
    assert executor.lines


def test_every_scheduler_has_a_card():
    assert len(card_names()) == len(tags(CardConfig)) + 1  # two for Slurm


def test_words_for_here():
    assert (
        executor_of("local", 1).card
        is executor_of("processes", 1).card
        is executor_of("threads", 1).card
        is None
    )
    parsl = executor_of("parsl", 3).card
    assert parsl == LocalCard(jobs=JobNeeds(per_block=3))
    assert parsl.needs_of("amortised") is parsl.jobs
    slurm = SlurmCard(kinds={"amortised": JobNeeds(cores=8)})
    assert (slurm.needs_of("amortised").cores, slurm.needs_of("boss").cores) == (8, 1)
    assert JobNeeds(walltime="30:01:02").seconds == 30 * 3600 + 62


@pytest.mark.parametrize(
    ("text", "saying"),
    [
        (
            "jobs: {cores: 1}",
            "line 1: a card begins with its scheduler: 'kind: KIND', one of htcondor, kubernetes, "
            "local, slurm.",
        ),
        ("- kind: slurm", "line 1: a card begins with its scheduler"),
        ("kind: slrum", "line 1: There is no card called 'slrum'; did you mean 'slurm'?"),
        ("kind: job_needs", "line 1: There is no card called 'job_needs'"),
        (
            "kind: local\nmax_block: 3",
            "line 2: local has no setting 'max_block'; did you mean 'max_blocks'?",
        ),
        ("kind: local\nmax_blocks: 0", "line 2: local.max_blocks is 0; it must be at least 1"),
        ("kind: local\nmin_blocks: 3", "line 2: local.min_blocks is 3, more than max_blocks, 1"),
        ("kind: local\npartition: gpu", "line 2: local has no setting 'partition'"),
        (
            "kind: local\njobs:\n  core: 2",
            "line 3: jobs has no setting 'core'; did you mean 'cores'?",
        ),
        ("kind: local\njobs:\n  cores: 0", "line 3: cores is 0; it must be at least 1"),
        (
            "kind: local\njobs:\n  memory_gb: 4\n  walltime: 2h",
            "line 4: walltime is '2h'; give hours, minutes and seconds",
        ),
        ("kind: local\njobs:\n  walltime: 00:00:00", "line 3: walltime is '00:00:00'"),
        ("kind: local\njobs: 3", "line 2: jobs is 3; give a mapping"),
        ("kind: local\nkinds: [tasks]", "line 2: kinds is ['tasks']; give what each kind needs"),
        (
            "kind: local\nkinds:\n  amortized: {}",
            "line 3: there is no kind of artifact called 'amortized'; did you mean 'amortised'?",
        ),
        (
            "kind: local\nkinds:\n  tasks:\n    gpus: 2",
            "line 4: gpus is 2; it must be at least 0 and at most 1 GPUs of a job",
        ),
        ("kind: local\nports: [60000, 50000]", "line 2: local.ports is [60000, 50000]"),
        (
            "kind: local\naddress: my machine",
            "line 2: the address is 'my machine'; give an IP address",
        ),
        (
            "kind: local\npython: /no/such/python",
            "line 2: there is no interpreter '/no/such/python'",
        ),
        ("kind: local\nkind: slurm", "line 2 is not valid YAML: the key 'kind' occurs twice"),
        (
            "kind: slurm\noptions: ['mail me']",
            "line 2: slurm.options holds 'mail me'; give one option a line",
        ),
        ("kind: htcondor\noptions: [notify me]", "line 2: htcondor.options holds 'notify me'"),
        ("kind: kubernetes\nnamespace: x", "line 1: kubernetes lacks image; give a value."),
        ("kind: kubernetes\nimage: ''", "line 2: kubernetes.image is empty"),
        (
            "kind: kubernetes\nimage: a\nvolumes: {claim: data}",
            "line 3: kubernetes.volumes mounts claim at 'data'",
        ),
        ("kind: [", "card.yaml"),
    ],
)
def test_mistakes_in_a_card_are_told_with_their_line(text, saying, card, tmp_path, monkeypatch):
    with_schedulers(tmp_path, monkeypatch)
    file = card(text)
    with pytest.raises(ConfigError) as caught:
        executor_of(file, 1)
    assert saying in str(caught.value)
    assert str(caught.value).startswith(file)
    assert str(caught.value).count("\n") == 0


def test_a_scheduler_that_is_not_there(card, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    for word, command in (
        ("slurm", "sbatch"),
        ("htcondor", "condor_submit"),
        (card("max_blocks: 2\nkind: slurm"), "sbatch"),
    ):
        line = 2 if word.endswith(".yaml") else {"slurm": 2, "htcondor": 2}[word]
        with pytest.raises(
            ConfigError,
            match=rf"line {line}: the card is for .*, and there is no command {command} here; go "
            r"to a machine of the",
        ):
            executor_of(word, 1)
    with pytest.raises(
        ConfigError, match="There is no executor, card or file called 'slorm'; did you mean 'slurm'"
    ):
        executor_of("slorm", 1)
    (tmp_path / "image.png").write_bytes(b"\x89PNG\xff")
    with pytest.raises(ConfigError, match="is not a text file"):
        executor_of(str(tmp_path / "image.png"), 1)


@pytest.mark.parametrize("missing", ["parsl", "kubernetes"])
def test_a_package_that_is_not_there(missing, card, monkeypatch):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *rest: None if name == missing else find_spec(name, *rest),
    )
    extra = {"parsl": "workflow"}.get(missing, missing)
    for word in ("threads", "parsl", "laptop") if missing == "parsl" else ("kubernetes",):
        with pytest.raises(
            ConfigError,
            match=rf"needs the Python package {missing}; install it with pip install "
            rf"'causal-meta\[{extra}\]'",
        ):
            executor_of(word, 1)
    assert executor_of("processes", 2).workers == 2


@pytest.mark.parametrize(
    ("needs", "saying"),
    [
        (
            "cores: 100",
            r"line 2: 1 jobs of kind tasks at once need 100 cores, but this machine has \d+; "
            r"request less",
        ),
        ("cores: 1, per_block: 1000", "line 2: 1000 jobs of kind tasks at once need 1000 cores"),
        ("memory_gb: 60000", "line 2: 1 jobs of kind tasks at once need 60000 GB of memory"),
        (
            "memory_gb: 1, storage_gb: 1000000",
            "line 2: 1 jobs of kind tasks at once need 1000000 GB of free disk",
        ),
        (
            "memory_gb: 1, gpus: 1",
            "line 2: jobs of kind tasks are to use a GPU, but this machine has none",
        ),
    ],
)
def test_what_this_machine_cannot_give(needs, saying, card, plan, store, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    a_plan = plan(STUDY)
    with pytest.raises(ConfigError, match=saying):
        carry_out(a_plan, store, executor=executor_of(card(f"kind: local\njobs: {{{needs}}}"), 1))
    assert not (store.root / "experiments").exists()


def test_what_slurm_would_not_take_is_asked_before(card, plan, store, monkeypatch, tmp_path):
    kept = put_on_path("slurm", tmp_path, monkeypatch)
    a_plan = plan(STUDY)
    file = card(
        "kind: slurm\naddress: 127.0.0.1\npartition: p\njobs: {}\nkinds:\n  empty: {cores: 4096}\n"
    )
    with pytest.raises(
        ConfigError,
        match=r"line 6: Slurm accepts no block for jobs of kind empty \(Requested node "
        r"configuration is not available\)",
    ):
        check_plan(executor_of(file, 1), a_plan, store)
    words = [line.split() for line in (kept / "asked").read_text().splitlines()]
    assert [word for word in words[0] if "cpus" in word] == ["--cpus-per-task=1"]
    assert all(
        {"--partition=p", "--mem=4g", "--time=01:00:00", "--nodes=1"} <= set(line) for line in words
    )
    assert slurm_words(SlurmCard(options=("-J a",), exclusive=True), JobNeeds(gpus=1, per_block=2,
    storage_gb=3))[-5:] == [
        "--gpus-per-node=2", "--tmp=6g", "--exclusive", "-J", "a",
    ]  # fmt: skip
    (tmp_path / "commands" / "sbatch").chmod(stat.S_IRUSR)


def test_a_cluster_needs_to_know_by_which_address_it_reaches_us(
    card, plan, store, monkeypatch, tmp_path
):
    import psutil

    from causal_meta.workflow.pools import address_of

    put_on_path("slurm", tmp_path, monkeypatch)

    family = psutil.net_if_addrs()["lo"][0].family

    def interfaces(*addresses):
        lines = {
            f"eth{i}": [psutil._ntuples.snicaddr(family, address, None, None, None)]
            for i, address in enumerate(addresses)
        }
        monkeypatch.setattr(psutil, "net_if_addrs", lambda: lines)

    interfaces("127.0.0.1", "10.0.0.1", "10.1.0.1")
    file = card("kind: slurm\n")
    with pytest.raises(
        ConfigError,
        match=r"has the addresses 10\.0\.0\.1 \(eth1\), 10\.1\.0\.1 \(eth2\); write the one",
    ):
        check_plan(executor_of(file, 1), plan(STUDY), store)
    assert address_of(SlurmCard(address="10.9.9.9")) == "10.9.9.9"
    assert address_of(LocalCard()) == "127.0.0.1"
    interfaces("127.0.0.1", "10.0.0.1")
    assert address_of(SlurmCard()) == "10.0.0.1"
    interfaces("127.0.0.1")
    assert address_of(SlurmCard()) == "127.0.0.1"


def test_a_store_with_blanks_in_its_path_is_no_place_for_scripts(plan, study, tmp_path):
    from causal_meta.store import Store
    from causal_meta.workflow import plan_of

    store = Store(tmp_path / "my runs", patience=0)
    with pytest.raises(
        ConfigError,
        match="my runs has characters in its path that Parsl's scripts cannot take; use another "
        "--store",
    ):
        carry_out(plan_of(study(STUDY), store), store, executor="parsl")
    assert carry_out(plan_of(study(STUDY), store), store, executor="threads").ok


def test_the_keys_are_for_the_user_alone(tmp_path):
    """Parsl makes them so; a card cannot say otherwise."""
    from parsl import curvezmq

    folder = curvezmq.create_certificates(tmp_path)
    assert os.stat(folder).st_mode & 0o777 == 0o700
