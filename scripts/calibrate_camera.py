"""`tandem calibrate camera`: a camera's focal length, centre and lens from views of a printed board."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console

from bridge.errors import StaleFrame
from bridge.ports import Frame
from calibration.artifacts import calibration_dir, utc_now, write_atomic
from calibration.board_file import is_measured, load_board
from calibration.board_spec import Board
from calibration.boards import Image
from calibration.camera_file import CameraCalibration
from calibration.errors import CalibrationError, WeakViews
from calibration.intrinsics import MIN_VIEWS, MODELS, CameraResult, Refused, Seen, calibrate
from calibration.view_guide import HOLD_STILL, WANTED_VIEWS, Advice, ViewGuide
from hardware.cameras.newest import NewestCamera
from scripts.cli import data_root, emit_json, refuse, say
from scripts.exit_codes import DONE
from urdf.description import load_arm
from urdf.errors import UnknownName

_PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
#: So many pictures without a board are looked at for why.
_EXPLAINED = 3
_WHOLE = "a chessboard counts as a whole alone, so keep all of it in view with the white around it (charuco may be cut)"
#: A camera that shows nothing new for so long is not there, or its recording is over.
_PATIENCE_S = 5.0


@dataclass(frozen=True)
class CalibrateCameraArgs:
    """Measure a camera's focal length, centre and lens from views of a printed board (tandem board make charuco).

    From a live camera, which asks for the views that it lacks, or from a folder of pictures. The lens model is the one
    that predicts views best that it was not fitted to. Nothing is overwritten where the views do not suffice.
    """

    robot: str
    """Name of the unit that the camera belongs to; its files live in data/robots/NAME."""
    name: str = "desk"
    """Name of the camera; its file becomes camera_NAME.json."""
    folder: Path | None = None
    """Folder of pictures of the board, all of one size; or give --camera."""
    camera: str = ""
    """A live camera: uvc:0, realsense, remote:ENDPOINT, folder:PATH, video:PATH, lab."""
    board: str = "charuco"
    """Which board was printed: a name that `tandem board` lists, or a kind of standard board."""
    models: tuple[str, ...] = MODELS
    """Lens models to choose from, the simplest first: pinhole, fisheye, rational."""
    views: int = WANTED_VIEWS
    """How many views a live camera asks for; 8 at least."""
    arm: str = "dofbot"
    """Which arm the unit is."""
    key: Path | None = None
    """Our key file, for a remote camera that is served with keys."""
    window: bool = True
    """Show the live picture with what is missing in it, where there is a display."""
    json: bool = False
    """Print one JSON object as the last line of stdout."""


@dataclass(frozen=True)
class CalibrateCameraResult:
    """The JSON line; `sigma` are standard deviations of fx fy cx cy [px] and the coefficients."""

    path: Path
    picture: Path
    model: str
    fx_px: float
    fy_px: float
    cx_px: float
    cy_px: float
    distortion: tuple[float, ...]
    sigma: tuple[float, ...]
    held_out_px: float
    used: tuple[str, ...]
    refused: dict[str, str]
    board_measured: bool
    """Whether somebody told how long the board's rulers came out; the pictures cannot tell how large it is."""


def run(args: CalibrateCameraArgs) -> int:
    """Collect views, measure, save; return the exit code."""
    console = Console(stderr=True)
    description = load_arm(args.arm)
    root = data_root()
    calibration_dir(root, args.robot)
    CameraCalibration.file_name(args.name)
    if not args.models:
        raise UnknownName("lens model", "", MODELS, "give --models one of them at least")
    for model in args.models:
        if model not in MODELS:
            raise UnknownName("lens model", model, MODELS)
    if (args.folder is None) == (not args.camera) or args.views < MIN_VIEWS:
        return refuse(
            f"tandem calibrate camera: give --folder or --camera, one of them, and at least {MIN_VIEWS} views"
        )
    board = load_board(args.board, root)
    if args.folder is None:
        seen, size_px, refused = _from_camera(args, board, root)
    else:
        seen, size_px, refused = _from_folder(args.folder, board, console)
    with console.status("fitting the lens") as status:
        result = calibrate(
            seen, size_px, args.models, lambda what, share: status.update(f"{what}, {100 * share:.0f} %")
        )
    result = _with_refused(result, refused)
    artifact = CameraCalibration.of(result, args.name, args.board, args.robot, description)
    from scripts.programs.camera_plot import draw_camera

    path = artifact.save(root)
    picture = path.with_suffix(".png")
    draw_camera(result, args.name, picture)
    measured = is_measured(args.board, root)
    _tell(result, path, picture, args.json)
    say(scale_words(args.board, board, measured), args.json)
    emit_json(_summary(result, path, picture, measured), args.json)
    return DONE


