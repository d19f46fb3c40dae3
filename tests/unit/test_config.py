from __future__ import annotations

import contextlib
import datetime
import io
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as settings_of_hypothesis
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from eiderd import config, entry, units
from eiderd.cli import terminal
from eiderd.errors import ConfigError, ExitCode
from eiderd.sections import places


def _write(folder: Path, text: str) -> Path:
    path = folder / "eiderd.toml"
    path.write_text(text)
    return path


def _problems(folder: Path, text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        config.load(_write(folder, text))
    assert caught.value.exit_code is ExitCode.USAGE
    assert caught.value.hint
    return caught.value.message


def test_only_the_database_is_required(tmp_path: Path) -> None:
    settings, _path = config.load(_write(tmp_path, '[database]\npath = "/data/x.duckdb"\n'))
    assert settings.database.path == Path("/data/x.duckdb")
    assert settings.backup.directory == Path("/var/lib/eiderd/backups")


def test_every_problem_is_in_one_message(tmp_path: Path) -> None:
    said = _problems(
        tmp_path,
        'colour = "red"\n[database]\npath = "/data/x.duckdb"\n[backup]\ndirectory = "/data/b"\n'
        'directori = "x"\n[mirror]\ntimeout = "soon"\npasses = 0\n'
        '[engine]\nmemory_limit = "lots"\n',
    )
    for part in ("6 problems", "colour", "backup.directori", "did you mean directory?",
                 "mirror.timeout", "mirror.passes", "engine.memory_limit", "(/data/b) is the folder"
                 ):  # fmt: skip
        assert part in said or part == "6 problems", part
    assert said.count("\n  - ") == 6


def test_drills_may_be_off_and_are_else_as_cron_says(tmp_path: Path) -> None:
    database = '[database]\npath = "/data/x.duckdb"\n[verify]\ndrill_schedule = '
    settings, _path = config.load(_write(tmp_path, f'{database}"off"\n'))
    assert settings.verify.drill_schedule == "off"
    assert "verify.drill_schedule: must have five fields" in _problems(
        tmp_path, f'{database}"never"\n'
    )


def test_a_missing_database_is_named(tmp_path: Path) -> None:
    assert "database.path" in _problems(tmp_path, "[mirror]\nkeep = false\n")


def test_relative_paths_are_refused(tmp_path: Path) -> None:
    assert "absolute" in _problems(tmp_path, '[database]\npath = "x.duckdb"\n')


@pytest.mark.parametrize("where", ["/data", "/data/backups", "/data/../data/b", "/link/b"])
def test_backups_beside_the_database_are_refused(
    tmp_path: Path, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (tmp_path / "link").symlink_to(data)
    said = _problems(
        tmp_path,
        f'[database]\npath = "{data}/x.duckdb"\n[backup]\ndirectory = "{tmp_path}{where}"\n',
    )
    assert "lose both" in said


def test_the_environment_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EIDER_DATABASE__PATH", "/other/y.duckdb")
    monkeypatch.setenv("EIDER_MIRROR__RATE_LIMIT", "10MB")
    settings, _path = config.load(_write(tmp_path, '[database]\npath = "/data/x.duckdb"\n'))
    assert settings.database.path == Path("/other/y.duckdb")
    assert settings.mirror.rate_limit == 10_000_000


def test_a_misspelt_variable_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EIDER_DATABSE__PATH", "/x")
    assert "EIDER_DATABSE__PATH" in _problems(tmp_path, '[database]\npath = "/data/x.duckdb"\n')


def test_an_unknown_profile_is_refused(tmp_path: Path) -> None:
    said = _problems(tmp_path, 'profile = "nope"\n[database]\npath = "/data/x.duckdb"\n')
    assert "cartographus" in said


def test_the_file_wins_over_the_profile(tmp_path: Path) -> None:
    settings, _path = config.load(
        _write(
            tmp_path,
            'profile = "cartographus"\n[database]\npath = "/data/x.duckdb"\n'
            '[engine]\napplication = "1.5.6"\n[content.time_columns]\nmine = "at"\n',
        )
    )
    assert settings.engine.application == "1.5.6"
    assert settings.content.time_columns["mine"] == "at"
    assert "playback_events" in settings.content.time_columns


def test_a_file_that_is_not_there_or_not_toml(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no configuration"):
        config.load(tmp_path / "none.toml")
    with pytest.raises(ConfigError, match="is not TOML"):
        config.load(_write(tmp_path, "path = [\n"))
    with pytest.raises(ConfigError):
        config.load(tmp_path)


@given(st.integers(min_value=1, max_value=10**10))
def test_durations_come_back_as_they_were_spelt(milliseconds: int) -> None:
    time = datetime.timedelta(milliseconds=milliseconds)
    assert units.read_duration(units.spell_duration(time)) == time


@pytest.mark.parametrize("text", ["", "5", "m", "5 parsecs", "-5m", "1h x", "5m5", "x5m"])
def test_a_duration_without_a_unit_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="unit"):
        units.read_duration(text)


@pytest.mark.parametrize("part", ["9", "1m", "1m ", "1.", " "])
def test_a_duration_or_size_as_long_as_a_file_is_refused_at_once(part: str) -> None:
    with pytest.raises(ValueError, match="unit"):
        units.read_duration(f"1{part * 300_000}1")
    with pytest.raises(ValidationError, match="unit"):
        TypeAdapter(units.Size).validate_python(f"1{part * 300_000}!")


# Bounds -----------------------------------------------------------------------------------------


def _with(section: str, line: str) -> str:
    return f'[database]\npath = "/data/x.duckdb"\n[{section}]\n{line}\n'


@pytest.mark.parametrize(
    ("section", "line", "said"),
    [
        ("engine", 'memory_limit = "63MB"', "between 64MB and 1TB"),
        ("service", 'look_every = "999ms"', "between 1s and 1h"),
        ("service", 'look_every = "61m"', "between 1s and 1h"),
        ("engine", 'memory_limit = "2TB"', "between 64MB and 1TB"),
        ("engine", "memory_limit = true", "a size is a number with a unit"),
        ("retention", 'max_total_bytes = "1,000GB"', "a size is a number with a unit"),
        ("retention", 'max_total_bytes = "1.000.000GB"', "a size is a number with a unit"),
        ("retention", 'max_total_bytes = "5GB or so"', "a size is a number with a unit"),
        ("engine", "threads = 0", "threads"),
        ("engine", "threads = 257", "threads"),
        ("engine", 'others = ["a\\u0000b"]', "printable"),
        ("mirror", 'rate_limit = "999kB"', "between 1MB and 1TB"),
        ("mirror", 'timeout = "0.1ms"', "at least 1ms"),
        ("mirror", 'timeout = "3651d"', "at most 3650d"),
        ("mirror", 'timeout = "9999999999999999999d"', "at most 3650d"),
        ("mirror", f'timeout = "{"9" * 400}d"', "at most 3650d"),
        ("backup", 'directory = "/a\\u0000b"', "NUL"),
        ("backup", f'directory = "/{"a" * 256}"', "longer than a path"),
        ("backup", f'directory = "{"/abc" * 1100}"', "longer than a path"),
    ],
)
def test_what_is_out_of_bounds_is_refused(
    tmp_path: Path, section: str, line: str, said: str
) -> None:
    message = _problems(tmp_path, _with(section, line))
    assert said in message
    assert message.startswith("1 problem in")
    assert max(map(len, message.splitlines())) < 300


@pytest.mark.parametrize(
    ("section", "line"),
    [
        ("engine", 'memory_limit = "64MB"'),
        ("service", 'look_every = "1s"'),
        ("service", 'look_every = "1h"'),
        ("engine", 'memory_limit = "1TB"'),
        ("engine", "threads = 256"),
        ("mirror", 'rate_limit = "1MB"'),
        ("mirror", 'timeout = "3650d"'),
    ],
)
def test_the_bounds_themselves_are_within(tmp_path: Path, section: str, line: str) -> None:
    config.load(_write(tmp_path, _with(section, line)))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a = " + "[" * 5000 + "]" * 5000, "is not TOML: it is nested too deeply"),
        (
            "[content.time_columns]\na" + ".a" * 5000 + " = 1",
            "is not TOML: it is nested too deeply",
        ),
        ("[retention]\ndaily = " + "9" * 5000, "is not TOML: a number in it is too large"),
        ("[retention]\ndaily = 0x" + "f" * 5000, "is not TOML: a number in it is too large"),
        ("[backup]\ninclude = [9223372036854775808]", "is not TOML: a number in it is too large"),
    ],
)
def test_what_no_toml_can_mean_is_refused(tmp_path: Path, text: str, said: str) -> None:
    assert said in _problems(tmp_path, text)


