"""`tandem observe` as people meet it: films, bad names, and a person at a keyboard (a pseudo-terminal)."""

from __future__ import annotations

import fcntl
import json
import os
import re
import select
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pybullet as bullet
import pytest

from bridge.actions import LATERAL_ACTION, TOOL_ACTION
from bridge.observation import CameraView, ImageKind, ObservationSpec
from bridge.pick_place import PickPlaceAttempt
from bridge.reach import ReachAttempt
from scripts import main as tandem
from scripts.evaluate import choose_policy, evaluate_policy
from scripts.observe import ObserveArgs, _open, run
from scripts.programs.film_env import EnvFilm, WindowPace
from scripts.programs.gif import gif_frames
from scripts.programs.keyboard_policy import KeyboardPolicy, PersonLeft, PersonSkipped, Situation, help_line
from scripts.programs.reel import MAX_GIF_BYTES, Reel
from scripts.programs.scene_eye import SceneEye
from scripts.programs.view_tiles import TILE_PX, ViewPainter, default_views, parse_view
from sim.display import has_display
from sim.env import ArmEnv
from sim.errors import SimError
from sim.scene_view import FOV_Y_RAD, orbit, scene_view
from tests.fakes.policy_folder import export_untrained, make_manifest
from urdf.description import load_arm
from urdf.errors import ArmError, UnknownName

ROOT = Path(__file__).parent.parent.parent
NO_WINDOW = {key: value for key, value in os.environ.items() if key != "DISPLAY"}


def observe(tmp_path: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "scripts.main", "observe", *words],
        cwd=ROOT, capture_output=True, text=True, check=False, env={**NO_WINDOW, "TANDEM_DATA": str(tmp_path)},
    )  # fmt: skip


# Films -------------------------------------------------------------------------------------------
@pytest.mark.slow
def test_without_a_display_a_film_lands_under_data_and_a_sentence_tells_where(tmp_path: Path) -> None:
    words = ("--task", "reach", "--episodes", "1", "--seed", "5", "--json")
    done = observe(tmp_path, *words)
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    result = json.loads(line)
    path = tmp_path / "films" / "dofbot-reach-table_oracle.gif"
    assert result["out"] == str(path)
    assert (result["arm"], result["task"], result["rig"]) == ("dofbot", "reach", "table")
    assert (result["episodes"], result["successes"], result["renderer"]) == (1, 1, "TinyRenderer")
    assert "dofbot reach, rig table: 1 of 1 episodes succeeded, " in done.stderr
    assert str(path) in done.stderr.splitlines()[-1]
    frames = gif_frames(path)
    assert 10 <= len(frames) <= result["frames"]
    # The scene is wide and the two default views stand beside it.
    assert frames[0].shape[1] > 560 + TILE_PX
    assert [p.name for p in path.parent.iterdir()] == [path.name]  # nothing half-written is left


@pytest.mark.deep
def test_the_episodes_are_those_of_evaluate_and_a_lost_one_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    out = tmp_path / "random.gif"
    args = ObserveArgs(policy="random", task="reach", episodes=2, seed=9, view=("wrist:depth",), out=out, json=True)
    assert run(args) == 0
    result = json.loads(capsys.readouterr().out)
    outcomes = evaluate_policy(choose_policy("random", None, None, "reach"), 2, 9, 1, lambda _: None)
    assert result["successes"] == sum(outcomes)
    assert not all(outcomes)


@pytest.mark.deep
def test_a_policy_of_pictures_is_watched_with_what_it_sees(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TANDEM_DATA", str(tmp_path))
    spec = ObservationSpec(state=False, proprioception=True, views=(CameraView("wrist", ImageKind.DEPTH, 48, 48),))
    folder = tmp_path / "runs" / "grasp" / "20260101T000000Z_depth_seed0"
    export_untrained(folder / "policy", make_manifest(spec))
    views = ("wrist:depth:64x64", "wrist:gray:32x32")
    args = ObserveArgs(policy="newest", episodes=1, view=views, out=tmp_path / "depth.gif", json=True)
    with _open(args, choose_policy("newest", None), EnvFilm("", "", 1)) as (env, _):
        # What it reads is shown as it reads it.
        assert [view.key for view in env.observation_spec.views] == ["wrist_depth", "wrist_gray"]
        assert env.observation_spec.views[0].width_px == 48
    assert run(args) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["policy"], result["episodes"]) == ("newest", 1)
    assert len(gif_frames(tmp_path / "depth.gif")) >= 10