def _from_folder(folder: Path, board: Board, console: Console) -> tuple[list[Seen], tuple[int, int], list[Refused]]:
    from scripts.counted_progress import CountedProgress

    if not folder.is_dir():
        raise CalibrationError(f"--folder {folder} is no folder")
    paths = sorted(p for p in folder.iterdir() if p.suffix.lower() in _PICTURES and ".depth" not in p.suffixes)
    if not paths:
        raise CalibrationError(f"no pictures in {folder}: expected files that end in {', '.join(_PICTURES)}")
    seen: list[Seen] = []
    refused: list[Refused] = []
    sizes: list[tuple[int, int]] = []
    unseen: list[Image] = []
    with CountedProgress(console, "looking for the board", len(paths)) as progress:
        for path in paths:
            progress.advance(path.name)
            rgb = _read(path)
            if rgb is None:
                refused.append(Refused(path.name, "no picture that can be read"))
                continue
            size = (rgb.shape[1], rgb.shape[0])
            if sizes and size != sizes[0]:
                raise CalibrationError(
                    f"{path.name} is {size[0]} x {size[1]} px and {paths[0].name} {sizes[0][0]} x {sizes[0][1]}: a "
                    "camera is measured at one size; keep pictures of the same size in the folder"
                )
            sizes.append(size)
            one = look(board, rgb, path.name)
            if not len(one.corners) and len(unseen) < _EXPLAINED:
                unseen.append(rgb)
            seen.append(one)
    if sum(len(s.corners) > 0 for s in seen) < MIN_VIEWS:
        explain(board, unseen)
    if not sizes:
        raise WeakViews(f"none of the {len(paths)} files in {folder} is a picture that can be read")
    return seen, sizes[0], refused


def look(board: Board, rgb: Image, name: str) -> Seen:
    """Return what a picture shows of the board, and how sharp it is."""
    from calibration.board_detection import MIN_POINTS, picture_blur_px, sharpness_px

    corners = board.detect(rgb)
    enough = len(corners) >= MIN_POINTS
    blur_px = sharpness_px(board, rgb, corners) if enough else picture_blur_px(rgb)
    return Seen(name, corners, blur_px, _WHOLE if board.kind == "chessboard" else "")


def explain(board: Board, pictures: Sequence[Image]) -> None:
    """Raise where the board in the pictures is mirrored or has other markers."""
    from calibration.board_detection import explain_nothing

    for rgb in pictures:
        explain_nothing(board, rgb)


def _read(path: Path) -> Image | None:
    import cv2

    bgr = cv2.imread(str(path), cv2.IMREAD_COLOR)
    return None if bgr is None else np.ascontiguousarray(bgr[:, :, ::-1], dtype=np.uint8)


def _from_camera(
    args: CalibrateCameraArgs, board: Board, root: Path
) -> tuple[list[Seen], tuple[int, int], list[Refused]]:
    from scripts.programs.camera_choice import open_camera
    from scripts.programs.guide_window import GuideWindow, has_display

    kept = root / "robots" / args.robot / "views" / f"{CameraCalibration.file_name(args.name)}_{utc_now()}"
    say(f"Move the {args.board} board before the camera. Pictures are kept in {kept}; Ctrl-C ends.", args.json)
    with closing(open_camera(args.camera, key=args.key, loop=False)) as camera:
        frame = camera.wait(_PATIENCE_S)
        size_px = (frame.rgb.shape[1], frame.rgb.shape[0])
        guide = ViewGuide(size_px, args.views)
        window = GuideWindow(f"tandem calibrate camera: {args.name}") if args.window and has_display() else None
        try:
            collect(guide, board, _Fresh(camera).read, _Speaker(args.json, kept), window)
        except KeyboardInterrupt:
            say(f"{len(guide.views)} views are kept; measure from them with --folder {kept}", args.json)
            raise
        finally:
            if window is not None:
                window.close()
    return guide.views, size_px, []


class _Fresh:
    """Reads each picture of a camera once: the same one again would look like a board held still."""

    def __init__(self, camera: NewestCamera) -> None:
        self._camera = camera
        self._last: Frame | None = None

    def read(self) -> Image:
        """Return the next picture; raises StaleFrame where none comes."""
        self._last = self._camera.wait(_PATIENCE_S, self._last)
        return self._last.rgb