@pytest.mark.parametrize(
    "text",
    [
        "".join(f"a{number} = 1\n" for number in range(5000)),
        f'"{"a " * 100_000}" = 1\n',
        f'profile = "{"a " * 100_000}"\n',
        f"[backup]\ninclude = [{'1,' * 5000}]\n",
    ],
    ids=["keys", "key", "profile", "list"],
)
def test_whatever_is_wrong_is_told_in_a_page(tmp_path: Path, text: str) -> None:
    said = _problems(tmp_path, f"{text}[database]\npath = '/data/x.duckdb'\n")
    assert len(said) < 5000
    more = said.endswith("\n  - and 4950 more")
    assert more is said.startswith("5000 problems")


def test_a_file_that_is_no_configuration_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="too large"):
        config.load(Path("/dev/zero"))


def test_a_key_cannot_steer_the_terminal_or_begin_a_line(tmp_path: Path) -> None:
    said = _problems(tmp_path, '"a\\nb\\u001b\\u202e" = 1\n[database]\npath = "/x/y"\n')
    assert said.count("\n") == 1
    assert all(char.isprintable() or char == "\n" for char in said)


# Folders ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("database", "backups", "state", "said"),
    [
        ("d/x", "s/mirror", "s", "backup.directory"),
        ("d/x", "s/scratch/deep", "s", "backup.directory"),
        ("d/x", "e/1.4.3", "s", "backup.directory"),
        ("d/x", "s", "s", "one folder"),
        ("d/x", "link", "s", "one folder"),
        ("d/x", "link/mirror/b", "s", "backup.directory"),
        ("s/mirror/x", "b", "s", "database.path"),
        ("s/scratch/x", "b", "s", "database.path"),
        ("e/x", "b", "s", "database.path"),
        ("link/mirror/x", "b", "s", "database.path"),
        ("b/.staging/1/x", "b", "s", "database.path"),
        ("d/x", "b", "b/.staging", "service.state"),
        ("d/x", "b", "b/.staging/s", "service.state"),
        ("d/x", "d/b", "s", "lose both"),
        ("d/x", "b", "d/s", "lose both"),
        ("data-link/x", "real/b", "s", "lose both"),
        ("to-x", "real/b", "s", "lose both"),
        ("to-x", "b", "real/s", "lose both"),
    ],
)
def test_folders_that_would_destroy_each_other(
    tmp_path: Path, database: str, backups: str, state: str, said: str
) -> None:
    for name in ("s", "real", "links"):
        (tmp_path / name).mkdir()
    (tmp_path / "link").symlink_to("s")
    (tmp_path / "data-link").symlink_to("real")
    (tmp_path / "links" / "to-x").symlink_to("../real/x")  # the file itself is a link
    found = list(
        places.contradictions(
            database=tmp_path / ("links/to-x" if database == "to-x" else database),
            backups=tmp_path / backups,
            state=tmp_path / state,
            engines=tmp_path / "e",
        )
    )
    assert len(found) == 1, found
    assert said in found[0]
    assert "\n" not in found[0]


