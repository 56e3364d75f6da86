"""`tandem board`, `tandem board make`, `tandem board measured`: print a board, and tell how long it came out."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from calibration.artifacts import write_atomic
from calibration.board_file import RULER_ACROSS_MM, RULER_DOWN_MM, BoardFile, Paper, board_path, check_name
from calibration.board_spec import BOARDS, Board, check_dictionary
from calibration.errors import BadArtifact, BoardError
from scripts.cli import data_root, emit_json, say
from scripts.exit_codes import DONE

_MEASURE = (
    f"Print it at 100 %, measure both rulers with a steel rule, and tell: tandem board measured {{name}} --across-mm "
    f"{RULER_ACROSS_MM:.1f} --down-mm {RULER_DOWN_MM:.1f} (your lengths in their place)."
)


SheetKind = Literal["charuco", "aruco", "chessboard", "grid", "desk", "block-stickers", "gripper"]
#: Sheets to cut up: no boards, so that nobody measures anything with their rulers.
_CUT_UP = {
    "block-stickers": "a sticker must be 30 mm wide. Cut out, fold, glue.",
    "gripper": "the marker must be 34 mm wide. Cut one out, and stick it on the front of the gripper's servo, edges in "
    "line with the fingers, its middle 69 mm above the grip point.",
}


@dataclass(frozen=True)
class BoardArgs:
    """List the boards that were printed here, and say how to tell the length that their rulers came out at."""

    json: bool = False
    """Print one JSON object as the last line of stdout."""


@dataclass(frozen=True)
class BoardMakeArgs:
    """Make a board to print at exact size, as PDF and PNG with rulers to check the printer, in data/boards/."""

    kind: Annotated[SheetKind, tyro.conf.Positional]
    """What: charuco (for cameras and hand-eye), aruco (a grid of markers), chessboard, grid (an XY grid in mm with
    markers at its corners), desk (the reference board around the blocks), block-stickers (the block's faces) or
    gripper (the marker that goes on the front of the gripper)."""
    paper: Paper = "A4"
    """Size of the sheet, upright."""
    name: str = ""
    """Under what name, to keep boards of several sizes; the kind when empty."""
    columns: int | None = None
    """Squares, markers or cells across the board, instead of the usual."""
    rows: int | None = None
    """The same down the board."""
    pitch_mm: float | None = None
    """Side of a square or cell, or from marker to marker [mm]."""
    marker_mm: float | None = None
    """Side of a marker [mm]."""
    dictionary: str | None = None
    """OpenCV's name of the set of markers, such as DICT_6X6_250: to describe a board that you have already."""
    first_id: int | None = None
    """Number of the first marker, at the top left."""
    json: bool = False
    """Print one JSON object as the last line of stdout."""


@dataclass(frozen=True)
class BoardMeasuredArgs:
    """Tell the length of the two printed rulers: what is calibrated with the board from then on is to your scale."""

    name: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="BOARD")]
    """Which board; `tandem board` lists them."""
    across_mm: float
    """Length of the ruler across the sheet, from its first line to its last [mm]; 150 from a perfect printer."""
    down_mm: float
    """Length of the ruler down the sheet [mm]; 200 from a perfect printer."""
    json: bool = False
    """Print one JSON object as the last line of stdout."""


@dataclass(frozen=True)
class BoardLine:
    """One printed board; `scale` along its x and y, None where nobody has measured it."""

    name: str
    what: str
    paper: str
    path: str
    scale: tuple[float, float] | None


def run(args: BoardArgs) -> int:
    """List the boards; return the exit code."""
    from scripts.programs.board_sheet import describe

    lines: list[BoardLine] = []
    for path in sorted((data_root() / "boards").glob("*.json")):
        try:
            file = BoardFile.load(path.stem, data_root())
        except BadArtifact as error:
            say(f"{path}: unreadable ({error})", args.json)
            continue
        board = file.board()
        lines.append(
            BoardLine(file.name, describe(board), file.paper, str(path), board.scale if file.measured_utc else None)
        )
    for line in lines:
        measured = "not measured yet" if line.scale is None else _scale_text(line.scale)
        say(f"{line.name}: {line.what}; {line.paper}; {measured}", args.json)
    if not lines:
        say("No board was made here yet: tandem board make charuco", args.json)
    unmeasured = [line.name for line in lines if line.scale is None]
    if unmeasured:
        say(_MEASURE.format(name=unmeasured[0]), args.json)
    emit_json({"boards": lines}, args.json)
    return DONE