def test_an_mp4_has_every_frame(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "reach.mp4"
    views = ("wrist:depth", "wrist:gray:32x24", "wrist_reference:rgb")
    assert run(ObserveArgs(task="reach", episodes=1, out=out, view=views)) == 0
    film = cv2.VideoCapture(str(out))
    count = int(film.get(cv2.CAP_PROP_FRAME_COUNT))
    assert count >= 10
    assert film.get(cv2.CAP_PROP_FPS) == pytest.approx(10.0)
    pictures = [film.read()[1] for _ in range(count)]
    assert all(picture is not None for picture in pictures)
    assert np.abs(pictures[0].astype(float) - pictures[-1]).max() > 50  # something moved


def test_a_grasp_film_shows_the_object_leaving_the_desk() -> None:
    env = ArmEnv()
    eye = SceneEye(env, (280, 210))
    env.reset(seed=3)
    before = eye.picture()
    assert before.shape == (210, 280, 3)
    orange = (np.abs(before.astype(int) - [222, 117, 41]).sum(axis=2) < 110).sum()
    assert orange >= 10  # the block is in the picture
    env.close()


@pytest.mark.parametrize(("task", "arm"), [("reach", "dofbot"), ("pick-place", "dofbot"), ("reach", "ur5")])
def test_the_goal_is_drawn_where_it_is(task: str, arm: str) -> None:
    env = ArmEnv(arm=arm, task=task)
    env.reset(seed=4)
    eye = SceneEye(env, (560, 420))
    shown = eye.picture().astype(int)
    attempt = env.attempt
    assert isinstance(attempt, ReachAttempt | PickPlaceAttempt)
    goal_m, attempt.goal_m = attempt.goal_m, None
    assert goal_m is not None
    bare = eye.picture().astype(int)
    rows, columns = np.nonzero(np.abs(shown - bare).sum(axis=2) > 60)
    assert len(rows) > 10
    point = scene_view(env.rig).inverse().apply(goal_m[None])[0]
    pixel = 210 / np.tan(FOV_Y_RAD / 2) * point[:2] / point[2] + [280, 210]
    nearest = np.hypot(columns - pixel[0], rows - pixel[1]).min()
    assert nearest < 25
    env.close()


@pytest.mark.parametrize("arm", ["dofbot", "ur5"])
def test_the_window_looks_from_where_the_film_does(arm: str) -> None:
    rig = load_arm(arm).rig("table")
    distance_m, yaw_deg, pitch_deg, target_m = orbit(rig)
    window = bullet.computeViewMatrixFromYawPitchRoll(target_m.tolist(), distance_m, yaw_deg, pitch_deg, 0.0, 2)
    view = scene_view(rig)
    eye, turn = view.position_m, view.rotation
    film = bullet.computeViewMatrix(eye.tolist(), (eye + turn[:, 2]).tolist(), (-turn[:, 1]).tolist())
    assert np.allclose(window, film, atol=1e-5)


def test_a_window_is_paced_by_the_clock_on_the_wall() -> None:
    pace = WindowPace()
    env = ArmEnv(task="reach", recorder=pace)
    env.reset(seed=1)
    pace.begin(env, 1)
    began_s = time.monotonic()
    for _ in range(3):
        env.step(np.zeros(3, dtype=np.float32))
    assert 0.45 <= time.monotonic() - began_s < 1.5  # nine periods of 50 ms
    env.close()


# Reel --------------------------------------------------------------------------------------------
def noise(rng: np.random.Generator, side: int = 300) -> np.ndarray:
    return rng.integers(0, 256, (side, side, 3), dtype=np.uint8)


def test_a_gif_that_would_be_too_large_is_made_smaller(tmp_path: Path) -> None:
    reel, rng = Reel(10.0), np.random.default_rng(1)
    for _ in range(60):
        reel.add(noise(rng))
    tries: list[str] = []
    reel.write(tmp_path / "film.gif", tries.append)
    assert len(tries) > 1
    assert (tmp_path / "film.gif").stat().st_size <= MAX_GIF_BYTES


def test_who_may_read_a_film_is_what_the_umask_says(tmp_path: Path) -> None:
    reel = Reel(10.0)
    reel.add(np.zeros((8, 8, 3), dtype=np.uint8))
    for umask, mode in ((0o022, 0o644), (0o077, 0o600)):
        before = os.umask(umask)
        try:
            reel.write(tmp_path / "film.gif", lambda _: None)
        finally:
            os.umask(before)
        assert (tmp_path / "film.gif").stat().st_mode & 0o777 == mode


def test_a_long_film_keeps_running_in_time_with_fewer_frames() -> None:
    reel = Reel(10.0)
    frame = np.zeros((8, 8, 3), dtype=np.uint8)
    for k in range(2000):
        frame[:] = k % 256
        reel.add(frame)
    assert len(reel) <= 600
    assert len(reel) / reel.frames_per_s == pytest.approx(200.0, rel=0.02)
    assert [int(reel.frame(k)[0, 0, 0]) for k in range(3)] == [0, 4, 8]  # every fourth of them


def test_a_film_that_no_player_knows_is_refused_before_anything_is_played(tmp_path: Path) -> None:
    done = observe(tmp_path, "--out", str(tmp_path / "film.avi"), "--json")
    assert done.returncode == 2
    assert ".gif, .mp4" in done.stderr
    assert done.stdout == ""


# Views -------------------------------------------------------------------------------------------
def test_views_are_written_as_camera_kind_and_size() -> None:
    dofbot = load_arm("dofbot")
    table, hanging = dofbot.rig("table"), dofbot.rig("hanging")
    view = parse_view("wrist:depth:96x64", dofbot, table)
    assert (view.camera, view.kind, view.width_px, view.height_px) == ("wrist", ImageKind.DEPTH, 96, 64)
    assert parse_view("wrist:rgb", dofbot, table).width_px == 64
    for arm in ("dofbot", "ur5", "kuka_iiwa"):
        assert len({v.key for v in default_views(load_arm(arm))}) == 2
    for text in ("wrist:depth:64", "wrist:depth:0x64", "wrist:depth:64x9999", "wrist:depth:ax4"):
        with pytest.raises(ArmError, match="--view"):
            parse_view(text, dofbot, table)
    assert parse_view("wrist_wide:depth", dofbot, hanging).camera == "wrist_wide"
    with pytest.raises(UnknownName, match="wrist_wide"):
        parse_view("wrist_wide:depth", dofbot, table)


def test_depth_is_coloured_by_a_scale_that_stays_and_holes_are_grey() -> None:
    dofbot = load_arm("dofbot")
    table = dofbot.rig("table")
    painter = ViewPainter(parse_view("wrist:depth:4x4", dofbot, table), dofbot, table)
    depth = np.full((1, 4, 4), 0.2, dtype=np.float16)
    depth[0, 0, 0] = 0.0
    tile = painter.paint(depth)
    assert tile.picture.shape == (TILE_PX, TILE_PX, 3)
    assert tile.remark == "4 x 4, 2 to 23 cm"
    assert tuple(tile.picture[0, 0]) == (88, 97, 110)
    near = painter.paint(np.full((1, 4, 4), 0.05, dtype=np.float16))
    assert near.remark == tile.remark
    assert near.picture.mean() > tile.picture[-1, -1].mean() + 50  # what is near is brighter


# Bad names ---------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--policy", "oracel"), "unknown policy 'oracel'; valid, nearest first: oracle, "),
        (("--policy", "keybord"), "nearest first: keyboard, "),
        (("--arm", "kuka"), "unknown arm 'kuka'; valid, nearest first: kuka_iiwa, "),
        (("--task", "grap"), "unknown task 'grap'; valid, nearest first: grasp, "),
        (("--rig", "tabel"), "valid, nearest first: table, "),
        (("--view", "wirst:depth"), "valid, nearest first: wrist, "),
        (("--view", "wrist:deep"), "valid, nearest first: depth, "),
        (("--view", "wrist"), "say which kind of picture, such as wrist:depth; valid kinds: depth, gray, rgb"),
        (("--objects", "cilinder"), "valid, nearest first: cylinder, "),
        (("--randomization", "hrad"), "valid, nearest first: hard, "),
        (("--distractors", "9"), "distractors must be a whole number from 0 to 4"),
        (("--episodes", "0"), "--episodes must be at least 1"),
    ],
)
def test_bad_names_and_numbers_are_bad_input(
    words: tuple[str, ...],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.setenv("TANDEM_DATA", str(tmp_path))
    assert tandem.main(["observe", *words, "--json"]) == 2
    captured = capsys.readouterr()
    assert said in captured.err.splitlines()[-1]
    assert captured.out == ""
    assert not list(tmp_path.rglob("*.gif"))


def test_a_display_that_does_not_answer_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    assert not has_display()
    monkeypatch.setenv("DISPLAY", ":4711")
    assert not has_display()
    with pytest.raises(SimError, match="a window needs a display"):  # PyBullet would end the process
        ArmEnv(window=True)


# The keyboard ------------------------------------------------------------------------------------
class Typed:
    """Keys that were typed ahead."""

    def __init__(self, *keys: str) -> None:
        self._keys = list(keys)

    def read(self, timeout_s: float) -> str:
        return self._keys.pop(0)


def test_every_key_is_one_decision_and_the_jaws_stay_as_they_were_told() -> None:
    shown: list[Situation] = []
    person = KeyboardPolicy(TOOL_ACTION, Typed("up", "", "x", "a", " ", "s", ".", " ", "left", "q"), shown.append)
    nothing = np.zeros(3, dtype=np.float32)
    person.begin()
    actions = [person.act(nothing).tolist() for _ in range(7)]
    assert actions == [
        [0, 1, 0, 0, -1],
        [0, 0, 0, 1, -1],
        [0, 0, 0, 0, 1],
        [0, 0, -1, 0, 1],
        [0, 0, 0, 0, 1],
        [0, 0, 0, 0, -1],
        [-1, 0, 0, 0, -1],
    ]
    with pytest.raises(PersonLeft):
        person.act(nothing)
    assert [s.decisions for s in shown] == list(range(8))
    assert [s.closing for s in shown] == [False] * 3 + [True] * 3 + [False] * 2
    with pytest.raises(PersonSkipped):
        KeyboardPolicy(TOOL_ACTION, Typed("n"), shown.append).act(nothing)


def test_a_task_without_height_has_no_keys_for_it() -> None:
    assert "w s" not in help_line(LATERAL_ACTION)
    assert "w s" in help_line(TOOL_ACTION)
    person = KeyboardPolicy(LATERAL_ACTION, Typed("w", " ", "right"), lambda _: None)
    person.begin()
    assert person.act(np.zeros(3, dtype=np.float32)).tolist() == [1, 0]


def _own_terminal() -> None:
    """Make standard input the terminal whose Ctrl-C reaches this process."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


class Person:
    """Types keys and reads the screen of a `tandem observe --policy keyboard`."""

    def __init__(self, tmp_path: Path, *options: str) -> None:
        self._keys, screen = os.openpty()
        fcntl.ioctl(screen, termios.TIOCSWINSZ, b"\x28\x00\x78\x00\x00\x00\x00\x00")  # 40 lines of 120 letters
        words = [sys.executable, "-m", "scripts.main", "observe", "--policy", "keyboard", *options]
        self.process = subprocess.Popen(
            words, stdin=screen, stdout=screen, stderr=screen, start_new_session=True, preexec_fn=_own_terminal,
            cwd=ROOT, env={**NO_WINDOW, "TANDEM_DATA": str(tmp_path), "TERM": "xterm-256color"},
        )  # fmt: skip
        os.close(screen)
        self.seen = ""

    def type(self, keys: str) -> None:
        os.write(self._keys, keys.encode())

    def wait_for(self, text: str, limit_s: float = 60.0) -> None:
        """Return once `text` has come on the screen, colours and cursor moves aside."""
        deadline_s = time.monotonic() + limit_s
        while text not in self.plain:
            ready, _, _ = select.select([self._keys], [], [], max(0.0, deadline_s - time.monotonic()))
            assert ready, f"{text!r} never came; the screen said:\n{self.plain[-3000:]}"
            try:
                self.seen += os.read(self._keys, 65536).decode(errors="replace")
            except OSError:  # the program has ended
                break
        assert text in self.plain, self.plain[-3000:]

    @property
    def plain(self) -> str:
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self.seen)

    def leave(self) -> int:
        deadline_s = time.monotonic() + 60.0
        while self.process.poll() is None and time.monotonic() < deadline_s:
            if select.select([self._keys], [], [], 0.1)[0]:
                try:
                    self.seen += os.read(self._keys, 65536).decode(errors="replace")
                except OSError:
                    break
        return self.process.wait(10.0)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self._keys)


@pytest.fixture
def person(tmp_path: Path) -> Iterator[Person]:
    person = Person(tmp_path, "--task", "pick-place", "--episodes", "2", "--json")
    yield person
    person.close()


def tool_mm(screen: str) -> tuple[int, ...]:
    """Return where the screen showed the tool last."""
    places = re.findall(r"tool \(([+-]\d+) ([+-]\d+) ([+-]\d+)\) mm", screen)
    return tuple(int(v) for v in places[-1])


def test_a_person_moves_the_arm_by_keys_and_the_film_is_kept(person: Person, tmp_path: Path) -> None:
    person.wait_for("decision 0")
    assert "space jaws" in person.plain
    x, _, _ = tool_mm(person.plain)
    for k in range(1, 4):
        person.type("\x1b[C")
        person.wait_for(f"decision {k},")
    assert tool_mm(person.plain)[0] - x >= 60  # three decisions of three periods of 10 mm, less what lags
    person.type(" ")
    person.wait_for("closing")
    person.type("n")
    person.wait_for("episode 2 of 2")
    person.type("q")
    assert person.leave() == 0
    result = json.loads(person.plain.strip().splitlines()[-1])
    assert (result["policy"], result["episodes"], result["successes"]) == ("keyboard", 1, 0)
    assert Path(result["out"]) == tmp_path / "films" / "dofbot-pick-place-table_keyboard.gif"
    assert len(gif_frames(Path(result["out"]))) >= 5


@pytest.mark.parametrize(("key", "exit_code"), [("q", 0), ("\x03", 130)])
def test_leaving_an_unfinished_episode_keeps_what_was_filmed_and_says_so(
    key: str, exit_code: int, person: Person, tmp_path: Path
) -> None:
    person.wait_for("decision 0")
    for k in range(1, 4):
        person.type("\x1b[C")
        person.wait_for(f"decision {k},")
    person.type(key)
    assert person.leave() == exit_code
    path = tmp_path / "films" / "dofbot-pick-place-table_keyboard.gif"
    assert len(gif_frames(path)) >= 3
    assert "0 of 0 episodes succeeded" in person.plain
    assert "the last one was left unfinished" in person.plain
    assert ("interrupted" in person.plain) == (exit_code == 130)


def test_leaving_before_the_first_key_says_that_there_is_no_film(person: Person, tmp_path: Path) -> None:
    person.wait_for("decision 0")
    person.type("q")
    assert person.leave() == 0
    assert "nothing was played, so there is no film" in person.plain
    assert not list(tmp_path.rglob("*.gif"))


def test_ctrl_c_interrupts_and_leaves_no_half_film(person: Person, tmp_path: Path) -> None:
    person.wait_for("decision 0")
    person.type("\x03")
    assert person.leave() == 130
    assert not list(tmp_path.rglob("*.gif"))


def test_without_a_terminal_a_person_cannot_play(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "scripts.main", "observe", "--policy", "keyboard", "--task", "reach"],
        cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
        env={**NO_WINDOW, "TANDEM_DATA": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 2
    assert "terminal" in done.stderr