def test_a_mirror_that_leads_to_the_data_is_refused(tmp_path: Path) -> None:
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "mirror").symlink_to(tmp_path / "d")
    found = places.contradictions(
        database=tmp_path / "d" / "x", backups=tmp_path / "b", state=tmp_path / "s"
    )
    assert ["database.path" in line for line in found] == [True]


def test_the_usual_folders_are_fine() -> None:
    usual = Path("/var/lib/eiderd")
    database = Path("/data/x.duckdb")
    assert not list(places.contradictions(database=database, backups=usual / "b", state=usual))
    assert not list(places.contradictions(database=None, backups=None, state=None))


# The environment --------------------------------------------------------------------------------

_FILE = '[database]\npath = "/data/x.duckdb"\n'


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("EIDER_DATABSE__PATH", "/x", "did you mean EIDER_DATABASE__PATH?"),
        ("EIDER_SCHEMA__TABEL", "x", "did you mean EIDER_SCHEMA__TABLE?"),
        ("EIDER_CONFIGG", "x", "did you mean EIDER_CONFIG?"),
        ("EIDER_MIRROR__KEEP__DEEPER", "x", "is not a setting"),
        ("EIDER_DATABASE", "notjson", "EIDER_DATABASE (environment) must be JSON"),
        ("EIDER_BACKUP__INCLUDE", "notjson", "EIDER_BACKUP__INCLUDE (environment) must be JSON"),
        ("EIDER_BACKUP__INCLUDE", "[" * 9999, "must be JSON"),
        ("EIDER_DATABASE", "3", "(EIDER_DATABASE)"),
        ("EIDER_ENGINE__THREADS", "many", "engine.threads (EIDER_ENGINE__THREADS)"),
        ("EIDER_SCHEMA__TABLE", "\udcff", "EIDER_SCHEMA__TABLE (environment) is not text"),
    ],
)
def test_a_variable_that_cannot_be_meant(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, said: str
) -> None:
    monkeypatch.setenv(variable, value)
    assert said in _problems(tmp_path, _FILE)