class _Speaker:
    """Says what to do next, once, and keeps the pictures that were taken."""

    def __init__(self, json: bool, folder: Path) -> None:
        self._json, self._folder, self._said = json, folder, ""

    def __call__(self, advice: Advice, rgb: Image, count: int) -> None:
        """Hear of one picture."""
        if advice.taken:
            import cv2

            data = cv2.imencode(".png", np.ascontiguousarray(rgb[:, :, ::-1]))[1]
            write_atomic(self._folder / f"view_{count:02d}.png", data.tobytes())
        if advice.taken or advice.text not in (self._said, HOLD_STILL) or not self._said:
            self._said = advice.text
            say(f"{100 * advice.progress:3.0f} %  {count:2d} views  {advice.text}", self._json)


def collect(
    guide: ViewGuide,
    board: Board,
    read: Callable[[], Image],
    tell: Callable[[Advice, Image, int], None],
    window: Callable[[Image, Seen, Advice, ViewGuide], None] | None = None,
) -> None:
    """Show pictures to the guide until it has what it needs; explains a board that is not found."""
    missed = 0
    while True:
        try:
            rgb = read()
        except StaleFrame as error:
            if len(guide.views) < MIN_VIEWS:
                raise WeakViews(
                    f"{error}; until then {len(guide.views)} views of the {board.kind} board could be used, and it "
                    f"takes {MIN_VIEWS}: hold it still, whole and near, in many places and tilted"
                ) from error
            return  # a recording that is over has shown enough
        seen = look(board, rgb, f"view_{len(guide.views) + 1:02d}.png")
        missed = 0 if len(seen.corners) else missed + 1
        if missed in (30, 300):  # a second of pictures, and ten
            explain(board, [rgb])
        advice = guide.consider(seen)
        tell(advice, rgb, len(guide.views))
        if window is not None:
            window(rgb, seen, advice, guide)
        if advice.done:
            return


def _with_refused(result: CameraResult, refused: Sequence[Refused]) -> CameraResult:
    import dataclasses

    return dataclasses.replace(result, refused=(*result.refused, *refused))


def _tell(result: CameraResult, path: Path, picture: Path, json: bool) -> None:
    for one in result.refused:
        say(f"  refused {one.name}: {one.why}", json)
    i, s = result.intrinsics, result.sigma
    scores = ", ".join(f"{m.model} {m.held_out_px:.3f}" for m in result.scores)
    say(f"lens {i.model} (error on held-out views [px per axis]: {scores})", json)
    say(
        f"fx {i.fx_px:.2f} ± {s[0]:.2f}  fy {i.fy_px:.2f} ± {s[1]:.2f}  cx {i.cx_px:.2f} ± {s[2]:.2f}  "
        f"cy {i.cy_px:.2f} ± {s[3]:.2f} px",
        json,
    )
    say(
        f"{len(result.views)} views predict each other to {result.held_out_rms_px:.3f} px per axis; the focal length "
        f"is known to {100 * result.focal_sigma:.2f} %. Saved to {path}; picture {picture}.",
        json,
    )
    sys.stdout.flush()


def scale_words(name: str, board: Board, measured: bool) -> str:
    """Return how large the board was taken to be: pictures tell that of no board, only how its sides compare."""
    across, down = (100 * share for share in board.scale)
    if measured:
        return f"The {name} board counted as its rulers were measured: {across:.2f} % along x, {down:.2f} % along y."
    return (
        f"No picture tells how large a board is: {name} counted as printed to scale. A scale that is wrong alike in "
        f"both directions changes no lens, but every distance that is measured with the board; one that is wrong in "
        f"one direction makes the lens wrong. Measure its rulers: tandem board measured {name} --across-mm 150.0 "
        f"--down-mm 200.0 (your lengths in their place)."
    )


def _summary(result: CameraResult, path: Path, picture: Path, measured: bool) -> CalibrateCameraResult:
    i = result.intrinsics
    return CalibrateCameraResult(
        path, picture, i.model, i.fx_px, i.fy_px, i.cx_px, i.cy_px, i.distortion, tuple(float(v) for v in result.sigma),
        result.held_out_rms_px, tuple(v.name for v in result.views), {r.name: r.why for r in result.refused},
        measured,
    )  # fmt: skip