def run_make(args: BoardMakeArgs) -> int:
    """Write the sheets; return the exit code."""
    from scripts.programs.board_sheet import board_sheet, gripper_sheet, stickers_sheet

    name = args.name or args.kind
    check_name(name)
    folder = data_root() / "boards"
    board: Board | None = None
    previous: BoardFile | None = None
    record: Path | None = None
    if args.kind not in _CUT_UP:
        board = _board(args)
        previous = _measured(name)
        if previous is not None and not _same_sheet(previous, board, args.paper):
            raise BoardError(
                f"{name} on {previous.paper} was measured ({_scale_text(previous.board().scale)}), and this is another "
                f"sheet: make it under a name of its own, as --name {name}_{args.paper}"
            )
        sheet = board_sheet(board, args.paper, name)
    elif _changes(args):
        raise BoardError(f"the {args.kind} are what they are: their sizes cannot be changed")
    else:
        sheet = gripper_sheet(args.paper) if args.kind == "gripper" else stickers_sheet(args.paper)
    pictures = folder / f"{name}_{args.paper}.pdf", folder / f"{name}_{args.paper}.png"
    for path, data in zip(pictures, (sheet.pdf(), sheet.png()), strict=True):
        write_atomic(path, data)
    if board is not None:
        record = board_path(name, data_root())
        if previous is None:
            BoardFile.of(name, board, args.paper).save(data_root())
        else:
            say(f"{name} stays measured, {_scale_text(previous.board().scale)}: measure a new print again.", args.json)
    say(f"Made {pictures[0]} and {pictures[1].name}, {sheet.width_mm:g} x {sheet.height_mm:g} mm.", args.json)
    say(
        _MEASURE.format(name=name) if record else f"Print it at 100 %: {_CUT_UP[args.kind]}",
        args.json,
    )
    emit_json({"pdf": pictures[0], "png": pictures[1], "board": record}, args.json)
    return DONE


def run_measured(args: BoardMeasuredArgs) -> int:
    """Write down the measured rulers; return the exit code."""
    file = BoardFile.load(args.name, data_root()).measured(args.across_mm, args.down_mm)
    path = file.save(data_root())
    scale = file.board().scale
    say(f"{args.name}: {_scale_text(scale)}; saved to {path}.", args.json)
    emit_json({"board": path, "scale": scale}, args.json)
    return DONE


def _board(args: BoardMakeArgs) -> Board:
    board = dataclasses.replace(BOARDS[args.kind], **_changes(args))
    if board.kind == "desk" and board != BOARDS["desk"]:
        raise BoardError("the desk board is the same everywhere: make an aruco board where you want other sizes")
    check_dictionary(board)
    return board


def _measured(name: str) -> BoardFile | None:
    """Return the board of that name where somebody has measured its print; one that cannot be read is made anew."""
    if not board_path(name, data_root()).is_file():
        return None
    try:
        file = BoardFile.load(name, data_root())
    except BadArtifact:
        return None
    return file if file.measured_utc else None


def _same_sheet(file: BoardFile, board: Board, paper: Paper) -> bool:
    nominal = dataclasses.replace(file.board(), scale=(1.0, 1.0))
    return file.paper == paper and nominal == BoardFile.of(file.name, board, paper).board()


def _changes(args: BoardMakeArgs) -> dict[str, int | float | str]:
    given = {
        "columns": args.columns,
        "rows": args.rows,
        "pitch_m": None if args.pitch_mm is None else args.pitch_mm / 1000,
        "marker_m": None if args.marker_mm is None else args.marker_mm / 1000,
        "dictionary": args.dictionary,
        "first_id": args.first_id,
    }
    return {name: value for name, value in given.items() if value is not None}


def _scale_text(scale: tuple[float, float]) -> str:
    return f"printed at {100 * scale[0]:.2f} % along x, {100 * scale[1]:.2f} % along y"