def test_every_setting_has_its_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable, value in {
        "EIDER_SCHEMA__TABLE": "versions",
        "EIDER_PROFILE": "cartographus",
        "EIDER_BACKUP": '{"include": ["/one"], "deadline": "1m"}',
        "EIDER_BACKUP__DEADLINE": "2m",
        "EIDER_CONTENT__TIME_COLUMNS__USERS": "seen_at",
        "EIDER_MIRROR__KEEP": "false",
    }.items():
        monkeypatch.setenv(variable, value)
    settings, _path = config.load(_write(tmp_path, _FILE))
    assert settings.schema_.table == "versions"
    assert settings.profile == "cartographus"
    assert settings.backup.include == (Path("/one"),)
    assert settings.backup.deadline == datetime.timedelta(minutes=2)
    assert settings.content.time_columns["users"] == "seen_at"
    assert "playback_events" in settings.content.time_columns
    assert settings.mirror.keep is False


def test_a_list_is_json_wherever_one_may_stand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable, value in {
        "EIDER_PROFILE": "cartographus",
        "EIDER_APPLICATION__VERSION_COMMAND": '["app", "--version"]',
        "EIDER_APPLICATION__COMMANDS__START": '["app", "start"]',
        "EIDER_NATS__URL": ' ["nats://a:4222", "nats://b:4222"]',
        "EIDER_NATS__STREAMS__MEDIA_EVENTS__SUBJECTS": '["one.>"]',
        "EIDER_NATS__STREAMS__MEDIA_EVENTS__CONSUMERS__MEDIA-PROCESSOR-DUCKDB__FILTER_SUBJECTS":
            '["one.a", "one.b"]',
    }.items():  # fmt: skip
        monkeypatch.setenv(variable, value)
    settings, _path = config.load(_write(tmp_path, _FILE))
    assert settings.application.version_command == ("app", "--version")
    assert settings.application.commands["start"] == ("app", "start")
    assert settings.nats.urls == ("nats://a:4222", "nats://b:4222")
    assert list(settings.nats.streams) == ["MEDIA_EVENTS"]
    stream = settings.nats.streams["MEDIA_EVENTS"]
    assert stream.subjects == ("one.>",)
    assert stream.consumers["media-processor-duckdb"].filter_subjects == ("one.a", "one.b")
    assert len(stream.consumers) == 3


@pytest.mark.parametrize(
    ("file", "variables", "expected"),
    [
        ('profile = "cartographus"\n', {"MEDIA_EVENTS__EXPECTED": "false"}, {}),
        ("[nats.streams.Orders]\nsubjects = ['a']\n", {"ORDERS__REPLICAS": "3"}, {"Orders": 3}),
        (
            "",
            {"": '{"ORDERS": {"subjects": ["a"]}}', "ORDERS__REPLICAS": "5"},
            {"ORDERS": 5},
        ),
        (
            "[nats.streams.orders]\nsubjects = ['a']\n",
            {"": '{"ORDERS": {"subjects": ["a"], "replicas": 2}}'},
            {"orders": None, "ORDERS": 2},
        ),
    ],
)
def test_a_stream_keeps_the_case_of_its_name(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    file: str,
    variables: dict[str, str],
    expected: dict[str, int | None],
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv("EIDER_NATS__STREAMS" + (f"__{name}" if name else ""), value)
    settings, _path = config.load(_write(tmp_path, f"{file}{_FILE}"))
    found = {stream.name: stream.config.get("num_replicas") for stream in settings.nats.expected()}
    assert found == expected


@pytest.mark.parametrize(
    ("file", "variable", "said"),
    [
        ("", "ORDERS__SUBJECTS",
         """of nats.streams; a new one is said as JSON: EIDER_NATS__STREAMS='{"NAME": {...}}'"""),
        ("[nats.streams.A]\nsubjects = ['a']\n", "A__CONSUMERS__C__EXPECTED",
         """said as JSON: EIDER_NATS__STREAMS__A__CONSUMERS='{"NAME": {...}}'"""),
        ("[nats.streams]\na = {subjects = ['a']}\nA = {subjects = ['b']}\n", "A__EXPECTED",
         "may mean a or A"),
        ("nats = 5\n", "A__EXPECTED", "none of nats.streams"),
    ],
)  # fmt: skip
def test_a_stream_that_nobody_named_is_not_made_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str, variable: str, said: str
) -> None:
    monkeypatch.setenv(f"EIDER_NATS__STREAMS__{variable}", '["a"]')
    message = _problems(tmp_path, file + _FILE)
    assert f"EIDER_NATS__STREAMS__{variable} (environment)" in message
    assert said in message


@pytest.mark.parametrize("name", ["SCHEMA", "schema", "schema_", "DATABASE", "PROFILE", "LOG"])
def test_other_programs_variables_are_not_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    path = _write(tmp_path, _FILE)
    before = config.load(path)
    monkeypatch.setenv(name, "theirs")
    monkeypatch.setenv(f"{name}__TABLE", "theirs")
    assert config.load(path) == before


# Shown ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
@given(
    st.dictionaries(st.text(min_size=1), st.text()),
    st.integers(min_value=64 * 10**6, max_value=10**12),
    st.integers(min_value=1, max_value=10**10),
)
@settings_of_hypothesis(deadline=None, max_examples=50)
def test_what_is_shown_loads_back_to_the_same(
    encoding: str, columns: dict[str, str], size: int, milliseconds: int
) -> None:
    settings = config.Settings.model_validate(
        {
            "database": {"path": "/dätä/\x1b[31m\u202e/x"},
            "content": {"time_columns": columns},
            "mirror": {"rate_limit": size, "timeout": f"{milliseconds}ms"},
            "engine": {"memory_limit": str(size), "others": ["1.4.3"], "application": "1.5.6"},
        }
    )
    out = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    with contextlib.redirect_stdout(out):
        terminal.toml(config.shown(settings))
    out.flush()
    text = out.buffer.getvalue().decode(encoding)
    assert all(char.isprintable() or char == "\n" for char in text)
    assert config.Settings.model_validate(tomllib.loads(text)) == settings


def test_config_show_is_a_configuration(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = _write(tmp_path, 'profile = "cartographus"\n' + _FILE)
    assert entry.main(["--config", str(before), "config", "show"]) == ExitCode.DONE
    after = tmp_path / "shown.toml"
    after.write_text(capsys.readouterr().out)
    assert config.load(after)[0] == config.load(before)[0]


@pytest.mark.parametrize("folder", ["backup", "service"])
def test_including_what_eiderd_itself_writes_is_refused(tmp_path: Path, folder: str) -> None:
    key = "directory" if folder == "backup" else "state"
    path = tmp_path / "eiderd.toml"
    sections: dict[str, dict[str, str]] = {"backup": {}, "service": {}}
    sections[folder][key] = f"{tmp_path}/own/deep"
    sections["backup"]["include"] = ""
    text = '[database]\npath = "/data/x.duckdb"\n'
    for name, keys in sections.items():
        text += f"[{name}]\n"
        for word, value in keys.items():
            shown = f'["{tmp_path}/own"]' if word == "include" else f'"{value}"'
            text += f"{word} = {shown}\n"
    path.write_text(text)
    with pytest.raises(ConfigError, match="each would hold the last"):
        config.load(path)


# The application --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        ('kind = "systemd"', "needs application.unit"),
        ('kind = "docker"', "needs application.container"),
        ('kind = "commands"', "needs application.commands"),
        ('kind = "launchd"', "application.kind"),
        ('unit = "app"', "application.unit"),
        ('unit = "-H.service"', "application.unit"),
        ('unit = "a b.service"', "application.unit"),
        ('container = "--rm"', "application.container"),
        ('container = "compose:c.yaml:app"', "application.container"),
        ("allow_freeze = true", "allow_freeze needs application.kind"),
        ("allow_stop = true", "allow_stop needs application.kind"),
        (
            'kind = "commands"\ncommands = { freeze = ["x"] }\nallow_freeze = true',
            "allow_freeze needs commands for thaw",
        ),
        (
            'kind = "commands"\ncommands = { state = ["x"] }\nallow_stop = true',
            "allow_stop needs commands for start and stop",
        ),
        ("commands = { begin = ['x'] }", "application.commands"),
        ("commands = { start = [] }", "application.commands.start"),
        ("commands = { start = 'x -y' }", "application.commands.start"),
        ('health_url = "127.0.0.1:3857/health"', "must be a URL"),
        ('health_url = "file:///etc/passwd"', "must be a URL"),
        ('health_url = "http://"', "must be a URL"),
        ('health_url = "http://a/b c"', "must be a URL"),
        ('health_url = "http://a:99999/"', "application.health_url"),
        ('health_url = "http://me:secret@a/"', "must have no password"),
    ],
)
def test_an_application_that_cannot_be_meant_is_refused(
    tmp_path: Path, lines: str, problem: str
) -> None:
    said = _problems(tmp_path, f'[database]\npath = "/data/x.duckdb"\n[application]\n{lines}\n')
    assert problem in said


def test_no_application_is_touched_unless_that_is_allowed(tmp_path: Path) -> None:
    text = '[database]\npath = "/data/x.duckdb"\n[application]\nkind = "systemd"\n'
    settings, _path = config.load(_write(tmp_path, text + 'unit = "app@1.service"\n'))
    assert settings.application.unit == "app@1.service"
    assert (settings.application.allow_freeze, settings.application.allow_stop) == (False, False)


@pytest.mark.parametrize("kind", ["systemd", "docker"])
def test_a_profile_knows_the_names_but_not_who_manages_it(tmp_path: Path, kind: str) -> None:
    text = 'profile = "cartographus"\n[database]\npath = "/data/x.duckdb"\n'
    assert config.load(_write(tmp_path, text))[0].application.kind == "none"
    settings, _path = config.load(_write(tmp_path, f'{text}[application]\nkind = "{kind}"\n'))
    assert settings.application.kind == kind
    assert (settings.application.health_url or "").endswith("/api/v1/health")


@pytest.mark.parametrize("text", ["", "# only comments\n", "[log]\nlevel = 'info'\n"])
def test_a_configuration_that_names_no_database_is_one_for_setup(
    tmp_path: Path, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = _write(tmp_path, text)
    with pytest.raises(ConfigError, match="eiderd is not set up") as told:
        config.load(file)
    assert f"eider --config {file} setup" in told.value.hint
    monkeypatch.setattr(config, "DEFAULT_PATH", file)
    with pytest.raises(ConfigError, match="names no database") as told:
        config.load(None)
    assert "sudo eider setup" in told.value.hint


def test_a_mark_of_byte_order_is_no_mistake(tmp_path: Path) -> None:
    file = tmp_path / "eiderd.toml"
    file.write_bytes(b"\xef\xbb\xbf[database]\r\npath = '/data/app.duckdb'\r\n")
    assert config.load(file)[0].database.path == Path("/data/app.duckdb")
    file.write_bytes("[database]".encode("utf-16"))
    with pytest.raises(ConfigError, match="is no text in UTF-8"):
        config.load(file)


def test_a_database_that_is_a_folder_is_not_told_of_its_neighbours(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    text = f"[database]\npath = '{tmp_path}/data'\n[service]\nstate = '{tmp_path}/{{}}'\n"
    config.load(_write(tmp_path, text.format("state")))  # whoever looks at it says what it is
    said = _problems(tmp_path, text.format("data/state"))
    assert "data) is a folder" in said
    assert "name the file" in said


def test_a_new_user_without_any_configuration_is_told_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(config, "DEFAULT_PATH", tmp_path / "eiderd.toml")
    with pytest.raises(ConfigError, match="there is no configuration: neither") as told:
        config.load(None)
    assert "eider setup" in told.value.hint
    monkeypatch.setenv("EIDER_LOG__LEVEL", "loud")
    with pytest.raises(ConfigError, match="2 problems in the environment"):
        config.load(None)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("[backup]\ndirectory = 5", "backup.directory: must be a path, as text (it is 5)"),
        ("[retention]\ndaily = -3", "retention.daily: must be at least 0 (it is -3)"),
        ("[retention]\ndaily = 'x'", "retention.daily: must be a whole number (it is 'x')"),
        ("[retention]\ndaily = 1.5", "retention.daily: must be a whole number (it is 1.5)"),
        ("[mirror]\nkeep = 'maybe'", "mirror.keep: must be true or false (it is 'maybe')"),
        ("backup = 5", "backup: must be a table (it is 5)"),
        ("[log]\nlevel = 'loud'", "log.level: must be one of 'debug', 'info', 'warning' or"),
        ("[engine]\nothers = 5", "engine.others: must be a list (it is 5)"),
    ],
)
def test_a_bad_value_is_told_in_the_words_of_who_wrote_it(
    tmp_path: Path, line: str, said: str
) -> None:
    text = f"{line}\n[database]\npath = '/data/app.duckdb'\n"
    assert said in _problems(tmp_path, text)
